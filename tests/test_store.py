"""Stores: what a kill, a second writer, a damaged chunk or a changed configuration leaves behind."""

import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import cepkit as cep

SHEET = cep.Tissue((8, 8), spacing=10 / 23)
BEAT = cep.pacing.periodic(300.0, 5, cep.region.corner(SHEET))


def run(path, duration=1100.0, **kwargs):
    return cep.simulate(SHEET, BEAT, duration, store=path, progress=False, **kwargs)


def test_a_store_holds_what_memory_holds(tmp_path):
    stored, memory = run(tmp_path / "a.zarr"), run(None)
    assert list(stored.data_vars) == list(memory.data_vars)
    for name in memory.data_vars:
        assert np.array_equal(stored[name], memory[name])
    assert np.array_equal(cep.final_state(stored).Ki, cep.final_state(memory).Ki)
    assert stored.attrs["hash"] == memory.attrs["hash"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_the_same_run_is_opened_another_is_refused(tmp_path):
    path = tmp_path / "a.zarr"
    run(path)
    stamp = (path / "zarr.json").stat().st_mtime_ns
    run(path)
    assert (path / "zarr.json").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="another configuration"):
        run(path, dt=0.01)
    assert (path / "zarr.json").stat().st_mtime_ns == stamp


def test_more_attributes_are_kept_and_make_no_other_run(tmp_path):
    made = run(tmp_path / "a.zarr", attrs={"cycle_length": 300.0, "hash": "mine"})
    assert cep.open_trajectory(tmp_path / "a.zarr").attrs["cycle_length"] == 300.0
    assert made.attrs["hash"] == run(tmp_path / "a.zarr").attrs["hash"] == run(None).attrs["hash"]


def test_a_golden_standard_of_another_configuration_is_made_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CEPKIT_DATA", str(tmp_path))
    path = tmp_path / "golden" / "6-beats.zarr"
    other = run(path, 10.0)
    golden = cep.golden_standard("smoke", progress=False)
    assert "making it again" in capsys.readouterr().out
    assert golden.sizes["time"] == 3001 and golden.attrs["hash"] != other.attrs["hash"]
    assert cep.open_trajectory(path).attrs["cycle_length"] == golden.attrs["cycle_length"] == 500.0


def test_killed_and_resumed_is_bit_identical(tmp_path):
    path = tmp_path / "a.zarr"
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
        from test_store import run
        run({str(path)!r}, 40_000.0)
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    checkpoint = path.with_name("a.zarr.partial") / "checkpoint.npz"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not path.exists(), "the run was not killed half way"
    with np.load(checkpoint) as saved:
        assert 0 < int(saved["done"]) < 40_000
    resumed, whole = run(path, 40_000.0), run(None, 40_000.0)
    for name in whole.data_vars:
        assert np.array_equal(resumed[name], whole[name])
    assert np.array_equal(resumed.final_state, whole.final_state)


def test_a_second_writer_is_refused(tmp_path):
    import fcntl

    partial = tmp_path / "a.zarr.partial"
    partial.mkdir()
    with open(partial / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="written by another process"):
            run(tmp_path / "a.zarr")
    run(tmp_path / "a.zarr")


def test_a_damaged_chunk_is_an_error(tmp_path):
    trajectory = run(tmp_path / "a.zarr")
    chunk = next(p for p in (tmp_path / "a.zarr" / "Vm" / "c").rglob("*") if p.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.write_bytes(data)
    with pytest.raises(Exception, match="(?i)checksum|crc"):
        trajectory.Vm.values  # noqa: B018


def test_what_is_no_store(tmp_path):
    with pytest.raises(ValueError, match="no trajectory"):
        cep.open_trajectory(tmp_path / "none.zarr")
    (tmp_path / "junk.zarr").mkdir()
    with pytest.raises(ValueError, match="not a readable"):
        run(tmp_path / "junk.zarr")


def test_a_folder_that_cannot_be_written():
    with pytest.raises(ValueError, match="cannot be written"):
        run("/proc/nowhere/a.zarr", 10.0)


FULL = """
import resource, signal, sys
import cepkit as cep
tissue = cep.Tissue((24, 24), spacing=10 / 23, diffusivity=0.125)
protocol = cep.pacing.periodic(500.0, 3, cep.region.corner(tissue))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    cep.simulate(tissue, protocol, 1100.0, dt=0.1, store=sys.argv[1], progress=False)
except OSError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_an_error_and_the_run_resumes(tmp_path):
    """No file may grow over a limit, as on a full disk: the system itself refuses to write."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "run.zarr")]
    refused = subprocess.run([*command, "200000"], capture_output=True, text=True)
    assert "make room and call again" in refused.stdout, refused.stderr
    assert not (tmp_path / "run.zarr").exists()
    assert not subprocess.run([*command, str(2**40)], capture_output=True, text=True, check=True).stdout
    tissue = cep.Tissue((24, 24), spacing=10 / 23, diffusivity=0.125)
    protocol = cep.pacing.periodic(500.0, 3, cep.region.corner(tissue))
    whole = cep.simulate(tissue, protocol, 1100.0, dt=0.1, progress=False)
    assert np.array_equal(cep.open_trajectory(tmp_path / "run.zarr").Vm, whole.Vm)
