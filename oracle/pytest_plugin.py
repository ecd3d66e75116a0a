"""The pytest plugin: the fixture `verify_gradient`, the marker `oracle_checks`, and reports of all gradients of a test run.

If the package is installed, pytest loads this module in every run. To keep that fast, it imports only pytest until the fixture,
the marker or the option is used, and JAX only when a test gives a reference.
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Generator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from oracle import extra

if TYPE_CHECKING:
    from oracle.report.places import Place
    from oracle.row import Row
    from oracle.spec import Case, Spec
    from oracle.verification import Verification

__all__ = ["GradientCheck", "StepsCheck", "VerifyGradient"]

MARKER = "oracle_checks"
ADAPTERS = {
    "layer": ("oracle.adapters", "of_layer"),
    "net": ("oracle.adapters", "of_net"),
    "optimizer": ("oracle", "verify_optimizer"),
}
"""The function behind each attribute of `verify_gradient`. It is imported when the attribute is used."""
Found: TypeAlias = "list[tuple[Row, Place | None]]"
"""The rows of a test. Those that do not pass have the place of their backward pass, if it is known."""
FOUND = pytest.StashKey[Found]()


class VerifyGradient:
    """`oracle.verify` as an assertion: it raises an AssertionError with the table unless every gradient is right.

    `torch`, `layer`, `net` and `optimizer` do the same for what other libraries and classes hold.
    """

    def __init__(self, test: pytest.Item) -> None:
        self._name = test.name
        self._found: Found = test.stash.setdefault(FOUND, [])

    def __call__(self, op: Any, *primals: Any, **options: Any) -> Verification:
        """As `oracle.verify`. The case has the name of the test unless `case` gives another."""
        __tracebackhide__ = True
        from oracle.report.places import place_of_pullback
        from oracle.verification import verify

        result = verify(op, *primals, **{"case": self._name, **options})
        _assert(result, self._found, place_of_pullback, op)
        return result

    def torch(self, function: Any, *tensors: Any, **options: Any) -> Verification:
        """A module, a `torch.autograd.Function` or a function of tensors, at tensors or arrays."""
        __tracebackhide__ = True
        from oracle.adapters import adapted, of_torch
        from oracle.tensors import array_of, is_tensor

        op = function if adapted(function) is not None else of_torch(function)
        return self(op, *(array_of(t) if is_tensor(t) else t for t in tensors), **options)

    def layer(self, layer: Any, *primals: Any, **options: Any) -> Verification:
        """An object with `forward(x)` and `backward(dout)`, see `oracle.adapters.of_layer`."""
        __tracebackhide__ = True
        adapter, its, others = _adapter("layer", options)
        return self(adapter(layer, **its), *primals, **others)

    def net(self, net: Any, *data: Any, **options: Any) -> Verification:
        """An object with `loss(x, t)` and `gradient(x, t)`, see `oracle.adapters.of_net`."""
        __tracebackhide__ = True
        adapter, its, others = _adapter("net", options)
        return self(adapter(net, *data, **its), **others)

    def optimizer(self, mine: Any, **options: Any) -> Any:
        """An optimizer beside the one that `like` gives, see `oracle.verify_optimizer`."""
        __tracebackhide__ = True
        from oracle.report.places import place_of

        module, name = ADAPTERS["optimizer"]
        result = getattr(import_module(module), name)(mine, **options)
        _assert(result, self._found, place_of, getattr(mine, "update", mine))
        return result


def _adapter(name: str, options: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]:
    """The function behind an attribute, the keywords that it alone takes, and those of `oracle.verify`."""
    from oracle.verification import verify

    module, function = ADAPTERS[name]
    adapter: Callable[..., Any] = getattr(import_module(module), function)
    takes, common = (inspect.signature(one).parameters for one in (adapter, verify))
    its = {key: value for key, value in options.items() if key in takes and key not in common}
    return adapter, its, {key: value for key, value in options.items() if key not in its}


def _assert(result: Any, found: Found, place: Callable[[Any], Place | None], of: Any) -> None:
    """Keep the rows for the reports, and raise an AssertionError with their table unless all of them pass."""
    __tracebackhide__ = True
    from oracle.verification import Verification

    where = None if result.passed else place(of)
    found.extend((row, None if row.passed else where) for row in result.rows)
    Verification(tuple(result.rows)).raise_for_failures()


@pytest.fixture
def verify_gradient(request: pytest.FixtureRequest) -> VerifyGradient:
    """`oracle.verify`, as an assertion: it raises an AssertionError with the table unless every gradient is right."""
    if message := extra.missing():
        pytest.fail(f"verify_gradient: {message}", pytrace=False)
    return VerifyGradient(request.node)


# ------------------------------------------------------------------------------------------------- the marker


class _Check(pytest.Item):
    """A test of the module that is marked, whose failure is its table."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, AssertionError):  # the table; the op's own exceptions are rows of it
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


