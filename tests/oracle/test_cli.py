"""The command line: what it prints, how it exits, and one clear line for everything a user can do wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from oracle import Spec, Verdict, campaign, catalogue, cli
from oracle.cli import Exit
from oracle.report import document

ROOT = Path(__file__).parents[2]
OLD = {"verification.json": "old json", "verification.md": "old page"}

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


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in a folder of its own: its exit code, and what it wrote to stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "100")
    capfd.readouterr()

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(list(map(str, arguments)))
        return code, *capfd.readouterr()

    return call


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
        ("show", Exit.USAGE, r"the following arguments are required: OP \(see `oracle show --help`\)"),
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
            r"no family is named 'loses'; did you mean losses\? \(families: .*activations, linear.*\)",
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
        ("verify --seed 1.5", Exit.USAGE, r"argument --seed: expected an integer from 0, got '1\.5'.*"),
        ("verify --seed", Exit.USAGE, r"argument --seed: expected one argument.*"),
        ("verify --bogus", Exit.USAGE, r"unrecognized arguments: --bogus.*"),
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
        ("verify :op", Exit.USAGE, r"cannot import : ValueError: .*"),
        ("verify own_ops:", Exit.USAGE, r"'own_ops:' names no op; write own_ops:OP"),
        ("verify own_ops:cub", Exit.USAGE, r"own_ops has no 'cub'; did you mean cube.*\?"),
        (
            "verify own_ops:x",
            Exit.USAGE,
            r"own_ops:x has no inputs to verify it at: add a Spec to own_ops, such as .*oracle\.Spec\(x, .*",
        ),
        ("verify own_ops:np", Exit.USAGE, r"own_ops:np has no inputs to verify it at.*"),
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
    match = "two Specs in twins have the same op and a case of the same name: rename one"
    for name in ("twins:right", "twins:twin", "twins:cube"):
        assert_one_line(run("verify", name), Exit.USAGE, match)
    assert run("verify", "twins:wrong")[0] == Exit.FAIL


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


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "oracle", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_control_c_is_one_line_and_no_process_is_left(tmp_path: Path, module: Module, reports: Path, jobs: str) -> None:
    module("sleeper", SLEEPER)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command("verify", "sleeper:spec", "--jobs", jobs),
        cwd=tmp_path,
        env=environment(),
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,  # a terminal sends the signal to all processes of the command
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)  # ends when no process holds the pipes any more
    assert process.returncode == Exit.INTERRUPTED
    assert err == "oracle: interrupted; the last reports are unchanged\n"
    assert texts(reports) == OLD


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(command("list"), cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (Exit.PASS, "")


# ---------------------------------------------------------------------------------------------- what is right


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "verification.json").read_text())["rows"]
    return rows


def test_a_module_is_run_as_a_command(tmp_path: Path) -> None:
    arguments = command("verify", "relu", "--case", "scalar")
    result = subprocess.run(
        arguments, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert (result.returncode, result.stderr) == (Exit.PASS, "verify: 1 of 1\n")
    assert "1 gradient of 1 op in 1 case: 1 PASS" in result.stdout
    assert [row["verdict"] for row in rows_of(tmp_path / "reports")] == ["PASS"]


def test_reports_are_written_and_say_what_was_done(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("verify", "relu", "affine", "--case", "one row", "--seed", 3, "--reports", "here/there")
    assert code == Exit.PASS
    written = tmp_path / "here" / "there"
    assert set(texts(written)) == {"verification.json", "verification.md"}
    assert out.splitlines()[-1] == "written: here/there/verification.md, here/there/verification.json"
    found = json.loads((written / "verification.json").read_text())
    assert found["environment"]["command"] == "oracle verify relu affine --case 'one row' --seed 3 --reports here/there"
    assert found["environment"]["seed"] == 3
    assert [(row["op"], row["parameter"]) for row in found["rows"]] == [
        ("relu", "x"),
        ("affine", "params.b"),
        ("affine", "params.w"),
        ("affine", "x"),
    ] or {row["op"] for row in found["rows"]} == {"relu", "affine"}
    assert found["totals"] == {"PASS": 4}


def test_a_family_is_verified_by_its_name(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("verify", "--family", "linear", "--jobs", 1)
    assert code == Exit.PASS
    assert {row["family"] for row in rows_of(tmp_path / "reports")} == {"linear"}
    assert "1 op in 6 cases: 17 PASS" in out


def test_all_dtypes_are_verified(run: Run, tmp_path: Path) -> None:
    code, _, _ = run("verify", "relu", "--dtype", "all", "--case", "scalar")
    assert code == Exit.PASS
    assert [row["dtype"] for row in rows_of(tmp_path / "reports")] == ["float64", "float32", "float16", "bfloat16"]


def test_a_seed_draws_other_numbers(run: Run, tmp_path: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        assert run("verify", "tanh", "--case", "two dimensions", "--seed", seed)[0] == Exit.PASS
        found.append(rows_of(tmp_path / "reports")[0]["analytic"])
    assert found[0] == found[1] != found[2]


def test_an_optimizer_is_followed_step_by_step(run: Run, tmp_path: Path) -> None:
    code, _, _ = run("verify", "exponential_decay")
    assert code == Exit.PASS
    assert {row["family"] for row in rows_of(tmp_path / "reports")} == {"schedules"}


@pytest.mark.parametrize("name", ["right", "cube", "cube_fwd", "both"])
def test_an_own_op_is_found_by_its_spec_its_name_or_its_function(run: Run, own: str, tmp_path: Path, name: str) -> None:
    assert run("verify", f"{own}:{name}")[0] == Exit.PASS
    assert "cube" in {row["op"] for row in rows_of(tmp_path / "reports")}


@pytest.mark.parametrize("name", ["net", "chained", "chain(first, second)"])
def test_an_own_chain_is_found_too(run: Run, own: str, tmp_path: Path, name: str) -> None:
    assert run("verify", f"{own}:{name}")[0] == Exit.PASS
    assert {row["op"] for row in rows_of(tmp_path / "reports")} == {"chain(first, second)"}


def test_own_ops_and_the_catalogues_go_together(run: Run, own: str, tmp_path: Path) -> None:
    assert run("verify", f"{own}:right", "relu", "--jobs", 1)[0] == Exit.PASS
    assert {row["op"] for row in rows_of(tmp_path / "reports")} == {"cube", "relu"}


def test_a_module_in_a_package_is_found_from_here(run: Run, module: Module) -> None:
    module("own_package.ops", OWN)
    assert run("verify", "own_package.ops:right")[0] == Exit.PASS


# ---------------------------------------------------------------------------------------------- what is wrong


def commands(out: str) -> list[str]:
    return re.findall(r"reproduce: (.*)", out)


def test_a_wrong_op_is_placed_diagnosed_and_reproduced(run: Run, own: str, tmp_path: Path) -> None:
    code, out, _ = run("verify", f"{own}:wrong")
    assert code == Exit.FAIL
    assert len(re.findall(r"^FAIL  doubled / .* / x  float64", out, re.MULTILINE)) == 2
    assert "x[0, 1]: hand-written" in out  # where 3 x^2 is largest
    assert out.count("constant factor: x is 2 times the true gradient everywhere") == 2
    assert "2 gradients of 1 op in 2 cases: 2 FAIL" in out
    rows = {row["case"]: row for row in rows_of(tmp_path / "reports")}
    assert sorted(commands(out)) == [
        """oracle verify own_ops:doubled --case 'it'"'"'s another'""",
        "oracle verify own_ops:doubled --case typical",
    ]
    for text in commands(out):
        again = run(*shlex.split(text)[1:])
        assert again[0] == Exit.FAIL
        assert commands(again[1]) == [text]
        (row,) = rows_of(tmp_path / "reports")
        first = rows[row["case"]]
        for field in ("verdict", "diagnosis", "analytic", "numerical", "autodiff", "worst_index"):
            assert row[field] == first[field]
        assert row["analytic"] == pytest.approx(2 * row["numerical"])
    page = (tmp_path / "reports" / "verification.md").read_text()
    assert "## Failures" in page
    assert f"    {commands(again[1])[0]}\n" in page


@pytest.mark.parametrize("name", ["sgd, nesterov", "exponential_decay, floor"])
def test_a_wrong_optimizer_or_schedule_is_reproduced(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    perform = campaign.perform
    wrong = [replace(row, verdict=Verdict.FAIL) for row in perform(campaign.Task("", name, "", "float64", 2))]
    monkeypatch.setattr(campaign, "perform", lambda _: tuple(wrong))
    code, out, _ = run("verify", name, "--seed", 2)
    assert code == Exit.FAIL
    monkeypatch.setattr(campaign, "perform", perform)
    (text,) = set(commands(out))
    code, out, _ = run(*shlex.split(text)[1:])
    assert code == Exit.PASS
    assert f"{len(wrong)} gradient" in out


def test_the_command_reproduces_dtype_and_seed(run: Run, own: str, tmp_path: Path) -> None:
    arguments = ("verify", f"{own}:doubled", "--case", "typical", "--dtype", "float32", "--seed", "5")
    code, out, _ = run(*arguments)
    assert code == Exit.FAIL
    assert [shlex.split(text) for text in commands(out)] == [["oracle", *arguments]]
    result = subprocess.run(
        [sys.executable, "-m", *shlex.split(commands(out)[0])],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == Exit.FAIL
    assert result.stdout == out


CASES = """
import numpy as np, oracle

