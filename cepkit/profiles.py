"""The sizes of a run: how many beats, and how each model is made and trained.

Everything here is frozen and plain, so that a page can print it and a card can keep it.
"""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One pass of Algorithm 1 with its own settings.

    Attributes
    ----------
    loss : str
        Name of the loss: "next_frame" (Equation 6) or "free_run" for the LSTM, "elbo" for the Neural ODE.
    window, stride : int
        N_t, and frames from one window's start to the next one's.
    batch, epochs : int
        N_b and N_ep.
    learning_rate : float
        Of Adam.
    decay : bool
        Learning rate to zero along a half cosine.
    clip : float or None
        Bound on the norm of the gradient.
    given : int or None
        Frames of truth at the start of each window: "free_run" is given 1 to ``given`` of them, drawn
        for each batch; "elbo" shows the encoder exactly so many.  None: the whole window.
    """

    loss: str
    window: int
    stride: int
    batch: int
    epochs: int
    learning_rate: float
    decay: bool = False
    clip: float | None = None
    given: int | None = None


@dataclass(frozen=True)
class LSTMConfiguration:
    """The paper's LSTM.  ``components`` is None (train on whole frames) or a number of principal components."""

    hidden: int
    stages: tuple[Stage, ...]
    layers: int = 2
    dropout: float = 0.0
    components: int | None = None
    forget_bias: float = 0.0
    seed: int = 0
    departures: tuple[str, ...] = ()


@dataclass(frozen=True)
class NeuralODEConfiguration:
    """The paper's Neural ODE.  ``unit`` is the time that the ODE function sees as 1 [ms]."""

    stages: tuple[Stage, ...]
    latent: int = 50
    rnn: int = 20
    decoder: int = 50
    function: int = 50
    sigma: float = 0.005
    solver: str = "euler"
    step: float = 1.0
    unit: float = 1000.0
    components: int | None = None
    seed: int = 0
    departures: tuple[str, ...] = ()


_PAPER_STAGE = Stage("next_frame", window=1000, stride=1, batch=16, epochs=3, learning_rate=1e-3)
_PAPER_ELBO = Stage("elbo", window=1000, stride=1, batch=16, epochs=2, learning_rate=1e-2)

CONFIGURATIONS = {
    "lstm": {
        "published_code": LSTMConfiguration(hidden=64, dropout=0.2, stages=(_PAPER_STAGE,)),
        "paper": LSTMConfiguration(
            hidden=2304, stages=(_PAPER_STAGE,), departures=("N_t = 1000: the paper gives none; this is its code's",)
        ),
        "smoke": LSTMConfiguration(
            hidden=16,
            components=16,
            forget_bias=1.0,
            stages=(Stage("next_frame", window=100, stride=50, batch=16, epochs=2, learning_rate=3e-3, decay=True),),
            departures=("everything is small: this one only shows that the machinery turns",),
        ),
    },
    "neural_ode": {
        "published_code": NeuralODEConfiguration(solver="dopri5", stages=(_PAPER_ELBO,)),
        "paper": NeuralODEConfiguration(solver="euler", stages=(_PAPER_ELBO,)),
        "smoke": NeuralODEConfiguration(
            components=16,
            step=10.0,
            stages=(Stage("elbo", window=100, stride=50, batch=16, epochs=2, learning_rate=1e-2),),
            departures=("everything is small: this one only shows that the machinery turns",),
        ),
    },
}


@dataclass(frozen=True)
class Profile:
    """One size of the whole book.

    Attributes
    ----------
    name : str
    beats : int
        Beats of the golden standard.
    lstm, neural_ode : str
        Names of the models' configurations.
    fraction : float
        Share of the frames for training.
    warmup, steps, starts : int
        Frames of history, frames of forecast, and number of starts in the comparison.
    seed : int
    """

    name: str
    beats: int
    lstm: str
    neural_ode: str
    fraction: float = 0.8
    warmup: int = 500
    steps: int = 500
    starts: int = 20
    seed: int = 0


PROFILES = {
    # Six beats leave 600 test frames: history and forecast must fit into them.
    "smoke": Profile("smoke", beats=6, lstm="smoke", neural_ode="smoke", warmup=100, steps=200, starts=4),
    "laptop": Profile("laptop", beats=109, lstm="laptop", neural_ode="laptop"),
    "paper": Profile("paper", beats=109, lstm="paper", neural_ode="paper"),
}


def get_profile(profile="laptop"):
    """A profile by its name; a :class:`Profile` is handed back as it is.

    Examples
    --------
    >>> get_profile("laptop").beats
    109
    """
    if isinstance(profile, Profile):
        return profile
    return _named(PROFILES, profile, "profile")


def configuration_named(model, configuration, changes):
    """A configuration by name (or as a card holds it), with changes.

    Examples
    --------
    >>> configuration_named("lstm", "published_code", {"hidden": 32}).hidden
    32
    """
    kinds = {"lstm": LSTMConfiguration, "neural_ode": NeuralODEConfiguration}
    kind = kinds[model]
    if isinstance(configuration, str):
        configuration = _named(CONFIGURATIONS[model], configuration, "configuration")
    elif isinstance(configuration, dict):  # from a card
        stages = tuple(Stage(**stage) for stage in configuration["stages"])
        departures = tuple(configuration["departures"])
        configuration = kind(**{**configuration, "stages": stages, "departures": departures})
    known = [field.name for field in dataclasses.fields(kind)]
    for name in changes:
        if name not in known:
            raise ValueError(f"{name}={changes[name]!r} is no setting of {model}; choose from {', '.join(known)}")
    return dataclasses.replace(configuration, **changes)


def _named(table, name, argument):
    if name not in table:
        raise ValueError(f"{argument}={name!r} is not known; choose from {', '.join(table)}")
    return table[name]
