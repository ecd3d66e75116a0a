"""Two reports compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oracle import Verdict
from oracle.cli.main import Exit
from oracle.report.diff import KINDS, Difference, compare
from oracle.report.document import document, read, to_json
from oracle.row import VALUES, Row
from oracle.trajectory import SlotRow
from tests.oracle.conftest import Run
from tests.oracle.rows import ENVIRONMENT, HOSTILE, failing, row


def report(rows: list[Row], **environment: Any) -> Any:
    return read(to_json(document(rows, {**ENVIRONMENT, **environment})))


def difference(old: list[Row], new: list[Row], factor: float = 10.0) -> Difference:
    return compare(report(old), report(new), factor)


def kinds(found: Difference) -> dict[str, int]:
    return {kind: len(found.of(kind)) for kind in KINDS if found.of(kind)}


def error(**changed: Any) -> Row:
    """The row of a case that raised, of the family that the worker gives it."""
    return failing(**{"verdict": Verdict.ERROR, "parameter": "", "family": "", "evidence": "", **changed})


def breach(**changed: Any) -> Row:
    return failing(**{"evidence": "contract", "diagnosis": "writes to its arguments", **changed})


# ------------------------------------------------------------------------------------------------- what is worse


def test_equal_reports_have_no_difference() -> None:
    rows = [row(), failing(op="wrong"), breach(op="wrong"), error(op="lost"), row(order=2)]
    found = difference(rows, rows)
    assert kinds(found) == {}
    assert found.same == 5


ORDER = ("ERROR", "FAIL", "VACUOUS", "INCONCLUSIVE", "ACCEPTED", "PASS", "KINK")


@pytest.mark.parametrize("was", ORDER)
@pytest.mark.parametrize("now", ORDER)
def test_a_change_of_the_verdict(was: str, now: str) -> None:
    found = difference([row(verdict=Verdict(was))], [row(verdict=Verdict(now))])
    if was == now or {was, now} == {"PASS", "KINK"}:
        assert kinds(found) == {}
    elif ORDER.index(now) < ORDER.index(was):
        assert kinds(found) == {"worse": 1}
    else:
        assert kinds(found) == {"mended" if now in ("ACCEPTED", "PASS", "KINK") else "changed": 1}
    for change in found.changes:
        assert (change.was, change.now) == (was, now)


def test_a_new_row_that_does_not_pass_is_worse_and_a_new_one_that_passes_appeared() -> None:
    assert kinds(difference([row()], [row(), breach()])) == {"worse": 1}
    assert kinds(difference([row()], [row(), row(op="new"), failing(op="new and wrong")])) == {"worse": 1, "appeared": 1}


def test_a_breach_that_is_gone_is_mended_and_a_row_whose_case_is_gone_has_vanished() -> None:
    values = failing(parameter="", evidence=VALUES)
    assert kinds(difference([row(), breach(), values], [row()])) == {"mended": 2}
    assert kinds(difference([row(), row(op="gone"), breach(op="gone")], [row()])) == {"vanished": 2}
    assert kinds(difference([row(), failing(parameter="gone")], [row()])) == {"vanished": 1}


def test_an_error_stands_for_all_rows_of_its_case() -> None:
    three = [row(parameter=name) for name in "xyz"]
    assert kinds(difference(three, [error()])) == {"worse": 1}
    assert kinds(difference([error()], three)) == {"mended": 3}
    assert kinds(difference([error()], [failing(parameter="x"), row(parameter="y")])) == {"changed": 1, "mended": 1}
    assert kinds(difference([error()], [error(family="own")])) == {}


def test_ops_of_one_name_in_two_modules_are_not_mixed_up() -> None:
    one, other = row(family="one"), row(family="other")
    found = difference([one, other], [failing(family="other"), one])
    assert kinds(found) == {"worse": 1}
    assert found.changes[0].row.family == "other"
    wrong = failing(family="other")
    assert kinds(difference([one, wrong], [wrong, one])) == {}


def test_a_second_breach_of_one_parameter_is_worse() -> None:
    assert kinds(difference([breach()], [breach(), breach(diagnosis="keeps a reference")])) == {"worse": 1}


# ------------------------------------------------------------------------------------------------- errors that grew


@pytest.mark.parametrize("name", ["forward_error", "numerical_error", "autodiff_error"])
@pytest.mark.parametrize(
    ("was", "now", "grown"),
    [(1e-10, 9e-10, False), (1e-10, 1.1e-9, True), (0.0, 2e-15, False), (0.0, 2e-12, True), (1e-10, 1e-14, False)],
)
def test_an_error_that_grew_more_than_the_factor(name: str, was: float, now: float, grown: bool) -> None:
    found = difference([row(**{name: was})], [row(**{name: now})])
    assert kinds(found) == ({"grown": 1} if grown else {})


def test_growth_within_rounding_or_within_the_error_bar_is_none() -> None:
    narrow = {"dtype": "bfloat16", "autodiff_error": 1e-6}
    assert kinds(difference([row(**narrow)], [row(**{**narrow, "autodiff_error": 0.05})])) == {}
    assert kinds(difference([row(**narrow)], [row(**{**narrow, "autodiff_error": 0.1})])) == {"grown": 1}
    small, large = {"numerical_error": 1e-12}, {"numerical_error": 5e-5}
    assert kinds(difference([row(**small)], [row(**large)])) == {"grown": 1}
    assert kinds(difference([row(**small)], [row(**large, numerical_uncertainty=1e-5)])) == {}
    assert kinds(difference([row(**small, numerical_uncertainty=1e-5)], [row(**large)])) == {}
    assert kinds(difference([row(numerical_error=None)], [row(numerical_error=1.0)])) == {}


def test_the_factor_is_the_users_and_the_largest_growth_comes_first() -> None:
    old = [row(op=op, autodiff_error=1e-12) for op in ("a", "b")]
    new = [row(op="a", autodiff_error=3e-12), row(op="b", autodiff_error=5e-12)]
    assert kinds(difference(old, new)) == {}
    found = difference(old, new, 2.0)
    assert [(c.row.op, c.was, c.now) for c in found.changes] == [
        ("b", "1.0e-12", "5.0e-12 JAX"),
        ("a", "1.0e-12", "3.0e-12 JAX"),
    ]


def test_an_error_of_a_wrong_row_does_not_count_as_grown() -> None:
    assert kinds(difference([failing(autodiff_error=1e-3)], [failing(autodiff_error=0.5)])) == {}


# ------------------------------------------------------------------------------------------------- shown


def mixed() -> tuple[list[Row], list[Row]]:
    names = {"case": "a case with a rather long name of its own", "parameter": "params.layers.0.attention.w"}
    old = [row(op=op, **names) for op in ("becomes_wrong", "becomes_an_error", "vanishes", "stays")]
    old += [row(op="grows", autodiff_error=1e-15), failing(op="gets_right", **names)]
    new = [failing(op="becomes_wrong", **names), row(op="stays", **names), row(op="gets_right", **names)]
    new += [failing(op="becomes_an_error", verdict=Verdict.ERROR, diagnosis="raised ValueError", **names)]
    new += [row(op="grows", autodiff_error=1e-12), row(op="appears", parameter="x"), row(op="appears", parameter="y")]
    return old, new


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_shows_the_worst_first_and_is_no_wider_than_the_terminal(width: int) -> None:
    text = difference(*mixed()).text(width)
    assert max(map(len, text.splitlines())) <= width
    changes = [line.split()[0] for line in text.partition("\n\n")[0].splitlines()[2:]]
    assert changes == ["worse", "worse", "grown", "appeared", "vanished", "mended"]
    lines = text.splitlines()
    assert lines[2].startswith("worse     becomes_an_error")
    assert lines[2].split()[-2:] == ["PASS", "ERROR"]
    assert lines[3].split()[-2:] == ["PASS", "FAIL"]
    assert lines[4].split()[-3:] == ["1.0e-15", "1.0e-12", "JAX"]
    assert lines[5].split() == ["appeared", "appears", "2", "rows", "-", "2", "PASS"]
    flat = " ".join(text.split())
    assert "raised ValueError" in flat
    assert flat.endswith(
        "2 worse, 0 changed, 2 appeared, 1 vanished, 1 mended; 1 error grew more than 10 times; 1 row as before"
    )


def test_reports_of_other_ops_do_not_fill_the_screen() -> None:
    found = difference([row(op=f"old {n}") for n in range(300)], [row(op=f"new {n}") for n in range(300)])
    lines = found.text(80).splitlines()
    assert len(lines) < 90
    assert [line.split()[:4] for line in lines if "more" in line][:2] == [
        ["appeared", "and", "260", "more"],
        ["vanished", "and", "260", "more"],
    ]


def test_notes_say_why_rows_may_be_missing() -> None:
    old, new = report([row()], selection="relu"), report([row()], selection="", unfinished="interrupted when 1 of 2 were done")
    text = " ".join(compare(old, new).text(80).split())
    assert "note: the new report is unfinished: interrupted when 1 of 2 were done" in text
    assert "note: the reports are of other selections: relu; everything" in text


def test_names_cannot_disturb_a_terminal() -> None:
    text = difference([row(op=f"\x1b[2J{HOSTILE}", case="\n")], [failing(op=f"\x1b[2J{HOSTILE}", case="\n")]).text(80)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\n# heading" not in text


# ------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    old, new = mixed()
    paths = tmp_path / "old.json", tmp_path / "new.json"
    for path, rows in zip(paths, (old, new), strict=True):
        path.write_text(to_json(document(rows, ENVIRONMENT)))
    return paths


def test_the_command_fails_if_something_became_worse(run: Run, files: tuple[Path, Path]) -> None:
    code, out, err = run("diff", *files)
    assert (code, err) == (Exit.FAIL, "")
    assert "2 worse" in out
    assert run("diff", files[0], files[0])[0] == Exit.PASS
    code, out, _ = run("diff", files[1], files[0])
    assert code == Exit.FAIL  # what was mended is wrong again
    assert "worse     gets_right" in out


def test_growth_fails_only_if_a_factor_is_given(run: Run, tmp_path: Path) -> None:
    for name, size in (("old", 1e-14), ("new", 1e-12)):
        (tmp_path / name).write_text(to_json(document([row(autodiff_error=size)], ENVIRONMENT)))
    code, out, _ = run("diff", "old", "new")
    assert code == Exit.PASS
    assert "1 error grew more than 10 times" in out
    assert run("diff", "old", "new", "--factor", 50)[0] == Exit.FAIL
    assert run("diff", "old", "new", "--factor", 150)[0] == Exit.PASS


def test_the_command_prints_json(run: Run, files: tuple[Path, Path]) -> None:
    code, out, _ = run("diff", *files, "--json")
    assert code == Exit.FAIL
    found = json.loads(out)
    assert {kind: len(found[kind]) for kind in KINDS} == {
        "worse": 2, "grown": 1, "changed": 0, "appeared": 2, "vanished": 1, "mended": 1
    }  # fmt: skip
    assert (found["schema"], found["factor"], found["same"]) == (1, 10.0, 1)
    assert found["worse"][0]["op"] == "becomes_an_error"
    assert (found["worse"][0]["was"], found["worse"][0]["is"]) == ("PASS", "ERROR")
    assert found["worse"][0]["diagnosis"] == "raised ValueError"


def test_a_field_of_a_newer_version_and_of_an_optimizers_row_is_no_obstacle(run: Run, tmp_path: Path) -> None:
    optimizer = SlotRow(**{**row().as_dict(), "op": "adam"}, steps=3, first_autodiff=2)
    found = report([row(), optimizer])
    found["rows"][0]["of a newer version"] = {"any": ["thing"]}
    (tmp_path / "report").write_text(json.dumps(found))
    code, out, _ = run("diff", "report", "report")
    assert code == Exit.PASS
    assert "2 rows as before" in " ".join(out.split())


GOOD = report([row()])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read bad.json: No such file or directory"),
        (b"", "bad.json is no JSON"),
        (b"\xff\xfe{}", "bad.json is no JSON"),
        (b"[" * 100_000, "bad.json is no report of oracle"),
        (b"[1]", "bad.json is no report of oracle"),
        (b'{"rows": []}', "bad.json is no report of oracle"),
        (b'{"schema": 2}', "bad.json is no report of oracle"),
        ({**GOOD, "schema": 1}, "bad.json has schema 1; this version of oracle compares reports of schema 2"),
        ({**GOOD, "schema": [3]}, "bad.json has schema [3]; this version of oracle compares reports of schema 2"),
        ({**GOOD, "rows": [3]}, "bad.json has no valid row 0: "),
        ({**GOOD, "rows": [{}]}, "bad.json has no valid row 0: "),
        ({**GOOD, "rows": [*GOOD["rows"], {**GOOD["rows"][0], "verdict": "GOOD"}]}, "bad.json has no valid row 1: "),
        ({**GOOD, "rows": [{**GOOD["rows"][0], "op": 3}]}, "bad.json has no valid row 0: "),
        ({**GOOD, "rows": [{**GOOD["rows"][0], "autodiff_error": [1]}]}, "bad.json has no valid row 0: "),
        ({**GOOD, "rows": [{**GOOD["rows"][0], "autodiff_error": "big"}]}, "bad.json has no valid row 0: "),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_file_that_is_no_report_is_named(run: Run, tmp_path: Path, content: Any, said: str, first: bool) -> None:
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    code, out, err = run("diff", *(("bad.json", "good.json") if first else ("good.json", "bad.json")))
    assert (code, out) == (Exit.USAGE, "")
    assert err.startswith(f"oracle: {said}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("factor", ["0.5", "nan", "inf", "-3", "ten"])
def test_a_factor_is_a_number_from_1(run: Run, factor: str) -> None:
    code, _, err = run("diff", "a", "b", f"--factor={factor}")
    assert code == Exit.USAGE
    assert f"expected a number from 1, got '{factor}'" in err
