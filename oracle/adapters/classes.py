"""Classes as people write them: layers with `forward` and `backward`, nets with `loss` and `gradient`, as pairs (fwd, bwd).

Every evaluation starts from a copy of the object as it was given, in which the arrays of its parameters are replaced, wherever
the object holds them. So nothing that a pass leaves behind reaches the next evaluation, or the object of the user.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optree

from oracle.adapters.calling import accepted, as_gradient, as_value, called, inputs_of, labelled, one_for_each, seeded
from oracle.adapters.copying import Original
from oracle.adapters.finding import MISSING, Parameter, at, parameters_of, put
from oracle.adapters.pairs import Bound

__all__ = ["is_layer", "is_net", "of_layer", "of_net"]

FORWARD = ("forward", "__call__", "call")
BACKWARD = ("backward", "backprop", "bprop")
LOSS = ("loss", "forward", "__call__")
GRADIENT = ("gradient", "gradients", "grad", "backward", "backprop")
OUTPUTS = ("output", "outputs", "out")
"""Where a forward pass that returns None keeps its value."""


def is_layer(op: Any) -> bool:
    """Whether this is an object with a forward and a backward pass."""
    return not isinstance(op, type | tuple) and _method(op, ("forward",)) is not None and _method(op, BACKWARD) is not None


def is_net(op: Any) -> bool:
    """Whether this is an object with a loss and its gradient."""
    return not isinstance(op, type | tuple) and _method(op, ("loss",)) is not None and _method(op, ("gradient",)) is not None


def of_layer(
    layer: Any,
    *inputs: Any,
    params: Any = None,
    grads: Any = None,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Bound:
    """An object with `forward(x)` and `backward(dout)`: `oracle.verify(of_layer(layer), x)`.

    Parameters are the arrays in `layer.params`, or the attributes for which there is a gradient: `dW` or `grads["W"]` for `W`.
    `forward` may take several inputs and options; `backward` returns their gradients.

    Args:
        layer: the object. It is copied for each evaluation, and never changed.
        inputs: the inputs, if `verify` shall not get them. Those that are no floating-point numbers are not differentiated.
        params: names of the parameters, if they are not found: `("W", "inner.b")`. Other arrays are constants.
        grads: the names of their gradients, `{"W": "W_slope"}`; a number is a position in what `backward` returns.
        options: keywords for `forward`, and for `backward` if it has them.
        seed: of the global random generators, set before each forward pass: for a layer that draws a mask.

    Raises:
        TypeError: if the object cannot be copied, or a method, a parameter or a gradient is not found.
    """
    who = "of_layer"
    if isinstance(layer, type):
        raise TypeError(f"{who}: {layer.__name__} is a class; give an object of it: {layer.__name__}(...)")
    forward, backward = _required(layer, FORWARD, who), _required(layer, BACKWARD, who)
    subject = _Object(Original(layer, who), [], seed)
    subject.parameters = parameters_of(subject.original.object, who, params, grads)
    subject.prepare()
    names = inputs_of(getattr(layer, forward))
    held = dict(options or {})
    held |= {name: given for name, given in zip(names, inputs, strict=False) if not _is_float(given)}
    given = [value for value in inputs if _is_float(value)]

    def fwd(*primals: Any, **more: Any) -> tuple[Any, Any]:
        run = _Run(subject, copied(primals), copied({**held, **more}))
        return run.forward(forward)[1], run

    def bwd(run: Any, dy: Any) -> tuple[Any, ...]:
        return run.layer_gradients(forward, backward, dy)

    leading = ("params",) if subject.parameters else ()
    labelled(fwd, type(layer).__name__, getattr(layer, forward), leading, getattr(layer, forward))
    labelled(bwd, f"{type(layer).__name__}.{backward}", getattr(layer, backward), ())
    fwd.note = lambda: "; ".join(subject.notes)  # type: ignore[attr-defined]
    return Bound((fwd, bwd), *subject.primals, *given, complete=bool(inputs))


def of_net(
    net: Any,
    *inputs: Any,
    params: Any = None,
    grads: Any = None,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Bound:
    """An object with `loss(x, t)` and `gradient(x, t)`: `oracle.verify(of_net(net, x, t))`.

    The parameters are those in `net.params`, or of its layers. `gradient` returns their gradients, or leaves them in `net.grads`;
    `loss` may return both, `(loss, grads)`. A net with `forward(x, t)` and `backward()` will do, too. The inputs are constants.

    Args:
        net: the object. It is copied for each evaluation, and never changed.
        inputs: what `loss` and `gradient` get: the data.
        params: names of the parameters, as for `of_layer`.
        grads: the names of their gradients, as for `of_layer`.
        options: keywords for `loss`, and for `gradient` if it has them: `{"train_flg": True}` for a net whose `gradient` computes
            the loss of the training mode.
        seed: of the global random generators, set before each pass: for a net that draws masks.

    Raises:
        TypeError: if the object cannot be copied, a method, a parameter or a gradient is not found, or `gradient` is that of
            another loss.
    """
    who = "of_net"
    if isinstance(net, type):
        raise TypeError(f"{who}: {net.__name__} is a class; give an object of it: {net.__name__}(...)")
    loss, gradient = _required(net, LOSS, who), _method(net, GRADIENT)
    subject = _Object(Original(net, who), [], seed)
    separate = gradient is None or gradient not in BACKWARD
    subject.parameters = parameters_of(subject.original.object, who, params, grads, returned=separate)
    if not subject.parameters:
        raise TypeError(f"{who}: no parameters found in {type(net).__name__}: name them, params=[...]")
    subject.prepare()
    held = copied((tuple(inputs), dict(options or {})))

    def fwd(params: Any, **more: Any) -> tuple[Any, Any]:
        data, keywords = copied(held)
        run = _Run(subject, (*copied((params,)), *data), {**keywords, **copied(more)}, of_net=True)
        return run.loss(loss), run

    def bwd(run: Any, dy: Any) -> tuple[Any, ...]:
        return run.net_gradients(loss, gradient, dy)

    labelled(fwd, type(net).__name__, getattr(net, loss), ("params",))
    labelled(bwd, f"{type(net).__name__}.{gradient or loss}", getattr(net, gradient or loss), ())
    fwd.note = lambda: "; ".join(subject.notes)  # type: ignore[attr-defined]
    if gradient is not None and separate:
        _check_same_loss(subject, held, loss, gradient, who)
    return Bound((fwd, bwd), *subject.primals, complete=True)


@dataclass
class _Object:
    """The user's object as it was given, its parameters, and what is to be known about it."""

    original: Original
    parameters: list[Parameter]
    seed: int | None
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def primals(self) -> tuple[dict[str, Any], ...]:
        """The parameters by their names, as the first argument of both passes; none if there are none."""
        found = {p.name: np.array(at(self.original.object, p.places[0])) for p in self.parameters}
        return (found,) if found else ()

    def prepare(self) -> None:
        """Sets the gradients that the object holds already to zero, as a loop of training does before each step."""
        for parameter in self.parameters:
            for path in (p for candidates in parameter.gradients for p in candidates if not isinstance(p, int)):
                value = at(self.original.object, path)
                if isinstance(value, np.ndarray) and value.flags.writeable:
                    value[...] = 0

    def rebuilt(self, arrays: Mapping[str, Any]) -> Any:
        """A copy of the object with these arrays as its parameters."""
        of = self.original.object
        replaced = {id(at(of, p.places[0])): arrays[p.name] for p in self.parameters
                    if isinstance(at(of, p.places[0]), np.ndarray)}  # fmt: skip
        made = self.original.with_arrays(replaced)
        for parameter in self.parameters:
            before = at(of, parameter.places[0])
            if not isinstance(before, np.ndarray):
                for place in parameter.places:
                    put(made, place, type(before)(arrays[parameter.name]))
            elif at(made, parameter.places[0]) is before:
                raise TypeError(
                    f"{type(of).__name__}: the array {parameter.name} is not copied with the object (is it an attribute of the "
                    "class?): make it an attribute of the object"
                )
        return made


