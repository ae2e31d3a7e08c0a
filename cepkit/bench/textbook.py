"""Two chaotic systems from the textbooks, on which reservoirs have been measured before.

An implementation that forecasts them as long as the literature says is probably right; what it
then does to the heart is the method's own doing.
"""

import numpy as np
import torch
import xarray as xr

from cepkit.bench.methods.reservoirs import delays, draw_reservoir, listen, nvar_features, ridge

LORENZ_EXPONENT = 0.906  # largest Lyapunov exponent, per unit of time: Sprott 2003, Chaos and Time-Series Analysis
MACKEY_GLASS_EXPONENT = 0.006  # tau = 17; published values lie around 0.006


def lorenz_rate(state, sigma=10.0, rho=28.0, beta=8 / 3):
    """Right-hand side of Lorenz 1963, doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2; state (..., 3).

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> textbook.lorenz_rate([0.0, 1.0, 0.0]).tolist()
    [10.0, -1.0, 0.0]
    """
    x, y, z = np.moveaxis(np.asarray(state, float), -1, 0)
    return np.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z], axis=-1)


def rk4(rate, state, step):
    """One classical Runge-Kutta step of state' = rate(state).

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> state = np.array([1.0])
    >>> round(float(textbook.rk4(lambda x: -x, state, 0.1)[0]), 5)  # exp(-0.1) = 0.90484
    0.90484
    """
    a = rate(state)
    b = rate(state + step / 2 * a)
    c = rate(state + step / 2 * b)
    return state + step / 6 * (a + 2 * b + 2 * c + rate(state + step * c))


def lorenz63(steps=4000, interval=0.025, seed=0, substeps=5, settle=40.0):
    """A trajectory on the Lorenz attractor.

    Parameters
    ----------
    steps : int
        Samples.
    interval : float
        Time from one to the next; 0.025 is that of Gauthier et al. 2021, doi:10.1038/s41467-021-25801-2.
    seed : int
        Draws the initial state.
    substeps : int
        Runge-Kutta steps for each interval.
    settle : float
        Time before the first sample, in which the attractor is reached.

    Returns
    -------
    xr.DataArray
        Dims (time, variable), variables x, y and z.

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> series = textbook.lorenz63(steps=100, settle=5.0)
    >>> series.dims, series.shape
    (('time', 'variable'), (100, 3))
    """
    state = np.random.default_rng(seed).normal(size=3) + [0, 0, 25]
    rest = round(settle / interval)
    out = np.empty((steps, 3))
    for k in range(-rest, steps):
        if k >= 0:
            out[k] = state
        for _ in range(substeps):
            state = rk4(lorenz_rate, state, interval / substeps)
    coords = {"time": interval * np.arange(steps), "variable": ["x", "y", "z"]}
    return xr.DataArray(out, coords, ("time", "variable"), name="lorenz63")


def mackey_glass(steps=4000, interval=1.0, tau=17.0, seed=0, substeps=10, settle=1000.0):
    """The Mackey-Glass equation, x' = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x.

    Mackey and Glass 1977, doi:10.1126/science.267326.  Integrated by Runge-Kutta steps; within a step
    the delayed value is taken at both ends and, by their mean, in the middle.

    Parameters
    ----------
    steps, interval, seed, substeps, settle
        As for :func:`lorenz63`; the seed draws the constant past.
    tau : float
        Delay; a whole number of inner steps.

    Returns
    -------
    xr.DataArray
        Dims (time, variable), one variable x.

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> series = textbook.mackey_glass(steps=50, settle=100.0)
    >>> series.shape, bool((series > 0).all())
    ((50, 1), True)
    """
    h = interval / substeps
    lag = round(tau / h)
    if not np.isclose(lag * h, tau):
        raise ValueError(f"tau={tau!r} is no whole number of inner steps of {h}; change substeps")
    count = round(settle / h) + (steps - 1) * substeps + 1
    x = np.full(lag + count, 1.2 + 0.1 * np.random.default_rng(seed).normal())
    for k in range(lag, lag + count - 1):
        ends = x[k - lag], x[k - lag + 1]
        start, end = (0.2 * v / (1 + v**10) for v in ends)
        v = (ends[0] + ends[1]) / 2
        middle = 0.2 * v / (1 + v**10)
        a = start - 0.1 * x[k]
        b = middle - 0.1 * (x[k] + h / 2 * a)
        c = middle - 0.1 * (x[k] + h / 2 * b)
        d = end - 0.1 * (x[k] + h * c)
        x[k + 1] = x[k] + h / 6 * (a + 2 * b + 2 * c + d)
    coords = {"time": interval * np.arange(steps), "variable": ["x"]}
    return xr.DataArray(x[lag + round(settle / h) :: substeps, None][:steps], coords, ("time", "variable"))


