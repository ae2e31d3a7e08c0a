"""simulate(): tissue and protocol in, trajectory out.

The monodomain equation ``dV/dt = div(D grad V) - (I_ion + I_stim)`` with a cell of :mod:`cepkit.cell` at every node.
Gates take Rush and Larsen's exponential step (doi:10.1109/TBME.1978.326270), everything else an explicit one: of first
order where the step is fixed, else of second, by extrapolation as of Adams and Bashforth (arXiv:1712.07526).
"""

import functools
import json
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

import numpy as np
import xarray as xr

from cepkit import cell, kernel
from cepkit.engine import PRECISIONS, Engine, State
from cepkit.fields import TABLE, THRESHOLD, VARIABLES, in_form, in_order, number, one_of
from cepkit.pacing import Protocol
from cepkit.progress import bar, processors
from cepkit.store import TrajectoryStore, digest, open_trajectory
from cepkit.tissue import Tissue

#: Of every number simulated in first order, fixed or global: bump it whenever one changes.  The first literal is what
#: the first edition's stores hold.
VERSION = "d2eaf949eb766f65"
LOCAL_VERSION = "3"  # of those of the adaptive steps
#: Tolerance [ms] -> macro step [ms], the steps of the levels [ms], and the abs(dV/dt) [mV/ms] that asks for the next.
ADAPTIVE = {
    0.02: (1 / 3, (1 / 3, 1 / 9, 1 / 90), (2.0, 3.0)), 0.06: (1 / 3, (1 / 3, 1 / 9, 1 / 42), (2.0, 3.0)),
    0.3: (0.5, (0.5, 1 / 6, 1 / 14), (4.0, 16.0)),
}  # fmt: skip
#: One step for all: the macro step, the parts it is cut into, and the limits.
GLOBAL = (0.2, (2, 10, 20), (1.0, 10.0))
CALM = 1.0  # most that is taken in one step where nothing happens anywhere, and I_K1 is normal [ms]
REACTION = 3.75  # a cell's upstroke bears steps of this over gNa [ms nS/pF]: 0.25 ms where that is normal
_CALL, _CALL_BYTES = 50.0, 6.4e7  # ms a compiled call, less where they would outgrow the state itself


def _engine(device, levels):
    """The class that runs the kernel on a device."""
    one_of("device", device, ("cpu", "cuda", "auto"))
    # The adaptive step on two processors beats a fixed one on a GPU for small sheets.
    if device == "cpu" or (device == "auto" and len(levels[1]) > 1):
        return Engine
    gpu = import_module("cepkit.kernel_cuda")  # an optional part, loaded on first use
    return gpu.CudaEngine if device == "cuda" or gpu.cuda.is_available() else Engine


