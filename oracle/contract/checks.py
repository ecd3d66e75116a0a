"""The checks of the contract: both functions are pure and deterministic, and the backward pass is linear in its cotangent.

Each check yields breaches: the argument concerned, and what the op did. The checks compare only results of the op itself, so a
breach is certain and needs neither differences nor a reference.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, copied_arrays, quiet
from oracle.contract.linearity import is_linear_in_dy
from oracle.contract.process_state import preserved
from oracle.contract.setting import (
    GLOBAL,
    ONCE,
    OPTION,
    SHARED,
    WRITES,
    Breach,
    Setting,
    array_bits,
    copied,
    gradient,
    same_bits,
)
from oracle.streams import Stream
from oracle.subject import Subject, on_copies
from oracle.text import listed

__all__ = ["CHECKS", "NOT_TWICE", "STALE", "all_breaches", "check_contract", "is_still_the_same"]

Array = NDArray[Any]

STALE = "stale or shared buffer"
NOT_TWICE = "two calls of bwd with the same residuals return different results"


def leaves_the_process_alone(s: Setting) -> Iterator[Breach]:
    """The op changes no global state, on which later computations may depend.

    The check first sets warning filters, floating-point errors and the generators of np.random and random to values that no op
    would choose, so that every change is visible.
    """
    with preserved(), warnings.catch_warnings(), np.errstate(all="call", call=lambda *_: None):
        warnings.resetwarnings()
        np.random.seed(Stream.GLOBAL_STATE)  # noqa: NPY002 - an op may seed the global generators
        random.seed(Stream.GLOBAL_STATE)
        with preserved() as changed:
            gradient(on_copies(s.point.subject), s.point.primals, copied(s.point.dy))
            found = changed()
    if found:
        yield Breach("", f"{GLOBAL}: {', '.join(found)}")


def leaves_arguments_alone(s: Setting) -> Iterator[Breach]:
    """Neither pass writes to an argument, nor the backward pass to its cotangent, its residuals or the value."""
    primals, dy, options = copied(s.point.primals), copied(s.point.dy), copied_arrays(s.point.subject.options)
    y, residuals = s.point.subject.forward(*primals, **options)
    for before, after in zip(s.point.leaves, s.leaves(primals), strict=True):
        if not same_bits(before.array, after.array):
            yield Breach(before.path, f"the forward pass {WRITES} its argument")
    given, value = copied(primals), copied(y)  # with the changes that the forward pass has made
    first = copied(s.point.subject.bwd(residuals, dy))
    pairs = zip(s.leaves(given), s.leaves(primals), strict=True)
    changed = [before.path for before, after in pairs if not same_bits(before.array, after.array)]
    for path in changed:
        yield Breach(path, f"the backward pass {WRITES} an argument of the forward pass")
    if not changed and not same_bits(value, y):
        yield Breach("", f"the backward pass {WRITES} the value of the forward pass, which the caller has")
    for name, before in s.point.subject.options.items():
        if array_bits(before) != array_bits(options[name]):
            yield Breach("", f"{OPTION} {name}")
    if not same_bits(dy, s.point.dy):
        yield Breach("", f"the backward pass {WRITES} the caller's dy")
        return
    try:
        again = s.point.subject.bwd(residuals, copied(s.point.dy))
    except RAISED as error:
        yield Breach("", f"{ONCE}: a second call with the same residuals raises {type(error).__name__}: {error}")
        return
    if not same_bits(again, first):
        why = "the first changes the residuals" if _changes_residuals(s) else "it keeps something between its calls"
        yield Breach("", f"{NOT_TWICE}: {why}")


def _changes_residuals(s: Setting) -> bool:
    """Whether the backward pass writes to an array of the residuals, or of an object among them."""

    def bits() -> list[bytes]:
        opened = optree.tree_map(lambda part: dict(vars(part)) if hasattr(part, "__dict__") else part, residuals)
        return array_bits(opened)

    _, residuals = on_copies(s.point.subject).fwd(*s.point.primals)
    before = bits()
    s.point.subject.bwd(residuals, copied(s.point.dy))
    return bits() != before


def shares_memory(s: Setting) -> Iterator[Breach]:
    """No result shares memory with an argument or another result, so that writing to one later never changes the other."""
    y, residuals = s.point.subject.fwd(*s.point.primals)
    if not s.views:
        for leaf in s.point.leaves:
            if any(_overlap(leaf.array, out) for out in optree.tree_leaves(y)):
                yield Breach(leaf.path, "the value shares memory with this argument: return a copy, or declare views")
    if s.aliases:
        return
    dy = copied(s.point.dy)
    results = s.leaves(s.point.subject.bwd(residuals, dy))
    for i, result in enumerate(results):
        others = [("the caller's dy", d) for d in optree.tree_leaves(dy)]
        others += [(f"the argument {leaf.path}", leaf.array) for leaf in s.point.leaves]
        others += [(f"the gradient of {leaf.path}", leaf.array) for leaf in results[:i]]
        for whose, array in others:
            if _overlap(result.array, array):
                yield Breach(result.path, f"the gradient shares memory with {whose}: return a copy, or declare aliases")
                break


def _overlap(a: Any, b: Any) -> bool:
    return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and bool(np.shares_memory(a, b))


def gives_memory_away(s: Setting) -> Iterator[Breach]:
    """Two calls never return the same memory, so that the second does not overwrite what the first returned."""
    (y, residuals), (again, others) = (s.point.subject.fwd(*copied(s.point.primals)) for _ in range(2))
    if any(_overlap(a, b) for a, b in zip(optree.tree_leaves(y), optree.tree_leaves(again), strict=True)):
        yield Breach("", f"{SHARED}: two forward passes return the same memory")
    first = s.leaves(s.point.subject.bwd(residuals, copied(s.point.dy)))
    for same, call in ((residuals, "with the same residuals"), (others, "after different forward passes")):
        found = [one.path for one, two in zip(first, s.leaves(s.point.subject.bwd(same, copied(s.point.dy))), strict=True)
                 if _overlap(one.array, two.array)]  # fmt: skip
        if found:
            yield from (Breach(path, f"{SHARED}: two backward passes {call} return the same memory") for path in found)
            return


def is_deterministic(s: Setting) -> Iterator[Breach]:
    """The same arguments give the same bits."""
    (first, cotangents), (second, again) = (s.results() for _ in range(2))
    if not same_bits(first, second):
        yield Breach("", "two calls of fwd with the same arguments return different values")
        return
    apart = [one.path for one, two in zip(cotangents, again, strict=True) if not same_bits(one.array, two.array)]
    if apart:
        yield _of_several(s, apart, "two calls of bwd with the same arguments return different gradients")


def keeps_its_own_residuals(s: Setting) -> Iterator[Breach]:
    """A second forward pass before the first backward pass changes nothing: the op keeps no state between calls."""
    _, cotangents = s.results()
    for change in ELSEWHERE:
        _, residuals = s.point.subject.fwd(*s.point.primals)
        with quiet():
            try:
                s.point.subject.fwd(*copied(s.point.primals, change))
            except RAISED:  # the other point may be outside the op's domain
                continue
        pairs = zip(s.leaves(s.point.subject.bwd(residuals, s.point.dy)), cotangents, strict=True)
        stale = [leaf.path for leaf, before in pairs if not same_bits(leaf.array, before.array)]
        if stale:
            what = f"{STALE}: another forward pass in between changes what bwd returns"
            yield _of_several(s, stale, f"{what} (fwd must hand everything that bwd needs to it as residuals)")
            return


def _of_several(s: Setting, paths: Sequence[str], what: str) -> Breach:
    """One breach for one mistake, however many gradients it shows in."""
    return Breach(paths[0], what) if len(s.point.leaves) == 1 else Breach("", f"{what}: for {listed(paths)}")


# Smaller, of the other sign, in another order, and fewer: these change the masks, indices and shapes that an op may keep.
ELSEWHERE: tuple[Callable[[Array], Array], ...] = (
    lambda a: np.asarray(a * 0.5, a.dtype),
    lambda a: -a,
    lambda a: np.flip(a).copy(),
    lambda a: a[:1].copy() if a.ndim else a,
)


def accepts_any_layout(s: Setting) -> Iterator[Breach]:
    """The gradient does not depend on the memory layout: Fortran order, negative strides, gaps, read-only memory."""
    layouts: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("Fortran order", lambda a: np.array(a, order="F")),
        ("negative strides", lambda a: np.flip(np.flip(a).copy()) if a.ndim else a.copy()),
        ("non-contiguous memory", _gapped),
    )
    for name, change in layouts:

        def laid_out(a: Array, change: Callable[[Array], Array] = change) -> Array:
            a = change(a).view()
            a.flags.writeable = False
            return a

        try:
            found = s.leaves(gradient(s.point.subject, copied(s.point.primals, laid_out), copied(s.point.dy, laid_out)))
        except RAISED as error:
            yield Breach("", f"arguments in {name}, read-only, raise {type(error).__name__}: {error}")
            continue
        for i, (one, two) in enumerate(zip(s.leaves(s.point.cotangents), found, strict=True)):
            if not s.rounding.is_close(i, np.asarray(one.array), np.asarray(two.array)):
                yield Breach(one.path, f"the gradient changes when the arguments and dy come in {name}")


def _gapped(a: Array) -> Array:
    return np.stack([a, np.zeros_like(a)], axis=-1)[..., 0]


def is_still_the_same(s: Setting) -> Iterator[Breach]:
    """After all other calls of this verification the first call still gives the same cotangents, up to rounding of sums."""
    again = s.leaves(gradient(s.point.subject, s.point.primals, s.point.dy))
    pairs = zip(s.leaves(s.point.cotangents), again, strict=True)
    apart = [a.path for i, (a, b) in enumerate(pairs) if not s.rounding.is_close(i, np.asarray(a.array), np.asarray(b.array))]
    if apart:
        yield _of_several(s, apart, "the first call, repeated after many others, gives another gradient: the op keeps state")


CHECKS: tuple[Callable[[Setting], Iterator[Breach]], ...] = (
    leaves_the_process_alone,
    leaves_arguments_alone,
    shares_memory,
    gives_memory_away,
    is_deterministic,
    keeps_its_own_residuals,
    is_linear_in_dy,
    accepts_any_layout,
)


FEW_CHECKS = (leaves_arguments_alone, shares_memory, is_deterministic)
"""The checks that need few evaluations and little memory, for arguments of millions of elements."""


def _on_copies_of_options(s: Setting) -> Setting:
    """The same with a subject that gets its own copies of the options in every call."""
    forward = s.point.subject.forward
    copies = replace(s.point.subject, forward=lambda *primals, **options: forward(*primals, **copied_arrays(options)))
    return replace(s, point=replace(s.point, subject=copies))


def all_breaches(setting: Setting, compiled: Subject, *, few: bool) -> list[Breach]:
    """Everything that the checks find: of very large arguments a few checks.

    What a call does to the process shows only in the functions themselves. All else shows in their compiled twins, too; where
    there are none, `compiled` is the subject itself.
    """
    checks = FEW_CHECKS if few else CHECKS
    if compiled is setting.point.subject:
        return check_contract(setting, checks)
    twin = replace(setting, point=replace(setting.point, subject=compiled))
    return [
        *check_contract(setting, [check for check in checks if check is leaves_the_process_alone]),
        *check_contract(twin, [check for check in checks if check is not leaves_the_process_alone]),
    ]


def check_contract(setting: Setting, checks: Sequence[Callable[[Setting], Iterator[Breach]]] = CHECKS) -> list[Breach]:
    """All breaches, the most basic first; a check that raises is a breach too.

    If an op writes to its arguments, or its residuals can be used only once, later checks would report mere consequences, so
    they do not run. If it writes only to its options, they run on copies of these.
    """
    breaches: list[Breach] = []
    protected = False
    for check in checks:
        grave = [breach for breach in breaches if not breach.what.startswith(OPTION)]
        if any(word in breach.what for breach in grave for word in (WRITES, ONCE, NOT_TWICE)):
            break
        if len(grave) < len(breaches) and not protected:
            setting, protected = _on_copies_of_options(setting), True
        try:
            with quiet():  # `first_call` has already reported the warnings of the op
                breaches += check(setting)
        except RAISED as error:
            breaches.append(Breach("", f"{check.__name__.replace('_', ' ')}: raised {type(error).__name__}: {error}"))
    return breaches
