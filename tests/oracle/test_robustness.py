"""Whatever an op does to itself, its process or its report: one row shows it, and all other cases go on."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oracle.cli.main import Exit
from oracle.report import document
from tests.oracle.conftest import Module, Run, command, environment, report_in

PLANTED = r"""
import ctypes, multiprocessing, os, random, signal, sys, time, warnings
import numpy as np, oracle

X = np.array([1.0, -2.0, 3.0])

def cube_bwd(x, dy):
    return (3 * x**2 * dy,)

def spec_of(name, act=lambda: None, bwd=cube_bwd, fwd=None):
    def forward(x):
        act()
        return x**3, x
    forward = fwd or forward
    forward.__name__ = name
    return oracle.Spec((forward, bwd), cases=(oracle.Case("typical", (X,)),))

def swallows():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

def recurses():
    recurses()

def allocates():
    kept = []
    while True:
        kept.append(np.empty(1 << 48))

class Unsayable(BaseException):
    def __init__(self, one, two):
        pass
    def __str__(self):
        raise RuntimeError("no words")

def raises(error):
    raise error

def forks_and_stays():
    if os.fork() == 0:
        time.sleep(3600)

def writes_to(x):
    x[0] = 7
    return x**3, x

def in_c(name, *arguments):
    return lambda: getattr(ctypes.PyDLL(None), name)(*arguments)  # it holds Python's lock meanwhile

bad = {
    "hangs": lambda: time.sleep(3600),
    "hangs_in_c": in_c("sleep", 3600),
    "swallows_everything": swallows,
    "exits": lambda: sys.exit(0),
    "exits_at_once": lambda: os._exit(0),
    "is_killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "breaks_memory": lambda: ctypes.string_at(0),
    "raises": lambda: raises(RuntimeError("tired")),
    "raises_an_interrupt": lambda: raises(KeyboardInterrupt("mine")),
    "raises_what_cannot_be_said": lambda: raises(Unsayable(1, 2)),
    "recurses": recurses,
    "allocates": allocates,
    "prints": lambda: print("hello"),
    "prints_in_c": in_c("puts", b"from C"),
    "prints_in_another_program": lambda: os.system("echo from a shell"),
    "closes_standard_output": lambda: sys.stdout.close(),
    "closes_standard_error": lambda: sys.stderr.close(),
    "closes_the_descriptor": lambda: os.close(1),
    "closes_all": lambda: os.closerange(3, 256),
    "forks": os.fork,
    "forks_and_stays": forks_and_stays,
    "ignores_overflow": lambda: np.seterr(all="ignore"),
    "raises_overflow": lambda: np.seterr(all="raise"),
    "ignores_warnings": lambda: warnings.simplefilter("ignore"),
    "seeds": lambda: np.random.seed(0),
    "draws": lambda: np.random.normal(),
    "draws_elsewhere": lambda: random.random(),
    "leaves": lambda: os.chdir("/"),
    "handles_signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "replaces_standard_output": lambda: setattr(sys, "stdout", None),
    "sets_variables": lambda: os.environ.update(HOME="/nowhere"),
    "recurses_deeper": lambda: sys.setrecursionlimit(54321),
}
hanging, others = [], []
for name, act in bad.items():
    (hanging if name in ("hangs", "hangs_in_c", "swallows_everything") else others).extend(
        [spec_of(name, act), spec_of(f"after_{name}")]
    )
