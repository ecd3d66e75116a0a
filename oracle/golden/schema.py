"""Validates a document against `schema.json`, by the keywords of JSON Schema that it uses. Other keywords are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["VERSION", "mistakes"]

VERSION = 1
"""Of the form of the files, the `schema` of every document."""
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
}
WORDS = {"$schema", "$defs", "title", "description"}  # keywords that restrict nothing
KEYWORDS = {"$ref", "type", "const", "enum", "pattern", "minimum", "items", "properties", "required", "additionalProperties"}


@cache
def schema() -> Any:
    """The schema of the package."""
    return json.loads((resources.files("oracle.golden") / "schema.json").read_text(encoding="utf-8"))


def mistakes(document: Any) -> list[str]:
    """What is wrong with the form of a document, each with its place."""
    return list(_mistakes(document, schema(), "document"))


def _mistakes(value: Any, by: Mapping[str, Any], place: str) -> Iterator[str]:
    if unknown := set(by) - KEYWORDS - WORDS:
        raise ValueError(f"schema: the keyword {min(unknown)!r} is not known here")
    if "$ref" in by:
        yield from _mistakes(value, schema()["$defs"][by["$ref"].removeprefix("#/$defs/")], place)
        return
    if "type" in by and (not isinstance(value, TYPES[by["type"]]) or isinstance(value, bool)):
        yield f"{place} must be of type {by['type']}, got {value!r:.60}"
        return
    if "const" in by and value != by["const"]:
        yield f"{place} must be {by['const']!r}, got {value!r:.60}"
    if "enum" in by and value not in by["enum"]:
        yield f"{place} must be one of {by['enum']}, got {value!r:.60}"
    if "pattern" in by and not re.search(by["pattern"], value):
        yield f"{place} must match {by['pattern']}, got {value!r:.60}"
    if "minimum" in by and not value >= by["minimum"]:
        yield f"{place} must be at least {by['minimum']}, got {value!r:.60}"
    yield from (f"{place} lacks {name!r}" for name in by.get("required", ()) if name not in value)
    known = by.get("properties", {})
    if by.get("additionalProperties") is False:
        yield from (f"{place} has {name!r}, which is not known" for name in value if name not in known)
    for name in known.keys() & value if known else ():
        yield from _mistakes(value[name], known[name], f"{place}.{name}")
    if "items" in by:
        for i, item in enumerate(value):
            yield from _mistakes(item, by["items"], f"{place}[{i}]")
