"""The road to a verdict can be told: from its explanation alone, each comparison and the verdict follow again."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle.judging.reasons import Reason
from oracle.report.explanation import VALUES_COMPARED, explained
from oracle.row import Explanation, Row, Verdict
from oracle.verification import Verification, verify
from tests.oracle.conftest import Run
from tests.oracle.planted import Array, cube, elementwise, row, signed
from tests.zoo.test_zoo import BUGS, each, verified

TABLE = (Reason.AGREES, Reason.WRONG_BACKWARD, Reason.ANOTHER_FUNCTION, Reason.NOT_THE_FORWARD_PASS)
"""Reasons that follow from the three comparisons of one entry."""


def explanation(one: Row) -> Explanation:
    assert one.details is not None
    assert one.details.explanation is not None
    return one.details.explanation


def told_again(x: Explanation) -> Reason:
    """The reason that follows from the comparisons, by the table of `oracle.judging.verdict`."""
    differ = {name: not error <= allowed for name, (error, allowed) in x.comparisons.items()}
    if "gradient and differences" not in differ:  # by definition it is not the derivative
        return Reason.WRONG_BACKWARD if differ["gradient and reference"] else Reason.AGREES
    by_differences = differ["gradient and differences"]
    if "gradient and reference" not in differ:
        return Reason.WRONG_BACKWARD if by_differences else Reason.AGREES
    if differ["gradient and reference"]:
        return Reason.WRONG_BACKWARD if by_differences else Reason.ANOTHER_FUNCTION
    return Reason.NOT_THE_FORWARD_PASS if by_differences else Reason.AGREES


def assert_tells(result: Verification) -> None:
    for one in result.rows:
        if not one.reason:
            continue
        x = explanation(one)
        assert x.reason == one.reason
        assert Reason.named(x.reason).verdict is one.verdict or "dy ignored" in one.diagnosis
        u, r, c, t = (x.terms.get(name, 0.0) for name in ("u", "r", "c", "t"))
        sums = {"gradient and differences": u + r + c + t, "gradient and reference": x.terms.get("R", 0.0) + c + t}
        sums["differences and reference"] = u + sums["gradient and reference"]
        for name, (_, allowed) in x.comparisons.items():
            assert allowed == 1.0 if name == VALUES_COMPARED else allowed == pytest.approx(sums[name], rel=1e-12), name
        if Reason.named(x.reason) in TABLE and x.entry and len(x.comparisons) in (1, 3) and "at " not in one.diagnosis[:3]:
            assert told_again(x) is Reason.named(x.reason), explained(one)


@each(BUGS[::3])
def test_the_verdict_on_a_published_bug_follows_again(bug: Any) -> None:
    assert_tells(verified(bug, bug.wrong, bug.arguments))


@pytest.mark.parametrize("reference", [None, jnp.sin, lambda x: 1.001 * jnp.sin(x)], ids=["alone", "JAX", "another"])
@pytest.mark.parametrize("factor", [1.0, 1 + 1e-9, 1.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_verdict_follows_again(factor: float, reference: Any, dtype: Any) -> None:
    assert_tells(verify(elementwise(np.sin, lambda x: factor * np.cos(x)), signed(5).astype(dtype), reference=reference))


def test_further_measurements_are_named() -> None:
    special = row(verify(cube(), np.ones(3)))
    assert explanation(special).measurements == ("a generic point near these special arguments",)
    assert explanation(row(verify(cube(), signed(3)))).measurements == ()
    tanh = elementwise(np.tanh, lambda x: 1 - np.tanh(x) ** 2)
    assert (
        "entries below the roundoff floor, at rescaled arguments" in explanation(row(verify(tanh, 15 * signed(4)))).measurements
    )


def test_an_explanation_in_words() -> None:
    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[2] *= 1 + 1e-6
        return dx

    text = explained(row(verify(cube(wrong), signed(4), reference=lambda x: x**3)), 80)
    lines = text.splitlines()
    assert lines[0] == "cube / x: FAIL, because: the backward pass is wrong"
    assert lines[1] == "  the entry that decided: x[2]"
    assert next(line.split()[-3:] for line in lines[2:5]) == ["your", "backward", "pass"]
    assert "    gradient and differences   DIFFER  error " in text
    assert "    differences and reference  agree   error " in text
    assert all(len(line) <= 80 for line in lines)
    assert "further measurements: a full sweep of the steps for 1 doubtful entry" in text


def test_a_breach_of_the_contract_has_no_comparison() -> None:
    calls: list[int] = []

    def restless_fwd(x: Array) -> Any:
        calls.append(1)
        return x * len(calls), None

    one = verify((restless_fwd, lambda _, dy: (dy,)), signed(3)).rows[0]
    assert one.verdict is Verdict.FAIL
    assert "decided before any gradient was compared" in explained(one)


@pytest.mark.usefixtures("in_this_process")
def test_the_command_explains(run: Run) -> None:
    code, out, _ = run("verify", "softmax", "--case", "one row", "--explain")
    assert code == 0
    assert "softmax / one row / x: PASS, because: every comparison agrees" in out
    assert "truncation and noise: 4 error bars of the differences" in out
    code, _, err = run("verify", "softmax", "--explain", "--json")
    assert code == 4
    assert "--json" in err
    assert "PASS, because" not in run("verify", "softmax", "--case", "one row", "--explain", "--quiet")[1]


def test_every_reason_has_a_name_a_verdict_and_a_sentence() -> None:
    assert len({reason.value for reason in Reason}) == len(Reason)
    assert all(isinstance(reason.verdict, Verdict) and str(reason.__doc__).endswith(".") for reason in Reason)
