"""The tracks of the benchmark: which data a model learns from, and which it is judged by.

Everything is drawn from seeds and simulated on demand; a track is remade bit for bit.
"""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from cepkit import pacing, region
from cepkit.dataset import VARIABLES, split
from cepkit.ensembles import ensemble
from cepkit.forecast import draw_starts, futures, histories
from cepkit.pacing import Protocol, Stimulus, stimulus_field
from cepkit.profiles import get_profile
from cepkit.solver import VERSION, final_state, simulate
from cepkit.problems import golden_standard
from cepkit.store import data_folder, digest, kept, open_trajectory
from cepkit.tissue import Tissue

SITE = 5  # nodes a side of a stimulated square, like the paper's corner
HOLE = (8, 15)  # training never stimulates around a node whose row and column both lie between these
LATE_PRELUDE = 2000.0  # a sheet that was paced for minutes as one cell needs no more to have waves of its own [ms]
LEARNING_SEED, LATE_SEED = 2006, 2012  # draw training and validation, and the runs that begin late
TEST_SEED = 2411  # draws the tests: anew, after every model and setting had been chosen with the first draw in sight


@dataclass(frozen=True)
class Sizes:
    """How much of a track a profile makes: numbers of runs, and times [ms].

    Examples
    --------
    >>> cep.bench.tracks.SIZES["laptop"].train, cep.bench.tracks.SIZES["smoke"].train
    (20, 2)
    """

    train: int
    train_ms: float
    validation: int
    validation_ms: float
    runs: int
    starts: int  # a run
    warmup: int
    steps: int
    prelude: float
    long: float
    late: int  # runs that begin after minutes
    late_ms: float
    minutes: tuple  # shortest and longest past of these


SIZES = {
    "smoke": Sizes(2, 1500.0, 1, 1000.0, 1, 2, 100, 300, 500.0, 1000.0, 1, 1000.0, (0.05, 0.1)),
    "laptop": Sizes(20, 10_000.0, 4, 6_000.0, 4, 5, 1000, 2000, 8_000.0, 60_000.0, 60, 5_000.0, (0.5, 12.0)),
}
SIZES["paper"] = SIZES["laptop"]


@dataclass
class Part:
    """Some runs under their protocols, simulated when they are first asked for.

    Attributes
    ----------
    pairs : list of (Protocol, Protocol)
        Of the prelude, of which only the last state is kept, and of the run.
    past : list of (Protocol, float), optional
        Under which protocol each sheet was paced before the prelude, and for how long [ms].  Minutes
        are simulated as one cell, whose state all nodes then begin the prelude with: what changes
        over minutes are the concentrations, and those hardly depend on where the wave comes from.

    Examples
    --------
    >>> track = cep.bench.tracks.make_track("cell", "smoke", progress=False)
    >>> len(track.train.protocols), len(track.train.runs)
    (2, 2)
    """

    tissue: Tissue
    pairs: list
    duration: float
    prelude: float
    folder: Path
    kind: str
    progress: bool = True
    past: list = field(default_factory=list)

    @cached_property
    def path(self):
        """Where the runs are: named after all that decides them, so that nothing stale is ever opened."""
        what = [
            self.tissue.describe(),
            self.duration,
            self.prelude,
            *([p.describe() for p in pair] for pair in self.pairs),
            *([p.describe(), ms] for p, ms in self.past),
        ]
        return self.folder / f"{self.kind}-{digest(json.dumps([what, VERSION], sort_keys=True).encode())[:8]}"

    @cached_property
    def runs(self):
        """list of xr.Dataset"""
        before = self.path.with_name(f"{self.path.name}-preludes")
        names = [f"run-{k:04d}" for k in range(len(self.pairs))]
        if not all((self.path / name).exists() for name in names):
            ensemble([p for p, _ in self.pairs], self.tissue, self.prelude, before, progress=self.progress,
                     save_every=self.prelude, save=("Vm",), initial=self._begin())  # fmt: skip
            states = [final_state(open_trajectory(before / name)) for name in names]
            ensemble(self.protocols, self.tissue, self.duration, self.path, initial=states, progress=self.progress)
        return [open_trajectory(self.path / name) for name in names]

    def _begin(self):
        """States of the sheets before the prelude; None if they have no past."""
        if not self.past:
            return None
        cell = Tissue((1, 1), self.tissue.spacing, self.tissue.diffusivity)
        pasts = self.path.with_name(f"{self.path.name}-pasts")

        def state(k):
            protocol, duration = self.past[k]
            run = simulate(cell, protocol, duration, save_every=duration, save=("Vm",), progress=False, threads=1,
                           store=pasts / f"run-{k:04d}")  # fmt: skip
            return {name: value.item() for name, value in final_state(run).data_vars.items()}

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            quiet = not self.progress or bool(os.environ.get("TQDM_DISABLE"))
            count = len(self.past)
            return list(tqdm(pool.map(state, range(count)), total=count, desc="minutes of pacing", disable=quiet))

    @property
    def earlier(self):
        """list of array : when each sheet was stimulated before its run begins [ms], from -inf to 0."""
        past = self.past or [(Protocol(), 0.0)] * len(self.pairs)
        return [
            np.unique([*(s.start - ms - self.prelude for s in p.stimuli if s.start < ms),
                       *(s.start - self.prelude for s in prelude.stimuli if s.start < self.prelude)])
            for (p, ms), (prelude, _) in zip(past, self.pairs, strict=True)
        ]  # fmt: skip

    @property
    def protocols(self):
        """list of Protocol"""
        return [protocol for _, protocol in self.pairs]


