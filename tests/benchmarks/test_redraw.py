"""How long a live control takes from the move of a slider to the new picture: ``make bench``.

Twenty moves of what is simulated again, until it is sent; what the browser adds is not in it.  The aim is 100 ms.
"""

import itertools

import pytest

import cepkit as cep

CASES = {  # the control, what is moved, and where to
    "cell": (cep.explore_cell, "gKr [%]", range(0, 100, 5)),
    "restitution": (cep.explore_restitution, "S2 after [ms]", range(400, 600, 10)),
    "restitution, another train": (cep.explore_restitution, "S1 cycle [ms]", [300, 400, 500, 600]),
}


@pytest.mark.parametrize("name", CASES)
def test_redraw(benchmark, name):
    make, moved, values = CASES[name]
    *_, grid, _, picture, _ = make().children
    control = next(c for c in grid.children if c.description == moved)
    values = itertools.cycle(values)

    def move():
        before, control.value = picture.payload, next(values)
        assert picture.payload != before

    benchmark.pedantic(move, rounds=20, warmup_rounds=1)
    milliseconds = 1000 * benchmark.stats.stats.median
    benchmark.extra_info |= {"code": "cepkit", "control": name, "ms per redraw": round(milliseconds, 1)}
