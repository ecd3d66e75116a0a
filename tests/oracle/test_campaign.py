"""Many verifications in worker processes: the rows have the order of the tasks, and a lost task disturbs no other."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import purenet as pn
from oracle import Case, Spec, Verdict, catalogue
from oracle.running import campaign
from oracle.running.campaign import executor, few_threads, progress, run
from oracle.running.tasks import DTYPES, Task, specs_in, tasks_of

RELU = catalogue.find("relu")
SCHEDULE = catalogue.find("exponential_decay")
SPEC = Spec(pn.relu, cases=(Case("typical", (np.array([1.0, -2.0]),)), Case("other", (np.array([3.0]),))))

# ---------------------------------------------------------------------------------------------- tasks


def test_tasks_are_all_cases_in_all_dtypes() -> None:
    tasks = tasks_of(SPEC, ("float64", "float16"), seed=3, module="mine")
    assert tasks == [
        Task("mine", "relu", "typical", "float64", 3),
        Task("mine", "relu", "other", "float64", 3),
        Task("mine", "relu", "typical", "float16", 3),
        Task("mine", "relu", "other", "float16", 3),
    ]


def test_trajectories_are_followed_in_float64_alone() -> None:
    assert tasks_of(SCHEDULE, DTYPES) == [Task("", "exponential_decay", "", "float64")]
    assert tasks_of(SCHEDULE, ("float32",)) == []


def test_the_specs_of_a_module_are_found_alone_and_in_sequences() -> None:
    other = Spec(pn.tanh, cases=SPEC.cases)
    module: Any = SimpleNamespace(alone=SPEC, again=SPEC, several=(SPEC, other, 3), listed=[replace(other, tier=2)], no=7)
    assert [spec.name for spec in specs_in(module)] == ["relu", "tanh", "tanh"]
    assert specs_in(ModuleType("empty")) == []


# ---------------------------------------------------------------------------------------------- runs


def without_seconds(rows: list[Any]) -> list[Any]:
    return [replace(row, seconds=0.0) for row in rows]


def test_processes_change_nothing_but_the_time() -> None:
    tasks = [*tasks_of(SCHEDULE, DTYPES), *tasks_of(catalogue.find("identity"), ("float64",))][:4]
    alone = run(tasks, 1, quiet=True)
    together = run(tasks, 2, quiet=True)
    assert len(alone) >= 4
    assert without_seconds(together) == without_seconds(alone)
    assert list(dict.fromkeys(row.op for row in together)) == ["exponential_decay", "identity"]
    assert all(row.passed for row in together)


def test_a_task_that_cannot_be_done_is_a_row_and_the_rest_is_done() -> None:
    tasks = [Task("", "relu", "no such case", "float64"), Task("", "relu", "scalar", "float64")]
    lost, done = run(tasks, 1, quiet=True)
    assert (lost.op, lost.case, lost.verdict) == ("relu", "no such case", Verdict.ERROR)
    assert lost.diagnosis.startswith("cannot be verified: KeyError: ")
    assert "it has two dimensions, three dimensions, scalar" in lost.diagnosis
    assert done.verdict is Verdict.PASS


def test_an_interrupt_ends_workers_at_once() -> None:
    before = multiprocessing.active_children()

    def interrupted() -> None:
        with executor(1) as pool:
            future = pool.submit(time.sleep, 3600)
            while not future.running():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    # The pool waits for its workers too, and who comes second is told nothing: so their processes are looked for.
    workers = [worker.pid for worker in multiprocessing.active_children() if worker not in before and worker.pid]
    for _ in range(6000):
        multiprocessing.active_children()  # takes note of those that have ended
        if not any(_alive(pid) for pid in workers):
            break
        time.sleep(0.01)
    assert not any(_alive(pid) for pid in workers)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ---------------------------------------------------------------------------------------------- threads, progress


def test_workers_get_one_thread_each_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with few_threads():
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
        assert "intra_op_parallelism_threads=1" in os.environ["XLA_FLAGS"]
        assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert "XLA_FLAGS" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(("total", "lines"), [(1, 1), (3, 3), (10, 10), (37, 10), (1000, 10)])
def test_progress_is_a_line_a_tenth_where_there_is_no_terminal(
    total: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(total, "verify") as advance:
        for _ in range(total):
            advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == lines
    assert err.splitlines()[-1] == f"verify: {total} of {total}"


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(2, "verify") as advance:
        advance()
        advance()
    assert "verify" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()  # it leaves nothing behind


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(20, "verify", quiet=True) as advance:
        advance()
    assert capsys.readouterr() == ("", "")


def test_every_dtype_has_a_name_that_verification_knows() -> None:
    rows = [row for dtype in DTYPES for row in campaign.perform(Task("", "relu", "scalar", dtype))]
    assert [row.dtype for row in rows] == list(DTYPES)
    assert {row.verdict for row in rows} == {Verdict.PASS}


PLANTED = """
import os, pathlib, sys
import numpy as np, oracle

def dier_fwd(x, *, always):
    here = pathlib.Path(__file__).with_name(f"died {always}")
    if always or not here.exists():
        here.touch()
        os._exit(9)
    return x * 2, None

def quitter_fwd(x):
    sys.exit(3)

def planted_bwd(_, dy):
    return (dy * 2,)

cases = tuple(oracle.Case(name, (np.ones(2),), options={"always": name == "always"}) for name in ("once", "always"))
dies = oracle.Spec((dier_fwd, planted_bwd), cases=cases)
quits = oracle.Spec((quitter_fwd, planted_bwd), cases=(oracle.Case("only", (np.ones(2),)),))
"""


def test_an_op_that_ends_its_process_is_a_row_and_was_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "planted_ends.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(tmp_path)
    ends = [("dier", "once"), ("dier", "always"), ("quitter", "only")]
    others = [Task("", "relu", c.name, "float64") for c in RELU.cases] * 2
    once, always, quitter, *kept = run([*(Task("planted_ends", *end, "float64") for end in ends), *others], 2, quiet=True)
    assert once.verdict is Verdict.PASS
    assert (always.verdict, always.family, always.op) == (Verdict.ERROR, "planted_ends", "dier")
    assert always.diagnosis == "its process died twice: exit code 9"
    assert quitter.verdict is Verdict.ERROR
    assert "SystemExit: 3" in quitter.diagnosis
    assert len(kept) == len(others)
    assert all(row.passed for row in kept)
    assert capsys.readouterr().err.count("trying once more") == 2
