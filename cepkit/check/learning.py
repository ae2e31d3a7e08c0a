"""Checks of exercises on data, training, forecasts and scores."""

import numpy as np
import xarray as xr

from cepkit.check import answers
from cepkit.check.answers import _say


def scaling(scaled):
    """Check ``scaled(train, test)``, the z-scores of the test part.

    Parameters
    ----------
    scaled : callable
        Two trajectories, ``xr.Dataset`` over (time, y, x) -> the second in z-scores, an ``xr.Dataset``.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.scaling(lambda train, test: (test - test.mean()) / test.std())
    Those are the statistics of the test part itself: a forecaster does not know them.
    False
    """
    from cepkit.dataset import VARIABLES, Scaling

    rng = np.random.default_rng()

    def part(offset, spread, frames):
        shape = (frames, 3, 4)
        where = rng.normal(size=shape[1:])  # so that no node is like its neighbour
        fields = {
            v: (("time", "y", "x"), offset + k + where + spread * (k + 1) * rng.normal(size=shape))
            for k, v in enumerate(VARIABLES)
        }
        return xr.Dataset(fields)

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
            "The statistics come from both parts together: the test part must stay unseen.": by(
                lambda a, b: xr.concat([a, b], "time")
            ),
            "One pair of numbers for each node. One for each variable is asked for.": by(lambda a, b: a, "time"),
            "Not divided by the standard deviation of the training part.": lambda a, b: b - a.mean(),
            "Divided by the variance: take its root.": lambda a, b: (b - a.mean()) / a.var(),
            "The mean is not taken away.": lambda a, b: b / a.std(),
        },
    )


def windows(cut):
    """Check ``cut(X, length, stride)``, all training windows of a series.

    Parameters
    ----------
    cut : callable
        Frames (time, N_in), frames in a window, frames from one start to the next -> array
        (windows, length, N_in).

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.windows(lambda X, length, stride: X)
    The shape is (19, 2), and that is not the shape asked for.
    False
    """
    import torch

    from cepkit.dataset import Windows

    def right(X, length, stride):
        cutter = Windows(torch.from_numpy(X), length, stride)
        return cutter[range(len(cutter))].numpy()

    def without_last(X, length, stride):
        return np.stack([X[k : k + length] for k in range(0, len(X) - length, stride)])

    def side_by_side(X, length, stride):
        return np.stack([X[k : k + length] for k in range(0, len(X) - length + 1, length)])

    def every(X, length, stride):
        return np.stack([X[k : k + length] for k in range(len(X) - length + 1)])

    X = np.random.default_rng().normal(size=(19, 2))
    return answers.function(
        cut,
        right,
        [(X, 7, 3), (X, 4, 5)],
        {
            "The last window that still fits is missing: count the starts again.": without_last,
            "Windows lie side by side: the starts are `stride` apart, not `length`.": side_by_side,
            "A window starts at every frame: the stride is not used.": every,
        },
    )


def lstm_weights(count):
    """Check ``count(n_in, hidden)``, the weights of the paper's network of two LSTM layers and a dense one.

    Parameters
    ----------
    count : callable
        Numbers in a frame, numbers in the hidden state -> number of weights.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.lstm_weights(lambda n_in, hidden: 4 * hidden * (n_in + hidden))
    Too small.
    False
    """
    import torch

    from cepkit.surrogates.lstm import LSTMNetwork

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
            "The second layer reads the hidden state of the first, not the frame.": (
                lambda n, H: right(n, H) + 4 * H * (n - H)
            ),
            "There are two layers.": lambda n, H: right(n, H) - 8 * H * H - 8 * H,
        },
        tolerance=1e-9,
    )


def free_run(run):
    """Check ``run(step, x_0, h_0, steps)``, Algorithm 2.

    Parameters
    ----------
    run : callable
        One step of a network, ``x, h = step(x, h)``, the first frame, the memory and the number of steps -> list of
        the simulated frames.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.free_run(cep.forecast.free_run)
    That is right.
    True
    """
    from cepkit.forecast import free_run as right

    def step(x, h):
        h = 0.5 * (0.0 if h is None else h) + x
        return 0.8 * x + 0.3 * h, h

    def given_first(step, x, h, steps):
        return [x, *right(step, x, h, steps - 1)]

    def given_too(step, x, h, steps):
        return [x, *right(step, x, h, steps)]

    def no_feedback(step, x, h, steps):
        out = []
        for _ in range(steps):
            new, h = step(x, h)
            out.append(new)
        return out

    def no_memory(step, x, h, steps):
        out = []
        for _ in range(steps):
            x, _ = step(x, h)
            out.append(x)
        return out

    return answers.function(
        run,
        right,
        [(step, np.array([1.0, -2.0]), None, 5), (step, np.array([0.5, 0.1]), np.array([1.0, 3.0]), 4)],
        {
            "One frame late: the given frame is not part of the simulation.": given_first,
            "The given frame is not part of the simulation: one frame too many.": given_too,
            "The network always reads the first frame: what it announces must become its next input.": no_feedback,
            "The memory never changes: hand the new h to the next step.": no_memory,
        },
    )


