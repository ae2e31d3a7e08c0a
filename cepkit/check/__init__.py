"""Self-checks: hand over an answer and hear what is wrong with it, but not what is right.

Each call works out anew what is right and what each typical mistake gives, prints one line and returns the verdict.
"""

from functools import partial

import numpy as np
import torch
import xarray as xr

from cepkit import cell, dataset, fields, forecast, measure
from cepkit.bench.methods import conv_lstm, reservoirs
from cepkit.check import answers
from cepkit.check.answers import field, function, number  # noqa: F401, for exercises of your own
from cepkit.problems import toy
from cepkit.surrogates.lstm import LSTMNetwork


def rush_larsen(step):
    """Check ``step(y, target, tau, dt)``, one step of Rush and Larsen: the gate a step later; times in ms."""
    cases = [(0.1, 0.9, 2.0, 0.5), (0.8, 0.3, 0.5, 2.0), (0.0, 1.0, 10.0, 1.0)]
    return answers.function(step, lambda y, target, tau, dt: target + (y - target) * np.exp(-dt / tau), cases, {
        "That is Euler's step: it overshoots where the step is longer than the time constant.":
            lambda y, target, tau, dt: y + dt * (target - y) / tau,
        "The exponent has the wrong sign: the distance to the target must shrink.":
            lambda y, target, tau, dt: target + (y - target) * np.exp(dt / tau),
        "The exponent is upside down: a long step must come nearer to the target than a short one.":
            lambda y, target, tau, dt: target + (y - target) * np.exp(-tau / dt),
        "Start and target are swapped: for a very long step the gate must arrive at its target.":
            lambda y, target, tau, dt: y + (target - y) * np.exp(-dt / tau),
    })  # fmt: skip


def apd90(duration):
    """Check ``duration(Vm)``, the APD90 of a beat [ms] from its potential [mV] over ``time``."""

    def pulse(rest, peak, lasts, step):
        t = np.arange(0.0, 500.0, step)
        shape = np.interp(t - 20.3, [0.0, 5.4, 0.7 * lasts, lasts], [0.0, 1.0, 0.7, 0.0])
        return (xr.DataArray(rest + (peak - rest) * shape, {"time": t}, ("time",), name="Vm", attrs={"units": "mV"}),)

    def part(Vm, name="APD", fraction=0.9):
        return float(measure.action_potential(Vm, fraction)[name])

    def frames(Vm, rest):
        above = Vm.time[Vm.values > float(Vm.max()) - 0.9 * (float(Vm.max()) - rest)]
        return float(above[-1] - above[0])

    cases = [pulse(-85.0, 35.0, 280.0, 1.0), pulse(-70.0, 20.0, 190.0, 0.5), pulse(-80.0, 30.0, 330.0, 4.0)]
    return answers.function(duration, part, cases, {
        "That is where half has repolarised: APD90 waits for nine tenths.": lambda Vm: part(Vm, fraction=0.5),
        "The level is a tenth of the way up: APD90 ends where a tenth is left, and that is counted from rest.":
            lambda Vm: part(Vm, fraction=0.1),
        "Nine tenths of what? The level lies between rest and peak; zero has no meaning.": lambda Vm: frames(Vm, 0.0),
        "That is when the beat ends. A duration begins at the crossing upwards.": lambda Vm: part(Vm, "repolarisation"),
        "Frames are not always a millisecond apart: use the time coordinate.": lambda Vm: part(Vm) / float(Vm.time[1]),
        "Your crossings sit on frames: interpolate between the two around.": lambda Vm: frames(Vm, float(Vm.min())),
    }, tolerance=2e-3)  # fmt: skip


def threshold(value):
    """Check the weakest stimulus of 1 ms that makes the resting cell fire [pA/pF, its strength, a positive number]."""
    weakest = measure.capture_threshold()
    hints, right = {"With this one the cell stays silent.": weakest - 0.05}, weakest + 0.05  # to a tenth, rounded up
    return answers.number(value, right, "pA/pF", 0.06 / right, hints)


