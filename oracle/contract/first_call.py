"""The first call of the op: names an exception and the line that raised it, and requires a value of real numbers."""

from __future__ import annotations

import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optree

from oracle.arrays import RAISED, Leaf, leaves_of, random_cotangent
from oracle.judging.point import ComplexValue, Trouble
from oracle.subject import Subject, on_copies

__all__ = ["first_call"]

ENGINE = Path(__file__).parent.parent  # the package `oracle`


def first_call(subject: Subject, primals: tuple[Any, ...], seed: int, *, strict: bool) -> tuple[Any, Any, tuple[Any, ...]]:
    """The value, a random cotangent and the cotangents of the arguments for it. If `strict`, a warning is an error."""
    subject = on_copies(subject)
    with warnings.catch_warnings():
        if strict:
            warnings.simplefilter("error")
        try:
            y, residuals = subject.fwd(*primals)
            dy = random_cotangent(y, seed)
        except RAISED as error:
            raise Trouble(f"the forward pass raised {_described(error)}") from error
        for leaf in leaves_of(("the value",), (y,)):
            dtype = np.asarray(leaf.array).dtype
            if dtype in (np.complex128, np.complex64):
                raise ComplexValue
            if dtype.kind not in "fiu" and dtype.name != "bfloat16":
                raise Trouble(f"the forward pass returned {dtype} instead of real numbers in {leaf.path}")
            _require_numbers(leaf, primals)
        try:
            cotangents = subject.bwd(residuals, optree.tree_map(np.copy, dy))
        except RAISED as error:
            raise Trouble(
                f"the backward pass raised {_described(error)}{_other_order(subject, residuals, dy, primals)}"
            ) from error
    return y, dy, cotangents


def _other_order(subject: Subject, residuals: Any, dy: Any, primals: tuple[Any, ...]) -> str:
    """That a backward pass takes its two arguments in the other order, if it returns gradients then."""
    try:
        swapped = subject.bwd(optree.tree_map(np.copy, dy), residuals)
    except RAISED:  # the exception that is reported is the first one
        return ""
    if not isinstance(swapped, tuple) or len(swapped) != len(primals):
        return ""
    return "; bwd(dy, residuals) returns gradients: the order of the arguments must be bwd(residuals, dy)"


def _require_numbers(leaf: Leaf, primals: tuple[Any, ...]) -> None:
    """A value that is NaN has no derivative. Only of no elements may it be NaN, as their mean is."""
    missing = np.isnan(np.asarray(leaf.array, np.float64))
    tree: Any = primals
    if missing.any() and all(np.size(array) for array in optree.tree_leaves(tree)):
        first = ", ".join(str(n) for n in np.argwhere(missing)[0])
        where = f", first at [{first}] ({missing.sum()} of {missing.size} entries)" if missing.ndim else ""
        raise Trouble(f"{leaf.path} is NaN{where}: no gradient can be judged there", wrong=True)


def _described(error: BaseException) -> str:
    """The exception, and the innermost line of the user's own code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith((sys.base_prefix, str(ENGINE)))]
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    counts = ", and a warning counts as an error" if isinstance(error, Warning) else ""
    return f"{type(error).__name__}: {error}{where}{counts}"