@dataclass
class _Run:
    """One evaluation: the object and what it gets. Both passes begin with a copy of the object as it was given."""

    subject: _Object
    primals: tuple[Any, ...]
    options: dict[str, Any]
    of_net: bool = False

    @property
    def arrays(self) -> dict[str, Any]:
        return dict(self.primals[0]) if self.subject.parameters else {}

    @property
    def inputs(self) -> tuple[Any, ...]:
        return self.primals[1:] if self.subject.parameters else self.primals

    def rebuilt(self) -> Any:
        return self.subject.rebuilt(copied(self.arrays))

    def forward(self, name: str) -> tuple[Any, Any]:
        """The object after its forward pass, and the value."""
        made, given = self.rebuilt(), copied(self.inputs)
        with seeded(self.subject.seed):
            value = called(getattr(made, name), given, copied(self.options))
        if value is None:
            value = next((v for key in OUTPUTS if (v := at(made, (key,))) is not MISSING and v is not None), None)
        if value is None:
            raise TypeError(f"{type(made).__name__}.{name} returned None, and the object has no attribute {OUTPUTS[0]}")
        self._note_changes(f"{name} writes to its argument", given, self.inputs)
        return made, as_value(value, self.primals)

    def layer_gradients(self, forward: str, backward: str, dy: Any) -> tuple[Any, ...]:
        """The gradients of the parameters and of the inputs, after a forward pass of its own."""
        made, value = self.forward(forward)
        who, method = f"{type(made).__name__}.{backward}", getattr(made, backward)
        more, scale = accepted(method, self.options), None
        upstream = _upstream(dy, method)
        given = copied(upstream)
        if np.ndim(value) == 0 and not isinstance(value, tuple | list | dict) and _optional(method):
            scale = self._ignored_scale(forward, backward, dy)
        with seeded(self.subject.seed):
            returned = method(**more) if scale is not None else method(*given, **more)
        self._note_changes(f"{backward} writes to its argument (a branch that uses it again gets other numbers)", given, upstream)
        names = [n for n in inputs_of(getattr(made, forward))]
        free = [i for i, n in enumerate(names) if n not in self.options][: len(self.inputs)]
        if returned is None:
            kept = [at(made, (f"d{names[i]}",)) for i in free]
            returned = [None if found is MISSING else found for found in kept]
        taken = free if len(free) == len(self.inputs) else list(range(len(self.inputs)))
        total = max(len(self._positional(made, forward)), len(taken))
        found = one_for_each(returned, taken, total, who, more=self._returns_gradients()) if taken else []
        gradients = self._of_parameters(made, returned)
        factor = 1.0 if scale is None else np.asarray(scale)
        scaled = [as_gradient(None if g is None else np.asarray(g) * factor if scale is not None else g, x)
                  for g, x in zip(found, self.inputs, strict=True)]  # fmt: skip
        return (*_scaled(gradients, scale), *scaled)

    def _positional(self, made: Any, forward: str) -> list[str]:
        """The names of the inputs that `forward` needs: those without a default."""
        parameters = inspect.signature(getattr(made, forward)).parameters
        return [n for n in inputs_of(getattr(made, forward)) if n in parameters and parameters[n].default is inspect.Parameter.empty]

    def _returns_gradients(self) -> bool:
        return any(isinstance(path, int) for p in self.subject.parameters for places in p.gradients for path in places)

    def _ignored_scale(self, forward: str, backward: str, dy: Any) -> Any:
        """The upstream gradient of a loss whose backward pass takes it to be 1, as `backward(dout=1)` may; None otherwise."""
        results = []
        for given in ((), (np.array(dy),), (2 * np.array(dy),)):
            made, _ = self.forward(forward)
            method = getattr(made, backward)
            if given and not inputs_of(method):
                results.append(results[0])
                continue
            with seeded(self.subject.seed):
                returned = method(*given, **accepted(method, self.options))
            results.append(_bits((returned, self._of_parameters(made, returned))))
        if not results[0] == results[1] == results[2]:
            return None
        if inputs_of(getattr(self.rebuilt(), backward)):
            self.subject.notes[f"{backward} ignores its argument, whose default is that of a loss: it is right as the last layer only"] = None
        return dy

    def _of_parameters(self, made: Any, returned: Any) -> tuple[dict[str, Any], ...]:
        arrays = self.arrays
        found = {p.name: as_gradient(p.gradient(made, returned), arrays[p.name]) for p in self.subject.parameters}
        return (found,) if found else ()

    def loss(self, name: str) -> Any:
        """The loss of a net, at its data."""
        return _loss_of(self._passed(self.rebuilt(), name, self.options), name, self)

    def _passed(self, made: Any, name: str, options: Mapping[str, Any]) -> Any:
        with seeded(self.subject.seed):
            return getattr(made, name)(*copied(self.inputs), **accepted(getattr(made, name), copied(options)))

    def net_gradients(self, loss: str, gradient: str | None, dy: Any) -> tuple[Any, ...]:
        """The gradients of the parameters, times the upstream gradient of the loss."""
        made = self.rebuilt()
        if gradient is None or gradient in BACKWARD:
            returned = self._passed(made, loss, self.options)
        if gradient is None:
            if not (isinstance(returned, tuple) and len(returned) == 2):
                raise TypeError(f"{type(made).__name__} has no method gradient or backward, and {loss} returns no (loss, grads)")
            returned = returned[1]
        elif gradient in BACKWARD:
            with seeded(self.subject.seed):
                returned = getattr(made, gradient)(*(() if _needs_nothing(getattr(made, gradient)) else (1.0,)))
        else:
            returned = self._passed(made, gradient, self.options)
        found = {}
        for p in self.subject.parameters:
            value = _returned_gradient(returned, p)
            value = p.gradient(made, returned) if value is None else value
            if value is None and isinstance(returned, Mapping):
                self.subject.notes[f"{gradient or loss} returned no gradient of {p.name}, but of {', '.join(map(str, returned))}"] = None
            found[p.name] = as_gradient(None if value is None else value, self.arrays[p.name])
        return tuple(_scaled((found,), dy))

    def _note_changes(self, what: str, given: Any, before: Any) -> None:
        if _bits(given) != _bits(before):
            self.subject.notes[what] = None


