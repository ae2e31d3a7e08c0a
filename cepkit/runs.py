"""Models for chapters and tracks: kept with the book, made before on this machine, or trained now."""

import json
import os
from functools import partial

from cepkit import scores, solver, surrogates
from cepkit.dataset import split
from cepkit.fields import one_of
from cepkit.problems import golden_standard
from cepkit.profiles import get_profile
from cepkit.store import data_folder, digest


def versions():
    """Every VERSION that something kept depends on: of the solver, the scores, and each method by its name."""
    methods = {name: kind.version for name, kind in surrogates.everyone().items()}
    return {"solver": solver.VERSION, "adaptive": solver.LOCAL_VERSION, "scores": scores.VERSION, **methods}


def retrain():
    """What the environment variable RETRAIN asks for: "0" nothing, "1" (or unset) the chapter's models, "all"."""
    return one_of("RETRAIN", os.environ.get("RETRAIN", "1"), ("0", "1", "all"))


def recipe(model, data, **more):
    """All that a trained model depends on, as its card holds it: configuration, data, version of the method."""
    configuration = {k: v for k, v in model.configuration.items() if k != "departures"}  # these are words
    parts = {"configuration": configuration, "data": data, "version": model.version, **more}
    return json.loads(json.dumps(parts))


def obtain(model, fit, recipe, folder, say=lambda text: None, **card):
    """A trained model: an earlier run in ``folder`` with the same ``recipe``, or a new one; ``say`` is told which.

    ``fit(model, checkpoint=...)`` trains the untrained ``model``, which is left in the folder with ``card`` on its own.
    """
    if (folder / "card.json").exists() and surrogates.read_card(folder).get("recipe") == recipe:
        model = type(model).load(folder)
        say(f"nothing has changed since it was trained, so that run is used ({model.summary()})")
        return model
    say("training")
    key = digest(json.dumps(recipe, sort_keys=True).encode())
    checkpoint = folder.with_name(f".{folder.name}-{key}.checkpoint")
    fit(model, checkpoint=checkpoint)
    model.card |= {**card, "recipe": recipe}
    model.save(folder)
    for finished in folder.parent.glob(f"{checkpoint.name}-*"):
        finished.unlink()
    say(f"trained ({model.summary()})")
    return type(model).load(folder)  # what is judged now is what an earlier run is judged by


def parts(golden, size):
    """What is learnt from, the beats at its end that are held back for choices, and the test part, of a trajectory."""
    train, test = split(golden, size.fraction)
    cut = train.sizes["time"] - round(size.validation * golden.cycle_length / float(golden.time[1] - golden.time[0]))
    return train.isel(time=slice(None, cut)), train.isel(time=slice(cut, None)), test


def trained(name, profile="laptop", progress=True):
    """A trained surrogate for a chapter, and one line about its way: kept with RETRAIN=0, else by :func:`obtain`."""
    size = get_profile(profile)
    model = surrogates.make(name, size)

    def say(text):
        print(f"{model.name}: {text}" + (f", profile {size.name}" if text == "training" else ""))

    if retrain() == "0" and model.trains:
        model = surrogates.load(model.name)
        say(f"RETRAIN=0, so the kept weights are used ({model.summary()})")
        return model
    golden = golden_standard(profile)
    learn, held, _ = parts(golden, size)
    fit = partial(type(model).fit, trajectories=learn, validation=([held],), progress=progress)
    wanted = recipe(model, golden.attrs["data_hash"], validation=size.validation)
    return obtain(model, fit, wanted, data_folder() / "runs" / size.name / model.name, say, profile=size.name)
