"""The protocol of every optimizer, and the steps that all update rules share.

A transformation is a pair of pure functions. `init(params)` returns a state, a NamedTuple of arrays and trees of arrays;
`update(grads, state, params=None)` returns the updates, which look like the gradients, and the next state. Nothing is
mutated, and no result shares memory with an argument or with another result.

An update rule is written for one array of at least one axis. `update_each` carries it over the tree, checks what comes in, and
holds the rule for dtypes: updates have the dtype of the gradients; the slots of the state and all arithmetic have the dtype
of the parameters, but float32 for 16-bit parameters. In float16 the square of a gradient below 2e-4 and any epsilon below 3e-8
are 0, and Adam would divide by zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from purenet.checks import number
from purenet.op import Array, Tree
from purenet.optimizers.blocks import Column, array_by_array, by_blocks
from purenet.optimizers.leaves import alike, checked, leaves_of, matching, working_dtype
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = [
    "EmptyState",
    "GradientTransformation",
    "Rule",
    "Scaled",
    "Update",
    "apply_updates",
    "by_rule",
    "decay_rate",
    "init_slots",
    "leaves_of",
    "matching",
    "moved_of",
    "not_zero",
    "state_of",
    "stateless",
    "step_count",
    "update_each",
    "with_moved",
    "working_copies",
    "working_dtype",
]

Rule: TypeAlias = Callable[..., Sequence[Array]]
"""`rule(g, *read, *slots)` gives the update of an array, then each slot anew."""


Update: TypeAlias = Callable[..., tuple[Tree, Any]]
"""`update(grads, state, params=None)` gives the updates and the next state; few need more, such as `value=loss`."""


class GradientTransformation(NamedTuple):
    """An optimizer: `init(params)` and `update(grads, state, params=None)`.

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


class EmptyState(NamedTuple):
    """The state of a transformation that stores nothing."""


class Scaled(NamedTuple):
    """What a rule reads: the parameters, each array times its factor; zeros where the factor is None."""

    params: Tree
    factors: Sequence[float | None]
    by_rate: bool = False
    """Whether `by_rule` multiplies the factors by its rate: one product for each number, where a rule would need two."""

    def at(self, rate: float) -> Scaled:
        """The same at this rate."""
        if not self.by_rate:
            return self
        return Scaled(self.params, [None if factor is None else rate * factor for factor in self.factors])


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
    steps, old, structure = matching(who, ("updates", updates), ("params", params))
    sums = [np.add(p.astype(working_dtype(p.dtype), copy=False), u) for p, u in zip(old, steps, strict=True)]
    return structure.unflatten([_rounded(total, p.dtype) for total, p in zip(sums, old, strict=True)])


# --------------------------------------------------------------------------------- for those who write an optimizer


def working_copies(who: str, name: str, tree: Tree) -> Tree:
    """The tree in new arrays of the dtype of a state: float32 for 16-bit parameters."""
    arrays, structure = leaves_of(who, name, tree)
    return structure.unflatten([array.astype(working_dtype(array.dtype)) for array in arrays])


def step_count(count: int = 0) -> Array:
    """The number of updates made, in the form in which a state holds it."""
    return np.asarray(count, np.int64)


def init_slots(who: str, params: Tree, value: float = 0.0) -> Tree:
    """Zeros, or `value`, in arrays like the parameters, in which a state accumulates; float32 for 16-bit parameters."""
    arrays, structure = leaves_of(who, "params", params)
    return structure.unflatten([np.full(p.shape, value, working_dtype(p.dtype)) for p in arrays])


def state_of(who: str, kind: type[Any], state: Any) -> Any:
    """`state`, if it is one that the transformation's own `init` gives."""
    if not isinstance(state, kind):
        raise TypeError(f"{who}: state must be the {kind.__name__} that init gives, got {type(state).__name__}")
    return state


def by_rule(
    who: str,
    kind: type[Any],
    learning_rate: ScalarOrSchedule,
    rule_at: Callable[[int, float], Rule],
    slots: Sequence[str] = (),
    *,
    start: Mapping[str, float] | None = None,
    read: Callable[[Tree, int], Sequence[Tree | Scaled]] = lambda params, count: (),
    name: str = "learning_rate",
    low: float = 0.0,
    entrywise: bool = True,
) -> GradientTransformation:
    """The optimizer with `rule_at(t, rate)` at the t-th update, t = 1, 2, ..., for which a schedule gets the count t - 1.

    Its state is a `kind`, a NamedTuple of count and, among others, these slots, of zeros unless `start` says otherwise.
    `read(params, t - 1)` are further trees of which the rule gets the leaves. A rate below `low` is an error. `entrywise`: the
    rule treats every entry alike, see `update_each`.
    """
    rate_at = as_schedule(who, learning_rate, name, low)

    def init(params: Tree) -> Any:
        leaves_of(who, "params", params)
        return kind(step_count(), **{slot: init_slots(who, params, (start or {}).get(slot, 0.0)) for slot in slots})

    def step(move: bool, grads: Tree, state: Any, params: Tree) -> tuple[Tree, Any]:
        count = int(state_of(who, kind, state).count)
        rate = rate_at(count)
        reads = [tree.at(rate) if isinstance(tree, Scaled) else tree for tree in read(params, count)]
        old = {slot: getattr(state, slot) for slot in slots}
        first, *new = update_each(who, rule_at(count + 1, rate), grads, params, reads, entrywise=entrywise, move=move, **old)
        return first, kind(step_count(count + 1), **dict(zip(slots, new, strict=True)))

    def update(grads: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]:
        return step(False, grads, state, params)

    return GradientTransformation(init, with_moved(update, partial(step, True)))


