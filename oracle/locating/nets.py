"""One run of an object that holds its layers, as the book's nets do: `layers`, a last layer, `params`, `loss` and `gradient`.

The layers are judged as a list of them is. What combines them is the object's own: `gradient(x, t)` against `loss(x, t)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.adapters.classes import is_layer, is_net, net_in_float64
from oracle.locating import layers
from oracle.locating.calls import WHOLE, Backward, Call, Record
from oracle.locating.layers import SEEDS

__all__ = ["layers_of", "record"]

LAST = ("lastLayer", "last_layer", "loss_layer", "lossLayer", "loss")
"""How attributes are called that hold the layer of the loss."""


def layers_of(net: Any) -> dict[str, Any] | None:
    """The layers of an object by their names, the last one too; None if it holds none."""
    held = getattr(net, "layers", None)
    if not isinstance(held, Mapping | list | tuple) or not held:
        return None
    found = {str(n): layer for n, layer in (held.items() if isinstance(held, Mapping) else enumerate(held))}
    if not all(map(is_layer, found.values())):
        return None
    last = next((name for name in LAST if is_layer(getattr(net, name, None))), None)
    return found if last is None else found | {last: getattr(net, last)}


def record(net: Any, primals: tuple[Any, ...], options: Mapping[str, Any], dy: Callable[[Any], Any], seed: int) -> Record:
    """The calls of a run of its layers, and the object itself if it has a loss and a gradient."""
    found = layers.record(layers_of(net) or {}, primals, options, dy, seed)
    if is_net(net):
        try:
            whole = net_in_float64(net, *primals, seed=seed % SEEDS, who="locate")
        except TypeError as error:
            return replace(found, note=f"the gradient of the whole is not compared: {error}")
        value, _ = whole.pair[0](*whole.primals)
        found.compositions.append(Call(WHOLE, whole.pair, {}, whole.primals, value, backward=Backward(np.ones(())), fixed=True))
    return found
