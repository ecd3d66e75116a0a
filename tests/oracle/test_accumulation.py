"""Diagnoses of contributions that are lost where an entry is used several times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle import Verdict
from tests.oracle.planted import Array, found, normal

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def interpolation(bwd: Callable[[Array, Array, Array, Array], None]) -> Any:
    """Between the entries of y, at fixed places; `bwd(dy, cell, weight, dz)` adds to a gradient of zeros."""

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
def test_two_additions_at_repeated_indices(witness: str, places: Array) -> None:
    reference = by_jax if witness == "JAX" else None
    verdict, diagnosis = found(interpolation(buffered), normal(6), options={"at": places}, reference=reference)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("contributions lost: y lacks some of what the outputs add to its entries (y[0] lacks ")
    assert diagnosis.endswith("the others are counted: += at repeated indices, which keeps the last one?")
    assert found(interpolation(accumulated), normal(6), options={"at": places}, reference=reference)[0] is Verdict.PASS


@alone_and_with_jax
def test_indices_that_are_not_repeated_lose_nothing(witness: str) -> None:
    reference = by_jax if witness == "JAX" else None
    options = {"at": np.array([0.3, 1.6, 2.2, 4.7])}
    assert found(interpolation(buffered), normal(6), options=options, reference=reference)[0] is Verdict.PASS


@alone_and_with_jax
def test_a_lost_part_of_a_contribution_is_no_lost_contribution(witness: str) -> None:
    def weighted(dy: Array, cell: Array, weight: Array, dz: Array) -> None:
        np.add.at(dy, cell, dz * (1 - weight) * np.linspace(0.7, 1, dz.size))
        np.add.at(dy, cell + 1, dz * weight * np.linspace(1, 0.6, dz.size))

    reference = by_jax if witness == "JAX" else None
    _, diagnosis = found(interpolation(weighted), normal(6), options={"at": PLACES}, reference=reference)
    assert "lost" not in diagnosis


def window_sums(*taps: int) -> Any:
    """Of an entry, the exponential of the next, and the one after; its gradient has some of the three."""

    def sums_fwd(x: Array) -> Any:
        return x[:-2] + np.exp(x[1:-1]) + x[2:], x.copy()

    def sums_bwd(x: Array, dy: Array) -> Any:
        dx = np.zeros_like(x)
        for tap in taps:
            dx[tap : tap + dy.size] += (1, np.exp(x[1:-1]), 1)[tap] * dy
        return (dx,)

    return sums_fwd, sums_bwd


@alone_and_with_jax
def test_a_part_of_a_window_that_is_left_out(witness: str) -> None:
    reference = (lambda x: x[:-2] + jnp.exp(x[1:-1]) + x[2:]) if witness == "JAX" else None
    assert found(window_sums(0, 1, 2), normal(9), reference=reference)[0] is Verdict.PASS
    diagnosis = found(window_sums(0, 2), normal(9), reference=reference)[1]
    assert diagnosis.startswith("contributions lost: x lacks some of what the outputs add to its entries (x[1] lacks 1 of 2, ")
    assert diagnosis.endswith("each time that of the output -1 places further: a part of a window left out?")
    # Where an entry lacks all that it has, no use of it was repeated.
    assert "contributions lost: x lacks" not in found(window_sums(0, 1), normal(9), reference=reference)[1]
