"""Linear and multilinear maps: equal to NumPy's products, with gradients of every shape that broadcasting allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.linear import parts
from purenet.linear.parts import product
from purenet.linear.products import affine, bilinear, einsum, matmul, unbroadcast
from purenet.op import vjp

Array = np.ndarray[Any, Any]
SIZES = {"i": 2, "j": 3, "k": 4}


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape)


@pytest.mark.parametrize("rows", [100, 101, 900, 1000])  # the whole, two parts, eight, and too many
def test_a_product_in_parts_is_the_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SMALL", 10**6)
    monkeypatch.setattr(parts, "LARGE", 8 * 10**6)
    a, b = normal(rows, 80), normal(80, 125)
    np.testing.assert_allclose(product(a, b), a @ b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (5, 3, 2)),
        ((5, 2, 3), (3,)),
        ((2, 1, 4, 3), (6, 3, 2)),
        ((4, 3), (2, 3, 2)),
        ((2, 0), (0, 3)),
        ((0, 2, 3), (0, 3, 4)),
    ],
)
def test_matmul_is_numpys_and_its_cotangents_have_the_shapes_of_its_arguments(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, w = normal(*a), normal(*b)
    y, pullback = vjp(matmul, x, w)
    np.testing.assert_allclose(y, x @ w, rtol=1e-13)
    dx, dw = pullback(np.ones_like(y))
    assert (dx.shape, dw.shape) == (a, b)
    # A product is linear in each argument: <dx, x> is <dy, y>.
    assert np.vdot(dx, x) == pytest.approx(float(y.sum()))
    assert np.vdot(dw, w) == pytest.approx(float(y.sum()))


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul_of_transposes(transpose_a: bool, transpose_b: bool) -> None:
    a, b, dy = normal(2, 3), normal(3, 4), normal(2, 4)
    given_a, given_b = a.T if transpose_a else a, b.T if transpose_b else b
    y, pullback = vjp(matmul, given_a, given_b, transpose_a=transpose_a, transpose_b=transpose_b)
    np.testing.assert_allclose(y, a @ b, rtol=1e-14)
    da, db = pullback(dy)
    np.testing.assert_allclose(da.T if transpose_a else da, dy @ b.T, rtol=1e-14)
    np.testing.assert_allclose(db.T if transpose_b else db, a.T @ dy, rtol=1e-14)


def test_affine_is_matmul_and_a_bias() -> None:
    params, x, dy = {"w": normal(3, 2), "b": normal(2)}, normal(2, 5, 3), normal(2, 5, 2)
    y, pullback = vjp(affine, params, x)
    product, pull_product = vjp(matmul, x, params["w"])
    np.testing.assert_allclose(y, product + params["b"], rtol=1e-14)
    dparams, dx = pullback(dy)
    for ours, theirs in zip((dx, dparams["w"]), pull_product(dy), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(terms=st.lists(st.text("ijk", max_size=3), min_size=1, max_size=3), data=st.data())
def test_einsum_is_numpys(terms: list[str], data: st.DataObject) -> None:
    used = sorted(set("".join(terms)))
    out = "".join(data.draw(st.lists(st.sampled_from(used), unique=True))) if used else ""
    subscripts = f"{','.join(terms)}->{out}"
    operands = [normal(*(SIZES[k] for k in term)) for term in terms]
    y, pullback = vjp(einsum, operands, subscripts=subscripts)
    assert isinstance(y, np.ndarray)
    np.testing.assert_allclose(y, np.einsum(subscripts, *operands), rtol=1e-12, atol=1e-14)
    (cotangents,) = pullback(np.ones_like(y))
    for x, dx in zip(operands, cotangents, strict=True):
        assert dx.shape == x.shape
        assert np.vdot(dx, x) == pytest.approx(float(y.sum()), abs=1e-12)


@pytest.mark.parametrize("subscripts", ["ij,jk", "zj,ja", "...ij,jk", "ij,j", "ij , jk -> ki"])
def test_einsum_without_an_arrow_and_with_blanks(subscripts: str) -> None:
    a, b = normal(2, 3), normal(3) if subscripts == "ij,j" else normal(3, 4)
    np.testing.assert_allclose(einsum((a, b), subscripts=subscripts), np.einsum(subscripts, a, b), rtol=1e-13)


def test_an_ellipsis_absent_from_the_value_is_summed_over() -> None:
    a = normal(2, 3, 4)
    y, pullback = vjp(einsum, (a,), subscripts="...i->i")
    np.testing.assert_allclose(y, a.sum(axis=(0, 1)), rtol=1e-13)
    np.testing.assert_array_equal(pullback(np.arange(4.0))[0][0], np.broadcast_to(np.arange(4.0), a.shape))


def test_the_gradient_of_a_trace_is_the_identity() -> None:
    _, pullback = vjp(einsum, (normal(3, 3),), subscripts="ii->")
    np.testing.assert_array_equal(pullback(2.0)[0][0], 2 * np.eye(3))


def test_einsum_keeps_the_kind_of_sequence_and_returns_no_view() -> None:
    a = normal(2, 3)
    y, pullback = vjp(einsum, [a], subscripts="ij->ji")
    assert not np.shares_memory(y, a)
    assert isinstance(pullback(y)[0], list)


def test_einsum_wants_no_more_letters_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"einsum: subscripts '\.\.\.' do not fit operands .* at most 52 letters"):
        einsum((np.ones((1,) * 53),), subscripts="...")


def test_bilinear_is_torchs_with_the_weights_moved() -> None:
    params = {"w": np.arange(12.0).reshape(2, 3, 2), "b": np.array([0.5, -0.5])}
    x1, x2, dy = np.array([[1.0, -2.0]]), np.array([[3.0, 0.0, 1.0]]), np.array([[1.0, 10.0]])
    y, pullback = vjp(bilinear, params, x1, x2)
    np.testing.assert_array_equal(y, [[-51.5, -56.5]])  # torch.nn.functional.bilinear(x1, x2, w.permute(2, 0, 1), b)
    dparams, dx1, dx2 = pullback(dy)
    np.testing.assert_array_equal(dx1, [[84.0, 348.0]])
    np.testing.assert_array_equal(dx2, [[-142.0, -164.0, -186.0]])
    np.testing.assert_array_equal(dparams["w"][1], [[-6.0, -60.0], [0.0, 0.0], [-2.0, -20.0]])
    np.testing.assert_array_equal(dparams["b"], [1.0, 10.0])


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 4), (0,)), ((1, 3, 4), (0,)), ((4,), (0, 1)), ((3, 1), (0, 2)), ((), (0, 1, 2)), ((2, 3, 4), ())]
)
def test_unbroadcast_sums_what_was_repeated(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    dy = normal(2, 3, 4)
    np.testing.assert_allclose(unbroadcast(dy, shape), dy.sum(axis=axes).reshape(shape), rtol=1e-13)
