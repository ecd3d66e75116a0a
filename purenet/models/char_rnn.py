"""The character RNN: a recurrent net that reads a text and predicts the character after each one.

params = {"net": char_rnn.init(random.key(0), 65)}
goal, state = char_rnn.goal(), char_rnn.carry(params["net"], batch)
for ids, labels in windows:                        # (B, T) each: truncated backpropagation through time
    (value, state), residuals = goal.fwd(params, x=state, net={"rnn": {"ids": ids}}, loss={"labels": labels})
    (grads,) = goal.bwd(residuals, (1.0, char_rnn.carry(params["net"], batch)))
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import initializers, random
from purenet.checks import choice, indices, number
from purenet.combinators import chain, named
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.op import Array, Op, Tree
from purenet.random.checks import integer
from purenet.recurrent import LSTMCarry, embedded, gru, lstm, rnn, stacked
from purenet.tuples import first

__all__ = ["carry", "goal", "init", "net", "sample"]

CELLS: dict[str, Op] = {"rnn": rnn, "lstm": lstm, "gru": gru}


def net(*, cell: str = "lstm", layers: int = 1) -> Op:
    """The character RNN, from the state before a window of a text, and its characters, to logits of those that follow.

    The state after the window is where the next one begins: together they are read as one long window. In truncated
    backpropagation through time the state that comes in is a constant, `net(params, x=carry, rnn={"ids": ids})`.

    Shapes: params {rnn: {embedding: {w (V, E)}, layer: {layer1: {wx, wh, b}, ...}}, affine: {w (H, V), b (V,)}},
        carry {layer1: (h (B, H), c (B, H)), ...}, h alone but for an LSTM, rnn={"ids": integers (B, T)}
        -> logits (B, T, V), carry
    Math, with x_t the row of the embedding that character t names:
        h_t = rnn(x_t, h_t-1),  y_t = h_t w + b; the cotangents pass through the affine map, the layers and the embedding
    Errors: ValueError for another cell than "rnn", "lstm" and "gru", fewer layers than one, or where `params` has other keys
        than these; those of embedded, stacked and affine.
    Source: Mikolov et al. (2010); Karpathy, The unreasonable effectiveness of recurrent neural networks (2015). Conventions:
        where Karpathy gives the first layer vectors with a single 1, the rows of its weights are the embedding.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.char_rnn
    >>> params = model.init(pn.random.key(0), 5, hidden=3)
    >>> logits, carry = model.net()(params, model.carry(params, 1), rnn={"ids": np.array([[0, 4, 1, 1]])})
    >>> logits.shape, carry["layer1"].h.shape
    ((1, 4, 5), (1, 3))
    """
    choice("char_rnn", "cell", cell, tuple(CELLS))
    reader = embedded(stacked(**dict.fromkeys(_names(layers), CELLS[cell])))
    return named(chain(rnn=reader, affine=first(affine)), net, "char_rnn")


def goal(*, cell: str = "lstm", layers: int = 1) -> Op:
    """The character RNN with its loss, the mean of -log p of the characters that follow, and the state after the window.

    Shapes: params {net: params of the net}, carry, net={"rnn": {"ids": integers (B, T)}}, loss={"labels": integers (B, T)}
        -> (), carry
    Math:
        y = softmax_cross_entropy(logits, labels), and the carry passes; the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: as the net. Conventions: the value is a pair, so its cotangent is one too, `goal.bwd(residuals, (1.0, zeros))`:
        truncated backpropagation asks nothing of the state. exp(y) is the perplexity, y / log(2) the bits per character.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.char_rnn
    >>> params = model.init(pn.random.key(0), 5, hidden=3)
    >>> params["affine"]["w"][:] = 0
    >>> options = {"net": {"rnn": {"ids": np.array([[0, 4]])}}, "loss": {"labels": np.array([[4, 1]])}}
    >>> value, carry = model.goal()({"net": params}, model.carry(params, 1), **options)
    >>> bool(np.isclose(value, np.log(5)))
    True
    """
    whole = chain(net=net(cell=cell, layers=layers), loss=first(softmax_cross_entropy))
    return named(whole, goal, "char_rnn_goal")


def init(
    key: Array,
    vocabulary: int,
    *,
    embedding: int = 64,
    hidden: int = 128,
    cell: str = "lstm",
    layers: int = 1,
    dtype: Any = np.float64,
) -> dict[str, Any]:
    """Parameters of the net for an alphabet of `vocabulary` characters: normal weights, biases 0 but an LSTM's forget gate.

    >>> import purenet as pn
    >>> params = pn.models.char_rnn.init(pn.random.key(0), 65, layers=2, cell="gru")
    >>> params["rnn"]["embedding"]["w"].shape, params["rnn"]["layer"]["layer2"]["wx"].shape, params["affine"]["w"].shape
    ((65, 64), (128, 384), (128, 65))
    """
    op = "char_rnn.init"
    vocabulary, width = integer(op, "vocabulary", vocabulary, 1), integer(op, "embedding", embedding, 1)
    for_embedding, for_rnn, for_affine = random.split(key, 3)
    table = initializers.normal(1.0)(for_embedding, (vocabulary, width), dtype)
    stack, names = {}, _names(layers)
    for name, own in zip(names, random.split(for_rnn, len(names)), strict=True):
        stack[name] = initializers.recurrent(own, cell, width, hidden, dtype=dtype)
        width = hidden
    last = initializers.layers(for_affine, {"affine": (hidden, vocabulary)}, initializer="xavier", dtype=dtype)
    return {"rnn": {"embedding": {"w": table}, "layer": stack}, **last}


def carry(params: Tree, batch: int) -> dict[str, Any]:
    """The state before the first character of `batch` texts, zeros, for these parameters of the net.

    >>> import purenet as pn
    >>> pn.models.char_rnn.carry(pn.models.char_rnn.init(pn.random.key(0), 5, hidden=3, cell="rnn"), 1)
    {'layer1': array([[0., 0., 0.]])}
    """
    batch = integer("char_rnn.carry", "batch", batch, 0)
    states: dict[str, Any] = {}
    for name, own in params["rnn"]["layer"].items():
        hidden, width = own["wh"].shape
        zeros = [np.zeros((batch, hidden), own["wh"].dtype) for _ in range(2)]
        states[name] = LSTMCarry(*zeros) if width == 4 * hidden else zeros[0]
    return states


def sample(key: Array, params: Tree, prompt: Array, length: int, *, cell: str = "lstm", temperature: float = 1.0) -> Array:
    """A text that goes on after `prompt`: the numbers of `length` characters, drawn from softmax(logits / temperature).

    Shapes: params of the net, prompt (P,) integers -> (length,)
    Errors: ValueError for an empty prompt, a number outside the alphabet, a negative length, or a temperature that is not
        positive and finite; those of the net.
    Conventions: near temperature 0 it is the likeliest character every time.

    >>> import numpy as np, purenet as pn
    >>> params = pn.models.char_rnn.init(pn.random.key(0), 5, hidden=3)
    >>> params["affine"]["w"][:], params["affine"]["b"][3] = 0, 1e3  # there is nothing but character 3
    >>> pn.models.char_rnn.sample(pn.random.key(1), params, np.array([0, 4]), 6)
    array([3, 3, 3, 3, 3, 3])
    """
    op, model = "char_rnn.sample", net(cell=cell, layers=len(params["rnn"]["layer"]))
    length, temperature = integer(op, "length", length, 0), number(op, "temperature", temperature, above=0)
    ids = indices(op, "prompt", prompt, len(params["rnn"]["embedding"]["w"]))
    if ids.ndim != 1 or not ids.size:
        raise ValueError(f"{op}: prompt must have shape (length,), at least one character, got {ids.shape}")
    state, drawn = carry(params, 1), np.empty(length, np.intp)
    for i, own in enumerate(random.split(key, max(length, 1))[:length]):
        logits, state = model(params, state, rnn={"ids": ids[None]})
        drawn[i] = random.categorical(own, logits[0, -1] / temperature)
        ids = drawn[i : i + 1]
    return drawn


def _names(layers: int) -> list[str]:
    return [f"layer{i}" for i in range(1, integer("char_rnn", "layers", layers, 1) + 1)]
