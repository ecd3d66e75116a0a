"""Evaluations of many points at once: the same derivatives, and only where a batch gives what single calls give."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optree
import pytest

import oracle
from oracle import Verdict
from oracle.adapters import of_jax
from oracle.differences import partials
from oracle.differences.evaluation import Evaluator
from oracle.differences.points import LEAST_PAIRS, Points
from oracle.effort import BATCH
from oracle.judging.compiled import compiled
from oracle.subject import Subject, many_of

X = np.random.default_rng(3).standard_normal((6, 5))


class Counted:
    """exp(x) w at one point, and at many; each call is counted."""

    def __init__(self, change: Any = lambda values: values) -> None:
        self.single = self.batches = 0
        self.change = change

    def __call__(self, x: Any, w: Any) -> Any:
        self.single += 1
        return np.exp(x) * w

    def many(self, leaf: int, primals: Any) -> Any:
        x, w = primals
        self.batches += 1
        if leaf == 1:
            x, w = np.broadcast_to(x, (len(w), *x.shape)), w[:, None, None] if w.ndim == 1 else w
        return self.change(np.exp(x) * w)


def differentiated(function: Counted, many: Any) -> Any:
    evaluator = Evaluator(function, (X, np.array(1.5)), np.ones(X.shape), many=many)
    before = function.single
    return [partials.differentiate(evaluator, i) for i in range(2)], function.single - before


def test_many_points_give_the_same_derivatives_with_a_tenth_of_the_calls() -> None:
    alone, together = Counted(), Counted()
    (expected, calls), (found, fewer) = differentiated(alone, None), differentiated(together, together.many)
    for one, two in zip(expected, found, strict=True):
        for name in ("value", "uncertainty", "kink", "left", "right", "differences", "step"):
            assert np.allclose(getattr(one, name), getattr(two, name), rtol=1e-12, atol=0, equal_nan=True), name
    assert together.batches > 0
    assert fewer + together.batches < calls / 10


def _raises(values: Any) -> Any:
    raise RuntimeError("this cannot be transformed")


def _by_place(values: Any) -> Any:
    return values * (1 + 1e-16 * np.arange(len(values)).reshape(-1, 1, 1) ** 2)


@pytest.mark.parametrize("change", [lambda v: v * (1 + 1e-12), _by_place, _raises, lambda v: v[1:], lambda v: v + np.nan])
def test_a_batch_that_gives_something_else_is_not_used(change: Any) -> None:
    function = Counted(change)
    (expected, calls), (found, others) = differentiated(Counted(), None), differentiated(function, function.many)
    assert calls == others
    assert all(np.array_equal(a.value, b.value) for a, b in zip(expected, found, strict=True))


def test_a_point_that_a_batch_refuses_is_evaluated_alone() -> None:
    function = Counted()

    def picky(leaf: int, primals: Any) -> Any:
        if leaf == 0 and primals[0].max() > X.max():
            raise FloatingPointError("too large")
        return function.many(leaf, primals)

    found, _ = differentiated(function, picky)
    assert np.allclose(found[0].value, 1.5 * np.exp(X).ravel(), rtol=1e-12)


def test_large_arguments_are_evaluated_point_by_point() -> None:
    x = np.ones(2**22 // (2 * BATCH) + 1)
    points = Points(lambda leaf, primals: primals[0], [x], optree.tree_structure((0,)))
    assert points.value(0, x) is None
    assert LEAST_PAIRS < BATCH


# ------------------------------------------------------------------------------------------ compiled functions of JAX


def subject_of(function: Any) -> Subject:
    return Subject.of(of_jax(function), {})


def test_a_function_of_jax_is_compiled_where_that_changes_nothing() -> None:
    traces = []

    def counted(x: Any) -> Any:
        traces.append(type(x))
        return jnp.sin(x) * x

    subject = subject_of(counted)
    quick = compiled(subject, (X,), np.ones(X.shape))
    assert quick is not subject
    before = len(traces)
    for _ in range(20):
        value, residuals = quick.fwd(X)
        (gradient,) = quick.bwd(residuals, np.ones(X.shape))
    assert len(traces) == before
    assert np.allclose(value, np.sin(X) * X, rtol=1e-14)
    assert np.allclose(gradient, np.sin(X) + np.cos(X) * X, rtol=1e-12)
    assert (gradient.dtype, many_of(quick) is None) == (np.float64, False)


def test_what_compiling_changes_is_called_as_it_is() -> None:
    def traced_otherwise(x: Any) -> Any:
        return 2 * x if isinstance(x, jax.core.Tracer) else x

    subject = subject_of(traced_otherwise)
    assert compiled(subject, (X,), np.ones(X.shape)) is subject


def test_in_sixteen_bits_a_plain_call_is_made() -> None:
    traces = []

    def counted(x: Any) -> Any:
        traces.append(isinstance(x, jax.core.Tracer))
        return jnp.sin(x) * x

    quick = compiled(subject_of(counted), (X,), np.ones(X.shape))
    traces.clear()
    quick.fwd(X.astype(np.float16))
    assert traces == [False]


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 0.0), (np.float64, 1e-9), (np.float32, 0.0), (np.float32, 1e-4)])
def test_a_wrong_entry_is_found_in_a_batch(dtype: Any, error: float) -> None:
    rule = jax.custom_vjp(lambda x: jax.nn.softmax(x, -1))
    rule.defvjp(
        lambda x: (rule(x), rule(x)),
        lambda y, dy: ((y * (dy - (dy * y).sum(-1, keepdims=True))).at[3, 2].multiply(1 + error),),
    )
    result = oracle.verify(rule, X[:4, :3].astype(dtype))
    assert result.passed is (error == 0), result
    assert error == 0 or result.rows[0].worst_index == (3, 2)


def test_a_shape_that_depends_on_the_last_digits_is_said() -> None:
    def kept(x: Any) -> Any:
        return x[: 1 + int(x.sum() * 1e15) % 3] * 2

    def bwd(residuals: Any, dy: Any) -> Any:
        return (2 * np.pad(dy, (0, residuals.size - dy.size)),)

    only = oracle.verify((lambda x: (kept(x), x), bwd), X[0]).rows[0]
    assert only.verdict is Verdict.INCONCLUSIVE
    assert "the shape of the value depends on the data" in only.diagnosis
