"""Self-checks: hand over an answer and hear what is wrong with it, but not what is right.

What is right is worked out anew at each call, with the library itself; a typical mistake is worked out beside it, and
whoever makes it is told its name. Every check prints one line and returns whether the answer holds.
"""

import copy

import numpy as np
import torch
import xarray as xr

_RIGHT = "That is right."
#: Slips that any number may suffer, and what they make of the right one.
_SLIPS = {
    "The sign is the other way round.": lambda x: -x,
    "Off by a factor of a thousand: look at the units (s and ms, mM and µM, mV and V).": lambda x: 1000 * x,
    "Off by a factor of a thousand, too small: look at the units (s and ms, mM and µM, mV and V).": lambda x: x / 1000,
    "Off by a factor of a million: two units are mixed up, or one of them twice.": lambda x: 1e6 * x,
    "Off by a factor of a million, too small: two units are mixed up, or one of them twice.": lambda x: x / 1e6,
    "Off by a factor of a hundred: per cent, or a share? cm, or m?": lambda x: 100 * x,
    "Off by a factor of a hundred, too small: per cent, or a share? cm, or m?": lambda x: x / 100,
    "Twice too much: is something counted two times?": lambda x: 2 * x,
    "Half of it: is one of two parts missing?": lambda x: x / 2,
    "You have its reciprocal: turn the fraction over.": lambda x: 1 / x,
    "You have its square: the root is missing, or should not have been squared.": lambda x: x**2,
    "You have its root: square it, or do not take the root.": lambda x: np.sqrt(x),
}


# ---- checks of any answer ---------------------------------------------------------------------------------


def number(value, expected, unit="", tolerance=0.02, mistakes=None):
    """Check one number.

    Parameters
    ----------
    value : float
        The answer.
    expected : float or callable
        What is right, or a function without arguments that works it out.
    unit : str
        Asked for in the hint.
    tolerance : float
        Relative deviation that still counts as right.
    mistakes : dict of str to float, optional
        Hint -> what somebody gets who makes that mistake.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.number(-250.0, lambda: 250.0, "ms")
    The sign is the other way round. The unit asked for is ms.
    False
    """
    expected = expected() if callable(expected) else expected
    if not isinstance(value, str) and np.size(value) != 1:
        return _say(f"One number is asked for, and this has the shape {np.shape(value)}.")
    try:
        value = float(value)
    except (TypeError, ValueError):
        return _say(f"One number is asked for, and this is a {type(value).__name__}.")
    hint = _hint([value], [expected], {text: [wrong] for text, wrong in (mistakes or {}).items()}, tolerance)
    return _say(hint and hint + (f" The unit asked for is {unit}." if unit else ""))


def field(value, expected, tolerance=1e-3, mistakes=None):
    """Check an array, a labelled field or a data set: what it is, its axes, then its values.

    Parameters
    ----------
    value : array, xr.DataArray or xr.Dataset
        The answer.
    expected : the same, or callable
        What is right, or a function without arguments that works it out.
    tolerance : float
        Deviation that still counts as right, relative to the largest value.
    mistakes : dict of str to array or field, optional
        Hint -> what somebody gets who makes that mistake.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.field(np.array([1.0, 2.0, 3.0]), lambda: np.array([2.0, 3.0, 4.0]))
    The values are right, and one frame early or late: where does counting begin?
    False
    """
    expected = expected() if callable(expected) else expected
    return _say(_hint([value], [expected], {text: [wrong] for text, wrong in (mistakes or {}).items()}, tolerance))


