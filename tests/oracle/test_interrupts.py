"""Interrupted runs: they leave a report of the finished cases, and `--resume` continues them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oracle.report import document
from tests.interrupts import interruptible
from tests.oracle.conftest import OLD, ROOT, Run, command, environment, report_in

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


@contextmanager
def falling_asleep(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in this folder that has done two cases of four, over the reports of an earlier one."""
    (folder / "slow_ops.py").write_text(SLOW)
    document.write(folder / "reports", OLD)
    process = subprocess.Popen(
        interruptible(ROOT / "oracle" / "__main__.py", "verify", "slow_ops:spec", "--jobs", "1"),
        cwd=folder,
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


@pytest.fixture(scope="module")
def as_it_was(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run that was killed, and a copy of it."""
    folder, copy = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("copy")
    with falling_asleep(folder) as process:
        process.kill()
        process.communicate(timeout=120)  # its processes end by themselves: they hold the pipes
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return folder, copy


@pytest.fixture
def killed(as_it_was: tuple[Path, Path]) -> Path:
    """The folder of a run that was killed, as the kill left it: a journal counts only where its sources are."""
    folder, copy = as_it_was
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    return folder


def resumed(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "awake").touch()
    arguments = command("verify", "slow_ops:spec", "--jobs", "1", "--timeout", "0", "--resume")  # without another process
    return subprocess.run(arguments, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=600)


def test_an_interrupt_writes_what_was_done_and_resume_continues(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    with falling_asleep(tmp_path) as asleep:
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


@pytest.mark.xdist_group("killed")
def test_a_kill_leaves_the_old_reports_and_resume_continues(killed: Path) -> None:
    reports = killed / "reports"
    assert {name: (reports / name).read_text() for name in OLD} == OLD
    with (reports / "unfinished.jsonl").open("a") as file:
        file.write('{"task": {"module": "slow_ops", "op": "squ')  # cut by a power failure
    done = resumed(killed)
    assert done.returncode == 0
    assert "verify: resumed: 2 of 4 cases were finished before\n" in done.stderr
    assert [row["case"] for row in report_in(reports)["rows"]] == ["one", "two", "slow", "last"]


@pytest.mark.xdist_group("killed")
@pytest.mark.parametrize("change", ["the op", "the first line", "nothing is there"])
def test_what_was_found_by_other_sources_is_not_taken_over(
    run: Run, monkeypatch: pytest.MonkeyPatch, killed: Path, change: str
) -> None:
    """In this process, which has not imported the op: another one imports for seconds."""
    reports = killed / "reports"
    journal = reports / "unfinished.jsonl"
    if change == "the op":
        (killed / "slow_ops.py").write_text(SLOW.replace("2 * x", "3.0 * x"))  # of another size: bytecode tells by that
    elif change == "the first line":
        journal.write_text(journal.read_text().replace('"numpy": "', '"numpy": "0.'))
    else:
        journal.unlink()
    (killed / "awake").touch()
    monkeypatch.chdir(killed)
    code, _, err = run("verify", "slow_ops:spec", "--jobs", "1", "--timeout", "0", "--resume")
    del sys.modules["slow_ops"]
    reason = (
        "there is no interrupted run to resume" if change == "nothing is there" else "source files or library versions have"
    )
    assert f"verify: not resumed: {reason}" in err
    assert code == (1 if change == "the op" else 0)
    assert {row["verdict"] for row in report_in(reports)["rows"]} == {"FAIL" if change == "the op" else "PASS"}
    assert not journal.exists()
