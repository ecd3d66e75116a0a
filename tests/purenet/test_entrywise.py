"""Functions of single entries have a fast body for many entries: it gives what the plain one gives, and is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest
from scipy.special import expit, ndtr

import purenet as pn
from oracle import catalogue, verify
from oracle.spec import Spec
from purenet import entrywise

MANY = entrywise.PLAIN + 20
SPECIAL = (0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324, -5e-324, 1e-42, 3.0, -3.0, 1e38, -1e38, 0.5, -0.5)
DTYPES = (np.float32, np.float64)

PLAIN_BODY, FAST_BODY = 10**9, 0

OPS: dict[str, dict[str, Any]] = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.25},
    "threshold": {"threshold": 0.5, "value": -1.0},
    "relu6": {},
    "hard_tanh": {},
    "hard_sigmoid": {},
    "hard_swish": {},
    "softshrink": {},
    "hardshrink": {},
    "celu": {"alpha": 1.5},
    "elu": {},
    "selu": {},
    "sigmoid": {},
    "log_sigmoid": {},
    "softplus": {},
    "silu": {},
    "mish": {},
    "gelu": {},
    "glu": {},
    "clip": {"min": -0.5, "max": 1.0},
}
LOSSES = (
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "huber_loss",
    "log_cosh",
    "quantile_loss",
    "hinge_loss",
    "kl_divergence",
    "dpo_loss",
    "clipped_surrogate_pg_loss",
)


def numbers(dtype: Any, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape, scale=2.0).astype(dtype)


def special(dtype: Any) -> Any:
    """Each special number among many others."""
    return np.concatenate([np.asarray(SPECIAL, dtype), numbers(dtype, MANY)])


def bits(a: Any) -> Any:
    """Equal where all bits are, but for those of a NaN."""
    return np.where(np.isnan(a), -1, np.asarray(a).view(f"i{a.dtype.itemsize}"))


def ulps(a: Any, right: Any) -> float:
    """The largest error in units in the last place of the right number."""
    return float(np.max(np.abs(a - right) / np.spacing(np.abs(right).astype(a.dtype)).astype(right.dtype)))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a function with the plain bodies, and with the fast ones."""

    def both(function: Any) -> tuple[Any, Any]:
        found = []
        for bound in (PLAIN_BODY, FAST_BODY):
            monkeypatch.setattr(entrywise, "PLAIN", bound)
            monkeypatch.setattr(entrywise, "SMALL", bound)
            found.append(function())
        return found[0], found[1]

    return both


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operands", ["array, 0", "0, array", "arrays", "number, array", "array, booleans", "of dtype, number"])
def test_where_chooses_bit_by_bit(dtype: Any, operands: str) -> None:
    a, b = special(dtype), special(dtype)[::-1]
    mask = np.random.default_rng(1).random(a.shape) < 0.5
    x, y = {
        "array, 0": (a, 0),
        "0, array": (0, a),
        "arrays": (a, b),
        "number, array": (0.1, b),
        "array, booleans": (a, b > 0),
        "of dtype, number": (dtype(1), 0.1),
    }[operands]
    chosen, right = entrywise.where(mask, x, y), np.where(mask, x, y)
    assert (chosen.dtype, chosen.shape) == (right.dtype, right.shape) == (dtype, a.shape)
    np.testing.assert_array_equal(bits(chosen), bits(right))


def test_where_broadcasts_and_takes_any_layout() -> None:
    x = numbers(np.float32, 60, 40).T
    mask = numbers(np.float32, 40, 1) > 0
    np.testing.assert_array_equal(entrywise.where(np.broadcast_to(mask, x.shape), x[:, ::-1], 0), np.where(mask, x[:, ::-1], 0))
    wide = numbers(np.float32, 1, 60)
    np.testing.assert_array_equal(entrywise.where(x > 0, wide, x), np.where(x > 0, wide, x))


