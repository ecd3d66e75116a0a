"""`oracle.locate`: the stage that is wrong is named, and no other; for every kind of net."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

import oracle
import purenet as pn
from benchmarks import locating
from oracle import Verdict
from oracle.cli.main import Exit
from oracle.locating import directions
from oracle.locating.located import MANY
from oracle.power.reach import with_backward
from purenet import Op
from purenet.combinators import Chain
from tests.oracle.conftest import ROOT, Module, Run, environment

GENERATOR = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return GENERATOR.normal(size=shape)


X, T = normal(4, 6), np.array([0, 2, 1, 2])


def times(op: Op, argument: int, change: Callable[[Any], Any]) -> Op:
    """The op with a change of one of its cotangents."""

    def bwd(residuals: Any, dy: Any) -> Any:
        found = list(op.bwd(residuals, dy))
        found[argument] = change(found[argument])
        return tuple(found)

    return with_backward(op, bwd)


def doubtful(found: oracle.Located) -> list[str]:
    return [row.stage for row in found.rows if not row.passed]


# ------------------------------------------------------------------------------------------------------ nets of purenet


@pytest.fixture(scope="module")
def transformer() -> locating.Net:
    return locating.transformer(2)


def test_a_right_net_passes_and_costs_no_verification(transformer: locating.Net) -> None:
    found = oracle.locate(transformer.op, *transformer.primals, options=transformer.options)
    assert found.passed
    assert bool(found)
    assert found.first_wrong is None
    assert [row.stage for row in found.rows[:3]] == ["loss", "net.head", "net.norm"]
    assert all(row.verification is None for row in found.rows)
    assert found.between is not None
    assert found.between.verdict is Verdict.PASS
    assert "17 stages, all right, and so is the whole net" in str(found)


PLANTED = {
    "a bias of one block": ("net.block2.net.net.up", 0, lambda p: {**p, "b": p["b"] * 1.001}),
    "one entry of a weight": ("net.block1.net.net.down", 0, lambda p: {**p, "w": p["w"] * (1 + 1e-4 * np.eye(*p["w"].shape))}),
    "the input of a norm": ("net.block1.net.norm", 1, lambda dx: dx + 1e-6 * np.abs(dx).max()),
    "the rows of the embedding": ("net.embedding", 0, lambda p: {"w": p["w"] * (1 + 1e-5)}),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_small_error_in_one_stage_is_seen_and_no_other_stage_is_accused(transformer: locating.Net, what: str) -> None:
    path, argument, change = PLANTED[what]
    wrong = locating.planted(transformer.op, path, lambda op: times(op, argument, change))
    found = oracle.locate(wrong, *transformer.primals, options=transformer.options)
    assert doubtful(found) == [path]
    assert found.first_wrong is found.wrong[0]
    assert not found.passed
    assert found.between is None
    with pytest.raises(AssertionError, match="first wrong stage in the order of the backward pass is"):
        found.raise_for_failures()


def test_every_wrong_stage_is_named_the_last_one_first(transformer: locating.Net) -> None:
    wrong = transformer.op
    for path in ("net.block1.net.net.down", "net.norm"):
        wrong = locating.planted(wrong, path, lambda op: times(op, 1, lambda dx: 2 * dx))
    found = oracle.locate(wrong, *transformer.primals, options=transformer.options)
    assert doubtful(found) == ["net.norm", "net.block1.net.net.down"]
    assert found.first_wrong is not None
    assert found.first_wrong.cause.startswith("constant factor: x is 2 times the true gradient")
    assert found.sentence.endswith("is net.norm (layer_norm). net.block1.net.net.down is wrong, too.")
    assert str(found).count("<- first") == 1


def test_planted_mistakes_of_the_power_test_are_located() -> None:
    """Some of them; `python -m benchmarks.locating` tries hundreds, in bigger nets. Each runs in a fork, which JAX warns of."""
    program = """
