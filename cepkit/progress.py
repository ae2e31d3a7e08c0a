"""Progress bars that can be silenced, and the number of processors."""

import os

from tqdm.auto import tqdm


def bar(work, desc, unit, progress=True, **options):
    """A tqdm bar over an iterable, or over a number of steps that ``update`` counts; silent if not ``progress``."""
    if isinstance(work, int):
        work, options["total"] = None, work
    # In a notebook tqdm itself does not obey TQDM_DISABLE.
    return tqdm(work, desc=desc, unit=unit, disable=not progress or bool(os.environ.get("TQDM_DISABLE")), **options)


def processors():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
