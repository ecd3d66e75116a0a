"""Starts a Python program so that it hears an interrupt, for the tests that send one."""

from __future__ import annotations

import sys
from pathlib import Path

# Python ignores interrupts where its parent does, as a shell's background job; the tests may run in one.
HEARS_INTERRUPTS = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def interruptible(program: Path, *arguments: str) -> list[str]:
    """The command that runs this program with these arguments."""
    return [sys.executable, "-W", "error", "-c", HEARS_INTERRUPTS, str(program), *arguments]