def largest_exponent(rate, state, step, steps, apart=1e-8):
    """Largest Lyapunov exponent: how fast two close trajectories part, brought together again after each step.

    Benettin et al. 1980, doi:10.1007/BF02128236.

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> round(float(textbook.largest_exponent(lambda x: 0.5 * x, np.array([1.0, 1.0]), 0.1, 50)), 3)
    0.5
    """
    other, total = state + apart / np.sqrt(len(state)), 0.0
    for _ in range(steps):
        state, other = rk4(rate, np.stack([state, other]), step)
        distance = np.linalg.norm(other - state)
        total += np.log(distance / apart)
        other = state + (other - state) * (apart / distance)
    return total / (steps * step)


# ---- forecasts ----------------------------------------------------------------------------------------


def forecast_nvar(train, steps, taps=2, spacing=1, penalty=2.5e-6, noise=1e-3, seed=0):
    """Train NVAR on a series, and let it go on from its end.

    It forecasts increments, x(k + 1) - x(k), from 1, ``taps`` frames and the products of two of their
    entries, as Gauthier et al. 2021 do.

    Parameters
    ----------
    train : array, shape (time, d)
    steps : int
    taps, spacing : int
        Frames seen at once, and steps between them.
    penalty : float
        Of the ridge regression, for the sum over the samples.
    noise : float
        Standard deviation of noise on the training series.  Frames of an exact trajectory lie so close to a
        line that the regression finds large weights of opposite sign, and the free run is unstable; the
        integration error of published data has the same effect as this noise.
    seed : int

    Returns
    -------
    array, shape (steps, d)

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> circle = np.stack([np.sin(np.arange(200) / 9), np.cos(np.arange(200) / 9)], 1)
    >>> free = textbook.forecast_nvar(circle[:150], 50)
    >>> free.shape, bool(abs(free - circle[150:]).max() < 0.1)
    ((50, 2), True)
    """
    train = np.asarray(train, float)
    x = torch.from_numpy(train + noise * np.random.default_rng(seed).standard_normal(train.shape))
    back = (taps - 1) * spacing
    features = nvar_features(delays(x, taps, spacing))[:-1]
    change = x[back + 1 :] - x[back:-1]
    W_out = ridge(features.T @ features, features.T @ change, penalty)
    window, out = torch.from_numpy(train[-back - 1 :]), []
    for _ in range(steps):
        new = window[-1] + nvar_features(delays(window, taps, spacing)[0]) @ W_out
        window = torch.cat([window[1:], new[None]])
        out.append(new)
    return torch.stack(out).numpy()


def forecast_esn(train, steps, size=400, radius=0.6, leak=1.0, gain=0.1, penalty=1e-9, settle=100, seed=0):
    """Train an echo state network on a series, and let it go on from its end.

    Parameters
    ----------
    train : array, shape (time, d)
    steps : int
    size : int
        Units of the reservoir.
    radius, leak, gain : float
        Spectral radius, leak, and gain of the inputs, which are z-scored.
    penalty : float
        Of the ridge regression, for the mean over the samples.
    settle : int
        Frames before the state has forgotten its beginning.
    seed : int

    Returns
    -------
    array, shape (steps, d)

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> circle = np.stack([np.sin(np.arange(300) / 9), np.cos(np.arange(300) / 9)], 1)
    >>> textbook.forecast_esn(circle[:250], 50, size=50).shape
    (50, 2)
    """
    x = torch.from_numpy(np.asarray(train, float))
    mean, std = x.mean(0), x.std(0)
    x = (x - mean) / std
    gains = x.new_full((x.shape[1],), gain)
    reservoir = draw_reservoir(size, gains, radius, np.random.default_rng(seed))
    r, states = x.new_zeros(1, size), []
    for row in x:
        r = listen(reservoir, r, row[None], leak)
        states.append(_readable(r))
    features, target = torch.cat(states[settle:-1]), x[settle + 1 :]
    W_out = ridge(features.T @ features / len(target), features.T @ target / len(target), penalty)
    out = []
    for _ in range(steps):
        new = _readable(r) @ W_out
        out.append(new[0])
        r = listen(reservoir, r, new, leak)
    return (torch.stack(out) * std + mean).numpy()


def _readable(r):
    return torch.cat([torch.ones_like(r[:, :1]), r], dim=-1)


def valid_time(forecast, truth, interval, threshold=0.4):
    """Time until a forecast is off by more than ``threshold`` of the truth's spread.

    The error is the root of the mean square over the variables, each in units of its standard
    deviation over ``truth``.  Divided by the Lyapunov time it is the valid prediction time of the literature.

    Parameters
    ----------
    forecast, truth : array, shape (time, d)
    interval : float

    Returns
    -------
    float

    Examples
    --------
    >>> from cepkit.bench import textbook
    >>> truth = np.sin(np.arange(100.0))[:, None]
    >>> wrong = truth.copy()
    >>> wrong[40:] += 5
    >>> textbook.valid_time(wrong, truth, interval=0.5)
    20.0
    """
    forecast, truth = np.asarray(forecast), np.asarray(truth)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt((((forecast - truth) / truth.std(0)) ** 2).mean(1))
    wrong = np.flatnonzero(~(error <= threshold))  # NaN counts as wrong
    return interval * float(wrong[0] if len(wrong) else len(error))
