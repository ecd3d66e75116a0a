"""Nets: found by their place, their sizes as the papers' figures say, their parameters, and what they refuse."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import optree
import pytest

import purenet as pn
from purenet import models
from purenet.combinators import Chain, parameter_count

KEY = pn.random.key(0)
SMALL_ALEXNET = {"image_size": 28, "channels": 1, "stride": 1}

# Each with the options of its net, those of its parameters, and the shape of two images.
NETS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, ...]]] = {
    "two_layer_net": ({}, {}, (2, 784)),
    "multi_layer_net": ({"batch_norm": True, "dropout_rate": 0.5}, {"batch_norm": True}, (2, 784)),
    "lenet": ({}, {}, (2, 1, 28, 28)),
    "simple_convnet": ({}, {}, (2, 1, 28, 28)),
    "deep_convnet": ({}, {}, (2, 1, 28, 28)),
    "alexnet": (SMALL_ALEXNET, {**SMALL_ALEXNET, "classes": 10, "width": 0.05}, (2, 1, 28, 28)),
}

every_net = pytest.mark.parametrize("name", NETS)


def made(name: str, **options: Any) -> tuple[Any, Any, Any]:
    """The module of a net, the net, and parameters of it."""
    of_net, of_params, _ = NETS[name]
    module = getattr(models, name)
    return module, module.net(**of_net), module.init(KEY, **{**of_params, **options})


# ---------------------------------------------------------------------------------------------- found by their place


def test_nets_are_found_by_their_place() -> None:
    assert set(NETS) <= set(models.names()) <= set(dir(models))
    assert models.lenet.__name__ == "purenet.models.lenet"


@pytest.mark.parametrize("name", models.names())
def test_a_module_has_a_net_its_goal_and_its_parameters(name: str) -> None:
    module = getattr(models, name)
    assert module.__doc__
    functions = {"goal", "init", "net"}
    assert functions <= set(module.__all__)
    assert all(callable(getattr(module, function)) and getattr(module, function).__doc__ for function in functions)


def test_importing_purenet_imports_no_net_and_using_one_that_one_alone() -> None:
    code = """
import sys, purenet as pn
nets = lambda: [name for name in sys.modules if name.startswith("purenet.models.")]
assert nets() == [], nets()
pn.models.lenet.net()
assert nets() == ["purenet.models.lenet"], nets()"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_an_unknown_net_is_named_with_those_alike() -> None:
    with pytest.raises(AttributeError, match=r"^purenet\.models has no net named 'lennet'; did you mean lenet"):
        _ = models.lennet
    with pytest.raises(AttributeError, match=r"^purenet\.models has no net named 'xyzzy'; there are .*alexnet, .*lenet"):
        _ = models.xyzzy
    assert not hasattr(models, "_private")


# ---------------------------------------------------------------------------------------------- what all have in common


@every_net
def test_parameters_are_those_of_the_stages_in_their_order(name: str) -> None:
    _, net, params = made(name)
    assert isinstance(net, Chain)
    assert list(params) == list(net.owners)
    assert (net.name, net.__module__) == (name, f"purenet.models.{name}")


@every_net
def test_parameters_depend_on_their_key_and_no_weight_is_drawn_twice(name: str) -> None:
    module, _, params = made(name)
    again, other = (module.init(key, **NETS[name][1]) for key in (KEY, pn.random.key(1)))
    for one, same in zip(optree.tree_leaves(params), optree.tree_leaves(again), strict=True):
        np.testing.assert_array_equal(one, same)
    weights = [leaves["w"].ravel() for leaves in params.values() if "w" in leaves]
    assert all(
        (mine != leaves["w"].ravel()).all()
        for mine, leaves in zip(weights, (v for v in other.values() if "w" in v), strict=True)
    )
    assert all(not np.isin(a[:5], b).any() for a, b in pairwise(weights))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, ml_dtypes.bfloat16])
