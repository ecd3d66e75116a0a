"""Where the function under test calls NumPy: the line for the reader, and the place in the code for the search."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import numpy as np

__all__ = ["caller", "site_of_call"]

INSIDE = (str(Path(np.__file__).parent), str(Path(__file__).with_name("held.py")), __file__)
"""Where the files lie that are not under test: NumPy, and the tape."""


def caller() -> tuple[str, int]:
    """The file and the line of the function under test that calls NumPy."""
    frame = _frame()
    return frame.f_code.co_filename, frame.f_lineno


def site_of_call() -> tuple[int, ...]:
    """The place in the code of that call and of the calls that lead to it.

    It is the same for each step of a loop, and differs between two calls in one line.
    """
    frame: FrameType | None = _frame()
    site = []
    while frame is not None and not frame.f_code.co_filename.startswith(INSIDE):
        site += [id(frame.f_code), frame.f_lasti]
        frame = frame.f_back
    return tuple(site)


def _frame() -> FrameType:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame = frame.f_back
    return frame
