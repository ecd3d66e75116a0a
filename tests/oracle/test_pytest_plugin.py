"""The plugin inside a pytest of its own, as a user's test suite runs it.

A run on several processes, or one that must find nothing imported, is a process. All others run in this process, because a
new one imports for a second before its first test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

import purenet as pn
from oracle import Verdict, pytest_plugin
from oracle.pytest_plugin import FOUND, VerifyGradient
from oracle.report.places import Place
from tests.oracle.conftest import ON_GITHUB, environment

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


NO_OTHER_JAX = '    assert "jax" not in sys.modules\n'
"""True in a new process alone."""
OPTIONS = ("-p", "no:cacheprovider", "-W", "error")

Pytest: TypeAlias = Callable[..., tuple[int, str]]
"""Takes a suite, arguments of pytest and variables of the environment; gives the exit code and the output."""


def in_a_process(folder: Path, suite: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """A run in a new process, as the user's."""
    (folder / "test_mine.py").write_text(suite)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "oracle.pytest_plugin", *OPTIONS, *arguments],
        cwd=folder,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def pytest_of(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pytest:
    """A run inside this process. It leaves no module of the suite, and the variables of the environment as they were."""

    def run(suite: str, *arguments: str, **variables: str) -> tuple[int, str]:
        (tmp_path / "test_mine.py").write_text(suite.replace(NO_OTHER_JAX, "\n"))
        loaded, outer = set(sys.modules), dict(os.environ)
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "path", [*sys.path])
            patch.setattr(sys, "dont_write_bytecode", True)  # a suite that is written twice in a second is compiled twice
            for name in ON_GITHUB:
                patch.delenv(name, raising=False)
            for name, value in {"COLUMNS": "100", **variables}.items():
                patch.setenv(name, value)
            code = pytest.main([*OPTIONS, "-p", "no:xdist", "-p", "no:faulthandler", *arguments], plugins=[pytest_plugin])
        for name in set(sys.modules) - loaded:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(tmp_path)):
                del sys.modules[name]
        os.environ.update(outer)  # this test's own name among them, which the inner run has removed
        return int(code), "".join(capfd.readouterr())

    return run


ROWS = {
    ("test_right", Verdict.PASS),
    ("test_wrong", Verdict.FAIL),
    ("test_of_parts[2]", Verdict.PASS),
    ("of my own", Verdict.ERROR),
}
"""The rows of SUITE."""


def assert_reported(out: str, folder: Path) -> set[tuple[str, str]]:
    """The failures of SUITE carry their table, and the report has them; returns its rows."""
    assert "constant factor: x is 2 times the true gradient everywhere" in out
    assert "raise_for_failures()" not in out  # the traceback ends in the user's test
    assert "written: found/gradients/index.html, verification.md, verification.json" in out
    page = (folder / "found/gradients/verification.md").read_text()
    assert "    pytest test_mine.py::test_wrong\n" in page
    assert "--gradient-report found/gradients" in page
    assert "pytest test_mine.py::test_wrong</pre>" in (folder / "found/gradients/index.html").read_text()
    rows = json.loads((folder / "found/gradients/verification.json").read_text())["rows"]
    return {(row["case"], row["verdict"]) for row in rows}


def test_failures_carry_the_table_and_the_report_has_all_rows(tmp_path: Path, pytest_of: Pytest) -> None:
    code, out = pytest_of(SUITE, "--gradient-report", "found/gradients")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 2 passed" in out
    assert "1 FAIL, 1 ERROR" in out
    assert assert_reported(out, tmp_path) == ROWS
    pictures = (tmp_path / "found/gradients/index.html").read_text()
    assert pictures.count("<svg") == 3  # the error, the quotients and the steps of the one that fails


def test_without_the_option_nothing_is_written(tmp_path: Path, pytest_of: Pytest) -> None:
    code, out = pytest_of(SUITE, "-k", "right")
    assert code == pytest.ExitCode.OK
    assert "gradients" not in out
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


def test_an_earlier_report_stays_if_no_gradient_was_verified(tmp_path: Path, pytest_of: Pytest) -> None:
    (tmp_path / "verification.md").write_text("old")
    code, out = pytest_of(NOTHING, "--gradient-report", ".")
    assert code == pytest.ExitCode.OK
    assert "no test used verify_gradient, so no report was written" in out
    assert (tmp_path / "verification.md").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_found_before_any_test(tmp_path: Path, pytest_of: Pytest) -> None:
    (tmp_path / "file").write_text("")
    code, out = pytest_of(SUITE, "--gradient-report", "file/reports")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "--gradient-report: cannot write to file/reports" in out
    assert "passed" not in out


