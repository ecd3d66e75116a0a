"""Transformations made of others: one after the other, for a part of the parameters, at some of the steps.

Further arguments of `update`, such as the loss as `value`, go to each of them that takes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import optree

from purenet.checks import boolean, integer
from purenet.masks import Mask, labels_of, mask_of
from purenet.op import Array, Tree
from purenet.optimizers.transformation import (
    GradientTransformation,
    Update,
    apply_updates,
    init_slots,
    leaves_of,
    moved_of,
    state_of,
    step_count,
    update_each,
    with_moved,
)

__all__ = [
    "ApplyIfFiniteState",
    "MaskedNode",
    "MaskedState",
    "MultiStepsState",
    "PartitionState",
    "apply_if_finite",
    "chain",
    "masked",
    "multi_steps",
    "partition",
]


class MaskedNode(NamedTuple):
    """Stands in a state for an array of parameters that is not transformed; it has no leaves."""


class MaskedState(NamedTuple):
    """The state of the transformation inside, for the parameters that it transforms."""

    inner_state: Any


class PartitionState(NamedTuple):
    """The state of each transformation, by its label."""

    inner_states: dict[Hashable, MaskedState]


class MultiStepsState(NamedTuple):
    """The number of gradients collected, the number of updates made, the state of the optimizer, the collected gradients."""

    mini_step: Array
    gradient_step: Array
    inner_opt_state: Any
    acc_grads: Tree


class ApplyIfFiniteState(NamedTuple):
    """How many gradients in a row were not finite, whether the last was finite, how many were not in all, the state inside."""

    notfinite_count: Array
    last_finite: Array
    total_notfinite: Array
    inner_state: Any


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
    updates_of = [update_of("chain", f"transforms[{i}]", transform) for i, transform in enumerate(transforms)]

    move_by_last = moved_by("chain", f"transforms[{len(transforms) - 1}]", transforms[-1])

    def init(params: Tree) -> tuple[Any, ...]:
        return tuple(transform.init(params) for transform in transforms)

    def check(state: Any) -> None:
        # A NamedTuple is a tuple too: the state of a single optimizer must not pass for that of a chain.
        if type(state) is not tuple or len(state) != len(transforms):
            what = f"a tuple of {len(state)}" if type(state) is tuple else type(state).__name__
            raise ValueError(f"chain: state must be a tuple of {len(transforms)}, as init gives, got {what}")

    def update(grads: Tree, state: tuple[Any, ...], params: Tree = None, **extra: Any) -> tuple[Tree, tuple[Any, ...]]:
        check(state)
        states = []
        for update_one, own in zip(updates_of, state, strict=True):
            grads, own = update_one(grads, own, params, **extra)
            states.append(own)
        return grads, tuple(states)

    def moved(grads: Tree, state: Any, params: Tree, **extra: Any) -> tuple[Tree, tuple[Any, ...]]:
        check(state)
        states = []
        for update_one, own in zip(updates_of[:-1], state, strict=False):
            grads, own = update_one(grads, own, params, **extra)
            states.append(own)
        params, own = move_by_last(grads, state[-1], params, **extra)
        return params, (*states, own)

    return GradientTransformation(init, with_moved(update, moved))


def masked(inner: GradientTransformation, mask: Mask) -> GradientTransformation:
    """The transformation for the parameters where the mask is true; the gradients of the others pass as they are.

    `mask` is a tree of booleans like the parameters, or a prefix of one, or a function that gives it for a tree.
    State: inner_state, in which parameters that are not transformed have no slots
    Errors: TypeError where the mask holds other things than booleans; ValueError where it is no tree like the parameters.
    Source: optax.masked. Conventions: to keep parameters as they are, `partition` them with `scale(0.0)`.

    >>> import numpy as np, purenet as pn
    >>> only_w = pn.optimizers.masked(pn.optimizers.scale(10.0), {"w": True, "b": False})
    >>> grads = {"w": np.array([1.0]), "b": np.array([1.0])}
    >>> only_w.update(grads, only_w.init(grads))[0]
    {'w': array([10.]), 'b': array([1.])}
    """
    update_inner = update_of("masked", "inner", inner)

    def init(params: Tree) -> MaskedState:
        return MaskedState(inner.init(_hidden(params, mask_of("masked", mask, params))))

    def update(grads: Tree, state: MaskedState, params: Tree = None, **extra: Any) -> tuple[Tree, MaskedState]:
        own = state_of("masked", MaskedState, state).inner_state
        return _update_part("masked", update_inner, mask_of("masked", mask, grads), grads, own, params, extra)

    return GradientTransformation(init, update)


def partition(
    transforms: Mapping[Hashable, GradientTransformation], param_labels: Tree | Callable[[Tree], Tree]
) -> GradientTransformation:
    """For each array of parameters the transformation of its label.

    `param_labels` is a tree of labels like the parameters, or a prefix of one, or a function that gives it for a tree.
    State: inner_states, by label
    Errors: TypeError for what is no transformation; ValueError without any, for a label that has none, or where the labels
        are no tree like the parameters.
    Source: optax.partition.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.partition(
    ...     {"train": pn.optimizers.sgd(0.5), "freeze": pn.optimizers.scale(0.0)}, {"w": "train", "b": "freeze"}
    ... )
    >>> grads = {"w": np.array([1.0]), "b": np.array([1.0])}
    >>> opt.update(grads, opt.init(grads))[0]
    {'w': array([-0.5]), 'b': array([0.])}
    """
    if not isinstance(transforms, Mapping):
        raise TypeError(f"partition: transforms must be a dict of transformations, got {type(transforms).__name__}")
    if not transforms:
        raise ValueError("partition: at least one transformation is needed")
    updates_of = {label: update_of("partition", f"transforms[{label!r}]", one) for label, one in transforms.items()}

    def labels(tree: Tree) -> list[Any]:
        found = labels_of("partition", "param_labels", param_labels, tree)
        unknown = [label for label in found if label not in transforms]
        if unknown:
            known = ", ".join(map(repr, transforms))
            raise ValueError(f"partition: param_labels must be among {known}, got {unknown[0]!r}")
        return found

    def init(params: Tree) -> PartitionState:
        found = labels(params)
        return PartitionState(
            {name: MaskedState(one.init(_hidden(params, [n == name for n in found]))) for name, one in transforms.items()}
        )

    def update(grads: Tree, state: PartitionState, params: Tree = None, **extra: Any) -> tuple[Tree, PartitionState]:
        inner, found = state_of("partition", PartitionState, state).inner_states, labels(grads)
        if inner.keys() != transforms.keys():
            raise ValueError(f"partition: state must have the labels {list(transforms)}, got {list(inner)}")
        states = {}
        for name, update_one in updates_of.items():
            own, chosen = inner[name].inner_state, [label == name for label in found]
            grads, states[name] = _update_part("partition", update_one, chosen, grads, own, params, extra)
        return grads, PartitionState(states)

    return GradientTransformation(init, update)


def multi_steps(
    opt: GradientTransformation, every_k_schedule: int | Callable[[int], int], use_grad_mean: bool = True
) -> GradientTransformation:
    """An update for every k gradients, with their mean: a batch in k parts. The updates in between are zeros.

    Math, after the updates made so far s, for the j-th gradient of the next, j = 1, ..., k = every_k_schedule(s):
        acc_j = acc_{j-1} + (g_j - acc_{j-1}) / j                  without use_grad_mean: acc_{j-1} + g_j
        u_j = 0 for j < k;  u_k that of `opt` for acc_k, after which acc is 0 again
    State: mini_step, gradient_step, inner_opt_state, acc_grads
    Errors: TypeError or ValueError unless k is a positive integer.
    Source: optax.MultiSteps. Conventions: a schedule inside counts updates, not gradients. optax sums in float32 by default;
        here in the dtype of the parameters, but float32 for 16-bit parameters. The k-th value of extra arguments is passed on.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.multi_steps(pn.optimizers.sgd(0.5), 2)
    >>> state = opt.init(np.zeros(1))
    >>> first, state = opt.update(np.array([2.0]), state)
    >>> second, state = opt.update(np.array([6.0]), state)
    >>> first, second
    (array([0.]), array([-2.]))
    """
    who = "multi_steps"
    update_inner = update_of(who, "opt", opt)
    if not callable(every_k_schedule):
        integer(who, "every_k_schedule", every_k_schedule, 1)
    boolean(who, "use_grad_mean", use_grad_mean)

    def init(params: Tree) -> MultiStepsState:
        return MultiStepsState(step_count(), step_count(), opt.init(params), init_slots(who, params))

    def update(grads: Tree, state: MultiStepsState, params: Tree = None, **extra: Any) -> tuple[Tree, MultiStepsState]:
        j, made = int(state_of(who, MultiStepsState, state).mini_step) + 1, int(state.gradient_step)
        k = every_k_schedule
        if callable(k):
            k = integer(who, f"every_k_schedule({made})", k(made), 1)

        def rule(g: Array, acc: Array) -> tuple[Array, Array]:
            return np.zeros_like(g), acc + ((g - acc) / j if use_grad_mean else g)

        updates, acc = update_each(who, rule, grads, params, acc_grads=state.acc_grads)
        if j < k:
            return updates, MultiStepsState(step_count(j), step_count(made), copies(state.inner_opt_state), acc)
        updates, inner = update_inner(acc, state.inner_opt_state, params, **extra)
        (updates,) = update_each(who, lambda g, u: (u.copy(),), grads, None, (updates,))
        return updates, MultiStepsState(step_count(), step_count(made + 1), inner, init_slots(who, acc))

    return GradientTransformation(init, update)


def apply_if_finite(inner: GradientTransformation, max_consecutive_errors: int) -> GradientTransformation:
    """The transformation, unless a gradient is not finite: then nothing moves, and its state stays.

    After max_consecutive_errors such gradients in a row the next is let through, so that the training ends visibly.
    State: notfinite_count, last_finite, total_notfinite, inner_state
    Errors: TypeError or ValueError unless max_consecutive_errors is an integer of at least 0.
    Source: optax.apply_if_finite.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.apply_if_finite(pn.optimizers.sgd(0.5), 3)
    >>> updates, state = opt.update(np.array([np.nan, 1.0]), opt.init(np.zeros(2)))
    >>> updates, int(state.total_notfinite), int(state.inner_state.count)
    (array([0., 0.]), 1, 0)
    """
    who = "apply_if_finite"
    update_inner, most = update_of(who, "inner", inner), integer(who, "max_consecutive_errors", max_consecutive_errors, 0)

    def init(params: Tree) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(step_count(), np.asarray(True), step_count(), inner.init(params))

    def update(grads: Tree, state: ApplyIfFiniteState, params: Tree = None, **extra: Any) -> tuple[Tree, ApplyIfFiniteState]:
        state_of(who, ApplyIfFiniteState, state)
        finite = all(bool(np.isfinite(g).all()) for g in leaves_of(who, "grads", grads)[0])
        in_a_row = 0 if finite else int(state.notfinite_count) + 1
        total = int(state.total_notfinite) + (not finite)
        if finite or in_a_row > most:
            updates, own = update_inner(grads, state.inner_state, params, **extra)
        else:
            (updates,) = update_each(who, lambda g: (np.zeros_like(g),), grads, params)
            own = copies(state.inner_state)
        return updates, ApplyIfFiniteState(step_count(in_a_row), np.asarray(finite), step_count(total), own)

    return GradientTransformation(init, update)


# ------------------------------------------------------------------------------------------------------ the parts


def update_of(who: str, name: str, transform: Any) -> Update:
    """The update of `transform`, which gets only those extra arguments that it takes."""
    if not (hasattr(transform, "init") and hasattr(transform, "update")):
        raise TypeError(f"{who}: {name} must have init and update, got {type(transform).__name__}")
    return _with_known_extras(transform.update)


def moved_by(who: str, name: str, transform: Any) -> Update:
    """The function of (grads, state, params) that gives the parameters after the update of `transform`, and its next state.

    Optimizers of purenet do so in one walk over the arrays.
    """
    update, at_once = update_of(who, name, transform), moved_of(transform.update)
    if at_once is not None:
        return _with_known_extras(at_once)

    def moved(grads: Tree, state: Any, params: Tree, **extra: Any) -> tuple[Tree, Any]:
        updates, state = update(grads, state, params, **extra)
        return apply_updates(params, updates), state

    return moved


def _with_known_extras(update: Update) -> Update:
    """The same function, which gets only those extra arguments that it takes."""
    parameters = inspect.signature(update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return update
    known = frozenset(parameters)

    def update_with(grads: Tree, state: Any, params: Tree = None, **extra: Any) -> tuple[Tree, Any]:
        if known.isdisjoint(extra):
            return update(grads, state, params)
        return update(grads, state, params, **{key: value for key, value in extra.items() if key in known})

    return update_with


def _hidden(tree: Tree, shown: list[bool]) -> Tree:
    """The tree with a MaskedNode in place of each leaf that is not chosen."""
    leaves, structure = optree.tree_flatten(tree)
    return structure.unflatten([leaf if show else MaskedNode() for leaf, show in zip(leaves, shown, strict=True)])


def _update_part(
    who: str, update: Update, chosen: list[bool], grads: Tree, state: Any, params: Tree, extra: Mapping[str, Any]
) -> tuple[Tree, MaskedState]:
    """The updates for the chosen leaves, copies of the other gradients, and the next state."""
    hidden_params = None if params is None else _hidden(params, chosen)
    updates, own = update(_hidden(grads, chosen), state, hidden_params, **extra)
    leaves, structure = leaves_of(who, "grads", grads)
    new = iter(optree.tree_leaves(updates))
    merged = [next(new) if choice else leaf.copy() for leaf, choice in zip(leaves, chosen, strict=True)]
    return structure.unflatten(merged), MaskedState(own)


def copies(state: Any) -> Any:
    """The state in arrays of its own: a result shares no memory with an argument."""
    return optree.tree_map(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, state)
