"""Code of learners as it is: classes with state, functions with a cache, an engine; and each with a planted mistake."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import adapters
from oracle.cli.main import Exit
from oracle.row import Verdict
from oracle.running import making
from tests.oracle.conftest import Module, Run
from tests.oracle.students import book_layers, book_nets, book_recurrent, course_functions, many_layers, small_engine

EPS = 1e-5
"""What is accepted of a loss with log(y + 1e-7), whose gradient is that of log(y)."""
X = np.random.default_rng(1).normal(size=(5, 6))
T = np.array([2, 0, 3, 1, 2])
IMAGES = np.random.default_rng(2).normal(size=(2, 1, 6, 6))
SEQUENCE = np.random.default_rng(3).normal(size=(2, 3, 3))


def normal(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def wrong(result: oracle.Verification) -> set[str]:
    return {row.parameter for row in result.rows if not row.passed}


def seeded(make: Callable[[], Any]) -> Any:
    """The same net in every test, whose constructor draws from the global generator."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(11)  # noqa: NPY002
    try:
        return make()
    finally:
        np.random.set_state(before)  # noqa: NPY002


# --------------------------------------------------------------- right code passes, a mistake is called out where it is


class MeanOfBias(book_layers.Affine):
    def backward(self, dout: Any) -> Any:
        dx = super().backward(dout)
        self.db = np.mean(dout, axis=0)
        return dx


class SlopeOfGamma(book_layers.BatchNormalization):
    def backward(self, dout: Any) -> Any:
        dx = super().backward(dout)
        self.dgamma = np.sum(self.xc * dout, axis=0)
        return dx


class TurnedFilter(book_layers.Convolution):
    def backward(self, dout: Any) -> Any:
        dx = super().backward(dout)
        self.dW = self.dW[..., ::-1]
        return dx


class LastStepAlone(book_recurrent.RNN):
    def backward(self, dh_next: Any) -> Any:
        found = super().backward(dh_next)
        self.grads[1][...] = np.dot(self.cache[2].T, dh_next)  # of h_next, not of h_prev
        return found


class NoMemory(book_recurrent.LSTM):
    def backward(self, dh_next: Any, dc_next: Any) -> Any:
        found = super().backward(dh_next, dc_next)
        self.grads[2][...] *= np.arange(len(self.grads[2])) < len(self.grads[2]) * 3 // 4  # the gate g is left out
        return found


class TimeRNN(book_recurrent.TimeRNN):
    cell = LastStepAlone


class TimeLSTM(book_recurrent.TimeLSTM):
    cell = NoMemory


def two_layers(affine: type) -> Any:
    net = seeded(lambda: book_nets.TwoLayerNet(6, 5, 4, 0.5))
    net.layers["Affine1"] = affine(net.params["W1"], net.params["b1"])
    return adapters.of_net(net, X, T)


def extended(norm: type) -> Any:
    net = seeded(
        lambda: book_nets.MultiLayerNetExtend(3, [2], 4, use_batchnorm=True, use_dropout=True, weight_decay_lambda=0.1)
    )
    net.layers["BatchNorm1"] = norm(net.params["gamma1"], net.params["beta1"])
    return adapters.of_net(net, X[:, :3], T, options={"train_flg": True}, seed=3)


def convolutional(convolution: type) -> Any:
    net = seeded(lambda: book_nets.SimpleConvNet(input_dim=(1, 6, 6), hidden_size=3))
    for name in ("b1", "b2"):
        net.params[name] += 0.1 * normal(*net.params[name].shape)  # with zeros, units behind dead ones are exactly at a corner
    net.layers["Conv1"] = convolution(net.params["W1"], net.params["b1"])
    return adapters.of_net(net, IMAGES, T[:2])


def recurrent(layer: type, gates: int) -> Any:
    return adapters.of_layer(
        layer(normal(3, 2 * gates), normal(2, 2 * gates), normal(2 * gates), stateful=True), SEQUENCE[:, :2]
    )


