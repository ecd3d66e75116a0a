"""Distances: SciPy's, at equal vectors and where they broadcast; the loss of the angle of pairs, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial import distance

import purenet as pn

DEGREES: dict[float, dict[str, Any]] = {
    1: {"metric": "cityblock"},
    2: {"metric": "euclidean"},
    3.5: {"metric": "minkowski", "p": 3.5},
    np.inf: {"metric": "chebyshev"},
}


def gradients(op: pn.Op, *arguments: Any, dy: Any = 1.0, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], dy)


@pytest.mark.parametrize("p", DEGREES)
def test_distances_are_those_of_scipy(p: float) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(5, 3)), generator.normal(size=(30, 3))
    wanted = distance.cdist(a, b, **DEGREES[p])
    np.testing.assert_allclose(pn.cdist(a, b, p=p), wanted, rtol=1e-14)
    np.testing.assert_allclose(pn.pairwise_distance(a[:, None], b, p=p, eps=0.0), wanted, rtol=1e-14)


@pytest.mark.parametrize("p", DEGREES)
def test_equal_vectors_have_no_distance_and_no_slope(p: float) -> None:
    x = np.array([[3.0, 4.0], [-1.0, 0.5]])
    assert not pn.pairwise_distance(x, x, p=p, eps=0.0).any()
    assert not np.any(gradients(pn.pairwise_distance, x, x, dy=np.ones(2), p=p, eps=0.0))
    assert not np.any(gradients(pn.cdist, x, x, dy=np.eye(2), p=p))


def test_eps_is_added_to_each_difference() -> None:
    """The distance of equal vectors is sqrt(3) eps with it, and has a direction."""
    x = np.ones((1, 3))
    np.testing.assert_allclose(pn.pairwise_distance(x, x, eps=0.5), [np.sqrt(3) / 2], rtol=1e-15)
    dx1, dx2 = gradients(pn.pairwise_distance, x, x, dy=np.ones(1), eps=0.5)
    np.testing.assert_allclose(dx1, np.full((1, 3), 1 / np.sqrt(3)), rtol=1e-15)
    np.testing.assert_array_equal(dx2, -dx1)


def test_what_broadcasts_gets_the_sum() -> None:
    generator = np.random.default_rng(1)
    a, b, dy = generator.normal(size=(4, 5, 3)), generator.normal(size=(2, 3)), generator.normal(size=(4, 5, 2))
    da, db = gradients(pn.cdist, a, b, dy=dy)
    each = [gradients(pn.cdist, a[i], b, dy=dy[i]) for i in range(4)]
    np.testing.assert_allclose(da, [d for d, _ in each], rtol=1e-14)
    np.testing.assert_allclose(db, np.sum([d for _, d in each], axis=0), rtol=1e-13)


@pytest.mark.parametrize("shapes", [((0, 3), (2, 3)), ((2, 3), (0, 3)), ((2, 0), (4, 0))])
@pytest.mark.parametrize("p", DEGREES)
def test_without_rows_or_features(shapes: tuple[tuple[int, int], tuple[int, int]], p: float) -> None:
    a, b = (np.ones(shape) for shape in shapes)
    y, residuals = pn.cdist.fwd(a, b, p=p)
    assert y.shape == (len(a), len(b))
    assert not y.any()
    assert [d.shape for d in pn.cdist.bwd(residuals, y)] == [a.shape, b.shape]


def test_pairs_by_hand() -> None:
    a = np.array([[3.0, 4.0], [3.0, 4.0], [1.0, 0.0], [1.0, 0.0]])
    b = np.array([[4.0, 3.0], [4.0, 3.0], [-2.0, 0.0], [0.0, 3.0]])
    options = {"labels": np.array([1, -1, -1, -1]), "reduction": "none"}
    np.testing.assert_allclose(pn.cosine_embedding_loss(a, b, **options), [0.04, 0.96, 0, 0], rtol=1e-13, atol=1e-15)
    da, db = gradients(pn.cosine_embedding_loss, a, b, dy=np.ones(4), **options)
    np.testing.assert_allclose(da[1], -da[0], rtol=1e-14)
    np.testing.assert_allclose(da[2:], [[0, 0], [0, 0.5]], atol=1e-15)  # the last pair is at the margin
    np.testing.assert_allclose(db[2:], [[0, 0], [0.5 / 3, 0]], atol=1e-15)


def test_an_entry_that_does_not_count_may_be_anything() -> None:
    a, b, kept = np.array([[3.0, np.nan, 4.0]]), np.array([[4.0, 2.0, 3.0]]), np.array([True, False, True])
    options = {"labels": np.array([-1]), "margin": 0.5}
    np.testing.assert_allclose(pn.cosine_embedding_loss(a, b, where=kept, **options), 0.46, rtol=1e-14)
    da, _ = gradients(pn.cosine_embedding_loss, a, b, where=kept, **options)
    np.testing.assert_allclose(da[:, kept], gradients(pn.cosine_embedding_loss, a[:, kept], b[:, kept], **options)[0])
    assert da[0, 1] == 0
