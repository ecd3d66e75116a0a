"""Classes as people write them: layers with `forward` and `backward`, nets with `loss` and `gradient`, as pairs (fwd, bwd).

Every evaluation starts from a copy of the object as it was given, in which the arrays of its parameters are replaced, wherever
the object holds them. So nothing that a pass leaves behind reaches the next evaluation, or the object of the user.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oracle.adapters.calling import RATES, accepted, inputs_of, labelled, seeded
from oracle.adapters.copying import Original
from oracle.adapters.evaluations import BACKWARD, Held, Run, bits, copied, loss_of
from oracle.adapters.finding import Parameter, parameters_of
from oracle.adapters.losses import with_prediction
from oracle.adapters.pairs import Bound
from oracle.adapters.updates import settled, updated

__all__ = ["is_layer", "is_net", "layer_in_float64", "net_in_float64", "of_layer", "of_net"]

FORWARD = ("forward", "__call__", "call")
LOSS = ("loss", "forward", "__call__")
Refused = tuple[TypeError, frozenset[str]] | None
"""The error about parameters without a gradient, and their names, until it is known whether the backward pass updates them."""
GRADIENT = ("gradient", "gradients", "grad", "backward", "backprop")


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
    _check(layer, options, "of_layer")
    original = _original(layer, "of_layer")
    parameters, refused = _parameters(original, params, grads)
    return _layer(original, parameters, inputs, options or {}, seed, "of_layer", refused)


def _parameters(original: Original, params: Any, grads: Any) -> tuple[list[Parameter], Refused]:
    """The parameters of a layer, and the error about those without a gradient, if the backward pass may update them itself."""
    layer, constants = original.object, list[str]()
    try:
        return parameters_of(layer, "of_layer", params, grads), None
    except TypeError as error:
        backward = getattr(layer, _required(layer, BACKWARD, "of_layer"))
        if not any(name in inputs_of(backward)[1:] or hasattr(layer, name) for name in RATES):
            raise
        try:
            return parameters_of(layer, "of_layer", params, grads, constants=constants), (error, frozenset(constants))
        except TypeError:
            raise error from None


def layer_in_float64(layer: Any, *, options: Mapping[str, Any], seed: int, who: str) -> tuple[Bound, tuple[str, ...]]:
    """The same for a layer of a net, all of whose arrays are in float64; and the arrays that count as constants.

    These may be parameters, but no gradient was found for them.
    """
    original, constants = _original(layer, who).in_float64(), list[str]()
    parameters = parameters_of(original.object, who, None, None, constants=constants)
    return _layer(original, parameters, (), options, seed, who), tuple(constants)


def _original(layer: Any, who: str) -> Original:
    """A layer with both methods, copied."""
    for names in (FORWARD, BACKWARD):
        _required(layer, names, who)
    return Original(layer, who)


def _layer(
    original: Original,
    parameters: list[Parameter],
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    seed: int | None,
    who: str,
    refused: Refused = None,
) -> Bound:
    forward, backward = _required(original.object, FORWARD, who), _required(original.object, BACKWARD, who)
    subject = Held(original, parameters, seed)
    subject.prepare(who)
    return _bound_layer(subject, inputs, options, (forward, backward), refused)


def _bound_layer(
    subject: Held,
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    methods: tuple[str, str],
    refused: Refused,
    *,
    settles: bool = True,
) -> Bound:
    layer, (forward, backward) = subject.original.object, methods
    names = inputs_of(getattr(layer, forward))
    held = {**options, **{name: given for name, given in zip(names, inputs, strict=False) if not _is_float(given)}}
    given = [value for value in inputs if _is_float(value)]

    def run_of(primals: Any, more: Mapping[str, Any]) -> Run:
        every = copied({**held, **more})
        only = {name: value for name, value in every.items() if _only_backward(layer, forward, backward, name)}
        return Run(subject, copied(primals), {n: v for n, v in every.items() if n not in only}, only)

    def fwd(*primals: Any, **more: Any) -> tuple[Any, Any]:
        run = run_of(primals, more)
        return run.value(forward), run

    def bwd(run: Run, dy: Any) -> tuple[Any, ...]:
        found = run.layer_gradients(forward, backward, dy)
        for name, gradient in updated(run, forward, backward, dy).items():
            found[0][name] = gradient
        return found

    def settle(primals: Sequence[Any], more: Mapping[str, Any]) -> Bound | None:
        run = run_of((*subject.primals, *given, *primals), more)
        at_these = with_prediction(subject, forward, backward, run) or settled(subject, forward, backward, run)
        if refused is not None and not refused[1] <= {p.name for p in (() if at_these is None else at_these.parameters)}:
            raise refused[0]
        return None if at_these is None else _bound_layer(at_these, inputs, options, methods, None, settles=False)

    leading = ("params",) if subject.parameters else ()
    labelled(fwd, type(layer).__name__, getattr(layer, forward), leading, getattr(layer, forward))
    labelled(bwd, f"{type(layer).__name__}.{backward}", getattr(layer, backward), ())
    fwd.note = lambda: "; ".join(subject.notes)  # type: ignore[attr-defined]
    return Bound((fwd, bwd), *subject.primals, *given, complete=bool(inputs), settle=settle if settles else None)


def _only_backward(layer: Any, forward: str, backward: str, option: str) -> bool:
    """Whether an option is one of the backward pass alone."""
    return not accepted(getattr(layer, forward), {option: None}) and bool(accepted(getattr(layer, backward), {option: None}))


def net_in_float64(net: Any, *inputs: Any, seed: int, who: str) -> Bound:
    """A net as `of_net` takes it, all of whose arrays are in float64."""
    return of_net(Original(net, who).in_float64().object, *inputs, seed=seed)


def of_net(
    net: Any,
    *inputs: Any,
    params: Any = None,
    grads: Any = None,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Bound:
    """An object with `loss(x, t)` and `gradient(x, t)`: `oracle.verify(of_net(net, x, t))`.

    The parameters are those in `net.params`, or of its layers. `gradient` returns their gradients, or leaves them in
    `net.grads`; `loss` may return both, `(loss, grads)`. A net with `forward(x, t)` and `backward()` will do, too. The inputs
    are constants.

    Args:
        net: the object. It is copied for each evaluation, and never changed.
        inputs: what `loss` and `gradient` get: the data.
        params: names of the parameters, as for `of_layer`.
        grads: the names of their gradients, as for `of_layer`.
        options: keywords for `loss`, and for `gradient` if it has them: `{"train_flg": True}` for a net whose `gradient`
            computes the loss of the training mode.
        seed: of the global random generators, set before each pass: for a net that draws masks.

    Raises:
        TypeError: if the object cannot be copied, a method, a parameter or a gradient is not found, or `gradient` is that of
            another loss.

    """
    who = "of_net"
    _check(net, options, who)
    gradient = _method(net, GRADIENT)
    loss = _required(net, LOSS if gradient else LOSS[:-1], who)
    subject = Held(Original(net, who), [], seed)
    separate = gradient is None or gradient not in BACKWARD
    subject.parameters = parameters_of(subject.original.object, who, params, grads, returned=separate, by_layer=True)
    if not subject.parameters:
        name = type(net).__name__
        raise TypeError(
            f"{who}: no parameters found in {name}: name them, params=[...]"
            + (f"; a loss goes through of_derivative(loss.{loss}, loss.{gradient}, wrt=...)" if separate and gradient else "")
        )
    subject.prepare(who)
    held = copied((tuple(inputs), dict(options or {})))

    def fwd(params: Any, **more: Any) -> tuple[Any, Any]:
        data, keywords = copied(held)
        run = Run(subject, (*copied((params,)), *data), {**keywords, **copied(more)})
        return run.loss(loss), run

    def bwd(run: Run, dy: Any) -> tuple[Any, ...]:
        return run.net_gradients(loss, gradient, dy)

    labelled(fwd, type(net).__name__, getattr(net, loss), ("params",))
    labelled(bwd, f"{type(net).__name__}.{gradient or loss}", getattr(net, gradient or loss), ())
    fwd.note = lambda: "; ".join(subject.notes)  # type: ignore[attr-defined]
    if gradient is not None and separate:
        _check_same_loss(subject, held, loss, gradient, who)
    return Bound((fwd, bwd), *subject.primals, complete=True)


def _check(given: Any, options: Any, who: str) -> None:
    if isinstance(given, type):
        raise TypeError(f"{who}: {given.__name__} is a class; give an object of it: {given.__name__}(...)")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"{who}: options must be a dict of keywords, got {type(options).__name__}")


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


def _check_same_loss(subject: Held, held: Any, loss: str, gradient: str, who: str) -> None:
    """An error if `gradient` computes its loss in another mode than `loss` does, such as training."""
    data, options = copied(held)
    run = Run(subject, (*subject.primals, *data), options)
    made = run.rebuilt()
    own, calls = getattr(made, loss), []

    def watched(*args: Any, **keywords: Any) -> Any:
        result = own(*args, **keywords)
        calls.append((args, keywords, result))
        return result

    try:
        with seeded(subject.seed):
            usual = run.passed(run.rebuilt(), loss)
    except Exception:  # what raises is reported by `verify`
        return
    value = loss_of(usual, loss, run)
    try:
        setattr(made, loss, watched)
        with seeded(subject.seed):
            run.passed(made, gradient)
    except Exception:  # an object with slots cannot be watched
        return
    bound = [(inspect.signature(own).bind(*args, **keywords).arguments, result) for args, keywords, result in calls]
    plain = inspect.signature(own).bind(*data, **accepted(own, options)).arguments
    for arguments, result in bound:
        other = {
            n: v for n, v in arguments.items() if n not in plain or (isinstance(v, bool | str | int) and v is not plain[n])
        }
        if other and bits(loss_of(result, loss, run)) != bits(value):
            theirs = float(np.asarray(loss_of(result, loss, run)))
            call = f"{loss}({', '.join(f'{n}={v!r}' for n, v in other.items())})"
            raise TypeError(
                f"{who}: {type(made).__name__}.{gradient} is the gradient of another function: it calls {call}, which is "
                f"{theirs:.6g}, but {loss} is {float(value):.6g}; to verify it, options={other!r}"
            )
