"""Annotations at the wrong pullbacks, and the summary of a workflow."""

from __future__ import annotations

import re
from functools import partial, wraps
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import oracle
import purenet as pn
from oracle import Verdict
from oracle.cli.main import Exit
from oracle.report import github
from oracle.report.places import Place, place_of, place_of_pullback
from oracle.row import Row
from tests.oracle.conftest import ON_GITHUB, Module, Run
from tests.oracle.rows import HOSTILE, failing, reproduce, row

COMMAND = re.compile(r"::error (.*?)::(.*)")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ON_GITHUB:
        monkeypatch.delenv(name, raising=False)


def unescaped(text: str) -> str:
    for code, character in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def read(line: str) -> tuple[dict[str, str], str]:
    """The properties and the message of an annotation, as GitHub reads them."""
    found = COMMAND.fullmatch(line)
    assert found is not None, line
    properties = dict(part.split("=", 1) for part in found[1].split(","))
    return {name: unescaped(value) for name, value in properties.items()}, unescaped(found[2])


def lines_of(rows: list[Row], place: Place | None = None) -> list[tuple[dict[str, str], str]]:
    return [read(line) for line in github.error_lines(rows, lambda _: place, reproduce)]


# ------------------------------------------------------------------------------------------------- places


def plain_fwd(x: Any) -> Any:
    return x, x


def plain_bwd(x: Any, dy: Any) -> Any:
    return (dy,)


class Layer:
    def backward(self, x: Any, dy: Any) -> Any:
        return (dy,)

    def __call__(self, x: Any, dy: Any) -> Any:
        return (dy,)


@wraps(plain_fwd)
def decorated_fwd(x: Any) -> Any:
    return plain_fwd(x)


@jax.custom_vjp
def kernel(x: Any) -> Any:
    return x


kernel.defvjp(plain_fwd, plain_bwd)


def line_of(function: Any) -> Place:
    return Place(Path(__file__), function.__code__.co_firstlineno)


@pytest.mark.parametrize(
    ("op", "written"),
    [
        ((plain_fwd, plain_bwd), plain_bwd),
        ((decorated_fwd, plain_bwd), plain_bwd),
        ((plain_fwd, partial(plain_bwd)), plain_bwd),
        ((plain_fwd, Layer().backward), Layer.backward),
        ((plain_fwd, Layer()), Layer.__call__),
        ((plain_fwd, np.sin), plain_fwd),  # it has no line of Python
        (kernel, plain_bwd),
        (jax.jit(kernel), plain_bwd),
        (jax.jit(plain_fwd), plain_fwd),
    ],
)
def test_the_place_of_a_pullback_is_where_its_author_wrote_it(op: Any, written: Any) -> None:
    assert place_of_pullback(op) == line_of(written)


def test_the_place_of_an_op_is_that_of_its_pullback() -> None:
    place = place_of_pullback(pn.relu)
    assert place is not None
    assert place.file.read_text().splitlines()[place.line - 1 :][:2][0].startswith("@relu.")


