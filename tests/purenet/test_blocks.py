"""Optimizers go over large arrays in blocks and over small ones joined; training moves the parameters in the same walk."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import optree
import pytest

import purenet as pn
from purenet import optimizers, random, training
from purenet.op import Array
from purenet.optimizers import GradientTransformation, apply_updates, blocks, moments, transformation
from purenet.optimizers.combining import moved_by

LARGE = blocks.BLOCK // 4 + 1000  # entries of float32 that are more than one block, and a rest
SHAPES = {
    "large": (LARGE,), "square": (300, 600), "scalar": (), "none": (0, 3),
    "small": [(7,)] * 5, "many": [(blocks.JOINED - 1,)] * 40,
}  # fmt: skip
MASK = {name: name != "small" for name in SHAPES}

OPTIMIZERS: dict[str, Callable[[], GradientTransformation]] = {
    "sgd": lambda: optimizers.sgd(0.1),
    "momentum": lambda: optimizers.sgd(0.1, 0.9, nesterov=True),
    "rate_in_velocity": lambda: optimizers.momentum(0.1, rate_in_velocity=True),
    "lion": lambda: optimizers.lion(0.1),
    "adam": lambda: optimizers.adam(0.1),
    "amsgrad": lambda: optimizers.adam(0.1, amsgrad=True, nesterov=True),
    "adamw": lambda: optimizers.adamw(0.1, weight_decay=0.5, mask=MASK),
    "adamax": lambda: optimizers.adamax(0.1),
    "nadam": lambda: optimizers.nadam(0.1, momentum_decay=0.004),
    "radam": lambda: optimizers.radam(0.1),
    "lamb": lambda: optimizers.lamb(0.1, weight_decay=0.5),
    "adagrad": lambda: optimizers.adagrad(0.1),
    "adadelta": optimizers.adadelta,
    "rmsprop": lambda: optimizers.rmsprop(0.1, centered=True, momentum=0.5),
    "chain": lambda: optimizers.chain(optimizers.clip_by_global_norm(1.0), optimizers.adamw(0.1)),
    "chain, ends with a transformation": lambda: optimizers.chain(optimizers.sgd(0.1), optimizers.zero_nans()),
    "masked": lambda: optimizers.masked(optimizers.adam(0.1), MASK),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def drawn(seed: int, dtype: Any = np.float32) -> Any:
    generator = np.random.default_rng(seed)
    return optree.tree_map(
        lambda shape: np.asarray(generator.normal(size=shape)).astype(dtype), SHAPES, is_leaf=lambda node: type(node) is tuple
    )


def followed(optimizer: GradientTransformation, dtype: Any = np.float32) -> list[Array]:
    """All updates and states of two steps."""
    params, seen = drawn(0, dtype), []
    state = optimizer.init(params)
    for step in (1, 2):
        updates, state = optimizer.update(drawn(step, dtype), state, params)
        seen += optree.tree_leaves((updates, state))
    return seen


def assert_same_bits(ours: list[Array], theirs: list[Array]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


@every_optimizer
def test_blocks_and_joined_arrays_give_the_bits_of_whole_arrays(
    make: Callable[[], GradientTransformation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "PLAIN", 10**18)
    by_blocks = followed(make())
    monkeypatch.setattr(transformation, "by_blocks", blocks.array_by_array)
    assert_same_bits(by_blocks, followed(make()))


def test_a_rule_that_needs_the_whole_array_is_noticed() -> None:
    def rule_at(t: int, rate: float) -> Any:
        return lambda g: (g / np.abs(g).max(initial=1e-9),)

    found = [
        followed(transformation.by_rule("by_largest", optimizers.SgdState, 0.1, rule_at, entrywise=entrywise))
        for entrywise in (True, False)
    ]
    assert any(a.tobytes() != b.tobytes() for a, b in zip(*found, strict=True))


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_one_walk_gives_the_bits_of_two_calls(make: Callable[[], GradientTransformation], dtype: Any) -> None:
    optimizer = make()
    params, grads = drawn(0, dtype), drawn(1, dtype)
    kept = [p.copy() for p in optree.tree_leaves((params, grads))]
    state = optimizer.init(params)
    moved, after = moved_by("test", "optimizer", optimizer)(grads, state, params)
    updates, expected = optimizer.update(grads, state, params)
    assert_same_bits(optree.tree_leaves((moved, after)), optree.tree_leaves((apply_updates(params, updates), expected)))
    assert_same_bits(optree.tree_leaves((params, grads)), kept)
    results = [a for a in optree.tree_leaves((moved, after)) if a.size]
    arguments = [a for a in optree.tree_leaves((params, grads, state)) if a.size]
    assert not any(np.shares_memory(a, b) for a in results for b in arguments)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(results) for b in results[:i])


def test_parameters_of_another_dtype_than_their_gradients_keep_it() -> None:
    optimizer = optimizers.sgd(0.1)
    params, grads = drawn(0, np.float64), drawn(1, np.float32)
    moved, _ = moved_by("test", "optimizer", optimizer)(grads, optimizer.init(params), params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert_same_bits(optree.tree_leaves(moved), optree.tree_leaves(apply_updates(params, updates)))


def test_arrays_in_any_order_of_memory_give_the_same() -> None:
    optimizer = optimizers.adam(0.1)
    params, grads = drawn(0)["square"], drawn(1)["square"]
    state = optimizer.init(params)
    turned = optimizer.update(np.asfortranarray(grads), state, params[::-1][::-1])
    assert_same_bits(optree.tree_leaves(turned), optree.tree_leaves(optimizer.update(grads, state, params)))


def test_a_wrapper_around_an_update_is_not_passed_over() -> None:
    inner = optimizers.sgd(0.5)

    @functools.wraps(inner.update)
    def halved(grads: Any, state: Any, params: Any = None) -> Any:
        return inner.update(optree.tree_map(lambda g: g / 2, grads), state, params)

    wrapped = inner._replace(update=halved)
    step = training.make_step(pn.chain(net=pn.affine, loss=pn.sum), wrapped)
    state, _ = step(training.start(wrapped, {"net": {"w": np.array([[3.0]])}}, random.key(0)), {"x": np.array([[2.0]])})
    assert state.params["net"]["w"] == 3.0 - 0.5 * 2.0 / 2


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"amsgrad": "raw"}, {"eps_root": 2e-45, "eps": 0.0}], ids=str)
def test_a_zero_gradient_is_not_divided_by_zero_for_the_smallest_eps(options: dict[str, Any]) -> None:
    optimizer = optimizers.adam(0.1, **{"eps": 2e-45, **options})
    zeros = np.zeros(moments.PLAIN + 1, np.float32)
    updates, state = optimizer.update(zeros, optimizer.init(zeros))
    assert not updates.any()
    assert not optimizer.update(zeros, state)[0].any()
