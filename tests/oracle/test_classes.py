"""Code of learners as it is: classes with state, functions with a cache, an engine; and each with a planted mistake."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import adapters
from oracle.row import Verdict
from tests.oracle.learners import EPS, IMAGES, SEQUENCE, T, X, bits, loss_of_two, normal, seeded, wrong
from tests.oracle.students import book_layers, book_nets, book_recurrent, course_functions, many_layers, small_engine

# --------------------------------------------------------------- right code passes, a mistake is called out where it is


def failed(result: Any) -> set[str]:
    return {row.parameter for row in result.rows if row.verdict is Verdict.FAIL}


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


class ExactLoss(book_layers.SoftmaxWithLoss):
    """The book's loss without the constant in its logarithm: a right gradient then passes without further measurements."""

    def forward(self, x: Any, t: Any) -> Any:
        super().forward(x, t)
        return -np.log(self.y[np.arange(len(t)), t]).mean()


def two_layers(affine: type, loss: type = book_layers.SoftmaxWithLoss) -> Any:
    net = seeded(lambda: book_nets.TwoLayerNet(6, 5, 4, 0.5))
    net.layers["Affine1"] = affine(net.params["W1"], net.params["b1"])
    net.lastLayer = loss()
    return adapters.of_net(net, X, T)


def extended(norm: type) -> Any:
    net = seeded(
        lambda: book_nets.MultiLayerNetExtend(3, [2], 4, use_batchnorm=True, use_dropout=True, weight_decay_lambda=0.1)
    )
    net.layers["BatchNorm1"] = norm(net.params["gamma1"], net.params["beta1"])
    net.last_layer = ExactLoss()
    return adapters.of_net(net, X[:, :3], T, options={"train_flg": True}, seed=3)


def convolutional(convolution: type) -> Any:
    net = seeded(lambda: book_nets.SimpleConvNet(input_dim=(1, 6, 6), hidden_size=3))
    for name in ("b1", "b2"):
        net.params[name] += 0.1 * normal(*net.params[name].shape)  # with zeros, units behind dead ones are exactly at a corner
    net.layers["Conv1"] = convolution(net.params["W1"], net.params["b1"])
    net.last_layer = ExactLoss()
    return adapters.of_net(net, IMAGES, T[:2])


def recurrent(layer: type, gates: int, hidden: int) -> Any:
    """With the state of an earlier call. Small, because it computes in float32 inside: many long steps are taken."""
    made = layer(normal(2, gates * hidden), normal(hidden, gates * hidden), normal(gates * hidden), stateful=True)
    made.forward(SEQUENCE[:, :2, :2])
    return adapters.of_layer(made, SEQUENCE[:, :2, :2])


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
    "its TimeRNN": (recurrent, (book_recurrent.TimeRNN, 1, 2), (TimeRNN, 1, 2), {"params.1"}),
    "its TimeLSTM": (recurrent, (book_recurrent.TimeLSTM, 4, 1), (TimeLSTM, 4, 1), {"params.2"}),
    "a course's functions": (course, (course_functions.affine_backward,), (without_bias,), {"b"}),
    "a scalar engine": (engine, (small_engine.Value,), (small_engine.Forgetful,), {"w"}),
}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("style", STYLES)
def test_right_code_passes_and_a_mistake_is_called_out_at_its_parameter(style: str) -> None:
    """The mistake with few measurements: they leave what computes in float32 undecided, and call out nothing else."""
    make, right, mistaken, where = STYLES[style]
    flags = frozenset({oracle.Flag.ZERO_GRADIENT})  # a bias before a batch norm
    for arguments, effort in ((right, "full"), (mistaken, "quick")):
        made = make(*arguments)
        op, options = made if isinstance(made[1], dict) else (made, {})
        result = oracle.verify(op, options=options, accept=EPS, flags=flags, effort=effort)
        if effort == "full":
            assert not wrong(result), result
        else:
            assert failed(result) == where, result


@pytest.mark.usefixtures("undiagnosed")
def test_a_language_model_of_layers_with_lists() -> None:
    xs, ts = np.array([[0, 2], [1, 1]]), np.array([[1, 0], [1, 2]])
    net = seeded(lambda: book_recurrent.SimpleRnnlm(3, 2, 1))
    assert not wrong(oracle.verify(adapters.of_net(net, xs, ts)))
    net.grads[4] = net.grads[4].copy()  # the optimizer's list no longer holds the array that the layer fills
    assert failed(oracle.verify(adapters.of_net(net, xs, ts), effort="quick")) == {"params.layers.2.0"}


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


@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
def test_the_users_object_is_never_changed(used: bool) -> None:
    layers = [many_layers.AddingUp(6, 2), many_layers.OneBuffer(6), book_layers.BatchNormalization(normal(6), normal(6))]
    for layer in layers:
        if used:
            layer.backward(np.ones_like(layer.forward(X)))
        before = copy.deepcopy(bits(layer))
        assert oracle.verify(layer, X).passed  # also where gradients have added up before
        assert bits(layer) == before
    net = seeded(lambda: book_nets.TwoLayerNet(6, 2, 4, 0.5))
    net.lastLayer = ExactLoss()
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
    sequence = SEQUENCE[:, :2, :1]
    layer = book_recurrent.TimeRNN(normal(1, 2), normal(2, 2), normal(2), stateful=True)
    layer.forward(sequence)
    assert layer.h is not None  # the style of this layer above verifies one with such a state
    fwd, bwd = adapters.of_layer(layer)
    params = {str(i): a for i, a in enumerate(layer.params)}
    first, second = (fwd(params, sequence) for _ in range(2))
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
    plain.last_layer = ExactLoss()
    assert oracle.verify(adapters.of_net(plain, X, T)).passed


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


@pytest.mark.usefixtures("undiagnosed")
def test_right_behind_and_wrong_before_says_where_to_look() -> None:
    net = seeded(lambda: book_nets.TwoLayerNet(6, 5, 4, 0.5))
    net.layers["Relu1"] = HalfRelu()
    result = oracle.verify(adapters.of_net(net, X, T), accept=EPS)
    hint = "params.W2 and params.b2 are right, params.W1 and params.b1 are wrong: look between them"
    assert all(hint in row.note for row in result.rows)
    assert hint in " ".join(str(result).split())
    for affine in (book_layers.Affine, MeanOfBias):  # nothing is wrong, or a gradient of the layer itself
        assert not any("look between" in row.note for row in oracle.verify(two_layers(affine, ExactLoss)).rows)
