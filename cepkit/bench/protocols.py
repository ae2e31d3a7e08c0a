"""How pacing is drawn: where a stimulus may fall, when, and what training and tests are paced by."""

from functools import lru_cache

import numpy as np

from cepkit import region
from cepkit.pacing import Protocol, Stimulus
from cepkit.tissue import Tissue

SITE = 5  # nodes a side of a stimulated square, like the paper's corner
HOLE = (8, 15)  # training never stimulates around a node whose row and column both lie between these
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
        calm_from = s.prelude - cycle_length * np.floor(s.prelude / 2 / cycle_length)
        calm = stimulated(np.arange(calm_from, s.prelude, cycle_length), site)
        run = stimulated(np.arange(0, length, cycle_length), site)
        return [(drawn(calm_from - 300) + calm, run) for _ in range(n)]

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
