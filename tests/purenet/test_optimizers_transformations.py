"""Transformations and the optimizers that read parameters: numbers by hand, edges, purity, masks, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import ml_dtypes
import numpy as np
import optax
import optree
import pytest

from purenet import random
from purenet.optimizers import (
    GradientTransformation,
    MaskedNode,
    adabelief,
    adadelta,
    adafactor,
    adagrad,
    adam,
    adamax,
    adamw,
    adaptive_grad_clip,
    add_decayed_weights,
    add_noise,
    apply_if_finite,
    apply_updates,
    centralize,
    chain,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
    ema,
    inject_hyperparams,
    lamb,
    lars,
    lbfgs,
    lion,
    lookahead,
    masked,
    multi_steps,
    muon,
    nadam,
    normalize,
    partition,
    prodigy,
    radam,
    reduce_on_plateau,
    rmsprop,
    rprop,
    sam,
    scale,
    scale_by_learning_rate,
    scale_by_schedule,
    schedule_free,
    schedule_free_adamw,
    schedule_free_sgd,
    sgd,
    trace,
    yogi,
    zero_nans,
)

KEY = random.key(0)
TRANSFORMS: dict[str, Callable[[], GradientTransformation]] = {
    "clip": lambda: clip(0.5),
    "clip_by_global_norm": lambda: clip_by_global_norm(0.5),
    "clip_by_global_norm, not reached": lambda: clip_by_global_norm(1e9),
    "clip_by_block_rms": lambda: clip_by_block_rms(0.5),
    "adaptive_grad_clip": lambda: adaptive_grad_clip(0.1),
    "centralize": centralize,
    "zero_nans": zero_nans,
    "scale": lambda: scale(-0.5),
    "scale_by_schedule": lambda: scale_by_schedule(lambda count: -0.5),
    "scale_by_learning_rate": lambda: scale_by_learning_rate(0.5),
    "trace": lambda: trace(0.5),
    "ema": lambda: ema(0.5),
    "add_decayed_weights": lambda: add_decayed_weights(0.1),
    "add_decayed_weights, schedule": lambda: add_decayed_weights(lambda count: 0.1),
    "add_noise": lambda: add_noise(0.1, 0.5, KEY),
    "masked": lambda: masked(trace(0.5), lambda tree: optree.tree_map(lambda leaf: np.ndim(leaf) != 1, tree)),
    "partition": lambda: partition(
        {"a": adam(0.1), "b": trace(0.5)}, lambda tree: optree.tree_map(lambda leaf: "ab"[np.ndim(leaf) == 1], tree)
    ),
    "multi_steps": lambda: multi_steps(adam(0.1), 2),
    "apply_if_finite": lambda: apply_if_finite(adam(0.1), 2),
    "adamw": lambda: adamw(0.1),
    "lamb": lambda: lamb(0.1, weight_decay=0.1),
    "lion": lambda: lion(0.1),
    "adabelief": lambda: adabelief(0.1),
    "yogi": lambda: yogi(0.1),
    "rprop": lambda: rprop(0.1),
    "lars": lambda: lars(0.1, weight_decay=0.1),
    "adafactor": lambda: adafactor(0.1, 2, momentum=0.5),
    "adafactor, not factored": lambda: adafactor(0.1),
    "muon": lambda: muon(0.1, weight_decay=0.1),
    "lookahead": lambda: lookahead(adam(0.1), 2, 0.5),
    "schedule_free": lambda: schedule_free(sgd(0.1), 0.1),
    "schedule_free_sgd": lambda: schedule_free_sgd(0.1),
    "schedule_free_adamw": lambda: schedule_free_adamw(0.1),
    "lbfgs": lambda: lbfgs(0.1, 2),
    "prodigy": prodigy,
    "normalize": normalize,
    "sam": lambda: sam(adam(0.1), chain(normalize(), sgd(0.1))),
    "inject_hyperparams": lambda: inject_hyperparams(adam)(0.1),
}
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]

every_transform = pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS.keys())
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)


def tree(seed: int, dtype: Any = np.float64) -> Any:
    generator = np.random.default_rng(seed)
    return {"w": generator.normal(size=(2, 3)).astype(dtype), "n": [generator.normal(size=3).astype(dtype)]}


def after(transform: GradientTransformation, grads: Any, params: Any = None) -> Any:
    """The first update."""
    return transform.update(grads, transform.init(grads), grads if params is None else params)[0]


# ----------------------------------------------------------------------------------------------- what all promise


@every_transform
def test_dtypes_and_structure_are_kept(make: Any) -> None:
    for dtype in DTYPES:
        assert_kept(make(), dtype)


def assert_kept(transform: GradientTransformation, dtype: Any) -> None:
    params = tree(0, dtype)
    state = transform.init(params)
    for seed in (1, 2):
        before = optree.tree_structure(state)
        updates, state = transform.update(tree(seed, dtype), state, params)
        assert optree.tree_structure(state) == before, dtype
        assert optree.tree_structure(updates) == optree.tree_structure(params), dtype
        assert all(leaf.dtype == dtype for leaf in optree.tree_leaves(updates)), dtype
        kinds = {np.dtype(np.float32) if np.dtype(dtype).itemsize == 2 else np.dtype(dtype)}
        # Numbers, such as the rate that Prodigy estimates and the two weights of L-BFGS, are float64 for all.
        arrays = [leaf for leaf in optree.tree_leaves(state) if leaf.shape not in ((), (2,))]
        assert {leaf.dtype for leaf in arrays if leaf.dtype.kind == "f"} <= kinds, dtype


@every_transform
def test_nothing_is_written_to_and_nothing_is_shared(make: Any) -> None:
    params, grads, transform = tree(0), tree(1), make()
    state = transform.init(params)
    for _ in range(2):
        given = optree.tree_leaves((params, grads, state))
        for leaf in given:
            leaf.flags.writeable = False
        before = [leaf.tobytes() for leaf in given]
        updates, state = transform.update(grads, state, params)
        assert [leaf.tobytes() for leaf in given] == before
        results = optree.tree_leaves((updates, state))
        for i, leaf in enumerate(results):
            assert leaf.flags.writeable
            assert not any(np.shares_memory(leaf, other) for other in given + results[:i])


@every_transform
def test_empty_trees(make: Any) -> None:
    empty: Any
    for empty in ({}, (), {"a": {}}):
        transform = make()
        updates, _ = transform.update(empty, transform.init(empty), empty)
        assert updates == empty


@every_transform
def test_zero_gradients_and_empty_arrays_are_finite(make: Any) -> None:
    for dtype in DTYPES:
        w, n, none, s = (np.ones(shape, dtype) for shape in ((2, 3), 3, (0, 2), ()))
        params, transform = {"w": w, "n": [n], "none": none, "s": s}, make()
        updates, state = transform.update(optree.tree_map(np.zeros_like, params), transform.init(params), params)
        for leaf in optree.tree_leaves((updates, state)):
            assert np.isfinite(leaf.astype(float)).all(), dtype


@every_transform
def test_leaves_that_are_not_floating_point(make: Any) -> None:
    transform, good = make(), tree(0)
    bad = {**good, "w": np.ones((2, 3), np.int64)}
    with pytest.raises(TypeError, match=r"params\.w must be a floating-point array, got int64"):
        transform.init(bad)
    with pytest.raises(TypeError, match=r"grads\.w must be a floating-point array, got int64"):
        transform.update(bad, transform.init(good), good)


@every_transform
def test_state_of_another_transformation(make: Any) -> None:
    transform, other = make(), chain(sgd(0.1))
    with pytest.raises(TypeError, match=r"state must be the \w+ that init gives, got tuple"):
        transform.update(tree(0), other.init(tree(0)), tree(0))


READ_PARAMS = (
    *("adafactor", "adaptive_grad_clip", "add_decayed_weights", "adamw", "lamb", "lars", "lbfgs", "lion", "lookahead"),
    *("prodigy", "sam", "schedule_free"),
)


@pytest.mark.parametrize("name", READ_PARAMS)
def test_params_that_are_needed(name: str) -> None:
    transform = TRANSFORMS[name]()
    with pytest.raises(ValueError, match=rf"{name}: params are needed.*update\(grads, state, params\)"):
        transform.update(tree(0), transform.init(tree(0)))


# -------------------------------------------------------------------------------------------------------- clipping


@pytest.mark.parametrize("make", [clip_by_global_norm, clip_by_block_rms, clip, adaptive_grad_clip])
def test_a_limit_of_zero_would_leave_nothing(make: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{make.__name__}: \w+ must be finite and greater than 0, got 0.0$"):
        make(0.0)


def test_clip_by_global_norm_as_torch_and_the_book() -> None:
    grads = [np.array([3.0]), np.array([[4.0]])]
    clipped = after(clip_by_global_norm(1.0, eps=1e-6), grads)
    np.testing.assert_allclose(clipped[0], [3 / (5 + 1e-6)], rtol=1e-15)
    for limit in (5.0, 7.0):
        assert after(clip_by_global_norm(limit), grads) == grads


@pytest.mark.parametrize(("dtype", "size"), [(np.float16, 6e4), (np.float32, 1e30), (np.float64, 1e300), (np.float64, 1e-300)])
@pytest.mark.parametrize("make", [clip_by_global_norm, clip_by_block_rms])
def test_norms_neither_overflow_nor_vanish(make: Any, dtype: Any, size: float) -> None:
    grads = np.full(4, size, dtype)
    updates = after(make(size / 4), grads)
    np.testing.assert_allclose(updates.astype(float), size / (8 if make is clip_by_global_norm else 4), rtol=2e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_as_in_optax(bad: float) -> None:
    grads = {"a": np.array([bad, 1.0]), "b": np.array([2.0])}
    with jax.enable_x64(True):
        theirs = jax.jit(optax.clip_by_global_norm(1.0).update)(grads, optax.EmptyState())[0]
    for name, ours in after(clip_by_global_norm(1.0), grads).items():
        np.testing.assert_array_equal(ours, theirs[name])


@pytest.mark.parametrize("shape", [(), (5,), (1, 4), (3, 1), (3, 4)])
def test_units_are_optax_s_up_to_matrices(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    grads, params = generator.normal(size=shape), generator.normal(size=shape)
    with jax.enable_x64(True):
        theirs = jax.jit(optax.adaptive_grad_clip(0.4).update)(grads, optax.EmptyState(), params)[0]
    np.testing.assert_allclose(after(adaptive_grad_clip(0.4), grads, params), theirs, rtol=1e-14)


@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 2, 2, 2), (3, 2, 1, 2, 2)])
def test_units_of_convolutions_are_their_outputs(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    grads, params = generator.normal(size=shape), generator.normal(size=shape)
    rows = after(adaptive_grad_clip(0.4, axis=1), grads.reshape(3, -1), params.reshape(3, -1))
    np.testing.assert_allclose(after(adaptive_grad_clip(0.4), grads, params).reshape(3, -1), rows, rtol=1e-14)
    assert (np.linalg.norm(rows, axis=1) <= 0.4 * np.linalg.norm(params.reshape(3, -1), axis=1) * (1 + 1e-14)).all()


@pytest.mark.parametrize("axis", [0, -1])
def test_centralize_keeps_one_axis(axis: int) -> None:
    grads = np.random.default_rng(2).normal(size=(2, 3, 4))
    others = tuple({0, 1, 2} - {axis % 3})
    np.testing.assert_allclose(after(centralize(axis), grads).mean(axis=others), 0, atol=1e-15)
    np.testing.assert_array_equal(after(centralize(axis), grads[0, 0]), grads[0, 0])


# ----------------------------------------------------------------------------------------------------- combining


def test_what_is_masked_has_no_slots_and_passes() -> None:
    grads = tree(1)
    transform = masked(trace(0.5), {"w": True, "n": False})
    state = transform.init(grads)
    assert state.inner_state.trace["n"] == [MaskedNode()]
    updates, state = transform.update(grads, state)
    updates, state = transform.update(grads, state)
    np.testing.assert_array_equal(updates["w"], 1.5 * grads["w"])
    np.testing.assert_array_equal(updates["n"][0], grads["n"][0])


def test_decay_spares_what_is_masked() -> None:
    params = tree(0)
    zeros = optree.tree_map(np.zeros_like, params)
    for make in (adamw, lion):
        opt = make(0.1, weight_decay=0.5, mask={"w": True, "n": False})
        moved = apply_updates(params, opt.update(zeros, opt.init(params), params)[0])
        np.testing.assert_allclose(moved["w"], 0.95 * params["w"], rtol=1e-15)
        np.testing.assert_array_equal(moved["n"][0], params["n"][0])


def test_decay_may_follow_a_schedule() -> None:
    opt = adamw(0.1, weight_decay=float)  # that of count t is t
    params, state = np.ones(1), opt.init(np.ones(1))
    first, state = opt.update(np.zeros(1), state, params)
    second, state = opt.update(np.zeros(1), state, params)
    np.testing.assert_array_equal(first, 0.0)
    np.testing.assert_array_equal(second, -0.1)


def test_the_loss_reaches_the_transformation_that_takes_it() -> None:
    plateau = reduce_on_plateau(0.5, patience=1)
    wrapped = multi_steps(chain(masked(apply_if_finite(chain(sgd(1.0), plateau), 1), mask=True), clip(9.0)), 1)
    state = wrapped.init(np.zeros(1))
    for expected in (-1.0, -0.5, -0.25):
        updates, state = wrapped.update(np.ones(1), state, value=3.0)
        np.testing.assert_array_equal(updates, expected)
    with pytest.raises(TypeError, match=r"reduce_on_plateau: value must be the loss: .*got None"):
        wrapped.update(np.ones(1), state)


def test_a_loss_that_is_nan_is_no_better() -> None:
    plateau = reduce_on_plateau(0.5, patience=2)
    state = plateau.init(np.zeros(1))
    for _ in range(2):
        _, state = plateau.update(np.ones(1), state, value=math.nan)
    assert float(state.scale) == 0.5
    assert float(state.best_value) == math.inf


def test_not_finite_for_too_long_is_let_through() -> None:
    opt = apply_if_finite(sgd(1.0), 1)
    bad, state = np.array([np.inf]), opt.init(np.zeros(1))
    first, state = opt.update(bad, state)
    second, state = opt.update(bad, state)
    assert (float(first[0]), float(second[0])) == (0.0, -np.inf)
    assert (int(state.notfinite_count), int(state.total_notfinite), bool(state.last_finite)) == (2, 2, False)
    _, state = opt.update(np.ones(1), state)
    assert (int(state.notfinite_count), int(state.total_notfinite), bool(state.last_finite)) == (0, 2, True)


def test_accumulated_gradients_of_a_batch_in_parts() -> None:
    gradients = [np.array([1.0, -2.0]), np.array([3.0, 0.0]), np.array([-1.0, 5.0])]
    for mean in (True, False):
        whole, parts = adam(0.1), multi_steps(adam(0.1), lambda made: 3 - made, use_grad_mean=mean)
        state = parts.init(np.zeros(2))
        for g in gradients:
            updates, state = parts.update(g, state)
        total = sum(gradients) / (3 if mean else 1)
        np.testing.assert_allclose(updates, whole.update(total, whole.init(np.zeros(2)))[0], rtol=1e-14)
        assert (int(state.mini_step), int(state.gradient_step)) == (0, 1)
        for g in gradients[:2]:  # the next update is made of two
            updates, state = parts.update(g, state)
        assert updates.all()
        assert int(state.gradient_step) == 2


# ----------------------------------------------------------------------------------------------------- optimizers


@every_dtype
def test_epsilon_does_not_underflow(dtype: Any) -> None:
    """Squares of these are 0 in float16, and so is every default epsilon."""
    grads = np.array([1e-4, -1e-4, 0.0]).astype(dtype)
    yogi_from_zero = partial(yogi, initial_accumulator_value=0.0)
    for make in (
        adamw, lamb, nadam, adamax, radam, rmsprop, adadelta, adagrad, adabelief, adafactor, muon, yogi_from_zero,
    ):  # fmt: skip
        opt = make(0.1)
        updates, state = opt.update(grads, opt.init(grads), grads)
        for leaf in optree.tree_leaves((updates, state)):
            assert np.isfinite(leaf.astype(float)).all()
        assert updates[0] < 0 < updates[1]
        assert updates[2] == 0


def test_lamb_of_zero_parameters_is_adam() -> None:
    grads = np.array([1.0, -2.0])
    zeros = np.zeros(2)
    one, other = lamb(0.1), adam(0.1, eps=1e-6)
    np.testing.assert_allclose(after(one, grads, zeros), other.update(grads, other.init(zeros))[0], rtol=1e-15)


def test_keras_nadam_by_hand() -> None:
    opt = nadam(1.0, b1=0.5, b2=0.0, eps=1e-12, momentum_decay=1.0)
    updates, state = opt.update(np.array([1.0]), opt.init(np.zeros(1)))
    one, two = (0.5 * (1 - 0.5 * 0.96**t) for t in (1, 2))
    np.testing.assert_allclose(updates, -(two * 0.5 / (1 - one * two) + (1 - one) / (1 - one)), rtol=1e-11)
    assert float(state.mu_product) == pytest.approx(one)


def test_centered_variance_is_never_negative() -> None:
    opt = rmsprop(0.1, eps=1e-12, eps_in_sqrt=False, centered=True, bias_correction=True)
    grads = np.array([0.1, 1 / 3, 0.7, 1e-3])
    state = opt.init(grads)
    for _ in range(20):
        updates, state = opt.update(grads, state)
        assert np.isfinite(updates).all()


def test_the_same_key_gives_the_same_noise_as_jax() -> None:
    with jax.enable_x64(True):
        theirs = optax.add_noise(0.3, 0.5, 0)
        state, zeros = theirs.init(()), optree.tree_map(np.zeros_like, tree(0))
        expected, _ = jax.jit(theirs.update)(zeros, state)
    ours = after(add_noise(0.3, 0.5, KEY), zeros)
    np.testing.assert_allclose(ours["w"], expected["w"], rtol=1e-13)
    np.testing.assert_allclose(ours["n"][0], expected["n"][0], rtol=1e-13)


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: clip(-1.0), ValueError, "clip: max_delta must be"),
        (lambda: clip_by_global_norm("1"), TypeError, "clip_by_global_norm: max_norm must be a number, got str"),
        (lambda: clip_by_global_norm(1.0, eps=-1.0), ValueError, "clip_by_global_norm: eps must be"),
        (lambda: clip_by_block_rms(math.inf), ValueError, "clip_by_block_rms: threshold must be"),
        (lambda: adaptive_grad_clip(-0.1), ValueError, "adaptive_grad_clip: clipping must be"),
        (
            lambda: after(adaptive_grad_clip(0.1, axis=2), np.ones((2, 2))),
            ValueError,
            "adaptive_grad_clip: axis must be one of",
        ),
        (lambda: centralize(1.5), TypeError, "centralize: axis must be an integer, got 1.5"),
        (lambda: scale(math.nan), ValueError, "scale: step_size must be"),
        (
            lambda: scale_by_schedule(0.1),
            TypeError,
            "scale_by_schedule: step_size_fn must be a function of the count, got float",
        ),
        (lambda: scale_by_learning_rate(-0.1), ValueError, "scale_by_learning_rate: learning_rate must be"),
        (lambda: trace(1.0), ValueError, r"trace: decay must be in \[0, 1\), got 1.0"),
        (lambda: ema(-0.1), ValueError, "ema: decay must be"),
        (lambda: add_decayed_weights(-0.1), ValueError, "add_decayed_weights: weight_decay must be"),
        (lambda: add_noise(-0.1, 0.5, KEY), ValueError, "add_noise: eta must be"),
        (lambda: add_noise(0.1, 0.5, 3), TypeError, "add_noise: key must be a NumPy array"),
        (lambda: masked(0.1, True), TypeError, "masked: inner must have init and update, got float"),
        (
            lambda: after(masked(scale(1.0), {"w": 1, "n": True}), tree(0)),
            TypeError,
            "masked: mask must hold booleans, got int",
        ),
        (
            lambda: after(masked(scale(1.0), {"w": True}), tree(0)),
            ValueError,
            "masked: mask must be a tree like the parameters",
        ),
        (lambda: partition([], 1), TypeError, "partition: transforms must be a dict of transformations, got list"),
        (lambda: partition({}, 1), ValueError, "partition: at least one transformation is needed"),
        (lambda: partition({"a": 1}, "a"), TypeError, r"partition: transforms\['a'\] must have init and update, got int"),
        (lambda: after(partition({"a": scale(1.0)}, "b"), tree(0)), ValueError, "param_labels must be among 'a', got 'b'"),
        (lambda: multi_steps(scale(1.0), 0), ValueError, "multi_steps: every_k_schedule must be at least 1, got 0"),
        (lambda: multi_steps(scale(1.0), 2.0), TypeError, "multi_steps: every_k_schedule must be an integer, got 2.0"),
        (
            lambda: after(multi_steps(scale(1.0), lambda made: 0), tree(0)),
            ValueError,
            r"every_k_schedule\(0\) must be at least 1",
        ),
        (lambda: apply_if_finite(scale(1.0), -1), ValueError, "apply_if_finite: max_consecutive_errors must be at least 0"),
        (lambda: reduce_on_plateau(1.0), ValueError, r"reduce_on_plateau: factor must be in \(0, 1\), got 1.0"),
        (lambda: reduce_on_plateau(rtol=0.0), ValueError, "reduce_on_plateau: rtol and atol must not both be 0"),
        (lambda: reduce_on_plateau(patience=0), ValueError, "reduce_on_plateau: patience must be at least 1, got 0"),
        (lambda: adam(0.1, amsgrad="torch"), ValueError, "adam: amsgrad must be one of False, True, 'raw', got 'torch'"),
        (lambda: adamw(0.1, weight_decay=-1.0), ValueError, "adamw: weight_decay must be"),
        (lambda: lamb(0.1, b1=1.0), ValueError, "lamb: b1 must be"),
        (lambda: lion(0.1, b2=1.0), ValueError, "lion: b2 must be"),
        (lambda: nadam(0.1, b2=1.0), ValueError, "nadam: b2 must be"),
        (lambda: nadam(0.1, momentum_decay=-1.0), ValueError, "nadam: momentum_decay must be"),
        (lambda: radam(0.1, threshold=4.0), ValueError, "radam: threshold must be finite and greater than 4, got 4.0"),
        (lambda: adamax(0.1, eps=0.0), ValueError, "adamax: eps must not be 0 in float32, got 0.0"),
        (lambda: rmsprop(0.1, nesterov=True), ValueError, "rmsprop: nesterov=True needs a momentum"),
        (lambda: rmsprop(0.1, eps=1e-60), ValueError, "rmsprop: eps must not be 0 in float32"),
        (lambda: rmsprop(0.1, momentum=1.0), ValueError, "rmsprop: momentum must be"),
        (lambda: adadelta(rho=1.0), ValueError, "adadelta: rho must be"),
        (lambda: adagrad(0.1, -1.0), ValueError, "adagrad: initial_accumulator_value must be"),
    ],
)
def test_arguments_that_are_refused(make: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()