class StepsCheck(_Check):
    """One OptimizerCheck or ScheduleCheck as a test."""

    def __init__(self, *, check: Any, **node: Any) -> None:
        super().__init__(**node)
        self.check = check

    def runtest(self) -> None:
        from oracle.report.places import place_of

        mine = self.check.mine
        _assert(self.check.verified(), self.stash.setdefault(FOUND, []), place_of, getattr(mine, "update", mine))


class GradientCheck(_Check):
    """One case of a Spec as a test."""

    def __init__(self, *, spec: Spec, case: Case, **node: Any) -> None:
        super().__init__(**node)
        self.spec = spec
        self.case = case

    def runtest(self) -> None:
        from oracle.report.places import place_of_pullback
        from oracle.verification import verify_case

        result = verify_case(self.spec, self.case)
        _assert(result, self.stash.setdefault(FOUND, []), place_of_pullback, self.spec.op)


def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> list[pytest.Item] | None:
    """The checks of a test module with the marker, which stands in the variable `pytestmark`."""
    if name != "pytestmark":
        return None
    marks = [mark for one in (obj if isinstance(obj, list | tuple) else [obj]) if (mark := _mark(one)).name == MARKER]
    if not marks:
        return None
    if not isinstance(collector, pytest.Module):
        raise collector.CollectError(f"{MARKER} marks a module: write `pytestmark = pytest.mark.{MARKER}(...)` outside a class")
    if message := extra.missing():
        raise collector.CollectError(f"{MARKER}: {message}")
    from oracle.running.tasks import checks_in, specs_in
    from oracle.text import plain

    named = [module for mark in marks for module in mark.args]
    if wrong := [module for module in named if not isinstance(module, str)]:
        raise collector.CollectError(f'{MARKER} takes names of modules, such as "package.module", got {wrong[0]!r}')
    items: dict[str, pytest.Item] = {}
    for module in [import_module(name) for name in named] or [collector.obj]:
        cases = [(spec, case) for spec in specs_in(module) for case in spec.cases]
        made: list[tuple[str, Callable[[str], pytest.Item]]] = [
            (f"{spec.name}[{case.name}]", partial(GradientCheck.from_parent, collector, spec=spec, case=case))
            for spec, case in cases
        ]
        made += [(one.name, partial(StepsCheck.from_parent, collector, check=one)) for one in checks_in(module)]
        if not made:
            what = "no Spec, OptimizerCheck or ScheduleCheck; add one, such as check = oracle.Spec(...)"
            raise collector.CollectError(f"{MARKER}: {module.__name__} has {what}")
        for name, make in made:
            test = plain(name)
            if test in items:
                raise collector.CollectError(f"{MARKER}: two cases are named {test}: rename one, or mark two test modules")
            items[test] = make(name=test)  # type: ignore[call-arg]
    return list(items.values())


def _mark(one: Any) -> pytest.Mark:
    mark: pytest.Mark = getattr(one, "mark", one)  # `pytest.mark.name` is a decorator, which has a mark
    return mark


def pytest_itemcollected(item: pytest.Item) -> None:
    """A marker that would have no effect is a mistake."""
    if any(mark.name == MARKER for mark in item.own_markers):
        raise pytest.UsageError(
            f"{item.nodeid}: {MARKER} marks a module, not a function: write `pytestmark = pytest.mark.{MARKER}(...)`"
        )