others += [
    spec_of("gives_nan", bwd=lambda x, dy: (x * np.nan,)),
    spec_of("gives_another_tree", bwd=lambda x, dy: ({"x": 3 * x**2 * dy},)),
    spec_of("gives_its_argument", bwd=lambda x, dy: (x,)),
    spec_of("writes_to_its_argument", fwd=writes_to),
]
"""

WHAT = {
    "hangs": "timed out after 1 s",
    "hangs_in_c": "timed out after 1 s",
    "swallows_everything": "timed out after 1 s",
    "exits": "the forward pass raised SystemExit: 0",
    "exits_at_once": "its process died twice: exit code 0",
    "is_killed": "its process died twice: killed by SIGKILL",
    "breaks_memory": "its process died twice: killed by SIG(SEGV|BUS)",
    "raises": "the forward pass raised RuntimeError: tired",
    "raises_an_interrupt": "cannot be verified: KeyboardInterrupt: mine",
    "raises_what_cannot_be_said": "cannot be verified: Unsayable",
    "recurses": "the forward pass raised RecursionError",
    "allocates": "the forward pass raised .*MemoryError",
    "prints": "prints to standard output, where the report goes: 'hello'",
    "prints_in_c": "prints to standard output, where the report goes: 'from C'",
    "prints_in_another_program": "prints to standard output, where the report goes: 'from a shell'",
    "closes_standard_output": "closes standard output",
    "closes_standard_error": "closes standard output or standard error",
    "closes_the_descriptor": "Bad file descriptor",
    "closes_all": "its process died twice",
    "forks": "forks this process",
    "forks_and_stays": "forks this process",
    "ignores_overflow": "changes global state: np.seterr",
    "raises_overflow": "changes global state: np.seterr",
    "ignores_warnings": "changes global state: the warning filters",
    "seeds": "changes global state: the global generator of np.random",
    "draws": "changes global state: the global generator of np.random",
    "draws_elsewhere": "changes global state: the global generator of random",
    "leaves": "changes global state: the working directory",
    "handles_signals": "changes global state: the signal handlers",
    "replaces_standard_output": "changes global state: sys.stdout",
    "sets_variables": "changes global state: os.environ",
    "recurses_deeper": "changes global state: the recursion limit",
    "gives_nan": "",
    "gives_another_tree": "the gradient has the structure",
    "gives_its_argument": "the gradient shares memory with the argument x",
    "writes_to_its_argument": "the forward pass writes to its argument",
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[int], dict[str, list[dict[str, Any]]], str, str]:
    """All planted ops in two runs, the first of which waits less: their exit codes, the rows of each op, their output."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted_ops.py").write_text(PLANTED)
    codes, out, err = set(), "", ""
    rows: dict[str, list[dict[str, Any]]] = {}
    for which, seconds, jobs in (("hanging", "1", "1"), ("others", "60", "2")):
        arguments = command("verify", f"planted_ops:{which}", "--timeout", seconds, "--jobs", jobs)
        done = subprocess.run(
            arguments, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=900
        )
        codes, out, err = codes | {done.returncode}, out + done.stdout, err + done.stderr
        for row in json.loads((folder / "reports" / "verification.json").read_text())["rows"]:
            rows.setdefault(row["op"], []).append(row)
    return codes, rows, out, err


@pytest.mark.xdist_group("planted")
def test_the_campaign_goes_on(planted: tuple[set[int], dict[str, Any], str, str]) -> None:
    codes, rows, out, err = planted
    assert codes == {Exit.FAIL}
    assert "Traceback" not in out
    assert len(rows) == 2 * len(WHAT) - 4
    assert set(WHAT) <= set(rows)
    for text in ("hello\n", "from C\n", "from a shell\n"):  # what is printed is there to be read, but not in the report
        assert text in err
        assert text not in out
    assert "the process of is_killed / typical / float64 died (killed by SIGKILL); trying once more" in err


@pytest.mark.xdist_group("planted")
@pytest.mark.parametrize("op", WHAT)
def test_whatever_an_op_does_is_a_row(planted: tuple[set[int], dict[str, Any], str, str], op: str) -> None:
    wrong = [row for row in planted[1][op] if row["verdict"] in ("ERROR", "FAIL")]
    assert wrong
    assert any(re.search(WHAT[op], row["diagnosis"]) for row in wrong), [row["diagnosis"] for row in wrong]


@pytest.mark.xdist_group("planted")
def test_no_other_op_is_the_worse_for_it(planted: tuple[set[int], dict[str, Any], str, str]) -> None:
    others = {op: [row["verdict"] for row in rows] for op, rows in planted[1].items() if op.startswith("after_")}
    assert len(others) == len(WHAT) - 4
    assert {op: found for op, found in others.items() if found != ["PASS"]} == {}


# ---------------------------------------------------------------------------------------------- names


HOSTILE = r"""
import numpy as np, oracle

def double_fwd(x):
    raise ValueError("\x1b[2J\x1b]0;title\x07 <b>bold</b> | cell \u202e \x9b31m \udcff")

def double_bwd(x, dy):
    return (2 * dy,)

double_fwd.__name__ = "evil\x1b[31mop"
NAMES = [
    "../../x", "/etc/passwd", "a/b", "a\\b", "CON", "nul.txt", "x" * 300, "..", "-rf", "\x1b[31mred", "two\nlines", "|<script>",
    "\u202eevil", "\udcff", "'; rm -rf ~; '", "$(touch pwned)", "`touch pwned`", "", " ", "é",
]
spec = oracle.Spec((double_fwd, double_bwd), cases=tuple(oracle.Case(name, (np.ones(2),)) for name in NAMES))
"""


def test_names_and_messages_only_show(run: Run, module: Module, tmp_path: Path) -> None:
    module("hostile_names", HOSTILE)
    code, out, err = run("verify", "hostile_names:spec", "--timeout", 0, "--jobs", 1)
    assert code == Exit.FAIL
    page = (tmp_path / "reports" / "verification.md").read_text(encoding="utf-8")
    for text in (out, err, page):
        assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text) == []
    assert [line for line in page.splitlines() if "<script>" in line and not line.startswith("    ")] == []  # but as code
    assert r"\x1b[31mred" in out


