"""The protocol of every optimizer, what composes transformations, and what no update rule should repeat.

A transformation is a pair of pure functions. `init(params)` returns a state, a NamedTuple of arrays and trees of arrays;
`update(grads, state, params=None)` returns the updates, which look like the gradients, and the next state. Nothing is
mutated, and no result shares memory with an argument or with another result.

An update rule is written for one vector. `init_slots` and `update_each` carry it over the tree, check what comes in, and
hold the rule for dtypes: updates have the dtype of the gradients; the slots of the state and all arithmetic have the dtype
of the parameters, but float32 for 16-bit parameters. In float16 the square of a gradient below 2e-4 and any epsilon below 3e-8
are 0, and Adam would divide by zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import optree

from purenet.checks import number
from purenet.op import Array, Tree, is_floating

__all__ = [
    "GradientTransformation",
    "Update",
    "apply_updates",
    "chain",
    "decay_rate",
    "init_slots",
    "state_of",
    "step_count",
    "update_each",
]


_Flat: TypeAlias = tuple[str, Tree, list[Array], optree.PyTreeSpec]
"""The name of a tree, the tree, its leaves and its structure."""


class Update(Protocol):
    """`update(grads, state, params=None)` returns the updates and the next state."""

    def __call__(self, grads: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]: ...


class GradientTransformation(NamedTuple):
    """What every optimizer is: `init(params)` and `update(grads, state, params=None)`.

    The fields are the protocol, so one of your own is made of two functions:

    >>> import numpy as np, purenet as pn
    >>> def add_half_the_params(grads, state, params=None):
    ...     return {name: grads[name] + 0.5 * params[name] for name in grads}, state
    >>> weight_decay = pn.optimizers.GradientTransformation(init=lambda params: (), update=add_half_the_params)
    >>> opt = pn.optimizers.chain(weight_decay, pn.optimizers.sgd(0.1))
    >>> params = {"w": np.array([2.0])}
    >>> updates, state = opt.update({"w": np.array([1.0])}, opt.init(params), params)
    >>> updates
    {'w': array([-0.2])}
    """

    init: Callable[[Tree], Any]
    update: Update


def chain(*transforms: GradientTransformation) -> GradientTransformation:
    """The transformations one after the other: the updates of each are the gradients of the next.

    State: a tuple, the state of each in order
    Errors: ValueError without a transformation, or where `state` has not one entry for each; TypeError for what is none.
    Source: optax.chain. Conventions: an optimizer turns gradients into steps downhill, so it stands last.

    >>> import numpy as np, purenet as pn
    >>> halve = pn.optimizers.GradientTransformation(lambda params: (), lambda grads, state, params=None: (grads / 2, state))
    >>> opt = pn.optimizers.chain(halve, pn.optimizers.sgd(0.1))
    >>> opt.update(np.array([4.0]), opt.init(np.array([1.0])))[0]
    array([-0.2])
    """
    if not transforms:
        raise ValueError("chain: at least one transformation is needed")
    for i, transform in enumerate(transforms):
        if not (hasattr(transform, "init") and hasattr(transform, "update")):
            raise TypeError(f"chain: transforms[{i}] must have init and update, got {type(transform).__name__}")

    def init(params: Tree) -> tuple[Any, ...]:
        return tuple(transform.init(params) for transform in transforms)

    def update(grads: Tree, state: tuple[Any, ...], params: Tree = None) -> tuple[Tree, tuple[Any, ...]]:
        # A NamedTuple is a tuple too: the state of a single optimizer must not pass for that of a chain.
        if type(state) is not tuple or len(state) != len(transforms):
            what = f"a tuple of {len(state)}" if type(state) is tuple else type(state).__name__
            raise ValueError(f"chain: state must be a tuple of {len(transforms)}, as init gives, got {what}")
        states = []
        for transform, own in zip(transforms, state, strict=True):
            grads, own = transform.update(grads, own, params)
            states.append(own)
        return grads, tuple(states)

    return GradientTransformation(init, update)


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """The parameters after a step, params + updates, in new arrays.

    Shapes: params and updates are trees of the same structure and shapes, and so is the result
    Errors: TypeError for leaves that are not floating-point arrays, ValueError where the trees or shapes differ.
    Source: optax.apply_updates. Conventions: the result has the dtype of `params`, whatever that of `updates`.

    >>> import numpy as np, purenet as pn
    >>> pn.apply_updates({"w": np.array([1.0, 2.0])}, {"w": np.array([-0.5, 0.0])})
    {'w': array([0.5, 2. ])}
    """
    who = "apply_updates"
    old, structure = _arrays(who, "params", params)
    steps, other = _arrays(who, "updates", updates)
    _check_match(who, ("updates", updates, steps, other), ("params", params, old, structure))
    sums = [np.add(p.astype(_working(p.dtype), copy=False), u) for p, u in zip(old, steps, strict=True)]
    return structure.unflatten([_rounded(total, p.dtype) for total, p in zip(sums, old, strict=True)])


# --------------------------------------------------------------------------------- for those who write an optimizer


def step_count(count: int = 0) -> Array:
    """The number of updates made, as a state holds it."""
    return np.asarray(count, np.int64)


def init_slots(who: str, params: Tree) -> Tree:
    """Zeros like the parameters, in which a state accumulates; float32 for 16-bit parameters."""
    arrays, structure = _arrays(who, "params", params)
    return structure.unflatten([np.zeros(p.shape, _working(p.dtype)) for p in arrays])


def state_of(who: str, kind: type[Any], state: Any) -> Any:
    """`state`, if it is one that the optimizer's own `init` gives."""
    if not isinstance(state, kind):
        raise TypeError(f"{who}: state must be the {kind.__name__} that init gives, got {type(state).__name__}")
    return state


