"""Optimizers around optimizers, and those of unusual states: numbers by hand, and what only they promise."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from purenet.optimizers import (
    MaskedNode,
    adafactor,
    adam,
    apply_updates,
    chain,
    global_norm,
    incremental_update,
    inject_hyperparams,
    lbfgs,
    lookahead,
    momentum,
    muon,
    normalize,
    prodigy,
    rprop,
    sam,
    schedule_free_eval_params,
    schedule_free_sgd,
    sgd,
    trace,
)


def descend(opt: Any, gradient: Any, params: Any, steps: int) -> tuple[Any, Any]:
    """The parameters and the state after so many steps."""
    state = opt.init(params)
    for _ in range(steps):
        updates, state = opt.update(gradient(params), state, params)
        params = apply_updates(params, updates)
    return params, state


# --------------------------------------------------------------------------------------------------------- numbers


def test_the_norm_of_a_tree_neither_overflows_nor_underflows() -> None:
    assert global_norm({"w": np.array([3e200]), "b": [np.array([[4e200]])]}) == pytest.approx(5e200, rel=1e-15)
    assert global_norm((np.array([3e-200]), np.array(4e-200))) == pytest.approx(5e-200, rel=1e-15)
    assert global_norm({}) == 0
    assert global_norm(np.full(4, 300.0, np.float16)) == 600  # whose squares float16 has not


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_a_moving_average_has_the_dtype_of_the_old_parameters(dtype: Any) -> None:
    old, new = {"w": np.array([1.0, 2.0], dtype)}, {"w": np.array([3.0, 2.0])}
    average = incremental_update(new, old, 0.5)
    assert average["w"].dtype == dtype
    np.testing.assert_array_equal(average["w"].astype(float), [2.0, 2.0])
    with pytest.raises(ValueError, match=r"incremental_update: new_tensors\.w has shape \(1,\), but old_tensors\.w has \(2,\)"):
        incremental_update({"w": np.ones(1)}, old, 0.5)


# ------------------------------------------------------------------------------------------------ unusual states


def test_adafactor_keeps_a_row_and_a_column_of_a_matrix() -> None:
    params = {"w": np.ones((200, 130)), "thin": np.ones((200, 100)), "b": np.ones(3)}
    state = adafactor().init(params)
    assert (state.v_row["w"].shape, state.v_col["w"].shape, state.v["w"]) == ((130,), (200,), MaskedNode())
    assert (state.v_row["thin"], state.v["thin"].shape, state.v["b"].shape) == (MaskedNode(), (200, 100), (3,))
    with pytest.raises(ValueError, match=r"adafactor: state\.v_row does not match grads"):
        adafactor().update({"w": params["w"]}, state, {"w": params["w"]})


def test_adafactor_takes_the_two_longest_of_three_axes() -> None:
    generator = np.random.default_rng(0)
    a, b, c = generator.uniform(1, 2, (4, 1, 1)), generator.uniform(1, 2, (1, 2, 1)), generator.uniform(1, 2, (1, 1, 3))
    opt = adafactor(1.0, 3, multiply_by_parameter_scale=False, clipping_threshold=None)
    g = a * b * c  # squares of this are a product of rows and columns, so that the estimate is exact
    updates, state = opt.update(g, opt.init(g), g)
    assert (state.v_row.shape, state.v_col.shape) == ((2, 3), (4, 2))
    np.testing.assert_allclose(updates, -np.ones_like(g), rtol=1e-14)


def test_muon_brings_singular_values_near_one() -> None:
    generator = np.random.default_rng(0)
    for shape in ((5, 3), (3, 5)):
        params = np.zeros(shape)
        opt = muon(1.0, consistent_rms=1 / math.sqrt(5))
        updates, _ = opt.update(generator.normal(size=shape), opt.init(params), params)
        singular = np.linalg.svd(updates, compute_uv=False)
        assert singular.min() > 0.6
        assert singular.max() < 1.3


def test_lbfgs_finds_the_minimum_of_a_quadratic_function() -> None:
    curvatures = {"w": np.array([1.0, 3.0]), "b": np.array(10.0)}
    start = {"w": np.array([1.0, -2.0]), "b": np.array(3.0)}
    found, _ = descend(lbfgs(memory_size=5), lambda p: {name: curvatures[name] * p[name] for name in p}, start, 25)
    assert global_norm(found) < 1e-6
    slow, _ = descend(sgd(0.1), lambda p: {name: curvatures[name] * p[name] for name in p}, start, 25)
    assert global_norm(slow) > 1e-2


def test_prodigy_finds_its_rate() -> None:
    target = np.array([30.0, -20.0])
    found, state = descend(prodigy(), lambda p: p - target, np.zeros(2), 400)
    assert float(state.estim_lr) > 1  # from 1e-6
    assert np.abs(found - target).max() < 1


def test_zero_gradients_leave_the_rate_of_prodigy_alone() -> None:
    opt = prodigy(estim_lr0=0.5)
    params = np.ones(2)
    updates, state = opt.update(np.zeros(2), opt.init(params), params)
    np.testing.assert_array_equal(updates, np.zeros(2))
    assert float(state.estim_lr) == 0.5


def test_rprop_makes_the_steps_of_torch() -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    params = generator.normal(size=6)
    theirs = torch.tensor(params, requires_grad=True)
    other = torch.optim.Rprop([theirs], 0.02, etas=(0.4, 1.5), step_sizes=(0.01, 0.05))
    opt = rprop(0.02, 0.4, 1.5, 0.01, 0.05)
    state = opt.init(params)
    for _ in range(30):
        g = generator.normal(size=6) * (generator.uniform(size=6) > 0.2)  # zeros, too
        updates, state = opt.update(g, state, params)
        params = apply_updates(params, updates)
        theirs.grad = torch.tensor(g)
        other.step()
        np.testing.assert_allclose(params, theirs.detach().numpy(), rtol=1e-13)


# ---------------------------------------------------------------------------------------------------- wrappers


def test_lookahead_returns_part_of_the_way() -> None:
    params, state = descend(lookahead(sgd(1.0), 3, 0.25), lambda p: np.ones(1), np.zeros(1), 4)
    np.testing.assert_allclose(params, [-0.75 - 1])  # a quarter of three steps, then one more
    np.testing.assert_allclose(state.slow, [-0.75])
    _, kept = descend(lookahead(trace(0.5), 2, 0.5), lambda p: np.ones(1), np.zeros(1), 2)
    _, reset = descend(lookahead(trace(0.5), 2, 0.5, reset_state=True), lambda p: np.ones(1), np.zeros(1), 2)
    assert (float(kept.fast_state.trace[0]), float(reset.fast_state.trace[0])) == (1.5, 0.0)


def test_schedule_free_averages_its_own_parameters() -> None:
    params, state = descend(schedule_free_sgd(0.5), lambda p: np.ones(1), np.zeros(1), 4)
    np.testing.assert_allclose(state.z, [-2.0])
    np.testing.assert_allclose(schedule_free_eval_params(state, params), [-np.mean([0.5, 1, 1.5, 2])])
    with pytest.raises(TypeError, match="schedule_free_eval_params: state must be the ScheduleFreeState that init gives"):
        schedule_free_eval_params(sgd(0.1).init(params), params)  # type: ignore[arg-type]


def test_sam_descends_with_the_gradient_uphill() -> None:
    opt = sam(sgd(0.1), chain(normalize(), sgd(0.5)))
    params, state = descend(opt, lambda p: 2 * p, np.array([3.0, 4.0]), 2)
    np.testing.assert_allclose(params, np.array([3.0, 4.0]) * (1 - 0.1 * 2 * 5.5 / 5))
    assert int(state.steps_since_sync) == 0
    halfway, _ = descend(opt, lambda p: 2 * p, np.array([3.0, 4.0]), 1)
    np.testing.assert_allclose(halfway, np.array([3.3, 4.4]))


def test_injected_settings_are_read_from_the_state() -> None:
    opt = inject_hyperparams(momentum)(lambda count: 0.5**count, decay=0.5)
    state = opt.init(np.zeros(1))
    updates, state = opt.update(np.ones(1), state)
    state.hyperparams["decay"] = np.array(0.0)
    updates, state = opt.update(np.ones(1), state)
    np.testing.assert_array_equal(updates, [-0.5])  # the second rate, and nothing of the first gradient
    assert float(state.hyperparams["learning_rate"]) == 0.5
    state.hyperparams.pop("decay")
    with pytest.raises(ValueError, match=r"inject_hyperparams: state\.hyperparams must hold decay, and lacks decay"):
        opt.update(np.ones(1), state)


def test_what_inject_hyperparams_refuses() -> None:
    with pytest.raises(TypeError, match="inject_hyperparams: inner_factory must be a function that makes a transformation"):
        inject_hyperparams(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="inject_hyperparams: static_args must be arguments of adam, got 'rate'"):
        inject_hyperparams(adam, static_args="rate")
    with pytest.raises(ValueError, match="adam: b1 must be"):
        inject_hyperparams(adam)(0.1, b1=2.0)
