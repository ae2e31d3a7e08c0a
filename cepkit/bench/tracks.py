"""The tracks of the benchmark, drawn from seeds: what a model learns from, is judged by, and under which rules."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xarray as xr

from cepkit import pacing, region, surrogates
from cepkit.bench import protocols, tissues
from cepkit.dataset import split, to_tensor
from cepkit.ensembles import simulate_each
from cepkit.fields import CYCLE_LENGTH, SHEET, VARIABLES, one_of
from cepkit.forecast import draw_starts, futures, histories
from cepkit.pacing import Protocol, stimulus_field
from cepkit.problems import golden_standard
from cepkit.profiles import get_profile
from cepkit.progress import bar, processors
from cepkit.solver import VERSION, final_state, simulate
from cepkit.store import data_folder, digest, kept, open_trajectory
from cepkit.tissue import Tissue
from cepkit.training import Training

LEARNING_SEED, LATE_SEED = 2006, 2012  # draw training and validation, and the runs that begin late
TEST_SEED = 2411  # draws the tests: anew, after every model and setting had been chosen with the first draw in sight
EXAM_SEED = 11_2026  # draws the exam and nothing else; no choice may rest on it


@dataclass(frozen=True)
class Sizes:
    """How much of a track a profile makes: numbers of runs, and times [ms]."""

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
    exam: int  # runs of each question of the exam; a quarter of those that last a minute, which fill the disk


SIZES = {
    "smoke": Sizes(2, 1500.0, 1, 1000.0, 1, 2, 100, 300, 500.0, 1000.0, 1, 1000.0, (0.05, 0.1), 2),
    "laptop": Sizes(20, 10_000.0, 4, 6_000.0, 4, 5, 1000, 2000, 8_000.0, 60_000.0, 60, 5_000.0, (0.5, 12.0), 20),
}
SIZES["paper"] = SIZES["laptop"]


#: Two baselines that keep one rhythm have stand-ins, in the same rows, where the pacing is irregular.
STAND_INS = {"last_beat": "last_response", "climatology": "mean_response"}
#: The paper's networks were configured for one rhythm; runs of ten seconds at many sites need other windows.
WINDOWS = {
    "lstm": {
        "training": Training(window=750, stride=60, epochs=4, learning_rate=3e-3, decay=True, clip=1.0),
        "finish": Training(window=1000, stride=80, epochs=2, learning_rate=3e-4, decay=True, clip=0.3),
        "given": (500, 501), "horizons": (500, 500), "components": 64, "both": False,
        "whitened": False, "bounded": False, "chosen": False,
    },
    "neural_ode": {
        "training": Training(window=1000, stride=60, epochs=4, learning_rate=3e-3, decay=True, clip=1.0),
        "bounded": False, "chosen": False,
    },
}  # fmt: skip
#: On sheets of many tissues, without a search: of networks of pictures, and of physics with a residual.
LEARN_TISSUE = {"rounds": 288, "validations": 12}
LEARN_PHYSICS = {"rounds": 6_000, "validations": 12, "evaluations": 160, "runs": 4, "beat": 60.0}
#: Where there are no late runs: a load that only runs of seconds have shown is a clock of the run.
WITHOUT_LATE = {"paced": {"without": ("load",)}}


@dataclass
class Part:
    """Some runs under their protocols, simulated when they are first asked for.

    A past, minutes of pacing before the prelude, is simulated as one cell, whose state all nodes then begin with: what
    changes over minutes are the concentrations, and those hardly depend on where the wave comes from.
    """

    tissue: Tissue
    pairs: list  # protocols of the prelude, of which only the last state is kept, and of the run
    duration: float
    prelude: float
    folder: Path
    kind: str
    progress: bool = True
    past: list = field(default_factory=list)  # (protocol, ms) of each run; empty: none
    sheets: list = field(default_factory=list)  # a tissue for each run; empty: the one tissue for all
    cells: dict = field(default_factory=dict)  # changed parameters of all cells

    @cached_property
    def key(self):
        """A name after all that decides the runs, so that nothing stale is ever opened."""
        what = [self.tissue.describe(), self.duration, self.prelude]
        what += [[p.describe() for p in pair] for pair in self.pairs] + [[p.describe(), ms] for p, ms in self.past]
        what += [[sheet.describe() for sheet in self.sheets], self.cells] if self.sheets else []
        return f"{self.kind}-{digest(json.dumps([what, VERSION], sort_keys=True).encode())[:8]}"

    @cached_property
    def runs(self):
        """Trajectories, read from disk when they are used."""
        folder, before = self.folder / self.key, self.folder / f"{self.key}-preludes"
        paths = [folder / f"run-{k:04d}" for k in range(len(self.pairs))]
        if all(path.exists() for path in paths):
            return [open_trajectory(path) for path in paths]
        more = {"progress": self.progress, "dt": "global", "parameters": self.cells}
        led = simulate_each([p for p, _ in self.pairs], self.sheets or self.tissue, self.prelude, before,
                            save_every=self.prelude, save=("Vm",), initial=self.begin(), **more)  # fmt: skip
        return simulate_each(self.protocols, self.sheets or self.tissue, self.duration, folder,
                             initial=map(final_state, led), **more)  # fmt: skip

    def begin(self):
        """States of the sheets before the prelude; None if they have no past."""
        if not self.past:
            return None
        cell = Tissue((1, 1), self.tissue.spacing, self.tissue.diffusivity)

        def state(k):
            protocol, ms = self.past[k]
            run = simulate(cell, protocol, ms, dt="global", save_every=ms, save=("Vm",), progress=False, threads=1,
                           store=self.folder / f"{self.key}-pasts" / f"run-{k:04d}")  # fmt: skip
            return {name: value.item() for name, value in final_state(run).data_vars.items()}

        with ThreadPoolExecutor(processors()) as pool:
            states = pool.map(state, range(len(self.past)))
            return list(bar(states, "minutes of pacing", "run", self.progress, total=len(self.past)))

    @property
    def earlier(self):
        """When each sheet was stimulated before its run begins [ms], list of arrays from -inf to 0."""
        earlier, pasts = [], self.past or [(Protocol(), 0.0)] * len(self.pairs)
        for (past, ms), (prelude, _) in zip(pasts, self.pairs, strict=True):
            old, new = past.times, prelude.times
            earlier.append(np.unique([*(old[old < ms] - ms - self.prelude), *(new[new < self.prelude] - self.prelude)]))
        return earlier

    @property
    def protocols(self):
        return [protocol for _, protocol in self.pairs]


@dataclass
class Recorded:
    """Like a :class:`Part`, of runs that are there already."""

    runs: list
    protocols: list

    @property
    def key(self):
        each = [[run.attrs.get("data_hash") or digest(to_tensor(run).numpy()), run.time.values[[0, -1]].tolist(),
                 protocol.describe()] for run, protocol in zip(self.runs, self.protocols, strict=True)]  # fmt: skip
        return digest(json.dumps(each).encode())


@dataclass
class Test:
    """One held-out test: what is given to every model, and what its forecast is compared with."""

    name: str
    what: str  # in words
    part: Part | Recorded
    starts: list  # for each run, the times of the last frame given [ms]
    warmup: int
    steps: int
    sealed: bool = False  # then only :meth:`Track.sitting` opens it

    @property
    def runs(self):
        return self._open().runs

    @property
    def protocols(self):
        return self._open().protocols

    def _open(self):
        if self.sealed:
            way = "choose on track.validation; scripts/sit_exam.py opens the exam, and counts how often"
            raise ValueError(f"test {self.name!r} belongs to the sealed exam; {way}")
        return self.part

    @property
    def key(self):
        return [self.part.key, [list(map(float, starts)) for starts in self.starts], self.warmup, self.steps]

    @property
    def groups(self):
        """Runs that may be forecast together: all on one tissue."""
        apart = getattr(self.part, "sheets", None)
        return [[k] for k in range(len(apart))] if apart else [list(range(len(self.starts)))]

    def given(self, runs=None):
        """History and stimulus, dims (start, time, y, x): time 0 is the frame given last, ``start`` its own time."""
        cuts = lambda run, _, at: histories(run, at, self.warmup), self._stimulus
        return tuple(self._joined(cut, runs) for cut in cuts)

    def truth(self, runs=None):
        """The frames after every start, shaped like a forecast."""
        return self._joined(lambda run, _, at: futures(run, at, self.steps), runs)

    def _stimulus(self, run, protocol, starts):
        step, offsets = float(run.time[1] - run.time[0]), np.arange(1 - self.warmup, self.steps + 1)
        frames = (("start", "time"), np.searchsorted(run.time.values, starts)[:, None] + offsets)
        stimulus = stimulus_field(protocol, like=run).drop_vars("time").isel(time=frames)
        return stimulus.assign_coords(time=step * offsets)

    def _joined(self, cut, runs=None):
        """What ``cut`` takes from each run, its protocol and its starts."""
        each = list(enumerate(zip(self.runs, self.protocols, self.starts, strict=True)))
        each = each if runs is None else [each[k] for k in runs]
        # Plus 100 s a run, so that every start is another.
        return xr.concat([cut(*its).assign_coords(start=1e5 * k + np.asarray(its[-1])) for k, its in each], "start")


@dataclass
class Track:
    """Training, validation and tests of one problem, and the rules for models on it."""

    name: str
    profile: str
    train: Part | Recorded
    validation: Part | Recorded
    tests: dict  # name -> Test: open, to look at and to show
    tissue: Tissue
    card: dict  # what the data are, and what they have never seen
    late: Part | None = None  # more to learn from: runs that begin after minutes of pacing, or of rest
    exam: dict = field(default_factory=dict)  # sealed tests: name -> Test
    seeds: int = 1  # how often a model that draws random numbers is trained, and scored
    timed: bool = False  # whether the cost of a beat is measured: it is the same on every track
    piece: int = 5000  # frames; a forecast of more than two such pieces is judged piece by piece
    every: int = 1  # of so many frames of the training part, one enters its statistics
    stand_ins: dict = field(default_factory=dict)  # row of the scorecard -> method that answers in it
    changes: dict = field(default_factory=dict)  # method -> settings that differ from its configuration
    kept: dict = field(default_factory=dict)  # method -> its kept model, where that is not called TRACK-METHOD

    @property
    def rows(self):
        """Of the scorecard: the registered methods that can run here, but those that stand in for another."""
        apart = any(getattr(test.part, "sheets", None) for test in self.tests.values())
        known = {name: kind for name, kind in surrogates.everyone().items() if name not in STAND_INS.values()}
        return [n for n, kind in known.items() if (kind.anywhere or not apart) and all(map(find_spec, kind.needs))]

    def untrained(self, row, seed=None):
        """The model of a row, a registered name or "package.module:Class", as the track wants it."""
        name = self.stand_ins.get(row, row)
        changes = {} if self.late else WITHOUT_LATE.get(name, {})
        changes = changes | self.changes.get(name, {}) | ({} if seed is None else {"seed": seed})
        # The paper's own configurations are for a GPU; nothing in the benchmark needs one.
        return surrogates.make(name, "laptop" if self.profile == "paper" else self.profile, **changes)

    def sitting(self):
        """The questions of the exam, opened."""
        return {name: replace(test, sealed=False) for name, test in self.exam.items()}

    def learning(self, part="train"):
        """Trajectories and stimulus fields of a part, as ``fit`` takes them."""
        part = getattr(self, part)
        return part.runs, [stimulus_field(p, like=run) for run, p in zip(part.runs, part.protocols, strict=True)]

    def data_card(self):
        """What the data are, fit for JSON, with the hashes of each part; runs that are missing are simulated."""
        parts = {"train": self.train, "late": self.late, "validation": self.validation}
        parts |= {name: test.part for name, test in self.tests.items()}
        what = {name: test.what for name, test in self.tests.items()}
        about = {
            name: {"what": what.get(name, name), "runs": len(part.runs),
                   "frames": [run.sizes["time"] for run in part.runs],
                   "stimuli": [len(protocol.stimuli) for protocol in part.protocols],
                   "data_hash": [run.attrs["data_hash"] for run in part.runs]}
            for name, part in parts.items() if part
        }  # fmt: skip
        return {"track": self.name, "profile": self.profile, **self.card, "tissue": self.tissue.describe(),
                "parts": about, "licence": "CC BY 4.0"}  # fmt: skip


def fixed(profile, progress=True):
    """The paper's own data, split in time."""
    size, tissue, golden = get_profile(profile), Tissue(**SHEET), golden_standard(profile, progress)
    protocol = pacing.periodic(CYCLE_LENGTH, size.beats, region.corner(tissue))
    train, test = split(golden, size.fraction)
    starts = [draw_starts(test, size.starts, size.warmup, size.steps, size.seed)]
    cases = Test("beat", "one beat of the last fifth, from random phases", Recorded([test], [protocol]), starts,
                 size.warmup, size.steps)  # fmt: skip
    # The end of the training part chooses; models that choose nothing learn from it as well.
    validation = train.isel(time=slice(-max(size.warmup + size.steps + 1, train.sizes["time"] // 10), None))
    card = {
        "what": f"the paper's {size.beats} beats at 500 ms from one corner, split in time",
        "never seen": "any other rhythm, any other site, rest",
    }
    parts = [Recorded([run], [protocol]) for run in (train, validation)]
    card["made by"] = parts[0].key
    return Track("fixed", profile, *parts, {"beat": cases}, tissue, card, kept={m: m for m in ("lstm", "neural_ode")})


def irregular(name, shape, profile, progress=True, seeds=1, searched=False, **rules):
    """Any stimulus, any time; ``seeds`` count but for smoke, ``searched`` whether a search chose settings."""
    s, tissue = SIZES[profile], Tissue(**SHEET | {"shape": shape})
    part = partial(Part, tissue, folder=data_folder() / "tracks" / f"{name}-{profile}", progress=progress)

    def wild(kind, count, duration, rng):
        return part(protocols.wild(tissue, count, s.prelude, duration, rng), duration, s.prelude, kind=kind)

    rng = np.random.default_rng(LEARNING_SEED)
    train = wild("train", s.train, s.train_ms, rng)
    validation = wild("validation", s.validation, s.validation_ms, rng)
    pairs, past = protocols.after_minutes(tissue, s, np.random.default_rng(LATE_SEED))
    late = part(pairs, s.late_ms, protocols.LATE_PRELUDE, kind="late", past=past)

    def tests(drawn, rng, kind, starts, room, **more):
        """Of words and pairs by name, with ``starts`` a run in the first ``room`` ms after its warm-up."""
        moments = np.arange(s.warmup, s.warmup + room)
        for name, (words, pairs) in drawn.items():
            steps = round(s.long) if name == "minute" else s.steps
            runs = part(pairs, s.warmup + steps + room, s.prelude, kind=f"{kind}-{name}")
            at = [np.sort(rng.choice(moments, starts, replace=False)) for _ in pairs]
            yield name, Test(name, words, runs, at, s.warmup, steps, **more)

    rng = np.random.default_rng(TEST_SEED)
    found = dict(tests(protocols.held_out(tissue, s, rng), rng, "test", s.starts, 1000.0))
    words = f"{s.long / 1000:g} s of irregular pacing, run free from one start"
    runs = wild("test-long", 1, s.long + s.warmup, rng)
    found["long"] = Test("long", words, runs, [np.array([float(s.warmup)])], s.warmup, round(s.long))
    rng = np.random.default_rng(0 if profile == "smoke" else EXAM_SEED)
    exam = protocols.exam(tissue, s, rng) if tissue.size > 1 else {}
    exam = dict(tests(exam, rng, "exam", 1, 500.0, sealed=True))
    changes = {} if profile == "smoke" else WINDOWS
    if searched and changes:  # by scripts/search.py
        changes = changes | {k: v["settings"] for k, v in json.loads(kept("search/chosen.json").read_text()).items()}
    if tissue.size == 1:  # four numbers a frame have no components
        changes = {method: changes.get(method, {}) | {"components": None} for method in WINDOWS}
    card = {
        "what": f"{s.train} runs of {s.train_ms / 1000:g} s, each after {s.prelude / 1000:g} s of irregular pacing "
        "that are not kept",
        "stimuli": "intervals of 300 to 1000 ms that wander (seven in ten near the one before) or jump, one in twenty "
        "1500 to 2500 ms; squares of 5 x 5 nodes, a quarter of them corners; one in ten double; one run in ten rests "
        "in its second half",
        "late": f"for those who can use them: {s.late} runs after {s.minutes[0]:g} to {s.minutes[1]:g} minutes of "
        "such pacing (as one cell, but for the last seconds), one in four of them in a rest of up to a minute",
        "never seen": "a steady rhythm; a stimulus around the middle of the sheet; a pause over 2.5 s but for the "
        "resting halves and the late runs; re-entry; any other tissue or cell",
        "variables": list(VARIABLES),
        "made by": train.key,
    }
    return Track(name, profile, train, validation, found, tissue, card, late, exam=exam, stand_ins=STAND_INS, every=5,
                 changes=changes, seeds=1 if profile == "smoke" else seeds, **rules)  # fmt: skip


def patches(profile, progress=True):
    """Sheets with scars, slow zones and gates, of another size in the tests than in training; cells of one kind."""
    s = tissues.SIZES[profile]
    part = partial(Part, folder=data_folder() / "tracks" / f"tissue-{profile}", progress=progress, cells=tissues.SHORT)

    def made(kind, names, count, shape, duration, rng):
        sheets, runs = tissues.drawn(names, count, shape, duration, rng)
        before = [tissues.paced(sheet, s.prelude, rng) for sheet in sheets]
        return part(sheets[0], list(zip(before, runs, strict=True)), duration, s.prelude, kind=kind, sheets=sheets)

    rng, small, large = np.random.default_rng(LEARNING_SEED), (s.nodes, s.nodes), (s.test_nodes, s.test_nodes)
    names = list(tissues.QUESTIONS)
    train = made("train", names, s.train, small, s.train_ms, rng)
    validation = made("validation", names, s.validation, small, s.train_ms, rng)
    rng, length, tests = np.random.default_rng(EXAM_SEED + 1), s.warmup + s.steps + 1.0, {}
    for name in names:
        runs = made(f"exam-{name}", [name], s.runs, large, length, rng)
        starts = [np.array([float(s.warmup)])] * s.runs
        tests[name] = Test(name, tissues.QUESTIONS[name][0], runs, starts, s.warmup, s.steps)
    card = {"what": f"{s.train} sheets of {s.nodes} x {s.nodes} nodes; tests have {s.test_nodes} x {s.test_nodes}",
            "never seen": "a sheet of the tests' size", "variables": list(VARIABLES), "made by": train.key}  # fmt: skip
    told = dict.fromkeys(("conv_lstm", "unet", "fno"), {"tissue": True} | ({} if profile == "smoke" else LEARN_TISSUE))
    physics = {} if profile == "smoke" else dict.fromkeys(("physics_augmented", "minimal_model"), LEARN_PHYSICS)
    return Track("tissue", profile, train, validation, tests, train.tissue, card, every=5, changes=told | physics)


#: Name -> what makes the track of a profile, silently or not.  One of your own is one more line.
TRACKS = {
    "fixed": fixed,
    "paced": partial(irregular, "paced", SHEET["shape"], seeds=3, searched=True, timed=True, kept={"paced": "paced"}),
    "cell": partial(irregular, "cell", (1, 1)),
    "tissue": patches,
}


def make_track(name, profile="laptop", progress=True):
    """A track of TRACKS, simulated on first use."""
    return TRACKS[one_of("track", name, TRACKS)](one_of("profile", profile, SIZES), progress)


def sample():
    """The sample that comes with the book: a premature beat, dims (time, y, x), one frame in four."""
    return xr.open_zarr(kept("sample"), consolidated=False)