def simulate(
    tissue, protocol, duration, dt="adaptive", save_every=1.0, refine=1, cell_type="epi", parameters=None,
    initial=None, dtype="float64", save=VARIABLES, store=None, progress=True, threads=None,
    activation_level=THRESHOLD, device="cpu", attrs=None, tolerance=0.02, carry=None,
):  # fmt: skip
    """Simulate a tissue under a pacing protocol.

    Parameters
    ----------
    duration, save_every : float
        Of the run, and the time between frames, of which the former is a multiple [ms].
    dt, tolerance : float, "adaptive" or "global"
        Time step [ms], of which ``save_every`` is a multiple.  ``"adaptive"`` gives each block of 32 cells its own,
        such that activations are off by about ``tolerance`` [ms], 0.02 or more; ``"global"`` gives all the fastest's.
    refine : int
        Simulate on a grid so many times as fine, and keep what is at the tissue's nodes.
    cell_type, parameters : {"epi", "endo", "m"}, mapping
        Changed parameters by name; types and parameters may be fields on the grid.
    initial : xr.Dataset or mapping, optional
        State to start from, all 19 variables; see :func:`final_state`.
    dtype, device : {"float64", "mixed", "float32"}, {"cpu", "cuda", "auto"}
        ``mixed`` keeps concentrations in float64, the rest in float32.  ``"cuda"`` needs a fixed ``dt``.
    save, activation_level
        Which of Vm, Cai, CaSR, CaSS to keep; the voltage [mV] whose upward crossings are noted as activations.
    store, attrs, threads : path, mapping, int
        Stream into a Zarr store there, go on with one, or open it; more attributes to write; by default all processors.
    carry : FlowMap, optional
        Carries blocks of cells where nothing happens, see ``FlowMap.simulate``.

    Returns
    -------
    xr.Dataset
        Dims ``(time, *axes)``; Vm [mV], Cai, CaSR, CaSS [mM]; row 0 is the initial state.  Coordinates: every
        ``activation_time`` [ms] and ``activation_node``, and the full ``final_state``.  A FloatingPointError says when
        and where the solution diverges.

    Examples
    --------
    >>> sheet = cep.Tissue((4, 4), spacing=0.4)
    >>> protocol = cep.pacing.periodic(500.0, beats=1, region=cep.region.corner(sheet, fraction=0.5))
    >>> run = cep.simulate(sheet, protocol, duration=20.0, progress=False)
    >>> run.sizes["time"], bool(run.Vm[-1].min() > 0)  # all have fired
    (21, True)
    """
    _check(tissue, protocol, dtype, save, refine, {"parameters": parameters, "initial": initial, "attrs": attrs})
    fine, threads = tissue.refined(refine), number("threads", threads or processors(), positive=True)
    number("activation_level", activation_level, "mV")
    parameters = {name: in_order(value) for name, value in (parameters or {}).items()}
    conductances, constants = cell.parameters(cell_type := in_order(cell_type), parameters)
    for name, value in {"cell_type": cell_type, **conductances._asdict(), **constants._asdict()}.items():
        if np.ndim(value) and np.shape(value) != fine.shape:
            said = f"give one value or an array of the tissue's shape {fine.shape}"
            raise ValueError(f"parameters: {name} has shape {np.shape(value)}; {said}")
    calm = CALM / max(1.0, np.max(conductances.gK1 * np.sqrt(constants.Ko / 5.4)) / cell.Conductances().gK1)
    levels = _time_step(fine.max_dt, np.max(conductances.gNa) / REACTION, calm, duration, dt, save_every, tolerance)
    initial = _initial(initial, tissue, fine)
    # The first edition's adaptive step is the global one of today, and its stores are still opened: the levels tell.
    attrs = dict(attrs or {}) | _provenance(
        tissue=tissue.describe(), refine=int(refine), protocol=protocol.describe(), duration=float(duration),
        dt="adaptive" if isinstance(dt, str) else float(dt), levels=levels[:3],
        activation_level=float(activation_level), save_every=float(save_every),
        cell_type=np.asarray(cell_type).tolist(),
        parameters={name: np.asarray(value).tolist() for name, value in parameters.items()},
        initial=digest(*(initial[name] for name in cell.STATES)), dtype=dtype, save=list(save),
        solver=LOCAL_VERSION if levels[3] else VERSION,
        **({"carry": carry.hash} if carry else {}),
    )  # fmt: skip
    count = round(duration / save_every)
    target = TrajectoryStore(store, tissue, save, count, save_every, attrs)
    if target.complete:
        return open_trajectory(target.path)
    with target:
        state = State(fine, initial, conductances, dtype)
        del initial
        given = _stimuli(protocol, state, refine), activation_level, int(threads)
        kind = carry.engine if carry else _engine(device, levels)
        engine = kind(state, constants, cell_type, save_every, levels, *given)
        return _run(engine, target, tissue, refine, count, dt, progress)


def _run(engine, target, tissue, refine, count, dt, progress):
    """Step the engine through ``count`` frames, from the last checkpoint of the target on."""
    state, save_every = engine.state, engine.save_every
    coarse = (..., *(slice(None, None, refine if n > 1 else 1) for n in tissue.shape))
    done = target.resume(state)
    if done < 0:
        first = np.stack([state[name] for name in VARIABLES])
        target.append(first[coarse][None], np.zeros((0, 2)))
        done = 0
    # Fixed by the size of the state, so that a resumed run adds the same numbers.
    call = int(np.clip(_CALL_BYTES / (8 * len(VARIABLES) * state.cells), 1, max(1.0, _CALL / save_every)))
    long = (count - done) * save_every * state.blocks >= 20_000
    with bar(count, "simulate", "ms", progress and long, initial=done) as steps:
        while done < count:
            frames, activations = engine.run(done, min(call, count - done))
            _assert_finite(frames, done, save_every, dt)
            target.append(frames[coarse], state.tissue.coarse_nodes(activations, tissue, refine))
            done += len(frames)
            steps.update(len(frames))
            if target.due(done, len(frames)):
                target.checkpoint(done, state)
    engine.settle(done)
    final = np.empty((len(cell.STATES), *tissue.shape))
    for k, name in enumerate(cell.STATES):
        final[k] = state[name][coarse]
    return target.finish(final, cell.STATES, state.arrays(), engine.report())


