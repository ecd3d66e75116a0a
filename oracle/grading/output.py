"""The result of a grading: as text, and in the forms that other programs read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

from oracle.grading.grade import Mark, Result
from oracle.text import plain

__all__ = ["as_gradescope", "as_json", "as_junit", "as_text"]


def as_text(result: Result) -> str:
    """A line for each value and gradient, what is wrong with it, and the points."""
    return "\n".join(plain(line) for line in _lines(result))


def _lines(result: Result) -> Iterator[str]:
    yield from (f"refused: {reason}" for reason in result.refused)
    if not result.refused:
        width = max(len(_name(mark)) for mark in result.marks)
        for mark in result.marks:
            points = f"{_number(mark.points)} / {_number(mark.most)}"
            yield f"{_name(mark):{width}}  {points:>7}  {mark.hint or 'right'}"
    yield from (f"remark: {remark}" for remark in result.remarks)
    yield f"{result.assignment}: {_number(result.score)} of {_number(result.most)} points (repeat with --seed {result.seed})"


def _name(mark: Mark) -> str:
    return f"{mark.part} / {mark.name}"


def _number(points: float) -> str:
    return f"{points:g}"


def as_json(result: Result) -> str:
    """All that is known, for programs."""
    marks = [
        {"part": m.part, "name": m.name, "score": m.points, "max_score": m.most, "passed": not m.hint, "hint": m.hint}
        for m in result.marks
    ]
    return _json(
        {
            "assignment": result.assignment,
            "passed": result.passed,
            "score": result.score,
            "max_score": result.most,
            "seed": result.seed,
            "seconds": round(result.seconds, 2),
            "refused": list(result.refused),
            "remarks": list(result.remarks),
            "marks": marks,
        }
    )


def as_gradescope(result: Result) -> str:
    """The file `results.json` of Gradescope. Remarks and the seed are not for students, and so are not in it."""
    tests = [
        {
            "name": _name(mark),
            "score": mark.points,
            "max_score": mark.most,
            "output": plain("; ".join(result.refused) or mark.hint or "right"),
            "status": "failed" if mark.hint else "passed",
            "visibility": "visible",
        }
        for mark in result.marks
    ]
    return _json({"score": result.score, "execution_time": round(result.seconds), "visibility": "visible", "tests": tests})


def as_junit(result: Result) -> str:
    """JUnit XML: a test case for each value and gradient."""
    wrong = sum(bool(mark.hint) for mark in result.marks)
    suite = ET.Element("testsuite", name=result.assignment, tests=str(len(result.marks)), failures=str(wrong), errors="0")
    suite.set("time", f"{result.seconds:.2f}")
    for mark in result.marks:
        case = ET.SubElement(suite, "testcase", classname=f"{result.assignment}.{mark.part}", name=mark.name)
        if mark.hint:
            text = plain("; ".join(result.refused) or mark.hint)
            ET.SubElement(case, "failure", message=text).text = f"{_number(mark.points)} of {_number(mark.most)} points"
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