from itertools import islice
from benchmarks import locating
nets = [locating.transformer(1), locating.residual_net(1)]
print(*(outcome.kind for outcome in islice(locating.outcomes(nets, 5), 8)), sep=",")
"""
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment()
    )
    kinds = found.stdout.strip().split(",")
    assert len(kinds) == 8
    assert set(kinds) <= {"right", "equivalent"}, kinds
    assert "right" in kinds


PARAMS: dict[str, Any] = {"w": normal(4, 4), "b": normal(4)}
BRANCH = pn.residual(pn.chain(affine=pn.affine, tanh=pn.tanh))


def test_a_residual_path_that_is_lost_is_between_the_stages() -> None:
    lost = with_backward(BRANCH, lambda residuals, dy: BRANCH.op.bwd(residuals.saved, dy))
    params = {name: {"affine": PARAMS} for name in ("one", "two", "three")}
    right = oracle.locate(pn.chain(one=BRANCH, two=BRANCH, three=BRANCH), params, normal(5, 4))
    assert right.passed, str(right)
    found = oracle.locate(pn.chain(one=BRANCH, two=lost, three=BRANCH), params, normal(5, 4))
    assert doubtful(found) == []
    assert found.between is found.first_wrong
    assert found.between is not None
    assert found.between.stage == "two"
    assert not found.passed
    assert found.sentence == "All 6 stages are right: the mistake is between the stages of two."


class Overwriting(Chain):
    """A chain that forgets to add the gradients of parameters that are used twice."""

    def _cotangents(self, name: str, residuals: Any, dy: Any, grads: dict[str, Any]) -> Any:
        found = self.stages[name].bwd(residuals.saved[name], dy)
        grads[self.ties.get(name, name)] = found[0]
        return found[-1]


def test_a_gradient_of_shared_parameters_that_is_overwritten_is_between_the_stages() -> None:
    params, stages = {"once": {"w": normal(4, 4)}}, {"once": pn.affine, "twice": pn.affine}
    assert oracle.locate(pn.tied(Chain(stages), twice="once"), params, normal(5, 4)).passed
    found = oracle.locate(pn.tied(Overwriting(stages), twice="once"), params, normal(5, 4))
    assert doubtful(found) == []
    assert found.first_wrong is not None
    assert found.first_wrong.stage == "the whole net"


def test_a_backward_pass_of_a_composition_that_raises_leaves_its_stages_to_be_judged() -> None:
    def broken(residuals: Any, dy: Any) -> Any:
        raise KeyError("second")

    class Broken(Chain):
        bwd = lambda self, residuals, dy: broken(residuals, dy)  # noqa: E731

    wrong = times(pn.tanh, 0, lambda dx: 3 * dx)
    found = oracle.locate(Broken({"affine": pn.affine, "tanh": wrong}), {"affine": PARAMS}, normal(5, 4))
    assert doubtful(found) == ["tanh"]
    assert found.note == "the backward pass of the net raised KeyError: 'second'"
    assert {row.note for row in found.rows} == {"no upstream gradient reached it: judged at a random one"}


def test_an_upstream_gradient_of_zeros_or_nan_is_replaced_and_the_note_says_so() -> None:
    zero, nan = times(pn.relu, 0, lambda dx: 0 * dx), times(pn.relu, 0, lambda dx: dx * np.nan)
    for last, word in ((zero, "is 0"), (nan, "not finite")):
        net = pn.chain(affine=pn.affine, tanh=times(pn.tanh, 0, lambda dx: 1.5 * dx), relu=last)
        found = oracle.locate(net, {"affine": PARAMS}, normal(5, 4))
        assert doubtful(found) == ["relu", "tanh"]
        if word == "is 0":
            assert found.rows[1].note == "the upstream gradient is 0: judged at a random one"


def test_a_stage_that_is_wrong_for_the_upstream_gradient_of_the_net_alone() -> None:
    """The random one has the same size; a backward pass that is not linear shows at the sum of both."""

    def clipped(residuals: Any, dy: Any) -> Any:
        return pn.tanh.bwd(residuals, np.minimum(dy, 0.5))

    net = [with_backward(pn.tanh, clipped), pn.tanh]
    assert doubtful(oracle.locate(net, X, dy=np.full(X.shape, 0.75))) == ["0"]


def test_entries_at_kinks_pass() -> None:
    x = np.where(np.arange(24).reshape(4, 6) % 3, X, 0.0)
    found = oracle.locate(pn.chain(relu=pn.relu, tanh=pn.tanh), {}, x)
    assert {row.stage: row.verdict for row in found.rows} == {"tanh": Verdict.PASS, "relu": Verdict.KINK}


def test_many_passing_stages_share_a_line() -> None:
    names = [f"stage{i}" for i in range(MANY + 4)]
    stages: dict[str, Op] = dict.fromkeys(names, pn.softsign)
    stages[names[7]] = times(pn.softsign, 0, lambda dx: -dx)
    text = str(oracle.locate(pn.chain(**stages), {}, X))
    assert f"{names[-1]} ... {names[8]}" in text
    assert "44 stages" in text
    assert names[20] not in text


def test_an_argument_with_a_small_share_has_a_direction_to_itself() -> None:
    """A factor in the gradient of one bias that moves the value by 1e-9 of what the weights do."""
    small = {"w": normal(6, 5), "b": 1e-9 * normal(5)}
    assert oracle.locate([(pn.affine, small)], X).passed
    wrong = times(pn.affine, 0, lambda p: {**p, "b": 1.001 * p["b"]})
    assert doubtful(oracle.locate([(wrong, small)], X)) == ["0"]


def test_stages_whose_noise_is_not_measured(transformer: locating.Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of large ones, for which it would take hundreds of evaluations."""
    monkeypatch.setattr(directions, "LARGE", 0)
    assert oracle.locate(transformer.op, *transformer.primals, options=transformer.options).passed
    path, argument, change = PLANTED["a bias of one block"]
    wrong = locating.planted(transformer.op, path, lambda op: times(op, argument, change))
    assert doubtful(oracle.locate(wrong, *transformer.primals, options=transformer.options)) == [path]


