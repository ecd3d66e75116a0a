"""The exact witness: what it encloses, what it tells apart, the kinks that it proves, and what it refuses."""

from __future__ import annotations

import functools
import math
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest
from flint import arb, ctx
from scipy.special import erfc

from oracle import catalogue, exact
from oracle.arrays import random_cotangent, vector
from oracle.exact.kinks import NotExact
from oracle.exact.stand_ins import stand_ins
from oracle.exact.witness import Enclosure, directional, partial
from oracle.spec import Flag, Spec
from oracle.subject import Subject

X = np.array([[0.3, -1.2, 2.5], [1.1, -0.4, 0.7]])
LEAST_OPS = 170
"""Of the 176 ops of the catalogue, all are enclosed; a new one may have a function that no rule covers."""


def along(function: Callable[..., Any], *primals: Any, seed: int = 0, **options: Any) -> Enclosure:
    """The derivative along a random direction, of the outputs with random weights."""
    generator = np.random.default_rng(seed)
    tree: Any = primals
    tangents: Any = optree.tree_map(lambda leaf: generator.normal(size=np.shape(leaf)), tree)
    return directional(function, primals, options, tangents, random_cotangent(function(*primals, **options)))


def product(gradient: Any, tangents: Any) -> tuple[Any, float]:
    """Their product, exactly, and the sum of the sizes of its terms."""
    g, t = vector(gradient), vector(tangents)
    before, ctx.prec = ctx.prec, 256
    try:
        return sum((arb(float(a)) * arb(float(b)) for a, b in zip(g, t, strict=True)), arb(0)), float(np.abs(g) @ np.abs(t))
    finally:
        ctx.prec = before


# -------------------------------------------------------------------------------------------- the catalogue


def enclosed(spec: Spec) -> str:
    """The reasons why no smooth case is enclosed; empty if one is, and the pullback agrees with it."""
    reasons = []
    for case in spec.cases:
        if case.flags & {Flag.AT_KINK, Flag.NOT_THE_DERIVATIVE, Flag.EMPTY_BATCH}:
            continue
        primals, options = case.draw(spec.name)
        subject = Subject.of(spec.op, options)
        y, residuals = subject.fwd(*primals)
        generator = np.random.default_rng(0)
        tree: Any = primals
        tangents: Any = optree.tree_map(lambda leaf: generator.normal(size=leaf.shape), tree)  # noqa: B023 (used at once)
        weights = random_cotangent(y)
        try:
            enclosure = directional(subject.value, primals, {}, tangents, weights)
        except NotExact as reason:
            reasons.append(f"{case.name}: {reason}")
            continue
        claimed, size = product(subject.bwd(residuals, weights), tangents)
        error = float((claimed - enclosure.derivative).abs_upper())
        assert error <= 1e-13 * size, (spec.name, case.name, error, size)
        assert enclosure.misfit < 200 * 2**-52, (spec.name, case.name)
        return ""
    return "; ".join(reasons) or "no smooth case"


def test_the_ops_of_the_catalogue_are_enclosed_and_their_pullbacks_agree() -> None:
    specs = [s for s in catalogue.specs() if (s.backward or hasattr(s.op, "stages")) and not s.on_request]
    reasons = {spec.name: enclosed(spec) for spec in specs}
    failed = {name: reason for name, reason in reasons.items() if reason}
    assert len(reasons) - len(failed) >= LEAST_OPS, failed


# -------------------------------------------------------------------------------------------- what is told apart


def test_a_relative_error_of_1e_14_is_told_apart() -> None:
    enclosure = partial(np.tanh, (X,), {}, 0, 4, np.ones(X.shape))
    right = 1 - math.tanh(-0.4) ** 2
    assert enclosure.relative_error(right) < 4e-16
    assert 0.9e-14 < enclosure.relative_error(right * (1 + 1e-14)) < 1.1e-14
    assert enclosure.relative_error(enclosure.nearest) <= 2**-53
    assert float(enclosure.derivative.rad()) < 1e-20
    assert enclosure.error(right + 1e-10) == pytest.approx(1e-10, rel=1e-5)


def gelu(x: Any) -> Any:
    return x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2


def test_the_precision_is_raised_until_the_answer_is_certain() -> None:
    """1 + erf(-30 / sqrt 2) loses 650 bits: an enclosure that is not small beside the value would call a right gelu wrong."""
    x = np.array([-30.0])
    enclosure = partial(gelu, (x,), {}, 0, 0, np.ones(1))
    density = math.exp(-450) / math.sqrt(2 * math.pi)
    right = erfc(30 / np.sqrt(2)) / 2 - 30 * density
    assert enclosure.bits > 512
    assert enclosure.relative_error(float(right)) < 1e-12


def test_a_derivative_that_is_zero_is_enclosed() -> None:
    enclosure = along(lambda x: np.sin(x) ** 2 + np.cos(x) ** 2 - 1.0, X)
    assert enclosure.relative_error(0.0) == 0.0
    assert enclosure.relative_error(1e-300) == math.inf


