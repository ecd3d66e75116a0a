"""The frames between the grader and the process of a submission: a header in JSON and the raw bytes of arrays.

Reading a frame never runs code, and each size is checked before memory is taken. An array is `{"array": [dtype, shape,
start]}`, and its bytes are in the payload. Numbers, texts and None are `{"value": ...}`, tuples and lists `{"items": ...}`,
dicts `{"names": {...}}`, and whatever else a submission returns is `{"other": its type}`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

__all__ = ["HEADER", "Malformed", "Tree", "decode", "encode", "framed", "pick", "sizes_of"]

Tree: TypeAlias = dict[str, Any]

HEADER = struct.Struct(">II")
"""The lengths of the header and of the payload, in bytes."""
LONGEST_HEADER = 1 << 20
"""Bytes of a header. A submission has at most 1 MB of source, and an answer names a few dozen arrays."""
LONGEST_PAYLOAD = 1 << 26
"""Bytes of all arrays of a frame: 64 MB, more than the arguments of any case."""
DEEPEST = 8
"""Levels of dicts, tuples and lists in an answer."""
MOST = 1024
"""Entries of one dict, tuple or list in an answer."""
ALIGNED = 16
"""Each array begins at a multiple of so many bytes."""
DTYPES = {np.dtype(name).str: np.dtype(name) for name in ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "F", "D"]}


class Malformed(Exception):
    """A frame that breaks the rules above."""


def framed(header: Tree, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    text = json.dumps(header).encode()
    return HEADER.pack(len(text), len(payload)) + text + payload


def sizes_of(start: bytes) -> tuple[int, int]:
    """The lengths of header and payload that the first bytes of a frame announce."""
    header, payload = HEADER.unpack(start)
    if header > LONGEST_HEADER or payload > LONGEST_PAYLOAD:
        raise Malformed(f"a frame of {header} + {payload} bytes")
    return header, payload


def encode(value: Any) -> tuple[Tree, bytes]:
    """A value as a tree, and the bytes of its arrays."""
    blobs: list[bytes] = []
    return _encoded(value, blobs, DEEPEST), b"".join(blobs)


def _encoded(value: Any, blobs: list[bytes], levels: int) -> Tree:
    if value is None or isinstance(value, bool | int | str):
        small = not isinstance(value, str) or len(value) <= MOST
        return {"value": value} if small and (not isinstance(value, int) or abs(value) < 1 << 63) else _other(value)
    if isinstance(value, float | complex | np.ndarray | np.generic):
        array = np.asarray(value)
        known = array.dtype.newbyteorder("<")
        if known.str not in DTYPES or array.nbytes > LONGEST_PAYLOAD:
            return {"other": "an array" + (f" of {str(array.dtype)[:40]}" if known.str not in DTYPES else " that is too large")}
        data = array.astype(known, copy=False).tobytes()
        offset = sum(map(len, blobs))
        blobs.append(data + b"\0" * (-len(data) % ALIGNED))
        return {"array": [known.str, list(array.shape), offset]}
    if levels and isinstance(value, tuple | list) and len(value) <= MOST:
        return {"items": [_encoded(item, blobs, levels - 1) for item in value]}
    if levels and isinstance(value, dict) and len(value) <= MOST and all(isinstance(name, str) for name in value):
        return {"names": {name[:MOST]: _encoded(item, blobs, levels - 1) for name, item in value.items()}}
    return _other(value)


def _other(value: Any) -> Tree:
    return {"other": f"an object of type {type(value).__name__[:40]}"}


def decode(tree: Any, payload: bytes, other: Callable[[str], Any] | None = None) -> Any:
    """The value of a tree; `other` makes the value of what could not be sent.

    Arrays are views of `payload`, which nobody can write to.
    """
    return _decoded(tree, payload, other, DEEPEST)


def _decoded(tree: Any, payload: bytes, other: Callable[[str], Any] | None, levels: int) -> Any:
    if not isinstance(tree, dict) or len(tree) != 1 or levels < 0:
        raise Malformed("a value that is no tree")
    ((kind, content),) = tree.items()
    if kind == "value" and (
        content is None or isinstance(content, str) or (isinstance(content, int) and abs(content) < 1 << 63)
    ):
        return content
    if kind == "items" and isinstance(content, list):
        return tuple(_decoded(item, payload, other, levels - 1) for item in content)
    if kind == "names" and isinstance(content, dict):
        return {name: _decoded(item, payload, other, levels - 1) for name, item in content.items()}
    if kind == "array" and isinstance(content, list) and len(content) == 3:
        return _array(content[0], content[1], content[2], payload)
    if kind == "other" and isinstance(content, str) and other is not None:
        return other(content)
    raise Malformed("a value of an unknown kind")


def _array(name: Any, shape: Any, offset: Any, payload: bytes) -> np.ndarray[Any, Any]:
    dtype = DTYPES.get(name) if isinstance(name, str) else None
    numbers = [*shape, offset] if isinstance(shape, list) and len(shape) <= 32 else [-1]
    if dtype is None or any(type(n) is not int or not 0 <= n <= LONGEST_PAYLOAD for n in numbers):
        raise Malformed("an array of an unknown form")
    count = math.prod(shape)
    if offset + count * dtype.itemsize > len(payload):
        raise Malformed("an array longer than its frame")
    try:
        return np.frombuffer(payload, dtype, count, offset).reshape(shape)
    except ValueError:  # an empty array whose other axes are too long
        raise Malformed("an array of an unknown form") from None


def pick(header: bytes) -> Tree:
    """The header of a frame, from its bytes."""
    try:
        tree = json.loads(header)
    except (ValueError, RecursionError):
        raise Malformed("a header that is no JSON") from None
    if not isinstance(tree, dict):
        raise Malformed("a header that is no JSON object")
    return tree
