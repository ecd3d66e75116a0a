"""Random uses: one that fails is found, shrunk, and written as a program that shows it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
import purenet as pn
from oracle import Case, Draw, Spec, Verdict
from oracle.cli.main import Exit
from oracle.counterexamples import search
from oracle.running.tasks import Task
from tests.oracle.conftest import Module, Run, environment
from tests.oracle.test_program import run_here

WRONG_FOR_ROWS = """
import numpy as np, jax.numpy as jnp, oracle

def total_fwd(x, *, scale=1.0):
    return np.sum(x * scale, axis=0), (x.shape, scale)

def total_bwd(residuals, dy):
    shape, scale = residuals
    dx = np.broadcast_to(dy * scale, shape).copy()
    if shape[0] > 2:
        dx[2] = 0
    return (dx,)

def drawn(draw):
    return (draw.normal(draw.between(1, 5), draw.between(1, 4)),), {"scale": draw.choice([1.0, np.ones(1), 3.0])}

spec = oracle.Spec(
    (total_fwd, total_bwd),
    cases=(oracle.Case("two rows", (np.ones((2, 3)),)),),
    reference=lambda x, *, scale=1.0: jnp.sum(x * scale, axis=0),
    strategy=drawn,
)
unprepared = oracle.Spec((np.exp, total_bwd), cases=(oracle.Case("two rows", (np.ones((2, 3)),)),))
"""


@pytest.mark.usefixtures("in_this_process")
def test_what_is_wrong_is_shrunk_and_written_as_a_program(
    run: Run, module: Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module("rows_of", WRONG_FOR_ROWS)
    assert run("verify", "rows_of:total")[0] == Exit.PASS  # its only case does not show it
    code, out, _ = run("fuzz", "rows_of:total", "--examples", "50")
    assert code == Exit.FAIL
    program = tmp_path / "reports" / "failures" / "total-fuzz" / "repro.py"
    assert "FAIL" in out
    assert f"reproduce: python {program.relative_to(tmp_path)}" in out
    text = program.read_text()
    assert "oracle fuzz rows_of:total --seed 0" in text
    ended, shown = run_here(program, capfd)
    assert ended == 1
    assert "FAIL  total" in shown
    assert "float64 3x1" in shown  # three rows are the fewest that show it, and one column is enough


@pytest.mark.usefixtures("undiagnosed")
def test_the_same_seed_makes_the_same_choices(module: Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module("rows_of_again", WRONG_FOR_ROWS)
    monkeypatch.syspath_prepend(tmp_path)
    task = Task("rows_of_again", "total", "", "float64", 4)
    first, second = (search.fuzz(task, 30, ("float64",)) for _ in range(2))
    assert first == second
    assert dict(first.verdicts)[Verdict.FAIL] == 1


@pytest.mark.usefixtures("in_this_process")
def test_ops_of_the_catalogue_in_all_dtypes(run: Run, tmp_path: Path) -> None:
    code, out, err = run("fuzz", "relu", "step", "sgd", "--examples", "6", "--dtype", "all")
    assert code == Exit.PASS
    assert out.startswith("12 random uses of 2 ops (float64, float32, float16, bfloat16): ")
    assert "6 VACUOUS" in out
    assert "fuzz: 2 of 2" in err
    assert not (tmp_path / "reports" / "failures").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["sgd"], Exit.NOTHING, "nothing to fuzz: no op whose Spec has a strategy fits sgd"),
        (["rows_of_two:exp"], Exit.NOTHING, "nothing to fuzz: no op whose Spec has a strategy fits rows_of_two:exp"),
        (["reluu"], Exit.USAGE, "no op is named 'reluu'"),
        (["relu", "--examples", "0"], Exit.USAGE, "--examples: expected an integer from 1, got '0'"),
    ],
)
def test_bad_usage(run: Run, module: Module, arguments: list[str], code: Exit, match: str) -> None:
    module("rows_of_two", WRONG_FOR_ROWS)
    found = run("fuzz", *arguments)
    assert found[:2] == (code, "")
    assert match in found[2]


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (lambda draw: ((draw.normal(2),), {"bogus": 1}), "TypeError"),
        (lambda draw: ((np.full(2, np.inf),), {}), "holds infinity"),
    ],
)
def test_a_strategy_that_draws_what_the_op_refuses_is_an_error(
    strategy: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Spec(pn.relu, cases=(Case("one", (np.ones(2),)),), strategy=strategy)
    monkeypatch.setattr(search, "spec_of", lambda task: spec)
    outcome = search.fuzz(Task("", "relu", "", ""), 5, ("float64",))
    assert dict(outcome.verdicts) == {Verdict.ERROR: 1}
    assert message in outcome.report


def test_a_strategy_that_raises_ends_that_op_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(draw: Draw) -> Any:
        raise RuntimeError("no idea")

    good = Spec(pn.relu, cases=(Case("one", (np.ones(2),)),), strategy=lambda draw: ((draw.normal(2),), {}))
    bad = Spec(pn.tanh, cases=(Case("one", (np.ones(2),)),), strategy=broken)
    monkeypatch.setattr(search, "spec_of", lambda task: {"relu": good, "tanh": bad}[task.op])
    arrived: list[search.Outcome] = []
    lost, kept = search.run([Task("", "tanh", "", ""), Task("", "relu", "", "")], 3, ("float64",), 1, arrived.append)
    assert arrived == [lost, kept]
    assert lost.verdicts == ((Verdict.ERROR, 1),)
    assert "RuntimeError: no idea" in lost.report
    assert sum(count for _, count in kept.verdicts) == 3
    assert not kept.failure


def test_no_strategy_no_example() -> None:
    with pytest.raises(ValueError, match="fuzz: the Spec of relu has no strategy"):
        search.draw_example(oracle.Spec(pn.relu, cases=(Case("one", (np.ones(2),)),)), ("float64",), lambda low, high: low)


HANGS_FOR_ROWS = """
import os, time
import numpy as np, oracle