def test_slopes_tell_what_is_wrong_decided_and_hidden() -> None:
    right = (2 * X).ravel()
    lines = directions.Lines(lambda x: x * x, (X,), np.ones(X.shape), [right], 0)
    slope = lines.along(lines.everything)
    assert slope.decided
    assert not slope.wrong
    assert lines.hidden(slope) == []
    other = directions.Lines(lambda x: x * x, (X,), np.ones(X.shape), [1.00001 * right], 0)
    assert other.along([0]).wrong


def test_a_part_without_any_effect_is_told_from_one_with_a_small_gradient() -> None:
    """A shift of all logits has no effect on a softmax. The differences along it are 0, and its gradient is rounding."""

    def softmax(x: Any, shift: Any) -> Any:
        e = np.exp(x + shift - (x + shift).max())
        return e / e.sum()

    def saturated(x: Any, shift: Any) -> Any:
        return x + np.maximum(shift, 0)

    x, shift, rounding = normal(7), np.array(-0.5), np.array([1e-20])
    for value, right in ((softmax, True), (saturated, False)):
        lines = directions.Lines(value, (x, shift), 1e-3 * normal(7), [np.zeros(7), rounding], 0)
        slope = lines.along([1])
        assert slope.vanishes
        assert lines.without_effect(1) is right
        assert not lines.without_effect(0)
    assert not directions.Lines(softmax, (x, shift), normal(7), [np.zeros(7), np.array([1e-3])], 0).along([1]).vanishes


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


# ------------------------------------------------------------------------------------------------------ what is allowed


def rounding(factor: float = 1.0) -> Any:
    """A straight-through estimator: the value is rounded, and the gradient is that of the identity."""
    return lambda x: (np.round(4 * x) / 4, None), lambda _, dy: (factor * dy,)


def reversal(factor: float = -1.0) -> Any:
    return lambda x: (x.copy(), None), lambda _, dy: (factor * dy,)


def clipping(_: float = 1.0) -> Any:
    return lambda x: (x.copy(), None), lambda _, dy: (np.clip(dy, -0.1, 0.1),)


MEANT: dict[str, tuple[Callable[..., Any], Any]] = {
    "a straight-through estimator": (rounding, lambda x: x),
    "a reversed gradient": (reversal, lambda x: -x),
    "a clipped gradient": (clipping, None),
}


@pytest.mark.parametrize("what", MEANT)
def test_a_stage_that_is_meant_to_be_no_derivative_is_allowed_by_its_name(what: str) -> None:
    make, function = MEANT[what]
    net = pn.chain(affine=pn.affine, special=op_of(make()), tanh=pn.tanh)
    given = {"affine": PARAMS}, normal(5, 4)
    assert doubtful(oracle.locate(net, *given)) == ["special"]
    found = oracle.locate(net, *given, allows=["special"])
    assert found.passed, str(found)
    assert found.rows[1].verdict is Verdict.ACCEPTED
    assert "its gradient is no derivative, as allowed" in str(found)
    assert found.between is None
    assert "the whole net" not in str(found)
    if function is not None:
        judged = oracle.locate(net, *given, allows={"special": function})
        assert judged.rows[1].verdict is Verdict.PASS, str(judged)
        wrong = pn.chain(affine=pn.affine, special=op_of(make(3.0)), tanh=pn.tanh)
        assert doubtful(oracle.locate(wrong, *given, allows={"special": function})) == ["special"]


def op_of(pair: Any) -> Op:
    made = Op(pair[0])
    made.pullback(pair[1])
    return made


def test_what_is_allowed_excuses_no_other_stage_and_no_wrong_shape() -> None:
    wrong = times(pn.tanh, 0, lambda dx: 3 * dx)
    found = oracle.locate({"round": rounding(), "tanh": wrong}, X, allows=["round"])
    assert doubtful(found) == ["tanh"]
    flat = (lambda x: (x.copy(), None), lambda _, dy: (dy.ravel(),))
    found = oracle.locate({"flat": flat, "tanh": pn.tanh}, X, allows=["flat"])
    assert doubtful(found) == ["flat"]
    assert "(24,)" in found.wrong[0].cause


