"""The second witness: JAX's own reverse mode in the dtype asked for, whatever the reference looks like."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from oracle import catalogue
from oracle.autodiff import Pullback, StructureError, vjp
from tests.oracle.planted import normal, signed

X = signed(4)


class Both(NamedTuple):
    value: Any
    state: dict[str, Any]


def test_a_convolution_that_ends_the_process_when_xla_simplifies_it() -> None:
    options = {"stride": (4, 2), "padding": ((2, 1), (1, 1)), "dilation": (2, 1)}
    params = {"wd": normal(6, 1, 3, 2), "wp": normal(2, 6, 1, 1)}
    x = normal(2, 3, 5, 4)
    y, residuals = pn.separable_conv2d.fwd(params, x, **options)
    dy = np.ones_like(y)
    pullback = vjp(catalogue.find("separable_conv2d").reference, (params, x), dy, options)
    for ours, theirs in zip(
        jax.tree.leaves(pn.separable_conv2d.bwd(residuals, dy)), jax.tree.leaves(pullback.cotangents), strict=True
    ):
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-12)


def test_a_reference_that_has_changed_is_traced_again() -> None:
    class Scaled:
        by: Any = 2.0

        def __call__(self, x: Any) -> Any:
            return jnp.asarray(self.by) * x

    scaled = Scaled()
    for by in (2.0, 3.0, np.arange(4.0), np.arange(4.0)[::-1].copy()):
        scaled.by = by
        pullback = vjp(scaled.__call__, (X,), np.ones(4), {})
        np.testing.assert_array_equal(pullback.cotangents[0], by * np.ones(4))


def test_the_value_and_the_cotangents_are_those_of_jax() -> None:
    w, x, dy = normal(3, 2), normal(4, 3), normal(4, 2, seed=1)
    pullback = vjp(lambda w, x: jnp.tanh(x @ w), (w, x), dy, {})
    assert isinstance(pullback, Pullback)
    y = np.tanh(x @ w)
    np.testing.assert_allclose(pullback.value, y, rtol=1e-15)
    dz = dy * (1 - y * y)
    np.testing.assert_allclose(pullback.cotangents[0], x.T @ dz, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(pullback.cotangents[1], dz @ w.T, rtol=1e-13, atol=1e-15)
    assert all(isinstance(a, np.ndarray) for a in (pullback.value, *pullback.cotangents))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_dtype_is_that_of_the_primals(dtype: str) -> None:
    x = np.asarray(jnp.asarray(X, dtype)) if dtype == "bfloat16" else X.astype(dtype)
    pullback = vjp(lambda x: x**3, (x,), np.ones_like(x), {})
    assert pullback.value.dtype == pullback.cotangents[0].dtype == x.dtype
    assert x.dtype.name == dtype or dtype == "float64"


def test_float64_is_the_precision_here_and_nowhere_else() -> None:
    before = jnp.asarray(X).dtype
    pullback = vjp(jnp.exp, (X,), np.ones(4), {})
    np.testing.assert_allclose(pullback.cotangents[0], np.exp(X), rtol=4e-16)
    assert jnp.asarray(X).dtype == before
    with pytest.raises(ValueError, match="on purpose"):
        vjp(failing, (X,), np.ones(4), {})
    assert jnp.asarray(X).dtype == before == np.float32


def failing(x: Any) -> Any:
    raise ValueError("on purpose")


def test_options_are_static_unless_they_are_arrays() -> None:
    def reference(x: Any, *, power: int, weights: Any, reduction: str) -> Any:
        y = weights * x**power
        return y.sum() if reduction == "sum" else y

    options = {"power": 3, "weights": np.arange(4.0), "reduction": "sum"}
    pullback = vjp(reference, (X,), np.asarray(2.0), options)
    np.testing.assert_allclose(pullback.cotangents[0], 2 * 3 * np.arange(4.0) * X**2)


def test_trees_in_and_out() -> None:
    def reference(p: Any, x: Any) -> Both:
        return Both(p["a"] * x, {"b": (p["b"] + x, x.sum())})

    seed = Both(np.ones(4), {"b": (2 * np.ones(4), np.asarray(3.0))})
    pullback = vjp(reference, ({"a": X, "b": X}, X), seed, {})
    np.testing.assert_allclose(pullback.cotangents[0]["a"], X)
    np.testing.assert_allclose(pullback.cotangents[0]["b"], 2 * np.ones(4))
    np.testing.assert_allclose(pullback.cotangents[1], X + 2 + 3)
    assert isinstance(pullback.value, Both)
    assert pullback.value.state["b"][1].shape == ()


def test_another_container_with_the_same_leaves_is_the_same_value() -> None:
    pullback = vjp(lambda x: [x, 2 * x], (X,), (np.ones(4), np.ones(4)), {})
    np.testing.assert_allclose(pullback.cotangents[0], 3 * np.ones(4))


@pytest.mark.parametrize("reference", [lambda x: x.sum(), lambda x: x[:2], lambda x: (x, x), lambda x: x[None]])
def test_a_value_of_another_form_is_named(reference: Any) -> None:
    with pytest.raises(StructureError, match=r"its value has the shapes .*, ours \[\(4,\)\]"):
        vjp(reference, (X,), np.ones(4), {})


@pytest.mark.parametrize(
    "reference",
    [
        lambda x: x**2 if x.sum() < 1e9 else x,
        lambda x: x[x < 1e9] ** 2,
        lambda x: x ** int(x.shape[0] / 2 + 0 * x[0]),
    ],
    ids=["bool", "mask", "int"],
)
def test_a_reference_that_looks_at_its_values_is_run_as_it_is(reference: Any) -> None:
    np.testing.assert_allclose(vjp(reference, (X,), np.ones(4), {}).cotangents[0], 2 * X)


def test_a_reference_that_leaves_jax_is_an_error() -> None:
    with pytest.raises(jax.errors.TracerArrayConversionError):
        vjp(lambda x: jnp.asarray(np.sin(x)), (X,), np.ones(4), {})


def test_an_argument_that_the_reference_does_not_use_gets_zeros() -> None:
    pullback = vjp(lambda a, b: a * 2, (X, normal(3)), np.ones(4), {})
    assert pullback.cotangents[1].tolist() == [0, 0, 0]


def test_nothing_is_written_to() -> None:
    x, dy = X.copy(), np.ones(4)
    vjp(lambda x: x.at[0].set(0.0), (x,), dy, {})
    assert (x == X).all()
    assert (dy == 1).all()