def conduction_velocity(velocity):
    """Check ``velocity(Vm, start, end)``, the speed of a front [m/s] between two positions by axis [mm]."""
    right = measure.conduction_velocity
    axis, t = 0.5 * np.arange(9.0), np.arange(0.0, 60.0)
    front = 1.0 / (1.0 + np.exp(-3.0 * (t[:, None, None] - 10.0 - 4.0 * axis[:, None] - 3.0 * axis)))  # oblique
    Vm = xr.DataArray(120.0 * front - 85.0, {"time": t, "y": axis, "x": axis}, name="Vm", attrs={"units": "mV"})
    cases = [(Vm, {"y": 1.0, "x": 1.0}, {"y": 2.5, "x": 3.0}), (Vm, {"y": 3.0, "x": 3.0}, {"y": 1.0, "x": 1.5})]
    return answers.function(velocity, right, cases, {
        "You count nodes. Distance is in millimetres: use the coordinates.": lambda *given: right(*given) / axis[1],
        "The two places differ along both axes: the distance is that of Pythagoras.":
            lambda Vm, a, b: right(Vm, a, b) * (b["x"] - a["x"]) / np.hypot(b["x"] - a["x"], b["y"] - a["y"]),
        "A wave that reaches the end first has a negative velocity: keep the sign.": lambda *given: abs(right(*given)),
    }, tolerance=0.02)  # fmt: skip


def stimulus_potassium(value, beats):
    """Check by how much the potassium of a cell would rise if it kept what so many stimuli carry in [mM]."""
    c = cell.Constants()
    charge = beats * -fields.AMPLITUDE * fields.DURATION * c.Cm / c.F
    return answers.number(value, charge / c.Vc, "mM", mistakes={
        "That is one beat: multiply by their number.": charge / c.Vc / beats,
        "That spreads the ions over the store. They go into the cytosol.": charge / c.Vsr,
        "That spreads the ions over the subspace. They go into the cytosol.": charge / c.Vss,
        "The charge of a mole of ions is missing: divide by F.": charge * c.F / c.Vc,
        "The capacitance is missing: the current is given for each picofarad.": charge / c.Vc / c.Cm,
    })  # fmt: skip


def scaling(scaled):
    """Check ``scaled(train, test)``: of two trajectories the second, in z-scores."""
    rng, dims = np.random.default_rng(), ("variable", "time", "y", "x")
    scale = np.arange(1.0, 5.0)[:, None, None, None]  # so that no variable is like another

    def part(offset, spread, frames):
        where = rng.normal(size=(3, 4))  # so that no node is like its neighbour
        values = offset + where + scale * (1 + spread * rng.normal(size=(4, frames, 3, 4)))
        coords = {"variable": list(fields.VARIABLES), "time": np.arange(float(frames))}
        return xr.DataArray(values, coords, dims).to_dataset("variable")

    def by(source, test, over=None):
        return (test - source.mean(over)) / source.std(over)

    return answers.function(scaled, lambda a, b: dataset.Scaling.fit(a).apply(b), [(part(-1, 1, 60), part(2, 2, 40))], {
        "Those are the statistics of the test part itself: a forecaster does not know them.": lambda a, b: by(b, b),
        "The numbers are of both parts: the test part must stay unseen.": lambda a, b: by(xr.concat([a, b], "time"), b),
        "One pair of numbers for each node. One for each variable is asked for.": lambda a, b: by(a, b, "time"),
        "Not divided by the standard deviation of the training part.": lambda a, b: b - a.mean(),
        "Divided by the variance: take its root.": lambda a, b: (b - a.mean()) / a.var(),
        "The mean is not taken away.": lambda a, b: b / a.std(),
    })  # fmt: skip


