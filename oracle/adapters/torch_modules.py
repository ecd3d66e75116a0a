"""Modules of torch as pairs that hold their parameters."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optree

from oracle.adapters.chance import Chance
from oracle.adapters.pairs import Bound
from oracle.adapters.torch_functions import in_float64, of_torch, torch_reference
from oracle.tensors import array_of, is_tensor

__all__ = ["of_torch_module", "reference_for_module"]


def of_torch_module(module: Any) -> Bound:
    """A module of torch, as a function of its parameters and its inputs: `verify(module, x)` has a row for each parameter.

    The module itself is never called: a copy is, on the CPU. Each evaluation begins with the same buffers (the running
    statistics of batch norm) and the same random numbers. A parameter without `requires_grad` is one of the buffers, and one
    that two layers share is one parameter. The mode, training or evaluation, is that of the module.
    """
    called = _Called(module)
    return Bound(of_torch(called), {name: array_of(p) for name, p in called.params.items()})


def reference_for_module(module: Any, reference: Any) -> Callable[..., Any]:
    """Another module with the same parameters as a reference: it computes with those of `module`."""
    ours, theirs = _Called(module), _Called(reference)
    if ours.params.keys() != theirs.params.keys():
        apart = ", ".join(sorted(ours.params.keys() ^ theirs.params.keys()))
        raise ValueError(
            f"verify: the reference {theirs.__name__} must have the parameters of {ours.__name__}; only one has {apart}"
        )
    return torch_reference(theirs)


class _Called:
    """A copy of a module as a function of its parameters and its inputs."""

    def __init__(self, module: Any) -> None:
        import torch

        self.__name__ = type(module).__name__
        self.__module__ = type(module).__module__
        if any(torch.nn.parameter.is_lazy(p) for p in module.parameters()):
            raise ValueError(f"verify: {self.__name__} has parameters without a shape: call the module once")
        try:
            self.module = copy.deepcopy(module).cpu()
        except Exception as error:
            raise TypeError(f"verify: {self.__name__} cannot be copied: {type(error).__name__}: {error}") from error
        self.params = {n: p.detach() for n, p in self.module.named_parameters() if p.requires_grad}
        everything = (*self.module.named_parameters(), *self.module.named_buffers())
        self.frozen = {n: t.detach().clone() for n, t in everything if n not in self.params}
        self.chance = Chance()
        self.stays_narrow = False
        """Whether something in it stays in a narrower dtype where all that is given is float64, as a constant would."""
        first = inspect.Parameter("params", inspect.Parameter.POSITIONAL_ONLY)
        parameters = inspect.signature(module.forward).parameters.values()
        self.__signature__ = inspect.Signature([first, *(p for p in parameters if p.name != "params")])

    def note(self) -> str:
        """What is to be known about every row."""
        mode = "training mode" if self.module.training else "evaluation mode"
        return "; ".join(part for part in (f"the module is in {mode}", self.chance.note()) if part)

    def __call__(self, params: Mapping[str, Any], *inputs: Any, **options: Any) -> Any:
        tree: Any = (params, inputs)
        floats = [a.dtype for a in optree.tree_leaves(tree) if is_tensor(a) and a.is_floating_point()]
        wide = bool(floats) and all(str(dtype) == "torch.float64" for dtype in floats)
        if self.stays_narrow and wide:
            with in_float64():
                return self._value(params, inputs, options, wide=True)
        try:
            return self._value(params, inputs, options, wide=wide)
        except RuntimeError as error:
            if "dtype" not in str(error):
                raise
            if len(set(floats)) > 1:
                kinds = " and ".join(sorted({str(dtype).removeprefix("torch.") for dtype in floats}))
                raise TypeError(
                    f"its parameters and inputs are {kinds}: give all in one dtype, for example with module.double() ({error})"
                ) from error
            if not wide:
                raise
        self.stays_narrow = True
        with in_float64():
            return self._value(params, inputs, options, wide=True)

    def _value(self, params: Mapping[str, Any], inputs: Any, options: Any, *, wide: bool) -> Any:
        import torch

        frozen = {n: t.double() if wide and t.is_floating_point() else t for n, t in self.frozen.items()}
        state = {**params, **{n: t.clone() for n, t in frozen.items()}}
        with self.chance.begun():
            value = torch.func.functional_call(self.module, state, inputs, options)
        return dict(value) if isinstance(value, Mapping) else value
