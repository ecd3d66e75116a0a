"""GPT, a decoder of pre-norm blocks: from two layers to the 124 million parameters of GPT-2 small, or built like Llama.

params = {"net": gpt.init(random.key(0), **gpt.GPT2_SMALL, dtype=np.float32)}
goal = gpt.goal(**gpt.GPT2_SMALL)
value, residuals = goal.fwd(params, net={"embedding": {"ids": ids}}, loss={"labels": labels})
(grads,) = goal.bwd(residuals, 1.0)                # grads["net"]["block1"]["attention"]["attention"]["wq"]
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import optree

from purenet import initializers, random
from purenet.attention import feed_forward, learned_positions, multi_head_attention, pre_norm_block, swiglu_block
from purenet.checks import booleans, choice, number
from purenet.combinators import chain, named, tied
from purenet.linear import affine, embedding, unembedding
from purenet.losses import softmax_cross_entropy
from purenet.normalization import layer_norm, rms_norm
from purenet.op import Array, Op
from purenet.random.checks import integer
from purenet.stochastic import dropout

__all__ = ["GPT2_SMALL", "LLAMA_SMALL", "goal", "init", "net", "shapes"]

STD = 0.02
NORMS = {"layer_norm": layer_norm, "rms_norm": rms_norm}


@dataclass(frozen=True)
class Options:
    """The options of a net, the same for `net`, `goal` and `init`."""

    vocabulary: int = 256
    context: int = 128
    """The number of positions, if they are learned."""
    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int | None = None
    """Heads of keys and values, each shared by a group of the others; None for as many."""
    hidden: int | None = None
    """The width within feed-forward nets; None for 4 times the width, 8/3 times with "swiglu"."""
    positions: str = "learned"
    norm: str = "layer_norm"
    activation: str = "gelu"
    bias: bool = True
    """Of all affine maps and of layer_norm."""
    dropout: float = 0.0
    """The rate, after the embedding, of the weights of attention, and of what each block adds."""
    tied: bool = True
    """Whether the logits are products with the rows of the embedding."""


GPT2_SMALL: dict[str, Any] = {"vocabulary": 50257, "context": 1024, "width": 768, "layers": 12, "heads": 12}
LLAMA_SMALL: dict[str, Any] = {
    "vocabulary": 256, "width": 64, "layers": 2, "heads": 4, "kv_heads": 2, "positions": "rotary", "norm": "rms_norm",
    "activation": "swiglu", "bias": False, "tied": False,
}  # fmt: skip
"""Built as Llama is, at the size of the defaults."""


def net(**options: Any) -> Op:
    """GPT, from the numbers of words to the logits of those that follow.

    Options, all with defaults: the sizes vocabulary (256), context (128), width (64), layers (2), heads (4), kv_heads, hidden,
    which must be those of the parameters; positions "learned" or "rotary", norm "layer_norm" or "rms_norm", activation "gelu"
    or "swiglu", bias, tied, and the rate of dropout (0).

    Shapes: params {embedding: {w (V, D)}, positions: {w (P, D)}, block1: ..., norm: {gamma (D,), beta (D,)}, head: {w (D, V)}},
        each block as pre_norm_block takes it, without positions if they are rotary and without head if it is tied,
        embedding={"ids": integers (B, T)} -> logits (B, T, V)
    Math, e the rows of the embedding that ids name:
        h = dropout(e + positions),  h = block_l(h) for each layer, causal,  y = norm(h) w
        w is the transposed embedding if tied, whose gradient is the sum of both; the cotangents pass through all in reverse
    Errors: TypeError for an unknown option; ValueError for a bad one, heads that do not divide the width, or kv_heads that do
        not divide the heads; those of the stages, which name the stage: ids that are no words, more than P of them, params of
        another net.
    Source: Radford et al., Language models are unsupervised multitask learners (2019); Touvron et al., Llama (2023).
        Conventions: weights are [in, out], or [in, heads, size]; gelu is GPT-2's, by tanh. Rotary positions end nowhere.
        With a dropout, keys go to the stages, `dropout={"key": key}` and `block1={"attention": {"attention": {"key": ...},
        "dropout": {"key": ...}}, "net": {"dropout": {"key": ...}}}`; without a key a stage drops nothing.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.gpt
    >>> params = model.init(pn.random.key(0), vocabulary=5, width=8)
    >>> logits = model.net(vocabulary=5, width=8)(params, embedding={"ids": np.array([[0, 4, 1]])})
    >>> logits.shape
    (1, 3, 5)
    """
    o = _options("gpt", options)
    rotary: dict[str, Any] | None = {} if o.positions == "rotary" else None
    block = pre_norm_block(
        norm=NORMS[o.norm],
        attention=multi_head_attention.bind(is_causal=True, rotary=rotary, rate=o.dropout),
        net=swiglu_block if o.activation == "swiglu" else feed_forward(),
        rate=o.dropout,
    )
    stages: dict[str, Op] = {"embedding": embedding}
    if rotary is None:
        stages["positions"] = learned_positions
    if o.dropout:
        stages["dropout"] = dropout.bind(rate=o.dropout)
    stages |= dict.fromkeys(_blocks(o), block)
    stages |= {"norm": NORMS[o.norm], "head": unembedding if o.tied else affine}
    whole = chain(**stages)
    return named(tied(whole, head="embedding") if o.tied else whole, net, "gpt")


def goal(**options: Any) -> Op:
    """GPT with its loss, the mean of -log p of the words that follow. The options are those of the net.

    Shapes: params {net: params of the net}, net={"embedding": {"ids": integers (B, T)}}, loss={"labels": integers (B, T)} -> ()
    Math:
        y = softmax_cross_entropy(net(params, ids), labels); the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: as the net. Conventions: labels are the ids moved by one, `ids[:, :-1]` and `ids[:, 1:]`; what is padding gets a
        label that does not count, `loss={"labels": labels, "ignore_index": -1}`.

    >>> import numpy as np, purenet as pn
    >>> model, options = pn.models.gpt, {"vocabulary": 5, "width": 8, "tied": False}
    >>> params = {"net": model.init(pn.random.key(0), **options)}
    >>> params["net"]["head"]["w"][:] = 0
    >>> ids = {"net": {"embedding": {"ids": np.array([[0, 4, 1]])}}, "loss": {"labels": np.array([[4, 1, 1]])}}
    >>> bool(np.isclose(model.goal(**options)(params, **ids), np.log(5)))
    True
    """
    return named(chain(net=net(**options), loss=softmax_cross_entropy), goal, "gpt_goal")


def init(key: Array, *, dtype: Any = np.float64, **options: Any) -> dict[str, Any]:
    """Parameters of the net with these options: weights 0.02 * normal, biases 0, gamma 1.

    The weights of what a block adds, wo and those down, are smaller by the root of 2 layers: so many are added up (Radford et
    al. 2019).

    >>> import purenet as pn
    >>> params = pn.models.gpt.init(pn.random.key(0), vocabulary=5, width=8, heads=2)
    >>> list(params), params["block2"]["attention"]["attention"]["wq"].shape
    (['embedding', 'positions', 'block1', 'block2', 'norm'], (8, 2, 4))
    """
    o = _options("gpt.init", options)
    tree: Any = _shapes(o)
    paths, leaves, structure = optree.tree_flatten_with_path(tree, is_leaf=_is_shape)
    values = []
    for path, shape, own in zip(paths, leaves, random.split(key, len(leaves)), strict=True):
        name = path[-1]
        if name[0] == "w":
            last = name in ("wo", "w_down") or path[-2:] == ("down", "w")
            values.append(initializers.normal(STD / math.sqrt(2 * o.layers) if last else STD)(own, shape, dtype))
        else:
            values.append((np.ones if name == "gamma" else np.zeros)(shape, dtype))
    return dict(optree.tree_unflatten(structure, values))


def shapes(**options: Any) -> dict[str, Any]:
    """The shapes of the parameters of the net with these options.

    >>> import math, optree, purenet as pn
    >>> tree = pn.models.gpt.shapes(**pn.models.gpt.GPT2_SMALL)
    >>> sum(math.prod(shape) for shape in optree.tree_leaves(tree, is_leaf=lambda x: isinstance(x, tuple)))
    124439808
    """
    return _shapes(_options("gpt.shapes", options))


def _shapes(o: Options) -> dict[str, Any]:
    width, heads = o.width, o.heads
    shared, size = o.kv_heads or heads, width // heads
    hidden = o.hidden or (8 * width // 3 if o.activation == "swiglu" else 4 * width)
    norm = {"gamma": (width,)} | ({"beta": (width,)} if o.bias and o.norm == "layer_norm" else {})
    attention: dict[str, tuple[int, ...]] = {
        "wq": (width, heads, size), "wk": (width, shared, size), "wv": (width, shared, size), "wo": (heads, size, width),
    }  # fmt: skip
    if o.bias:
        attention |= {"bq": (heads, size), "bk": (shared, size), "bv": (shared, size), "bo": (width,)}
    maps = {"up": (width, hidden), "down": (hidden, width)}
    if o.activation == "swiglu":
        maps = {"gate": (width, hidden), **maps}
        inner: dict[str, Any] = {f"w_{name}": shape for name, shape in maps.items()}
        inner |= {f"b_{name}": shape[1:] for name, shape in maps.items() if o.bias}
    else:
        inner = {name: {"w": shape} | ({"b": shape[1:]} if o.bias else {}) for name, shape in maps.items()}
    block = {"attention": {"norm": norm, "attention": attention}, "net": {"norm": norm, "net": inner}}
    tree: dict[str, Any] = {"embedding": {"w": (o.vocabulary, width)}}
    if o.positions == "learned":
        tree["positions"] = {"w": (o.context, width)}
    tree |= dict.fromkeys(_blocks(o), block)
    tree["norm"] = norm
    return tree if o.tied else tree | {"head": {"w": (width, o.vocabulary)}}


def _is_shape(node: Any) -> bool:
    return isinstance(node, tuple)


def _blocks(o: Options) -> list[str]:
    return [f"block{i}" for i in range(1, o.layers + 1)]


def _options(name: str, given: dict[str, Any]) -> Options:
    """The options with their defaults, checked."""
    known = [field.name for field in fields(Options)]
    for option in given:
        if option not in known:
            raise TypeError(f"{name}: unknown option {option!r} (options: {', '.join(known)})")
    o = Options(**given)
    for option in ("vocabulary", "context", "width", "layers", "heads", "kv_heads", "hidden"):
        value = getattr(o, option)
        if value is not None or option not in ("kv_heads", "hidden"):
            integer(name, option, value, 1)
    choice(name, "positions", o.positions, ("learned", "rotary"))
    choice(name, "norm", o.norm, tuple(NORMS))
    choice(name, "activation", o.activation, ("gelu", "swiglu"))
    booleans(name, bias=o.bias, tied=o.tied)
    number(name, "dropout", o.dropout, 0, 1)
    if o.width % o.heads:
        raise ValueError(f"{name}: heads must divide width, got {o.heads} heads and width {o.width}")
    if o.heads % (o.kv_heads or o.heads):
        raise ValueError(f"{name}: kv_heads must divide heads, got {o.kv_heads} kv_heads and {o.heads} heads")
    if o.positions == "rotary" and o.width // o.heads % 2:
        raise ValueError(f"{name}: rotary positions need heads of an even size, got {o.width // o.heads}")
    return o
