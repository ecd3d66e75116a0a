"""The benchmark of checks: what is counted, who takes turns, what is shown."""

from __future__ import annotations

import importlib.util

import numpy as np
import optree
import pytest

from benchmarks import checks
from benchmarks.checks import Cost

SOME = [("tanh", 10, {"oracle.verify": Cost(0.5, 1234, True), "gradcheck": Cost(0.25, 22, False)}), ("tanh", 100, {})]


@pytest.mark.parametrize("op", checks.OPS)
def test_the_arguments_have_about_as_many_entries_as_they_should(op: str) -> None:
    for entries in (1000, 100_000):
        tree = checks.problem(op, entries).arguments
        assert 0.9 < sum(np.size(leaf) for leaf in optree.tree_leaves(tree)) / entries < 1.3


@pytest.mark.parametrize("name", checks.CHECKERS)
def test_a_right_gradient_is_accepted_and_its_forward_passes_are_counted(name: str) -> None:
    if "gradcheck" in name:
        pytest.importorskip("torch")
    found = checks.cost(name, "tanh", 20)
    assert found.accepted
    assert found.seconds > 0
    assert 2 <= found.forward_passes < 1000


def test_who_would_take_too_long_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "REPEATS", 1)
    monkeypatch.setattr(checks, "LONGEST", 1e-9)
    names = ["oracle.verify, quick", "check_grads"]
    (few, more) = checks.compared(names, ["tanh"], [10, 20])
    assert list(few[2]) == names
    assert more == ("tanh", 20, {})


def test_the_page_has_costs_ratios_and_dashes() -> None:
    page = checks.page(SOME, {"oracle.verify": 0.4, "gradcheck": 1.5}, [10, 100], "python -m benchmarks.checks")
    assert "0.5 (1,234)" in page
    assert "0.25 (22) (n)" in page
    assert "| tanh | 2.00 | -     |" in page


def test_the_first_check_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "REPEATS", 1)
    names = ["oracle.verify, quick"] + ["gradcheck, fast"] * (importlib.util.find_spec("torch") is not None)
    assert all(checks.start_up(name) > 0 for name in names)


def test_sizes_are_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    for sizes in (["100", "10"], ["1"]):
        with pytest.raises(SystemExit):
            checks.main(["--sizes", *sizes])
        assert "--sizes must be at least 10 and in order" in capsys.readouterr().err
