"""Optimizers: numbers by hand, step-by-step parity with optax, dtypes, purity, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.optimizers import (
    AdamState,
    GradientTransformation,
    MomentumState,
    SgdState,
    adadelta,
    adagrad,
    adam,
    adamax,
    adamw,
    apply_updates,
    chain,
    lion,
    momentum,
    nadam,
    radam,
    rmsprop,
    scale_by_learning_rate,
    sgd,
)
from purenet.schedules import exponential_decay

EPS = 2.0**-52
OPTIMIZERS: dict[str, Callable[[Any], GradientTransformation]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": lambda rate: sgd(rate, momentum=0.9, nesterov=True),
    "rate_in_velocity": lambda rate: momentum(rate, rate_in_velocity=True),
    "nesterov, rate_in_velocity": lambda rate: momentum(rate, nesterov=True, rate_in_velocity=True),
    "adam": adam,
    "adam, epsilon_hat": lambda rate: adam(rate, epsilon_hat=True),
    "adam, amsgrad, nesterov": lambda rate: adam(rate, amsgrad=True, nesterov=True),
    "adam, amsgrad of raw averages": lambda rate: adam(rate, amsgrad="raw"),
    "adamw": lambda rate: adamw(rate, weight_decay=0.0),
    "adamax": adamax,
    "nadam": nadam,
    "nadam, momentum_decay": lambda rate: nadam(rate, momentum_decay=0.004),
    "radam": radam,
    "lion": lambda rate: lion(rate, weight_decay=0.0),
    "adagrad": adagrad,
    "adagrad, eps outside": lambda rate: adagrad(rate, 0.0, eps_in_sqrt=False),
    "rmsprop": rmsprop,
    "rmsprop, eps outside": lambda rate: rmsprop(rate, eps_in_sqrt=False),
    "rmsprop, centered": lambda rate: rmsprop(rate, centered=True, momentum=0.5, nesterov=True),
    "adadelta": adadelta,
    "scale_by_learning_rate": lambda rate: chain(sgd(1.0), scale_by_learning_rate(rate, flip_sign=False)),
    "chain": lambda rate: chain(chain(PASS), adam(rate)),
}
PASS = GradientTransformation(lambda params: (), lambda grads, state, params=None: (grads, state))
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


class Layer(NamedTuple):
    """A tree that is neither a dict nor a plain tuple."""

    w: Any
    b: Any


def trees() -> list[Any]:
    """The structures on which parity is checked, as shapes."""
    return [
        {"w": (2, 3), "b": (3,)},
        {"outer": [{"w": (2, 3)}, ((), (3,))], "layer": Layer((3,), (0, 3))},
        (3,),
        {},
    ]


def draw_tree(shapes: Any, generator: np.random.Generator, scale: float = 1.0, dtype: Any = np.float64) -> Any:
    def is_shape(node: Any) -> bool:
        return type(node) is tuple and all(isinstance(n, int) for n in node)

    return optree.tree_map(
        lambda shape: np.asarray(generator.normal(size=shape) * scale).astype(dtype), shapes, is_leaf=is_shape
    )


def descend(opt: GradientTransformation, params: Any, gradients: list[Any]) -> tuple[Any, Any]:
    state = opt.init(params)
    for grads in gradients:
        updates, state = opt.update(grads, state, params)
        params = apply_updates(params, updates)
    return params, state


# ------------------------------------------------------------------------------------------ numbers by hand


def test_sgd_by_hand() -> None:
    params, state = descend(sgd(0.5), np.array([1.0, 2.0]), [np.array([2.0, 0.0]), np.array([-4.0, 1.0])])
    np.testing.assert_array_equal(params, [2.0, 1.5])
    assert state == SgdState(2)


def test_momentum_by_hand() -> None:
    params, state = descend(momentum(0.5, decay=0.5), np.array([0.0]), [np.array([2.0]), np.array([4.0])])
    # v = 2, then 0.5 * 2 + 4 = 5
    np.testing.assert_array_equal(state.velocity, [5.0])
    np.testing.assert_array_equal(params, [-1.0 - 2.5])


def test_nesterov_by_hand() -> None:
    params, _ = descend(momentum(0.5, decay=0.5, nesterov=True), np.array([0.0]), [np.array([2.0]), np.array([4.0])])
    np.testing.assert_array_equal(params, [-0.5 * (0.5 * 2 + 2) - 0.5 * (0.5 * 5 + 4)])


def test_rate_in_velocity_by_hand() -> None:
    opt = momentum(lambda count: [0.5, 0.25][count], decay=0.5, rate_in_velocity=True)
    params, state = descend(opt, np.array([0.0]), [np.array([2.0]), np.array([4.0])])
    # v = -0.5 * 2 = -1, then 0.5 * -1 - 0.25 * 4 = -1.5
    np.testing.assert_array_equal(state.velocity, [-1.5])
    np.testing.assert_array_equal(params, [-2.5])


def test_adam_first_step_is_the_rate_against_the_sign() -> None:
    opt = adam(0.1)
    updates, state = opt.update(np.array([300.0, -0.02]), opt.init(np.zeros(2)))
    np.testing.assert_allclose(updates, [-0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(state.mu, [30.0, -0.002])
    np.testing.assert_allclose(state.nu, [90.0, 4e-7])


def test_adam_second_step_by_hand() -> None:
    params, state = descend(adam(1.0, b1=0.5, b2=0.75, eps=1e-8), np.array([0.0]), [np.array([2.0]), np.array([-1.0])])
    mu, nu = 0.5 * 1.0 - 0.5, 0.75 * 1.0 + 0.25
    assert mu == 0
    np.testing.assert_array_equal(state.mu, [mu])
    np.testing.assert_array_equal(state.nu, [nu])
    np.testing.assert_allclose(params, [-1.0], rtol=1e-8)  # the first step alone: the averages cancel in the second


def test_epsilon_hat_counts_more_at_first() -> None:
    g = np.array([1e-3])
    for options, eps in (({}, 1e-3), ({"epsilon_hat": True}, 1e-3 / math.sqrt(1 - 0.999))):
        opt = adam(0.1, eps=1e-3, **options)
        np.testing.assert_allclose(opt.update(g, opt.init(g))[0], [-0.1 * 1e-3 / (1e-3 + eps)], rtol=1e-12)


def test_eps_root_is_inside_the_root() -> None:
    opt = adam(1.0, eps=0.0, eps_root=9.0)
    np.testing.assert_allclose(opt.update(np.array([4.0]), opt.init(np.array([0.0])))[0], [-0.8], rtol=1e-12)


@every_optimizer
def test_schedule_is_asked_for_counts_from_zero(make: Any) -> None:
    asked: list[int] = []

    def rate(count: int) -> float:
        asked.append(count)
        return 0.1

    descend(make(rate), np.ones(2), [np.ones(2)] * 3)
    assert asked == [0, 1, 2]


def test_sgd_with_momentum_is_momentum() -> None:
    gradients = [np.array([1.0, -2.0]), np.array([0.5, 3.0]), np.array([1.0, 1.0])]
    for nesterov in (False, True):
        one = descend(sgd(0.1, 0.8, nesterov), np.zeros(2), gradients)
        other = descend(momentum(0.1, 0.8, nesterov), np.zeros(2), gradients)
        np.testing.assert_array_equal(one[0], other[0])
        assert type(one[1]) is type(other[1]) is MomentumState


@pytest.mark.parametrize("nesterov", [False, True])
def test_where_the_rate_stands_matters_only_under_a_schedule(nesterov: bool) -> None:
    generator = np.random.default_rng(0)
    gradients = [generator.normal(size=3) for _ in range(6)]

    def steps(rate: Any, count: int) -> list[Any]:
        return [
            descend(momentum(rate, 0.9, nesterov, rate_in_velocity=inside), np.zeros(3), gradients[:count])
            for inside in (False, True)
        ]

    (outside, state), (inside, own) = steps(0.1, 6)
    np.testing.assert_allclose(inside, outside, rtol=1e-13)
    np.testing.assert_allclose(own.velocity, -0.1 * state.velocity, rtol=1e-13)
    decay = exponential_decay(0.1, 1, 0.5)
    (outside, _), (inside, _) = steps(decay, 1)
    np.testing.assert_allclose(inside, outside, rtol=1e-15)
    (outside, _), (inside, _) = steps(decay, 2)
    # The first gradient keeps its rate 0.1 in the velocity, where optax gives it today's 0.05.
    share = 0.9**2 if nesterov else 0.9
    np.testing.assert_allclose(inside - outside, -share * (0.1 - 0.05) * gradients[0], rtol=1e-13)


# -------------------------------------------------------------------------------------------- parity with optax


def numpy_tree(tree: Any) -> Any:
    return optree.tree_map(np.asarray, tree)


def assert_close(ours: Any, theirs: Any, rtol: float) -> None:
    assert optree.tree_structure(ours) == optree.tree_structure(theirs)
    for one, other in zip(optree.tree_leaves(ours), optree.tree_leaves(theirs), strict=True):
        # XLA takes numbers below the smallest normal one for 0.
        np.testing.assert_allclose(one, other, rtol=rtol, atol=np.finfo(np.float64).tiny)


def check_parity(
    ours: GradientTransformation, theirs: Any, slots: Callable[[Any], dict[str, Any]], shapes: Any, seed: int, rtol: float
) -> None:
    """Updates, parameters and slots at each of four steps, the last with a gradient of zeros."""
    generator = np.random.default_rng(seed)
    params = draw_tree(shapes, generator)
    state = ours.init(params)
    with jax.enable_x64(True):
        other_state = theirs.init(optree.tree_map(jnp.asarray, params))
        other_params = params
        for step in range(4):
            grads = draw_tree(shapes, generator, scale=float(step < 3) * 10.0 ** generator.uniform(-4, 2))
            updates, state = ours.update(grads, state, params)
            params = apply_updates(params, updates)
            other_updates, other_state = theirs.update(grads, other_state, other_params)
            other_params = numpy_tree(optax.apply_updates(other_params, other_updates))
            assert_close(updates, numpy_tree(other_updates), rtol)
            for name, tree in slots(other_state).items():
                assert_close(getattr(state, name), numpy_tree(tree), rtol)
            np.testing.assert_allclose(
                np.concatenate([np.ravel(p) for p in optree.tree_leaves(params)] or [[]]),
                np.concatenate([np.ravel(p) for p in optree.tree_leaves(other_params)] or [[]]),
                rtol=rtol,
                atol=10 * rtol,
            )


rates = st.floats(1e-5, 1.0)
decays = st.floats(0.0, 0.999)
structures = st.sampled_from(trees())
seeds = st.integers(0, 2**32 - 1)
parity = settings(derandomize=True, max_examples=25, deadline=None)


@parity
@given(rates, st.booleans(), structures, seeds)
def test_sgd_equals_optax(rate: float, scheduled: bool, shapes: Any, seed: int) -> None:
    ours, theirs = rate, optax.constant_schedule(rate)
    if scheduled:
        ours = exponential_decay(rate, 2, 0.7)  # type: ignore[assignment]
        # Asked with its own int32 count, optax's schedule answers in float32.
        theirs = lambda count: optax.exponential_decay(rate, 2, 0.7)(count.astype(jnp.int64))  # noqa: E731
    check_parity(sgd(ours), optax.sgd(theirs), lambda s: {"count": s[1].count}, shapes, seed, 64 * EPS)


@parity
@given(rates, decays, st.booleans(), structures, seeds)
def test_momentum_equals_optax(rate: float, decay: float, nesterov: bool, shapes: Any, seed: int) -> None:
    theirs = optax.sgd(rate, momentum=decay, nesterov=nesterov)
    # A sum of gradients of both signs may lose digits to cancellation, the same in both but for rounding.
    check_parity(momentum(rate, decay, nesterov), theirs, lambda s: {"velocity": s[0].trace}, shapes, seed, 1e-11)


@parity
@given(rates, decays, decays, st.floats(1e-10, 1e-2), st.sampled_from([0.0, 1e-6, 1e-2]), structures, seeds)
def test_adam_equals_optax(rate: float, b1: float, b2: float, eps: float, eps_root: float, shapes: Any, seed: int) -> None:
    # 1 - b^t loses 1 / (1 - b) of the last digit wherever a power is rounded, and mu may cancel.
    check_parity(
        adam(rate, b1, b2, eps, eps_root),
        optax.adam(rate, b1, b2, eps, eps_root),
        lambda s: {"count": s[0].count, "mu": s[0].mu, "nu": s[0].nu},
        shapes,
        seed,
        1e-11,
    )


def test_chain_equals_optax() -> None:
    def add_decayed_weights(factor: float) -> GradientTransformation:
        return GradientTransformation(
            lambda params: (),
            lambda grads, state, params=None: (optree.tree_map(lambda g, p: g + factor * p, grads, params), state),
        )

    ours = chain(add_decayed_weights(0.1), adam(0.01))
    theirs = optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01))
    for seed, shapes in enumerate(trees()):
        check_parity(ours, theirs, lambda s: {}, shapes, seed, 1e-11)


# ------------------------------------------------------------------------------------------------------ dtypes


@every_optimizer
def test_dtypes_are_kept(make: Any) -> None:
    for dtype in DTYPES:
        params = draw_tree({"w": (2, 3), "s": ()}, np.random.default_rng(0), dtype=dtype)
        opt = make(exponential_decay(np.float64(0.1), 3, 0.5))
        state = opt.init(params)
        slot_dtype = np.float32 if np.dtype(dtype).itemsize == 2 else dtype
        for _ in range(2):
            updates, state = opt.update(params, state, params)
            params = apply_updates(params, updates)
            for leaf in optree.tree_leaves((updates, params)):
                assert isinstance(leaf, np.ndarray)
                assert leaf.dtype == dtype
            for leaf in optree.tree_leaves(state):
                assert isinstance(leaf, np.ndarray)
                of_numbers = leaf is getattr(state, "mu_product", None)  # no slot of the parameters
                assert leaf.dtype == (np.int64 if leaf.dtype.kind == "i" else np.float64 if of_numbers else slot_dtype)


@every_optimizer
def test_float32_is_float64_rounded(make: Any) -> None:
    generator = np.random.default_rng(1)
    params, gradients = generator.normal(size=5), [generator.normal(size=5) for _ in range(4)]
    exact, _ = descend(make(0.1), params, gradients)
    single, _ = descend(make(0.1), params.astype(np.float32), [g.astype(np.float32) for g in gradients])
    np.testing.assert_allclose(single, exact, rtol=1e-5, atol=1e-6)


@every_optimizer
def test_zero_gradient_at_the_first_step_moves_nothing(make: Any) -> None:
    for dtype in DTYPES:
        params = np.ones(3, dtype)
        opt = make(0.1)
        updates, state = opt.update(np.zeros(3, dtype), opt.init(params), params)
        np.testing.assert_array_equal(updates.astype(float), 0.0, err_msg=str(dtype))
        assert all(np.isfinite(leaf).all() for leaf in optree.tree_leaves(state)), dtype


@every_optimizer
def test_large_and_small_gradients_are_finite_and_silent(make: Any) -> None:
    for dtype, size in product(DTYPES, (1e4, 1e-4)):
        params, grads = np.ones(3, dtype), np.array([size, -size, 0.0]).astype(dtype)
        moved, _ = descend(make(1e-3), params, [grads] * 3)
        assert np.isfinite(moved.astype(float)).all(), (dtype, size)


def test_float16_epsilon_does_not_underflow() -> None:
    """In float16 eps = 1e-8 and the squares of these gradients are 0; the state in float32 still divides by their size."""
    grads = np.array([1e-4, -1.5e-4, 0.0], np.float16)
    assert np.float16(1e-8) == 0
    assert not (grads * grads).any()
    opt = adam(0.1)
    updates, state = opt.update(grads, opt.init(grads))
    np.testing.assert_allclose(updates.astype(float), [-0.1, 0.1, 0.0], rtol=1e-3)
    assert state.nu.dtype == np.float32
    assert (state.nu[:2] > 0).all()


def test_what_16_bits_cannot_hold_is_infinite() -> None:
    opt = sgd(100.0)
    updates, _ = opt.update(np.array([6e4], np.float16), opt.init(np.ones(1, np.float16)))
    np.testing.assert_array_equal(updates, [-np.inf])
    large = np.array([6e4], np.float16)
    np.testing.assert_array_equal(apply_updates(large, large), [np.inf])


def test_16_bit_gradients_of_float32_parameters() -> None:
    params, grads = np.ones(2, np.float32), np.array([0.5, -0.25], np.float16)
    opt = adam(1e-3)
    updates, _ = opt.update(grads, opt.init(params), params)
    assert updates.dtype == np.float16
    assert apply_updates(params, updates).dtype == np.float32


# ---------------------------------------------------------------------------------------- purity and structure


@every_optimizer
def test_nothing_is_written_to_and_nothing_is_shared(make: Any) -> None:
    params = draw_tree({"w": (2, 3), "b": (3,), "s": ()}, np.random.default_rng(2))
    grads = draw_tree({"w": (2, 3), "b": (3,), "s": ()}, np.random.default_rng(3))
    opt = make(0.1)
    state = opt.init(params)
    for leaf in optree.tree_leaves((params, grads, state)):
        leaf.flags.writeable = False
    before = [leaf.tobytes() for leaf in optree.tree_leaves((params, grads, state))]
    updates, after = opt.update(grads, state, params)
    moved = apply_updates(params, updates)
    assert [leaf.tobytes() for leaf in optree.tree_leaves((params, grads, state))] == before
    given = optree.tree_leaves((params, grads, state))
    results = optree.tree_leaves((updates, after, moved))
    for i, leaf in enumerate(results):
        assert leaf.flags.writeable
        assert not any(np.shares_memory(leaf, other) for other in given + results[:i])
    again, once_more = opt.update(grads, state, params)
    assert [a.tobytes() for a in optree.tree_leaves((again, once_more))] == [
        a.tobytes() for a in optree.tree_leaves((updates, after))
    ]


@every_optimizer
def test_strides_do_not_matter(make: Any) -> None:
    params = np.random.default_rng(4).normal(size=(4, 6))
    views = [params[::-2, ::3], np.asfortranarray(params[::-2, ::3])]
    results = [descend(make(0.1), view, [view, view])[0] for view in views]
    np.testing.assert_array_equal(results[0], results[1])
    assert results[0].shape == (2, 2)


@every_optimizer
def test_empty_trees(make: Any) -> None:
    tree: Any
    for tree in ({}, (), [], {"a": {}}):
        opt = make(0.1)
        updates, state = opt.update(tree, opt.init(tree), tree)
        assert updates == tree
        assert apply_updates(tree, updates) == tree
        assert optree.tree_leaves(state)[0] == 1, tree
        assert all(leaf.shape == () for leaf in optree.tree_leaves(state)), tree


@every_optimizer
def test_params_are_optional(make: Any) -> None:
    opt = make(0.1)
    params, grads = np.ones(3), np.array([1.0, -2.0, 0.5])
    state = opt.init(params)
    np.testing.assert_array_equal(opt.update(grads, state)[0], opt.update(grads, state, params)[0])


def test_python_floats_are_scalars() -> None:
    assert apply_updates({"a": 1.0}, {"a": np.array(0.5)}) == {"a": 1.5}


def test_chain_applies_in_order() -> None:
    def scale(factor: float) -> GradientTransformation:
        return GradientTransformation(lambda params: (), lambda grads, state, params=None: (factor * grads, state))

    def shift(by: float) -> GradientTransformation:
        return GradientTransformation(lambda params: (), lambda grads, state, params=None: (grads + by, state))

    for transforms, expected in (((scale(2), shift(1)), 7.0), ((shift(1), scale(2)), 8.0)):
        opt = chain(*transforms)
        assert opt.update(np.array(3.0), opt.init(np.array(0.0)))[0] == expected


def test_chain_state_is_the_tuple_of_states() -> None:
    opt = chain(momentum(0.1), chain(adam(0.1)))
    first, (second,) = opt.init(np.zeros(2))
    assert isinstance(first, MomentumState)
    assert isinstance(second, AdamState)


# ---------------------------------------------------------------------------------------------------- bad input

GOOD = {"layer": {"w": np.ones((2, 3)), "b": np.ones(3)}}


def changed(**leaves: Any) -> dict[str, Any]:
    return {"layer": {**GOOD["layer"], **leaves}}


NO_FLOATS: tuple[tuple[Any, str], ...] = (
    (np.ones(3, np.int64), "int64"),
    (np.ones(3, np.complex128), "complex128"),
    (np.array(["a"] * 3, object), "object"),
    (np.ma.masked_array(np.ones(3)), "MaskedArray"),
    (1, "int"),
    ("b", "str"),
)


@every_optimizer
def test_leaves_that_are_not_floating_point(make: Any) -> None:
    for leaf, what in NO_FLOATS:
        opt = make(0.1)
        state = opt.init(GOOD)
        with pytest.raises(TypeError, match=rf"params\.layer\.b must be a floating-point array, got {what}"):
            opt.init(changed(b=leaf))
        with pytest.raises(TypeError, match=rf"grads\.layer\.b must be a floating-point array, got {what}"):
            opt.update(changed(b=leaf), state, GOOD)
        with pytest.raises(TypeError, match=rf"params\.layer\.b must be a floating-point array, got {what}"):
            opt.update(GOOD, state, changed(b=leaf))


@every_optimizer
def test_trees_that_do_not_match(make: Any) -> None:
    opt = make(0.1)
    state = opt.init(GOOD)
    with pytest.raises(ValueError, match=r"grads does not match params: it lacks layer\.b$"):
        opt.update({"layer": {"w": np.ones((2, 3))}}, state, GOOD)
    with pytest.raises(ValueError, match=r"it has in addition layer\.c$"):
        opt.update(changed(c=np.ones(1)), state, GOOD)
    with pytest.raises(ValueError, match=r"it lacks layer\.b, layer\.w and has in addition a single array$"):
        opt.update(np.ones(3), state, GOOD)
    with pytest.raises(ValueError, match=r"grads does not match params: it is .*, not "):
        opt.update((np.ones(1),), opt.init([np.ones(1)]), [np.ones(1)])
    with pytest.raises(ValueError, match=r"grads\.layer\.b has shape \(2,\), but params\.layer\.b has \(3,\)"):
        opt.update(changed(b=np.ones(2)), state, GOOD)


@pytest.mark.parametrize("make", [momentum, adam])
def test_state_of_other_parameters(make: Any) -> None:
    slot = "velocity" if make is momentum else "mu"
    state = make(0.1).init(changed(b=np.ones(2)))
    with pytest.raises(ValueError, match=rf"grads\.layer\.b has shape \(3,\), but state\.{slot}\.layer\.b has \(2,\)"):
        make(0.1).update(GOOD, state)
    with pytest.raises(ValueError, match=rf"grads does not match state\.{slot}: it lacks layer\.c$"):
        make(0.1).update(GOOD, make(0.1).init(changed(c=np.ones(1))))
    single = optree.tree_map(lambda leaf: leaf.astype(np.float32), GOOD)
    with pytest.raises(TypeError, match=rf"grads\.layer\.b is float64, but state\.{slot}\.layer\.b is float32"):
        make(0.1).update(GOOD, make(0.1).init(single))


@pytest.mark.parametrize(
    ("opt", "other"), [(sgd(0.1), momentum(0.1)), (momentum(0.1), adam(0.1)), (adam(0.1), chain(adam(0.1)))]
)
def test_state_of_another_optimizer(opt: GradientTransformation, other: GradientTransformation) -> None:
    with pytest.raises(TypeError, match=r"state must be the \w+State that init gives, got \w+"):
        opt.update(GOOD, other.init(GOOD))


def test_apply_updates_refuses_what_does_not_match() -> None:
    with pytest.raises(TypeError, match=r"apply_updates: params\.w must be a floating-point array, got int64"):
        apply_updates({"w": np.array([1])}, {"w": np.array([1.0])})
    with pytest.raises(ValueError, match=r"apply_updates: updates does not match params: it lacks b"):
        apply_updates({"w": np.ones(1), "b": np.ones(1)}, {"w": np.ones(1)})
    with pytest.raises(ValueError, match=r"apply_updates: updates\.w has shape \(1,\), but params\.w has \(2,\)"):
        apply_updates({"w": np.ones(2)}, {"w": np.ones(1)})


def test_chain_refuses_what_is_not_a_chain() -> None:
    with pytest.raises(ValueError, match="chain: at least one transformation is needed"):
        chain()
    with pytest.raises(TypeError, match=r"chain: transforms\[1\] must have init and update, got float"):
        chain(sgd(0.1), 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="chain: state must be a tuple of 1, as init gives, got SgdState"):
        chain(sgd(0.1)).update(GOOD, sgd(0.1).init(GOOD))
    with pytest.raises(ValueError, match="chain: state must be a tuple of 2, as init gives, got a tuple of 1"):
        chain(PASS, sgd(0.1)).update(GOOD, chain(sgd(0.1)).init(GOOD))


@every_optimizer
def test_learning_rates_that_are_refused(make: Any) -> None:
    rate: Any
    for rate, error in ((-0.1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("0.1", TypeError)):
        with pytest.raises(error, match=r": learning_rate must be"):
            make(rate)
        opt = make(lambda count, rate=rate: rate)
        with pytest.raises(error, match=r": learning_rate\(0\) must be"):
            opt.update(GOOD, opt.init(GOOD))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: sgd(0.1, momentum=1.0), r"sgd: momentum must be in \[0, 1\), got 1.0"),
        (lambda: sgd(0.1, momentum=-0.1), "sgd: momentum must be"),
        (lambda: sgd(0.1, nesterov=True), "sgd: nesterov=True needs a momentum"),
        (lambda: momentum(0.1, decay=1.5), r"momentum: decay must be in \[0, 1\), got 1.5"),
        (lambda: adam(0.1, b1=1.0), r"adam: b1 must be in \[0, 1\), got 1.0"),
        (lambda: adam(0.1, b2=-0.5), "adam: b2 must be"),
        (lambda: adam(0.1, b2=math.nan), "adam: b2 must be"),
        (lambda: adam(0.1, eps=-1e-8), "adam: eps must be"),
        (lambda: adam(0.1, eps_root=-1.0), "adam: eps_root must be"),
        (lambda: adam(0.1, eps=0.0), "adam: eps and eps_root must not both be 0 in float32, got 0.0 and 0.0"),
        (lambda: adam(0.1, eps=1e-60), "adam: eps and eps_root must not both be 0 in float32"),
    ],
)
def test_hyper_parameters_that_are_refused(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()
