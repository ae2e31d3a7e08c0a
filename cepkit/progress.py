"""Progress bars that are silent when asked to be, and how many processors there are."""

import os

from tqdm.auto import tqdm


def processors():
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux knows
        return os.cpu_count() or 1


def bar(items=None, progress=True, **options):
    """A tqdm bar; in a notebook tqdm itself does not obey TQDM_DISABLE."""
    return tqdm(items, disable=not progress or bool(os.environ.get("TQDM_DISABLE")), mininterval=0.5, **options)
