"""Correct code raises no alarm: 700 random cases of the catalogue's ops, in all dtypes and memory layouts.

One use of each op is compared with both witnesses, in a narrow dtype. Most of its time is XLA's, for each new shape; so the
others are compared with the differences alone, which are the witness that an unlucky point could mislead. Of these, hypothesis
picks the structure (shapes, options, dtype, layout), and so can shrink what fails; the numbers come from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle
from oracle import Draw, Spec, Verdict, catalogue
from oracle.counterexamples.search import Example, draw_example
from purenet import Op

SPECS = {spec.name: spec for spec in catalogue.specs()}

# All tests of an op go to one worker, which keeps what JAX has compiled for it.
every_spec = pytest.mark.parametrize(
    "spec", [pytest.param(spec, id=name, marks=pytest.mark.xdist_group(name)) for name, spec in SPECS.items()]
)

NETS = [name for name, spec in SPECS.items() if spec.family == "models"]
SLOW = [*NETS, "pre_norm_block", "post_norm_block", "stacked(low, high)", "bidirectional(lstm)", "gru"]
"""One example of these takes as long as ten of another op. Their parts are ops with examples of their own."""
QUICK = [name for name in SPECS if name not in SLOW]

BOTH = 1  # examples of each op
ALONE = 700 - BOTH * len(SPECS) - len(SLOW)  # of the quick ops, so that all together are enough

SMALLEST = {"float64": 0.0, "float32": 1.4e-45, "float16": 6e-8, "bfloat16": 9.2e-41}  # subnormal
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C order": lambda a: np.array(a, order="C"),
    "Fortran order": lambda a: np.array(a, order="F"),
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "transposed": lambda a: np.array(a.T, order="C").T,
    "every other element": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


def laid_out(layout: str, array: Any) -> Any:
    return LAYOUTS[layout](array)


@st.composite
def correct(draw: Callable[..., Any], spec: Spec, dtypes: list[str]) -> Example:
    """A random use of this op, each argument in some memory layout."""
    return draw_example(
        spec,
        dtypes,
        lambda low, high: int(draw(st.integers(low, high))),
        lambda array: laid_out(draw(st.sampled_from(list(LAYOUTS))), array),
    )


def assert_no_alarm(result: oracle.Verification) -> None:
    assert result.rows
    for row in result.rows:
        if row.verdict is Verdict.VACUOUS:  # right where the true gradient is zero, or below what the dtype can hold
            truth = [abs(by or 0.0) for by in (row.numerical, row.autodiff)]
            assert max(truth) <= SMALLEST[row.dtype], str(result)
            assert row.dtype != "float64" or row.numerical_error == (row.autodiff_error or 0) == 0, str(result)
        else:
            assert row.verdict is Verdict.PASS, str(result)


def alone(name: str) -> int:
    """How many examples of this op are for the differences alone."""
    each, more = divmod(ALONE, len(QUICK))
    return 1 if name in SLOW else each + (QUICK.index(name) < more)


def test_there_are_seven_hundred() -> None:
    assert BOTH * len(SPECS) + sum(alone(name) for name in SPECS) >= 700


@every_spec
def test_both_witnesses_raise_no_false_alarm(spec: Spec) -> None:
    """In float32, in which an op computes 16-bit floats, too; a chain rounds between its stages, so in any narrow dtype."""
    draw = Draw("no false alarm", spec.name)  # the one example of hypothesis would always be its simplest, a single number
    dtypes = ["float32"] if type(spec.op) is Op else ["float32", "float16", "bfloat16"]
    e = draw_example(spec, dtypes, draw.between, lambda array: laid_out(draw.choice(list(LAYOUTS)), array))
    assert_no_alarm(
        oracle.verify(spec.op, *e.arguments, options=e.options, reference=spec.reference, seed=e.seed, views=spec.views)
    )


@every_spec
def test_the_differences_alone_raise_no_false_alarm(spec: Spec) -> None:
    @settings(max_examples=alone(spec.name), suppress_health_check=list(HealthCheck))
    @given(e=correct(spec, ["float64", "float64", "float64", "float32"]))
    def check(e: Example) -> None:
        assert_no_alarm(oracle.verify(spec.op, *e.arguments, options=e.options, seed=e.seed, views=spec.views))

    check()
