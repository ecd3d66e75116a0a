"""Initial weights of recurrent layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from purenet import random
from purenet.checks import choice
from purenet.initializers.fans import variance_scaling
from purenet.random.checks import checked_dtype, integer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from purenet.op import Array

__all__ = ["recurrent"]

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def recurrent(key: Array, cell: str, features: int, hidden: int, *, dtype: DTypeLike = np.float64) -> dict[str, Array]:
    """The parameters of a recurrent layer: normal weights, biases 0, and 1 where they open the forget gate of an LSTM.

    Shapes: -> wx (F, GH), wh (H, GH), b (GH,), and bh (H,) of a GRU, with G = 1, 4 or 3 gates of an "rnn", "lstm" or "gru"
    Math: the standard deviation of wx is 1 / sqrt(F), of wh 1 / sqrt(H).
    Errors: ValueError for another cell, or a size below 1; TypeError unless sizes are integers and `dtype` is floating.
    Source: Saito, Deep Learning from Scratch 2 (2018), chapters 5 and 6; forget gate: Jozefowicz, Zaremba, Sutskever (2015).
        Conventions: torch draws all of them uniformly within 1 / sqrt(H); Keras has an orthogonal wh.

    >>> from purenet import initializers, random
    >>> params = initializers.recurrent(random.key(0), "lstm", 3, 2)
    >>> params["wx"].shape, params["wh"].shape, params["b"]  # the blocks of b are those of i, f, g and o
    ((3, 8), (2, 8), array([0., 0., 1., 1., 0., 0., 0., 0.]))
    """
    choice("recurrent", "cell", cell, tuple(GATES))
    kind = checked_dtype("recurrent", dtype)
    sizes = {"wx": integer("recurrent", "features", features, 1), "wh": integer("recurrent", "hidden", hidden, 1)}
    width = GATES[cell] * sizes["wh"]
    weights = variance_scaling(1.0, "fan_in", "normal")
    params = {
        name: weights(own, (size, width), kind) for (name, size), own in zip(sizes.items(), random.split(key), strict=True)
    }
    params["b"] = np.zeros(width, kind)
    if cell == "lstm":
        params["b"][hidden : 2 * hidden] = 1
    if cell == "gru":
        params["bh"] = np.zeros(hidden, kind)
    return params