@dataclass
class Recorded:
    """Like a :class:`Part`, of runs that are there already.

    Examples
    --------
    >>> trajectory, _ = cep.check.toy()
    >>> cep.bench.tracks.Recorded([trajectory], [cep.Protocol()]).runs[0].sizes["time"]
    150
    """

    runs: list
    protocols: list


@dataclass
class Test:
    """One held-out test: what is given to every model, and what its forecast is compared with.

    Attributes
    ----------
    name, what : str
        ``what`` says it in words.
    part : Part
    starts : list of array
        For each run, the times of the last frame given [ms].
    warmup, steps : int

    Examples
    --------
    >>> test = cep.bench.tracks.make_track("cell", "smoke", progress=False).tests["s1s2"]
    >>> history, stimulus = test.given()
    >>> history.sizes["time"] == test.warmup, stimulus.sizes["time"] == test.warmup + test.steps
    (True, True)
    >>> test.truth().sizes["lead_time"] == test.steps
    True
    """

    name: str
    what: str
    part: Part
    starts: list
    warmup: int
    steps: int

    @property
    def runs(self):
        """list of xr.Dataset"""
        return self.part.runs

    @property
    def protocols(self):
        """list of Protocol"""
        return self.part.protocols

    def given(self):
        """History and stimulus of every start, dims (start, time, y, x); the start's own frame is time 0.

        ``start`` is the time of that frame plus 100 s for each run, so that it is unique.
        """
        parts = zip(self.runs, self.protocols, self.starts, strict=True)
        cut = [self._cut(k, *part) for k, part in enumerate(parts)]
        return tuple(xr.concat(pieces, "start") for pieces in zip(*cut, strict=True))

    def _cut(self, k, run, protocol, starts):
        history = histories(run, starts, self.warmup)
        stimulus = stimulus_field(protocol, like=run)
        step = float(run.time[1] - run.time[0])
        offsets = np.arange(1 - self.warmup, self.steps + 1)
        at = np.searchsorted(run.time.values, starts)[:, None] + offsets
        stimulus = xr.DataArray(
            stimulus.values[at], dims=("start", "time", *stimulus.dims[1:]),
            coords={"time": step * offsets, **{d: stimulus[d] for d in stimulus.dims[1:]}},
        )  # fmt: skip
        start = 1e5 * k + np.asarray(starts)
        return history.assign_coords(start=start), stimulus.assign_coords(start=start)

    def truth(self):
        """The frames after every start, shaped like a forecast."""
        pieces = [
            futures(run, starts, self.steps).assign_coords(start=1e5 * k + np.asarray(starts))
            for k, (run, starts) in enumerate(zip(self.runs, self.starts, strict=True))
        ]
        return xr.concat(pieces, "start")


