"""Roundings to a narrower dtype inside a function: they are found, and what looks like them is not taken for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import optree
import pytest
from scipy import special

from oracle import Flag, Verdict, verify
from oracle.adapters import of_net
from oracle.differences.evaluation import Evaluator
from oracle.judging import point
from oracle.judging.inner_rounding import inner_noise
from oracle.subject import Subject
from tests.oracle.planted import Array, normal, signed
from tests.oracle.students.book_recurrent import SimpleRnnlm, TimeLSTM

SEEDS = range(2)
FLOAT32, BFLOAT16 = 2.0**-23, 2.0**-7


def single(a: Any) -> Array:
    return np.asarray(a, np.float64).astype(np.float32).astype(np.float64)


def inner_eps(function: Callable[[Array], Any], x: Array) -> float:
    value = np.asarray(function(x))
    return Evaluator(function, (x,), np.ones(value.shape)).rounding.inner_eps


def matrix(x: Array) -> Array:
    return normal(x.size, 8)


ROUNDED: dict[str, Callable[[Array], Any]] = {
    "argument": lambda x: np.sin(single(x)),
    "value": lambda x: single(np.sin(x)),
    "middle": lambda x: np.sin(single(np.exp(x / 2))) * x,
    "product": lambda x: single(x) @ single(matrix(x)),
    "many outputs": lambda x: single(np.outer(x, normal(40))),
    "scalar": lambda x: np.sum(single(x) ** 2),
    "scalar in order": lambda x: np.cumsum(single(x) ** 2, dtype=np.float32)[-1].astype(np.float64),
    "saturated": lambda x: np.tanh(single(3 * x)),
    "softmax": lambda x: special.softmax(single(x)),
    "cosine": lambda x: single(x) @ matrix(x)[:, 0] / np.sqrt(single(x) @ single(x)),
    "weighted sum": lambda x: matrix(x)[:, 0] @ single(np.exp(x)),
    "some outputs": lambda x: np.concatenate([np.exp(x), single(np.exp(x[:2]))]),
    "beside steps": lambda x: np.concatenate([np.round(8 * x), single(np.exp(x))]),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ROUNDED)
def test_a_rounding_to_float32_is_found_and_its_size_is_known(name: str, seed: int) -> None:
    found = inner_eps(ROUNDED[name], signed(12, seed=seed))
    assert FLOAT32 / 16 < found < 64 * FLOAT32


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rounding_to_bfloat16_is_found_and_told_from_float32(seed: int) -> None:
    found = inner_eps(lambda x: np.sin(x.astype(ml_dtypes.bfloat16).astype(np.float64)) + np.cos(x), signed(12, seed=seed))
    assert BFLOAT16 / 16 < found < 16 * BFLOAT16


NEARLY_SINGULAR = np.array([[1.0, 2.0], [3.0, 6.0 + 1e-5]])
SMOOTH: dict[str, tuple[Callable[[Array], Any], Array]] = {
    "exp": (np.exp, normal(12)),
    "gelu at 5": (lambda x: x * special.ndtr(x), np.array([-5.0, 5.0, -4.9])),
    "norm of nearly equal entries": (lambda x: (x - x.mean()) / np.sqrt(x.var() + 1e-5), 1 + 1e-4 * normal(8)),
    "near a pole": (lambda x: 1 / (x - 1), np.array([1 + 1e-3, 1 - 1e-4, 0.5])),
    "nearly singular": (lambda x: np.linalg.slogdet(NEARLY_SINGULAR * x)[1], np.ones((2, 2))),
    "fast": (lambda x: np.sin(1000 * x), signed(8)),
    "waves": (lambda x: x + np.sin(32 * np.pi * x) / 50, signed(8)),
    "relu": (lambda x: np.maximum(x, 0.0), normal(40)),
    "relu, summed": (lambda x: np.maximum(normal(30, 40) @ x, 0.0).sum(), normal(40)),
    "max pool": (lambda x: x.reshape(-1, 4).max(1), normal(40)),
    "max": (np.max, normal(40)),
    "sorted": (np.sort, np.linspace(0, 1e-3, 30)),
    "one jump": (lambda x: np.exp(x) + (x > 1.0 + 1e-5), np.full(8, 1.0)),
    "a jump in a sum": (lambda x: np.exp(x).sum() + (x[0] > 1.0 + 1e-4), np.full(8, 1.0)),
    "staircase": (lambda x: np.round(x / 0.1) * 0.1, normal(12)),
    "fine staircase": (lambda x: np.round(x * 2**10) * 2.0**-10, normal(12)),
    "linear": (lambda x: x @ matrix(x), normal(12)),
    "cancelling": (lambda x: (x + 1e3) - 1e3, normal(12)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_what_does_not_round_inside_is_not_taken_for_it(name: str) -> None:
    function, x = SMOOTH[name]
    assert inner_eps(function, x) == 0.0


def saturated(scale: float, seed: int) -> tuple[Callable[[Array], Any], Array]:
    """A net of sigmoids on raw pixels: most of them are saturated, and bend steeply where they are not."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(40, 20)) / 6, generator.normal(size=(20, 5)) / 4
    pixels = generator.integers(0, 256, size=40).astype(float)
    return lambda x: special.log_softmax(special.expit(special.expit(scale * x @ first) @ second)), pixels


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1.0, 2.0**-4, 2.0**-8])
def test_saturated_sigmoids_do_not_round(scale: float, seed: int) -> None:
    assert inner_eps(*saturated(scale, seed)) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rounding_behind_saturated_sigmoids_is_found(seed: int) -> None:
    function, pixels = saturated(2.0**-8, seed)
    assert FLOAT32 / 64 < inner_eps(lambda x: function(single(x)), pixels) < 64 * FLOAT32


