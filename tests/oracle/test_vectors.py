"""Gradients from a file: right ones pass; wrong ones get the same verdicts and causes as a wrong backward pass."""

from __future__ import annotations

import ast
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optree
import pytest

import purenet as pn
from oracle import Verdict, catalogue, vectors
from tests.oracle.planted import cube, dense, normal, row, signed

PARAMS = {"w": signed(4, 3), "b": signed(3)}
X, DY = normal(5, 4), normal(5, 3)
AFFINE = catalogue.find("affine").reference


def port(op: Any, primals: tuple[Any, ...], dy: Any, **options: Any) -> dict[str, Any]:
    """What a right port returns."""
    value, residuals = op.fwd(*primals, **options)
    return {"value": value, "dy": dy, "cotangents": op.bwd(residuals, dy)}


def changed(saved: dict[str, Any], change: Any) -> dict[str, Any]:
    return {**saved, "cotangents": change(*saved["cotangents"])}


# ------------------------------------------------------------------------------------------------ comparing


@pytest.mark.parametrize("reference", [None, AFFINE], ids=["alone", "JAX"])
@pytest.mark.parametrize("dy", [DY, np.ones((5, 3)), np.eye(5, 3), 1e-200 * DY], ids=["random", "ones", "zeros", "tiny"])
def test_right_gradients_pass(dy: Any, reference: Any) -> None:
    result = vectors.compare(pn.affine, PARAMS, X, **port(pn.affine, (PARAMS, X), dy), reference=reference)
    assert {(r.parameter, r.verdict) for r in result.rows} == {(p, Verdict.PASS) for p in ("params.w", "params.b", "x")}, result


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_are_judged_as_such(dtype: Any) -> None:
    params, x, dy = optree.tree_map(lambda a: a.astype(dtype), (PARAMS, X, DY))
    saved = port(pn.affine, (params, x), dy)
    assert vectors.compare(pn.affine, params, x, **saved, reference=AFFINE).passed
    wrong = changed(saved, lambda dparams, dx: (dparams, np.asarray(dx * dtype(2))))
    only = row(vectors.compare(pn.affine, params, x, **wrong, reference=AFFINE), "x")
    assert only.diagnosis.startswith("constant factor: x is ")
    assert only.fitted_scale == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "conv2d", "lstm", "batch_norm", "dot_product_attention", "einsum"])
def test_whatever_is_in_the_catalogue(name: str) -> None:
    spec = catalogue.find(name)
    case = next(case for case in spec.cases if not case.flags)
    primals, options = case.draw(name)
    value, _ = spec.op.fwd(*primals, **options)
    dy = optree.tree_map(lambda a: normal(*np.shape(a), seed=3), value)
    saved = port(spec.op, primals, dy, **options)
    result = vectors.compare(spec.op, *primals, **saved, options=options, reference=spec.reference)
    assert result.passed, result
    leaves, structure = optree.tree_flatten(saved["cotangents"])
    saved["cotangents"] = structure.unflatten([*leaves[:-1], -leaves[-1]])
    result = vectors.compare(spec.op, *primals, **saved, options=options, reference=spec.reference)
    assert "sign" in result.rows[0].diagnosis, result


ONE_ENTRY = 1 + 1e-9 * (np.arange(20) == 7).reshape(5, 4)

