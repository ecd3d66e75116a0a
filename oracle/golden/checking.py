"""Compares the files of golden gradients with the ops: every tensor within its tolerance, and not a bit changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import RAISED
from oracle.golden import cases, schema
from oracle.golden.encoding import decoded, encoded
from oracle.golden.files import changed_entry, checksum, from_json, unpack
from oracle.spec import Case, Spec
from oracle.subject import Subject

__all__ = ["Checked", "check"]

Array = NDArray[Any]
Find = Callable[[str, str], Spec]


@dataclass(frozen=True)
class Checked:
    """The result for the files of one op."""

    op: str
    mistakes: tuple[str, ...]
    cases: int = 0
    tensors: int = 0


def check(path: Path, find: Find) -> Checked:
    """The files whose JSON is at `path`; `find(module, op)` gives the Spec of an op, or raises a KeyError."""
    try:
        document = from_json(path.read_text(encoding="utf-8"))
        if wrong := schema.mistakes(document):
            raise ValueError(wrong[0])
        if document["file"] != f"{path.stem}.safetensors":
            raise ValueError(f"its tensors must be in {path.stem}.safetensors, not in {document['file']}")
        tensors = unpack((path.parent / document["file"]).read_bytes())
        spec = find(document["module"], document["op"])
    except KeyError as error:
        return Checked(path.stem, (str(error.args[0]),))
    except (OSError, ValueError) as error:  # of UTF-8, too
        return Checked(path.stem, (f"{path.name}: {error}",))
    return Checked(document["op"], tuple(_mistakes(document, tensors, spec)), len(document["cases"]), len(tensors))


def _mistakes(document: Mapping[str, Any], tensors: Mapping[str, Array], spec: Spec) -> Iterator[str]:
    listed = {one["name"]: one for case in document["cases"] for one in case["tensors"]}
    if odd := sorted(set(listed) ^ set(tensors)):
        where = "the JSON lists it, the file lacks it" if odd[0] in listed else "the file has it, the JSON does not list it"
        yield f"{document['op']}: {odd[0]}: {where}"
        return
    changed = [text for name, one in listed.items() if (text := _changed(one, tensors[name]))]
    if changed:
        yield from (f"{document['op']}: {text}" for text in changed)
        return
    names = [case["name"] for case in document["cases"]]
    if names != [case.name for case in spec.cases]:
        yield f"{document['op']}: its cases are no longer these; write the files again"
        return
    for k, (about, case) in enumerate(zip(document["cases"], spec.cases, strict=True)):
        try:
            found = list(_of_case(spec, case, about, tensors, f"{k}"))
        except KeyError as error:
            found = [f"{error.args[0]} is missing"]
        except RAISED as error:
            found = [f"the op raises {type(error).__name__} at these tensors: {error}"]
        yield from (f"{document['op']} / {case.name}: {text}" for text in found)


def _changed(about: Mapping[str, Any], array: Array) -> str:
    """What is not as it was written, if anything is."""
    if about["dtype"] != array.dtype.name or tuple(about["shape"]) != array.shape:
        return f"{about['name']} must be {about['dtype']} {tuple(about['shape'])}, got {array.dtype.name} {array.shape}"
    if checksum(array) == about["checksum"]:
        return ""
    index = changed_entry(array, about["checksum"])
    if index is None:
        return f"{about['name']} has changed since it was written, in several entries"
    return f"{about['name']}{_at(index)} has changed since it was written: it is {array[index]!s}"


def _of_case(spec: Spec, case: Case, about: Mapping[str, Any], tensors: Mapping[str, Array], prefix: str) -> Iterator[str]:
    """The op at the arguments of the file gives the value and the gradients of the file."""
    drawn, options = cases.drawn(spec, case)
    names = Subject.of(spec.op, options).names(len(drawn))
    own: dict[str, Array] = {}
    arguments = {name: encoded(tree, f"{prefix}/argument/{name}", own) for name, tree in zip(names, drawn, strict=True)}
    written = {name: encoded(value, f"{prefix}/option/{name}", own) for name, value in options.items()}
    if (arguments, written) != (about["arguments"], about["options"]):
        yield "its arguments or options are no longer these; write the files again"
        return
    if odd := next((name for name, array in own.items() if tensors[name].shape != array.shape), None):
        yield f"{odd} must have shape {own[odd].shape}, got {tensors[odd].shape}"
        return
    primals = tuple(decoded(tree, f"{prefix}/argument/{name}", tensors) for name, tree in zip(names, drawn, strict=True))
    options = {name: decoded(value, f"{prefix}/option/{name}", tensors) for name, value in options.items()}
    value = cases.evaluated(spec, primals, options)
    dy = decoded(value.cotangent, f"{prefix}/cotangent", tensors)
    now = cases.evaluated(spec, primals, options, dy)
    judged = {one["name"]: one for one in about["tensors"] if "tolerance" in one}
    for role, leaves in now.leaves().items():
        for leaf in leaves:
            path = f"{role}/{leaf.path}" if role == "gradient" else leaf.path
            if role != "cotangent":
                yield from _compared(judged[f"{prefix}/{path}"], np.asarray(leaf.array), tensors, f"{prefix}/exact/{path}")


def _compared(about: Mapping[str, Any], now: Array, tensors: Mapping[str, Array], exact: str) -> Iterator[str]:
    """A tensor of the file, and its exact twin, against what the op gives now."""
    for name in (about["name"], exact):
        theirs = tensors.get(name)
        if theirs is None:
            continue
        if theirs.shape != now.shape:
            yield f"{name} has shape {theirs.shape}, the op gives {now.shape}"
        elif (index := cases.worst_entry(theirs, now, about["tolerance"])) is not None:
            yield f"{name}{_at(index)} is {theirs[index]!s}, the op gives {now[index]!s}, more than {about['tolerance']} away"


def _at(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
