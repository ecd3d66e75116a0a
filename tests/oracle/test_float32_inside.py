"""Functions that compute in float32 inside: right ones pass at any dtype and say what they resolve, wrong ones fail."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import float32_inside
from oracle.adapters import of_jax
from oracle.arrays import random_cotangent
from oracle.row import Verdict
from oracle.subject import Subject
from oracle.verification import Verification, verify
from tests.oracle.kernels import in_numpy_sums
from tests.oracle.kernels.in_numpy import KERNELS, normal
from tests.oracle.kernels.in_part import IN_PART
from tests.oracle.planted import Array, Pair

EVERY = {**KERNELS, **IN_PART}
PLANTED = 1e-3
RESOLVED = 1e-4
"""The share of the largest entry that every kernel here resolves: some hundred roundings to float32."""

ON_ONE_WORKER = pytest.mark.xdist_group("kernels in float32")
"""One worker verifies a right kernel once for all tests."""
NEED_NO_CAUSE = pytest.mark.usefixtures("undiagnosed")

assert in_numpy_sums.rotary.__name__ in KERNELS, "the kernels of that module are entered, too"


@cache
def of(name: str, planted: float, dtype: str, *, referenced: bool) -> Verification:
    kernel = EVERY[name]
    arguments = (a.astype(dtype) for a in kernel.arguments)
    return verify(kernel.make(planted), *arguments, reference=kernel.reference if referenced else None)


def in_turn(names: Sequence[str], *ways: tuple[str, bool]) -> list[tuple[str, str, bool]]:
    """Kernels with a dtype, with and without a reference: one in the first of these ways, the next in the second."""
    return [(name, *ways[i % len(ways)]) for i, name in enumerate(names)]


def failed(result: Verification) -> bool:
    return any(row.verdict is Verdict.FAIL for row in result.rows)


@ON_ONE_WORKER
@pytest.mark.parametrize("name", EVERY)
def test_right_in_float64_passes_and_says_what_it_resolves(name: str) -> None:
    result = of(name, 0.0, "float64", referenced=False)
    assert result.passed, str(result)
    assert all(row.resolution is not None and row.resolution < RESOLVED for row in result.rows), str(result)
    said = [row for row in result.rows if "computed in float32 inside: errors above" in row.diagnosis]
    assert said, str(result)
    for row in said:
        assert f"above {row.resolution:.0e} of the largest entry would have been noticed" in row.diagnosis


@ON_ONE_WORKER
@pytest.mark.parametrize(("name", "dtype", "referenced"), in_turn(list(EVERY)[::4], ("float32", False), ("float64", True)))
def test_right_passes_in_float32_and_with_a_reference(name: str, dtype: str, referenced: bool) -> None:
    result = of(name, 0.0, dtype, referenced=referenced)
    assert result.passed, str(result)


@NEED_NO_CAUSE
@ON_ONE_WORKER
@pytest.mark.parametrize(("name", "dtype", "referenced"), in_turn(list(EVERY), ("float64", False), ("float32", True)))
def test_one_term_that_is_wrong_by_a_thousandth_fails(name: str, dtype: str, referenced: bool) -> None:
    result = of(name, PLANTED, dtype, referenced=referenced)
    assert failed(result), str(result)


def off(pair: Pair, number: int, entry: int, factor: float) -> Pair:
    """The pair, with one entry of one gradient that is multiplied."""

    def bwd(residuals: Any, dy: Any) -> tuple[Array, ...]:
        gradients = list(pair[1](residuals, dy))
        wrong = gradients[number] = np.array(gradients[number])
        wrong.flat[entry] *= factor
        return tuple(gradients)

    return pair[0], bwd


@NEED_NO_CAUSE
@ON_ONE_WORKER
@pytest.mark.parametrize("name", list(EVERY)[1::8])
def test_twice_the_stated_resolution_in_one_entry_fails(name: str) -> None:
    """Of some kernels whose wrong term is compared with a reference; of the others the differences alone judge that."""
    kernel = EVERY[name]
    pair = kernel.make(0.0)
    rows = {row.parameter: row for row in of(name, 0.0, "float64", referenced=False).rows}
    value, residuals = pair[0](*kernel.arguments)
    gradients = pair[1](residuals, random_cotangent(value))
    generator = np.random.default_rng(len(name))
    number = int(generator.integers(len(gradients)))
    gradient = np.ravel(gradients[number])
    row = rows[Subject.of(pair, {}).names(len(gradients))[number]]
    assert row.resolution is not None
    entry = int(generator.choice(np.flatnonzero(gradient)))
    factor = 1 + 2 * row.resolution * np.abs(gradient).max() / abs(gradient[entry])
    wrong = verify(off(pair, number, entry, factor), *kernel.arguments)
    assert failed(wrong), f"{row.parameter}, entry {entry}, resolution {row.resolution:.1e}:\n{wrong}"


# ---------------------------------------------------------------------------------------------- JAX


FEW = normal(1, 3)
"""Without compiling, each of some thousand evaluations of a function of JAX takes a millisecond."""


@jax.jit
def weighted(x: Any) -> Any:
    return jax.nn.softmax(x.astype(jnp.float32), axis=-1).astype(x.dtype)


def test_a_function_of_jax_that_is_its_own_reference_passes() -> None:
    result = verify(of_jax(weighted), FEW, reference=weighted)
    assert result.passed, str(result)


@NEED_NO_CAUSE
def test_a_wrong_rule_of_a_function_of_jax_fails() -> None:
    wrong = jax.custom_vjp(weighted)
    wrong.defvjp(
        lambda x: (weighted(x), weighted(x)), lambda p, dy: (p * (dy - (dy * p).sum(-1, keepdims=True) * (1 + PLANTED)),)
    )
    assert failed(verify(wrong, FEW.astype("float32")))


# ---------------------------------------------------------------------------------------------- a mixture

SAMPLED = 2003
"""A seed of `benchmarks.float32_inside`, which tries as many as one likes. This one has a place for an error."""


@NEED_NO_CAUSE
def test_casts_at_random_places_are_no_errors_and_hide_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert float32_inside.main(["1", "--first", str(SAMPLED)]) == 0
    assert capsys.readouterr().out == "right:   1 PASS, of 1\nplanted: 1 FAIL, of 1\n"


def test_what_ties_share_may_be_rounded() -> None:
    x = np.array([[2.0, -1.0, 2.0, -1.0], [0.0, 0.0, -0.0, 0.0]])

    def smallest(share: float) -> Pair:
        def bwd(equal: Array, dy: Array) -> tuple[Any]:
            parts = equal / equal.sum(axis=-1, keepdims=True) ** share
            return ((parts * dy[..., None].astype(np.float32)).astype(np.float64),)

        return (lambda x: (x.min(axis=-1), x == x.min(axis=-1, keepdims=True)), bwd)

    result = verify(smallest(1.0), x)
    assert {row.verdict for row in result.rows} == {Verdict.KINK}, str(result)
    assert failed(verify(smallest(0.0), x))


# ---------------------------------------------------------------------- a value that hardly moves, and narrow references


def single(offset: float, weights: Array) -> Pair:
    """float32(offset + w tanh(x)): with a large offset few numbers lie between the values nearby, or none."""
    w = weights.astype(np.float32)

    def fwd(x: Array) -> tuple[Any, Any]:
        return np.float32(offset + (w * np.tanh(x.astype(np.float32))).sum(dtype=np.float32)).astype(x.dtype), x.copy()

    def bwd(x: Array, dy: Array) -> tuple[Any]:
        return ((w * (1 - np.tanh(x.astype(np.float32)) ** 2) * np.float32(dy)).astype(x.dtype),)

    return fwd, bwd


@pytest.mark.parametrize(("offset", "dtype"), [(1e1, "float64"), (1e3, "float32"), (1e4, "float64"), (1e6, "float32")])
def test_a_loss_that_is_large_beside_its_slopes_is_not_accused(offset: float, dtype: str) -> None:
    assert not failed(verify(single(offset, np.ones(6)), normal(6).astype(dtype)))


@pytest.mark.parametrize(
    ("weights", "referenced"),
    [([1e-4, 1e-4, 1e-4, 1e-7], False), ([1e-5, 3e-6, 1e-6, 3e-7], True), ([1e-6, 1e-6, 1e-6, 1e-6], False)],
)
def test_slopes_that_no_float32_number_shows_are_not_called_zero(weights: list[float], referenced: bool) -> None:
    w = np.array(weights)
    reference = (lambda x: 10 + (w * jnp.tanh(x)).sum()) if referenced else None
    assert not failed(verify(single(10.0, w), normal(4), reference=reference))


def test_a_reference_that_computes_in_float32_is_no_witness_and_no_failure() -> None:
    def pair(factor: float) -> Pair:
        return (lambda x: (np.tanh(x), np.tanh(x)), lambda y, dy: (factor * dy * (1 - y * y),))

    for reference in (
        lambda x: jnp.tanh(x.astype(jnp.float32)).astype(x.dtype),
        lambda x: jnp.tanh(jnp.asarray(x, jnp.float32)),
    ):
        result = verify(pair(1.0), normal(3, 4), reference=reference)
        assert result.passed, str(result)
        assert all("the reference computes in float32" in row.note for row in result.rows)
        assert failed(verify(pair(1.001), normal(3, 4), reference=reference))
