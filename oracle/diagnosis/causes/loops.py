"""Causes that a loop repeats at every step: its recurrent path is lost, or the slope of a function is wrong in each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oracle.diagnosis.causes.paths import COUNTED
from oracle.diagnosis.causes.slopes import explains_slopes, slopes_of, wrong_slope_in_words
from oracle.diagnosis.matching import AGREE, matches_few
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.screening import Screening, at_steps, gradient_holding, groups_in, priced, screened
from oracle.diagnosis.uses import Sloped, Use
from oracle.diagnosis.view import View

__all__ = ["lost_at_every_step", "wrong_slope_at_every_step"]

LOST, REVERSED = 0, -1
"""How often a path is counted then."""


def lost_at_every_step(v: View) -> Iterator[str]:
    """The same path is lost, or reversed, at each step of a loop, or at each but the first."""
    yield from screened(v, _lost)


def _lost(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    seen = [screening.true]
    groups = _loops(v)
    screening = priced(screening, groups)
    for group in groups:
        for which, words in (
            (group, at_steps(group)),
            (group[1:], f" at each step of a loop but the first ({len(group)} steps)"),
        ):
            held = {use.number: use.value for use in which}
            slope = screening.slope(held)
            if slope is None or any(abs(slope - other) <= AGREE * abs(screening.true) for other in seen):
                continue
            seen.append(slope)
            for times in (LOST, REVERSED):
                if _explains(v, s, screening, held, slope, times):
                    yield COUNTED[times].format(v.name, f"{group[0].anywhere}{words}")


def _explains(v: View, s: Sample, screening: Screening, held: Mapping[int, Any], slope: float, times: int) -> bool:
    """Whether the path through these uses, with which this is the slope, is counted so many times."""
    if not screening.resembles(slope + times * (screening.true - slope)):
        return False
    without = gradient_holding(s, held)
    return without is not None and matches_few(v, without + times * (s.here - without))


def wrong_slope_at_every_step(v: View) -> Iterator[str]:
    """One function has another slope in each call that a loop makes of it."""
    yield from screened(v, _wrong_slope)


def _wrong_slope(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    groups = _loops(v)
    screening = priced(screening, groups)
    for group in groups:
        changes = [{wrong: (right, change) for right, wrong, change in slopes_of(use)} for use in group]
        for wrong in [one for one in changes[-1] if all(one in others for others in changes)]:
            held = {use.number: Sloped(use.value, others[wrong][1]) for use, others in zip(group, changes, strict=True)}
            if explains_slopes(v, s, screening, held):
                where = f"{group[0].anywhere}{at_steps(group)}"
                yield wrong_slope_in_words(v, group[0], wrong, changes[-1][wrong][0], where)


def _loops(v: View) -> list[list[Use]]:
    """The uses in the same place of the code, where there are several."""
    return [group for group in groups_in(v) if len(group) > 1]