@pytest.mark.parametrize("x", [2.0, np.float64(2.0), np.full(MANY, 2.0, np.float16)], ids=["a number", "NumPy's", "float16"])
def test_where_of_many_entries_takes_what_is_no_array_of_32_or_64_bits(x: Any) -> None:
    mask = np.arange(MANY) % 3 == 0
    chosen, right = entrywise.where(mask, x, 0), np.where(mask, x, 0)
    assert chosen.dtype == right.dtype
    np.testing.assert_array_equal(chosen, right)


def test_where_of_two_dtypes_is_that_of_numpy() -> None:
    x, y = numbers(np.float32, MANY), numbers(np.float64, MANY, seed=1)
    chosen = entrywise.where(x > 0, x, y)
    assert chosen.dtype == np.float64
    np.testing.assert_array_equal(chosen, np.where(x > 0, x, y))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bound", [0, 1.5])
@pytest.mark.parametrize("small", [FAST_BODY, PLAIN_BODY])
def test_bounds_and_steps_are_those_of_numpy(dtype: Any, bound: float, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrywise, "SMALL", small)
    x = special(dtype)
    np.testing.assert_array_equal(bits(entrywise.at_least(x, bound)), bits(np.maximum(x, bound)))
    np.testing.assert_array_equal(bits(entrywise.at_most(x, bound)), bits(np.minimum(x, bound)))
    np.testing.assert_array_equal(bits(entrywise.step(x)), bits(np.heaviside(x, 0.5)))


@pytest.mark.parametrize(("dtype", "wide", "limit"), [(np.float32, np.float64, 2.0), (np.float64, np.longdouble, 2.5)])
def test_the_logistic_function_and_its_slope_are_right_to_a_few_ulps(dtype: Any, wide: Any, limit: float) -> None:
    """NumPy's exponential in float32 alone is off by up to 2.4 ULPs. Where longdouble is float64, the limit is no weaker.

    In float64 the exponential and 1 + e are each off by half an ULP of theirs, which is up to a whole one of the quotient's.
    """
    x = np.concatenate([np.linspace(-85, 85, 20_001), numbers(dtype, 20_000)]).astype(dtype)
    e = entrywise.falling(x)
    right = np.exp(-np.abs(x.astype(wide)))
    assert ulps(entrywise.sigmoid_of(x, e), np.where(x < 0, right, 1) / (1 + right)) <= limit
    for one, sign in zip(entrywise.sigmoids_of(x, e), (1, -1), strict=True):
        assert ulps(one, np.where(sign * x < 0, right, 1) / (1 + right)) <= limit
    assert ulps(entrywise.slope_of(e), right / (1 + right) ** 2) <= limit + 1.5


def test_the_normal_distribution_in_float32_is_right_to_its_tails() -> None:
    x = np.concatenate([np.linspace(-12, 12, 20_001), numbers(np.float32, 80_000)]).astype(np.float32)
    wide = x.astype(np.float64)
    p, density = entrywise.normal(x)
    assert (p.dtype, density.dtype) == (np.float32, np.float32)
    assert ulps(p, ndtr(wide)) <= 1
    assert ulps(density, np.exp(-0.5 * wide**2) / np.sqrt(2 * np.pi)) <= 1
    ends, _ = entrywise.normal(np.repeat(np.asarray([-np.inf, -1e30, -20, 0, 20, 1e30, np.inf, np.nan], np.float32), MANY))
    np.testing.assert_array_equal(ends[::MANY], np.asarray([0, 0, 0, 0.5, 1, 1, 1, np.nan], np.float32))


def test_the_fast_bodies_are_taken_above_the_bound_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise AssertionError("expit is entry by entry")

    x = numbers(np.float64, entrywise.PLAIN + 1)
    e = entrywise.falling(x)
    right = expit(x)
    monkeypatch.setattr(entrywise, "expit", none)
    np.testing.assert_allclose(entrywise.sigmoid_of(x, e), right, rtol=1e-15)
    with pytest.raises(AssertionError, match="entry by entry"):
        entrywise.sigmoid_of(x[1:], e[1:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), OPS.items(), ids=OPS)
