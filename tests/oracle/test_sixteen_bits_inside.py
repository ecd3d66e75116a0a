"""Float64 functions that round to float16 or bfloat16 inside: right ones are never accused, gross errors are found."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from oracle.differences.evaluation import Evaluator
from oracle.judging.inner_rounding import inner_noise
from oracle.row import Verdict
from oracle.subject import Subject
from oracle.verification import Verification, verify
from tests.oracle.planted import Array, Pair, normal, signed

DTYPES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
SEEDS = range(2)
SEED_OF = dict(zip(DTYPES, SEEDS, strict=True))
"""For what takes longer: one seed for each dtype."""
NEED_NO_CAUSE = pytest.mark.usefixtures("undiagnosed")

pytestmark = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def rounded(a: Any, dtype: np.dtype[Any]) -> Array:
    return np.asarray(a, np.float64).astype(dtype).astype(np.float64)


def kernel(dtype: np.dtype[Any], factor: float = 1.0) -> Pair:
    """y = tanh(x) with roundings of x, of y and of the cotangent."""

    def fwd(x: Array) -> tuple[Any, Any]:
        y = rounded(np.tanh(rounded(x, dtype)), dtype)
        return y, y.copy()

    def bwd(y: Array, dy: Array) -> tuple[Any]:
        return (rounded(factor * rounded(dy, dtype) * (1 - y * y), dtype),)

    return fwd, bwd


def loss(dtype: np.dtype[Any], factor: float = 1.0) -> Pair:
    """The sum of the squares of x, rounded once: a small element does not move it."""

    def fwd(x: Array) -> tuple[Any, Any]:
        return rounded((x**2).sum(), dtype), x.copy()

    def bwd(x: Array, dy: Array) -> tuple[Any]:
        return (factor * 2 * x * dy,)

    return fwd, bwd


def accused(result: Verification) -> bool:
    return any(row.verdict is Verdict.FAIL for row in result.rows)


@NEED_NO_CAUSE
def test_a_right_one_passes_and_half_of_its_gradient_fails(dtype: np.dtype[Any]) -> None:
    x = signed(6, seed=SEED_OF[dtype])
    result = verify(kernel(dtype), x)
    assert result.passed, str(result)
    assert "computed in 16 bits inside" in result.rows[0].diagnosis
    assert accused(verify(kernel(dtype, 0.5), x))


@NEED_NO_CAUSE
def test_a_loss_that_hardly_moves_is_not_accused(dtype: np.dtype[Any]) -> None:
    x = signed(6, seed=SEED_OF[dtype])
    assert not accused(verify(loss(dtype), x))
    assert not accused(verify(loss(dtype), np.append(x, 1e-3)))
    assert accused(verify(loss(dtype, -1.0), x))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_is_as_noisy_as_its_dtype(dtype: np.dtype[Any], seed: int) -> None:
    eps = float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
    x = signed(12, seed=seed)
    found = Evaluator(lambda x: rounded(np.sin(x), dtype), (x,), np.ones(12)).rounding.inner_eps
    assert eps / 8 < found < 8 * eps


def test_fixed_steps_are_no_rounding_to_a_dtype(dtype: np.dtype[Any]) -> None:
    steps = float(ml_dtypes.finfo(dtype).eps) * 2  # type: ignore[no-untyped-call]
    fixed = Evaluator(lambda x: np.round(x / steps) * steps, (signed(12),), np.ones(12))
    assert fixed.rounding.quantized
    assert fixed.rounding.inner_eps == 0.0


def noise(bwd: Any, dy: Array) -> float:
    """The noise of the gradient of a function whose value is its argument."""
    return inner_noise(Subject.of((lambda x: (x.copy(), None), lambda kept, dy: (bwd(dy),)), {}), (normal(*dy.shape),), dy, 1)[
        0
    ]


def test_a_rounding_of_the_cotangent_is_found_and_no_other_function_of_it(dtype: np.dtype[Any]) -> None:
    eps = float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
    for dy in (signed(12, seed=SEED_OF[dtype]), np.array(1.3 + 0.01 * SEED_OF[dtype])):
        assert eps / 64 < noise(lambda dy: rounded(dy, dtype) + 0.3 * dy, dy) < 8 * eps
        assert noise(lambda dy: np.round(dy) + 0.3 * dy, dy) == 0.0
        assert noise(lambda dy: np.abs(dy) + 0.3 * dy, dy) == 0.0
        assert noise(lambda dy: dy + 1e-3 * dy**2, dy) == 0.0
        assert noise(lambda dy: np.clip(dy, -1, 1), dy) < 2.0**-20


@NEED_NO_CAUSE
def test_a_backward_pass_alone_passes_and_says_so(dtype: np.dtype[Any]) -> None:
    def op(factor: float) -> Pair:
        return (lambda x: (x**2, x.copy()), lambda x, dy: (factor * 2 * x * rounded(dy, dtype),))

    result = verify(op(1.0), signed(12))
    assert result.passed, str(result)
    assert "computed in 16 bits inside" in result.rows[0].diagnosis
    assert accused(verify(op(1.1), signed(12)))


@NEED_NO_CAUSE
def test_whole_numbers_are_no_floating_point_numbers(dtype: np.dtype[Any]) -> None:
    x = 300 * signed(12)
    whole = np.dtype(np.int64)
    result = verify((lambda x: (x**2, x.copy()), lambda x, dy: (rounded(rounded(2 * x * dy, whole), dtype),)), x)
    assert accused(result), str(result)


@NEED_NO_CAUSE
@pytest.mark.parametrize("given", ["float64", "float32"])
def test_a_product_of_rounded_factors_passes(dtype: np.dtype[Any], given: str) -> None:
    referenced = (given == "float64") == (dtype == DTYPES[1])  # any two of the three meet

    def single(a: Any) -> Array:
        return np.asarray(a).astype(dtype).astype(np.float32)

    def product(factor: float) -> Pair:
        def fwd(x: Array, w: Array) -> tuple[Any, Any]:
            return (single(x) @ single(w)).astype(x.dtype), (x.copy(), w.copy())

        def bwd(kept: Any, dy: Array) -> Any:
            x, w = kept
            dx, dw = single(dy) @ single(w).T, single(x).T @ single(dy)
            return (factor * dx).astype(dy.dtype), dw.astype(dy.dtype)

        return fwd, bwd

    arguments = normal(2, 3).astype(given), normal(3, 2).astype(given)
    reference = (lambda x, w: x @ w) if referenced else None
    result = verify(product(1.0), *arguments, reference=reference)
    assert result.passed, str(result)
    if not referenced:  # with a reference any function is found whose gradient is wrong by as much
        assert accused(verify(product(0.5), *arguments))


def test_a_square_of_rounded_numbers_has_twice_their_digits(dtype: np.dtype[Any]) -> None:
    x = normal(3, 4, seed=SEED_OF[dtype])
    result = verify((lambda x: (rounded(x, dtype) ** 2, x.copy()), lambda x, dy: (2 * x * dy,)), x)
    assert result.passed, str(result)


@pytest.mark.parametrize("factor", [1.01, 1.15])
def test_a_formula_that_is_wrong_in_float64_too(dtype: np.dtype[Any], factor: float) -> None:
    referenced = (factor == 1.01) == (dtype == DTYPES[1])  # any two of the three meet

    def bwd(x: Array, dy: Array) -> tuple[Any]:
        return ((2 * factor * x.astype(np.float64) * dy.astype(np.float64)).astype(x.dtype),)

    x = normal(20, 10).astype(dtype)
    result = verify((lambda x: (x * x, x.copy()), bwd), x, reference=(lambda x: x * x) if referenced else None)
    assert accused(result)
    assert f"constant factor: x is {factor} times" in str(result)


@NEED_NO_CAUSE
def test_a_coarse_rounding_behind_a_fine_one_is_found(dtype: np.dtype[Any]) -> None:
    def loss(factor: float) -> Pair:
        def fwd(x: Array, w: Array) -> tuple[Any, Any]:
            y = (rounded(w, np.dtype(np.float32)) * np.exp(rounded(x, dtype) / 2)).sum()
            return y, (rounded(x, dtype), w.copy())

        def bwd(kept: Any, dy: Array) -> Any:
            x, w = kept
            return factor * dy * w * np.exp(x / 2) / 2, dy * np.exp(x / 2)

        return fwd, bwd

    size = 1 if dtype == DTYPES[0] else 4
    x, w = signed(size, seed=SEED_OF[dtype]), signed(size, seed=SEED_OF[dtype] + 10)
    assert not accused(verify(loss(1.0), x, w))
    assert accused(verify(loss(-1.0), x, w))


@NEED_NO_CAUSE
def test_a_kink_beside_large_roundings_is_one(dtype: np.dtype[Any]) -> None:
    def largest(factor: float) -> Pair:
        def fwd(x: Array) -> tuple[Any, Any]:
            y = rounded(x, dtype).max()
            return y, (rounded(x, dtype) == y)

        return fwd, lambda equal, dy: (factor * dy * equal / equal.sum(),)

    x = np.array([2.0, 1.0, 2.0, 0.5])
    result = verify(largest(1.0), x)
    assert {row.verdict for row in result.rows} == {Verdict.KINK}, str(result)
    assert accused(verify(largest(-1.0), x))


@NEED_NO_CAUSE
def test_a_small_element_that_moves_only_some_outputs_is_not_accused(dtype: np.dtype[Any]) -> None:
    """The short steps of an element near 0 move the output in float32 and leave the other where it is."""

    def both(factor: float) -> Pair:
        def fwd(x: Array) -> tuple[Any, Any]:
            total = np.array([1.0, 2.0]) @ x
            return np.stack([rounded(total, np.dtype(np.float32)), rounded(3 * total, dtype)]), None

        return fwd, lambda _, dy: (factor * (dy[0] + 3 * dy[1]) * np.array([1.0, 2.0]),)

    x = np.array([1.3, 0.004])
    assert not accused(verify(both(1.0), x))
    assert accused(verify(both(-1.0), x))


@NEED_NO_CAUSE
def test_an_output_that_does_not_move_is_rounded_like_the_others(dtype: np.dtype[Any]) -> None:
    x = np.array([1.1, 3.0, 1e-3, 1.2, -3.2, 0.7])

    def softplus(factor: float) -> Pair:
        return (
            lambda x: (rounded(np.logaddexp(0, x), dtype), x.copy()),
            lambda x, dy: (factor * dy / (1 + np.exp(-x)),),
        )

    assert not accused(verify(softplus(1.0), x))
    assert accused(verify(softplus(-1.0), x))


@NEED_NO_CAUSE
def test_near_the_end_of_the_domain_a_slope_is_resolved(dtype: np.dtype[Any]) -> None:
    """Steps across 1 leave the domain, and shorter ones than the distance of neighbouring numbers show nothing."""

    def entropy(factor: float) -> Pair:
        def fwd(p: Array) -> tuple[Any, Any]:
            if (p >= 1).any():
                raise ValueError("a probability is below 1")
            return -np.log(1 - rounded(p, dtype)).sum(), rounded(p, dtype)

        return fwd, lambda p, dy: (factor * dy / (1 - p),)

    p = np.array([0.15, 0.82, 0.89, 0.26])
    assert not accused(verify(entropy(1.0), p))
    assert accused(verify(entropy(-1.0), p))
