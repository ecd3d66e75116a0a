"""Shapes, places, margins and grids: what NumPy makes of them, adjoints, edges, and what they leave alone."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import purenet as pn
from purenet import shaping
from purenet.axis_products import DENSE
from purenet.shaping import ordering

Array = np.ndarray[Any, Any]

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
FEW = settings(max_examples=25, deadline=None, derandomize=True)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def check_adjoint(op: pn.Op, x: Array, **options: Any) -> Array:
    """The pullback of a linear map A is its adjoint: <A x, dy> = <x, A' dy>. Returns A x."""
    y, pullback = pn.vjp(op, x, **options)
    dy = drawn(*y.shape, seed=1)
    (dx,) = pullback(dy)
    assert dx.shape == x.shape
    np.testing.assert_allclose(np.vdot(op(x, **options), dy), np.vdot(x, dx), rtol=1e-12, atol=1e-12)
    return np.asarray(y)


# ------------------------------------------------------------------------------------------------ as NumPy


@FEW
@given(shape=SHAPES, data=st.data())
def test_pad_is_numpys(shape: tuple[int, ...], data: st.DataObject) -> None:
    margins = data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=len(shape), max_size=len(shape)))
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    x = drawn(*shape)
    y = check_adjoint(shaping.pad, x, pad_width=tuple(margins), mode=mode)
    numpys: Any = np.pad
    np.testing.assert_array_equal(y, numpys(x, margins, mode))


@FEW
@given(shape=SHAPES, data=st.data())
def test_gather_and_take_along_axis_are_numpys(shape: tuple[int, ...], data: st.DataObject) -> None:
    x, axis = drawn(*shape), data.draw(st.integers(-len(shape), len(shape) - 1))
    places = st.integers(0, shape[axis] - 1)
    indices = data.draw(hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=2, max_side=3), elements=places))
    np.testing.assert_array_equal(check_adjoint(shaping.gather, x, indices=indices, axis=axis), np.take(x, indices, axis))
    rows = list(shape)
    rows[axis] = data.draw(st.integers(0, 5))
    indices = data.draw(hnp.arrays(np.int8, tuple(rows), elements=places))
    y = check_adjoint(shaping.take_along_axis, x, indices=indices, axis=axis)
    np.testing.assert_array_equal(y, np.take_along_axis(x, indices, axis))


@FEW
@given(shape=SHAPES, reps=st.lists(st.integers(0, 3), max_size=5))
def test_tile_is_numpys(shape: tuple[int, ...], reps: list[int]) -> None:
    x = drawn(*shape)
    np.testing.assert_array_equal(check_adjoint(shaping.tile, x, reps=tuple(reps)), np.tile(x, reps))


@FEW
@given(shape=SHAPES, data=st.data())
def test_what_is_joined_comes_apart(shape: tuple[int, ...], data: st.DataObject) -> None:
    x, axis = drawn(*shape), data.draw(st.integers(-len(shape), len(shape) - 1))
    places = sorted(data.draw(st.lists(st.integers(0, shape[axis]), max_size=3)))
    parts, pullback = pn.vjp(shaping.split, x, indices_or_sections=tuple(places), axis=axis)
    for ours, numpys in zip(parts, np.split(x, places, axis), strict=True):
        np.testing.assert_array_equal(ours, numpys)
    joined, back = pn.vjp(shaping.concat, parts, axis=axis)
    np.testing.assert_array_equal(joined, x)
    np.testing.assert_array_equal(pullback(back(x)[0])[0], x)


def test_a_list_of_arrays_has_a_list_of_gradients() -> None:
    arrays = [drawn(2), drawn(3)]
    for op, given_arrays in ((shaping.concat, arrays), (shaping.stack, [drawn(2), drawn(2)])):
        y, pullback = pn.vjp(op, given_arrays)
        (gradients,) = pullback(np.ones_like(y))
        assert type(gradients) is list
        assert [g.shape for g in gradients] == [a.shape for a in given_arrays]


# -------------------------------------------------------------------------------------------- other libraries


def test_interpolate_gives_what_torch_gives() -> None:
    x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    np.testing.assert_array_equal(shaping.interpolate(x, scale_factor=2), x.repeat(2, axis=2).repeat(2, axis=3))
    bilinear = [[1.0, 1.25, 1.75, 2.0], [1.5, 1.75, 2.25, 2.5], [2.5, 2.75, 3.25, 3.5], [3.0, 3.25, 3.75, 4.0]]
    np.testing.assert_array_equal(shaping.interpolate(x, scale_factor=2, mode="bilinear")[0, 0], bilinear)
    corners = shaping.interpolate(x, size=4, mode="bilinear", align_corners=True)[0, 0]
    np.testing.assert_allclose(corners, 1 + np.add.outer(2 * np.arange(4), np.arange(4)) / 3, rtol=1e-15)


