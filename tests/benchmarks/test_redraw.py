"""How long a live control takes from the move of a slider to the new picture: ``make bench``.

Twenty moves at the default size, with the simulation behind them and the PNG; what the browser adds is not in it.
The aim is 100 ms.
"""

import itertools

import pytest

import cepkit as cep


def sheet():
    tissue = cep.Tissue((24, 24), spacing=10 / 23, diffusivity=0.125)
    protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(tissue))
    return cep.simulate(tissue, protocol, 500.0, progress=False).Vm


def forecast():
    truth = sheet()[1:].rename(time="lead_time").expand_dims(start=[0.0])
    return cep.explore_forecast(truth, {"lstm": truth.roll(lead_time=3)})


CASES = {  # the control, what is moved, and where to
    "cell": (cep.explore_cell, "gKr [%]", range(0, 100, 5)),
    "restitution": (cep.explore_restitution, "S2 after [ms]", range(400, 600, 10)),
    "restitution, another train": (cep.explore_restitution, "S1 cycle [ms]", [300, 400, 500, 600]),
    "wave": (lambda: cep.explore_wave(sheet()), "time [ms]", range(1, 21)),
    "forecast": (forecast, "lead time [ms]", range(2, 22)),
    "scorecard": (cep.explore_scorecard, "test", ["cl400", "cl500", "cl650", "s1s2"]),
}


@pytest.mark.parametrize("name", CASES)
def test_redraw(benchmark, name):
    make, moved, values = CASES[name]
    *_, grid, _, picture, _ = make().children
    control = next(c for c in grid.children if c.description == moved)
    values = itertools.cycle(values)

    def move():
        before, control.value = picture.value, next(values)
        assert picture.value != before

    benchmark.pedantic(move, rounds=20, warmup_rounds=1)
    milliseconds = 1000 * benchmark.stats.stats.median
    benchmark.extra_info |= {"code": "cepkit", "control": name, "ms per redraw": round(milliseconds, 1)}
