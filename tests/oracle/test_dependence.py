"""Diagnoses of gradients that are right for some outputs only, or do not read a part of an argument."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle.planted import Array, Pair, causes, dense, found, normal

K, V = normal(6, 4), normal(6, 8)
alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def attention(columns: slice) -> Pair:
    """Attention to fixed keys and values, whose backward pass takes some columns of dy and V on one of its two paths."""

    def attention_fwd(q: Array) -> Any:
        e = np.exp(q @ K.T.astype(q.dtype))
        p = e / e.sum(axis=-1, keepdims=True)
        return p @ V.astype(q.dtype), p

    def attention_bwd(p: Array, dy: Array) -> Any:
        dp = dy @ V.T.astype(dy.dtype)
        some = dy[:, columns] @ V[:, columns].T.astype(dy.dtype)
        return (p * (some - (dp * p).sum(axis=-1, keepdims=True)) @ K.astype(dy.dtype),)

    return attention_fwd, attention_bwd


@alone_and_with_jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_columns_of_dy_that_one_path_leaves_out_are_named(witness: str, dtype: Any) -> None:
    reference = (lambda q: jax.nn.softmax(q @ K.T.astype(q.dtype)) @ V.astype(q.dtype)) if witness == "JAX" else None
    assert causes(attention(slice(0, 4)), normal(5, 4).astype(dtype), reference=reference) == {
        "q": "right for some outputs: what flows back to q from indices 0, 1, 2, 3 of axis 1 of the value is right, "
        "from indices 4, 5, 6, 7 of axis 1 of the value it is wrong"
    }
    assert causes(attention(slice(None)), normal(5, 4).astype(dtype), reference=reference) == {}


@alone_and_with_jax
def test_a_wrong_array_of_the_value_is_named(witness: str) -> None:
    """The second array of the value has a wrong slope, the first a right one."""
    op = (
        lambda x: ({"first": np.sin(x), "last": np.tanh(x)}, x.copy()),
        lambda x, dy: (np.cos(x) * dy["first"] + (1 - np.tanh(x)) * np.cos(3 * x) * dy["last"],),
    )
    reference = (lambda x: {"first": jnp.sin(x), "last": jnp.tanh(x)}) if witness == "JAX" else None
    assert causes(op, normal(4, 6), reference=reference) == {
        "x": "right for some outputs: what flows back to x from the value['first'] is right, from the value['last'] it is wrong"
    }


@alone_and_with_jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_part_of_an_argument_that_is_not_read_is_named(witness: str, dtype: Any) -> None:
    """The last two columns are taken for the first two."""
    reference = (lambda w, x: x @ w) if witness == "JAX" else None
    arguments = normal(6, 4).astype(dtype), normal(5, 6).astype(dtype)
    assert causes(dense(dx=lambda w, dy: dy @ w[:, [0, 1, 1, 0]].T), *arguments, reference=reference) == {
        "x": "a part of w is not used: x does not depend on its indices 2, 3 of axis 1, but the true gradient does"
    }


def test_what_does_not_matter_may_stay_unread() -> None:
    """The forward pass does not use the last column either."""

    def first_fwd(x: Array, w: Array) -> Any:
        return np.sin(x @ w[:, :3]), (x.copy(), w.copy())

    def first_bwd(residuals: Any, dy: Array) -> Any:
        x, w = residuals
        z, dw = x @ w[:, :3], np.zeros_like(w)
        dw[:, :3] = x.T @ (np.cos(z) * dy)
        return (np.cos(z) * np.cos(z) * dy) @ w[:, :3].T, dw

    said = causes((first_fwd, first_bwd), normal(5, 6), normal(6, 4))
    assert list(said) == ["x"]
    assert "not used" not in said["x"]


@pytest.mark.parametrize("seed", range(5))
def test_an_error_everywhere_is_right_for_no_output(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(6, 4))
    op = (lambda x: (np.sin(x @ V[:4]), x.copy()), lambda x, dy: ((np.cos(x @ V[:4]) * dy) @ V[:4].T * (1 + noise),))
    assert "right for some outputs" not in found(op, normal(6, 4))[1]


def test_a_backward_pass_that_is_not_linear_is_right_for_no_output() -> None:
    op = (lambda x: (np.sin(x @ V[:4]), x.copy()), lambda x, dy: ((np.cos(x @ V[:4]) * np.maximum(dy, 0)) @ V[:4].T,))
    diagnoses = causes(op, normal(6, 4))
    assert "right for some outputs" not in diagnoses["x"]


def test_a_sample_with_right_entries_shows_no_right_output() -> None:
    """Of 2,400 entries a few are looked at; in each row some of the others are wrong."""
    x, which = normal(60, 40), np.random.default_rng(0).random((60, 40)) < 0.3
    op = (lambda x: (x**3, x.copy()), lambda x, dy: (3 * x**2 * dy * (1 + which * np.sin(40 * x)),))
    assert "right for some outputs" not in found(op, x)[1]