@every_net
def test_values_and_gradients_keep_the_dtype_and_the_shapes_of_the_parameters(name: str, dtype: Any) -> None:
    module, _, params = made(name, dtype=dtype)
    goal = module.goal(**NETS[name][0])
    assert goal.name == f"{name}_goal"
    x = np.random.default_rng(0).normal(size=NETS[name][2]).astype(dtype)
    value, residuals = goal.fwd({"net": params}, x, loss={"labels": np.array([3, 9])})
    grads, dx = goal.bwd(residuals, 1.0)
    assert (value.shape, value.dtype, dx.shape, dx.dtype) == ((), dtype, x.shape, dtype)
    shapes = [(leaf.shape, leaf.dtype) for leaf in optree.tree_leaves(params)]
    assert [(leaf.shape, leaf.dtype) for leaf in optree.tree_leaves(grads)] == shapes
    assert {dtype for _, dtype in shapes} == {np.dtype(dtype)}
    assert np.isfinite(np.asarray(value, np.float64))


@every_net
def test_without_keys_a_net_is_one_for_inference_but_for_its_norms(name: str) -> None:
    _, net, params = made(name)
    x = np.random.default_rng(0).normal(size=NETS[name][2])
    np.testing.assert_array_equal(net(params, x), net(params, x))
    noisy = [stage for stage, op in net.stages.items() if "key" in op.keywords]
    assert bool(noisy) == (name in ("multi_layer_net", "deep_convnet", "alexnet"))
    for stage in noisy:
        assert (net(params, x, **{stage: {"key": KEY}}) != net(params, x)).any()


# ---------------------------------------------------------------------------------------------- the papers' figures


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("two_layer_net", 39_760),
        ("multi_layer_net", 90_010),
        ("lenet", 61_706),
        ("simple_convnet", 433_890),
        ("deep_convnet", 123_552),
    ],
)
def test_a_net_has_as_many_parameters_as_its_figure(name: str, count: int) -> None:
    assert parameter_count(made(name)[2]) == count


def test_alexnet_has_sixty_one_million_parameters() -> None:
    shapes = models.alexnet._shapes(224, 3, 4, 1000, 1.0)  # not init, which would draw them
    assert sum(math.prod(shape) + (shape[0] if len(shape) == 4 else shape[1]) for shape in shapes.values()) == 60_965_224


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        (
            "lenet",
            {
                "conv1": (6, 28, 28),
                "pool1": (6, 14, 14),
                "conv2": (16, 10, 10),
                "pool2": (16, 5, 5),
                "affine1": (120,),
                "affine2": (84,),
            },
        ),
        ("simple_convnet", {"conv1": (30, 24, 24), "pool1": (30, 12, 12), "affine1": (100,)}),
        (
            "deep_convnet",
            {
                "conv2": (16, 28, 28),
                "pool1": (16, 14, 14),
                "conv4": (32, 16, 16),
                "pool2": (32, 8, 8),
                "conv6": (64, 8, 8),
                "pool3": (64, 4, 4),
                "affine1": (50,),
            },
        ),
    ],
)
def test_maps_have_the_sizes_of_the_figure(name: str, maps: dict[str, tuple[int, ...]]) -> None:
    _, net, params = made(name)
    logits, residuals = net.fwd(params, np.zeros(NETS[name][2]))
    assert logits.shape == (2, 10)
    assert {stage: residuals[stage].shapes[0][1:] for stage in maps} == maps