def function(candidate, reference, cases, mistakes=None, tolerance=1e-3):
    """Check a function by calling it.

    Parameters
    ----------
    candidate : callable
        The answer.
    reference : callable
        What is right, for the same arguments.
    cases : sequence of tuple
        Arguments of each call.
    mistakes : dict of str to callable, optional
        Hint -> a function that makes that mistake.
    tolerance : float
        Deviation that still counts as right, relative to the largest value.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.function(lambda x: x**2, np.sin, [(0.5,), (1.0,)], {"That is the square.": lambda x: x**2})
    That is the square.
    False
    """
    if not callable(candidate):
        return _say("Hand over the function itself: its name, without brackets and arguments.")
    answers = []
    for case in cases:
        given = copy.deepcopy(case)
        try:
            answers.append(candidate(*given))
        except Exception as error:  # whatever a student's function may do
            return _say(f"Your function stops with {type(error).__name__}: {error}")
        arrays = [
            pair for pair in zip(case, given, strict=True) if hasattr(pair[0], "shape") or hasattr(pair[0], "dims")
        ]
        if any(_plain(a).tobytes() != _plain(b).tobytes() for a, b in arrays):
            return _say("Your function changes what it is given: let it work on a copy.")
    wrong = {text: [slip(*case) for case in cases] for text, slip in (mistakes or {}).items()}
    return _say(_hint(answers, [reference(*case) for case in cases], wrong, tolerance))


def _say(hint):
    print(hint or _RIGHT)
    return not hint


def _plain(value):
    """Anything as an array; what is no number becomes its text."""
    if callable(value):
        return np.array(repr(value))
    if isinstance(value, xr.Dataset):
        value = value.to_dataarray()
    if isinstance(value, (list, tuple)) and len(value):
        value = np.stack([_plain(v) for v in value])
    return np.asarray(value)


def _hint(answers, truths, mistakes, tolerance):
    """Why these answers are not the truths, in the words of the likeliest mistake; None if they are."""
    for answer, truth in zip(answers, truths, strict=True):
        hint = _form(answer, truth)
        if hint:
            return next((text for text, wrong in mistakes.items() if _all_close(answers, wrong, tolerance)), hint)
    if _all_close(answers, truths, tolerance):
        return None
    for text, wrong in mistakes.items():
        if _all_close(answers, wrong, tolerance):
            return text
    plain = [_plain(truth).astype(float) for truth in truths]
    with np.errstate(all="ignore"):
        for text, slip in _SLIPS.items():
            if _all_close(answers, [slip(truth) for truth in plain], tolerance):
                return text
    answers = [_plain(answer).astype(float) for answer in answers]
    if any(a.ndim and len(a) > 2 and _shifted(a, t, tolerance) for a, t in zip(answers, plain, strict=True)):
        return "The values are right, and one frame early or late: where does counting begin?"
    if all(t.size > 1 and _flat(a - t, tolerance * np.abs(t).max()) for a, t in zip(answers, plain, strict=True)):
        return "Right but for a constant that is added: from where do you count?"
    if all((a * t < 0).all() for a, t in zip(answers, plain, strict=True)):
        return "The sign is the other way round, and that is not all."
    more = [float(a.mean() > t.mean()) for a, t in zip(answers, plain, strict=True)]
    return {1.0: "Too large.", 0.0: "Too small."}.get(
        np.mean(more), "Not yet; sometimes too large, sometimes too small."
    )


def _form(answer, truth):
    """What is wrong with an answer before its values are looked at."""
    if answer is None:
        return "Your function returns nothing: is there a `return`?"
    if isinstance(truth, (xr.DataArray, xr.Dataset)):
        kind = type(truth)
        if not isinstance(answer, kind):
            return f"An xarray.{kind.__name__} is asked for, and this is a {type(answer).__name__}: keep the labels."
        if set(answer.dims) != set(truth.dims):
            return f"The dimensions asked for are {tuple(truth.dims)}; these are {tuple(answer.dims)}."
        if isinstance(truth, xr.DataArray) and answer.dims != truth.dims:
            return f"The right dimensions in another order: {truth.dims} is asked for."
    try:
        value, right = _plain(answer).astype(float), _plain(truth)
    except (TypeError, ValueError):
        return f"Numbers are asked for, and this is a {type(answer).__name__}."
    if value.shape != right.shape:
        if value.ndim == right.ndim and value.ndim and value.shape[1:] == right.shape[1:]:
            how = "many" if len(value) > len(right) else "few"
            one = abs(len(value) - len(right)) == 1
            return f"{'One too ' + how if one else 'Too ' + how} along the first axis: where does counting begin?"
        return f"The shape is {value.shape}, and that is not the shape asked for."
    if np.isnan(value).any() and not np.isnan(right.astype(float)).any():
        return "There are NaN in it: what is divided by zero, or not found?"
    return None


