"""Make data/long-run.json: twelve minutes of irregular pacing, the surrogate beside the solver; some minutes, 12 GB.

python scripts/make_long_run.py
"""

import json
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

import cepkit as cep
from cepkit import bench
from cepkit.bench import events, protocols
from cepkit.bench.methods.event_sheet import Sheet
from cepkit.dataset import to_tensor
from cepkit.fields import VARIABLES
from cepkit.solver import VERSION
from cepkit.store import replace_file

MINUTES, GIVEN, SEED = 12, 1000, 109
track = bench.make_track("paced", "laptop")
model = bench.entrant("paced", track)
protocol = protocols.random_pacing(track.tissue, MINUTES * 60_000, SEED)
times = np.unique([s.start for s in protocol.stimuli])
print(f"{len(times)} beats")

# Both run on without a stop; what is compared are the minutes, so that no two whole runs are held at once.
stimulus = np.zeros((MINUTES * 60_000 + 1, track.tissue.size), np.float32)
for s in protocol.stimuli:
    stimulus[int(s.start)] += s.amplitude * s.duration * s.region.values.ravel()
rows, state, sheet = [], None, None
std = bench.statistics(track)
mean, scale = (v.numpy().reshape(-1, len(VARIABLES)) for v in bench.scaling(track).vectors(track.tissue.size))
frames = np.empty((MINUTES * 60_000 - GIVEN, track.tissue.size, len(VARIABLES)), np.float32)
clock = {"solver": 0.0, "surrogate": 0.0}
for minute in range(MINUTES):
    begin = minute * 60_000
    # The protocol of this minute, in its own time; a stimulus at a seam belongs to the later one.
    part = cep.Protocol(
        [replace(s, start=s.start - begin) for s in protocol.stimuli if begin <= s.start < begin + 60_000]
    )
    began = time.perf_counter()
    run = cep.simulate(track.tissue, part, 60_000.0, initial=state, progress=False, threads=1)
    clock["solver"] += time.perf_counter() - began
    state = cep.final_state(run)
    truth = to_tensor(run).numpy().reshape(run.sizes["time"], -1, len(VARIABLES))[:-1]
    if sheet is None:
        sheet = Sheet(model, (truth[: GIVEN + 1] - mean) / scale, stimulus)
        began = time.perf_counter()
        sheet.run(frames, mean[0], scale[0])
        clock["surrogate"] = time.perf_counter() - began
        truth = truth[GIVEN + 1 :]
        begin += GIVEN + 1
    free = frames[begin - GIVEN - 1 : begin - GIVEN - 1 + len(truth)]
    n = min(len(truth), len(free))
    truth, free = truth[:n].astype(float), free[:n].astype(float)
    scores = events.compare(*[[np.ascontiguousarray(f[..., k]) for k in (0, 1)] for f in (truth, free)])
    row = {"minute": minute + 1, "beats": int(((times >= begin) & (times < begin + n)).sum())}
    row |= {v: ((free[..., k] - truth[..., k]) ** 2).mean() / std[k] ** 2 for k, v in enumerate(VARIABLES)}
    row |= {name: scores[name] for name in ("activation_error", "apd90_error", "apd90_bias", "missed", "spurious")}
    row["CaSR_bias"] = (free[..., 2] - truth[..., 2]).mean()
    rows.append({k: v if isinstance(v, int) else float(f"{v:.4g}") for k, v in row.items()})
    print(rows[-1], flush=True)
record = {
    "what": f"{MINUTES} minutes of irregular pacing (seed {SEED}), the first second given",
    "beats": len(times),
    "rows": rows,
    "seconds on one thread": {name: round(seconds, 1) for name, seconds in clock.items()},
    "weights": model.card.get("recipe", {}),
    "solver": VERSION,
    "versions": {p: version(p) for p in ("cepkit", "numpy", "torch")},
}
file = Path(__file__).parents[1] / "data" / "long-run.json"
replace_file(file, (json.dumps(record, indent=1) + "\n").encode())
