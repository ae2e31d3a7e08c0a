"""Checks of exercises on the methods, and of a model that is to enter the benchmark."""

import numpy as np
import torch

from cepkit.bench.methods.conv_lstm import ConvCell
from cepkit.bench.methods.reservoirs import nvar_features as features
from cepkit.check import answers
from cepkit.problems import toy


def modes(count):
    """Check ``count(pictures, share)``, how many POD modes hold a share of the mean square of (pictures, points)."""

    def needed(pictures, share, power=2):
        values = np.linalg.svd(pictures, compute_uv=False) ** power
        return int(np.argmax(np.cumsum(values) / values.sum() >= share)) + 1

    x = np.linspace(0.0, 1.0, 60)
    fronts = [0.5 * (1 - np.tanh((x - x[:, None]) / width)) for width in (0.3, 0.1, 0.03)]
    return answers.function(
        count,
        needed,
        [(p, share) for p in fronts for share in (0.99, 0.9999)],
        {
            "The mean square belongs to the squares of the singular values.": lambda p, s: needed(p, s, power=1),
            "One too few: the position of the first sum that suffices, counted from one.":
                lambda p, s: needed(p, s) - 1,
            "One too many: stop at the first sum that suffices.": lambda p, s: needed(p, s) + 1,
            "The mean picture is taken away. The share is that of the whole mean square here.":
                lambda p, s: needed(p - p.mean(0), s),
        },
        tolerance=1e-9,
    )  # fmt: skip


def nvar_features(count):
    """Check ``count(numbers, taps)``, the features of NVAR: one, all entries seen, and all products of two."""

    def right(numbers, taps):
        return features(torch.zeros(1, numbers * taps)).shape[1]

    return answers.function(
        count,
        right,
        [(2, 2), (3, 1), (5, 3)],
        {
            "The constant is missing.": lambda d, taps: right(d, taps) - 1,
            "x times y and y times x are one product.": lambda d, taps: 1 + d * taps + (d * taps) ** 2,
            "The squares are products, too.": lambda d, taps: right(d, taps) - d * taps,
            "All frames that are seen enter, not one.": lambda d, taps: right(d, 1),
            "The products alone: the entries themselves and the constant are features as well.":
                lambda d, taps: right(d, taps) - 1 - d * taps,
        },
        tolerance=1e-9,
    )  # fmt: skip


def conv_weights(count):
    """Check ``count(inputs, hidden, kernel)``, the weights of the four gates of a ConvLSTM cell."""

    def right(inputs, hidden, kernel):
        return sum(p.numel() for p in ConvCell(inputs, hidden, 1, kernel).gates.parameters())

    return answers.function(
        count,
        right,
        [(3, 4, 3), (2, 6, 5)],
        {
            "The biases are missing: one for each gate and channel.": lambda n, H, k: right(n, H, k) - 4 * H,
            "That is one gate. There are four.": lambda n, H, k: right(n, H, k) / 4,
            "A kernel is a square: its side counts twice.": lambda n, H, k: 4 * H * (n + H) * k + 4 * H,
            "The gates read the hidden state as well as the input.": lambda n, H, k: 4 * H * n * k**2 + 4 * H,
        },
        tolerance=1e-9,
    )


def pays_after(beats):
    """Check ``beats(training, solver, surrogate)``, the number of beats after which training has paid for itself.

    The training is in s; the time of one beat, by the solver and by the surrogate, in ms.
    """
    return answers.function(
        beats,
        lambda training, solver, surrogate: 1000 * training / (solver - surrogate),
        [(600.0, 90.0, 20.0), (45.0, 80.0, 70.0)],
        {
            "The surrogate's own time is not free: a beat saves the difference.": lambda a, b, c: 1000 * a / b,
            "Divided by the surrogate's time: what a beat saves is the difference.": lambda a, b, c: 1000 * a / c,
            "Seconds are divided by milliseconds.": lambda a, b, c: a / (b - c),
            "Saved is the solver's time less the surrogate's, not the other way round.":
                lambda a, b, c: 1000 * a / (c - b),
        },
        tolerance=0.01,
    )  # fmt: skip


def surrogate(model):
    """Check that a model, not yet fitted, keeps the rules of the benchmark, on a sheet of 4 x 4 nodes."""
    trajectory, stimulus = toy()
    history = trajectory.isel(time=slice(0, 60))
    other = stimulus.copy(deep=True)
    other[90:] = 0.0
    try:
        model.fit(trajectory, stimulus=stimulus)
        run, again, without = (model.rollout(history, 60, stimulus=s) for s in (stimulus, stimulus, other))
        short = model.rollout(history, 20, stimulus=stimulus)
    except Exception as error:
        return answers.say(f"Your model stops with {type(error).__name__}: {error}")
    if not all(np.isfinite(run[v]).all() for v in run.data_vars):
        return answers.say("The forecast holds NaN or infinite numbers.")
    if not run.equals(again):
        return answers.say("Two forecasts from the same history differ: draw random numbers from a seed.")

    def begins_like(forecast, steps):
        return answers.close([forecast.isel(lead_time=slice(steps))], [run.isel(lead_time=slice(steps))], 1e-5)

    if not begins_like(without, 29):
        return answers.say(
            "A stimulus acts before it comes: frame k may depend on the stimulus up to then, and no further."
        )
    if not begins_like(short, 20):
        return answers.say(
            "A longer forecast begins otherwise than a shorter one: it must not know how long it will be."
        )
    return answers.say()
