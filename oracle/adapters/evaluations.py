"""A user's object with its parameters, and one evaluation of its two passes, each on a copy of the object as it was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import optree

from oracle.adapters.calling import (
    accepted,
    as_gradient,
    as_value,
    called,
    inputs_of,
    keywords_of,
    one_for_each,
    parameters_of,
    seeded,
)
from oracle.adapters.copying import Original
from oracle.adapters.finding import MISSING, Parameter, at, put

__all__ = ["BACKWARD", "Held", "Run", "bits", "copied", "loss_of", "upstream_of"]

BACKWARD = ("backward", "backprop", "bprop")
OUTPUTS = ("output", "outputs", "out")
"""Where a forward pass that returns None keeps its value."""
INPUTS = ("dinputs", "dinput", "dx")
"""Where a backward pass that returns None keeps the gradient of its input, if that has another name: `dinputs` for `y_pred`."""
IGNORES = "{} ignores its argument, whose default is that of a loss: it is right as the last layer only"
WRITES = "{} writes to its argument (a branch that uses it again gets other numbers)"

LEFT_NONE = "after its backward pass {} holds no gradient of {}{}"


@dataclass
class Held:
    """The user's object as it was given, its parameters, and what is to be known about it."""

    original: Original
    parameters: list[Parameter]
    seed: int | None
    notes: dict[str, None] = field(default_factory=dict)
    takes_prediction: bool = False
    """Whether the backward pass gets the prediction in place of the upstream gradient (see `losses`)."""

    @property
    def primals(self) -> tuple[dict[str, Any], ...]:
        """The parameters by their names, as the first argument of both passes; none if there are none."""
        found = {p.name: np.array(at(self.original.object, p.places[0])) for p in self.parameters}
        return (found,) if found else ()

    def prepare(self, who: str) -> None:
        """Sets the gradients that the object holds already to zero, as a loop of training does before each step."""
        for parameter in self.parameters:
            for path in (p for candidates in parameter.gradients for p in candidates if not isinstance(p, int)):
                value = at(self.original.object, path)
                if isinstance(value, np.ndarray) and value.flags.writeable:
                    value[...] = 0
        self._check_copies(who)

    @cached_property
    def held(self) -> list[tuple[Parameter, Any]]:
        """The parameters with what the object holds for them: arrays are replaced by their identity, numbers by their place."""
        return [(p, at(self.original.object, p.places[0])) for p in self.parameters]

    def rebuilt(self, arrays: Mapping[str, Any]) -> Any:
        """A copy of the object with these arrays as its parameters."""
        made = self.original.with_arrays({id(v): arrays[p.name] for p, v in self.held if isinstance(v, np.ndarray)})
        for parameter, value in self.held:
            if not isinstance(value, np.ndarray):
                for place in parameter.places:
                    put(made, place, type(value)(arrays[parameter.name]))
        return made

    def _check_copies(self, who: str) -> None:
        """An error if a parameter is not copied with the object."""
        made = self.rebuilt(self.primals[0] if self.parameters else {})
        for parameter, value in self.held:
            if isinstance(value, np.ndarray) and at(made, parameter.places[0]) is value:
                raise TypeError(
                    f"{who}: the array {parameter.name} is not copied with the object (is it an attribute of the class?): make "
                    "it an attribute of the object"
                )