def course(backward: Callable[..., Any]) -> Any:
    return adapters.Bound(adapters.of_functions(course_functions.affine_forward, backward), X, normal(6, 3), normal(3))


def without_bias(dout: Any, cache: Any) -> Any:
    dx, dw, _ = course_functions.affine_backward(dout, cache)
    return dx, dw, np.zeros(3)


def engine(kind: type) -> Any:
    neuron = small_engine.Neuron(3, kind)

    def call(w: Any, x: Any) -> Any:
        for parameter, a in zip(neuron.parameters(), w, strict=True):
            parameter.data, parameter.grad = float(a), 0.0
        y = neuron([kind(float(a)) for a in x])
        y.backward()
        return y.data, {"w": [parameter.grad for parameter in neuron.parameters()]}

    return adapters.Bound(adapters.of_call(call, wrt="w"), normal(4)), {"x": normal(3)}


STYLES: dict[str, tuple[Callable[..., Any], Any, Any, set[str]]] = {
    "the book's TwoLayerNet": (two_layers, (book_layers.Affine,), (MeanOfBias,), {"params.b1"}),
    "its MultiLayerNetExtend": (extended, (book_layers.BatchNormalization,), (SlopeOfGamma,), {"params.gamma1"}),
    "its SimpleConvNet": (convolutional, (book_layers.Convolution,), (TurnedFilter,), {"params.W1"}),
    "its TimeRNN": (recurrent, (book_recurrent.TimeRNN, 1), (TimeRNN, 1), {"params.1"}),
    "its TimeLSTM": (recurrent, (book_recurrent.TimeLSTM, 4), (TimeLSTM, 4), {"params.2"}),
    "a course's functions": (course, (course_functions.affine_backward,), (without_bias,), {"b"}),
    "a scalar engine": (engine, (small_engine.Value,), (small_engine.Forgetful,), {"w"}),
}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("style", STYLES)
def test_right_code_passes_and_a_mistake_is_called_out_at_its_parameter(style: str) -> None:
    make, right, mistaken, where = STYLES[style]
    for arguments, expected in ((right, set()), (mistaken, where)):
        made = make(*arguments)
        op, options = made if isinstance(made[1], dict) else (made, {})
        flags = frozenset({oracle.Flag.ZERO_GRADIENT})  # a bias before a batch norm
        result = oracle.verify(op, options=options, accept=EPS, flags=flags)
        assert wrong(result) == expected, result


@pytest.mark.usefixtures("undiagnosed")
def test_a_language_model_of_layers_with_lists() -> None:
    xs, ts = np.array([[0, 3, 1], [4, 2, 2]]), np.array([[3, 1, 0], [2, 2, 4]])
    net = seeded(lambda: book_recurrent.SimpleRnnlm(5, 2, 3))
    assert not wrong(oracle.verify(adapters.of_net(net, xs, ts)))
    net.grads[4] = net.grads[4].copy()  # the optimizer's list no longer holds the array that the layer fills
    assert wrong(oracle.verify(adapters.of_net(net, xs, ts))) == {"params.layers.2.0"}


