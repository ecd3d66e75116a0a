"""Jaxprs evaluated in NumPy: each primitive gives what XLA gives, and what has no function here is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from oracle import autodiff
from oracle.compiling import compiled_quickly
from oracle.jaxprs import Unknown, evaluate
from tests.oracle.planted import normal

X, Y = normal(3, 4), normal(3, 4, seed=1)
IMAGE = normal(2, 3, 6, 5)
SQUARE = normal(3, 3) + 4 * np.eye(3)
UNIT = np.linspace(-0.9, 0.9, 7)
POSITIVE = np.linspace(0.3, 4.0, 6)
WHERE = np.array([[1, 0], [2, 3]])
NUMERATORS, DENOMINATORS = np.array([7, -7, 7, -7, 0]), np.array([2, 2, -2, -2, 3])


def same_as_compiled(function: Callable[..., Any], *arguments: Any) -> None:
    """The values that NumPy gives for the function's jaxpr are those of XLA, up to rounding, in shape and dtype, too."""
    with jax.enable_x64(True):
        found = evaluate(jax.make_jaxpr(function)(*arguments), [np.asarray(a) for a in jax.tree.leaves(arguments)])
        wanted = jax.tree.leaves(compiled_quickly(jax.jit(function).lower(*arguments))(*arguments))
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, map(np.asarray, wanted), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        if theirs.dtype.kind in "fc":
            largest = float(np.max(np.abs(theirs[np.isfinite(theirs)]), initial=1.0))
            np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13 * largest)
        else:
            np.testing.assert_array_equal(ours, theirs)


def grad(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function's gradient with a cotangent that differs from entry to entry."""

    def pulled(*arguments: Any) -> Any:
        value, pull = jax.vjp(function, *arguments)
        return value, pull(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape))

    return pulled


def conv(**options: Any) -> Callable[..., Any]:
    given: dict[str, Any] = {"window_strides": (1, 1), "padding": "SAME", **options}
    return grad(lambda x, w: lax.conv_general_dilated(x, w, **given))


def pooled(start: float, combine: Any, **options: Any) -> Callable[..., Any]:
    given: dict[str, Any] = {"window_strides": (1, 1, 2, 1), "padding": ((0, 0), (0, 0), (1, 0), (1, 2)), **options}
    return grad(lambda x: lax.reduce_window(x, start, combine, (1, 1, 3, 2), **given))


def scanned(x: Any) -> Any:
    def step(state: Any, row: Any) -> tuple[Any, Any]:
        state = jnp.tanh(state + row)
        return state, state * row

    return lax.scan(step, jnp.zeros(4), x, reverse=True)[1]


