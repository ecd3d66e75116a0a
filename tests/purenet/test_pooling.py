"""Pools: published values, ties, NaN and infinities, where windows end, and what divides their sums."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.op import Op
from purenet.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    lp_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool,
    maxima,
)

FOUR = np.arange(1.0, 17).reshape(1, 1, 4, 4)
FIVE = np.arange(1.0, 26).reshape(1, 1, 5, 5)
MAX, AVG = (max_pool1d, max_pool2d, max_pool3d), (avg_pool1d, avg_pool2d, avg_pool3d)


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape)


def slopes(op: Op, x: Any, dy: Any = None, **options: Any) -> Any:
    y, residuals = op.fwd(x, **options)
    return op.bwd(residuals, np.ones_like(y) if dy is None else dy)[0]


# ------------------------------------------------------------------------------------ values that others publish


@pytest.mark.parametrize(
    ("op", "x", "options", "expected"),
    [
        (max_pool2d, FOUR, {"window": 3, "stride": 2, "ceil_mode": True}, [[11, 12], [15, 16]]),
        (max_pool2d, FOUR, {"window": 2, "stride": 1, "dilation": 2}, [[11, 12], [15, 16]]),
        (max_pool2d, FIVE, {"window": 2}, [[7, 9], [17, 19]]),
        (max_pool2d, FIVE, {"window": 3, "stride": 2, "padding": "SAME"}, [[7, 9, 10], [17, 19, 20], [22, 24, 25]]),
        (avg_pool2d, FOUR, {"window": 3, "stride": 2, "ceil_mode": True}, [[6, 7.5], [12, 13.5]]),
        (avg_pool2d, FIVE, {"window": 2}, [[4, 6], [14, 16]]),
        (
            avg_pool2d,
            FIVE,
            {"window": 3, "stride": 2, "padding": "SAME", "count_include_pad": False},
            [[4, 5.5, 7], [11.5, 13, 14.5], [19, 20.5, 22]],
        ),
        (
            avg_pool2d,
            FIVE,
            {"window": 5, "stride": 1, "padding": 2, "count_include_pad": False},
            np.add.outer(np.arange(5) * 2.5, 7 + np.arange(5) / 2),
        ),
        (
            avg_pool2d,
            FIVE,
            {"window": 5, "stride": 1, "padding": 2},
            [
                [2.52, 3.6, 4.8, 4.08, 3.24],
                [4.56, 6.4, 8.4, 7.04, 5.52],
                [7.2, 10, 13, 10.8, 8.4],
                [6.96, 9.6, 12.4, 10.24, 7.92],
                [6.12, 8.4, 10.8, 8.88, 6.84],
            ],
        ),
    ],
)
def test_values_as_published_for_onnx(op: Op, x: Any, options: dict[str, Any], expected: Any) -> None:
    np.testing.assert_allclose(op(x, **options)[0, 0], expected, rtol=1e-14)


def test_indices_as_published_for_onnx() -> None:
    y, residuals = max_pool2d.fwd(FIVE, window=5, stride=1, padding=2)
    expected = [[12, 13, 14, 14, 14], [17, 18, 19, 19, 19], *[[22, 23, 24, 24, 24]] * 3]
    np.testing.assert_array_equal(residuals.indices[0, 0], expected)
    np.testing.assert_array_equal(y, FIVE.reshape(-1)[residuals.indices.astype(int)])


def test_max_unpool_as_published_for_onnx() -> None:
    y = max_unpool(np.array([[[[1.0, 2], [3, 4]]]]), indices=np.array([[[[5, 7], [13, 15]]]]), size=4)
    np.testing.assert_array_equal(y[0, 0], [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]])


# -------------------------------------------------------------------------------------------------- max pools


def test_the_first_of_equal_entries_gets_the_gradient_of_every_window() -> None:
    dx = slopes(max_pool2d, np.zeros((1, 1, 3, 3)), np.array([[[[1.0, 10.0], [100.0, 1000.0]]]]), window=2, stride=1)
    np.testing.assert_array_equal(dx[0, 0], [[1, 10, 0], [100, 1000, 0], [0, 0, 0]])


def test_first_means_row_by_row() -> None:
    x = np.array([[[[0.0, 0.0, 5.0], [5.0, 0.0, 0.0]]]])
    np.testing.assert_array_equal(slopes(max_pool2d, x, window=(2, 3))[0, 0], [[0, 0, 1], [0, 0, 0]])


def test_windows_that_overlap_add_their_gradients() -> None:
    x = np.array([[[0.0, 3.0, 1.0, 2.0]]])
    np.testing.assert_array_equal(
        slopes(max_pool1d, x, np.array([[[1.0, 10.0, 100.0]]]), window=2, stride=1), [[[0, 11, 0, 100]]]
    )


@pytest.mark.parametrize("op", MAX, ids=str)
def test_nan_is_the_largest(op: Op) -> None:
    n = MAX.index(op) + 1
    x = numbers(1, 2, *[4] * n)
    x[(0, 0, *[1] * n)] = np.nan
    x[(0, 0, 1, *[0] * (n - 1))] = np.nan
    y = op(x, window=2)
    assert np.isnan(y).sum() == 1
    assert np.isnan(y[(0, 0, *[0] * n)])
    first = (0, 0, 1, *[0] * (n - 1))  # in the order of memory
    assert np.isnan(slopes(op, x, y, window=2)[first])
    assert np.isnan(slopes(op, x, y, window=2)).sum() == 1


def test_padding_is_never_the_largest() -> None:
    x = np.full((1, 1, 2, 2), -np.inf)
    y, residuals = max_pool2d.fwd(x, window=2, stride=1, padding=1)
    assert (y == -np.inf).all()
    np.testing.assert_array_equal(residuals.indices[0, 0], [[0, 0, 1], [0, 0, 1], [2, 2, 3]])
    assert slopes(max_pool2d, x, window=2, stride=1, padding=1).sum() == 9


@pytest.mark.parametrize(
    ("size", "options", "count"),
    [
        (5, {"window": 2}, 2),
        (5, {"window": 2, "ceil_mode": True}, 3),
        (5, {"window": 2, "stride": 3, "ceil_mode": True}, 2),
        (4, {"window": 2, "stride": 3, "ceil_mode": True}, 2),
        (3, {"window": 1, "stride": 3, "padding": 0, "ceil_mode": True}, 1),
        (6, {"window": 2, "stride": 4, "padding": 1, "ceil_mode": True}, 2),
        (2, {"window": 3, "stride": 2, "ceil_mode": True}, 1),
    ],
)
def test_windows_begin_before_the_end(size: int, options: dict[str, Any], count: int) -> None:
    assert max_pool1d(np.ones((1, 1, size)), **options).shape == (1, 1, count)


@pytest.mark.parametrize("options", [{"padding": 2}, {"padding": (0, 3)}, {"padding": "SAME", "dilation": 8, "stride": 1}])
def test_a_window_of_padding_alone_has_no_largest_entry(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_pool2d: a window holds nothing but padding"):
        max_pool2d(np.ones((1, 1, 4, 4)), window=2, **options)


def test_unpooling_what_was_pooled_keeps_the_largest_entries() -> None:
    x = numbers(2, 3, 4, 6) + 5
    y, residuals = max_pool2d.fwd(x, window=(2, 3))
    back = max_unpool(y, indices=residuals.indices, size=(4, 6))
    np.testing.assert_array_equal(max_pool2d(back, window=(2, 3)), y)
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    assert (back != 0).sum() == y.size


def test_indices_are_no_larger_than_they_need_to_be() -> None:
    _, residuals = max_pool2d.fwd(np.zeros((1, 1, 300, 300)), window=2)
    assert residuals.indices.dtype == np.uint32
    assert max_pool2d.fwd(np.zeros((1, 1, 16, 15)), window=2)[1].indices.dtype == np.uint8


# ------------------------------------------------------------------------------------------- averages and norms


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_windows_as_defined_one_by_one(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.tuples(*[st.integers(low, high)] * n)))

    size, window, stride, dilation, padding = each(3, 6), each(1, 3), each(1, 4), each(1, 2), each(0, 1)
    padding = tuple(min(p, k - 1) if d == 1 else 0 for p, k, d in zip(padding, window, dilation, strict=True))
    size = tuple(max(m, d * (k - 1) + 1) for m, k, d in zip(size, window, dilation, strict=True))
    options: dict[str, Any] = {"window": window, "stride": stride, "dilation": dilation, "padding": padding}
    include = data.draw(st.booleans())
    x = numbers(1, 2, *size)
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=np.nan)
    largest, mean = MAX[n - 1](x, **options), AVG[n - 1](x, count_include_pad=include, **options)
    norm = lp_pool(x, p=3, **options)
    for place in itertools.product(*map(range, largest.shape[2:])):
        cut = (slice(s * i, s * i + d * (k - 1) + 1, d) for i, s, d, k in zip(place, stride, dilation, window, strict=True))
        box = padded[(..., *cut)].reshape(2, -1)
        np.testing.assert_array_equal(largest[(0, slice(None), *place)], np.nanmax(box, axis=1))
        count = box.shape[1] if include else (~np.isnan(box[0])).sum()
        np.testing.assert_allclose(mean[(0, slice(None), *place)], np.nansum(box, axis=1) / count, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(norm[(0, slice(None), *place)], np.nansum(abs(box) ** 3, axis=1) ** (1 / 3), rtol=1e-12)


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_parts_as_defined_one_by_one(cut: list[tuple[int, int]]) -> None:
    x = numbers(1, 2, *(m for m, _ in cut))
    size = tuple(n for _, n in cut)
    largest, mean = adaptive_max_pool(x, size=size), adaptive_avg_pool(x, size=size)
    for place in itertools.product(*map(range, size)):
        part = tuple(slice(i * m // n, -(-(i + 1) * m // n)) for i, (m, n) in zip(place, cut, strict=True))
        box = x[(..., *part)].reshape(2, -1)
        np.testing.assert_array_equal(largest[(0, slice(None), *place)], box.max(axis=1))
        np.testing.assert_allclose(mean[(0, slice(None), *place)], box.mean(axis=1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(slopes(adaptive_avg_pool, x, size=size).sum(), 2 * np.prod(size), rtol=1e-12)
    assert slopes(adaptive_max_pool, x, size=size).sum() == 2 * np.prod(size)


def test_one_part_is_the_whole() -> None:
    x = numbers(2, 3, 4, 5)
    np.testing.assert_array_equal(adaptive_max_pool(x, size=1), global_max_pool(x, keepdims=True))
    np.testing.assert_allclose(adaptive_avg_pool(x, size=1), global_avg_pool(x, keepdims=True), rtol=1e-12)


def test_parts_of_equal_size_are_windows() -> None:
    x = numbers(2, 3, 4, 6)
    np.testing.assert_array_equal(adaptive_max_pool(x, size=2), max_pool2d(x, window=(2, 3)))
    np.testing.assert_allclose(adaptive_avg_pool(x, size=2), avg_pool2d(x, window=(2, 3)), rtol=1e-12)


def test_infinity_reaches_only_the_part_that_holds_it() -> None:
    x = np.zeros((1, 1, 6))
    x[..., 0] = np.inf
    np.testing.assert_array_equal(adaptive_avg_pool(x, size=3), [[[np.inf, 0, 0]]])
    np.testing.assert_array_equal(slopes(adaptive_avg_pool, x[..., :3], x[..., :2], size=2), [[[np.inf, np.inf, 0]]])


def test_the_norm_of_large_and_small_numbers_neither_overflows_nor_vanishes() -> None:
    x = np.array([[[3e30, -4e30], [3e-30, 4e-30]]], np.float32)
    np.testing.assert_allclose(lp_pool(x, window=2)[..., 0], [[5e30, 5e-30]], rtol=1e-6)
    np.testing.assert_allclose(lp_pool(x, window=2, p=40.0)[..., 0], [[4e30, 4e-30]], rtol=1e-5)
    np.testing.assert_allclose(slopes(lp_pool, x, window=2), [[[0.6, -0.8], [0.6, 0.8]]], rtol=1e-6)
    np.testing.assert_array_equal(lp_pool(np.array([[[-np.inf, 3e200, 1.0, np.nan]]]), window=2), [[[np.inf, np.nan]]])


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_a_norm_of_zeros_pushes_nothing(p: float) -> None:
    assert not slopes(lp_pool, np.zeros((1, 1, 4)), window=2, p=p).any()
    np.testing.assert_array_equal(slopes(lp_pool, np.array([[[0.0, -2.0]]]), window=2, p=p), [[[0, -1]]])


@pytest.mark.parametrize("op", [avg_pool2d, lp_pool], ids=str)
def test_nan_reaches_only_the_windows_that_hold_it(op: Op) -> None:
    x = numbers(1, 1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(op(x, window=2)[0, 0]), [[True, False], [False, False]])


@pytest.mark.parametrize("op", [max_pool2d, avg_pool2d, lp_pool], ids=str)
def test_images_without_channels_have_pools_without_channels(op: Op) -> None:
    y, residuals = op.fwd(np.zeros((2, 0, 4, 4)), window=2)
    assert y.shape == (2, 0, 2, 2)
    assert op.bwd(residuals, y)[0].shape == (2, 0, 4, 4)


@pytest.mark.parametrize("op", [max_pool2d, avg_pool2d, lp_pool], ids=str)
def test_no_stride_is_the_window(op: Op) -> None:
    x = numbers(1, 2, 6, 5)
    np.testing.assert_array_equal(op(x, window=(3, 2)), op(x, window=(3, 2), stride=(3, 2)))


@pytest.mark.parametrize(
    ("shape", "size"), [((2, 3, 7), 3), ((1, 2, 5, 7), (2, 7)), ((2, 1, 4, 3, 5), (3, 2, 4)), ((0, 2, 5), 2)]
)
def test_box_by_box_gives_what_an_axis_at_a_time_gives(shape: Any, size: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(-2, 3, shape).astype(float)  # with equal entries
    x[x == 2] = np.nan
    found = []
    for most in (0, 10**9):
        monkeypatch.setattr(maxima, "MOST", most)
        y, residuals = adaptive_max_pool.fwd(x, size=size)
        found.append((y, residuals.indices, *adaptive_max_pool.bwd(residuals, numbers(*y.shape))))
    for one, other in zip(*found, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_array_equal(one, other)
