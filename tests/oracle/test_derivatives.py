"""Functions beside their derivatives, which take no upstream gradient, and losses whose backward pass gets the target again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
from oracle.adapters import of_derivative, of_net
from tests.oracle.learners import wrong

rng = np.random.default_rng(7)
X = rng.normal(size=(4, 3))
P = rng.dirichlet(np.ones(3), 4)
LABELS = np.array([0, 2, 1, 1])
ONE_HOT = np.eye(3)[LABELS]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def sigmoid_prime(x: Any) -> Any:
    return sigmoid(x) * (1 - sigmoid(x))


def of_output(y: Any) -> Any:
    return y * (1 - y)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def mse(y_true: Any, y_pred: Any) -> Any:
    return np.mean((y_true - y_pred) ** 2)


def mse_prime(target: Any, prediction: Any) -> Any:
    return 2 * (prediction - target) / target.size


class Sigmoid:
    def __call__(self, x: Any) -> Any:
        return sigmoid(x)

    def gradient(self, x: Any) -> Any:
        return self(x) * (1 - self(x))


class CrossEntropy:
    """One number for each entry."""

    def loss(self, y: Any, p: Any) -> Any:
        return -y * np.log(p) - (1 - y) * np.log(1 - p)

    def gradient(self, y: Any, p: Any) -> Any:
        return -(y / p) + (1 - y) / (1 - p)


RIGHT: dict[str, Callable[[], oracle.Verification]] = {
    "an activation": lambda: oracle.verify((sigmoid, sigmoid_prime), X),
    "at one number": lambda: oracle.verify((sigmoid, sigmoid_prime), np.array(0.3)),
    "float32": lambda: oracle.verify((sigmoid, sigmoid_prime), X.astype(np.float32)),
    "functions of NumPy": lambda: oracle.verify((np.sin, np.cos), X),
    "an object": lambda: oracle.verify(Sigmoid(), X),
    "of the value": lambda: oracle.verify(of_derivative(sigmoid, of_output, of_value=True), X),
    "one number": lambda: oracle.verify(of_derivative(mse, mse_prime, wrt="y_pred"), P, options={"y_true": X}),
    "both arguments": lambda: oracle.verify(
        of_derivative(mse, lambda t, y: (-mse_prime(t, y), mse_prime(t, y)), wrt=("y_true", "y_pred")), X, P
    ),
    "one for each row": lambda: oracle.verify(of_derivative(lambda x: (x**2).sum(axis=1), lambda x: 2 * x), X),
    "one for each entry": lambda: oracle.verify(
        of_derivative(CrossEntropy().loss, CrossEntropy().gradient, wrt="p"), P, options={"y": ONE_HOT}
    ),
    "an option that both take": lambda: oracle.verify(
        of_derivative(lambda x, *, a: a * x * x, lambda x, *, a: 2 * a * x), X, options={"a": 3.0}
    ),
    "an option of the function": lambda: oracle.verify(
        of_derivative(lambda x, shift: (x + shift) ** 2, lambda x, shift: 2 * (x + shift), wrt="x"), X, options={"shift": X[0]}
    ),
    "parameters": lambda: oracle.verify(
        of_derivative(lambda w, x: np.sum(x @ w["a"]), lambda w, x: {"a": x.T @ np.ones((4, 2))}, wrt="w"),
        {"a": X[:, :2].T[:, :3].T},
        options={"x": X},
    ),
}  # fmt: skip


@pytest.mark.parametrize("style", RIGHT)
def test_a_right_derivative_passes(style: str) -> None:
    result = RIGHT[style]()
    assert result.rows
    assert result.passed, result
    assert not any("of_value" in note for note in (row.note for row in result.rows)), result


WRONG: dict[str, Callable[[], oracle.Verification]] = {
    "of the value, taken at x": lambda: oracle.verify((sigmoid, of_output), X),
    "one entry of the Jacobian for all": lambda: oracle.verify((softmax, lambda x: of_output(softmax(x))), X),
    "sign": lambda: oracle.verify((np.cos, np.sin), X),
    "divided by the rows alone": lambda: oracle.verify(
        of_derivative(mse, lambda t, y: 2 * (y - t) / len(t), wrt="y_pred"), P, options={"y_true": X}
    ),
    "arguments the other way round": lambda: oracle.verify(
        of_derivative(mse, lambda y, t: mse_prime(t, y), wrt="y_pred"), P, options={"y_true": X}
    ),
    "an option that one ignores": lambda: oracle.verify(
        of_derivative(lambda x, *, a=3.0: a * x * x, lambda x: 2 * x), X, options={"a": 2.0}
    ),
}


@pytest.mark.parametrize("style", WRONG)
def test_a_wrong_derivative_fails(style: str) -> None:
    result = WRONG[style]()
    assert len(wrong(result)) == 1, result


def test_what_is_wrong_is_named() -> None:
    (row,) = WRONG["of the value, taken at x"]().rows
    assert "of_output is right at the value of sigmoid" in row.note
    assert "of_derivative(sigmoid, of_output, of_value=True)" in row.note
    (row,) = WRONG["one entry of the Jacobian for all"]().rows
    assert "those from other outputs are missing" in row.diagnosis
    (row,) = WRONG["arguments the other way round"]().rows
    assert "-1 times" in row.diagnosis or "sign" in row.diagnosis
    assert oracle.verify(Sigmoid(), X).rows[0].op == "Sigmoid"


# ------------------------------------------------------------------------------------ losses that get the target again


class Losses:
    def calculate(self, output: Any, y: Any) -> Any:
        return np.mean(self.forward(output, y))  # type: ignore[attr-defined]


class CategoricalCrossEntropy(Losses):
    """A loss for each row; the gradient of their mean."""

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        chosen = y_pred[range(len(y_pred)), y_true] if y_true.ndim == 1 else np.sum(y_pred * y_true, axis=1)
        return -np.log(chosen)

    def backward(self, dvalues: Any, y_true: Any) -> None:
        samples, labels = len(dvalues), len(dvalues[0])
        if y_true.ndim == 1:
            y_true = np.eye(labels)[y_true]
        self.dinputs = -y_true / dvalues / samples


class NotDivided(CategoricalCrossEntropy):
    def backward(self, dvalues: Any, y_true: Any) -> None:
        super().backward(dvalues, y_true)
        self.dinputs *= len(dvalues)


class SoftmaxWithCrossEntropy:
    """Its backward pass gets the output of the softmax, and not the input of the loss."""

    def forward(self, inputs: Any, y_true: Any) -> Any:
        self.output = softmax(inputs)
        return CategoricalCrossEntropy().calculate(self.output, y_true)

    def backward(self, dvalues: Any, y_true: Any) -> None:
        self.dinputs = dvalues.copy()
        self.dinputs[range(len(dvalues)), y_true] -= 1
        self.dinputs /= len(dvalues)


class OffByOne(SoftmaxWithCrossEntropy):
    def backward(self, dvalues: Any, y_true: Any) -> None:
        super().backward(dvalues, (y_true + 1) % 3)


class SquaredError:
    """Its backward pass has the parameters of its forward pass."""

    factor = 2.0

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        return np.mean((y_pred - y_true) ** 2)

    def backward(self, y_pred: Any, y_true: Any) -> Any:
        return self.factor * (y_pred - y_true) / y_pred.size


class HalfOfIt(SquaredError):
    factor = 1.0


class WithUpstream(SquaredError):
    """A layer as any other, which needs the target to be given twice."""

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        self.y_pred = y_pred
        return super().forward(y_pred, y_true)

    def backward(self, dout: Any, y_true: Any) -> Any:
        return dout * 2 * (self.y_pred - y_true) / y_true.size


@pytest.mark.parametrize(
    ("right", "mistaken", "x", "target"),
    [
        (CategoricalCrossEntropy, NotDivided, P, LABELS),
        (CategoricalCrossEntropy, NotDivided, P, ONE_HOT),
        (SoftmaxWithCrossEntropy, OffByOne, X, LABELS),
        (SquaredError, HalfOfIt, X, P),
    ],
)
def test_a_loss_whose_backward_pass_gets_the_prediction(right: type, mistaken: type, x: Any, target: Any) -> None:
    result = oracle.verify(right(), x, options={"y_true": target})
    (row,) = result.rows
    assert row.passed, result
    assert "backward is called with the prediction and the target again" in row.note
    assert ("the mean of the 4 numbers that forward returns" in row.note) == (right is CategoricalCrossEntropy)
    assert len(wrong(oracle.verify(mistaken(), x, options={"y_true": target}))) == 1


def test_a_loss_that_takes_an_upstream_gradient_gets_one() -> None:
    (row,) = oracle.verify(WithUpstream(), X, options={"y_true": P}).rows
    assert row.passed
    assert "prediction" not in row.note


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: of_derivative(np.sin, 3), "of_derivative: expected a function and its derivative, got int"),
        (lambda: of_derivative(mse, mse_prime, wrt="y"), "wrt names y; the arguments of mse are y_true and y_pred"),
        (lambda: oracle.verify(CrossEntropy(), X), r"of_derivative\(loss.loss, loss.gradient, wrt=...\)"),
        (lambda: oracle.verify(of_net(CrossEntropy(), X, X)), r"of_derivative\(loss.loss, loss.gradient, wrt=...\)"),
    ],
)
def test_a_call_that_cannot_be_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        ((mse, mse_prime), (X, P), "a function and its derivative, without dy, go through oracle.adapters.of_derivative"),
        (of_derivative(mse, mse_prime), (X, P), "expected one for each of y_true and y_pred (wrt names those that it is of)"),
        (
            (lambda x: (x * x, x), lambda dy: (dy,)),
            (X,),
            "the backward pass of a pair takes two arguments: the residuals and dy",
        ),
        (of_derivative(lambda x: x[:2], lambda x: x), (X,), "a value of shape (2, 3), its derivative has shape (4, 3)"),
    ],
)
def test_a_pair_that_is_none_says_so_in_its_row(op: Any, arguments: tuple[Any, ...], message: str) -> None:
    (row,) = oracle.verify(op, *arguments).rows
    assert not row.passed
    assert message in row.diagnosis
