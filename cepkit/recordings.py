"""Data from elsewhere brought into the form, and two runs made one."""

import re

import numpy as np
import pandas as pd
import xarray as xr

from cepkit.fields import SPACE, UNITS, VARIABLES, in_form, matching, number
from cepkit.store import folder_of


def recording(source, names=None, units=None, spacing=1.0):
    """A recording of one's own in the form of a trajectory, checked: Vm [mV] and calcium [mM] on (time, y, x).

    ``source`` is a CSV file or a table, with a column ``time`` and one for each variable or, for Vm alone, each node
    along x; a NetCDF file or a Zarr store; or labelled fields.  ``names`` maps its names to ours, ``units`` says what
    it does not say itself, ``spacing`` [mm] places nodes without a position.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"t": [0.0, 0.001, 0.002], "cell": [-0.085, 0.02, 0.01]})
    >>> cep.recording(table, names={"t": "time"}, units={"time": "s", "Vm": "V"}).Vm[:, 0, 0].values.tolist()
    [-85.0, 20.0, 10.0]
    """
    fields = _opened(source).rename(names or {})
    number("spacing", spacing, "mm", positive=True)
    if "time" not in fields.variables or not fields["time"].size:
        raise ValueError(f"source has {', '.join(map(str, fields.variables))} and no time; say which with names=")
    if "time" not in fields.dims:  # a table: its rows are the frames
        fields = fields.swap_dims({fields["time"].dims[0]: "time"})
    if not set(VARIABLES) & set(fields.data_vars):  # then every column is a node
        if len({re.sub(r"[\d\W_]+", "", str(name)) for name in fields.data_vars}) > 1:
            raise ValueError(f"source has {', '.join(map(str, fields.data_vars))}; say which is Vm with names=")
        fields = fields.to_dataarray("x", name="Vm").to_dataset().drop_vars("x")
    fields = fields[[v for v in VARIABLES if v in fields]].reset_coords(drop=True)
    fields = fields.expand_dims([d for d in ("y", "x") if d not in fields.dims])
    if odd := set(fields.dims) - {"time", *SPACE}:
        raise ValueError(f"source has the dims {', '.join(map(str, odd))}; rename them to z, y, x with names=")
    missing = {d: spacing * np.arange(float(n)) for d, n in fields.sizes.items() if d not in fields.coords}
    fields = fields.assign_coords(missing)
    asked = [*fields.variables, *(units or {})]
    if wrong := [n for n in asked if n not in fields.variables or fields[n].dtype.kind not in "fiumM"]:
        raise ValueError(f"source: {', '.join(wrong)} must be there, and numbers; skip rows of units and of text")
    for name, unit in (units or {}).items():
        fields[name].attrs["units"] = unit
    fields = in_form(fields, "source", time=True)
    if bad := [v for v in fields if not np.isfinite(fields[v]).all()]:
        raise ValueError(f"source holds NaN or infinite numbers in {', '.join(bad)}; fill them or cut them out")
    fields = fields.assign_coords(time=fields.time - fields.time[0])
    for name, unit in {"time": "ms", **{v: UNITS[v] for v in fields}}.items():
        fields[name].attrs["units"] = unit
    return fields


def _opened(source):
    """Labelled fields from whatever :func:`recording` takes."""
    if isinstance(source, xr.DataArray):
        return source.to_dataset(name=source.name if source.name in VARIABLES else "Vm")
    if isinstance(source, pd.DataFrame):
        return source.to_xarray()
    if isinstance(source, xr.Dataset):
        return source
    path = folder_of(source, "source")
    if not path.exists():
        raise ValueError(f"source={str(path)!r} does not exist")
    if path.suffix.lower() in (".csv", ".txt"):
        return pd.read_csv(path).to_xarray()
    return xr.open_zarr(path, consolidated=False) if path.is_dir() else xr.open_dataset(path, decode_timedelta=False)


def join(first, second):
    """Two trajectories as one, activations too; a ValueError unless ``second`` begins where ``first`` ends."""
    first, second = in_form(first, "first", time=True), in_form(second, "second", time=True)
    variables, dims = list(first.data_vars), first[next(iter(first.data_vars))].dims[1:]
    if list(getattr(second, "data_vars", ())) != variables or any(first.sizes[d] != second.sizes.get(d) for d in dims):
        raise ValueError("second has other variables or another grid than first")
    for d in dims:
        at = matching(second[d], first[d], 1e-3, f"first: its nodes along {d} must be those of second, which")
        second = second.isel({d: at}).assign_coords({d: first[d]})
    gap = max(float(abs(first[v][-1] - second[v][0]).max() / abs(first[v]).max()) for v in variables)
    if not gap <= 1e-5:
        way = "run it with initial=cepkit.final_state(first)"
        raise ValueError(f"second does not begin where first ends, but off by {gap:.1g} of the largest value; {way}")
    (begin, end), last = second.time.values[[0, -1]], first.time.values[-1]
    shift = last - begin
    later = second.isel(time=slice(1, None)).assign_coords(time=second.time.values[1:] + shift)
    made = xr.concat([first[variables].reset_coords(drop=True), later[variables].reset_coords(drop=True)], "time")
    if all("activation_time" in run.coords for run in (first, second)):
        when = np.concatenate([first.activation_time, second.activation_time + shift])
        node = np.concatenate([first.activation_node, second.activation_node])
        of_first = np.arange(len(when)) < first.sizes["activation"]
        own = np.where(of_first, when <= last, (when > last) & (when <= end + shift))  # within the frames of each
        made = made.assign_coords(activation_time=("activation", when[own]), activation_node=("activation", node[own]))
    if "final_state" in second.coords and second.attrs.get("final_time") == end:
        made = made.assign_coords(final_state=second.final_state, state=second.state)
    one = ("hash", "data_hash", "origin", "duration", "protocol")  # are of one of the two
    kept = {k: v for k, v in first.attrs.items() if second.attrs.get(k) == v and k not in one}
    made.attrs = kept | {"final_time": float(made.time[-1])}
    return made
