"""Checks of exercises on data, training, forecasts and scores."""

import numpy as np
import torch
import xarray as xr

from cepkit import forecast
from cepkit.check import answers
from cepkit.dataset import Scaling, Windows
from cepkit.fields import VARIABLES
from cepkit.surrogates.lstm import LSTMNetwork


def scaling(scaled):
    """Check ``scaled(train, test)``: of two trajectories the second, in z-scores."""
    rng = np.random.default_rng()
    dims = ("time", "y", "x")

    def part(offset, spread, frames):
        where = rng.normal(size=(3, 4))  # so that no node is like its neighbour
        noise = {k: spread * k * rng.normal(size=(frames, 3, 4)) for k in range(1, 5)}
        return xr.Dataset({v: (dims, offset + k - 1 + where + noise[k]) for k, v in enumerate(VARIABLES, 1)})

    def by(statistics, over=None):
        def mistake(train, test):
            source = statistics(train, test)
            return (test - source.mean(over)) / source.std(over)

        return mistake

    return answers.function(
        scaled,
        lambda train, test: Scaling.fit(train).apply(test),
        [(part(0.0, 1.0, 60), part(3.0, 2.0, 40))],
        {
            "Those are the statistics of the test part itself: a forecaster does not know them.": by(lambda a, b: b),
            "The statistics come from both parts together: the test part must stay unseen.":
                by(lambda a, b: xr.concat([a, b], "time")),
            "One pair of numbers for each node. One for each variable is asked for.": by(lambda a, b: a, "time"),
            "Not divided by the standard deviation of the training part.": lambda a, b: b - a.mean(),
            "Divided by the variance: take its root.": lambda a, b: (b - a.mean()) / a.var(),
            "The mean is not taken away.": lambda a, b: b / a.std(),
        },
    )  # fmt: skip


def windows(cut):
    """Check ``cut(X, length, stride)``, all training windows of a series: (time, N_in) to (windows, length, N_in)."""

    def right(X, length, stride):
        cutter = Windows(torch.from_numpy(X), length, stride)
        return cutter[range(len(cutter))].numpy()

    X = np.random.default_rng().normal(size=(19, 2))
    return answers.function(
        cut,
        right,
        [(X, 7, 3), (X, 4, 5)],
        {
            "The last window that still fits is missing: count the starts again.":
                lambda X, length, stride: right(X[:-1], length, stride),
            "Windows lie side by side: the starts are `stride` apart, not `length`.":
                lambda X, length, stride: right(X, length, length),
            "A window starts at every frame: the stride is not used.":
                lambda X, length, stride: right(X, length, 1),
        },
    )  # fmt: skip


def lstm_weights(count):
    """Check ``count(n_in, hidden)``, the weights of the paper's network of two LSTM layers and a dense one."""

    def right(n_in, hidden):
        with torch.device("meta"):
            return sum(p.numel() for p in LSTMNetwork(n_in, hidden, 2).parameters())

    return answers.function(
        count,
        right,
        [(12, 5), (40, 7)],
        {
            "The dense layer that writes the frame is missing.": lambda n, H: right(n, H) - n * (H + 1),
            "The dense layer has a bias, too.": lambda n, H: right(n, H) - n,
            "PyTorch gives each map of a layer two bias vectors.": lambda n, H: right(n, H) - 8 * H,
            "The biases are missing.": lambda n, H: right(n, H) - 16 * H - n,
            "The second layer reads the hidden state of the first, not the frame.":
                lambda n, H: right(n, H) + 4 * H * (n - H),
            "There are two layers.": lambda n, H: right(n, H) - 8 * H * H - 8 * H,
        },
        tolerance=1e-9,
    )  # fmt: skip


def free_run(run):
    """Check ``run(step, x_0, h_0, steps)``, Algorithm 2: the list of frames that ``x, h = step(x, h)`` simulates."""
    right = forecast.free_run

    def step(x, h):
        h = 0.5 * (0.0 if h is None else h) + x
        return 0.8 * x + 0.3 * h, h

    return answers.function(
        run,
        right,
        [(step, np.array([1.0, -2.0]), None, 5), (step, np.array([0.5, 0.1]), np.array([1.0, 3.0]), 4)],
        {
            "One frame late: the given frame is not part of the simulation.":
                lambda step, x, h, steps: [x, *right(step, x, h, steps - 1)],
            "The given frame is not part of the simulation: one frame too many.":
                lambda step, x, h, steps: [x, *right(step, x, h, steps)],
            "The network always reads the first frame: what it predicts must become its next input.":
                lambda step, x_0, h, steps: right(lambda x, h: step(x_0, h), x_0, h, steps),
            "The memory never changes: hand the new h to the next step.":
                lambda step, x, h_0, steps: right(lambda x, h: step(x, h_0), x, h_0, steps),
        },
    )  # fmt: skip


