"""What is verified: an Op, or anyone's pair of functions that follows the same protocol."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.adapters import KINDS, adapted
from oracle.arrays import RAISED, Leaf, copied_arrays, flat, leaves_of, narrowed, quiet, vector, widened
from oracle.measures import EPSILON, differences, largest
from purenet import Op
from purenet.optimizers import GradientTransformation

__all__ = [
    "BLURRING",
    "NUDGES",
    "Subject",
    "blur",
    "check_primals",
    "conditioning",
    "natural_sizes",
    "nearby",
]

Array = NDArray[Any]

NUDGES = 4  # by which conditioning is measured
BLURRING = 16.0  # times what the nudges move, another order of the same operations may
BLURRED = 2.0**-30  # of a gradient's size: no more is forgiven
JUMPING = 2.0**-20  # of it: what the rounding of its arguments moves further is at a jump, or means nothing
ON_THE_WAY = (0.25, 0.0625, 0.015625)  # to the origin: where the natural sizes of values and gradients are looked for


@dataclass(frozen=True)
class Subject:
    """`fwd(*primals) -> (y, residuals)` and its pullback `bwd(residuals, dy) -> cotangents`, with the options bound."""

    name: str
    module: str
    arguments: tuple[str, ...]
    forward: Callable[..., tuple[Any, Any]]
    bwd: Callable[[Any, Any], Any]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, op: Any, options: Mapping[str, Any]) -> Subject:
        op = adapted(op) or op
        if isinstance(op, Op):
            if op.backward is None and not hasattr(op, "stages"):
                raise TypeError(f"verify: {op.name} has no pullback")
            name, module, forward, backward = op.name, op.__module__, op.fwd, op.bwd
            arguments = tuple(n for n in op.arguments if n not in options and n not in op.bound)
        elif isinstance(op, GradientTransformation):
            raise TypeError("verify: an optimizer has no pullback; it is followed step by step (`oracle verify adam`)")
        elif isinstance(op, tuple) and len(op) == 2 and all(map(callable, op)):
            forward, backward = op
            name = getattr(forward, "__name__", type(forward).__name__).removesuffix("_fwd")
            module = getattr(forward, "__module__", None) or "__main__"
            arguments = _positional(forward, options)
        else:
            raise TypeError(f"verify: op must be {KINDS}, got {type(op).__name__}")
        return cls(name, module, arguments, forward, backward, options)

    def defaults(self, count: int) -> dict[str, Any]:
        """Of the keywords that have one: those that come only by name, and what follows the first `count` arguments."""
        owner = getattr(self.forward, "__self__", None)
        try:
            parameters = inspect.signature(owner if isinstance(owner, Op) else self.forward).parameters.values()
        except (TypeError, ValueError):
            return {}
        bound = owner.bound if isinstance(owner, Op) else {}
        taken = self.names(count)
        named = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        return {
            p.name: p.default for p in parameters if p.default is not p.empty and p.kind in named and p.name not in taken
        } | bound

    def fwd(self, *primals: Any) -> tuple[Any, Any]:
        return self._pair(self.forward(*primals, **self.options))

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if not isinstance(result, tuple) or len(result) != 2:  # an array of two rows would unpack silently
            got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"{self.name} must return a tuple (value, residuals), got {got}")
        return result

    def value(self, *primals: Any) -> Any:
        return self.fwd(*primals)[0]

    def on_copies(self) -> Subject:
        """The same, never given an array that anyone else holds, nor giving a value that it can still change."""

        def forward(*primals: Any, **options: Any) -> tuple[Any, Any]:
            tree: Any = primals
            y, residuals = self._pair(self.forward(*optree.tree_map(np.array, tree), **copied_arrays(options)))
            return optree.tree_map(np.array, y), residuals

        return replace(self, forward=forward)

    def sheltered(self) -> Subject:
        """The same, but that what it sets for floating-point errors ends with each call."""

        def forward(*primals: Any, **options: Any) -> Any:
            with np.errstate():
                return self.forward(*primals, **options)

        def bwd(residuals: Any, dy: Any) -> Any:
            with np.errstate():
                return self.bwd(residuals, dy)

        return replace(self, forward=forward, bwd=bwd)

    def names(self, count: int) -> tuple[str, ...]:
        """A name for each of `count` arguments."""
        return self.arguments[:count] if len(self.arguments) >= count else tuple(f"argument {i}" for i in range(count))


def _positional(function: Callable[..., Any], options: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in parameters if p.kind in kinds and p.name not in options)


def check_primals(subject: Subject, primals: Sequence[Any]) -> np.dtype[Any]:
    """The dtype of the primals; an error that names what cannot be verified."""
    if not primals:
        raise ValueError(f"verify: {subject.name} got no arguments to differentiate")
    first: Leaf | None = None
    for leaf in leaves_of(subject.names(len(primals)), primals):
        where = f"verify: {leaf.path} of {subject.name}"
        if isinstance(leaf.array, np.ma.MaskedArray) or not (isinstance(leaf.array, float) or hasattr(leaf.array, "dtype")):
            raise TypeError(f"{where} must be a floating-point array, got {type(leaf.array).__name__}")
        array = np.asarray(leaf.array)
        if array.dtype.name not in EPSILON:
            hint = f"x + h would be truncated (what is not differentiated goes into options={{{leaf.path!r}: ...}})"
            why = f"; {hint}" if array.dtype.kind in "iu" else ""
            raise TypeError(f"{where} must be a floating-point array ({', '.join(EPSILON)}), got {array.dtype}{why}")
        if not np.isfinite(array.astype(np.float64)).all():
            what = "NaN" if np.isnan(array.astype(np.float64)).any() else "infinity"
            raise ValueError(f"{where} holds {what}: no gradient can be verified there")
        first = first or leaf
    if first is None:
        raise ValueError(f"verify: the arguments of {subject.name} hold no arrays")
    return np.result_type(*(np.asarray(leaf.array).dtype for leaf in leaves_of(subject.names(len(primals)), primals)))


def natural_sizes(subject: Subject, primals: Any, dy: Any, y: Any, cotangents: Any) -> tuple[float, list[float]]:
    """The size of the value and of each gradient, here and on the way to the origin: what their rounding is measured by."""
    path = [[largest(vector(y)), *(largest(a) for a in flat(cotangents))]]
    for t in ON_THE_WAY:
        with quiet():
            try:
                value, residuals = subject.fwd(*optree.tree_map(lambda a, t=t: np.asarray(a * t), widened(primals)))
                there = flat(subject.bwd(residuals, narrowed(dy, value)))
            except RAISED:  # outside the domain, or float64 is not taken: no such point
                break
        path.append([largest(vector(value)), *(largest(a) for a in there)])
    size, *scales = [_natural(sizes) for sizes in zip(*path, strict=True)]
    return size, scales


def conditioning(
    gradient: Callable[[Any], Sequence[Array]], primals: Any, seed: int = 0, dtype: str = "float64", nudges: int = NUDGES
) -> list[Array]:
    """How far each entry of each gradient (or value) moves when every entry of the arguments moves by its rounding.

    Where large terms cancel, as in 2 (p - t) for p near t, no computation in `dtype` is more exact than that.
    """
    with quiet():
        here = gradient(primals)

        def moved(given: Any) -> list[Array]:
            return [np.nan_to_num(differences(*pair), posinf=0.0) for pair in zip(gradient(given), here, strict=True)]

        try:
            return nearby(moved, primals, seed, dtype, nudges)
        except RAISED:  # the end of the op's domain: nothing is known
            return [np.zeros(np.shape(g)) for g in here]


def nearby(errors: Callable[[Any], Sequence[Array]], primals: Any, seed: int, dtype: str, nudges: int = NUDGES) -> list[Array]:
    """The largest of what `errors` says at some points that rounding cannot tell from this one."""
    generator = np.random.default_rng([seed, 0x636F6E64])
    most: list[Array] | None = None
    for _ in range(nudges):
        signs = optree.tree_map(lambda a: generator.choice([-1.0, 1.0], np.shape(a)), primals)
        nudged = optree.tree_map(lambda a, sign: np.asarray(a * (1 + EPSILON[dtype] * sign)), primals, signs)
        with quiet():
            found = errors(nudged)
        most = list(found) if most is None else [np.maximum(*pair) for pair in zip(most, found, strict=True)]
    return most or []


def blur(moved: float, size: float) -> float:
    """What the rounding of the arguments may do to a gradient of this size that they move so far."""
    return min(BLURRING * moved, BLURRED * size) if moved <= JUMPING * size else 0.0


def _natural(sizes: Sequence[float]) -> float:
    """The largest of the sizes on the way to the origin, unless they only show a singularity there.

    Where a function is saturated its size grows by less and less towards the origin, where 1 / x**3 grows by the same
    factor with every step: its size there says nothing of its rounding here.
    """
    if len(sizes) > len(ON_THE_WAY) and min(sizes) > 0:
        here, first, *_, before, last = sizes
        if last > 2 * before and last / before > 0.5 * first / here:
            return here
    return max(sizes)
