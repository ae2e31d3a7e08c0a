"""Trajectories on disk: streamed, resumable, verifiable Zarr stores."""

import fcntl
import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

_CHUNK_BYTES = 8e6


def kept_folder():
    """Where the committed artefacts are: ``data/`` of the checkout, or what was installed with the package."""
    checkout = Path(__file__).parents[1] / "data"
    return checkout if checkout.exists() else Path(__file__).parent / "kept"


def data_folder():
    """Where generated data live: ``$CEPKIT_DATA``, else ``data/`` of the checkout, else ``~/.cache/cepkit``."""
    own = os.environ.get("CEPKIT_DATA")
    if own:
        return Path(own).expanduser()
    checkout = Path(__file__).parents[1] / "data"
    return checkout if checkout.exists() else Path("~/.cache/cepkit").expanduser()


def kept(name):
    """Path of a small result such as ``niederer.json``: the data folder's own, else the one that is committed."""
    own = data_folder() / name
    return own if own.exists() else kept_folder() / name


def digest(*parts):
    """Short SHA-256 of bytes or arrays.

    Examples
    --------
    >>> cep.store.digest(b"a") == cep.store.digest(b"a") != cep.store.digest(b"b")
    True
    >>> len(cep.store.digest(np.zeros(3)))
    16
    """
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return sha.hexdigest()[:16]


