"""Ports in other languages: their gradients come in a file, and are compared with an op as `verify` compares a pullback.

    saved = vectors.read("layer_norm.npz")           # what the port was given, and what it made of it
    result = vectors.compare(
        pn.layer_norm, saved["params"], saved["x"], dy=saved["dy"], cotangents=(saved["dparams"], saved["dx"]), value=saved["y"]
    )

A file is NumPy's npz, which holds arrays and nothing that could be executed; a name such as `params.w` is an array in a tree.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.adapters import Pair, named
from oracle.arrays import leaves_of, random_cotangent, vector
from oracle.judging.error_budget import ErrorBudget, narrow_dtype
from oracle.measures import differences, eps_of, largest, relative
from oracle.row import Row, Verdict, worst_first
from oracle.subject import Subject
from oracle.verification import Verification, verify

__all__ = ["compare", "read", "write"]

Array = NDArray[Any]
CHUNK = 1 << 20  # bytes that are read at once


def write(path: str | Path, **trees: Any) -> None:
    """All arrays of these trees (of dicts) into a npz file, each under its path: `params={"w": w}` becomes `params.w`."""
    arrays: dict[str, Array] = {}
    for name, tree in trees.items():
        _flatten(name, tree, arrays)
    with Path(path).open("wb") as file:  # savez would append .npz to a name without it
        np.savez(file, allow_pickle=False, **arrays)


def _flatten(path: str, tree: Any, arrays: dict[str, Array]) -> None:
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            if not isinstance(key, str) or "." in key:
                raise ValueError(f"write: a name in {path} must be a string without dots, got {key!r}")
            _flatten(f"{path}.{key}", child, arrays)
    elif isinstance(tree, np.ndarray | np.generic | float | int):
        arrays[path] = np.asarray(tree)
    else:
        raise TypeError(f"write: {path} must be an array or a dict of arrays, got {type(tree).__name__}")


def read(path: str | Path) -> dict[str, Any]:
    """The trees in a npz file. Nothing in it is executed; what is no array of numbers is a ValueError."""
    trees: dict[str, Any] = {}
    try:
        with Path(path).open("rb") as opened:
            if opened.read(6) == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it holds one array, not several by name")
            opened.seek(0)
            with zipfile.ZipFile(opened) as archive:
                for member in archive.infolist():
                    name = member.filename.removesuffix(".npy")
                    if name == member.filename:
                        raise ValueError(f"{name} is no array of numbers")
                    with archive.open(member) as stream:
                        _put(trees, name, _array(stream, name))
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"read: {path} is no npz file of arrays of numbers: {error}") from error
    return trees


def _array(stream: IO[bytes], name: str) -> Array:
    """The array in NumPy's npy format. `np.load` would take memory for what the header promises before it reads the data."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} has version {version} of the format, not (1, 0) or (2, 0)")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.kind not in "fiub" or min(shape, default=0) < 0:
        raise ValueError(f"{name} is no array of numbers")
    size = math.prod(shape) * dtype.itemsize
    data = bytearray()
    while piece := stream.read(min(CHUNK, size - len(data))):
        data += piece
    if len(data) < size or stream.read(1):
        found = f"{len(data)}" if len(data) < size else "more"
        raise ValueError(f"{name} must have {size} bytes of data ({shape} of {dtype.name}), found {found}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _put(trees: dict[str, Any], name: str, array: Array) -> None:
    *folders, last = name.split(".")
    for folder in folders:
        trees = trees.setdefault(folder, {})
        if not isinstance(trees, dict):
            raise ValueError(f"{name} is in {folder}, which is an array")
    if last in trees:
        raise ValueError(f"{name} is there twice")
    trees[last] = array


def compare(
    op: Any,
    *primals: Any,
    dy: Any,
    cotangents: tuple[Any, ...],
    value: Any = None,
    options: Mapping[str, Any] | None = None,
    reference: Callable[..., Any] | None = None,
    **others: Any,
) -> Verification:
    """Whether `cotangents` are those of `op` at `primals` for the cotangent `dy`, whoever has computed them.

    Args:
        op: as `verify` takes it. Its forward pass is differenced; its pullback helps to explain what is wrong.
        primals: what the port was given, in the dtype in which it computed.
        dy: what its backward pass was given: an array or a tree like the value of `op`. Random numbers hide least.
        cotangents: what its backward pass returned, a tuple of one for each of `primals`.
        value: what its forward pass returned, if that is known: it is compared first.
        options: keywords for `op` and `reference`.
        reference: the same function for JAX, as `verify` takes it.
        others: what else `verify` takes.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([1.0, 2.0])
    >>> print(compare(pn.tanh, x, dy=np.ones(2), cotangents=(1 + np.tanh(x) ** 2,)).rows[0].verdict)
    FAIL

    """
    options = {**getattr(op, "bound", {}), **(options or {})}
    subject = Subject.of(op, options)
    y = subject.value(*primals)
    _check_like(f"dy of {subject.name}", dy, y)
    if value is not None:
        _check_like(f"the value of {subject.name}", value, y)
    if not isinstance(cotangents, tuple):
        raise TypeError(f"compare: cotangents must be a tuple of one for each argument, got {type(cotangents).__name__}")
    pair = _Ported.of(subject, primals, y, dy, cotangents)
    scaled = None if reference is None else pair.scaled(reference)
    rows = verify(pair.pair(op), *primals, options=options, reference=scaled, **others).rows
    if value is not None:
        rows = (*_value_row(rows[0], y, value), *rows)
    return Verification(tuple(worst_first(rows)))


def _check_like(what: str, tree: Any, y: Any) -> None:
    if optree.tree_structure(tree) != optree.tree_structure(y):
        raise ValueError(f"compare: {what} must have the structure {optree.tree_structure(y)}")
    for given, wanted in zip(leaves_of((what,), (tree,)), optree.tree_leaves(y), strict=True):
        array = np.asarray(given.array)
        if array.shape != np.shape(wanted) or array.dtype.kind not in "fV":
            got = f"{array.dtype} of shape {array.shape}"
            raise ValueError(f"compare: {given.path} must be floats of shape {np.shape(wanted)}, got {got}")


@dataclass(frozen=True)
class _Ported:
    """An op whose pullback is wrong as the port's is.

    `verify` has a random cotangent v of its own. So the value is multiplied by dy / v, after which the cotangents for v are
    those of the op for dy. Only for v are the port's known: for others the pullback is the op's own, and as far as they point
    in the direction of v, the port's error is added. So it is linear, as a pullback must be.
    """

    subject: Subject
    v: Any
    factor: Any
    """dy / v, like the value."""
    dy: Any
    cotangents: tuple[Any, ...]
    ours: tuple[Any, ...] | None
    """The op's own; None where the port's have another form, which `verify` says without asking further."""

    @classmethod
    def of(cls, subject: Subject, primals: Any, y: Any, dy: Any, cotangents: tuple[Any, ...]) -> _Ported:
        seed = optree.tree_map(lambda a, like: np.asarray(a, np.asarray(like).dtype), dy, y)
        if not np.isfinite(vector(seed)).all() or not vector(seed).any():
            raise ValueError(f"compare: dy of {subject.name} must be finite numbers, not all of them zero")
        v = random_cotangent(y)
        factor = optree.tree_map(lambda a, b: np.asarray(a, np.float64) / np.asarray(b, np.float64), seed, v)
        ours = subject.bwd(subject.fwd(*primals)[1], seed)
        return cls(subject, v, factor, seed, cotangents, ours if _alike(ours, cotangents) else None)

    def scaled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its values multiplied by dy / v. They may be JAX's."""

        def scaled(*primals: Any, **options: Any) -> Any:
            leaves, structure = optree.tree_flatten(function(*primals, **options))
            factors = optree.tree_leaves(self.factor)
            return structure.unflatten([y * f.astype(y.dtype) for y, f in zip(leaves, factors, strict=True)])

        scaled.__name__ = getattr(function, "__name__", "reference")
        return scaled

    def pair(self, op: Any) -> Pair:
        """What `verify` is asked about."""

        def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
            y, residuals = self.subject.forward(*primals, **options)
            return self.scaled(lambda: y)(), residuals

        def bwd(residuals: Any, d: Any) -> Any:
            if self.ours is None:
                return self.cotangents
            along, across = self._parts(d)
            here, rest = (self.subject.bwd(residuals, seed) for seed in (self._typed(self.dy, d), across))

            def sum_of(ported: Any, here: Any, there: Any, rest: Any) -> Array:
                # Elsewhere the same error is added to what is right there; here the port's own digits are kept.
                moved = ported if np.array_equal(here, there) else here + (np.asarray(ported, np.float64) - there)
                return np.asarray(along * moved + rest, np.asarray(here).dtype)

            trees: Any = (self.cotangents, here, self.ours, rest)
            return optree.tree_map(sum_of, *trees)

        vars(fwd)["of_one_dtype"] = True  # the port's gradients are known in their own dtype only
        return named(fwd, bwd, op[0] if isinstance(op, tuple) else op)

    def _parts(self, d: Any) -> tuple[float, Any]:
        """How far `d` goes in the direction of v; and the rest, times dy / v."""
        v, flat = vector(self.v), vector(d)
        along = float(flat @ v) / float(v @ v)
        return along, optree.tree_map(
            lambda a, b, f: np.asarray((np.asarray(a, np.float64) - along * b) * f, np.asarray(a).dtype), d, self.v, self.factor
        )

    def _typed(self, tree: Any, like: Any) -> Any:
        return optree.tree_map(lambda a, b: np.asarray(a, np.asarray(b).dtype), tree, like)


def _alike(ours: Any, theirs: Any) -> bool:
    if optree.tree_structure(ours) != optree.tree_structure(theirs):
        return False
    pairs = zip(optree.tree_leaves(ours), optree.tree_leaves(theirs), strict=True)
    return all(np.shape(a) == np.shape(b) and np.asarray(a).dtype == np.asarray(b).dtype for a, b in pairs)


def _value_row(like: Row, y: Any, value: Any) -> list[Row]:
    """What the forward passes returned, if they differ by more than rounding."""
    ours, theirs = vector(y), vector(value)
    error = differences(theirs, ours)
    dtype = max((np.asarray(leaf).dtype for leaf in optree.tree_leaves(y)), key=eps_of)
    scale = largest(ours)
    budget = ErrorBudget(scale, 0.0, dtype=narrow_dtype(dtype.name, scale))
    used = relative(error, budget.against_reference)
    if used <= 1:
        return []
    worst = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
    return [
        Row(
            family=like.family,
            op=like.op,
            case=like.case,
            dtype=like.dtype,
            parameter="the value",
            shape=np.shape(value) if isinstance(value, np.ndarray) else (ours.size,),
            reference=like.reference,
            evidence="value",
            verdict=Verdict.FAIL,
            diagnosis=f"another function: the port's value is {theirs[worst]:.9g} where the op's is {ours[worst]:.9g}",
            used=used,
        )
    ]
