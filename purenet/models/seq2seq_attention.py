"""Sequence to sequence with attention: an LSTM reads, and another writes and attends to the states of the first.

params = {"net": seq2seq_attention.init(random.key(0), 13)}
goal = seq2seq_attention.goal()                    # "57+5  " to "_62 ": the decoder reads "_62" and is to say "62 "
value, residuals = goal.fwd(
    params, net={"encoder": {"ids": questions}, "decoder": {"ids": answers[:, :-1]}}, loss={"labels": answers[:, 1:]}
)
(grads,) = goal.bwd(residuals, 1.0)
written = seq2seq_attention.decode(params["net"], questions, start=12, length=4)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import initializers, random
from purenet.attention.scaled_dot_product import dot_product_attention, dot_product_attention_bwd
from purenet.checks import boolean, fields, indices
from purenet.combinators import chain, named
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.op import Array, Op, Residuals, Tree
from purenet.random.checks import integer
from purenet.recurrent import LSTMCarry, embedded, lstm
from purenet.recurrent.layers import by_part

__all__ = ["decode", "goal", "init", "net"]

READER = embedded(lstm)


@Op
def _encoder(params: Tree, *, ids: Array) -> tuple[tuple[Array, LSTMCarry], Residuals]:
    """The states after each word that is read, and the last one; before the first it is zeros."""
    own = by_part("encoder", "params", params, ("embedding", "layer"))
    _, wh, _ = fields("encoder", own["layer"], "wx", "wh", optional=("b",))
    zeros = np.zeros((*np.shape(ids)[:1], *wh.shape[:1]), wh.dtype)
    return READER.fwd(params, LSTMCarry(zeros, zeros), ids=ids)


@_encoder.pullback
def _encoder_bwd(saved: Residuals, dy: tuple[Array, LSTMCarry]) -> tuple[Tree]:
    return READER.bwd(saved, dy)[:1]


@Op
def _decoder(params: Tree, x: tuple[Array, LSTMCarry], *, ids: Array) -> tuple[tuple[Array, Array], Residuals]:
    """What was read, and the states after each word that is written, from the last state of the encoder on."""
    read, carry = x
    (written, _), saved = READER.fwd(params, carry, ids=ids)
    return (read.copy(), written), saved


@_decoder.pullback
def _decoder_bwd(saved: Residuals, dy: tuple[Array, Array]) -> tuple[Tree, tuple[Array, LSTMCarry]]:
    dread, dwritten = dy
    zeros = np.zeros((len(dwritten), dwritten.shape[2]), dwritten.dtype)
    dparams, dcarry = READER.bwd(saved, (dwritten, LSTMCarry(zeros, zeros)))
    return dparams, (dread.copy(), dcarry)


@Op
def _attention(x: tuple[Array, Array]) -> tuple[Array, Any]:
    """The mean of the states that were read, weighted by the softmax of their products with each that writes, beside it."""
    read, written = (states[:, :, None] for states in x)  # one head
    found, saved = dot_product_attention.forward(written, read, read, scale=1.0)
    return np.concatenate([found, written], axis=-1)[:, :, 0], saved


@_attention.pullback
def _attention_bwd(saved: Any, dy: Array) -> tuple[tuple[Array, Array]]:
    dfound, dwritten = np.split(dy[:, :, None], 2, axis=-1)
    dquery, dkey, dvalue = dot_product_attention_bwd(saved, dfound)
    return (((dkey + dvalue)[:, :, 0], (dquery + dwritten)[:, :, 0]),)


@Op
def _last_state_alone(x: tuple[Array, Array]) -> tuple[Array, tuple[int, ...]]:
    """The states of the decoder without attention, which gets only the last state of the encoder."""
    read, written = x
    return written.copy(), read.shape


@_last_state_alone.pullback
def _last_state_alone_bwd(shape: tuple[int, ...], dy: Array) -> tuple[tuple[Array, Array]]:
    return ((np.zeros(shape, dy.dtype), dy.copy()),)


def net(*, attention: bool = True) -> Op:
    """An encoder and a decoder, from the words of a question and those of its answer so far to logits of the next ones.

    In training the decoder reads the right answer, whatever it would have said (teacher forcing). Without `attention` it
    knows of the question what the encoder's last state holds.

    Shapes: params {encoder: {embedding: {w (V, E)}, layer: {wx, wh, b}}, decoder: the same, affine: {w (2H, V), b (V,)}}, w
        (H, V) without attention, encoder={"ids": integers (B, S)}, decoder={"ids": integers (B, T)} -> logits (B, T, V)
    Math, h_s and g_t the states of the encoder and the decoder, whose first is the encoder's last:
        c_t = sum_s p_ts h_s,  p = softmax(g_t h_s) over s,  y_t = [c_t, g_t] w + b, or g_t w + b without attention
        the cotangents pass through affine, attention and the decoder; the encoder's states get those of the attention, its
        last state that of the decoder too
    Errors: ValueError where `params` has other keys than these stages; those of embedded, lstm and affine.
    Source: Sutskever, Vinyals, Le (2014); Luong, Pham, Manning (2015), with the dot product; Saito, Deep Learning from Scratch
        2 (2018), chapters 7 and 8. Conventions: the decoder starts from h and c of the encoder, as in Sutskever; the book hands
        h on and starts with c = 0. The products are not scaled, as there. Nothing is masked: questions have one length.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.seq2seq_attention
    >>> params = model.init(pn.random.key(0), 5, embedding=2, hidden=3)
    >>> logits = model.net()(params, encoder={"ids": np.array([[0, 4, 1]])}, decoder={"ids": np.array([[2, 0]])})
    >>> logits.shape
    (1, 2, 5)
    """
    boolean("seq2seq_attention", "attention", attention)
    looking = {"attention": _attention} if attention else {"state": _last_state_alone}
    return named(chain(encoder=_encoder, decoder=_decoder, **looking, affine=affine), net, "seq2seq_attention")


def goal(*, attention: bool = True) -> Op:
    """The net with its loss, the mean of -log p of the words of the answer.

    Shapes: params {net: params of the net}, net={"encoder": {"ids": (B, S)}, "decoder": {"ids": (B, T)}},
        loss={"labels": integers (B, T)} -> ()
    Math:
        y = softmax_cross_entropy(net(params), labels); the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: as the net. Conventions: the decoder reads the answer without its last word, and the labels are the answer without
        its first.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.seq2seq_attention
    >>> params = model.init(pn.random.key(0), 5, embedding=2, hidden=3)
    >>> params["affine"]["w"][:] = 0
    >>> options = {"encoder": {"ids": np.array([[0, 4, 1]])}, "decoder": {"ids": np.array([[2, 0]])}}
    >>> value = model.goal()({"net": params}, net=options, loss={"labels": np.array([[0, 3]])})
    >>> bool(np.isclose(value, np.log(5)))
    True
    """
    whole = chain(net=net(attention=attention), loss=softmax_cross_entropy)
    return named(whole, goal, "seq2seq_attention_goal" if attention else "seq2seq_goal")


def init(
    key: Array, vocabulary: int, *, embedding: int = 16, hidden: int = 128, attention: bool = True, dtype: Any = np.float64
) -> dict[str, Any]:
    """Parameters of the net: normal weights, biases 0 but the forget gates'.

    >>> import purenet as pn
    >>> params = pn.models.seq2seq_attention.init(pn.random.key(0), 13)
    >>> params["decoder"]["layer"]["wx"].shape, params["affine"]["w"].shape
    ((16, 512), (256, 13))
    """
    op = "seq2seq_attention.init"
    boolean(op, "attention", attention)
    vocabulary, width = integer(op, "vocabulary", vocabulary, 1), integer(op, "embedding", embedding, 1)
    *keys, last = random.split(key, 5)
    params: dict[str, Any] = {}
    for name, for_embedding, for_layer in (("encoder", *keys[:2]), ("decoder", *keys[2:])):
        table = initializers.normal(1.0)(for_embedding, (vocabulary, width), dtype)
        layer = initializers.recurrent(for_layer, "lstm", width, hidden, dtype=dtype)
        params[name] = {"embedding": {"w": table}, "layer": layer}
    shape = ((2 if attention else 1) * hidden, vocabulary)
    return params | initializers.layers(last, {"affine": shape}, initializer="xavier", dtype=dtype)


def decode(params: Tree, ids: Array, *, start: int, length: int, attention: bool = True) -> Array:
    """The answers that the net writes by itself, each word the likeliest after those before it.

    Shapes: params of the net, ids (B, S) integers -> (B, length)
    Errors: ValueError for a `start` that is no word, or a negative length; those of the net.
    Conventions: greedy; `start` is the word that answers begin with, and no part of what comes back. Nothing ends an answer.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.seq2seq_attention
    >>> params = model.init(pn.random.key(0), 5, embedding=2, hidden=3)
    >>> params["affine"]["w"][:], params["affine"]["b"][3] = 0, 1.0
    >>> model.decode(params, np.array([[0, 4, 1]]), start=2, length=4)
    array([[3, 3, 3, 3]])
    """
    op, model = "seq2seq_attention.decode", net(attention=attention)
    length = integer(op, "length", length, 0)
    first = indices(op, "start", start, len(params["decoder"]["embedding"]["w"]))
    if first.ndim:
        raise ValueError(f"{op}: start must be one word, got the shape {first.shape}")
    written = np.full((len(ids), 1), first)
    for _ in range(length):
        logits = model(params, encoder={"ids": ids}, decoder={"ids": written})
        written = np.concatenate([written, logits[:, -1:].argmax(axis=-1)], axis=1)
    return written[:, 1:]
