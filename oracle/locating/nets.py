"""One run of an object that holds its layers, as the book's nets do: `layers`, a last layer, `params`, `loss` and `gradient`.

The layers are judged as a list of them is. What combines them is the object's own: `gradient(x, t)` against `loss(x, t)`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oracle.adapters import seeded
from oracle.locating import layers
from oracle.locating.calls import WHOLE, Call, Record, signed
from oracle.locating.layers import SEEDS, is_layer

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
    params = getattr(net, "params", None)
    if callable(getattr(net, "loss", None)) and callable(getattr(net, "gradient", None)) and isinstance(params, Mapping):
        found.compositions.append(_composed(net, params, primals, seed))
    return found


def _composed(net: Any, params: Mapping[str, Any], data: tuple[Any, ...], seed: int) -> Call:
    """The loss as a function of the parameters, and its gradient."""
    arrays = {name: a for name, a in params.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}

    def fwd(params: Mapping[str, Any]) -> Any:
        own = copy.deepcopy(net, {id(arrays[name]): np.array(a) for name, a in params.items()})
        with seeded(seed % SEEDS):
            return np.asarray(own.loss(*copy.deepcopy(data)), np.float64), own

    def bwd(own: Any, by: Any) -> Any:
        with seeded(seed % SEEDS):
            found = copy.deepcopy(own).gradient(*copy.deepcopy(data))
        return ({name: np.asarray(found[name] * by, np.float64) for name in arrays},)

    signed(fwd, type(net).__name__, ["params"])
    wide = {name: a.astype(np.float64) for name, a in arrays.items()}
    return Call(WHOLE, (fwd, bwd), {}, (wide,), fwd(wide)[0], dy=np.ones(()), fixed=True)
