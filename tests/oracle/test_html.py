"""The HTML page: it is valid and loads nothing, names cannot break it, and its numbers are in the right place."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle.report import html, pictures
from oracle.row import Descent, Details, ErrorMap, Parting, Row, StepCurve, Verdict
from oracle.verification import verify
from tests.oracle.planted import cube, signed
from tests.oracle.rows import ENVIRONMENT, HOSTILE, failing, reproduce, row

ROOT = Path(__file__).parents[2]
VOID = {"meta", "br", "hr", "img", "input", "link"}
LOADING = ("src", "href", "xlink:href", "action", "data", "poster", "srcset")

CURVE = StepCurve((0.1, 0.025, 0.00625), (1.01, 1.0006, 1.00004), 1.0, 1e-13, 2.0, 1.0 + 1e-15, 1.0)
MAP = ErrorMap(((0.5, -2.0, 0.0), (1e9, math.nan, 1.0)), (1, 0), (0,), (1,), (2, 3), (1, 0), (1, 1))
DETAILS = Details(MAP, CURVE)
MANY = [row(op=f"op {i}", details=Details(None, CURVE)) for i in range(html.FEW)]
RUN = row(family="optimizers", op="adam", details=Details(descent=Descent((3.0, 2.0, 1.0), (3.0, 2.0, 1.5))))
TRAINED = row(family="models", op="training", details=Details(parting=Parting((0.0, 1e-15, 0.5), (0.0, 1e-3, 1e12))))


def page(*rows: Row, **environment: Any) -> str:
    return html.page(rows, {**ENVIRONMENT, **environment}, {"squared_error": "library: optax"}, reproduce)


class Parsed(HTMLParser):
    """The elements and texts of a page, in order. Every element must be closed by its own tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open  # HTML itself knows no such tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def texts_of(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]


EVERYTHING = (*MANY, failing(details=DETAILS), row(verdict=Verdict.KINK, diagnosis="a kink at x[0]"), RUN, TRAINED)


ON_ONE_WORKER = pytest.mark.xdist_group("the whole page")


@cache
def of_many() -> str:
    """The page with as many passes as it takes for pictures."""
    return page(*MANY)


@cache
def full() -> str:
    """The page with everything that a page can have. It is drawn once for all tests, and not when the tests are collected."""
    return page(*EVERYTHING)


# ---------------------------------------------------------------------------------------------- a whole page


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(EVERYTHING, marks=ON_ONE_WORKER),
        [row()],
        [failing()],
        [failing(details=DETAILS)],
        pytest.param(MANY, marks=ON_ONE_WORKER),
        [failing(verdict=Verdict.ERROR)],
    ],
    ids=["everything", "a pass", "a failure without pictures", "a failure", "many passes", "an error"],
)
def test_every_element_is_closed_and_every_identifier_unique(rows: Sequence[Row]) -> None:
    text = full() if rows is EVERYTHING else of_many() if rows is MANY else page(*rows)
    parsed = Parsed(text)
    assert text.lstrip().startswith("<!DOCTYPE html>")
    assert [tag for tag, _ in parsed.elements[:2]] == ["html", "head"]
    identifiers = Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert set(identifiers.values()) <= {1}
    targets = {value for _, attributes in parsed.elements if (value := attributes.get("href"))}
    references = re.findall(r"url\((#[^)]+)\)", text)
    assert {target for target in (*targets, *references) if target.startswith("#")} == {f"#{name}" for name in identifiers}


@ON_ONE_WORKER
def test_nothing_is_loaded_and_one_script_runs() -> None:
    text = full()
    parsed = Parsed(text)
    loaded = [value for _, attributes in parsed.elements for key, value in attributes.items() if key in LOADING]
    assert loaded
    assert all(value and value.startswith(("#", "data:image/png;base64,")) for value in loaded)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert parsed.all("script") == [{}]
    assert not any(key.startswith("on") for _, attributes in parsed.elements for key in attributes)
    policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def test_names_from_a_users_module_break_out_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "NARROWEST", 2)  # names stand in the captions of pictures; two pictures show that as well as many

    def rows(name: str) -> list[Row]:
        kink = row(family=name, op=name, case=name, parameter=name, verdict=Verdict.KINK, diagnosis=name, evidence=name)
        run = replace(RUN, family=name, op=name, case=name, reference=name)
        wrong = failing(family=name, op=name, case=name, parameter=name, diagnosis=name, details=DETAILS)
        return [*MANY, replace(MANY[0], op=name, used=0.9), kink, run, wrong]

    harmless = html.page(rows("n"), {**ENVIRONMENT, "command": "n"}, {"n": "n"}, lambda _: "n")

    def tags(text: str) -> Counter[str]:  # what stands between backticks is code, in whatever text
        return Counter(tag for tag, _ in Parsed(text).elements if tag != "code")

    expected = tags(harmless)
    for name in (HOSTILE, "&\"'</title></style></svg> {{ 7 * 7 }}{% raw %} $x^$ \\frac{"):
        text = html.page(rows(name), {**ENVIRONMENT, "command": name}, {name: name}, lambda _, name=name: name)
        assert tags(text) == expected
        assert text.count("<script") == 1
        visible = [" ".join(text.split()) for text in Parsed(text).texts_of("pre", "p", "strong", "td", "h3")]
        assert visible.count(" ".join(name.split())) >= 5


