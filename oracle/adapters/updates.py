"""Layers whose backward pass updates their weights itself: `self.weights -= learning_rate * x.T @ dout`.

Such a layer holds no gradient of its weights. If it moves them by a multiple of a learning rate that has a name, the gradient
is the change divided by minus that rate. If not, nothing can be said of the gradient but that it is not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optree

from oracle.adapters.calling import RATES, as_gradient, inputs_of, keywords_of, parameters_of, seeded
from oracle.adapters.copying import parts_of
from oracle.adapters.evaluations import Held, Run, copied, upstream_of
from oracle.adapters.finding import MISSING, Parameter, Path, at, is_numbers, put
from oracle.measures import EPSILON
from oracle.text import listed

__all__ = ["settled", "updated"]

NOT_CHECKED = (
    "{0} {1} in {2} (an update step?); no gradient of {3} is held, so none is checked: keep it in an attribute such as d{4}, "
    "or call the factor of the update learning_rate, as a parameter of {2} or an attribute"
)
READ = (
    "{0} {1} updated in {2}, which holds no gradient of {3}: what is judged is the change, divided by -{4} (a wrong sign is "
    "right where {2} gets the negative gradient)"
)


def settled(subject: Held, forward: str, backward: str, run: Run) -> Held | None:
    """The layer with a parameter for each array that its backward pass moves; None if it moves none without a gradient."""
    try:
        moved = _moved(run, forward, backward)
    except Exception:  # what raises is reported by `verify`
        return None
    if not moved:
        return None
    parameters, names = list(subject.parameters), dict[str, list[str]]()
    for path in moved:
        own = next((p for p in parameters if path in p.places), None)
        name = ".".join(map(str, path)) if own is None else own.name
        if own is not None:
            parameters.remove(own)
        rate = next((rate for rate in _rates(run, backward, path) if _is_multiple(run, forward, backward, path, rate)), None)
        names.setdefault("" if rate is None else str(rate[-1]), []).append(name)
        if rate is not None:
            parameters.append(Parameter(name, (path,) if own is None else own.places, (), rate))
    notes = {_note(which, backward, rate): None for rate, which in names.items()}
    return replace(subject, parameters=parameters, notes={**subject.notes, **notes})


def _note(names: list[str], backward: str, rate: str) -> str:
    """What is to be known about the numbers that the backward pass moves, by a multiple of a rate or not."""
    it, several = ("it", False) if len(names) == 1 else ("them", True)
    if rate:
        return READ.format(listed(names), "are" if several else "is", backward, it, rate)
    return NOT_CHECKED.format(listed(names), "change" if several else "changes", backward, it, names[0])


def updated(run: Run, forward: str, backward: str, dy: Any) -> dict[str, Any]:
    """The gradients of the parameters that the backward pass updates, by their names."""
    parameters = [p for p in run.subject.parameters if p.rate is not None]
    if not parameters:
        return {}
    size = _large(run, dy)
    rates = {p.rate: size for p in parameters if p.rate is not None}
    before, after, _ = _stepped(run, forward, backward, dy, rates)
    return {p.name: as_gradient(_change(before, after, p.places[0]) / -size, run.primals[0][p.name]) for p in parameters}


def _moved(run: Run, forward: str, backward: str) -> list[Path]:
    """The paths of the numbers that the backward pass changes, the value depends on, and no gradient is held for."""
    value = run.value(forward)
    dy = _some_cotangent(value)
    before, after, returned = _stepped(run, forward, backward, dy, {})
    held = {place for p in run.subject.parameters if p.gradient(after, returned) is not None for place in p.places}
    changed = [path for path, number in before.items() if path not in held and not _same(number, at(after, path))]
    return [path for path in reversed(changed) if _matters(run, forward, path, value)]  # in the order of the attributes


def _some_cotangent(value: Any) -> Any:
    draw = np.random.default_rng(0)
    return optree.tree_map(lambda y: np.asarray(draw.normal(size=np.shape(y)), np.asarray(y).dtype), value)


def _stepped(run: Run, forward: str, backward: str, dy: Any, rates: Mapping[Path, float]) -> tuple[dict[Path, Any], Any, Any]:
    """The object's numbers before its backward pass, the object after it, and what that returned."""
    with seeded(run.subject.seed):
        made, _ = run.forward(forward)
        method = getattr(made, backward)
        keywords = keywords_of(method, run.backward_options)
        for rate, size in rates.items():
            if rate[0] == backward:
                keywords[rate[-1]] = size
            else:
                put(made, rate, size)
        numbers = ((path, part) for path, part in parts_of(made) if path and is_numbers(part))
        known = run.subject.original.object
        before = {path: np.array(part) for path, part in numbers if at(known, path) is not MISSING}
        upstream = copied(upstream_of(dy, method)) if inputs_of(method) else ()
        returned = method(*upstream, **keywords)
    return before, made, returned


