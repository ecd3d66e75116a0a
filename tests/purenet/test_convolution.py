"""Convolutions: published values, products of matrices of any size, adjoints, and what options mean."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.convolution import (
    causal_conv1d,
    col2im,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    depthwise_conv2d,
    im2col,
    lines,
    matrix_products,
    separable_conv2d,
)
from purenet.op import Op

MODULE = importlib.import_module("purenet.convolution.conv2d")  # the module: the package has the op by this name
COUNT = np.arange(25.0).reshape(1, 1, 5, 5)
ONES = {"w": np.ones((1, 1, 3, 3))}


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def test_six_by_six_with_two_by_two_and_padding_gives_seven_by_seven() -> None:
    assert conv2d({"w": np.ones((1, 1, 2, 2))}, np.ones((1, 1, 6, 6)), stride=1, padding=1).shape == (1, 1, 7, 7)


def test_col2im_of_im2col_counts_the_windows_that_cover_each_entry() -> None:
    x = numbers(1, 1, 4, 4)
    coverage = np.array([[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]])
    there_and_back = col2im(im2col(x, window=3), size=4, window=3)
    np.testing.assert_allclose(there_and_back[0, 0], x[0, 0] * coverage, rtol=1e-15)


def test_col2im_is_an_inverse_where_each_entry_is_covered_once() -> None:
    x, options = numbers(2, 3, 6, 4), {"window": (3, 2), "stride": (3, 2)}
    np.testing.assert_array_equal(col2im(im2col(x, **options), size=(6, 4), **options), x)


def test_im2col_is_laid_out_by_channel_then_by_tap() -> None:
    x = numbers(2, 3, 4, 5)
    columns = im2col(x, window=(2, 3), stride=(1, 2)).reshape(2, 3, 2, 3, 3, 2)
    np.testing.assert_array_equal(columns[:, 1, 1, 2], x[:, 1, 1:4, 2::2])


def test_columns_of_single_entries_are_a_copy() -> None:
    x = numbers(1, 2, 3, 4)
    y = im2col(x, window=1)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)


# ------------------------------------------------------------------------------------ values that others publish


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"padding": 1},
            [
                [12, 21, 27, 33, 24],
                [33, 54, 63, 72, 51],
                [63, 99, 108, 117, 81],
                [93, 144, 153, 162, 111],
                [72, 111, 117, 123, 84],
            ],
        ),
        ({}, [[54, 63, 72], [99, 108, 117], [144, 153, 162]]),
        ({"padding": "SAME_LOWER", "stride": 2}, [[12, 27, 24], [63, 108, 81], [72, 117, 84]]),
    ],
)
def test_conv2d_as_published_for_onnx(options: dict[str, Any], expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(conv2d(ONES, COUNT, **options)[0, 0], expected)


def test_conv2d_with_more_padding_on_one_side_as_published_for_onnx() -> None:
    x = np.arange(35.0).reshape(1, 1, 7, 5)
    y = conv2d(ONES, x, stride=2, padding=(1, 0))
    np.testing.assert_array_equal(y[0, 0], [[21, 33], [99, 117], [189, 207], [171, 183]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 1, 3, 3, 2], [3, 8, 15, 12, 7], [9, 21, 36, 27, 15], [9, 20, 33, 24, 13], [6, 13, 21, 15, 8]]),
        (
            {"stride": (3, 2), "padding": (1, 2)},
            [[1, 1, 3], [1, 1, 3], [7, 4, 9], [7, 4, 9], [7, 4, 9], [13, 7, 15], [13, 7, 15]],
        ),
        (
            {"stride": (3, 2), "output_padding": 1},
            [*[[0, 0, 1, 1, 3, 2, 2, 0]] * 3, *[[3, 3, 7, 4, 9, 5, 5, 0]] * 3, *[[6, 6, 13, 7, 15, 8, 8, 0]] * 3, [0] * 8],
        ),
    ],
)
def test_conv_transpose2d_as_published_for_onnx(options: dict[str, Any], expected: list[list[float]]) -> None:
    y = conv_transpose2d({"w": np.ones((1, 2, 3, 3))}, np.arange(9.0).reshape(1, 1, 3, 3), **options)
    np.testing.assert_array_equal(y[0], [expected, expected])


def test_conv_transpose2d_dilated_as_published_for_onnx() -> None:
    x, w = np.array([[[[3.0, 8, 1], [9, 5, 7], [3, 2, 6]]]]), np.array([[[[7.0, 2], [1, 9]]]])
    expected = [[21, 56, 13, 16, 2], [63, 35, 67, 10, 14], [24, 22, 76, 76, 21], [9, 5, 88, 45, 63], [3, 2, 33, 18, 54]]
    np.testing.assert_array_equal(conv_transpose2d({"w": w}, x, dilation=2)[0, 0], expected)


# ------------------------------------------------------------------------------- products of any size, with any options


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_products_of_one_tap_or_of_all_give_the_same(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3))
    op = (conv1d, conv2d, conv3d)[n - 1]

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.tuples(*[st.integers(low, high)] * n)))

    window, stride, dilation, padding, groups = each(1, 3), each(1, 4), each(1, 3), each(0, 2), data.draw(st.integers(1, 2))
    size = tuple(d * (k - 1) + 1 + more for d, k, more in zip(dilation, window, each(0, 3), strict=True))
    filters = data.draw(st.sampled_from([1, 3])) * groups  # fewer than there are channels, or more
    params, x = {"w": numbers(filters, 2, *window), "b": numbers(filters)}, numbers(2, 2 * groups, *size, seed=1)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "PLAIN", 0)
        for bound in (1, 10**9):
            for name in ("FEW", "NARROW", "BLOCK", "NEAR", "FEWEST", "MORE"):
                patch.setattr(matrix_products, name, bound)
            patch.setattr(lines, "FEWEST", bound)
            y, residuals = op.fwd(params, x, stride=stride, dilation=dilation, padding=padding, groups=groups)
            dparams, dx = op.bwd(residuals, numbers(*y.shape, seed=2))
            found.append((y, dparams["w"], dparams["b"], dx))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_lines_and_products_in_parts_give_the_same(data: st.DataObject) -> None:
    """Taps as channels, the adjoint as a convolution, and windows a few at a time, with any padding and dilation."""
    n = data.draw(st.integers(2, 3))
    op = (conv2d, conv3d)[n - 2]

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.tuples(*[st.integers(low, high)] * n)))

    window, dilation, groups = each(1, 3), each(1, 3), data.draw(st.integers(1, 2))
    padding = tuple(tuple(data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))) for _ in range(n))
    size = tuple(d * (k - 1) + 1 + more for d, k, more in zip(dilation, window, each(0, 3), strict=True))
    params, x = {"w": numbers(3 * groups, 2, *window), "b": numbers(3 * groups)}, numbers(2, 2 * groups, *size, seed=1)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "PLAIN", 0)
        for fewest, small, thin in ((10**9, 10**6, 64), (1, 10**6, 64), (1, 50, 1)):
            patch.setattr(lines, "FEWEST", fewest)
            patch.setattr(lines, "BLOCK", 1 if small == 50 else 2**21)
            patch.setattr(matrix_products, "SMALL", small)
            patch.setattr(matrix_products, "THIN", thin)
            y, residuals = op.fwd(params, x, dilation=dilation, padding=padding, groups=groups)
            dparams, dx = op.bwd(residuals, numbers(*y.shape, seed=2))
            found.append((y, dparams["w"], dparams["b"], dx))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("fewest", [1, 10**9])
def test_what_is_not_finite_stays_with_the_windows_that_have_it(
    bad: float, padding: int, fewest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no effect on windows that would begin so late in a row that they leave the image: there are none."""
    monkeypatch.setattr(MODULE, "PLAIN", 0)
    monkeypatch.setattr(lines, "FEWEST", fewest)
    params, x = {"w": numbers(3, 2, 3, 3)}, numbers(2, 2, 5, 6, seed=1)
    x[0, 0, 2, 0] = bad  # under the first tap of a row if there is no padding, under the first two if there is
    y, residuals = conv2d.fwd(params, x, padding=padding)
    dparams, dx = conv2d.bwd(residuals, numbers(*y.shape, seed=2))
    assert np.isfinite(y[0, :, :, 1 + padding :]).all()
    assert not np.isfinite(y[0, :, 1, 0]).any()
    assert np.isfinite(dparams["w"][..., 1 + padding :]).all()
    assert np.isfinite(dx).all()
    params["w"][0, 0, 0, 0] = bad  # the last row and column of the image are not under the first tap
    _, residuals = conv2d.fwd(params, numbers(*x.shape, seed=3))
    assert np.isfinite(conv2d.bwd(residuals, np.ones((2, 3, 3, 4)))[1][:, :, -1, -1]).all()


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3))
    conv, back = ((conv1d, conv_transpose1d), (conv2d, conv_transpose2d), (conv3d, conv_transpose3d))[n - 1]
    window, stride, dilation, groups = (data.draw(st.integers(1, high)) for high in (3, 3, 2, 2))
    padding = tuple(tuple(data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))) for _ in range(n))
    span = dilation * (window - 1) + 1
    x = numbers(2, 2 * groups, *(span + data.draw(st.integers(0, 4)) for _ in range(n)))
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups, "padding": padding}
    w = numbers(3 * groups, 2, *[window] * n, seed=1)
    y = conv({"w": w}, x, **options)
    other = numbers(*y.shape, seed=2)
    rest = [(m + sum(p) - span) % stride for m, p in zip(x.shape[2:], padding, strict=True)]
    z = back({"w": w}, other, output_padding=tuple(min(r, max(stride, dilation) - 1) for r in rest), **options)
    np.testing.assert_allclose(np.vdot(y, other), np.vdot(x, z), rtol=1e-10)