def final_state(trajectory):
    """The full state at the end of a run, to start another from; a ValueError if the trajectory lacks its last frame.

    Examples
    --------
    >>> cell = cep.Tissue((1, 1))
    >>> run = cep.simulate(cell, cep.Protocol(), duration=5.0, progress=False)
    >>> again = cep.simulate(cell, cep.Protocol(), duration=5.0, initial=cep.final_state(run), progress=False)
    >>> again.Vm[0].item() == run.Vm[-1].item()
    True
    """
    trajectory = in_form(trajectory, "trajectory", time=True)
    if "final_state" not in trajectory.coords or float(trajectory["time"][-1]) != trajectory.attrs.get("final_time"):
        hint = "hand over what simulate() returned, not a part of it"
        raise ValueError(f"trajectory carries no full state of its last frame; {hint}")
    return trajectory["final_state"].reset_coords(drop=True).to_dataset(dim="state")


def _multiple(whole, part):
    """``whole / part`` if it is a whole number (to rounding), else None."""
    ratio = whole / part
    return round(ratio) if abs(ratio - round(ratio)) < 1e-6 * max(1.0, ratio) else None


def _time_step(bound, upstroke, calm, duration, dt, save_every, tolerance):
    """Macro step [ms], the numbers of parts it may be cut into, the limits between them; order, one for all, calm."""
    number("duration", duration, "ms", positive=True)
    number("save_every", save_every, "ms", positive=True)
    if not _multiple(duration, save_every):
        raise ValueError(f"duration={duration!r} must be a multiple of save_every={save_every!r}")
    largest = 1 / (1 / bound + upstroke + 1e-9)  # diffusion and upstroke share what an explicit step can bear
    if dt == "global":
        macro, cut, limits = GLOBAL
        macro = save_every / np.ceil(save_every / macro - 1e-9)
        least, finest = (int(np.ceil(macro / step - 1e-9)) for step in (min(bound, 1.0), largest))
        parts = sorted({max(n, least) for n in cut[:-1] if least < cut[-1]} | {max(cut[-1], finest)})
        return float(macro), parts, list(limits[len(cut) - len(parts) :]), None, True, calm
    if isinstance(dt, str):
        if dt != "adaptive":
            raise ValueError(f'dt={dt!r} must be a number [ms], "adaptive" or "global"')
        if number("tolerance", tolerance, "ms") < min(ADAPTIVE):
            raise ValueError(f"tolerance={tolerance!r} must be {min(ADAPTIVE)} ms or more; for less give a fixed dt")
        macro, steps, limits = ADAPTIVE[max(t for t in ADAPTIVE if t <= tolerance)]
        # A fine grid resolves the foot of a wave, which grows within such a step.
        macro = min(calm, macro / (1 if macro < bound else 2))
        macro = save_every / np.ceil(save_every / macro - 1e-9)
        steps = [*steps[:-1], 1 / max(1 / steps[-1], 2 * upstroke)]  # a second order bears half of what the first does
        parts = [int(np.ceil(macro / step - 1e-9)) for step in steps]
        keep = [k for k in range(len(parts)) if k == len(parts) - 1 or parts[k] < parts[k + 1]]
        return float(macro), [parts[k] for k in keep], [limits[k] for k in keep[:-1]], True, False, calm
    if number("dt", dt, "ms", positive=True) > largest * (1 + 1e-9):
        bound = f"the largest step that works is {largest:.4g} ms"
        raise ValueError(f"dt={dt!r} is over the stability bound of this tissue and its cells; {bound}")
    if not (steps := _multiple(save_every, dt)):
        raise ValueError(f"save_every={save_every!r} must be a multiple of dt={dt!r}")
    return float(save_every), [steps], [0.0], None, False, calm


