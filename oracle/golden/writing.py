"""Writes the golden gradients of an op, after every case of it has been verified again."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle import exact, verification
from oracle.arrays import leaves_of
from oracle.golden import cases, history
from oracle.golden.encoding import encoded
from oracle.golden.files import checksum, pack, to_json
from oracle.golden.schema import VERSION
from oracle.judging.error_budget import REFERENCE_TERMS, SAFETY, roundoff
from oracle.judging.exact_point import ExactPoint, Refused, unrounded
from oracle.judging.point import Point
from oracle.measures import distance, largest
from oracle.row import Row
from oracle.spec import Case, Flag, Spec
from oracle.streams import Stream

__all__ = ["NotRight", "files_of", "stem"]

Array = NDArray[Any]

MOST_EXACT = 400
"""Entries of the arguments up to which exact values are asked for. An evaluation takes about 5 microseconds for each scalar
operation of both passes: with four times as many, the catalogue takes minutes."""


class NotRight(ValueError):
    """A gradient does not pass: it must not become a golden one."""


def stem(op: str) -> str:
    """The name of an op's files, without an ending."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in op)


def files_of(spec: Spec, module: str = "") -> dict[str, bytes]:
    """The two files of an op, by name."""
    tensors: dict[str, Array] = {}
    written = [_case(spec, case, f"{k}", tensors) for k, case in enumerate(spec.cases)]
    data = f"{stem(spec.name)}.safetensors"
    document = {
        "schema": VERSION,
        "op": spec.name,
        "module": module,
        "family": spec.family,
        "documentation": inspect.getdoc(spec.forward) or "",
        "reference": str(spec.source) if spec.source is not None else "none",
        "dtype": "float64",
        "file": data,
        "cases": written,
    }
    return {f"{stem(spec.name)}.json": to_json(document).encode(), data: pack(tensors)}


def _case(spec: Spec, case: Case, prefix: str, tensors: dict[str, Array]) -> dict[str, Any]:
    """One case as JSON; its tensors are put into `tensors`."""
    rows = verification.verify_case(spec, case).rows
    if wrong := [row for row in rows if not row.passed]:
        raise NotRight(f"{wrong[0].label} is {wrong[0].verdict}: {wrong[0].diagnosis}")
    found = {row.parameter: row for row in rows if row.order == 1}
    primals, options = cases.drawn(spec, case)
    one = cases.evaluated(spec, primals, options)
    own: dict[str, Array] = {}
    arguments = {name: encoded(tree, f"{prefix}/argument/{name}", own) for name, tree in zip(one.names, primals, strict=True)}
    about: dict[str, dict[str, Any]] = {name: {"role": "argument"} for name in own}
    written = {name: encoded(tree, f"{prefix}/option/{name}", own) for name, tree in cases.drawn(spec, case)[1].items()}
    about |= {name: {"role": "option"} for name in own if name not in about}
    for role, leaves in one.leaves().items():
        for i, leaf in enumerate(leaves):
            name = f"{prefix}/{role}/{leaf.path}" if role == "gradient" else f"{prefix}/{leaf.path}"
            own[name] = np.asarray(leaf.array)
            about[name] = {"role": role, **_judged(role, one, found, case.flags, leaf.path, i)}
    exactly, why = _exact(one)
    for name, array in exactly.items():
        role = name.partition("/")[0]
        own[f"{prefix}/exact/{name}"] = array
        about[f"{prefix}/exact/{name}"] = {"role": f"exact {role.partition('.')[0]}"}
        judged = about[f"{prefix}/{name}"]
        if role == "gradient" and array.size:
            judged["witnesses"].append("exact")
        off = SAFETY * largest(distance(own[f"{prefix}/{name}"], array))  # what cancels leaves nothing to measure it by
        judged["tolerance"] = max(judged["tolerance"], cases.rounded_up(off))
    tensors |= own
    return {
        "name": case.name,
        "arguments": arguments,
        "options": written,
        "flags": [_flag(flag) for flag in sorted(case.flags, key=lambda flag: flag.name)] + history.flags(spec.name, case.name),
        "exact": why or "yes",
        "tensors": [
            {
                "name": name,
                "role": about[name].pop("role"),
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                **about[name],
                "checksum": checksum(array),
            }
            for name, array in own.items()
        ],
    }


def _judged(
    role: str, one: cases.Evaluated, found: dict[str, Row], flags: frozenset[Flag], path: str, i: int
) -> dict[str, Any]:
    """The tolerance of a tensor, and what its verdict rests on."""
    if role == "value":
        tolerance = cases.tolerance_of_value(np.asarray(one.leaves()["value"][i].array))
        return {"tolerance": tolerance.tolerance, "scale": tolerance.scale}
    if role == "cotangent":
        return {}
    row, argument = found[path], leaves_of(one.names, one.primals)[i].array
    tolerance = cases.tolerance_of_gradient(row, flags, one, argument)
    return {
        "tolerance": tolerance.tolerance,
        "scale": tolerance.scale,
        "verdict": str(row.verdict),
        "witnesses": cases.witnesses(row),
    }


def _flag(flag: Flag) -> dict[str, str]:
    return {"name": flag.name, "meaning": flag.meaning, "catches": flag.catches}


def _exact(one: cases.Evaluated) -> tuple[dict[str, Array], str]:
    """The value and the gradients to all digits, rounded once to float64; or none and the reason.

    The backward pass runs on balls, and so does the forward pass, whose derivative along a random direction must be that of
    the gradients: they are then the derivative, and not only what a formula gives.
    """
    point = Point(one.subject, one.primals, one.value, one.cotangent, one.cotangents)
    if not exact.available():
        return {}, "python-flint is not installed"
    if sum(gradient.size for gradient in point.gradients) > MOST_EXACT:
        return {}, f"more than {MOST_EXACT} entries"
    try:
        gradients, rounding = unrounded(point)
        generator = np.random.default_rng(Stream.EXACT)
        direction = [generator.normal(size=g.size) for g in point.gradients]
        enclosure = ExactPoint(point, 0, 0).enclosure(direction)
    except Refused as refused:
        return {}, str(refused)
    if enclosure.sides is not None:
        return {}, f"a kink: {enclosure.kinks[0]}"
    if enclosure.least_error(np.concatenate(gradients), np.concatenate(direction)):
        return {}, "the backward pass without rounding is not the derivative, which its definition may say"
    for gradient, lost in zip(point.gradients, rounding, strict=True):
        if (lost > roundoff(largest(gradient), REFERENCE_TERMS)).any():
            return {}, "the gradient in float64 is further from the exact one than rounding explains"
    leaves = one.leaves()
    trees = [(f"{leaf.path}", leaf.array, value) for leaf, value in zip(leaves["value"], enclosure.values, strict=True)]
    trees += [
        (f"gradient/{leaf.path}", leaf.array, gradient) for leaf, gradient in zip(leaves["gradient"], gradients, strict=True)
    ]
    return {name: _nearest(balls, np.shape(array)) for name, array, balls in trees}, ""


def _nearest(balls: Any, shape: tuple[int, ...]) -> Array:
    """The float64 numbers nearest to these balls."""
    return np.array([float(ball.mid()) for ball in np.ravel(balls)], np.float64).reshape(shape)