def test_a_function_that_is_too_large_is_not_evaluated() -> None:
    with pytest.raises(NotExact, match="too large: more than 100,000 scalar operations"):
        along(np.sin, np.ones(100_001))
    with pytest.raises(NotExact, match="more than 10 scalar"):
        directional(np.sin, (np.ones(9),), {}, (np.ones(9),), np.ones(9), limit=10)


class Pair(NamedTuple):
    total: Any
    rest: Any


def test_trees_of_arguments_and_of_values() -> None:
    def function(params: Any, scale: Any, *, power: int) -> Any:
        return Pair(np.sum(params["w"] ** power) * scale, [params["b"] * params["w"][0], scale])

    params = {"w": X, "b": np.array([2.0, 3.0, 4.0])}
    tangents = {"w": np.ones(X.shape), "b": np.array([0.0, 1.0, 0.0])}
    weights = Pair(2.0, [np.array([1.0, 10.0, 100.0]), 5.0])
    enclosure = directional(function, (params, 0.5), {"power": 3}, (tangents, 1.0), weights)
    of_sum = 2 * (3 * (X**2).sum() * 0.5 + (X**3).sum())
    of_row = np.array([1.0, 10.0, 100.0]) @ params["b"] + 10 * X[0, 1]
    assert enclosure.nearest == pytest.approx(of_sum + of_row + 5.0, rel=1e-14)
    assert [v.shape for v in enclosure.values] == [(), (3,), ()]
    assert enclosure.misfit < 1e-15


def test_tangents_and_weights_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"directional: the tangents must have the shapes of the arguments"):
        directional(np.sin, (X,), {}, (1.0,), X)
    with pytest.raises(ValueError, match=r"directional: the weights must have the shapes of the value, \(2, 3\), got \(\)"):
        directional(np.sin, (X,), {}, (X,), 1.0)


def test_float32_arguments_are_the_numbers_that_they_are() -> None:
    x = np.array([0.1, 0.7], np.float32)
    enclosure = partial(np.square, (x,), {}, 0, 0, np.ones(2))
    assert enclosure.relative_error(2 * float(x[0])) == 0.0


# -------------------------------------------------------------------------------------------- kinks


def relu(x: Any) -> Any:
    return np.maximum(x, 0)  # the kink


def test_a_kink_is_proved_with_its_line_and_its_two_slopes() -> None:
    enclosure = partial(relu, (np.array([1.0, 0.0]),), {}, 0, 1, np.array([1.0, 3.0]))
    (kink,) = enclosure.kinks
    assert kink.proved
    assert kink.parts
    assert (kink.operation, kink.line) == ("maximum", "return np.maximum(x, 0)  # the kink")
    assert kink.where.startswith("test_exact.py:")
    assert enclosure.sides is not None
    assert [float(side) for side in enclosure.sides] == [3.0, 0.0]


def test_a_kink_of_another_entry_is_none_in_this_direction() -> None:
    enclosure = partial(relu, (np.array([1.0, 0.0]),), {}, 0, 0, np.ones(2))
    assert (enclosure.kinks, enclosure.nearest) == ((), 1.0)


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: x.max(), "max"),
        (lambda x: np.sort(x)[-1], "sort"),
        (lambda x: x[np.argmax(x)], "argmax"),
        (lambda x: np.where(x[0] > x[1], x[0], x[1]), "greater"),
        (lambda x: abs(x[0] - x[1]), "absolute"),
        (lambda x: np.clip(x[0], x[1], 9.0), "clip"),
        (lambda x: max(x[0], x[1]), "greater"),
    ],
)
def test_equal_entries_are_a_kink(function: Callable[..., Any], operation: str) -> None:
    enclosure = partial(function, (np.array([2.0, 2.0, -1.0]),), {}, 0, 0, np.ones(()))
    assert {kink.operation for kink in enclosure.kinks} == {operation}
    assert enclosure.sides is not None


def softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def test_two_kinks_that_cancel_are_no_kink() -> None:
    enclosure = partial(softplus, (np.zeros(1),), {}, 0, 0, np.ones(1))
    assert enclosure.kinks
    assert enclosure.sides is None
    assert enclosure.relative_error(0.5) == 0.0


def test_a_jump_is_no_derivative() -> None:
    with pytest.raises(NotExact, match=r"the function jumps: sign at test_exact\.py") as refused:
        along(lambda x: np.sign(x) + x, np.zeros(1))
    assert refused.value.kinks


def shares(x: Any) -> Any:
    share = np.exp(x) / np.exp(x).sum()
    return share / np.maximum(share.sum(), 1)


def test_a_comparison_that_is_never_decided_but_does_not_matter() -> None:
    enclosure = partial(shares, (np.array([0.1, 0.2, 0.4]),), {}, 0, 0, np.array([1.0, 0.0, 0.0]))
    assert [(k.operation, k.proved) for k in enclosure.kinks] == [("maximum", False)]
    share = math.exp(0.1) / (math.exp(0.1) + math.exp(0.2) + math.exp(0.4))
    assert enclosure.relative_error(share * (1 - share)) < 1e-15


