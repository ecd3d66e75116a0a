"""What the tests of `oracle.locate` share: arrays, and ops with a planted mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import oracle
import purenet as pn
from oracle.power.reach import with_backward
from purenet import Op

GENERATOR = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return GENERATOR.normal(size=shape)


X, T = normal(4, 6), np.array([0, 2, 1, 2])


def times(op: Op, argument: int, change: Callable[[Any], Any]) -> Op:
    """The op with a change of one of its cotangents."""

    def bwd(residuals: Any, dy: Any) -> Any:
        found = list(op.bwd(residuals, dy))
        found[argument] = change(found[argument])
        return tuple(found)

    return with_backward(op, bwd)


def doubtful(found: oracle.Located) -> list[str]:
    return [row.stage for row in found.rows if not row.passed]


PARAMS: dict[str, Any] = {"w": normal(4, 4), "b": normal(4)}
BRANCH = pn.residual(pn.chain(affine=pn.affine, tanh=pn.tanh))