def update_each(
    who: str, rule: Callable[..., Sequence[Array]], grads: Tree, params: Tree = None, **slots: Tree
) -> tuple[Tree, ...]:
    """The tree of updates and the tree of each new slot: what `rule(g, *slots)` returns, leaf by leaf.

    The rule gets the gradient and the slots of a leaf as vectors and returns new ones: the update, then each slot.
    """
    gradients, structure = _arrays(who, "grads", grads)
    given = ("grads", grads, gradients, structure)
    if params is not None:
        _check_match(who, given, ("params", params, *_arrays(who, "params", params)))
    columns = []
    for name, tree in slots.items():
        arrays, other = _arrays(who, f"state.{name}", tree)
        _check_match(who, given, (f"state.{name}", tree, arrays, other))
        for i, (g, slot) in enumerate(zip(gradients, arrays, strict=True)):
            if _working(g.dtype) != slot.dtype:
                path, path_of_slot = _paths("grads", grads)[i], _paths(f"state.{name}", tree)[i]
                raise TypeError(f"{who}: {path} is {g.dtype}, but {path_of_slot} is {slot.dtype}")
        columns.append(arrays)
    results: list[list[Array]] = [[] for _ in range(1 + len(slots))]
    for g, *own in zip(gradients, *columns, strict=True):
        working = _working(g.dtype)
        step, *new = rule(g.astype(working, copy=False).reshape(-1), *(slot.reshape(-1) for slot in own))
        for column, result in zip(results, (_rounded(step, g.dtype), *new), strict=True):
            column.append(result.reshape(g.shape))
    return tuple(structure.unflatten(column) for column in results)


def decay_rate(who: str, name: str, value: float) -> float:
    """`value` as a number in [0, 1): an average that never forgets would not follow the gradients."""
    rate = number(who, name, value, 0)
    if rate >= 1:
        raise ValueError(f"{who}: {name} must be in [0, 1), got {rate}")
    return rate


def _working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """In which dtype to compute with arrays of this one."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype.newbyteorder("=")


def _rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore", under="ignore"):  # what a 16-bit float cannot hold is inf or 0
        return np.asarray(array).astype(dtype, copy=False)


def _arrays(who: str, name: str, tree: Tree) -> tuple[list[Array], optree.PyTreeSpec]:
    """The leaves as floating-point arrays, and the structure they came in."""
    leaves: list[Any]
    leaves, structure = optree.tree_flatten(tree)
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, np.ma.MaskedArray) or not (isinstance(leaf, float) or hasattr(leaf, "__array__")):
            raise TypeError(f"{who}: {_paths(name, tree)[i]} must be a floating-point array, got {type(leaf).__name__}")
        array = np.asarray(leaf)
        if not is_floating(array.dtype):
            raise TypeError(f"{who}: {_paths(name, tree)[i]} must be a floating-point array, got {array.dtype}")
        leaves[i] = array
    return leaves, structure


def _check_match(who: str, given: _Flat, expected: _Flat) -> None:
    """Raise unless both trees have the same structure and shapes; the message names what differs."""
    name, tree, arrays, structure = given
    other_name, other_tree, others, other_structure = expected
    if structure != other_structure:
        ours, theirs = _paths("", tree), _paths("", other_tree)
        missing, unknown = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
        details = [f"{word} {', '.join(paths)}" for word, paths in (("lacks", missing), ("has in addition", unknown)) if paths]
        what = " and ".join(details) or f"is {structure}, not {other_structure}"
        raise ValueError(f"{who}: {name} does not match {other_name}: it {what}")
    for i, (array, other) in enumerate(zip(arrays, others, strict=True)):
        if array.shape != other.shape:
            path, other_path = _paths(name, tree)[i], _paths(other_name, other_tree)[i]
            raise ValueError(f"{who}: {path} has shape {array.shape}, but {other_path} has {other.shape}")


def _paths(name: str, tree: Tree) -> list[str]:
    """The name of every leaf: `grads.affine1.w`."""
    return [".".join(filter(None, (name, *map(str, path)))) or "a single array" for path in optree.tree_paths(tree)]
