"""`oracle accuracy`: errors of gradients in ULPs, beyond their condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest

import purenet as pn
from oracle import accuracy, catalogue, exact
from oracle.arrays import random_cotangent
from oracle.cli.main import main
from oracle.exact.witness import directional
from oracle.judging.conditioning import conditions
from oracle.judging.exact_point import ExactPoint
from oracle.judging.point import Point, point_at
from oracle.running.selection import Exit
from oracle.running.tasks import Task
from oracle.spec import Case, Spec
from oracle.subject import Subject
from purenet import Op
from tests.oracle.planted import normal

EPS = 2.0**-52


def measured(op: Any, monkeypatch: pytest.MonkeyPatch) -> accuracy.Accuracy:
    spec = Spec(op, reference=np.sin, source="", cases=(Case("five", lambda draw: (normal(5),)),))
    monkeypatch.setattr(accuracy, "spec_of", lambda task: spec)
    return accuracy.perform(Task("", op.name, "five", "float64"))


def of(slope_factor: float, monkeypatch: pytest.MonkeyPatch) -> accuracy.Accuracy:
    @Op
    def sine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sine."""
        return np.sin(x), x

    @sine.pullback
    def sine_bwd(x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray]:
        return (slope_factor * np.cos(x) * dy,)

    return measured(sine, monkeypatch)


def condition(function: Any, slope: Any, x: Any, dy: Any) -> np.ndarray:
    def fwd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return function(x), x

    return conditions(Subject.of((fwd, lambda x, dy: (slope(x, dy),)), {}), (np.array(x),), np.array(dy))[0]


def test_a_right_gradient_is_off_by_its_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    one = of(1.0, monkeypatch)
    assert one.entries == 5
    assert one.beyond < 4


def test_digits_that_are_lost_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    one = of(1 + 1000 * 2.0**-52, monkeypatch)
    assert 900 < one.beyond < 2100
    assert one.where.startswith("five: x[")
    assert "1 op more than 8 ULPs beyond its condition" in accuracy.text([one])


