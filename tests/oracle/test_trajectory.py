"""Trajectories: the catalogue passes, and every planted bug is found at its first step, in its first slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import optax
import optree
import pytest

from oracle import catalogue
from oracle.catalogue.optimizers.problems import NESTED, TWO_LAYERS
from oracle.catalogue.optimizers.references import CONSTANT, by_optax, decaying
from oracle.row import Verdict
from oracle.spec import Draw, library
from oracle.trajectory import Problem, ScheduleSpec, Trajectory, TrajectorySpec, run, run_schedule
from oracle.trajectory.tolerance import AUTODIFF, NUMERICAL, Gap, tolerance
from purenet.optimizers import AdamState, GradientTransformation, MomentumState, adam, momentum, sgd
from purenet.schedules import exponential_decay
from tests.oracle.reported import followed

TRAJECTORIES = [spec for spec in catalogue.trajectories() if isinstance(spec, TrajectorySpec)]
SCHEDULES = [spec for spec in catalogue.trajectories() if isinstance(spec, ScheduleSpec)]
NET = {spec.name: replace(spec, problem=TWO_LAYERS) for spec in TRAJECTORIES}
"""The same optimizers on a net of several tensors, where a bug shows in some and not in others."""
STEPS = 2
CHAIN = "chain of weight decay, clipping and momentum, warmup_cosine_decay_schedule"


AMPLIFIED = {
    "trace, sgd": 3,
    "schedule_free of sgd, schedule": 3,
    "lbfgs": 3,
    "lbfgs, scale_init_precond, exponential_decay": 3,
    "sam of momentum, three steps, without reset_state": 2,  # the third one divides a small gradient by its norm
}
"""Steps after which the dynamics amplify the error of a gradient, as the runs of its ensemble do."""


def decay(rate: float) -> Callable[[int], float]:
    return exponential_decay(rate, 5, 0.7)


def planted(name: str, optimizer: GradientTransformation | None = None, problem: Problem | None = None) -> Trajectory:
    spec = NET[name]
    return run(replace(spec, optimizer=optimizer or spec.optimizer, problem=problem or spec.problem), STEPS)


def failing(result: Trajectory) -> set[str]:
    return {row.parameter for row in result.rows if row.verdict is Verdict.FAIL}


# --------------------------------------------------------------------------------------------- the catalogue


@pytest.mark.parametrize("spec", TRAJECTORIES, ids=lambda spec: spec.name)
def test_the_catalogue_passes(spec: TrajectorySpec) -> None:
    rows = followed(spec.name)
    assert {row.verdict for row in rows} == {Verdict.PASS}
    assert {row.parameter.split(".")[0] for row in rows} == {"state", "params"}
    for row in rows:
        assert row.steps == 50
        assert row.diagnosis == ""
        assert (row.first_numerical, row.first_autodiff) == (None, None)
        assert row.used is not None
        assert row.used < 1
    for row in run(spec, AMPLIFIED[spec.name]).rows if spec.name in AMPLIFIED else rows:
        assert row.numerical_error is not None
        assert row.numerical_error < NUMERICAL
        assert row.autodiff_error is not None
        assert row.autodiff_error < AUTODIFF


def test_a_long_run_passes() -> None:
    result = run(NET["adam"], 12)
    assert result.passed, result.diagnosis
    assert {row.steps for row in result.rows} == {12}


def test_slots_are_named_like_the_fields_of_the_state() -> None:
    nested = run(replace(NET[CHAIN], problem=NESTED), 1)
    assert [row.parameter for row in nested.rows] == [
        "state.2.count",
        "state.2.velocity.net.hidden.affine.b",
        "state.2.velocity.net.hidden.affine.w",
        "state.2.velocity.net.output.w",
        "params.net.hidden.affine.b",
        "params.net.hidden.affine.w",
        "params.net.output.w",
    ]


def test_the_same_call_gives_the_same_rows_and_another_seed_others() -> None:
    def rows(seed: int) -> list[dict[str, Any]]:
        return [{**asdict(row), "seconds": 0} for row in run(NET["momentum"], 1, seed).rows]

    assert rows(0) == rows(0)
    assert [row["analytic"] for row in rows(0)] != [row["analytic"] for row in rows(1)]


# ------------------------------------------------------------------------------------- planted bugs: optimizers


class Bugs(NamedTuple):
    """Adam as it should be, unless told otherwise."""

    count: Callable[[int], int] = lambda count: count
    denominator: Callable[[Any], Any] = lambda nu: np.sqrt(nu) + 1e-8
    b1: float = 0.9
    b2: float = 0.999
    corrected: bool = True
    keeps_nu: bool = True
    counts: bool = True


def buggy_adam(bugs: Bugs) -> GradientTransformation:
    def init(params: Any) -> AdamState:
        zeros = optree.tree_map(np.zeros_like, params)
        return AdamState(np.array(0), zeros, zeros)

    def update(grads: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        count = int(state.count) + 1
        mu = optree.tree_map(lambda m, g: bugs.b1 * m + (1 - bugs.b1) * g, state.mu, grads)
        nu = optree.tree_map(lambda n, g: bugs.b2 * n + (1 - bugs.b2) * g * g, state.nu, grads)
        shares = [1 - b ** bugs.count(count) if bugs.corrected else 1.0 for b in (bugs.b1, bugs.b2)]
        with np.errstate(divide="ignore", invalid="ignore"):
            updates = optree.tree_map(
                lambda m, n: -0.05 * np.divide(m, shares[0]) / bugs.denominator(np.divide(n, shares[1])), mu, nu
            )
        kept = nu if bugs.keeps_nu else state.nu
        return updates, AdamState(np.array(count if bugs.counts else 0), mu, kept)

    return GradientTransformation(init, update)


def backward_momentum(rate: float, decay: float) -> GradientTransformation:
    def update(grads: Any, state: MomentumState, params: Any = None) -> tuple[Any, MomentumState]:
        velocity = optree.tree_map(lambda v, g: g - decay * v, state.velocity, grads)
        return optree.tree_map(lambda v: -rate * v, velocity), MomentumState(np.array(int(state.count) + 1), velocity)

    return GradientTransformation(momentum(rate).init, update)


def test_the_bugs_are_what_is_wrong() -> None:
    """Without one, the optimizer in which they are planted passes."""
    assert planted("adam", buggy_adam(Bugs())).passed


ANOTHER = "is another optimizer than optax"


@pytest.mark.parametrize(
    ("name", "optimizer", "first", "says"),
    [
        ("adam", buggy_adam(Bugs(corrected=False)), (1, "params.affine1.b"), "whose change is 3.16"),
        ("adam", buggy_adam(Bugs(count=lambda count: count - 1)), (1, "params.affine1.b"), "adam computes NaN or infinity"),
        ("adam", buggy_adam(Bugs(count=lambda count: count + 1)), (1, "params.affine1.b"), ANOTHER),
        ("adam", buggy_adam(Bugs(denominator=lambda nu: np.sqrt(nu + 1e-8))), (1, "params.affine1.b"), ANOTHER),
        ("adam", adam(0.05, epsilon_hat=True), (1, "params.affine1.b"), ANOTHER),
        ("adam, epsilon_hat", adam(0.05, eps=1e-3), (1, "params.affine1.b"), "is another optimizer than optax.ema"),
        ("adam", buggy_adam(Bugs(b1=0.999, b2=0.9)), (1, "state.mu.affine1.b"), "which is 0.01 times the reference's"),
        ("adam", buggy_adam(Bugs(keeps_nu=False)), (1, "state.nu.affine1.b"), "which is never updated"),
        ("adam", buggy_adam(Bugs(counts=False)), (1, "state.count"), "which is never updated"),
        ("momentum", backward_momentum(0.02, 0.9), (2, "state.velocity.affine1.b"), ANOTHER),
        ("momentum", momentum(0.02, decay=0.99), (2, "state.velocity.affine1.b"), ANOTHER),
        ("momentum", momentum(0.02, nesterov=True), (1, "params.affine1.b"), "whose change is 1.9 times the reference's"),
        ("sgd, nesterov", momentum(0.02), (1, "params.affine1.b"), "whose change is 0.5263157895 times the reference's"),
        ("sgd", sgd(0.1 * (1 + 1e-9)), (1, "params.affine1.b"), "whose change is 1.000000001 times the reference's"),
        ("sgd, exponential_decay", sgd(lambda count: decay(0.1)(count + 1)), (1, "params.affine1.b"), "whose change is 0.93"),
        ("sgd, exponential_decay", sgd(0.1), (2, "params.affine1.b"), "whose change is 1.07"),
        ("momentum, exponential_decay", momentum(0.02), (2, "params.affine1.b"), ANOTHER),
    ],
    ids=[
        "bias correction missing",
        "bias correction counts from 0",
        "bias correction counts from 2",
        "eps inside the root",
        "epsilon-hat instead of eps",
        "eps instead of epsilon-hat",
        "b1 and b2 swapped",
        "nu not updated",
        "count not updated",
        "momentum of the wrong sign",
        "another decay",
        "nesterov instead of plain",
        "plain instead of nesterov",
        "rate off by 1e-9",
        "schedule one count early",
        "schedule ignored",
        "schedule ignored, with momentum",
    ],
)
def test_a_wrong_optimizer_is_found(name: str, optimizer: GradientTransformation, first: tuple[int, str], says: str) -> None:
    result = planted(name, optimizer)
    assert not result.passed
    assert result.first == first
    assert says in result.diagnosis
    assert f"first at step {first[0]} in {first[1]}" in result.diagnosis
    row = next(row for row in result.rows if row.parameter == first[1])
    assert row.verdict is Verdict.FAIL
    assert row.first_autodiff == first[0]
    assert row.diagnosis == result.diagnosis
    if np.isfinite([record for record in (row.analytic, row.autodiff) if record is not None]).all():
        # The differences use our optimizer too, so they cannot tell.
        assert all(row.first_numerical is None for row in result.rows)
        assert "our gradients agree with central differences" in result.diagnosis


def test_where_the_rate_stands_shows_at_the_second_step_under_a_schedule() -> None:
    """The book's velocity against optax's times today's rate: the same at a constant rate, not under a schedule."""

    def spec(ours: Any, theirs: Any) -> TrajectorySpec:
        def velocity(state: Any) -> Any:
            rate = ours if isinstance(ours, float) else ours(int(state[1].count) - 1)
            return optree.tree_map(lambda trace: -rate * trace, state[0].trace)

        return replace(
            NET["momentum, rate_in_velocity"],
            optimizer=momentum(ours, rate_in_velocity=True),
            reference=by_optax(library("optax.sgd"), optax.sgd(theirs, momentum=0.9)),
            slots={"count": lambda s: s[1].count, "velocity": velocity},
        )

    assert run(spec(0.1, CONSTANT(0.1)), STEPS).passed
    assert run(spec(decay(0.1), decaying(0.1)), STEPS).first == (2, "state.velocity.affine1.b")


