"""The plugin inside a pytest of its own, as a user's test suite runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from oracle import Verdict
from tests.oracle.conftest import environment

SUITE = """
import sys
import numpy as np
import pytest

X = np.array([[1.0, -2.0, 3.0]])

def cube_fwd(x, *, power=3):
    return x**power, (x, power)

def cube_bwd(residuals, dy):
    x, power = residuals
    return (power * x ** (power - 1) * dy,)

def test_right(verify_gradient):
    result = verify_gradient((cube_fwd, cube_bwd), X, options={"power": 2})
    assert result.passed
    assert "jax" not in sys.modules

def test_wrong(verify_gradient):
    verify_gradient((cube_fwd, lambda residuals, dy: (2 * cube_bwd(residuals, dy)[0],)), X)

@pytest.mark.parametrize("n", [2, 3])
def test_of_parts(verify_gradient, n):
    verify_gradient((cube_fwd, cube_bwd), X, X, case="of my own") if n == 3 else verify_gradient((cube_fwd, cube_bwd), X)
"""
NOTHING = "def test_nothing(verify_gradient): pass\n"


def pytest_of(folder: Path, suite: str, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of a run on this suite."""
    (folder / "test_mine.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-p", "oracle.pytest_plugin", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("processes", ["0", "2"])
def test_failures_carry_the_table_and_the_report_has_all_rows(tmp_path: Path, processes: str) -> None:
    code, out = pytest_of(tmp_path, SUITE, "-n", processes, "--gradient-report", "found/gradients")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 2 passed" in out
    assert "constant factor: x is 2 times the true gradient everywhere" in out
    assert "result.raise_for_failures()" not in out  # the traceback ends in the user's test
    assert "1 FAIL, 1 ERROR" in out
    assert "written: found/gradients/index.html, verification.md, verification.json" in out
    rows = json.loads((tmp_path / "found/gradients/verification.json").read_text())["rows"]
    assert {(row["case"], row["verdict"]) for row in rows} == {
        ("test_right", Verdict.PASS),
        ("test_wrong", Verdict.FAIL),
        ("test_of_parts[2]", Verdict.PASS),
        ("of my own", Verdict.ERROR),
    }
    page = (tmp_path / "found/gradients/verification.md").read_text()
    assert "    pytest test_mine.py::test_wrong\n" in page
    assert "--gradient-report found/gradients" in page
    pictures = (tmp_path / "found/gradients/index.html").read_text()
    assert "pytest test_mine.py::test_wrong</pre>" in pictures
    assert pictures.count("<svg") == 2  # the error and the steps of the one that fails


def test_without_the_option_nothing_is_written(tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, SUITE, "-k", "right")
    assert code == pytest.ExitCode.OK
    assert "gradients" not in out
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


def test_an_earlier_report_stays_if_no_gradient_was_verified(tmp_path: Path) -> None:
    (tmp_path / "verification.md").write_text("old")
    code, out = pytest_of(tmp_path, NOTHING, "--gradient-report", ".")
    assert code == pytest.ExitCode.OK
    assert "no test used verify_gradient, so no report was written" in out
    assert (tmp_path / "verification.md").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_found_before_any_test(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, out = pytest_of(tmp_path, SUITE, "--gradient-report", "file/reports")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--gradient-report: cannot write to file/reports" in out
    assert "passed" not in out