def euler(solve):
    """Check ``solve(f, z_0, times)``, explicit Euler for f(t, z) from each time to the next: states (m, n)."""

    def stepped(advance):
        def run(f, z, times):
            out = [z]
            for a, b in zip(times[:-1], times[1:], strict=True):
                out.append(advance(f, a, b, out[-1]))
            return np.stack(out)

        return run

    def swing(t, z):
        return np.array([z[1], -z[0] + np.cos(t)])

    right = stepped(lambda f, a, b, z: z + (b - a) * f(a, z))
    times = np.array([0.0, 0.1, 0.3, 0.35, 0.8])
    return answers.function(
        solve,
        right,
        [(swing, np.array([1.0, 0.5]), times), (swing, np.array([0.0, -1.0]), times + 1.0)],
        {
            "The initial value is the first of the states.": lambda *given: right(*given)[1:],
            "The steps are not all of one length: take each from the times.":
                stepped(lambda f, a, b, z: z + 0.1 * f(a, z)),
            "f is asked at the end of the step: explicit Euler asks at its beginning.":
                stepped(lambda f, a, b, z: z + (b - a) * f(b, z)),
            "The slope is added without the length of the step.": stepped(lambda f, a, b, z: z + f(a, z)),
        },
        tolerance=1e-6,
    )  # fmt: skip


def z_mse(error):
    """Check ``error(forecast, truth, std)``: median over the starts of the mean squared error in z-scores.

    Fields are over (start, lead_time, y, x); ``std`` is the standard deviation of the variable's training part.
    """
    rng = np.random.default_rng()
    dims = ("start", "lead_time", "y", "x")
    truth = xr.DataArray(5.0 * rng.normal(size=(7, 6, 3, 3)), dims=dims)
    worse = xr.DataArray(rng.permutation([0.3, 0.5, 0.8, 1.0, 2.0, 4.0, 9.0]), dims="start")
    given = truth + worse * (1.0 + xr.DataArray(rng.normal(size=truth.shape), dims=dims))

    def squared(f, t, std):
        return ((f - t) ** 2 / std**2).mean(dims[1:])

    return answers.function(
        error,
        lambda *given: float(squared(*given).median()),
        [(given, truth, 3.0), (2 * given, 2 * truth, 11.0)],
        {
            "That is the mean over the starts: one bad start decides it. The median is asked for.":
                lambda *given: float(squared(*given).mean()),
            "The median is taken over all numbers. First the mean within each start, then the median of the starts.":
                lambda f, t, std: float(((f - t) ** 2 / std**2).median()),
            "In squared physical units: divide by the variance of the training part.":
                lambda f, t, std: float(squared(f, t, 1.0).median()),
            "Divided by the standard deviation, but a squared error needs its square.":
                lambda f, t, std: float(squared(f, t, 1.0).median() / std),
            "Divided by the spread of the truth, which is test data: use the training part's, which you are given.":
                lambda f, t, std: float(squared(f, t, float(t.std())).median()),
            "That is a root: the mean squared error is asked for.":
                lambda *given: float(np.sqrt(squared(*given)).median()),
            "Errors of opposite sign cancel in this: square before you take the mean.":
                lambda f, t, std: float((((f - t).mean(dims[1:]) / std) ** 2).median()),
        },
    )  # fmt: skip


def verdict(judge):
    """Check ``judge(truth, forecast)``, which lists what is wrong with a forecast, or ``["usable"]`` if nothing is.

    Each is a pair of arrays, Vm [mV] and Cai [mM], over (time, nodes), 1 ms apart.
    """
    truth = _film()
    faults = {
        "20 ms late": _film(late=20.0),
        "an action potential a fifth too short": _film(lasts=0.8),
        "a beat missing in half of the nodes": _film(silent=8),
        "a plateau and a rest that are 20 mV too high": (truth[0] + 20.0, truth[1]),
    }
    try:
        said = {name: tuple(judge(truth, forecast)) for name, forecast in {"": truth, **faults}.items()}
    except Exception as error:
        return answers.say(f"Your function stops with {type(error).__name__}: {error}")
    if said.pop("") != ("usable",):
        return answers.say("The truth itself must pass: for it the answer is ['usable'].")
    for name, reasons in said.items():
        if "usable" in reasons:
            return answers.say(f"This passes, and should not: {name}.")
    return answers.say("Two different faults get the same reasons." if len(set(said.values())) < len(said) else None)


def _film(late=0.0, lasts=1.0, silent=0):
    """Two beats of sixteen nodes, which fire one after the other."""
    t, node = np.arange(1000.0)[:, None], np.arange(16)
    shapes = []
    for begin in (60.0, 560.0):
        since = t - begin - late - 2.0 * node
        shapes.append(np.interp(since, [0.0, 2.0, 230.0 * lasts, 280.0 * lasts], [0.0, 1.0, 0.8, 0.0]))
    shape = shapes[0] + shapes[1] * (node >= silent)
    return 120.0 * shape - 85.0, 6e-4 * shape + 1e-4
