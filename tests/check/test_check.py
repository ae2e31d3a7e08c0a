"""Self-checks: right answers pass, each typical mistake is told its own name, and no hint gives the answer away."""

import re

import numpy as np
import pytest
import xarray as xr

import cepkit as cep
from cepkit import check

OF_FUNCTIONS = (
    "rush_larsen", "apd90", "conduction_velocity", "scaling", "windows", "lstm_weights", "free_run", "euler", "z_mse",
    "modes", "nvar_features", "conv_weights", "pays_after",
)  # fmt: skip
OF_NUMBERS = {"threshold": (), "stimulus_potassium": (109,)}


@pytest.fixture
def said(capsys):
    """What the last check printed."""
    return lambda: capsys.readouterr().out.strip()


def inside(monkeypatch, name, general, *arguments):
    """What a named check hands to the general one: its reference and its mistakes."""
    handed = {}
    signature = {
        "function": lambda candidate, reference, cases, mistakes=None, tolerance=None: handed.update(
            right=reference, mistakes=mistakes, cases=cases
        ),
        "number": lambda value, expected, unit="", tolerance=None, mistakes=None: handed.update(
            right=expected, mistakes=mistakes
        ),
    }[general]
    with monkeypatch.context() as patch:
        patch.setattr(check.answers, general, signature)
        getattr(check, name)(0.0, *arguments)
    return handed


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_a_right_function_passes_and_each_mistake_gets_its_own_hint(name, monkeypatch, said):
    handed = inside(monkeypatch, name, "function")
    named = getattr(check, name)
    assert named(handed["right"]) and said() == "That is right."
    assert len(handed["mistakes"]) >= 3
    for hint, mistaken in handed["mistakes"].items():
        assert not named(mistaken) and said() == hint


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_right_number_passes_and_each_mistake_gets_its_own_hint(name, monkeypatch, said):
    arguments = OF_NUMBERS[name]
    handed = inside(monkeypatch, name, "number", *arguments)
    named = getattr(check, name)
    assert named(handed["right"], *arguments) and said() == "That is right."
    for hint, wrong in handed["mistakes"].items():
        assert not named(wrong, *arguments) and said().startswith(hint)


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_no_hint_holds_the_answer(name, monkeypatch, said):
    """Whatever a number in a hint says, it is not what one of the calls should have returned."""
    handed = inside(monkeypatch, name, "function")
    answers = [handed["right"](*case) for case in handed["cases"]]
    answers = [float(answer) for answer in answers if np.ndim(check.answers.plain(answer)) == 0]
    for factor in (1000, -1, 1.3, 0.9):
        with np.errstate(all="ignore"):
            getattr(check, name)(lambda *given, factor=factor: _scaled(handed["right"](*given), factor))
    for hint in (said(), *handed["mistakes"]):
        for digits in re.findall(r"\d+(?:\.\d+)?", hint):
            assert not any(np.isclose(float(digits), answer, rtol=0.01) for answer in answers), hint


def _scaled(answer, factor):
    return [factor * part for part in answer] if isinstance(answer, list) else answer * factor


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (-42.0, "sign"), (42e3, "thousand"), (42e-3, "too small"), (42e6, "million"), (0.42, "hundred"),
        (84.0, "Twice"), (21.0, "Half"), (1 / 42, "reciprocal"), (42.0**2, "square"), (42**0.5, "root"),
        (50.0, "Too large"), (30.0, "Too small"), (np.nan, "NaN"), (None, "NoneType"), ("42", None), ([1, 2], "shape"),
    ],
)  # fmt: skip
def test_slips_of_a_number(wrong, hint, said):
    passed = check.number(wrong, lambda: 42.0, "ms")
    text = said()
    if hint is None:
        assert passed
    else:
        assert not passed and hint in text and "42" not in text
        assert ("ms" in text) or hint in ("NoneType", "shape")


def test_a_number_may_be_off_by_its_tolerance(said):
    assert check.number(41.5, 42.0) and not check.number(41.5, 42.0, tolerance=1e-3)


def test_slips_of_a_field(said):
    truth = xr.DataArray(np.random.default_rng(0).normal(size=(6, 3, 4)), dims=("time", "y", "x"))
    expected = {
        "xarray.DataArray": truth.values,
        "dimensions": truth.isel(x=0),
        "another order": truth.transpose("time", "x", "y"),
        "One too few": truth[1:],
        "Too many": xr.concat([truth, truth], "time"),
        "not the shape": truth[:, :2],
        "one frame": truth.roll(time=1),
        "constant": truth + 3.0,
        "thousand": 1000 * truth,
        "NaN": truth.where(truth > 0),
        "my own": truth**3,
    }
    assert check.field(truth, lambda: truth) and said() == "That is right."
    for hint, wrong in expected.items():
        assert not check.field(wrong, truth, mistakes={"my own": truth**3}) and hint in said(), hint


def test_what_is_no_function_fails_with_words(said):
    for wrong, hint in (
        (3.0, "brackets"),
        (lambda x: None, "return"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: "three", "Numbers"),
    ):
        assert not check.function(wrong, lambda x: x, [(1.0,), (2.0,)]) and hint in said()

    def spoils(x):
        x *= 2
        return x

    assert not check.function(spoils, lambda x: 2 * x, [(np.ones(3),)]) and "copy" in said()


def test_a_verdict_that_sees_nothing_and_one_that_sees_one_thing(said):
    assert not check.verdict(lambda truth, forecast: ["usable"]) and "passes" in said()
    assert not check.verdict(lambda truth, forecast: ["bad"]) and "truth" in said()

    def same(truth, forecast):
        return ["usable"] if np.array_equal(truth[0], forecast[0]) else ["bad"]

    assert not check.verdict(same) and "same reasons" in said()

    def good(truth, forecast):
        found = cep.events.compare(truth, forecast)
        wrong = {"missing": found["missed"] > 1, "late": found["activation_error"] > 5}
        wrong |= {"duration": found["apd90_error"] > 10}
        wrong |= {"rest": abs(np.quantile(truth[0], 0.05) - np.quantile(forecast[0], 0.05)) > 5}
        return [name for name, there in wrong.items() if there] or ["usable"]

    assert check.verdict(good) and said() == "That is right."


def test_a_surrogate_that_keeps_the_rules_and_some_that_do_not(said):
    from cepkit.bench.methods.replay import NearestBeat
    from cepkit.surrogates import Surrogate
    from cepkit.surrogates.baselines import Persistence

    assert check.surrogate(Persistence()) and check.surrogate(NearestBeat())
    said()

    class Foresees(Surrogate):
        reads_stimulus = True

        def _rollout(self, X, start, steps, stimulus):
            return X[:, -1:].expand(-1, steps, -1) + (stimulus != 0).sum()

    class Scales(Surrogate):
        def _rollout(self, X, start, steps):
            return X[:, -1:].expand(-1, steps, -1) * steps

    class Stops(Surrogate):
        def _rollout(self, X, start, steps):
            raise KeyError("weights")

    for model, hint in ((Foresees(), "before it comes"), (Scales(), "longer forecast"), (Stops(), "KeyError")):
        assert not check.surrogate(model) and hint in said()
