"""Gradients that are small because their terms cancel: what is left has its digits, by identities and by exact fractions."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import purenet as pn
from purenet import losses
from purenet.normalization.core import FEW

Array = np.ndarray[Any, Any]

EPS = 2.0**-52
ROWS = 200
SMALL = 1e-6


def pulled(op: pn.Op, *arguments: Any, dy: Any, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], dy)


def nearly_flat(entries: int) -> tuple[Array, Array, Array]:
    """Rows x, their standardized x^, and an upstream gradient that is a constant and a multiple of x^ but for a millionth."""
    rng = np.random.default_rng(entries)
    x = rng.normal(size=(ROWS, entries))
    x_hat, _ = pn.layer_norm.fwd({}, x, eps=0.0)
    a, b = rng.normal(size=(2, ROWS, 1))
    return x, x_hat, a + b * x_hat + SMALL * rng.normal(size=x.shape)


NORMS = {
    "layer_norm": lambda x, dy: pulled(pn.layer_norm, {}, x, dy=dy, eps=0.0)[1],
    "batch_norm": lambda x, dy: pulled(pn.batch_norm, {}, x.T, dy=dy.T, eps=0.0)[1].T,
    "group_norm": lambda x, dy: pulled(pn.group_norm, {}, x, dy=dy, groups=1, eps=0.0)[1],
    "instance_norm": lambda x, dy: pulled(pn.instance_norm, {}, x[:, None], dy=dy[:, None], eps=0.0)[1][:, 0],
}


@pytest.mark.parametrize("entries", [4, 5, 8, FEW - 1])
@pytest.mark.parametrize("name", NORMS)
def test_dx_of_a_norm_is_orthogonal_to_a_constant_and_to_x_hat(name: str, entries: int) -> None:
    """To the rounding of dx itself, not of dy, which is a million times as large."""
    x, x_hat, dy = nearly_flat(entries)
    dx = NORMS[name](x, dy)
    size = np.abs(dx).sum(axis=1)
    assert (size < 100 * SMALL * entries * np.abs(x_hat).max() / x.std(axis=1)).all()
    assert (np.abs(dx.sum(axis=1)) <= 4 * EPS * size).all()
    assert (np.abs((dx * x_hat).sum(axis=1)) <= 4 * EPS * size * np.abs(x_hat).max(axis=1)).all()


def test_dx_of_rms_norm_is_orthogonal_to_x() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3))
    dx = pulled(pn.rms_norm, {}, x, dy=x + SMALL * rng.normal(size=x.shape), eps=0.0)[1]
    assert (np.abs((dx * x).sum(axis=1)) <= 4 * EPS * (np.abs(dx) * np.abs(x)).sum(axis=1)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_eps_leaves_of_x_hat_is_not_taken_for_rounding(dtype: Any) -> None:
    """For dy = x^ nothing is left but x^ eps / sigma^3, which a large eps makes large."""
    x = np.array([[1.0, 2.0, 4.0]], dtype)
    for op in (pn.layer_norm, pn.rms_norm):
        y, residuals = op.fwd({}, x, eps=3.0)
        variance = np.square(x).mean() - (x.mean() ** 2 if op is pn.layer_norm else 0)
        dx = op.bwd(residuals, y)[1]
        assert dx.dtype == dtype
        np.testing.assert_allclose(dx, y * 3.0 / (variance + 3.0) ** 1.5, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("op", [losses.cosine_similarity, losses.cosine_distance], ids=repr)
def test_the_slope_of_an_angle_is_orthogonal_to_the_vector(op: pn.Op) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(ROWS, 3))
    b = a * rng.uniform(0.5, 2, size=(ROWS, 1)) + SMALL * rng.normal(size=a.shape)
    for vector, slope in zip((a, b), pulled(op, a, b, dy=np.ones(ROWS), reduction="none"), strict=True):
        radial, size = np.abs((vector * slope).sum(axis=1)), (np.abs(vector) * np.abs(slope)).sum(axis=1)
        assert (size < 100 * SMALL * np.linalg.norm(vector, axis=1)).all()
        assert (radial <= 4 * EPS * size).all()


def test_the_slope_of_a_cut_off_length_keeps_its_share() -> None:
    """A vector shorter than epsilon is not brought to length 1: its slope has a part along it, and half of that at a tie."""
    b = np.array([0.6, 0.8])
    for a, along in (([0.3, 0.4], 1.0), ([0.6, 0.8], 0.5)):
        da, _ = pulled(losses.cosine_similarity, np.array(a), b, dy=np.array(1.0), epsilon=np.square(b).sum(), reduction="none")
        np.testing.assert_allclose(da, along * b, rtol=1e-15)


def exact_overlap(p: Array, t: Array) -> tuple[list[Fraction], list[Fraction]]:
    """The loss of each class and its slope by the first target, with both prices 1/2 and smooth 0, in exact fractions."""
    values, slopes = [], []
    for k in range(p.shape[1]):
        rows = [(Fraction(float(a)), Fraction(float(b))) for a, b in zip(p[:, k], t[:, k], strict=True)]
        both = sum(a * b for a, b in rows)
        false = sum(a * (1 - b) + b * (1 - a) for a, b in rows) / 2
        volume = both + false
        values.append(false / volume)
        first = rows[0][0]
        slopes.append(((Fraction(1, 2) - first) * volume - false / 2) / volume**2)
    return values, slopes


def test_nearly_full_overlap_has_a_loss_with_all_its_digits() -> None:
    p = 1 - SMALL * np.random.default_rng(2).uniform(size=(50, 3))
    t = np.ones_like(p)
    value = losses.dice_loss(p[None], t[None], smooth=0, apply_softmax=False, reduction="none")[0]
    np.testing.assert_allclose(value, [float(v) for v in exact_overlap(p, t)[0]], rtol=1e-14)


def test_the_slope_of_nearly_no_overlap_keeps_its_digits() -> None:
    """The slope by a target is (1 - l) / 2 - p / 2 but for a factor, and both are a millionth where nearly nothing overlaps."""
    p, t = np.random.default_rng(3).uniform(size=(2, 50, 3))
    p *= SMALL
    dt = pulled(losses.dice_loss, p[None], t[None], dy=np.ones((1, 3)), smooth=0, apply_softmax=False, reduction="none")[1]
    np.testing.assert_allclose(dt[0, 0], [float(s) for s in exact_overlap(p, t)[1]], rtol=1e-12)


def test_the_slope_of_a_log_softmax_has_no_rounding_of_the_logarithm() -> None:
    """Among 3,000 classes log p is about -8, whose rounding alone is 4 eps of p. Differences of these logits are exact."""
    x = np.random.default_rng(4).integers(-3000, 3000, size=3000) / 1024
    dy = np.zeros(3000)
    dy[0] = 1
    dx = pulled(pn.log_softmax, x, dy=dy)[0]
    with localcontext() as context:
        context.prec = 40
        e = [Decimal(float(v)).exp() for v in x]
        total = sum(e)
        p = [float(v / total) for v in e]
    np.testing.assert_allclose(dx[1:], -np.array(p)[1:], rtol=2 * EPS)