# ------------------------------------------------------------------------------------------------- reports


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("oracle").addoption(
        "--gradient-report",
        type=Path,
        metavar="DIR",
        help="write a report (index.html, verification.md, verification.json) of every gradient that verify_gradient checked",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*modules): pytestmark of a test module; every case of every oracle.Spec in these modules, or in the test "
        "module itself, is a test, and so is every OptimizerCheck and ScheduleCheck",
    )
    if hasattr(config, "workerinput"):  # workers of xdist send their rows to the main process
        return
    folder = config.getoption("--gradient-report")
    if folder is not None:
        if message := extra.missing():
            raise pytest.UsageError(f"--gradient-report: {message}")
        from oracle.report import document

        try:
            document.check_writable(folder)
        except OSError as error:
            raise pytest.UsageError(f"--gradient-report: cannot write to {folder}: {error.strerror or error}") from None
    github = os.environ.get("GITHUB_ACTIONS") == "true"
    if folder is not None or github:
        config.pluginmanager.register(_Collected(config, folder, github=github))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown" and (found := item.stash.get(FOUND, [])):
        from oracle.report import document

        vars(report)["gradients"] = [
            (document.packed(row), None if place is None else (str(place.file), place.line)) for row, place in found
        ]
    return report


class _Collected:
    """Collects the rows of all tests of this run, from all of its processes, and writes the reports."""

    def __init__(self, config: pytest.Config, folder: Path | None, *, github: bool) -> None:
        self.config = config
        self.folder = folder
        self.github = github
        self.rows: list[Row] = []
        self.tests: dict[int, str] = {}
        """The test of each row, by its id."""
        self.places: dict[int, Place] = {}
        self.failed: dict[str, tuple[Path, int]] = {}
        """Each test that failed, with its own file and line."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            file, line, _ = report.location
            self.failed[report.nodeid] = self.config.rootpath / file, (line or 0) + 1
        if hasattr(report, "gradients"):
            self._add(report, report.gradients)

    def _add(self, report: pytest.TestReport, gradients: list[tuple[dict[str, Any], tuple[str, int] | None]]) -> None:
        from oracle.report import document
        from oracle.report.places import Place
        from oracle.row import Row
        from oracle.trajectory.spec import SlotRow

        for packed, place in gradients:
            row = document.row_of(packed, SlotRow if "steps" in packed else Row)
            self.rows.append(row)
            self.tests[id(row)] = report.nodeid
            if place is not None:
                self.places[id(row)] = Place(Path(place[0]), place[1])

    def _command(self, row: Row) -> str:
        return shlex.join(["pytest", self.tests[id(row)]])

    def pytest_sessionfinish(self) -> None:
        if self.rows and self.folder is not None:
            from oracle.report import document, html, markdown

            env = document.environment(shlex.join(["pytest", *self.config.invocation_params.args]), seed=0)
            pages = {
                name: write(self.rows, env, {}, self._command)
                for name, write in (("verification.md", markdown.markdown), ("index.html", html.page))
            }
            text = document.to_json(document.document(self.rows, env))
            document.write(self.folder, {**pages, "verification.json": text})

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.folder is not None:
            terminalreporter.section("gradients")
            if self.rows:
                from oracle.report import table

                terminalreporter.line(table.totals(self.rows))
                terminalreporter.line(f"written: {self.folder / 'index.html'}, verification.md, verification.json")
            else:
                terminalreporter.line("no test used verify_gradient, so no report was written")
        if self.github and self.rows:
            self._tell_github(terminalreporter)

    def _tell_github(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Annotations and the summary. A wrong gradient in a test that passes is meant to be wrong, and is left out."""
        from oracle.report import github
        from oracle.report.places import Place

        rows = [row for row in self.rows if row.passed or self.tests[id(row)] in self.failed]

        def place(row: Row) -> Place:
            return self.places.get(id(row)) or Place(*self.failed[self.tests[id(row)]])

        terminalreporter.ensure_newline()
        for line in github.error_lines(rows, place, self._command):
            terminalreporter.line(line)
        github.write_summary(rows, self._command)
