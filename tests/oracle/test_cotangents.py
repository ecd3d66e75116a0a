"""Diagnoses of a wrong cotangent: some outputs contribute nothing, or the cotangent is weighted or reordered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle.planted import Array, Pair, causes, dense, found, normal, signed

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


# ------------------------------------------------------------------------------------------------- axes of the value


@alone_and_with_jax
@pytest.mark.parametrize(
    ("dw", "named"),
    [
        (
            lambda x, dy: x[:-2].T @ dy[:-2],
            "only some samples: only the indices 0, 1, 2, 3 (of 6) along axis 0 of the value contribute",
        ),
        (lambda x, dy: x[1:].T @ dy[1:], "only some samples: index 0 (of 6) along axis 0 of the value contributes nothing"),
        (
            lambda x, dy: x.T @ dy + x[2:3].T @ dy[2:3],
            "only some samples: index 2 (of 6) along axis 0 of the value contributes 2 times",
        ),
        (lambda x, dy: x.T @ dy[::-1], "reversed: the backward pass reverses dy along axis 0"),
        (lambda x, dy: x.T @ np.roll(dy, 1, 0), "shifted: the backward pass shifts dy by +1 along axis 0"),
        (
            lambda x, dy: x.T @ np.broadcast_to(dy.mean(axis=0), dy.shape),
            "averaged over axis 0 of the value: the backward pass uses the mean of dy along that axis",
        ),
    ],
    ids=["not the last", "not the first", "twice", "reversed", "shifted", "mean"],
)
def test_wrong_cotangents_along_an_axis_are_named(witness: str, dw: Callable[[Array, Array], Array], named: str) -> None:
    reference = None if witness == "alone" else lambda w, x: x @ w
    assert causes(dense(dw=dw), normal(4, 3), normal(6, 4), reference=reference) == {"w": named}


@alone_and_with_jax
def test_a_single_step_in_time_is_named(witness: str) -> None:
    reference = None if witness == "alone" else lambda b, x: x + b
    op = (lambda b, x: (x + b, None), lambda _, dy: (dy[:, -1].sum(axis=0), dy.copy()))
    found = causes(op, normal(3), normal(6, 4, 3), reference=reference)
    assert found == {"b": "sum missing: only index 3 (of 4) along axis 1 of the value contributes to this gradient"}


@alone_and_with_jax
def test_a_single_sample_of_a_large_batch_is_named(witness: str) -> None:
    reference = None if witness == "alone" else lambda w, x: x @ w
    found = causes(dense(dw=lambda x, dy: x[-1:].T @ dy[-1:]), normal(80, 50), normal(100, 80), reference=reference)
    assert found == {"w": "batch sum missing: only the last sample of 100 contributes to this gradient"}


@alone_and_with_jax
@pytest.mark.parametrize(
    ("op", "reference", "x"),
    [
        ((lambda x: (np.cumsum(x, 0), None), lambda _, dy: (np.cumsum(dy, 0),)), lambda x: jnp.cumsum(x, 0), normal(6, 3)),
        ((lambda x: (np.sort(x), np.argsort(x)), lambda order, dy: (dy[order],)), jnp.sort, normal(7)),
    ],
    ids=["cumsum", "sort"],
)
def test_the_jacobian_instead_of_its_transpose_is_named(witness: str, op: Pair, reference: Any, x: Array) -> None:
    found = causes(op, x, reference=None if witness == "alone" else reference)
    assert found["x"].startswith("transposed: x is the Jacobian times dy, not its transpose times dy")


@alone_and_with_jax
def test_a_gradient_from_the_diagonal_of_the_jacobian_is_named(witness: str) -> None:
    def softmax_fwd(x: Array) -> Any:
        y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
        return y, y.copy()

    op = (softmax_fwd, lambda y, dy: (y * (1 - y) * dy,))
    found = causes(op, normal(3, 4), reference=None if witness == "alone" else jax.nn.softmax)
    assert found["x"].startswith("term missing: each entry of x gets contributions only from outputs at the same place")


# ------------------------------------------------------------------------------------------ steps and arrays of the value


def running(later: float) -> Pair:
    """h[t] = tanh(x[t] + h[t - 1]), whose pullback multiplies the gradient from later steps by `later`."""

    def running_fwd(x: Array) -> Any:
        h = [np.zeros_like(x[:, 0])]
        for t in range(x.shape[1]):
            h.append(np.tanh(x[:, t] @ TURN + h[-1]))
        return np.stack(h[1:], axis=1), h[1:]

    def running_bwd(h: Any, dy: Array) -> Any:
        dx, dh = [], np.zeros_like(h[0])
        for t in reversed(range(len(h))):
            dh = (dy[:, t] + later * dh) * (1 - h[t] ** 2)
            dx.append(dh @ TURN.T)
        return (np.stack(dx[::-1], axis=1),)

    return running_fwd, running_bwd


TURN = normal(2, 2)


def test_steps_without_the_gradient_from_later_steps_are_named() -> None:
    only = "each entry of x gets contributions only from outputs at the same index of axis 1"
    named = f"term missing: {only}; those from other outputs are missing"
    assert causes(running(0.0), normal(3, 4, 2)) == {"x": named}
    assert causes(running(1.0), normal(3, 4, 2)) == {}


def test_the_first_use_of_gathered_entries_is_not_called_their_own_index() -> None:
    picked = np.array([0, 1, 1, 3, 3, 3])  # the first uses of 0, 1 and 3 are their own indices; 2, 4 and 5 have none
    found = causes((lambda x: (x[picked], None), lambda _, dy: (dy * [1, 1, 0, 1, 0, 0],)), signed(6))
    assert found["x"].startswith("overwritten instead of accumulated: ")


def halves(weights: tuple[float, ...]) -> Pair:
    """Three arrays made of x; the pullback multiplies the contribution of each by its weight."""

    def halves_fwd(x: Array) -> Any:
        return {"square": x**2, "sums": [x.sum(axis=0), np.sin(x)]}, x.copy()

    def halves_bwd(x: Array, dy: Any) -> Any:
        a, b, c = weights
        return (a * 2 * x * dy["square"] + b * dy["sums"][0] + c * np.cos(x) * dy["sums"][1],)

    return halves_fwd, halves_bwd


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ((1, 1, 0), "dy ignored: nothing flows back from the value['sums'][1]"),
        ((0, 1, 1), "dy ignored: nothing flows back from the value['square']"),
        (
            (0, 0, 1),
            "dy ignored: the gradient flows back only from the value['sums'][1], not from the other arrays of the value",
        ),
    ],
)
def test_arrays_of_the_value_that_contribute_nothing_are_named(weights: tuple[float, ...], named: str) -> None:
    assert causes(halves(weights), normal(3, 4)) == {"x": named}
    assert causes(halves((1, 1, 1)), normal(3, 4)) == {}


# ------------------------------------------------------------------------------------------------- one dy for all

LABELS, KEPT = np.array([1, 0, 2, 3]), np.array([True, False, True, True])


def cross_entropy(dy_of_row: Callable[[Array], Array], kept: Array = KEPT) -> Pair:
    """Logits x @ w.T and their cross entropy in each row, where some rows count for nothing."""

    def fused_fwd(x: Array, w: Array) -> Any:
        z = x @ w.T
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        dz = (p - np.eye(5)[LABELS]) * kept[:, None]
        return -np.log(p[range(4), LABELS]) * kept, (x.copy(), w.copy(), dz)

    def fused_bwd(residuals: Any, dy: Array) -> Any:
        x, w, dz = residuals
        dz = dz * dy_of_row(dy)[:, None]
        return dz @ w, dz.T @ x

    return fused_fwd, fused_bwd


def cross_entropy_by_jax(x: Any, w: Any) -> Any:
    return -jax.nn.log_softmax(x @ w.T)[jnp.arange(4), LABELS] * KEPT


@alone_and_with_jax
@pytest.mark.parametrize(("k", "which"), [(0, "first"), (3, "last")])
def test_one_dy_for_all_rows_is_named_though_rows_are_ignored(witness: str, k: int, which: str) -> None:
    reference = None if witness == "alone" else cross_entropy_by_jax
    op = cross_entropy(lambda dy: np.full_like(dy, dy[k]))
    named = f"one dy for all: the backward pass uses the {which} entry of dy along axis 0 of the value at all 4 indices"
    assert causes(op, normal(4, 5), normal(5, 5), reference=reference) == {"x": named, "w": named}


@alone_and_with_jax
def test_weights_are_named_though_rows_are_ignored(witness: str) -> None:
    reference = None if witness == "alone" else cross_entropy_by_jax
    found = causes(cross_entropy(lambda dy: dy * [2.0, 7.0, 3.0, 1.0]), normal(4, 5), normal(5, 5), reference=reference)
    assert found["w"] == "weighted: the backward pass multiplies dy by (2, any, 3, 1) along axis 0 of the value"


@alone_and_with_jax
def test_a_right_cross_entropy_passes(witness: str) -> None:
    reference = None if witness == "alone" else cross_entropy_by_jax
    assert causes(cross_entropy(lambda dy: dy), normal(4, 5), normal(5, 5), reference=reference) == {}


@pytest.mark.parametrize("inside", [np.float64, np.float32])
def test_a_rotation_that_is_not_transposed_is_named(inside: Any) -> None:
    def rotated(x: Array) -> Array:
        inner = x.astype(inside)
        angle = np.arange(len(x), dtype=inside)[:, None] * np.asarray([1, 0.1], inside)
        cosine, sine, a, b = np.cos(angle), np.sin(angle), inner[:, :2], inner[:, 2:]
        return np.asarray(np.concatenate([a * cosine - b * sine, b * cosine + a * sine], -1).astype(x.dtype))

    said = found((lambda x: (rotated(x), None), lambda _, dy: (rotated(dy),)), normal(5, 4))[1]
    assert said.startswith("transposed: x is the Jacobian times dy, not its transpose times dy")