def windows(cut):
    """Check ``cut(X, length, stride)``, all training windows of a series: (time, N_in) to (windows, length, N_in)."""

    def right(X, length, stride):
        found = dataset.Windows(torch.from_numpy(X), length, stride)
        return found[range(len(found))].numpy()

    X = np.random.default_rng().normal(size=(19, 2))
    return answers.function(cut, right, [(X, 7, 3), (X, 4, 5)], {
        "The last window that still fits is missing: count the starts again.": lambda *given: right(*given)[:-1],
        "Windows lie side by side: the starts are `stride` apart, not `length`.": lambda X, n, by: right(X, n, n),
        "A window starts at every frame: the stride is not used.": lambda X, n, by: right(X, n, 1),
    })  # fmt: skip


def lstm_weights(count):
    """Check ``count(n_in, hidden)``, the weights of the paper's network of two LSTM layers and a dense one."""
    right = partial(_weights, LSTMNetwork, layers=2)
    return answers.function(count, right, [(12, 5), (40, 7)], {
        "The dense layer that writes the frame is missing.": lambda n, H: right(n, H) - n * (H + 1),
        "The dense layer has a bias, too.": lambda n, H: right(n, H) - n,
        "PyTorch gives each map of a layer two bias vectors.": lambda n, H: right(n, H) - 8 * H,
        "The biases are missing.": lambda n, H: right(n, H) - 16 * H - n,
        "The second layer reads the first's hidden state, not the frame.": lambda n, H: right(n, H) + 4 * H * (n - H),
        "There are two layers.": lambda n, H: right(n, H) - 8 * H * H - 8 * H,
    }, tolerance=1e-9)  # fmt: skip


def _weights(network, *sizes, **settings):
    with torch.device("meta"):  # without making room for them
        return sum(p.numel() for p in network(*sizes, **settings).parameters())


def free_run(run):
    """Check ``run(step, x_0, h_0, steps)``, Algorithm 2: the list of frames that ``x, h = step(x, h)`` simulates."""

    def step(x, h):
        h = 0.5 * (0.0 if h is None else h) + x
        return 0.8 * x + 0.3 * h, h

    right = forecast.free_run
    cases = [(step, np.array([1.0, -2.0]), None, 5), (step, np.array([0.5, 0.1]), np.array([1.0, 3.0]), 4)]
    return answers.function(run, right, cases, {
        "One frame late: the given frame is no part of the simulation.": lambda f, x, h, n: [x, *right(f, x, h, n - 1)],
        "One frame too many: the given one is no part of the simulation.": lambda f, x, h, n: [x, *right(f, x, h, n)],
        "The network always reads the first frame: what it predicts must become its next input.":
            lambda f, x_0, h, n: right(lambda x, h: f(x_0, h), x_0, h, n),
        "The memory never changes: hand on the new h.": lambda f, x, h_0, n: right(lambda x, h: f(x, h_0), x, h_0, n),
    })  # fmt: skip


def euler(solve):
    """Check ``solve(f, z_0, times)``, explicit Euler for f(t, z) from each time to the next: states (m, n)."""

    def right(f, z_0, times, rise=lambda f, a, b, z: (b - a) * f(a, z)):
        z = [z_0]
        for a, b in zip(times[:-1], times[1:], strict=True):
            z.append(z[-1] + rise(f, a, b, z[-1]))
        return np.stack(z)

    times = np.array([0.0, 0.1, 0.3, 0.35, 0.8])
    starts = [(np.array([1.0, 0.5]), times), (np.array([0.0, -1.0]), times + 1.0)]
    cases = [(lambda t, z: np.array([z[1], -z[0] + np.cos(t)]), *start) for start in starts]  # a driven oscillator
    return answers.function(solve, right, cases, {
        "The initial value is the first of the states.": lambda *given: right(*given)[1:],
        "The steps differ in length: take each from the times.": partial(right, rise=lambda f, a, b, z: 0.1 * f(a, z)),
        "f is asked at the end of the step: explicit Euler asks at its beginning.":
            partial(right, rise=lambda f, a, b, z: (b - a) * f(b, z)),
        "The slope is added without the length of the step.": partial(right, rise=lambda f, a, b, z: f(a, z)),
    }, tolerance=1e-6)  # fmt: skip