# --------------------------------------------------------------------------------------- planted bugs: gradients


def with_loss(forward: float = 1.0, **factors: float) -> Problem:
    """The two-layer net with its value, or the gradient of some of its weights, off by a factor."""
    goal: Any = TWO_LAYERS.loss

    def fwd(params: Any, x: Any, **options: Any) -> tuple[Any, Any]:
        value, residuals = goal.fwd(params, x, **options)
        return value * forward, residuals

    def bwd(residuals: Any, dy: Any) -> Any:
        grads, dx = goal.bwd(residuals, dy)
        return {layer: {**leaves, "w": leaves["w"] * factors.get(layer, 1.0)} for layer, leaves in grads.items()}, dx

    return replace(TWO_LAYERS, loss=(fwd, bwd))


@pytest.mark.parametrize("error", [1e-6, 1e-9])
@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("sgd", "params.affine2.w"),
        ("momentum", "state.velocity.affine2.w"),
        ("adam", "state.mu.affine2.w"),  # whose first step does not depend on the size of the gradient
    ],
)
def test_a_wrong_gradient_is_found(name: str, slot: str, error: float) -> None:
    result = planted(name, problem=with_loss(affine2=1 + error))
    assert result.first == (1, slot)
    assert "the hand-written gradient of the loss is wrong: central differences and JAX agree" in result.diagnosis
    assert f"{1 + error:.10g} times the reference's" in result.diagnosis
    row = next(row for row in result.rows if row.parameter == slot)
    assert row.first_numerical == row.first_autodiff == 1


