"""Normalization: torch's values and gradients, running statistics, constant and empty batches, digits far from 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import purenet as pn
from purenet.normalization import (
    Statistics,
    batch_norm,
    group_norm,
    instance_norm,
    l1_normalize,
    l2_normalize,
    layer_norm,
    local_response_norm,
    rms_norm,
    update_running_statistics,
)
from purenet.op import vjp

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -3.0], [-2.0, 4.0, 1.0]])
DY = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0], [2.0, -0.5, 1.0]])
PARAMS = {"gamma": np.array([1.5, -0.5, 2.0]), "beta": np.array([0.1, 0.2, -0.3])}

# torch 2.13.0 in float64, functions of the same names with weight gamma and bias beta: the second rows of y and dx, and dgamma
PUBLISHED = [
    (
        batch_norm,
        [1.6285704686289624, 0.3961159179022107, -3.077457323472116],
        [-0.11431955930839297, -0.66981128215107, -0.08817537396473395],
        [-2.1230145397624476, 0.0980579589511051, 2.3145477695600967],
    ),
    (
        layer_norm,
        [1.6158408673561118, 0.024250334219581227, -3.0241198195964905],
        [0.28945384631918064, -0.40078004549071905, 0.11132619917153802],
        [-2.1968475569849253, 2.891607647154637, 1.9744303042627935],
    ),
    (
        rms_norm,  # torch's has no bias
        [1.158679367272348 + 0.1, -0.06437107595957489 + 0.2, -3.089811646059595 - 0.3],
        [-0.22938752040644542, -0.8428697028957604, -0.18493571878285808],
        [-0.9407801911454859, 1.1421516221491075, 2.6787968122954124],
    ),
]
NORMS: list[tuple[pn.Op, tuple[int, ...], tuple[int, ...], dict[str, Any], tuple[int, ...]]] = [
    (batch_norm, (5, 3), (3,), {}, (0,)),
    (batch_norm, (3, 2, 4, 2), (2,), {}, (0, 2, 3)),
    (batch_norm, (3, 4, 2), (2,), {"axes": (0, 1)}, (0, 1)),
    (layer_norm, (4, 6), (6,), {}, (1,)),
    (layer_norm, (2, 3, 4), (3, 4), {"axes": (1, 2)}, (1, 2)),
    (group_norm, (2, 3, 5), (3,), {"groups": 1}, (1, 2)),
    (instance_norm, (2, 3, 4, 2), (3,), {}, (2, 3)),
]


@pytest.mark.parametrize(("op", "y", "dx", "dgamma"), PUBLISHED, ids=lambda p: p.name if isinstance(p, pn.Op) else "")
def test_torchs_values_and_gradients(op: pn.Op, y: Any, dx: Any, dgamma: Any) -> None:
    ours, pullback = vjp(op, PARAMS, X)
    dparams, ours_dx = pullback(DY)
    np.testing.assert_allclose(ours[1], y, rtol=1e-14)
    np.testing.assert_allclose(ours_dx[1], dx, rtol=1e-13)
    np.testing.assert_allclose(dparams["gamma"], dgamma, rtol=1e-14)
    np.testing.assert_allclose(dparams["beta"], DY.sum(axis=0), rtol=1e-15)


@pytest.mark.parametrize(
    ("size", "y", "dx"),
    [
        (2, [0.6196960648344577, 0.10181765571351267, -0.5309967154299006],
         [-0.21144989778634346, 1.1674435899069933, 0.060465464489947246]),
        (3, [0.7451647700078031, 0.050036053034030345, -0.6940082889856953],
         [-0.01210867198944357, 0.5530761554830641, 0.11705698854322322]),
    ],
)  # fmt: skip
def test_torchs_local_response(size: int, y: Any, dx: Any) -> None:
    ours, pullback = vjp(local_response_norm, X, size=size, alpha=2.0)
    np.testing.assert_allclose(ours[1], y, rtol=1e-14)
    np.testing.assert_allclose(pullback(DY)[0][1], dx, rtol=1e-13)


@pytest.mark.parametrize(
    ("op", "y", "dx"),
    [
        (l2_normalize, [0.4459764877482998, 0.07432941462471664, -0.8919529754965996],
         [-0.08829184610118275, 0.864849432042283, 0.027924862952932228]),
        (l1_normalize, [0.3157894736842105, 0.05263157894736842, -0.631578947368421],
         [-0.1301939058171745, 0.4487534626038781, -0.02770083102493076]),
    ],
    ids=["l2", "l1"],
)  # fmt: skip
def test_torchs_unit_vectors(op: pn.Op, y: Any, dx: Any) -> None:
    ours, pullback = vjp(op, X)
    np.testing.assert_allclose(ours[1], y, rtol=1e-15)
    np.testing.assert_allclose(pullback(DY)[0][1], dx, rtol=1e-13)


def test_running_statistics_are_torchs() -> None:
    _, residuals = batch_norm.fwd(PARAMS, X)
    mean, var = update_running_statistics(Statistics(np.zeros(3), np.ones(3)), residuals, unbiased=True)
    np.testing.assert_allclose(mean, [0.0, 0.10833333333333334, 0.0], atol=1e-17)
    np.testing.assert_allclose(var, [1.225, 1.5770833333333334, 1.6], rtol=1e-15)


def test_running_statistics_are_flaxs() -> None:
    _, residuals = batch_norm.fwd({}, X)
    old = (np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    new = update_running_statistics(old, residuals, momentum=0.99)
    np.testing.assert_allclose(new.mean, 0.99 * old[0] + 0.01 * X.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(new.var, 0.99 * old[1] + 0.01 * X.var(axis=0), rtol=1e-15)


def test_statistics_of_the_same_batch_give_the_same_value_and_another_gradient() -> None:
    y, residuals = batch_norm.fwd(PARAMS, X)
    again, constant = batch_norm.fwd(PARAMS, X, statistics=(residuals.mean, residuals.var))
    np.testing.assert_allclose(again, y, rtol=1e-13)
    (_, through), (_, past) = batch_norm.bwd(residuals, DY), batch_norm.bwd(constant, DY)
    np.testing.assert_allclose(past, DY * PARAMS["gamma"] / np.sqrt(X.var(axis=0) + 1e-5), rtol=1e-13)
    assert np.abs(through - past).max() > 0.1
    with pytest.raises(ValueError, match="update_running_statistics: residuals must be those of batch_norm without statistics"):
        update_running_statistics((np.zeros(3), np.ones(3)), constant)


def test_the_residuals_in_a_chain_have_the_statistics_by_name() -> None:
    net = pn.chain(affine1=pn.affine, batch_norm1=batch_norm)
    _, residuals = net.fwd({"affine1": {"w": np.eye(3)}, "batch_norm1": PARAMS}, X)
    np.testing.assert_allclose(residuals["batch_norm1"].mean, X.mean(axis=0), atol=1e-16)
    np.testing.assert_allclose(residuals["batch_norm1"].var, X.var(axis=0), rtol=1e-15)
    mean, _ = update_running_statistics((np.zeros(3), np.ones(3)), residuals["batch_norm1"], momentum=0)
    np.testing.assert_allclose(mean, X.mean(axis=0), atol=1e-16)


def test_an_empty_batch_leaves_running_statistics_alone() -> None:
    _, residuals = batch_norm.fwd(PARAMS, X[:0])
    old = Statistics(np.ones(3), np.full(3, 2.0))
    new = update_running_statistics(old, residuals, unbiased=True)
    np.testing.assert_array_equal(new, old)
    assert not np.shares_memory(new.mean, old.mean)


def test_running_statistics_keep_their_dtype() -> None:
    _, residuals = batch_norm.fwd({k: v.astype(np.float16) for k, v in PARAMS.items()}, X.astype(np.float16))
    new = update_running_statistics((np.zeros(3, np.float32), np.ones(3, np.float32)), residuals)
    assert (new.mean.dtype, new.var.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ("statistics", "options", "exception", "match"),
    [
        (np.zeros(3), {}, TypeError, "statistics must be a pair"),
        ((np.zeros(2), np.ones(3)), {}, ValueError, r"statistics.mean must have shape \(3,\), one per channel, got \(2,\)"),
        ((np.zeros(3), np.ones(3)), {"momentum": 1.5}, ValueError, r"momentum must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_updates(statistics: Any, options: Any, exception: type[Exception], match: str) -> None:
    _, residuals = batch_norm.fwd(PARAMS, X)
    with pytest.raises(exception, match=f"update_running_statistics: {match}"):
        update_running_statistics(statistics, residuals, **options)


def test_residuals_of_another_op_are_no_statistics() -> None:
    _, residuals = layer_norm.fwd(PARAMS, X)
    with pytest.raises(
        TypeError, match=r"update_running_statistics: residuals must be those of batch_norm\.fwd, got those of lay"
    ):
        update_running_statistics((np.zeros(3), np.ones(3)), residuals)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(case=st.sampled_from(NORMS), offset=st.floats(-100, 100), scale=st.floats(0.5, 50))
def test_what_is_standardized_has_mean_0_and_variance_1(case: Any, offset: float, scale: float) -> None:
    op, shape, _, options, along = case
    x = np.random.default_rng(0).normal(size=shape) * scale + offset
    y = op({}, x, eps=0.0, **options)
    np.testing.assert_allclose(y.mean(axis=along), 0, atol=1e-13)
    np.testing.assert_allclose(y.var(axis=along), 1, rtol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize(("op", "shape", "own", "options", "along"), NORMS)
def test_constants_give_beta_and_pass_no_gradient_to_x(
    op: pn.Op, shape: Any, own: Any, options: Any, along: Any, eps: float
) -> None:
    x = np.full(shape, 0.1)
    beta = np.random.default_rng(0).normal(size=own)
    wide = np.zeros(shape) + op({"gamma": np.zeros(own), "beta": beta}, np.random.default_rng(1).normal(size=shape), **options)
    y, residuals = op.fwd({"gamma": np.full(own, 3.0), "beta": beta}, x, eps=eps, **options)
    np.testing.assert_allclose(y, wide, atol=1e-9)
    if eps == 0:
        dparams, dx = op.bwd(residuals, np.random.default_rng(2).normal(size=shape))
        np.testing.assert_array_equal(dx, np.zeros(shape))
        np.testing.assert_array_equal(dparams["gamma"], np.zeros(own))


@pytest.mark.parametrize("op", [batch_norm, layer_norm, rms_norm], ids=repr)
def test_gamma_is_one_and_beta_zero_where_absent(op: pn.Op) -> None:
    y, residuals = op.fwd({}, X)
    full, both = op.fwd({"gamma": np.ones(3), "beta": np.zeros(3)}, X)
    np.testing.assert_array_equal(y, full)
    assert op.bwd(residuals, DY)[0] == {}
    np.testing.assert_allclose(op.bwd(residuals, DY)[1], op.bwd(both, DY)[1], rtol=1e-15)


def test_float32_far_from_zero_keeps_its_digits() -> None:
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32) + np.float32(1e3)
    exact = batch_norm({}, x.astype(np.float64))
    np.testing.assert_allclose(batch_norm({}, x), exact, atol=1e-6)
    np.testing.assert_allclose(layer_norm({}, x.T).T, exact, atol=1e-6)


def test_group_norm_between_instance_and_layer_norm() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    params = {"gamma": np.arange(1.0, 5), "beta": np.arange(4.0)}
    np.testing.assert_array_equal(group_norm(params, x, groups=4), instance_norm(params, x))
    wide = layer_norm({}, x, axes=(1, 2)) * params["gamma"][:, None] + params["beta"][:, None]
    np.testing.assert_allclose(group_norm(params, x, groups=1), wide, rtol=1e-14)


def test_the_responses_of_the_paper_are_those_of_alpha_times_size() -> None:
    x = np.random.default_rng(0).normal(size=(1, 7, 2))
    sums = np.stack([np.square(x[:, max(c - 2, 0) : c + 3]).sum(axis=1) for c in range(7)], axis=1)
    y = local_response_norm(x, size=5, alpha=5e-4, beta=0.75, k=2.0)
    np.testing.assert_allclose(y, x / (2 + 1e-4 * sums) ** 0.75, rtol=1e-14)


@pytest.mark.parametrize("op", [l1_normalize, l2_normalize], ids=repr)
def test_vectors_of_zeros(op: pn.Op) -> None:
    y, pullback = vjp(op, np.zeros((2, 3)), eps=0.5)
    np.testing.assert_array_equal(y, np.zeros((2, 3)))
    np.testing.assert_array_equal(pullback(DY[:2])[0], DY[:2] / 0.5)
    y, pullback = vjp(op, np.array([[0.0, 0.0], [3.0, 4.0]]), eps=0)
    np.testing.assert_array_equal(y[0], [0, 0])
    np.testing.assert_array_equal(pullback(DY[:2, :2])[0][0], [0, 0])
