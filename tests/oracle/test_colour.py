"""Colours: who gets them, and which words have them."""

from __future__ import annotations

import io
import re

import pytest

from oracle.report import colour, table
from oracle.row import Verdict
from tests.oracle.rows import failing, row


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(
    ("settings", "on_a_terminal", "in_a_file"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_only_a_terminal_gets_colours_unless_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], on_a_terminal: bool, in_a_file: bool
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert colour.wanted(Terminal()) is on_a_terminal
    assert colour.wanted(io.StringIO()) is in_a_file


def coloured(text: str) -> list[str]:
    return re.findall(r"\033\[([\d;]+)m(.*?)\033\[0m", colour.painted(text))


def test_each_verdict_has_a_colour_before_a_name_in_the_table_and_in_the_totals() -> None:
    for verdict in Verdict:
        code = colour.CODES[verdict]
        text = table.render([failing(verdict=verdict) if not verdict.passes else row(verdict=verdict)], width=100)
        places = 2 if verdict.passes else 3
        assert coloured(text) == [(code, str(verdict))] * places
        assert re.sub(r"\033\[[\d;]+m", "", colour.painted(text)) == text


def test_other_words_have_no_colour() -> None:
    text = "FAIL is a word\nPASSWORD  x\nthe FAIL verdict\n3 PASSES"
    assert colour.painted(text) == text
