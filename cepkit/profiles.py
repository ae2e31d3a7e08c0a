"""The sizes of a run of the whole book.  Frozen and plain, so that a page can print them."""

from dataclasses import dataclass

from cepkit.fields import one_of


@dataclass(frozen=True)
class Profile:
    """One size of the whole book."""

    name: str
    beats: int  # of the golden standard
    lstm: str  # names of the models' configurations
    neural_ode: str
    fraction: float = 0.8  # share of the frames for training
    validation: int = 8  # beats at its end that are held back to choose settings and weights by
    warmup: int = 500  # frames of history in the comparison,
    steps: int = 500  # frames of forecast
    starts: int = 20  # and starts
    seed: int = 0


PROFILES = {
    # Six beats leave 600 test frames: history and forecast must fit into them.
    "smoke": Profile("smoke", beats=6, lstm="smoke", neural_ode="smoke", validation=1, warmup=100, steps=200, starts=4),
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
    return PROFILES[one_of("profile", profile, PROFILES)]