# ------------------------------------------------------------------------------------------------- GitHub


ON_GITHUB_SUITE = (
    SUITE
    + """
import purenet as pn

def test_meant_to_be_wrong(verify_gradient):
    with pytest.raises(AssertionError):
        verify_gradient((cube_fwd, lambda residuals, dy: (3 * cube_bwd(residuals, dy)[0],)), X)

def wrong_bwd(residuals, dy):
    return (5 * cube_bwd(residuals, dy)[0],)

def test_named(verify_gradient):
    verify_gradient((cube_fwd, wrong_bwd), X)

@pn.Op
def doubled(x):
    return 2 * x, ()

@doubled.pullback
def doubled_bwd(residuals, dy):
    return (4 * dy,)

def test_chain(verify_gradient):
    verify_gradient(pn.chain(first=doubled), {}, X)
"""
)


def on_github(folder: Path) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_WORKSPACE": str(folder),
    }


def assert_annotated(out: str, folder: Path) -> str:
    """The failures of ON_GITHUB_SUITE, and no others of it, have their lines; returns the summary."""
    found = [line for line in out.splitlines() if line.startswith("::error file=test_mine.py,line=")]
    lines = ON_GITHUB_SUITE.splitlines()
    places = ("lambda residuals", "def cube_bwd", "def wrong_bwd", "def test_chain")  # the passes of a chain are its stages'
    at = {str(1 + next(i for i, line in enumerate(lines) if place in line)) for place in places}
    assert {line.partition(",title")[0].partition("line=")[2] for line in found} == at
    assert len(found) == 4  # what is meant to be wrong is none of them
    assert any("reproduce: pytest test_mine.py::test_named" in line for line in found)
    summary = (folder / "summary.md").read_text()
    assert "rows pass</summary>" in summary
    assert "    pytest test_mine.py::test_named\n" in summary
    assert summary.count("### ERROR") == 1
    return summary


def test_on_github_failed_tests_are_annotated_at_the_pullback(tmp_path: Path, pytest_of: Pytest) -> None:
    code, out = pytest_of(ON_GITHUB_SUITE, **on_github(tmp_path))
    assert code == pytest.ExitCode.TESTS_FAILED
    assert assert_annotated(out, tmp_path).count("### FAIL") == 3
    assert out.count("\n::error") == 4


def test_on_github_a_run_without_gradients_prints_nothing_more(tmp_path: Path, pytest_of: Pytest) -> None:
    code, out = pytest_of(f"{NOTHING}def test_wrong(): assert False\n", **on_github(tmp_path))
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "::error" not in out
    assert not (tmp_path / "summary.md").exists()


# ------------------------------------------------------------------------------------------------- the marker

LAYERS = """
import numpy as np
import oracle

def double_fwd(x):
    return 2 * x, ()

def double_bwd(residuals, dy):
    return (2 * dy,)

def wrong_bwd(residuals, dy):
    return (3 * dy,)

X = np.array([1.0, -2.0])
check = oracle.Spec((double_fwd, double_bwd), cases=(oracle.Case("typical", (X,)), oracle.Case("a scalar", (X[0],))))

def triple_fwd(x):
    return 3 * x, ()

checks = [oracle.Spec((triple_fwd, wrong_bwd), cases=(oracle.Case("typical", (X,)),))]

def halved_fwd(x):
    return x / 2, ()

wrong = oracle.Spec((halved_fwd, wrong_bwd), cases=(oracle.Case("typical", (X,)),))
"""
MARKED = """
import pytest
pytestmark = pytest.mark.oracle_checks("layers")

def test_beside():
    pass
"""


def assert_marked(out: str, file: str) -> None:
    """Every case of LAYERS is a test of this file."""
    for name, result in {
        "double[typical]": "PASSED",
        "double[a scalar]": "PASSED",
        "triple[typical]": "PASSED",
        "halved[typical]": "FAILED",
        "test_beside": "PASSED",
    }.items():
        assert re.search(rf"{result} .*{file}::{re.escape(name)}|{file}::{re.escape(name)} {result}", out), name
    assert "constant factor: x is 6 times the true gradient everywhere" in out


VERBOSE = ("-v", "--strict-markers", "-p", "no:randomly", "-o", "pythonpath=.")


def test_every_case_of_a_marked_modules_checks_is_a_test(tmp_path: Path, pytest_of: Pytest) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    code, out = pytest_of(MARKED, *VERBOSE, "--gradient-report", "found")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 4 passed" in out
    assert_marked(out, "test_mine.py")
    assert "raise_for_failures" not in out  # the table, and no traceback
    rows = json.loads((tmp_path / "found/verification.json").read_text())["rows"]
    assert [(row["op"], row["case"]) for row in rows if row["verdict"] != Verdict.PASS] == [("halved", "typical")]
    assert len(rows) == 4


