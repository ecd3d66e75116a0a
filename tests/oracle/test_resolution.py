"""What a pass could have missed: an error of twice the stated size is never passed, in an entry, a row or all entries."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.float32_inside import cases
from oracle.arrays import random_cotangent
from oracle.row import Row
from oracle.spec import Flag
from oracle.subject import Subject
from oracle.verification import verify
from tests.oracle.planted import Array, Pair, elementwise, normal

pytestmark = pytest.mark.usefixtures("undiagnosed")

PLANTED = 2.0
"""Times the stated resolution: from there on an error is always noticed."""
CASES = 10
MOST_ENTRIES = 12
"""Of the gradient of which single entries are tried."""
FEWER = 128
MANY, VERY_MANY = (13, 20), (30, 100)
"""Shapes of which a sample of `FEWER` elements is differentiated; and of which evaluations are counted for each argument."""
LARGE = 2500
"""In place of the 2^16 elements from which on evaluations are counted."""


def multiplied(pair: Pair, number: int, factors: Array) -> Pair:
    """The pair, whose gradient of argument `number` is multiplied entry by entry."""

    def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
        gradients = list(pair[1](residuals, dy))
        gradients[number] = gradients[number] * factors
        return tuple(gradients)

    return pair[0], bwd


def row_of(pair: Pair, arguments: tuple[Any, ...], **options: Any) -> Row | None:
    """The row of the first argument, if everything passes."""
    result = verify(pair, *arguments, views=True, aliases=True, **options)
    name = Subject.of(pair, {}).names(len(arguments))[0]
    return next((row for row in result.rows if row.parameter == name), None) if result.passed else None


def sample() -> list[tuple[str, Pair, tuple[Any, ...], frozenset[Flag]]]:
    """Cases of the catalogue whose first argument is one array, drawn at random."""
    generator = np.random.default_rng(0)
    found = []
    for k in generator.permutation(len(cases())):
        spec, case = cases()[k]
        arguments, options = case.draw(spec.name, 0)
        usable = isinstance(arguments[0], np.ndarray) and 1 < arguments[0].size <= MOST_ENTRIES
        if not usable or case.flags & {Flag.NOT_THE_DERIVATIVE, Flag.ZERO_GRADIENT}:
            continue
        subject = Subject.of(spec.op, options)
        found.append((f"{spec.name} / {case.name}", (subject.fwd, subject.bwd), tuple(arguments), case.flags))
        if len(found) == CASES:
            break
    return found


@pytest.mark.parametrize(("name", "pair", "arguments", "flags"), sample())
def test_twice_what_is_stated_is_never_passed(name: str, pair: Pair, arguments: Any, flags: frozenset[Flag]) -> None:
    row = row_of(pair, arguments, flags=flags)
    assert row is not None, name
    value, residuals = pair[0](*arguments)
    gradient = np.asarray(pair[1](residuals, random_cotangent(value))[0])
    largest = np.abs(gradient).max()
    if row.resolution is not None:
        generator = np.random.default_rng(1)
        nonzero = np.argwhere(gradient)
        for place in map(tuple, generator.permutation(nonzero)[:2]):
            factors = np.ones(gradient.shape)
            factors[place] += PLANTED * row.resolution * largest / abs(gradient[place])
            assert row_of(multiplied(pair, 0, factors), arguments, flags=flags) is None, (name, place, row.resolution)
    if row.resolution_of_row is not None and gradient.all():
        factors = np.ones(gradient.shape)
        first = (0,) * (gradient.ndim - 1)
        factors[first] += PLANTED * row.resolution_of_row * largest / np.abs(gradient[first])
        assert row_of(multiplied(pair, 0, factors), arguments, flags=flags) is None, (name, row.resolution_of_row)
    if row.resolution_of_factor is not None:
        factors = np.full(gradient.shape, 1 + PLANTED * row.resolution_of_factor)
        assert row_of(multiplied(pair, 0, factors), arguments, flags=flags) is None, (name, row.resolution_of_factor)


def test_what_is_stated_is_near_what_is_noticed() -> None:
    pair, x = elementwise(np.tanh, lambda x: 1 - np.tanh(x) ** 2), normal(4, 3)
    row = row_of(pair, (x,))
    assert row is not None
    assert row.resolution is not None
    tenth = np.ones(x.shape)
    tenth[1, 1] += row.resolution / 10
    assert row_of(multiplied(pair, 0, tenth), (x,)) is not None
    assert row.resolution < 1e-11


@pytest.mark.parametrize(("shape", "referenced"), [(MANY, False), (MANY, True), (VERY_MANY, False)])
def test_large_arguments_state_what_they_notice_too(
    shape: tuple[int, int], referenced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oracle.verification.LARGE", LARGE)
    pair, x = elementwise(np.tanh, lambda x: 1 - np.tanh(x) ** 2), normal(*shape)
    options: dict[str, Any] = {"reference": jnp.tanh} if referenced else {}
    options |= {"limit": FEWER} if shape == MANY else {}
    row = row_of(pair, (x,), **options)
    assert row is not None
    gradient = np.asarray(pair[1](x, random_cotangent(x))[0])
    largest = np.abs(gradient).max()
    stated = [("entry", row.resolution), ("row", row.resolution_of_row), ("factor", row.resolution_of_factor)]
    for kind, resolution in stated:
        assert resolution is not None, kind
        factors = np.ones(x.shape)
        if kind == "factor":
            factors += PLANTED * resolution
        else:
            place = (7, 13) if kind == "entry" else (7,)
            factors[place] += PLANTED * resolution * largest / np.abs(gradient[place])
        assert row_of(multiplied(pair, 0, factors), (x,), **options) is None, (kind, resolution)
