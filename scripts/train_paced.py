"""Train a network for the track paced at a size of your own, on what there is: a processor, a GPU, or several.

python scripts/train_paced.py FOLDER --hidden 512 --updates 100000
fabric run --accelerator cuda --devices 4 --precision bf16-mixed scripts/train_paced.py FOLDER --hidden 512

A training that was killed and is started again goes on where it stopped; on a processor it ends with the very same
weights as one that was not. Afterwards: ``cep.load(FOLDER)``.
"""

import argparse
import os
import time
from pathlib import Path

from cepkit import bench
from cepkit.bench.methods.paced import Paced
from cepkit.training import launched

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path, help="of the trained model")
parser.add_argument("--profile", default="laptop")
for name in ("hidden", "rank", "updates", "batch", "samples", "seed"):
    parser.add_argument(f"--{name}", type=int, help="see cepkit.bench.methods.paced.Settings")
options = vars(parser.parse_args())
folder, profile = options.pop("folder"), options.pop("profile")

on = launched()
track = bench.make_track("paced", profile, progress=on.is_global_zero)
if on.is_global_zero:
    track.learning()  # one process simulates what is missing
if on.world_size > 1:
    on.barrier()
began = time.perf_counter()
model = Paced(**{name: value for name, value in options.items() if value is not None})
bench.fit(model, track, on.is_global_zero, folder.with_name(f".{folder.name}.checkpoint"))
if on.is_global_zero:
    model.card["trained on"]["precision"] = os.environ.get("LT_PRECISION", "32-true")
    model.save(folder)
    print(f"{folder}: {model.summary()}, {time.perf_counter() - began:.0f} s, {model.card['trained on']}")
