"""The two-layer net: its structure, its parameters, and that its gradients train it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import purenet as pn
from purenet.models import two_layer_net as model


def problem(dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(6, 4)).astype(dtype), np.array([0, 2, 1, 1, 0, 2])
    return {"net": model.init(pn.random.key(1), (4, 5, 3), std=0.5, dtype=dtype)}, x, labels


def test_the_net_is_its_layers_in_order() -> None:
    params, x, _ = problem()
    first, second = params["net"]["affine1"], params["net"]["affine2"]
    logits = np.maximum(x @ first["w"] + first["b"], 0) @ second["w"] + second["b"]
    np.testing.assert_allclose(model.net()(params["net"], x), logits, rtol=1e-14)
    np.testing.assert_allclose(model.net(last_relu=True)(params["net"], x), np.maximum(logits, 0), rtol=1e-14)
    assert (logits < 0).any()  # or the last relu would not have been seen


@pytest.mark.parametrize("last_relu", [False, True])
def test_the_goal_is_the_loss_of_the_net(last_relu: bool) -> None:
    params, x, labels = problem()
    logits = model.net(last_relu=last_relu)(params["net"], x)
    value = model.goal(last_relu=last_relu)(params, x, loss={"labels": labels})
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(value, -np.log(probabilities[np.arange(6), labels]).mean(), rtol=1e-14)


def test_the_goal_takes_the_options_of_the_loss() -> None:
    params, x, labels = problem()
    logits = model.net()(params["net"], x)
    options = {"labels": labels, "label_smoothing": 0.1}
    assert model.goal()(params, x, loss=options) == pn.softmax_cross_entropy(logits, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_have_the_structure_and_dtype_of_the_parameters(dtype: Any) -> None:
    params, x, labels = problem(dtype)
    _, residuals = model.goal().fwd(params, x, loss={"labels": labels})
    grads, dx = model.goal().bwd(residuals, 1.0)
    for name in ("affine1", "affine2"):
        for leaf in ("w", "b"):
            assert grads["net"][name][leaf].shape == params["net"][name][leaf].shape
            assert grads["net"][name][leaf].dtype == dtype
    assert set(grads) == {"net"}
    assert set(grads["net"]) == {"affine1", "affine2"}
    assert dx.shape == x.shape
    assert dx.dtype == dtype


def test_a_class_that_the_last_relu_cuts_gets_no_gradient() -> None:
    params, x, labels = problem()
    params["net"]["affine2"]["b"][1] = -1e3
    _, residuals = model.goal(last_relu=True).fwd(params, x, loss={"labels": labels})
    grads = model.goal(last_relu=True).bwd(residuals, 1.0)[0]["net"]
    assert (grads["affine2"]["b"] != 0).tolist() == [True, False, True]


def test_descent_along_the_gradient_learns_the_labels() -> None:
    params, x, labels = problem()
    goal, start = model.goal(), model.goal()(params, x, loss={"labels": labels})
    optimizer = pn.optimizers.sgd(0.5)
    state = optimizer.init(params)
    for _ in range(200):
        _, residuals = goal.fwd(params, x, loss={"labels": labels})
        updates, state = optimizer.update(goal.bwd(residuals, 1.0)[0], state, params)
        params = pn.apply_updates(params, updates)
    assert goal(params, x, loss={"labels": labels}) < 0.1 * start
    assert pn.accuracy(model.net()(params["net"], x), labels) == 1.0


def test_zero_weights_give_every_hidden_unit_the_same_gradient() -> None:
    _, x, _ = problem()
    labels = np.array([0, 0, 0, 1, 1, 2])  # as many of each would cancel in dw
    params = {"net": model.init(pn.random.key(0), (4, 5, 3), std=0.0)}
    params["net"]["affine2"]["w"] += 0.1
    params["net"]["affine1"]["b"] += 1.0
    _, residuals = model.goal().fwd(params, x, loss={"labels": labels})
    dw = model.goal().bwd(residuals, 1.0)[0]["net"]["affine2"]["w"]
    np.testing.assert_array_equal(dw, np.broadcast_to(dw[0], dw.shape))
    assert (dw != 0).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_init_draws_small_normal_weights_and_zero_biases(dtype: Any) -> None:
    params = model.init(pn.random.key(3), dtype=dtype)
    shapes = {name: {k: v.shape for k, v in layer.items()} for name, layer in params.items()}
    assert shapes == {"affine1": {"w": (784, 50), "b": (50,)}, "affine2": {"w": (50, 10), "b": (10,)}}
    for layer in params.values():
        assert layer["w"].dtype == layer["b"].dtype == dtype
        assert not layer["b"].any()
        assert abs(layer["w"].std() / 0.01 - 1) < 0.1
        assert abs(layer["w"].mean()) < 0.001


def test_init_depends_on_its_key_and_no_weight_is_drawn_twice() -> None:
    one, again, other = (model.init(pn.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one["affine1"]["w"], again["affine1"]["w"])
    assert (one["affine1"]["w"] != other["affine1"]["w"]).all()
    assert not np.isin(one["affine2"]["w"], one["affine1"]["w"]).any()


@pytest.mark.parametrize("sizes", [(784, 10), (784, 0, 10), (784, 50, 20, 10)])
def test_init_refuses_other_than_three_sizes(sizes: Any) -> None:
    with pytest.raises(ValueError, match=r"two_layer_net.init: sizes must be three positive integers .*, got \(784"):
        model.init(pn.random.key(0), sizes)


def test_the_variants_go_by_different_names() -> None:
    ops = [model.net(), model.net(last_relu=True), model.goal(), model.goal(last_relu=True)]
    names = ["two_layer_net", "two_layer_net_last_relu", "two_layer_net_goal", "two_layer_net_last_relu_goal"]
    assert [op.name for op in ops] == names
    assert {op.__module__ for op in ops} == {"purenet.models.two_layer_net"}
    with pytest.raises(ValueError, match=r"^two_layer_net: params must hold the stages affine1, affine2, got none"):
        model.net()({}, np.zeros((1, 4)))


def test_residuals_of_one_variant_are_refused_by_another() -> None:
    params, x, labels = problem()
    _, residuals = model.goal().fwd(params, x, loss={"labels": labels})
    with pytest.raises(TypeError, match=r"two_layer_net_last_relu_goal: residuals must be those of"):
        model.goal(last_relu=True).bwd(residuals, 1.0)
