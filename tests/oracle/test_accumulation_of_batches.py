"""`oracle.check_accumulation`: how the gradients of micro-batches are combined wrongly is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

import oracle

GENERATOR = np.random.default_rng(0)
X, T = GENERATOR.normal(size=(12, 3)), GENERATOR.normal(size=12)
PARAMS = {"w": GENERATOR.normal(size=3), "b": np.array(0.3)}


def summed(params: Any, x: Any, t: Any) -> Any:
    """The gradient of the sum of squared errors."""
    r = x @ params["w"] + params["b"] - t
    return {"w": 2 * x.T @ r, "b": np.asarray(2 * r.sum())}


def mean(params: Any, x: Any, t: Any) -> Any:
    return optree.tree_map(lambda g: np.asarray(g / len(x)), summed(params, x, t))


def by(weights: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The sum of the parts with weights that depend on their sizes."""

    def accumulate(gradients: Any, sizes: Any) -> Any:
        used = weights(np.array(sizes, float))
        return optree.tree_map(lambda *g: np.asarray(sum(w * a for w, a in zip(used, g, strict=True))), *gradients)

    return accumulate


def test_the_weighted_mean_of_means_and_the_sum_of_sums_pass() -> None:
    for gradient, weights, rule in ((mean, lambda n: n / n.sum(), "the mean, weighted"), (summed, np.ones_like, "the sum")):
        for parts in (None, 2, 5, (1, 11), (4, 4, 4)):
            found = oracle.check_accumulation(gradient, PARAMS, X, T, accumulate=by(weights), parts=parts)
            assert found.passed, str(found)
            assert found.rule.startswith(rule)
            found.raise_for_failures()


WRONG: dict[str, tuple[Any, Any]] = {
    "mean of means: each part counts the same (1/3), though they have 6, 2 and 4 samples": (mean, lambda n: n**0 / len(n)),
    "sum instead of mean": (mean, np.ones_like),
    "sum weighted by the sizes, without the division": (mean, lambda n: n),
    "divided twice: by the number of samples and by that of the parts, 3": (mean, lambda n: n / n.sum() / len(n)),
    "divided by the number of samples, 12, though": (mean, lambda n: n**0 / n.sum()),
    "divided by the largest part, 6, instead of by all 12 samples": (mean, lambda n: n / n.max()),
    "mean instead of sum: divided by the number of parts, 3": (summed, lambda n: n**0 / len(n)),
    "weighted by the sizes, though the parts' gradients are sums already": (summed, lambda n: n / n.sum()),
    "only the last part counts: are gradients overwritten": (mean, lambda n: np.array([0.0, 0.0, 1.0])),
    "only the first part counts": (summed, lambda n: np.array([1.0, 0.0, 0.0])),
    "the last part does not count": (mean, lambda n: np.array([6.0, 2.0, 0.0]) / 12),
    "gradients are not set back to zero: the first part counts 3 times": (mean, lambda n: np.array([3.0, 2, 1]) * n / n.sum()),
    "gradients are not set back to zero: everything counts twice": (summed, lambda n: 2 * n**0),
    "the sizes are in reverse order": (mean, lambda n: n[::-1] / n.sum()),
    "the combined gradients are 0.123 times those of the whole batch": (mean, lambda n: 0.123 * n / n.sum()),
    "no known cause": (mean, lambda n: np.array([0.1, 0.7, -0.3])),
}


@pytest.mark.parametrize("cause", WRONG)
def test_each_wrong_combination_has_its_cause(cause: str) -> None:
    gradient, weights = WRONG[cause]
    found = oracle.check_accumulation(gradient, PARAMS, X, T, accumulate=by(weights))
    assert not found
    assert found.cause.startswith(cause)
    with pytest.raises(AssertionError, match="not those of the whole batch"):
        found.raise_for_failures()