def doubled_until(x: Any) -> Any:
    return lax.while_loop(lambda state: jnp.sum(state) < 50, lambda state: 2 * state, jnp.abs(x))


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "broadcast": (grad(lambda x: jnp.broadcast_to(x[:, None], (2, 3, 2, 4))), (X,)),
    "transpose, squeeze, expand": (grad(lambda x: jnp.expand_dims(jnp.squeeze(x[:, None].T, 1), (0, 3))), (X,)),
    "ravel in the order of columns": (grad(lambda x: lax.reshape(x, (2, 6), (1, 0))), (X,)),
    "concatenate, stack, tile": (grad(lambda x, y: jnp.tile(jnp.stack([jnp.concatenate([x, y])] * 2, 1), (2, 1, 1))), (X, Y)),
    "unstack, split": (lambda x: (*jnp.unstack(x, axis=1), *jnp.split(x, (1,))), (X,)),
    "slices with steps": (grad(lambda x: x[::2, 3:0:-2]), (X,)),
    "flip, roll": (grad(lambda x: jnp.roll(jnp.flip(x, 1), 1, 0)), (X,)),
    "rows by their numbers": (grad(lambda x: x[WHERE]), (normal(5, 2),)),
    "elements by their numbers": (grad(lambda x: x[WHERE, [[0], [1]]]), (normal(4, 3),)),
    "elements outside are NaN": (lambda x: x.at[np.array([1, 9])].get(mode="fill"), (X,)),
    "elements outside are clipped": (grad(lambda x: x.at[np.array([1, 9])].get(mode="clip")), (X,)),
    "along an axis": (grad(lambda x: jnp.take_along_axis(x, np.array([[1, 1], [0, 3], [2, 2]]), 1)), (X,)),
    "set": (grad(lambda x, y: x.at[np.array([2, 0])].set(y[:2])), (X, Y)),
    "set, some outside": (grad(lambda x, y: x.at[np.array([2, 7])].set(y[:2])), (X, Y)),
    "add, one element twice": (grad(lambda x, y: x.at[np.array([2, 2, 0])].add(y)), (X, Y)),
    "a window at a place": (grad(lambda x, i: lax.dynamic_slice(x, (i, i), (2, 2))), (X, 2)),
    "a window that leaves the array": (grad(lambda x, y, i: lax.dynamic_update_slice(x, y[:2], (i, 0))), (X, Y, 2)),
    "select by a number": (lambda x, y: lax.select_n(np.array([[0, 1, 2, 1]] * 3), x, y, x * y), (X, Y)),
    "products": (grad(lambda x, y: jnp.einsum("ij,kj->ik", x, y)), (X, Y)),
    "products in batches": (grad(lambda x, y: jnp.einsum("bij,bjk->bki", x, y)), (normal(2, 3, 4), normal(2, 4, 2))),
    "product of vectors": (grad(lambda x, y: x[0] @ y[0]), (X, Y)),
    "conv": (conv(), (IMAGE, normal(4, 3, 3, 2))),
    "conv with steps and holes": (conv(window_strides=(2, 1), rhs_dilation=(2, 2)), (IMAGE, normal(2, 3, 2, 2))),
    "conv in groups": (conv(feature_group_count=3), (IMAGE, normal(6, 1, 2, 2))),
    "conv of an array that is spread out": (conv(lhs_dilation=(2, 3), padding=((2, 1), (-1, 2))), (IMAGE, normal(2, 3, 3, 2))),
    "conv, the channels last": (
        conv(dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (IMAGE.transpose(0, 2, 3, 1), normal(3, 2, 3, 4)),
    ),
    "largest of windows": (pooled(-np.inf, lax.max, window_dilation=None), (IMAGE,)),
    "smallest of windows": (pooled(np.inf, lax.min), (IMAGE,)),
    "sum of windows": (pooled(0.0, lax.add, window_dilation=(1, 1, 1, 2)), (IMAGE,)),
    "sum of windows of an array that is spread out": (pooled(0.0, lax.add, base_dilation=(1, 1, 2, 1)), (IMAGE,)),
    "sums, means, norms": (grad(lambda x: jnp.sum(x, 0) + jnp.mean(x) + jnp.linalg.norm(x)), (X,)),
    "products of all": (grad(lambda x: jnp.prod(x, 1)), (X,)),
    "extremes": (grad(lambda x: jnp.max(x, 1) - jnp.min(x)), (X,)),
    "where they are": (lambda x: (jnp.argmax(x, 1), jnp.argmin(x, 0)), (X,)),
    "all, any": (lambda x: (jnp.all(x > -1, 1), jnp.any(x > 1, 0)), (X,)),
    "sorted": (grad(lambda x: jnp.sort(x, 0)), (X,)),
    "order, ties in their order": (lambda x: jnp.argsort(jnp.round(x)), (X,)),
    "largest two": (grad(lambda x: lax.top_k(x, 2)[0]), (X,)),
    "running sum backwards": (grad(lambda x: lax.cumsum(x, 1, reverse=True)), (X,)),
    "running product": (grad(lambda x: lax.cumprod(x, 0)), (X,)),
    "running extremes": (lambda x: (lax.cummax(x, 1), lax.cummin(x, 0, reverse=True), lax.cumlogsumexp(x, 1)), (X,)),
    "exponentials": (grad(lambda x: jnp.exp(x) + jnp.expm1(x) + jnp.exp2(x) + jax.nn.sigmoid(x)), (X,)),
    "logarithms": (grad(lambda x: jnp.log(x) + jnp.log1p(x) + jnp.log2(x) + jnp.cbrt(x) + lax.rsqrt(x)), (POSITIVE,)),
    "angles": (grad(lambda x: jnp.arcsin(x) + jnp.arccos(x) + jnp.arctan(x) + jnp.arctanh(x) + jnp.tan(x)), (UNIT,)),
    "hyperbolic": (grad(lambda x: jnp.sinh(x) + jnp.cosh(x) + jnp.tanh(x) + jnp.arcsinh(x) + jnp.arccosh(2.5 + x)), (UNIT,)),
    "two angles": (grad(jnp.arctan2), (X, Y)),
    "error functions": (grad(lambda x: lax.erf(x) + lax.erfc(x) + lax.erf_inv(x)), (UNIT,)),
    "gamma": (grad(lax.lgamma), (POSITIVE,)),
    "digamma": (lax.digamma, (POSITIVE,)),
    "powers": (grad(lambda x, y: jnp.abs(x) ** y + x**3 + x**-2), (X, Y)),
    "remainders": (lambda x, y: (lax.rem(x, y), x % y), (X, Y)),
    "floor, ceil, sign": (lambda x: (jnp.floor(x), jnp.ceil(x), jnp.sign(x), jnp.trunc(x)), (3 * X,)),
    "halves to even": (lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), (np.arange(-3, 3) / 2,)),
    "clamp": (grad(lambda x: jnp.clip(x, -0.5, 0.5)), (X,)),
    "comparisons": (lambda x, y: (x < y, x <= y, x == y, x != y, x > y, x >= y, jnp.isfinite(x)), (X, Y)),
    "bits": (lambda x: ((x > 0) & (x < 1), (x > 0) | (x < -1), (x > 0) ^ (x < 1), ~(x > 0)), (X,)),
    "division of integers": (lambda a, b: (lax.div(a, b), lax.rem(a, b), a // b), (NUMERATORS, DENOMINATORS)),
    "numbers": (lambda x: x + jnp.arange(4) + lax.broadcasted_iota(np.int32, (3, 4), 0), (X,)),
    "complex": (lambda x, y: (jnp.real((x + 1j * y) ** 2), jnp.imag(jnp.conj(lax.complex(x, y)))), (X, Y)),
    "NaN and infinity": (grad(lambda x: jnp.where(x > 0, jnp.log(x), jnp.exp(x))), (np.array([np.nan, np.inf, -np.inf, 0.0]),)),
    "a scan backwards": (grad(scanned), (X,)),
    "a loop": (doubled_until, (X,)),
    "a branch": (lambda x, i: lax.switch(i, [jnp.sin, jnp.cos, jnp.tanh], x), (X, 1)),
    "functions with rules of their own": (grad(lambda x: jax.nn.relu(x) + jax.nn.gelu(x) + jax.nn.logsumexp(x)), (X,)),
    "a checkpoint": (grad(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))), (X,)),  # type: ignore[attr-defined]
    "an int argument": (grad(lambda x, i: x * i), (X, np.arange(4))),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_gives_what_xla_gives(name: str) -> None:
    function, arguments = FUNCTIONS[name]
    same_as_compiled(function, *arguments)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2)), min_size=2, max_size=2))
