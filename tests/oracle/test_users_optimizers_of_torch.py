"""Optimizers of torch, and checks where JAX or torch are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optax
import pytest

from oracle.trajectory.users_optimizers import verify_optimizer
from purenet import optimizers
from tests.oracle.learners_optimizers import ADAM, ADAMW, L2, MOMENTUM, NESTEROV

ROOT = Path(__file__).parents[2]

# ------------------------------------------------------------------------------------------------- without JAX, torch


def test_a_reference_of_purenet_needs_no_jax() -> None:
    code = """
import sys
for name in ("jax", "jaxlib", "optax", "equinox"):
    sys.modules[name] = None
import oracle, purenet as pn
class SGD:
    def update(self, params, grads):
        for key in params:
            params[key] -= 0.1 * grads[key]
assert oracle.verify_optimizer(SGD(), like=pn.optimizers.sgd(0.1)).passed
assert oracle.verify_schedule(lambda count: 0.5, like=pn.schedules.constant_schedule(0.5)).passed"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


OF_TORCH = [
    ("SGD", {"lr": 0.1}, optax.sgd(0.1)),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, MOMENTUM),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, NESTEROV),
    ("SGD", {"lr": 0.1, "weight_decay": 0.01}, optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1))),
    ("Adam", {}, ADAM),
    ("Adam", {"foreach": True}, ADAM),
    ("Adam", {"weight_decay": 0.01}, L2),
    ("AdamW", {"weight_decay": 0.01}, ADAMW),
    ("RMSprop", {"lr": 0.01}, optax.rmsprop(0.01, 0.99, 1e-8, eps_in_sqrt=False)),
    ("Adagrad", {"lr": 0.1}, optimizers.adagrad(0.1, 0.0, 1e-10, eps_in_sqrt=False)),
    ("NAdam", {"lr": 0.01}, optimizers.nadam(0.01, momentum_decay=0.004)),
]


@pytest.mark.parametrize(("name", "options", "like"), OF_TORCH, ids=[f"{name} {options}" for name, options, _ in OF_TORCH])
def test_an_optimizer_of_torch_passes_either_way(name: str, options: dict[str, Any], like: Any) -> None:
    torch = pytest.importorskip("torch")

    def factory(params: Any) -> Any:
        return getattr(torch.optim, name)(params, **options)

    result = verify_optimizer(factory, like=like)
    assert result.passed, str(result)
    assert result.name == f"torch.optim.{name}"
    assert verify_optimizer(like, like=factory, dtypes=("float64",)).passed


def test_torch_is_recognized_and_its_mistakes_are_named() -> None:
    torch = pytest.importorskip("torch")
    coupled = verify_optimizer(lambda params: torch.optim.Adam(params, weight_decay=0.01), like=ADAMW, dtypes=("float64",))
    assert "the weight decay is coupled" in coupled.diagnosis
    assert coupled.first == (1, "state.exp_avg.b1")
    for optimizer, told in (
        (torch.optim.Adamax, "adamax"),
        (lambda params: torch.optim.Adam(params, amsgrad=True), "amsgrad"),
    ):
        itself = verify_optimizer(optimizer, like=optimizer, dtypes=("float64",))
        assert itself.passed
        assert told in itself.rows[0].reference

    class Uphill(torch.optim.Optimizer):  # type: ignore[misc, name-defined]
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1})

        def step(self, closure: Any = None) -> None:
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p += self.param_groups[0]["lr"] * p.grad

    own = verify_optimizer(Uphill, like=torch.optim.SGD, dtypes=("float64",))
    assert "the learning rate is multiplied by -100" in own.diagnosis
    tensor = verify_optimizer(lambda params: torch.optim.Adam(params, lr=torch.tensor(1e-3)), like=torch.optim.Adam)
    assert tensor.passed
    assert any("computes with numbers in float32 (lr)" in row.note for row in tensor.rows)
    bound = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))])
    with pytest.raises(TypeError, match=r"give `lambda params: torch.optim.SGD\(params, ...\)`, got an object of SGD"):
        verify_optimizer(bound, like=ADAM)
    with pytest.raises(ValueError, match="mine must make an optimizer of the parameters that it gets"):
        verify_optimizer(lambda params: bound, like=ADAM)
    with pytest.raises(TypeError, match="mine, a function of one argument, must make an optimizer of torch, got list"):
        verify_optimizer(lambda params: params, like=ADAM)
    with pytest.raises(TypeError, match=r"must be an optimizer whose step\(\) needs no closure"):
        verify_optimizer(torch.optim.LBFGS, like=ADAM)
