"""What the tests of verdicts share: dtypes, with the errors that they show, and planted errors."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from oracle import Verdict
from tests.oracle.planted import Array, Pair, found, signed

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
WRONG = {np.float64: 1e-9, np.float32: 1e-4, np.float16: 1.0, ml_dtypes.bfloat16: 7.0}  # noticed by differences alone
REFERENCES = [None, lambda x: x**3]
X = signed(6)


def both(x: Array, references: list[Any], op: Pair, **options: Any) -> list[tuple[Verdict, str]]:
    return [found(op, x, reference=reference, **options) for reference in references]


def shifted(shift: float) -> Any:
    """A wrong cotangent: one entry off by a fraction of itself."""

    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[2] = dx[2] * (1 + shift)
        return dx

    return wrong
