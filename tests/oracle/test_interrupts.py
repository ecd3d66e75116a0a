"""Interrupted runs: they leave a report of the finished cases, and `--resume` continues them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interrupts import interruptible
from tests.oracle.conftest import OLD, ROOT, Module, command, environment, report_in

SLOW = """
import pathlib, sys, time
import numpy as np, oracle

def square_fwd(x, *, slow=False):
    if slow and not pathlib.Path("awake").exists():
        print("asleep", file=sys.stderr, flush=True)
        time.sleep(3600)
    return x * x, x

def square_bwd(x, dy):
    return (2 * x * dy,)

X = np.array([1.0, 2.0])
cases = [oracle.Case(name, (X,), options={"slow": name == "slow"}) for name in ("one", "two", "slow", "last")]
spec = oracle.Spec((square_fwd, square_bwd), cases=cases)
"""


@pytest.fixture
def asleep(tmp_path: Path, module: Module, reports: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has done two cases of four, over the reports of an earlier one."""
    module("slow_ops", SLOW)
    process = subprocess.Popen(
        interruptible(ROOT / "oracle" / "__main__.py", "verify", "slow_ops:spec", "--jobs", "1"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stderr is not None
        assert [process.stderr.readline() for _ in range(3)] == ["verify: 1 of 4\n", "verify: 2 of 4\n", "asleep\n"]
        yield process
        process.kill()
    assert reports.is_dir()


def resumed(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "awake").touch()
    arguments = command("verify", "slow_ops:spec", "--jobs", "1", "--resume")
    return subprocess.run(arguments, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=600)


def test_an_interrupt_writes_what_was_done_and_resume_continues(
    asleep: subprocess.Popen[str], tmp_path: Path, reports: Path
) -> None:
    os.killpg(asleep.pid, signal.SIGINT)
    out, err = asleep.communicate(timeout=120)
    message = "interrupted when 2 of 4 cases were done"
    assert (asleep.returncode, err) == (2, f"oracle: {message}; `oracle verify slow_ops:spec --jobs 1 --resume` continues\n")
    assert "2 gradients of 1 op in 2 cases: 2 PASS" in out
    assert report_in(reports)["environment"]["unfinished"] == message
    assert [row["case"] for row in report_in(reports)["rows"]] == ["one", "two"]
    first_lines = f"# Verification\n\n**This report is unfinished: {message}.**\n"
    assert (reports / "verification.md").read_text().startswith(first_lines)
    assert f"This report is unfinished: {message}." in (reports / "index.html").read_text()
    done = resumed(tmp_path)
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        ["verify: resumed: 2 of 4 cases were finished before", "verify: 1 of 2", "verify: 2 of 2"],
    )
    assert [row["case"] for row in report_in(reports)["rows"]] == ["one", "two", "slow", "last"]
    assert "unfinished" not in report_in(reports)["environment"]
    assert sorted(path.name for path in reports.iterdir()) == ["index.html", "verification.json", "verification.md"]


def test_a_kill_leaves_the_old_reports_and_resume_continues(
    asleep: subprocess.Popen[str], tmp_path: Path, reports: Path
) -> None:
    asleep.kill()
    asleep.communicate(timeout=120)  # its processes end by themselves: they hold the pipes
    assert {name: (reports / name).read_text() for name in OLD} == OLD
    with (reports / "unfinished.jsonl").open("a") as file:
        file.write('{"task": {"module": "slow_ops", "op": "squ')  # cut by a power failure
    done = resumed(tmp_path)
    assert done.returncode == 0
    assert "verify: resumed: 2 of 4 cases were finished before\n" in done.stderr
    assert [row["case"] for row in report_in(reports)["rows"]] == ["one", "two", "slow", "last"]


@pytest.mark.parametrize("change", ["the op", "the first line", "nothing is there"])
def test_what_was_found_by_other_sources_is_not_taken_over(
    asleep: subprocess.Popen[str], tmp_path: Path, reports: Path, change: str
) -> None:
    asleep.kill()
    asleep.communicate(timeout=120)
    journal = reports / "unfinished.jsonl"
    if change == "the op":
        (tmp_path / "slow_ops.py").write_text(SLOW.replace("2 * x", "3.0 * x"))  # of another size: bytecode tells by that
    elif change == "the first line":
        journal.write_text(journal.read_text().replace('"numpy": "', '"numpy": "0.'))
    else:
        journal.unlink()
    done = resumed(tmp_path)
    reason = (
        "there is no interrupted run to resume" if change == "nothing is there" else "source files or library versions have"
    )
    assert f"verify: not resumed: {reason}" in done.stderr
    assert done.returncode == (1 if change == "the op" else 0)
    assert {row["verdict"] for row in report_in(reports)["rows"]} == {"FAIL" if change == "the op" else "PASS"}
    assert not journal.exists()