def test_a_comparison_that_is_not_decided_and_matters() -> None:
    with pytest.raises(NotExact, match=r"not decided with 4096 bits: greater at test_exact\.py"):
        along(lambda x: np.where(np.sqrt(x) ** 2 > 2.0, x, 2 * x), np.array([2.0]))


# -------------------------------------------------------------------------------------------- what leaves

BUFFER = np.zeros(X.shape)


def written(x: Any) -> Any:
    BUFFER[...] = x
    return BUFFER * 2


def in_float32(x: Any) -> Any:
    narrow = np.empty(x.shape, np.float32)
    narrow[...] = x
    return narrow.astype(np.float64)


def caught(x: Any) -> Any:
    try:
        return x * float(x.sum())
    except NotExact:
        return x


LEAVING: dict[str, tuple[Callable[..., Any], str]] = {
    "float": (lambda x: x * float(x[0, 0]), r"float\(\) of a number that depends on the arguments"),
    "int": (lambda x: x * int(x[0, 0]), r"int\(\) of a number"),
    "complex": (lambda x: complex(x[0, 0]).real * x, r"complex\(\) of a number"),
    "a caught exception": (caught, r"float\(\) of"),
    "a scalar of NumPy": (lambda x: x * np.float64(x[0, 0]), r"float\(\) of"),
    "a buffer of the module": (written, r"float\(\) of"),
    "a float32 buffer": (in_float32, "computes in float32"),
    "astype": (lambda x: (x.astype(np.float32) ** 2).astype(np.float64), "computes in float32"),
    "asarray": (lambda x: np.asarray(x, np.float32) * 2.0, "computes in float32"),
    "out": (lambda x: np.exp(x, out=BUFFER), "exp: writing into an array of float64"),
    "in place": (lambda x: BUFFER.copy().__iadd__(x), "add: writing into an array of float64"),
    "add.at": (lambda x: np.add.at(BUFFER, [0, 0], x) or x, "into an array of float64"),
    "pickle": (lambda x: pickle.loads(pickle.dumps(x)) * 2, "pickling"),  # noqa: S301 (our own)
    "bytes": (lambda x: np.frombuffer(x.tobytes()).reshape(x.shape), "tobytes"),
    "ctypes": (lambda x: x * x.ctypes.data, "ctypes"),
    "the buffer": (lambda x: np.frombuffer(memoryview(x)).reshape(x.shape), "memoryview"),
    "bits": (lambda x: x.view(np.int64) * 1.0, "a view of float64 numbers as"),
    "a Fourier transform": (lambda x: np.abs(np.fft.rfft(x)), "no exact rule for numpy.rfft"),
    "random numbers": (lambda x: x * np.random.rand(), "draws random numbers"),  # noqa: NPY002
    "a generator": (lambda x: x * np.random.default_rng().normal(), "draws random numbers"),
}


@pytest.mark.parametrize("name", LEAVING)
def test_what_leaves_the_balls_is_refused_with_its_reason(name: str) -> None:
    function, reason = LEAVING[name]
    with pytest.raises(NotExact, match=reason):
        along(function, X)


def test_the_reason_names_the_line() -> None:
    with pytest.raises(NotExact, match=rf"\(test_exact\.py:{caught.__code__.co_firstlineno + 2}\)"):
        along(caught, X)


# -------------------------------------------------------------------------------------------- what stays as it was


@functools.cache
def table(n: int) -> Any:
    made = np.zeros(n)
    made[:] = range(n)
    return made


def test_what_a_function_caches_holds_no_balls() -> None:
    along(lambda x: x * table(3), X)
    assert type(table(3)) is np.ndarray
    assert table.cache_info().hits > 0


def test_what_a_function_remembers_are_numbers() -> None:
    memory = {}

    def remembers(x: Any) -> Any:
        memory["x"] = x.copy()
        return x * x

    along(remembers, X)
    assert type(memory["x"]) is np.ndarray


def test_numpy_is_itself_before_within_and_after() -> None:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(type(np.zeros(1))))
    numpy = sys.modules["numpy"]
    with stand_ins(relu):
        assert np is not numpy
        kept = np.zeros
        assert type(np.zeros(1)) is not numpy.ndarray
        assert type(numpy.zeros(1)) is numpy.ndarray  # as compiled code calls it
        thread.start()
        thread.join()
    with pytest.raises(NotExact):
        along(caught, X)
    assert np is numpy
    assert type(kept(1)) is np.ndarray  # a function that somebody has kept does as NumPy's
    assert seen == [numpy.ndarray]


def test_without_python_flint_the_package_can_be_imported() -> None:
    assert exact.available()
    program = "import sys; sys.modules['flint'] = None; from oracle import exact; assert not exact.available()"
    subprocess.run([sys.executable, "-c", program], check=True)