def _same(before: Any, after: Any) -> bool:
    return not is_numbers(after) or (np.shape(before) == np.shape(after) and np.array_equal(before, after, equal_nan=True))


def _change(before: Mapping[Path, Any], after: Any, path: Path) -> Any:
    return np.asarray(at(after, path)) - before[path]


def _matters(run: Run, forward: str, path: Path, value: Any) -> bool:
    """Whether the value depends on the numbers at a path."""
    made = run.rebuilt()
    numbers = at(made, path)
    put(made, path, type(numbers)(numbers + 1.0) if isinstance(numbers, float) else numbers + np.ones_like(numbers))
    try:
        with seeded(run.subject.seed):
            changed = run.forward(forward, made)[1]
    except Exception:  # numbers outside the domain of the forward pass are used by it
        return True
    ours, theirs = optree.tree_leaves(value), optree.tree_leaves(changed)
    return any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(ours, theirs, strict=True))


def _rates(run: Run, backward: str, path: Path) -> list[Path]:
    """Where a learning rate may be: `(backward, name)` for a parameter, or the path of an attribute beside the numbers."""
    given = run.subject.original.object
    parameters = list(parameters_of(getattr(given, backward)) or {})[1:]
    found: list[Path] = [(backward, name) for name in RATES if name in parameters]
    owners = dict.fromkeys(path[:end] for end in range(len(path) - 1, -1, -1))
    found += [
        (*owner, name) for owner in owners for name in RATES if isinstance(at(given, (*owner, name)), int | float | np.floating)
    ]
    return found


def _large(run: Run, dy: Any) -> float:
    """A learning rate with which a change is so large that its rounding hides none of the gradient's digits.

    The sum of a weight and its change is rounded to eps of the larger one. Divided by the rate, that is eps of the gradient and
    eps / rate of the weight; with the root of 1 / eps the latter is far below the former, and nothing overflows. A smaller
    cotangent needs a larger rate. A power of two multiplies without rounding.
    """
    tree: Any = run.primals
    dtypes = [np.asarray(a).dtype.name for a in optree.tree_leaves(tree)]
    eps = max((EPSILON[name] for name in dtypes if name in EPSILON), default=EPSILON["float64"])
    most = max((float(np.max(np.abs(a), initial=0.0)) for a in optree.tree_leaves(dy)), default=1.0)
    scale = round(np.log2(most)) if most else 0
    return float(2.0 ** (round(-np.log2(eps) / 2) - scale))


def _is_multiple(run: Run, forward: str, backward: str, path: Path, rate: Path) -> bool:
    """Whether the change is that of gradient descent: twice as large with twice the rate, or with twice the cotangent."""
    dy = _some_cotangent(run.value(forward))
    size = _large(run, dy)
    twice = optree.tree_map(lambda a: 2 * a, dy)
    try:
        one, more, doubled = (
            _change(before, after, path)
            for before, after, _ in (
                _stepped(run, forward, backward, dy, {rate: size}),
                _stepped(run, forward, backward, dy, {rate: 2 * size}),
                _stepped(run, forward, backward, twice, {rate: size}),
            )
        )
    except Exception:  # the object forbids another rate
        return False
    largest = np.max(np.abs(one), initial=0.0)
    near = largest / size  # what rounding leaves is smaller by far, and what is no multiple differs by the change itself
    return bool(largest > 0) and all(np.max(np.abs(other - 2 * one), initial=0.0) <= near for other in (more, doubled))
