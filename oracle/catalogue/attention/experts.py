"""A mixture of experts: reference, cases, strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.attention.transformer import gated, swiglu_by_jax
from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.attention import RouterLosses, mixture_of_experts

Arguments = tuple[Any, ...]


def all_experts(
    params: dict[str, Any], x: Any, *, k: int = 2, normalize: bool = True, capacity: int | None = None
) -> tuple[Any, RouterLosses]:
    """Every expert takes every row, and a row has the factor 0 for those that it does not choose."""
    rows = x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
    logits = jnp.dot(rows, params["router"])
    p = jax.nn.softmax(logits)
    _, chosen = jax.lax.top_k(logits, k)
    top = jnp.take_along_axis(p, chosen, axis=1)
    if normalize:
        top = top / top.sum(axis=1, keepdims=True)
    choices = jax.nn.one_hot(chosen, logits.shape[1], dtype=x.dtype)  # (rows, k, experts)
    share = choices.sum(axis=(0, 1)) / max(len(rows) * k, 1)
    kept, before = [], jnp.zeros(logits.shape[1], x.dtype)
    for rank in range(k):  # an expert's places after all earlier choices, then row by row
        place = before + jnp.cumsum(choices[:, rank], axis=0)
        kept.append(choices[:, rank] * (place <= (len(rows) * k if capacity is None else capacity)))
        before = before + choices[:, rank].sum(axis=0)
    factors = jnp.einsum("nke,nk->ne", jnp.stack(kept, axis=1), top)
    results = jax.vmap(swiglu_by_jax, (0, None))(params["experts"], rows)
    y = jnp.einsum("ne,eno->no", factors, results).reshape(*x.shape[:-1], results.shape[2])
    if not len(rows):
        return y, losses(jnp.zeros((), x.dtype), jnp.zeros((), x.dtype))
    balance = logits.shape[1] * jnp.dot(jax.lax.stop_gradient(share), p.mean(axis=0))
    return y, losses(balance, jnp.mean(jax.nn.logsumexp(logits, axis=1) ** 2))


def losses(load_balancing: Any, router_z: Any) -> RouterLosses:
    return RouterLosses(load_balancing, router_z)


def mixture(
    *x: int, experts: int = 3, hidden: int = 3, out: int = 2, biases: tuple[str, ...] = (), decided: float = 1.0
) -> Callable[[Draw], Arguments]:
    """Draws a mixture and rows, of which each is far from where it would choose other experts."""

    def arguments(draw: Draw) -> Arguments:
        router = draw.normal(x[-1], experts, scale=decided)
        drawn = [gated(draw, x[-1], hidden, out, biases) for _ in range(experts)]
        stacked = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
        rows = draw.normal(*x)
        for _ in range(100):
            logits = np.sort(rows @ router, axis=-1)
            near = np.diff(logits, axis=-1).min(axis=-1, initial=1.0, keepdims=True) < 0.1
            rows = np.where(near, draw.normal(*x), rows)
        return {"router": router, "experts": stacked}, rows

    return arguments


def mixtures(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    experts = draw.between(1, 4)
    biases = tuple(name for name in ("gate", "up", "down") if draw.choice([True, False]))
    options: dict[str, Any] = {"k": draw.between(1, experts)}
    if draw.choice([False, True]):
        options["normalize"] = False
    if draw.choice([False, True]):
        options["capacity"] = draw.between(1, 3)
    sizes = {"hidden": draw.between(1, 3), "out": draw.between(1, 3)}
    shape = (*draw.shape(1, 2), draw.between(2, 3))
    return mixture(*shape, experts=experts, biases=biases, **sizes)(draw), options


def changed(*path: str, to: Callable[[Any], Any]) -> Callable[[Draw], Arguments]:
    """The arguments of a mixture with another value at this place of its parameters."""

    def arguments(draw: Draw) -> Arguments:
        params, x = mixture(4, 2)(draw)
        inner = params
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = to(inner[path[-1]])
        return params, x

    return arguments


def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, mixture(4, 2), by, f"mixture_of_experts: {match}", options)


def wrong(what: str, match: str, *path: str, to: Callable[[Any], Any], by: type[Exception] = ValueError) -> Error:
    return Error(what, changed(*path, to=to), by, f"mixture_of_experts: {match}")


SPECS = (
    Spec(
        mixture_of_experts,
        tier=3,
        reference=all_experts,
        source=composed("jax.lax.top_k, and every expert on every row by jax.vmap"),
        cases=(
            Case("two of three", mixture(5, 2)),
            Case("two leading dimensions, biases", mixture(2, 3, 2, biases=("gate", "up", "down")), {"k": 2}),
            Case("as in Switch transformers", mixture(5, 3, experts=4), {"k": 1, "normalize": False}),
            Case("two, not normalized", mixture(4, 2, biases=("up",)), {"normalize": False}),
            Case("all experts", mixture(3, 2, experts=2), {"k": 2}),
            Case("a capacity", mixture(6, 2), {"capacity": 3}),
            Case("a capacity, one choice", mixture(6, 2, experts=2), {"k": 1, "capacity": 2, "normalize": False}),
            Case("a decided router", mixture(4, 2, decided=80.0), {}, frozenset({Flag.SATURATED})),
            Case("one row", mixture(1, 2), {}, frozenset({Flag.BATCH_OF_ONE})),
            Case("no rows", mixture(0, 2), {}, frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=mixtures,
        errors=(
            bad("no expert", "k must be in 1..3, the number of experts, got 0", k=0),
            bad("too many experts", "k must be in 1..3, the number of experts, got 4", k=4),
            bad("half", "k must be an integer, got 0.5", TypeError, k=0.5),
            bad("no capacity", "capacity must be at least 1, got 0", capacity=0),
            bad("normalize by name", "normalize must be True or False, got 'sum'", TypeError, normalize="sum"),
            wrong("a router of other rows", "params.router must have shape (D, E) to match x", "router", to=lambda w: w[:1]),
            wrong("no router", "params.router must be an array, got dict", "router", to=lambda w: {"w": w}, by=TypeError),
            wrong(
                "one expert less",
                "params.experts.w_up must have shape (3, 2, 3), got (2, 2, 3)",
                "experts",
                "w_up",
                to=lambda w: w[:2],
            ),
            wrong(
                "one net", "params.experts.w_down must have shape (E, F, O), got (3, 2)", "experts", "w_down", to=lambda w: w[0]
            ),
            wrong(
                "experts as an array",
                "experts: params must be a dict with w_gate",
                "experts",
                to=lambda w: w["w_up"],
                by=TypeError,
            ),
            Error(
                "no experts",
                lambda draw: ({"router": draw.normal(2, 3)}, draw.normal(4, 2)),
                ValueError,
                "mixture_of_experts: params must hold router and experts, got router",
            ),
        ),
    ),
)
