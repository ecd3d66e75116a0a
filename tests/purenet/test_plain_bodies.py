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
from purenet import recurrent, row_blocks
from purenet.optimizers import moments
from purenet.recurrent import fused

SAME = 1e-13  # of the largest entry, in float64
DRAWN = 25  # arguments and options at random, of each op

MODULES = {
    "conv2d": "purenet.convolution.conv2d",
    "max_pool2d": "purenet.pooling.maxima",
    "avg_pool2d": "purenet.pooling.means",
    "softmax": "purenet.activations.normalized",
    "log_softmax": "purenet.activations.normalized",
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm"), "purenet.normalization.features"),
    "cdist": "purenet.losses.distances",
    "cumprod": "purenet.reductions.products",
    "weight_norm": "purenet.normalization.weights",
}
"""Where the bound `PLAIN` stands up to which an op takes its plain body."""
FAST = {
    "conv2d": ("outputs", "inputs_and_weights"),
    "max_pool2d": ("largest",),
    "avg_pool2d": ("box_sums",),
    "softmax": ("softmax_rows", "softmax_rows_bwd"),
    "log_softmax": ("log_softmax_rows", "log_softmax_rows_bwd"),
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm"), ("normalize_rows", "normalize_rows_bwd")),
    "cdist": ("distances", "distances_bwd"),
    "cumprod": ("sums_of_rest",),
    "weight_norm": ("directed_rows", "directed_rows_bwd"),
}
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


def cotangent(op: Any, y: Any) -> Any:
    """That of a value, the same whichever body is taken."""
    draw = Draw(op.name, "dy")
    return optree.tree_map(lambda a: draw.normal(*a.shape), y)


def computed(op: Any, arguments: Any, options: Any) -> list[Any]:
    """The value and the gradients."""
    y, residuals = op.fwd(*arguments, **options)
    dy = cotangent(op, y)
    return optree.tree_leaves((y, op.bwd(residuals, dy)))


def differences(spec: Spec) -> list[str]:
    """The uses at which the fast body of an op is another than its plain body."""
    found = []
    for name, arguments, options in uses(spec):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module_of(spec.name), "PLAIN", 10**18)
            plain = computed(spec.op, arguments, options)
            patch.setattr(module_of(spec.name), "PLAIN", 0)
            fast = computed(spec.op, arguments, options)
        if not all(alike(a, b) for a, b in zip(plain, fast, strict=True)):
            found.append(name)
    return found


def alike(plain: Any, fast: Any) -> bool:
    if (plain.shape, plain.dtype) != (fast.shape, fast.dtype):
        return False
    finite = np.isfinite(plain)
    if not np.array_equal(plain[~finite], fast[~finite], equal_nan=True):
        return False
    plain, fast = plain[finite], fast[finite]
    return bool(np.abs(plain - fast).max(initial=0) <= SAME * np.abs(plain).max(initial=0))


