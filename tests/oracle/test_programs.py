"""Compiled references on disk: the same program after another process has compiled it, and never one of something else."""

from __future__ import annotations

import functools
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from oracle import autodiff, programs
from oracle.running.selection import catalogued
from oracle.spec import Spec
from tests.oracle.planted import normal

X = normal(3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(programs.FOLDER, str(tmp_path / "kept"))
    return tmp_path / "kept"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def softmax(x: Any = X, **options: Any) -> autodiff.Pullback:
    """As another process would ask: it remembers nothing."""
    autodiff.forget()
    return autodiff.vjp(jax.nn.softmax, (x,), np.ones(np.shape(x), x.dtype), options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["evaluated", "compiled"])
def test_a_program_is_evaluated_or_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    first = softmax(X.astype(dtype), axis=0)
    assert len(files(folder)) == 1

    def never(*given: Any) -> Any:
        raise AssertionError("compiled again")

    monkeypatch.setattr(autodiff, "compiled_quickly", never)
    monkeypatch.setattr(autodiff, "evaluate", never)
    second = softmax(X.astype(dtype), axis=0)
    assert np.array_equal(first.value, second.value)
    assert np.array_equal(first.cotangents[0], second.cotangents[0])
    for other in ({"axis": 1}, {"axis": 0, "x": X[:2]}, {"axis": 0, "x": X.astype(np.float16)}):
        with pytest.raises(AssertionError, match="compiled again"):
            softmax(**other)


def test_a_program_that_numpy_cannot_evaluate_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(jaxpr: Any, arguments: Any) -> Any:
        raise autodiff.Unknown("random_bits")

    monkeypatch.setattr(autodiff, "evaluate", unknown)
    first = softmax(axis=0)
    assert len(files(folder)) == 2  # the program, and that it has to be compiled

    def never(*given: Any) -> Any:
        raise AssertionError("compiled again")

    monkeypatch.setattr(autodiff, "compiled_quickly", never)
    monkeypatch.setattr(autodiff, "evaluate", never)
    assert np.array_equal(softmax(axis=0).value, first.value)


def test_values_belong_to_their_arguments(folder: Path) -> None:
    first = softmax(axis=0)
    assert not np.array_equal(softmax(X + 2**-52 * np.eye(3, 4), axis=0).value, first.value)
    assert np.array_equal(softmax(axis=0).value, first.value)


def steps() -> Any:
    """One step of an optimizer, as another process would ask for it."""
    autodiff.forget()
    optimizer, params = optax.adam(0.1), {"w": X}
    begin, step = autodiff.optimizer_steps(optimizer.init, optimizer.update)
    return step(params, begin(params), params)[0]["w"]


def test_the_steps_of_an_optimizer_are_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = steps()
    assert len(files(folder)) == 2  # of its beginning and of a step

    def never(lowered: Any) -> Any:
        raise AssertionError("compiled again")

    monkeypatch.setattr(autodiff, "compiled_quickly", never)
    assert np.array_equal(steps(), first)


def test_the_name_does_not_depend_on_what_the_process_has_done(folder: Path) -> None:
    init = optax.adam(0.1).init
    before = programs.name_of(init, X)
    init({"w": X})  # now Python holds further references to its constants
    assert before is not None
    assert programs.name_of(init, X) == before


def test_the_values_of_a_schedule_are_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.arange(4.0)
    first = autodiff.schedule_values(optax.exponential_decay(0.1, 2, 0.5), counts)
    assert first.tolist() == pytest.approx([0.1, 0.1 * 0.5**0.5, 0.05, 0.05 * 0.5**0.5], rel=1e-14)
    assert len(files(folder)) == 1

    def never(function: Any) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(jax, "vmap", never)
    assert np.array_equal(autodiff.schedule_values(optax.exponential_decay(0.1, 2, 0.5), counts), first)
    for schedule, asked in ((optax.exponential_decay(0.1, 2, 0.6), counts), (optax.exponential_decay(0.1, 2, 0.5), counts + 1)):
        with pytest.raises(AssertionError, match="computed again"):
            autodiff.schedule_values(schedule, asked)


def test_functions_that_jax_has_given_rules_or_that_are_its_ufuncs_have_names() -> None:
    functions = (jax.nn.relu, jax.nn.relu6, jax.numpy.add, jax.numpy.maximum)
    names = [programs.name_of(function, {}) for function in functions]
    assert None not in names
    assert len(set(names)) == len(names)


def test_a_damaged_file_is_compiled_again(folder: Path) -> None:
    right = softmax()
    (path,) = files(folder)
    for damaged in (b"", b"not compressed", path.read_bytes()[:-20]):
        path.write_bytes(damaged)
        assert np.array_equal(softmax().value, right.value)
        assert path.read_bytes() != damaged


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(programs.FOLDER, str(tmp_path / "file" / "below"))
    assert softmax().value.shape == X.shape


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(programs.FOLDER)
    assert programs.name_of(jax.nn.softmax, {}) is None


def test_a_function_of_the_user_is_never_kept(folder: Path) -> None:
    def mine(x: Any) -> Any:
        return 2 * x

    autodiff.vjp(mine, (X,), np.ones(X.shape), {})
    assert files(folder) == []
    assert programs.name_of(mine, {}) is None
    assert programs.name_of(partial(mine, 2), {}) is None


class Scaled:
    """A function of the user's that looks like one of JAX's."""

    def __init__(self, fun: Any, factor: float) -> None:
        self.fun, self.factor = fun, factor
        self.__wrapped__ = fun

    def __call__(self, x: Any) -> Any:
        return self.factor * self.fun(x)


@functools.wraps(jax.numpy.tanh)
def disguised(x: Any) -> Any:
    return 3.0 * jax.numpy.tanh(x)


def with_rules() -> Any:
    ours = jax.custom_vjp(jax.numpy.tanh)
    ours.defvjp(lambda x: (jax.numpy.tanh(x), x), lambda x, dy: (7.0 * dy,))
    return ours


def rows(x: Any) -> Any:
    return 2.0 * x


@pytest.mark.parametrize(
    "function",
    [
        Scaled(jax.numpy.tanh, 2.0),
        disguised,
        with_rules(),
        jax.jit(rows),
        partial(jax.lax.map, rows),
        partial(jax.numpy.apply_along_axis, rows, 1),
    ],
    ids=["an object", "in disguise", "with rules of its own", "jitted", "mapped", "along an axis"],
)
def test_a_function_of_the_user_in_any_guise_is_never_kept(function: Any) -> None:
    assert programs.name_of(function, {}) is None
    assert programs.name_of(jax.nn.softmax, {"where": function}) is None


def test_functions_that_differ_in_what_they_enclose_have_different_names() -> None:
    references = {id(spec.reference): spec.reference for spec in all_specs() if spec.reference is not None}
    names = [name for reference in references.values() if (name := programs.name_of(reference, {})) is not None]
    assert len(names) > 0.9 * len(references)
    assert len(set(names)) == len(names)


def all_specs() -> list[Spec]:
    return [record for record in catalogued([], None) if isinstance(record, Spec)]


def test_the_sources_and_the_processor_are_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = programs.name_of(jax.nn.softmax, {})
    monkeypatch.setattr(programs, "_environment", lambda: b"another version of the catalogue")
    assert programs.name_of(jax.nn.softmax, {}) != before