def z_mse(error):
    """Check ``error(forecast, truth, std)``: the median over ``start`` of the mean squared error in z-scores."""
    rng, dims = np.random.default_rng(), ("start", "lead_time", "y", "x")
    truth = xr.DataArray(5.0 * rng.normal(size=(7, 6, 3, 3)), dims=dims)
    worse = xr.DataArray(rng.permutation([0.3, 0.5, 0.8, 1.0, 2.0, 4.0, 9.0]), dims="start")
    given = truth + worse * (1.0 + xr.DataArray(rng.normal(size=truth.shape), dims=dims))

    def right(f, t, std, within=dims[1:], summary=np.median):
        return float(summary(((f - t) ** 2 / std**2).mean(within)))

    return answers.function(error, right, [(given, truth, 3.0), (2 * given, 2 * truth, 11.0)], {
        "The mean over the starts: one bad start decides it. The median is asked for.": partial(right, summary=np.mean),
        "The median of all numbers. First the mean within each start, then their median.": partial(right, within=()),
        "In squared physical units: divide by the variance of the training part.": lambda f, t, std: right(f, t, 1.0),
        "Divided by the standard deviation; a squared error needs its square.": lambda f, t, std: right(f, t, std**0.5),
        "The truth's spread is test data: use the training part's, as given.": lambda f, t, std: right(f, t, t.std()),
        "That is a root: the mean squared error is asked for.": lambda *given: right(*given) ** 0.5,
        "Errors of opposite sign cancel in this: square before you take the mean.":
            lambda f, t, std: right(f.mean(dims[1:]), t.mean(dims[1:]), std, within=()),
    })  # fmt: skip


def verdict(judge):
    """Check ``judge(truth, forecast)``, faults or ``["usable"]``; each is Vm [mV] and Cai [mM] of (time, nodes)."""
    truth = _film()
    forecasts = {
        "": truth, "20 ms late": _film(late=20.0), "an action potential a fifth too short": _film(lasts=0.8),
        "a beat missing in half of the nodes": _film(silent=8),
        "a plateau and a rest that are 20 mV too high": (truth[0] + 20.0, truth[1]),
    }  # fmt: skip
    try:
        said = {name: tuple(judge(truth, forecast)) for name, forecast in forecasts.items()}
    except Exception as error:
        return answers.say(f"Your function stops with {type(error).__name__}: {error}")
    if said.pop("") != ("usable",):
        return answers.say("The truth itself must pass: for it the answer is ['usable'].")
    for name, reasons in said.items():
        if "usable" in reasons:
            return answers.say(f"This passes, and should not: {name}.")
    return answers.say("Two different faults get the same reasons." if len(set(said.values())) < len(said) else None)


def _film(late=0.0, lasts=1.0, silent=0):
    """Two beats of sixteen nodes, which fire one after the other; some may skip the second beat."""
    node, corners = np.arange(16), [0.0, 2.0, 230.0 * lasts, 280.0 * lasts]
    since = np.arange(1000.0)[:, None] - late - 2.0 * node
    one, two = (np.interp(since - begin, corners, [0.0, 1.0, 0.8, 0.0]) for begin in (60.0, 560.0))
    shape = one + two * (node >= silent)
    return 120.0 * shape - 85.0, 6e-4 * shape + 1e-4


def modes(count):
    """Check ``count(pictures, share)``, how many POD modes hold a share of the mean square of (pictures, points)."""

    def right(pictures, share, power=2):
        values = np.linalg.svd(pictures, compute_uv=False) ** power
        return int(np.argmax(np.cumsum(values) / values.sum() >= share)) + 1

    x = np.linspace(0.0, 1.0, 60)
    fronts = [0.5 * (1 - np.tanh((x - x[:, None]) / width)) for width in (0.3, 0.1, 0.03)]
    return answers.function(count, right, [(p, share) for p in fronts for share in (0.99, 0.9999)], {
        "The mean square belongs to the squares of the singular values.": partial(right, power=1),
        "One too few: the position of the first sum that suffices, counted from one.": lambda p, s: right(p, s) - 1,
        "One too many: stop at the first sum that suffices.": lambda p, s: right(p, s) + 1,
        "The mean picture is taken away; the share is of the whole mean square.": lambda p, s: right(p - p.mean(0), s),
    }, tolerance=1e-9)  # fmt: skip


