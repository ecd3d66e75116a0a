"""Published ways to fool or to harm a grader get no points, and right solutions that look odd get all."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator

import pytest

from oracle.grading import grade, load
from oracle.grading.candidate import Candidate, Limits, Lost
from tests.oracle.cheats import CHEATS, HARMLESS
from tests.oracle.submitted import Submission, cheats, graded, lost, right, source

ODD = [submission for submission in right() if submission.name in HARMLESS]


@pytest.mark.parametrize("submission", cheats(), ids=lambda submission: submission.name)
def test_a_cheat_loses_its_part(submission: Submission) -> None:
    assert lost(graded(submission, 6)) == submission.lost


@pytest.mark.parametrize("submission", ODD, ids=lambda submission: submission.name)
def test_a_right_solution_that_looks_odd_has_all_points(submission: Submission) -> None:
    assert lost(graded(submission, 7)) == submission.lost == frozenset()


def test_all_cheats_have_names_of_their_own() -> None:
    assert len({cheat.name for cheat in CHEATS}) == len(CHEATS) > 90


def test_what_a_submission_tried_is_a_remark_for_the_course() -> None:
    text = source("two_layer_net") + HARMLESS["tries to fork and goes on"]
    assert grade(load("two_layer_net"), text, 1).remarks == ("it tried: os.fork",)


def test_nobody_can_read_the_memory_of_the_grader_while_it_grades(monkeypatch: pytest.MonkeyPatch) -> None:
    libc, seen = ctypes.CDLL(None), []
    call = Candidate.call

    def looked(self: Candidate, *arguments: object, **options: object) -> object:
        seen.append(libc.prctl(3, 0, 0, 0, 0))
        return call(self, *arguments, **options)  # type: ignore[arg-type]

    before = libc.prctl(3, 0, 0, 0, 0)
    monkeypatch.setattr(Candidate, "call", looked)
    assert grade(load("two_layer_net"), source("two_layer_net"), 1).passed
    assert set(seen) == {0}
    assert libc.prctl(3, 0, 0, 0, 0) == before


def test_a_submission_that_has_used_up_its_time_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "clock_seconds", 0.0)
    result = grade(load("two_layer_net"), source("two_layer_net"), 1)
    assert {mark.hint for mark in result.marks} == {"all calls together took more than 0 s"}
    assert result.score == 0


LOOKS = """
import os
import sys
import time

def modules():
    return ",".join(sorted(name for name in sys.modules if name.startswith(("oracle", "purenet", "jax"))))

def environment():
    return ",".join(sorted(os.environ))

def stdin():
    return len(sys.stdin.read())

def sleep():
    time.sleep(100)

def folders():
    return any("purenet" in path or "site-packages" in path for path in sys.path)

def end():
    os._exit(3)
"""


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Candidate]:
    monkeypatch.setenv("SECRET", "1")
    started = Candidate(LOOKS, Limits(seconds=1), ["numpy"], [])
    yield started
    started.end()


def test_the_process_of_a_submission_knows_nothing_of_the_grader(candidate: Candidate) -> None:
    assert candidate.call("modules").value == ""
    assert candidate.call("stdin").value == 0
    assert candidate.call("folders").value is False
    assert "SECRET" not in candidate.call("environment").value


def test_a_lost_process_says_how_it_ended(candidate: Candidate) -> None:
    with pytest.raises(Lost, match="it ended its process with exit code 3"):
        candidate.call("end")


def test_all_calls_together_have_a_limit_by_the_clock(candidate: Candidate) -> None:
    candidate.until = time.monotonic() + 0.2
    with pytest.raises(Lost, match="all calls together took more than 160 s"):
        candidate.call("sleep")
