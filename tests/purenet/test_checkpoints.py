"""Checkpoints: what comes back is what was saved, bit for bit; what is none, or another's, is one clear error."""

from __future__ import annotations

import json
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import save_file

import purenet as pn
from purenet import checkpoints, recipes, training
from purenet.normalization import Statistics

KEY = pn.random.key(3)
ABOUT = {"net": "lenet", "options": {"sizes": (1, 2)}, "optimizer": "adam"}
DTYPES = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.uint32, np.uint8, np.bool_)


class Slot(NamedTuple):
    """A state as optimizers have them."""

    count: Any
    mu: Any


def leaf() -> st.SearchStrategy[Any]:
    """Arrays with any bits, also those of NaN, of every dtype and of 0 to 3 dimensions, in any order of memory."""

    def of(dtype: Any) -> st.SearchStrategy[Any]:
        size = np.dtype(dtype).itemsize
        raw = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3).flatmap(
            lambda shape: arrays(np.uint8, (*shape, size), elements=st.integers(0, 1 if dtype is np.bool_ else 255))
        )
        return raw.map(lambda a: np.asarray(np.ascontiguousarray(a).view(dtype)[..., 0]).T)

    return st.sampled_from(DTYPES).flatmap(of)


TREES = st.recursive(
    st.one_of(leaf(), st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.booleans()),
    lambda inner: st.one_of(
        st.dictionaries(st.text("ab/~[]. 0", max_size=3), inner, max_size=3),
        st.dictionaries(st.integers(0, 3), inner, max_size=3),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.builds(Slot, inner, inner),
    ),
    max_leaves=6,
)