@pytest.mark.parametrize(
    ("layer", "inputs", "names"),
    [
        (book_layers.Affine(normal(6, 2), normal(2)), (X,), {"x", "params.W", "params.b"}),
        (book_layers.Relu(), (X,), {"x"}),
        (book_layers.BatchNormalization(normal(6), normal(6)), (X,), {"x", "params.gamma", "params.beta"}),
        (book_layers.Pooling(2, 2), (IMAGES,), {"x"}),
        (book_recurrent.LSTM(normal(3, 8), normal(2, 8), normal(8)), (normal(2, 3), normal(2, 2), normal(2, 2)),
         {"x", "h_prev", "c_prev", "params.0", "params.1", "params.2"}),
        (book_recurrent.Embedding(normal(4, 3)), (np.array([0, 2, 2]),), {"params.0"}),
        (book_recurrent.TimeAffine(normal(3, 2), normal(2)), (SEQUENCE,), {"x", "params.0", "params.1"}),
        (book_recurrent.TimeSoftmaxWithLoss(), (SEQUENCE, np.array([[0, 1, 2], [2, -1, 0]])), {"xs"}),
        (many_layers.AddingUp(6, 2), (X,), {"X", "params.W", "params.b"}),
        (many_layers.FromScratch(6, 2), (X,), {"inputs", "params.weights", "params.biases"}),
        (many_layers.OneBuffer(6), (X,), {"x", "params.scale"}),
        (many_layers.Flat(6, 2), (X,), {"x", "params.W", "params.b"}),
        (many_layers.Prelu(), (X,), {"x", "params.alpha"}),
        (many_layers.Tied(6), (X,), {"x", "params.0"}),
        (many_layers.Stack(many_layers.ByNames(6, 3), many_layers.ByNames(3, 2)), (X,),
         {"x", *(f"params.layers.{i}.{name}" for i in (0, 1) for name in "wb")}),
        (many_layers.Stack(book_layers.Affine(normal(6, 2), normal(2)), book_layers.Sigmoid()), (X,),
         {"x", "params.layers.0.W", "params.layers.0.b"}),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "forward") else "",
)  # fmt: skip
def test_layers_of_many_habits(layer: Any, inputs: tuple[Any, ...], names: set[str]) -> None:
    result = oracle.verify(adapters.of_layer(layer, *inputs))
    assert result.passed, result
    assert {row.parameter for row in result.rows} == names


def test_every_layer_is_recognized_by_its_methods() -> None:
    affine = book_layers.Affine(normal(6, 2), normal(2))
    assert {row.parameter for row in oracle.verify(affine, X).rows} == {"params.W", "params.b", "x"}
    assert oracle.verify(book_layers.SoftmaxWithLoss(), X, options={"t": T}, accept=EPS).passed
    assert oracle.verify(book_recurrent.Embedding(normal(4, 3)), options={"idx": np.array([1, 1])}).passed
    assert {row.op for row in oracle.verify(affine, X, name="the first layer").rows} == {"the first layer"}
    with pytest.raises(TypeError, match="verify: name must be text, got int"):
        oracle.verify(affine, X, name=3)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------ state stays where it belongs


