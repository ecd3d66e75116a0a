"""What `oracle` reports if a package that it needs is not installed; and that nothing is loaded before it is used."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import oracle
from oracle import __main__, extra
from tests.oracle.conftest import ROOT, environment

SAID = 'oracle needs its extra: pip install "purenet[oracle]" (missing: {})'
NOTHING_MORE = "import sys; sys.exit(any(name in sys.modules for name in ('numpy', 'oracle.row', 'tabulate', 'jax')))"


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
    for name in (*oracle.__all__, "adapters", "trajectory", "vectors"):
        monkeypatch.delitem(vars(oracle), name, raising=False)


def test_the_extra_is_what_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["oracle"]]
    assert {re.split("[><=]", one)[0] for one in wanted} == {*extra.REQUIRED} - {"jaxlib"}  # which comes with jax


@pytest.mark.parametrize("name", extra.REQUIRED)
def test_the_command_names_what_is_missing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, name)
    assert __main__.main() == 4
    assert capsys.readouterr() == ("", SAID.format(name) + "\n")


def test_what_a_required_package_misses_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from oracle import catalogue

    def find(_: str) -> None:
        raise ModuleNotFoundError("No module named 'opt_einsum'", name="opt_einsum")

    monkeypatch.setattr(catalogue, "find", find)
    monkeypatch.setattr(sys, "argv", ["oracle", "verify", "relu"])
    assert __main__.main() == 4
    assert capsys.readouterr() == ("", SAID.format("opt_einsum") + "\n")


def test_every_name_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "tabulate", "jax")
    for name in (*oracle.__all__, "adapters", "trajectory", "vectors"):
        missing = "tabulate" if re.search("Optimizer|Schedule", name, re.IGNORECASE) else "jax, tabulate"
        with pytest.raises(ImportError, match=f"^{re.escape(SAID.format(missing))}$"):
            getattr(oracle, name)
    with pytest.raises(AttributeError, match="module 'oracle' has no attribute 'verity'"):
        _ = oracle.verity  # type: ignore[attr-defined]


def test_every_name_is_there() -> None:
    for name in oracle.__all__:
        assert getattr(oracle, name).__name__ == name
        assert name in dir(oracle)


@pytest.mark.parametrize("module", ["oracle", "oracle.pytest_plugin", "oracle.__main__"])
def test_importing_loads_nothing_that_may_be_missing(module: str) -> None:
    command = [sys.executable, "-c", f"import {module}; {NOTHING_MORE}"]
    assert subprocess.run(command, env=environment(), check=False, timeout=60).returncode == 0


def test_the_fixture_and_the_option_say_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['jax'] = None\n")
    (tmp_path / "test_mine.py").write_text("def test_it(verify_gradient): pass\ndef test_other(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "oracle.pytest_plugin", "-p", "no:cacheprovider", "-n0"]

    def run(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    code, message = run()
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 passed, 1 error" in message
    assert message.count(f"\nverify_gradient: {SAID.format('jax')}\n") == 1
    assert run("--gradient-report", "x") == (
        pytest.ExitCode.USAGE_ERROR,
        f"ERROR: --gradient-report: {SAID.format('jax')}\n\n",
    )