def replace_file(path, data):
    """Write bytes to a temporary name and move them there, so that no half file is ever seen.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "made" / "note.txt"
    ...     cep.store.replace_file(file, b"whole")
    ...     print(file.read_text(), [f.name for f in file.parent.iterdir()])
    ...
    whole ['note.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class TrajectoryStore:
    """Collects frames in memory, or in a Zarr store when ``path`` is given.

    On disk a run grows in ``PATH.partial``, with a checkpoint of the full state at every chunk, and
    is moved to ``PATH`` when it is complete: what stands at ``PATH`` is always whole.

    Examples
    --------
    >>> sheet = cep.Tissue((4, 4))
    >>> units, names = {"Vm": "mV"}, {"Vm": "membrane potential"}
    >>> target = cep.store.TrajectoryStore(None, sheet, ["Vm"], 2, 1.0, {"hash": "x"}, units, names)
    >>> target.times.tolist(), target.complete
    ([0.0, 1.0, 2.0], False)
    """

    def __init__(self, path, tissue, save, count, save_every, attrs, units, long_names):
        self.path = Path(path) if path is not None else None
        self.tissue, self.save, self.attrs = tissue, tuple(save), attrs
        self.units, self.long_names = units, long_names
        self.columns = [list(units).index(name) for name in self.save]
        self.times = np.arange(count + 1) * float(save_every)
        chunk = int(np.clip(_CHUNK_BYTES / (4 * tissue.size), 8, 500))
        self.chunk = chunk // 50 * 50 or chunk
        self.digests, self.buffer, self.activations, self.written = [], [], [], 0
        self.complete = self._is_complete()

    # -- what is there already --------------------------------------------------------------------

    def _is_complete(self):
        if self.path is None or not self.path.exists():
            return False
        there = read_attrs(self.path).get("hash")
        if there != self.attrs["hash"]:
            raise ValueError(
                f"store={str(self.path)!r} holds a run of another configuration (hash {there}, "
                f"asked for {self.attrs['hash']}); give another path, or delete it first"
            )
        return True

    @property
    def partial(self):
        return self.path.with_name(self.path.name + ".partial")

    def __enter__(self):
        if self.path is None:
            return self
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self.lock = open(self.partial / "lock", "w")
        except OSError as error:
            raise ValueError(
                f"store={str(self.path)!r} cannot be written ({error.strerror}); choose a folder that you may write to"
            ) from error
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise ValueError(
                f"store={str(self.path)!r} is being written by another process; wait for it, or give another path"
            ) from None
        return self

    def __exit__(self, kind, error, _):
        if self.path is None:
            return
        self.lock.close()
        if isinstance(error, OSError):  # the disk is full, the folder has gone ...
            raise OSError(
                error.errno,
                f"store={str(self.path)!r} could not be written ({error.strerror or error}); what is there is whole: "
                "make room and call again, and the run goes on from its last checkpoint",
            ) from error

    # -- writing ----------------------------------------------------------------------------------

    def resume(self, sheet):
        """Restore the last checkpoint into ``sheet``; the frame it stands at, or -1."""
        if self.path is None:
            return -1
        checkpoint = self.partial / "checkpoint.npz"
        if checkpoint.exists():
            with np.load(checkpoint) as saved:
                if str(saved["hash"]) == self.attrs["hash"]:
                    sheet.restore(saved)
                    self.digests = [str(d) for d in saved["digests"]]
                    self.buffer = [saved["pending"]]
                    self.activations = [saved["activations"]]
                    self.written = int(saved["done"]) + 1 - self._pending()
                    self.group = zarr.open_group(self.partial / "store", mode="r+")
                    return int(saved["done"])
        self._create()
        return -1

    def _create(self):
        (self.partial / "checkpoint.npz").unlink(missing_ok=True)
        shutil.rmtree(self.partial / "store", ignore_errors=True)
        self.group = zarr.create_group(self.partial / "store", attributes=self.attrs)
        dims = ("time", *self.tissue.dims)
        for name in self.save:
            self.group.create_array(
                name,
                shape=(len(self.times), *self.tissue.shape),
                chunks=(self.chunk, *self.tissue.shape),
                dtype="float32",
                fill_value=np.nan,  # a chunk that is missing must not look like data
                dimension_names=dims,
                # A byte shuffle helps zstd with floats; the checksum names a damaged chunk.
                compressors=[
                    zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
                    zarr.codecs.Crc32cCodec(),
                ],
                attributes={"units": self.units[name], "long_name": self.long_names[name]},
            )
        self._coordinate("time", ("time",), self.times, {"units": "ms", "long_name": "time"})
        for name, variable in self.tissue.coords.items():
            self._coordinate(name, variable.dims, variable.values, variable.attrs)

    def _coordinate(self, name, dims, values, attrs):
        self.group.create_array(name, data=np.asarray(values), dimension_names=dims, attributes=attrs)

    def append(self, frames, activations):
        """Take frames, array (frames, 4, ...), and activations; full chunks go to disk."""
        self.activations.append(activations)
        self.buffer.append(frames[:, self.columns].astype(np.float32))
        if self.path is not None and self._pending() >= self.chunk:
            self._flush(self.chunk)

    def _pending(self):
        return sum(len(b) for b in self.buffer)

    def _flush(self, count):
        frames = np.concatenate(self.buffer)
        for k, name in enumerate(self.save):
            self.group[name][self.written : self.written + count] = frames[:count, k]
        self.digests.append(digest(frames[:count]))
        self.written += count
        self.buffer = [frames[count:]]

    def due(self, done, frames):
        """Whether a checkpoint should follow frame ``done``, the last one of ``frames``."""
        return self.path is not None and done // self.chunk > (done - frames) // self.chunk

    def checkpoint(self, done, sheet):
        """Save the full state; a run killed from here on resumes here, to the same bits."""
        # The frame that opens the next chunk waits in memory: let it travel with the state.
        data = io.BytesIO()
        np.savez(
            data, hash=self.attrs["hash"], done=done, digests=np.array(self.digests, "U16"),
            pending=np.concatenate(self.buffer), activations=np.concatenate(self.activations),
            **sheet.arrays(),
        )  # fmt: skip
        replace_file(self.partial / "checkpoint.npz", data.getvalue())

    def finish(self, final, states):
        """Complete the run and hand back the trajectory."""
        when, node = np.concatenate(self.activations).T
        coords = {
            "activation_time": (("activation",), when, {"units": "ms", "long_name": "activation time"}),
            "activation_node": (("activation",), node.astype(np.int64), {"long_name": "flat node index"}),
            "final_state": (("state", *self.tissue.dims), final, {}),
        }
        attrs = {"final_time": float(self.times[-1])}
        if self.path is None:
            return self._in_memory(coords, states, attrs)
        if self._pending():
            self._flush(self._pending())
        for name, (dims, values, text) in coords.items():
            self._coordinate(name, dims, values, text)
        attrs |= {
            "data_hash": digest(*(d.encode() for d in self.digests)),
            "states": list(states),
            "coordinates": " ".join(coords),
        }
        self.group.attrs.update(attrs)
        (self.partial / "checkpoint.npz").unlink(missing_ok=True)
        os.replace(self.partial / "store", self.path)
        shutil.rmtree(self.partial, ignore_errors=True)
        return self.open()

    def _in_memory(self, coords, states, attrs):
        frames = np.concatenate(self.buffer)
        dims = ("time", *self.tissue.dims)
        data = {
            name: (dims, frames[:, k], {"units": self.units[name], "long_name": self.long_names[name]})
            for k, name in enumerate(self.save)
        }
        time = ("time", self.times, {"units": "ms", "long_name": "time"})
        coords = {"time": time, **self.tissue.coords, "state": list(states), **coords}
        attrs = {**self.attrs, **attrs, "data_hash": digest(frames)}
        return xr.Dataset(data, coords=coords, attrs=attrs)

    def open(self):
        """The finished trajectory, read lazily from disk."""
        return open_trajectory(self.path)


def read_attrs(path):
    """Attributes of a store, or a clear error when it is no store.

    Examples
    --------
    >>> cep.store.read_attrs(cep.store.kept("sample"))["sample of"][:11]
    'track paced'
    """
    try:
        return dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} is not a readable trajectory store ({error}); delete it and simulate again"
        ) from error


def open_trajectory(path):
    """Open a stored trajectory; frames are read from disk when they are used.

    Raises
    ------
    ValueError
        If there is no readable store at ``path``.

    Examples
    --------
    >>> import tempfile
    >>> cell = cep.Tissue((1, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = cep.simulate(cell, cep.Protocol(), 5.0, store=f"{folder}/rest", progress=False)
    ...     print(cep.store.open_trajectory(f"{folder}/rest").sizes["time"])
    ...
    6
    """
    if not Path(path).exists():
        raise ValueError(f"there is no trajectory at {str(path)!r}; make it with cepkit.simulate")
    attrs = read_attrs(path)
    dataset = xr.open_zarr(path, chunks=None, consolidated=False)
    dataset = dataset.set_coords([n for n in ("final_state",) if n in dataset])
    return xr.Dataset(
        {name: dataset[name] for name in json.loads(attrs["save"])},
        coords={**dataset.coords, "state": attrs["states"]},
        attrs=attrs,
    )
