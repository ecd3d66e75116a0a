"""`oracle accuracy`: errors of gradients in ULPs, beyond their condition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import purenet as pn
from oracle import accuracy, exact
from oracle.cli.main import main
from oracle.running.campaign import Task
from oracle.running.selection import Exit
from oracle.spec import Case, Spec
from purenet import Op
from tests.oracle.planted import normal


def of(slope_factor: float, monkeypatch: pytest.MonkeyPatch) -> accuracy.Accuracy:
    @Op
    def sine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sine."""
        return np.sin(x), x

    @sine.pullback
    def sine_bwd(x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray]:
        return (slope_factor * np.cos(x) * dy,)

    spec = Spec(sine, reference=np.sin, source="", cases=(Case("five", lambda draw: (normal(5),)),))
    monkeypatch.setattr(accuracy.campaign, "spec_of", lambda task: spec)
    return accuracy.perform(Task("", "sine", "five", "float64"))


def test_a_right_gradient_is_off_by_its_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    one = of(1.0, monkeypatch)
    assert one.entries == 5
    assert one.beyond < 4


def test_digits_that_are_lost_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    one = of(1 + 1000 * 2.0**-52, monkeypatch)
    assert 900 < one.beyond < 2100
    assert one.where.startswith("five: x[")
    assert "1 op more than 8 ULPs beyond its condition" in accuracy.text([one])


def test_the_page_of_an_op(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", pn.relu.name, "--jobs", "1", "--reports", str(tmp_path)]) == Exit.PASS
    assert "of 1 op compared" in capsys.readouterr().out
    assert "| relu " in (tmp_path / "accuracy.md").read_text()


def test_without_python_flint_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exact, "available", lambda: False)
    assert main(["accuracy", "relu"]) == Exit.USAGE
    assert 'pip install "purenet[exact]"' in capsys.readouterr().err