@pytest.mark.parametrize(("size", "stride"), [(5, 1), (5, 2), (6, 4), (7, 3), (2, 5)])
@pytest.mark.parametrize("name", ["SAME", "same_lower"])
def test_same_padding_gives_a_window_for_each_stride(size: int, stride: int, name: str) -> None:
    y = conv1d({"w": np.ones((1, 1, 4))}, np.ones((1, 1, size)), stride=stride, padding=name)
    assert y.shape == (1, 1, -(-size // stride))


def test_same_puts_the_odd_entry_after_and_same_lower_before() -> None:
    params, x = {"w": np.array([[[1.0, 10.0]]])}, np.array([[[1.0, 2.0, 3.0]]])
    np.testing.assert_array_equal(conv1d(params, x, padding="SAME")[0, 0], [21, 32, 3])
    np.testing.assert_array_equal(conv1d(params, x, padding="SAME_LOWER")[0, 0], [10, 21, 32])


def test_an_integer_stands_for_all_axes_and_both_sides() -> None:
    params, x = {"w": numbers(2, 3, 3, 2)}, numbers(1, 3, 6, 7)
    expected = conv2d(params, x, stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(2, 2))
    np.testing.assert_array_equal(conv2d(params, x, stride=2, padding=1, dilation=2), expected)
    np.testing.assert_array_equal(conv2d(params, x, stride=[np.int64(2), 2], padding=[1, (1, 1)], dilation=2), expected)


def test_groups_do_not_see_each_other() -> None:
    params, x = {"w": numbers(4, 2, 3, 3), "b": numbers(4)}, numbers(2, 4, 5, 4)
    halves = [conv2d({"w": params["w"][h], "b": params["b"][h]}, x[:, h]) for h in (slice(0, 2), slice(2, 4))]
    np.testing.assert_allclose(conv2d(params, x, groups=2), np.concatenate(halves, axis=1), rtol=1e-12, atol=1e-12)


def test_the_future_does_not_change_a_causal_convolution() -> None:
    params, x = {"w": numbers(3, 2, 4)}, numbers(1, 2, 9)
    changed = x + np.where(np.arange(9) >= 5, 1.0, 0.0)
    before, after = (causal_conv1d(params, a, dilation=2) for a in (x, changed))
    np.testing.assert_array_equal(before[..., :5], after[..., :5])
    assert (before[..., 5:] != after[..., 5:]).all()


def test_a_separable_convolution_is_its_two_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "PLAIN", 0)  # as separable_conv2d does it: the plain sums round otherwise
    wd, wp, b, x = numbers(6, 1, 3, 2), numbers(2, 6, 1, 1), numbers(2), numbers(2, 3, 5, 4)
    expected = conv2d({"w": wp, "b": b}, depthwise_conv2d({"w": wd}, x, stride=2, padding=1))
    np.testing.assert_array_equal(separable_conv2d({"wd": wd, "wp": wp, "b": b}, x, stride=2, padding=1), expected)


def test_infinity_reaches_only_the_windows_that_hold_it() -> None:
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, 0, 0] = np.inf
    assert np.isinf(conv2d(ONES, x)).sum() == 1


