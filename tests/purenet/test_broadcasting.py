"""Arguments of losses that broadcast where torch's do: as if they were repeated before, in every dtype; and what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import purenet as pn

COLUMN_AND_ROW = (2, 3, 1), (3, 4)
OF_ONE_RANK = (2, 3, 1), (1, 3, 4), (2, 1, 4)
SIGNS = np.array([[1, -1, 1, 1], [-1, 1, 1, -1], [1, 1, -1, -1]])

# Ops, the shapes of their arguments, and options; a single argument is repeated by constants, to (2, 3, 4).
CALLS: list[tuple[pn.Op, tuple[tuple[int, ...], ...], dict[str, Any]]] = [
    *((op, COLUMN_AND_ROW, {}) for op in (pn.squared_error, pn.sum_squared_error, pn.l1_loss, pn.huber_loss)),
    *((op, COLUMN_AND_ROW, {}) for op in (pn.smooth_l1_loss, pn.log_cosh, pn.quantile_loss, pn.hinge_loss)),
    *((op, COLUMN_AND_ROW, {}) for op in (pn.squared_hinge_loss, pn.perceptron_loss, pn.kl_divergence, pn.vae_kl)),
    *((op, COLUMN_AND_ROW, {}) for op in (pn.poisson_nll_loss, pn.clipped_surrogate_pg_loss, pn.pairwise_distance)),
    (pn.cosine_similarity, ((2, 1, 4), (3, 4)), {}),
    (pn.cosine_distance, ((2, 1, 4), (3, 4)), {}),
    (pn.contrastive_loss, ((2, 1, 4), (3, 4)), {"labels": np.array([[0, 1, 1], [1, 0, 1]])}),
    (pn.soft_margin_loss, ((2, 3, 4), (3, 1)), {}),
    (pn.multilabel_soft_margin_loss, ((2, 1, 4), (3, 1)), {}),
    (pn.hinge_embedding_loss, ((2, 3, 1),), {"labels": SIGNS, "margin": 8.0}),
    (pn.margin_ranking_loss, OF_ONE_RANK, {"margin": 0.5}),
    (pn.triplet_margin_loss, ((2, 1, 4), (1, 3, 4), (2, 3, 4)), {"margin": 2.0}),
    (pn.cosine_embedding_loss, ((1, 4), (3, 4)), {"labels": np.array([1, -1, 1]), "margin": -1.0}),
    (pn.gaussian_nll_loss, ((2, 1, 4), (3, 4), (2, 1, 1)), {}),
    (pn.dpo_loss, (*COLUMN_AND_ROW, (4,), ()), {}),
    (pn.reparametrize, COLUMN_AND_ROW, {"noise": np.array([0.5, -1.0, 2.0, 0.25])}),
    (pn.clip, ((3, 1),), {"min": np.array([0.25, 0.5, 0.75, 0.9]), "max": np.array([[[1.0]], [[1.25]]])}),
]


@pytest.mark.parametrize(("op", "shapes", "options"), CALLS, ids=lambda value: value.name if isinstance(value, pn.Op) else "")
def test_arguments_broadcast_as_if_they_were_repeated(op: pn.Op, shapes: Any, options: dict[str, Any]) -> None:
    draw = np.random.default_rng(5)
    drawn = [draw.uniform(0.1, 1.5, size=shape) for shape in shapes]
    full = (2, 3, 4) if len(shapes) == 1 else np.broadcast_shapes(*shapes)
    for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
        own = [np.asarray(a).astype(dtype) for a in drawn]
        repeated = [np.broadcast_to(a, full).copy() for a in own]
        given = {n: np.asarray(v).astype(dtype) if n in ("noise", "min", "max") else v for n, v in options.items()}
        value, pullback = pn.vjp(op, *own, **given)
        wanted, pullback_of_repeated = pn.vjp(op, *repeated, **given)
        np.testing.assert_array_equal(np.asarray(value), np.asarray(wanted))
        dy = np.asarray(np.linspace(0.5, 1.0, max(value.size, 1))[: value.size].reshape(value.shape)).astype(dtype)
        for x, dx, d in zip(own, pullback(dy), pullback_of_repeated(dy), strict=True):
            assert (dx.dtype, dx.shape) == (x.dtype, x.shape)
            summed = np.asarray(d, np.float64).reshape((1,) * (len(full) - d.ndim) + d.shape)
            added = len(full) - x.ndim
            axes = (*range(added), *(i + added for i, n in enumerate(x.shape) if n == 1))
            np.testing.assert_allclose(
                np.asarray(dx, np.float64), summed.sum(axis=axes).reshape(x.shape), **_tolerance(np.dtype(dtype), d)
            )


def _tolerance(dtype: np.dtype[Any], d: Any) -> dict[str, float]:
    """Of sums of at most 24 numbers that were rounded to `dtype` one by one."""
    eps = float(ml_dtypes.finfo(dtype).eps)
    return {"rtol": 4 * eps, "atol": 24 * eps * float(np.abs(np.asarray(d, np.float64)).max())}


def test_the_mean_is_over_all_pairs() -> None:
    predictions, targets = np.array([[1.0], [3.0]]), np.array([2.0, 5.0, 6.0])
    value, pullback = pn.vjp(pn.squared_error, predictions, targets)
    assert float(value) == (1 + 16 + 25 + 1 + 4 + 9) / 6
    dp, dt = pullback(3.0)  # 3 * 2 / 6, times the sum of the errors of a row, or of a column
    assert dp.tolist() == [[-10.0], [-4.0]]
    assert dt.tolist() == [0.0, 6.0, 8.0]


def test_a_weight_and_a_mask_are_of_the_pairs() -> None:
    predictions, targets = np.array([[1.0], [3.0]]), np.array([2.0, np.nan])
    kept, weight = np.array([[True, False], [True, False]]), np.array([[1.0], [3.0]])
    value, pullback = pn.vjp(pn.squared_error, predictions, targets, where=kept, weight=weight)
    assert float(value) == 1.0
    dp, dt = pullback(2.0)
    assert dp.tolist() == [[-1.0], [3.0]]
    assert dt.tolist() == [-2.0, 0.0]


@pytest.mark.parametrize("op", [pn.binary_cross_entropy, pn.sigmoid_binary_cross_entropy, pn.sigmoid_focal_loss], ids=repr)
def test_labels_of_yes_or_no_do_not_broadcast(op: pn.Op) -> None:
    first = op.arguments[0]
    with pytest.raises(ValueError, match=rf"^{op.name}: labels must have the shape of {first} \(3, 1\), got \(3,\)"):
        op(np.full((3, 1), 0.5), np.full(3, 0.5))


def test_a_rank_too_small_is_refused_where_torch_refuses_it() -> None:
    rows, row = np.ones((2, 3)), np.ones(3)
    with pytest.raises(ValueError, match=r"^margin_ranking_loss: input2 must have as many axes as input1 \(2, 3\), got shape"):
        pn.margin_ranking_loss(rows, row, rows)
    with pytest.raises(ValueError, match=r"^triplet_margin_loss: negatives must have as many axes as anchors"):
        pn.triplet_margin_loss(rows, rows, row)
    with pytest.raises(ValueError, match=r"^cosine_embedding_loss: input2 must have as many axes as input1"):
        pn.cosine_embedding_loss(rows, row, labels=np.array([1, 1]))
    with pytest.raises(ValueError, match=r"^cosine_embedding_loss: input2 must have rows as long as those of input1"):
        pn.cosine_embedding_loss(rows, rows[:, :1], labels=np.array([1, 1]))  # torch takes the length of one entry for its own


def test_queries_and_keys_of_a_batch_broadcast() -> None:
    draw = np.random.default_rng(6)
    query, key, value = draw.normal(size=(2, 3, 2, 4)), draw.normal(size=(1, 5, 1, 4)), draw.normal(size=(5, 1, 3))
    y, pullback = pn.vjp(pn.dot_product_attention, query, key, value)
    both = np.repeat(key, 2, axis=0), np.repeat(value[None], 2, axis=0)
    wanted, pullback_of_both = pn.vjp(pn.dot_product_attention, query, *both)
    np.testing.assert_array_equal(y, wanted)
    dy = draw.normal(size=y.shape)
    dq, dk, dv = pullback(dy)
    of_both = pullback_of_both(dy)
    np.testing.assert_array_equal(dq, of_both[0])
    np.testing.assert_allclose(dk, of_both[1].sum(axis=0, keepdims=True), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(dv, of_both[2].sum(axis=0), rtol=1e-13, atol=1e-13)


TWINS: list[tuple[pn.Op, str, tuple[tuple[int, ...], ...]]] = [
    *((pn.squared_error, "mse_loss", shapes) for shapes in (COLUMN_AND_ROW, ((3, 1), (3,)), ((), (2, 3)))),
    (pn.l1_loss, "l1_loss", COLUMN_AND_ROW),
    (pn.huber_loss, "huber_loss", COLUMN_AND_ROW),
    (pn.smooth_l1_loss, "smooth_l1_loss", COLUMN_AND_ROW),
    (pn.poisson_nll_loss, "poisson_nll_loss", COLUMN_AND_ROW),
    (pn.margin_ranking_loss, "margin_ranking_loss", OF_ONE_RANK),
    (pn.gaussian_nll_loss, "gaussian_nll_loss", ((2, 3, 4), (3, 1), (2, 3, 1))),
    (pn.multilabel_soft_margin_loss, "multilabel_soft_margin_loss", ((2, 1, 4), (3, 1))),
]


@pytest.mark.parametrize(("op", "name", "shapes"), TWINS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_as_torch(op: pn.Op, name: str, shapes: Any, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(7)
    arrays = [np.asarray(draw.uniform(0.25, 2.0, size=shape)) for shape in shapes]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, pullback = pn.vjp(op, *arrays, reduction=reduction)
    theirs = getattr(torch.nn.functional, name)(*tensors, reduction=reduction)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-13)
    dy = np.asarray(draw.normal(size=y.shape))
    theirs.backward(torch.tensor(dy))
    for dx, tensor in zip(pullback(dy), tensors, strict=True):
        np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=1e-12, atol=1e-13)