def _all_close(answers, truths, tolerance):
    """Whether all agree, each to a share of its largest value."""
    for answer, truth in zip(answers, truths, strict=True):
        try:
            a, t = _plain(answer).astype(float), _plain(truth).astype(float)
        except (TypeError, ValueError):
            return False
        if a.shape != t.shape:
            return False
        reach = np.abs(t).max() if t.size else 0.0
        if not np.allclose(a, t, rtol=0, atol=tolerance * reach, equal_nan=True):
            return False
    return True


def _shifted(a, t, tolerance):
    """Whether `a` is `t` moved by one along the first axis."""
    near = tolerance * np.abs(t).max()
    return any(np.allclose(x, y, rtol=0, atol=near) for x, y in ((a[1:], t[:-1]), (a[:-1], t[1:])))


def _flat(difference, near):
    return np.ptp(difference) <= near < np.abs(difference).max()


# ---- checks of exercises: the cell and the sheet ---------------------------------------------------------


def rush_larsen(step):
    """Check ``step(y, target, tau, dt)``, one step of Rush and Larsen for a gate.

    Parameters
    ----------
    step : callable
        Gate, its steady state, its time constant [ms] and the time step [ms] -> the gate a step later.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.rush_larsen(lambda y, target, tau, dt: y + dt * (target - y) / tau)
    That is Euler's step: it overshoots where the step is longer than the time constant.
    False
    """

    def right(y, target, tau, dt):
        return target + (y - target) * np.exp(-dt / tau)

    return function(
        step,
        right,
        [(0.1, 0.9, 2.0, 0.5), (0.8, 0.3, 0.5, 2.0), (0.0, 1.0, 10.0, 1.0)],
        {
            "That is Euler's step: it overshoots where the step is longer than the time constant.": (
                lambda y, target, tau, dt: y + dt * (target - y) / tau
            ),
            "The exponent has the wrong sign: the distance to the target must shrink.": (
                lambda y, target, tau, dt: target + (y - target) * np.exp(dt / tau)
            ),
            "The exponent is upside down: a long step must come nearer to the target than a short one.": (
                lambda y, target, tau, dt: target + (y - target) * np.exp(-tau / dt)
            ),
            "Start and target are swapped: for a very long step the gate must arrive at its target.": (
                lambda y, target, tau, dt: y + (target - y) * np.exp(-dt / tau)
            ),
        },
    )


def apd90(duration):
    """Check ``duration(Vm)``, the APD90 of a beat [ms].

    Parameters
    ----------
    duration : callable
        Potential [mV], an ``xr.DataArray`` over ``time`` [ms] -> one number.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.apd90(lambda Vm: float(cep.measure.action_potential(Vm, 0.5).APD))
    That is where half has repolarised: APD90 waits for nine tenths.
    False
    """
    from cepkit.measure import action_potential

    def part(name, fraction=0.9):
        return lambda Vm: float(action_potential(Vm, fraction)[name])

    def from_zero(Vm):
        above = Vm.time[Vm.values > 0.1 * float(Vm.max())]
        return float(above[-1] - above[0])

    def whole_frames(Vm):
        rest, peak = float(Vm.min()), float(Vm.max())
        above = Vm.time[Vm.values > peak - 0.9 * (peak - rest)]
        return float(above[-1] - above[0])

    def frames(Vm):
        return part("APD")(Vm) / float(Vm.time[1] - Vm.time[0])

    return function(
        duration,
        part("APD"),
        [(_pulse(-85.0, 35.0, 280.0),), (_pulse(-70.0, 20.0, 190.0, 0.5),), (_pulse(-80.0, 30.0, 330.0, 4.0),)],
        {
            "That is where half has repolarised: APD90 waits for nine tenths.": part("APD", 0.5),
            "The level is a tenth of the way up: APD90 ends where a tenth is left, and that is counted from rest.": (
                part("APD", 0.1)
            ),
            "Nine tenths of what? The level lies between rest and peak; zero has no meaning here.": from_zero,
            "That is the time at which the beat ends. A duration begins at the crossing on the way up.": (
                part("repolarisation")
            ),
            "You count frames. They are not always a millisecond apart: use the time coordinate.": frames,
            "Your crossings sit on frames: interpolate between the frame before and the frame after.": whole_frames,
        },
        tolerance=2e-3,
    )


