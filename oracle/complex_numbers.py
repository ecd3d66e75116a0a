"""Complex numbers: a function of them is verified as the real function of their real and imaginary parts.

An array of complex numbers becomes one of real numbers with a last axis more, for the two parts. There are two conventions for
the gradient by z = x + iy of a real loss L: dL/dx - i dL/dy is JAX's, dL/dx + i dL/dy is torch's. The upstream gradient
follows the same one. The engine takes the parts of a gradient for the derivatives by two real numbers. By torch's convention
these are x and y; by JAX's they are x and -y, so there the engine gets the conjugates of the arguments and of dy.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import update_wrapper
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.adapters import like_reference
from oracle.arrays import leaves_of, random_cotangent
from oracle.contract.form import is_tuple_of, well_formed
from oracle.judging.point import Point
from oracle.judging.reference import Reference
from oracle.row import Row, Verdict
from oracle.settings import CONVENTIONS
from oracle.subject import Subject

__all__ = ["as_real", "has_complex", "judged", "point_in_real", "random_dy"]

Array = NDArray[Any]

GRADIENT = {"jax": "dL/dx - i dL/dy", "torch": "dL/dx + i dL/dy"}
PARTS = ("real", "imag")
FORM = ("the gradient ", "integer dtype", "the backward pass returned None")
"""How the breaches of form begin, which are told of the complex arrays instead of their parts."""


def has_complex(tree: Any) -> bool:
    """Whether some array of the tree, or a number, is complex."""
    return any(_kinds(tree))


def as_real(tree: Any, *, flip: bool = False) -> Any:
    """The tree with the parts of its complex arrays; if `flip`, of their conjugates."""
    return optree.tree_map(lambda a: _parts(np.asarray(a), flip) if _is_complex(a) else a, tree)


def random_dy(y: Any, seed: int) -> Any:
    """A random upstream gradient for a value that may be complex."""
    return _as_complex(random_cotangent(as_real(y), seed), _kinds(y))


def point_in_real(run: Any, y: Any, dy: Any, cotangents: Any) -> Point:
    """The point of a run of `verify`, in real numbers, with the gradients that its backward pass gave for `dy`."""
    real = _Real(run, run.convention)
    return Point(real.run.subject, real.run.primals, as_real(y), as_real(dy, flip=real.flip), as_real(cotangents))


def judged(run: Any) -> list[Row]:
    """The rows of a run of `verify` whose arguments or values are complex."""
    rows = _Real(run, run.convention).rows()
    wrong = {row.parameter for row in rows if row.verdict is Verdict.FAIL and row.parameter and row.reason}
    other = next(name for name in CONVENTIONS if name != run.convention)
    by_other = (
        f"conjugated: this is {CONVENTIONS[other]}'s convention, {GRADIENT[other]}; it was verified by "
        f"{CONVENTIONS[run.convention]}'s, {GRADIENT[run.convention]} (convention={other!r} verifies it by the other)"
    )
    conjugate = "conjugated: the complex conjugate of this gradient is right"
    for real, cause in ((_Real(run, other), by_other), (_Real(run, run.convention, conjugate=True), conjugate)):
        if not wrong:
            break
        right = {row.parameter for row in real.rows() if row.passed} & wrong
        rows = [replace(row, diagnosis=cause) if row.parameter in right else row for row in rows]
        wrong -= right
    return rows


class Copy(NamedTuple):
    """An array of parts, and the complex array that was made of it."""

    parts: Array
    made: Array
    sign: int
    """That of the imaginary part."""


class _Saved:
    """The residuals of a forward pass, and what its backward pass needs to know of the forms."""

    def __init__(self, residuals: Any, primals: tuple[Any, ...], copies: list[Copy], kinds: list[bool]) -> None:
        self.residuals = residuals
        self.primals = primals
        self.copies = copies
        self.kinds = kinds


@dataclass
class _Real:
    """A run of `verify` with complex numbers, as one with real numbers."""

    given: Any
    convention: str
    conjugate: bool = False
    """Whether the conjugate of every gradient is verified instead."""

    def __post_init__(self) -> None:
        given, self.flip = self.given, self.convention == "jax"
        self.unfit: dict[str, str] = {}
        self.names: Sequence[str] = given.subject.names(len(given.primals))
        self.kinds = _kinds(given.primals)
        reference = given.plan.reference
        if reference is not None:
            reference = Reference(like_reference(self._reference(reference.function), reference.function), reference.options)
        self.run = replace(
            given,
            subject=self._subject(given.subject),
            primals=as_real(given.primals, flip=self.flip),
            plan=replace(given.plan, reference=reference),
        )

    def rows(self) -> list[Row]:
        """The rows under the names of the complex arrays."""
        found = list(self.run.rows())
        return [self._named(row) for row in found]

    def _subject(self, subject: Subject) -> Subject:
        """The subject with parts of complex numbers as arguments, values, upstream gradients and gradients."""
        forward, backward, kinds, flip = subject.forward, subject.bwd, self.kinds, self.flip

        def fwd(*primals: Any, **options: Any) -> Any:
            own, copies = _joined(primals, kinds, flip)
            result = forward(*own, **options)
            _write_back(copies)
            if not isinstance(result, tuple) or len(result) != 2:
                return result  # the engine says what is expected
            y, residuals = result
            return as_real(y), _Saved(residuals, own, copies, _kinds(y))

        def bwd(saved: Any, dy: Any) -> Any:
            own, copies = _joined(dy, saved.kinds, flip)
            cotangents = backward(saved.residuals, own)
            _write_back([*copies, *saved.copies])
            return self._in_parts(cotangents, saved.primals)

        wrapped = update_wrapper(fwd, forward), update_wrapper(bwd, backward)
        by_rule = getattr(forward, "value_by_rule", None)
        if by_rule is not None:
            fwd.value_by_rule = lambda *p, **o: as_real(by_rule(*_joined(p, kinds, flip)[0], **o))  # type: ignore[attr-defined]
        return replace(subject, forward=wrapped[0], bwd=wrapped[1])

    def _reference(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The reference, for JAX or torch, of parts of complex numbers."""
        kinds, sign = self.kinds, -1 if self.flip else 1

        def reference(*primals: Any, **options: Any) -> Any:
            tree: Any = primals
            leaves, structure = optree.tree_flatten(tree)
            own = [a[..., 0] + sign * 1j * a[..., 1] if kind else a for a, kind in zip(leaves, kinds, strict=True)]
            return optree.tree_map(_parts_of_any_library, function(*structure.unflatten(own), **options))

        return update_wrapper(reference, function)

    def _in_parts(self, cotangents: Any, primals: tuple[Any, ...]) -> Any:
        """The gradients in parts; None for one that has not the form of its complex argument, whose breach is kept."""
        if not is_tuple_of(cotangents, len(primals)):
            return cotangents
        made: list[Any] = []
        for name, primal, cotangent in zip(self.names, primals, cotangents, strict=True):
            breaches = well_formed((cotangent,), (name,), (primal,), None) if has_complex(primal) else []
            if breaches:
                told = [b.what if b.parameter == name else f"{b.parameter}: {b.what}" for b in breaches]
                self.unfit.setdefault(name, "; ".join(told))
                made.append(None)
            else:
                made.append(as_real(cotangent, flip=self.conjugate) if has_complex(primal) else cotangent)
        return tuple(made)

    def _named(self, row: Row) -> Row:
        """The row in terms of the complex numbers."""
        convention = f"{CONVENTIONS[self.convention]}'s convention"
        note = f"complex numbers by {convention}: the gradient by x + iy of a real loss L is {GRADIENT[self.convention]}"
        leaves = {leaf.path: np.asarray(leaf.array) for leaf in leaves_of(self.names, self.given.primals)}
        complex_leaves = {path: array for path, array in leaves.items() if array.dtype.kind == "c"}
        diagnosis = row.diagnosis
        if row.parameter in self.unfit and diagnosis.startswith(FORM):
            diagnosis = self.unfit[row.parameter]
        row = replace(row, diagnosis=_in_words(diagnosis, complex_leaves), note="; ".join(filter(None, (note, row.note))))
        if row.details is not None and row.details.explanation is not None:
            entry = _in_words(row.details.explanation.entry, complex_leaves)
            row = replace(row, details=replace(row.details, explanation=replace(row.details.explanation, entry=entry)))
        array = complex_leaves.get(row.parameter)
        if array is None:
            return row
        axis = rf"\baxis {array.ndim}\b"
        row = replace(
            row,
            shape=array.shape,
            diagnosis=re.sub(axis, "the axis of real and imaginary parts", row.diagnosis),
        )
        if row.worst_index is None:
            return row
        return replace(row, worst_index=row.worst_index[:-1], part=PARTS[row.worst_index[-1]])


