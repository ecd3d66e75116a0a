"""`verify(..., exact=True)`: gradients without their rounding, against exact derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optree
import pytest

from oracle import catalogue
from oracle.contract.first_call import first_call
from oracle.judging.exact_point import ExactPoint
from oracle.judging.point import Point, point_at
from oracle.judging.reasons import Reason
from oracle.judging.unrounded import Formula
from oracle.report.explanation import explained
from oracle.row import Verdict
from oracle.running.tasks import Task
from oracle.spec import Spec
from oracle.subject import Subject
from oracle.verification import verify
from tests.oracle.planted import Array, Pair, elementwise, normal, row

EPS = 2.0**-52
NOTICED = 4e-15
"""The error of one entry, as a share of the entry times its condition, that must be noticed; the documents promise 1e-14. The
largest that passes is 1.9e-15 for these ops."""
FEW = 80  # numbers of the arguments: more take two gradients each for the condition, and some ops have thousands
SMOOTH = (
    "affine", "batch_norm", "conv2d", "cosine_similarity", "dot_product_attention", "gelu", "layer_norm", "logsumexp",
    "lstm_cell", "mish", "softmax", "tanh",
)  # fmt: skip


def planted(subject: Subject, leaf: int, index: int, factor: float) -> Pair:
    """The op with one entry of one gradient off by a factor."""

    def bwd(residuals: Any, dy: Any) -> Any:
        tree: Any = tuple(subject.bwd(residuals, dy))
        found, structure = optree.tree_flatten(tree)
        factors = np.where(np.arange(np.size(found[leaf])) == index, factor, 1.0)
        found[leaf] = found[leaf] * factors.reshape(np.shape(found[leaf]))
        return structure.unflatten(found)

    return subject.fwd, bwd


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("name", SMOOTH)
def test_an_error_of_less_than_1e_14_in_one_entry_times_its_condition_is_noticed(name: str) -> None:
    spec: Spec = catalogue.find(name)
    case = spec.cases[0]
    primals, options = case.draw(name)
    subject = Subject.of(spec.op, options)
    y, dy, _ = first_call(subject, primals, 0, strict=False)
    gradient = point_at(point := Point(subject, primals, y, dy, ()), primals).gradients[0]
    index = int(np.argsort(np.abs(gradient))[gradient.size // 2])
    direction = np.where(np.arange(gradient.size) == index, 1.0, 0.0)
    moved = ExactPoint(point, 0, 0).condition(direction)
    condition = max(1.0, moved / (EPS * abs(gradient[index])))
    right, wrong = (planted(subject, 0, index, factor) for factor in (1.0, 1 + NOTICED * condition))
    assert verify(right, *primals, exact=True)
    assert verify(wrong, *primals)  # the differences alone do not know so many digits
    found = verify(wrong, *primals, exact=True).rows[0]
    assert (found.verdict, found.reason) == (Verdict.FAIL, Reason.WRONG_FORMULA.value)
    assert found.worst_index == np.unravel_index(index, found.shape)


def test_no_op_forgives_more_than_1e_14_of_an_entry_times_its_condition() -> None:
    compared, refused = 0, []
    for spec in catalogue.specs():
        case = next((case for case in spec.cases if not case.flags), None)
        if case is None:
            continue
        primals, options = case.draw(spec.name)
        if sum(np.size(leaf) for leaf in optree.tree_leaves(primals)) > FEW:
            continue
        subject = Subject.of(spec.op, options)
        y, dy, _ = first_call(subject, primals, 0, strict=False)
        formula = Formula(point := point_at(Point(subject, tuple(primals), y, dy, ()), primals), 0)
        if formula._refused:  # a pass that cannot run on exact numbers forgives nothing
            refused.append(spec.name)
            continue
        for i, gradient in enumerate(point.gradients):
            order = np.argsort(np.abs(gradient))
            order = order[gradient[order] != 0]
            for j in {int(order[k]) for k in (0, order.size // 2, -1) if order.size}:
                condition = point.wide.conditions[i][j]
                assert formula.allowed(i, j) <= 1e-14 * max(abs(gradient[j]), condition / EPS), spec.name
        compared += 1
    assert compared > 140
    assert refused == ["ctc_loss"]  # its logarithms of 0 are infinite


def tanh(factor: float) -> Pair:
    return elementwise(np.tanh, lambda x: factor * (1 - np.tanh(x) ** 2))


def test_the_row_says_what_is_wrong() -> None:
    one = row(verify(tanh(1 + 1e-13), normal(5), reference=jnp.tanh, exact=True))
    assert one.verdict is Verdict.FAIL
    assert one.diagnosis.startswith("not quite the derivative: evaluated without rounding, the backward pass is off by 1.0e-13")
    text = " ".join(explained(one, 120).split())
    assert "gradient without rounding DIFFER" in text
    assert "5 entries without rounding, along a random direction" in text
    assert "unrounded 5/5" in one.evidence


def test_what_float64_rounds_is_forgiven() -> None:
    """1 - tanh^2 loses all its digits, and the gradient is right without rounding."""
    x = np.array([0.5, 17.0, 19.0, 25.0])
    gradient = 1 - np.tanh(x) ** 2
    assert gradient[-1] == 0
    one = row(verify(tanh(1.0), x, exact=True))
    assert one.verdict is Verdict.PASS
    assert "unrounded 4/4" in one.evidence


def test_constants_that_are_rounded_in_both_passes_are_forgiven() -> None:
    """The forward pass has sqrt(2 / pi), the backward pass 1 / sqrt(pi / 2): they differ in the last place."""
    one, other = np.sqrt(2 / np.pi), 1 / np.sqrt(np.pi / 2) + EPS
    assert one != other
    assert verify(elementwise(lambda x: np.sin(one * x), lambda x: other * np.cos(one * x)), normal(8), exact=True)


def test_one_wrong_entry_among_many_is_found() -> None:
    factors = np.where(np.arange(900) == 631, 1 + 2e-14, 1.0)
    pair = elementwise(np.exp, lambda x: factors * np.exp(x))
    assert row(verify(pair, normal(900), exact=True)).worst_index == (631,)


def test_an_error_that_is_accepted_is_accepted() -> None:
    assert row(verify(tanh(1 + 1e-13), normal(5), exact=True, accept=1e-12)).verdict is Verdict.ACCEPTED


def compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: function(np.array([float(v) for v in x]))


@pytest.mark.parametrize(
    ("pair", "x", "why"),
    [
        (elementwise(np.tanh, compiled(lambda x: 1 - np.tanh(x) ** 2)), normal(4), "float() of a number"),
        (elementwise(np.abs, np.sign), np.array([0.0, 1.0]), "a kink: absolute"),
        (elementwise(lambda x: x * 2, lambda x: 2 + 1e-3 * (type(x) is not np.ndarray)), normal(4), "not the one in float64"),
    ],
    ids=["a pass that makes floats", "a kink", "another gradient on balls"],
)
def test_what_cannot_be_compared_says_so(pair: Pair, x: Array, why: str) -> None:
    one = row(verify(pair, x, exact=True))
    assert one.passed
    assert "unrounded" not in one.evidence
    text = " ".join(explained(one, 120).split())
    assert "not compared without rounding: " in text
    assert why in text


def test_a_forward_pass_that_is_another_one_on_balls_is_not_believed() -> None:
    x = normal(3)
    one = row(verify(elementwise(lambda y: y * (y if type(y) is np.ndarray else x), lambda y: 2 * y), x, exact=True))
    assert one.passed
    assert "the differences contradict the exact derivative" in explained(one, 500)


def test_only_who_asks_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Formula, "__init__", lambda *_: pytest.fail("asked"))
    assert verify(tanh(1.0), normal(5))
    assert verify(tanh(1.0), normal(5).astype(np.float32), exact=True)


def test_what_exact_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="verify: exact must be True or False, got 1"):
        verify(tanh(1.0), normal(5), exact=1)  # type: ignore[arg-type]
    monkeypatch.setattr("oracle.settings.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'exact=True needs python-flint: pip install "purenet\[exact\]"'):
        verify(tanh(1.0), normal(5), exact=True)


@pytest.mark.usefixtures("in_this_process")
def test_the_command_asks(run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("verify", "tanh", "--case", "scalar", "--exact", "--json")
    assert code == 0
    assert "unrounded 1/1" in out
    assert Task("", "tanh", "scalar", "float64", exact=True).command == "oracle verify tanh --case scalar --exact"
    monkeypatch.setattr("oracle.exact.find_spec", lambda name: None)
    code, _, err = run("verify", "tanh", "--exact")
    assert code == 4
    assert '--exact needs python-flint: pip install "purenet[exact]"' in err
