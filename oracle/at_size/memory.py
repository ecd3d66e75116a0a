"""How much memory a verification takes: what it needs is known before, and what it took is said."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optree

__all__ = ["check_memory", "peak_memory"]

COPIES = 12  # times the arguments in float64: their gradients by each witness, displaced copies of them, and what JAX holds
WORTH_SAYING = 2**20  # elements of an argument: smaller ones take less than what is imported
GIB = 2**30


def check_memory(primals: Any) -> None:
    """Raise a MemoryError that says how much is needed, unless there is so much."""
    needed, free = COPIES * 8 * sum(np.size(leaf) for leaf in optree.tree_leaves(primals)), available()
    if free is not None and needed > free:
        raise MemoryError(f"about {needed / GIB:.1f} GiB of memory are needed at this size, {free / GIB:.1f} GiB are available")


def available() -> int | None:
    """The bytes that a process can still get; None where the system does not say."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return None


def peak_memory(primals: Any) -> int | None:
    """The most bytes that this process has held so far; None for small arguments, and where the system does not say."""
    if max((np.size(leaf) for leaf in optree.tree_leaves(primals)), default=0) < WORTH_SAYING:
        return None
    with suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return None
