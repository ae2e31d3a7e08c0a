"""The methods of the benchmark beyond the paper's two: importing this registers them."""

from cepkit.bench.methods import (  # noqa: F401, I001  (many names a line)
    conv_lstm, dmd_control, event_engine, flow_map, latent_dynamics, ldnet, local, lstm_stimulus, neural_ode_stimulus,
    operators, paced, physics_augmented, pod_galerkin, pod_regression, replay, reservoirs, solver_coarse,
)  # fmt: skip
