"""Reports: tables fit the terminal, names cannot break markdown, JSON is strict, and files are written completely or not."""

from __future__ import annotations

import json
import re
import string
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.report import document, table
from oracle.report.causes import Group
from oracle.report.markdown import escape, markdown
from oracle.row import Descent, Details, Row, Verdict, worst_first
from oracle.text import digits
from tests.oracle.rows import ENVIRONMENT, HOSTILE, failing, reproduce, row

# ---------------------------------------------------------------------------------------------- the terminal


LONG = row(op="an_operation_with_a_rather_long_name", case="a case " * 12, parameter="params.layer.weights.of.something")
MANY = [row(op=f"op_number_{i % 30}", case=f"case {i}") for i in range(200)]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize(
    "rows",
    [[row()], [failing(), row()], [LONG, failing(op=LONG.op, case=LONG.case)], MANY, [*MANY, LONG, failing()]],
    ids=["one", "a failure", "long names", "many", "many and a failure"],
)
def test_no_line_is_wider_than_the_terminal(rows: list[Row], width: int) -> None:
    lines = table.render(rows, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert min(len(line) for line in lines if line) > 0


@given(
    names=st.lists(st.text(st.sampled_from(string.printable[:95]), min_size=1, max_size=90), min_size=3, max_size=3),
    width=st.integers(80, 160),
)
def test_no_table_is_wider_than_the_terminal_whatever_the_names(names: list[str], width: int) -> None:
    op, case, parameter = names
    rendered = table.render([row(op=op, case=case, parameter=parameter)], width=width)
    assert max(map(len, rendered.splitlines())) <= width


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    narrow = table.render([row()])
    monkeypatch.setenv("COLUMNS", "120")
    wide = table.render([row()])
    assert max(map(len, narrow.splitlines())) <= 80
    assert "used" in wide
    assert "used" not in narrow


def test_many_rows_are_summed_up_by_op_and_many_ops_by_family() -> None:
    def first_words(rows: list[Row]) -> list[str]:
        lines = table.render(rows, width=120).splitlines()
        return [line.split("  ")[0] for line in lines[2:] if line and not line.startswith(("--", " "))][:-1]

    one_op = [row(case=f"case {i}") for i in range(table.MANY)]
    assert first_words(one_op) == ["squared_error"] * table.MANY
    assert first_words([*one_op, row()]) == ["squared_error"]
    few_ops = [row(op=f"op {i % 2}") for i in range(table.FEW)]
    assert len(first_words(few_ops)) == table.FEW
    assert first_words([*few_ops, row(op="op 1")]) == ["op 0", "op 1"]
    many_ops = [row(op=f"op {i}", family=f"family {i % 3}") for i in range(table.MANY_OPS + 1)]
    assert first_words(many_ops) == ["family 0", "family 1", "family 2"]
    text = table.render([*many_ops, failing(op="op 4")], width=120)
    assert re.search(r"^op 4 +2 +2\.5e-13 +0\.?\S* +1 PASS, 1 FAIL$", text, re.MULTILINE)


def test_a_quiet_report_has_only_failures_and_totals() -> None:
    text = table.render([row(), failing()], width=100, quiet=True)
    assert text == f"{table.failure(Group((failing(),)))}\n\n2 gradients of 1 op in 1 case: 1 PASS, 1 FAIL"
    assert table.render([row()], quiet=True) == "1 gradient of 1 op in 1 case: 1 PASS"


def test_failures_come_first_with_place_numbers_cause_and_command() -> None:
    text = table.render([row(), failing()], width=200, reproduce=reproduce)
    first, *_ = text.split("\n\n")
    assert first.splitlines() == [
        "FAIL  squared_error / two dimensions / predictions  float64 3x5",
        "      at predictions[2, 4]: hand-written 2, differences 1 (+- 1.0e-13 of the largest entry), JAX 1; dy is random",
        "      constant factor: predictions is 2 times the true gradient everywhere",
        "      reproduce: oracle verify squared_error --case 'two dimensions'",
    ]


def test_the_command_is_never_broken() -> None:
    one = failing(case="a case " * 20)
    text = table.render([one], width=80, reproduce=reproduce)
    assert f"reproduce: {reproduce(one)}\n" in text


def test_a_scalar_and_an_op_that_failed_as_a_whole() -> None:
    text = table.render(
        [failing(shape=(), worst_index=()), row(parameter="", verdict=Verdict.ERROR, diagnosis="it raised")], width=120
    )
    assert "float64 scalar" in text
    assert "at predictions: hand-written 2" in text
    assert "ERROR  squared_error / two dimensions\n      it raised" in text
    assert "(the op)" in text


def test_totals_count_every_verdict() -> None:
    rows = [row(), row(parameter="targets"), failing(), row(verdict=Verdict.KINK, case="at 0")]
    assert table.totals(rows) == "4 gradients of 1 op in 2 cases: 2 PASS, 1 KINK, 1 FAIL"
    assert table.totals([row()]) == "1 gradient of 1 op in 1 case: 1 PASS"
    assert table.totals([]) == "nothing was checked"
    assert table.render([]) == "nothing was checked"


def test_a_breach_of_the_contract_is_no_gradient() -> None:
    breach = failing(evidence="contract", analytic=None)
    assert table.totals([row(), breach]) == "1 gradient of 1 op in 1 case: 1 PASS; 1 breach of the contract"
    printing = failing(evidence="contract: conduct", parameter="", analytic=None)
    assert table.totals([breach, printing]) == "0 gradients of 1 op in 1 case; 2 breaches of the contract"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "0"), (1.234e-13, "1.2e-13"), (float("inf"), "inf"), (float("nan"), "nan")]
)
def test_errors_have_two_digits(value: float | None, text: str) -> None:
    assert digits(value) == text


