"""Functions that round between their stages: what that loses at random is forgiven, and no mistake is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from oracle import catalogue
from oracle.counterexamples.search import draw_example
from oracle.judging.bias import biases
from oracle.judging.point import Point
from oracle.judging.reasons import Reason
from oracle.row import Row, Verdict
from oracle.subject import Subject
from oracle.verification import verify

Array = NDArray[Any]
Pair = tuple[Callable[..., Any], Callable[..., Any]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT16 = np.dtype(np.float16)

USES = {
    "two_layer_net_last_relu_goal": [3, 3, 3, 5, 1, 3],
    "gpt_llama_goal": [62459348, 5, 4, 1, 4, 3],
    "word2vec_goal": [4, 2, 1, 3, 1, 1, 1],
    "multi_layer_net_extended_goal": [531993, 6, 0, 3],
    "gpt_goal": [16777215, 3, 4, 1, 4, 3],
    "penalized(chain(affine, loss), elastic_net_penalty)": [11297, 2, 3, 3, 3],
}
"""Random uses of nets at which a right gradient was said to be wrong, as the choices that draw them."""


@pytest.mark.parametrize("name", USES)
def test_a_net_that_rounds_between_its_stages_is_right(name: str) -> None:
    spec = next(spec for spec in catalogue.specs() if spec.name == name)
    choices = iter(USES[name])
    use = draw_example(spec, ("float64", "float32", "float16", "bfloat16"), lambda low, high: next(choices))
    result = verify(spec.op, *use.arguments, options=use.options, reference=spec.reference, seed=use.seed)
    assert result.passed, str(result)


def cancelling(mistake: Callable[[Array], Array] = lambda d: d) -> Pair:
    """y = t * t + x with t = (x + w) - x, each number rounded: where x is large, t has few digits of w."""

    def fwd(x: Array, w: Array) -> tuple[Array, Array]:
        t = (x + w) - x
        return t * t + x, t

    def bwd(t: Array, dy: Array) -> tuple[Array, Array]:
        dw = 2 * t * dy
        return dy, mistake(dw) if dw.dtype.itemsize == 2 else dw

    return fwd, bwd


def of_w(pair: Pair, dtype: np.dtype[Any], seed: int) -> Row:
    generator = np.random.default_rng(seed)
    x = generator.uniform(60, 120, 12).astype(dtype)
    w = (generator.uniform(1, 2, 12) * generator.choice([-1, 1], 12)).astype(dtype)
    return next(row for row in verify(pair, x, w).rows if row.parameter == "w")


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_what_cancels_loses_digits_and_is_right(dtype: np.dtype[Any], seed: int) -> None:
    row = of_w(cancelling(), dtype, seed)
    assert row.passed, row
    assert (row.resolution or 2) < 1
    assert (row.numerical_error or 0) > 2.0**-9


def one_entry(factor: float) -> Callable[[Array], Array]:
    def mistake(d: Array) -> Array:
        wrong = d.copy()
        wrong[3] = wrong[3] * factor
        return np.asarray(wrong, d.dtype)

    return mistake


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(
    ("dtype", "factor", "seed"), [(BFLOAT16, 4.0, 0), (BFLOAT16, -1.0, 1), (FLOAT16, 1.5, 0), (FLOAT16, 0.5, 1)]
)
def test_a_mistake_beside_it_is_none_of_its_roundings(dtype: np.dtype[Any], factor: float, seed: int) -> None:
    assert of_w(cancelling(one_entry(factor)), dtype, seed).verdict is Verdict.FAIL
    assert of_w(cancelling(lambda d: np.asarray(d * factor, d.dtype)), dtype, seed).verdict is Verdict.FAIL


def test_a_gradient_that_is_zero_in_float64_and_not_in_16_bits_fails() -> None:
    """At no point nearby has it an entry to measure errors by."""

    def bwd(x: Array, dy: Array) -> tuple[Array]:
        return (np.full_like(x, 0.5) if x.dtype.itemsize == 2 else np.zeros_like(x),)

    (row,) = verify((lambda x: (np.ones_like(x), x), bwd), np.array([1.5, 2.5], FLOAT16)).rows
    assert row.verdict is Verdict.FAIL


def gelu(x: Array) -> tuple[Array, Array]:
    half = 0.5 * (1 + np.tanh(0.797884560802865 * (x + 0.044715 * x**3)))
    return (x * half).astype(x.dtype), x


def gelu_bwd(x: Array, dy: Array) -> tuple[Array]:
    t = np.tanh(0.797884560802865 * (x + 0.044715 * x**3))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.797884560802865 * (1 + 3 * 0.044715 * x * x)
    return ((slope * dy).astype(x.dtype),)


def test_a_gradient_that_rounding_hides_is_undecided_and_says_so() -> None:
    x = np.array([-5.0, -5.05, -5.1])
    (wide,) = verify((gelu, gelu_bwd), x).rows
    assert wide.verdict is Verdict.PASS
    (row,) = verify((gelu, gelu_bwd), x.astype(np.float32)).rows
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.reason == Reason.UNRESOLVED.value
    assert row.diagnosis.startswith("rounding in float32 hides this gradient: an error of ")
    assert (row.resolution_of_factor or 0) > 1


@pytest.mark.parametrize(("rows", "claimed"), [(4, False), (1024, True)])
def test_only_where_there_is_a_long_sum_do_roundings_pile_up_in_it(rows: int, claimed: bool) -> None:
    """Both gradients have roundings that are as large as those of a sum of a thousand terms."""

    def bwd(w: Array, dy: Array) -> tuple[Array]:
        total = np.asarray(dy.astype(np.float64).sum(axis=0))
        if dy.dtype == BFLOAT16:
            noise = np.random.default_rng(int(abs(total).sum() * 1e6)).normal(size=total.shape)
            total = total * (1 + 0.03 * noise)
        return (total.astype(dy.dtype),)

    subject = Subject.of((lambda w: (np.broadcast_to(w, (rows, 8)).copy(), w), bwd), {})
    w = np.random.default_rng(0).normal(size=8).astype(BFLOAT16)
    y, saved = subject.fwd(w)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(BFLOAT16)
    (found,) = biases(Point(subject, (w,), y, dy, subject.bwd(saved, dy)), 0)
    assert (found is not None) is claimed
