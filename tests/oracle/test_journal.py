"""The journal: rows are read back to the last bit, and other lines in the file do no harm."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oracle.report import document
from oracle.row import Descent, Details, ErrorMap, Row, StepCurve
from oracle.running.journal import Journal, key
from oracle.running.tasks import Task
from oracle.settings import JOURNAL as NAME
from oracle.trajectory import SlotRow
from tests.oracle.rows import failing, row

TASKS = [Task("", "relu", case, "float64", 3) for case in ("one", "two\n\x1b", "three\ud800")]
DETAILS = Details(
    error_map=ErrorMap(((float("nan"), -1e9), (0.1, float("inf"))), (0, 1), (0,), (1,), (2, 2), (0, 1), (1, 1)),
    step_curve=StepCurve((1e-2, 1e-3), (1.0, float("-inf")), 1.0, 1e-12, 1 / 3, None, 2.0),
    descent=Descent((1.0, 0.5), (1.0, 0.1 + 0.2)),
)
ROWS: list[tuple[Row, ...]] = [
    (row(), failing(numerical_error=0.1 + 0.2, used=float("inf"), diagnosis="<&>\x1b", seconds=1.25)),
    (SlotRow(**{**vars(row()), "steps": 7, "first_numerical": 3}),),
    (replace(failing(), details=DETAILS),),
]
OF = {"format": 1, "python": "3.13"}


def written(path: Path) -> str:
    journal = Journal(path, OF, resume=False)
    for task, rows in zip(TASKS, ROWS, strict=True):
        journal.add(task, rows)
    journal.close()
    return path.read_text()


def read(path: Path) -> Journal:
    journal = Journal(path, OF, resume=True)
    journal.file.close()
    return journal


def test_what_is_found_is_read_back(tmp_path: Path) -> None:
    text = written(tmp_path / NAME)
    assert text.isascii()
    assert len(text.splitlines()) == 4
    journal = read(tmp_path / NAME)
    assert journal.reason == ""
    assert list(journal.known) == TASKS
    for task, rows in zip(TASKS, ROWS, strict=True):
        assert journal.known[task] == rows
        assert list(map(type, journal.known[task])) == list(map(type, rows))
    assert repr(journal.known[TASKS[2]][0].details) == repr(DETAILS)  # NaN is not equal to itself
    assert (tmp_path / NAME).read_text() == text


@pytest.mark.parametrize("end", range(1, 200, 7))
def test_half_a_line_is_passed_over(tmp_path: Path, end: int) -> None:
    text = written(tmp_path / NAME)
    (tmp_path / NAME).write_text(text[:-end])
    journal = Journal(tmp_path / NAME, OF, resume=True)
    assert list(journal.known) == TASKS[: 3 if end == 1 else 2]
    journal.add(TASKS[2], ROWS[2])
    journal.close()
    assert list(read(tmp_path / NAME).known) == TASKS


def changed(**values: Any) -> str:
    packed = {**document.packed(row()), **values}
    return json.dumps({"task": vars(TASKS[0]), "rows": [packed]})


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        "null",
        "3",
        '"task"',
        "[" * 100_000,
        "{" + '"a":' * 10,
        '{"task": {}, "rows": []}',
        '{"task": [], "rows": []}',
        '{"task": {"module": "", "op": ["relu"], "case": "one", "dtype": "float64"}, "rows": []}',
        '{"task": {"module": "", "op": "relu", "case": "one", "dtype": "float64", "seed": "3"}, "rows": []}',
        '{"task": {"module": "", "op": "relu", "case": "one", "dtype": "float64"}, "rows": [[]]}',
        '{"task": {"module": "", "op": "relu", "case": "one", "dtype": "float64"}, "rows": ["steps"]}',
        changed(verdict="FINE"),
        changed(op=3),
        changed(used="__import__('os')"),
        changed(used=[]) + "}",
        changed(more=1),
        changed(details={"error_map": 3}),
        changed(details=3),
        "\udcff".encode("utf-8", "surrogateescape").decode("latin1"),
    ],
)
def test_what_is_no_result_is_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / NAME
    lines = written(path).splitlines()
    path.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n", encoding="latin1")
    assert list(read(path).known) == TASKS


def test_nothing_is_taken_over_unless_that_is_wanted_and_right(tmp_path: Path) -> None:
    path = tmp_path / NAME
    written(path)
    other = Journal(path, {**OF, "python": "3.14"}, resume=True)
    assert (other.known, other.reason) == ({}, "source files or library versions have changed since the interrupted run")
    other.close()
    assert not path.exists()  # it holds nothing
    written(path)
    fresh = Journal(path, OF, resume=False)
    assert fresh.known == {}
    fresh.close()
    assert read(path).reason == "there is no interrupted run to resume"


def test_a_finished_run_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / NAME, OF, resume=False)
    journal.add(TASKS[0], ROWS[0])
    journal.finish()
    assert list(tmp_path.iterdir()) == []


def test_sources_are_those_of_the_checker_and_of_what_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = document.environment("oracle verify", 0)
    before = key(environment)
    assert key(environment) == before
    assert key({**environment, "command": "oracle verify relu", "seed": 1}) == before
    assert key({**environment, "packages": {}}) != before
    (tmp_path / "helper_of_an_op.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_module = __import__("importlib").import_module
    import_module("helper_of_an_op")
    after = key(environment)
    assert after["sources"] != before["sources"]
    (tmp_path / "helper_of_an_op.py").write_text("x = 2\n")
    assert key(environment)["sources"] not in (before["sources"], after["sources"])
    monkeypatch.delitem(__import__("sys").modules, "helper_of_an_op")
    assert key(environment) == before
