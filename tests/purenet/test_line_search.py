"""The line search: both conditions on many lines, the ends of L-BFGS with it, hard lines, and what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.optimize

import purenet as pn
from purenet.optimizers import line_search

Tree = Any


def rosenbrock(p: Any) -> tuple[float, Any]:
    x = np.asarray(p, np.float64)
    return float(scipy.optimize.rosen(x)), np.asarray(scipy.optimize.rosen_der(x))


def two_layers(params: Tree) -> tuple[Any, Tree]:
    """The error of a small net, whose parameters are a tree."""
    draw = np.random.default_rng(3)
    x, targets = draw.normal(size=(8, 3)), draw.normal(size=(8, 2))
    goal = pn.chain(affine1=pn.affine, tanh=pn.tanh, affine2=pn.affine, loss=pn.squared_error)
    dtype = params["affine1"]["w"].dtype
    value, pullback = pn.vjp(goal, params, x=x.astype(dtype), loss={"targets": targets.astype(dtype)})
    return value, pullback(np.ones((), dtype))[0]


def small_net(dtype: Any = np.float64) -> Tree:
    draw = np.random.default_rng(4)
    shapes = {"affine1": (3, 4), "affine2": (4, 2)}
    return {
        name: {"w": draw.normal(size=shape).astype(dtype), "b": draw.normal(size=shape[1:]).astype(dtype)}
        for name, shape in shapes.items()
    }


def minimize(function: Any, params: Tree, steps: int, **options: Any) -> tuple[Tree, float, int, list[float]]:
    opt = pn.optimizers.lbfgs(memory_size=options.pop("memory_size", 10))
    state = opt.init(params)
    value, grads = function(params)
    rates, evaluations = [], 1
    for _ in range(steps):
        updates, state = opt.update(grads, state, params)
        found = line_search(function, params, updates, value, grads, **options)
        _, params, value, grads, more = found
        evaluations += more
        rates.append(found.rate)
        if found.rate == 0:
            break
    return params, float(value), evaluations, rates


@pytest.mark.parametrize(("c1", "c2"), [(1e-4, 0.9), (1e-4, 0.1), (0.4, 0.5)])
def test_every_step_meets_both_conditions(c1: float, c2: float) -> None:
    draw = np.random.default_rng(0)
    rates = []
    for _ in range(40):
        p = draw.normal(size=4, scale=1.5)
        value, grads = rosenbrock(p)
        updates = -grads * 10 ** draw.uniform(-5, 2)
        found = line_search(rosenbrock, p, updates, c1=c1, c2=c2)
        slope, slope_there = float(grads @ updates), float(np.vdot(found.grads, updates))
        np.testing.assert_allclose(found.params, p + found.rate * updates, rtol=1e-14)
        assert (found.value, found.grads.tolist()) == (rosenbrock(found.params)[0], rosenbrock(found.params)[1].tolist())
        assert found.value <= value + c1 * found.rate * slope
        if found.rate > 0:
            rates.append(found.rate)
            assert abs(slope_there) <= c2 * abs(slope) * (1 + 1e-12)
    assert len(rates) == 40
    assert min(rates) < 0.01  # from a step that is too long, and from one that is too short
    assert max(rates) > 2


def test_the_first_trial_is_the_update_itself() -> None:
    seen = []

    def square(p: Any) -> tuple[float, Any]:
        seen.append(float(p[0]))
        return float(p[0] ** 2), 2 * p

    found = line_search(square, np.array([8.0]), np.array([-7.0]), 64.0, np.array([16.0]))
    assert seen == [1.0]
    assert (found.rate, found.value, found.evaluations) == (1.0, 1.0, 1)
    assert (found.params.tolist(), found.grads.tolist()) == ([1.0], [2.0])


def test_lbfgs_finds_the_minimum_of_rosenbrocks_function() -> None:
    for start in (np.array([-1.2, 1.0]), np.array([3.0, -2.0, 0.5, 1.0, -1.5])):
        found, value, evaluations, rates = minimize(rosenbrock, start, 200)
        np.testing.assert_allclose(found, np.ones_like(start), rtol=1e-6)
        theirs = scipy.optimize.minimize(rosenbrock, start, jac=True, method="BFGS", options={"gtol": 1e-9})
        assert value < 1e-12
        assert evaluations < 2 * theirs.nfev
        assert len(set(rates)) > 2


def test_pairs_of_a_searched_step_have_positive_curvature() -> None:
    params = np.array([-1.2, 1.0])
    opt = pn.optimizers.lbfgs(memory_size=3)
    state = opt.init(params)
    value, grads = rosenbrock(params)
    for _ in range(25):
        updates, state = opt.update(grads, state, params)
        before, old = params, grads
        _, params, value, grads, _ = line_search(rosenbrock, params, updates, value, grads)
        assert float((params - before) @ (grads - old)) > 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_trees_and_dtypes_stay(dtype: Any) -> None:
    params = small_net(dtype)
    first, _ = two_layers(params)
    found, value, _, _ = minimize(two_layers, params, 15)
    assert value < 0.5 * float(first)
    assert found["affine1"]["w"].dtype == np.dtype(dtype)
    assert {name: {n: a.shape for n, a in found[name].items()} for name in found} == {
        name: {n: a.shape for n, a in params[name].items()} for name in params
    }


def test_nothing_is_changed_or_shared() -> None:
    p, updates, grads = np.array([1.0, 2.0]), np.array([-1.0, -1.0]), np.array([2.0, 4.0])

    def square(q: Any) -> tuple[float, Any]:
        return float(q @ q), 2 * q

    for along in (updates, -updates):
        found = line_search(square, p, along, 5.0, grads)
        assert not any(np.shares_memory(a, b) for a in (found.params, found.grads) for b in (p, along, grads))
    assert (p.tolist(), updates.tolist(), grads.tolist()) == ([1.0, 2.0], [-1.0, -1.0], [2.0, 4.0])


@pytest.mark.parametrize("updates", [[0.0], [1.0]])
def test_no_step_is_made_uphill(updates: list[float]) -> None:
    found = line_search(lambda p: (float(p[0] ** 2), 2 * p), np.array([3.0]), np.array(updates))
    assert (found.rate, found.value, found.params.tolist(), found.grads.tolist()) == (0.0, 9.0, [3.0], [6.0])
    assert found.evaluations == 1


@pytest.mark.parametrize("outside", [np.inf, np.nan])
def test_a_trial_outside_the_domain_is_too_far(outside: float) -> None:
    def barrier(p: Any) -> tuple[float, Any]:
        if p[0] <= 0:
            return outside, np.array([outside])
        return float(p[0] - np.log(p[0])), 1 - 1 / p

    found = line_search(barrier, np.array([3.0]), np.array([-10.0]))
    assert 0 < found.rate < 0.3
    assert found.value < barrier(np.array([3.0]))[0]


def test_the_best_of_the_trials_is_taken_if_none_flattens_the_slope() -> None:
    def falling(p: Any) -> tuple[float, Any]:
        return -float(p[0]), -np.ones(1)

    found = line_search(falling, np.zeros(1), np.ones(1), max_steps=5)
    assert found.rate == 32.0  # 1, 2, 4, 8, 16, 32
    assert (found.value, found.evaluations) == (-32.0, 7)

    def wrong(p: Any) -> tuple[float, Any]:  # the gradient leads uphill
        return float(p[0] ** 2), -2 * p

    assert line_search(wrong, np.ones(1), np.ones(1)).rate == 0.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"c1": 0.9, "c2": 0.1}, ValueError, "c1 must be below c2 and c2 below 1, got 0.9 and 0.1"),
        ({"c2": 1.0}, ValueError, "c1 must be below c2 and c2 below 1"),
        ({"c1": 0.0}, ValueError, "c1 must be finite and greater than 0, got 0.0"),
        ({"c1": "small"}, TypeError, "c1 must be a number, got str"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1, got 0"),
        ({"max_steps": 1.5}, TypeError, "max_steps must be an integer, got 1.5"),
        ({"value_and_grad": 1.0}, TypeError, "value_and_grad must be a function, got float"),
        ({"value_and_grad": lambda p: 1.0}, TypeError, r"value_and_grad must give \(value, grads\), got float"),
        ({"value_and_grad": lambda p: (p, p)}, TypeError, "value must be a number, got ndarray"),
        ({"value_and_grad": lambda p: ("1", p)}, TypeError, "value must be a number, got str"),
        ({"value_and_grad": lambda p: (1.0, p[:1])}, ValueError, r"grads has shape \(1,\)"),
        ({"updates": np.ones(3)}, ValueError, r"updates has shape \(3,\)"),
        ({"updates": {"w": np.ones(2)}}, ValueError, "updates does not match params"),
        ({"params": np.array([1, 2])}, TypeError, "params must be a floating-point array, got int64"),
    ],
)
def test_what_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"value_and_grad": lambda p: (float(p @ p), 2 * p), "params": np.ones(2), "updates": -np.ones(2)}
    with pytest.raises(error, match=f"^line_search: .*{message}"):
        line_search(**{**given, **options})


def test_the_end_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    start = np.array([-1.2, 1.0])
    theirs = torch.tensor(start, requires_grad=True)
    opt = torch.optim.LBFGS([theirs], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-14)
    calls = 0

    def closure() -> Any:
        nonlocal calls
        calls += 1
        opt.zero_grad()
        loss = (100 * (theirs[1:] - theirs[:-1] ** 2) ** 2 + (1 - theirs[:-1]) ** 2).sum()
        loss.backward()
        return loss

    opt.step(closure)
    found, _, evaluations, _ = minimize(rosenbrock, start, 200)
    np.testing.assert_allclose(found, theirs.detach().numpy(), rtol=1e-5)
    assert evaluations < 2 * calls