@dataclass
class Run:
    """One evaluation: the object and what it gets. Both passes begin with a copy of the object as it was given."""

    subject: Held
    primals: tuple[Any, ...]
    options: dict[str, Any]
    only_backward: dict[str, Any] = field(default_factory=dict)
    """Options for which the backward pass has a parameter, and the forward pass has none."""

    @property
    def arrays(self) -> dict[str, Any]:
        return dict(self.primals[0]) if self.subject.parameters else {}

    @property
    def backward_options(self) -> dict[str, Any]:
        return {**self.options, **self.only_backward}

    @property
    def inputs(self) -> tuple[Any, ...]:
        return self.primals[1:] if self.subject.parameters else self.primals

    def rebuilt(self) -> Any:
        return self.subject.rebuilt(copied(self.arrays))

    def forward(self, name: str, made: Any = None) -> tuple[Any, Any]:
        """The object after its forward pass, and the value; `made` is another copy of it than that with the arguments."""
        made, given = self.rebuilt() if made is None else made, copied(self.inputs)
        value = called(getattr(made, name), given, copied(self.options))
        if value is None:
            value = next((v for key in OUTPUTS if (v := at(made, (key,))) is not MISSING and v is not None), None)
        if value is None:
            raise TypeError(f"{type(made).__name__}.{name} returned None, and the object has no attribute {OUTPUTS[0]}")
        self._note_changes(name, given, self.inputs)
        return made, as_value(value, self.primals)

    def value(self, name: str) -> Any:
        """The value of a layer."""
        with seeded(self.subject.seed):
            value = self.forward(name)[1]
        return np.asarray(np.mean(value)) if self.subject.takes_prediction else value

    def layer_gradients(self, forward: str, backward: str, dy: Any) -> tuple[Any, ...]:
        """The gradients of the parameters and of the inputs, after a forward pass of its own."""
        by_prediction = self.subject.takes_prediction
        scale = dy if by_prediction else self._ignored(forward, backward, dy)
        with seeded(self.subject.seed):
            made, _ = self.forward(forward)
            method = getattr(made, backward)
            upstream = (self._prediction(made),) if by_prediction else () if scale is not None else upstream_of(dy, method)
            given = copied(upstream)
            keywords = keywords_of(method, self.backward_options)
            _check_call(f"{type(made).__name__}.{backward}", method, given, keywords)
            returned = method(*given, **keywords)
        self._note_changes(backward, given, upstream)
        gradients = (*self._of_parameters(made, returned), *self._of_inputs(made, forward, backward, returned))
        return tuple(_scaled(gradients, scale))

    def _prediction(self, made: Any) -> Any:
        """What a loss with a softmax before it has kept as its output, or else the input."""
        x = self.inputs[0]
        kept = (at(made, (key,)) for key in OUTPUTS)
        return next((value for value in kept if isinstance(value, np.ndarray) and value.shape == np.shape(x)), x)

    def _of_inputs(self, made: Any, forward: str, backward: str, returned: Any) -> list[Any]:
        """The gradients of the inputs: returned, or kept as attributes such as `dinputs`."""
        names = inputs_of(getattr(made, forward))
        free = [i for i, name in enumerate(names) if name not in self.options]
        taken = free[: len(self.inputs)] if len(free) >= len(self.inputs) else list(range(len(self.inputs)))
        if not taken:
            return []
        if returned is None:
            returned = [self._kept_gradient(made, names[i] if i < len(names) else "", len(taken) == 1) for i in taken]
        who, needed = f"{type(made).__name__}.{backward}", len(self._needed(made, forward))
        found = one_for_each(returned, taken, max(needed, len(taken)), who, more=self._returns_gradients())
        return [as_gradient(gradient, x) for gradient, x in zip(found, self.inputs, strict=True)]

    def _kept_gradient(self, made: Any, name: str, only: bool) -> Any:
        """The attribute with the gradient of an input; that of the only one may be called so whatever the input is called."""
        kept = (at(made, (key,)) for key in ((f"d{name}", *INPUTS) if only else (f"d{name}",)))
        return next((value for value in kept if value is not MISSING and value is not None), None)

    def _needed(self, made: Any, forward: str) -> list[str]:
        """The names of the inputs that `forward` needs: those without a default."""
        method = getattr(made, forward)
        parameters = parameters_of(method) or {}
        return [n for n in inputs_of(method) if n in parameters and parameters[n].default is inspect.Parameter.empty]

    def _returns_gradients(self) -> bool:
        return any(isinstance(path, int) for p in self.subject.parameters for places in p.gradients for path in places)

    def _ignored(self, forward: str, backward: str, dy: Any) -> Any:
        """The upstream gradient, if the backward pass takes none or ignores it, as that of a loss may; None otherwise."""
        if isinstance(dy, tuple | list | dict) or np.ndim(dy) or not _optional(getattr(self.rebuilt(), backward)):
            return None
        results = []
        for given in ((), (np.array(dy),), (2 * np.array(dy),)):
            with seeded(self.subject.seed):
                made, _ = self.forward(forward)
                method = getattr(made, backward)
                if not inputs_of(method):
                    return dy
                returned = method(*given, **keywords_of(method, self.backward_options))
            results.append(bits((returned, self._of_parameters(made, returned))))
        if not results[0] == results[1] == results[2]:
            return None
        self.subject.notes[IGNORES.format(backward)] = None
        return dy

    def _of_parameters(self, made: Any, returned: Any) -> tuple[dict[str, Any], ...]:
        arrays = self.arrays
        found = {p.name: as_gradient(p.gradient(made, returned), arrays[p.name]) for p in self.subject.parameters}
        for p in self.subject.parameters:
            if found[p.name] is None and p.rate is None:
                self.subject.notes[LEFT_NONE.format(type(made).__name__, p.name, _place_of(p))] = None
        return (found,) if found else ()

    def loss(self, name: str) -> Any:
        """The loss of a net, at its data."""
        with seeded(self.subject.seed):
            return loss_of(self.passed(self.rebuilt(), name), name, self)

    def passed(self, made: Any, name: str) -> Any:
        return getattr(made, name)(*copied(self.inputs), **accepted(getattr(made, name), copied(self.options)))

    def net_gradients(self, loss: str, gradient: str | None, dy: Any) -> tuple[Any, ...]:
        """The gradients of the parameters, times the upstream gradient of the loss."""
        made = self.rebuilt()
        with seeded(self.subject.seed):
            returned = self.passed(made, loss if gradient is None or gradient in BACKWARD else gradient)
            if gradient in BACKWARD:
                method = getattr(made, gradient)
                returned = method(*(() if _needs_nothing(method) else (1.0,)))
        if gradient is None:
            if not (isinstance(returned, tuple) and len(returned) == 2):
                raise TypeError(
                    f"{type(made).__name__} has no method gradient or backward, and {loss} returns no (loss, grads)"
                )
            returned = returned[1]
        found = {}
        for p in self.subject.parameters:
            value = _returned_gradient(returned, p)
            value = p.gradient(made, returned) if value is None else value
            if value is None and isinstance(returned, Mapping):
                self.subject.notes[
                    f"{gradient or loss} returned no gradient of {p.name}, but of {', '.join(map(str, returned))}"
                ] = None
            found[p.name] = as_gradient(None if value is None else value, self.arrays[p.name])
        if isinstance(returned, list | tuple) and all(value is None for value in found.values()):
            raise TypeError(
                f"{type(made).__name__}.{gradient or loss} returned a {type(returned).__name__} of {len(returned)}, expected a "
                f"dict of gradients by the names of the parameters, {', '.join(found)}"
            )
        return tuple(_scaled((found,), dy))

    def _note_changes(self, name: str, given: Any, before: Any) -> None:
        if bits(given) != bits(before):
            self.subject.notes[WRITES.format(name)] = None


