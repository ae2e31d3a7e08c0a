"""What makes the kernel fast, against the readable equations."""

import numpy as np
import pytest
from numba import njit

import cepkit as cep
from cepkit import cell, engine, kernel, simd, solver


def test_log_and_small_exp():
    @njit
    def over(x, y):
        return (
            np.array([simd.log(v) for v in x]),
            np.array([simd.small_exp(v) for v in y]),
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
    V = V[np.abs(V + 40) > simd.V_STEP]  # h and j jump there, in the equations themselves
    _, c = cell.parameters()
    table = simd.voltage_table([0.02], c).reshape(-1, simd.WIDTH)
    x = (V - simd.V_LOW) / simd.V_STEP
    row = x.astype(int)
    got = table[row] + (x - row)[:, None] * (table[row + 1] - table[row])
    for k, (inf, tau) in enumerate(cell.voltage_gates(V).values()):
        assert np.abs(got[:, k] - inf).max() < 1e-5
        assert np.abs(got[:, simd.N_GATES + k] - np.exp(-0.02 / tau)).max() < 1e-5
    for k, factor in enumerate(cell.voltage_factors(V, c)):
        error = np.abs(got[:, 2 * simd.N_GATES + k] - factor)
        assert error.max() < 2e-6 * np.abs(factor).max()


def test_interpolation_error_of_the_rectifier():
    drive = np.random.default_rng(0).uniform(-20, 140, 4000)
    x = (drive - simd.DRIVE_LOW) / simd.DRIVE_STEP
    row = x.astype(int)
    table = simd.rectifier_table()
    got = table[row] + (x - row) * (table[row + 1] - table[row])
    assert np.abs(got - cell.rectifier(drive)).max() < 1e-5


@pytest.mark.parametrize("dtype", ["float64", "mixed", "float32"])
def test_one_step_is_the_readable_step(dtype):
    """A single Rush-Larsen step of the kernel against the same step written with cell.py."""
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


def uniform(monkeypatch, dt, protocol, duration, tissue=None, **options):
    """A run of second order with the same step everywhere."""
    monkeypatch.setitem(solver.ADAPTIVE, 0.02, (0.2, (dt,), ()))
    tissue = tissue or cep.Tissue((1, 1))
    return cep.simulate(tissue, protocol, duration, progress=False, **options)


def test_the_adaptive_step_is_of_second_order(monkeypatch):
    """Half the step leaves a quarter of the error, of a cell and of a cable, in the state and in activations."""
    for tissue in (cep.Tissue((1, 1)), cep.Tissue((12,), 0.4)):
        end = cep.region.box(tissue, x=(0, 0.4))
        push = cep.Protocol([cep.Stimulus(0.0, end)])
        runs = {
            dt: uniform(monkeypatch, dt, push, 250.0, tissue, save_every=50.0) for dt in (0.04, 0.02, 0.01, 0.00125)
        }
        last = {dt: cep.final_state(run).to_array().values for dt, run in runs.items()}
        fired = {dt: run.activation_time.values for dt, run in runs.items()}
        for found in (last, fired):
            coarse, middle, fine = (np.abs(found[dt] - found[0.00125]).max() for dt in (0.04, 0.02, 0.01))
            assert 2.7 < coarse / middle < 5.5 and 2.7 < middle / fine < 5.5


def test_calcium_is_conserved_where_none_crosses_the_membrane(monkeypatch):
    """Free and buffered calcium of cytosol, store and subspace together, while the store empties: of second order."""
    closed = {"gCaL": 0.0, "gbCa": 0.0, "gpCa": 0.0, "kNaCa": 0.0}
    c = cell.NORMAL

    def total(state):
        return sum(
            volume * (state[name] + most * state[name] / (state[name] + half))
            for name, volume, most, half in (
                ("Cai", c.Vc, c.Bufc, c.Kbufc), ("CaSR", c.Vsr, c.Bufsr, c.Kbufsr), ("CaSS", c.Vss, c.Bufss, c.Kbufss)
            )
        )  # fmt: skip

    begin, lost = cell.INITIAL_STATE | {"CaSS": 1.0}, []
    for dt in (0.1, 0.05):
        run = uniform(monkeypatch, dt, cep.Protocol(), 60.0, initial=begin, parameters=closed)
        assert float(run.CaSR[-1].squeeze()) < 0.95 * begin["CaSR"]  # the store has released
        end = {name: float(value.squeeze()) for name, value in cep.final_state(run).items()}
        lost.append(abs(total(end) / total(begin) - 1))
    assert lost[1] < 1e-4 and 3.0 < lost[0] / lost[1] < 5.5


def test_blocks_with_steps_of_their_own_are_the_sheet_with_one_step(monkeypatch):
    """A wave through tiles of three levels against the finest step everywhere."""
    sheet = cep.Tissue((20, 37), 0.4)
    wave = cep.pacing.periodic(500.0, 1, cep.region.corner(sheet))
    local = cep.simulate(sheet, wave, 60.0, progress=False)
    one = uniform(monkeypatch, 1 / 90, wave, 60.0, sheet)
    off = cep.measure.activation_map(local) - cep.measure.activation_map(one)
    assert float(abs(off).max()) < 0.015
    assert float(abs(local.Vm - one.Vm).max()) < 5.0 and float(abs(local.Vm[-1] - one.Vm[-1]).max()) < 0.05


def test_neighbours_are_those_of_the_grid():
    """Tiles, shifts and exceptions of a block against the plain sum over the grid, in one step of diffusion alone."""
    rng = np.random.default_rng(3)
    for shape in ((5,), (70,), (7, 19), (12, 8), (3, 5, 9), (9, 8, 8)):
        tissue = cep.Tissue(shape, 0.4, 0.1)
        state = engine.State(tissue, cell.INITIAL_STATE, cell.Conductances(), "float64")
        V = rng.normal(size=shape)
        exact = np.zeros(shape)
        for step, ahead, behind in zip(tissue.directions, *tissue.weights, strict=True):
            exact += ahead * (np.roll(V, -step, range(len(shape))) - V) + behind * (
                np.roll(V, step, range(len(shape))) - V
            )
        state["Vm"] = V
        found = sum(pull * (state.V[at] - state.V) for at, pull in state.places())
        assert np.allclose(found[: state.n], exact.reshape(-1)[state.order])
        grid = state.grid
        for row, (at, pull) in enumerate(state.places()):
            own = np.arange(state.cells) // simd.BLOCK
            apart = (pull > 0) & (own != at // simd.BLOCK)
            assert state.near.toarray()[own[apart], at[apart] // simd.BLOCK].all()
            seen = np.arange(state.cells) + np.repeat(grid.shift[row], simd.BLOCK)
            for block in range(state.blocks):
                for entry in range(grid.first[block], grid.first[block + 1]):
                    if grid.into[entry] // simd.BLOCK == row:
                        seen[block * simd.BLOCK + grid.into[entry] % simd.BLOCK] = grid.source[entry]
            assert np.array_equal(seen[pull > 0], at[pull > 0])


@pytest.mark.parametrize("changes", [{"Vxfer": 0.038}, {"Vss": 1.1e-5}, {"Bufss": 0.0}, {"gK1": 16.0, "Ko": 8.0}])
def test_stiff_cells_are_borne(changes):
    """A subspace that empties ten times as fast, or is small, or unbuffered; a membrane that is stiff at rest."""
    push = cep.Protocol([cep.Stimulus(t, cep.region.everywhere(cep.Tissue((1, 1)))) for t in (0.0, 300.0)])
    runs = [
        cep.simulate(cep.Tissue((1, 1)), push, 400.0, parameters=changes, progress=False, **given)
        for given in ({"dt": 0.005}, {}, {"tolerance": 0.3})
    ]
    for run in runs[1:]:
        assert float(abs(run.Cai - runs[0].Cai).max() / runs[0].Cai.max()) < 0.02
        assert float(abs(run.Vm - runs[0].Vm)[10:300].max()) < 1.5 and len(run.activation_time) == 2