def _in_words(text: str, leaves: Mapping[str, Array]) -> str:
    """The text with entries of complex arrays as `z[2].imag`, which are `z[2, 1]` to the engine."""
    for path, array in leaves.items():
        entry = re.compile(rf"(?<![\w.]){re.escape(path)}\[((?:\d+, ){{{array.ndim}}})([01])\]")

        def named(found: re.Match[str], path: str = path) -> str:
            place = found[1].removesuffix(", ")
            return f"{path}{f'[{place}]' if place else ''}.{PARTS[int(found[2])]}"

        text = entry.sub(named, text)
    return text


# ------------------------------------------------------------------------------------------------- arrays


def _is_complex(a: Any) -> bool:
    if isinstance(a, np.ma.MaskedArray):
        return False  # no array of numbers at all
    return isinstance(a, complex) or getattr(a, "dtype", None) in (np.complex128, np.complex64)


def _kinds(tree: Any) -> list[bool]:
    """Of each array of a tree, whether it is complex."""
    return [_is_complex(leaf) for leaf in optree.tree_leaves(tree)]


def _parts(z: Any, flip: bool) -> Array:
    """The real and imaginary parts along a last axis, in the same memory if that is possible."""
    if not flip and z.flags.c_contiguous and z.dtype.isnative:
        return np.asarray(z.reshape(-1).view(z.real.dtype).reshape(*z.shape, 2))
    return np.stack([z.real, -z.imag if flip else z.imag], axis=-1)


