"""Make data/sample: a second and a half of one test around its premature beat, small enough for a repository.

python scripts/make_sample.py

Values are packed into 16 bits, so they are exact to a thirty-thousandth of their range.
"""

import shutil
from pathlib import Path

import numpy as np

from cepkit import bench
from cepkit.fields import VARIABLES

TEST, RUN, EVERY = "s1s2", 1, 4
track = bench.make_track("paced", "laptop")
run, protocol = (part[RUN] for part in (track.tests[TEST].runs, track.tests[TEST].protocols))
run = run.drop_vars([c for c in run.coords if c not in run.dims] + ["state"], errors="ignore")
first = protocol.times[np.argmin(np.diff(protocol.times))]
cut = run.sel(time=slice(first - 300, first + 1200)).isel(time=slice(None, None, EVERY)).load()
encoding = {}
for v in VARIABLES:
    low, high = float(cut[v].min()), float(cut[v].max())
    packing = {"dtype": "int16", "scale_factor": (high - low) / 65000, "add_offset": (low + high) / 2}
    encoding[v] = packing | {"_FillValue": -32768, "chunks": cut[v].shape}
cut.attrs |= {"sample of": f"track {track.name}, test {TEST}, run {RUN}, every {EVERY}th frame"}
path = Path(__file__).parents[1] / "data" / "sample"
partial = path.with_name(f".{path.name}.partial")
cut.to_zarr(partial, mode="w", encoding=encoding, consolidated=False)
shutil.rmtree(path, ignore_errors=True)
partial.rename(path)
