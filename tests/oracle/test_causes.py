"""Rows of one op that fail for one cause share one headline, in the terminal, in Markdown and in HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oracle import Verdict, verify
from oracle.report.causes import between, grouped
from oracle.report.html import page
from oracle.report.markdown import markdown
from oracle.report.table import render
from oracle.row import Row
from tests.oracle.planted import Array, Pair, normal
from tests.oracle.rows import ENVIRONMENT, HOSTILE, failing, reproduce, row


def net(factor: float = 1.0, wrong_x: float = 1.0) -> Pair:
    """Two layers; `factor` is a mistake in the cotangent that reaches all of its parameters, `wrong_x` one of x alone."""

    def net_fwd(w1: Array, w2: Array, x: Array) -> Any:
        h = np.tanh(x @ w1)
        return h @ w2, (w1, w2, x, h)

    def net_bwd(residuals: Any, dy: Array) -> Any:
        w1, w2, x, h = residuals
        dy = dy * factor
        da = dy @ w2.T * (1 - h * h)
        return x.T @ da, h.T @ dy, da @ w1.T * wrong_x

    return net_fwd, net_bwd


POINT = normal(3, 4), normal(4, 2), normal(5, 3)


def texts(rows: Any) -> tuple[str, str, str]:
    """The three reports of these rows, with all white space as one blank; the page without the list of causes at its head."""
    below = re.sub(r'<ol class="causes">.*?</ol>', "", page(rows, ENVIRONMENT, {}, reproduce), flags=re.DOTALL)
    several = [render(rows), markdown(rows, ENVIRONMENT, {}, reproduce), below]
    terminal, written, html = (" ".join(text.split()) for text in several)
    return terminal, written, html


def test_one_mistake_is_one_headline_in_every_report() -> None:
    rows = verify(net(2.0), *POINT, case="five").rows
    assert [r.verdict for r in rows] == [Verdict.FAIL] * 3
    (group,) = grouped(rows)
    names = [r.parameter for r in rows]
    cause = f"constant factor: each of {', '.join(names)} is 2 times the true gradient everywhere"
    assert group.cause.startswith(cause)
    for text in texts(rows):
        assert text.count("constant factor: ") == 1
        assert cause in text
        assert text.count("a wrong formula (1 of the largest entry)") == 3
        assert all(f"at {name}" in text for name in names)
    terminal, written, html = texts(rows)
    assert terminal.startswith("FAIL net / five constant factor: each of ")
    assert all(f"- {name} float64 " in terminal for name in names)
    assert written.count("### FAIL net / five constant factor") == 1
    assert html.count('class="failure"') == 1
    assert "3 rows, one cause" in html
    assert html.count("oracle verify net --case &#39;five&#39;") == 1
    assert render(rows, reproduce=reproduce).count("reproduce: ") == 1


def test_two_mistakes_are_two_headlines() -> None:
    rows = verify(net(2.0, wrong_x=1.5), *POINT).rows
    assert sorted(len(group.rows) for group in grouped(rows)) == [1, 2]
    for text in texts(rows):
        assert text.count("constant factor: ") == 2
        assert "x is 3 times the true gradient everywhere" in text


def test_a_single_failure_stays_as_it_is() -> None:
    rows = verify(net(wrong_x=2.0), *POINT).rows
    failures = [r for r in rows if not r.passed]
    (group,) = grouped(failures)
    assert (group.label, group.cause) == ("net / x", failures[0].diagnosis)
    assert "FAIL  net / x  float64 5x3\n" in render(rows)


def of(parameter: str, diagnosis: str, **changed: Any) -> Row:
    return failing(parameter=parameter, diagnosis=diagnosis, **changed)


def groups(*rows: Row) -> list[list[str]]:
    return [[r.parameter for r in group.rows] for group in grouped(rows)]


def test_what_counts_as_one_cause() -> None:
    def factor(name: str, text: str = "1 +1e-06") -> str:
        return f"constant factor: {name} is {text} times the true gradient everywhere"

    assert groups(of("a", factor("a")), of("b", factor("b"))) == [["a", "b"]]
    assert groups(of("a", factor("a", "1.00012")), of("b", factor("b", "1.00013"))) == [["a", "b"]]
    assert groups(of("a", factor("a", "2")), of("b", factor("b", "3"))) == [["a"], ["b"]]
    assert groups(of("a", factor("a")), of("b", factor("b"), op="another")) == [["a"], ["b"]]
    assert groups(of("a", factor("a")), of("b", factor("b"), family="another")) == [["a"], ["b"]]
    assert groups(of("a", factor("a")), of("b", factor("b"), verdict=Verdict.INCONCLUSIVE)) == [["a"], ["b"]]
    nan = "NaN in 3 of 6 entries, first at "
    assert groups(of("a", f"{nan}a[0, 1]"), of("b", f"{nan}b[2]")) == [["a", "b"]]
    assert groups(of("a", ""), of("b", "")) == [["a"], ["b"]]
    written = "the forward pass writes to its argument"
    assert groups(of("a", written), of("c", factor("c")), of("b", written)) == [["a", "b"], ["c"]]


def test_a_single_entry_belongs_to_the_factor_that_it_shows() -> None:
    many = of("b", "constant factor: b is 0.25 times the true gradient everywhere", fitted_scale=0.25)
    one = of("b", "no known cause: 1 of 1 entries are wrong", case="one", shape=(1,), fitted_scale=0.2500001)
    assert [len(group.rows) for group in grouped([one, many])] == [2]
    assert grouped([one, many])[0].cause == many.diagnosis
    for other in (
        replace(one, fitted_scale=0.3), replace(one, parameter="w"), replace(one, shape=(2,)), replace(one, dtype="float32"),
    ):  # fmt: skip
        assert [len(group.rows) for group in grouped([other, many])] == [1, 1]


def test_cases_of_one_op_share_a_headline_and_keep_their_commands() -> None:
    first = failing(case="one row", parameter="w", diagnosis="transposed: w has the transpose of the true gradient")
    second = failing(case="two rows", parameter="w", diagnosis="transposed: w has the transpose of the true gradient")
    (group,) = grouped([first, second])
    assert (group.label, group.cause) == ("squared_error", first.diagnosis)
    text = render([first, second], reproduce=reproduce)
    assert text.count("transposed: ") == 1
    assert "- one row / w  float64" in text
    assert all(f"reproduce: {reproduce(one)}" in text for one in (first, second))


def test_many_parameters_are_counted() -> None:
    rows = [of(f"w{i}", f"constant factor: w{i} is 2 times the true gradient everywhere") for i in range(7)]
    (group,) = grouped(rows)
    assert group.cause == "constant factor: each of w0, w1, w2, w3 and 3 more is 2 times the true gradient everywhere"


def test_hostile_names_break_out_of_nothing() -> None:
    rows = [failing(op=HOSTILE, parameter=HOSTILE + n, case=HOSTILE, diagnosis=f"transposed: {HOSTILE + n} is") for n in "ab"]
    assert page([*rows, row()], ENVIRONMENT, {}, reproduce).count("<script>") == 1  # its own
    written = markdown([*rows, row()], ENVIRONMENT, {}, lambda _: "a command")
    assert "<script>" not in written
    assert "\n# heading" not in written


@pytest.mark.parametrize(
    ("wrong", "right", "hint"),
    [
        ("W1 b1", "W2 b2", "params.W2 and params.b2 are right, params.W1 and params.b1 are wrong"),
        ("W1 b1 W2 b2", "W3 b3", "params.W3 and params.b3 are right, params.W2 and params.b2 are wrong"),
        ("layers.0.w layers.2.w", "layers.10.w", "params.layers.10.w is right, params.layers.2.w is wrong"),
        ("W2 b2", "W1 b1", ""),  # the later layer cannot be wrong because of the earlier one
        ("W1", "b1 W2 b2", ""),  # one gradient of the layer itself
        ("W1 W3", "W2", ""),
        ("W1 b1 W2 b2", "", ""),
        ("", "W1 b1 W2 b2", ""),
        ("first.0.w first.1.w", "second.7.w", ""),  # two lists
        ("0 1", "2 3", ""),  # places in a list of parameters
    ],
)
def test_right_layers_behind_wrong_ones_say_where_to_look(wrong: str, right: str, hint: str) -> None:
    rows = [row(parameter=f"params.{name}", verdict=Verdict.FAIL) for name in wrong.split()]
    rows += [row(parameter=f"params.{name}") for name in right.split()]
    found = between(rows)
    assert found.partition(": look between them")[0] == hint
    assert between([replace(one, parameter=one.parameter.removeprefix("params.")) for one in rows]) == ""