def test_failures_are_sorted_by_kind_and_by_how_much_was_used() -> None:
    rows = [
        row(used=0.5),
        row(used=0.9, verdict=Verdict.KINK),
        failing(used=3.0),
        failing(used=None),
        failing(used=70.0),
        row(verdict=Verdict.INCONCLUSIVE),
        row(verdict=Verdict.VACUOUS),
        row(verdict=Verdict.ERROR),
    ]
    ordered = [(one.verdict.value, one.used) for one in worst_first(rows)]
    assert ordered == [
        ("ERROR", 0.125),
        ("FAIL", 70.0),
        ("FAIL", 3.0),
        ("FAIL", None),
        ("VACUOUS", 0.125),
        ("INCONCLUSIVE", 0.125),
        ("KINK", 0.9),
        ("PASS", 0.5),
    ]


# ---------------------------------------------------------------------------------------------- markdown


def page(*rows: Row, **environment: Any) -> str:
    return markdown(rows, {**ENVIRONMENT, **environment}, {"squared_error": "library: optax"}, reproduce)


def test_a_page_has_failures_first_then_families() -> None:
    text = page(row(), row(family="linear", op="affine", parameter="params.w"), failing(case="wrong"))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Verification",
        "## Failures",
        "### FAIL squared_error / wrong / predictions (float64)",
        "## linear",
        "## losses",
    ]
    assert "3 gradients of 2 ops in 3 cases: 2 PASS, 1 FAIL." in text
    assert "    oracle verify squared_error --case 'wrong'\n" in text
    assert "References: squared_error: library: optax." in text
    assert "numpy 2.4" in text
    assert "## Failures" not in page(row())


