"""What the knock-outs are tried on: right and wrong gradients, of the ops of the catalogue and at hard points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.power import hard_dtypes, hard_pairs, hard_points
from oracle.power.reach import backward, forward
from oracle.power.smallest import NOT_SMOOTH, parameters, plant, usual_entry
from oracle.row import Verdict, worst_first
from oracle.spec import Allows, Case, Flag, Spec
from oracle.verification import verify

__all__ = ["HARD_CORPORA", "Item", "items_of"]

Array = NDArray[Any]

PLANTED = 1e-9  # of the largest entry: the error of one entry of the usual size
SMALL_ENTRY = 1e-3  # of itself: the error of the smallest entry
PARAMETERS = 6  # of an op, at most, that get planted errors: a net has many that are alike


@dataclass(frozen=True)
class Item:
    """One gradient to be verified. `make` gives the op anew each time, since a faulty one may keep state."""

    name: str
    right: bool
    make: Callable[[], Any]
    primals: tuple[Any, ...]
    reference: Callable[..., Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    flags: frozenset[Flag] = frozenset()
    views: bool = False
    allows: frozenset[Allows] = frozenset()

    def verdict(self) -> Verdict:
        """The worst verdict on its parameters."""
        found = verify(
            self.make(),
            *self.primals,
            options=self.options,
            reference=self.reference,
            flags=self.flags,
            views=self.views,
            allows=self.allows,
            strict=True,
        )
        return worst_first(found.rows)[0].verdict


# ----------------------------------------------------------------------------------------------- of an op


def items_of(spec: Spec) -> Iterator[Item]:
    """Every case as it is, two in float32; planted errors in each parameter; and a wrong gradient at a special point."""
    for case in spec.cases:
        yield _item(spec, case)
    smooth = [case for case in spec.cases if not case.flags & NOT_SMOOTH][:1]
    zero = [case for case in spec.cases if Flag.ZERO_GRADIENT in case.flags][:1]
    for case in smooth + zero:
        item = _item(spec, case)
        yield replace(
            item, name=f"{item.name}, in float32", primals=_changed(item.primals, lambda a: np.asarray(a, np.float32))
        )
    for number, (case, i, leaf, gradient) in enumerate(parameters(spec)):
        if number == PARAMETERS:
            break
        for what, index, error in _errors(gradient):
            name, op = f"{spec.name} / {case.name}: {what} of {leaf.path}", plant(spec.op, i, index, 1 + error)
            yield replace(_item(spec, case), name=name, right=False, make=_same(op))
    for case in smooth:
        item = _item(spec, case)
        ones = _changed(item.primals, lambda a: np.where(a < 0, -1.0, 1.0))
        yield replace(item, name=f"{item.name}, at ones", primals=ones)
        wrong = _same(_times_squares(spec.op))
        yield replace(item, name=f"{item.name}: times x**2, at ones", right=False, make=wrong, primals=ones)


def _changed(primals: Any, change: Callable[[Array], Array]) -> Any:
    return optree.tree_map(change, primals)


def _item(spec: Spec, case: Case) -> Item:
    arguments, options = case.draw(spec.name)
    name = f"{spec.name} / {case.name}"
    return Item(name, True, _same(spec.op), arguments, spec.reference, options, case.flags, spec.views, spec.allows)


def _same(op: Any) -> Callable[[], Any]:
    return lambda: op


def _errors(gradient: Array) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """What is planted into a gradient: in words, where, and as a share of the entry."""
    size = np.abs(gradient)
    usual = usual_entry(gradient)
    yield "a usual entry", usual, PLANTED * float(size.max() / size[usual])
    place = np.unravel_index(np.argmin(np.where(size > 0, size, np.inf)), size.shape)
    yield "the smallest entry", tuple(map(int, place)), SMALL_ENTRY


def _times_squares(op: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same op, but each gradient is multiplied by the square of its argument: right where all are 1 or -1."""

    def fwd(*primals: Any, **options: Any) -> Any:
        y, residuals = forward(op)(*primals, **options)
        tree: Any = primals
        return y, (residuals, optree.tree_map(np.array, tree))

    def bwd(kept: Any, dy: Any) -> Any:
        residuals, primals = kept
        gradients: Any = tuple(backward(op)(residuals, dy))
        return optree.tree_map(lambda g, x: np.asarray(g * x * x), gradients, primals)

    return fwd, bwd


# ----------------------------------------------------------------------------------------------- hard points


def _points() -> Iterator[Item]:
    for name, hard in {**hard_points.HARD, **hard_points.MORE}.items():
        for reference in (None, hard.function) if hard.by_jax else (None,):
            for slope in (hard.slope, *hard.wrong):
                right = slope is hard.slope
                op = hard_points.elementwise(hard.function, slope)
                yield Item(_named(name, right, reference), right, _same(op), (hard.x,), reference)


def _pairs() -> Iterator[Item]:
    for name, several in {**hard_pairs.PAIRS, **hard_dtypes.NARROW}.items():
        for reference in {None: None, several.reference: None}:
            for pullback in (*several.right, *several.wrong):
                right = pullback in several.right
                op = hard_pairs.pair(several.function, pullback)
                yield Item(_named(name, right, reference), right, _same(op), several.primals, reference)


def _breaches() -> Iterator[Item]:
    for name, make in hard_pairs.BREACHES.items():
        yield Item(f"contract: {name}", False, make, (hard_points.signed(8, 5),))


def _named(name: str, right: bool, reference: Any) -> str:
    return f"{name}{'' if right else ', wrong'}{', with JAX' if reference else ''}"


HARD_CORPORA: Mapping[str, Callable[[], Iterator[Item]]] = {
    "hard points": _points,
    "hard pairs": _pairs,
    "breaches of the contract": _breaches,
}