def test_a_forward_pass_of_another_function_is_found() -> None:
    result = planted("sgd", problem=with_loss(forward=1.001))
    assert result.first == (1, "params.affine1.b")
    assert "our gradients and JAX's agree with each other, but not with central differences of the loss" in result.diagnosis
    assert "whose change is 0.999000999 times that of the run with central differences" in result.diagnosis
    assert all(row.first_autodiff is None for row in result.rows)


def test_a_wrong_gradient_and_a_wrong_optimizer_are_told_from_either() -> None:
    result = planted("sgd", sgd(0.4), with_loss(affine2=1.1))
    assert result.first == (1, "params.affine1.b")
    assert "all three runs differ" in result.diagnosis


# -------------------------------------------------------------------------------------------- verdicts and limits


def test_a_run_that_moves_nothing_is_vacuous() -> None:
    still = replace(
        NET["sgd"],
        optimizer=sgd(0.0),
        reference=by_optax(library("optax.sgd"), optax.sgd(CONSTANT(0.0))),
    )
    result = run(still, 2)
    assert not result.passed
    verdicts = {row.parameter: row.verdict for row in result.rows}
    assert verdicts.pop("state.count") is Verdict.PASS
    assert set(verdicts.values()) == {Verdict.VACUOUS}


def test_only_what_is_off_fails() -> None:
    result = run(replace(NET["adam"], optimizer=buggy_adam(Bugs(counts=False))), 1)
    assert failing(result) == {"state.count"}