def test_on_several_processes_everything_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "test_marked.py").write_text(MARKED)
    arguments = ("-n", "2", *VERBOSE, "--gradient-report", "found/gradients")
    code, out = in_a_process(tmp_path, ON_GITHUB_SUITE, *arguments, **on_github(tmp_path))
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "5 failed, 7 passed" in out
    assert assert_reported(out, tmp_path) > ROWS
    assert assert_annotated(out, tmp_path).count("### FAIL") == 4
    assert_marked(out, "test_marked.py")


def test_a_check_is_run_alone_by_its_name(tmp_path: Path, pytest_of: Pytest) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    code, out = pytest_of(MARKED, "-o", "pythonpath=.", "test_mine.py::double[a scalar]")
    assert code == pytest.ExitCode.OK
    assert "1 passed" in out
    code, out = pytest_of(MARKED, "-o", "pythonpath=.", "-m", "oracle_checks", "-k", "double")
    assert code == pytest.ExitCode.OK
    assert "2 passed, 3 deselected" in out


def test_a_marker_without_a_name_means_the_test_module_itself(tmp_path: Path, pytest_of: Pytest) -> None:
    marked = "import pytest\npytestmark = [pytest.mark.oracle_checks, pytest.mark.filterwarnings('error')]\n"
    code, out = pytest_of(f"{marked}{LAYERS}")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 3 passed" in out
    code, out = pytest_of(f"{LAYERS}def test_beside(): pass\n")
    assert code == pytest.ExitCode.OK
    assert "1 passed" in out  # without the marker a Spec is no test


STEPS = """
import oracle
from tests.oracle.test_pytest_plugin import DESCENT, Scale

descent = oracle.OptimizerCheck(Scale(1.0), like=DESCENT, name="descent")
halves = [
    oracle.ScheduleCheck(lambda count: 0.5**count, like=lambda count: 0.5**count, steps=5, name="right halves"),
    oracle.ScheduleCheck(lambda count: 0.5 ** (count + 1), like=lambda count: 0.5**count, steps=5, name="shifted halves"),
    oracle.OptimizerCheck(Scale(1.5), like=DESCENT, name="too far"),
]
"""


def test_optimizers_and_schedules_of_a_marked_module_are_tests(tmp_path: Path, pytest_of: Pytest) -> None:
    (tmp_path / "layers.py").write_text(STEPS)
    options = ("-v", "-p", "no:randomly", "--gradient-report", "found", "-o", "pythonpath=.")
    code, out = pytest_of(MARKED, *options)
    assert code == pytest.ExitCode.TESTS_FAILED
    results = {"descent": "PASSED", "right halves": "PASSED", "shifted halves": "FAILED", "too far": "FAILED"}
    for name, result in results.items():
        assert f"test_mine.py::{name} {result}" in out, name
    assert "2 failed, 3 passed" in out
    assert "the learning rate is multiplied by 1.5" in out
    rows = json.loads((tmp_path / "found/verification.json").read_text())["rows"]
    assert {row["op"] for row in rows if row["verdict"] != Verdict.PASS} == {"shifted halves", "too far"}


MISTAKES = {
    "pytestmark = pytest.mark.oracle_checks('not_there')": "No module named 'not_there'",
    "pytestmark = pytest.mark.oracle_checks('json')": "oracle_checks: json has no Spec, OptimizerCheck or ScheduleCheck",
    "pytestmark = pytest.mark.oracle_checks": "oracle_checks: test_2 has no Spec, OptimizerCheck or ScheduleCheck; add one",
    "pytestmark = pytest.mark.oracle_checks(3)": 'oracle_checks takes names of modules, such as "package.module", got 3',
    "pytestmark = pytest.mark.oracle_checks('layers', 'again')": "two cases are named double[typical]: rename one",
    "@pytest.mark.oracle_checks('layers')\nclass TestIt:\n    def test(self): pass": "marks a module: write `pytestmark = ",
}


def test_a_marker_that_collects_nothing_is_an_error(tmp_path: Path, pytest_of: Pytest) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "again.py").write_text(LAYERS)
    for number, suite in enumerate(MISTAKES):
        (tmp_path / f"test_{number}.py").write_text(f"import pytest\n{suite}\n")
    code, out = pytest_of(NOTHING, "-o", "pythonpath=.")
    assert code == pytest.ExitCode.INTERRUPTED
    assert f"{len(MISTAKES)} errors" in out
    for said in MISTAKES.values():
        assert said in out


