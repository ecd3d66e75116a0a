"""Losses of policies: by hand, as constants, at the bounds of PPO's clip."""

from __future__ import annotations

from typing import Any

import numpy as np

import purenet as pn


def gradients(op: pn.Op, *arguments: Any, dy: Any, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], dy)


def test_answers_that_are_liked_as_much_as_by_the_reference_cost_log_2() -> None:
    logps = np.array([-20.0, -3.5]), np.array([-4.0, -9.0])
    np.testing.assert_allclose(pn.dpo_loss(*logps, *logps), np.log(2), rtol=1e-15)
    found = gradients(pn.dpo_loss, *logps, *logps, dy=1.0, beta=0.5)
    np.testing.assert_allclose(found, np.multiply.outer([-1, 1, 1, -1], [0.125, 0.125]), rtol=1e-15)


def test_the_reference_by_keyword_is_a_constant() -> None:
    logps = [np.array([-1.0, -2.0]), np.array([-2.0, -0.5]), np.array([-1.5, -2.0]), np.array([-3.0, -1.0])]
    ref = dict(zip(("ref_chosen_logps", "ref_rejected_logps"), logps[2:], strict=True))
    every, own = gradients(pn.dpo_loss, *logps, dy=1.0), gradients(pn.dpo_loss, *logps[:2], dy=1.0, **ref)
    assert len(own) == 2
    np.testing.assert_array_equal(own, every[:2])


def test_labels_that_are_half_wrong_teach_to_like_both_alike() -> None:
    chosen, zero = np.array([0.0, 3.0]), np.zeros(2)
    found = gradients(pn.dpo_loss, chosen, zero, zero, zero, dy=np.ones(2), label_smoothing=0.5, beta=1.0, reduction="none")[0]
    np.testing.assert_allclose(found, [0, 0.5 * np.tanh(1.5)], atol=1e-16)


def test_inside_the_bounds_it_is_the_gradient_of_the_policy() -> None:
    ratios, advantages = np.array([0.9, 1.0, 1.1]), np.array([1.5, -2.0, 0.0])
    dratios, dadvantages = gradients(pn.clipped_surrogate_pg_loss, ratios, advantages, dy=np.ones(3), reduction="none")
    np.testing.assert_array_equal(dratios, -advantages)
    np.testing.assert_array_equal(dadvantages, -ratios)


def test_at_a_bound_there_is_a_corner_for_one_sign_alone() -> None:
    ratios, advantages = np.array([1.5, 1.5, 0.5, 0.5]), np.array([2.0, -2.0, 2.0, -2.0])
    options = {"epsilon": 0.5, "reduction": "none"}
    dratios, _ = gradients(pn.clipped_surrogate_pg_loss, ratios, advantages, dy=np.ones(4), **options)
    np.testing.assert_array_equal(dratios, [-1, 2, -2, 1])


def test_a_ratio_that_overflowed_is_cut_off_for_a_gain() -> None:
    ratios, gain = np.array([np.inf]), np.array([1.0])
    assert pn.clipped_surrogate_pg_loss(ratios, gain, epsilon=0.25) == -1.25
    dratios, dgain = gradients(pn.clipped_surrogate_pg_loss, ratios, gain, dy=1.0, epsilon=0.25)
    assert (dratios.item(), dgain.item()) == (0.0, -1.25)
