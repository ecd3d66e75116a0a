"""Correct code raises no alarm: a random use of each of the catalogue's ops, in all dtypes and memory layouts.

Half of the ops, and all chains, are compared with both witnesses, in a narrow dtype; most of their time is XLA's, for each new
shape. The others are compared with the differences alone, which are the witness that an unlucky point could mislead. All
structure (witnesses, shapes, options, dtype, layout) is drawn by the name of the op. `make verify` compares all cases with
both; `oracle fuzz` and `oracle power --alarms` try as many uses as one likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

import oracle
from oracle import Draw, Spec, Verdict, catalogue
from oracle.counterexamples.search import Example, draw_example
from purenet import Op
from tests.oracle.few_arguments import FewArguments

SPECS = {spec.name: spec for spec in catalogue.specs()}


def of(spec: Spec) -> Any:
    """All tests of an op go to one worker, which keeps what JAX has compiled for it."""
    return pytest.param(spec, id=spec.name, marks=pytest.mark.xdist_group(spec.name))


SLOW = {"pre_norm_block", "post_norm_block", "stacked(low, high)", "bidirectional(lstm)", "gru"}
"""One use of these, and of the nets, takes as long as ten of another op: they are tried with three of their parameters. Their
parts are ops with uses of their own."""


def is_slow(spec: Spec) -> bool:
    return spec.family == "models" or spec.name in SLOW


def is_alone(spec: Spec) -> bool:
    """Whether its use is compared with the differences alone."""
    return type(spec.op) is Op and not is_slow(spec) and Draw("witnesses", spec.name).choice([True, False])


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


def drawn(spec: Spec, name: str, dtypes: list[str]) -> Example:
    """A random use of this op, each argument in some memory layout."""
    draw = Draw(name, spec.name)
    return draw_example(spec, dtypes, draw.between, lambda array: laid_out(draw.choice(list(LAYOUTS)), array))


def assert_no_alarm(result: oracle.Verification) -> None:
    assert result.rows
    for row in result.rows:
        if row.verdict is Verdict.VACUOUS:  # right where the true gradient is zero, or below what the dtype can hold
            truth = [abs(by or 0.0) for by in (row.numerical, row.autodiff)]
            assert max(truth) <= SMALLEST[row.dtype], str(result)
            assert row.dtype != "float64" or row.numerical_error == (row.autodiff_error or 0) == 0, str(result)
        else:
            assert row.verdict is Verdict.PASS, str(result)


@pytest.mark.parametrize("spec", [of(spec) for spec in SPECS.values() if not is_alone(spec)])
def test_both_witnesses_raise_no_false_alarm(spec: Spec) -> None:
    """In float32, in which an op computes 16-bit floats, too; a chain rounds between its stages, so in any narrow dtype."""
    dtypes = ["float32"] if type(spec.op) is Op else ["float32", "float16", "bfloat16"]
    e = drawn(spec, "no false alarm", dtypes)
    op, given, reference = spec.op, e.arguments, spec.reference
    if is_slow(spec):
        count, draw = len(optree.tree_leaves(e.arguments)), Draw("parameters", spec.name)
        few = FewArguments(spec.op, sorted({draw.between(0, count - 1) for _ in range(3)}), e.arguments)
        op, given, reference = few.pair, tuple(few.given), few.within(spec.reference)
    assert_no_alarm(oracle.verify(op, *given, options=e.options, reference=reference, seed=e.seed, views=spec.views))


@pytest.mark.parametrize("spec", [of(spec) for spec in SPECS.values() if is_alone(spec)])
def test_the_differences_alone_raise_no_false_alarm(spec: Spec) -> None:
    e = drawn(spec, "the differences alone", ["float64", "float64", "float64", "float32"])
    assert_no_alarm(oracle.verify(spec.op, *e.arguments, options=e.options, seed=e.seed, views=spec.views))
