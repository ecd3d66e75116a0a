"""Losses of rows with several labels: torch's published number, lists that end early or repeat a label, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import purenet as pn


def gradients(op: pn.Op, *arguments: Any, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], 1.0)


def test_torch_publishes_this_row() -> None:
    scores, labels = np.array([[0.1, 0.2, 0.4, 0.8]]), np.array([[3, 0, -1, 1]])
    np.testing.assert_allclose(pn.multilabel_margin_loss(scores, labels=labels), 0.85, rtol=1e-15)
    np.testing.assert_allclose(gradients(pn.multilabel_margin_loss, scores, labels=labels)[0], [[-0.5, 0.5, 0.5, -0.5]])


def test_what_is_behind_the_end_of_a_list_does_not_count() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 4))
    for labels in ([[2, -1], [1, 3]], [[2, -1, 0, 2], [1, 3, -1, -1]], [[2, -1, -1], [1, 3, -1]]):
        found = pn.multilabel_margin_loss(scores, labels=np.array(labels), reduction="none")
        np.testing.assert_array_equal(
            found, pn.multilabel_margin_loss(scores, labels=np.array([[2, -1], [1, 3]]), reduction="none")
        )


def test_a_label_counts_as_often_as_it_is_listed() -> None:
    scores = np.random.default_rng(1).normal(size=(1, 4))
    once, thrice = ({"labels": np.array([labels])} for labels in ([2], [2, 2, 2]))
    np.testing.assert_allclose(pn.multilabel_margin_loss(scores, **thrice), 3 * pn.multilabel_margin_loss(scores, **once))
    (one,), (three,) = (gradients(pn.multilabel_margin_loss, scores, **labels) for labels in (once, thrice))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-14)


@pytest.mark.parametrize("labels", [np.full((2, 3), -1), np.zeros((2, 0), int), np.array([[0, 1, 2], [2, 0, 1]])])
def test_a_row_without_labels_or_without_others_costs_nothing(labels: Any) -> None:
    scores = np.ones((2, 3))
    assert pn.multilabel_margin_loss(scores, labels=labels) == 0
    assert not gradients(pn.multilabel_margin_loss, scores, labels=labels)[0].any()


def test_it_is_the_mean_of_the_binary_losses() -> None:
    generator = np.random.default_rng(2)
    scores, targets, weight = generator.normal(size=(3, 4)), generator.random((3, 4)), np.array([1.0, 2.0, 0.0, 0.5])
    terms = pn.sigmoid_binary_cross_entropy(scores, targets, weight=weight, reduction="none")
    found = pn.multilabel_soft_margin_loss(scores, targets, weight=weight, reduction="none")
    np.testing.assert_allclose(found, terms.mean(axis=1), rtol=1e-15)
    np.testing.assert_allclose(pn.multilabel_soft_margin_loss(scores, targets, weight=weight), terms.mean(), rtol=1e-15)


def test_a_row_that_does_not_count_may_hold_anything() -> None:
    scores, targets, kept = (
        np.array([[np.nan, np.inf], [0.0, 1.0]]),
        np.array([[0.0, 1.0], [1.0, 0.0]]),
        np.array([False, True]),
    )
    clean = gradients(pn.multilabel_soft_margin_loss, scores[1:], targets[1:])
    for d, wanted in zip(gradients(pn.multilabel_soft_margin_loss, scores, targets, where=kept), clean, strict=True):
        np.testing.assert_array_equal(d, [[0, 0], wanted[0]])
    labels = np.array([[1, -1], [0, -1]])
    assert pn.multilabel_margin_loss(scores, labels=labels, where=kept) == 1
    np.testing.assert_array_equal(
        gradients(pn.multilabel_margin_loss, scores, labels=labels, where=kept)[0], [[0, 0], [-0.5, 0.5]]
    )