CAUSES: dict[str, tuple[Any, str, str]] = {
    "factor": (lambda dp, dx: (dp, dx / 5), "x", "constant factor: x is 0.2 times the true gradient everywhere"),
    "overwritten": (lambda dp, dx: ({**dp, "b": DY[-1]}, dx), "params.b", "only the last sample of 5 contributes"),
    "averaged": (lambda dp, dx: ({**dp, "w": dp["w"] / 5}, dx), "params.w", "divided by the batch (5) once too often"),
    "one entry": (lambda dp, dx: (dp, dx * ONE_ENTRY), "x", "a single entry is wrong: x[1, 3]"),
    "shape": (lambda dp, dx: ({**dp, "w": dp["w"].T.copy()}, dx), "params.w", "transposed"),
    "structure": (lambda dp, dx: ({"w": dp["w"]}, dx), "params", "the structure"),
    "dtype": (lambda dp, dx: (dp, dx.astype(np.float32)), "x", "the gradient is float32, the argument float64"),
    "NaN": (lambda dp, dx: (dp, np.where(dx == dx.max(), np.nan, dx)), "x", "NaN in 1 of 20 entries"),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_wrong_gradients_get_their_causes(cause: str) -> None:
    change, parameter, message = CAUSES[cause]
    saved = changed(port(pn.affine, (PARAMS, X), DY), change)
    result = vectors.compare(pn.affine, PARAMS, X, **saved, reference=AFFINE)
    accused = [r for r in result.rows if not r.passed]
    assert {r.parameter for r in accused} == {parameter}, result
    assert any(message in r.diagnosis for r in accused), result


def test_the_numbers_shown_are_those_of_the_port() -> None:
    saved = changed(port(pn.affine, (PARAMS, X), DY), lambda dp, dx: (dp, 2 * dx))
    only = row(vectors.compare(pn.affine, PARAMS, X, **saved), "x")
    assert only.analytic == saved["cotangents"][1][only.worst_index]
    assert only.numerical == pytest.approx(only.analytic / 2, rel=1e-9)


def test_another_value_is_said_first() -> None:
    saved = port(pn.affine, (PARAMS, X), DY)
    saved["value"] = saved["value"] + 1e-9 * np.eye(5, 3)
    result = vectors.compare(pn.affine, PARAMS, X, **saved)
    accused = row(result, "the value")
    assert (accused.verdict, result.passed) == (Verdict.FAIL, False)
    assert accused.diagnosis.startswith("another function: at entry ")
    del saved["value"]
    assert vectors.compare(pn.affine, PARAMS, X, **saved).passed


@pytest.mark.usefixtures("undiagnosed")
def test_pairs_and_rules_of_other_libraries() -> None:
    x, dy = signed(2, 2), normal(2, 2)
    right = 3 * x**2 * dy
    by_jax = jax.custom_vjp(lambda x: jnp.power(x, 3))
    by_jax.defvjp(lambda x: (x**3, x), lambda x, dy: (3 * x**2 * dy,))
    for op in (cube(), by_jax, pn.Op(cube()[0])):
        if isinstance(op, pn.Op):
            op.pullback(cube()[1])
        assert vectors.compare(op, x, dy=dy, cotangents=(right,), value=x**3).passed
        wrong = row(vectors.compare(op, x, dy=dy, cotangents=(right / 3,)))
        assert (wrong.parameter, wrong.verdict) == ("x", Verdict.FAIL)


def test_options_of_a_bound_op() -> None:
    x, dy = normal(3, 4), normal(3, 4)
    saved = port(pn.softmax, (x,), dy, axis=0)
    assert vectors.compare(pn.softmax.bind(axis=0), x, **saved).passed
    assert vectors.compare(pn.softmax, x, **saved, options={"axis": 0}).passed
    assert not vectors.compare(pn.softmax, x, **saved).passed


def test_where_rounding_is_larger_the_port_may_round_so_too() -> None:
    """2 (p - t) for p near t has no more digits than p and t."""
    t = normal(6)
    p = t * (1 + 1e-4 * normal(6, seed=5))

    def fwd(p: Any, t: Any) -> Any:
        return (p - t) ** 2, (p, t)

    def bwd(residuals: Any, dy: Any) -> Any:
        p, t = residuals
        return 2 * (p - t) * dy, -2 * (p - t) * dy

    dy = normal(6, seed=6)
    rounded = 2 * (p * dy - t * dy)  # as right, rounded elsewhere
    assert not np.allclose(rounded, bwd((p, t), dy)[0], rtol=1e-13, atol=0)
    for reference in (None, lambda p, t: (p - t) ** 2):
        assert vectors.compare((fwd, bwd), p, t, dy=dy, cotangents=(rounded, -rounded), reference=reference).passed
    worse = rounded * (1 + 1e-9)
    assert not vectors.compare((fwd, bwd), p, t, dy=dy, cotangents=(worse, -worse)).passed


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"dy": DY.T}, ValueError, r"dy of dense must be floats of shape \(5, 3\), got float64 of shape \(3, 5\)"),
        ({"dy": np.ones((5, 3), int)}, ValueError, r"dy of dense must be floats of shape \(5, 3\), got int64"),
        ({"dy": np.zeros((5, 3))}, ValueError, "dy of dense must have finite entries, at least one of them not zero"),
        ({"dy": np.full((5, 3), np.inf)}, ValueError, "dy of dense must have finite entries"),
        ({"dy": (DY, DY)}, ValueError, "dy of dense must have the structure"),
        ({"value": DY[:2]}, ValueError, r"the value of dense must be floats of shape \(5, 3\)"),
        ({"cotangents": [PARAMS["w"], X]}, TypeError, "cotangents must be a tuple with one for each argument, got list"),
    ],
)
def test_what_cannot_be_compared(changes: dict[str, Any], exception: type[Exception], message: str) -> None:
    given = {"dy": DY, "cotangents": (PARAMS["w"], X), **changes}
    with pytest.raises(exception, match=f"compare: {message}"):
        vectors.compare(dense(), PARAMS["w"], X, **given)


