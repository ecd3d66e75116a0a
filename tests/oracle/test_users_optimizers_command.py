"""Optimizers and schedules of a module, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import oracle
from oracle.trajectory.users_optimizers import verify_optimizer
from oracle.trajectory.users_schedules import verify_schedule

OWN = """
import numpy as np
import oracle
import purenet as pn

class Plain:
    def update(self, params, grads):
        for key in params:
            params[key] -= 0.1 * grads[key]

check = oracle.OptimizerCheck(Plain(), like=pn.optimizers.sgd(0.1))
wrong = oracle.OptimizerCheck(Plain(), like=pn.optimizers.sgd(0.2), name="too slow")
halving = pn.schedules.exponential_decay(1.0, 1, 0.5)
halves = oracle.ScheduleCheck(lambda count: 0.5**count, like=halving, steps=20, name="halves")
"""


@pytest.mark.usefixtures("in_this_process")
def test_the_command_line_takes_checks_of_a_module(run: Any, module: Any, tmp_path: Path) -> None:
    module("own_steps", OWN)
    code, out, _ = run("verify", "own_steps:check", "--dtype", "all")
    assert code == 0
    assert "Plain / 20 steps (float32)" in out
    assert run("verify", "own_steps:Plain", "--quiet")[0] == 0
    code, out, _ = run("verify", "own_steps:too slow")
    assert code == 1
    assert "the learning rate is multiplied by 0.5" in out
    assert "reproduce: oracle verify 'own_steps:too slow'" in out
    (program,) = [file.read_text() for file in (tmp_path / "reports" / "failures").glob("*/repro.py")]
    assert "main(['verify', 'own_steps:too slow'])" in program
    code, out, _ = run("verify", "own_steps")
    assert code == 1
    assert all(name in out for name in ("Plain / 20 steps", "too slow / 20 steps", "halves / counts 0 to 20"))
    assert run("verify", "own_steps.py:halves", "--quiet")[0] == 0  # the file itself
    assert "own_steps.py:" in run("show", "own_steps:wrong")[1]
    code, _, err = run("fuzz", "own_steps:check")
    assert (code, "nothing to fuzz" in err) == (5, True)


@pytest.mark.usefixtures("in_this_process", "undiagnosed")
def test_a_module_names_all_its_records(run: Any, own: str) -> None:
    code, out, _ = run("verify", own)
    assert code == 1
    assert all(name in out for name in ("cube / typical", "doubled / typical", "chain"))


def test_names_of_checks_are_different(run: Any, module: Any) -> None:
    module("own_twins", OWN.replace(', name="too slow"', ""))
    code, _, err = run("verify", "own_twins:check")
    assert code == 4
    assert "two checks in own_twins are called 'Plain'" in err
    module("own_nothing", "x = 1")
    code, _, err = run("verify", "own_nothing")
    assert (code, "own_nothing has nothing to verify" in err) == (4, True)


def test_the_names_are_public() -> None:
    assert oracle.verify_optimizer is verify_optimizer
    assert oracle.verify_schedule is verify_schedule
    assert {"OptimizerCheck", "ScheduleCheck"} <= set(dir(oracle))
