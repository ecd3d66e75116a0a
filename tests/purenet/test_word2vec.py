"""word2vec: what its loss is, that it learns which words stand alike, and the sampler of negatives."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import purenet as pn
from purenet.models import word2vec as model


def test_the_loss_is_that_of_negative_sampling_of_the_mean() -> None:
    params = model.init(pn.random.key(0), 6, width=3, std=1.0)
    contexts, targets, negatives = np.array([[0, 5], [2, 1]]), np.array([3, 4]), np.array([[1, 2, 0], [5, 0, 3]])
    options = {"embedding": {"ids": contexts}, "output": {"targets": targets, "negatives": negatives}}
    h = params["embedding"]["w"][contexts].mean(axis=1)
    right = 1 / (1 + np.exp(-(h * params["output"]["w"][targets]).sum(axis=1)))
    wrong = 1 / (1 + np.exp(-np.einsum("nd,nkd->nk", h, params["output"]["w"][negatives])))
    losses = -np.log(right) - np.log(1 - wrong).sum(axis=1)
    np.testing.assert_allclose(model.net()(params, **options), losses, rtol=1e-13)
    np.testing.assert_allclose(model.goal()({"net": params}, net=options), losses.mean(), rtol=1e-13)


def test_words_with_the_same_neighbours_come_to_lie_side_by_side() -> None:
    """0 and 1 stand between 2 and 3, and 4 and 5 between 6 and 7."""
    generator = np.random.default_rng(0)
    pieces = [[2, word, 3] if word < 2 else [6, word, 7] for word in generator.choice([0, 1, 4, 5], 60)]
    text = np.concatenate(pieces)
    contexts, targets = model.windows(text, 1)
    params = {"net": model.init(pn.random.key(0), 8, width=4, std=0.1)}
    counts, optimizer = np.bincount(text), pn.optimizers.adam(0.05)
    state = optimizer.init(params)
    for key in pn.random.split(pn.random.key(1), 80):
        sampled = model.sample_negatives(key, counts, (len(targets), 3))
        options = {"embedding": {"ids": contexts}, "output": {"targets": targets, "negatives": sampled}}
        _, residuals = model.goal().fwd(params, net=options)
        updates, state = optimizer.update(model.goal().bwd(residuals, 1.0)[0], state, params)
        params = pn.apply_updates(params, updates)
    w = params["net"]["embedding"]["w"]
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    alike = w @ w.T
    assert min(alike[0, 1], alike[4, 5]) > 0.8
    assert max(alike[0, 4], alike[1, 5]) < 0.5


def test_windows_leave_the_middle_out() -> None:
    contexts, targets = model.windows(np.arange(10, 17), 2)
    np.testing.assert_array_equal(targets, [12, 13, 14])
    np.testing.assert_array_equal(contexts[1], [11, 12, 14, 15])
    assert contexts.flags.owndata


def test_negatives_are_drawn_by_the_power_of_their_counts() -> None:
    counts = np.array([1000, 0, 10, 1])
    drawn = model.sample_negatives(pn.random.key(0), counts, (100, 200))
    shares = np.bincount(drawn.ravel(), minlength=4) / drawn.size
    np.testing.assert_allclose(shares, counts**0.75 / (counts**0.75).sum(), atol=0.01)
    np.testing.assert_array_equal(drawn, model.sample_negatives(pn.random.key(0), counts, (100, 200)))
    uniform = model.sample_negatives(pn.random.key(0), counts, (3000,), power=0)
    assert set(uniform.tolist()) == {0, 2, 3}


@pytest.mark.parametrize(
    ("exception", "message", "call"),
    [
        (ValueError, "word2vec.windows: ids must have shape (T,) with T more than 4", lambda: model.windows(np.arange(4), 2)),
        (TypeError, "word2vec.windows: ids must be integers, got float64", lambda: model.windows(np.ones(9), 2)),
        (ValueError, "word2vec.windows: size must be at least 1, got 0", lambda: model.windows(np.arange(9), 0)),
        (ValueError, "none negative and not all 0", lambda: model.sample_negatives(pn.random.key(0), np.zeros(3), (2,))),
        (ValueError, "none negative and not all 0", lambda: model.sample_negatives(pn.random.key(0), np.array([-1, 2]), (2,))),
        (TypeError, "counts must be real numbers", lambda: model.sample_negatives(pn.random.key(0), np.array(["a"]), (2,))),
        (ValueError, "word2vec.init: vocabulary must be at least 1, got 0", lambda: model.init(pn.random.key(0), 0)),
    ],
)
def test_what_is_refused(exception: Any, message: str, call: Any) -> None:
    with pytest.raises(exception, match=re.escape(message)):
        call()