def test_with_equal_parts_a_mean_of_means_is_right() -> None:
    accumulate = by(lambda n: n**0 / len(n))
    assert oracle.check_accumulation(mean, PARAMS, X, T, accumulate=accumulate, parts=4)
    assert not oracle.check_accumulation(mean, PARAMS, X, T, accumulate=accumulate, parts=5)


def test_a_loop_over_batches_of_the_users_own() -> None:
    total: dict[str, Any] = {}

    def loop(params: Any, batches: Any) -> Any:
        total.clear()
        for x, t in batches:
            for name, g in mean(params, x, t).items():
                total[name] = total.get(name, 0.0) + g * len(x) / len(X)
        return total

    assert oracle.check_accumulation(mean, PARAMS, X, T, accumulated=loop)


def test_a_gradient_of_dependent_samples_cannot_be_accumulated() -> None:
    def centred(params: Any, x: Any, t: Any) -> Any:
        return mean(params, x - x.mean(axis=0), t)

    found = oracle.check_accumulation(centred, PARAMS, X, T, accumulate=by(lambda n: n / n.sum()))
    assert "its samples are not independent" in found.cause


def test_one_wrong_parameter_is_named() -> None:
    def accumulate(gradients: Any, sizes: Any) -> Any:
        right = by(lambda n: n / n.sum())(gradients, sizes)
        return {**right, "b": gradients[-1]["b"]}

    found = oracle.check_accumulation(mean, PARAMS, X, T, accumulate=accumulate)
    assert found.cause.startswith("only b:")
    assert [right for _, _, right in found.errors] == [False, True]


def test_float32_has_the_rounding_of_float32() -> None:
    def narrow(params: Any, x: Any, t: Any) -> Any:
        return optree.tree_map(lambda g: g.astype(np.float32), mean(params, x, t))

    assert oracle.check_accumulation(narrow, PARAMS, X, T, accumulate=by(lambda n: n / n.sum()))
    assert not oracle.check_accumulation(narrow, PARAMS, X, T, accumulate=by(lambda n: 1.001 * n / n.sum()))


RIGHT = by(lambda n: n / n.sum())
BAD: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "no function": ((3, PARAMS, X), {"accumulate": RIGHT}, TypeError, "gradient must be a function.*got int"),
    "neither": ((mean, PARAMS, X, T), {}, TypeError, "give either accumulate"),
    "both": ((mean, PARAMS, X, T), {"accumulate": RIGHT, "accumulated": RIGHT}, TypeError, "give either accumulate"),
    "no data": ((mean, PARAMS), {"accumulate": RIGHT}, ValueError, "no data"),
    "other rows": ((mean, PARAMS, X, T[:5]), {"accumulate": RIGHT}, ValueError, r"as many rows.*\[5, 12\]"),
    "one part": ((mean, PARAMS, X, T), {"accumulate": RIGHT, "parts": 1}, ValueError, "parts must be from 2 .* 12, got 1"),
    "wrong sizes": ((mean, PARAMS, X, T), {"accumulate": RIGHT, "parts": (3, 4)}, ValueError, "whose sum is the number of"),
    "no sizes": ((mean, PARAMS, X, T), {"accumulate": RIGHT, "parts": (3.0, 9.0)}, TypeError, "positive integers"),
    "few samples": ((mean, PARAMS, X[:2], T[:2]), {"accumulate": RIGHT}, ValueError, "at least 3 samples"),
    "another tree": ((mean, PARAMS, X, T), {"accumulate": lambda g, n: {"w": g[0]["w"]}}, ValueError, "have the structure"),
    "another shape": (
        (mean, PARAMS, X, T),
        {"accumulate": lambda g, n: {"w": np.ones(2), "b": g[0]["b"]}},
        ValueError,
        r"gradient w has shape \(2,\), that of the whole \(3,\)",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_call_is_named(what: str) -> None:
    arguments, options, error, match = BAD[what]
    with pytest.raises(error, match=match):
        oracle.check_accumulation(*arguments, **options)
