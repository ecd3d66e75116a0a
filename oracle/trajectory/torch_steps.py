"""Optimizers of torch, which are bound to their parameters, as `init(params)` and `step(grads, state, params)`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.tensors import array_of, tensor

__all__ = ["TorchState", "by_torch", "is_torch_class", "is_torch_optimizer"]

Array = NDArray[Any]
Params = dict[str, Array]


def is_torch_optimizer(given: Any) -> bool:
    """Whether this is an optimizer of torch, bound to its parameters."""
    torch = sys.modules.get("torch")  # an object of a library that is not imported cannot exist
    return torch is not None and isinstance(given, torch.optim.Optimizer)


def is_torch_class(given: Any) -> bool:
    """Whether this is a class of torch's optimizers, or of the user's that inherits from it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, type) and issubclass(given, torch.optim.Optimizer)


class TorchState:
    """An optimizer of torch with the parameters that it was made for."""

    def __init__(self, optimizer: Any, parameters: dict[str, Any]) -> None:
        self.optimizer = optimizer
        self.parameters = parameters

    @property
    def slots(self) -> dict[str, dict[str, Any]]:
        """What torch keeps for each parameter, by the name of the parameter."""
        return {
            name: {str(key): array_of(slot) if hasattr(slot, "detach") else slot for key, slot in own.items()}
            for name, parameter in self.parameters.items()
            if (own := self.optimizer.state.get(parameter))
        }


def by_torch(what: str, factory: Callable[[list[Any]], Any], params: Params) -> tuple[Any, Any, Any, str]:
    """`init`, `step`, the hyperparameters that torch has of the optimizer which `factory(parameters)` makes, and its name."""

    def init(params: Params) -> TorchState:
        import torch

        parameters = {name: torch.nn.Parameter(tensor(p)) for name, p in params.items()}
        made = factory(list(parameters.values()))
        if not isinstance(made, torch.optim.Optimizer):
            raise TypeError(f"{what}, a function of one argument, must make an optimizer of torch, got {type(made).__name__}")
        held = {id(p) for group in made.param_groups for p in group["params"]}
        if held != {id(p) for p in parameters.values()}:
            raise ValueError(f"{what} must make an optimizer of the parameters that it gets, all of them and no other")
        return TorchState(made, parameters)

    def step(grads: Params, state: TorchState, params: Params) -> tuple[Params, TorchState]:
        import torch

        with torch.no_grad():
            for name, parameter in state.parameters.items():
                parameter.copy_(tensor(params[name]))
                parameter.grad = tensor(grads[name])
        try:
            state.optimizer.step()
        except TypeError as error:
            raise TypeError(f"{what} must be an optimizer whose step() needs no closure: {error}") from None
        return {name: np.asarray(array_of(p)) for name, p in state.parameters.items()}, state

    made = init(params).optimizer
    groups = [{name: value for name, value in group.items() if name != "params"} for group in made.param_groups]
    return init, step, groups, type(made).__name__