@pytest.mark.parametrize(
    ("options", "entries"),
    [
        ({"size": 3}, [0, 1, 3]),
        ({"size": 3, "mode": "nearest-exact"}, [0, 2, 4]),
        ({"size": 8}, [0, 0, 1, 1, 2, 3, 3, 4]),
        ({"scale_factor": 0.5}, [0, 2]),
        ({"scale_factor": 2.5}, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]),
    ],
)
def test_the_nearest_entries_are_those_of_torch(options: dict[str, Any], entries: list[int]) -> None:
    np.testing.assert_array_equal(shaping.interpolate(np.arange(5.0).reshape(1, 1, 5), **options)[0, 0], entries)


@pytest.mark.parametrize("n", [3, DENSE + 1])
def test_an_infinite_entry_at_the_end_stays_infinite(n: int) -> None:
    """There the weights 1 and 0 are of the same entry, and 0 times infinity is no number."""
    x = np.zeros((1, 1, n))
    x[..., -1] = np.inf
    for corners in (False, True):
        assert shaping.interpolate(x, size=2 * n, mode="linear", align_corners=corners)[0, 0, -1] == np.inf


@given(n=st.integers(1, 50), m=st.integers(1, 50))
@FEW
def test_the_nearest_entry_is_not_lost_to_rounding(n: int, m: int) -> None:
    y = shaping.interpolate(np.arange(float(n)).reshape(1, 1, n), size=m)[0, 0]
    np.testing.assert_array_equal(y, np.arange(m) * n // m)


@pytest.mark.parametrize("mode", ["linear", "nearest", "nearest-exact"])
@FEW
@given(n=st.integers(1, 9), m=st.integers(1, 9))
def test_interpolation_keeps_constants_and_is_undone_by_its_adjoint_in_sum(mode: str, n: int, m: int) -> None:
    y = check_adjoint(shaping.interpolate, drawn(2, 3, n), size=m, mode=mode)
    assert y.shape == (2, 3, m)
    np.testing.assert_allclose(shaping.interpolate(np.ones((1, 1, n)), size=m, mode=mode), 1, rtol=1e-15)


def test_pixel_shuffle_is_torchs() -> None:
    x = np.arange(16.0).reshape(1, 8, 1, 2)
    y = check_adjoint(shaping.pixel_shuffle, x, upscale_factor=2)
    np.testing.assert_array_equal(y, [[[[0, 2, 1, 3], [4, 6, 5, 7]], [[8, 10, 9, 11], [12, 14, 13, 15]]]])


# ------------------------------------------------------------------------------------------------------ edges


def test_clip_lets_infinities_through_where_there_is_no_bound() -> None:
    x = np.array([-np.inf, 0.0, np.inf, np.nan])
    y, pullback = pn.vjp(shaping.clip, x, min=-1.0)
    np.testing.assert_array_equal(y, [-1, 0, np.inf, np.nan])
    np.testing.assert_array_equal(pullback(np.ones(4))[0], [0, 1, 1, 0])


def test_where_keeps_what_is_not_chosen_out() -> None:
    x, y = np.array([1.0, np.nan]), np.array([np.inf, 2.0])
    z, pullback = pn.vjp(shaping.where, x, y, condition=np.array([True, False]))
    np.testing.assert_array_equal(z, [1, 2])
    np.testing.assert_array_equal(pullback(np.array([3.0, 5.0])), [[3, 0], [0, 5]])


def test_triangles_leave_out_nan() -> None:
    x = np.array([[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(shaping.tril(x), [[1, 0], [2, 3]])


def test_options_may_change_before_the_pullback() -> None:
    x = drawn(3, 2)
    indices, condition = np.array([[0, 1], [1, 1], [0, 0]]), np.array([[True, False]] * 3)
    _, take = pn.vjp(shaping.take_along_axis, x, indices=indices)
    _, gather = pn.vjp(shaping.gather, x, indices=indices)
    _, where = pn.vjp(shaping.where, x, x, condition=condition)
    before = take(np.ones((3, 2)))[0], gather(np.ones((3, 2, 2)))[0], where(np.ones((3, 2)))[0]
    indices[...], condition[...] = 0, True
    after = take(np.ones((3, 2)))[0], gather(np.ones((3, 2, 2)))[0], where(np.ones((3, 2)))[0]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


VIEWS: list[tuple[pn.Op, dict[str, Any]]] = [
    (shaping.reshape, {"shape": -1}),
    (shaping.flatten, {}),
    (shaping.expand_dims, {"axis": 0}),
    (shaping.transpose, {}),
    (shaping.flip, {}),
    (shaping.slice, {"start_indices": (0, 1, 0), "limit_indices": (2, 2, 3)}),
]


@pytest.mark.parametrize(("op", "options"), VIEWS, ids=lambda v: repr(v) if isinstance(v, pn.Op) else "")
def test_values_that_only_look_at_x_differently_are_views(op: pn.Op, options: dict[str, Any]) -> None:
    x = drawn(2, 2, 3)
    y, pullback = pn.vjp(op, x, **options)
    assert np.shares_memory(x, y)
    dy = np.ones_like(y)
    assert not np.shares_memory(dy, pullback(dy)[0])


NEUTRAL: list[tuple[pn.Op, dict[str, Any]]] = [
    (shaping.tile, {"reps": 1}),
    (shaping.pad, {"pad_width": 0}),
    (shaping.pad, {"pad_width": 0, "mode": "wrap"}),
    (shaping.gather, {"indices": np.arange(2)}),
    (shaping.clip, {}),
    (shaping.triu, {"k": -9}),
    (shaping.pixel_shuffle, {"upscale_factor": 1}),
    (shaping.interpolate, {"scale_factor": 1}),
]


@pytest.mark.parametrize(("op", "options"), NEUTRAL, ids=lambda v: repr(v) if isinstance(v, pn.Op) else "")
def test_others_copy_even_what_they_leave_as_it_is(op: pn.Op, options: dict[str, Any]) -> None:
    x, dy = drawn(2, 2, 3), drawn(2, 2, 3, seed=1)
    y, pullback = pn.vjp(op, x, **options)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(pullback(dy)[0], dy)
    assert not np.shares_memory(x, y)
    assert not np.shares_memory(dy, pullback(dy)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("op", "options"),
    [
        *VIEWS,
        *NEUTRAL,
        (shaping.pad, {"pad_width": 2, "mode": "reflect"}),
        (shaping.interpolate, {"size": 5, "mode": "linear"}),
        (shaping.take_along_axis, {"indices": np.zeros((2, 2, 1), int)}),
        (shaping.clip, {"min": np.array([-1.0, 0.0, 1.0]), "max": 2}),
    ],
    ids=lambda v: repr(v) if isinstance(v, pn.Op) else "",
)
def test_dtypes_stay(op: pn.Op, options: dict[str, Any], dtype: Any) -> None:
    x = np.linspace(-1e4, 1e4, 12).reshape(2, 2, 3).astype(dtype)
    y, pullback = pn.vjp(op, x, **options)
    assert y.dtype == pullback(np.ones_like(y))[0].dtype == x.dtype


def test_nan_is_largest_and_of_equal_entries_the_first_is_chosen() -> None:
    x = np.array([2.0, np.nan, 3.0, 3.0, -np.inf, np.nan])
    y, residuals = pn.top_k.fwd(x, k=5)
    np.testing.assert_array_equal(y, [np.nan, np.nan, 3.0, 3.0, 2.0])
    np.testing.assert_array_equal(residuals.indices, [1, 5, 2, 3, 0])
    np.testing.assert_array_equal(pn.sort(x), np.sort(x))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_largest_one_by_one_are_those_of_sorting(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where entries are equal, infinite or NaN."""
    x = np.random.default_rng(0).integers(0, 4, (6, 7, 8)).astype(float)
    for value in (np.nan, np.inf):
        x[2, 3, 4], x[5, 3, 4] = value, value
        monkeypatch.setattr(ordering, "PLAIN", 10**18)
        by_sorting = pn.top_k.fwd(x, k=4, axis=axis)[1]
        monkeypatch.setattr(ordering, "PLAIN", 0)
        assert ordering.one_by_one(x, 4, axis) is not None
        np.testing.assert_array_equal(pn.top_k.fwd(x, k=4, axis=axis)[1].indices, by_sorting.indices)
    x[:2, :2, :] = -np.inf  # stands for what has been taken
    assert ordering.one_by_one(x, 7, 1) is None
    assert ordering.one_by_one(np.full((2, 3), -np.inf), 1, 1) is not None


@pytest.mark.parametrize("axes", [(1, 0), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_the_gradient_of_a_large_transpose_is_a_copy_in_the_inverse_order(axes: tuple[int, ...]) -> None:
    x = drawn(*(300, 21, 270)[: len(axes)])
    y, pullback = pn.vjp(pn.transpose, x, axes=axes)
    (dx,) = pullback(y.copy())
    np.testing.assert_array_equal(dx, x)
    assert dx.flags.c_contiguous
