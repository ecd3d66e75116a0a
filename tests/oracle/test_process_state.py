"""Changes of global state are reported and undone, and an op that changes nothing is not reported."""

from __future__ import annotations

import locale
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import Verdict
from oracle.contract.process_state import SETTINGS, apart, preserved

X = np.array([1.0, -2.0, 3.0])


def verified(act: Callable[[], object]) -> list[str]:
    """The diagnoses of an op with a right gradient whose forward pass also calls `act`."""

    def square(x: Any) -> Any:
        act()
        return x * x, x

    rows = oracle.verify((square, lambda x, dy: (2 * x * dy,)), X).rows
    assert [row.verdict for row in rows if row.parameter == "x"] == [Verdict.PASS]
    return [row.diagnosis for row in rows if not row.passed]


CHANGES: dict[str, Callable[[], object]] = {
    "np.seterr": lambda: np.seterr(over="ignore"),
    "np.set_printoptions": lambda: np.set_printoptions(precision=3),
    "the warning filters": lambda: warnings.simplefilter("ignore"),
    "the global generator of np.random": lambda: np.random.seed(0),  # noqa: NPY002
    "the global generator of random": lambda: random.seed(0),
    "the working directory": lambda: os.chdir("/"),
    "os.environ": lambda: os.environ.update(SOMETHING="else"),
    "sys.path": lambda: sys.path.append("/nowhere"),
    "the signal handlers": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "the recursion limit": lambda: sys.setrecursionlimit(12345),
    "the locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C"),
    "JAX's default dtype": lambda: __import__("jax").config.update("jax_enable_x64", True),
    "sys.stdout": lambda: setattr(sys, "stdout", None),
    "sys.stderr": lambda: setattr(sys, "stderr", None),
    "sys.stdin": lambda: setattr(sys, "stdin", None),
}


def test_every_watched_setting_is_changed_here() -> None:
    assert [setting.name for setting in SETTINGS] == list(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_and_undone(name: str) -> None:
    with preserved() as outer:
        with preserved() as changed:
            assert changed() == []
            CHANGES[name]()
            assert changed() == [name]
        assert outer() == []


@pytest.mark.parametrize("name", CHANGES)
def test_an_op_that_changes_a_setting_breaks_its_contract(name: str) -> None:
    with preserved():
        (said,) = verified(CHANGES[name])
    assert said == f"changes global state: {name} (if that is meant: allows={{oracle.Allows.CHANGES_GLOBAL_STATE}})"


def restored() -> None:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        np.random.default_rng(0).normal()
        random.Random(0).random()  # noqa: S311
    before = np.seterr(all="raise")
    np.seterr(**before)


def test_an_op_that_restores_every_setting_keeps_its_contract() -> None:
    assert verified(restored) == []


def test_a_late_import_that_changes_a_setting_is_no_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_late.py").write_text("import warnings\nwarnings.filterwarnings('ignore', message='late')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert verified(lambda: __import__("imported_late")) == []


def test_a_removed_working_directory_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with preserved() as changed:
        assert changed() == []


def test_printed_text_goes_to_standard_error_and_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with apart() as conduct:
        print("two")
        print("lines")
    assert capsys.readouterr() == ("", "two\nlines\n")
    assert conduct.side_effects() == [
        "prints to standard output, where the report goes: 'two'...; print to standard error instead",
    ]
    with apart() as conduct:
        print("aside", file=sys.stderr)
    assert conduct.side_effects() == []


def test_standard_output_is_restored_after_an_exception() -> None:
    before = sys.stdout

    def raises() -> None:
        with apart() as conduct:
            sys.stdout.close()
            print("still open")
            assert conduct.closed
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - ours, without a message
        raises()
    assert sys.stdout is before
