"""Trajectories on disk: streamed, resumable, verifiable Zarr stores."""

import hashlib
import io
import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import xarray as xr
import zarr

from cepkit.fields import TABLE, VARIABLES

try:
    import fcntl
except ImportError:  # Windows has no such lock, and works without
    fcntl = None

# xarray asks for consolidated metadata, which Zarr 3 writes and warns of.
warnings.filterwarnings("ignore", "Consolidated metadata is currently not part in the Zarr format 3")
_CHUNK_BYTES = 8e6
_CHECKOUT = Path(__file__).parents[1] / "data"


class AnotherRun(ValueError):
    """A store holds a run of another configuration than the one asked for."""


def folder_of(path, argument="store"):
    """A path as people write it, with its ``~``; a ValueError for an address that is no folder of this machine."""
    if not isinstance(path, str | os.PathLike) or "://" in str(path):
        raise ValueError(f"{argument}={path!r} must be a folder on a disk")
    return Path(path).expanduser()


def kept_folder():
    """Where the committed artefacts are: ``data/`` of the checkout, or what was installed with the package."""
    return _CHECKOUT if (_CHECKOUT / "models").exists() else Path(__file__).parent / "kept"


def data_folder():
    """Where generated data live: ``$CEPKIT_DATA``, else ``data/`` of the checkout, else ``~/.cache/cepkit``."""
    folder = os.environ.get("CEPKIT_DATA") or (_CHECKOUT if (_CHECKOUT / "models").exists() else "~/.cache/cepkit")
    return Path(folder).expanduser()


def kept(name):
    """Path of a small result such as ``niederer.json``: the data folder's own, else the one that is committed."""
    own = data_folder() / name
    return own if own.exists() else kept_folder() / name


