"""`locate`: a net is run once, and each of its stages is judged at the input and the upstream gradient that it had there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import optree

from oracle.adapters import adapted, bound
from oracle.adapters.classes import is_layer
from oracle.arrays import random_cotangent, widened
from oracle.locating import chains, layers, modules, nets
from oracle.locating.allowed import judged_as_meant, names_of, without_allowed
from oracle.locating.calls import WHOLE, Record
from oracle.locating.judging import judged_composition
from oracle.locating.located import Located, StageRow
from oracle.settings import check_accept
from oracle.subject import Subject, check_primals
from purenet import Op

__all__ = ["locate"]

KINDS = (
    "a net of purenet, a list or dict of layers (objects with forward and backward, Ops, pairs (fwd, bwd)), "
    "an object that holds layers, a torch.nn.Module, or what oracle.verify takes"
)


def locate(
    net: Any,
    *primals: Any,
    options: Mapping[str, Any] | None = None,
    dy: Any = None,
    seed: int = 0,
    accept: float = 0.0,
    allows: Collection[str] | Mapping[str, Callable[..., Any] | None] = (),
) -> Located:
    """Which stage of a net has a wrong backward pass.

    The net is run once. Each stage is judged at the input that it had in this run, and at the upstream gradient that reached
    it, so that errors of other stages do not matter, and no reference is needed. Then the gradient of the whole is compared
    with differences, which shows mistakes between the stages. Everything is computed in float64.

    Args:
        net: a net of purenet (a chain with its parts, `purenet.models`); or a list or dict of layers, each an object with
            `forward(x)` and `backward(dout)`, an Op, a pair (fwd, bwd), or one of these in a tuple with its parameters; or a
            torch.nn.Module, whose submodules are the stages; or an object that holds such layers in `layers`.
        primals: the arguments: of an Op as `verify` takes them, `(params, x)`; of layers `(x,)`, and what else the last layer
            takes, `(x, t)`; of a module of torch those of its `forward`.
        options: keywords; of a list of layers by the name of the layer, as in a chain.
        dy: the upstream gradient of the whole; 1 for a loss, otherwise random.
        seed: of random numbers.
        accept: a stage whose error is below this share of its gradient is ACCEPTED, which passes: a known deviation.
        allows: stages whose gradient is no derivative on purpose, by their names in the table (that of a part allows all stages
            inside it). They are ACCEPTED if their gradients have the right form. A dict gives for each the function whose
            derivative its gradient is meant to be, which is then checked: `{"round": lambda x: x}` for a straight-through
            estimator. The gradient of a part with such a stage inside is not compared.

    Raises:
        TypeError, ValueError: for a net or arguments at which nothing can be judged.

    >>> import numpy as np, oracle, purenet as pn
    >>> wrong = (lambda x: (np.sin(x), x), lambda x, dy: (-dy * np.cos(x),))
    >>> oracle.locate([pn.tanh, wrong, pn.tanh], np.array([0.3, 0.5])).first_wrong.stage
    '1'

    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"locate: seed must be an integer from 0, got {seed!r}")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"locate: options must be a dict, got {type(options).__name__}")

    check_accept(accept, "locate")
    allowed = names_of(allows)

    def upstream(y: Any) -> Any:
        if dy is not None:
            given = widened(dy)
            wanted, got = ([np.shape(a) for a in optree.tree_leaves(tree)] for tree in (y, given))
            if wanted != got:
                raise ValueError(f"locate: dy must have the shape of the value, {wanted}, got {got}")
            return given
        leaves = optree.tree_leaves(y)
        return np.ones(()) if len(leaves) == 1 and np.shape(leaves[0]) == () else random_cotangent(y, seed)

    name, record = _recorded(net, primals, dict(options or {}), upstream, seed)
    if not record.calls:
        raise ValueError(f"locate: no stage of {name} has an argument to differentiate")
    record = without_allowed(record, allowed)
    rows = tuple(judged_as_meant(call, allowed, seed, float(accept)) for call in reversed(record.calls))
    between = None if any(row.wrong for row in rows) or record.note else _between(record, seed, float(accept))
    return Located(name, rows, between, record.note)


def _recorded(net: Any, primals: tuple[Any, ...], options: dict[str, Any], upstream: Any, seed: int) -> tuple[str, Record]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(net, torch.nn.Module):
        return type(net).__name__, modules.record(net, primals, options, upstream, seed)
    pair = isinstance(net, tuple) and len(net) == 2 and all(map(callable, net)) and not any(isinstance(n, Op) for n in net)
    if isinstance(net, Mapping | list | tuple) and not pair:
        return "the list of layers", layers.record(net, primals, options, upstream, seed)
    if nets.layers_of(net) is not None:
        return type(net).__name__, nets.record(net, primals, options, upstream, seed)
    if is_layer(net) and not isinstance(net, Op):
        return type(net).__name__, layers.record([net], primals, options, upstream, seed)
    if isinstance(net, Op) and hasattr(net, "stages"):
        check_primals(Subject.of(net, options), primals)
        return net.name, chains.record(net, tuple(widened(primals)), options, upstream, seed)
    op = adapted(net) or net
    if not isinstance(op, Op | tuple):
        raise TypeError(f"locate: net must be {KINDS}, got {type(net).__name__}")
    given = (*bound(op), *primals)
    subject = Subject.of(op, options)
    check_primals(subject, given)
    return subject.name, layers.record({subject.name: op}, given, {subject.name: options}, upstream, seed, alone=True)


def _between(record: Record, seed: int, accept: float) -> StageRow | None:
    """The whole net; or, if that is wrong or not compared, the innermost part of it that is wrong."""
    if not record.compositions:
        return None
    *parts, last = record.compositions
    compared = last.path == WHOLE
    whole = judged_composition(last, seed, accept)
    if compared and not whole.wrong:
        return whole
    rows = (judged_composition(call, seed, accept) for call in parts)  # a part comes before what contains it
    return next((row for row in (*rows, whole) if row.wrong), whole if compared else None)
