"""The loss of sequences whose places in time are unknown: targets that no path gives, and all paths one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import purenet as pn

RANDOM = np.random.default_rng(0)


def by_all_paths(probabilities: Any, target: list[int]) -> float:
    """The sum over every path that stands for the target."""
    time, classes = probabilities.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=time):
        if [label for label, _ in itertools.groupby(path) if label != 0] == target:
            total += float(np.prod([probabilities[t, label] for t, label in enumerate(path)]))
    return total


@pytest.mark.parametrize("target", [[], [1], [1, 2], [1, 1], [2, 2, 1]])
def test_the_likelihood_is_the_sum_over_all_paths(target: list[int]) -> None:
    probabilities = RANDOM.dirichlet(np.ones(3), size=5)
    y = pn.ctc_loss(np.log(probabilities), targets=np.array(target, int), reduction="sum")
    np.testing.assert_allclose(np.exp(-y), by_all_paths(probabilities, target), rtol=1e-13)


def test_a_target_without_a_path_is_infinite_and_has_no_gradient() -> None:
    x = np.log(RANDOM.dirichlet(np.ones(3), size=(2, 2)))
    options: dict[str, Any] = {"targets": np.array([[1, 1], [1, 2]]), "reduction": "none"}
    y, pullback = pn.vjp(pn.ctc_loss, x, **options)
    (dx,) = pullback(np.ones(2))
    assert y[0] == np.inf
    assert np.isfinite(y[1])
    assert np.isnan(dx[:, 0, :2]).all()
    assert np.isfinite(dx[:, 1]).all()
    y, pullback = pn.vjp(pn.ctc_loss, x, zero_infinity=True, **options)
    assert y[0] == 0
    np.testing.assert_array_equal(pullback(np.ones(2))[0][:, 1], dx[:, 1])
    assert not pullback(np.ones(2))[0][:, 0].any()


def test_what_stands_beyond_a_length_has_no_effect() -> None:
    x = np.log(RANDOM.dirichlet(np.ones(3), size=(4, 1)))
    x[2:] = np.nan
    y, pullback = pn.vjp(pn.ctc_loss, x, targets=np.array([[2, 7]]), input_lengths=np.array([2]), target_lengths=np.array([1]))
    np.testing.assert_allclose(y, pn.ctc_loss(x[:2], targets=np.array([[2]])), rtol=1e-15)
    assert not pullback(1.0)[0][2:].any()