def small(params: Any = None) -> training.State:
    tree = {"net": {"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(3)}} if params is None else params
    state = training.start(pn.optimizers.adam(1e-3), tree, KEY)
    return state._replace(statistics={"net/norm": Statistics(np.ones(3), np.full(3, 2.0))})


def saved(path: Path) -> Path:
    checkpoints.save(path / "here.safetensors", small(), ABOUT)
    return path / "here.safetensors"


def assert_same(ours: Any, theirs: Any) -> None:
    assert optree.tree_structure(ours) == optree.tree_structure(theirs)
    for a, b in zip(optree.tree_leaves(ours), optree.tree_leaves(theirs), strict=True):
        assert type(a) is type(b)
        assert (np.asarray(a).dtype, np.shape(a)) == (np.asarray(b).dtype, np.shape(b))
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@settings(max_examples=40)
@given(tree=TREES, carry=TREES)
def test_every_tree_comes_back_bit_for_bit(tree: Any, carry: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.safetensors"
    statistics = {"a/b~[": Statistics(np.zeros(2), np.ones(2))}
    state = training.State(tree, Slot((), tree), statistics, KEY, np.asarray(5, np.int64), carry)
    checkpoints.save(path, state, ABOUT)
    like = optree.tree_map(lambda leaf: np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else type(leaf)(), state)
    assert_same(checkpoints.load(path, like._replace(statistics={}), ABOUT), state)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", recipes.optimizer_names())
def test_the_state_of_every_optimizer_comes_back(tmp_path: Path, name: str, dtype: Any) -> None:
    optimizer = recipes.optimizer_of(name, 0.01, 10, clip=1.0)
    params = {"a": np.ones((2, 2), dtype), "b": np.asarray(3, dtype)}
    state = training.start(optimizer, params, KEY)
    _, inner = optimizer.update(params, state.optimizer, params)
    checkpoints.save(tmp_path / "one", state._replace(optimizer=inner), {})
    assert_same(checkpoints.load(tmp_path / "one", state, {}), state._replace(optimizer=inner))


def test_an_array_of_the_other_byte_order_comes_back_in_this_ones(tmp_path: Path) -> None:
    state = small({"w": np.array([1.5, -2.0]).astype(">f8")})
    checkpoints.save(tmp_path / "one", state, {})
    loaded = checkpoints.load(tmp_path / "one", state, {})
    assert loaded.params["w"].dtype == np.dtype(np.float64)
    np.testing.assert_array_equal(loaded.params["w"], [1.5, -2.0])


def test_the_same_state_is_the_same_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        checkpoints.save(path, small(), ABOUT)
    assert one.read_bytes() == other.read_bytes()
    assert checkpoints.read_about(one) == {**ABOUT, "options": {"sizes": [1, 2]}}


# ---------------------------------------------------------------------------------------------- files that are none


def test_every_part_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for length in (*range(16), *range(16, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"here.safetensors: expected a whole checkpoint, found another file or a part"):
            checkpoints.load(path, small(), ABOUT)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="expected a whole checkpoint"):
        checkpoints.load(path, small(), ABOUT)


def header(content: Any) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"P1 not a checkpoint at all",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 90_000_000) + b"{}",
        header({"w": {"dtype": "F64", "shape": [2**37], "data_offsets": [0, 2**40]}}),
        header({"w": {"dtype": "F64", "shape": [2**62, 8], "data_offsets": [0, 0]}}),
        header([]),
    ],
)
def test_a_header_that_claims_much_takes_no_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "claims").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="claims: expected a whole checkpoint"):
        checkpoints.load(tmp_path / "claims", small(), {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        (None, "found a safetensors file of something else"),
        ({"format": "pt"}, "found a safetensors file of something else"),
        ({"purenet": "["}, "found a header that cannot be read"),
        ({"purenet": "[]"}, "found a header that cannot be read"),
        ({"purenet": '{"format": 1, "about": 3}'}, "expected a checkpoint of format 1"),
        ({"purenet": '{"format": 2, "about": {}}'}, "expected a checkpoint of format 1, found 2"),
    ],
)
def test_a_file_of_somebody_else_or_another_version_is_named(tmp_path: Path, metadata: Any, match: str) -> None:
    save_file({"w": np.zeros(2)}, tmp_path / "foreign", metadata)
    with pytest.raises(ValueError, match=match):
        checkpoints.read_about(tmp_path / "foreign")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        checkpoints.read_about(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        checkpoints.read_about(tmp_path)


# ------------------------------------------------------------------------------------------- checkpoints of others


@pytest.mark.parametrize(
    ("about", "match"),
    [
        ({**ABOUT, "net": "alexnet"}, "expected a checkpoint with net alexnet, found lenet"),
        ({**ABOUT, "optimizer": "sgd"}, "expected a checkpoint with optimizer sgd, found adam"),
        ({**ABOUT, "vocabulary": "abc"}, "expected a checkpoint with vocabulary abc, found none"),
        ({**ABOUT, "options": {"sizes": (1, 3)}}, r"options \{\"sizes\": \[1, 3\]\}, found \{\"sizes\": \[1, 2\]\}"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, about: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        checkpoints.load(saved(tmp_path), small(), about)


def narrower(state: training.State) -> training.State:
    return state._replace(params=optree.tree_map(lambda a: a.astype(np.float32), state.params))


def wider(state: training.State) -> training.State:
    return state._replace(params={"net": {**state.params["net"], "w": np.zeros((2, 4))}})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s._replace(params={"net": {"w": np.zeros((2, 3))}}), "has in addition params/net/b"),
        (
            lambda s: s._replace(optimizer=()),
            "has in addition optimizer/count, optimizer/mu/net/b, optimizer/mu/net/w and 2 more",
        ),
        (lambda s: s._replace(carry=np.zeros(2)), "lacks carry"),
        (narrower, r"expected params/net/b to be float32 \(3,\), found float64 \(3,\)"),
        (wider, r"expected params/net/w to be float64 \(2, 4\), found float64 \(2, 3\)"),
    ],
)
def test_arrays_of_another_net_are_named(tmp_path: Path, change: Callable[[Any], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        checkpoints.load(saved(tmp_path), change(small()), ABOUT)


# --------------------------------------------------------------------------------------------------------- writing


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("part", ["replace", "fsync"])
def test_what_cannot_be_written_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(*((Path, "replace") if part == "replace" else (checkpoints.os, "fsync")), full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(path, small({"other": np.ones(1000)}), ABOUT)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("leaf", [np.array(["text"]), np.array([1j]), np.array([object()]), "text", np.ma.ones(2)])
def test_leaves_that_are_no_numbers_are_named(tmp_path: Path, leaf: Any) -> None:
    with pytest.raises(TypeError, match=r"checkpoints: params/w must be an array of numbers, got"):
        checkpoints.save(tmp_path / "one", small()._replace(params={"w": leaf}), ABOUT)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for use in (lambda: checkpoints.read_about(path), lambda: checkpoints.save(path, small(), ABOUT)):
        with pytest.raises(ImportError, match=r"pip install 'purenet\[examples\]'"):
            use()