def _pulse(rest, peak, lasts, step=1.0):
    """An action potential made of straight lines, 20.3 ms after the first frame."""
    t = np.arange(0.0, 500.0, step)
    corners = np.array([0.0, 20.3, 25.7, 20.3 + 0.7 * lasts, 20.3 + lasts, 500.0])
    Vm = np.interp(t, corners, [rest, rest, peak, peak - 0.3 * (peak - rest), rest, rest])
    return xr.DataArray(Vm, {"time": t}, ("time",), name="Vm", attrs={"units": "mV"})


def threshold(value):
    """Check the weakest stimulus of 1 ms that makes the resting cell fire [pA/pF, its strength, a positive number].

    Parameters
    ----------
    value : float

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.threshold(-24.0)
    The sign is the other way round, and that is not all. The unit asked for is pA/pF.
    False
    """
    from cepkit import Protocol, Stimulus, Tissue, region
    from cepkit.solver import simulate

    strengths = np.arange(15.0, 35.0, 0.1)
    row = Tissue((len(strengths),), diffusivity=0.0)
    each = region.everywhere(row)
    pulses = Protocol(
        Stimulus(0.0, each & (np.arange(len(strengths)) == k), amplitude=-s) for k, s in enumerate(strengths)
    )
    peak = simulate(row, pulses, 20.0, save_every=0.2, progress=False)["Vm"].max("time").values
    weakest = float(strengths[peak > 0].min())
    silent = float(strengths[peak <= 0].max())
    return number(
        value, weakest, "pA/pF", tolerance=0.03 / weakest, mistakes={"With this one the cell stays silent.": silent}
    )


def conduction_velocity(velocity):
    """Check ``velocity(Vm, start, end)``, the speed of a front between two places [m/s].

    Parameters
    ----------
    velocity : callable
        One beat, dims (time, y, x) [mV, ms, mm], and two positions by axis [mm] -> one number.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.conduction_velocity(cep.measure.conduction_velocity)
    That is right.
    True
    """
    from cepkit import measure

    def nodes(Vm, start, end):
        return measure.conduction_velocity(Vm, start, end) / float(Vm["x"][1] - Vm["x"][0])

    def along_x(Vm, start, end):
        when = measure.activation_time(Vm)
        a, b = (when.sel(place, method="nearest") for place in (start, end))
        return float((b.x - a.x) / (b - a))

    def unsigned(Vm, start, end):
        return abs(measure.conduction_velocity(Vm, start, end))

    Vm = _plane_wave()
    return function(
        velocity,
        measure.conduction_velocity,
        [(Vm, {"y": 1.0, "x": 1.0}, {"y": 2.5, "x": 3.0}), (Vm, {"y": 3.0, "x": 3.0}, {"y": 1.0, "x": 1.5})],
        {
            "You count nodes. Distance is in millimetres: use the coordinates.": nodes,
            "The two places differ along both axes: the distance is that of Pythagoras.": along_x,
            "A wave that reaches the end first has a negative velocity: keep the sign.": unsigned,
        },
        tolerance=0.02,
    )


def _plane_wave():
    """An oblique front on a sheet of 9 x 9 nodes, half a millimetre apart."""
    axis = 0.5 * np.arange(9.0)
    t = np.arange(0.0, 60.0)
    arrival = 10.0 + 4.0 * axis[:, None] + 3.0 * axis
    Vm = -85.0 + 120.0 / (1.0 + np.exp(-(t[:, None, None] - arrival) * 3.0))
    return xr.DataArray(Vm, {"time": t, "y": axis, "x": axis}, ("time", "y", "x"), name="Vm", attrs={"units": "mV"})


def stimulus_potassium(value, beats):
    """Check by how much the potassium of a cell would rise if it kept what the stimuli carry in [mM].

    Parameters
    ----------
    value : float
    beats : int
        Stimuli of 52 pA/pF for 1 ms.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.stimulus_potassium(1e6, beats=109)
    Too large. The unit asked for is mM.
    False
    """
    from cepkit.cell import Constants

    c = Constants()
    charge = beats * 52.0 * 1.0 * c.Cm / c.F
    return number(
        value,
        charge / c.Vc,
        "mM",
        mistakes={
            "That is one beat: multiply by their number.": charge / c.Vc / beats,
            "That spreads the ions over the store. They go into the cytosol.": charge / c.Vsr,
            "That spreads the ions over the subspace. They go into the cytosol.": charge / c.Vss,
            "The charge of a mole of ions is missing: divide by F.": charge * c.F / c.Vc,
            "The capacitance is missing: the current is given for each picofarad.": charge / c.Vc / c.Cm,
        },
    )


