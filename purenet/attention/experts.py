"""A mixture of experts: nets of which each row passes through the few that a router chooses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import optree

from purenet.activations.normalized import logsumexp, softmax, softmax_bwd
from purenet.attention.transformer import swiglu_block, swiglu_block_bwd
from purenet.checks import boolean, fields, integer
from purenet.op import Array, Op
from purenet.shaping.ordering import largest

__all__ = ["RouterLosses", "mixture_of_experts"]


class RouterLosses(NamedTuple):
    """To be added to the loss, each times a small factor, so that all experts are used and the logits stay small."""

    load_balancing: Array
    router_z: Array


class Routing(NamedTuple):
    """Which experts each of N rows is sent to, and what the pullback needs of that."""

    chosen: Array
    """The experts of each row, the likeliest first, (N, k)."""
    gates: Array
    """By what their results are multiplied, (N, k)."""
    total: Array | None
    """The sum of probabilities by which the gates were divided, (N, 1); None if they were not."""
    passed: Array
    """Which choices are within the capacity of their expert, (N, k)."""
    share: Array
    """The share of all choices that each expert has, (E,)."""
    softmax: Any
    """The residuals of softmax, of which the first is the probabilities, (N, E)."""
    log_sums: Array
    """The logarithm of the sum of exp(logits), (N, 1)."""


class Mixed(NamedTuple):
    """Residuals of mixture_of_experts."""

    rows: Array
    router: Array
    routing: Routing
    experts: list[tuple[Array, Array, Array, Any]]
    """Of each expert the numbers of its rows, which choice of theirs it is, its results, and the residuals of its net."""


@Op
def mixture_of_experts(
    params: dict[str, Any], x: Array, *, k: int = 2, normalize: bool = True, capacity: int | None = None
) -> tuple[tuple[Array, RouterLosses], Mixed]:
    """Nets of which each row passes through the k that a router finds likeliest, and the losses that keep the router even.

    The experts are nets as swiglu_block, whose parameters have one more axis in front, for the E experts. `normalize` divides
    the probabilities of the chosen experts by their sum. An expert takes at most `capacity` rows: first choices come before
    second ones, early rows before late ones, and a choice beyond adds nothing to y.

    Shapes: router (D, E), experts {w_gate (E, D, F), w_up (E, D, F), w_down (E, F, O), and biases b_gate (E, F), b_up (E, F),
        b_down (E, O), each of which may be absent}, x (..., D) -> y (..., O), load_balancing (), router_z ()
    Math, of N rows, with r = x router, l = log(sum exp(r)), p = softmax(r), its k largest top_j, those of the experts e_j:
        y  = sum_j q_j f_(e_j)(x),  q_j = top_j / sum top, or top_j unless `normalize`
        load_balancing = E sum_e s_e mean(p_e), with the share s_e of all N k choices that is for expert e
        router_z       = mean(l^2)
        dq_j   = dy f_(e_j)(x),  dtop_j = (dq_j - sum_i q_i dq_i) / sum top, or dq_j;  to the experts goes q_j dy
        dp_e   = E s_e dload_balancing / N, and + dtop_j where e = e_j
        dr     = p (dp - sum p dp) + 2 l p drouter_z / N
        dx     = dr router^T + what the experts give,  drouter = x^T dr
    Errors: ValueError where the shapes do not match, for k outside 1..E, or a capacity below 1; TypeError unless params and its
        experts are dicts, k and capacity integers, `normalize` True or False.
    Source: Shazeer et al. (2017); Fedus, Zoph, Shazeer, Switch transformers (2022); Zoph et al., ST-MoE (2022). Conventions:
        the defaults are Mixtral's. Switch transformers have k=1 without `normalize`: with it the only q is 1, and y teaches the
        router nothing. The shares s_e are constants, from all choices, also those beyond the capacity; even ones make
        load_balancing 1. Of equal logits the first expert is chosen. Both losses of no rows are 0.

    >>> import numpy as np, purenet as pn
    >>> w = np.ones((2, 1, 1))
    >>> experts = {"w_gate": w, "w_up": w, "w_down": w * [[[1.0]], [[10.0]]]}
    >>> x = np.array([[2.0], [3.0], [-3.0]])  # the first two to the first expert, the last to the second
    >>> y, losses = pn.mixture_of_experts({"router": np.array([[9.0, -9.0]]), "experts": experts}, x, k=1)
    >>> (y / pn.swiglu_block({"w_gate": w[0], "w_up": w[0], "w_down": w[0]}, x)).ravel(), losses.load_balancing.round(6)
    (array([ 1.,  1., 10.]), np.float64(1.111111))
    """
    router, experts = _parameters("mixture_of_experts", params, x)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    routing, losses = _route("mixture_of_experts", rows @ router, k, normalize, capacity)
    y = np.zeros((len(rows), experts["w_down"].shape[2]), x.dtype)
    taken = []
    for e in range(router.shape[1]):
        at, choice = np.nonzero((routing.chosen == e) & routing.passed)
        result, saved = swiglu_block.forward({name: w[e] for name, w in experts.items()}, rows[at])
        y[at] += routing.gates[at, choice, None] * result
        taken.append((at, choice, result, saved))
    return (y.reshape(*x.shape[:-1], y.shape[1]), losses), Mixed(rows, router, routing, taken)


@mixture_of_experts.pullback
def mixture_of_experts_bwd(saved: Mixed, dresult: Any) -> tuple[dict[str, Any], Array]:
    rows, router, routing, taken = saved
    dvalue, dlosses = dresult
    dy = dvalue.reshape(len(rows), dvalue.shape[-1])
    dx, dgates = np.zeros_like(rows), np.zeros_like(routing.gates)
    dexperts: list[Any] = []
    for at, choice, result, inner in taken:
        dgates[at, choice] = (dy[at] * result).sum(axis=1)
        dexpert, drows = swiglu_block_bwd(inner, routing.gates[at, choice, None] * dy[at])
        dexperts.append(dexpert)
        dx[at] += drows
    dlogits = _route_bwd(routing, dgates, dlosses)
    dx += dlogits @ router.T
    stacked = optree.tree_map(lambda *of_each: np.stack(of_each), *dexperts)
    return {"router": rows.T @ dlogits, "experts": stacked}, dx.reshape(*dvalue.shape[:-1], len(router))


def _route(op: str, logits: Array, k: Any, normalize: Any, capacity: Any) -> tuple[Routing, RouterLosses]:
    """The experts of each row and their gates, and the losses of the router."""
    rows, count = logits.shape
    if not 1 <= integer(op, "k", k) <= count:
        raise ValueError(f"{op}: k must be in 1..{count}, the number of experts, got {k}")
    p, saved = softmax.forward(logits)
    chosen = largest(logits, k, 1)  # probabilities that vanish would be tied
    top = np.take_along_axis(p, chosen, 1)
    total = top.sum(axis=1, keepdims=True) if boolean(op, "normalize", normalize) else None
    gates = top if total is None else top / total
    share = np.bincount(chosen.ravel(), minlength=count).astype(p.dtype) / max(chosen.size, 1)
    log_sums, _ = logsumexp.forward(logits, axis=1, keepdims=True)
    losses = RouterLosses(
        np.asarray(count * (p @ share).sum() / max(rows, 1)), np.asarray(np.square(log_sums).sum() / max(rows, 1))
    )
    passed = _within(op, chosen, count, capacity)
    return Routing(chosen, gates, total, passed, share, saved, log_sums), losses


def _route_bwd(routing: Routing, dgates: Array, dlosses: RouterLosses) -> Array:
    """The cotangent of the logits."""
    chosen, gates, total, _, share, saved, log_sums = routing
    rows = max(len(chosen), 1)
    dtop = dgates if total is None else (dgates - (gates * dgates).sum(axis=1, keepdims=True)) / total
    dp = np.tile(dlosses.load_balancing * len(share) / rows * share, (len(chosen), 1))
    dp[np.arange(len(chosen))[:, None], chosen] += dtop
    (dlogits,) = softmax_bwd(saved, dp)
    return np.asarray(dlogits + 2 * dlosses.router_z / rows * log_sums * saved[0])


def _within(op: str, chosen: Array, count: int, capacity: Any) -> Array:
    """Which choices are among the first `capacity` of their expert: all first choices come before all second ones."""
    if capacity is None:
        return np.ones(chosen.shape, np.bool_)
    in_order = chosen.T.ravel()
    number = np.cumsum(in_order[:, None] == np.arange(count), axis=0)[np.arange(in_order.size), in_order]
    return np.asarray((number <= integer(op, "capacity", capacity, 1)).reshape(chosen.shape[::-1]).T)


def _parameters(op: str, params: Any, x: Array) -> tuple[Array, dict[str, Array]]:
    """The weights of the router, and those of the experts by name."""
    if not isinstance(params, Mapping):
        raise TypeError(f"{op}: params must be a dict with router and experts, got {type(params).__name__}")
    if set(params) != {"router", "experts"}:
        raise ValueError(f"{op}: params must hold router and experts, got {', '.join(map(str, params)) or 'nothing'}")
    router = params["router"]
    if not hasattr(router, "ndim"):
        raise TypeError(f"{op}: params.router must be an array, got {type(router).__name__}")
    if router.ndim != 2 or not router.shape[1] or x.ndim < 1 or x.shape[-1] != len(router):
        raise ValueError(f"{op}: params.router must have shape (D, E) to match x (..., D), got {router.shape} and {x.shape}")
    inner, count = router.shape
    names = ("w_gate", "w_up", "w_down", "b_gate", "b_up", "b_down")
    values = fields(f"{op}: experts", params["experts"], *names[:3], optional=names[3:])
    if values[2].ndim != 3:
        raise ValueError(f"{op}: params.experts.w_down must have shape (E, F, O), got {values[2].shape}")
    hidden, out = values[2].shape[1:]
    shapes = ((inner, hidden), (inner, hidden), (hidden, out), (hidden,), (hidden,), (out,))
    for name, value, shape in zip(names, values, shapes, strict=True):
        if value is not None and value.shape != (count, *shape):
            raise ValueError(f"{op}: params.experts.{name} must have shape {(count, *shape)}, got {value.shape}")
    return router, {name: value for name, value in zip(names, values, strict=True) if value is not None}
