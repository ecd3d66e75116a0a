"""For anyone's tests: the fixture `verify_gradient`, and a report of all gradients that a run has verified.

pytest loads this module by itself where the package is installed, in every run. So it imports nothing but pytest before the
fixture or the option is used; and nothing of JAX before a test gives a reference.
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
    if said := extra.missing():
        pytest.fail(f"verify_gradient: {said}", pytrace=False)
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
        help="write index.html, verification.md and verification.json there: every gradient that verify_gradient has seen",
    )


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--gradient-report")
    if folder is None or hasattr(config, "workerinput"):  # a worker of xdist sends its rows, another process writes them
        return
    if said := extra.missing():
        raise pytest.UsageError(f"--gradient-report: {said}")
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
    """What the tests of this run have verified, in whichever processes they ran."""

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
            terminalreporter.line("no test has used verify_gradient")
            return
        from oracle.report import table

        said = f"written: {self.folder / 'index.html'}, verification.md, verification.json"
        terminalreporter.line(f"{table.totals(self.rows)}; {said}")