def bits(value: Any) -> Any:
    """All that an object holds, in a form that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tobytes(), value.shape
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [bits(part) for part in value]
    return {key: bits(part) for key, part in vars(value).items()} if hasattr(value, "__dict__") else value


@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
def test_the_users_object_is_never_changed(used: bool) -> None:
    layers = [many_layers.AddingUp(6, 2), many_layers.OneBuffer(6), book_layers.BatchNormalization(normal(6), normal(6))]
    for layer in layers:
        if used:
            layer.backward(np.ones_like(layer.forward(X)))
        before = copy.deepcopy(bits(layer))
        assert oracle.verify(layer, X).passed  # also where gradients have added up before
        assert bits(layer) == before
    net = seeded(lambda: book_nets.TwoLayerNet(6, 5, 4))
    if used:
        net.gradient(X, T)
    before = copy.deepcopy(bits(net))
    oracle.verify(adapters.of_net(net, X, T))
    assert bits(net) == before


def test_a_layer_keeps_what_it_was_when_it_was_given() -> None:
    layer = book_layers.Affine(normal(6, 2), normal(2))
    pair = adapters.of_layer(layer, X)
    layer.W[...] = 0
    layer.b = None
    assert oracle.verify(pair).passed


def test_a_layer_with_memory_starts_each_time_from_the_same() -> None:
    layer = book_recurrent.TimeRNN(normal(3, 2), normal(2, 2), normal(2), stateful=True)
    layer.forward(SEQUENCE)
    assert layer.h is not None
    assert oracle.verify(layer, SEQUENCE).passed
    fwd, bwd = adapters.of_layer(layer)
    params = {str(i): a for i, a in enumerate(layer.params)}
    first, second = (fwd(params, SEQUENCE) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    dy = np.ones_like(first[0])
    for one, two in zip(bwd(first[1], dy), bwd(first[1], dy), strict=True):
        assert bits(one) == bits(two)


def test_what_a_caller_may_trip_over_is_a_note() -> None:
    notes = {row.note for row in oracle.verify(book_layers.Relu(), X).rows}
    assert notes == {"backward writes to its argument (a branch that uses it again gets other numbers)"}
    notes = {row.note for row in oracle.verify(book_layers.SoftmaxWithLoss(), X, options={"t": T}, accept=EPS).rows}
    assert notes == {"backward ignores its argument, whose default is that of a loss: it is right as the last layer only"}


# ----------------------------------------------------------------------------------------- what is not a function


def test_a_mask_drawn_anew_is_the_cause_and_stands_alone() -> None:
    dropout = book_layers.Dropout()
    net = seeded(lambda: book_nets.MultiLayerNetExtend(6, [5], 4, use_dropout=True))
    of_it = adapters.of_net(net, X, T, options={"train_flg": True})
    for op in (dropout, adapters.of_layer(dropout), of_it):
        result = oracle.verify(op, *(() if isinstance(op, tuple) and op.complete else (X,)))  # type: ignore[attr-defined]
        (row,) = result.rows
        assert row.diagnosis.startswith("fwd is not a function of its arguments: it draws random numbers (fix the seed")
    assert oracle.verify(adapters.of_layer(dropout, seed=0), X).passed


class NewMask(book_layers.Dropout):
    def backward(self, dout: Any) -> Any:
        return dout * (np.random.rand(*dout.shape) > self.dropout_ratio)  # noqa: NPY002


def test_a_mask_drawn_anew_in_the_backward_pass_is_wrong_with_a_seed_too() -> None:
    assert not oracle.verify(adapters.of_layer(NewMask(), seed=0), np.concatenate([X, X]), options={"train_flg": True}).passed


def test_a_loss_in_another_mode_than_its_gradient_is_named() -> None:
    net = seeded(lambda: book_nets.MultiLayerNetExtend(6, [5], 4, use_batchnorm=True))
    calls = r"it calls loss\(train_flg=True\), which is \S+, but loss is \S+; to verify it, options=\{'train_flg': True\}"
    with pytest.raises(TypeError, match=f"gradient is the gradient of another function: {calls}"):
        adapters.of_net(net, X, T)
    plain = seeded(lambda: book_nets.MultiLayerNetExtend(6, [5], 4))  # the modes of which are the same
    assert oracle.verify(adapters.of_net(plain, X, T), accept=EPS).passed


# ------------------------------------------------------------------------------------------ what cannot be found


class NoGradients:
    def __init__(self) -> None:
        self.W, self.b = normal(6, 2), normal(2)

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout: Any) -> Any:
        return dout @ self.W.T


class OwnNames(NoGradients):
    def backward(self, dout: Any) -> Any:
        self.slope_of_w, self.slope_of_b = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class Returned(NoGradients):
    def backward(self, dout: Any) -> Any:
        return dout @ self.W.T, self.x.T @ dout, dout.sum(axis=0)


class OneForgotten(NoGradients):
    def backward(self, dout: Any) -> Any:
        self.dW = self.x.T @ dout
        return dout @ self.W.T


def test_gradients_with_names_of_ones_own() -> None:
    grads: Any
    for grads in ({"W": "slope_of_w", "b": "slope_of_b"}, ("slope_of_w", "slope_of_b")):
        result = oracle.verify(adapters.of_layer(OwnNames(), params=("W", "b"), grads=grads), X)
        assert result.passed, result
        assert {row.parameter for row in result.rows} == {"params.W", "params.b", "x"}
    assert oracle.verify(adapters.of_layer(Returned(), params=("W", "b"), grads=(1, 2)), X).passed
    result = oracle.verify(adapters.of_layer(OneForgotten(), params=("W",)), X)
    assert {row.parameter for row in result.rows} == {"params.W", "x"}
    named = adapters.of_layer(OwnNames(), params={"weights": "W"}, grads={"weights": "slope_of_w"})
    assert {row.parameter for row in oracle.verify(named, X).rows} == {"params.weights", "x"}


class SharedByAll(book_nets.TwoLayerNet):
    params: Any = {}  # noqa: RUF012 - the mistake

    def __init__(self) -> None:
        self.params.update(W1=normal(6, 4))

    def loss(self, x: Any, t: Any) -> Any:
        return np.sum(x @ self.params["W1"])

    def gradient(self, x: Any, t: Any) -> Any:
        return {"W1": np.tile(x.sum(axis=0)[:, None], 4)}


class HoldsItself(NoGradients):
    def __init__(self) -> None:
        super().__init__()
        self.act = lambda a: np.maximum(a, 0) + self.b


class WithGenerator(book_layers.Relu):
    def __init__(self) -> None:
        super().__init__()
        self.inner = {"log": (line for line in ())}


class Vector(book_nets.TwoLayerNet):
    def loss(self, x: Any, t: Any) -> Any:
        return self.predict(x)


layer, of_net = adapters.of_layer, adapters.of_net
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: layer(NoGradients()),
        (
            r"no gradient of W and b found in NoGradients \(looked for dW, d_W, W_grad, grad_W, grads\['W'\], ...\); its "
            r"attributes are W, b; name it, grads=\{'W': ...\}, or name the parameters, params=\[...\]: other arrays are const"
        ),
    ),
    (lambda: layer(OneForgotten()), "of_layer: no gradient of b found in OneForgotten .* attributes are W, b; name it"),
    (lambda: layer(NoGradients(), params=("W",)), r"no gradient of W found in NoGradients .*grads=\{'W': ...\}"),
    (lambda: layer(NoGradients(), params=("V",)), "params names V, where NoGradients has nothing; its attributes are W"),
    (lambda: layer(NoGradients(), params="W"), r"params must be names of attributes, such as \('W', 'b'\), got 'W'"),
    (lambda: layer(OwnNames(), grads={"V": "x"}, params=("W",)), "grads names V, but the parameters are W"),
    (lambda: layer(OwnNames(), grads=("x",), params=("W", "b")), r"grads has 1 names for 2 parameters \(W, b\)"),
    (lambda: layer(OwnNames(), grads="x", params=("W",)), "grads must name attributes by the parameters"),
    (lambda: layer(book_layers.Relu(), options=3), "of_layer: options must be a dict of keywords, got int"),
    (lambda: layer(X), "of_layer: ndarray has no method forward; its methods are"),
    (lambda: layer(book_layers.Relu), r"Relu is a class; give an object of it: Relu\(...\)"),
    (lambda: of_net(book_nets.TwoLayerNet, X, T), "TwoLayerNet is a class; give an object"),
    (lambda: of_net(book_layers.Relu(), X), "of_net: no parameters found in Relu: name them"),
    (lambda: of_net(loss_of_two, X), "of_net: function has no method loss; it has no methods"),
    (lambda: of_net(SharedByAll(), X, T), "the array W1 is not copied with the object .is it an attribute of the class"),
    (
        lambda: layer(HoldsItself()),
        "of_layer: HoldsItself.act is a function that holds HoldsItself; a copy of the object would use the original's",
    ),
    (
        lambda: layer(WithGenerator()),
        r"of_layer: WithGenerator.inner\['log'\] \(generator\) cannot be copied: TypeError: cannot pickle",
    ),
    (
        lambda: of_net(seeded(lambda: Vector(6, 5, 4)), X, T),
        r"Vector.loss returned an array of shape \(5, 4\), expected a number; verify it with of_layer",
    ),
    (
        lambda: oracle.verify(seeded(lambda: book_nets.TwoLayerNet(6, 5, 4)), X),
        r"verify: TwoLayerNet has loss and gradient: give oracle.adapters.of_net\(net, x, t\), with its data",
    ),
    (lambda: oracle.verify(book_layers.Relu, X), r"verify: Relu is a class: give an object of it, Relu\(...\)"),  # type: ignore[arg-type]
    (lambda: oracle.verify(np.tanh, X), "goes through oracle.adapters.of_call"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_is_missing_is_named_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


class Withheld(book_nets.TwoLayerNet):
    def gradient(self, x: Any, t: Any) -> Any:
        grads = super().gradient(x, t)
        del grads["b1"]
        return grads


def test_a_gradient_that_is_not_returned_hides_no_other() -> None:
    result = oracle.verify(adapters.of_net(seeded(lambda: Withheld(6, 5, 4, 0.5)), X, T), accept=EPS)
    assert {row.parameter: row.verdict for row in result.rows} == {
        "params.b1": Verdict.FAIL, "params.W1": Verdict.ACCEPTED, "params.W2": Verdict.ACCEPTED, "params.b2": Verdict.ACCEPTED
    }  # fmt: skip
    assert result.rows[0].diagnosis.startswith("the backward pass returned None")
    assert "gradient returned no gradient of b1, but of W1, W2, b2" in {row.note for row in result.rows}


# ------------------------------------------------------------------------------------- rows know of each other


class HalfRelu(book_layers.Relu):
    def backward(self, dout: Any) -> Any:
        return super().backward(dout) / 2


def test_right_behind_and_wrong_before_says_where_to_look() -> None:
    net = seeded(lambda: book_nets.TwoLayerNet(6, 5, 4, 0.5))
    net.layers["Relu1"] = HalfRelu()
    result = oracle.verify(adapters.of_net(net, X, T), accept=EPS)
    hint = "params.W2 and params.b2 are right, params.W1 and params.b1 are wrong: look between them"
    assert all(hint in row.note for row in result.rows)
    assert hint in " ".join(str(result).split())
    for affine in (book_layers.Affine, MeanOfBias):  # nothing is wrong, or a gradient of the layer itself
        assert not any("look between" in row.note for row in oracle.verify(two_layers(affine), accept=EPS).rows)


# --------------------------------------------------------------------------------------------- functions


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


def loss_of_two(params: Any, x: Any, scale: float = 1.0) -> Any:
    y = np.tanh(x @ params["w"]) + params["b"]
    dy = 2 * y * scale
    return np.sum(y**2) * scale, {"w": x.T @ (dy * (1 - np.tanh(x @ params["w"]) ** 2)), "b": dy.sum(axis=0)}


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


# ------------------------------------------------------------------------------------------- the command line

NET = """
import numpy as np
import oracle
from tests.oracle.students.book_layers import Relu, Sigmoid
from tests.oracle.students.book_nets import TwoLayerNet