def test_alexnet_maps_have_the_sizes_of_the_figure() -> None:
    sizes = {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv3": 13, "conv4": 13, "conv5": 13, "pool3": 6}
    params = models.alexnet.init(KEY, classes=7, width=0.02, dtype=np.float32)
    logits, residuals = models.alexnet.net().fwd(params, np.zeros((1, 3, 224, 224), np.float32))
    assert logits.shape == (1, 7)
    assert {stage: residuals[stage].shapes[0][2:] for stage in sizes} == {stage: (n, n) for stage, n in sizes.items()}
    ones = {stage for stage, leaves in params.items() if (leaves["b"] == 1).all()}
    assert ones == {"conv2", "conv4", "conv5", "affine1", "affine2"}


# ---------------------------------------------------------------------------------------------- the multi-layer net


def test_the_multi_layer_net_has_the_stages_it_is_asked_for() -> None:
    def stages(*sizes: int, **options: Any) -> list[str]:
        return list(models.multi_layer_net.net(sizes, **options).stages)

    assert stages(4, 3) == ["affine1"]
    assert stages(4, 5, 3, activation="sigmoid") == ["affine1", "sigmoid1", "affine2"]
    assert stages(4, 5, 3, batch_norm=True, dropout_rate=0.1) == ["affine1", "batch_norm1", "relu1", "dropout1", "affine2"]
    assert len(stages(4, 5, 5, 5, 5, 5, 3)) == 6 + 5


def test_with_one_hidden_layer_it_is_the_two_layer_net() -> None:
    params = models.two_layer_net.init(KEY, (4, 5, 3))
    again = models.multi_layer_net.init(KEY, (4, 5, 3), initializer=0.01)
    assert optree.tree_all(optree.tree_map(np.array_equal, params, again))
    x = np.random.default_rng(0).normal(size=(6, 4))
    np.testing.assert_array_equal(models.multi_layer_net.net((4, 5, 3))(params, x), models.two_layer_net.net()(params, x))


def test_penalties_are_added_for_weights_alone() -> None:
    sizes, labels = (4, 5, 5, 3), {"labels": np.array([0, 2, 1])}
    params = {"net": models.multi_layer_net.init(KEY, sizes, batch_norm=True)}
    x = np.random.default_rng(0).normal(size=(3, 4))
    plain, penalized = (
        models.multi_layer_net.goal(sizes, batch_norm=True, **strengths) for strengths in ({}, {"l1": 0.3, "l2": 0.1})
    )
    (value, residuals), (more, others) = (goal.fwd(params, x, loss=labels) for goal in (plain, penalized))
    matrices = [leaves["w"] for name, leaves in params["net"].items() if name.startswith("affine")]
    penalty = sum(0.3 * np.abs(w).sum() + 0.1 / 2 * (w**2).sum() for w in matrices)
    assert more == pytest.approx(value + penalty, rel=1e-14)
    grads, shifted = plain.bwd(residuals, 2.0)[0]["net"], penalized.bwd(others, 2.0)[0]["net"]
    for name, leaves in params["net"].items():
        for leaf, w in leaves.items():
            change = 2.0 * (0.3 * np.sign(w) + 0.1 * w) if leaf == "w" else 0
            np.testing.assert_allclose(shifted[name][leaf], grads[name][leaf] + change, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(others["net"]["batch_norm2"].mean, residuals["net"]["batch_norm2"].mean)
    assert list(penalized.stages) == ["net", "loss"]


def test_descent_learns_with_batch_norm_dropout_and_penalties() -> None:
    sizes, generator = (4, 16, 16, 3), np.random.default_rng(0)
    x, labels = generator.normal(size=(12, 4)), {"labels": generator.integers(0, 3, size=12)}
    goal = models.multi_layer_net.goal(sizes, batch_norm=True, dropout_rate=0.1, l2=1e-4)
    params = {"net": models.multi_layer_net.init(KEY, sizes, batch_norm=True)}
    start = goal(params, x, loss=labels)
    optimizer = pn.optimizers.adam(0.02)
    state = optimizer.init(params)
    for step in range(60):
        keys = {f"dropout{i}": {"key": pn.random.fold_in(KEY, 2 * step + i)} for i in (1, 2)}
        _, residuals = goal.fwd(params, x, loss=labels, net=keys)
        updates, state = optimizer.update(goal.bwd(residuals, 1.0)[0], state, params)
        params = pn.apply_updates(params, updates)
    assert goal(params, x, loss=labels) < 0.1 * start


# ---------------------------------------------------------------------------------------------- what they refuse


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("lenet", (2, 1, 32, 32), r"ensure_shape: x must have shape \(any, 1, 28, 28\), got \(2, 1, 32, 32\)"),
        ("lenet", (2, 784), r"ensure_shape: x must have shape \(any, 1, 28, 28\), got \(2, 784\)"),
        ("simple_convnet", (2, 1, 29, 29), r"ensure_shape: x must have shape \(any, 1, 28, 28\), got \(2, 1, 29, 29\)"),
        ("deep_convnet", (2, 28, 28, 1), r"ensure_shape: x must have shape \(any, 1, 28, 28\), got \(2, 28, 28, 1\)"),
        ("alexnet", (2, 3, 28, 28), r"ensure_shape: x must have shape \(any, 1, 28, 28\), got \(2, 3, 28, 28\)"),
    ],
)
def test_images_of_another_shape_are_an_error_that_names_the_net_and_the_stage(name: str, shape: Any, match: str) -> None:
    _, net, params = made(name)
    with pytest.raises(ValueError, match=f"^{name}: {match}") as caught:
        net(params, np.zeros(shape))
    assert caught.value.__notes__ == [f"in the stage 'image' of {name}"]


