"""Checks gradients that were computed elsewhere, for example by C++ code: they come in a file, and `compare` checks them.

    saved = vectors.read("layer_norm.npz")           # the arguments of the port, and its results
    result = vectors.compare(
        pn.layer_norm, saved["params"], saved["x"], dy=saved["dy"], cotangents=(saved["dparams"], saved["dx"]), value=saved["y"]
    )

The file has NumPy's npz format, which holds arrays and no code. A name such as `params.w` stands for an array in a tree.
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
from oracle.judging.size import in_words
from oracle.measures import distance, eps_of, largest, relative
from oracle.row import Row, Verdict, worst_first
from oracle.subject import Subject
from oracle.verification import Verification, verify

__all__ = ["compare", "read", "write"]

Array = NDArray[Any]
CHUNK = 1 << 20  # bytes per read: a file that claims more data than it has costs at most this much memory beyond its data


def write(path: str | Path, **trees: Any) -> None:
    """Write all arrays of these trees of dicts to an npz file. Their names are paths: `params={"w": w}` becomes `params.w`."""
    arrays: dict[str, Array] = {}
    for name, tree in trees.items():
        _flatten(name, tree, arrays)
    with Path(path).open("wb") as file:  # given a path, savez would append .npz to a name without it
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
    """The trees in an npz file. Nothing in it is executed. A file with anything but arrays of numbers is a ValueError."""
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
        raise ValueError(f"read: {path} must be an npz file of arrays of numbers: {error}") from error
    return trees


def _array(stream: IO[bytes], name: str) -> Array:
    """Reads an array in npy format. `np.load` is not used, as it allocates the size in the header before it reads any data."""
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
    """Check whether `cotangents` are the gradients of `op` at `primals` for the upstream gradient `dy`.

    Args:
        op: as in `verify`. Its forward pass gives the finite differences; its backward pass helps to name the cause.
        primals: the arguments of the port, in the dtype in which it computed.
        dy: the upstream gradient of the port's backward pass: an array or a tree like the value of `op`. Random numbers
            are best, because others hide mistakes.
        cotangents: the results of the port's backward pass, a tuple with one for each of `primals`.
        value: the result of the port's forward pass. If you give it, it is compared, too.
        options: keywords for `op` and `reference`.
        reference: the same function for JAX, as in `verify`.
        others: further keywords of `verify`.

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
        raise TypeError(f"compare: cotangents must be a tuple with one for each argument, got {type(cotangents).__name__}")
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
    """An op whose backward pass returns the port's gradients.

    `verify` calls a backward pass with a random upstream gradient v of its own, but the port's gradients are known only for
    dy. So the value is multiplied by dy / v: the gradients for v are then those of the op for dy. `verify` also calls it with
    other upstream gradients. For these it returns the op's own gradients plus a part of the port's error: the part of the
    upstream gradient that has the direction of v. So it is linear, as a backward pass must be.
    """

    subject: Subject
    v: Any
    factor: Any
    """dy / v, a tree like the value."""
    dy: Any
    cotangents: tuple[Any, ...]
    ours: tuple[Any, ...] | None
    """The op's own gradients; None if the port has another number of them, which `verify` reports at once."""

    @classmethod
    def of(cls, subject: Subject, primals: Any, y: Any, dy: Any, cotangents: tuple[Any, ...]) -> _Ported:
        seed = optree.tree_map(lambda a, like: np.asarray(a, np.asarray(like).dtype), dy, y)
        if not np.isfinite(vector(seed)).all() or not vector(seed).any():
            raise ValueError(f"compare: dy of {subject.name} must have finite entries, at least one of them not zero")
        v = random_cotangent(y)
        factor = optree.tree_map(lambda a, b: np.asarray(a, np.float64) / np.asarray(b, np.float64), seed, v)
        ours = subject.bwd(subject.fwd(*primals)[1], seed)
        return cls(subject, v, factor, seed, cotangents, ours if len(ours) == len(cotangents) else None)

    def scaled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its value multiplied by dy / v. It may be a function for JAX."""

        def scaled(*primals: Any, **options: Any) -> Any:
            leaves, structure = optree.tree_flatten(function(*primals, **options))
            factors = optree.tree_leaves(self.factor)
            return structure.unflatten([y * f.astype(y.dtype) for y, f in zip(leaves, factors, strict=True)])

        scaled.__name__ = getattr(function, "__name__", "reference")
        return scaled

    def pair(self, op: Any) -> Pair:
        """The pair that `verify` checks instead of `op`."""

        def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
            y, residuals = self.subject.forward(*primals, **options)
            return self.scaled(lambda: y)(), residuals

        def bwd(residuals: Any, d: Any) -> Any:
            if self.ours is None:
                return self.cotangents
            along, across = self._parts(d)
            here, rest = (self.subject.bwd(residuals, seed) for seed in (self._typed(self.dy, d), across))

            def sum_of(ported: Any, here: Any, there: Any, rest: Any) -> Any:
                if np.shape(ported) != np.shape(here) or np.asarray(ported).dtype != np.asarray(here).dtype:
                    return ported  # `verify` reports its form, and judges the others
                # For dy itself the port's gradients are returned bit for bit. Otherwise its error is added to the op's own.
                moved = ported if np.array_equal(here, there) else here + (np.asarray(ported, np.float64) - there)
                return np.asarray(along * moved + rest, np.asarray(here).dtype)

            found = []
            for trees in zip(self.cotangents, here, self.ours, rest, strict=True):
                alike = optree.tree_structure(trees[0]) == optree.tree_structure(trees[1])
                found.append(optree.tree_map(sum_of, *trees) if alike else trees[0])
            return tuple(found)

        vars(fwd)["of_one_dtype"] = True  # the port's gradients are known in their own dtype only
        return named(fwd, bwd, op[0] if isinstance(op, tuple) else op)

    def _parts(self, d: Any) -> tuple[float, Any]:
        """The component of `d` along v; and the rest of `d`, multiplied by dy / v."""
        v, flat = vector(self.v), vector(d)
        along = float(flat @ v) / float(v @ v)
        return along, optree.tree_map(
            lambda a, b, f: np.asarray((np.asarray(a, np.float64) - along * b) * f, np.asarray(a).dtype), d, self.v, self.factor
        )

    def _typed(self, tree: Any, like: Any) -> Any:
        return optree.tree_map(lambda a, b: np.asarray(a, np.asarray(b).dtype), tree, like)


def _value_row(like: Row, y: Any, value: Any) -> list[Row]:
    """A row with the difference of the two values; no row if it is only rounding."""
    ours, theirs = vector(y), vector(value)
    error = distance(theirs, ours)
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
            diagnosis=f"another function: at entry {worst} the port's value is {theirs[worst]:.9g}, the op's {ours[worst]:.9g}",
            used=used,
            size=in_words(relative(error, scale), dtype.name),
        )
    ]
