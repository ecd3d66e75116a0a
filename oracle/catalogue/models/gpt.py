"""GPT with its loss, as GPT-2 and as Llama build it, and GPT-2 small at its size: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optree

from oracle.catalogue.attention.positions import rotary_by_complex
from oracle.catalogue.attention.transformer import swiglu_by_jax
from oracle.catalogue.models.parts import cross_entropy
from oracle.catalogue.normalization.features import over_features
from oracle.catalogue.stochastic import dropout_by_equinox
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.combinators import named
from purenet.models import gpt

Arguments = tuple[Any, ...]
Params = dict[str, Any]

RATE = 0.25
LIKE_GPT2: dict[str, Any] = {
    "vocabulary": 4, "context": 4, "width": 4, "heads": 2, "layers": 1, "hidden": 3, "dropout": RATE,
}  # fmt: skip
LIKE_LLAMA: dict[str, Any] = {
    "vocabulary": 4, "width": 4, "heads": 2, "kv_heads": 1, "layers": 1, "hidden": 2, "positions": "rotary",
    "norm": "rms_norm", "activation": "swiglu", "bias": False, "tied": False,
}  # fmt: skip

layer_norm = over_features(equinox.nn.LayerNorm)
rms_norm = over_features(equinox.nn.RMSNorm)


def normalized(params: Params, x: Any) -> Any:
    return layer_norm(params, x) if "beta" in params else rms_norm(params, x)


def attention(params: Params, x: Any, *, rotary: bool, key: Any = None) -> Any:
    """All heads at once, each with keys and values of its own."""
    q, k, v = (jnp.einsum("btd,dnh->btnh", x, params[f"w{n}"]) + params.get(f"b{n}", 0) for n in "qkv")
    if rotary:
        q, k = rotary_by_complex(q), rotary_by_complex(k)
    k, v = (jnp.repeat(heads, q.shape[2] // heads.shape[2], axis=2) for heads in (k, v))
    logits = jnp.einsum("btnh,bsnh->bnts", q, k) / q.shape[-1] ** 0.5
    time = x.shape[1]
    weights = jax.nn.softmax(logits, where=jnp.tri(time, dtype=bool), axis=-1)
    if key is not None:
        weights = dropout_by_equinox(weights, rate=RATE, key=key)
    return jnp.einsum("bnts,bsnh,nho->bto", weights, v, params["wo"], optimize="optimal") + params.get("bo", 0)


def fed_forward(params: Params, x: Any) -> Any:
    if "w_gate" in params:
        return swiglu_by_jax(params, x)
    hidden = jax.nn.gelu(jnp.dot(x, params["up"]["w"]) + params["up"].get("b", 0))
    return jnp.dot(hidden, params["down"]["w"]) + params["down"].get("b", 0)


def block(params: Params, x: Any, *, rotary: bool, keys: Params | None = None) -> Any:
    one, two, dropped = params["attention"], params["net"], keys or {"attention": {}, "net": {}}
    key = dropped["attention"].get("attention", {}).get("key")
    attended = attention(one["attention"], normalized(one["norm"], x), rotary=rotary, key=key)
    x += dropout_by_equinox(attended, rate=RATE, **dropped["attention"].get("dropout", {}))
    inner = fed_forward(two["net"], normalized(two["norm"], x))
    return x + dropout_by_equinox(inner, rate=RATE, **dropped["net"].get("dropout", {}))


def all_blocks(own: Params, x: Any, keys: Params) -> Any:
    """One block after the other; without keys in a scan, which compiles one block instead of twelve."""
    names = [f"block{i + 1}" for i in range(sum(name.startswith("block") for name in own))]  # JAX sorts block10 before block2
    rotary = "positions" not in own
    if any(name in keys for name in names):
        for name in names:
            x = block(own[name], x, rotary=rotary, keys=keys.get(name))
        return x
    stacked = jax.tree.map(lambda *layers: jnp.stack(layers), *(own[name] for name in names))
    return jax.lax.scan(lambda x, params: (block(params, x, rotary=rotary), None), x, stacked)[0]


def goal_by_jax(params: Params, *, net: Params, loss: Params) -> Any:
    own = params["net"]
    table = own["embedding"]["w"]
    x = jnp.take(table, net["embedding"]["ids"], axis=0)
    if "positions" in own:
        x += own["positions"]["w"][: x.shape[1]]
    x = dropout_by_equinox(x, rate=RATE, **net.get("dropout", {}))
    x = all_blocks(own, x, net)
    x = normalized(own["norm"], x)
    logits = jnp.dot(x, own["head"]["w"]) if "head" in own else jnp.einsum("btd,vd->btv", x, table)
    return cross_entropy(logits, loss["labels"])


def parameters(draw: Draw, options: Params, *, bias_of_keys: bool = False) -> Arguments:
    """Weights that keep the scale of what passes through, and biases that are not zero.

    A bias of the keys has no effect where nothing is rotated: the softmax does not see what is added to all logits.
    """

    def drawn(path: Any, shape: tuple[int, ...]) -> Any:
        name = path[-1]
        if name == "gamma":
            return draw.uniform(*shape, low=0.5, high=1.5)
        if name[0] == "b":
            return draw.normal(*shape, scale=0.3)
        if path[0] in ("embedding", "positions"):  # so that their products, the logits, are near 1
            return draw.normal(*shape, scale=shape[1] ** -0.5)
        return draw.normal(*shape, scale=float(np.prod(shape[:2]) if name == "wo" else shape[0]) ** -0.5)

    tree: Any = gpt.shapes(**options)
    params: Any = optree.tree_map_with_path(drawn, tree, is_leaf=lambda node: isinstance(node, tuple))
    if not bias_of_keys:
        for name in (name for name in params if name.startswith("block")):
            params[name]["attention"]["attention"].pop("bk", None)
    return ({"net": params},)


def words(ids: Any, labels: Any, **keys: Any) -> dict[str, Any]:
    return {"net": {"embedding": {"ids": np.array(ids)}, **keys}, "loss": {"labels": np.array(labels)}}


def dropped(draw: Draw) -> dict[str, Any]:
    """Keys of every dropout of a net of one block."""
    inner = {"attention": {"key": draw.key()}, "dropout": {"key": draw.key()}}
    keys = {"dropout": {"key": draw.key()}, "block1": {"attention": inner, "net": {"dropout": {"key": draw.key()}}}}
    return words([[0, 3, 1], [2, 2, 0]], [[3, 1, 1], [2, 0, 3]], **keys)


def nets(options: Params) -> Callable[[Draw], Arguments]:
    return lambda draw: parameters(draw, options)


def cases(options: Params) -> tuple[Case, ...]:
    return (
        Case("two sequences", nets(options), words([[0, 3, 1], [2, 2, 0]], [[3, 1, 1], [2, 0, 3]])),
        Case("dropout in four places", nets(options), dropped),
    )


def sequences(options: Params) -> Any:
    def strategy(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
        own = {**options, "vocabulary": draw.between(3, 5), "hidden": draw.between(2, 4)}
        ids = draw.labels(own["vocabulary"], draw.between(1, 2), draw.between(3, 4))
        return parameters(draw, own), words(ids[:, :-1], ids[:, 1:])

    return strategy


def another(options: Params, **changes: Any) -> Callable[[Draw], Arguments]:
    return nets({**options, **changes})


GOOD = words([[0, 1]], [[1, 2]])
ERRORS = (
    Error("an unknown word", nets(LIKE_GPT2), ValueError, "embedding: ids must be in 0..3, got 5", words([[5]], [[0]])),
    Error(
        "a longer text than there are positions",
        nets(LIKE_GPT2),
        ValueError,
        "learned_positions: x must have shape (..., T, 4) with T at most 4 to match params.w (4, 4), got (1, 5, 4)",
        words([[0] * 5], [[1] * 5]),
    ),
    Error("a label that is no word", nets(LIKE_GPT2), ValueError, "labels must be in 0..3, got 5", words([[0]], [[5]])),
    Error("params of more layers", another(LIKE_GPT2, layers=2), ValueError, "gpt: params must hold the stages", GOOD),
    Error(
        "params of an untied net",
        another(LIKE_GPT2, tied=False),
        ValueError,
        "positions, block1, norm, got embedding, positions, block1, norm, head",
        GOOD,
    ),
    Error("no text", nets(LIKE_GPT2), TypeError, "embedding: missing the keyword argument 'ids'", {"loss": GOOD["loss"]}),
)

LLAMA_ERRORS = (
    Error("an unknown word", nets(LIKE_LLAMA), ValueError, "embedding: ids must be in 0..3, got 5", words([[5]], [[0]])),
    Error("learned positions", another(LIKE_LLAMA, positions="learned"), ValueError, "block1, norm, head, got emb", GOOD),
)


def spec(name: str, options: Params, own: tuple[Case, ...], errors: tuple[Error, ...]) -> Spec:
    return Spec(
        named(gpt.goal(**options), gpt.goal, name),
        tier=2,
        reference=goal_by_jax,
        source=library("equinox.nn.LayerNorm or RMSNorm, jax.nn.softmax, jax.nn.gelu or silu, optax's cross entropy"),
        cases=own,
        strategy=sequences(options),
        errors=errors,
    )


def gpt2(draw: Draw) -> Arguments:
    """All parameters of GPT-2 small, a bias of the keys too, whose gradient is 0 but for rounding."""
    return parameters(draw, gpt.GPT2_SMALL, bias_of_keys=True)


def gpt2_words(draw: Draw) -> dict[str, Any]:
    ids = draw.labels(gpt.GPT2_SMALL["vocabulary"], 1, 65)
    return words(ids[:, :-1], ids[:, 1:])


SPECS = (
    spec("gpt_goal", LIKE_GPT2, cases(LIKE_GPT2), ERRORS),
    spec("gpt_llama_goal", LIKE_LLAMA, cases(LIKE_LLAMA)[:1], LLAMA_ERRORS),
    Spec(
        named(gpt.goal(**gpt.GPT2_SMALL), gpt.goal, "gpt2"),
        tier=2,
        reference=goal_by_jax,
        source=library("equinox.nn.LayerNorm, jax.nn.softmax, jax.nn.gelu, optax's cross entropy"),
        cases=(Case("one sequence of 64 words", gpt2, gpt2_words, frozenset({Flag.BATCH_OF_ONE, Flag.ZERO_GRADIENT})),),
        on_request=True,
    ),
)
