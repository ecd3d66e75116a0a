"""Diagnoses of contributions that are lost or overwritten if an entry is used several times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracle import Verdict
from tests.oracle.planted import Array, Pair, causes, decaying_sums, found, normal

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def interpolation(bwd: Callable[[Array, Array, Array, Array], None]) -> Any:
    """Linear interpolation of y at given places; `bwd(dy, cell, weight, dz)` adds to a gradient of zeros."""

    def interpolate_fwd(y: Array, *, at: Array) -> Any:
        cell = np.floor(at).astype(int)
        return y[cell] * (1 - (at - cell)) + y[cell + 1] * (at - cell), (y.shape, cell, at - cell)

    def interpolate_bwd(r: Any, dz: Array) -> Any:
        shape, cell, weight = r
        dy = np.zeros(shape)
        bwd(dy, cell, weight, dz)
        return (dy,)

    return interpolate_fwd, interpolate_bwd


def by_jax(y: Any, *, at: Any) -> Any:
    cell = jnp.floor(at).astype(int)
    return y[cell] * (1 - (at - cell)) + y[cell + 1] * (at - cell)


def buffered(dy: Array, cell: Array, weight: Array, dz: Array) -> None:
    dy[cell] += dz * (1 - weight)
    dy[cell + 1] += dz * weight


def accumulated(dy: Array, cell: Array, weight: Array, dz: Array) -> None:
    np.add.at(dy, cell, dz * (1 - weight))
    np.add.at(dy, cell + 1, dz * weight)


PLACES = np.array([0.3, 0.6, 1.2, 1.7, 3.3, 4.1, 4.9])


@alone_and_with_jax
@pytest.mark.parametrize("places", [PLACES, np.random.default_rng(3).uniform(0, 5, 60)], ids=["few", "many"])
def test_contributions_lost_at_repeated_indices_are_named(witness: str, places: Array) -> None:
    reference = by_jax if witness == "JAX" else None
    verdict, diagnosis = found(interpolation(buffered), normal(6), options={"at": places}, reference=reference)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("contributions lost: entries of y lack some of their contributions (y[0] lacks ")
    assert diagnosis.endswith("and get the others (+= at repeated indices, which keeps only the last?)")
    assert found(interpolation(accumulated), normal(6), options={"at": places}, reference=reference)[0] is Verdict.PASS


@alone_and_with_jax
def test_without_repeated_indices_nothing_is_lost(witness: str) -> None:
    reference = by_jax if witness == "JAX" else None
    options = {"at": np.array([0.3, 1.6, 2.2, 4.7])}
    assert found(interpolation(buffered), normal(6), options=options, reference=reference)[0] is Verdict.PASS


@alone_and_with_jax
def test_a_part_of_a_contribution_is_not_called_a_lost_contribution(witness: str) -> None:
    def weighted(dy: Array, cell: Array, weight: Array, dz: Array) -> None:
        np.add.at(dy, cell, dz * (1 - weight) * np.linspace(0.7, 1, dz.size))
        np.add.at(dy, cell + 1, dz * weight * np.linspace(1, 0.6, dz.size))

    reference = by_jax if witness == "JAX" else None
    _, diagnosis = found(interpolation(weighted), normal(6), options={"at": PLACES}, reference=reference)
    assert "lost" not in diagnosis


def window_sums(*taps: int) -> Any:
    """x[i] + exp(x[i + 1]) + x[i + 2]; the backward pass has only the terms in `taps`."""

    def sums_fwd(x: Array) -> Any:
        x = np.asarray(x)  # so that `paths` does not see what is made of it
        return x[:-2] + np.exp(x[1:-1]) + x[2:], x.copy()

    def sums_bwd(x: Array, dy: Array) -> Any:
        dx = np.zeros_like(x)
        for tap in taps:
            dx[tap : tap + dy.size] += (1, np.exp(x[1:-1]), 1)[tap] * dy
        return (dx,)

    return sums_fwd, sums_bwd


@alone_and_with_jax
def test_a_part_of_a_window_that_is_left_out_is_named(witness: str) -> None:
    reference = (lambda x: x[:-2] + jnp.exp(x[1:-1]) + x[2:]) if witness == "JAX" else None
    assert found(window_sums(0, 1, 2), normal(9), reference=reference)[0] is Verdict.PASS
    diagnosis = found(window_sums(0, 2), normal(9), reference=reference)[1]
    assert diagnosis.startswith("contributions lost: entries of x lack some of their contributions (x[1] lacks 1 of 2, ")
    assert diagnosis.endswith("always the one from the output at offset -1 (is a part of a window left out?)")
    # If an entry lacks all of its contributions, repeated indices are not the cause.
    assert "contributions lost: " not in found(window_sums(0, 1), normal(9), reference=reference)[1]


# ------------------------------------------------------------------------------------------ contributions that are overwritten


def gather(wrong: Callable[[Array, Array, Array], Array]) -> Pair:
    def gather_fwd(table: Array, *, ids: Array) -> Any:
        return table[ids], (table.copy(), ids.copy())

    def gather_bwd(r: Any, dy: Array) -> Any:
        dtable = np.zeros_like(r[0])
        return (wrong(dtable, r[1], dy),)

    return gather_fwd, gather_bwd


def assigned(dtable: Array, ids: Array, dy: Array) -> Array:
    dtable[ids] = dy
    return dtable


def assigned_first(dtable: Array, ids: Array, dy: Array) -> Array:
    dtable[ids[::-1]] = dy[::-1]
    return dtable


def averaged(dtable: Array, ids: Array, dy: Array) -> Array:
    np.add.at(dtable, ids, dy)
    return dtable / np.maximum(np.bincount(ids.ravel(), minlength=len(dtable)), 1)[:, None]


@alone_and_with_jax
@pytest.mark.parametrize(
    ("wrong", "what"),
    [(assigned, "only the last of their"), (assigned_first, "only the first of their"), (averaged, "the mean of their")],
    ids=["last", "first", "mean"],
)
def test_overwritten_contributions_are_named(witness: str, wrong: Callable[..., Array], what: str) -> None:
    reference = None if witness == "alone" else lambda table, *, ids: table[ids]
    options = {"ids": np.array([0, 2, 1, 2, 4, 2, 4])}
    diagnosis = causes(gather(wrong), normal(6, 2), reference=reference, options=options)["table"]
    assert diagnosis.startswith(
        "overwritten instead of accumulated: entries that are used several times (table[2, 0], table[2, 1], "
    )
    assert what in diagnosis


@alone_and_with_jax
def test_indices_without_repetition_are_right(witness: str) -> None:
    reference = None if witness == "alone" else lambda table, *, ids: table[ids]
    assert causes(gather(assigned), normal(6, 2), reference=reference, options={"ids": np.array([0, 2, 1])}) == {}


def windows(assign: bool) -> Pair:
    """The largest of each three neighbours."""

    def windows_fwd(x: Array) -> Any:
        view = np.lib.stride_tricks.sliding_window_view(x, 3, axis=1)
        return view.max(axis=-1), (x.shape, view.argmax(axis=-1) + np.arange(view.shape[1]))

    def windows_bwd(r: Any, dy: Array) -> Any:
        dx = np.zeros(r[0])
        if assign:
            np.put_along_axis(dx, r[1], dy, axis=1)
        else:
            for n, k in np.ndindex(*dy.shape):
                dx[n, r[1][n, k]] += dy[n, k]
        return (dx,)

    return windows_fwd, windows_bwd


@alone_and_with_jax
def test_overwritten_windows_are_named(witness: str) -> None:
    def reference(x: Any) -> Any:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3), (1, 1), "VALID")

    assert causes(windows(assign=False), normal(3, 9), reference=None if witness == "alone" else reference) == {}
    found = causes(windows(assign=True), normal(3, 9), reference=None if witness == "alone" else reference)
    assert found["x"].startswith("overwritten instead of accumulated: ")


# ------------------------------------------------------------------------------------------------- scans in blocks


@pytest.mark.parametrize("n", [8, 11, 12])
def test_a_carry_that_is_lost_between_blocks_is_named_with_their_ends(n: int) -> None:
    (plain_fwd, right), (_, wrong) = decaying_sums(n), decaying_sums(4)

    def sums_fwd(x: Array) -> Any:
        return plain_fwd(np.asarray(x))  # so that `paths` does not see what is made of it

    assert found((sums_fwd, right), normal(n, 3))[0] is Verdict.PASS
    said = found((sums_fwd, wrong), normal(n, 3))[1]
    assert said.startswith(f"contributions lost: entries of x lack some of their contributions (x[0, 0] lacks {n - 4} of {n}, ")
    ends = "3" if n == 8 else "3, 7"
    assert said.endswith(f": those from outputs after index {ends} of axis 0 (is the carry between blocks lost?)")