def square_fwd(x):
    if x.shape[0] == 2:
        time.sleep(3600)
    if x.shape[0] == 3:
        os._exit(1)
    return x * x, x

def square_bwd(x, dy):
    return (2 * x * dy,)

def other_fwd(x):
    return square_fwd(x)

def third_fwd(x):
    return square_fwd(x)

def spec_of(fwd, *rows):
    cases = (oracle.Case("one row", (np.ones((1, 2)),)),)
    return oracle.Spec((fwd, square_bwd), cases=cases, strategy=lambda draw: ((draw.normal(draw.choice(rows)),), {}))

sleeps, ends, right = spec_of(square_fwd, 2), spec_of(other_fwd, 1, 3), spec_of(third_fwd, 1)
"""


@pytest.mark.parametrize(
    ("names", "limit", "totals", "message", "shown"),
    [
        (["square"], 1, ": 1 ERROR", "timed out after 1 s", "Timeout (0:00:01)!"),
        (["other", "third"], 60, "20 PASS, 1 ERROR", "exit code 1", "the process ended with 1"),
    ],
    ids=["hangs", "dies"],
)
def test_a_use_that_gives_no_result_is_written_as_a_program(
    run: Run, module: Module, tmp_path: Path, names: list[str], limit: int, totals: str, message: str, shown: str
) -> None:
    """The one that hangs does so at once and alone: a right use that a busy machine delays must not count as one that hangs."""
    module("hanging_rows", HANGS_FOR_ROWS)
    ops = [f"hanging_rows:{name}" for name in names]
    code, out, _ = run("fuzz", *ops, "--examples", 20, "--jobs", 1, "--timeout", limit)
    assert code == Exit.FAIL
    assert f"ERROR  {names[0]}: {message}" in out
    assert totals in out
    program = tmp_path / "reports" / "failures" / f"{names[0]}-fuzz" / "repro.py"
    shown_again = subprocess.run(
        [sys.executable, str(program)], cwd="/", env=environment(), capture_output=True, text=True, check=False, timeout=600
    )
    assert shown_again.returncode == 1
    assert shown in shown_again.stdout + shown_again.stderr