def _as_complex(tree: Any, kinds: Sequence[bool]) -> Any:
    return _joined(tree, kinds, False)[0]


def _joined(tree: Any, kinds: Sequence[bool], flip: bool) -> tuple[Any, list[Copy]]:
    """The inverse of `as_real`, for the arrays that `kinds` names, and those that had to be copied."""
    leaves, structure = optree.tree_flatten(tree)
    copies: list[Copy] = []
    made: list[Any] = []
    for a, kind in zip(leaves, kinds, strict=True):
        if not kind:
            made.append(a)
            continue
        a = np.asarray(a)
        dtype = np.dtype(np.complex64 if a.dtype == np.float32 else np.complex128)
        if not flip and a.flags.c_contiguous and 2 * a.dtype.itemsize == dtype.itemsize:
            made.append(a.reshape(-1).view(dtype).reshape(a.shape[:-1]))
            continue
        z = np.empty_like(a[..., 0], dtype)  # in the same order of memory
        z.real, z.imag = a[..., 0], -a[..., 1] if flip else a[..., 1]
        copies.append(Copy(a, z, -1 if flip else 1))
        z.flags.writeable = a.flags.writeable
        made.append(z)
    return structure.unflatten(made), copies


def _write_back(copies: Sequence[Copy]) -> None:
    """Write what a pass has written to a copy into the array of parts, so that it is noticed there."""
    for parts, z, sign in copies:
        if z.flags.writeable:
            for part, now in ((parts[..., 0], z.real), (parts[..., 1], sign * z.imag)):
                np.copyto(part, now, where=part != now)


def _parts_of_any_library(value: Any) -> Any:
    """The parts of a complex array of JAX or torch along a last axis."""
    if "complex" not in str(getattr(value, "dtype", "")):
        return value
    if hasattr(value, "__array_namespace__"):
        return value.__array_namespace__().stack([value.real, value.imag], axis=-1)
    return sys.modules["torch"].view_as_real(value.resolve_conj())
