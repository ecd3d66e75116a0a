"""The comparison of speed: the twins compute what our ops do, and the table counts rightly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optree
import pytest

from benchmarks import ops
from benchmarks.libraries import OURS, PEERS, NoTwin
from benchmarks.ops import Row
from benchmarks.twin import SIZES, Twin
from benchmarks.twins import TWINS

TINY = SIZES.index("tiny")


@pytest.fixture(autouse=True)
def float64_is_as_before() -> Iterator[None]:
    """The process of a library enables float64 in JAX; this process has other tests to run."""
    config: Any = jax.config
    before = config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def passes(peer: str, twin: Twin) -> tuple[list[Any], list[Any]]:
    """The leaves of the value and of the gradients, in float64."""
    y, gradients = PEERS[peer][0](twin, TINY, "float64")()
    values, slopes = optree.tree_leaves(y), optree.tree_leaves(gradients)
    if peer == "torch":
        values, slopes = [v.detach().numpy() for v in values], [g.numpy() for g in slopes]
        wanted = [leaf for leaf in twin.leaves(TINY) if leaf.differentiated]
        slopes = [g.T if leaf.swapped else g for leaf, g in zip(wanted, slopes, strict=True)]
    return [np.asarray(v) for v in values], [np.asarray(g) for g in slopes]


def by_shape(arrays: list[Any]) -> list[Any]:
    """In an order of their own: a tree sorts its parameters by name, a library takes them one by one."""
    return sorted(arrays, key=lambda a: (a.shape, float(np.sum(a))))


def same(twin: Twin, peer: str) -> None:
    for our, their in zip(passes(OURS, twin), passes(peer, twin), strict=True):
        for a, b in zip(by_shape(our), by_shape(their), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # torch adds an eps to some distances


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_a_twin_in_torch_computes_the_same(twin: Twin) -> None:
    pytest.importorskip("torch")
    same(twin, "torch")


@pytest.mark.parametrize("twin", [t for t in TWINS if t.autograd is not None], ids=lambda twin: twin.name)
def test_a_twin_in_autograd_computes_the_same(twin: Twin) -> None:
    same(twin, "autograd")


@pytest.mark.parametrize("name", ["relu", "affine", "softmax_cross_entropy", "lstm_cell", "concat"])
def test_a_twin_in_jax_is_the_reference_of_the_catalogue(name: str) -> None:
    (twin,) = (t for t in TWINS if t.name == name)
    same(twin, "jax")


def test_a_library_without_such_a_function_says_so() -> None:
    (twin,) = (t for t in TWINS if t.name == "lstm")
    with pytest.raises(NoTwin):
        PEERS["autograd"][0](twin, TINY, "float64")


@pytest.mark.parametrize("error", [MemoryError("8 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_library_without_memory_for_a_row_is_left_out_there(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> object:
        raise error

    monkeypatch.setitem(ops.PEERS, "torch", (fails, "torch"))
    monkeypatch.setitem(ops.PEERS, ops.OURS, (fails, "purenet"))
    assert ops.seconds("torch", "relu", 0, "float32") is None
    with pytest.raises(type(error)):
        ops.seconds(ops.OURS, "relu", 0, "float32")


def test_the_sizes_are_in_order_and_names_are_of_ops() -> None:
    for twin in TWINS:
        tiny, typical, large = (sum(int(np.prod(leaf.shape)) for leaf in twin.leaves(i)) for i in range(len(SIZES)))
        assert tiny < 1000 <= typical < large, twin.name
        assert sum(t.name == twin.name for t in TWINS) == 1


def test_ratios_means_and_rows_that_are_far_behind() -> None:
    rows = [
        Row("a", "tiny", "float32", {OURS: 2e-6, "torch": 1e-6, "autograd": 8e-6}),
        Row("b", "tiny", "float32", {OURS: 8e-6, "torch": 1e-6, "autograd": None}),
        Row("b", "tiny", "float64", {OURS: 1e-6, "torch": 4e-6, "autograd": None}),
    ]
    assert ops.summary(rows, ("torch", "autograd")) == [
        ("tiny", "float32", "4.00", "1/2", "0.25", "0/1"),
        ("tiny", "float64", "0.25", "0/1", "", "0/0"),
        ("tiny", "both", "1.59", "1/3", "0.25", "0/1"),
    ]
    assert ops.table(rows[1:2], ("torch", "autograd")) == [("b", "tiny", "float32", "8", "1", "", "8", "")]


def test_a_run_prints_its_table_and_writes_it_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["relu", "--sizes", "tiny", "--dtypes", "float32", "--peers", "autograd", "--turns", "1"]
    assert ops.main([*chosen, "--reports", str(tmp_path)]) == 0
    assert "ours / autograd" in capsys.readouterr().out
    assert not (tmp_path / "speed.md").exists()
    assert ops.main([*chosen, "--reports", str(tmp_path), "--write"]) == 0
    assert "| relu | tiny   | float32 |" in (tmp_path / "speed.md").read_text()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(PEERS, "torch", (PEERS["torch"][0], "a_module_that_is_nowhere"))
    assert ops.main(["relu", "--sizes", "tiny", "--dtypes", "float32", "--peers", "torch", "--turns", "1"]) == 0
    assert "not installed, and left out: torch" in capsys.readouterr().out


@pytest.mark.parametrize(("given", "said"), [(["no_such_op"], "no twin is named no_such_op"), (["--turns", "0"], "at least 1")])
def test_bad_arguments(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ops.main(given)
    assert said in capsys.readouterr().err