def copied(tree: Any) -> Any:
    """The tree with copies of its arrays."""
    return optree.tree_map(lambda a: a.copy() if isinstance(a, np.ndarray) else a, tree)


def _bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in optree.tree_leaves(tree)]


def _scaled(gradients: Sequence[Any], factor: Any) -> Any:
    """The gradients times a number, in their own dtype; None stays None."""
    if factor is None:
        return gradients
    return [{name: None if g is None else np.asarray(g * np.asarray(factor, g.dtype)) for name, g in tree.items()} for tree in gradients]


def _upstream(dy: Any, method: Callable[..., Any]) -> tuple[Any, ...]:
    """What a backward pass gets: a value of several arrays has one argument for each, if there are so many."""
    if isinstance(dy, tuple | list) and len(inputs_of(method)) >= len(dy) > 1:
        return tuple(dy)
    return (dy,)


def _optional(method: Callable[..., Any]) -> bool:
    """Whether a backward pass can be called without an upstream gradient."""
    names = inputs_of(method)
    return not names or inspect.signature(method).parameters[names[0]].default is not inspect.Parameter.empty


def _needs_nothing(method: Callable[..., Any]) -> bool:
    return all(p.default is not p.empty for p in inspect.signature(method).parameters.values())


def _loss_of(value: Any, name: str, run: _Run) -> Any:
    value = value[0] if isinstance(value, tuple) and len(value) == 2 else value
    who = f"{type(run.subject.original.object).__name__}.{name}"
    if value is None or not hasattr(value, "dtype") and not isinstance(value, float):
        raise TypeError(f"{who} returned {type(value).__name__}, expected a number")
    if np.size(value) != 1:
        raise TypeError(f"{who} returned an array of shape {np.shape(value)}, expected a number; verify it with of_layer")
    return as_value(np.asarray(value).reshape(()), run.primals[:1])