def test_folders_of_failures_are_names_for_every_file_system(run: Run, module: Module, tmp_path: Path) -> None:
    module("hostile_names", HOSTILE.replace('"evil\\x1b[31mop"', '"op"'))
    run("verify", "hostile_names:spec", "--timeout", 0, "--jobs", 1)
    root = tmp_path / "reports" / "failures"
    folders = sorted(path.name for path in root.iterdir())
    assert len(folders) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_.,=+() -]{1,120}", name) and name[-1] not in ". " for name in folders)
    assert all((root / name / "repro.py").is_file() for name in folders)
    assert {path.name for path in tmp_path.iterdir()} <= {"reports", "hostile_names.py", "__pycache__"}


def test_the_command_that_is_shown_names_the_case_to_a_shell(run: Run, module: Module, tmp_path: Path) -> None:
    module("hostile_names", HOSTILE.replace('"evil\\x1b[31mop"', '"op"'))
    found = run("verify", "hostile_names:spec", "--timeout", 0, "--jobs", 1)[1]
    for name, text in (
        ("\x1b[31mred", r"--case $'\x1b[31mred'"),
        ("two\nlines", r"--case $'two\nlines'"),
        ("$(touch pwned)", "--case '$(touch pwned)'"),
    ):
        (line,) = re.findall(f"reproduce: (.*{re.escape(text)})$", found, re.MULTILINE)
        words = line.replace("oracle verify", "printf '%s\\0' verify")  # a shell in place of the command says what it would get
        said = subprocess.run(["/bin/bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=True)
        arguments = said.stdout.split("\0")[:-1]
        assert arguments == ["verify", "hostile_names:op", "--case", name]
        again = run(*arguments, "--reports", "elsewhere", "--timeout", 0, "--jobs", 1)
        assert again[0] == Exit.FAIL
        assert [row["case"] for row in report_in(tmp_path / "elsewhere")["rows"]] == [name]
    assert not (tmp_path / "pwned").exists()


# ---------------------------------------------------------------------------------------------- which reports are replaced


@pytest.mark.usefixtures("in_this_process")
def test_a_run_of_less_leaves_the_report_alone(run: Run, own: str, tmp_path: Path) -> None:
    whole = run("verify", f"{own}:wrong", f"{own}:right")
    assert whole[1].count("\nwritten: reports/index.html, verification.md, verification.json\n") == 1
    before = (tmp_path / "reports" / "verification.json").read_text()
    code, out, _ = run("verify", f"{own}:right")
    assert code == Exit.PASS
    assert "1 gradient of 1 op in 1 case: 1 PASS" in out
    assert "not written: reports has a report of 3 cases, more than this run; use --reports DIR to save this one\n" in out
    assert (tmp_path / "reports" / "verification.json").read_text() == before
    assert len(list((tmp_path / "reports" / "failures").iterdir())) == 2
    assert "written: reports/" in run("verify", f"{own}:right", "--reports", "reports")[1]
    assert report_in(tmp_path / "reports")["totals"] == {"PASS": 1}
    assert list((tmp_path / "reports" / "failures").iterdir()) == []


@pytest.mark.usefixtures("in_this_process")
def test_the_same_selection_replaces_its_report_even_if_it_has_become_less(run: Run, own: str, tmp_path: Path) -> None:
    run("verify", f"{own}:wrong")
    report = tmp_path / "reports" / "verification.json"
    more = json.loads(report.read_text())
    more["environment"]["cases"] = 99
    report.write_text(json.dumps(more))
    assert "written: reports/" in run("verify", f"{own}:wrong")[1]
    assert report_in(tmp_path / "reports")["environment"]["cases"] == 2


@pytest.mark.parametrize(
    "text", ["", "[]", '{"rows": 3}', '{"rows": [{}], "environment": {}}', "null", '{"rows": [], "environment": []}']
)
def test_what_is_no_report_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "verification.json").write_text(text)
    assert document.larger(tmp_path, 1, "relu") == ""


def test_reports_of_the_same_code_differ_in_their_seconds_alone(run: Run, own: str, tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        run("verify", f"{own}:both", "--timeout", 0, "--jobs", 1)
        text = (tmp_path / "reports" / "verification.json").read_text()
        assert re.search(r'"seconds": \{\n(  "[^\n]*": [0-9.]+,?\n)+ \}\n\}\n$', text)
        texts.append(re.sub(r'"seconds": (\{[^}]*\}|\d+)', "", text))
    assert texts[0] == texts[1]