def square_fwd(x):
    return x * x, x

def square_bwd(x, dy):
    return (2 * x * dy,)

def unlucky(draw):
    raise RuntimeError("no such file")

def check(*arguments):
    return oracle.Spec((square_fwd, square_bwd), cases=(oracle.Case("only", *arguments), oracle.Case("fine", (np.ones(2),))))

"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_case_that_cannot_be_verified_is_a_row_and_the_others_are_verified(run: Run, module: Module, jobs: str) -> None:
    module("own_cases", f"{CASES}spec = check((np.array([1.0, np.nan]),))")
    code, out, err = run("verify", "own_cases:spec", "--jobs", jobs)
    assert code == Exit.FAIL
    assert "Traceback" not in err
    assert "cannot be verified: ValueError: verify: x of square holds NaN" in " ".join(out.split())
    assert "2 gradients of 1 op in 2 cases: 1 PASS, 1 ERROR" in out


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (
            "(np.array([3, 2]),)",
            "TypeError: verify: x of square must be a floating-point array .*got int64; x \\+ h would be truncated",
        ),
        ("(np.array([1j]),)", "TypeError: verify: x of square must be a floating-point array .*got complex128"),
        ("(np.array([1.0], object),)", "TypeError: verify: x of square must be a floating-point array .*got object"),
        ("(np.array([np.inf]),)", "ValueError: verify: x of square holds infinity"),
        ("()", "ValueError: verify: square got no arguments to differentiate"),
        ("unlucky", "RuntimeError: no such file"),
    ],
)
def test_what_cannot_be_verified_is_said(run: Run, module: Module, arguments: str, cause: str) -> None:
    module("own_cases", f"{CASES}spec = check({arguments})")
    code, out, err = run("verify", "own_cases:spec", "--case", "only")
    assert code == Exit.FAIL
    assert "Traceback" not in err
    assert re.search(f"ERROR square / only cannot be verified: {cause}", " ".join(out.split()))
    assert commands(out) == ["oracle verify own_cases:square --case only"]


