"""Every wrong gradient of the zoo gets its verdict and its cause, and its corrected twin passes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import pytest

from oracle.row import Verdict
from oracle.trajectory import run
from oracle.verification import Verification, verify
from tests.oracle.test_reported_errors import assert_of_one_entry
from tests.zoo import optimizers
from tests.zoo.record import BOOK, LEARNERS, Bug, OptimizerBug, Pair

FAMILIES: dict[str, tuple[Bug, ...]] = {
    name: import_module(f"tests.zoo.{name}").BUGS
    for name in (
        "activations",
        "arithmetic",
        "convolution_and_pooling",
        "indexing",
        "kernels",
        "losses",
        "normalization",
        "plumbing",
        "recurrent_and_attention",
        "reductions",
    )
}
BUGS = [bug for family in FAMILIES.values() for bug in family]
ALL: list[Bug | OptimizerBug] = [*BUGS, *optimizers.BUGS]


def each(bugs: Iterable[Bug | OptimizerBug]) -> Any:
    """One worker runs a bug and its twin: they have one reference, which is compiled once."""
    return pytest.mark.parametrize(
        "bug", [pytest.param(bug, id=bug.name, marks=pytest.mark.xdist_group(bug.name)) for bug in bugs]
    )


def verified(bug: Bug, op: Pair, arguments: tuple[Any, ...]) -> Verification:
    return verify(op, *arguments, options=bug.options, reference=bug.reference, flags=bug.flags)


@each(BUGS)
def test_a_wrong_gradient_is_found_and_explained(bug: Bug) -> None:
    result = verified(bug, bug.wrong, bug.arguments)
    assert not result.passed
    for row in result.rows:
        assert_of_one_entry(row)
    for parameter, cause in bug.causes.items():
        rows = [row for row in result.rows if row.parameter == parameter]
        assert bug.verdict in {row.verdict for row in rows}, result
        said = [row.diagnosis for row in rows if row.verdict is bug.verdict]
        assert any(cause in diagnosis for diagnosis in said), f"{cause!r} expected of {parameter!r}:\n{result}"
    assert all(row.passed for row in result.rows if row.parameter not in {"", *bug.causes}), result


@each(BUGS)
def test_its_corrected_twin_passes(bug: Bug) -> None:
    result = verified(bug, bug.right, bug.other_arguments or bug.arguments)
    assert {row.verdict for row in result.rows} <= {Verdict.PASS, Verdict.KINK}, result


@each(optimizers.BUGS)
def test_a_wrong_optimizer_is_found_and_explained(bug: OptimizerBug) -> None:
    result = run(bug.spec_of_wrong(), 2)
    assert result.first == bug.first, result.diagnosis
    assert bug.cause in result.diagnosis
    row = next(row for row in result.rows if row.parameter == bug.first[1])
    assert row.verdict is Verdict.FAIL


@each(optimizers.BUGS)
def test_the_right_optimizer_passes(bug: OptimizerBug) -> None:
    result = run(bug.right, 2)
    assert result.passed, result.diagnosis


def test_the_zoo_is_complete() -> None:
    assert len(ALL) >= 40
    assert all(len(family) >= 3 for family in [*FAMILIES.values(), optimizers.BUGS])
    assert len({bug.name for bug in ALL}) == len(ALL)
    threads = [bug.source for bug in ALL if re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", bug.source)]
    assert len(set(threads)) == len(threads) >= 40, "each thread is one bug"
    told = [bug for bug in ALL if bug.source not in threads]
    assert all(bug.source.startswith((BOOK, LEARNERS)) for bug in told)
    assert all(bug.what.endswith(".") for bug in ALL)
