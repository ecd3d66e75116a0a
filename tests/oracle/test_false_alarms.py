"""Correct code raises no alarm: 2,000 random cases of the catalogue's ops, in all dtypes and memory layouts.

Hypothesis picks the structure (shapes, options, dtype, layout), and so can shrink what fails; the numbers come from a seed.
Of the 2,000, about 400 go through both witnesses, in all four dtypes. Most of their time is XLA's, for each new shape; so the
other 1,600 are seen by the differences alone, which are the witness that could be fooled by an unlucky point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle
from oracle import Draw, Spec, Verdict, catalogue

SPECS = {spec.name: spec for spec in catalogue.specs()}
SLOW = {"two_layer_net_goal", "two_layer_net_last_relu_goal"}  # five parameters, and a function of three matrix products

BOTH = {name: 16 if name in SLOW else 25 for name in SPECS}
ALONE = {name: 50 if name in SLOW else 100 for name in SPECS}

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
SMALLEST = {"float64": 0.0, "float32": 1.4e-45, "float16": 6e-8, "bfloat16": 9.2e-41}  # subnormal
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C order": lambda a: np.array(a, order="C"),
    "Fortran order": lambda a: np.array(a, order="F"),
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "transposed": lambda a: np.array(a.T, order="C").T,
    "every other element": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@st.composite
def correct(draw: Callable[..., Any], spec: Spec, dtypes: list[str]) -> tuple[Any, dict[str, Any], int]:
    """Arguments and options of the op's own strategy, in one of these dtypes, each argument in some layout."""

    def pick(low: int, high: int) -> int:
        return int(draw(st.integers(low, high)))

    seed = draw(st.integers(0, 2**32 - 1))
    assert spec.strategy is not None
    arguments, options = spec.strategy(Draw("false alarms", spec.name, seed, pick=pick))
    dtype = DTYPES[draw(st.sampled_from(dtypes))]
    layouts = list(LAYOUTS.values())
    arguments = optree.tree_map(lambda a: draw(st.sampled_from(layouts))(np.asarray(a).astype(dtype)), arguments)
    return arguments, options, seed


def assert_no_alarm(result: oracle.Verification) -> None:
    assert result.rows
    for row in result.rows:
        if row.verdict is Verdict.VACUOUS:  # right where the true gradient is zero, or below what the dtype can hold
            truth = [abs(by or 0.0) for by in (row.numerical, row.autodiff)]
            assert max(truth) <= SMALLEST[row.dtype], str(result)
            assert row.dtype != "float64" or row.numerical_error == (row.autodiff_error or 0) == 0, str(result)
        else:
            assert row.verdict is Verdict.PASS, str(result)


def test_there_are_two_thousand() -> None:
    assert sum(BOTH.values()) + sum(ALONE.values()) >= 2000


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_both_witnesses_raise_no_false_alarm(spec: Spec) -> None:
    @settings(max_examples=BOTH[spec.name], suppress_health_check=list(HealthCheck))
    @given(case=correct(spec, list(DTYPES)))
    def check(case: tuple[Any, dict[str, Any], int]) -> None:
        arguments, options, seed = case
        assert_no_alarm(oracle.verify(spec.op, *arguments, options=options, reference=spec.reference, seed=seed))

    check()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_differences_alone_raise_no_false_alarm(spec: Spec) -> None:
    @settings(max_examples=ALONE[spec.name], suppress_health_check=list(HealthCheck))
    @given(case=correct(spec, ["float64", "float64", "float64", "float32"]))
    def check(case: tuple[Any, dict[str, Any], int]) -> None:
        arguments, options, seed = case
        assert_no_alarm(oracle.verify(spec.op, *arguments, options=options, seed=seed))

    check()