def test_every_slot_must_be_named() -> None:
    spec = NET["adam"]
    slots = {name: select for name, select in spec.slots.items() if name != "nu"}
    with pytest.raises(ValueError, match=r"the slots of adam must name every slot.*not named: state\.nu\.affine1\.b, "):
        run(replace(spec, slots=slots), 1)
    with pytest.raises(ValueError, match=r"not named: none; unknown: state\.extra"):
        run(replace(spec, slots={**spec.slots, "extra": lambda s: s[0].count}), 1)
    with pytest.raises(ValueError, match=r"state\.count of adam has shape \(\), the reference's has \(2,\)"):
        run(replace(spec, slots={**spec.slots, "count": lambda s: s[0].mu["affine1"]["b"]}), 1)


@pytest.mark.parametrize("steps", [0, -1])
def test_steps_must_be_positive(steps: int) -> None:
    with pytest.raises(ValueError, match="run: steps must be at least 1"):
        run(NET["sgd"], steps)
    with pytest.raises(ValueError, match="run_schedule: counts must be at least 1"):
        run_schedule(SCHEDULES[0], steps)


@pytest.mark.parametrize(("error", "passes"), [(0.5 * AUTODIFF, True), (100 * AUTODIFF, False)])
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adam, epsilon_hat"])
def test_the_allowance_is_what_an_acceptable_gradient_needs(name: str, error: float, passes: bool) -> None:
    """An error that the gradient checks accept passes, whatever the dynamics make of it; a hundred times as much does not."""
    spec = NET[name]
    signs = np.random.default_rng(1)
    noise = optree.tree_map(lambda p: signs.choice([-1.0, 1.0], size=p.shape), TWO_LAYERS.draw(Draw())[0])

    def gradient(params: Any, x: Any, options: Mapping[str, Any]) -> Any:
        grads = TWO_LAYERS.gradient(params, x, options)
        return optree.tree_map(lambda g, sign: g + error * np.abs(g).max() * sign, grads, noise)

    result = run(replace(spec, problem=replace(TWO_LAYERS, gradient=gradient)), 3)
    assert result.passed is passes