def test_another_number_of_cotangents_is_a_row() -> None:
    result = vectors.compare(dense(), PARAMS["w"], X, dy=DY, cotangents=(PARAMS["w"],))
    assert row(result).diagnosis == "the backward pass returned a tuple of 1, expected a tuple of 2, one for each argument"


# ------------------------------------------------------------------------------------------------ files


def test_files_keep_trees_and_bits(tmp_path: Path) -> None:
    trees = {"params": {"cell": {"w": X.astype(np.float32)}, "b": np.float64(0.1)}, "x": X, "labels": np.arange(3)}
    path = tmp_path / "port.vectors"  # whatever its name
    vectors.write(path, **trees)
    found = vectors.read(path)
    assert optree.tree_structure(found) == optree.tree_structure(trees)
    for one, two in zip(optree.tree_leaves(found), optree.tree_leaves(trees), strict=True):
        assert (one.dtype, one.tobytes()) == (np.asarray(two).dtype, np.asarray(two).tobytes())


@pytest.mark.parametrize(
    ("tree", "exception", "message"),
    [
        ([X], TypeError, "params must be an array or a dict of arrays, got list"),
        ({"w": None}, TypeError, "params.w must be an array or a dict of arrays, got NoneType"),
        ({"a.b": X}, ValueError, "a name in params must be a string without dots, got 'a.b'"),
        ({1: X}, ValueError, "a name in params must be a string without dots, got 1"),
    ],
)
def test_what_is_not_written(tmp_path: Path, tree: Any, exception: type[Exception], message: str) -> None:
    with pytest.raises(exception, match=f"write: {message}"):
        vectors.write(tmp_path / "port.npz", params=tree)
    assert not list(tmp_path.iterdir())


class Bomb:
    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was executed",)


def bomb(path: Path) -> None:
    np.savez(path, x=np.array([Bomb()], dtype=object))


def lone_bomb(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


def not_an_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.txt", "1 2 3")


def strings(path: Path) -> None:
    np.savez(path, x=np.array(["a", "b"]))


def cut_off(path: Path) -> None:
    np.savez(path, x=X)
    path.write_bytes(path.read_bytes()[:200])


def array_and_folder(path: Path) -> None:
    np.savez(path, **{"params": X, "params.w": X})


def promising(path: Path, shape: str, data: bytes = bytes(8)) -> None:
    """A file with an array whose header promises this shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data)


@pytest.mark.parametrize("shape", ["(1,)", "()", "(1, 1)"])
def test_what_a_header_promises_is_read_if_it_is_there(tmp_path: Path, shape: str) -> None:
    promising(tmp_path / "port.npz", shape)
    assert vectors.read(tmp_path / "port.npz")["x"].tolist() == np.zeros(ast.literal_eval(shape)).tolist()


@pytest.mark.parametrize("shape", ["(2,)", f"({10**15},)", f"({2**40}, {2**40})", "(-1,)", "(0,)"])
def test_no_memory_is_taken_for_what_a_header_promises(tmp_path: Path, shape: str) -> None:
    promising(tmp_path / "port.npz", shape)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"port\.npz must be an npz file of arrays of numbers: x "):
            vectors.read(tmp_path / "port.npz")
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bomb, "x is no array of numbers"),
        (lone_bomb, "not a zip file"),
        (one_array, "one array, not several"),
        (not_an_array, "x.txt is no array of numbers"),
        (strings, "x is no array of numbers"),
        (cut_off, ""),
        (lambda path: path.write_bytes(b""), ""),
        (array_and_folder, "params.w is in params, which is an array"),
    ],
)
def test_nothing_else_is_read(tmp_path: Path, spoil: Any, message: str) -> None:
    path = tmp_path / "port.npz"
    spoil(path)
    with pytest.raises(ValueError, match=rf"read: .*port.npz must be an npz file of arrays of numbers: .*{message}"):
        vectors.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        vectors.read(tmp_path / "nowhere.npz")
