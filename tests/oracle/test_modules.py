"""Modules of torch and equinox as they are: each parameter is a row, a wrong one is named, and the module stays what it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from oracle import Flag, Verdict
from tests.test_docs import words

X = np.random.default_rng(7).standard_normal((4, 3)).astype(np.float32)


def verdicts(result: Any) -> dict[str, Verdict]:
    return {row.parameter: row.verdict for row in result.rows}


def failing(result: Any) -> list[str]:
    return [row.parameter for row in result.rows if not row.passed]


# ------------------------------------------------------------------------------------------ equinox


def normalized(x: Any, w: Any) -> Any:
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w


def with_rule(factor: float) -> Any:
    """RMSNorm with a rule, whose gradient by the weights is multiplied by a factor."""
    rule = jax.custom_vjp(normalized)

    def bwd(residuals: Any, dy: Any) -> Any:
        dx, dw = jax.vjp(normalized, *residuals)[1](dy)
        return dx, factor * dw

    rule.defvjp(lambda x, w: (normalized(x, w), (x, w)), bwd)
    return rule


class Layer(eqx.Module):
    """A module with arrays, a module, a function, a number and a string in it."""

    w: Any
    linear: eqx.nn.Linear
    rule: Any = eqx.field(static=True)
    activation: Any = jnp.tanh
    steps: int = 3
    unit: str = "m"

    def __call__(self, x: Any, mask: Any = None, *, key: Any = None) -> Any:
        y = self.activation(jax.vmap(self.linear)(self.rule(x, self.w)))
        return y if mask is None else jnp.where(mask, y, 0)


def layer(factor: float) -> Layer:
    return Layer(jnp.linspace(0.5, 1.5, 3), eqx.nn.Linear(3, 2, key=jax.random.key(0)), with_rule(factor))


PARAMETERS = {"params.w", "params.linear.weight", "params.linear.bias"}


def test_each_parameter_of_an_equinox_module_is_a_row() -> None:
    result = oracle.verify(layer(1.0), X)
    assert result.passed, result
    assert verdicts(result).keys() == PARAMETERS | {"x"}
    assert {(row.op, row.dtype) for row in result.rows} == {("Layer", "float32")}


@pytest.mark.parametrize("given", [(), (np.array([[True], [False], [True], [True]]),)])
def test_the_wrong_parameter_of_an_equinox_module_is_named(given: Any) -> None:
    result = oracle.verify(layer(1.01), X, *given, options={"key": jax.random.key(1)})
    assert failing(result) == ["params.w"]
    assert "1.01 times the true gradient" in str(result)


def test_an_equinox_module_inside_an_argument() -> None:
    pair = oracle.adapters.of_jax(lambda both, x: both["layer"](x) * both["scale"])
    result = oracle.verify(pair, {"layer": layer(1.01), "scale": jnp.float32(2), "name": "a"}, jnp.asarray(X))
    assert failing(result) == ["both.layer.w"]
    assert verdicts(result).keys() == {"both." + p.replace("params", "layer") for p in PARAMETERS} | {"both.scale", "x"}


# ------------------------------------------------------------------------------------------ torch


@pytest.fixture
def torch() -> Any:
    found = pytest.importorskip("torch")
    found.manual_seed(0)
    return found


def rms_norm(torch: Any, factor: float) -> Any:
    """A module with a Function of its own, whose gradient by the weights is multiplied by a factor."""

    class Rule(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any, eps: float) -> Any:
            scale = (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
            ctx.save_for_backward(x, w, scale)
            return x * scale * w

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, w, scale = ctx.saved_tensors
            unit, g = x * scale, dy * w
            return scale * (g - unit * (g * unit).mean(-1, keepdim=True)), factor * (dy * unit).sum(0), None

    class RMSNorm(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.linspace(0.5, 1.5, 3))

        def forward(self, x: Any) -> Any:
            return Rule.apply(x, self.weight, 1e-5)

    return RMSNorm()


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_a_module_with_a_function_of_its_own(torch: Any, factor: float, dtype: str) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), rms_norm(torch, factor)).to(getattr(torch, dtype))
    result = oracle.verify(net, torch.tensor(X, dtype=getattr(torch, dtype), requires_grad=True))
    assert verdicts(result).keys() == {"params.0.weight", "params.0.bias", "params.1.weight", "input"}
    assert failing(result) == ([] if factor == 1 else ["params.1.weight"]), result
    assert {(row.op, row.dtype) for row in result.rows} == {("Sequential", dtype)}
    assert "training mode" in result.rows[0].note


def test_a_module_as_the_reference_of_a_module(torch: Any) -> None:
    class Plain(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, power: float = 2) -> None:
            super().__init__()
            self.weight, self.power = torch.nn.Parameter(torch.ones(3)), power

        def forward(self, x: Any) -> Any:
            return x / (x.pow(self.power).mean(-1, keepdim=True) + 1e-5).sqrt() * self.weight

    right = oracle.verify(rms_norm(torch, 1.0), X, reference=Plain())
    assert right.passed, right
    assert {row.reference for row in right.rows} == {"Plain"}
    assert not oracle.verify(rms_norm(torch, 1.0), X, reference=Plain(4)).passed
    with pytest.raises(ValueError, match="the reference Linear must have the parameters of RMSNorm; only one has bias"):
        oracle.verify(rms_norm(torch, 1.0), X, reference=torch.nn.Linear(3, 3))


def batch_normalized(torch: Any) -> Any:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Dropout(0.4), torch.nn.Linear(4, 2)
    )


def test_a_module_stays_what_it_was(torch: Any) -> None:
    net = batch_normalized(torch)
    net[4].bias.requires_grad_(False)
    net(torch.tensor(X)).sum().backward()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    drawn = torch.random.get_rng_state()
    oracle.verify(net, torch.tensor(X))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(p.grad, gradients[n]) for n, p in net.named_parameters() if p.grad is not None)
    assert [p.requires_grad for p in net.parameters()] == [True] * 5 + [False]
    assert net.training
    assert torch.equal(drawn, torch.random.get_rng_state())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_bias_before_batch_norm_is_zero_by_right(torch: Any, dtype: str) -> None:
    """Training mode: batch statistics, whose running means begin anew in each evaluation, and one mask of dropout."""
    net, x = batch_normalized(torch).to(getattr(torch, dtype)), torch.tensor(X, dtype=getattr(torch, dtype))
    result = oracle.verify(net, x)
    assert failing(result) == ["params.0.bias"], result
    assert verdicts(result)["params.0.bias"] is Verdict.VACUOUS
    assert result.rows[0].note == "the module is in training mode; it draws random numbers, from the fixed seed 0"
    declared = oracle.verify(net, x, flags=frozenset({Flag.ZERO_GRADIENT}))
    assert declared.passed, declared
    trained = oracle.verify(net.eval(), x)
    assert trained.passed, trained
    assert trained.rows[0].note == "the module is in evaluation mode"


def test_shared_frozen_and_unused_parameters(torch: Any) -> None:
    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(5, 3)
            self.out = torch.nn.Linear(3, 5)
            self.out.weight = self.embedding.weight
            self.out.bias.requires_grad_(False)
            self.unused = torch.nn.Parameter(torch.ones(2))
            self.register_buffer("places", torch.arange(4.0).reshape(4, 1))

        def forward(self, index: Any, mask: Any, scale: float, extra: Any = None) -> Any:
            hidden = (self.embedding(index) * scale + self.places) @ torch.eye(3)  # float32 beside float64
            y = self.out(hidden.masked_fill(mask[:, None], 0))
            return {"logits": y, "best": y.argmax(-1)}

    result = oracle.verify(Net(), torch.tensor([1, 2, 2, 4]), torch.tensor([True, False, False, False]), 0.5, None)
    assert verdicts(result) == {"params.embedding.weight": Verdict.PASS, "params.unused": Verdict.PASS}, result
    unused = next(row for row in result.rows if row.parameter == "params.unused")
    assert unused.diagnosis == "torch returned None, and the true gradient is zero"


def test_a_parameter_that_the_rule_forgets(torch: Any) -> None:
    class Rule(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(w)
            return x * w

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy * ctx.saved_tensors[0], None

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(3))
            self.linear = torch.nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.linear(Rule.apply(x, self.scale))

    result = oracle.verify(Net(), X)
    assert failing(result) == ["params.scale"]
    assert result.rows[0].diagnosis.startswith("the backward pass returned None, which torch takes for zero: ")


def test_what_cannot_be_verified_is_said_in_one_line(torch: Any) -> None:
    with pytest.raises(ValueError, match="LazyLinear has parameters without a shape: call the module once"):
        oracle.verify(torch.nn.LazyLinear(3), X)
    net = torch.nn.Linear(3, 2)
    net.kept = net(torch.tensor(X))  # an activation that torch refuses to copy
    with pytest.raises(TypeError, match="Linear cannot be copied: RuntimeError: Only Tensors created explicitly"):
        oracle.verify(net, X)
    only = oracle.verify(torch.nn.Linear(3, 2), X.astype(np.float64)).rows[0]
    assert only.verdict is Verdict.ERROR
    assert "its parameters and inputs are float32 and float64: give all in one dtype" in only.diagnosis


@pytest.mark.parametrize("name", ["start.md", "torch_and_jax.md", "tutorials/torch_bfloat16.md"])
def test_the_code_of_a_page_that_needs_torch(
    name: str, torch: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks that neither `test_docs` nor the build of the site runs."""
    monkeypatch.setenv("COLUMNS", "88")
    page = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "page", "oracle": oracle}
    for language, block in re.findall(r"^```(py|txt)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language == "py":
            capsys.readouterr()
            exec(compile(block, name, "exec"), names)  # noqa: S102 - our own page
        else:
            assert words(capsys.readouterr().out) == words(block)
