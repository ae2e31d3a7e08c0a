"""A ConvLSTM that reads far enough for the true speed of the wave, trained for ten times as long as that of chapter 17.

python scripts/make_convolution.py

It trains for half an hour to an hour of one core on the track ``paced``; batches are counted, and an interrupted run
goes on.  Weights and card, with what the validation part says, go into data/models/conv_lstm_wide.
"""

from functools import partial

from cepkit import bench
from cepkit.bench.scorecard import fit
from cepkit.runs import obtain, recipe
from cepkit.store import data_folder, kept_folder

WIDE = {"patch": 4, "kernel": 5, "stride": 5, "hidden": 24, "given": 20, "free": 100, "rounds": 1728, "validations": 24}


def main():
    track = bench.make_track("paced", "laptop")
    model = track.untrained("conv_lstm")
    model = type(model)(model.configuration | WIDE)
    folder = data_folder() / "runs" / "laptop" / "conv_lstm_wide"
    model = obtain(model, partial(fit, track=track), recipe(model, track.train.key), folder, print)
    model.save(kept_folder() / "models" / "conv_lstm_wide")


if __name__ == "__main__":
    main()