def test_a_wrong_label_is_an_error_of_the_loss() -> None:
    module, _, params = made("lenet")
    with pytest.raises(ValueError, match=r"^lenet_goal: softmax_cross_entropy: labels must be in 0\.\.9, got 10") as caught:
        module.goal()({"net": params}, np.zeros((1, 1, 28, 28)), loss={"labels": np.array([10])})
    assert caught.value.__notes__ == ["in the stage 'loss' of lenet_goal"]


def test_parameters_of_another_net_are_an_error_of_the_stage() -> None:
    params = models.simple_convnet.init(KEY)
    with pytest.raises(ValueError, match=r"^deep_convnet: params must hold the stages conv1, .*, got conv1, affine1, affine2"):
        models.deep_convnet.net()(params, np.zeros((1, 1, 28, 28)))
    params["affine2"] = params["affine1"]
    with pytest.raises(ValueError, match=r"^simple_convnet: affine: x must have shape \(\.\.\., 4320\)") as caught:
        models.simple_convnet.net()(params, np.zeros((1, 1, 28, 28)))
    assert caught.value.__notes__ == ["in the stage 'affine2' of simple_convnet"]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: models.multi_layer_net.net((3,)),
            ValueError,
            r"multi_layer_net\.net: sizes must be two or more .*, got \(3,\)",
        ),
        (
            lambda: models.multi_layer_net.init(KEY, 784),
            ValueError,
            r"multi_layer_net\.init: sizes must be two or more .*, got 784",
        ),
        (
            lambda: models.multi_layer_net.net((3, 0)),
            ValueError,
            r"multi_layer_net\.net: each of sizes must be at least 1, got 0",
        ),
        (
            lambda: models.multi_layer_net.goal((3, 2.5)),
            TypeError,
            r"multi_layer_net\.net: each of sizes must be an integer, got 2\.5",
        ),
        (
            lambda: models.multi_layer_net.net(activation="rleu"),
            ValueError,
            "multi_layer_net: activation must be one of 'relu', .* got 'rleu'",
        ),
        (
            lambda: models.multi_layer_net.net(dropout_rate=2),
            ValueError,
            r"multi_layer_net: dropout_rate must be in \[0, 1\], got 2",
        ),
        (lambda: models.multi_layer_net.goal(l2=-1), ValueError, "multi_layer_net: l2 must be finite and at least 0, got -1"),
        (lambda: models.multi_layer_net.goal(l1="0"), TypeError, "multi_layer_net: l1 must be a number, got str"),
        (
            lambda: models.lenet.init(KEY, initializer="hee"),
            ValueError,
            "layers: initializer must be one of 'he', .* got 'hee'",
        ),
        (lambda: models.lenet.init(7), TypeError, "split: key must be"),
        (
            lambda: models.deep_convnet.goal(dropout_rate=-1),
            ValueError,
            r"deep_convnet: dropout_rate must be in \[0, 1\], got -1",
        ),
        (
            lambda: models.alexnet.net(image_size=62),
            ValueError,
            "alexnet: image_size must be at least 63 with a stride of 4, got 62",
        ),
        (
            lambda: models.alexnet.init(KEY, image_size=20, stride=1),
            ValueError,
            r"alexnet\.init: image_size must be at least 21 with a stride of 1",
        ),
        (lambda: models.alexnet.net(channels=0), ValueError, "alexnet: channels must be at least 1, got 0"),
        (lambda: models.alexnet.net(stride=1.5), TypeError, "alexnet: stride must be an integer, got 1.5"),
        (lambda: models.alexnet.init(KEY, width=-1.0), ValueError, r"alexnet\.init: width must be greater than 0, got -1"),
        (lambda: models.alexnet.init(KEY, classes=0), ValueError, r"alexnet\.init: classes must be at least 1, got 0"),
    ],
)
def test_a_wrong_option_is_named(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"^{match}"):
        call()
