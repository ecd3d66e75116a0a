"""Ops with a plain body and a fast one behind it: both give the same values and gradients, over the catalogue's cases."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import optree
import pytest

from oracle import Case, Draw, Spec, catalogue
from oracle.trajectory import TrajectorySpec
from purenet.optimizers import moments

SAME = 1e-13  # of the largest entry, in float64
DRAWN = 25  # arguments and options at random, of each op

MODULES = {
    "conv2d": "purenet.convolution.conv2d",
    "max_pool2d": "purenet.pooling.maxima",
    "avg_pool2d": "purenet.pooling.means",
}
"""Where the bound `PLAIN` stands up to which an op takes its plain body."""
FAST = {"conv2d": ("outputs", "inputs", "weights"), "max_pool2d": ("largest",), "avg_pool2d": ("box_sums",)}
"""What the fast body of each op is made of."""


def module_of(op: str) -> ModuleType:
    return importlib.import_module(MODULES[op])


def uses(spec: Spec) -> Iterator[tuple[str, Any, Any]]:
    """The arguments and options of every case of an op, and some of its strategy."""
    for case in spec.cases:
        yield case.name, *case.draw(spec.name)
    assert spec.strategy is not None
    for seed in range(DRAWN):
        yield f"drawn, {seed}", *spec.strategy(Draw(spec.name, "plain", seed))


def computed(op: Any, arguments: Any, options: Any) -> list[Any]:
    """The value and the gradients, for a cotangent that is the same whichever body is taken."""
    y, residuals = op.fwd(*arguments, **options)
    dy = Draw(op.name, "dy").normal(*y.shape)
    return optree.tree_leaves((y, op.bwd(residuals, dy)))


def differences(spec: Spec) -> list[str]:
    """The uses at which the fast body of an op is another than its plain body."""
    found = []
    for name, arguments, options in uses(spec):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module_of(spec.name), "PLAIN", 10**18)
            plain = computed(spec.op, arguments, options)
            patch.setattr(module_of(spec.name), "PLAIN", -1)
            fast = computed(spec.op, arguments, options)
        if not all(alike(a, b) for a, b in zip(plain, fast, strict=True)):
            found.append(name)
    return found


def alike(plain: Any, fast: Any) -> bool:
    if (plain.shape, plain.dtype) != (fast.shape, fast.dtype):
        return False
    return bool(np.abs(plain - fast).max(initial=0) <= SAME * np.abs(plain).max(initial=0))


@pytest.mark.parametrize("name", MODULES)
def test_the_fast_body_is_the_plain_one(name: str) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    assert differences(spec) == []


def slightly_wrong(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with one entry of what it returns a trillionth of the largest too large."""

    def wrong(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        y = result[0] if isinstance(result, tuple) else result
        if y.size:
            y.reshape(-1)[0] += 1e-12 * np.abs(y).max()
        return result

    return wrong


@pytest.mark.parametrize(("name", "function"), [(name, f) for name, functions in FAST.items() for f in functions])
def test_an_error_in_the_fast_body_is_found(name: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    monkeypatch.setattr(module_of(name), function, slightly_wrong(getattr(module_of(name), function)))
    expected = {case.name for case in spec.cases if changes(spec, case)}
    assert expected
    assert expected <= set(differences(spec))


def changes(spec: Spec, case: Case) -> bool:
    """Whether a case has a value, and gradients, that are not zero."""
    return all(np.any(a) for a in computed(spec.op, *case.draw(spec.name)))


@pytest.mark.parametrize("name", MODULES)
def test_the_catalogue_has_cases_of_both(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`oracle verify` checks the plain body and the fast one."""
    spec, taken = catalogue.find(name), []
    assert isinstance(spec, Spec)
    function = getattr(module_of(name), FAST[name][0])

    def counted(*arguments: Any, **options: Any) -> Any:
        taken.append(function)
        return function(*arguments, **options)

    monkeypatch.setattr(module_of(name), FAST[name][0], counted)
    fast = set()
    for case in spec.cases:
        arguments, options = case.draw(name)
        taken.clear()
        computed(spec.op, arguments, options)
        fast.add(bool(taken))
    assert fast == {True, False}


# ------------------------------------------------------------------------------------------------------ optimizers

OTHERS = ("adamax", "nadam, momentum_decay")  # which have rules of their own
ADAMS = [t for t in catalogue.trajectories() if t.name.startswith(("adam", "lamb", "radam", "nadam")) and t.name not in OTHERS]


def followed(spec: TrajectorySpec, plain: int, steps: int = 8) -> list[Any]:
    """All updates and states of an optimizer, for gradients at random."""
    params, seen = spec.problem.draw(Draw(spec.name))[0], []
    state, draw = spec.optimizer.init(params), Draw(spec.name, "gradients")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "PLAIN", plain)
        for _ in range(steps):
            grads = optree.tree_map(lambda p: draw.normal(*p.shape), params)
            updates, state = spec.optimizer.update(grads, state, params)
            seen += optree.tree_leaves((updates, state))
    return seen


def agree(spec: TrajectorySpec) -> bool:
    return all(alike(a, b) for a, b in zip(followed(spec, 10**18), followed(spec, -1), strict=True))


@pytest.mark.parametrize("spec", ADAMS, ids=lambda spec: spec.name)
def test_adam_in_place_is_the_plain_rule(spec: TrajectorySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    assert agree(spec)
    monkeypatch.setattr(moments, "adam_in_place", slightly_wrong(moments.adam_in_place))
    assert not agree(spec)