def test_a_marked_function_is_an_error(tmp_path: Path, pytest_of: Pytest) -> None:
    code, out = pytest_of("import pytest\n@pytest.mark.oracle_checks('layers')\ndef test_it(): pass\n")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "test_it: oracle_checks marks a module, not a function: write `pytestmark = pytest.mark.oracle_checks(...)`" in out
    assert "INTERNALERROR" not in out


# ------------------------------------------------------------------------------------------------- the attributes


class Scale:
    """A layer, a net and an optimizer in one: two times its parameter, and a step against the gradient."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.params = {"w": np.array([0.5, 2.0])}
        self.grads: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        self.x = x
        return x * self.params["w"]

    def backward(self, dout: Any) -> Any:
        self.grads["w"] = self.factor * (dout * self.x).sum(axis=0)
        return dout * self.params["w"]

    def loss(self, x: Any, t: Any) -> Any:
        return float(np.sum((self.forward(x) - t) ** 2))

    def gradient(self, x: Any, t: Any) -> Any:
        return {"w": self.factor * np.sum(2 * (self.forward(x) - t) * x, axis=0)}

    def update(self, params: Any, grads: Any) -> None:
        for key in params:
            params[key] -= self.factor * 0.1 * grads[key]


X = np.array([[1.0, -2.0], [3.0, 0.5]])
DESCENT = pn.optimizers.sgd(0.1)


@pytest.mark.parametrize(
    ("attribute", "arguments", "options", "rule"),
    [
        ("layer", (X,), {"params": ("w",)}, Scale.backward),
        ("net", (X, X - 1), {}, Scale.gradient),
        ("optimizer", (), {"like": DESCENT}, Scale.update),
    ],
)
def test_the_other_attributes_assert_what_their_adapter_makes(
    request: pytest.FixtureRequest, attribute: str, arguments: Any, options: Any, rule: Any
) -> None:
    """The adapters have tests of their own; here the attribute raises as the fixture does, and keeps the rows."""
    check = getattr(VerifyGradient(request.node), attribute)
    assert check(Scale(), *arguments, **options).passed
    with pytest.raises(AssertionError, match=r"1\.5"):
        check(Scale(1.5), *arguments, **options)
    kept = request.node.stash[FOUND]
    assert {row.verdict for row, _ in kept} == {Verdict.PASS, Verdict.FAIL}
    places = {place for row, place in kept if not row.passed}
    assert places == {Place(Path(__file__), rule.__code__.co_firstlineno)}
    kept.clear()  # this run's own reports are not about them


def test_rows_of_optimizers_reach_the_reports(tmp_path: Path, pytest_of: Pytest) -> None:
    suite = """
from tests.oracle.test_pytest_plugin import DESCENT, Scale

def test_mine(verify_gradient):
    verify_gradient.optimizer(Scale(1.5), like=DESCENT)
"""
    code, out = pytest_of(suite, "--gradient-report", "found", **on_github(tmp_path))
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1.5" in out
    found = json.loads((tmp_path / "found/verification.json").read_text())["rows"]
    wrong = [row for row in found if row["verdict"] == Verdict.FAIL]
    assert wrong
    assert all(row["steps"] for row in wrong)
    assert f"written in {__file__}:{Scale.update.__code__.co_firstlineno}".replace("%", "%25") in out


def test_torch_functions_and_modules(tmp_path: Path, pytest_of: Pytest) -> None:
    pytest.importorskip("torch")
    suite = """
import pytest, torch

class Cube(torch.autograd.Function):
    factor = 3

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return Cube.factor * x**2 * dy

X = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)

def test_right(verify_gradient):
    assert verify_gradient.torch(Cube, X).rows[0].case == "test_right"
    verify_gradient.torch(Cube.apply, X.detach().numpy(), case="apply")
    verify_gradient.torch(lambda x: Cube.apply(x) + 1, X)
    verify_gradient.torch(torch.nn.Softplus(), X)

def test_wrong(verify_gradient):
    Cube.factor = 6
    verify_gradient.torch(Cube, X)
"""
    code, out = pytest_of(suite, "--gradient-report", "found")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in out
    assert "constant factor: x is 2 times the true gradient everywhere" in out
    assert "result.raise_for_failures()" not in out
    rows = json.loads((tmp_path / "found/verification.json").read_text())["rows"]
    assert [row["case"] for row in rows] == ["test_right", "apply", "test_right", "test_right", "test_wrong"]
