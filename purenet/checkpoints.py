"""The state of a run in a file. A run that continues from it computes the same bits as one that was never stopped.

    about = {"net": "lenet", "optimizer": "adam"}
    checkpoints.save("lenet.safetensors", state, about)
    state = checkpoints.load("lenet.safetensors", like=state, about=about)

The format is safetensors: a header in JSON, then the numbers. Reading one runs no code, and other libraries read it too.
Arrays are named by their place in the state, `params/net/affine1/w` or `optimizer/mu/net/affine1/w`; the header says what they
belong to, `about`. A file does not hold the structure of the state: that comes from one like it, such as the state before the
first step. A file is never partly written: it is written under another name in the same folder, and renamed when complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import optree

from purenet.normalization import Statistics
from purenet.op import Array, Tree
from purenet.training import State

__all__ = ["FORMAT", "load", "read_about", "save"]

FORMAT = 1
"""Of the arrays' names and of the header; a file of another number is not read."""

HEADER = "purenet"
"""The one entry of the metadata: JSON with the format and `about`."""

KINDS = "biuf"  # of dtypes that safetensors and NumPy share; bfloat16 beside them

FilePath: TypeAlias = str | os.PathLike[str]


def save(path: FilePath, state: State, about: Mapping[str, Any]) -> None:
    """Write the state, and `about`, which must be JSON, in place of what is at `path`.

    Errors: OSError where it cannot be written: what was at `path` is still there. TypeError for leaves that are no numbers.
        ImportError where safetensors is not installed.
    """
    save_file = _safetensors().numpy.save_file
    path = Path(path)
    arrays = {name: np.asarray(_storable(name, leaf), order="C") for name, leaf in _named_leaves(state)}
    header = json.dumps({"format": FORMAT, "about": about}, sort_keys=True, allow_nan=False)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb"):  # if it cannot be written, this raises with NumPy's and Python's usual messages
            pass
        save_file(arrays, partial, {HEADER: header})
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some systems cannot open a folder; the file itself is on the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_about(path: FilePath) -> dict[str, Any]:
    """The `about` of the state in a file.

    Errors: OSError where the file cannot be read; ValueError where it is no whole checkpoint of this format.
    """
    with _opened(path) as (_, about):
        return about


def load(path: FilePath, like: State, about: Mapping[str, Any]) -> State:
    """The state in a file, in the structure of `like`, whose shapes and dtypes it must have.

    Running statistics, which a state before its first step does not have, come as they are in the file.

    Errors: OSError where the file cannot be read; ValueError where it is no whole checkpoint of this format, where anything
        in `about` differs, or it holds other arrays than `like`.
    """
    with _opened(path) as (file, found):
        for name, value in json.loads(json.dumps(about)).items():
            if found.get(name) != value:
                raise ValueError(f"{path}: expected a checkpoint with {name} {_told(value)}, found {_told(found.get(name))}")
        names = set(file.keys())
        statistics = _statistics(path, file, sorted(name for name in names if name.startswith("statistics/")))
        shaped: Tree = like._replace(statistics=statistics)
        expected = dict(_named_leaves(shaped))
        lacking, unknown = sorted(expected.keys() - names), sorted(names - expected.keys())
        if lacking or unknown:
            what = [f"{word} {_some(some)}" for word, some in (("lacks", lacking), ("has in addition", unknown)) if some]
            raise ValueError(
                f"{path}: expected a checkpoint with the arrays of this net and optimizer; it {' and '.join(what)}"
            )
        leaves = [_restored(path, file, name, leaf) for name, leaf in expected.items()]
        restored: Tree = optree.tree_unflatten(optree.tree_structure(shaped), leaves)
        return State(*restored)


# ----------------------------------------------------------------------------------------------------------- the parts


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError("checkpoints are written with safetensors; pip install 'purenet[examples]'") from None
    return safetensors


@contextmanager
def _opened(path: FilePath) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The open file and its metadata."""
    library = _safetensors()
    with Path(path).open("rb"):  # if it cannot be read, this raises Python's usual error
        pass
    try:
        file = library.safe_open(path, framework="numpy")
    except (library.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: expected a whole checkpoint, found another file or a part of one ({error})") from None
    with file:
        written = (file.metadata() or {}).get(HEADER)
        if written is None:
            raise ValueError(f"{path}: expected a checkpoint of purenet, found a safetensors file of something else")
        try:
            header = json.loads(written)
            number, about = header["format"], header["about"]
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{path}: expected a checkpoint of purenet, found a header that cannot be read") from None
        if number != FORMAT or not isinstance(about, dict):
            raise ValueError(f"{path}: expected a checkpoint of format {FORMAT}, found {number}")
        yield file, about


def _named_leaves(state: Tree) -> Iterator[tuple[str, Any]]:
    """Every leaf with its name, which is unique: what a key could be confused by is escaped."""
    accessors = optree.tree_accessors(state)
    for accessor, leaf in zip(accessors, optree.tree_leaves(state), strict=True):
        yield "/".join(_entry(entry) for entry in accessor), leaf


ESCAPES = (("~", "~0"), ("/", "~1"), ("[", "~2"))


def _entry(entry: Any) -> str:
    """A step on the way to a leaf: the name of a field, a key that is a string, or else [key]."""
    if isinstance(entry, optree.NamedTupleEntry):
        return str(entry.field)
    text = entry.entry if isinstance(entry.entry, str) else repr(entry.entry)
    for character, code in ESCAPES:
        text = text.replace(character, code)
    return text if isinstance(entry.entry, str) else f"[{text}]"


def _key(text: str) -> str:
    """The key that is a string, from its name in the file."""
    for character, code in reversed(ESCAPES):
        text = text.replace(code, character)
    return text


def _storable(name: str, leaf: Any) -> Array:
    """The leaf as an array in the byte order of this machine."""
    array = np.asarray(leaf)
    if isinstance(leaf, np.ma.MaskedArray) or not (
        (array.dtype.kind in KINDS and array.dtype.itemsize <= 8) or array.dtype.name == "bfloat16"
    ):
        raise TypeError(f"checkpoints: {name} must be an array of numbers, got {type(leaf).__name__} of {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _restored(path: FilePath, file: Any, name: str, like: Any) -> Any:
    """The leaf of this name, as an array or Python number as `like` is one."""
    wanted = _storable(name, like)
    array = file.get_tensor(name)
    if array.shape != wanted.shape or array.dtype != wanted.dtype:
        raise ValueError(
            f"{path}: expected {name} to be {wanted.dtype} {wanted.shape}, found {array.dtype} {tuple(array.shape)}"
        )
    if isinstance(like, np.ndarray):
        return np.array(array)
    return array[()] if isinstance(like, np.generic) else type(like)(array.item())


def _statistics(path: FilePath, file: Any, names: list[str]) -> dict[str, Statistics]:
    """The running statistics; their names in the file depend only on the net."""
    found: dict[str, dict[str, Array]] = {}
    for name in names:
        stage, _, part = name.removeprefix("statistics/").rpartition("/")
        found.setdefault(_key(stage), {})[part] = np.array(file.get_tensor(name))
    for stage, parts in found.items():
        if set(parts) != set(Statistics._fields):
            raise ValueError(f"{path}: expected a mean and a variance for {stage}, found {', '.join(sorted(parts))}")
    return {stage: Statistics(**parts) for stage, parts in found.items()}


def _told(value: Tree) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 and text.isprintable() else f"{text[:40]!r}... ({len(text)} characters)"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
