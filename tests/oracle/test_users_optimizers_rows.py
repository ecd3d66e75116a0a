"""The rows about the optimizer of a user: what they say, how much they forgive, and which calls are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax
import pytest

from oracle.row import Verdict
from oracle.trajectory import Trajectory
from oracle.trajectory.users_optimizers import verify_optimizer
from purenet import optimizers
from tests.oracle.learners_optimizers import ADAM, ADAMW, MOMENTUM, NESTEROV, SGD, Adam, Decoupled, InLists, Momentum, failing

# ------------------------------------------------------------------------------------------------- rows


def row_of(result: Trajectory, parameter: str, dtype: str = "float64") -> Any:
    return next(row for row in result.rows if (row.parameter, row.dtype) == (parameter, dtype))


def test_a_row_has_the_values_of_the_first_step_that_differs() -> None:
    result = verify_optimizer(SGD(0.1), like=optax.sgd(0.1, momentum=0.9), dtypes=("float64",))
    row = row_of(result, "params.w1")
    assert (row.verdict, row.at_step, row.first_autodiff, row.shape) == (Verdict.FAIL, 2, 2, (3, 4))
    assert "after step 2 at params.w1" in str(result)
    assert "yours" in str(result)
    assert "dy" not in str(result)
    with pytest.raises(AssertionError, match="the momentum is missing"):
        result.raise_for_failures()
    assert not result


def test_what_never_moves_by_right_says_so() -> None:
    assert (
        row_of(verify_optimizer(Adam, like=ADAM, dtypes=("float64",), steps=6), "params.frozen").diagnosis
        == "its gradient is zero: it must not move, and does not"
    )
    decayed = verify_optimizer(Decoupled, like=ADAMW, dtypes=("float64",), steps=6)
    assert row_of(decayed, "params.frozen").diagnosis == ""  # a decay moves it
    slow = verify_optimizer(SGD(1e-4), like=optax.sgd(1e-4))
    assert row_of(slow, "params.b2").verdict is Verdict.PASS
    assert row_of(slow, "params.b2", "float32").diagnosis == "its steps are smaller than a rounding of this dtype"


def test_where_nothing_moves_nothing_was_checked() -> None:
    result = verify_optimizer(SGD(0.0), like=optax.sgd(0.0), dtypes=("float64",))
    assert not result.passed
    assert row_of(result, "params.w1").verdict is Verdict.VACUOUS


def test_a_parameter_that_never_moves_is_a_row() -> None:
    class Forgetful(SGD):
        def update(self, params: Any, grads: Any) -> None:
            super().update({key: p for key, p in params.items() if key != "w2"}, grads)

    result = verify_optimizer(Forgetful(0.1), like=optax.sgd(0.1), steps=6)
    assert failing(result) == {"params.w2"}
    assert "first at step 1 in params.w2, which never moves" in result.diagnosis


@pytest.mark.parametrize(
    ("mine", "like", "note"),
    [
        (
            Momentum(0.1),
            MOMENTUM,
            "v is always -0.1 times the reference's trace (it holds the learning rate), so the parameters alone decide",
        ),
        (
            MOMENTUM,
            optimizers.momentum(0.1, rate_in_velocity=True),
            "trace is always -10 times the reference's velocity (that holds the learning rate), so the parameters alone decide",
        ),
        (Adam, ADAM, ""),
    ],
    ids=["rate and sign in the velocity", "in the reference's", "the same convention"],
)
def test_a_slot_in_another_convention_is_a_note(mine: Any, like: Any, note: str) -> None:
    result = verify_optimizer(mine, like=like, steps=6)
    assert result.passed
    assert {row.note for row in result.rows} == {note}
    assert any(row.parameter.startswith("state.") for row in result.rows) is not bool(note)


def test_a_velocity_that_holds_the_rate_is_not_called_wrong_where_the_steps_are() -> None:
    result = verify_optimizer(Momentum(0.1, momentum=0.8), like=MOMENTUM, dtypes=("float64",))
    assert failing(result) == {f"params.{p}" for p in ("w1", "b1", "w2", "b2", "gain")}
    assert result.diagnosis.startswith("b1 (the momentum) is 0.8, not 0.9")
    assert "first at step 2 in params.b1" in result.diagnosis
    note = "v begins as -0.1 times the reference's trace (it holds the learning rate), so the parameters alone decide"
    assert {row.note for row in result.rows} == {note}


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (optax.amsgrad(0.01), "adam, rate 0.01, b1 0.9, b2 0.999, eps 1e-08, amsgrad"),
        (optimizers.adam(0.01, amsgrad="raw"), "adam, rate 0.01, b1 0.9, b2 0.999, eps 1e-08, amsgrad"),
        (optax.adamax(0.01), "adamax, rate 0.01, b1 0.9, b2 0.999, eps 1e-08"),
        (optax.lion(0.01), "lion, rate 0.01, b1 0.9, b2 0.99, weight_decay 0.001"),
        (optax.nadam(0.01), "adam, rate 0.01, b1 0.9, b2 0.999, eps 1e-08, nesterov"),
        (optimizers.nadam(0.01, momentum_decay=0.004), "eps 1e-08, momentum_decay 0.004, nesterov"),
    ],
    ids=["amsgrad", "raw amsgrad", "adamax", "lion", "nadam", "torch's nadam"],
)
def test_the_reference_is_recognized(optimizer: Any, told: str) -> None:
    result = verify_optimizer(optimizer, like=optimizer, dtypes=("float64",), steps=6)
    assert result.passed
    assert all(told in row.reference for row in result.rows)


def test_a_count_that_begins_elsewhere_is_a_note() -> None:
    class Later(Adam):
        """Counts the updates to come."""

        def __init__(self) -> None:
            super().__init__()
            self.t = 1

        def update(self, params: Any, grads: Any) -> None:
            self.t -= 1
            super().update(params, grads)
            self.t += 1

    result = verify_optimizer(Later, like=ADAM, dtypes=("float64",))
    assert result.passed
    assert {row.note for row in result.rows} == {"t is always +1 from the reference's count, so the parameters alone decide"}


def test_the_same_call_gives_the_same_rows_and_another_seed_others() -> None:
    def values(seed: int) -> list[Any]:
        result = verify_optimizer(SGD(0.1), like=optimizers.sgd(0.1), dtypes=("float64",), steps=3, seed=seed)
        return [row.analytic for row in result.rows]

    assert values(0) == values(0)
    assert values(0) != values(1)


def test_parameters_of_ones_own() -> None:
    params = {"layer": np.full((2, 2), 3.0), "bias": np.array([0.5])}
    result = verify_optimizer(SGD(0.1), like=optax.sgd(0.1), params=params, dtypes=("float64",))
    assert result.passed
    assert {row.parameter for row in result.rows} == {"params.layer", "params.bias"}
    assert params["layer"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    listed = verify_optimizer(InLists(0.2), like=optax.sgd(0.1), params=[np.ones(3), np.ones(2)], dtypes=("float64",))
    assert failing(listed) == {"params.0", "params.1"}


def test_one_array_at_a_time_as_in_a_course() -> None:
    def sgd_momentum(w: Any, dw: Any, config: Any = None) -> Any:
        config = config or {"learning_rate": 0.1, "momentum": 0.9}
        v = config.get("velocity", np.zeros_like(w))
        config["velocity"] = config["momentum"] * v - config["learning_rate"] * dw
        return w + config["velocity"], config

    right = verify_optimizer(sgd_momentum, like=MOMENTUM, steps=6)
    assert right.passed, str(right)
    assert (right.name, verify_optimizer(sgd_momentum, like=NESTEROV, steps=6).passed) == ("sgd_momentum", False)


def test_a_function_may_have_a_state_to_begin_with() -> None:
    def step(params: Any, grads: Any, state: Any) -> Any:
        v = {key: 0.9 * state["velocity"][key] + grads[key] for key in params}
        return {key: params[key] - 0.1 * v[key] for key in params}, {"velocity": v}

    result = verify_optimizer(
        step, like=MOMENTUM, state=lambda params: {"velocity": {key: np.zeros_like(p) for key, p in params.items()}}
    )
    assert result.passed
    assert row_of(result, "state.velocity.w1").verdict is Verdict.PASS


# ------------------------------------------------------------------------------------------- how much is forgiven


@pytest.mark.parametrize(("error", "passes"), [(1e-16, True), (1e-9, False)])
def test_an_error_above_rounding_is_found(error: float, passes: bool) -> None:
    result = verify_optimizer(SGD(0.1 * (1 + error)), like=optax.sgd(0.1), dtypes=("float64",))
    assert result.passed is passes
    assert ("the learning rate is multiplied by 1.000000001" in result.diagnosis) is not passes


def test_hyperparameters_in_float32_are_a_note() -> None:
    result = verify_optimizer(SGD(float(np.float32(0.1))), like=optax.sgd(0.1), steps=6)
    assert result.passed
    assert "the learning rate is rounded to float32, and the steps are right up to that" in {row.note for row in result.rows}


def test_an_optimizer_that_is_wrong_in_float32_alone() -> None:
    class Narrow(SGD):
        def update(self, params: Any, grads: Any) -> None:
            for key, p in params.items():
                p -= self.lr * (grads[key] if p.dtype == np.float64 else grads[key].astype(np.float16))

    result = verify_optimizer(Narrow(0.1), like=optax.sgd(0.1), steps=6)
    assert {row.dtype for row in result.rows if not row.passed} == {"float32"}
    assert "in float64 the steps are the reference's" in result.diagnosis


HYPERPARAMETERS = [
    ("adam", {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 1e-12}),
    ("adamw", {"learning_rate": 1e-3, "weight_decay": 0.01}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
    ("rmsprop", {"learning_rate": 0.01, "decay": 0.9, "eps": 1e-8, "initial_scale": 0.1}),
    ("adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-7}),
]


@pytest.mark.parametrize(
    ("name", "options", "changed"), [(name, options, key) for name, options in HYPERPARAMETERS for key in options]
)
def test_each_hyperparameter_shows(name: str, options: dict[str, float], changed: str) -> None:
    """A change by a thousandth is found, and named with both values."""
    make, other = getattr(optimizers, name), options[changed] * 1.001
    result = verify_optimizer(make(**{**options, changed: other}), like=make(**options), dtypes=("float64",), steps=6)
    assert not result.passed
    said = "multiplied by 1.001" if changed == "learning_rate" else f"is {other:g}, not {options[changed]:g}"
    assert f"{said}; the reference's rule with this change" in result.diagnosis


def test_parameters_of_another_dtype_are_a_note() -> None:
    class Wide(SGD):
        def update(self, params: Any, grads: Any) -> Any:  # type: ignore[override]
            return {key: p.astype(np.float64) - self.lr * grads[key] for key, p in params.items()}

    result = verify_optimizer(Wide(0.1), like=optax.sgd(0.1), steps=6)
    assert result.passed
    assert {row.note for row in result.rows} == {"", "its parameters become float64, the reference's stay float32"}


# ------------------------------------------------------------------------------------------------- bad input


def test_nothing_of_the_users_is_changed() -> None:
    mine = Adam()
    verify_optimizer(mine, like=ADAM, dtypes=("float64",), steps=3)
    assert (mine.t, mine.m, mine.v) == (0, {}, {})


class Uncopied(SGD):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("it holds a lock")


class Silent(SGD):
    def update(self, params: Any, grads: Any) -> None:
        for key, p in params.items():
            p = p - self.lr * grads[key]


class Shapes(SGD):
    def update(self, params: Any, grads: Any) -> None:
        for key in params:
            params[key] = params[key].reshape(1, -1) - self.lr * grads[key].reshape(1, -1)


class Partial(SGD):
    def update(self, params: Any, grads: Any) -> Any:
        return {"w1": params["w1"]}


class Exploding(SGD):
    def update(self, params: Any, grads: Any) -> None:
        for p in params.values():
            p *= np.inf


class Refusing(SGD):
    def update(self, params: Any, grads: Any) -> None:
        raise KeyError("conv1")


SGD_OF_OPTAX = optax.sgd(0.1)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"mine": object()},
            TypeError,
            r"verify_optimizer: mine must be a pair \(init, update\).*got object, which has no method update",
        ),
        ({"mine": 3}, TypeError, "verify_optimizer: mine must be a pair .*got int"),
        ({"mine": SGD(0.1), "like": "adam"}, TypeError, "verify_optimizer: like must be a pair .*got str"),
        (
            {"mine": Uncopied(0.1)},
            TypeError,
            r"verify_optimizer: mine must be an object that copy.deepcopy can copy.*it holds a lock",
        ),
        (
            {"mine": type("Needy", (), {"__init__": lambda self, lr: None, "update": SGD.update})},
            TypeError,
            r"such as Needy\(\.\.\.\)",
        ),
        (
            {"mine": Silent(0.1)},
            ValueError,
            "mine must write into the parameters or return new ones; Silent does neither in 20 steps",
        ),
        ({"mine": Shapes(0.1)}, ValueError, r"mine must not change shapes: w1 was \(3, 4\), and is \(1, 12\) after a step"),
        (
            {"mine": Partial(0.1)},
            ValueError,
            r"must return parameters like those that it gets \(w1, b1, .*\), got a dict of w1",
        ),
        (
            {"mine": Refusing(0.1)},
            TypeError,
            "mine.update must take a dict of arrays, or a list .* it raised KeyError: 'conv1'",
        ),
        ({"mine": lambda params, grads, state: params}, TypeError, r"mine must return \(params, state\), got dict"),
        ({"mine": SGD(0.1), "like": Exploding(0.1)}, ValueError, "like must stay finite, got NaN or infinity at step 1"),
        ({"mine": SGD(0.1), "steps": 1}, ValueError, "steps must be an integer of at least 2, got 1"),
        ({"mine": SGD(0.1), "dtypes": ("float16",)}, ValueError, "dtypes must be some of float64, float32, got"),
        (
            {"mine": SGD(0.1), "params": {"w": np.array([1, 2])}},
            TypeError,
            "params must be a dict or a list of arrays of floats, got int64",
        ),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        verify_optimizer(**{"like": SGD_OF_OPTAX, **arguments})


def test_an_object_that_cannot_be_copied_may_be_made_by_a_function() -> None:
    assert verify_optimizer(lambda: Uncopied(0.1), like=optax.sgd(0.1), dtypes=("float64",)).passed