@dataclass
class Track:
    """Training, validation and tests of one problem.

    Attributes
    ----------
    name, profile : str
    train, validation : Part
    tests : dict of str to Test
    tissue : Tissue
    card : dict
        What the data are, and what they have never seen.
    late : Part, optional
        More to learn from, for models that can: runs that begin after minutes of pacing, or of rest.

    Examples
    --------
    >>> track = cep.bench.tracks.make_track("cell", "smoke", progress=False)
    >>> runs, fields = track.learning("train")
    >>> len(runs) == len(fields), sorted(track.tests)[:3]
    (True, ['cl400', 'cl500', 'cl650'])
    """

    name: str
    profile: str
    train: Part
    validation: Part
    tests: dict
    tissue: Tissue
    card: dict
    late: Part = None

    def learning(self, part="train"):
        """Trajectories and stimulus fields of a part, as ``fit`` takes them."""
        part = getattr(self, part)
        return part.runs, [stimulus_field(p, like=run) for run, p in zip(part.runs, part.protocols, strict=True)]

    def data_card(self):
        """What the data are, what they have never seen, and what each part holds, to its hashes.

        Returns
        -------
        dict
            Fit for JSON; every run is simulated that is not there yet.
        """
        learning = {"train": self.train, "late": self.late, "validation": self.validation}
        parts = learning | {name: test.part for name, test in self.tests.items()}
        words = {name: test.what for name, test in self.tests.items()}
        return {
            "track": self.name,
            "profile": self.profile,
            **self.card,
            "tissue": self.tissue.describe(),
            "parts": {
                name: {
                    "what": words.get(name, name),
                    "runs": len(part.runs),
                    "frames": [run.sizes["time"] for run in part.runs],
                    "stimuli": [len(protocol.stimuli) for protocol in part.protocols],
                    "data_hash": [run.attrs["data_hash"] for run in part.runs],
                }
                for name, part in parts.items()
                if part is not None
            },
            "licence": "CC BY 4.0",
        }


def make_track(name, profile="laptop", progress=True):
    """A track of the benchmark, simulated on first use.

    Parameters
    ----------
    name : {"fixed", "paced", "cell"}
    profile : str
    progress : bool

    Returns
    -------
    Track

    Examples
    --------
    >>> track = cep.bench.tracks.make_track("cell", "smoke", progress=False)
    >>> track.tissue.shape, list(track.tests)[:3]
    ((1, 1), ['cl400', 'cl500', 'cl650'])
    """
    makers = {"fixed": _fixed, "paced": _paced, "cell": _paced}
    if name not in makers:
        raise ValueError(f"track={name!r} is not known; choose from {', '.join(makers)}")
    if profile not in SIZES:
        raise ValueError(f"profile={profile!r} is not known; choose from {', '.join(SIZES)}")
    return makers[name](name, profile, progress)


def write_sample(track, path, test="s1s2", every=4):
    """A second and a half of one test around its premature beat, small enough for a repository.

    Values are packed into 16 bits, so they are exact to a thirty-thousandth of their range.

    Examples
    --------
    >>> cep.bench.tracks.write_sample(cep.bench.tracks.make_track("paced"), "sample")  # doctest: +SKIP
    """
    run, protocol = track.tests[test].runs[1], track.tests[test].protocols[1]
    run = run.drop_vars([c for c in run.coords if c not in run.dims] + ["state"], errors="ignore")
    first = protocol.times[np.argmin(np.diff(protocol.times))]
    cut = run.sel(time=slice(first - 300, first + 1200)).isel(time=slice(None, None, every)).load()
    encoding = {}
    for v in VARIABLES:
        low, high = float(cut[v].min()), float(cut[v].max())
        packing = {"dtype": "int16", "scale_factor": (high - low) / 65000, "add_offset": (low + high) / 2}
        encoding[v] = packing | {"_FillValue": -32768, "chunks": cut[v].shape}
    cut.attrs |= {"sample of": f"track {track.name}, test {test}, run 1, every {every}th frame"}
    partial = Path(path).with_name(f".{Path(path).name}.partial")
    cut.to_zarr(partial, mode="w", encoding=encoding, consolidated=False)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


