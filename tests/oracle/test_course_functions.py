"""Functions of a course with a cache, and an engine, each with a planted mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import adapters
from oracle.row import Verdict
from tests.oracle.learners import T, X, loss_of_two, normal, wrong
from tests.oracle.students import course_functions, small_engine


def test_functions_of_a_course_are_pairs_by_their_names() -> None:
    c = course_functions
    assert oracle.verify((c.affine_forward, c.affine_backward), X, normal(6, 3), normal(3)).passed
    assert oracle.verify((c.relu_forward, c.relu_backward), X).passed
    convolved = oracle.verify((c.conv_forward_naive, c.conv_backward_naive), normal(2, 2, 4, 4), normal(2, 2, 3, 3), normal(2),
                              options={"conv_param": {"stride": 2, "pad": 1}})  # fmt: skip
    assert convolved.passed
    assert {row.parameter for row in convolved.rows} == {"x", "w", "b"}
    embedded = oracle.verify(
        (c.word_embedding_forward, c.word_embedding_backward), normal(5, 3), options={"x": np.array([[0, 1], [1, 4]])}
    )
    assert [(row.parameter, row.passed) for row in embedded.rows] == [("W", True)]
    cell = (normal(2, 3), normal(2, 4), normal(4, 2).T, normal(3, 16), normal(4, 16), normal(16))
    assert oracle.verify((c.lstm_step_forward, c.lstm_step_backward), *cell).passed
    assert oracle.verify(adapters.of_call(c.softmax_loss, wrt="x"), X, options={"y": T}).passed
    assert oracle.verify(adapters.of_net(c.FullyConnectedNet([5], reg=0.1), X, T)).passed


def test_what_a_course_prescribes_is_declared() -> None:
    pair = (course_functions.batchnorm_forward, course_functions.batchnorm_backward)
    arguments, options = (X, normal(6), normal(6)), {"bn_param": {"mode": "train"}}
    (breach,) = (row for row in oracle.verify(pair, *arguments, options=options).rows if not row.passed)
    assert "allows={oracle.Allows.WRITES_TO_OPTIONS}" in breach.diagnosis
    assert oracle.verify(pair, *arguments, options=options, allows=frozenset({oracle.Allows.WRITES_TO_OPTIONS})).passed
    assert options == {"bn_param": {"mode": "train"}}
    dropout = (course_functions.dropout_forward, course_functions.dropout_backward)
    given = {"dropout_param": {"mode": "train", "p": 0.5, "seed": 3}}
    assert oracle.verify(dropout, X, options=given, allows=frozenset({oracle.Allows.CHANGES_GLOBAL_STATE})).passed


def products(x: Any, w: Any) -> Any:
    return np.sum((x @ w) ** 2), (2 * (x @ w) @ w.T, 2 * x.T @ (x @ w))


def wrong_products(x: Any, w: Any) -> Any:
    return products(x, w)[0], {"dx": products(x, w)[1][0], "dw": 3 * products(x, w)[1][1]}


def test_values_and_gradients_at_once() -> None:
    params = {"w": normal(6, 2), "b": normal(2)}
    result = oracle.verify(adapters.of_call(loss_of_two, wrt="params"), params, options={"x": X, "scale": 0.5})
    assert {row.parameter: row.passed for row in result.rows} == {"params.w": True, "params.b": True}
    assert oracle.verify(adapters.of_call(products), X, normal(6, 2)).passed
    assert oracle.verify(adapters.of_call(products, wrt=("x", "w")), X, normal(6, 2)).passed
    assert wrong(oracle.verify(adapters.of_call(wrong_products, wrt=("x", "w")), X, normal(6, 2))) == {"w"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adapters.of_call(3), r"of_call: expected a function that returns \(value, gradients\), got int"),
        (lambda: adapters.of_call(products, wrt="v"), "of_call: wrt names v; the arguments of products are x and w"),
        (lambda: adapters.of_call(lambda x: x.sum())[0](X), r"returned float64, expected \(value, gradients\)"),
        (lambda: adapters.of_call(lambda x: (x, x))[0](X), r"returned a value of shape \(5, 6\)"),
        (lambda: adapters.of_call(lambda x, w: (x.sum(), {"v": x}))[0](X, X), "returned gradients of v, expected x and w"),
        (lambda: adapters.of_call(lambda x, w: (x.sum(), (x,)))[0](X, X), "returned 1 gradients, expected one for each of x"),
        (lambda: adapters.of_functions(3, 3), "of_functions: expected two functions"),
        (lambda: adapters.of_functions(np.tanh, np.tanh)[0](X), r"tanh returned ndarray, expected \(out, cache\)"),
    ],
)  # fmt: skip
def test_a_call_that_returns_something_else_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_an_engine_of_ones_own() -> None:
    for kind, passes in ((small_engine.Value, True), (small_engine.Forgetful, False)):
        one = adapters.of_engine(lambda x, w, b: (sum(x * w) + b).tanh(), kind)
        assert oracle.verify(one, normal(3), normal(3), np.array(0.3)).passed is passes
        several = adapters.of_engine(lambda x, w: np.array([row.tanh() for row in w @ x]), kind)
        assert oracle.verify(several, normal(3), normal(2, 3)).passed is passes


@pytest.mark.parametrize("number", [np.float64, np.array])
def test_an_engine_whose_numbers_are_those_of_numpy(number: Any) -> None:
    def of_numpy(base: type) -> type:
        class Kind(base):  # type: ignore[misc]
            def __init__(self, data: Any, *more: Any) -> None:
                super().__init__(number(float(data)), *more)
                self.grad = number(0.0)

        return Kind

    for base, passes in ((small_engine.Value, True), (small_engine.Forgetful, False)):
        kind = of_numpy(base)
        several = adapters.of_engine(lambda x, w: np.array([row.tanh() for row in w @ x]), kind)
        result = oracle.verify(several, normal(3), normal(2, 3))
        assert result.passed is passes, result
        assert all(row.verdict is not Verdict.ERROR for row in result.rows), result


class Assigning(small_engine.Value):
    """A mistake: a gradient that an earlier use has left is overwritten. Its place in a set is another in each call."""

    made = itertools.count(1)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.key = next(self.made) * 40503 % 65536

    def __hash__(self) -> int:
        return self.key

    def __mul__(self, other: Any) -> Any:
        out = super().__mul__(other)
        other = other if isinstance(other, small_engine.Value) else type(self)(other)

        def back() -> None:
            self.grad = other.data * out.grad
            other.grad = self.data * out.grad

        out._backward = back
        return out

    __rmul__ = __mul__


class Adding(Assigning):
    """The same without the mistake."""

    __mul__ = __rmul__ = small_engine.Value.__mul__


def test_an_engine_that_overwrites_gradients_is_not_called_random() -> None:
    def squares(x: Any) -> Any:
        return x[0] * x[1] + x[1] * x[2].tanh() + x[2] * x[0] + x[0] * x[0].tanh()

    assert oracle.verify(adapters.of_engine(squares, Adding), normal(3)).passed
    result = oracle.verify(adapters.of_engine(squares, Assigning), normal(3))
    assert "equal calls have different orders, since a set is ordered by addresses" in result.rows[0].diagnosis, result
    assert "is there a = in place of a +=" in result.rows[0].diagnosis


class Tensor:
    """An engine of arrays, with one operation more than it needs."""

    def __init__(self, data: Any) -> None:
        self.data, self.grad, self.back = np.asarray(data), np.zeros(np.shape(data)), lambda: None

    def square(self) -> Tensor:
        out = Tensor(self.data**2)
        out.back = lambda: self.add(2 * self.data * out.grad)
        return out

    def __mul__(self, other: Any) -> Tensor:
        other = other if isinstance(other, Tensor) else Tensor(other)
        out = Tensor(self.data * other.data)

        def back() -> None:
            self.add(other.data * out.grad)
            other.add(self.data * out.grad)

        out.back = back
        return out

    def sum(self) -> Tensor:
        out = Tensor(self.data.sum())
        out.back = lambda: self.add(np.broadcast_to(out.grad, self.data.shape))
        return out

    def add(self, gradient: Any) -> None:
        self.grad = self.grad + gradient
        self.back()

    def backward(self) -> None:
        self.add(np.ones(self.data.shape))


def test_an_engine_of_arrays() -> None:
    assert oracle.verify(adapters.of_engine(lambda x: x.square(), Tensor, each=False), X).passed
    assert oracle.verify(adapters.of_engine(lambda x: x.square().sum(), Tensor, each=False), X).passed