# ------------------------------------------------------------------------------------------------------ distances


def record(*values: float) -> dict[str, Any]:
    return {"x": np.array(values)}


def test_gap_names_the_first_step_and_the_worst_entry() -> None:
    ours = [record(1.0, 2.0), record(1.0, 2.0), record(1.0, 4.0)]
    theirs = [record(1.0, 2.0), record(1.0, 2.2), record(1.4, 4.0)]
    gap = Gap.between("x", ours, theirs, np.array([0.1, 0.1, 0.8]))
    assert (gap.first, gap.step, gap.entry) == (2, 2, (1,))
    assert gap.used == pytest.approx(2.0)
    assert gap.error == pytest.approx(0.1)  # 0.4 / 4 at the third step, 0.2 / 2.2 at the second


@pytest.mark.parametrize("other", [np.nan, np.inf])
def test_nan_is_never_equal(other: float) -> None:
    assert Gap.between("x", [record(np.nan)], [record(other)], np.array([1.0])).first == 1
    assert Gap.between("x", [record(0.0)], [record(other)], np.array([1.0])).first == 1


def test_allowance_never_shrinks_and_is_zero_for_integers() -> None:
    hand = [record(1.0), record(1.0)]
    tolerance_of = tolerance("x", hand, [[record(1.5), record(1.0)]])
    assert tolerance_of[0] == pytest.approx(2.0)
    assert tolerance_of[1] >= tolerance_of[0]
    counts = [{"n": np.array(1)}]
    assert tolerance("n", counts, [counts]).tolist() == [0.0]


# ------------------------------------------------------------------------------------------------------ schedules


@pytest.mark.parametrize("spec", SCHEDULES, ids=lambda spec: spec.name)
def test_schedules_of_the_catalogue_pass(spec: Any) -> None:
    (row,) = followed(spec.name)
    assert (row.verdict, row.diagnosis) == (Verdict.PASS, "")
    assert row.steps == 200
    assert row.used is not None
    assert row.used <= 1


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        (exponential_decay(0.1, 7, 0.9, transition_begin=10), 11),
        (exponential_decay(0.1, 7, 0.9), 1),
        (lambda count: exponential_decay(0.1, 7, 0.9, 11)(count) * (1 + 1e-12 * (count == 20)), 20),
        (lambda count: float("nan") if count == 3 else exponential_decay(0.1, 7, 0.9, 11)(count), 3),
    ],
    ids=["begins early", "begins at once", "off by 1e-12 at 20", "NaN at 3"],
)
def test_a_wrong_schedule_is_found(schedule: Callable[[int], float], first: int) -> None:
    spec = next(spec for spec in SCHEDULES if spec.name == "exponential_decay, late start")
    result = run_schedule(replace(spec, schedule=schedule), 30)
    assert result.first == (first, "rate")
    assert not result.passed
    assert f"another schedule than optax.exponential_decay: {schedule(first)} at count {first}" in result.diagnosis


def test_a_slot_that_is_constant_by_right_is_no_vacuous_one() -> None:
    found = catalogue.find("prodigy")
    assert isinstance(found, TrajectorySpec)
    spec = replace(found, constant=frozenset())
    verdicts = {row.parameter: row.verdict for row in run(spec, 10).rows}
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.VACUOUS} == {
        f"state.params0.{layer}.{array}" for layer in ("affine1", "affine2") for array in "wb"
    }
    assert run(replace(spec, constant=frozenset({"params0"})), 10).passed
    elsewhere = {**spec.slots, "params0": lambda s: optree.tree_map(lambda leaf: leaf + 1e-6, s.params0)}
    wrong = run(replace(spec, constant=frozenset({"params0"}), slots=elsewhere), 10)
    assert {row.parameter for row in wrong.rows if row.verdict is Verdict.FAIL} == {
        f"state.params0.{layer}.{array}" for layer in ("affine1", "affine2") for array in "wb"
    }