def copied(tree: Any) -> Any:
    """The tree with copies of its arrays."""
    return optree.tree_map(lambda a: a.copy() if isinstance(a, np.ndarray) else a, tree)


def bits(tree: Any) -> list[bytes]:
    """All bytes of the arrays of a tree, to tell whether they have changed."""
    return [np.asarray(leaf).tobytes() for leaf in optree.tree_leaves(tree)]


def _scaled(gradients: Any, factor: Any) -> Any:
    """The gradients times a number, in their own dtype; None stays None."""
    if factor is None:
        return gradients
    return optree.tree_map(lambda g: np.asarray(g * np.asarray(factor, g.dtype)), gradients)


def upstream_of(dy: Any, method: Callable[..., Any]) -> tuple[Any, ...]:
    """What a backward pass gets: a value of several arrays has one argument for each, if there are so many."""
    if isinstance(dy, tuple | list) and len(inputs_of(method)) >= len(dy) > 1:
        return tuple(dy)
    return (dy,)


def _check_call(who: str, method: Callable[..., Any], given: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    """An error that says what a backward pass is called with, if it cannot be called so."""
    parameters = parameters_of(method)
    if parameters is None:
        return
    try:
        inspect.signature(method).bind(*given, **keywords)
    except TypeError as error:
        if not parameters:
            why = "it takes no argument, so the gradient of its output cannot reach it"
        else:
            more = [n for n, p in list(parameters.items())[len(given) :] if p.default is p.empty and n not in keywords]
            give = ", ".join(f"{n!r}: ..." for n in more)
            why = f"give options={{{give}}}, or write {who}(dy) with what forward has kept" if more else str(error)
        raise TypeError(
            f"{who}({', '.join(parameters)}) is called with the gradient of the output (dy) and the options it has "
            f"parameters for: {why}"
        ) from None


def _optional(method: Callable[..., Any]) -> bool:
    """Whether a backward pass can be called without an upstream gradient."""
    names = inputs_of(method)
    parameters = parameters_of(method) or {}
    return not names or parameters[names[0]].default is not inspect.Parameter.empty


def _needs_nothing(method: Callable[..., Any]) -> bool:
    parameters = parameters_of(method)
    return parameters is not None and all(p.default is not p.empty for p in parameters.values())


def loss_of(value: Any, name: str, run: Run) -> Any:
    """The loss as a number, of a net that returns it alone or before its gradients."""
    value = value[0] if isinstance(value, tuple) and len(value) == 2 else value
    who = f"{type(run.subject.original.object).__name__}.{name}"
    if value is None or (not hasattr(value, "dtype") and not isinstance(value, float)):
        raise TypeError(f"{who} returned {type(value).__name__}, expected a number")
    if np.size(value) != 1:
        raise TypeError(f"{who} returned an array of shape {np.shape(value)}, expected a number; verify it with of_layer")
    return as_value(np.asarray(value).reshape(()), run.primals[:1])


def _place_of(parameter: Parameter) -> str:
    """Where the gradient of a parameter was looked for first."""
    paths = [path for places in parameter.gradients for path in places if not isinstance(path, int)]
    return f" (looked for {'.'.join(map(str, paths[0]))}, ...)" if paths else ""


def _returned_gradient(returned: Any, parameter: Parameter) -> Any:
    """The gradient of a parameter in what a gradient method returned: by its key, `W1` or `dW1`, or at its index in a list."""
    if isinstance(returned, Mapping | list | tuple):
        for places in (parameter.places[0], parameter.places[0][1:], (parameter.name,), (f"d{parameter.name}",)):
            value = at(returned, places) if places else MISSING
            if value is not MISSING and value is not None:
                return value
    return None
