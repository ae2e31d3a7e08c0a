"""The membrane against an independent integrator and published numbers."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import cepkit as cep
from cepkit import cell, measure

POINT = cep.Tissue((1, 1))
HERE = cep.region.everywhere(POINT)


def paced(cycle_length, beats, dt, amplitude=-52.0, duration=1.0, save_every=0.1, **kwargs):
    protocol = cep.pacing.periodic(cycle_length, beats, HERE, amplitude, duration)
    return cep.simulate(POINT, protocol, beats * cycle_length, dt=dt, save_every=save_every, **kwargs).squeeze(
        ["y", "x"]
    )


def stiff(cycle_length, beats, amplitude=-52.0, duration=1.0, cell_type="epi"):
    """The same equations by SciPy's BDF; returns times and states (19, time)."""
    y = np.array([cell.INITIAL_STATE[name] for name in cell.STATES])
    times, states = [np.zeros(1)], [y[:, None]]
    for beat in range(beats):
        t0 = beat * cycle_length
        for start, end, current in (
            (t0, t0 + duration, amplitude),
            (t0 + duration, t0 + cycle_length, 0.0),
        ):
            solution = solve_ivp(
                lambda t, y, current=current: cell.rhs(y, current, cell_type),
                (start, end), y, "BDF", rtol=1e-7, atol=1e-10, max_step=5.0,
            )  # fmt: skip
            y = solution.y[:, -1]
            times.append(solution.t[1:])
            states.append(solution.y[:, 1:])
    return np.concatenate(times), np.concatenate(states, axis=1)


@pytest.mark.parametrize("cell_type", cell.CELL_TYPES)
def test_all_19_states_agree_with_bdf(cell_type):
    beats = 3
    ours = paced(500.0, beats, dt=0.005, cell_type=cell_type)
    _, reference = stiff(500.0, beats, cell_type=cell_type)
    final = cep.final_state(ours.expand_dims(["y", "x"]) if "y" not in ours.dims else ours)
    for name, expected in zip(cell.STATES, reference[:, -1], strict=True):
        got = float(final[name].squeeze())
        # At the end of the beat every variable is slow: what is left is the first-order error.
        assert got == pytest.approx(expected, rel=2e-3, abs=1e-9), name


def test_rush_larsen_is_first_order_in_dt():
    t, y = stiff(500.0, 1)
    expected = float(y[cell.STATES.index("Cai")].max())
    errors = [abs(float(paced(500.0, 1, dt, save_every=0.08).Cai.max()) - expected) for dt in (0.08, 0.04, 0.02)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((orders > 0.8) & (orders < 1.3)), (errors, orders)


def test_opencarp_bench_row():
    """35.714 pA/pF for 2 ms, dt 0.005: a third party's run of openCARP's single-cell program."""
    run = paced(600.0, 1, dt=0.005, amplitude=-35.714, duration=2.0, save_every=0.05)
    ap = measure.action_potential(run.Vm)
    assert float(ap.rest) == pytest.approx(-85.23, abs=0.05)
    assert float(ap.peak) == pytest.approx(55.0, abs=0.7)  # 55.07 there; the BDF limit is 54.45
    assert float(measure.activation_time(run.Vm, level=0.0)) == pytest.approx(1.223, abs=0.02)
    assert float(ap.APD) == pytest.approx(289.8, abs=1.0)


@pytest.mark.parametrize(
    ("cycle_length", "beat", "rest", "APD90", "Nai", "Ki"),
    [
        (1000.0, 1, -85.23, 291.4, None, None),
        (1000.0, 100, -85.47, 302.8, 9.318, 136.20),
        (500.0, 109, -84.93, 281.3, 9.887, 135.51),
    ],
)
def test_long_pacing_agrees_with_an_independent_code(cycle_length, beat, rest, APD90, Nai, Ki):
    run = paced(cycle_length, beat, dt=0.02, save_every=0.2)
    ap = measure.action_potential(measure.beat(run.Vm, beat, cycle_length))
    assert float(ap.rest) == pytest.approx(rest, abs=0.03)
    assert float(ap.APD) == pytest.approx(APD90, abs=1.0)
    if Nai:
        final = cep.final_state(run)
        assert float(final.Nai.squeeze()) == pytest.approx(Nai, rel=0.003)
        assert float(final.Ki.squeeze()) == pytest.approx(Ki, rel=0.0005)


def test_potassium_block_prolongs_and_calcium_block_shortens():
    plain = float(measure.action_potential(paced(1000.0, 1, 0.02).Vm).APD)
    blocked = paced(1000.0, 1, 0.02, parameters={"gKr": 0.0})
    assert float(measure.action_potential(blocked.Vm).APD) > plain + 10
    blocked = paced(1000.0, 1, 0.02, parameters={"gCaL": 0.5 * 3.98e-5})
    assert float(measure.action_potential(blocked.Vm).APD) < plain - 10


def test_currents_sum_to_the_rate_of_change():
    y = np.array([cell.INITIAL_STATE[name] for name in cell.STATES])
    i = cell.all_currents(cell.INITIAL_STATE)
    assert cell.rhs(y, stimulus=-52.0)[0] == pytest.approx(52.0 - sum(i))


def test_calcium_current_is_smooth_at_15_mV():
    V = np.array([15 - 1e-6, 15.0, 15 + 1e-6])
    factors = cell.voltage_factors(V)
    assert np.allclose(factors.CaL_in, factors.CaL_in[1], rtol=1e-6)
    assert np.all(np.isfinite(factors.CaL_out))


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="gXX.*gNa"):
        cell.parameters("epi", {"gXX": 1.0})
    with pytest.raises(ValueError, match="'mid'.*epi"):
        cell.parameters("mid")