# ---------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("name", ["right", "wrong"])
def test_json_is_that_of_the_report_and_nothing_else(run: Run, own: str, tmp_path: Path, name: str) -> None:
    code, out, err = run("verify", f"{own}:{name}", "--json")
    assert code == (Exit.PASS if name == "right" else Exit.FAIL)
    assert err == ""
    assert out == (tmp_path / "reports" / "verification.json").read_text()
    assert {row["op"] for row in json.loads(out, parse_constant=pytest.fail)["rows"]} == {
        "cube" if name == "right" else "doubled"
    }


def test_json_has_no_nan(run: Run, module: Module) -> None:
    module("own_cases", CASES.replace("2 * x * dy,", "dy * np.nan,") + "spec = check((np.ones(2),))")
    code, out, _ = run("verify", "own_cases:spec", "--json")
    assert code == Exit.FAIL
    rows = json.loads(out, parse_constant=pytest.fail)["rows"]
    assert {row["verdict"] for row in rows} == {"FAIL"}
    assert {row["analytic"] for row in rows} == {"nan"}


# ---------------------------------------------------------------------------------------------- list, show


def test_all_records_are_listed(run: Run) -> None:
    code, out, err = run("list")
    assert (code, err) == (Exit.PASS, "")
    names = [record.name for record in (*catalogue.specs(), *catalogue.trajectories())]
    assert [name for name in names if not all(part in out for part in name.split())] == []  # a long one may be wrapped
    assert (
        out.splitlines()[-1]
        == f"{len(names)} in {len({r.family for r in (*catalogue.specs(), *catalogue.trajectories())})} families"
    )


