"""Two chaotic systems from the textbooks, on which reservoirs have been measured before.

An implementation that forecasts them as long as the literature says is probably right.
"""

import numpy as np
import torch
import xarray as xr

from cepkit.bench.methods.reservoirs import delays, draw_reservoir, listen, nvar_features, ridge

LORENZ_EXPONENT = 0.906  # largest Lyapunov exponent, per unit of time: Sprott 2003, Chaos and Time-Series Analysis


def lorenz_rate(state):
    """Right-hand side of Lorenz 1963, doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2; state (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(state, float), -1, 0)
    return np.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8 / 3 * z], axis=-1)


def rk4(rate, state, step):
    """One classical Runge-Kutta step of state' = rate(state)."""
    a = rate(state)
    b = rate(state + step / 2 * a)
    c = rate(state + step / 2 * b)
    return state + step / 6 * (a + 2 * b + 2 * c + rate(state + step * c))


def lorenz63(steps=4000, interval=0.025, seed=0, substeps=5, settle=40.0):
    """A trajectory on the Lorenz attractor, sampled as by Gauthier et al. 2021, doi:10.1038/s41467-021-25801-2.

    The seed draws an initial state; the attractor is reached in the time ``settle`` before the first of the samples,
    between which there are ``substeps`` steps of Runge and Kutta.
    """
    states, first = [np.random.default_rng(seed).normal(size=3) + [0, 0, 25]], round(settle / interval) * substeps
    for _ in range(first + (steps - 1) * substeps):
        states.append(rk4(lorenz_rate, states[-1], interval / substeps))
    coords = [("time", interval * np.arange(steps)), ("variable", ["x", "y", "z"])]
    return xr.DataArray(np.array(states[first::substeps]), coords, name="lorenz63")


def mackey_glass(steps=4000, interval=1.0, tau=17.0, seed=0, substeps=10, settle=1000.0):
    """The Mackey-Glass equation, x' = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x, sampled as :func:`lorenz63`.

    Mackey and Glass 1977, doi:10.1126/science.267326. The seed draws the constant past. Within a Runge-Kutta step the
    delayed value is taken at both ends and, by their mean, in the middle; tau must be a whole number of these steps.
    """
    h = interval / substeps
    lag = round(tau / h)
    if not np.isclose(lag * h, tau):
        raise ValueError(f"tau={tau!r} is no whole number of inner steps of {h}; change substeps")
    first = lag + round(settle / h)
    x = np.full(first + (steps - 1) * substeps + 1, 1.2 + 0.1 * np.random.default_rng(seed).normal())
    for k in range(lag, len(x) - 1):
        early, late = x[k - lag], x[k - lag + 1]
        start, middle, end = (0.2 * v / (1 + v**10) for v in (early, (early + late) / 2, late))
        a = start - 0.1 * x[k]
        b = middle - 0.1 * (x[k] + h / 2 * a)
        c = middle - 0.1 * (x[k] + h / 2 * b)
        d = end - 0.1 * (x[k] + h * c)
        x[k + 1] = x[k] + h / 6 * (a + 2 * b + 2 * c + d)
    return xr.DataArray(x[first::substeps, None], [("time", interval * np.arange(steps)), ("variable", ["x"])])


def largest_exponent(rate, state, step, steps, apart=1e-8):
    """Largest Lyapunov exponent, as by Benettin et al. 1980, doi:10.1007/BF02128236: how fast two neighbours part."""
    other, total = state + apart / np.sqrt(len(state)), 0.0
    for _ in range(steps):
        state, other = rk4(rate, np.stack([state, other]), step)
        distance = np.linalg.norm(other - state)
        total += np.log(distance / apart)
        other = state + (other - state) * (apart / distance)
    return total / (steps * step)


def forecast_nvar(train, steps, taps=2, spacing=1, penalty=2.5e-6, noise=1e-3, seed=0):
    """Train NVAR on a series (time, d), and let it go on from its end: (steps, d).

    It forecasts increments, as Gauthier et al. 2021.  Frames of an exact trajectory lie so close to a line that the
    regression finds large weights of opposite sign and the free run is unstable; ``noise`` on the series has the
    effect of the integration error of published data.
    """
    train = np.asarray(train, float)
    x = torch.from_numpy(train + noise * np.random.default_rng(seed).standard_normal(train.shape))
    back = (taps - 1) * spacing
    features = nvar_features(delays(x, taps, spacing))[:-1]
    change = x[back + 1 :] - x[back:-1]
    W_out = ridge(features.T @ features, features.T @ change, penalty)
    window, out = torch.from_numpy(train[-back - 1 :]), []
    for _ in range(steps):
        out.append(window[-1] + nvar_features(delays(window, taps, spacing)[0]) @ W_out)
        window = torch.cat([window[1:], out[-1][None]])
    return torch.stack(out).numpy()


def forecast_esn(train, steps, size=400, radius=0.6, leak=1.0, gain=0.1, penalty=1e-9, settle=100, seed=0):
    """Train an echo state network on a series (time, d) after ``settle`` frames, and let it go on: (steps, d)."""
    x = torch.from_numpy(np.asarray(train, float))
    mean, std = x.mean(0), x.std(0)
    x = (x - mean) / std
    reservoir = draw_reservoir(size, x.new_full((x.shape[1],), gain), radius, np.random.default_rng(seed))
    r, one, states = x.new_zeros(1, size), x.new_ones(1, 1), []
    for row in x:
        r = listen(reservoir, r, row[None], leak)
        states.append(torch.cat([one, r], dim=-1))
    features, target = torch.cat(states[settle:-1]), x[settle + 1 :]
    W_out = ridge(features.T @ features / len(target), features.T @ target / len(target), penalty)
    out = []
    for _ in range(steps):
        out.append(torch.cat([one, r], dim=-1) @ W_out)
        r = listen(reservoir, r, out[-1], leak)
    return (torch.cat(out) * std + mean).numpy()


def valid_time(forecast, truth, interval, threshold=0.4):
    """Time until a forecast (time, d) is off by more than ``threshold``, in root mean square of z-scored variables."""
    forecast, truth = np.asarray(forecast), np.asarray(truth)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt((((forecast - truth) / truth.std(0)) ** 2).mean(1))
    wrong = np.flatnonzero(~(error <= threshold))  # NaN counts as wrong
    return interval * float(wrong[0] if len(wrong) else len(error))
