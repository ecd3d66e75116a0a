"""Mistakes on the command line: each gives one clear line and the documented exit code, and changes no report."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oracle.cli.main import Exit
from oracle.running import campaign
from tests.interrupts import interruptible
from tests.oracle.conftest import OLD, OWN, ROOT, Module, Run, command, environment

pytestmark = pytest.mark.usefixtures("in_this_process")


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def assert_one_line(found: tuple[int, str, str], code: Exit, match: str) -> None:
    """Nothing on stdout, one line on stderr, this exit code."""
    assert found[:2] == (code, ""), found
    assert re.fullmatch(rf"oracle: {match}\n", found[2]), found[2]
    assert found[2].count("\n") == 1


# ---------------------------------------------------------------------------------------------- bad usage


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        ("", Exit.USAGE, r"the following arguments are required: COMMAND \(see `oracle --help`\)"),
        ("verfy", Exit.USAGE, r"argument COMMAND: invalid choice: 'verfy' .*"),
        ("show", Exit.USAGE, r"the following arguments are required: NAME \(see `oracle show --help`\)"),
        ("verify reluu", Exit.USAGE, r"no op is named 'reluu'; did you mean relu.*\?"),
        (
            "verify relu softmax_cross_entrpy",
            Exit.USAGE,
            r"no op is named 'softmax_cross_entrpy'; did you mean softmax_cross_entropy .*",
        ),
        ("verify zzzz", Exit.USAGE, r"no op is named 'zzzz'; `oracle list` shows all"),
        ("verify ''", Exit.USAGE, r"no op is named ''; `oracle list` shows all"),
        ("show reluu", Exit.USAGE, r"no op is named 'reluu'; did you mean relu.*\?"),
        (
            "verify --family loses",
            Exit.USAGE,
            r"no family is named 'loses'; did you mean losses\? \(families: activations, .*linear.*\)",
        ),
        ("list --family loses", Exit.USAGE, r"no family is named 'loses'; did you mean losses\? .*"),
        (
            "verify --dtype float128",
            Exit.USAGE,
            r"argument --dtype: invalid choice: 'float128' \(choose from .*float64.*all.*\).*",
        ),
        ("verify --jobs 0", Exit.USAGE, r"argument --jobs: expected an integer from 1, got '0'.*"),
        ("verify --jobs -1", Exit.USAGE, r"argument --jobs: expected .*"),
        ("verify --jobs many", Exit.USAGE, r"argument --jobs: expected an integer from 1, got 'many'.*"),
        ("verify --timeout -1", Exit.USAGE, r"argument --timeout: expected .*"),
        ("verify --timeout soon", Exit.USAGE, r"argument --timeout: expected an integer from 0, got 'soon'.*"),
        ("fuzz --timeout soon", Exit.USAGE, r"argument --timeout: expected an integer from 0, got 'soon'.*"),
        ("verify --seed 1.5", Exit.USAGE, r"argument --seed: expected an integer from 0, got '1\.5'.*"),
        ("verify --seed", Exit.USAGE, r"argument --seed: expected one argument.*"),
        ("verify --bogus", Exit.USAGE, r"unrecognized arguments: --bogus.*"),
        ("verify --family losses --family pooling", Exit.USAGE, r"--family is given twice: losses and pooling .*"),
        ("list --family losses --family losses", Exit.USAGE, r"--family is given twice: losses and losses .*"),
        ("verify relu --family losses", Exit.NOTHING, r"nothing to check: no case fits relu --family losses.*"),
        ("verify relu --case missing", Exit.NOTHING, r"nothing to check: no case fits relu --case missing.*"),
        (
            "verify --family schedules --dtype float16",
            Exit.NOTHING,
            r"nothing to check: no case fits --family schedules --dtype float16",
        ),
        (
            "verify missing_module:op",
            Exit.USAGE,
            r"cannot import missing_module: ModuleNotFoundError: No module named 'missing_module'",
        ),
        ("verify :op", Exit.USAGE, r"':op' names no module; write MODULE:op"),
        ("verify own_ops:", Exit.USAGE, r"'own_ops:' names no op; write own_ops:OP"),
        ("verify own_ops:cub", Exit.USAGE, r"own_ops has no 'cub'; did you mean cube\?"),
        (
            "verify own_ops:spare_bwd",
            Exit.USAGE,
            r"own_ops:spare_bwd has no inputs to verify it at: .* check = oracle\.Spec\(\(spare_fwd, spare_bwd\), .*",
        ),
        ("verify own_ops:nq", Exit.USAGE, r"own_ops has no 'nq'"),
        (
            "verify own_ops:by_powers",
            Exit.USAGE,
            r"own_ops:by_powers has no inputs to verify it at: add a Spec to own_ops, such as check = oracle\.Spec\(.*",
        ),
        ("verify own_ops:x", Exit.USAGE, r"own_ops:x is of type ndarray, not an op \(ops of own_ops: chain.*, cube, doubled\)"),
        ("verify own_ops:np", Exit.USAGE, r"own_ops:np is of type module, not an op \(ops of own_ops: .*\)"),
        ("verify own_ops:right --case missing", Exit.NOTHING, r"nothing to check: no case fits own_ops:right --case missing.*"),
    ],
)
@pytest.mark.usefixtures("own")
def test_a_wrong_command_is_one_clear_line(run: Run, reports: Path, arguments: str, code: Exit, match: str) -> None:
    assert_one_line(run(*shlex.split(arguments)), code, match)
    assert texts(reports) == OLD


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("def f(:", r"SyntaxError: .*broken\.py, line 1\)"),
        ("\tx = 1\n  y = 2", r"IndentationError: .*"),
        ("import not_installed_anywhere", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("raise AssertionError", "AssertionError: "),
        (
            "import oracle, purenet as pn; s = oracle.Spec(pn.relu, cases=())",
            "ValueError: Spec of relu: at least one case is needed",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_clear_line(
    run: Run, module: Module, reports: Path, text: str, match: str
) -> None:
    module("broken", text)
    assert_one_line(run("verify", "broken:op"), Exit.USAGE, f"cannot import broken: {match}")
    assert texts(reports) == OLD


def test_an_op_without_inputs_says_how_to_give_them(run: Run, module: Module) -> None:
    module("no_spec", "from purenet import relu")
    code, _, err = run("verify", "no_spec:relu")
    assert code == Exit.USAGE
    assert 'check = oracle.Spec(relu, cases=(oracle.Case("typical", (x,)),), reference=jax_function)' in err


def test_two_specs_of_one_name_are_refused(run: Run, module: Module) -> None:
    module("twins", OWN + '\ntwin = oracle.Spec((cube_fwd, cube_bwd), cases=(oracle.Case("typical", (x + 1,)),))')
    match = "two Specs in twins have the same op and a case of the same name: rename one " + re.escape(
        "(op 'cube', case 'typical')"
    )
    for name in ("twins:right", "twins:twin", "twins:cube", "twins", "twins.py"):  # the last two name all of the module's ops
        assert_one_line(run("verify", name), Exit.USAGE, match)
    assert run("verify", "twins:wrong")[0] == Exit.FAIL
    module("apart", OWN + '\ntwin = oracle.Spec((cube_fwd, cube_bwd), cases=(oracle.Case("another", (x + 1,)),))')
    code, out, _ = run("verify", "apart")
    assert code == Exit.FAIL
    assert out.count("cube / typical") == out.count("cube / another") == 1


def test_an_op_that_is_named_twice_is_verified_once(run: Run, module: Module) -> None:
    module("own", OWN)
    for names, case in ((("own:right", "own:cube"), "typical"), (("relu", "relu"), "scalar")):
        code, out, _ = run("verify", *names, "--case", case)
        assert code == Exit.PASS
        assert out.count(f" / {case}") == 1


def test_an_unwritable_folder_is_known_before_anything_is_computed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "run", lambda *_, **__: pytest.fail("something was computed"))
    (tmp_path / "file").write_text("mine")
    assert_one_line(run("verify", "relu", "--reports", "file"), Exit.USAGE, "cannot write reports to file: File exists")
    assert_one_line(run("verify", "relu", "--reports", "file/x"), Exit.USAGE, "cannot write reports to file/x: Not a directory")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_report_that_cannot_be_replaced_changes_no_other(run: Run, reports: Path) -> None:
    (reports / "verification.md").unlink()
    (reports / "verification.md").mkdir()
    code, _, err = run("verify", "relu", "--case", "scalar")
    assert code == Exit.USAGE
    assert err.splitlines()[-1] == "oracle: cannot write reports to reports: Is a directory"
    assert (reports / "verification.json").read_text() == "old json"


def test_a_disk_that_fills_up_leaves_the_old_reports(run: Run, reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = run("verify", "relu", "--case", "scalar")
    assert code == Exit.USAGE
    assert err.splitlines()[-1] == "oracle: cannot write reports to reports: No space left on device"
    assert texts(reports) == OLD


# ---------------------------------------------------------------------------------------------- interrupts, our own faults


def test_an_interrupt_leaves_the_old_reports(run: Run, reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(campaign, "run", interrupted)
    assert_one_line(run("verify", "relu"), Exit.INTERRUPTED, "interrupted; the last reports are unchanged")
    assert texts(reports) == OLD


def test_a_fault_of_ours_has_its_own_exit_code_and_a_traceback(
    run: Run, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "run", lambda *_, **__: {}["ours"])
    code, out, err = run("verify", "relu")
    assert (code, out) == (Exit.INTERNAL, "")
    assert "KeyError: 'ours'" in err
    assert err.splitlines()[-1] == "oracle: internal error; the last reports are unchanged"
    assert texts(reports) == OLD


SLEEPER = """
import time
import numpy as np, oracle

def sleep_fwd(x):
    print("asleep", flush=True)
    time.sleep(3600)

def sleep_bwd(x, dy):
    return (dy,)

spec = oracle.Spec((sleep_fwd, sleep_bwd), cases=(oracle.Case("one", (np.ones(2),)), oracle.Case("two", (np.ones(2),))))
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_control_c_is_one_line_and_no_process_is_left(tmp_path: Path, module: Module, reports: Path, jobs: str) -> None:
    module("sleeper", SLEEPER)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        interruptible(ROOT / "oracle" / "__main__.py", "verify", "sleeper:spec", "--jobs", jobs),
        cwd=tmp_path,
        env=environment(),
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,  # a terminal sends the signal to all processes of the command
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "asleep\n"  # what an op prints is no output of the command
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)  # ends when no process holds the pipes any more
    message = err.replace("asleep\n", "", 1)  # the other process may have come to it, too
    assert (process.returncode, message) == (Exit.INTERRUPTED, "oracle: interrupted; the last reports are unchanged\n")
    assert texts(reports) == OLD


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(command("list"), cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (Exit.PASS, "")
