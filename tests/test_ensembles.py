"""Ensembles: the same runs as one by one, resumable, and on a cluster that loses a worker."""

import os
import signal
import time

import numpy as np
import pytest

import cepkit as cep

SHEET = cep.Tissue((8, 8), spacing=10 / 23)
SITES = [cep.region.corner(SHEET), cep.region.box(SHEET, x=(0, 1))]
PROTOCOLS = [cep.pacing.irregular((300.0, 900.0), SITES, seed, 2000.0) for seed in range(4)]


def test_an_ensemble_is_its_runs(tmp_path):
    together = cep.ensemble(PROTOCOLS, SHEET, 300.0, tmp_path / "e.zarr", progress=False)
    assert together.Vm.dims == ("run", "time", "y", "x")
    for k, protocol in enumerate(PROTOCOLS):
        alone = cep.simulate(SHEET, protocol, 300.0, progress=False)
        assert np.array_equal(together.CaSR[k], alone.CaSR)


def test_complete_runs_are_not_touched_and_missing_ones_are_made(tmp_path):
    import shutil

    path = tmp_path / "e.zarr"
    cep.ensemble(PROTOCOLS[:3], SHEET, 100.0, path, progress=False)
    shutil.rmtree(path / "run-0001")
    stamp = (path / "run-0000" / "zarr.json").stat().st_mtime_ns
    again = cep.ensemble(PROTOCOLS[:3], SHEET, 100.0, path, progress=False)
    assert (path / "run-0000" / "zarr.json").stat().st_mtime_ns == stamp
    assert not np.isnan(again.Vm.values).any()


def test_a_run_that_fails_is_named_and_the_others_are_kept(tmp_path):
    wild = cep.Protocol([cep.Stimulus(1.0, SITES[0], 1.0, -3000.0)])
    with pytest.raises(RuntimeError, match="run 1 failed: the solution diverged"):
        cep.ensemble([PROTOCOLS[0], wild], SHEET, 100.0, tmp_path / "e.zarr", progress=False)
    assert (tmp_path / "e.zarr" / "run-0000" / "zarr.json").exists()
    with pytest.raises(ValueError, match="protocols is empty"):
        cep.ensemble([], SHEET, 100.0, tmp_path / "e.zarr")


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker(tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))

        import threading

        def kill_when_running():
            deadline = time.monotonic() + 60
            while not list(tmp_path.glob("e.zarr/*.partial/checkpoint.npz")) and time.monotonic() < deadline:
                time.sleep(0.02)
            killed.append(bool(list(tmp_path.glob("e.zarr/*.partial"))))
            os.kill(victim, signal.SIGKILL)

        killed = []
        killer = threading.Thread(target=kill_when_running)
        killer.start()
        together = cep.ensemble(PROTOCOLS, SHEET, 12_000.0, tmp_path / "e.zarr", client=client, progress=False)
        killer.join()
        assert killed == [True], "the worker was not killed in the middle of a run"
        alone = cep.simulate(SHEET, PROTOCOLS[0], 12_000.0, progress=False)
        assert np.array_equal(together.Vm[0], alone.Vm)
