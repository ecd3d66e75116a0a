"""Order 2: the backward pass of the backward pass, verified as what it is, the backward pass of another function.

That function is `bwd_fwd(*arguments, dy) -> gradients`. Its value must be what `bwd` returns, which is checked first. Then it
is verified as every other function is, at the arguments and the random `dy` of order 1: u is the random upstream gradient of
the gradients, and the finite differences are those of <gradients, u>.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optree

from oracle.adapters import like_reference
from oracle.arrays import RAISED, leaves_of, quiet
from oracle.complex_numbers import as_real, point_in_real, random_dy
from oracle.contract.process_state import preserved
from oracle.contract.rounding import Rounding
from oracle.double_backward import gradients_of
from oracle.judging.reference import Reference
from oracle.row import VALUES, Row, Verdict
from oracle.spec import Flag
from oracle.subject import on_copies

__all__ = ["judged"]

DY = "upstream_dy"
"""The name of the argument dy while it is verified: messages call the upstream gradient of every function dy."""
WORDS = {DY: "dy", "dy": "u", "bwd": "bwd_bwd", "fwd": "bwd_fwd"}
"""What the words of a message about an ordinary function are at order 2."""
WORD = re.compile(rf"(?<![\w.])({'|'.join(WORDS)})(?!\w)")
FORM = "bwd_fwd must return (gradients, residuals), with the gradients in the tuple that bwd returns"
NAMED = 3
"""Gradients that a row names one by one; with more, its name would be wider than a column."""


def judged(run: Any, first: Sequence[Row], rows_of: Callable[[Any], list[Row]]) -> list[Row]:
    """The rows of order 2 of a run of `verify`, whose rows of order 1 are `first`; `rows_of` gives the rows of a run."""
    names = run.subject.names(len(run.primals))
    if any(row.verdict is Verdict.ERROR or row.evidence == "contract" for row in first):
        why = "order 2 was not verified: mend what is reported about order 1 first"
        return [_about_the_op(first[0], Verdict.INCONCLUSIVE, why)]
    with preserved(), quiet():
        dy = random_dy(on_copies(run.subject).value(*run.primals), run.plan.seed)
        apart = _apart(run, dy)
    if any(np.asarray(leaf).dtype.kind in "biu" for leaf in optree.tree_leaves(dy)):
        why = "order 2 was not verified: its value has integers, and these have no dy"
        return [_about_the_op(first[0], Verdict.INCONCLUSIVE, why)]
    reference = run.plan.reference
    if any(row.evidence == VALUES and not row.passed for row in first):
        reference = None  # another function's second derivatives say nothing about ours
    if reference is not None:
        reference = Reference(
            like_reference(gradients_of(reference.function, run.convention), reference.function), reference.options
        )
    flags = run.plan.flags | {Flag.ZERO_GRADIENT}  # most functions are linear in something
    if reference is None:
        flags -= {Flag.NOT_THE_DERIVATIVE}  # whatever bwd computes, bwd_bwd is its derivative
    forward, backward = run.subject.second
    there = replace(
        run,
        subject=replace(run.subject, arguments=(*names, DY), forward=forward, bwd=backward, second=None),
        primals=(*run.primals, dy),
        plan=replace(run.plan, reference=reference, flags=frozenset(flags)),
        views=True,  # gradients that share memory with dy are a matter of order 1
    )
    other = [_about_the_op(first[0], Verdict.FAIL, apart, VALUES)] if apart else []
    if apart == FORM:
        return other
    return [*other, *(_named(row, names) for row in rows_of(there))]


def _about_the_op(like: Row, verdict: Verdict, diagnosis: str, evidence: str = "") -> Row:
    """A row about the whole op, of the same verification as another one."""
    fields = {name: getattr(like, name) for name in ("family", "op", "case", "dtype", "reference")}
    return Row(**fields, parameter="", shape=(), evidence=evidence, verdict=verdict, diagnosis=diagnosis, order=2)


def _apart(run: Any, dy: Any) -> str:
    """How the value of the second pair differs from the gradients that bwd returns; empty if it does not."""
    subject = on_copies(run.subject)
    names = subject.names(len(run.primals))
    y, residuals = subject.fwd(*run.primals)
    tree: Any = subject.bwd(residuals, dy)
    ours: Any = tuple(optree.tree_map(np.array, tree))
    try:
        theirs: Any = on_copies(replace(subject, forward=run.subject.second[0])).value(*run.primals, dy)
    except RAISED:
        return ""  # it is called again, and then reported
    if optree.tree_structure(theirs) != optree.tree_structure(ours):
        return FORM
    point = point_in_real(replace(run, subject=subject), y, dy, ours)
    rounding = Rounding(point)
    pairs = enumerate(zip(leaves_of(names, point.cotangents), leaves_of(names, as_real(theirs)), strict=True))
    found = [a.path for i, (a, b) in pairs if not rounding.is_close(i, np.asarray(a.array), np.asarray(b.array))]
    return f"bwd_fwd returns other gradients than bwd: by {', '.join(found)}" if found else ""


def _named(row: Row, names: Sequence[str]) -> Row:
    """The row in the words of order 2."""
    each = [f"d{name}" for name in names] if all(map(str.isidentifier, names)) else []
    gradients = each[0] if len(each) == 1 else f"({', '.join(each)})" if 1 < len(each) <= NAMED else "gradients"
    what = f"d2 <{gradients}, u>"
    note = (
        f"order 2: {what} by x is the gradient by x of the sum of {gradients} times u, where {gradients} is what bwd returns "
        "for dy, and u is random".replace("by x", f"by {names[0]}")
    )
    details = row.details
    if details is not None and details.explanation is not None:
        details = replace(details, explanation=replace(details.explanation, entry=_in_words(details.explanation.entry)))
    diagnosis = _in_words(row.diagnosis)
    return replace(
        row,
        parameter=f"{what} by {_in_words(row.parameter)}" if row.parameter else "",
        diagnosis=diagnosis if row.parameter else f"order 2: {diagnosis}",
        note="; ".join(part for part in (note, row.note) if part),
        details=details,
        order=2,
    )


def _in_words(text: str) -> str:
    return WORD.sub(lambda found: WORDS[found[0]], text)
