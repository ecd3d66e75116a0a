"""The pytest plugin: the fixture `verify_gradient`, and a report of all gradients that a test run has checked.

If the package is installed, pytest loads this module in every run. To keep that fast, it imports only pytest until the fixture
or the option is used, and JAX only when a test gives a reference.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from oracle import extra

if TYPE_CHECKING:
    from oracle.row import Row
    from oracle.verification import Verification

__all__ = ["VerifyGradient"]

VerifyGradient: TypeAlias = "Callable[..., Verification]"

ROWS = pytest.StashKey["list[Row]"]()


@pytest.fixture
def verify_gradient(request: pytest.FixtureRequest) -> VerifyGradient:
    """`oracle.verify`, as an assertion: it raises an AssertionError with the table unless every gradient is right."""
    if message := extra.missing():
        pytest.fail(f"verify_gradient: {message}", pytrace=False)
    from oracle.verification import verify

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
        help="write a report (index.html, verification.md, verification.json) of every gradient that verify_gradient checked",
    )


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--gradient-report")
    if folder is None or hasattr(config, "workerinput"):  # workers of xdist send their rows to the main process
        return
    if message := extra.missing():
        raise pytest.UsageError(f"--gradient-report: {message}")
    from oracle.report import document

    try:
        document.check_writable(folder)
    except OSError as error:
        raise pytest.UsageError(f"--gradient-report: cannot write to {folder}: {error.strerror or error}") from None
    config.pluginmanager.register(_Collected(folder, shlex.join(["pytest", *config.invocation_params.args])))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown" and (rows := item.stash.get(ROWS, [])):
        from oracle.report import document

        vars(report)["gradients"] = [document.packed(row) for row in rows]
    return report


class _Collected:
    """Collects the rows of all tests of this run, from all of its processes, and writes the report."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.command = command
        self.rows: list[Row] = []
        self.tests: dict[int, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        from oracle.report import document

        for packed in getattr(report, "gradients", ()):
            row = document.row_of(packed)
            self.rows.append(row)
            self.tests[id(row)] = report.nodeid

    def pytest_sessionfinish(self) -> None:
        if self.rows:
            from oracle.report import document, html, markdown

            env = document.environment(self.command, seed=0)
            pages = {
                name: write(self.rows, env, {}, lambda row: shlex.join(["pytest", self.tests[id(row)]]))
                for name, write in (("verification.md", markdown.markdown), ("index.html", html.page))
            }
            text = document.to_json(document.document(self.rows, env))
            document.write(self.folder, {**pages, "verification.json": text})

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("gradients")
        if not self.rows:
            terminalreporter.line("no test used verify_gradient, so no report was written")
            return
        from oracle.report import table

        terminalreporter.line(table.totals(self.rows))
        terminalreporter.line(f"written: {self.folder / 'index.html'}, verification.md, verification.json")
