"""Checks of any answer: a number, a field, a function; and the words for what is wrong with it."""

import copy

import numpy as np
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
