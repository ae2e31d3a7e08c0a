"""Self-checks: hand over an answer and hear what is wrong with it, but not what is right.

Each call works out the right answer anew with the library, and what each typical mistake would give; whoever makes one
is told its name. Every check prints one line and returns whether the answer holds.
"""

from cepkit.check.answers import field, function, number
from cepkit.check.cells import apd90, conduction_velocity, rush_larsen, stimulus_potassium, threshold
from cepkit.check.learning import euler, free_run, lstm_weights, scaling, verdict, windows, z_mse
from cepkit.check.methods import conv_weights, modes, nvar_features, pays_after, surrogate
from cepkit.problems import toy

__all__ = [
    "apd90", "conduction_velocity", "conv_weights", "euler", "field", "free_run", "function", "lstm_weights",
    "modes", "number", "nvar_features", "pays_after", "rush_larsen", "scaling", "stimulus_potassium",
    "surrogate", "threshold", "toy", "verdict", "windows", "z_mse",
]  # fmt: skip
