"""For anyone's tests: the fixture `verify_gradient`, and a report of all gradients that a run has verified.

pytest loads this module by itself where the package is installed; nothing of JAX is imported before a test gives a reference.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from oracle.report import document, html, markdown, table
from oracle.row import Row
from oracle.verification import Verification, verify

__all__ = ["VerifyGradient"]

VerifyGradient: TypeAlias = Callable[..., Verification]

ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def verify_gradient(request: pytest.FixtureRequest) -> VerifyGradient:
    """`oracle.verify`, as an assertion: it raises an AssertionError with the table unless every gradient is right."""
    rows = request.node.stash.setdefault(ROWS, [])

    def check(op: Any, *primals: Any, **options: Any) -> Verification:
        __tracebackhide__ = True
        result = verify(op, *primals, **{"case": request.node.name, **options})
        rows.extend(result.rows)
        result.raise_for_failures()
        return result

    return check


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("oracle").addoption(
        "--gradient-report",
        type=Path,
        metavar="DIR",
        help="write index.html, verification.md and verification.json there: every gradient that verify_gradient has seen",
    )


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--gradient-report")
    if folder is None or hasattr(config, "workerinput"):  # a worker of xdist sends its rows, another process writes them
        return
    try:
        document.check_writable(folder)
    except OSError as error:
        raise pytest.UsageError(f"--gradient-report: cannot write to {folder}: {error.strerror or error}") from None
    config.pluginmanager.register(_Collected(folder, shlex.join(["pytest", *config.invocation_params.args])))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown":
        vars(report)["gradients"] = [document.packed(row) for row in item.stash.get(ROWS, [])]
    return report


class _Collected:
    """What the tests of this run have verified, in whichever processes they ran."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.command = command
        self.rows: list[Row] = []
        self.tests: dict[int, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for packed in getattr(report, "gradients", ()):
            row = document.row_of(packed)
            self.rows.append(row)
            self.tests[id(row)] = report.nodeid

    def pytest_sessionfinish(self) -> None:
        if self.rows:
            env = document.environment(self.command, seed=0)
            pages = {
                name: write(self.rows, env, {}, lambda row: shlex.join(["pytest", self.tests[id(row)]]))
                for name, write in (("verification.md", markdown.markdown), ("index.html", html.page))
            }
            text = document.to_json(document.document(self.rows, env))
            document.write(self.folder, {**pages, "verification.json": text})

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        said = (
            f"written: {self.folder / 'index.html'}, verification.md, verification.json"
            if self.rows
            else "no test has used verify_gradient"
        )
        terminalreporter.section("gradients")
        terminalreporter.line(f"{table.totals(self.rows)}; {said}" if self.rows else said)
