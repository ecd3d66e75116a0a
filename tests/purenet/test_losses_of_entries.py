"""Losses with a term for each entry: by hand, against published numbers, with weights and masks, far away."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet import Op, losses

Array = np.ndarray[Any, Any]
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]

OPS: dict[str, tuple[Op, dict[str, Any]]] = {
    "squared_error": (losses.squared_error, {}),
    "l1_loss": (losses.l1_loss, {}),
    "huber_loss": (losses.huber_loss, {"delta": 0.75}),
    "smooth_l1_loss": (losses.smooth_l1_loss, {"beta": 0.25}),
    "smooth_l1_loss with beta 0": (losses.smooth_l1_loss, {"beta": 0}),
    "log_cosh": (losses.log_cosh, {}),
    "quantile_loss": (losses.quantile_loss, {"quantile": 0.875}),
    "hinge_loss": (losses.hinge_loss, {}),
    "squared_hinge_loss": (losses.squared_hinge_loss, {}),
    "perceptron_loss": (losses.perceptron_loss, {}),
    "margin_ranking_loss": (losses.margin_ranking_loss, {"margin": 0.5}),
    "sigmoid_binary_cross_entropy": (losses.sigmoid_binary_cross_entropy, {"pos_weight": 2.5}),
    "binary_cross_entropy": (losses.binary_cross_entropy, {}),
    "sigmoid_focal_loss": (losses.sigmoid_focal_loss, {"alpha": 0.25}),
    "poisson_nll_loss": (losses.poisson_nll_loss, {"full": True}),
    "gaussian_nll_loss": (losses.gaussian_nll_loss, {"full": True}),
    "dpo_loss": (losses.dpo_loss, {"beta": 2.0, "label_smoothing": 0.25}),
    "clipped_surrogate_pg_loss": (losses.clipped_surrogate_pg_loss, {"epsilon": 0.25}),
}
every_op = pytest.mark.parametrize(("op", "options"), OPS.values(), ids=OPS)


def arguments_of(op: Op, *shape: int, seed: int = 0) -> list[Array]:
    generator = np.random.default_rng([seed, len(op.name)])
    return [generator.uniform(0.1, 0.9, shape) for _ in op.arguments]


def gradients(op: Op, *arguments: Any, dy: Any = 1.0, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], dy)


def close(actual: Any, expected: Any, rtol: float = 1e-14) -> None:
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-15)


# ------------------------------------------------------------------------------------------------ weights and masks


@every_op
def test_a_whole_weight_is_a_repetition(op: Op, options: dict[str, Any]) -> None:
    arguments, times = arguments_of(op, 2, 3), np.array([[1, 0, 2], [3, 1, 0]])
    repeated = [np.repeat(a.ravel(), times.ravel()) for a in arguments]
    for reduction in ("mean", "sum"):
        y = op(*arguments, weight=times, reduction=reduction, **options)
        close(y, op(*repeated, reduction=reduction, **options))
        found = gradients(op, *arguments, weight=times, reduction=reduction, **options)
        for d, each in zip(found, gradients(op, *repeated, reduction=reduction, **options), strict=True):
            one = np.zeros(times.shape)
            np.add.at(one.reshape(-1), np.repeat(np.arange(6), times.ravel()), each)
            close(d, one)


@every_op
def test_what_does_not_count_may_be_anything(op: Op, options: dict[str, Any]) -> None:
    for junk, how in product((np.nan, np.inf, -np.inf, -3.0), ("where", "weight")):
        arguments, kept = arguments_of(op, 4), np.array([True, False, True, True])
        spoilt = [np.where(kept, a, junk) for a in arguments]
        counts = {how: kept if how == "where" else 0.5 * kept}
        close(op(*spoilt, **counts, **options), op(*[a[kept] for a in arguments], **options))
        assert op(*spoilt, **counts, reduction="none", **options)[1] == 0, (junk, how)
        clean = gradients(op, *[a[kept] for a in arguments], **options)
        for d, each in zip(gradients(op, *spoilt, **counts, **options), clean, strict=True):
            close(d[kept], each)
            assert d[1] == 0, (junk, how)


@every_op
def test_a_mean_over_nothing_is_zero_with_zero_gradient(op: Op, options: dict[str, Any]) -> None:
    arguments = arguments_of(op, 2, 3)
    for nothing in ({"where": np.array(False)}, {"weight": 0.0}, {"where": np.eye(2, 3) > 0, "weight": 1 - np.eye(2, 3)}):
        assert op(*arguments, **nothing, **options) == 0
        for d in gradients(op, *arguments, **nothing, **options):
            np.testing.assert_array_equal(d, np.zeros((2, 3)))


@every_op
def test_one_row_no_rows_and_no_dimensions(op: Op, options: dict[str, Any]) -> None:
    for dtype, shape in product(DTYPES, ((), (0, 3), (1, 2))):
        arguments = [np.asarray(a).astype(dtype) for a in arguments_of(op, *shape)]
        for reduction, size in (("mean", ()), ("sum", ()), ("none", shape)):
            y, residuals = op.fwd(*arguments, reduction=reduction, **options)
            assert (np.shape(y), y.dtype) == (size, dtype)
            for d in op.bwd(residuals, np.ones_like(y)):
                assert (np.shape(d), d.dtype) == (shape, dtype)


@every_op
def test_the_residuals_outlive_their_arguments(op: Op, options: dict[str, Any]) -> None:
    """The value and the gradients are new arrays: whoever changes them changes nothing else."""
    arguments = arguments_of(op, 3)
    y, residuals = op.fwd(*arguments, reduction="none", **options)
    first = [d.copy() for d in op.bwd(residuals, np.ones(3))]
    for array in (y, *op.bwd(residuals, np.ones(3))):
        array[...] = 99.0
    for d, again in zip(first, op.bwd(residuals, np.ones(3)), strict=True):
        np.testing.assert_array_equal(again, d)


# ------------------------------------------------------------------------------------------------ far away


@pytest.mark.parametrize(("op", "options"), [v for k, v in OPS.items() if k != "binary_cross_entropy"], ids=str)
def test_far_away_there_is_neither_warning_nor_nan(op: Op, options: dict[str, Any]) -> None:
    for dtype in DTYPES:
        far = np.array([1e4, -1e4, 1e4, -1e4, 0.5], dtype)
        others = [np.array([1e4, 1e4, -1e4, 0.5, 1e4], dtype)] * (len(op.arguments) - 1)
        if op.name == "gaussian_nll_loss":
            others[1] = np.abs(others[1])
        if "cross_entropy" in op.name or "focal" in op.name:
            others = [np.array([1.0, 0.0, 0.0, 1.0, 1.0], dtype)]
        y, residuals = op.fwd(far, *others, reduction="none", **options)
        assert not np.isnan(y.astype(np.float64)).any(), dtype
        for d in op.bwd(residuals, np.ones_like(y)):
            assert not np.isnan(d.astype(np.float64)).any(), dtype


@pytest.mark.parametrize("x", [1e-8, 1e-3, 0.5, 0.999, 1.001, 3.0, 40.0, 1e4])
def test_log_cosh_keeps_its_digits(x: float) -> None:
    with localcontext() as context:
        context.prec = 60
        e = Decimal(x).exp()
        value, slope = float(((e + 1 / e) / 2).ln()), float((e - 1 / e) / (e + 1 / e))
    for sign in (1, -1):
        np.testing.assert_allclose(losses.log_cosh(np.array([sign * x]), np.zeros(1)), value, rtol=4e-16)
        np.testing.assert_allclose(gradients(losses.log_cosh, np.array([sign * x]), np.zeros(1))[0], [sign * slope], rtol=4e-16)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("x", [-700.0, -40.0, -1.0, 1.0, 40.0, 300.0])
@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_the_focal_loss_keeps_its_digits(x: float, t: float, gamma: float) -> None:
    with localcontext() as context:
        context.prec = 700
        d, label, g = Decimal(x), Decimal(t), Decimal(gamma)
        yes, no = 1 / (1 + (-d).exp()), 1 / (1 + d.exp())
        c, q = -label * yes.ln() - (1 - label) * no.ln(), (1 - label) * yes + label * no
        power = (g * q.ln()).exp()
        value = float(c * power)
        dlogit = float(power * ((1 - label) * yes - label * no) + c * g * power / q * (1 - 2 * label) * yes * no)
        dlabel = float(power * -d + c * g * power / q * (no - yes))
    arguments = np.array([x]), np.array([t])
    np.testing.assert_allclose(losses.sigmoid_focal_loss(*arguments, gamma=gamma), value, rtol=1e-13)
    found = gradients(losses.sigmoid_focal_loss, *arguments, gamma=gamma)
    np.testing.assert_allclose(np.ravel(found), [dlogit, dlabel], rtol=1e-13)


# ------------------------------------------------------------------------------------------------ what others publish

TRUE = np.array([[0.0, 1.0], [0.0, 0.0]])
SOFT = np.array([[0.6, 0.4], [0.4, 0.6]])
HARD = np.array([[1.0, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("op", "predictions", "targets", "published"),
    [
        (losses.huber_loss, SOFT, TRUE, 0.155),
        (losses.log_cosh, HARD, TRUE, 0.108),
        (losses.mse, HARD, np.array([[0.0, 1.0], [0.0, 0.0]]), 0.25),
        (losses.l1_loss, HARD, TRUE, 0.25),
        (losses.hinge_loss, SOFT, 2 * TRUE - 1, 1.3),
        (losses.squared_hinge_loss, SOFT, 2 * TRUE - 1, 1.86),
        (losses.binary_cross_entropy, SOFT, TRUE, 0.815),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else None,
)
def test_the_examples_of_keras(op: Op, predictions: Array, targets: Array, published: float) -> None:
    assert abs(op(predictions, targets) - published) < 5e-4


def test_mse_is_another_name() -> None:
    assert losses.mse is losses.squared_error


# ------------------------------------------------------------------------------------------------ by hand, at kinks


def slopes(op: Op, *arguments: Any, **options: Any) -> list[list[float]]:
    """The gradients of the sum."""
    return [d.tolist() for d in gradients(op, *map(np.array, arguments), reduction="sum", **options)]


def test_slopes_where_two_pieces_meet() -> None:
    assert slopes(losses.l1_loss, [1.0, -0.0, 3.0], [1.0, 0.0, 2.0]) == [[0, 0, 1], [0, 0, -1]]
    assert slopes(losses.huber_loss, [2.0, -2.0, 3.0], [0.0] * 3, delta=2.0) == [[2, -2, 2], [-2, 2, -2]]
    assert slopes(losses.smooth_l1_loss, [2.0, -2.0, 1.0], [0.0] * 3, beta=2.0) == [[1, -1, 0.5], [-1, 1, -0.5]]
    assert slopes(losses.smooth_l1_loss, [2.0, 0.0], [0.0] * 2, beta=0) == [[1, 0], [-1, 0]]
    assert slopes(losses.quantile_loss, [1.0, 2.0, 0.0], [1.0] * 3, quantile=0.25) == [
        [0.25, 0.75, -0.25],
        [-0.25, -0.75, 0.25],
    ]
    assert slopes(losses.hinge_loss, [1.0, -0.5, 2.0], [1.0, -2.0, 1.0]) == [[-0.5, 1, 0], [-0.5, 0.25, 0]]
    assert slopes(losses.squared_hinge_loss, [1.0, 0.5], [1.0, 1.0]) == [[0, -1], [0, -0.5]]
    assert slopes(losses.perceptron_loss, [0.0, -1.0], [1.0, 2.0]) == [[-0.5, -2], [0, 1]]
    assert slopes(losses.margin_ranking_loss, [1.5, 0.0], [1.0, 2.0], [1.0, 1.0], margin=0.5) == [
        [-0.5, -1],
        [0.5, 1],
        [-0.25, 2],
    ]


def test_a_certain_probability_costs_a_hundred() -> None:
    p, t = np.array([0.0, 1.0, 0.0, 1.0, 1e-60]), np.array([1.0, 0.0, 0.0, 1.0, 0.5])
    close(losses.binary_cross_entropy(p, t, reduction="none"), [100, 100, 0, 0, 50])
    dp, dt = gradients(losses.binary_cross_entropy, p, t, reduction="sum")
    close(dp, [0, 0, 1, -1, 0.5])
    close(dt, [100, -100, 100, -100, 100])


def test_the_pinball_loss_is_least_at_the_quantile() -> None:
    targets = np.arange(11.0)
    costs = [float(losses.quantile_loss(np.full(11, p), targets, quantile=0.3)) for p in targets]
    assert int(np.argmin(costs)) == 3


def test_poisson_by_hand() -> None:
    p, t = np.array([0.0, np.log(2.0)]), np.array([1.0, 3.0])
    close(losses.poisson_nll_loss(p, t, reduction="none"), [1, 2 - 3 * np.log(2)])
    stirling = 3 * np.log(3) - 3 + 0.5 * np.log(6 * np.pi)
    close(losses.poisson_nll_loss(p, t, full=True, reduction="none"), [1, 2 - 3 * np.log(2) + stirling])
    means, eps = np.array([2.0, 0.0]), 0.0
    close(losses.poisson_nll_loss(means, np.array([1.0, 0.0]), log_input=False, eps=eps, reduction="none"), [2 - np.log(2), 0])
    dp, dt = gradients(losses.poisson_nll_loss, means[:1], np.array([1.0]), log_input=False, eps=eps)
    close(dp, [0.5])
    close(dt, [-np.log(2)])


def test_a_mean_of_zero_where_nothing_happened_has_the_slope_one() -> None:
    dp, _ = gradients(losses.poisson_nll_loss, np.zeros(1), np.zeros(1), log_input=False, eps=0)
    np.testing.assert_array_equal(dp, [1.0])


def test_a_variance_below_eps_counts_as_eps() -> None:
    p, t, var = np.array([3.0, 3.0, 3.0]), np.ones(3), np.array([0.25, 0.5, 1.0])
    close(losses.gaussian_nll_loss(p, t, var, eps=0.5, reduction="none"), [0.5 * np.log(0.5) + 4, 0.5 * np.log(0.5) + 4, 2])
    dp, dt, dvar = gradients(losses.gaussian_nll_loss, p, t, var, eps=0.5, reduction="sum")
    close(dp, [4, 4, 2])
    close(dt, [-4, -4, -2])
    close(dvar, [0, 0.5 * 0.5 * (2 - 16), 0.5 * (1 - 4)])


@settings(max_examples=30)
@given(mean=st.floats(-3, 3), spread=st.floats(0.25, 4), seed=st.integers(0, 99))
def test_the_mean_and_the_variance_of_a_sample_are_its_likeliest(mean: float, spread: float, seed: int) -> None:
    sample = np.random.default_rng(seed).normal(mean, spread, 50)
    arguments = np.full(50, sample.mean()), sample, np.full(50, sample.var())
    dp, _, dvar = gradients(losses.gaussian_nll_loss, *arguments, eps=0)
    assert abs(dp.sum()) < 1e-12
    assert abs(dvar.sum()) < 1e-12


# ------------------------------------------------------------------------------------------------ bad input


@every_op
def test_other_sizes_are_refused(op: Op, options: dict[str, Any]) -> None:
    arguments = arguments_of(op, 3, 4)
    for i in range(1, len(arguments)):
        given_ = [*arguments[:i], arguments[i][:, :3], *arguments[i + 1 :]]
        with pytest.raises(ValueError, match=rf"^{op.name}: .*{op.arguments[i]}.*\(3, 3\)"):
            op(*given_, **options)


@pytest.mark.parametrize(
    ("op", "options", "exception", "match"),
    [
        (losses.huber_loss, {"delta": 0}, ValueError, "delta must be finite and greater than 0, got 0"),
        (losses.smooth_l1_loss, {"beta": True}, TypeError, "beta must be a number, got bool"),
        (losses.quantile_loss, {"quantile": 50}, ValueError, r"quantile must be in \[0, 1\], got 50"),
        (losses.l1_loss, {"weight": np.nan}, ValueError, "weight must be finite and at least 0, got nan"),
        (losses.l1_loss, {"weight": np.ones(3)}, ValueError, r"weight must have a shape that broadcasts to \(2,\), got \(3,\)"),
        (losses.log_cosh, {"where": np.ones(2)}, TypeError, "where must be an array of booleans"),
        (losses.sigmoid_focal_loss, {"alpha": -0.5}, ValueError, r"alpha must be in \[0, 1\], got -0.5"),
        (losses.poisson_nll_loss, {"full": 2}, TypeError, "full must be True or False, got 2"),
        (
            losses.hinge_loss,
            {"reduction": "batchmean"},
            ValueError,
            "reduction must be one of 'mean', 'sum', 'none', got 'batchm",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else None,
)
def test_bad_options(op: Op, options: dict[str, Any], exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^{op.name}: {match}"):
        op(*arguments_of(op, 2), **options)


@pytest.mark.parametrize("p", [-0.25, 1.25])
def test_a_probability_outside_its_range_is_named(p: float) -> None:
    with pytest.raises(ValueError, match=rf"^binary_cross_entropy: predictions must be in \[0, 1\], got {p}"):
        losses.binary_cross_entropy(np.array([0.5, p]), np.ones(2))
