"""The memory of a verification: an estimate before it runs, and the peak of the process afterwards."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optree

__all__ = ["check_memory", "peak_memory"]

# The arrays of a verification, in units of the arguments in float64: their gradients by each witness, displaced copies of them,
# and the arrays of JAX. With half of it a verification that is started runs out of memory; with twice, one is refused that
# would fit.
COPIES = 12

# The elements of an argument from which on its memory is reported. Smaller ones take less than the imported modules do.
WORTH_REPORTING = 2**20

KIB = 1024
"""Bytes of the unit in which the system reports memory."""


def check_memory(primals: Any) -> None:
    """Raise a MemoryError that names the bytes that are needed, unless they are available."""
    elements = sum(np.size(leaf) for leaf in optree.tree_leaves(primals))
    needed, free = COPIES * np.dtype(np.float64).itemsize * elements, available()
    if free is not None and needed > free:
        gib = KIB**3
        raise MemoryError(f"about {needed / gib:.1f} GiB of memory are needed at this size, {free / gib:.1f} GiB are available")


def available() -> int | None:
    """The bytes that a process can still get; None where the system does not report them."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return KIB * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return None


def peak_memory(primals: Any) -> int | None:
    """The largest memory of this process so far, in bytes; None for small arguments, and where it is not reported."""
    if max((np.size(leaf) for leaf in optree.tree_leaves(primals)), default=0) < WORTH_REPORTING:
        return None
    with suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)
    return None