def test_a_family_is_listed(run: Run) -> None:
    code, out, _ = run("list", "--family", "penalties")
    assert code == Exit.PASS
    assert "l1_penalty" in out
    assert "relu" not in out
    assert out.splitlines()[-1] == "2 in 1 families"


RECORDS = [*catalogue.specs(), *catalogue.trajectories()]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_the_places_that_are_shown_exist(run: Run, record: Any) -> None:
    code, out, err = run("show", record.name)
    assert (code, err) == (Exit.PASS, "")
    places = re.findall(r"(\S+\.py):(\d+)", out)
    for path, line in places:
        assert int(line) <= len(Path(path).read_text().splitlines())
    if isinstance(record, Spec):
        for label in ("forward", "pullback", "reference", *(f"case {c.name!r}" for c in record.cases)):
            assert re.search(rf"^{re.escape(label)} ", out, re.MULTILINE), label
        assert str(record.source) in out
    else:
        assert places


def test_a_place_is_where_the_thing_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, out, _ = run("show", "affine")
    shown = dict(re.findall(r"^(\w+)\s+(\S+:\d+)", out, re.MULTILINE))
    for label, path, text in (
        ("forward", "purenet/linear.py", "@Op"),
        ("pullback", "purenet/linear.py", "@affine.pullback"),
        ("reference", "oracle/catalogue/linear.py", "def affine_by_dot("),
    ):
        found, line = shown[label].split(":")
        assert found == path
        assert (ROOT / path).read_text().splitlines()[int(line) - 1].startswith(text)


# ---------------------------------------------------------------------------------------------- widths, help


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["verify", "own_ops:wrong"],
        [
            "verify",
            "own_ops:both",
            "softmax_cross_entropy_with_probabilities",
            "two_layer_net_last_relu_goal",
            "--case",
            "typical",
        ],
        ["verify", "softmax_cross_entropy_with_probabilities", "--jobs", "1"],
        ["verify", "two_layer_net_last_relu_goal", "--case", "batch of 4"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
@pytest.mark.usefixtures("own")
def test_what_is_printed_fits_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, width: int, arguments: Sequence[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = run(*arguments)
    lines = [line for line in out.splitlines() if "reproduce: " not in line]  # a command is there to be copied
    assert len(lines) > 3
    assert max(map(len, lines)) <= width


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for text in ("verify", "list", "show", "seeds", "5 nothing checked"):
        assert text in " ".join(out.split())
