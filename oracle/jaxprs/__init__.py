"""Jaxprs, primitive by primitive, in NumPy: a small one is evaluated long before XLA has compiled it.

JAX traces and differentiates; what it made are primitives whose meaning its documentation defines. `running` goes through
them, `moving`, `windows` and `computing` have one function of NumPy for each. They accept whatever NumPy's functions accept, so
the exact witness evaluates jaxprs on arrays of balls with the same functions.
"""

from __future__ import annotations

from oracle.jaxprs.running import CONTROL, Step, called_by, evaluate, run
from oracle.jaxprs.unknown import Unknown

__all__ = ["CONTROL", "Step", "Unknown", "called_by", "evaluate", "run"]
