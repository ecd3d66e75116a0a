"""What is said of errors that are hardly larger than the tolerance, in kernels that compute in float32 inside."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from oracle import Verdict, verify
from tests.oracle.planted import Array, Pair, cube, found, normal, row, signed


def float32(a: Array) -> Array:
    return a.astype(np.float32)


def group_norm(factor: float) -> Pair:
    """A kernel in float32, whose last term is multiplied by a factor."""

    def group_norm_fwd(x: Array) -> Any:
        centred = float32(x) - float32(x).mean(-1, keepdims=True)
        r = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))
        return (centred * r).astype(x.dtype), (centred * r, r)

    def group_norm_bwd(residuals: Any, dy: Array) -> Any:
        h, r = residuals
        d = float32(dy)
        last = np.float32(factor) * h * (d * h).mean(-1, keepdims=True)
        return (((d - d.mean(-1, keepdims=True) - last) * r).astype(dy.dtype),)

    return group_norm_fwd, group_norm_bwd


@pytest.mark.parametrize(("seed", "dtype"), [(0, np.float64), (1, np.float32)])
def test_a_small_error_of_a_float32_kernel_is_no_rounding_to_16_bits(seed: int, dtype: Any) -> None:
    verdict, said = found(group_norm(1.001), normal(3, 8, seed=seed).astype(dtype))
    assert verdict is Verdict.FAIL
    assert said.startswith(("no known cause: ", "one path scaled: x counts the path through what enters `square` in line "))


def gelu(constant: float) -> Pair:
    """GELU in float32, with another constant in its slope."""
    k, c = np.float32(np.sqrt(2 / np.pi)), np.float32(0.044715)

    def gelu_fwd(x: Array) -> Any:
        narrow = float32(x)
        return (np.float32(0.5) * narrow * (1 + np.tanh(k * (narrow + c * narrow**3)))).astype(x.dtype), x.copy()

    def gelu_bwd(x: Array, dy: Array) -> Any:
        narrow = float32(x)
        u = np.tanh(k * (narrow + c * narrow**3))
        du = (1 - u * u) * k * (1 + 3 * np.float32(constant) * narrow * narrow)
        return ((float32(dy) * (np.float32(0.5) * (1 + u) + np.float32(0.5) * narrow * du)).astype(x.dtype),)

    return gelu_fwd, gelu_bwd


def test_an_error_on_both_sides_of_the_tolerance_is_in_no_region_and_no_exchange() -> None:
    """Which entries count as wrong is chance: the formula is wrong in all."""
    x = np.random.default_rng(0).standard_normal((4, 6))
    assert found(gelu(0.044715), x)[0] is Verdict.PASS
    verdict, said = found(gelu(0.0447), x)
    assert verdict is Verdict.FAIL
    assert said.startswith("no known cause: ")


def test_a_gradient_of_bfloat16_numbers_is_not_called_float16() -> None:
    """Within its range, a bfloat16 number is a float16 number, too; the size of the errors tells them apart."""
    rounded = cube(lambda dx: dx.astype(ml_dtypes.bfloat16).astype(np.float32) if dx.dtype == np.float32 else dx)
    said = verify(rounded, signed(4, 5).astype(np.float32)).rows[0].diagnosis  # another row says that it is not linear
    assert said.startswith("computed in bfloat16: every entry of x is a bfloat16 number within rounding of the true one")


def test_a_wrong_sign_is_named_where_the_factor_is_not_known_to_all_its_digits() -> None:
    def huber_fwd(p: Array, t: Array) -> Any:
        e = float32(p) - float32(t)
        small = abs(e) <= 1
        loss = np.where(small, np.float32(0.5) * e * e, abs(e) - np.float32(0.5)).mean(dtype=np.float32)
        return loss.astype(p.dtype), (e, small)

    def huber_bwd(residuals: Any, dy: Array) -> Any:
        e, small = residuals
        d = np.where(small, e, np.sign(e)) * np.float32(dy) / np.float32(e.size)
        return d.astype(dy.dtype), d.astype(dy.dtype)  # the second one should be negative

    result = verify((huber_fwd, huber_bwd), 2 * normal(3, 4), normal(3, 4, seed=10))
    said = row(result, "t").diagnosis
    assert said.startswith("constant factor: t is -")
    assert said.endswith(": the sign is wrong")


def test_a_factor_beyond_what_is_known_of_it_gets_no_name() -> None:
    assert found(group_norm(1.0), normal(3, 6))[0] is Verdict.PASS
    op = (group_norm(1.0)[0], lambda r, dy: (group_norm(1.0)[1](r, dy)[0] * -1.01,))
    assert found(op, normal(3, 6))[1].endswith("times the true gradient everywhere")


def test_a_factor_on_all_entries_is_named_where_some_are_within_the_tolerance() -> None:
    weights = normal(6, 5, seed=9)

    def product_fwd(x: Array) -> Any:
        return (x.astype(np.float16) @ weights.astype(np.float16)).astype(x.dtype), None

    def product_bwd(_: Any, dy: Array) -> Any:
        return ((np.float32(1.1) * (float32(dy) @ float32(weights).T)).astype(dy.dtype),)

    verdict, said = found((product_fwd, product_bwd), normal(4, 6))
    assert verdict is Verdict.FAIL
    assert said.startswith(("constant factor: x is 1.09", "constant factor: x is 1.1"))
