"""The data of the figures: the worst cell of a map holds the worst entry; step curves and losses are as measured."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from oracle import catalogue
from oracle.report.details import SIDE
from oracle.row import Descent, Details, ErrorMap, StepCurve, Verdict
from oracle.trajectory import TrajectorySpec, run
from oracle.verification import verify
from purenet import optimizers
from tests.oracle.planted import Array, cube, dense, elementwise, normal, row, signed


def planted(place: tuple[int, ...], factor: float) -> Any:
    """A cube whose cotangent is wrong in one entry."""

    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[place] *= factor
        return dx

    return cube(wrong)


def details(op: Any, *primals: Any, parameter: str | None = None, **options: Any) -> Details:
    found = row(verify(op, *primals, **options), parameter).details
    assert found is not None
    return found


def error_map(op: Any, *primals: Any, **options: Any) -> ErrorMap:
    found = details(op, *primals, **options).error_map
    assert found is not None
    return found


def cell_of(m: ErrorMap, index: tuple[int, ...]) -> tuple[int, int]:
    """The cell that shows an entry, by the definition of a map."""
    places = [0, 0]
    for i, dims in enumerate((m.down, m.across)):
        for d in dims:
            places[i] = places[i] * m.shape[d] + index[d]
    return places[0] // m.cell[0], places[1] // m.cell[1]


# ---------------------------------------------------------------------------------------------- where the error is


@settings(max_examples=30)
@given(data=st.data(), shape=array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=5))
def test_the_worst_cell_is_that_of_the_worst_element(data: st.DataObject, shape: tuple[int, ...]) -> None:
    place = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    result = row(verify(planted(place, 1.5), signed(*shape)))
    assert result.details is not None
    assert result.details.error_map is not None
    found = result.details.error_map
    cells = np.abs(found.ratios)
    assert found.index == place
    assert found.worst == cell_of(found, place) == np.unravel_index(cells.argmax(), cells.shape)
    assert result.analytic is not None
    assert np.sign(found.ratios[found.worst[0]][found.worst[1]]) == np.sign(result.analytic)  # it is too large, in its sign
    assert (cells > 1).sum() == 1


@pytest.mark.parametrize(
    ("shape", "down", "across", "cells", "cell"),
    [
        ((7,), (), (0,), (1, 7), (1, 1)),
        ((300,), (), (0,), (1, 60), (1, 5)),
        ((5, 3), (0,), (1,), (5, 3), (1, 1)),
        ((2, 130), (0,), (1,), (2, 44), (1, 3)),
        ((2, 3, 4), (0, 1), (2,), (6, 4), (1, 1)),
        ((20, 5, 2), (1,), (2,), (5, 2), (1, 1)),
        ((2, 3, 5, 4), (0, 2), (1, 3), (10, 12), (1, 1)),
        ((2, 2, 3, 2, 2), (1, 3), (2, 4), (4, 6), (1, 1)),
    ],
)
def test_axes_become_tiles_as_far_as_they_fit(
    shape: tuple[int, ...], down: tuple[int, ...], across: tuple[int, ...], cells: tuple[int, int], cell: tuple[int, int]
) -> None:
    place = tuple(n - 1 for n in shape)
    found = error_map(planted(place, 2.0), signed(*shape))
    assert (found.down, found.across, np.shape(found.ratios), found.cell) == (down, across, cells, cell)
    assert max(cells) <= SIDE
    assert found.worst == cell_of(found, place)
    assert (np.abs(found.ratios) > 1).sum() == 1


def test_what_was_not_differentiated_is_not_known() -> None:
    w, x = normal(60, 40), normal(3, 60, seed=1)  # beyond the limit, so without a reference only a sample is known
    found = error_map(dense(dw=lambda x, dy: 2 * (x.T @ dy)), w, x, parameter="w")
    known = np.isfinite(found.ratios)
    assert 0 < known.sum() < known.size / 2
    assert found.worst == cell_of(found, found.index)


def test_what_is_not_finite_is_infinitely_wrong() -> None:
    found = error_map(planted((2,), np.nan), signed(4))
    assert [abs(ratio) > 1 for ratio in found.ratios[0]] == [False, False, True, False]
    assert found.ratios[0][2] == np.inf


def test_where_the_differences_alone_contradict_the_error_is_theirs() -> None:
    import jax

    @jax.custom_jvp
    def reference(x: Any) -> Any:
        return x**3

    reference.defjvp(lambda primals, tangents: (reference(*primals), 6 * primals[0] ** 2 * tangents[0]))
    found = row(verify(elementwise(lambda x: x**3, lambda x: 6 * x**2), signed(3), reference=reference))
    assert found.verdict is Verdict.FAIL
    assert found.details is not None
    assert found.details.error_map is not None
    assert all(abs(ratio) > 1 for ratio in found.details.error_map.ratios[0])


def test_a_pass_and_a_scalar_have_no_map() -> None:
    assert details(cube(), signed(3)).error_map is None
    assert details(cube(lambda dx: 2 * dx), np.float64(1.5)).error_map is None


# ---------------------------------------------------------------------------------------------- the steps


def test_the_differences_are_those_of_their_steps() -> None:
    x = np.float64(1.5)
    found = details(cube(lambda dx: 2 * dx), x).step_curve
    assert found is not None
    dy = found.analytic / (6 * x**2)
    steps = np.array(found.steps)
    np.testing.assert_allclose(steps[1:] / steps[:-1], 1 / 4)
    np.testing.assert_allclose(found.differences, dy * (3 * x**2 + steps**2), rtol=1e-9)  # ((x+h)^3 - (x-h)^3) / 2h
    np.testing.assert_allclose(found.extrapolated, dy * 3 * x**2, rtol=1e-11)
    assert 0 < found.uncertainty < 1e-10 * abs(found.extrapolated)
    assert found.autodiff is None
    assert found.scale == pytest.approx(abs(found.extrapolated))


def test_a_pass_has_its_steps_and_what_never_moves_has_none() -> None:
    assert details(cube(), signed(3), reference=lambda x: x**3).step_curve is not None
    flat = row(verify(elementwise(np.zeros_like, np.zeros_like), signed(3)))
    assert flat.verdict is Verdict.VACUOUS
    assert flat.details is not None
    assert flat.details.step_curve is None


# ---------------------------------------------------------------------------------------------- the losses


def trajectory(optimizer: Any = None) -> Descent:
    spec = next(spec for spec in catalogue.trajectories() if isinstance(spec, TrajectorySpec) and spec.name == "momentum")
    rows = run(replace(spec, optimizer=optimizer or spec.optimizer), 5).rows
    details = [row.details for row in rows]
    assert details[0] is not None
    assert details[0].descent is not None
    assert all(one is details[0] for one in details)
    return details[0].descent


def test_a_run_shows_its_loss_beside_that_of_the_reference() -> None:
    found = trajectory()
    assert len(found.ours) == len(found.theirs) == 6  # before the first step, and after each of five
    assert found.ours[0] == found.theirs[0]
    assert found.ours == pytest.approx(found.theirs, rel=1e-12)
    assert found.ours[-1] < found.ours[0]


def test_another_optimizer_leaves_the_curve_of_the_reference() -> None:
    found = trajectory(optimizers.momentum(1e-4, 0.5))
    assert found.ours[0] == found.theirs[0]
    assert found.ours[-1] != pytest.approx(found.theirs[-1], rel=1e-3)


# ---------------------------------------------------------------------------------------------- between processes


def test_an_details_is_small_and_survives_the_way() -> None:
    found = details(cube(lambda dx: 2 * dx), signed(80, 90))
    assert len(pickle.dumps(found)) < 50_000
    assert Details.of(found.as_dict()) == found
    parts = Details(None, StepCurve((1.0,), (2.0,), 2.0, 0.0, 2.0, None, 2.0), Descent((1.0,), (1.0,)))
    assert Details.of(parts.as_dict()) == parts


def test_an_details_is_no_part_of_what_a_row_says() -> None:
    found = row(verify(cube(lambda dx: 2 * dx), signed(3)))
    assert "details" not in found.as_dict()
    assert replace(found, details=None) == found
