"""Draws with a gradient in their parameters: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.stochastic import KEY, NONE, ONE, keyed, normals, standard_normal
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, composed
from purenet.draws import gumbel_softmax, reparametrize


def draw_by_square_root(mean: Any, log_var: Any, *, key: Any = None, noise: Any = None) -> Any:
    mean, log_var = jnp.broadcast_arrays(mean, log_var)
    return jax.lax.add(mean, standard_normal(key, noise, mean) * jnp.sqrt(jnp.exp(log_var)))


def choice_by_jax(
    logits: Any, *, tau: float = 1.0, hard: bool = False, axis: int = -1, key: Any = None, noise: Any = None
) -> Any:
    if key is None:
        g = jnp.zeros_like(logits) if noise is None else jnp.asarray(noise, logits.dtype)
    else:
        g = jax.random.gumbel(jax.random.wrap_key_data(jnp.asarray(key)), logits.shape, jnp.float64).astype(logits.dtype)
    soft = jax.nn.softmax((logits + g) / tau, axis=axis)
    if not hard or not logits.size:
        return soft
    chosen = jax.nn.one_hot(jnp.argmax(soft, axis=axis), logits.shape[axis], dtype=soft.dtype, axis=axis)
    return soft + jax.lax.stop_gradient(chosen - soft)


def codes(*shape: int) -> Any:
    """Draws means, and logarithms of variances."""
    return lambda draw: (draw.normal(*shape), draw.normal(*shape))


def given(*shape: int, **options: Any) -> Any:
    """Draws noise of this shape, to go with the other options."""
    return lambda draw: {"noise": draw.normal(*shape), **options}


def chance(draw: Draw, *shape: int) -> dict[str, Any]:
    return draw.choice([{"key": draw.key()}, {"noise": draw.normal(*draw.choice([shape, shape[-1:]]))}])


def drawn_codes(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape()
    mean, log_var = codes(*shape)(draw)
    return draw.choice([(mean, log_var), (mean, log_var[:1] if shape else log_var)]), chance(draw, *shape)


def drawn_choices(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = tuple(draw.between(2, 4) for _ in range(draw.between(1, 3)))
    options = {"tau": draw.choice([1.0, 0.5, 2.0]), "axis": draw.choice([-1, 0])}
    return normals(*shape)(draw), {**options, **chance(draw, *shape)}


def bad_noise(op: str, arguments: Any) -> tuple[Error, ...]:
    def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
        return Error(what, arguments, by, f"{op}: {match}", options)

    return (
        bad("a key and noise", "takes a key or noise, not both", key=KEY, noise=0.0),
        bad("a seed for a key", "key must be a NumPy array of dtype uint32", TypeError, key=0),
        bad("other noise", "noise must broadcast to shape (2, 3), got (2,)", noise=np.ones(2)),
        bad("NaN", "noise must be finite, got nan", noise=np.nan),
    )


REPEATED = frozenset({Flag.REPEATED})
THROUGH = frozenset({Flag.NOT_THE_DERIVATIVE})
SURE = np.array([[0.5, 30.0, -1.0], [2.0, 1.0, -1e4]])
TIES = np.array([[0.5, 2.0, 2.0], [3.0, -1.0, 3.0]])


def far_codes(draw: Draw) -> tuple[Array, Array]:
    return np.array([1e4, -0.5, 2.0]), np.array([-60.0, 10.0, -80.0])


SPECS = (
    Spec(
        reparametrize,
        reference=draw_by_square_root,
        source=composed("jax.random.normal, the square roots of variances"),
        cases=(
            Case("by a key", codes(3, 4), keyed()),
            Case("by noise of columns", codes(2, 3), given(3)),
            Case("far from the standard normal", far_codes, given(3), frozenset({Flag.SATURATED})),
            Case("no key", codes(2, 3), {}, frozenset({Flag.ZERO_GRADIENT})),
            Case("a variance of each column", lambda draw: (draw.normal(3, 4), draw.normal(4)), keyed()),
            Case("two draws of each mean", lambda draw: (draw.normal(3), draw.normal(2, 1)), given(2, 3), REPEATED),
            Case("one row", codes(1, 4), keyed(), ONE),
            Case("no rows", codes(0, 4), keyed(), NONE),
        ),
        strategy=drawn_codes,
        errors=(
            *bad_noise("reparametrize", codes(2, 3)),
            Error(
                "variances of rows",
                lambda draw: (draw.normal(2, 3), draw.normal(2)),
                ValueError,
                "reparametrize: mean (2, 3) and log_var (2,) must broadcast",
            ),
        ),
        tier=2,
    ),
    Spec(
        gumbel_softmax,
        reference=choice_by_jax,
        source=composed("jax.random.gumbel, jax.nn.softmax"),
        cases=(
            Case("by a key", normals(3, 4), keyed()),
            Case("low temperature, by noise of columns", normals(2, 4), given(4, tau=0.25)),
            Case("the first axis", normals(3, 2, 2), keyed(axis=0, tau=2.0)),
            Case("no key", normals(2, 3), {"tau": 0.5}),
            Case("hard", normals(3, 4), keyed(hard=True, tau=0.5), THROUGH),
            Case("hard, the first axis, by noise", normals(3, 2), given(3, 2, hard=True, axis=0), THROUGH),
            Case("hard, ties", lambda draw: (TIES,), {"hard": True}, THROUGH | {Flag.REPEATED}),
            Case("sure of a class", lambda draw: (SURE,), keyed(), frozenset({Flag.SATURATED})),
            Case("one row", normals(1, 4), keyed(), ONE),
            Case("no rows", normals(0, 4), keyed(), NONE),
            Case("hard, no rows", normals(0, 4), keyed(hard=True), NONE),
        ),
        strategy=drawn_choices,
        errors=(
            *bad_noise("gumbel_softmax", normals(2, 3)),
            Error("no temperature", normals(2, 3), ValueError, "tau must be finite and greater than 0, got 0.0", {"tau": 0.0}),
            Error("no such axis", normals(2, 3), ValueError, "axis must be one of the 2 axes of x (2, 3), got 2", {"axis": 2}),
            Error("two axes", normals(2, 3), TypeError, "axis must be an integer, got (0, 1)", {"axis": (0, 1)}),
            Error("hard is a number", normals(2, 3), TypeError, "hard must be True or False, got 1", {"hard": 1}),
        ),
        tier=2,
    ),
)
