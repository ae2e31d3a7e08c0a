"""Make data/scorecards/ablation.json: the paced network with one ingredient left out, half an hour.

python scripts/make_ablation.py
"""

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cepkit import bench
from cepkit.bench import protocols, tracks
from cepkit.bench.methods.paced import Paced
from cepkit.store import replace_file

VARIANTS = {
    "as it is": {},
    "no noise": {"noise": 0.0},
    "no state of the node": {"without": ["state"]},
    "no rhythm before the last interval": {"without": ["rhythm"]},
    "no shape of the wave": {"without": ["wave"]},
    "no load": {"without": ["load"]},
    "a course of eight shapes": {"rank": 8},
}
UPDATES = 4000  # an eighth of the kept model's: enough to tell what matters
TESTS = ["cl400", "s1s2", "site", "long"]


def jumping(track):
    """The track with training runs in which every interval is drawn anew."""
    size = tracks.SIZES["laptop"]
    rng = np.random.default_rng(2007)
    pairs = []
    for k in range(size.train):
        durations = size.prelude, size.train_ms / (2 if k % 10 == 9 else 1)
        seeds = rng.integers(1 << 30, size=2)
        pairs.append([protocols.random_pacing(track.tissue, ms, int(seed), wander=0.0)
                      for ms, seed in zip(durations, seeds, strict=True)])  # fmt: skip
    return dataclasses.replace(track, train=dataclasses.replace(track.train, pairs=pairs, kind="train-jumping"))


track = bench.make_track("paced", "laptop")
early = dataclasses.replace(track, late=None)
rows = []
for variant, data, changes in [
    *((variant, track, changes) for variant, changes in VARIANTS.items()),
    ("no late runs", early, {}),
    ("nor those, every interval drawn anew", jumping(early), {}),
]:
    model = bench.fit(Paced(updates=UPDATES, **changes), data)
    table = bench.evaluate(model, track, TESTS)
    for test in TESTS:
        part = table[table.test == test]
        errors = {r.variable: r.value for r in part[part.metric == "z_mse"].itertuples()}
        errors |= {r.metric: r.value for r in part[part.metric.isin(["activation_error", "apd90_error"])].itertuples()}
        rows.append({"variant": variant, "test": test, **{k: float(f"{v:.4g}") for k, v in errors.items()}})
        print(rows[-1], flush=True)
record = {
    "what": f"medians over starts, one seed each, {UPDATES} updates",
    "rows": rows,
    "settings": VARIANTS,
    "data": [track.train.key, track.late.key],
    "version": Paced.version,
    "versions": {p: version(p) for p in ("cepkit", "numpy", "torch")},
}
file = Path(__file__).parents[1] / "data" / "scorecards" / "ablation.json"
replace_file(file, (json.dumps(record, indent=1) + "\n").encode())
