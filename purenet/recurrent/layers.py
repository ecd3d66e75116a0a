"""Recurrent layers made of recurrent layers: one in each direction, several on top of each other, or of ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from purenet.linear.lookup import embedding
from purenet.op import Array, Op, Residuals, Tree

__all__ = ["bidirectional", "by_part", "embedded", "stacked"]


def bidirectional(layer: Op) -> Op:
    """A layer that reads its sequences from both ends, with parameters for each direction; an Op like `layer`.

    Shapes: params and carry {"forward": as layer, "backward": as layer}, xs (B, T, F) -> ys (B, T, 2H) and carry as it came
    Math:
        ys = [f(xs), g(xs)] side by side: f the layer, g the layer in reverse, each with its own params and carry
        dxs is the sum of the cotangents of both
    Errors: TypeError unless `layer` is an Op of (params, xs, carry) whose `lengths` and `reverse` are free; ValueError where
        params or carry do not hold both directions.
    Source: Schuster and Paliwal (1997). Conventions: outputs side by side, forward first, as torch, and as flax and Keras
        unless told otherwise; ONNX has an axis for the direction. The layer in reverse begins at the last step of each
        sequence, so with `lengths` it reads no padding. Options are bound: `bidirectional(gru.bind(reset_after=False))`.

    >>> import numpy as np, purenet as pn
    >>> layer = pn.bidirectional(pn.rnn.bind(activation="relu"))
    >>> adds = {"wx": np.ones((1, 1)), "wh": np.ones((1, 1))}
    >>> params, carry = {"forward": adds, "backward": adds}, {"forward": np.zeros((1, 1)), "backward": np.zeros((1, 1))}
    >>> ys, carry = layer(params, np.array([[[1.0], [2.0], [4.0]]]), carry)
    >>> ys[0]  # the sum so far, and the sum from here on
    array([[1., 7.],
           [3., 6.],
           [7., 4.]])
    """
    _check_layer("bidirectional", "layer", layer, "lengths", "reverse")
    name = f"bidirectional({layer.name})"
    directions = {"forward": False, "backward": True}

    def forward(params: Tree, xs: Array, carry: Tree, *, lengths: Any = None) -> tuple[Any, Any]:
        ys, states, saved = [], {}, {}
        own = by_part(name, "params", params, directions), by_part(name, "carry", carry, directions)
        for part, reverse in directions.items():
            (y, states[part]), saved[part] = _run(name, part, layer, own, xs, lengths=lengths, reverse=reverse)
            ys.append(y)
        return (np.concatenate(ys, axis=-1), states), saved

    def backward(saved: dict[str, Residuals], dy: tuple[Array, Tree]) -> tuple[Any, ...]:
        dys, dcarry = dy
        width = saved["forward"].shapes[0][-1]  # the two may differ
        own = {"forward": dys[..., :width], "backward": dys[..., width:]}
        found = {part: layer.bwd(saved[part], (own[part], dcarry[part])) for part in directions}
        dparams, dxs, dstates = ({p: cotangents[i] for p, cotangents in found.items()} for i in range(3))
        return dparams, dxs["forward"] + dxs["backward"], dstates

    op = Op(forward, name=name)
    op.__doc__ = f"{layer.name} from both ends of its sequences, the outputs side by side."
    op.pullback(backward)
    return op


def stacked(**layers: Op) -> Op:
    """Layers on top of each other, each reading the outputs of the one below; an Op like each of them.

    Shapes: params and carry {layer: as that layer}, xs as the first takes it -> ys as the last gives it, and carry as it came
    Math:
        y^k = f_k(y^k-1),  y^0 = xs;  the cotangents pass through the layers in reverse, dy^k-1 = the cotangent of f_k's xs
    Errors: TypeError without layers, or unless each is an Op of (params, xs, carry) whose `lengths` are free; ValueError where
        params or carry do not hold every layer by its name.
    Source: Schmidhuber, Learning complex, extended sequences using the principle of history compression (1992). Conventions:
        each layer has a name, as in `chain`, and `lengths` goes to all. torch's num_layers=2 with bidirectional=True is
        `stacked(layer1=bidirectional(lstm), layer2=bidirectional(lstm))`.

    >>> import numpy as np, purenet as pn
    >>> layer = pn.stacked(low=pn.rnn.bind(activation="relu"), high=pn.rnn.bind(activation="relu"))
    >>> adds = {"wx": np.ones((1, 1)), "wh": np.ones((1, 1))}
    >>> params, carry = {"low": adds, "high": adds}, {"low": np.zeros((1, 1)), "high": np.zeros((1, 1))}
    >>> layer(params, np.ones((1, 3, 1)), carry)  # sums of the sums 1, 2, 3
    (array([[[1.],
            [3.],
            [6.]]]), {'low': array([[3.]]), 'high': array([[6.]])})
    """
    if not layers:
        raise TypeError("stacked: at least one layer is needed")
    for part, layer in layers.items():
        _check_layer("stacked", part, layer, "lengths")
    name = f"stacked({', '.join(layers)})"

    def forward(params: Tree, xs: Array, carry: Tree, *, lengths: Any = None) -> tuple[Any, Any]:
        ys, states, saved = xs, {}, {}
        own = by_part(name, "params", params, layers), by_part(name, "carry", carry, layers)
        for part, layer in layers.items():
            (ys, states[part]), saved[part] = _run(name, part, layer, own, ys, lengths=lengths)
        return (ys, states), saved

    def backward(saved: dict[str, Residuals], dy: tuple[Array, Tree]) -> tuple[Any, ...]:
        dys, dcarry = dy
        dparams, dstates = {}, {}
        for part, layer in reversed(layers.items()):
            dparams[part], dys, dstates[part] = layer.bwd(saved[part], (dys, dcarry[part]))
        return dparams, dys, dstates

    op = Op(forward, name=name)
    op.__doc__ = f"{', '.join(layer.name for layer in layers.values())} on top of each other, in this order."
    op.pullback(backward)
    return op


def embedded(layer: Op) -> Op:
    """A layer that reads words, or characters, by their number: its inputs are the rows of an embedding that these name.

    Shapes: params {"embedding": {w (V, E)}, "layer": as layer}, carry as layer, ids (B, T) -> ys (B, T, H) and carry as it came
    Math:
        ys, carry' = f(w[ids], carry),  f the layer with its own params
        dw and the cotangents of the layer's params and carry are those of embedding and of the layer
    Errors: TypeError unless `layer` is an Op of (params, xs, carry) whose `lengths` are free; ValueError where params do not
        hold both parts, or ids do not have two dimensions; those of embedding and of the layer.
    Source: Bengio et al., A neural probabilistic language model (2003). Conventions: ids are not differentiated, so the carry
        is what a chain hands on: `chain(rnn=embedded(lstm), affine=first(affine))(params, carry, rnn={"ids": ids})`.

    >>> import numpy as np, purenet as pn
    >>> layer = pn.embedded(pn.rnn.bind(activation="relu"))
    >>> adds = {"wx": np.ones((1, 1)), "wh": np.ones((1, 1))}
    >>> params = {"embedding": {"w": np.array([[10.0], [1.0]])}, "layer": adds}
    >>> ys, carry = layer(params, np.zeros((1, 1)), ids=np.array([[1, 0, 1]]))  # the sum of 1, 10 and 1
    >>> ys.ravel(), carry
    (array([ 1., 11., 12.]), array([[12.]]))
    """
    _check_layer("embedded", "layer", layer, "lengths")
    name = f"embedded({layer.name})"
    parts = {"embedding": embedding, "layer": layer}

    def forward(params: Tree, carry: Tree, *, ids: Array, lengths: Any = None) -> tuple[Any, Any]:
        own = by_part(name, "params", params, parts)
        if np.ndim(ids) != 2:
            raise ValueError(f"{name}: ids must have shape (batch, time), got {np.shape(ids)}")
        saved = {}
        xs, saved["embedding"] = embedding.fwd(own["embedding"], ids=ids)
        y, saved["layer"] = _run(name, "layer", layer, (own, {"layer": carry}), xs, lengths=lengths)
        return y, saved

    def backward(saved: dict[str, Residuals], dy: tuple[Array, Tree]) -> tuple[Any, ...]:
        of_layer, dxs, dcarry = layer.bwd(saved["layer"], dy)
        (of_embedding,) = embedding.bwd(saved["embedding"], dxs)
        return {"embedding": of_embedding, "layer": of_layer}, dcarry

    op = Op(forward, name=name)
    op.__doc__ = f"{layer.name} whose inputs are rows of an embedding."
    op.pullback(backward)
    return op


def _run(
    name: str, part: str, layer: Op, own: tuple[Mapping[str, Any], Mapping[str, Any]], xs: Array, **options: Any
) -> tuple[tuple[Array, Tree], Residuals]:
    params, carry = own
    try:
        return layer.fwd(params[part], xs, carry[part], **options)
    except (TypeError, ValueError) as error:
        error.add_note(f"in the part {part!r} of {name}")
        raise


def _check_layer(op: str, part: str, layer: Any, *options: str) -> None:
    if not isinstance(layer, Op):
        raise TypeError(f"{op}: {part} must be an Op, got {type(layer).__name__}")
    free = [option for option in options if option in layer.keywords and option not in layer.bound]
    if layer.arguments != ("params", "xs", "carry") or len(free) < len(options):
        expected = f"an Op of (params, xs, carry) with the keywords {', '.join(options)} free"
        raise TypeError(f"{op}: {part} must be {expected}, got {layer!r}")


def by_part(op: str, name: str, tree: Any, parts: Iterable[str]) -> Mapping[str, Any]:
    """`tree`, which must be a dict with exactly these parts."""
    if not isinstance(tree, Mapping):
        raise TypeError(f"{op}: {name} must be a dict with {', '.join(parts)}, got {type(tree).__name__}")
    if set(tree) != set(parts):
        raise ValueError(f"{op}: {name} must hold {', '.join(parts)}, got {', '.join(map(str, tree)) or 'nothing'}")
    return tree