class Unchecked(TwoLayerNet):
    pass


class Doubled(TwoLayerNet):
    def gradient(self, x, t):
        grads = super().gradient(x, t)
        return {**grads, "b1": 2 * grads["b1"]}


np.random.seed(0)
x = np.random.rand(3, 5)
check = oracle.adapters.of_net(TwoLayerNet(5, 4, 3, 0.5), x, np.array([0, 2, 1]))
again = oracle.Spec(oracle.adapters.of_net(Doubled(5, 4, 3, 0.5), x, np.array([0, 2, 1])), cases=(oracle.Case("one", ()),))
relu = oracle.adapters.of_layer(Relu(), x)
"""


@pytest.fixture
def net(module: Module, in_this_process: None) -> Iterator[str]:
    module("sub.book_net", NET)
    yield "sub/book_net.py"
    sys.modules.pop("book_net", None)  # a file is imported as in `python sub/book_net.py`, without its folder's name


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_line_in_the_module_and_the_file_of_it(net: str, run: Run, module: Module) -> None:
    code, out, err = run("verify", f"{net}:check", f"{net}:relu", "--accept", "1e-5")
    assert (code, "5 gradients of 2 ops in 2 cases: 1 PASS, 4 ACCEPTED" in words(out)) == (Exit.PASS, True), out + err
    code, out, err = run("verify", f"{net}:Doubled", "--accept", "1e-5")
    assert code == Exit.FAIL, out + err
    assert "params.b1 is 2 times the true gradient" in words(out)
    assert f"reproduce: oracle verify {net}:Doubled --case one --accept 1e-05" in words(out)
    program = Path("reports/failures/Doubled-one/repro.py").read_text(encoding="utf-8")
    assert "Task('book_net', 'Doubled', 'one', 'float64', accept=1e-05)" in program


@pytest.mark.usefixtures("undiagnosed")
def test_the_class_of_a_net_and_digits(net: str, run: Run) -> None:
    code, out, err = run("verify", f"{net}:Doubled", "--data", "mnist", "--accept", "1e-5", "--init", "784, 3, output_size=10")
    assert code == Exit.FAIL, out + err
    assert "3 ACCEPTED, 1 FAIL" in out
    assert "Doubled / mnist, 10 rows / params.b1  float64 3" in out
    again = "--data mnist --init '784, 3, output_size=10' --accept 1e-05"
    assert f"reproduce: oracle verify {net}:Doubled --case 'mnist, 10 rows' {again}" in words(out)


def test_sizes_by_the_names_of_parameters() -> None:
    spec = making.made(book_nets.TwoLayerNet, "mnist")
    assert {name: a.shape for name, a in spec.cases[0].draw(spec.name)[0][0].items()} == {
        "W1": (784, 8), "b1": (8,), "W2": (8, 10), "b2": (10,)
    }  # fmt: skip
    assert spec.cases[0].name == "mnist, 10 rows"
    images = making.made(book_nets.SimpleConvNet, "mnist((1, 28, 28), output_size=10)")
    assert images.cases[0].name == "mnist, 10 images"
    again = making.made(book_nets.TwoLayerNet, "mnist")  # in another process, say
    assert bits(again.cases[0].draw(again.name)) == bits(spec.cases[0].draw(spec.name))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("NET:Unchecked", r"NET:Unchecked has no inputs .* check = oracle.adapters.of_net.* of Unchecked, or use --data mnist"),
        ("NET:Sigmoid", r"NET:Sigmoid has no inputs .* check = oracle.adapters.of_layer\(layer, x\) with an object of Sigmoid"),
        ("NET:TwoLayerNet --data cifar", "NET:TwoLayerNet: --data takes mnist or a folder with the files of MNIST, got cifar"),
        ("NET:TwoLayerNet --data mnist --init 784,", "NET:TwoLayerNet: .*missing 2 required positional arguments.*"),
        ("NET:TwoLayerNet --data mnist --init x", "NET:TwoLayerNet: --init takes numbers, .* got 'x'"),
        ("NET:TwoLayerNet --data mnist --init 5,5,5", "NET:TwoLayerNet: TwoLayerNet.loss takes neither rows nor images .*"),
        ("NET:Relu --data mnist", "NET:Relu: of_net: no parameters found in Relu: name them, params=.*"),
        ("NET:Nothing --data mnist", "book_net has no 'Nothing'"),
        ("NET:check --init 3", "--init needs --data, such as --data mnist"),
        ("relu --data mnist", "--data is for a class of nets in a module of yours, such as mynet.py:TwoLayerNet"),
        ("relu --accept 1e-5", "--accept is for functions of your own, such as package.module:op"),
        ("NET:check --accept 2", "argument --accept: expected a number from 0 to 1, got '2' .*"),
        ("sub/other.py:check", "there is no file sub/other.py"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(net: str, run: Run, arguments: str, match: str) -> None:
    code, out, err = run("verify", *(part.replace("NET", net) for part in arguments.split()))
    assert (code, out) == (Exit.USAGE, "")
    assert re.fullmatch(rf"oracle: {match.replace('NET', net)}\n", err), err


def test_a_file_with_the_name_of_another_module(module: Module, run: Run) -> None:
    module("sub.random", NET)
    code, _, err = run("verify", "sub/random.py:check")
    assert code == Exit.USAGE
    assert "cannot import sub/random.py: random is another module" in err