def euler(solve):
    """Check ``solve(f, z_0, times)``, explicit Euler from each time to the next.

    Parameters
    ----------
    solve : callable
        Right-hand side ``f(t, z)``, initial value (n,), times (m,) -> states (m, n), the initial value first.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.euler(lambda f, z_0, times: None)
    Your function returns nothing: is there a `return`?
    False
    """

    def stepped(advance):
        def run(f, z, times):
            out = [np.asarray(z, float)]
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
            "The steps are not all of one length: take each from the times.": stepped(
                lambda f, a, b, z: z + 0.1 * f(a, z)
            ),
            "f is asked at the end of the step: explicit Euler asks at its beginning.": stepped(
                lambda f, a, b, z: z + (b - a) * f(b, z)
            ),
            "The slope is added without the length of the step.": stepped(lambda f, a, b, z: z + f(a, z)),
        },
        tolerance=1e-6,
    )


def z_mse(error):
    """Check ``error(forecast, truth, std)``, the book's figure for a forecast: the median over starts.

    Parameters
    ----------
    error : callable
        Two fields of one variable, ``xr.DataArray`` over (start, lead_time, y, x), and the standard deviation of its
        training part -> one number, the median over the starts of the mean squared error in z-scores.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.z_mse(lambda forecast, truth, std: float((((forecast - truth) / std) ** 2).mean()))
    That is the mean over the starts: one bad start decides it. The median is asked for.
    False
    """
    rng = np.random.default_rng()
    dims = ("start", "lead_time", "y", "x")
    truth = xr.DataArray(5.0 * rng.normal(size=(7, 6, 3, 3)), dims=dims)
    worse = xr.DataArray(rng.permutation([0.3, 0.5, 0.8, 1.0, 2.0, 4.0, 9.0]), dims="start")
    forecast = truth + worse * (1.0 + xr.DataArray(rng.normal(size=truth.shape), dims=dims))
    inside = dims[1:]

    def squared(f, t, std):
        return ((f - t) ** 2 / std**2).mean(inside)

    return answers.function(
        error,
        lambda *given: float(squared(*given).median()),
        [(forecast, truth, 3.0), (2 * forecast, 2 * truth, 11.0)],
        {
            "That is the mean over the starts: one bad start decides it. The median is asked for.": (
                lambda *given: float(squared(*given).mean())
            ),
            "The median is taken over all numbers. First the mean within each start, then the median of the starts.": (
                lambda f, t, std: float(((f - t) ** 2 / std**2).median())
            ),
            "In squared physical units: divide by the variance of the training part.": (
                lambda f, t, std: float(squared(f, t, 1.0).median())
            ),
            "Divided by the standard deviation, but a squared error needs its square.": (
                lambda f, t, std: float(squared(f, t, 1.0).median() / std)
            ),
            "Divided by the spread of the truth, which is test data: use the training part's, which you are given.": (
                lambda f, t, std: float(squared(f, t, float(t.std())).median())
            ),
            "That is a root: the mean squared error is asked for.": (
                lambda *given: float(np.sqrt(squared(*given)).median())
            ),
            "Errors of opposite sign cancel in this: square before you take the mean.": (
                lambda f, t, std: float((((f - t).mean(inside) / std) ** 2).median())
            ),
        },
    )


def verdict(judge):
    """Check ``judge(truth, forecast)``, which names what is wrong with a forecast.

    Parameters
    ----------
    judge : callable
        Two pairs of arrays, Vm [mV] and Cai [mM], each (time, nodes), 1 ms apart -> list of str; ``["usable"]`` for a
        good forecast.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.verdict(lambda truth, forecast: ["usable"])
    This passes, and should not: 20 ms late.
    False
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
        return _say(f"Your function stops with {type(error).__name__}: {error}")
    if said.pop("") != ("usable",):
        return _say("The truth itself must pass: for it the answer is ['usable'].")
    for name, reasons in said.items():
        if "usable" in reasons:
            return _say(f"This passes, and should not: {name}.")
    if len(set(said.values())) < len(said):
        return _say("Two different faults get the same reasons.")
    return _say(None)


def _film(late=0.0, lasts=1.0, silent=0):
    """Two beats of sixteen nodes, which fire one after the other."""
    t, node = np.arange(1000.0)[:, None], np.arange(16)
    Vm, Cai = np.full((1000, 16), -85.0), np.full((1000, 16), 1e-4)
    for number, begin in enumerate((60.0, 560.0)):
        since = t - begin - late - 2.0 * node
        shape = np.interp(since, [0.0, 2.0, 230.0 * lasts, 280.0 * lasts], [0.0, 1.0, 0.8, 0.0])
        shape *= (number == 0) | (node >= silent)
        Vm += 120.0 * shape
        Cai += 6e-4 * shape
    return Vm, Cai
