"""Many runs into one store: on the processors of this machine, or on a Dask cluster."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec

import numpy as np
import xarray as xr
import zarr

from cepkit.progress import bar, processors
from cepkit.solver import simulate
from cepkit.store import folder_of, open_trajectory


def ensemble(protocols, tissue, duration, store, client=None, initial=None, progress=True, **options):
    """Simulate one tissue under many protocols; hand back all runs, dims ``(run, time, *axes)``, read lazily.

    Every run is a trajectory of its own in the group ``run-0000``, ``run-0001``, ... of one Zarr store, with its own
    provenance and its own checkpoint: an interrupted ensemble continues where each of its runs stood, and runs that are
    complete are not touched.  A RuntimeError names the first run that failed; the others are kept.

    Without a Dask ``client`` the runs share the threads of this process, one a processor (the kernel holds no lock);
    with one, ``store`` must be a folder that all workers see.  ``initial`` holds the state to start each run from; the
    ``options`` are those of :func:`cepkit.simulate`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cep.ensemble(2 * [cep.Protocol()], cep.Tissue((4, 4)), 30.0, folder, progress=False).Vm.shape
    (2, 31, 4, 4)
    """
    if not find_spec("dask"):
        raise ImportError("an ensemble is one dataset by way of Dask: pip install cepkit[cluster]")
    runs = simulate_each(protocols, tissue, duration, store, client, initial, progress, **options)
    return _together(runs, range(len(runs)))


def open_ensemble(store):
    """An ensemble as one dataset, dims ``(run, time, *axes)``, read lazily; a ValueError if there is none.

    ``ensemble.isel(run=k)`` is a trajectory: its activations are filled up with NaN, and its final state is there.
    """
    found = sorted(folder_of(store).glob("run-*/zarr.json"))
    if not found:
        raise ValueError(f"store={str(store)!r} holds no runs; make them with cepkit.ensemble")
    return _together([open_trajectory(file.parent) for file in found], [int(file.parent.name[4:]) for file in found])


def _together(runs, numbers):
    nothing, each = {"activation_time": np.nan, "activation_node": -1}, []
    most = max(run.sizes["activation"] for run in runs)
    for run in runs:
        noted = run[list(nothing)].reset_coords(nothing)
        noted = noted.pad(activation=(0, most - run.sizes["activation"]), constant_values=nothing)
        each.append(run.drop_vars(nothing).chunk().merge(noted.set_coords(nothing)))
    numbers = xr.DataArray(list(numbers), dims="run", name="run")
    return xr.concat(each, numbers, coords="different", compat="equals", join="exact", combine_attrs="drop_conflicts")


def simulate_each(protocols, tissue, duration, store, client=None, initial=None, progress=True, **options):
    """The runs of an :func:`ensemble` as a list of trajectories, for which Dask is not needed.

    ``tissue`` may be a list as well, one for each protocol.
    """
    protocols = list(protocols or [])
    if not protocols:
        raise ValueError("protocols is empty; give at least one")
    initial = [None] * len(protocols) if initial is None else list(initial)
    if len(initial) != len(protocols):
        raise ValueError(f"initial holds {len(initial)} states for {len(protocols)} protocols")
    store = folder_of(store)
    zarr.open_group(store, mode="a", attributes={"title": "ensemble of trajectories"})
    tissues = tissue if isinstance(tissue, list) else [tissue] * len(protocols)
    jobs = [
        dict(options, tissue=t, protocol=p, duration=duration, initial=i, store=store / f"run-{k:04d}", threads=1)
        for k, (t, p, i) in enumerate(zip(tissues, protocols, initial, strict=True))
    ]
    errors = _errors(jobs, client, progress)
    if errors:
        (first, error), *more = sorted(errors.items())
        raise RuntimeError(f"run {first} failed: {error}" + (f" (and {len(more)} more)" if more else "")) from error
    return [open_trajectory(job["store"]) for job in jobs]


def _run(job):
    simulate(progress=False, **job)  # hands nothing back: the trajectory is on disk


def _errors(jobs, client, progress):
    """Run -> its error, of the runs that failed."""
    with ThreadPoolExecutor(processors()) as pool:
        if client:
            from distributed import as_completed as completed

            # A worker that dies takes its run back to its last checkpoint, on another worker.
            runs = [client.submit(_run, job, key=f"cepkit-{job['store']}", retries=3) for job in jobs]
        else:
            completed = as_completed
            runs = [pool.submit(_run, job) for job in jobs]
        done = bar(completed(runs), "ensemble", "run", progress, total=len(jobs))
        return {runs.index(run): run.exception() for run in done if run.exception()}