def test_parts_without_an_allowed_stage_are_still_compared() -> None:
    lost = with_backward(BRANCH, lambda residuals, dy: BRANCH.op.bwd(residuals.saved, dy))
    params = {name: {"affine": PARAMS} for name in ("one", "two")}
    right = oracle.locate(pn.chain(one=BRANCH, special=op_of(reversal()), two=BRANCH), params, normal(5, 4), allows=["special"])
    assert right.passed, str(right)
    found = oracle.locate(pn.chain(one=BRANCH, special=op_of(reversal()), two=lost), params, normal(5, 4), allows=["special"])
    assert found.first_wrong is not None
    assert found.first_wrong.stage == "two"


# ------------------------------------------------------------------------------------------------------ torch


def test_modules_of_torch_are_run_once_and_judged_one_by_one() -> None:
    torch = pytest.importorskip("torch")

    class Wrong(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.tanh(x)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            (x,) = ctx.saved_tensors
            return dy * (1 - torch.tanh(x))

    class Active(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return Wrong.apply(x)

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, active: Any, *, after: bool = False) -> None:
            super().__init__()
            self.norm, self.linear, self.active, self.after = torch.nn.LayerNorm(8), torch.nn.Linear(8, 8), active, after

        def forward(self, x: Any) -> Any:
            h = self.active(self.linear(self.norm(x)))
            return x + (Wrong.apply(h) if self.after else h)

    def net(second: Any) -> Any:
        torch.manual_seed(0)
        parts = (Block(torch.nn.Tanh()), second, torch.nn.ReLU(inplace=True), torch.nn.Dropout(0.3), torch.nn.BatchNorm1d(8))
        return torch.nn.Sequential(*parts)

    x = torch.tensor(normal(5, 8), dtype=torch.float32)
    right = net(Block(torch.nn.Tanh()))
    state = {name: value.clone() for name, value in right.state_dict().items()}
    found = oracle.locate(right, x)
    assert found.passed, str(found)
    assert all(torch.equal(state[name], value) for name, value in right.state_dict().items())
    wrong = oracle.locate(net(Block(Active())), x)
    assert doubtful(wrong) == ["1.active"]
    between = oracle.locate(net(Block(torch.nn.Tanh(), after=True)), x)
    assert doubtful(between) == []
    assert between.first_wrong is not None
    assert between.first_wrong.stage == "1"


# ------------------------------------------------------------------------------------------------------ command line

NET = """
import numpy as np
import oracle
import purenet as pn

@pn.Op
def bent(x):
    return np.sin(x), x

@bent.pullback
def bent_bwd(x, dy):
    return (2 * dy * np.cos(x),)

x = np.array([1.0, -2.0, 3.0])
right_net = pn.chain(first=pn.tanh, second=pn.sigmoid)
wrong_net = pn.chain(bent=bent, second=pn.sigmoid)
right = oracle.Spec(right_net, cases=(oracle.Case("typical", ({}, x)), oracle.Case("other", ({}, 2 * x))))
wrong = oracle.Spec(wrong_net, cases=(oracle.Case("typical", ({}, x)),))
"""


def test_the_command_names_the_wrong_stage(run: Run, module: Module) -> None:
    module("mynet", NET)
    code, out, _ = run("locate", "mynet:right_net")
    assert code == Exit.PASS
    assert "2 stages, all right, and so is the whole net." in out
    assert run("locate", "mynet:wrong_net", "--allows", "bent")[0] == Exit.PASS
    code, out, _ = run("locate", "mynet:wrong_net", "--seed", 3)
    assert code == Exit.FAIL
    assert "The first wrong stage in the order of the backward pass is bent (bent)." in out
    assert "bent: constant factor: x is 2 times the true gradient" in out


def test_the_command_takes_nets_of_the_catalogue_and_cases(run: Run, module: Module) -> None:
    code, out, _ = run("locate", "two_layer_net")
    assert code == Exit.PASS
    assert out.startswith("two_layer_net_goal / batch of 4\n")
    module("mynet", NET)
    assert run("locate", "mynet:right_net", "--case", "other")[1].startswith("chain(first, second) / other\n")
    code, _, err = run("locate", "mynet:right_net", "--case", "third")
    assert code == Exit.NOTHING
    assert "no case of mynet:right_net is named 'third'" in err
    code, _, err = run("locate", "adam")
    assert code == Exit.USAGE
    assert "adam has no stages: it is followed step by step" in err
