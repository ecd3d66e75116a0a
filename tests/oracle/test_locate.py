"""`oracle.locate`: the stage that is wrong is named, and no other; for every kind of net."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
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
from tests.oracle.nets import BRANCH, PARAMS, X, doubtful, normal, times

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
print(*(outcome.kind for outcome in islice(locating.outcomes(nets, 5), 5)), sep=",")
"""
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment()
    )
    kinds = found.stdout.strip().split(",")
    assert len(kinds) == 5
    assert set(kinds) <= {"right", "equivalent"}, kinds
    assert "right" in kinds


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
