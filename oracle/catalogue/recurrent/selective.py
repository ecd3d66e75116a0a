"""The selective scan: reference, cases, strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.recurrent import selective_scan

Arguments = tuple[Any, ...]


def by_associative_scan(params: dict[str, Any], xs: Any, delta: Any, b: Any, c: Any, carry: Any) -> Any:
    """Each step is an affine map of the state; the maps are composed pair by pair, and the carry is put in at the end."""
    passed = params["d"] * xs if "d" in params else jnp.zeros_like(xs)
    if not xs.shape[1]:
        return passed, carry
    factors = jnp.exp(jnp.einsum("btd,dn->btdn", delta, params["a"]))
    inputs = jnp.einsum("btd,btn->btdn", delta * xs, b)

    def composed(first: Any, second: Any) -> Any:
        return first[0] * second[0], first[1] * second[0] + second[1]

    products, sums = jax.lax.associative_scan(composed, (factors, inputs), axis=1)
    states = products * carry[:, None] + sums
    return jnp.einsum("btdn,btn->btd", states, c) + passed, states[:, -1]


def scan(
    batch: int, time: int, *, channels: int = 3, states: int = 2, skip: bool = True, low: float = 0.1, high: float = 1.0
) -> Callable[[Draw], Arguments]:
    """Draws the arguments, with steps delta between `low` and `high`."""

    def arguments(draw: Draw) -> Arguments:
        params = {"a": -draw.uniform(channels, states, low=0.3, high=2.0)}
        if skip:
            params["d"] = draw.normal(channels)
        xs, delta = draw.normal(batch, time, channels), draw.uniform(batch, time, channels, low=low, high=high)
        b, c = draw.normal(batch, time, states), draw.normal(batch, time, states)
        return params, xs, delta, b, c, draw.normal(batch, channels, states)

    return arguments


def scans(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    sizes = {name: draw.between(1, 3) for name in ("channels", "states")}
    return scan(draw.between(1, 3), draw.between(1, 4), skip=draw.choice([True, False]), **sizes)(draw), {}


def changed(place: int, value: Any) -> Callable[[Draw], Arguments]:
    """Arguments of 2 sequences of 4 steps, 3 channels and 2 states, of which one is replaced."""
    return lambda draw: tuple(value if i == place else given for i, given in enumerate(scan(2, 4)(draw)))


def bad(what: str, match: str, place: int, value: Any, by: type[Exception] = ValueError) -> Error:
    return Error(what, changed(place, value), by, f"selective_scan: {match}")


SPECS = (
    Spec(
        selective_scan,
        tier=3,
        reference=by_associative_scan,
        source=library("jax.lax.associative_scan"),
        cases=(
            Case("four steps", scan(2, 4)),
            Case("more states than channels, no d", scan(3, 3, channels=1, states=4, skip=False)),
            Case("seven steps of one state", scan(2, 7, channels=2, states=1)),
            Case("states that vanish, and such that stay", scan(2, 3, low=1e-3, high=300.0), flags=frozenset({Flag.SATURATED})),
            Case("one sequence of one step", scan(1, 1), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("no steps", scan(2, 0), flags=frozenset({Flag.ZERO_GRADIENT})),
            Case("no sequences", scan(0, 3), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=scans,
        errors=(
            bad("decays of one channel", "params.a must have shape (D, N), got (2,)", 0, {"a": -np.ones(2)}),
            bad(
                "d for other channels",
                "params.d must have shape (3,) to match params.a (3, 2), got (2,)",
                *(0, {"a": -np.ones((3, 2)), "d": np.ones(2)}),
            ),
            bad("names of the paper", "params must hold a, d (optional), got A", 0, {"A": -np.ones((3, 2))}),
            bad("an array", "params must be a dict", 0, -np.ones((3, 2)), TypeError),
            bad("time last", "xs must have shape (B, T, 3) to match params.a (3, 2), got (2, 3, 4)", 1, np.ones((2, 3, 4))),
            bad("one delta", "delta must have shape (2, 4, 3) to match xs (2, 4, 3), got (2, 4, 1)", 2, np.ones((2, 4, 1))),
            bad("b of channels", "b must have shape (2, 4, 2) to match xs (2, 4, 3), got (2, 4, 3)", 3, np.ones((2, 4, 3))),
            bad("c of other steps", "c must have shape (2, 4, 2) to match xs (2, 4, 3), got (2, 3, 2)", 4, np.ones((2, 3, 2))),
            bad("a carry of one row", "carry must have shape (2, 3, 2) to match xs (2, 4, 3), got (3, 2)", 5, np.ones((3, 2))),
            bad("integer carry", "carry must be a floating-point array", 5, np.ones((2, 3, 2), int), TypeError),
        ),
    ),
)
