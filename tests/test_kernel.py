"""What makes the kernel fast, against the readable equations."""

import numpy as np
import pytest
from numba import njit

from cepkit import cell, kernel


def test_log_and_small_exp():
    @njit
    def over(x, y):
        return (
            np.array([kernel.log(v) for v in x]),
            np.array([kernel.small_exp(v) for v in y]),
        )

    x, y = np.geomspace(1e-7, 1e7, 2001), np.linspace(-0.5, 0, 501)
    log, exp = over(x, y)
    assert np.allclose(log, np.log(x), rtol=1e-14, atol=1e-15)
    assert np.allclose(exp, np.exp(y), rtol=1e-9)


def test_single_precision_forms_stay_single():
    """Half the bytes buy speed only where no double literal promotes what it meets."""
    log, small_exp, gate = kernel._log, kernel._small_exp, kernel._calcium_gate

    @njit
    def over(x, y):
        return (
            [log(x)(v) for v in x],
            [small_exp(x)(v) for v in y],
            [gate(x)(v)[1] for v in x],
        )

    x = np.geomspace(1e-7, 1e7, 2001).astype(np.float32)
    y = np.linspace(-0.5, 0, 2001).astype(np.float32)
    logs, exps, taus = over(x, y)
    for signature in over.nopython_signatures:
        assert {items.dtype.name for items in signature.return_type} == {"float32"}
    exact = np.log(x.astype(float))
    assert np.abs(logs - exact).max() < 1e-6
    assert np.allclose(exps, np.exp(y.astype(float)), rtol=3e-7)
    assert np.allclose(taus, cell.calcium_gate(x.astype(float))[1], rtol=3e-7)


def test_interpolation_error_of_the_voltage_table():
    V = np.random.default_rng(0).uniform(-100, 60, 4000)
    V = V[np.abs(V + 40) > kernel.V_STEP]  # h and j jump there, in the equations themselves
    _, c = cell.parameters()
    table = kernel.voltage_table([0.02], c).reshape(-1, kernel.WIDTH)
    x = (V - kernel.V_LOW) / kernel.V_STEP
    row = x.astype(int)
    got = table[row] + (x - row)[:, None] * (table[row + 1] - table[row])
    for k, (inf, tau) in enumerate(cell.voltage_gates(V).values()):
        assert np.abs(got[:, k] - inf).max() < 1e-5
        assert np.abs(got[:, kernel.N_GATES + k] - np.exp(-0.02 / tau)).max() < 1e-5
    for k, factor in enumerate(cell.voltage_factors(V, c)):
        error = np.abs(got[:, 2 * kernel.N_GATES + k] - factor)
        assert error.max() < 2e-6 * np.abs(factor).max()


def test_interpolation_error_of_the_rectifier():
    drive = np.random.default_rng(0).uniform(-20, 140, 4000)
    x = (drive - kernel.DRIVE_LOW) / kernel.DRIVE_STEP
    row = x.astype(int)
    table = kernel.rectifier_table()
    got = table[row] + (x - row) * (table[row + 1] - table[row])
    assert np.abs(got - cell.rectifier(drive)).max() < 1e-5


@pytest.mark.parametrize("dtype", ["float64", "mixed", "float32"])
def test_one_step_is_the_readable_step(dtype):
    """A single Rush-Larsen step of the kernel against the same step written with cell.py."""
    import cepkit as cep

    tissue = cep.Tissue((1, 1))
    rng = np.random.default_rng(1)
    state = {n: v * (1 + 0.05 * rng.uniform()) for n, v in cell.INITIAL_STATE.items()}
    state["Vm"] = -31.7
    dt = 0.02
    run = cep.simulate(tissue, cep.Protocol(), dt, dt=dt, save_every=dt, initial=state, dtype=dtype)
    y = dict(state)
    for name, (inf, tau) in cell.voltage_gates(np.float64(y["Vm"])).items():
        y[name] = inf + (y[name] - inf) * np.exp(-dt / tau)
    inf, tau = cell.calcium_gate(y["CaSS"])
    y["fCaSS"] = inf + (y["fCaSS"] - inf) * np.exp(-dt / tau)
    rate = cell.rhs(np.array([y[n] for n in cell.STATES]))
    for name in ("Vm", "Cai", "CaSR", "CaSS", "Rbar", "Nai", "Ki"):
        y[name] += dt * rate[cell.STATES.index(name)]
    final = cep.final_state(run)
    rtol = {"float64": 2e-6, "mixed": 2e-5, "float32": 1e-4}[dtype]
    for name in cell.STATES:
        assert float(final[name].squeeze()) == pytest.approx(y[name], rel=rtol, abs=1e-9), name
