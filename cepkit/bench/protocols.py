"""How pacing is drawn: where a stimulus may fall, when, and what training and tests are paced by."""

from functools import lru_cache

import numpy as np

from cepkit import region
from cepkit.fields import AMPLITUDE
from cepkit.pacing import Protocol, Stimulus
from cepkit.tissue import Tissue

SITE = 5  # nodes a side of a stimulated square, like the paper's corner
HOLE = (8, 15)  # training never stimulates around a node whose row and column both lie between these
THRESHOLD = -28.0  # weakest stimulus of a square in the middle of the resting sheet that makes a wave [pA/pF]
LATE_PRELUDE = 2000.0  # a sheet that was paced for minutes as one cell needs no more to have waves of its own [ms]


@lru_cache(1000)  # the stimuli at one site share their region
def square(tissue, row, column):
    """The stimulated square around a node, cut off at the edges."""
    half = SITE // 2
    nodes = np.zeros(tissue.shape, bool)
    nodes[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = True
    return region.mask(tissue, nodes)


def seen_site(tissue, rng):
    """A site as training draws it: a corner in a quarter of the cases, else anywhere but in the hole."""
    if tissue.size == 1:
        return square(tissue, 0, 0)
    half, last = SITE // 2, tissue.shape[0] - 1
    if rng.random() < 0.25:
        return square(tissue, *rng.choice([half, last - half], 2))
    while True:
        row, column = rng.integers(half, last - half + 1, 2)
        if not all(HOLE[0] <= k <= HOLE[1] for k in (row, column)):
            return square(tissue, row, column)


def random_pacing(tissue, duration, seed, start=0.0, double=0.1, pause=0.05, wander=0.7):
    """Pacing as training draws it: intervals of 300 to 1000 ms, some pauses, some double stimuli.

    With probability ``wander`` an interval stays within a tenth or so of the one before, so that tissue also meets
    spells of fast and of slow pacing; else it is drawn anew.
    """
    rng, stimuli = np.random.default_rng(seed), []
    t, rhythm = float(np.round(start + rng.uniform(0, 300))), rng.uniform(300, 1000)
    while t < start + duration:
        for _ in range(1 + (rng.random() < double)):
            stimuli.append(Stimulus(t, seen_site(tissue, rng)))
        stays = rng.random() < wander
        rhythm = np.clip(rhythm * rng.lognormal(0, 0.1), 300, 1000) if stays else rng.uniform(300, 1000)
        t += float(np.round(rng.uniform(1500, 2500) if rng.random() < pause else rhythm))
    return Protocol(stimuli)


def stimulated(times, *sites):
    """All sites at each of the times [ms]."""
    return Protocol(Stimulus(float(t), site) for t in times for site in sites)


def wild(tissue, count, prelude, duration, rng):
    """Random pacing throughout; every tenth run is left alone in its second half."""
    return [
        (random_pacing(tissue, prelude, int(a)), random_pacing(tissue, duration / (2 if k % 10 == 9 else 1), int(b)))
        for k, (a, b) in enumerate(rng.integers(1 << 30, size=(count, 2)))
    ]


def held_out(tissue, s, rng):
    """Pairs of the tests, in the sizes ``s``: name -> (words, pairs)."""
    n, length = s.runs, s.warmup + s.steps + 1000.0
    here, middle = region.corner(tissue), (tissue.shape[0] - 1) // 2

    def drawn(duration):
        return random_pacing(tissue, duration, int(rng.integers(1 << 30)))

    def settled(cycle_length, site):
        """Irregular pacing, then the rhythm itself for half of the prelude, in step with the run."""
        run = stimulated(np.arange(0, length, cycle_length), site)
        return [(calmed(tissue, s.prelude, cycle_length, site, rng), run) for _ in range(n)]

    pairs = [[seen_site(tissue, rng), seen_site(tissue, rng)] for _ in range(n)]
    tests = {
        f"cl{c:g}": (f"a steady rhythm of {c:g} ms from the corner; training knows no steady rhythm", settled(c, here))
        for c in (400.0, 500.0, 650.0)
    }
    calm = [prelude for prelude, _ in tests["cl500"][1]]
    beats, last = np.arange(0, length, 500.0), int(np.ceil((s.warmup + 200) / 500))
    early = beats[last] + np.round(np.linspace(300, 480, n))  # after the last beat in step; then the rhythm begins anew
    early = [stimulated([*beats[: last + 1], *np.arange(t, length, 500.0)], here) for t in early]
    words = "500 ms from the corner with one premature stimulus after 300 to 480 ms"
    tests["s1s2"] = words, list(zip(calm, early, strict=True))
    late = [stimulated(np.delete(beats, last + 1 + k % 2), here) for k in range(n)]
    tests["skipped"] = "500 ms from the corner with one stimulus left out", list(zip(calm, late, strict=True))
    if tissue.size > 1:
        words = "500 ms from the middle of the sheet, where training never stimulates"
        tests["site"] = words, settled(500.0, square(tissue, middle, middle))
        both = [(drawn(s.prelude), stimulated(beats, *pair)) for pair in pairs]
        tests["two_sites"] = "two sites stimulated at once, every 500 ms", both
    tests["rest"] = "no stimulus at all: nothing may fire", [(drawn(s.prelude), Protocol()) for _ in range(n)]
    return tests


def calmed(tissue, prelude, cycle_length, site, rng):
    """A prelude: irregular pacing, then a rhythm for half of the time, in step with the run that begins at its end."""
    begin = prelude - cycle_length * np.floor(prelude / 2 / cycle_length)
    wild = random_pacing(tissue, begin - 300, int(rng.integers(1 << 30)))
    return wild + stimulated(np.arange(begin, prelude, cycle_length), site)


def exam(tissue, s, rng):
    """Pairs of the exam, in the sizes ``s``: name -> (words, pairs).  Every run draws its own numbers."""
    length, here = s.warmup + s.steps + 500.0, region.corner(tissue)
    beats = np.arange(0.0, length, 500.0)
    last = min(int(np.ceil(s.warmup / 500)) + 1, len(beats) - 2)  # the beat after all starts

    def drawn(duration):
        return random_pacing(tissue, duration, int(rng.integers(1 << 30)))

    def runs(make):
        return [make() for _ in range(s.exam)]

    def after_calm(run, cycle_length=500.0):
        return calmed(tissue, s.prelude, cycle_length, here, rng), run

    def steady():
        cycle_length = float(np.round(rng.uniform(350, 800)))
        return after_calm(stimulated(np.arange(0.0, length, cycle_length), here), cycle_length)

    def early(there):
        site, at = there(), beats[last] + np.round(rng.uniform(300, 360))
        after = stimulated([at], site) + stimulated(np.arange(at + 500.0, length, 500.0), here)
        return after_calm(stimulated(beats[: last + 1], here) + after)

    def strengths(site, unit, low, high):
        factors = unit * rng.uniform(low, high, len(beats))
        return after_calm(Protocol(Stimulus(t, site(), amplitude=a) for t, a in zip(beats, factors, strict=True)))

    def lags():
        sites, lag = (seen_site(tissue, rng), seen_site(tissue, rng)), np.round(rng.uniform(0, 30))
        return drawn(s.prelude), stimulated(beats, sites[0]) + stimulated(beats + lag, sites[1])

    def node():
        alone = np.zeros(tissue.shape, bool)
        alone[tuple(rng.integers(tissue.shape))] = True
        return region.mask(tissue, alone)

    def site():
        return seen_site(tissue, rng)

    return {
        "steady": ("a steady rhythm of 350 to 800 ms from the corner", runs(steady)),
        "irregular": ("pacing as in training", runs(lambda: (drawn(s.prelude), drawn(length)))),
        "skipped": ("500 ms from the corner with one stimulus left out",
                    runs(lambda: after_calm(stimulated(np.delete(beats, last + rng.integers(2)), here)))),
        "early": ("500 ms from the corner with one premature stimulus there after 300 to 360 ms",
                  runs(lambda: early(lambda: here))),
        "early_elsewhere": ("the same with the premature stimulus at another site", runs(lambda: early(site))),
        "strength": ("every 500 ms at another site, with 20 to 300 % of the strength that the resting sheet needs",
                     runs(lambda: strengths(site, THRESHOLD, 0.2, 3))),
        "lags": ("two sites every 500 ms, the second up to 30 ms after the first", runs(lags)),
        "one_node": ("a single node every 500 ms, with 1 to 10 times the usual strength",
                     runs(lambda: strengths(node, AMPLITUDE, 1, 10))),
        "rest": ("no stimulus at all", runs(lambda: (drawn(s.prelude), Protocol()))),
        "minute": (f"{s.long / 1000:g} s of pacing as in training",
                   [(drawn(s.prelude), drawn(s.long + s.warmup + 500)) for _ in range(s.exam // 4 or 1)]),
    }  # fmt: skip


def after_minutes(tissue, s, rng):
    """Pairs and past, (protocol, ms), of the runs that begin late; one in four in a rest of up to a minute."""
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
