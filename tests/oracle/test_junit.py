"""The report as JUnit XML."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from oracle import Verdict
from oracle.cli.main import Exit
from oracle.report.junit import junit
from oracle.row import VALUES, Row
from oracle.running import campaign
from tests.oracle.conftest import Module, Run
from tests.oracle.rows import ENVIRONMENT, HOSTILE, failing, reproduce, row

ATTRIBUTES = {
    "testsuites": {"name"},
    "testsuite": {"name", "errors", "failures", "skipped", "tests", "time", "timestamp", "hostname"},
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "system-out": set(),
}
"""Of pytest's schema xunit2."""


def suite_of(rows: list[Row], **environment: str) -> ET.Element:
    """The suite, after a check that the document has only what the schema has."""
    root = ET.fromstring(junit(rows, {**ENVIRONMENT, **environment}, reproduce))  # noqa: S314 - our own
    for element in root.iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag]
    (suite,) = root
    assert all(case.tag == "testcase" and len(case) <= 1 for case in suite)
    return suite


def test_every_row_is_a_test() -> None:
    suite = suite_of([row(seconds=0.25), failing(op="wrong", seconds=0.5), failing(op="lost", verdict=Verdict.ERROR)])
    assert [case.attrib for case in suite] == [
        {"classname": "losses.squared_error", "name": "two dimensions/predictions/float64", "time": "0.250"},
        {"classname": "losses.wrong", "name": "two dimensions/predictions/float64", "time": "0.500"},
        {"classname": "losses.lost", "name": "two dimensions/predictions/float64", "time": "0.000"},
    ]
    totals = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert totals == {"tests": "3", "failures": "1", "errors": "1", "skipped": "0", "time": "0.750"}


def test_a_failure_has_the_cause_and_the_details() -> None:
    ((found,),) = suite_of([failing()])
    cause = "constant factor: predictions is 2 times the true gradient everywhere"
    assert found.tag == "failure"
    assert found.attrib == {"message": cause, "type": "FAIL"}
    text = found.text or ""
    assert text.startswith("FAIL  squared_error / two dimensions / predictions  float64 3x5\n")
    for part in (cause, "hand-written 2, differences 1", f"reproduce: {reproduce(failing())}"):
        assert part in text


@pytest.mark.parametrize("verdict", Verdict)
def test_what_does_not_pass_is_a_failure_and_what_raised_is_an_error(verdict: Verdict) -> None:
    (case,) = suite_of([failing(verdict=verdict, diagnosis="a remark")])
    expected = "system-out" if verdict.passes else "error" if verdict is Verdict.ERROR else "failure"
    assert [child.tag for child in case] == [expected]
    assert "a remark" in (case[0].text or "")


def test_rows_about_one_parameter_have_names_of_their_own() -> None:
    rows = [
        row(),
        failing(evidence="contract"),
        failing(evidence="contract"),
        failing(parameter="", evidence=VALUES),
        failing(parameter="", verdict=Verdict.ERROR, evidence="", case="", dtype=""),
        row(order=2),
    ]
    assert [case.get("name") for case in suite_of(rows)] == [
        "two dimensions/predictions/float64",
        "two dimensions/predictions contract/float64",
        "two dimensions/predictions contract/float64 (2)",
        "two dimensions/(the op) forward pass/float64",
        "(the op)",
        "two dimensions/predictions order 2/float64",
    ]


@pytest.mark.parametrize("name", ["\x00\x1b[2J\x7f", "\ud800", "\ufffe\uffff", "\u202e", HOSTILE, "]]>", "\"<&>'"])
def test_no_name_breaks_the_document(name: str) -> None:
    rows = [failing(op=f"a{name}", case=f"b{name}", parameter=f"c{name}", diagnosis=f"d{name}"), row(diagnosis=f"e{name}")]
    suite = suite_of(rows)
    assert (suite[0][0].get("message") or "").startswith("d")
    assert junit(rows, ENVIRONMENT, reproduce).encode("utf-8")


def test_an_unfinished_run_is_no_success() -> None:
    suite = suite_of([row()], unfinished="interrupted when 1 of 2 cases were done")
    assert suite.get("errors") == "1"
    assert suite[1].get("name") == "the whole run"
    assert suite[1][0].get("message") == "interrupted when 1 of 2 cases were done"


@pytest.mark.usefixtures("in_this_process")
def test_the_command_writes_the_file(run: Run, own: str, tmp_path: Path) -> None:
    code, out, _ = run("verify", f"{own}:wrong", f"{own}:right", "--junit", "found/junit.xml")
    assert code == Exit.FAIL
    assert "written: found/junit.xml" in out.splitlines()
    (suite,) = ET.parse(tmp_path / "found" / "junit.xml").getroot()  # noqa: S314
    found: list[Any] = [(case.get("classname"), case.get("name"), [child.tag for child in case]) for case in suite]
    assert sorted(found) == [
        ("own_ops.cube", "typical/x/float64", []),
        ("own_ops.doubled", "it's another/x/float64", ["failure"]),
        ("own_ops.doubled", "typical/x/float64", ["failure"]),
    ]


@pytest.mark.usefixtures("in_this_process")
def test_the_file_of_an_interrupted_command_says_so(
    run: Run, own: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = campaign.run

    def interrupted(tasks: Any, *arguments: Any, **options: Any) -> None:
        whole(tasks[:1], *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(campaign, "run", interrupted)
    code, _, _ = run("verify", f"{own}:both", "--junit", "junit.xml")
    assert code == Exit.INTERRUPTED
    (suite,) = ET.parse(tmp_path / "junit.xml").getroot()  # noqa: S314
    assert [(case.get("name"), [child.get("message") for child in case]) for case in suite] == [
        ("typical/x/float64", []),
        ("the whole run", ["interrupted when 1 of 2 cases were done"]),
    ]


@pytest.mark.parametrize("place", ["folder", "file/junit.xml"])
def test_a_file_that_cannot_be_written_is_found_before_any_case(run: Run, module: Module, tmp_path: Path, place: str) -> None:
    text = "import oracle\nf = lambda x: (x, x)\ndef drawn(draw): raise SystemExit('was run')\n"
    module("never_run", f"{text}check = oracle.Spec((f, f), cases=(oracle.Case('c', drawn),))\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    code, out, err = run("verify", "never_run:check", "--junit", place)
    assert code == Exit.USAGE
    assert out == ""
    assert place.partition("/")[0] in err
    assert len(err.splitlines()) == 1
