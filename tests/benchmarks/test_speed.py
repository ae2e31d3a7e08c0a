"""Speed of the solver beside finitewave's: ``make bench``.

Not part of ``make test``: a time is a measurement, not a test.  The work is membrane, diffusion and
(for ours) the recording of four variables each millisecond; the unit is nanoseconds per cell and
time step, wall time, on all processors of the machine.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

import cepkit as cep

RIVAL = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"


def sheet(nodes, duration, **kwargs):
    tissue = cep.Tissue((nodes, nodes), spacing=10 / 23, diffusivity=0.125)
    protocol = cep.pacing.periodic(500.0, 1, cep.region.corner(tissue))
    return cep.simulate(tissue, protocol, duration, progress=False, **kwargs)


@pytest.mark.parametrize(
    ("nodes", "duration", "dtype"),
    [
        (24, 500.0, "float64"),
        (24, 500.0, "mixed"),
        (64, 200.0, "float64"),
        (128, 100.0, "float64"),
        (256, 60.0, "float64"),  # long enough that what is done once (40 ms) does not count
        (256, 60.0, "mixed"),
        (512, 16.0, "float64"),
        (1024, 6.0, "float64"),
    ],
)
def test_fixed_step(benchmark, nodes, duration, dtype):
    benchmark.pedantic(
        sheet, (nodes, duration), {"dt": 0.02, "dtype": dtype}, rounds=15 if nodes <= 256 else 5, warmup_rounds=1
    )
    scale = 1e9 / (duration / 0.02) / nodes**2
    times = benchmark.stats.stats
    benchmark.extra_info |= {
        "code": "cepkit", "nodes": nodes, "dtype": dtype,
        "ns per cell step": round(times.median * scale, 1), "fastest": round(times.min * scale, 1),
    }  # fmt: skip


def test_adaptive_beat(benchmark):
    benchmark.pedantic(sheet, (24, 500.0), {"dt": "adaptive"}, rounds=21, warmup_rounds=1)
    times = benchmark.stats.stats
    benchmark.extra_info |= {
        "code": "cepkit", "nodes": 24, "dtype": "float64",
        "ms per adaptive beat": round(times.median * 1000, 1), "fastest": round(times.min * 1000, 1),
    }  # fmt: skip


@pytest.mark.parametrize(("nodes", "duration"), [(24, 100.0), (256, 10.0)])
def test_finitewave(benchmark, nodes, duration):
    if not RIVAL.exists():
        pytest.fail("finitewave is not installed; `make bench` makes its environment")
    command = [RIVAL, Path(__file__).with_name("finitewave_run.py"), str(nodes), str(duration), "5"]
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(len(os.sched_getaffinity(0)))}

    def run():
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)

    times = sorted(benchmark.pedantic(run, rounds=1))
    benchmark.extra_info |= {
        "code": "finitewave 0.9.3", "nodes": nodes, "dtype": "float64",
        "ns per cell step": round(times[len(times) // 2], 1), "fastest": round(times[0], 1),
    }  # fmt: skip
