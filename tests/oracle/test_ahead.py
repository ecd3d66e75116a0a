"""The process that starts before the command knows its cases, and how many processes a small run has."""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import partial
from typing import Any

import pytest

from oracle.running import ahead, campaign, workers
from oracle.running.tasks import Task


def where(item: Any) -> tuple[int, str]:
    """The process that works on an item, and what it has prepared."""
    time.sleep(float(item))
    return os.getpid(), os.environ.get("ORACLE_TEST_PREPARED", "")


def elsewhere(item: Any) -> int:
    return os.getpid()


def prepare() -> None:
    os.environ["ORACLE_TEST_PREPARED"] = "yes"


def fail() -> None:
    raise ImportError("no such module")


def performed(work: Any, items: list[float], jobs: int) -> list[Any]:
    found: dict[int, Any] = {}
    workers.perform(work, items, jobs, 60, found.__setitem__)
    return [found[i] for i in range(len(items))]


def children() -> set[int | None]:
    return {process.pid for process in multiprocessing.active_children()}


def test_a_run_takes_the_process_that_was_started_ahead() -> None:
    before = children()
    with workers.ahead(where, prepare):
        (process,) = children() - before
        assert performed(where, [0, 0, 0], 1) == [(process, "yes")] * 3
        assert children() == before, "it has ended with the run"


def test_other_work_leaves_it_and_it_ends_with_the_block() -> None:
    before = children()
    with workers.ahead(where, prepare):
        (process,) = children() - before
        assert performed(elsewhere, [0], 1) != [process]
        assert children() - before == {process}
    assert children() == before


def test_what_cannot_be_prepared_is_left_to_the_items() -> None:
    with workers.ahead(where, fail):
        (found,) = performed(where, [0], 1)
    assert found[1] == ""


def test_quick_items_have_one_process_and_slow_ones_as_many_as_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ALONE", 60.0)
    assert len({process for process, _ in performed(where, [0, 0, 0, 0], 2)}) == 1
    monkeypatch.setattr(workers, "ALONE", 0.0)
    assert len({process for process, _ in performed(where, [0.5, 0.5], 2)}) == 2


@pytest.mark.parametrize("names", [[], ["relu", "no_op"], ["lenet"], ["module.py:op"]])
def test_only_ops_of_purenet_have_a_process_ahead(names: list[str]) -> None:
    before = children()
    with ahead.process_for(names):
        assert children() == before


def test_a_verification_runs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    make = workers._Worker

    def counted(*arguments: Any) -> Any:
        started.append(arguments)
        return make(*arguments)

    monkeypatch.setattr(workers, "_Worker", counted)
    monkeypatch.setattr(workers, "ALONE", 60.0)
    with ahead.process_for(["relu"]):
        rows = campaign.run([Task("", "relu", "scalar", "float64")], 2, quiet=True, timeout=60)
    assert [row.passed for row in rows] == [True]
    ((work, prepare),) = started
    assert work is campaign.perform
    assert isinstance(prepare, partial)
