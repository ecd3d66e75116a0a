"""Diagnoses that recognize another gradient: of another argument, keyword, point, or of other outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracle import verify
from tests.oracle.planted import Array, Pair, dense, elementwise, normal, row, signed

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])
A, B = signed(3, 4), signed(3, 4, seed=1)


def causes(op: Pair, *primals: Array, reference: Callable[..., Any] | None, **options: Any) -> dict[str, str]:
    """The diagnosis of each gradient that is wrong."""
    result = verify(op, *primals, reference=reference, **options)
    return {r.parameter: r.diagnosis for r in result.rows if not r.passed}


# ------------------------------------------------------------------------------------------------- arguments and points


def times(bwd: Callable[[Array, Array, Array], Any]) -> Pair:
    def times_fwd(a: Array, b: Array) -> Any:
        return a * b, (a.copy(), b.copy())

    return times_fwd, lambda r, dy: bwd(*r, dy)


@alone_and_with_jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arguments_swapped(witness: str, dtype: Any) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (a * dy, b * dy)), A.astype(dtype), B.astype(dtype), reference=reference)
    assert found == {
        "a": "arguments swapped: this is the gradient of b",
        "b": "arguments swapped: this is the gradient of a",
    }


@alone_and_with_jax
def test_two_equal_arguments_are_swapped_beside_them(witness: str) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (a * dy, b * dy)), A, A.copy(), reference=reference)
    assert "but not beside them" in found["a"]
    assert "arguments swapped: this is the gradient of b" in found["a"]
    found = causes(times(lambda a, b, dy: (2 * a * dy, b * dy)), A, A.copy(), reference=reference)
    assert found["a"].startswith("constant factor: a is 2 times")


@alone_and_with_jax
def test_too_few_entries_to_recognize_anything(witness: str) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (a * dy, b * dy)), A[0, :2].copy(), B[0, :2].copy(), reference=reference)
    assert found["a"].startswith("no known cause")


@alone_and_with_jax
def test_a_forgotten_factor(witness: str) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (1.0 * dy, a * dy)), A, B, reference=reference)
    assert found == {"a": "wrong point: this is the gradient where b is 1: is it forgotten?"}


@alone_and_with_jax
def test_the_slope_at_the_output(witness: str) -> None:
    reference = None if witness == "alone" else jnp.tanh
    op = elementwise(np.tanh, lambda x: 1 - np.tanh(np.tanh(x)) ** 2)
    assert causes(op, A, reference=reference) == {"x": "wrong point: this is the gradient where x is the value"}


@alone_and_with_jax
def test_a_residual_of_the_other_argument(witness: str) -> None:
    def quotient_fwd(a: Array, b: Array) -> Any:
        return a / b**2, (a.copy(), b.copy())

    reference = None if witness == "alone" else lambda a, b: a / b**2
    wrong = lambda r, dy: (dy / r[1] ** 2, -2 * r[1] / r[1] ** 3 * dy)  # noqa: E731
    found = causes((quotient_fwd, wrong), A, B, reference=reference)
    assert found == {"b": "wrong point: this is the gradient where a is b"}


@alone_and_with_jax
def test_a_kernel_that_is_not_turned(witness: str) -> None:
    def filtered_fwd(w: Array, x: Array) -> Any:
        return np.stack([np.convolve(row, w[0, ::-1], "valid") for row in x]), (w.copy(), x.copy())

    def filtered_bwd(r: Any, dy: Array) -> Any:
        w, x = r
        dw = sum(np.convolve(row, d[::-1], "valid") for row, d in zip(x, dy, strict=True))
        return dw[None], np.stack([np.convolve(d, w[0, ::-1]) for d in dy])

    reference = None if witness == "alone" else lambda w, x: jnp.stack([jnp.convolve(row, w[0, ::-1], "valid") for row in x])
    found = causes((filtered_fwd, filtered_bwd), normal(1, 3), normal(2, 8), reference=reference)
    assert found == {"x": "wrong point: this is the gradient where w is reversed along axis 1"}


# ------------------------------------------------------------------------------------------------- keywords


def scaled_norm(eps_backward: Callable[[float], float] = lambda eps: eps) -> Pair:
    """The last axis divided by its root mean square."""

    def scaled_norm_fwd(x: Array, *, eps: float = 1e-5, power: float = 1.0) -> Any:
        return x / ((x**2).mean(axis=-1, keepdims=True) + eps) ** (power / 2), (x.copy(), eps, power)

    def scaled_norm_bwd(residuals: Any, dy: Array) -> Any:
        x, eps, power = residuals
        square = (x**2).mean(axis=-1, keepdims=True) + eps_backward(eps)
        return (dy / square ** (power / 2) - power * x * (dy * x).mean(axis=-1, keepdims=True) / square ** (power / 2 + 1),)

    return scaled_norm_fwd, scaled_norm_bwd


def by_jax(x: Any, *, eps: float = 1e-5) -> Any:
    return x / jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)


@alone_and_with_jax
@pytest.mark.parametrize(
    ("backward", "forward", "said"),
    [
        (0.0, 1e-5, "eps = 0.0; the forward pass has 1e-05"),
        (1e-5, 0.1, "eps = 1e-05; the forward pass has 0.1"),
        (1e-3, 1e-5, "eps = 0.001; the forward pass has 1e-05"),
        (0.2, 0.1, "eps = 0.2; the forward pass has 0.1"),
    ],
)
def test_another_epsilon_backward(witness: str, backward: float, forward: float, said: str) -> None:
    reference = None if witness == "alone" else by_jax
    found = causes(scaled_norm(lambda eps: backward), normal(3, 5), reference=reference, options={"eps": forward})
    diagnosis = found["x"]
    assert diagnosis.startswith("option ignored: this is the gradient with eps = ")
    value, rest = diagnosis.split("eps = ")[1].split("; ")
    assert float(value) == pytest.approx(backward, rel=1e-3, abs=1e-12)
    assert rest == said.split("; ")[1]


@alone_and_with_jax
def test_an_epsilon_that_agrees_is_right(witness: str) -> None:
    assert causes(scaled_norm(), normal(3, 5), reference=None if witness == "alone" else by_jax) == {}


def pieces(wrong: Callable[[float, float], tuple[float, float]]) -> Pair:
    def pieces_fwd(x: Array, *, below: float = 0.1, above: float = 1.0) -> Any:
        return np.where(x < 0, below * x, above * x), (x.copy(), below, above)

    def pieces_bwd(r: Any, dy: Array) -> Any:
        below, above = wrong(*r[1:])
        return (np.where(r[0] < 0, below, above) * dy,)

    return pieces_fwd, pieces_bwd


@alone_and_with_jax
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda below, above: (above, below), "options swapped: this is the gradient with below and above exchanged"),
        (lambda below, above: (0.1, above), "option ignored: this is the gradient with below = 0.1; the forward pass has 0.3"),
        (lambda below, above: (below, 1.0), "option ignored: this is the gradient with above = 1.0; the forward pass has 0.7"),
        (
            lambda below, above: (below + 0.2, above),
            "option ignored: this is the gradient with below = 0.5; the forward pass has 0.3",
        ),
    ],
    ids=["swapped", "default", "one", "another"],
)
def test_options(witness: str, wrong: Callable[[float, float], tuple[float, float]], said: str) -> None:
    def reference(x: Any, *, below: float, above: float) -> Any:
        return jnp.where(x < 0, below * x, above * x)

    found = causes(pieces(wrong), A, reference=None if witness == "alone" else reference, options={"below": 0.3, "above": 0.7})
    assert found == {"x": said}


@alone_and_with_jax
def test_an_axis_that_is_ignored(witness: str) -> None:
    def softmax_fwd(x: Array, *, axis: int = -1) -> Any:
        y = np.exp(x)
        return y / y.sum(axis=axis, keepdims=True), (x.copy(), axis)

    def softmax_bwd(r: Any, dy: Array) -> Any:
        y = np.exp(r[0])
        y /= y.sum(axis=-1, keepdims=True)
        return (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),)

    reference = None if witness == "alone" else lambda x, *, axis: jax.nn.softmax(x, axis=axis)
    found = causes((softmax_fwd, softmax_bwd), normal(3, 4), reference=reference, options={"axis": 0})
    assert found == {"x": "option ignored: this is the gradient with axis = -1; the forward pass has 0"}


@alone_and_with_jax
def test_weights_that_are_ignored(witness: str) -> None:
    def weighted_fwd(x: Array, *, weights: Array | None = None) -> Any:
        weights = np.ones(len(x)) if weights is None else weights
        return (weights[:, None] * x**2).sum() / weights.sum(), (x.copy(), weights.copy())

    def reference(x: Any, *, weights: Any) -> Any:
        return (weights[:, None] * x**2).sum() / weights.sum()

    wrong = lambda r, dy: (2 * r[0] / len(r[0]) * dy,)  # noqa: E731
    options = {"weights": np.array([0.5, 2.0, 1.5])}
    found = causes((weighted_fwd, wrong), A, reference=None if witness == "alone" else reference, options=options)
    assert found["x"].startswith("option ignored: this is the gradient with weights = None")


# ------------------------------------------------------------------------------------------------- uses


def gather(wrong: Callable[[Array, Array, Array], Array]) -> Pair:
    def gather_fwd(table: Array, *, ids: Array) -> Any:
        return table[ids], (table.copy(), ids.copy())

    def gather_bwd(r: Any, dy: Array) -> Any:
        dtable = np.zeros_like(r[0])
        return (wrong(dtable, r[1], dy),)

    return gather_fwd, gather_bwd


def assigned(dtable: Array, ids: Array, dy: Array) -> Array:
    dtable[ids] = dy
    return dtable


def assigned_first(dtable: Array, ids: Array, dy: Array) -> Array:
    dtable[ids[::-1]] = dy[::-1]
    return dtable


def averaged(dtable: Array, ids: Array, dy: Array) -> Array:
    np.add.at(dtable, ids, dy)
    return dtable / np.maximum(np.bincount(ids.ravel(), minlength=len(dtable)), 1)[:, None]


@alone_and_with_jax
@pytest.mark.parametrize(
    ("wrong", "what"),
    [(assigned, "the last of their"), (assigned_first, "the first of their"), (averaged, "the mean of their")],
    ids=["last", "first", "mean"],
)
def test_overwritten(witness: str, wrong: Callable[..., Array], what: str) -> None:
    reference = None if witness == "alone" else lambda table, *, ids: table[ids]
    options = {"ids": np.array([0, 2, 1, 2, 4, 2, 4])}
    diagnosis = causes(gather(wrong), normal(6, 2), reference=reference, options=options)["table"]
    assert diagnosis.startswith(
        "overwritten instead of accumulated: entries that are used several times (table[2, 0], table[2, 1], "
    )
    assert what in diagnosis


@alone_and_with_jax
def test_indices_without_repetition_are_right(witness: str) -> None:
    reference = None if witness == "alone" else lambda table, *, ids: table[ids]
    assert causes(gather(assigned), normal(6, 2), reference=reference, options={"ids": np.array([0, 2, 1])}) == {}


def windows(assign: bool) -> Pair:
    """The largest of each three neighbours."""

    def windows_fwd(x: Array) -> Any:
        view = np.lib.stride_tricks.sliding_window_view(x, 3, axis=1)
        return view.max(axis=-1), (x.shape, view.argmax(axis=-1) + np.arange(view.shape[1]))

    def windows_bwd(r: Any, dy: Array) -> Any:
        dx = np.zeros(r[0])
        if assign:
            np.put_along_axis(dx, r[1], dy, axis=1)
        else:
            for n, k in np.ndindex(*dy.shape):
                dx[n, r[1][n, k]] += dy[n, k]
        return (dx,)

    return windows_fwd, windows_bwd


@alone_and_with_jax
def test_overlapping_windows(witness: str) -> None:
    def reference(x: Any) -> Any:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3), (1, 1), "VALID")

    assert causes(windows(assign=False), normal(3, 9), reference=None if witness == "alone" else reference) == {}
    found = causes(windows(assign=True), normal(3, 9), reference=None if witness == "alone" else reference)
    assert found["x"].startswith("overwritten instead of accumulated: ")


# ------------------------------------------------------------------------------------------------- outputs


@alone_and_with_jax
@pytest.mark.parametrize(
    ("dw", "said"),
    [
        (lambda x, dy: x[:-2].T @ dy[:-2], "only some samples: of axis 0 of the value only 0, 1, 2, 3 count, of 6"),
        (lambda x, dy: x[1:].T @ dy[1:], "only some samples: index 0 of 6 along axis 0 of the value does not count"),
        (
            lambda x, dy: x.T @ dy + x[2:3].T @ dy[2:3],
            "only some samples: index 2 of 6 along axis 0 of the value counts 2 times",
        ),
        (lambda x, dy: x.T @ dy[::-1], "reversed: the cotangent, along axis 0 of the value"),
        (lambda x, dy: x.T @ np.roll(dy, 1, 0), "shifted: the cotangent, by +1 along axis 0 of the value"),
        (
            lambda x, dy: x.T @ np.broadcast_to(dy.mean(axis=0), dy.shape),
            "averaged over axis 0 of the value: the cotangent is its mean there",
        ),
    ],
    ids=["not the last", "not the first", "twice", "reversed", "shifted", "mean"],
)
def test_other_outputs(witness: str, dw: Callable[[Array, Array], Array], said: str) -> None:
    reference = None if witness == "alone" else lambda w, x: x @ w
    assert causes(dense(dw=dw), normal(4, 3), normal(6, 4), reference=reference) == {"w": said}


@alone_and_with_jax
def test_a_step_in_time_alone(witness: str) -> None:
    reference = None if witness == "alone" else lambda b, x: x + b
    op = (lambda b, x: (x + b, None), lambda _, dy: (dy[:, -1].sum(axis=0), dy.copy()))
    found = causes(op, normal(3), normal(6, 4, 3), reference=reference)
    assert found == {"b": "sum missing: this is the gradient of index 3 of 4 along axis 1 of the value alone"}


@alone_and_with_jax
def test_a_sample_of_a_large_batch_of_a_large_layer(witness: str) -> None:
    reference = None if witness == "alone" else lambda w, x: x @ w
    found = causes(dense(dw=lambda x, dy: x[-1:].T @ dy[-1:]), normal(80, 50), normal(100, 80), reference=reference)
    assert found == {"w": "batch sum missing: this is the gradient of the last of 100 samples alone"}


@alone_and_with_jax
@pytest.mark.parametrize(
    ("op", "reference", "x"),
    [
        ((lambda x: (np.cumsum(x, 0), None), lambda _, dy: (np.cumsum(dy, 0),)), lambda x: jnp.cumsum(x, 0), normal(6, 3)),
        ((lambda x: (np.sort(x), np.argsort(x)), lambda order, dy: (dy[order],)), jnp.sort, normal(7)),
    ],
    ids=["cumsum", "sort"],
)
def test_the_jacobian_for_its_transpose(witness: str, op: Pair, reference: Any, x: Array) -> None:
    found = causes(op, x, reference=None if witness == "alone" else reference)
    assert found["x"].startswith("transposed: x is the Jacobian times the cotangent, not its transpose")


@alone_and_with_jax
def test_the_diagonal_of_the_jacobian_alone(witness: str) -> None:
    def softmax_fwd(x: Array) -> Any:
        y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
        return y, y.copy()

    op = (softmax_fwd, lambda y, dy: (y * (1 - y) * dy,))
    found = causes(op, normal(3, 4), reference=None if witness == "alone" else jax.nn.softmax)
    assert found["x"].startswith("term missing: x is what each output owes to its own entry")


def test_questions_to_a_function_that_refuses_them() -> None:
    """Other keywords and points that raise are no causes, and no errors."""

    def strict_fwd(x: Array, *, eps: float) -> Any:
        if eps != 0.5 or np.abs(x - A).max() > 0.2:
            raise ValueError("not here")
        return x**2 + eps, x.copy()

    result = verify((strict_fwd, lambda x, dy: (2 * x * dy * np.abs(np.sin(A * 40)),)), A, options={"eps": 0.5}, step=1e-3)
    assert row(result).diagnosis.startswith("no known cause")