@pytest.mark.parametrize("seed", [2, 6, 13])
def test_a_rounding_whose_first_jumps_are_small_is_found(seed: int) -> None:
    """A loss over layers in float32, with one value: a weight that matters little jumps first, so the noise comes in steps.

    With the first of these seeds, a sum inside lies halfway between two float32 numbers.
    """
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002 - the net takes its weights from there
    generator = np.random.default_rng(seed)
    words, targets = generator.integers(0, 5, size=(2, 3)), generator.integers(0, 5, size=(2, 3))
    forward, _ = pair = of_net(SimpleRnnlm(5, 3, 4, cell=TimeLSTM), words, targets)  # type: ignore[no-untyped-call]
    np.random.set_state(before)  # noqa: NPY002
    (weights,) = pair.primals
    weights = optree.tree_map(lambda w: np.asarray(w, np.float64), weights)
    found = Evaluator(lambda weights: np.asarray(forward(weights)[0], np.float64), (weights,), np.ones(())).rounding.inner_eps
    assert FLOAT32 / 256 < found < 64 * FLOAT32


# ---------------------------------------------------------------------------------------------- gradients


def noise(bwd: Callable[[Any, Any], Any], x: Array, dy: Array) -> list[float]:
    return inner_noise(Subject.of((lambda x: (x.copy(), x.copy()), bwd), {}), (x,), dy, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gradient_that_is_rounded_inside_is_found(seed: int) -> None:
    x, dy = signed(12, seed=seed), signed(12, seed=seed + 100)
    (found,) = noise(lambda x, dy: (single(dy * x),), x, dy)
    assert FLOAT32 / 64 < found < FLOAT32


def test_a_gradient_that_is_rounded_at_ties_is_found() -> None:
    def shared(x: Array, dy: Array) -> tuple[Array]:  # among the largest, which are equal only at the point itself
        largest = x == x.max()
        return (single(np.where(largest, dy.sum() / largest.sum(), 0.0)),)

    (found,) = noise(shared, np.ones(6), signed(6))
    assert FLOAT32 / 64 < found < 16 * FLOAT32


def test_a_gradient_in_float64_has_no_such_noise() -> None:
    assert noise(lambda x, dy: (dy * np.cos(x),), normal(12), signed(12)) == [0.0]


def largest(a: Array) -> float:
    return float(np.abs(a).max())


# Of gradients in float64: they keep a power of 2 in dy, as a rounding does, and are not additive by as little.
HOMOGENEOUS: dict[str, Callable[[Array], Array]] = {
    "small entries are dropped": lambda a: np.where(np.abs(a) > 0.03 * largest(a), a, 0.0),
    "nine in ten are kept": lambda a: np.where(np.abs(a) >= np.quantile(np.abs(a), 0.1), a, 0.0),
    "clipped below the largest": lambda a: np.clip(a, -0.97 * largest(a), 0.97 * largest(a)),
    "the largest is off": lambda a: np.where(np.abs(a) == largest(a), 1.01 * a, a),
    "the smallest column is off": lambda a: a * np.where(np.abs(a).sum(0) == np.abs(a).sum(0).min(), 0.98, 1.0),
    "negative entries are off": lambda a: np.where(a < 0, 1.01 * a, a),
    "smooth": lambda a: a * (1 + 0.01 * a.mean() / np.linalg.norm(a)),
}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_what_is_linear_nearby_is_no_rounding(name: str) -> None:
    for shape in ((6, 5), (2, 3)):
        x, dy = normal(*shape), signed(*shape, seed=1)
        assert noise(lambda x, dy: (HOMOGENEOUS[name](dy * x),), x, dy) == [0.0]
    found = verify((lambda x: (x**2, x.copy()), lambda x, dy: (HOMOGENEOUS[name](2 * x * dy),)), normal(6, 5))
    assert not found.passed


@pytest.mark.parametrize(("dtype", "eps"), [(np.float16, 2.0**-10), (ml_dtypes.bfloat16, BFLOAT16), (np.float32, FLOAT32)])
def test_a_rounding_of_few_entries_is_there_nearby_too(dtype: Any, eps: float) -> None:
    def bwd(x: Array, dy: Array) -> tuple[Array]:
        return (np.asarray(x * dy).astype(dtype).astype(np.float64),)

    for seed, shape in enumerate(((), (1,), (2,), (2, 3))):
        x, dy = signed(*shape, seed=seed), signed(*shape, seed=seed + 100)
        (found,) = noise(bwd, x, dy)
        assert 0 < found < 4 * eps * largest(x * dy)


# ------------------------------------------------------------------------------------------------- rescaled points


def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of points at which the noise of a gradient is measured, as a list that grows."""
    calls: list[int] = []

    def watched(*given: Any) -> list[float]:
        calls.append(len(calls))
        return inner_noise(*given)

    monkeypatch.setattr(point, "inner_noise", watched)
    return calls


def test_noise_is_measured_once_where_no_rescaled_point_contradicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift of all logits has no effect on a softmax, so its gradient is rounding at every point."""

    def fwd(x: Array, shift: Array) -> Any:
        e = np.exp(x + shift - (x + shift).max())
        return e / e.sum(), e / e.sum()

    def bwd(p: Array, dy: Array) -> Any:
        d = p * (dy - p @ dy)
        return d, np.asarray(d.sum())

    calls = measured(monkeypatch)
    found = verify((fwd, bwd), normal(7), np.array(0.5), flags=frozenset({Flag.ZERO_GRADIENT}))
    assert found.passed
    assert len(calls) == 1


def test_noise_is_measured_at_a_rescaled_point_that_contradicts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = measured(monkeypatch)
    wrong = (lambda x: (np.tanh(x), np.tanh(x)), lambda y, dy: (1.01 * dy * (1 - y * y),))
    (row,) = verify(wrong, 15 * signed(4)).rows
    assert row.verdict is Verdict.FAIL
    assert "where rounding hides less" in row.diagnosis
    assert len(calls) > 1