@pytest.mark.parametrize("op", [conv2d, conv_transpose2d], ids=str)
@pytest.mark.parametrize("fewest", [1, 10**9])
def test_without_images_the_gradients_of_the_parameters_are_zero(op: Op, fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "PLAIN", -1)
    monkeypatch.setattr(lines, "FEWEST", fewest)
    params = {"w": numbers(2, 2, 3, 3), "b": numbers(2)}
    y, residuals = op.fwd(params, np.zeros((0, 2, 4, 4)))
    dparams, dx = op.bwd(residuals, y)
    assert dx.shape == (0, 2, 4, 4)
    assert not dparams["w"].any()
    assert not dparams["b"].any()


@pytest.mark.parametrize("few", [1, 10**9])
@pytest.mark.parametrize(("op", "plain"), [(conv2d, 0), (conv2d, 10**9), (conv_transpose2d, 0)], ids=str)
def test_the_layout_of_memory_changes_no_bit(op: Op, plain: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "PLAIN", plain)
    monkeypatch.setattr(lines, "FEWEST", few)
    monkeypatch.setattr(matrix_products, "FEW", few)
    w, b, x = numbers(2, 2, 2, 3), numbers(2), numbers(2, 2, 4, 5)
    y, residuals = op.fwd({"w": w, "b": b}, x)
    dparams, dx = op.bwd(residuals, numbers(*y.shape))
    w, x, dy = (np.flip(np.flip(a).copy()) for a in (w, x, numbers(*y.shape)))
    other, residuals = op.fwd({"w": w, "b": b}, x)
    dother, dx_too = op.bwd(residuals, dy)
    for one, two in zip((y, dx, *dparams.values()), (other, dx_too, *dother.values()), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_absent_bias_has_no_gradient() -> None:
    _, residuals = conv2d.fwd(ONES, COUNT)
    assert set(conv2d.bwd(residuals, np.ones((1, 1, 3, 3)))[0]) == {"w"}


def test_no_padding_may_be_missing_for_an_axis() -> None:
    with pytest.raises(ValueError, match=r"conv2d: padding must be an integer or have an integer or a pair for each of 2 axes"):
        conv2d(ONES, COUNT, padding=((1, 1),))
    with pytest.raises(ValueError, match=r"conv2d: padding must be an integer or a tuple of 2, got \(1, 2, 3\)"):
        conv2d(ONES, COUNT, padding=((1, 2, 3), 0))
