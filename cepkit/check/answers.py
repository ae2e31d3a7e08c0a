"""Checks of any answer: a number, a field, a function; and the words for what is wrong with it."""

import copy

import numpy as np
import xarray as xr

#: Slips that any number may suffer, and what they make of the right one.
SLIPS = {
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
    """Check one number; ``expected`` may be a function that works it out, ``mistakes`` maps hints to wrong numbers."""
    if not isinstance(value, str) and np.size(value) != 1:
        return say(f"One number is asked for, and this has the shape {np.shape(value)}.")
    try:
        value = float(value)
    except (TypeError, ValueError):
        return say(f"One number is asked for, and this is a {type(value).__name__}.")
    hint = _hint_for_one(value, expected, mistakes, tolerance)
    return say(hint and hint + (f" The unit asked for is {unit}." if unit else ""))


def field(value, expected, tolerance=1e-3, mistakes=None):
    """Check an array, a labelled field or a data set as a number; the tolerance is relative to the largest value."""
    return say(_hint_for_one(value, expected, mistakes, tolerance))


def function(candidate, reference, cases, mistakes=None, tolerance=1e-3):
    """Check a function against the ``reference``, called with each case; ``mistakes`` maps hints to wrong functions."""
    if not callable(candidate):
        return say("Hand over the function itself: its name, without brackets and arguments.")
    answers = []
    for case in cases:
        given = copy.deepcopy(case)
        try:
            answers.append(candidate(*given))
        except Exception as error:  # whatever a student's function may do
            return say(f"Your function stops with {type(error).__name__}: {error}")
        arrays = [pair for pair in zip(case, given, strict=True) if hasattr(pair[0], "nbytes")]
        if any(plain(before).tobytes() != plain(after).tobytes() for before, after in arrays):
            return say("Your function changes what it is given: let it work on a copy.")
    wrong = {text: [slip(*case) for case in cases] for text, slip in (mistakes or {}).items()}
    return say(_hint(answers, [reference(*case) for case in cases], wrong, tolerance))


def say(hint=None):
    """Print the hint, or that the answer is right if there is none; return whether it is."""
    print(hint or "That is right.")
    return not hint


def plain(value):
    """Anything as an array; what is no number becomes its text."""
    if callable(value):
        return np.array(repr(value))
    if isinstance(value, xr.Dataset):
        value = value.to_dataarray()
    return np.stack([plain(v) for v in value]) if isinstance(value, (list, tuple)) and value else np.asarray(value)


def close(answers, truths, tolerance):
    """Whether all answers agree with their truths, each to a share of its largest value."""
    try:
        pairs = [(plain(a).astype(float), plain(t).astype(float)) for a, t in zip(answers, truths, strict=True)]
    except (TypeError, ValueError):
        return False
    if any(a.shape != t.shape for a, t in pairs):
        return False
    return all(np.allclose(a, t, 0, tolerance * np.abs(t).max(initial=0.0), equal_nan=True) for a, t in pairs)


def _hint_for_one(value, expected, mistakes, tolerance):
    truth = expected() if callable(expected) else expected
    return _hint([value], [truth], {text: [wrong] for text, wrong in (mistakes or {}).items()}, tolerance)


def _hint(answers, truths, mistakes, tolerance):
    """Why these answers are not the truths, in the words of the likeliest mistake; None if they are."""
    form = next(filter(None, map(_form, answers, truths)), None)
    if not form and close(answers, truths, tolerance):
        return None
    for text, wrong in mistakes.items():
        if close(answers, wrong, tolerance):
            return text
    if form:
        return form
    pairs = [(plain(a).astype(float), plain(t).astype(float)) for a, t in zip(answers, truths, strict=True)]
    with np.errstate(all="ignore"):
        for text, slip in SLIPS.items():
            if close(answers, [slip(truth) for _, truth in pairs], tolerance):
                return text
    long = [(a, t) for a, t in pairs if a.ndim and len(a) > 2]
    if any(close([a[1:]], [t[:-1]], tolerance) or close([a[:-1]], [t[1:]], tolerance) for a, t in long):
        return "The values are right, and one frame early or late: where does counting begin?"
    if all(a.size > 1 and np.ptp(a - t) <= tolerance * np.abs(t).max() < np.abs(a - t).max() for a, t in pairs):
        return "Right but for a constant that is added: from where do you count?"
    if all((a * t < 0).all() for a, t in pairs):
        return "The sign is the other way round, and that is not all."
    larger = tuple({bool(a.mean() > t.mean()) for a, t in pairs})
    one_sided = {(True,): "Too large.", (False,): "Too small."}
    return one_sided.get(larger, "Not yet; sometimes too large, sometimes too small.")


def _form(answer, truth):
    """What is wrong with an answer before its values are looked at."""
    if answer is None:
        return "Your function returns nothing: is there a `return`?"
    kind = type(answer).__name__
    if isinstance(truth, (xr.DataArray, xr.Dataset)):
        if not isinstance(answer, type(truth)):
            return f"An xarray.{type(truth).__name__} is asked for, and this is a {kind}: keep the labels."
        if set(answer.dims) != set(truth.dims):
            return f"The dimensions asked for are {tuple(truth.dims)}; these are {tuple(answer.dims)}."
        if isinstance(truth, xr.DataArray) and answer.dims != truth.dims:
            return f"The right dimensions in another order: {truth.dims} is asked for."
    try:
        value, right = plain(answer).astype(float), plain(truth)
    except (TypeError, ValueError):
        return f"Numbers are asked for, and this is a {kind}."
    if value.shape != right.shape:
        if value.ndim != right.ndim or value.shape[1:] != right.shape[1:]:
            return f"The shape is {value.shape}, and that is not the shape asked for."
        more = len(value) - len(right)
        how = f"{'One too' if abs(more) == 1 else 'Too'} {'many' if more > 0 else 'few'}"
        return f"{how} along the first axis: where does counting begin?"
    if np.isnan(value).any() and not np.isnan(right.astype(float)).any():
        return "There are NaN in it: what is divided by zero, or not found?"
    return None
