"""The output of the command line: for right and wrong gradients, for people and for programs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import purenet as pn
from oracle import Verdict
from oracle.cli.main import Exit, main
from oracle.running import campaign
from oracle.running.tasks import Task
from tests.oracle.conftest import OWN, Module, Run, command, environment

pytestmark = pytest.mark.usefixtures("in_this_process")

verified = cache(campaign.perform)


@pytest.fixture
def verified_once(monkeypatch: pytest.MonkeyPatch, own: str) -> str:
    """For tests of how rows are shown: they share the rows of a case. All of them have the same module of the user's."""
    monkeypatch.setattr(campaign, "perform", verified)
    return own


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
    assert {path.name for path in written.iterdir()} == {"index.html", "verification.json", "verification.md"}
    assert out.splitlines()[-1] == "written: here/there/index.html, verification.md, verification.json"
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
    code, out, _ = run("verify", "--family", "models", "--case", "one label in all rows", "--jobs", 1)
    assert code == Exit.PASS
    assert {row["family"] for row in rows_of(tmp_path / "reports")} == {"models"}
    assert "in 2 cases: 10 PASS" in out


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
        again = run(*shlex.split(text)[1:], "--reports", "again")  # the report of both cases stays
        assert again[0] == Exit.FAIL
        assert commands(again[1]) == [text]
        (row,) = rows_of(tmp_path / "again")
        first = rows[row["case"]]
        for field in ("verdict", "diagnosis", "analytic", "numerical", "autodiff", "worst_index"):
            assert row[field] == first[field]
        assert row["analytic"] == pytest.approx(2 * row["numerical"])
    page = (tmp_path / "again" / "verification.md").read_text()
    assert "## Failures" in page
    assert f"    {commands(again[1])[0]}\n" in page


@pytest.mark.parametrize("name", ["sgd, nesterov", "exponential_decay, floor"])
def test_a_wrong_optimizer_or_schedule_is_reproduced(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    perform = campaign.perform
    wrong = [replace(row, verdict=Verdict.FAIL) for row in perform(Task("", name, "", "float64", 2))]
    monkeypatch.setattr(campaign, "perform", lambda _: tuple(wrong))
    code, out, _ = run("verify", name, "--seed", 2, "--timeout", 0, "--jobs", 1)  # in this process
    assert code == Exit.FAIL
    monkeypatch.setattr(campaign, "perform", perform)
    (text,) = set(commands(out))
    code, out, _ = run(*shlex.split(text)[1:])
    assert code == Exit.PASS
    assert f"{len(wrong)} gradient" in out


def test_the_command_reproduces_dtype_and_seed(run: Run, own: str) -> None:
    arguments = ("verify", f"{own}:doubled", "--case", "typical", "--dtype", "float32", "--seed", "5")
    code, out, err = run(*arguments)
    assert code == Exit.FAIL
    assert [shlex.split(text) for text in commands(out)] == [["oracle", *arguments]]
    assert run(*shlex.split(commands(out)[0])[1:]) == (code, out, err)


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
        ("(np.array([1j], np.clongdouble),)", "TypeError: verify: x of square must be a floating-point array .*got c"),
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
def test_json_is_that_of_the_report_and_nothing_else(run: Run, verified_once: str, tmp_path: Path, name: str) -> None:
    code, out, err = run("verify", f"{verified_once}:{name}", "--json")
    assert code == (Exit.PASS if name == "right" else Exit.FAIL)
    assert err == ""
    assert out == (tmp_path / "reports" / "verification.json").read_text()
    assert {row["op"] for row in json.loads(out, parse_constant=pytest.fail)["rows"]} == {
        "cube" if name == "right" else "doubled"
    }


def test_quiet_prints_failures_and_totals_alone(run: Run, verified_once: str, tmp_path: Path) -> None:
    code, out, err = run("verify", f"{verified_once}:right", "-q")
    assert (code, out, err) == (Exit.PASS, "1 gradient of 1 op in 1 case: 1 PASS\n", "")
    code, out, err = run("verify", f"{verified_once}:right", f"{verified_once}:wrong", "--quiet")
    assert (code, err) == (Exit.FAIL, "")
    assert len(commands(out)) == 2
    assert out.splitlines()[-1] == "3 gradients of 2 ops in 3 cases: 1 PASS, 2 FAIL"
    assert "cube" not in out
    assert len(rows_of(tmp_path / "reports")) == 3


def test_verdicts_have_colours_if_they_are_asked_for(run: Run, verified_once: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, plain, _ = run("verify", f"{verified_once}:wrong")
    assert "\033" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, painted, _ = run("verify", f"{verified_once}:wrong")
    assert painted.startswith("\033[1;31mFAIL\033[0m  doubled / ")
    assert re.sub(r"\033\[[\d;]*m", "", painted) == plain
    _, out, _ = run("verify", f"{verified_once}:wrong", "--json")
    assert "\033" not in out


def test_json_has_no_nan(run: Run, module: Module) -> None:
    module("own_cases", CASES.replace("2 * x * dy,", "dy * np.nan,") + "spec = check((np.ones(2),))")
    code, out, _ = run("verify", "own_cases:spec", "--json")
    assert code == Exit.FAIL
    rows = json.loads(out, parse_constant=pytest.fail)["rows"]
    assert {row["verdict"] for row in rows} == {"FAIL"}
    assert {row["analytic"] for row in rows} == {"nan"}


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
@pytest.mark.usefixtures("verified_once")
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
        main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for text in ("verify", "list", "show", "seeds", "5 nothing checked"):
        assert text in " ".join(out.split())


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"oracle {pn.__version__} (package purenet, Python ")