def nvar_features(count):
    """Check ``count(numbers, taps)``, the features of NVAR: one, all entries seen, and all products of two."""
    cases = [(2, 2), (3, 1), (5, 3)]
    return answers.function(count, lambda d, n: reservoirs.nvar_features(torch.zeros(d * n)).numel(), cases, {
        "The constant is missing.": lambda d, n: d * n + d * n * (d * n + 1) // 2,
        "x times y and y times x are one product.": lambda d, n: 1 + d * n + (d * n) ** 2,
        "The squares are products, too.": lambda d, n: 1 + d * n + d * n * (d * n - 1) // 2,
        "All frames that are seen enter, not one.": lambda d, n: 1 + d + d * (d + 1) // 2,
        "The products alone: the entries and the constant are features as well.": lambda d, n: d * n * (d * n + 1) // 2,
    }, tolerance=1e-9)  # fmt: skip


def conv_weights(count):
    """Check ``count(inputs, hidden, kernel)``, the weights of the four gates of a ConvLSTM cell."""
    cases = [(3, 4, 3), (2, 6, 5)]
    return answers.function(count, lambda n, H, k: _weights(lambda: conv_lstm.ConvCell(n, H, 1, k).gates), cases, {
        "The biases are missing: one for each gate and channel.": lambda n, H, k: 4 * H * (n + H) * k**2,
        "That is one gate. There are four.": lambda n, H, k: H * (n + H) * k**2 + H,
        "A kernel is a square: its side counts twice.": lambda n, H, k: 4 * H * (n + H) * k + 4 * H,
        "The gates read the hidden state as well as the input.": lambda n, H, k: 4 * H * n * k**2 + 4 * H,
    }, tolerance=1e-9)  # fmt: skip


def pays_after(beats):
    """Check ``beats(training, solver, surrogate)``, after how many beats training has paid; in s, and in ms a beat."""
    return answers.function(beats, lambda a, b, c: 1000 * a / (b - c), [(600.0, 90.0, 20.0), (45.0, 80.0, 70.0)], {
        "The surrogate's own time is not free: a beat saves the difference.": lambda a, b, c: 1000 * a / b,
        "Divided by the surrogate's time: what a beat saves is the difference.": lambda a, b, c: 1000 * a / c,
        "Seconds are divided by milliseconds.": lambda a, b, c: a / (b - c),
        "Saved is the solver's time less the surrogate's, not the other way round.": lambda a, b, c: 1000 * a / (c - b),
    }, tolerance=0.01)  # fmt: skip


def surrogate(model):
    """Check that a model, not yet fitted, keeps the rules of the benchmark, on a sheet of 4 x 4 nodes."""
    trajectory, stimulus = toy()
    history, until_90 = trajectory.isel(time=slice(0, 60)), stimulus.copy(deep=True)
    until_90[90:] = 0.0
    try:
        model.fit(trajectory, stimulus=stimulus)
        run, again, other = (model.rollout(history, 60, stimulus=s) for s in (stimulus, stimulus, until_90))
        short = model.rollout(history, 20, stimulus=stimulus)
    except Exception as error:
        return answers.say(f"Your model stops with {type(error).__name__}: {error}")
    kept = {
        "The forecast holds NaN or infinite numbers.": all(np.isfinite(run[v]).all() for v in run.data_vars),
        "Two forecasts from the same history differ: draw random numbers from a seed.": run.equals(again),
        "A stimulus acts before it comes: frame k may depend on the stimulus up to then, and no further.":
            answers.close([other.isel(lead_time=slice(29))], [run.isel(lead_time=slice(29))], 1e-5),
        "A longer forecast begins otherwise than a shorter one: it must not know how long it will be.":
            answers.close([short], [run.isel(lead_time=slice(20))], 1e-5),
    }  # fmt: skip
    return answers.say(next((hint for hint, is_kept in kept.items() if not is_kept), None))
