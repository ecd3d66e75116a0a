"""Penalties: the book's numbers, trees of every kind, weights at zero."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import optax
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import purenet as pn
from purenet.penalties import elastic_net_penalty, group_lasso_penalty, max_norm_projection, orthogonal_penalty

PENALTIES = [pn.l1_penalty, pn.l2_penalty]


class Layer(NamedTuple):
    w: Any
    v: Any


def gradient(op: pn.Op, weights: Any, strength: float) -> Any:
    _, pullback = pn.vjp(op, weights, strength=strength)
    return pullback(1.0)[0]


def test_the_gradient_of_l1_is_lambda_sign_w_and_of_l2_lambda_w() -> None:
    w = np.array([[2.0, -0.5], [0.0, -3.0]])
    np.testing.assert_array_equal(gradient(pn.l1_penalty, w, 0.5), [[0.5, -0.5], [0, -0.5]])
    np.testing.assert_array_equal(gradient(pn.l2_penalty, w, 0.5), [[1.0, -0.25], [0, -1.5]])


def test_values() -> None:
    weights = {"a": np.array([3.0, -4.0]), "b": [np.array(-2.0)]}
    assert pn.l1_penalty(weights, strength=2) == 18
    assert pn.l2_penalty(weights, strength=2) == 29


@settings(derandomize=True, max_examples=40)
@given(
    w=hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e4, 1e4)),
    parts=st.integers(1, 4),
    strength=st.floats(0, 10),
)
def test_a_tree_counts_as_its_leaves_in_one_array(w: np.ndarray[Any, Any], parts: int, strength: float) -> None:
    tree = {str(i): part for i, part in enumerate(np.array_split(w.ravel(), parts))}
    for op in PENALTIES:
        assert op(tree, strength=strength) == pytest.approx(float(op(w, strength=strength)), rel=1e-13)


@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_gradient_has_the_structure_of_the_weights(op: pn.Op) -> None:
    grads = gradient(op, Layer(np.ones((2, 3)), (np.ones(2), {})), 0.5)
    assert isinstance(grads, Layer)
    assert grads.w.shape == (2, 3)
    assert isinstance(grads.v, tuple)
    np.testing.assert_array_equal(grads.v[0], [0.5, 0.5])
    assert grads.v[1] == {}


@pytest.mark.parametrize("weights", [{}, [], {"w": np.ones((0, 3))}], ids=repr)
@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_no_weights_no_penalty(op: pn.Op, weights: Any) -> None:
    assert op(weights, strength=0.5) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_dtype_stays_whatever_the_strength_is(op: pn.Op, dtype: Any) -> None:
    w = np.array([1.5, -2.0, 0.0], dtype)
    value, pullback = pn.vjp(op, w, strength=np.float64(0.5))
    assert isinstance(value, np.ndarray)
    assert value.shape == ()
    assert value.dtype == pullback(1.0)[0].dtype == w.dtype


@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_gradient_is_not_the_weights_themselves(op: pn.Op) -> None:
    w = np.ones(3)
    assert not np.shares_memory(gradient(op, w, 1.0), w)


def test_nan_shows() -> None:
    for op in PENALTIES:
        np.testing.assert_array_equal(np.isnan(gradient(op, np.array([np.nan, 1.0]), 0.5)), [True, False])


@pytest.mark.parametrize(
    ("strength", "exception", "match"),
    [
        (-0.1, ValueError, "strength must be finite and at least 0, got -0.1"),
        (float("inf"), ValueError, "strength must be finite and at least 0, got inf"),
        (None, TypeError, "strength must be a number, got NoneType"),
        (True, TypeError, "strength must be a number, got bool"),
    ],
)
@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_bad_strength(op: pn.Op, strength: Any, exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"{op.name}: {match}"):
        op(np.ones(2), strength=strength)


@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_strength_must_be_said(op: pn.Op) -> None:
    with pytest.raises(TypeError, match=f"{op.name}: missing the keyword argument 'strength'"):
        op(np.ones(2))


@settings(derandomize=True, max_examples=30)
@given(strength=st.floats(0, 10), ratio=st.floats(0, 1))
def test_elastic_net_is_a_mixture(strength: float, ratio: float) -> None:
    w = np.array([[2.0, -0.5], [0.0, -3.0]])
    value, pullback = pn.vjp(elastic_net_penalty, w, strength=strength, l1_ratio=ratio)
    l1, l2 = (pn.vjp(op, w, strength=strength) for op in PENALTIES)
    assert value == pytest.approx(ratio * float(l1[0]) + (1 - ratio) * float(l2[0]), rel=1e-14)
    expected = ratio * l1[1](1.0)[0] + (1 - ratio) * l2[1](1.0)[0]
    np.testing.assert_allclose(pullback(1.0)[0], expected, rtol=1e-13, atol=1e-15)


def test_groups_of_one_weight_are_those_of_l1() -> None:
    w = np.array([[2.0, -0.5, 0.0]])
    value, pullback = pn.vjp(group_lasso_penalty, w, strength=0.5)
    assert value == pn.l1_penalty(w, strength=0.5)
    np.testing.assert_array_equal(pullback(1.0)[0], gradient(pn.l1_penalty, w, 0.5))


def test_a_group_at_zero_is_not_pushed() -> None:
    w = np.array([[0.0, 3.0], [0.0, 4.0]])
    np.testing.assert_allclose(gradient(group_lasso_penalty, w, 1.0), np.sqrt(2) * np.array([[0, 0.6], [0, 0.8]]), rtol=1e-15)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_orthonormal_weights_have_no_orthogonal_penalty(shape: tuple[int, int]) -> None:
    w, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(max(shape), min(shape))))
    w = w if w.shape == shape else w.T
    value, pullback = pn.vjp(orthogonal_penalty, w, strength=1.0)
    assert value < 1e-28
    assert np.abs(pullback(1.0)[0]).max() < 1e-14
    assert orthogonal_penalty(2 * w, strength=1.0) == pytest.approx(27.0)


def test_filters_are_the_rows_of_a_matrix() -> None:
    w = np.random.default_rng(0).normal(size=(3, 2, 2, 1))
    matrix = w.reshape(3, 4)
    assert orthogonal_penalty(w, strength=0.5) == pytest.approx(0.5 * np.square(matrix @ matrix.T - np.eye(3)).sum(), rel=1e-14)


def test_max_norm_projects_each_group_on_the_ball_of_optax() -> None:
    w = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32) * np.array([0.1, 1, 2, 3, 0], np.float32)
    projected = max_norm_projection({"w": w, "b": [w]}, max_norm=1.5)
    for ours, column in zip(projected["w"].T, w.T, strict=True):
        np.testing.assert_allclose(ours, np.asarray(optax.projections.projection_l2_ball(column, 1.5)), rtol=1e-6)
    np.testing.assert_array_equal(projected["b"][0], projected["w"])
    assert projected["w"].dtype == np.float32
    assert not np.shares_memory(projected["w"], w)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_max_norm_leaves_what_is_short_and_takes_any_axis(dtype: Any) -> None:
    w = np.array([[3.0, 4.0], [0.0, 0.0]], dtype)
    np.testing.assert_array_equal(max_norm_projection(w, max_norm=5, axis=1), w)
    np.testing.assert_allclose(max_norm_projection(w, max_norm=2.5, axis=None).astype(float), [[1.5, 2], [0, 0]], rtol=0.01)


@pytest.mark.parametrize(
    ("weights", "options", "exception", "match"),
    [
        (np.ones((2, 2)), {"max_norm": 0}, ValueError, "max_norm must be finite and greater than 0, got 0"),
        ({"w": np.ones(2)}, {"max_norm": 1, "axis": 1}, ValueError, "axis must be one of the 1 axes"),
        ({"w": np.ones((2, 2), int)}, {"max_norm": 1}, TypeError, "weights.w must be a floating-point array, got int64"),
        ([1.0], {"max_norm": 1}, TypeError, "weights.0 must be a floating-point array, got float"),
    ],
)
def test_bad_projections(weights: Any, options: Any, exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"max_norm_projection: {match}"):
        max_norm_projection(weights, **options)


# ---------------------------------------------------------------------------------------------- penalized


NET = pn.chain(affine1=pn.affine, norm=pn.batch_norm, tanh=pn.tanh, affine2=pn.affine)
LOSS = pn.chain(net=NET, loss=pn.softmax_cross_entropy)
LABELS = {"labels": np.array([0, 2, 1, 2])}
L2 = pn.l2_penalty.bind(strength=0.5)


def problem(dtype: Any = np.float64) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    shapes = {"affine1": {"w": (4, 5), "b": (5,)}, "norm": {"gamma": (5,), "beta": (5,)}, "affine2": {"w": (5, 3), "b": (3,)}}
    params = {stage: {k: generator.normal(size=s).astype(dtype) for k, s in own.items()} for stage, own in shapes.items()}
    return {"net": params}, generator.normal(size=(4, 4)).astype(dtype)


def only(*names: str) -> Any:
    return lambda params: optree.tree_map_with_path(lambda path, _: path[-1] in names, params)


@settings(max_examples=20)
@given(
    names=st.sets(st.sampled_from(["w", "b", "gamma", "beta"]), min_size=1),
    penalty=st.sampled_from(PENALTIES),
    dy=st.floats(-2, 2),
)
def test_a_penalized_loss_has_the_penalty_and_its_slope_for_what_is_chosen(names: set[str], penalty: pn.Op, dy: float) -> None:
    params, x = problem()
    op = pn.penalized(LOSS, penalty.bind(strength=0.5), mask=only(*names))
    (value, residuals), (plain, kept) = op.fwd(params, x, loss=LABELS), LOSS.fwd(params, x, loss=LABELS)
    chosen = {path: leaf for path, leaf in zip(*optree.tree_flatten_with_path(params)[:2], strict=True) if path[-1] in names}
    weights = list(chosen.values())
    assert value == plain + penalty(weights, strength=0.5)
    (dparams, dx), (wanted, same) = op.bwd(residuals, dy), LOSS.bwd(kept, dy)
    np.testing.assert_array_equal(dx, same)
    slopes = dict(zip(chosen, pn.vjp(penalty, weights, strength=0.5)[1](dy)[0], strict=True))
    for path, found, before in zip(*optree.tree_flatten_with_path(dparams)[:2], optree.tree_leaves(wanted), strict=True):
        np.testing.assert_array_equal(found, before + slopes.get(path, 0))


def test_a_penalized_loss_reads_like_the_loss() -> None:
    params, x = problem()
    op = pn.penalized(pn.penalized(LOSS, L2, mask=only("w")), pn.l1_penalty.bind(strength=0.1))
    _, residuals = op.fwd(params, x, loss=LABELS)
    np.testing.assert_array_equal(residuals["net"]["norm"].mean, LOSS.fwd(params, x, loss=LABELS)[1]["net"]["norm"].mean)
    assert op.stages == LOSS.stages
    assert op.bind(loss=LABELS)(params, x) == op(params, x, loss=LABELS)
    assert op.name == "penalized(penalized(chain(net, loss), l2_penalty), l1_penalty)"
    outer = pn.chain(goal=op, twice=pn.identity)
    grads, _ = outer.bwd(outer.fwd({"goal": params}, x, goal={"loss": LABELS})[1], 1.0)
    assert set(grads) == {"goal"}


def test_what_is_constant_gets_no_gradient() -> None:
    params, x = problem()
    op = pn.penalized(LOSS, L2, mask=only("w"))
    value, residuals = op.fwd(params, x, loss=LABELS)
    dparams, dx = op.bwd(residuals, 1.0)
    for primals, constants, wanted in (((params,), {"x": x}, (dparams,)), ((x,), {"params": params}, (dx,))):
        again, kept = op.fwd(*primals, **constants, loss=LABELS)
        assert again == value
        assert optree.tree_all(optree.tree_map(np.array_equal, op.bwd(kept, 1.0), wanted))


def test_the_order_in_which_parameters_are_held_does_not_matter() -> None:
    params, x = problem()
    op = pn.penalized(LOSS, L2, mask=only("w"))
    reversed_order = {"net": OrderedDict(reversed(params["net"].items()))}
    wanted, found = (op.bwd(op.fwd(p, x, loss=LABELS)[1], 1.0)[0]["net"] for p in (params, reversed_order))
    for stage, own in wanted.items():
        for name, leaf in own.items():
            np.testing.assert_array_equal(found[stage][name], leaf)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_penalized_loss_keeps_the_dtype(dtype: Any) -> None:
    params, x = problem(dtype)
    value, residuals = pn.penalized(LOSS, L2, mask=only("w")).fwd(params, x, loss=LABELS)
    grads = pn.penalized(LOSS, L2, mask=only("w")).bwd(residuals, 1.0)[0]
    assert {np.asarray(value).dtype, *(leaf.dtype for leaf in optree.tree_leaves(grads))} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda _, __: pn.penalized(len, L2), TypeError, "penalized: op must be an Op, got builtin_function"),  # type: ignore[arg-type]
        (lambda _, __: pn.penalized(LOSS, len), TypeError, "penalized: penalty must be an Op, got builtin"),  # type: ignore[arg-type]
        (lambda _, __: pn.penalized(pn.sum, L2), TypeError, r"penalized: op must be an Op of parameters, .*, got sum\(x\)"),
        (lambda _, __: pn.penalized(LOSS, pn.relu), TypeError, "penalized: penalty must be an Op of weights, .*, got relu"),
        (
            lambda params, x: pn.penalized(NET, L2)(params["net"], x),
            ValueError,
            r"penalized\(.*, l2_penalty\): the value of chain\(.*\) must be a scalar, .*, got the shape \(4, 3\)",
        ),
        (
            lambda params, x: pn.penalized(LOSS, L2, mask=only("v"))(params, x, loss=LABELS),
            ValueError,
            r"penalized\(.*\): mask must choose at least one of the parameters",
        ),
        (
            lambda params, x: pn.penalized(LOSS, L2, mask={"net": 1})(params, x, loss=LABELS),
            TypeError,
            r"penalized\(.*\): mask must hold booleans, got int",
        ),
        (
            lambda params, x: pn.penalized(LOSS, pn.l2_penalty)(params, x, loss=LABELS),
            TypeError,
            "l2_penalty: missing the keyword argument 'strength'",
        ),
        (
            lambda _, __: pn.penalized(LOSS, L2).bwd((), 1.0),
            TypeError,
            r"penalized\(.*\): residuals must be those of .*, got tuple",
        ),
    ],
)
def test_a_wrong_penalized_loss_is_named(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"^{match}"):
        call(*problem())
