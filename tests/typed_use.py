"""What a type checker sees of an Op: the signature of its forward function. `make lint` checks this file.

A comment `type: ignore` is itself an error where nothing is wrong: so the mistakes below must be seen.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import purenet as pn

Array = NDArray[Any]

x: Array = np.ones((2, 3))
layer: dict[str, Array] = {"w": np.ones((3, 4)), "b": np.zeros(4)}


def right() -> None:
    assert_type(pn.relu(x), Array)
    assert_type(pn.affine(layer, x), Array)
    assert_type(pn.affine.fwd(layer, x), tuple[Array, pn.Residuals])
    assert_type(pn.softmax(x, axis=0), Array)
    assert_type(pn.softmax.bind(axis=0)(x), Array)
    pn.chain(affine1=pn.affine, relu1=pn.relu).fwd({"affine1": layer}, x)


def wrong() -> None:
    pn.conv2d(3)  # type: ignore[call-arg, arg-type]
    pn.affine(x)  # type: ignore[call-arg, arg-type]
    pn.relu(x, alpha=0.1)  # type: ignore[call-arg]
    pn.leaky_relu(x, negative_slope="steep")  # type: ignore[arg-type]
    pn.relu("x")  # type: ignore[arg-type]
