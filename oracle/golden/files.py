"""The two files of an op: tensors in the safetensors format, the rest in JSON. The same content always has the same bytes.

A safetensors file is the length of its header in 8 bytes, the header in JSON, and the numbers. Other languages read that with
a few lines. It is written and read here, not by the package of that name: the bytes must be the same with every version, and a
file whose header was written otherwise must be noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["changed_entry", "checksum", "from_json", "pack", "to_json", "unpack"]

Array = NDArray[Any]

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "I64": "<i8",
    "U64": "<u8",
    "I32": "<i4",
    "U32": "<u4",
    "I16": "<i2",
    "U8": "u1",
    "BOOL": "?",
}
"""The names of the dtypes in safetensors, and in NumPy, in the byte order of the format."""
PRIME = 2**61 - 1
"""Checksums are modulo this prime (a Mersenne prime), so that a change can be divided by another to give an index."""
ALIGNED = 8  # bytes: the numbers begin at a multiple of it, as the format recommends, so that they can be mapped into memory


def pack(tensors: Mapping[str, Array]) -> bytes:
    """The bytes of a safetensors file: wide dtypes first, then by name."""
    arrays = {name: np.ascontiguousarray(array, _stored(name, array)) for name, array in tensors.items()}
    header: dict[str, Any] = {}
    parts, begin = [], 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        end = begin + array.nbytes
        kind = next(kind for kind, dtype in DTYPES.items() if np.dtype(dtype) == array.dtype)
        header[name] = {"dtype": kind, "shape": list(np.shape(tensors[name])), "data_offsets": [begin, end]}
        parts.append(array.tobytes())
        begin = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % ALIGNED)
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))


def _stored(name: str, array: Array) -> Any:
    dtype = np.asarray(array).dtype.newbyteorder("<")
    if dtype not in map(np.dtype, DTYPES.values()):
        raise TypeError(f"pack: {name} must be an array of numbers in one of {', '.join(DTYPES)}, got {dtype.name}")
    return dtype


def unpack(data: bytes) -> dict[str, Array]:
    """The tensors in these bytes. A ValueError unless `pack` would write exactly these bytes."""
    try:
        size = int.from_bytes(data[:8], "little")
        if len(data) < 8 + size:
            raise ValueError(f"the header must have {size} bytes, found {max(len(data) - 8, 0)}")
        header = json.loads(data[8 : 8 + size])
        tensors = {name: _tensor(name, about, data[8 + size :]) for name, about in header.items()}
        if pack(tensors) != data:
            raise ValueError("its header or its end is not as it was written")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is no safetensors file of golden gradients: {error}") from error
    return tensors


def _tensor(name: str, about: Mapping[str, Any], data: bytes) -> Array:
    dtype, shape, (begin, end) = np.dtype(DTYPES[about["dtype"]]), tuple(about["shape"]), about["data_offsets"]
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} must have {shape} numbers in the file, found bytes {begin} to {end} of {len(data)}")
    return np.frombuffer(data[begin:end], dtype).reshape(shape)


def to_json(document: Mapping[str, Any]) -> str:
    """The text of a document, with the SHA-256 of the rest as its last entry."""
    content = {key: value for key, value in document.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(content, allow_nan=False).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Any:
    """The document in this text. A ValueError unless `to_json` would write exactly this text."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("it must be a JSON object")
    try:
        same = to_json(document) == text
    except ValueError:
        same = False
    if not same:
        raise ValueError("it is not as it was written: its content, its layout or its sha256 has changed")
    return document


def checksum(array: Array) -> str:
    """Two sums over the entries as integers, modulo PRIME: of the entries, and of the entries times their place from 1."""
    return "{:016x}{:016x}".format(*_sums(array))


def _sums(array: Array) -> tuple[int, int]:
    flat = np.ascontiguousarray(array, np.asarray(array).dtype.newbyteorder("<")).reshape(-1)
    words = flat.view(f"<u{flat.dtype.itemsize}").tolist()
    return sum(words) % PRIME, sum(place * word for place, word in enumerate(words, 1)) % PRIME


def changed_entry(array: Array, written: str) -> tuple[int, ...] | None:
    """The index of the entry that has changed since the checksum was written, if it is one alone.

    One entry that changes by d at place p changes the sums by d and by p d, so that their quotient is p.
    """
    now = _sums(array)
    first, second = (a - int(b, 16) for a, b in zip(now, (written[:16], written[16:]), strict=True))
    if first % PRIME == 0:
        return None
    place = second * pow(first, -1, PRIME) % PRIME
    return tuple(int(i) for i in np.unravel_index(place - 1, np.shape(array))) if 1 <= place <= np.size(array) else None