def sample():
    """The sample that comes with the book: a premature beat, dims (time, y, x), one frame in four.

    Returns
    -------
    xr.Dataset

    Examples
    --------
    >>> dict(cep.bench.tracks.sample().sizes)["y"], sorted(cep.bench.tracks.sample().data_vars)
    (24, ['CaSR', 'CaSS', 'Cai', 'Vm'])
    """
    return xr.open_zarr(kept("sample"), consolidated=False)


# ---- fixed: the paper's own data ---------------------------------------------------------------------


def _fixed(name, profile, progress):
    size = get_profile(profile)
    golden = golden_standard(profile, progress)
    tissue = Tissue((24, 24), 10 / 23, 0.125)
    protocol = pacing.periodic(500.0, size.beats, region.corner(tissue))
    train, test = split(golden, size.fraction)
    starts = draw_starts(test, size.starts, size.warmup, size.steps, size.seed)
    words = "one beat of the last fifth, from random phases"
    cases = Test("beat", words, Recorded([test], [protocol]), [starts], size.warmup, size.steps)
    # The end of the training part chooses; models that choose nothing learn from it as well.
    validation = train.isel(time=slice(-max(size.warmup + size.steps + 1, train.sizes["time"] // 10), None))
    card = {
        "what": f"the paper's {size.beats} beats at 500 ms from one corner, split in time",
        "never seen": "any other rhythm, any other site, rest",
        "data_hash": golden.attrs["data_hash"],
    }
    parts = (Recorded([run], [protocol]) for run in (train, validation))
    return Track(name, profile, *parts, {"beat": cases}, tissue, card)


# ---- paced: any stimulus, any time -------------------------------------------------------------------


def square(tissue, row, column):
    """The stimulated square around a node, cut off at the edges.

    Examples
    --------
    >>> sheet = cep.Tissue((24, 24), spacing=10 / 23)
    >>> int(cep.bench.tracks.square(sheet, 12, 12).sum()), int(cep.bench.tracks.square(sheet, 0, 0).sum())
    (25, 9)
    """
    if tissue.size == 1:
        return region.everywhere(tissue)
    half = SITE // 2
    nodes = np.zeros(tissue.shape, bool)
    nodes[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = True
    return region.mask(tissue, nodes)


def corner(tissue):
    """The paper's corner.

    Examples
    --------
    >>> int(cep.bench.tracks.corner(cep.Tissue((24, 24), spacing=10 / 23)).sum())
    25
    """
    return region.everywhere(tissue) if tissue.size == 1 else region.corner(tissue)


def seen_site(tissue, rng):
    """A site as training draws it: a corner in a quarter of the cases, else anywhere but in the hole.

    Examples
    --------
    >>> sheet = cep.Tissue((24, 24), spacing=10 / 23)
    >>> int(cep.bench.tracks.seen_site(sheet, np.random.default_rng(0)).sum())
    25
    """
    if tissue.size == 1:
        return region.everywhere(tissue)
    half, last = SITE // 2, tissue.shape[0] - 1
    if rng.random() < 0.25:
        return square(tissue, *rng.choice([half, last - half], 2))
    while True:
        row, column = rng.integers(half, last - half + 1, 2)
        if not all(HOLE[0] <= k <= HOLE[1] for k in (row, column)):
            return square(tissue, row, column)


def random_pacing(tissue, duration, seed, start=0.0, double=0.1, pause=0.05, wander=0.7):
    """Pacing as training draws it: intervals of 300 to 1000 ms, some pauses, some double stimuli.

    With probability ``wander`` an interval stays within a tenth or so of the one before, so that
    tissue also meets spells of fast and of slow pacing; else it is drawn anew.

    Examples
    --------
    >>> protocol = cep.bench.tracks.random_pacing(cep.Tissue((1, 1)), 5000.0, seed=0)
    >>> bool((np.diff(protocol.times) >= 0).all()), len(protocol.stimuli) > 5
    (True, True)
    """
    rng = np.random.default_rng(seed)
    stimuli, t = [], float(np.round(start + rng.uniform(0, 300)))
    rhythm = rng.uniform(300, 1000)
    while t < start + duration:
        for _ in range(1 + (rng.random() < double)):
            stimuli.append(Stimulus(t, seen_site(tissue, rng)))
        stays = rng.random() < wander
        rhythm = np.clip(rhythm * rng.lognormal(0, 0.1), 300, 1000) if stays else rng.uniform(300, 1000)
        t += float(np.round(rng.uniform(1500, 2500) if rng.random() < pause else rhythm))
    return Protocol(stimuli)


def _rhythm(tissue, cycle_length, duration, sites=None, start=0.0):
    sites = sites or [corner(tissue)]
    times = np.arange(start, start + duration, cycle_length)
    return Protocol([Stimulus(float(t), site) for t in times for site in sites])


def _skipping(tissue, duration, cycle_length, skip):
    return Protocol([Stimulus(float(t), corner(tissue)) for k, t in enumerate(np.arange(0, duration, cycle_length))
                     if k not in skip])  # fmt: skip


def _premature(tissue, duration, s1, first, coupling):
    """S1 throughout, with one S2 ``coupling`` ms after the S1 at ``first``, from where S1 begins anew."""
    before, after = np.arange(0, first + 1, s1), np.arange(first + coupling + s1, duration, s1)
    times = [*before, first + coupling, *after]
    return Protocol([Stimulus(float(t), corner(tissue)) for t in times])


def _tests(tissue, s, rng):
    """Name -> (words, [protocol of the prelude, protocol of the run] for each run)."""
    n, length = s.runs, s.warmup + s.steps + 1000.0

    def led(protocols, words):
        preludes = [random_pacing(tissue, s.prelude, int(rng.integers(1 << 30))) for _ in protocols]
        return words, list(zip(preludes, protocols, strict=True))

    def settled(cycle_length, sites=None):
        """Irregular pacing, then the rhythm itself for half of the prelude, in step with the run."""
        calm_from = s.prelude - cycle_length * np.floor(s.prelude / 2 / cycle_length)
        protocols = []
        for _ in range(n):
            wild = random_pacing(tissue, calm_from - 300, int(rng.integers(1 << 30)))
            calm = _rhythm(tissue, cycle_length, s.prelude - calm_from, sites, start=calm_from)
            protocols.append((wild + calm, _rhythm(tissue, cycle_length, length, sites)))
        return protocols

    last = tissue.shape[0] - 1
    centre = [square(tissue, last // 2, last // 2)]
    pairs = [[seen_site(tissue, rng), seen_site(tissue, rng)] for _ in range(n)]
    first = 500.0 * np.ceil((s.warmup + 200) / 500)
    couplings = np.linspace(300, 480, n)
    tests = {
        f"cl{c}": (f"a steady rhythm of {c} ms from the corner; training knows no steady rhythm", settled(float(c)))
        for c in (400, 500, 650)
    }
    calm = [prelude for prelude, _ in tests["cl500"][1]]
    premature = [_premature(tissue, length, 500.0, first, float(np.round(c))) for c in couplings]
    tests["s1s2"] = (
        "500 ms from the corner with one premature stimulus after 300 to 480 ms",
        list(zip(calm, premature, strict=True)),
    )
    skipping = [_skipping(tissue, length, 500.0, {int(first / 500) + 1 + k % 2}) for k in range(n)]
    tests["skipped"] = ("500 ms from the corner with one stimulus left out", list(zip(calm, skipping, strict=True)))
    if tissue.size > 1:
        tests["site"] = ("500 ms from the middle of the sheet, where training never stimulates",
                         settled(500.0, centre))  # fmt: skip
        tests["two_sites"] = led(
            [_rhythm(tissue, 500.0, length, pair) for pair in pairs], "two sites stimulated at once, every 500 ms"
        )
    tests["rest"] = led([Protocol() for _ in range(n)], "no stimulus at all: nothing may fire")
    return tests


def _late(tissue, s):
    """Pairs and past of the runs that begin late, one in four in a rest of up to a minute."""
    rng = np.random.default_rng(LATE_SEED)
    cell = Tissue((1, 1), tissue.spacing, tissue.diffusivity)
    pairs, past = [], []
    for k in range(s.late):
        seeds = [int(seed) for seed in rng.integers(1 << 30, size=3)]
        minutes = 60_000 * np.exp(rng.uniform(*np.log(s.minutes)))
        rests, depth = k % 4 == 3, k // 4 % 4
        # Rest begins with the run, with the prelude, or before it; in its last quarter the run is paced again.
        calm = float(np.round(rng.uniform(0, 50_000))) if rests and depth > 1 else 0.0
        past.append((random_pacing(cell, minutes, seeds[0]), float(np.round(minutes)) + calm))
        prelude = Protocol() if rests and depth else random_pacing(tissue, LATE_PRELUDE, seeds[1])
        begin = 0.75 * s.late_ms if rests else 0.0
        pairs.append((prelude, random_pacing(tissue, s.late_ms - begin, seeds[2], begin)))
    return pairs, past


def _paced(name, profile, progress):
    s = SIZES[profile]
    tissue = Tissue((24, 24), 10 / 23, 0.125) if name == "paced" else Tissue((1, 1), 10 / 23, 0.125)
    folder = data_folder() / "tracks" / f"{name}-{profile}"
    rng = np.random.default_rng(LEARNING_SEED)

    def part(kind, pairs, duration):
        return Part(tissue, pairs, duration, s.prelude, folder, kind, progress)

    def wild(count, duration):
        seeds = rng.integers(1 << 30, size=(count, 2))
        # Every tenth run is left alone in its second half.
        return [(random_pacing(tissue, s.prelude, int(a)),
                 random_pacing(tissue, duration / 2 if k % 10 == 9 else duration, int(b)))
                for k, (a, b) in enumerate(seeds)]  # fmt: skip

    train = part("train", wild(s.train, s.train_ms), s.train_ms)
    validation = part("validation", wild(s.validation, s.validation_ms), s.validation_ms)
    pairs, past = _late(tissue, s)
    late = Part(tissue, pairs, s.late_ms, LATE_PRELUDE, folder, "late", progress, past)
    tests, rng = {}, np.random.default_rng(TEST_SEED)
    for test, (words, pairs) in _tests(tissue, s, rng).items():
        moments = np.arange(s.warmup, s.warmup + 1000.0)
        starts = [np.sort(rng.choice(moments, s.starts, replace=False)) for _ in pairs]
        runs = part(f"test-{test}", pairs, s.warmup + s.steps + 1000.0)
        tests[test] = Test(test, words, runs, starts, s.warmup, s.steps)
    runs = part("test-long", wild(1, s.long + s.warmup), s.long + s.warmup)
    words = f"{s.long / 1000:g} s of irregular pacing, run free from one start"
    tests["long"] = Test("long", words, runs, [np.array([float(s.warmup)])], s.warmup, round(s.long))
    card = {
        "what": f"{s.train} runs of {s.train_ms / 1000:g} s, each after {s.prelude / 1000:g} s of irregular pacing "
        "that are not kept",
        "stimuli": "intervals of 300 to 1000 ms that wander (seven in ten near the one before) or jump, one in twenty "
        "1500 to 2500 ms; squares of 5 x 5 nodes, a quarter of "
        "them corners; one in ten double; one run in ten rests in its second half",
        "late": f"for those who can use them: {s.late} runs after {s.minutes[0]:g} to {s.minutes[1]:g} minutes of "
        "such pacing (as one cell, but for the last seconds), one in four of them in a rest of up to a minute",
        "never seen": "a steady rhythm; a stimulus around the middle of the sheet; a pause over 2.5 s but for the "
        "resting halves and the late runs; re-entry; any other tissue or cell",
        "variables": list(VARIABLES),
        "made by": train.path.name,
    }
    return Track(name, profile, train, validation, tests, tissue, card, late)