def test_padding_of_any_sign_with_gaps(config: list[tuple[int, int, int]]) -> None:
    shape = [low + high + (n - 1) * (gap + 1) + 1 for n, (low, high, gap) in zip(X.shape, config, strict=True)]
    if min(shape) >= 0:
        same_as_compiled(lambda x: lax.pad(x, 7.0, config), X)


@settings(max_examples=15)
@given(st.data())
def test_windows_gathered_and_scattered(data: st.DataObject) -> None:
    """Windows of any size at any places, some outside, in any dimensions of the array and of the result."""
    batch = data.draw(st.sampled_from([(), (2,), (2, 3)]))
    x = normal(*data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    sizes = tuple(data.draw(st.integers(0 if n > 1 else 1, n)) for n in x.shape)
    collapsed = tuple(axis for axis, size in enumerate(sizes) if size == 1 and data.draw(st.booleans()))
    indexed = tuple(data.draw(st.permutations(range(x.ndim)))[: data.draw(st.integers(1, x.ndim))])
    rank = len(batch) + x.ndim - len(collapsed)
    offsets = tuple(sorted(data.draw(st.permutations(range(rank)))[: x.ndim - len(collapsed)]))
    starts = np.array(data.draw(st.lists(st.integers(-1, 4), min_size=len(indexed) * int(np.prod(batch)), max_size=60)))
    starts = np.resize(starts, (*batch, len(indexed)))
    mode = data.draw(st.sampled_from(["fill", "clip"]))
    numbers: Any = lax.GatherDimensionNumbers(offset_dims=offsets, collapsed_slice_dims=collapsed, start_index_map=indexed)
    same_as_compiled(grad(lambda x: lax.gather(x, starts, numbers, sizes, mode=mode)), x)


def test_what_has_no_function_here_is_compiled() -> None:
    def noisy(x: Any) -> Any:
        return x * jax.random.normal(jax.random.key(0), x.shape)

    with jax.enable_x64(True), pytest.raises(Unknown, match="random"):
        evaluate(jax.make_jaxpr(noisy)(X), [X])
    pullback = autodiff.vjp(noisy, (X,), np.ones_like(X), {})
    with jax.enable_x64(True):
        np.testing.assert_allclose(pullback.value, noisy(X), rtol=1e-15)
    np.testing.assert_allclose(pullback.cotangents[0] * X, pullback.value, rtol=1e-15)


def test_a_loop_without_end_in_sight_is_compiled() -> None:
    def counted(x: Any) -> Any:
        return lax.fori_loop(0, 20_000, lambda i, s: s + 1.0, x)

    with jax.enable_x64(True), pytest.raises(Unknown, match="more than"):
        evaluate(jax.make_jaxpr(counted)(X), [X])
    with jax.enable_x64(True):
        np.testing.assert_allclose(autodiff.vjp(counted, (X,), np.ones_like(X), {}).value, X + 20_000.0, rtol=1e-12)


def test_values_that_take_much_memory_are_compiled() -> None:
    def distances(x: Any) -> Any:
        return jnp.sum(jnp.abs(x[:, None] - x), 1)

    x = normal(1001)
    with jax.enable_x64(True), pytest.raises(Unknown, match="entries"):
        evaluate(jax.make_jaxpr(distances)(x), [x])
    value = autodiff.vjp(distances, (x,), np.ones_like(x), {}).value
    np.testing.assert_allclose(value, np.abs(x[:, None] - x).sum(1), rtol=1e-12)


def test_an_operation_whose_result_is_not_as_jax_announced_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from oracle.jaxprs import running

    monkeypatch.setitem(running.COMPUTED, "sin", lambda params, x: np.sin(x)[:-1])
    with jax.enable_x64(True), pytest.raises(Unknown, match="sin of"):
        evaluate(jax.make_jaxpr(jnp.sin)(X), [X])
    np.testing.assert_allclose(autodiff.vjp(jnp.sin, (X,), np.ones_like(X), {}).cotangents[0], np.cos(X), rtol=1e-15)


def test_the_values_share_no_memory_with_the_arguments() -> None:
    with jax.enable_x64(True):
        (value,) = evaluate(jax.make_jaxpr(lambda x: x)(X), [X])
    assert not np.shares_memory(value, X)
    assert value.flags.writeable