def test_an_op_gives_the_same_with_both_bodies(name: str, options: dict[str, Any], dtype: Any, plain: Any) -> None:
    op, x = getattr(pn, name), numbers(dtype, 30, 36)

    def passes() -> Any:
        y, residuals = op.fwd(x, **options)
        return y, *op.bwd(residuals, numbers(dtype, *y.shape, seed=1))

    for a, b in zip(*plain(passes), strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(b, a, rtol=8 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("options", [{}, {"where": True}, {"weight": True}], ids=["all", "where", "weight"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_gives_the_same_with_both_bodies(name: str, options: dict[str, Any], plain: Any) -> None:
    op, x, t = getattr(pn, name), numbers(np.float64, 30, 36), np.abs(numbers(np.float64, 30, 36, seed=1)) % 1
    rows = (30,) if name == "kl_divergence" and "weight" in options else (30, 36)
    given = {key: np.random.default_rng(2).random(rows) < 0.7 for key in options}
    if "weight" in given:
        given["weight"] = given["weight"].astype(np.float64)

    others = [numbers(np.float64, 30, 36, seed=seed) for seed in range(3, len(op.arguments) + 1)]

    def passes() -> Any:
        y, residuals = op.fwd(x, t, *others, **given)
        return y, *op.bwd(residuals, 1.0)

    for a, b in zip(*plain(passes), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-13, atol=1e-15)


def test_what_is_masked_leaves_no_trace() -> None:
    """Where an entry does not count, or a rectifier cuts it off, no infinite number or NaN reaches the gradient."""
    x = numbers(np.float32, MANY)
    x[::3] = -np.abs(x[::3])
    dy = np.ones_like(x)
    dy[::3] = np.resize(np.asarray([np.nan, np.inf, -np.inf], np.float32), dy[::3].shape)
    for op in (pn.relu, pn.relu6):
        assert np.isfinite(op.bwd(op.fwd(x)[1], dy)[0]).all()
    kept = np.arange(MANY) % 3 != 0
    dirty = np.where(kept, x, np.nan)
    value, residuals = pn.sigmoid_binary_cross_entropy.fwd(dirty, np.ones_like(x), where=kept)
    assert np.isfinite(value)
    assert all(np.isfinite(d).all() for d in pn.sigmoid_binary_cross_entropy.bwd(residuals, np.float32(1)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "options"), [("sigmoid", {}), ("silu", {}), ("gelu", {"approximate": False}), ("mish", {}), ("leaky_relu", {})]
)
def test_the_oracle_accepts_the_fast_body(name: str, options: dict[str, Any], dtype: Any) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    result = verify(spec.op, numbers(dtype, 10, MANY // 10 + 1), options=options, reference=spec.reference)
    assert result.passed, str(result)


def test_an_error_in_a_fast_body_is_found(monkeypatch: pytest.MonkeyPatch, plain: Any) -> None:
    """The comparison of the bodies notices one entry that is a billionth off."""
    right = entrywise.sigmoids_of

    def wrong(x: Any, e: Any) -> Any:
        s, opposite = right(x, e)
        if entrywise.PLAIN == FAST_BODY:
            opposite.reshape(-1)[7] *= 1 + 1e-9
        return s, opposite

    monkeypatch.setattr("purenet.activations.smooth.sigmoids_of", wrong)
    with pytest.raises(AssertionError):
        test_an_op_gives_the_same_with_both_bodies("silu", {}, np.float64, plain)


def test_no_argument_is_written_to() -> None:
    """The fast bodies compute in place: never in an array of the caller."""
    for name, options in OPS.items():
        op, x = getattr(pn, name), numbers(np.float32, 30, 36)
        y, residuals = op.fwd(x, **options)
        dy = numbers(np.float32, *y.shape, seed=1)
        before = optree.tree_map(np.copy, (x, y, dy))
        op.bwd(residuals, dy)
        for a, b in zip(before, (x, y, dy), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
