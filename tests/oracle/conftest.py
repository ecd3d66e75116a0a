"""The command line in a folder of its own, with a user's module and the reports of an earlier run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from oracle import autodiff, exact, findings
from oracle.cli import main as cli
from oracle.cli import options
from oracle.report import document, html
from oracle.running import journal

ROOT = Path(__file__).parents[2]
ON_GITHUB = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE")
"""What changes the output in a workflow of GitHub, where these tests may run."""
OLD = {"verification.json": "old json", "verification.md": "old page"}

KEPT = 20
"""Ops whose compiled programs are kept. With all 180 a worker would take gigabytes; with one, JAX would compile its own small
functions again for each op."""

begun: list[str] = []
"""The ops whose tests have begun since JAX's programs were last freed."""


@pytest.fixture(autouse=True)
def compiled_for_some_ops(request: pytest.FixtureRequest) -> None:
    """Frees what JAX has compiled when the tests of many other ops have begun."""
    mark = request.node.get_closest_marker("xdist_group")
    if mark is not None and mark.args[0] not in begun:
        if len(begun) == KEPT:
            begun.clear()
            autodiff.forget()
        begun.append(mark.args[0])


sources = cache(journal._sources)
"""The hash of all sources, of which a command of this process makes a journal: they stay as they are during the tests."""

Run: TypeAlias = Callable[..., tuple[int, str, str]]
Module: TypeAlias = Callable[[str, str], None]

OWN = """
import numpy as np
import oracle
import purenet as pn

x = np.array([1.0, -2.0, 3.0])

def cube_fwd(x):
    return x**3, x

def cube_bwd(x, dy):
    return (3 * x**2 * dy,)

def doubled_fwd(x):
    return x**3, x

def doubled_bwd(x, dy):
    return (6 * x**2 * dy,)

def by_powers(x):
    return x**3

def spare_fwd(x):
    return x, x

def spare_bwd(x, dy):
    return (dy,)

net = pn.chain(first=pn.tanh, second=pn.sigmoid)

right = oracle.Spec((cube_fwd, cube_bwd), cases=(oracle.Case("typical", (x,)),), reference=by_powers)
wrong = oracle.Spec(
    (doubled_fwd, doubled_bwd),
    cases=(oracle.Case("typical", (x,)), oracle.Case("it's another", (np.array([[0.5, -4.0], [1.0, 2.0]]),))),
    reference=by_powers,
)
chained = oracle.Spec(net, cases=(oracle.Case("typical", ({}, x)),))
both = [right, chained]
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "oracle", *arguments]


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ON_GITHUB}
    return {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def report_in(folder: Path) -> dict[str, Any]:
    """The JSON report in this folder."""
    report: dict[str, Any] = json.loads((folder / "verification.json").read_text())
    return report


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in a folder of its own: its exit code, and what it wrote to stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(
        html, "PICTURED", 0
    )  # the pictures of failures take longer than to find them, and have tests of their own
    monkeypatch.setattr(journal, "_sources", sources)
    for name in ("FORCE_COLOR", *ON_GITHUB):
        monkeypatch.delenv(name, raising=False)
    capfd.readouterr()

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(list(map(str, arguments)))
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs cases in this process, because worker processes take seconds to start: for tests of the command's output."""
    monkeypatch.setattr(options, "TIMEOUT", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Module]:
    """Writes a module of the user's."""
    written = []

    def write(name: str, text: str) -> None:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def own(module: Module) -> str:
    module("own_ops", OWN)
    return "own_ops"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A folder with the reports of an earlier run."""
    folder = tmp_path / "reports"
    document.write(folder, OLD)
    return folder


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a search for the cause of each error: that has tests of its own, and takes longer than to find the error."""
    monkeypatch.setattr(findings, "diagnose", lambda *_: "")


@pytest.fixture
def without_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine as it is where python-flint is not installed."""
    monkeypatch.setattr(exact, "available", lambda: False)
