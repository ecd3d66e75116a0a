"""Blocks of a transformer, each as a whole: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox
import jax
import jax.numpy as jnp

from oracle.catalogue.attention.multi_head import multi_head_by_equinox, parameters
from oracle.catalogue.normalization.features import over_features
from oracle.catalogue.stochastic import dropout_by_equinox
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.attention import feed_forward, multi_head_attention, post_norm_block, pre_norm_block, swiglu_block
from purenet.normalization import layer_norm, rms_norm

Arguments = tuple[Any, ...]
Params = dict[str, Any]

FEED_FORWARD = feed_forward()
EPS = 0.5  # keeps rows of two or three features away from where all are equal, and a norm bends sharply
LLAMA = pre_norm_block(
    norm=rms_norm.bind(eps=EPS), attention=multi_head_attention.bind(is_causal=True, rotary={}), net=swiglu_block, rate=0.25
)
BERT = post_norm_block(norm=layer_norm.bind(eps=EPS))

layer_norm_by_equinox = over_features(equinox.nn.LayerNorm)
rms_norm_by_equinox = over_features(equinox.nn.RMSNorm)


def swiglu_by_jax(params: Params, x: Any) -> Any:
    gate, up = (jnp.dot(x, params[f"w_{name}"]) + params.get(f"b_{name}", 0) for name in ("gate", "up"))
    return jnp.dot(jax.nn.silu(gate) * up, params["w_down"]) + params.get("b_down", 0)


def feed_forward_by_mlp(params: Params, x: Any) -> Any:
    (inner, hidden), out = params["up"]["w"].shape, params["down"]["w"].shape[1]
    skeleton = equinox.nn.MLP(inner, out, hidden, 1, jax.nn.gelu, dtype=x.dtype, key=jax.random.key(0))
    zeros = {"up": jnp.zeros(hidden, x.dtype), "down": jnp.zeros(out, x.dtype)}
    new = [leaf for name, none in zeros.items() for leaf in (params[name]["w"], params[name].get("b", none))]
    mlp = equinox.tree_at(
        lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)], skeleton, [leaf.T for leaf in new]
    )
    return jax.vmap(mlp)(x.reshape(-1, inner)).reshape(*x.shape[:-1], out)


def llama_by_equinox(params: Params, x: Any, *, attention: Params | None = None, net: Params | None = None) -> Any:
    one, two = params["attention"], params["net"]
    options = {"is_causal": True, "rotary": {}, **(attention or {}).get("attention", {})}
    attended = multi_head_by_equinox(one["attention"], rms_norm_by_equinox(one["norm"], x, eps=EPS), **options)
    x += dropout_by_equinox(attended, rate=0.25, **(attention or {}).get("dropout", {}))
    gated = swiglu_by_jax(two["net"], rms_norm_by_equinox(two["norm"], x, eps=EPS))
    return x + dropout_by_equinox(gated, rate=0.25, **(net or {}).get("dropout", {}))


def bert_by_equinox(params: Params, x: Any, *, attention: Params | None = None) -> Any:
    attended = multi_head_by_equinox(params["attention"], x, **(attention or {}))
    x = layer_norm_by_equinox(params["norm1"], x + attended, eps=EPS)
    return layer_norm_by_equinox(params["norm2"], x + feed_forward_by_mlp(params["net"], x), eps=EPS)


def affine_params(draw: Draw, inner: int, outer: int, bias: bool = True) -> Params:
    params = {"w": draw.normal(inner, outer, scale=inner**-0.5)}
    return params | {"b": draw.normal(outer, scale=0.3)} if bias else params


def norm_params(draw: Draw, width: int, *names: str) -> Params:
    return {name: draw.uniform(width, low=0.5, high=1.5) for name in names}


def gated(draw: Draw, inner: int, hidden: int, out: int, biases: Any = ("gate", "up", "down")) -> Params:
    shapes = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, out)}
    params = {f"w_{name}": draw.normal(*shape, scale=shape[0] ** -0.5) for name, shape in shapes.items()}
    return params | {f"b_{name}": draw.normal(shapes[name][1], scale=0.3) for name in biases}


def swiglus(*x: int, biases: Any = ("gate", "up", "down")) -> Callable[[Draw], Arguments]:
    return lambda draw: (gated(draw, x[-1], 3, 2, biases), draw.normal(*x))


def random_swiglu(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    inner = draw.between(1, 3)
    biases = [name for name in ("gate", "up", "down") if draw.choice([True, False])]
    return (gated(draw, inner, draw.between(1, 4), draw.between(1, 3), biases), draw.normal(*draw.shape(), inner)), {}


def nets(*x: int, bias: bool = True) -> Callable[[Draw], Arguments]:
    return lambda draw: (
        {"up": affine_params(draw, x[-1], 3, bias), "down": affine_params(draw, 3, 2, bias)},
        draw.normal(*x),
    )


def random_net(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    return nets(*draw.shape(), draw.between(1, 3), bias=draw.choice([True, False]))(draw), {}


def heads(draw: Draw, width: int, biases: str) -> Params:
    return parameters(draw, inner=width, other=width, heads=2, shared=1, width=2, wide=width // 2, out=width, biases=biases)


def llamas(*x: int) -> Callable[[Draw], Arguments]:
    """A block whose two heads share keys and values, without biases."""

    def make(draw: Draw) -> Arguments:
        width = x[-1]
        attention = {"norm": norm_params(draw, width, "gamma"), "attention": heads(draw, width, "")}
        net = {"norm": norm_params(draw, width, "gamma"), "net": gated(draw, width, 2, width, ())}
        return {"attention": attention, "net": net}, draw.normal(*x)

    return make


def dropped(draw: Draw) -> dict[str, Any]:
    """Keys of the dropout of weights, and of what is added to x."""
    return {
        "attention": {"attention": {"rate": 0.25, "key": draw.key()}, "dropout": {"key": draw.key()}},
        "net": {"dropout": {"key": draw.key()}},
    }


def berts(*x: int, hidden: int = 2) -> Callable[[Draw], Arguments]:
    def make(draw: Draw) -> Arguments:
        width = x[-1]
        norm1, norm2 = (norm_params(draw, width, "gamma", "beta") for _ in range(2))
        net = {"up": affine_params(draw, width, hidden), "down": affine_params(draw, hidden, width)}
        return {"attention": heads(draw, width, "qvo"), "norm1": norm1, "net": net, "norm2": norm2}, draw.normal(*x)

    return make


def random_llama(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    return llamas(*draw.choice([(1,), (2,), ()]), draw.between(2, 3), draw.choice([3, 2]))(draw), {}


def random_bert(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    """Of width 4: the two constraints of a norm leave most gradients before it next to nothing of a width of 3."""
    return berts(*draw.choice([(1,), (2,), ()]), draw.between(2, 3), 4, hidden=4)(draw), {}


def without(name: str, make: Callable[[Draw], Arguments]) -> Callable[[Draw], Arguments]:
    def partly(draw: Draw) -> Arguments:
        params, x = make(draw)
        return {n: p for n, p in params.items() if n != name}, x

    return partly


def widened(make: Callable[[Draw], Arguments]) -> Callable[[Draw], Arguments]:
    return lambda draw: (make(draw)[0], draw.normal(2, 2, 7))


def block_errors(name: str, stages: str, make: Callable[[Draw], Arguments]) -> tuple[Error, ...]:
    return (
        Error("no net", without("net", make), ValueError, f"{name}: params must hold the stages {stages}, got attention"),
        Error("params in a list", lambda draw: ([], make(draw)[1]), TypeError, f"{name}: params must be a dict by stage name"),
        Error("x of another width", widened(make), ValueError, "must have shape ("),
        Error("keyword of no stage", make, TypeError, f"{name}: no stage is named 'mask'", {"mask": None}),
    )


ONE, NONE = frozenset({Flag.BATCH_OF_ONE}), frozenset({Flag.EMPTY_BATCH})

SPECS = (
    Spec(
        swiglu_block,
        tier=2,
        reference=swiglu_by_jax,
        source=library("jax.nn.silu, jax.numpy.dot"),
        cases=(
            Case("two sequences", swiglus(2, 2, 3)),
            Case("no biases", swiglus(3, 2, biases=())),
            Case("one row", swiglus(1, 2, biases=("gate",)), flags=ONE),
            Case("no rows", swiglus(0, 2), flags=NONE),
        ),
        strategy=random_swiglu,
        errors=(
            Error("no gate", without("w_gate", swiglus(2, 3)), ValueError, "swiglu_block: params must hold w_gate"),
            Error("a list", lambda draw: ([], draw.normal(2)), TypeError, "swiglu_block: params must be a dict with w_gate"),
            Error("x of another width", widened(swiglus(2, 3)), ValueError, "params.w_gate must have shape (7, F)"),
            Error(
                "up to another width",
                lambda draw: (swiglus(2, 3)(draw)[0] | {"w_up": draw.normal(3, 4)}, draw.normal(2, 3)),
                ValueError,
                "swiglu_block: params.w_up must have shape (3, 3), got (3, 4)",
            ),
            Error(
                "down from another width",
                lambda draw: (swiglus(2, 3)(draw)[0] | {"w_down": draw.normal(4, 2)}, draw.normal(2, 3)),
                ValueError,
                "swiglu_block: params.w_down must have shape (3, O) to match params.w_gate (3, 3), got (4, 2)",
            ),
        ),
    ),
    Spec(
        FEED_FORWARD,
        tier=2,
        reference=feed_forward_by_mlp,
        source=library("equinox.nn.MLP"),
        cases=(
            Case("two sequences", nets(2, 2, 3)),
            Case("no biases", nets(3, 2, bias=False)),
            Case("one row", nets(1, 2), flags=ONE),
            Case("no rows", nets(0, 2), flags=NONE),
        ),
        strategy=random_net,
        errors=(
            Error("no way back", without("down", nets(2, 3)), ValueError, "feed_forward: params must hold"),
            Error("params in a list", lambda draw: ([], draw.normal(2)), TypeError, "feed_forward: params must be a dict"),
        ),
    ),
    Spec(
        LLAMA,
        tier=2,
        reference=llama_by_equinox,
        source=library("equinox.nn.RMSNorm, equinox.nn.MultiheadAttention, jax.nn.silu"),
        cases=(
            Case("two sequences", llamas(2, 2, 2)),
            Case("no batch", llamas(3, 2)),
            Case("dropout in three places", llamas(2, 3, 2), dropped),
            Case("one sequence", llamas(1, 2, 2), flags=ONE),
            Case("no sequences", llamas(0, 2, 2), flags=NONE),
        ),
        strategy=random_llama,
        errors=block_errors("pre_norm_block", "attention, net", llamas(2, 2, 2)),
    ),
    Spec(
        BERT,
        tier=2,
        reference=bert_by_equinox,
        source=library("equinox.nn.LayerNorm, equinox.nn.MultiheadAttention, equinox.nn.MLP"),
        cases=(
            Case("two sequences", berts(2, 2, 3)),
            Case("no batch", berts(3, 3)),
            Case("batch of one", berts(1, 3, 3), flags=ONE),
            Case("no sequences", berts(0, 2, 3), flags=NONE),
        ),
        strategy=random_bert,
        errors=block_errors("post_norm_block", "attention, norm1, net, norm2", berts(2, 2, 3)),
    ),
)