# ---- data, training, forecasts -----------------------------------------------------------------------------


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

    return function(
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
    return function(
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
    from cepkit.surrogates.lstm import LSTMNetwork

    def right(n_in, hidden):
        with torch.device("meta"):
            return sum(p.numel() for p in LSTMNetwork(n_in, hidden, 2).parameters())

    return function(
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

    return function(
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
    return function(
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

    return function(
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


# ---- methods -----------------------------------------------------------------------------------------------


def modes(count):
    """Check ``count(pictures, share)``, how many POD modes hold a share of the mean square.

    Parameters
    ----------
    count : callable
        Array (pictures, points) and a share between 0 and 1 -> a whole number.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.modes(lambda pictures, share: 3)
    Not yet; sometimes too large, sometimes too small.
    False
    """

    def needed(values, share):
        return int(np.argmax(np.cumsum(values) / values.sum() >= share)) + 1

    def singular(pictures):
        return np.linalg.svd(pictures, compute_uv=False)

    x = np.linspace(0.0, 1.0, 60)
    fronts = [0.5 * (1 - np.tanh((x - x[:, None]) / width)) for width in (0.3, 0.1, 0.03)]
    return function(
        count,
        lambda p, share: needed(singular(p) ** 2, share),
        [(p, share) for p in fronts for share in (0.99, 0.9999)],
        {
            "The mean square belongs to the squares of the singular values.": lambda p, s: needed(singular(p), s),
            "One too few: the position of the first sum that suffices, counted from one.": (
                lambda p, s: needed(singular(p) ** 2, s) - 1
            ),
            "One too many: stop at the first sum that suffices.": lambda p, s: needed(singular(p) ** 2, s) + 1,
            "The mean picture is taken away. The share is that of the whole mean square here.": (
                lambda p, s: needed(singular(p - p.mean(0)) ** 2, s)
            ),
        },
        tolerance=1e-9,
    )


def nvar_features(count):
    """Check ``count(numbers, taps)``, the features of NVAR: one, all entries seen, and all products of two.

    Parameters
    ----------
    count : callable
        Numbers in a frame, frames seen at once -> number of features.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.nvar_features(lambda numbers, taps: 1 + numbers * taps + (numbers * taps) ** 2)
    x times y and y times x are one product.
    False
    """
    from cepkit.surrogates.reservoirs import nvar_features as features

    def right(numbers, taps):
        return features(torch.zeros(1, numbers * taps)).shape[1]

    return function(
        count,
        right,
        [(2, 2), (3, 1), (5, 3)],
        {
            "The constant is missing.": lambda d, taps: right(d, taps) - 1,
            "x times y and y times x are one product.": lambda d, taps: 1 + d * taps + (d * taps) ** 2,
            "The squares are products, too.": lambda d, taps: right(d, taps) - d * taps,
            "All frames that are seen enter, not one.": lambda d, taps: right(d, 1),
            "The products alone: the entries themselves and the constant are features as well.": (
                lambda d, taps: right(d, taps) - 1 - d * taps
            ),
        },
        tolerance=1e-9,
    )


def conv_weights(count):
    """Check ``count(inputs, hidden, kernel)``, the weights of the four gates of a ConvLSTM cell.

    Parameters
    ----------
    count : callable
        Channels read, channels of the hidden state, side of the kernel in places -> number of weights.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.conv_weights(lambda inputs, hidden, kernel: 4 * hidden * (inputs + hidden) * kernel**2)
    The biases are missing: one for each gate and channel.
    False
    """
    from cepkit.surrogates.conv_lstm import ConvCell

    def right(inputs, hidden, kernel):
        return sum(p.numel() for p in ConvCell(inputs, hidden, 1, kernel).gates.parameters())

    return function(
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
    """Check ``beats(training, solver, surrogate)``, after how many beats training has paid for itself.

    Parameters
    ----------
    beats : callable
        Time of the training [s], time of one beat by the solver and by the surrogate [ms] -> number of beats.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.pays_after(lambda training, solver, surrogate: training / (solver - surrogate))
    Seconds are divided by milliseconds.
    False
    """
    return function(
        beats,
        lambda training, solver, surrogate: 1000 * training / (solver - surrogate),
        [(600.0, 90.0, 20.0), (45.0, 80.0, 70.0)],
        {
            "The surrogate's own time is not free: a beat saves the difference.": lambda a, b, c: 1000 * a / b,
            "Divided by the surrogate's time: what a beat saves is the difference.": lambda a, b, c: 1000 * a / c,
            "Seconds are divided by milliseconds.": lambda a, b, c: a / (b - c),
            "Saved is the solver's time less the surrogate's, not the other way round.": (
                lambda a, b, c: 1000 * a / (c - b)
            ),
        },
        tolerance=0.01,
    )


def surrogate(model):
    """Check that a model keeps the rules of the benchmark, on a sheet of 4 x 4 nodes.

    Parameters
    ----------
    model : Surrogate
        Not yet fitted.

    Returns
    -------
    bool

    Examples
    --------
    >>> cep.check.surrogate(cep.surrogates.make("persistence"))
    That is right.
    True
    """
    trajectory, stimulus = toy()
    history = trajectory.isel(time=slice(0, 60))
    other = stimulus.copy(deep=True)
    other[90:] = 0.0
    try:
        model.fit(trajectory, stimulus=stimulus)
        run, again, without = (model.rollout(history, 60, stimulus=s) for s in (stimulus, stimulus, other))
        short = model.rollout(history, 20, stimulus=stimulus)
    except Exception as error:
        return _say(f"Your model stops with {type(error).__name__}: {error}")
    if not all(np.isfinite(run[v]).all() for v in run.data_vars):
        return _say("The forecast holds NaN or infinite numbers.")
    if not run.equals(again):
        return _say("Two forecasts from the same history differ: draw random numbers from a seed.")
    if not _all_close([without.isel(lead_time=slice(0, 29))], [run.isel(lead_time=slice(0, 29))], 1e-5):
        return _say("A stimulus acts before it comes: frame k may depend on the stimulus up to then, and no further.")
    if not _all_close([short], [run.isel(lead_time=slice(0, 20))], 1e-5):
        return _say("A longer forecast begins otherwise than a shorter one: it must not know how long it will be.")
    return _say(None)


def toy(beats=3):
    """A trajectory to try things on: beats of a wave on 4 x 4 nodes, made of formulas in no time.

    Parameters
    ----------
    beats : int
        One each 50 ms.

    Returns
    -------
    trajectory : xr.Dataset
        Vm, Cai, CaSR and CaSS over (time, y, x), frames 1 ms apart.
    stimulus : xr.DataArray
        Its stimulus current [pA/pF], every 50 ms in a corner.

    Examples
    --------
    >>> trajectory, stimulus = cep.check.toy()
    >>> dict(trajectory.sizes), stimulus.dims
    ({'time': 150, 'y': 4, 'x': 4}, ('time', 'y', 'x'))
    """
    from cepkit.dataset import UNITS

    axis, t = 0.5 * np.arange(4.0), np.arange(50.0 * beats)
    since = (t[:, None, None] - 40.0) % 50.0 - axis[:, None] - axis
    shape = np.interp(since, [0.0, 2.0, 20.0, 30.0], [0.0, 1.0, 0.8, 0.0])
    data = {"Vm": 120.0 * shape - 85.0, "Cai": 1e-3 * shape, "CaSR": 3.0 - shape, "CaSS": 1e-2 * shape}
    coords = {"time": t, "y": axis, "x": axis}
    trajectory = xr.Dataset({v: (("time", "y", "x"), f, {"units": UNITS[v]}) for v, f in data.items()}, coords)
    stimulus = xr.zeros_like(trajectory.Vm).rename("stimulus")
    stimulus[40::50, :2, :2] = -52.0
    return trajectory.assign_attrs(cycle_length=50.0), stimulus
