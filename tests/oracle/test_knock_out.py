"""Knock-outs: what a mechanism saves shows when it is off, and afterwards the engine is as before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle.power import command, knock_out
from oracle.power.corpora import HARD_CORPORA
from oracle.power.hard_dtypes import NARROW
from oracle.power.hard_pairs import pair
from oracle.power.knock_out import (
    LOSSES,
    NOTHING,
    RIGHT_LOST,
    WRONG_PASSED,
    Found,
    Table,
    Work,
    as_dict,
    measure,
    page,
    perform,
    text,
)
from oracle.power.mechanisms import DIAGNOSIS, MECHANISMS
from oracle.power.switching import Mechanism, MissingTargetError, _found, _function, in_use, switched_off
from oracle.report import document
from oracle.row import Verdict
from oracle.running.tasks import Task
from oracle.verification import verify
from tests.oracle.conftest import Module, Run
from tests.oracle.planted import cube, signed
from tests.oracle.test_power import CUBE

MATTERS = Mechanism("contradictions", "Wrong entries are found.", {"oracle.judging.verdict:_table": "lambda e, c: iter(())"})
IDLE = Mechanism("same again", "The constant is replaced by itself.", {"oracle.judging.error_budget:TERMS": 16.0})
BROKEN = Mechanism("division", "Nothing works without it.", {"oracle.judging.verdict:judge": "lambda e: 1 / 0"})


def state(mechanism: Mechanism) -> list[Any]:
    """What stands at its targets: the code of functions, the values of constants."""
    found = []
    for target, instead in mechanism.off.items():
        _, _, value = _found(target)
        found.append(_function(target, value).__code__ if isinstance(instead, str) else value)
    return found


@pytest.mark.parametrize("mechanism", [*MECHANISMS, DIAGNOSIS], ids=lambda mechanism: mechanism.name)
def test_every_target_exists_and_is_restored(mechanism: Mechanism) -> None:
    before = state(mechanism)
    with switched_off(mechanism):
        assert all(one != other for one, other in zip(state(mechanism), before, strict=True))
    assert state(mechanism) == before


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.name)
def test_without_it_the_engine_still_runs(mechanism: Mechanism) -> None:
    """A replacement that returns what the engine does not expect would make everything an ERROR."""
    with switched_off(mechanism), switched_off(DIAGNOSIS):
        assert verify(cube(), signed(4)).rows[0].verdict is not Verdict.ERROR


def test_without_noise_inside_the_engine_still_runs() -> None:
    rounds = pair(lambda x: np.tanh(x.astype(np.float32)).astype(float), lambda dy, x: (dy / np.cosh(x) ** 2,))
    inside = next(mechanism for mechanism in MECHANISMS if mechanism.name == "rounding inside the function")
    with switched_off(inside), switched_off(DIAGNOSIS):
        assert verify(rounds, signed(4)).rows[0].verdict is not Verdict.ERROR


def test_an_error_restores_the_engine_too() -> None:
    before = state(BROKEN)
    with pytest.raises(ZeroDivisionError), switched_off(BROKEN):
        verify(cube(), signed(3))
    assert state(BROKEN) == before


@pytest.mark.parametrize(
    ("off", "message"),
    [
        ({"oracle.judging.nowhere:settled": "lambda w: w"}, "the engine has no oracle.judging.nowhere:settled"),
        ({"oracle.judging.settling:unsettled": 0}, "the engine has no oracle.judging.settling:unsettled"),
        ({"oracle.effort:SAMPLES": "lambda: 0"}, "oracle.effort:SAMPLES is no function but int"),
        ({"oracle.judging.verdict:judge": "lambda evidence: None"}, r"judge takes \('e',\), what stands for it takes"),
    ],
)
def test_a_target_that_the_engine_has_no_longer_is_an_error(off: Mapping[str, Any], message: str) -> None:
    with pytest.raises(MissingTargetError, match=message), switched_off(Mechanism("gone", "", off)):
        pass


def test_names_and_sentences() -> None:
    assert len({mechanism.name for mechanism in MECHANISMS}) == len(MECHANISMS)
    assert all(m.purpose.endswith(".") and len(m.purpose.split()) > 4 for m in MECHANISMS)


def test_the_hard_corpora_have_right_and_wrong_gradients() -> None:
    items = [item for items in HARD_CORPORA.values() for item in items()]
    assert sum(item.right for item in items) > 80
    assert sum(not item.right for item in items) > 80


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("name", NARROW)
def test_narrow_dtypes_are_judged_as_they_should_be(name: str) -> None:
    several = NARROW[name]
    for pullback in several.right:
        assert verify(pair(several.function, pullback), *several.primals).passed
    for pullback in several.wrong:
        assert not verify(pair(several.function, pullback), *several.primals).passed


def test_a_mechanism_is_in_use_if_something_would_be_otherwise_without_it() -> None:
    def used(op: Any) -> set[str]:
        with in_use(MECHANISMS) as found:
            verify(op, signed(8))
        return {mechanism.name for mechanism in found}

    always = {"measured noise tables", "extrapolation by h", "agreement by chance"}
    assert always <= used(cube())
    assert not {"contract: linearity", "cotangents that do not add up"} & used(cube())
    assert "contract: linearity" in used(cube(lambda dx: dx * np.abs(dx)))


def test_a_mechanism_that_matters_shows_and_one_that_does_nothing_shows_as_nothing() -> None:
    mechanisms = (MATTERS, IDLE, BROKEN)
    before = state(MATTERS), state(BROKEN)
    found = perform(Work(mechanisms, Task("", "relu", "", "float64")))
    assert (state(MATTERS), state(BROKEN)) == before
    table = Table(mechanisms, (found,), ("another: died",))
    passed = table.changes(MATTERS, WRONG_PASSED)
    assert "FAIL" in {change.before for change in passed}
    assert any("a usual entry of x" in change.item for change in passed)
    assert table.changes(MATTERS, RIGHT_LOST) == []
    assert len(table.changes(BROKEN, RIGHT_LOST)) == found.right > 2
    assert table.changes(IDLE) == []
    (idle,) = [
        line for line in page(table, document.environment("oracle power --knock-out relu", 0)).splitlines() if "| same" in line
    ]
    assert idle.count(NOTHING) == 3
    assert "LOST  another: died" in text(table)
    assert "3 mechanisms, 1 of which save nothing here" in text(table)


def test_the_command_writes_its_own_report(run: Run, module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MECHANISMS", (MATTERS, IDLE))
    monkeypatch.setattr(knock_out, "HARD_CORPORA", {})
    module("knocked_cube", CUBE)
    code, out, _ = run("power", "--knock-out", "knocked_cube:cube", "--jobs", 1)
    assert code == 0
    assert "written: reports/knock-out.md, reports/knock-out.json" in out
    assert not (tmp_path / "reports" / "power.md").exists()
    found = json.loads((tmp_path / "reports" / "knock-out.json").read_text())
    assert found["lost"] == []
    matters, idle = found["mechanisms"]
    assert [name for name, _, _ in matters[WRONG_PASSED] if "a usual entry of x" in name]
    assert all(idle[loss] == [] for loss in LOSSES)
    assert run("power", "--knock-out", "knocked_cube:cube", "--alarms", 5)[0] == 4


def test_a_missing_target_ends_the_run_before_it_begins() -> None:
    gone = Mechanism("gone", "It is gone.", {"oracle.judging.settling:unsettled": 0})
    with pytest.raises(MissingTargetError):
        measure([], (gone,), 1, 30.0)


def test_what_is_not_judged_as_it_should_be_is_left_out(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module("odd_cube", CUBE.replace("3 * x**2 * dy", "6 * x**2 * dy"))
    found = perform(Work((IDLE,), Task("odd_cube", "cube", "", "float64")))
    assert isinstance(found, Found)
    assert found.right == 0
    assert "cube / signed: right, and FAIL with every mechanism on" in found.left_out
    assert as_dict(Table((IDLE,), (found,), ()), {})["right"] == 0