def test_digits_that_a_difference_loses_are_beyond_the_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """(x + 1e6) - 1e6 has lost six digits of x. The condition is that of x, which is a multiplication."""

    @Op
    def half_square(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x^2 / 2."""
        return x * x / 2, x

    @half_square.pullback
    def half_square_bwd(x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray]:
        return (((x + 1e6) - 1e6) * dy,)

    one = measured(half_square, monkeypatch)
    assert one.condition < 5
    assert one.beyond > 1e4


def test_the_condition_is_the_sum_over_all_numbers() -> None:
    x, dy = normal(5), normal(5) + 3
    found = condition(np.sin, lambda x, dy: np.cos(x) * dy, x, dy)
    np.testing.assert_allclose(found, EPS * (np.abs(x * np.sin(x) * dy) + np.abs(np.cos(x) * dy)), rtol=1e-5)


def test_an_entry_that_cancels_has_a_large_condition() -> None:
    """A sum of upstream gradients. Equal moves by one ULP with two signs each would cancel, as the sum does."""
    dy = [1.25, 1.5, -1.25, -1.5 + 1e-9]
    (found,) = condition(lambda x: np.full(4, x[0]), lambda x, dy: np.array([dy.sum()]), [0.7], dy)
    np.testing.assert_allclose(found, EPS * 5.5, rtol=1e-5)


def test_an_entry_that_cancels_is_not_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dy = random_cotangent(np.zeros((4, 5)))
    weights = np.array([1.0, 3.0, -1.0, -3.0 + 1e-9])[:, None] / dy

    @Op
    def weighted(x: np.ndarray) -> tuple[np.ndarray, None]:
        """Each number four times, so that the upstream gradients cancel to nine digits."""
        return weights * x, None

    @weighted.pullback
    def weighted_bwd(_: None, dy: np.ndarray) -> tuple[np.ndarray]:
        return ((weights * dy).sum(axis=0),)

    one = measured(weighted, monkeypatch)
    assert one.largest > 1e5
    assert one.beyond == 0


def test_a_tiny_entry_has_its_own_condition() -> None:
    """What it changes in the entry beside it is lost in rounding; the number beside it changes it by a thousand ULPs."""

    def fwd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([np.exp(x[0]) * x[1], x[0] ** 2]), x

    def bwd(x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray]:
        return (np.array([np.exp(x[0]) * x[1] * dy[0] + 2 * x[0] * dy[1], np.exp(x[0]) * dy[0]]),)

    (found,) = conditions(Subject.of((fwd, bwd), {}), (np.array([-200.0, 3.0]),), np.ones(2))
    np.testing.assert_allclose(found[1], EPS * 201 * np.exp(-200), rtol=1e-3)


def test_a_kink_on_one_side_is_no_slope() -> None:
    """The slope of max(x, 1) is constant at 1 + 1e-8; the jump at 1, which a step reaches, would count a million times."""
    (found,) = condition(lambda x: np.maximum(x, 1), lambda x, dy: (x > 1) * dy, [1 + 1e-8], [2.0])
    np.testing.assert_allclose(found, EPS * 2, rtol=1e-5)


def test_at_the_end_of_the_domain_the_other_side_counts() -> None:
    def rooted(x: np.ndarray) -> np.ndarray:
        if (x > 2).any():
            raise ValueError("outside")
        return x**3

    (found,) = condition(rooted, lambda x, dy: 3 * x**2 * dy, [2.0], [1.0])
    np.testing.assert_allclose(found, EPS * (24 + 12), rtol=1e-5)


def moved_by_roundings(point: Point, i: int, j: int) -> float:
    """How far the exact derivative by an entry moves at random roundings of all numbers."""
    generator = np.random.default_rng(0)
    tangents = [np.zeros(np.shape(leaf.array)) for leaf in point.leaves]
    tangents[i].reshape(-1)[j] = 1.0
    tree: Any = (point.wide.primals, point.wide.dy)
    along: Any = optree.tree_structure(point.wide.primals).unflatten(tangents)

    def derivative(eps: float) -> float:
        primals, dy = optree.tree_map(lambda a: a * (1 + eps * generator.choice([-1.0, 1.0], np.shape(a))), tree)
        return directional(point.subject.value, primals, {}, along, dy).nearest

    return max(abs(derivative(EPS) - derivative(0.0)) for _ in range(2))


@pytest.mark.parametrize("name", ["avg_pool2d", "dice_loss", "gru_cell", "layer_norm", "ntxent"])
def test_no_rounding_moves_the_exact_derivative_further(name: str) -> None:
    """The exact witness at random roundings, which are up to 4/3 eps: a product with 1 + eps is rounded too."""
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    case = next(case for case in spec.cases if not case.flags)
    primals, options = case.draw(spec.name)
    subject = Subject.of(spec.op, options)
    y = subject.value(*primals)
    point = point_at(Point(subject, tuple(primals), y, random_cotangent(y), ()), primals)
    moved = []
    for i, gradient in enumerate(point.gradients):
        for j in (0, gradient.size - 1):
            bound = ExactPoint(point, i, 0).condition(np.eye(gradient.size)[j])
            further = moved_by_roundings(point, i, j)
            assert further <= 4 / 3 * (1 + 1e-5) * bound + np.spacing(abs(gradient[j]))
            moved.append(further)
    assert max(moved) > 0


@pytest.mark.parametrize(
    "name",
    [
        "avg_pool2d", "batch_norm", "cosine_distance", "cosine_similarity", "dice_loss", "group_norm", "instance_norm",
        "layer_norm", "rms_norm", "softmax_cross_entropy_with_probabilities",
    ],
)  # fmt: skip
def test_these_lose_no_digits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one projection, as their Math has it, batch_norm is 33 and cosine_distance 110 ULPs beyond its condition.

    Cases of more than 500 numbers take most of the time, and the same bodies as those of 400.
    """
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    few = tuple(case for case in spec.cases if sum(map(np.size, optree.tree_leaves(case.draw(name)[0]))) <= 500)
    monkeypatch.setattr(accuracy, "spec_of", lambda task: replace(spec, cases=few))
    one = accuracy.perform(Task("", name, "", "float64"))
    assert one.entries > 20
    assert one.beyond <= 2


@pytest.mark.parametrize(("name", "most"), [("softmax_cross_entropy", 32), ("ntxent", 130)])
def test_these_have_a_reason_to(name: str, most: float) -> None:
    """With exp(log p) in place of p the first is 166 ULPs beyond its condition, and not 16; the second is 81."""
    assert accuracy.perform(Task("", name, "", "float64")).beyond <= most


def test_the_page_gives_a_reason_for_all_that_are_worse() -> None:
    assert "## Why some" not in accuracy.page([accuracy.Accuracy("ntxent", error=9.0, condition=1.0)], "oracle accuracy")
    page = accuracy.page([accuracy.Accuracy("ntxent", error=10.0, condition=1.0)], "oracle accuracy")
    assert f"- ntxent: {accuracy.REASONS['ntxent']}" in page
    assert "- sine: not examined." in accuracy.page([accuracy.Accuracy("sine", error=10.0)], "oracle accuracy")
    committed = (Path(__file__).parents[2] / "reports" / "accuracy.md").read_text()
    assert all(f"- {op}: {why}" in committed for op, why in accuracy.REASONS.items())
    assert "not examined." not in committed


def test_the_page_of_an_op(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", pn.relu.name, "--jobs", "1", "--reports", str(tmp_path)]) == Exit.PASS
    assert "of 1 op compared" in capsys.readouterr().out
    assert "| relu " in (tmp_path / "accuracy.md").read_text()


def test_without_python_flint_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exact, "available", lambda: False)
    assert main(["accuracy", "relu"]) == Exit.USAGE
    assert 'pip install "purenet[exact]"' in capsys.readouterr().err
