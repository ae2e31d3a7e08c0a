"""What an electrophysiologist measures: on what was recorded, and by experiments that run the solver for a number."""

# ruff: noqa: F401, I001
from cepkit.measure.experiments import (
    capture_threshold, diffusivity_for, premature, restitution, steady_state, strength_duration,
)  # fmt: skip
from cepkit.measure.traces import (
    RESET, UP, action_potential, activation_map, activation_time, beat, beats, conduction_velocity, find,
    local_velocity, phase, phase_singularities, pseudo_ecg, rises, tips,
)  # fmt: skip
