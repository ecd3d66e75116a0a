"""Whole trainings: the catalogue passes, and every planted error is found at its first step, in its first slot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import optax
import optree
import pytest

from oracle import catalogue
from oracle.catalogue.models import trainings
from oracle.catalogue.models.trainings import ADAM, TRAININGS, by_jax
from oracle.catalogue.optimizers.moments import MOMENTS
from oracle.catalogue.optimizers.problems import TWO_LAYERS, draw_two_layers, two_layers
from oracle.catalogue.optimizers.references import by_optax
from oracle.cli.main import Exit
from oracle.compiling import quick_to_compile
from oracle.report import html, markdown
from oracle.report.document import packed, row_of
from oracle.row import Details, Parting, Row, Verdict
from oracle.running.tasks import DTYPES, Task, tasks_of
from oracle.spec import Draw
from oracle.trajectory import SlotRow, Trajectory
from oracle.trajectory.spec import TrainingSpec
from oracle.trajectory.tolerance import AUTODIFF
from oracle.trajectory.training import run
from purenet import Op
from purenet.optimizers import adam, apply_updates
from tests.oracle.conftest import Run
from tests.oracle.reported import followed
from tests.oracle.rows import ENVIRONMENT, reproduce, row

STEPS = 3
RATE = 0.05


def draw(draw: Draw, steps: int) -> tuple[Any, Any]:
    params = draw_two_layers(draw)[0]
    return params, [((draw.normal(5, 3),), {"loss": {"labels": draw.labels(3, 5)}}) for _ in range(steps)]


SMALL = TrainingSpec(
    "small_training",
    "five rows at each step",
    TWO_LAYERS.loss,
    draw,
    adam(RATE),
    by_jax(lambda params, x, **options: two_layers(params, x, options), quick_to_compile),
    by_optax(ADAM, optax.adam(RATE)),
    MOMENTS,
    ADAM,
    steps=STEPS,
)
EVERY = [pytest.param(spec, marks=pytest.mark.xdist_group(spec.name), id=spec.name) for spec in TRAININGS]
KINDS = ("state.mu", "state.nu", "params")
STAGES = {"lenet_training": ("net", "conv2", "w"), "gpt_training": ("net", "block2", "attention", "attention", "wq")}


def scaled(tree: Any, path: tuple[str, ...], factor: float) -> Any:
    """The tree with one leaf multiplied."""
    if not path:
        return tree * factor
    return {**tree, path[0]: scaled(tree[path[0]], path[1:], factor)}


def with_gradient(spec: TrainingSpec, change: Callable[[Any, Any], Any], forward: float = 1.0) -> TrainingSpec:
    """The same training with a loss whose gradient is `change(gradient, arguments)`."""
    goal = spec.goal
    assert isinstance(goal, Op)

    def fwd(*arguments: Any, **options: Any) -> Any:
        value, residuals = goal.fwd(*arguments, **options)
        return value * forward, (residuals, arguments)

    def bwd(residuals: Any, dy: Any) -> Any:
        saved, arguments = residuals
        grads, *others = goal.bwd(saved, dy)
        return change(grads, arguments), *others

    return replace(spec, goal=(fwd, bwd))


def by_name(result: Trajectory) -> dict[str, Row]:
    return {row.parameter: row for row in result.rows}


def failing(result: Trajectory) -> set[str]:
    return {row.parameter for row in result.rows if row.verdict is Verdict.FAIL}


# ------------------------------------------------------------------------------------------- the catalogue


@pytest.mark.parametrize("spec", EVERY)
def test_the_catalogue_passes(spec: TrainingSpec) -> None:
    rows = followed(spec.name)
    names = [row.parameter for row in rows]
    assert {row.verdict for row in rows} == {Verdict.PASS}
    assert {(row.first_autodiff, row.diagnosis) for row in rows} == {(None, "")}
    assert names[:2] == ["loss", "state.count"]
    parameters = {name.removeprefix("params.") for name in names if name.startswith("params.")}
    for slot in ("mu", "nu"):
        assert {name.removeprefix(f"state.{slot}.") for name in names if f".{slot}." in name} == parameters
    for one in rows:
        assert one.steps == spec.steps
        assert one.reference == str(spec.source)
        assert one.used is not None
        assert one.used < 0.1
        assert one.autodiff_error is not None
        assert one.autodiff_error < AUTODIFF


@pytest.mark.parametrize("spec", EVERY)
def test_a_wrong_gradient_of_one_stage_of_a_net_is_found(spec: TrainingSpec) -> None:
    path = STAGES[spec.name]
    result = run(with_gradient(spec, lambda grads, _: scaled(grads, path, 1 + 1e-6)), 1)
    where = ".".join(path)
    assert result.first == (1, f"state.mu.{where}")  # of the gradient's size the first step of Adam knows nothing
    assert f"gradient is wrong: at the same parameters that of params.{where} is 1.000001 times JAX's" in result.diagnosis
    assert f"; first at step 1 in state.mu.{where}" in result.diagnosis
    assert {f"state.mu.{where}", f"state.nu.{where}"} <= failing(result) <= {f"{kind}.{where}" for kind in KINDS}


@pytest.mark.parametrize("spec", EVERY)
def test_the_losses_of_a_training_fall(spec: TrainingSpec) -> None:
    """So something is learned: the batches of later steps cost less than the first."""
    assert spec.steps == 100
    params, batches = spec.draw(Draw("training", spec.name, 0), 50)
    goal: Any = spec.goal
    state = spec.optimizer.init(params)
    losses = []
    for arguments, options in batches:
        value, residuals = goal.fwd(params, *arguments, **options)
        updates, state = spec.optimizer.update(goal.bwd(residuals, np.ones_like(value))[0], state, params)
        params = apply_updates(params, updates)
        losses.append(float(value))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


# ------------------------------------------------------------------------------------------- planted errors


def test_another_batch_at_each_step_the_same_for_both() -> None:
    result = run(SMALL)
    assert result.passed, result.diagnosis
    details = result.rows[0].details
    assert details is not None
    assert details.descent is not None
    assert len(set(details.descent.ours)) == STEPS
    assert details.descent.ours == pytest.approx(details.descent.theirs, rel=1e-14)


@pytest.mark.parametrize("error", [1e-6, 1e-9, 1e-11])
def test_a_wrong_gradient_is_found(error: float) -> None:
    result = run(with_gradient(SMALL, lambda grads, _: scaled(grads, ("affine2", "w"), 1 + error)))
    assert result.first == (1, "state.mu.affine2.w")
    assert f"that of params.affine2.w is {1 + error:.13g} times JAX's" in result.diagnosis
    one = by_name(result)["state.mu.affine2.w"]
    assert isinstance(one, SlotRow)
    assert (one.verdict, one.first_autodiff, one.steps) == (Verdict.FAIL, 1, STEPS)
    assert one.diagnosis == result.diagnosis
    assert one.analytic is not None
    assert one.autodiff is not None
    assert one.analytic != one.autodiff


def test_a_gradient_that_is_wrong_on_one_batch_is_found_at_its_step() -> None:
    (third,) = draw(Draw("training", SMALL.name, 0), STEPS)[1][2][0]

    def change(grads: Any, arguments: Any) -> Any:
        return scaled(grads, ("affine1", "b"), 1 + 1e-6 * np.array_equal(arguments[1], third))

    result = run(with_gradient(SMALL, change))
    assert result.first == (3, "state.mu.affine1.b")
    assert "that of params.affine1.b is 1.000001 times JAX's; first at step 3 in state.mu.affine1.b" in result.diagnosis


def test_a_gradient_that_is_off_by_no_factor_is_named() -> None:
    result = run(with_gradient(SMALL, lambda grads, _: {**grads, "affine1": {**grads["affine1"], "w": np.ones((3, 2))}}))
    assert result.first == (1, "state.mu.affine1.w")
    assert "that of params.affine1.w differs from JAX's; first" in result.diagnosis


@pytest.mark.parametrize(
    ("optimizer", "first", "says"),
    [
        (adam(RATE, eps=1.1e-8), (1, "params.affine1.b"), ""),
        (adam(RATE, epsilon_hat=True), (1, "params.affine1.b"), ""),
        (adam(RATE, b1=0.8), (1, "state.mu.affine1.b"), "which is 2 times the reference's"),
        (adam(RATE, b2=0.998), (1, "state.nu.affine1.b"), "which is 2 times the reference's"),
        (adam(RATE * (1 + 1e-9)), (1, "params.affine1.b"), "whose change is 1.000000001 times the reference's"),
        (adam(lambda count: RATE / (1 + (count > 0))), (2, "params.affine1.b"), ""),
    ],
    ids=["eps", "epsilon_hat", "b1", "b2", "rate", "rate of the second step"],
)
def test_a_wrong_optimizer_is_found(optimizer: Any, first: tuple[int, str], says: str) -> None:
    result = run(replace(SMALL, optimizer=optimizer))
    assert result.first == first
    assert "the optimizer is another than optax.adam: the gradients agree at the same parameters" in result.diagnosis
    assert f"first at step {first[0]} in {first[1]}" in result.diagnosis
    assert says in result.diagnosis
    assert by_name(result)[first[1]].verdict is Verdict.FAIL
    assert by_name(result)["state.count"].verdict is Verdict.PASS


def test_a_count_that_stands_still_is_found() -> None:
    right = adam(RATE)

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        updates, after = right.update(grads, state, params)
        return updates, after._replace(count=state.count)

    result = run(replace(SMALL, optimizer=right._replace(update=update)), 1)
    assert result.first == (1, "state.count")
    assert result.diagnosis.endswith("first at step 1 in state.count, which is never updated")
    assert failing(result) == {"state.count"}


def test_a_loss_of_another_value_is_found() -> None:
    result = run(with_gradient(SMALL, lambda grads, _: grads, forward=1 + 1e-9))
    assert result.first == (1, "loss")
    assert failing(result) == {"loss"}
    assert "the loss is another function than optax.adam, though the gradients agree" in result.diagnosis


def test_numbers_that_are_not_finite_end_both_runs() -> None:
    result = run(with_gradient(SMALL, lambda grads, _: scaled(grads, ("affine2", "b"), np.nan)))
    assert result.first == (1, "state.mu.affine2.b")
    assert "small_training computes NaN or infinity; first at step 1" in result.diagnosis
    assert {one.steps for one in result.rows if isinstance(one, SlotRow)} == {1}


def test_a_training_that_moves_nothing_is_vacuous() -> None:
    result = run(replace(SMALL, optimizer=adam(0.0), reference=by_optax(ADAM, optax.adam(0.0))), 2)
    assert not result.passed
    assert {one.parameter for one in result.rows if one.verdict is Verdict.VACUOUS} == {
        name for name in by_name(result) if name.startswith("params.")
    }


def test_what_cannot_be_run_is_named() -> None:
    with pytest.raises(ValueError, match="run: steps must be at least 1, got 0"):
        run(SMALL, 0)
    slots = {name: select for name, select in MOMENTS.items() if name != "nu"}
    with pytest.raises(ValueError, match=r"the slots of small_training must name every slot.*state\.nu\.affine1\.b"):
        run(replace(SMALL, slots=slots))


def test_the_same_call_gives_the_same_rows_and_another_seed_others() -> None:
    def rows(seed: int) -> list[Row]:
        return [replace(one, seconds=0.0) for one in run(SMALL, 1, seed).rows]

    assert rows(0) == rows(0)
    assert [one.analytic for one in rows(0)] != [one.analytic for one in rows(1)]


# ------------------------------------------------------------------------------------------- reports


def parting(result: Trajectory) -> Parting:
    details = result.rows[0].details
    assert details is not None
    assert all(one.details is details for one in result.rows)
    assert details.parting is not None
    return details.parting


def test_the_largest_difference_of_any_parameter_is_kept_of_each_step() -> None:
    right, wrong = parting(run(SMALL)), parting(run(replace(SMALL, optimizer=adam(RATE * (1 + 1e-6)))))
    assert len(right.parameters) == len(right.used) == STEPS
    assert max(right.parameters) < 1e-14
    assert max(right.used) < 1
    assert min(wrong.parameters) > 1e-9
    assert min(wrong.used) > 1
    params, [(arguments, options)] = draw(Draw("training", SMALL.name, 0), 1)
    gradient = SMALL.value_and_gradient(params, arguments, options)[1]
    after: Any = optree.tree_map(lambda p, g: p - RATE * np.sign(g), params, gradient)  # as Adam's first step does
    smallest = min(np.abs(leaf).max() for leaf in optree.tree_leaves(after))
    assert wrong.parameters[0] == pytest.approx(1e-6 * RATE / smallest, rel=1e-5)


def test_an_details_survives_the_way_between_processes() -> None:
    (one, *_) = run(SMALL, 2).rows
    assert one.details is not None
    assert Details.of(one.details.as_dict()) == one.details
    again = row_of(json.loads(json.dumps(packed(one))), SlotRow)
    assert again == one
    assert again.details == one.details


def trained(name: str, steps: int) -> Row:
    numbers = tuple(float(f"{step + 1}e-15") for step in range(steps))
    return row(family="models", op=name, details=Details(parting=Parting(numbers, tuple(1e3 * n for n in numbers))))


def test_the_page_has_a_table_of_some_steps() -> None:
    rows = [trained("long", 100), trained("long", 100), trained("short", 12), row(family="models")]
    page = markdown.markdown(rows, ENVIRONMENT, {}, reproduce)
    table = page.split("### Whole trainings")[1]
    lines = [re.split(r" *\| *", line)[1:-1] for line in table.splitlines() if line.startswith("| ")]
    assert lines == [
        ["training", "step", "1", "2", "5", "10", "20", "50", "100"],
        ["long", "difference", "1.0e-15", "2.0e-15", "5.0e-15", "1.0e-14", "2.0e-14", "5.0e-14", "1.0e-13"],
        ["long", "used", "1.0e-12", "2.0e-12", "5.0e-12", "1.0e-11", "2.0e-11", "5.0e-11", "1.0e-10"],
        ["short", "difference", "1.0e-15", "2.0e-15", "5.0e-15", "1.0e-14", "-", "-", "-"],
        ["short", "used", "1.0e-12", "2.0e-12", "5.0e-12", "1.0e-11", "-", "-", "-"],
    ]
    assert "Whole trainings" not in markdown.markdown([row()], ENVIRONMENT, {}, reproduce)


def test_the_page_of_pictures_draws_the_differences_once() -> None:
    text = html.page(run(SMALL).rows, ENVIRONMENT, {}, reproduce)
    assert text.count('aria-label="difference from the reference\'s run after each of 3 steps"') == 1
    assert "<h2>Whole trainings</h2>" in text
    wrong = run(replace(SMALL, optimizer=adam(2 * RATE))).rows
    assert html.page(wrong, ENVIRONMENT, {}, reproduce).count("<h3>Distance from the reference at each step</h3>") == 1


# ------------------------------------------------------------------------------------------- the command line


def test_trainings_are_followed_in_float64_alone() -> None:
    assert tasks_of(SMALL, DTYPES) == [Task("", "small_training", "", "float64")]


def test_the_command_line_knows_trainings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "TRAININGS", (SMALL,))
    alone = ("--jobs", "1", "--timeout", "0")
    code, out, _ = run("verify", "small_training", "--reports", "here", *alone)
    assert code == Exit.PASS
    assert "14 gradients of 1 op" in out
    assert run("verify", "small_training", "--dtype", "float32", *alone)[0] == Exit.NOTHING
    monkeypatch.setattr(trainings, "TRAININGS", (replace(SMALL, optimizer=adam(RATE, eps=1e-6)),))
    code, out, _ = run("verify", "small_training", "--reports", "here", *alone)
    assert code == Exit.FAIL
    assert "first at step 1 in params.affine1.b" in " ".join(out.split())
    assert "oracle verify small_training" in out


def test_trainings_are_listed_and_shown(run: Run) -> None:
    code, out, _ = run("list", "--family", "models")
    assert code == Exit.PASS
    assert re.search(r"gpt_training +T2 +library +float64 +steps", out)
    code, out, _ = run("show", "lenet_training")
    assert code == Exit.PASS
    for label, place in (
        ("forward pass", "purenet/combinators.py"),
        ("update", "purenet/optimizers/transformation.py"),
        ("parameters and batches", "oracle/catalogue/models/trainings.py"),
        ("reference", "oracle/catalogue/models/lenet.py"),
    ):
        assert re.search(rf"^{label} +\S*{place}:\d+", out, re.MULTILINE), out
    assert catalogue.find("lenet_training") is TRAININGS[0]
