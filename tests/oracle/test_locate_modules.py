"""`oracle.locate` for modules of torch."""

from __future__ import annotations

from typing import Any

import pytest

import oracle
from tests.oracle.nets import doubtful, normal


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