def test_a_rule_of_torch_is_written_in_its_class() -> None:
    torch = pytest.importorskip("torch")

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy

    class Module(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x

    assert place_of_pullback(Rule) == place_of_pullback(Rule.apply) == line_of(Rule.backward)
    assert place_of_pullback(oracle.adapters.of_torch(Module())) == line_of(Module.forward)


def test_what_has_no_line_of_its_own_has_no_place() -> None:
    names: dict[str, Any] = {}
    exec("def f(x): return x", names)  # noqa: S102
    assert place_of(names["f"]) is None
    assert place_of(np.sin) is None
    assert place_of_pullback(3) is None
    assert place_of_pullback(pn.chain(a=pn.tanh)) is None


# ------------------------------------------------------------------------------------------------- annotations


def test_an_annotation_has_the_place_the_cause_and_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    ((properties, message),) = lines_of([failing(), row()], Place(tmp_path / "nets" / "layer.py", 12))
    assert properties == {
        "file": "nets/layer.py",
        "line": "12",
        "title": "FAIL squared_error / two dimensions / predictions",
    }
    assert message.splitlines() == [
        "constant factor: predictions is 2 times the true gradient everywhere",
        "at predictions[2, 4]: hand-written 2, differences 1 (+- 1.0e-13 of the largest entry), JAX 1; dy is random",
        "reproduce: oracle verify squared_error --case 'two dimensions'",
    ]


def test_paths_begin_at_the_repository_of_the_workflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    monkeypatch.chdir(tmp_path / "package")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    ((properties, _),) = lines_of([failing()], Place(tmp_path / "package" / "layer.py", 3))
    assert properties["file"] == "package/layer.py"


def test_a_file_outside_the_repository_stands_in_the_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ((properties, message),) = lines_of([failing()], Place(tmp_path / "installed.py", 3))
    assert list(properties) == ["title"]
    assert message.endswith(f"written in {tmp_path / 'installed.py'}:3")
    ((properties, message),) = lines_of([failing()])
    assert list(properties) == ["title"]
    assert "written in" not in message


@pytest.mark.parametrize("name", ["a,line=1", "a::b", "100 %", "50%0A", "a\nb\rc", "\x1b[2J", HOSTILE])
def test_names_cannot_break_an_annotation(name: str) -> None:
    (line,) = github.error_lines([failing(op=name, diagnosis=f"wrong: {name}")], lambda _: None, reproduce)
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    properties, message = read(line)
    assert list(properties) == ["title"]
    if name.isprintable():
        assert properties["title"] == f"FAIL {name} / two dimensions / predictions"
        assert message.splitlines()[0] == f"wrong: {name}"


def test_rows_with_one_cause_are_one_annotation_and_passes_are_none() -> None:
    rows = [failing(parameter=name, diagnosis=f"constant factor: {name} is 2 times the true gradient") for name in "xyz"]
    unknown = [failing(op="other", parameter=name, diagnosis="no known cause") for name in "xy"]
    found = lines_of([row(), *rows, *unknown, row(verdict=Verdict.KINK)])
    assert [properties["title"] for properties, _ in found] == [
        "FAIL squared_error / two dimensions",
        "FAIL other / two dimensions",
    ]
    assert "each of x, y, z is 2 times" in found[0][1]
    assert "3 rows, the first of them squared_error / two dimensions / x" in found[0][1]
    assert "2 rows, the first of them other / two dimensions / x" in found[1][1]


def test_every_verdict_that_does_not_pass_is_an_error() -> None:
    wrong = [verdict for verdict in Verdict if not verdict.passes]
    titles = [properties["title"] for properties, _ in lines_of([failing(op=str(v), verdict=v) for v in Verdict])]
    assert {title.split()[0] for title in titles} == set(map(str, wrong))


@pytest.mark.parametrize("ops", [10, 11, 25])
def test_github_shows_ten_errors_so_the_tenth_sums_up_the_rest(ops: int) -> None:
    found = lines_of([failing(op=f"op {number}", used=1e9 - number) for number in range(ops)])
    assert len(found) == 10
    if ops == 10:
        assert found[-1][0]["title"].startswith("FAIL op 9 ")
    else:
        assert found[-1][0] == {"title": f"{ops - 9} more do not pass"}
        assert f"op 9, op 10{', op 11' if ops > 11 else ''}" in found[-1][1]


def test_long_texts_are_cut_to_what_github_takes() -> None:
    (line,) = github.error_lines([failing(case="c" * 1000, diagnosis="d" * 10**6)], lambda _: None, reproduce)
    properties, message = read(line)
    assert len(properties["title"]) == 255
    assert len(message) == 60_000


# ------------------------------------------------------------------------------------------------- the summary


def test_the_summary_has_failures_first_and_folded_passes() -> None:
    text = github.summary([row(op="right"), failing(), row(op="right", parameter="targets")], reproduce)
    head, failures, passes = (text.index(part) for part in ("## Gradients: not all are right", "### FAIL", "<details>"))
    assert head < failures < passes
    assert "3 gradients of 2 ops in 2 cases: 2 PASS, 1 FAIL." in text
    assert "constant factor: predictions is 2 times" in text
    assert "<summary>2 rows pass</summary>" in text
    assert re.search(r"\| right +\| 2 +\| 2.5e-13 +\| 0 +\| 2 PASS +\|", text)
    assert "## Gradients: all right" in github.summary([row()], reproduce)


def test_the_summary_of_an_interrupted_run_says_so() -> None:
    text = github.summary([row()], reproduce, "interrupted when 1 of 2 cases were done")
    assert text.startswith("## Gradients: unfinished\n")
    assert "**interrupted when 1 of 2 cases were done.**" in text
    assert "all right" not in text


def test_many_ops_are_folded_into_families() -> None:
    text = github.summary([row(op=f"op {number}") for number in range(61)], reproduce)
    assert re.search(r"\| losses +\| 61 ", text)
    assert "op 7" not in text


def test_names_cannot_break_the_summary() -> None:
    text = github.summary([failing(op=HOSTILE), row(op=HOSTILE)], lambda _: "oracle verify")
    assert "<script>" not in text
    assert "\n# heading" not in text


def test_a_summary_stays_below_what_github_takes_and_says_what_it_leaves_out() -> None:
    rows = [failing(op=f"op {number}", diagnosis="d" * 50_000) for number in range(40)]
    text = github.summary([*rows, row()], reproduce)
    assert 900_000 < len(text.encode()) <= 1_000_000
    left = re.search(r"(\d+) parts left out", text)
    assert left is not None
    assert text.count("### FAIL") == 40 - int(left[1])
    assert "<details>" in text  # a part that fits is not left out for one before it


@pytest.mark.parametrize("before", ["", "of another command\n", "x" * (2**20 - 100)])
def test_a_summary_is_appended_to_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str) -> None:
    path = tmp_path / "summary.md"
    path.write_text(before)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    github.write_summary([failing()], reproduce)
    text = path.read_text()
    assert text.startswith(before)
    assert ("### FAIL" in text) == (len(before) < 1000)
    assert len(text) < 2**20


