"""`oracle.locate`: stages that are meant to be no derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
import purenet as pn
from oracle import Verdict
from oracle.power.reach import with_backward
from purenet import Op
from tests.oracle.nets import BRANCH, PARAMS, X, doubtful, normal, times

# ------------------------------------------------------------------------------------------------------ what is allowed


def rounding(factor: float = 1.0) -> Any:
    """A straight-through estimator: the value is rounded, and the gradient is that of the identity."""
    return lambda x: (np.round(4 * x) / 4, None), lambda _, dy: (factor * dy,)


def reversal(factor: float = -1.0) -> Any:
    return lambda x: (x.copy(), None), lambda _, dy: (factor * dy,)


def clipping(_: float = 1.0) -> Any:
    return lambda x: (x.copy(), None), lambda _, dy: (np.clip(dy, -0.1, 0.1),)


MEANT: dict[str, tuple[Callable[..., Any], Any]] = {
    "a straight-through estimator": (rounding, lambda x: x),
    "a reversed gradient": (reversal, lambda x: -x),
    "a clipped gradient": (clipping, None),
}


@pytest.mark.parametrize("what", MEANT)
def test_a_stage_that_is_meant_to_be_no_derivative_is_allowed_by_its_name(what: str) -> None:
    make, function = MEANT[what]
    net = pn.chain(affine=pn.affine, special=op_of(make()), tanh=pn.tanh)
    given = {"affine": PARAMS}, normal(5, 4)
    assert doubtful(oracle.locate(net, *given)) == ["special"]
    found = oracle.locate(net, *given, allows=["special"])
    assert found.passed, str(found)
    assert found.rows[1].verdict is Verdict.ACCEPTED
    assert "its gradient is no derivative, as allowed" in str(found)
    assert found.between is None
    assert "the whole net" not in str(found)
    if function is not None:
        judged = oracle.locate(net, *given, allows={"special": function})
        assert judged.rows[1].verdict is Verdict.PASS, str(judged)
        wrong = pn.chain(affine=pn.affine, special=op_of(make(3.0)), tanh=pn.tanh)
        assert doubtful(oracle.locate(wrong, *given, allows={"special": function})) == ["special"]


def op_of(pair: Any) -> Op:
    made = Op(pair[0])
    made.pullback(pair[1])
    return made


def test_what_is_allowed_excuses_no_other_stage_and_no_wrong_shape() -> None:
    wrong = times(pn.tanh, 0, lambda dx: 3 * dx)
    found = oracle.locate({"round": rounding(), "tanh": wrong}, X, allows=["round"])
    assert doubtful(found) == ["tanh"]
    flat = (lambda x: (x.copy(), None), lambda _, dy: (dy.ravel(),))
    found = oracle.locate({"flat": flat, "tanh": pn.tanh}, X, allows=["flat"])
    assert doubtful(found) == ["flat"]
    assert "(24,)" in found.wrong[0].cause


def test_parts_without_an_allowed_stage_are_still_compared() -> None:
    lost = with_backward(BRANCH, lambda residuals, dy: BRANCH.op.bwd(residuals.saved, dy))
    params = {name: {"affine": PARAMS} for name in ("one", "two")}
    right = oracle.locate(pn.chain(one=BRANCH, special=op_of(reversal()), two=BRANCH), params, normal(5, 4), allows=["special"])
    assert right.passed, str(right)
    found = oracle.locate(pn.chain(one=BRANCH, special=op_of(reversal()), two=lost), params, normal(5, 4), allows=["special"])
    assert found.first_wrong is not None
    assert found.first_wrong.stage == "two"
