"""The multi-layer net with the book's dropout, which multiplies by 1 - rate at inference and does not scale in training.

purenet's dropout is inverted: it divides by 1 - rate in training. Multiplied by 1 - rate in both modes, it is the book's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

import purenet as pn
from purenet.models import multi_layer_net
from purenet.op import Array, Op

if TYPE_CHECKING:
    from purenet.combinators import Chain

__all__ = ["goal", "init"]

init = multi_layer_net.init


@Op
def shrunk(x: Array, *, factor: float) -> tuple[Array, float]:
    """`x` times a factor."""
    return np.asarray(x * x.dtype.type(factor)), factor


@shrunk.pullback
def shrunk_bwd(factor: float, dy: Array) -> tuple[Array]:
    return (np.asarray(dy * dy.dtype.type(factor)),)


def goal(sizes: Sequence[int], *, dropout_rate: float) -> Op:
    """The goal of multi_layer_net with a factor of 1 - rate after each dropout."""
    stages: dict[str, Any] = {}
    net = cast("Chain", multi_layer_net.net(sizes, dropout_rate=dropout_rate))
    for name, op in net.stages.items():
        stages[name] = op
        if op.name == "dropout":
            stages[f"shrunk{name.removeprefix('dropout')}"] = shrunk.bind(factor=1 - dropout_rate)
    return pn.chain(net=pn.chain(**stages), loss=pn.softmax_cross_entropy)
