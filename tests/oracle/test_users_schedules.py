"""Schedules of users: a wrong one is explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest

from oracle.row import Verdict
from oracle.trajectory.users_schedules import verify_schedule

COSINE = optax.warmup_cosine_decay_schedule(0.0, 0.1, 20, 150, 0.01)


def cosine(progress: float) -> float:
    return float(0.01 + 0.045 * (1 + np.cos(np.pi * min(progress, 1.0))))


def warmed(count: int) -> float:
    return 0.1 * count / 20 if count < 20 else cosine((count - 20) / 130)


@pytest.mark.parametrize(
    ("schedule", "first", "says"),
    [
        (lambda count: warmed(count + 1), 0, "the schedule is shifted by 1: count c has the value of count c + 1"),
        (lambda count: warmed(max(count - 2, 0)), 1, "the schedule is shifted by -2"),
        (lambda count: warmed(count + 20), 0, "the schedule lacks its first part, the 20 steps up to its largest value"),
        (lambda count: 1.5 * warmed(count), 1, "the rate is multiplied by 1.5"),
        (lambda count: warmed(count) if count < 20 else cosine(count / 150), 20, "its progress is step / all steps"),
        (lambda count: warmed(count) if count < 20 else cosine(count / 130), 20, "counts from the first step of all"),
        (
            lambda count: warmed(count) if count < 20 else cosine((count - 20) / 150),
            21,
            "the warm-up's steps are not subtracted",
        ),
        (lambda count: float("nan") if count == 7 else warmed(count), 7, "the rate is not finite"),
        (lambda count: warmed(count) + 1e-12 * (count == 30), 30, "no known cause"),
    ],
    ids=["early", "late", "no warm-up", "factor", "progress", "from the first", "too long", "NaN", "a single rate"],
)
def test_a_wrong_schedule_is_explained(schedule: Callable[[int], float], first: int, says: str) -> None:
    result = verify_schedule(schedule, like=warmed)
    assert result.first == (first, "rate")
    assert says in result.diagnosis
    assert f"at count {first}, not " in result.diagnosis
    (row,) = result.rows
    assert (row.verdict, row.first_autodiff, row.diagnosis) == (Verdict.FAIL, first, result.diagnosis)


def test_a_schedule_of_optax_explains_a_wrong_one_too() -> None:
    result = verify_schedule(lambda count: warmed(count + 1), like=COSINE)
    assert result.first == (0, "rate")
    assert "the schedule is shifted by 1: count c has the value of count c + 1" in result.diagnosis


def test_a_right_schedule_passes_to_its_end() -> None:
    (row,) = verify_schedule(warmed, like=COSINE).rows
    assert (row.verdict, row.steps, row.case) == (Verdict.PASS, 401, "counts 0 to 400")
    assert verify_schedule(COSINE, like=warmed, steps=10).rows[0].steps == 11
    assert verify_schedule(optax.exponential_decay(0.1, 10, 0.5), like=lambda count: 0.1 * 0.5 ** (count / 10)).passed


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"mine": 0.1}, TypeError, "verify_schedule: mine must be a function of the count of steps, got float"),
        ({"mine": warmed, "like": None}, TypeError, "verify_schedule: like must be a function"),
        ({"mine": lambda count: "fast"}, TypeError, "verify_schedule: mine must return a number, got str at count 0"),
        ({"mine": warmed, "steps": 0}, ValueError, "verify_schedule: steps must be a positive integer, got 0"),
        ({"mine": warmed, "like": lambda count: float("inf")}, ValueError, "verify_schedule: like must be finite, got inf"),
    ],
)
def test_a_bad_schedule_is_refused(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        verify_schedule(**{"like": COSINE, **arguments})