@ON_ONE_WORKER
def test_the_same_rows_give_the_same_bytes_in_another_process() -> None:
    program = "import sys\nfrom tests.oracle.test_html import full, found_here\nsys.stdout.write(full() + found_here())"
    other = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": other}
    command = [sys.executable, "-W", "error", "-c", program]
    there = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=ROOT, timeout=120).stdout
    assert there == (full() + found_here()).encode()
    assert not re.search(rb"\b20\d\d-\d\d-\d\d", there)


def found_here() -> str:
    """The page of a wrong gradient, verified in this process."""
    return page(*verify(cube(lambda dx: 2 * dx), signed(3, 4)).rows)


@ON_ONE_WORKER
def test_few_rows_without_details_need_no_pictures_and_no_matplotlib() -> None:
    assert "<svg" not in page(*MANY[1:])
    assert "<svg" in of_many()
    program = """
import sys
from oracle.report import html
from tests.oracle.rows import ENVIRONMENT, failing, reproduce, row
html.page([row(), failing()], ENVIRONMENT, {}, reproduce)
print("matplotlib" in sys.modules)"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment, timeout=120)
    assert done.stdout.split() == [b"False"]


# ---------------------------------------------------------------------------------------------- the texts of the page


@pytest.mark.parametrize(
    ("rows", "headline"),
    [
        ([row(), row(op="affine")], "All 2 ops are right"),
        ([row(), row(case="another")], "squared_error is right"),
        ([row(), failing(), row(op="affine")], "1 of 2 ops is not right"),
        ([failing(), failing(op="affine"), row(op="relu")], "2 of 3 ops are not right"),
        ([failing(evidence="contract", analytic=None)], "1 of 1 op is not right"),
    ],
)
def test_the_first_line_is_the_result(rows: list[Row], headline: str) -> None:
    parsed = Parsed(page(*rows))
    assert parsed.texts_of("h1") == parsed.texts_of("title") == [headline]


def test_failures_are_open_with_place_numbers_cause_and_command_and_passes_folded() -> None:
    parsed = Parsed(page(failing(), row()))
    assert [("open" in attributes) for attributes in parsed.all("details")] == [False, True, False, False]
    cells = parsed.texts_of("td")
    assert cells[:8] == [
        "hand-written",
        "2",
        "finite differences ± 1.0e-13 of the largest entry",
        "1",
        "2.5e-13",
        "JAX",
        "1",
        "0",
    ]
    assert "at predictions[2, 4]" in parsed.texts_of("th")
    assert "constant factor: predictions is 2 times the true gradient everywhere" in parsed.texts_of("p")
    assert parsed.texts_of("pre") == [reproduce(failing())]
    assert "2 gradients of 1 op in 1 case: 1 PASS, 1 FAIL." in parsed.texts_of("p")
    compared = "Entries compared: 15 of 15 with finite differences, 15 of 15 with JAX."
    assert any(text.endswith(compared) for text in parsed.texts_of("p"))
    assert "Reference: library: optax" in parsed.texts_of("p")


def test_a_card_names_its_program_and_the_table_leads_to_the_card() -> None:
    rows = [failing(), row(op="relu"), failing(op="affine")]
    text = html.page(rows, ENVIRONMENT, {}, reproduce, program=lambda one: f"failures/{one.op}/repro.py")
    parsed = Parsed(text)
    assert [name for name in parsed.texts_of("code") if "repro" in name] == [
        "failures/squared_error/repro.py",
        "failures/affine/repro.py",
    ]
    table = text[text.index("<h2>Every gradient</h2>") :]
    assert re.findall(r'<a href="(#[^"]*)">FAIL</a>', table) == ["#failure-1", "#failure-2"]


def test_rows_of_an_op_stand_together_also_where_their_causes_differ() -> None:
    rows = [failing(used=9.0), failing(op="relu", used=8.0), failing(case="other", diagnosis="transposed: ...", used=7.0)]
    assert Parsed(page(*rows)).texts_of("strong")[1:4] == [
        "squared_error / two dimensions / predictions",
        "squared_error / other / predictions",
        "relu / two dimensions / predictions",
    ]


def test_names_between_backticks_are_code_also_in_a_cause_that_is_cut() -> None:
    diagnosis = "one path lost: `power` in line 3 (`" + "x + " * 60 + "1`) is a constant"
    parsed = Parsed(page(failing(diagnosis=diagnosis)))
    assert parsed.texts_of("code").count("power") == 2
    assert not any("`" in text for _, text in parsed.texts if not text.startswith(('"use strict"', ":root")))


def test_a_card_shows_how_its_verdict_arose() -> None:
    parsed = Parsed(page(*verify(cube(lambda dx: 2 * dx), signed(3, 4)).rows))
    assert "How the verdict arose" in parsed.texts_of("summary")
    assert any("error budget" in text and "roundoff" in text for text in parsed.texts_of("pre"))


def test_every_row_is_a_line_of_the_table_of_its_op() -> None:
    rows = [row(), row(parameter="targets", shape=(), used=None), row(op="affine", family="linear"), failing(case="wrong")]
    parsed = Parsed(page(*rows))
    lines = [attributes for attributes in parsed.all("td") if attributes.get("class") == "case"]
    assert len(lines) == len(rows)
    assert [a["aria-label"] for a in parsed.all("div") if "gradients" in (a.get("aria-label") or "")] == [
        "gradients of affine",
        "gradients of squared_error",
    ]
    assert {"3\N{MULTIPLICATION SIGN}5", "scalar", "-", "targets"} <= set(parsed.texts_of("td"))


@ON_ONE_WORKER
def test_every_column_and_every_verdict_is_explained() -> None:
    text = full()
    parsed = Parsed(text)
    explained = set(parsed.texts_of("dt"))
    assert set(map(str, Verdict)) <= explained
    table = text[text.rindex("<thead>") : text.rindex("</thead>")]
    columns = set(Parsed(table + "</thead>").texts_of("button"))
    assert columns - explained == {"case", "dtype", "parameter", "shape", "verdict"}  # these need no explanation


def test_pictures_are_drawn_of_so_many_failures_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert html.PICTURED == 50
    monkeypatch.setattr(html, "PICTURED", 4)
    rows = [failing(op=f"op {i}", details=DETAILS) for i in range(html.PICTURED + 3)]
    parsed = Parsed(page(*rows))
    folded = [attributes for attributes in parsed.all("details") if attributes.get("class") == "failure"]
    assert ["open" in attributes for attributes in folded] == [True] * html.PICTURED + [False] * 3
    labels = Counter((attributes["aria-label"] or "").split(" ")[0] for attributes in parsed.all("svg"))
    assert labels["heat"] == html.PICTURED
    assert f"Only the first {html.PICTURED} have pictures." in parsed.texts_of("p")


def test_the_passes_nearest_to_their_tolerance_are_of_different_ops() -> None:
    rows = [replace(one, used=0.1 + i / 100) for i, one in enumerate(MANY)]
    twin = replace(rows[-1], case="again", used=0.15)
    parsed = Parsed(page(*rows, twin))
    titles = [title for title in parsed.texts_of("h3") if "/" in title]
    assert titles == [one.label for one in reversed(rows)][: html.NARROWEST]


def test_a_run_is_drawn_once_whatever_the_number_of_its_slots() -> None:
    rows = [*MANY, RUN, replace(RUN, parameter="state.mu"), replace(RUN, op="sgd")]
    parsed = Parsed(page(*rows))
    assert [title for title in parsed.texts_of("h3") if title in ("adam", "sgd")] == ["adam", "sgd"]
    assert "two dimensions, library: optax; they differ by at most 5.0e-01" in parsed.texts_of("figcaption")


# ---------------------------------------------------------------------------------------------- pictures


def drawn(text: str) -> Parsed:
    assert not re.search("|".join(pictures.STYLES), text)
    return Parsed(text)


def corners(path: str) -> tuple[float, float, float, float]:
    numbers = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)
    return (*numbers.min(axis=0), *numbers.max(axis=0))


@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 4), (2, 3, 5, 4), (70, 9), (200,)])
def test_the_frame_is_around_the_worst_cell(shape: tuple[int, ...]) -> None:
    def wrong(dx: Any) -> Any:
        return dx * np.where(np.arange(dx.size).reshape(shape) == dx.size - 2, 3.0, 1.0)

    (found,) = verify(cube(wrong), signed(*shape)).rows
    assert found.details is not None
    assert found.details.error_map is not None
    with pictures.drawing():
        parsed = drawn(pictures.error_map(found.details.error_map, "map"))
    image = parsed.all("image")[0]
    width, _, _, height, left, top = (float(n) for n in re.findall(r"-?[\d.]+", image["transform"] or ""))
    rows, columns = np.shape(found.details.error_map.ratios)
    assert (image["width"], image["height"]) == (str(columns), str(rows))
    frame = next(
        attributes["d"]
        for tag, attributes in parsed.elements[[a.get("class") for _, a in parsed.elements].index("worst-black") :]
        if tag == "path"
    )
    row, column = found.details.error_map.worst
    expected = (left + column * width, top + row * height, left + (column + 1) * width, top + (row + 1) * height)
    assert corners(frame or "") == pytest.approx(expected, abs=0.5)


def test_the_bars_of_the_histogram_count_the_gradients() -> None:
    ulps = [0.0, 0.0, 0.5, 1.0, 1.5, 3.0, 4.0, 4096.0, 5000.0, math.inf]
    with pictures.drawing():
        texts = drawn(pictures.ulp_histogram(ulps, "ulp")).texts_of("text")
    labels = ["0", *(str(2**k) for k in range(13)), "more"]
    start = texts.index("0")
    assert texts[start : start + len(labels)] == labels
    assert texts[-6:] == ["2", "2", "1", "2", "1", "2"]  # 0; up to 1; up to 2; up to 4; up to 4096; more


def test_the_curve_names_its_lines_and_steps() -> None:
    with pictures.drawing():
        texts = drawn(pictures.step_curve(CURVE, "curve")).texts_of("text")
        alone = drawn(pictures.step_curve(replace(CURVE, autodiff=None), "curve")).texts_of("text")
    names = ["hand-written", "error bar", "extrapolated", "finite differences"]
    assert [text for text in texts if text in names] == names
    assert {"1.0e-1", "2.5e-2", "6.3e-3", "error against JAX"} <= set(texts)
    assert "extrapolated" not in alone
    assert "error against the extrapolated value" in alone


NUMBERS = (0.0, math.inf, math.nan, 5e-324, -1.5, 1e300, -1e300, -math.inf)


@pytest.mark.parametrize("first", [None, 0, 2, 4, 6])
def test_whatever_the_numbers_there_is_a_picture(first: int | None) -> None:
    """Without numbers, and with all of these in several orders."""
    turned = NUMBERS if first is None else NUMBERS[first:] + NUMBERS[:first]
    several = () if first is None else turned
    steps = tuple(0.1 / 4**k for k in range(len(several)))
    curve = StepCurve(steps, several, *turned[:4], 1.0)
    pairs = [(abs(a), abs(b)) for a, b in pairwise(several) if not math.isnan(a + b)]
    cells = tuple((ratio,) for ratio in several) or ((math.nan,),)
    error_map = ErrorMap(cells, (0, 0), (0,), (1,), (len(cells), 1), (0, 0), (1, 1))
    with pictures.drawing():
        for text in (
            pictures.step_curve(curve, "a"),
            pictures.calibration(pairs, pairs[:1], "b"),
            pictures.error_map(error_map, "c"),
            pictures.ulp_histogram([error for _, error in pairs], "d"),
            pictures.descent(Descent(several, several[::-1]), "e"),
            pictures.parting(Parting(several, several[::-1]), "f"),
        ):
            assert drawn(text).all("svg")


def test_the_settings_of_the_process_are_neither_used_nor_changed() -> None:
    import matplotlib as mpl

    before = mpl.rcParams["lines.linewidth"]
    try:
        mpl.rcParams["lines.linewidth"] = 17.0
        with pictures.drawing():
            text = pictures.step_curve(CURVE, "curve")
        assert mpl.rcParams["lines.linewidth"] == 17.0
        assert "17" not in re.findall(r"stroke-width: ([\d.]+)", text)
    finally:
        mpl.rcParams["lines.linewidth"] = before
