"""The report as JUnit XML, in pytest's schema xunit2, which Jenkins, GitLab and most other services read."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from oracle.report.causes import Group
from oracle.report.table import failure
from oracle.row import VALUES, Row, Verdict
from oracle.text import plain

__all__ = ["junit"]

WIDTH = 100  # columns of the text of a failure
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML 1.0 cannot hold, not even escaped."""


def junit(rows: Sequence[Row], env: Mapping[str, Any], reproduce: Callable[[Row], str]) -> str:
    """One testcase for each row, in the order of the rows. An unfinished run has one more, which is an error."""
    root = ET.Element("testsuites", name="oracle")
    suite = ET.SubElement(root, "testsuite")
    known: Counter[tuple[str, str]] = Counter()
    for row in rows:
        classname, name = f"{row.family}.{row.op}", _name(row)
        known[classname, name] += 1
        if (number := known[classname, name]) > 1:  # services take two testcases of one name for one that was run twice
            name += f" ({number})"
        _add_row(suite, row, classname, name, reproduce)
    if "unfinished" in env:
        case = _element(suite, "testcase", classname="oracle.run", name="the whole run", time="0.000")
        _element(case, "error", env["unfinished"], message=env["unfinished"], type="unfinished")
    wrong = Counter(child.tag for case in suite for child in case)
    numbers = {
        "errors": wrong["error"],
        "failures": wrong["failure"],
        "skipped": 0,
        "tests": len(suite),
        "time": f"{sum(row.seconds for row in rows):.3f}",
    }
    named = {"timestamp": datetime.now(UTC).isoformat(), "hostname": platform.node()}
    for name, value in {"name": "oracle", **numbers, **named}.items():
        suite.set(name, _legal(str(value)))
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add_row(suite: ET.Element, row: Row, classname: str, name: str, reproduce: Callable[[Row], str]) -> None:
    case = _element(suite, "testcase", classname=classname, name=name, time=f"{row.seconds:.3f}")
    if row.passed:
        if row.diagnosis:
            _element(case, "system-out", row.diagnosis)
    else:
        kind = "error" if row.verdict is Verdict.ERROR else "failure"
        text = failure(Group((row,)), reproduce, WIDTH)
        _element(case, kind, text, message=row.diagnosis or str(row.verdict), type=str(row.verdict))


def _name(row: Row) -> str:
    """`case/parameter/dtype`; a breach of the contract has another name than the gradient by the same parameter."""
    what = row.parameter or "(the op)"
    if row.evidence.startswith(("contract", VALUES)):
        what += f" {row.evidence.partition(':')[0]}"
    if row.order > 1:
        what += f" order {row.order}"
    return "/".join(part for part in (row.case, what, row.dtype) if part)


def _element(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, {name: _legal(plain(value)) for name, value in attributes.items()})
    element.text = _legal(plain(text, keep="\n")) or None
    return element


def _legal(text: str) -> str:
    return FORBIDDEN.sub("", text)
