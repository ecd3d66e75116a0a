"""`oracle.locate` for lists of layers, and for objects that hold their layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

import oracle
import purenet as pn
from oracle import Verdict
from tests.oracle.nets import PARAMS, T, X, doubtful, normal

# ------------------------------------------------------------------------------------------------------ lists of layers


class Affine:
    def __init__(self, w: Any, b: Any) -> None:
        self.W, self.b = w, b

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout: Any) -> Any:
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class ListAffine:
    """As in the second volume of the book: lists, and buffers that are written in place."""

    def __init__(self, w: Any, b: Any) -> None:
        self.params, self.grads = [w, b], [np.zeros_like(w), np.zeros_like(b)]

    def forward(self, x: Any) -> Any:
        w, b = self.params
        self.x = x
        return x @ w + b

    def backward(self, dout: Any) -> Any:
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = dout.sum(axis=0)
        return dout @ self.params[0].T


class AddingAffine:
    """Adds to its gradients by design, beside what an earlier step has left."""

    def __init__(self, w: Any, b: Any) -> None:
        self.params, self.grads = {"W": w, "b": b}, {"W": np.ones_like(w), "b": np.ones_like(b)}

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout: Any) -> Any:
        self.grads["W"] += self.x.T @ dout
        self.grads["b"] += dout.sum(axis=0)
        return dout @ self.params["W"].T


class Relu:
    def forward(self, x: Any) -> Any:
        self.mask = x <= 0
        y = x.copy()
        y[self.mask] = 0
        return y

    def backward(self, dout: Any) -> Any:
        dout[self.mask] = 0  # writes into what it gets, as the book's does
        return dout


class BatchNorm:
    def __init__(self, n: int, share: float = 1.0) -> None:
        self.gamma, self.beta, self.running_mean, self.share = np.ones(n), np.zeros(n), np.zeros(n), share

    def forward(self, x: Any) -> Any:
        mean = x.mean(axis=0)
        self.std = np.sqrt(x.var(axis=0) + 1e-6)
        self.xn = (x - mean) / self.std
        self.running_mean = 0.9 * self.running_mean + 0.1 * mean
        return self.gamma * self.xn + self.beta

    def backward(self, dout: Any) -> Any:
        self.dbeta, self.dgamma = dout.sum(axis=0), (dout * self.xn).sum(axis=0)
        d = dout * self.gamma
        return (d - self.share * d.mean(axis=0) - self.xn * (d * self.xn).mean(axis=0)) / self.std


class SoftmaxWithLoss:
    eps = 0.0

    def forward(self, x: Any, t: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.t, self.y = t, e / e.sum(axis=1, keepdims=True)
        return -np.mean(np.log(self.y[np.arange(len(t)), t] + self.eps))

    def backward(self, dout: Any = 1) -> Any:  # the book's ignores dout, which is always 1
        dx = self.y.copy()
        dx[np.arange(len(self.t)), self.t] -= 1
        return dx / len(self.t)


class Embedding:
    def __init__(self, w: Any) -> None:
        self.params, self.grads = [w], [np.zeros_like(w)]

    def forward(self, ids: Any) -> Any:
        self.ids = ids
        return self.params[0][ids]

    def backward(self, dout: Any) -> None:
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.ids, dout)


def layers(**others: Any) -> dict[str, Any]:
    w, v, u = (np.random.default_rng(i).normal(size=s) for i, s in enumerate([(6, 5), (5, 5), (5, 3)]))
    return {
        "affine1": Affine(w, np.ones(5)),
        "norm": BatchNorm(5),
        "relu": Relu(),
        "affine2": ListAffine(v, np.zeros(5)),
        "affine3": AddingAffine(u.astype(np.float32), np.zeros(3, np.float32)),
        "loss": SoftmaxWithLoss(),
    } | others


def test_layers_of_classes_are_judged_with_their_parameters_and_do_not_change() -> None:
    net = layers()
    before = copy.deepcopy(net)
    found = oracle.locate(net, X, T)
    assert found.passed, str(found)
    assert [row.stage for row in found.rows] == list(net)[::-1]
    for name, layer in before.items():
        leaves = (optree.tree_leaves(vars(one)) for one in (net[name], layer))
        assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True)), name


def test_the_wrong_layer_is_named_at_its_parameter() -> None:
    class Forgetful(Affine):
        def backward(self, dout: Any) -> Any:
            dx = super().backward(dout)
            self.db = dout.mean(axis=0)
            return dx

    found = oracle.locate(layers(affine1=Forgetful(normal(6, 5), np.ones(5)), norm=BatchNorm(5, share=0.0)), X, T)
    assert doubtful(found) == ["norm", "affine1"]
    assert [row.parameter for row in found.wrong] == ["x", "params.b"]
    assert found.wrong[1].cause.startswith("constant factor: params.b is 0.25 times the true gradient")


def test_a_known_deviation_of_the_loss_is_accepted() -> None:
    loss = SoftmaxWithLoss()
    loss.eps = 1e-7
    assert doubtful(oracle.locate(layers(loss=loss), X, T)) == ["loss"]
    found = oracle.locate(layers(loss=loss), X, T, accept=1e-5)
    assert found.passed
    assert found.rows[0].verdict is Verdict.ACCEPTED
    assert "with a deviation that is accepted" in found.sentence


def test_words_are_constants_and_an_embedding_may_return_nothing() -> None:
    found = oracle.locate([Embedding(normal(7, 5)), Affine(normal(5, 3), normal(3))], np.array([0, 3, 3]))
    assert found.passed, str(found)
    found = oracle.locate([(pn.embedding, {"w": normal(7, 5)}), pn.tanh], np.array([0, 3, 3]), options={})
    assert [row.stage for row in found.rows] == ["1", "0"]


def test_ops_and_pairs_with_parameters_are_layers() -> None:
    square = (lambda x: (x * x, x), lambda x, dy: (2 * x * dy,))
    wrong = (lambda p, x: (p * x, (p, x)), lambda s, dy: ((s[1] * dy).sum(axis=0), dy))
    net = [(pn.affine, PARAMS | {"w": normal(6, 4)}), square, (wrong, np.array([1.0, 2.0, 3.0, 4.0])), pn.softmax_cross_entropy]
    found = oracle.locate(net, X, options={"3": {"labels": T}})
    assert doubtful(found) == ["2"]
    assert found.between is None


class Dropout:
    def forward(self, x: Any) -> Any:
        self.kept = np.random.rand(*x.shape) > 0.3  # noqa: NPY002 - as the book's does
        return x * self.kept

    def backward(self, dout: Any) -> Any:
        return dout * self.kept


class Net:
    """A net as the book writes it, with weight decay."""

    def __init__(self, factor: float = 1.0) -> None:
        generator = np.random.default_rng(0)
        shapes = {"W1": (6, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}
        self.params = {name: generator.normal(size=shape) for name, shape in shapes.items()}
        first, second = (Affine(self.params[f"W{i}"], self.params[f"b{i}"]) for i in (1, 2))
        self.layers = {"affine1": first, "relu": Relu(), "dropout": Dropout(), "affine2": second}
        self.lastLayer, self.factor = SoftmaxWithLoss(), factor

    def loss(self, x: Any, t: Any) -> Any:
        decay = 0.05 * sum((self.params[name] ** 2).sum() for name in ("W1", "W2"))
        for layer in self.layers.values():
            x = layer.forward(x)
        return self.lastLayer.forward(x, t) + decay

    def gradient(self, x: Any, t: Any) -> dict[str, Any]:
        self.loss(x, t)
        dout = self.lastLayer.backward(1)
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        found = {}
        for i in (1, 2):
            layer = self.layers[f"affine{i}"]
            found |= {f"W{i}": layer.dW + 0.1 * self.params[f"W{i}"] * self.factor, f"b{i}": layer.db}
        return found


def test_layers_in_float32_are_judged_in_float64_and_views_stay_views() -> None:
    """Buffers of float32 would round the gradients that are written into them."""

    class Flat(ListAffine):
        """Its weight and bias are views of one array, and so are their gradients."""

        def __init__(self) -> None:
            self.all, self.slopes = normal(35).astype(np.float32), np.zeros(35, np.float32)
            self.params, self.grads = ([a[:30].reshape(6, 5), a[30:]] for a in (self.all, self.slopes))

        def backward(self, dout: Any) -> Any:
            self.slopes[:] = np.concatenate([(self.x.T @ dout).ravel(), dout.sum(axis=0)])
            return dout @ self.params[0].T

    found = oracle.locate({"flat": Flat(), "affine": AddingAffine(normal(5, 3).astype(np.float32), np.zeros(3, np.float32))}, X)
    assert found.passed, str(found)
    assert all(row.verification is None for row in found.rows)


def test_an_array_without_a_gradient_is_a_constant_and_a_note_names_it() -> None:
    class Scaled(Affine):
        def __init__(self, w: Any, b: Any) -> None:
            super().__init__(w, b)
            self.scale = np.full(5, 2.0)

        def forward(self, x: Any) -> Any:
            return self.scale * super().forward(x)

        def backward(self, dout: Any) -> Any:
            return super().backward(self.scale * dout)

    found = oracle.locate([Scaled(normal(6, 5), normal(5))], X)
    assert found.passed, str(found)
    assert found.rows[0].note == "no gradient found for scale: taken for constants"


def test_a_gradient_of_another_loss_is_not_compared() -> None:
    class TwoModes(Net):
        def loss(self, x: Any, t: Any, train: bool = False) -> Any:
            return super().loss(x, t) * (2 if train else 1)

        def gradient(self, x: Any, t: Any) -> dict[str, Any]:
            self.loss(x, t, train=True)
            return {name: 2 * g for name, g in self._gradient(x, t).items()}

        def _gradient(self, x: Any, t: Any) -> dict[str, Any]:
            Net.loss(self, x, t)
            return {name: np.zeros_like(p) for name, p in self.params.items()}

    found = oracle.locate(TwoModes(), X, T)
    assert found.between is None
    assert "the gradient of the whole is not compared" in found.note
    assert "it calls loss(train=True)" in found.note


def test_an_object_that_holds_its_layers_is_judged_with_its_own_gradient() -> None:
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    found = oracle.locate(Net(), X, T)
    assert found.passed, str(found)
    assert [row.stage for row in found.rows] == ["lastLayer", "affine2", "dropout", "relu", "affine1"]
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    wrong = oracle.locate(Net(factor=0.0), X, T)
    assert doubtful(wrong) == []
    assert wrong.between is wrong.first_wrong
    assert wrong.between is not None
    assert "params.W1" in wrong.between.cause
    assert "params.b1" not in wrong.between.cause


def test_layers_that_raise_or_return_nonsense_do_not_keep_the_others_from_being_judged() -> None:
    class Layer:
        def __init__(self, back: Callable[[Any], Any]) -> None:
            self.back = back

        def forward(self, x: Any) -> Any:
            return 2 * x

        def backward(self, dout: Any) -> Any:
            return self.back(dout)

    def raising(dout: Any) -> Any:
        raise KeyError("mask")

    net = {
        "thrice": Layer(lambda d: 3 * d),
        "shape": Layer(lambda d: d.sum(axis=0)),
        "right": Layer(lambda d: 2 * d),
        "none": Layer(lambda d: None),
        "raises": Layer(raising),
        "nan": Layer(lambda d: d * np.nan),
    }
    found = oracle.locate(net, X)
    assert doubtful(found) == ["nan", "raises", "none", "shape", "thrice"]
    causes = {row.stage: row.cause for row in found.rows}
    assert "KeyError" in causes["raises"]
    assert "(6,)" in causes["shape"]
    assert "NaN" in causes["nan"]
    assert causes["thrice"].startswith("constant factor: x is 1.5 times")


BAD: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "no layers": ([], (X,), {}, ValueError, "the net has no layers"),
    "no x": ([pn.tanh], (), {}, ValueError, "the net got no x"),
    "no layer": ([3], (X,), {}, TypeError, "the layer '0' must be an object with forward and backward.*got int"),
    "no net": ("net", (X,), {}, TypeError, "net must be a net of purenet, a list or dict of layers.*got str"),
    "an unknown layer": ([pn.tanh], (X,), {"options": {"5": {}}}, TypeError, "none is named '5'"),
    "options": ([pn.tanh], (X,), {"options": 3}, TypeError, "options must be a dict, got int"),
    "the seed": ([pn.tanh], (X,), {"seed": -1}, ValueError, "seed must be an integer from 0, got -1"),
    "accept": ([pn.tanh], (X,), {"accept": 2.0}, ValueError, "accept"),
    "dy": (
        [pn.tanh],
        (X,),
        {"dy": np.ones(3)},
        ValueError,
        r"dy must have the shape of the value, \[\(4, 6\)\], got \[\(3,\)\]",
    ),
    "one allowed name": ([pn.tanh], (X,), {"allows": "0"}, TypeError, "allows must be names of stages.*got '0'"),
    "an unknown name": ([pn.tanh], (X,), {"allows": ["tan"]}, ValueError, "allows names tan, but the stages are 0"),
    "a name that is a number": ([pn.tanh], (X,), {"allows": [0]}, TypeError, "allows must name stages by their names.*got 0"),
    "no function": ([pn.tanh], (X,), {"allows": {"0": 3}}, TypeError, r"allows\['0'\] must be a function .* or None, got 3"),
    "another shape": (
        [pn.tanh],
        (X,),
        {"allows": {"0": np.sum}},
        ValueError,
        r"what the stage 0 does, \[\(4, 6\)\], got \[\(\)\]",
    ),
    "a label for an op": ([pn.tanh], (X, T), {}, TypeError, "give what else it takes by options"),
    "NaN": (pn.chain(tanh=pn.tanh), ({}, np.full(3, np.nan)), {}, ValueError, "holds NaN"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_call_is_named(what: str) -> None:
    net, arguments, options, error, match = BAD[what]
    with pytest.raises(error, match=match):
        oracle.locate(net, *arguments, **options)


def test_a_layer_that_cannot_be_copied_is_named() -> None:
    class Locked(Affine):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("a lock")

    with pytest.raises(TypeError, match=r"the layer '0': Locked \(Locked\) cannot be copied: RuntimeError: a lock"):
        oracle.locate([Locked(normal(6, 5), normal(5))], X)