def digest(*parts):
    """Short SHA-256 of bytes or arrays: 16 hexadecimal digits."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return sha.hexdigest()[:16]


def replace_file(path, data):
    """Write bytes to a temporary name and move them there, so that no half file is ever seen; folders are made."""
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

    On disk a run grows in ``PATH.partial``, with a checkpoint of the full state at every chunk, and is moved to
    ``PATH`` when it is complete: what stands there is always whole.  A shorter run of the same ``origin``, complete or
    not, is continued; AnotherRun if any other stands there.
    """

    def __init__(self, path, tissue, save, count, save_every, attrs):
        self.path = folder_of(path) if path is not None else None
        self.named = f"store={str(self.path)!r}"
        self.partial = self.path and self.path.with_name(self.path.name + ".partial")
        self.save, self.attrs, self.shape, self.dims = tuple(save), attrs, tissue.shape, ("time", *tissue.dims)
        self.columns = [VARIABLES.index(name) for name in self.save]
        self.units = {name: {"units": TABLE[name].units, "long_name": TABLE[name].long_name} for name in self.save}
        times = np.arange(count + 1) * float(save_every)
        self.coords = {"time": xr.Variable("time", times, {"units": "ms", "long_name": "time"}), **tissue.coords}
        chunk = int(np.clip(_CHUNK_BYTES / (4 * tissue.size), 8, 500))
        self.chunk = chunk // 50 * 50 or chunk
        self.digests, self.buffer, self.activations, self.written = [], [], [], 0
        if self.path is None:
            self.frames = np.empty((len(self.save), count + 1, *self.shape), np.float32)
        self.complete = self.path is not None and self.path.exists()
        self.earlier = None  # a shorter run to go on from
        if self.complete and (there := read_attrs(self.path)).get("hash") != attrs["hash"]:
            self._continues(there, there.get("duration", 0.0), whole=True)
            self.complete, self.earlier = False, open_trajectory(self.path)

    def _continues(self, there, reached, whole=False):
        """An AnotherRun unless what is there, up to ``reached`` [ms], is the beginning of what is asked for."""
        if there.get("origin") != self.attrs["origin"]:
            said = f"holds a run of another configuration (hash {there.get('hash')}, asked for {self.attrs['hash']})"
            raise AnotherRun(f"{self.named} {said}; give another path, or delete it first")
        if reached > self.coords["time"][-1] or whole and self.attrs["refine"] > 1:
            said = f"holds {reached:g} ms of this run, and {self.attrs['duration']:g} ms are asked for"
            raise AnotherRun(f"{self.named} {said}; open it and cut it, or give another path")

    def __enter__(self):
        if self.path is None:
            return self
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self.lock = open(self.partial / "lock", "w")
        except OSError as error:
            said = f"cannot be written ({error.strerror}); choose a folder that you may write to"
            raise ValueError(f"{self.named} {said}") from error
        try:
            if fcntl:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            said = "is being written by another process; wait for it, or give another path"
            raise ValueError(f"{self.named} {said}") from None
        except OSError:
            pass  # some network file systems know no locks; the run works without
        return self

    def __exit__(self, kind, error, _):
        if self.path is None:
            return
        self.lock.close()
        if isinstance(error, OSError):  # the disk is full, the folder has gone ...
            way = "what is there is whole: make room and call again, and the run goes on from its last checkpoint"
            said = f"{self.named} could not be written ({error.strerror or error}); {way}"
            raise OSError(error.errno, said) from error

    def resume(self, sheet):
        """Restore the last checkpoint into ``sheet``; the frame it stands at, or -1."""
        if self.path is None:
            return -1
        checkpoint = self.partial / "checkpoint.npz"
        if checkpoint.exists():
            try:
                with np.load(checkpoint) as saved:
                    return self._go_on(dict(saved), sheet)
            except (OSError, KeyError, EOFError, BadZipFile) as error:
                way = f"delete {str(self.partial)!r} to start afresh"
                raise ValueError(f"{self.named}: its checkpoint is damaged ({error}); {way}") from error
        shutil.rmtree(self.partial / "store", ignore_errors=True)
        self.group = zarr.create_group(self.partial / "store", attributes=self.attrs)
        # A byte shuffle helps zstd with floats; the checksum names a damaged chunk, NaN stands in for a missing one.
        codecs = [zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), zarr.codecs.Crc32cCodec()]
        for name in self.save:
            self.group.create_array(
                name, shape=(self.coords["time"].size, *self.shape), chunks=(self.chunk, *self.shape), dtype="float32",
                fill_value=np.nan, dimension_names=self.dims, compressors=codecs, attributes=self.units[name],
            )  # fmt: skip
        self._write(self.coords)
        return -1 if self.earlier is None else self._copy(sheet)

    def _go_on(self, saved, sheet):
        """Take up a checkpoint, made on the way to this duration or another one."""
        done = int(saved["done"])
        self._continues({k: str(saved[k]) for k in ("hash", "origin")}, done * self.attrs["save_every"])
        sheet.restore(saved)
        self.digests = [str(d) for d in saved["digests"]]
        self.buffer, self.activations = [saved["pending"]], [saved["activations"]]
        self.written = done + 1 - self._pending()
        self.group = zarr.open_group(self.partial / "store", mode="r+")
        self.group.attrs.update(self.attrs)
        for name in self.save:
            self.group[name].resize((self.coords["time"].size, *self.shape))
        self._write(self.coords)
        return done

    def _copy(self, sheet):
        """Take over the frames and the last state of the shorter run, and say at which frame it ended."""
        old, frames = self.earlier, self.earlier.sizes["time"]
        for k in range(0, frames, self.chunk):
            part = old.isel(time=slice(k, k + self.chunk))
            self.buffer.append(np.stack([part[name].values for name in self.save], axis=1))
            if self._pending() >= self.chunk:
                self._flush(self.chunk)
        self.activations.append(np.stack([old.activation_time.values, old.activation_node.values], axis=1))
        for name in old.state.values:
            sheet[name] = old.final_state.sel(state=name).values
        if (self.path / "memory").exists():
            sheet.restore(zarr.open_group(self.path / "memory", mode="r"))
        return frames - 1

    def _write(self, coords):
        for name, v in coords.items():
            data = {"data": np.asarray(v.values), "dimension_names": v.dims, "attributes": v.attrs}
            self.group.create_array(name, overwrite=True, **data)

    def append(self, frames, activations):
        """Take frames, array (frames, 4, ...), and activations; full chunks go to disk."""
        self.activations.append(activations)
        if self.path is None:
            for mine, column in zip(self.frames, self.columns, strict=True):
                mine[self.written : self.written + len(frames)] = frames[:, column]
            self.written += len(frames)
            return
        self.buffer.append(frames[:, self.columns].astype(np.float32))
        if self._pending() >= self.chunk:
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
            data, hash=self.attrs["hash"], origin=self.attrs["origin"], done=done,
            digests=np.array(self.digests, "U16"), **sheet.arrays(),
            pending=np.concatenate(self.buffer), activations=np.concatenate(self.activations),
        )  # fmt: skip
        replace_file(self.partial / "checkpoint.npz", data.getvalue())

    def finish(self, final, states, memory, report):
        """Complete the run and hand back the trajectory, which the arrays of a checkpoint, ``memory``, let go on."""
        when, node = np.concatenate(self.activations).T
        coords = {
            "activation_time": xr.Variable("activation", when, {"units": "ms", "long_name": "activation time"}),
            "activation_node": xr.Variable("activation", node.astype(np.int64), {"long_name": "flat node index"}),
            "final_state": xr.Variable(("state", *self.dims[1:]), final),
        }
        attrs = {"final_time": float(self.coords["time"][-1]), **report}
        if self.path is None:
            data = {name: (self.dims, f, self.units[name]) for name, f in zip(self.save, self.frames, strict=True)}
            coords = {**self.coords, "state": list(states), **coords}
            with ThreadPoolExecutor() as pool:
                attrs["data_hash"] = digest(*(d.encode() for d in pool.map(digest, self.frames)))
            return xr.Dataset(data, coords, {**self.attrs, **attrs})
        if self._pending():
            self._flush(self._pending())
        self._write(coords)
        attrs |= {"data_hash": digest(*(d.encode() for d in self.digests)), "states": list(states)}
        self.group.attrs.update(attrs | {"coordinates": " ".join(coords)})
        for name, values in memory.items():
            self.group.create_array(f"memory/{name}", data=values)
        zarr.consolidate_metadata(self.partial / "store")
        if self.earlier is not None:
            os.replace(self.path, self.partial / "shorter")
        os.replace(self.partial / "store", self.path)
        shutil.rmtree(self.partial, ignore_errors=True)
        return open_trajectory(self.path)


def read_attrs(path):
    """Attributes of a store, or a clear error when it is no store."""
    try:
        return dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        said = f"is not a readable trajectory store ({error}); delete it and simulate again"
        raise ValueError(f"{str(path)!r} {said}") from error


def open_trajectory(path):
    """Open a stored trajectory; frames are read from disk when they are used."""
    path = folder_of(path, "path")
    if not path.exists():
        raise ValueError(f"there is no trajectory at {str(path)!r}; make it with cepkit.simulate")
    attrs = read_attrs(path)
    if "save" not in attrs:
        way = "cepkit.open_ensemble opens an ensemble, cepkit.recording what was recorded elsewhere"
        raise ValueError(f"{str(path)!r} holds no single trajectory of cepkit.simulate; {way}")
    dataset = xr.open_zarr(path, chunks=None, consolidated=False)
    data = {name: dataset[name] for name in json.loads(attrs["save"])}
    states = attrs.pop("states", None) or dataset["state"].values  # as the solver writes them, or as xarray does
    attrs.pop("coordinates", None)
    return xr.Dataset(data, {**dataset.coords, "state": list(states)}, attrs)