def cells(line: str) -> list[str]:
    """The cells of a table's line, as markdown splits it: at bars that are not escaped."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_row_is_a_line_of_a_table() -> None:
    text = page(row(), row(parameter="targets", shape=(), autodiff_error=None, autodiff_ulp=None, used=None))
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    header, _, *body = lines
    assert len(body) == 2
    by_name = [dict(zip(header, line, strict=True)) for line in body]
    assert by_name[0]["op"] == "squared_error"
    assert (by_name[0]["differences"], by_name[0]["+-"], by_name[0]["JAX"]) == ("2.5e-13", "1.0e-13", "0")
    assert (by_name[1]["shape"], by_name[1]["JAX"], by_name[1]["ULP"], by_name[1]["used"]) == ("scalar", "-", "-", "-")


def test_kinks_are_listed_with_their_slopes() -> None:
    text = page(row(verdict=Verdict.KINK, diagnosis="a kink at x[0]: slopes 0 and 1, the gradient is 0"))
    assert r"- squared_error / two dimensions / predictions: a kink at x\[0\]: slopes 0 and 1, the gradient is 0" in text


def assert_harmless(text: str) -> None:
    """No tag, no heading, no list and no table line that a name brought in."""
    code = [line for line in text.splitlines() if line.startswith("    ")]
    prose = [line for line in text.splitlines() if not line.startswith("    ")]
    assert code
    assert not any("<script" in line for line in prose)
    headings = [line for line in prose if line.startswith("#")]
    assert all(re.match(r"(# Verification|## Failures|### FAIL |## )", line) for line in headings)
    assert "# heading" not in headings
    assert not any(line.startswith("- item") for line in prose)
    lines = [cells(line) for line in prose if line.startswith("|")]
    assert {len(line) for line in lines} == {13}


def test_names_from_a_users_module_break_out_of_nothing() -> None:
    text = page(failing(family=HOSTILE, op=HOSTILE, case=HOSTILE, parameter=HOSTILE, diagnosis=HOSTILE))
    assert_harmless(text)
    assert r"a\|b &lt;script&gt;alert(1)&lt;/script&gt; \`code\` \*bold\*" in text


def test_a_command_is_code_whatever_is_in_it() -> None:
    text = page(failing(), command="oracle verify mine:`op` --case 'two\nlines ``'")
    assert "``` oracle verify mine:`op` --case 'two lines ``' ```, seed 0" in text


@given(
    text=st.text(
        st.sampled_from("<>&|`\\*_[]{}#~'\"$ \t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0aZ9\xe9\u4e2d\U0001f600"), max_size=40
    )
)
def test_escaped_text_is_one_line_without_tags_or_cells(text: str) -> None:
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    assert "<" not in escaped
    assert ">" not in escaped
    assert not re.search(r"(?<!\\)(\\\\)*[|`]", escaped)


def test_plain_names_stay_readable() -> None:
    assert escape("softmax_cross_entropy / params.w") == "softmax_cross_entropy / params.w"


# ---------------------------------------------------------------------------------------------- JSON


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_rows_survive_in_full_precision() -> None:
    details = Details(descent=Descent((2.0, 1.0), (2.0, 1.0)))
    one = row(numerical_error=0.1 + 0.2, worst_index=(np.int64(1), 2), analytic=np.float64(1) / 3, details=details)
    found = strict(document.to_json(document.document([one, failing()], ENVIRONMENT)))
    assert (found["schema"], found["passed"]) == (2, False)
    assert found["environment"] == ENVIRONMENT
    assert found["totals"] == {"PASS": 1, "FAIL": 1}
    assert set(found["rows"][0]) == {field.name for field in fields(Row)} - {"details"}
    assert found["rows"][0]["numerical_error"] == 0.1 + 0.2
    assert found["rows"][0]["analytic"] == 1 / 3
    assert found["rows"][0]["worst_index"] == [1, 2]
    assert found["rows"][0]["shape"] == [3, 5]
    assert found["rows"][0]["verdict"] == "PASS"


def test_passed_means_finished_and_right() -> None:
    assert document.document([row()], ENVIRONMENT)["passed"] is True
    assert document.document([row(verdict=Verdict.KINK)], ENVIRONMENT)["passed"] is True
    assert document.document([row(verdict=Verdict.VACUOUS)], ENVIRONMENT)["passed"] is False
    assert document.document([row()], {**ENVIRONMENT, "unfinished": "interrupted"})["passed"] is False
    assert document.document([], ENVIRONMENT)["passed"] is False


def test_what_is_not_finite_is_a_string() -> None:
    one = row(numerical_error=float("nan"), autodiff_error=float("inf"), used=np.float64("-inf"))
    found = strict(document.to_json(document.document([one], ENVIRONMENT)))["rows"][0]
    assert (found["numerical_error"], found["autodiff_error"], found["used"]) == ("nan", "inf", "-inf")


def test_what_was_written_is_read() -> None:
    value = {"rows": [1, 2.5, None, "three"], "empty": []}
    assert document.read(document.to_json(value)) == value


def test_the_environment_says_what_numbers_depend_on() -> None:
    found = document.environment("oracle verify relu", 7)
    assert (found["command"], found["seed"]) == ("oracle verify relu", 7)
    assert {"python", "platform", "blas", "packages"} <= set(found)
    assert found["packages"]["numpy"] == np.__version__
    strict(document.to_json(found))


# ---------------------------------------------------------------------------------------------- files


def test_files_are_written_into_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "reports"
    document.write(folder, {"a.md": "ä\n", "b.json": "{}\n"})
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == {"a.md": "ä\n", "b.json": "{}\n"}
    assert (folder / "a.md").stat().st_mode & 0o777 == 0o644
    document.write(folder, {"a.md": "two\n"})
    assert (folder / "a.md").read_text() == "two\n"
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_files_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    document.write(tmp_path, {"a.md": "old", "b.json": "old"})
    calls = []

    def failing_fsync(_: int) -> None:
        calls.append(1)
        if len(calls) == 2:  # the first file is already complete
            raise error

    monkeypatch.setattr("os.fsync", failing_fsync)
    with pytest.raises(type(error)):
        document.write(tmp_path, {"a.md": "new", "b.json": "new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.md": "old", "b.json": "old"}


def test_a_folder_in_the_place_of_a_file_changes_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("old")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(IsADirectoryError):
        document.write(tmp_path, {"a.md": "new", "b.json": "new"})
    assert (tmp_path / "a.md").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.md", "b.json"]


def test_a_folder_is_known_to_be_writable_before_anything_is_computed(tmp_path: Path) -> None:
    document.check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        document.check_writable(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        document.check_writable(tmp_path / "file" / "below")