def _returned_gradient(returned: Any, parameter: Parameter) -> Any:
    """The gradient of a parameter in what a gradient method returned: by its key, `W1` or `dW1`, or at its index in a list."""
    if isinstance(returned, Mapping | list | tuple):
        for places in (parameter.places[0], parameter.places[0][1:], (parameter.name,), (f"d{parameter.name}",)):
            value = at(returned, places) if places else MISSING
            if value is not MISSING and value is not None:
                return value
    return None


def _required(given: Any, names: Sequence[str], who: str) -> str:
    found = _method(given, names)
    if found is None:
        own = [n for n, m in inspect.getmembers(type(given), callable) if not n.startswith("_")]
        methods = f"its methods are {', '.join(own)}" if own else "it has no methods"
        raise TypeError(f"{who}: {type(given).__name__} has no method {names[0]}; {methods}")
    return found


def _method(given: Any, names: Sequence[str]) -> str | None:
    """The first of these names that is a method of the object's class, or a function among its attributes."""
    return next((name for name in names if callable(getattr(given, name, None))), None)


def _is_float(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return isinstance(value, float) or (dtype is not None and (dtype.kind in "fc" or dtype.name == "bfloat16"))


# ------------------------------------------------------------------------------------ two passes, two functions


def _check_same_loss(subject: _Object, held: Any, loss: str, gradient: str, who: str) -> None:
    """An error if `gradient` computes its loss in another mode than `loss` does, such as training."""
    data, options = copied(held)
    run = _Run(subject, (*subject.primals, *data), options, of_net=True)
    value = run.loss(loss)
    made = run.rebuilt()
    own, calls = getattr(made, loss), []

    def watched(*args: Any, **keywords: Any) -> Any:
        result = own(*args, **keywords)
        calls.append((args, keywords, result))
        return result

    try:
        setattr(made, loss, watched)
        run._passed(made, gradient, options)
    except Exception:  # what raises is reported by `verify`; an object with slots cannot be watched
        return
    bound = [(inspect.signature(own).bind(*args, **keywords).arguments, result) for args, keywords, result in calls]
    usual = inspect.signature(own).bind(*data, **accepted(own, options)).arguments
    for arguments, result in bound:
        other = {n: v for n, v in arguments.items() if n not in usual or (isinstance(v, bool | str | int) and v is not usual[n])}
        if other and _bits(_loss_of(result, loss, run)) != _bits(value):
            theirs = float(np.asarray(_loss_of(result, loss, run)))
            raise TypeError(
                f"{who}: {type(made).__name__}.{gradient} is the gradient of another function: it calls "
                f"{loss}({', '.join(f'{n}={v!r}' for n, v in other.items())}), which is {theirs:.6g}, but {loss} is {float(value):.6g}; "
                f"to verify it, options={{{', '.join(f'{n!r}: {v!r}' for n, v in other.items())}}}"
            )
