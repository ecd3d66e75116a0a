"""The HTML page in headless Chromium: its script works, and what is wrong stands on the first screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.rows import failing, row
from tests.oracle.test_html import DETAILS, MANY, page

pytestmark = pytest.mark.xdist_group("browser")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VISIBLE = """
const shown = (selector) => [...document.querySelectorAll(selector)].filter((one) => !one.closest("[hidden]")).length;
const enter = (text) => { const box = document.querySelector("input[type=search]"); box.value = text;
  box.dispatchEvent(new Event("input")); };
const click = (selector) => document.querySelector(selector).click();
"""


def in_browser(folder: Path) -> Any:
    """What the scripts of the page `page.html` in this folder leave in its title, as JSON."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"]
    words += [f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(unescape(re.findall("<title>(.*?)</title>", done.stdout)[0]))


def with_script(text: str, script: str) -> str:
    """The page with a script of the test, which its policy would forbid."""
    return re.sub(r"<meta http-equiv=.*?>", "", text).replace("</body>", f"<script>{script}</script></body>")


def test_the_page_filters_sorts_and_changes_its_theme(tmp_path: Path) -> None:
    rows = [
        row(op="relu", case="flat", parameter="x", used=0.5),
        row(op="relu", case="steep", parameter="x", used=0.125),
        row(op="tanh", case="flat", parameter="y", used=0.25),
        failing(op="affine", parameter="w", details=DETAILS),
    ]
    steps = """
    const result = {all: shown("tbody tr[data-verdict]"), cards: shown("details.failure")};
    enter("relu flat");
    result.relu = shown("tbody tr[data-verdict]"); result.cards_of_relu = shown("details.failure");
    enter("");
    click('input[value="PASS"]');
    result.failing = shown("tbody tr[data-verdict]");
    click('input[value="PASS"]');
    const table = [...document.querySelectorAll("table")].find((one) => one.textContent.includes("steep"));
    const column = [...table.tHead.rows[0].cells].findIndex((one) => one.textContent === "used");
    const used = () => [...table.tBodies[0].rows].map((one) => one.cells[column].textContent);
    table.tHead.rows[0].cells[column].querySelector("button").click(); result.down = used();
    table.tHead.rows[0].cells[column].querySelector("button").click(); result.up = used();
    const theme = document.querySelector("select"), page = () => getComputedStyle(document.body).backgroundColor;
    const colours = [];
    for (const one of ["light", "dark"]) { theme.value = one; theme.dispatchEvent(new Event("change")); colours.push(page()); }
    result.themes = new Set(colours).size;
    result.copies = document.querySelectorAll("details.failure > button").length;
    """
    script = f"{VISIBLE}{steps}document.body.innerHTML = ''; document.title = JSON.stringify(result);"
    (tmp_path / "page.html").write_text(with_script(page(*rows), script), encoding="utf-8")
    assert in_browser(tmp_path) == {
        "all": 4, "cards": 1, "relu": 1, "cards_of_relu": 0, "failing": 1,
        "down": ["0.5", "0.12"], "up": ["0.12", "0.5"], "themes": 2, "copies": 1,
    }  # fmt: skip


def test_a_page_of_ten_thousand_rows_opens_and_filters(tmp_path: Path) -> None:
    """Of 500 ops. It takes about a second of a processor; no test asserts a time."""
    rows = [row(family=f"family {i // 1000}", op=f"op {i // 20}", case=f"case {i % 20}") for i in range(10_000)]
    steps = """
    const result = {all: shown("tbody tr[data-verdict]")};
    enter("op 377 case");
    result.op = shown("tbody tr[data-verdict]"); result.open = document.querySelectorAll("details[open]").length;
    """
    script = f"{VISIBLE}{steps}document.body.innerHTML = ''; document.title = JSON.stringify(result);"
    (tmp_path / "page.html").write_text(with_script(page(*rows), script), encoding="utf-8")
    assert in_browser(tmp_path) == {"all": 10_000, "op": 20, "open": 2}


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_cause_of_the_first_failure_is_on_the_first_screen(width: int, height: int, tmp_path: Path) -> None:
    """At the widths of a laptop and of a phone: an iframe has them, whatever the window has."""
    steps = """
    const first = document.querySelector(".causes li").getBoundingClientRect();
    const result = {bottom: first.bottom <= HEIGHT, right: first.right <= WIDTH};
    result.wide = document.documentElement.scrollWidth <= WIDTH;
    """.replace("HEIGHT", str(height)).replace("WIDTH", str(width))
    steps += "parent.document.title = JSON.stringify(result);"
    inner = escape(with_script(page(failing(details=DETAILS), *MANY), steps))
    outer = f'<title>-</title><iframe srcdoc="{inner}" width="{width}" height="{height}"></iframe>'
    (tmp_path / "page.html").write_text(outer, encoding="utf-8")
    assert in_browser(tmp_path) == {"bottom": True, "right": True, "wide": True}