@pytest.mark.parametrize("name", MODULES)
def test_the_fast_body_is_the_plain_one(name: str) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    assert differences(spec) == []


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "layer_norm", "rms_norm", "group_norm", "instance_norm"])
def test_blocks_of_rows_are_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No case is so large that it is computed in several blocks: here blocks have fewer bytes."""
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    for size, rows in ((1, 1), (1000, 5)):
        monkeypatch.setattr(row_blocks, "BLOCK", size)
        assert differences(spec) == []
        cut = [(some.start, some.stop) for some in row_blocks.row_blocks(np.zeros((20, 21)))]
        assert cut == [(start, start + rows) for start in range(0, 20, rows)]


def slightly_wrong(function: Callable[..., Any], leaf: int = 0) -> Callable[..., Any]:
    """The same function with one entry of an array that it returns a trillionth of the largest too large."""

    def wrong(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if result is None:  # it left the case to the plain body
            return None
        y = optree.tree_leaves(result)[leaf]
        if y.size:
            y.reshape(-1)[0] += 1e-12 * np.abs(y).max()
        return result

    return wrong


@pytest.mark.parametrize(
    ("name", "function", "leaf"),
    [(name, f, leaf) for name, functions in FAST.items() for f in functions for leaf in range(1 + (f == "inputs_and_weights"))],
)
def test_an_error_in_the_fast_body_is_found(name: str, function: str, leaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    expected = {case.name for case in spec.cases if changes(spec, case) and takes(spec, case, function)}
    monkeypatch.setattr(module_of(name), function, slightly_wrong(getattr(module_of(name), function), leaf))
    assert expected
    assert expected <= set(differences(spec))


def takes(spec: Spec, case: Case, function: str, plain: int = 0) -> bool:
    """Whether a case takes this function if the plain body is for up to so many entries: it may be for some axes only."""
    taken, module = [], module_of(spec.name)
    fast = getattr(module, function)

    def counted(*arguments: Any, **options: Any) -> Any:
        taken.append(function)
        return fast(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PLAIN", plain)
        patch.setattr(module, function, counted)
        computed(spec.op, *case.draw(spec.name))
    return bool(taken)


def changes(spec: Spec, case: Case) -> bool:
    """Whether a case has a value, and gradients, that are not zero."""
    return all(np.any(a) for a in computed(spec.op, *case.draw(spec.name)))


@pytest.mark.parametrize("name", MODULES)
def test_the_catalogue_has_cases_of_both(name: str) -> None:
    """`oracle verify` checks the plain body and the fast one."""
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    possible = [case for case in spec.cases if takes(spec, case, FAST[name][0])]
    assert {takes(spec, case, FAST[name][0], module_of(name).PLAIN) for case in possible} == {True, False}


# --------------------------------------------------------------------------------------------------- whole sequences

CELLS = {"lstm": recurrent.lstm_cell, "gru": recurrent.gru_cell}
STEPS = {"lstm": fused.FusedLSTM, "gru": fused.FusedGRU}


def step_by_step(spec: Spec, arguments: Any, options: dict[str, Any]) -> list[Any]:
    """What `computed` gives, by the plain cell: one row after another, one step after another."""
    params, xs, carry = arguments
    lengths, reverse = options.get("lengths", [xs.shape[1]] * len(xs)), options.get("reverse", False)
    cell = CELLS[spec.name].bind(**{n: v for n, v in options.items() if n not in ("lengths", "reverse")})
    dys, dlast = cotangent(spec.op, spec.op(*arguments, **options))
    ys, dxs = np.zeros_like(dys), np.zeros_like(xs)
    last, dcarry, dparams = (optree.tree_map(np.zeros_like, tree) for tree in (carry, carry, params))
    for n, length in enumerate(lengths):
        state, ds = (optree.tree_map(lambda a, n=n: a[n : n + 1], tree) for tree in (carry, dlast))
        saved = []
        for t in reversed(range(length)) if reverse else range(length):
            state, residuals = cell.fwd(params, xs[n : n + 1, t], state)
            ys[n, t] = optree.tree_leaves(state)[0]
            saved.append((t, residuals))
        for t, residuals in reversed(saved):
            optree.tree_leaves(ds := optree.tree_map(np.copy, ds))[0][...] += dys[n, t]
            dstep, dxs[n, t], ds = cell.bwd(residuals, ds)
            optree.tree_map(lambda total, d: np.add(total, d, out=total), dparams, dstep)
        for whole, row in ((last, state), (dcarry, ds)):
            optree.tree_map(lambda a, b, n=n: a.__setitem__(n, b[0]), whole, row)
    return optree.tree_leaves(((ys, last), (dparams, dxs, dcarry)))


def sequence_differences(spec: Spec) -> list[str]:
    found = []
    for name, arguments, options in uses(spec):
        plain, fast = step_by_step(spec, arguments, options), computed(spec.op, arguments, options)
        if not all(alike(a, b) for a, b in zip(plain, fast, strict=True)):
            found.append(name)
    return found


@pytest.mark.parametrize("name", CELLS)
def test_a_sequence_is_the_plain_cell_step_by_step(name: str) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    assert sequence_differences(spec) == []


@pytest.mark.parametrize("method", ["step", "factors", "step_bwd", "hidden_bwd"])
@pytest.mark.parametrize("name", CELLS)
def test_an_error_in_a_fused_step_is_found(name: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    monkeypatch.setattr(STEPS[name], method, slightly_wrong(getattr(STEPS[name], method)))
    assert spec.cases[0].name in sequence_differences(spec)


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