def with_moved(update: Update, moved: Update) -> Update:
    """`update`, which carries `moved`: that gives, of the same arguments, the parameters after the update in its place."""
    update.moved = (update, moved)  # type: ignore[attr-defined]
    return update


def moved_of(update: Update) -> Update | None:
    """The function that `update` carries. One that only has its attributes, as after functools.wraps, carries none."""
    owner, moved = getattr(update, "moved", (None, None))
    return moved if owner is update else None


def stateless(
    who: str, rule_for: Callable[[Tree], Rule], *, read_params: bool = False, entrywise: bool = True
) -> GradientTransformation:
    """The transformation that stores nothing. `rule_for(grads)` may use all gradients together."""

    def init(params: Tree) -> EmptyState:
        leaves_of(who, "params", params)
        return EmptyState()

    def update(grads: Tree, state: EmptyState, params: Tree = None) -> tuple[Tree, EmptyState]:
        state_of(who, EmptyState, state)
        if read_params and params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        read = (params,) if read_params else ()
        (updates,) = update_each(who, rule_for(grads), grads, params, read, entrywise=entrywise)
        return updates, EmptyState()

    return GradientTransformation(init, update)


def update_each(
    who: str,
    rule: Rule,
    grads: Tree,
    params: Tree = None,
    read: Sequence[Tree | Scaled] = (),
    *,
    entrywise: bool = True,
    move: bool = False,
    **slots: Tree,
) -> tuple[Tree, ...]:
    """The tree of updates and the tree of each new slot: what `rule(g, *read, *slots)` returns, leaf by leaf.

    The rule gets the gradient of a leaf, what it is to read (trees like the parameters) and the slots as arrays of at least
    one axis, and returns new ones: the update, then each slot. An `entrywise` rule computes every entry from the entries at
    the same place alone; it gets parts of large arrays, and small arrays joined, as one axis. With `move` the first tree has
    the parameters after the update instead, as from `apply_updates`.
    """
    trees = {"params": params} if params is not None else {}
    found = alike(grads, *trees.values(), *slots.values())
    columns, structure = checked(who, grads, trees, slots) if found is None else found
    gradients, weights, own = columns[0], columns[1] if trees else [], columns[1 + len(trees) :]
    dtypes = [g.dtype for g in gradients]
    at_once = move
    if found is None:
        dtypes = [working_dtype(dtype) for dtype in dtypes]
        at_once = move and [p.dtype for p in weights] == dtypes == [g.dtype for g in gradients]
    inputs = [Column(gradients)]
    for tree in read:
        of, factors = (tree.params, tree.factors) if isinstance(tree, Scaled) else (tree, None)
        inputs.append(Column(weights if of is params else leaves_of(who, "params", of)[0], factors))
    inputs += map(Column, own)
    apply = by_blocks if entrywise else array_by_array
    first, *new = apply(rule, inputs, dtypes, len(slots), weights if at_once else None)
    for i, g in enumerate(gradients):
        if first[i].dtype is not g.dtype:
            first[i] = _rounded(first[i], g.dtype)
    results = tuple([structure.unflatten(column) for column in (first, *new)])
    return results if at_once or not move else (apply_updates(params, results[0]), *results[1:])


def decay_rate(who: str, name: str, value: float) -> float:
    """`value` as a number in [0, 1): an average that never forgets would not follow the gradients."""
    rate = number(who, name, value, 0)
    if rate >= 1:
        raise ValueError(f"{who}: {name} must be in [0, 1), got {rate}")
    return rate


def not_zero(who: str, **values: float) -> None:
    """Raise if all of these are 0 in float32: a zero gradient would be divided by zero."""
    if not any(np.float32(value) for value in values.values()):
        names = " and ".join(values)
        must = "must not both be 0" if len(values) > 1 else "must not be 0"
        raise ValueError(f"{who}: {names} {must} in float32, got {' and '.join(map(str, values.values()))}")


def _rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore", under="ignore"):  # what a 16-bit float cannot hold is inf or 0
        return np.asarray(array).astype(dtype, copy=False)