def _check(tissue, protocol, dtype, save, refine, mappings):
    """What can be said before anything is computed."""
    if not (isinstance(tissue, Tissue) and isinstance(protocol, Protocol)):
        raise ValueError(f"tissue={tissue!r}, protocol={protocol!r}: a cepkit.Tissue and a cepkit.Protocol are needed")
    for name, value in mappings.items():
        if value is not None and not hasattr(value, "keys"):
            raise ValueError(f"{name}={value!r} must be a mapping from names to values")
    if number("refine", refine) != int(refine) or refine < 1:
        raise ValueError(f"refine={refine!r} must be a whole number of at least 1")
    one_of("dtype", dtype, PRECISIONS)
    if not save or not set(save) <= set(VARIABLES):
        raise ValueError(f"save={save!r} must name some of {VARIABLES}")
    protocol.check(tissue.shape)


def _initial(initial, tissue, fine):
    """Every state variable as an array on the fine grid."""
    state = cell.INITIAL_STATE if initial is None else initial
    if missing := [name for name in cell.STATES if name not in state]:
        raise ValueError(f"initial: {', '.join(missing)} missing; all of {cell.STATES} are needed")
    state = in_order(state).variables if isinstance(state, xr.Dataset) else {n: in_order(state[n]) for n in cell.STATES}
    values = {name: number(f"initial[{name!r}]", np.asarray(state[name], float)) for name in cell.STATES}
    for name, value in values.items():
        if value.ndim and value.shape != tissue.shape:
            raise ValueError(f"initial[{name!r}] has shape {value.shape}, the tissue has {tissue.shape}")
        # A number stays a number: 19 fields of them would double the memory of a large tissue.
        values[name] = fine.interpolate(value, tissue) if value.ndim else np.broadcast_to(value, fine.shape)
    return values


def _stimuli(protocol, state, refine):
    """Stimuli as the kernel takes them, with regions as masks over the cells."""
    regions, index = protocol.regions()
    masks = np.zeros((max(1, len(regions)), state.cells), state.V.dtype)
    for k, region in enumerate(regions):
        # The charge is that of the coarse nodes' volumes, whatever the grid.
        masks[k, : state.n] = state.tissue.share(region.values, refine).reshape(-1)[state.order]
    rows = [(s.start, s.start + s.duration, s.amplitude, k) for s, k in zip(protocol.stimuli, index, strict=True)]
    touched = (masks != 0).reshape(len(masks), state.blocks, -1).any(-1)
    return kernel.Stimuli(np.array(rows, float).reshape(-1, 4), masks, touched)


def _assert_finite(frames, done, save_every, dt):
    """A FloatingPointError that says when and where, if the solution has diverged."""
    Vm = frames[:, 0]
    if -TABLE["Vm"].high < Vm.min() and Vm.max() < TABLE["Vm"].high and np.isfinite(frames[-1]).all():
        return  # NaN anywhere reaches Vm in the next step
    bad = ~(np.isfinite(frames).all(axis=1) & (np.abs(Vm) < TABLE["Vm"].high))
    if bad.any():
        frame, *node = (int(k) for k in np.argwhere(bad)[0])
        when, where = f"{(done + frame + 1) * save_every:g} ms", f"{tuple(node)} (Vm = {Vm[(frame, *node)]:g} mV)"
        raise FloatingPointError(
            f"the solution diverged before t = {when} at node {where}: dt={dt!r} is likely too large for the upstroke, "
            "or a parameter or the stimulus is far out of range"
        )


@functools.cache
def _versions():
    """Of what a trajectory depends on.  Reading them takes 2 ms, which a beat of 100 ms would notice."""
    versions = {"python": python_version()}
    for package in ("cepkit", "numpy", "numba", "zarr", "xarray"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            versions[package] = "unknown"
    return json.dumps(versions)


def _provenance(**configuration):
    parts = [{k: v for k, v in configuration.items() if k != but} for but in ("", "duration")]
    texts = [json.dumps(part, sort_keys=True) for part in parts]
    return {
        "title": "TP06 monodomain trajectory",
        "Conventions": "CF-1.11",
        **{k: json.dumps(v) if isinstance(v, dict | list | tuple) else v for k, v in configuration.items()},
        "hash": digest(texts[0].encode()),
        "origin": digest(texts[1].encode()),  # the same for every duration
        "versions": _versions(),
    }