def test_a_summary_that_cannot_be_written_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    github.write_summary([row()], reproduce)  # no workflow: nothing happens
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    github.write_summary([row()], reproduce)
    assert capsys.readouterr().err == f"oracle: cannot write the summary to {tmp_path}: Is a directory\n"


# ------------------------------------------------------------------------------------------------- the command


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("way", ["--github", "GITHUB_ACTIONS"])
def test_the_command_annotates_the_line_of_the_pullback(
    run: Run, own: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    if way == "GITHUB_ACTIONS":
        monkeypatch.setenv(way, "true")
    options = [way] if way.startswith("--") else []
    code, out, err = run("verify", f"{own}:wrong", f"{own}:right", "-q", *options)
    assert code == Exit.FAIL
    assert "::error" not in out
    found = [read(line) for line in err.splitlines() if line.startswith("::error")]
    source = (tmp_path / "own_ops.py").read_text().splitlines()
    for properties, message in found:
        assert properties["file"] == "own_ops.py"
        assert source[int(properties["line"]) - 1] == "def doubled_bwd(x, dy):"
        assert message.startswith("constant factor")
    titles = {properties["title"] for properties, _ in found}
    assert titles == {"FAIL doubled / typical / x", "FAIL doubled / it's another / x"}  # of several rows the causes differ
    summary = (tmp_path / "summary.md").read_text()
    assert "not all are right" in summary
    assert "1 row passes" in summary


@pytest.mark.usefixtures("in_this_process")
def test_elsewhere_the_command_prints_no_annotation(
    run: Run, own: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    _, out, err = run("verify", f"{own}:wrong", "-q")
    assert "::error" not in out + err
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.usefixtures("in_this_process")
def test_a_case_that_is_lost_is_annotated_at_its_pullback_too(run: Run, module: Module) -> None:
    text = "import numpy as np\nimport oracle\ndef f_fwd(x): return x, x\ndef f_bwd(x, dy): return (dy,)\n"
    module("lost_ops", f"{text}check = oracle.Spec((f_fwd, f_bwd), cases=(oracle.Case('c', lambda draw: 1 / 0),))\n")
    code, _, err = run("verify", "lost_ops:check", "-q", "--github")
    assert code == Exit.FAIL
    assert "::error file=lost_ops.py,line=4,title=ERROR f / c::cannot be verified%3A" in err.replace("verified:", "verified%3A")
