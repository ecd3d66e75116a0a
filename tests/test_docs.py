"""README.md, PACKAGE.md and docs/ are true: their code runs, prints what they show, and links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import oracle
from oracle.cli.main import _parser, main
from oracle.judging.reasons import Reason
from oracle.pytest_plugin import VerifyGradient

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "PACKAGE.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "tests" / "README.md"]

BLOCK = re.compile(r"^```([^`\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PROMPT = re.compile(r"^(\$ | *- run: )")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")


def named(pages: list[Path]) -> Any:
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


def words(printed: str) -> list[str]:
    """What was printed, numbers in their first digits, since another machine rounds the last ones otherwise; no layout."""
    return [word for word in NUMBER.sub(_shortened, printed).split() if not set(word) <= {"-"}]


def _shortened(number: re.Match[str]) -> str:
    """An integer as it is, four digits of a longer number, and of an error that it is there."""
    text = number[0]
    if "e" in text:
        return "#"
    return text if len(text) < 6 else f"{float(text):.4g}"


@named(PAGES)
def test_the_code_of_a_page_runs_and_prints_what_it_shows(
    page: Path,
    verify_gradient: VerifyGradient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The blocks of Python of a page run one after the other; a block of text shows what the one before it has printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    names: dict[str, Any] = {"__name__": page.stem}
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            capsys.readouterr()
            exec(compile(block, page.name, "exec"), names)  # noqa: S102 - our own page
        elif language == "text":
            assert words(capsys.readouterr().out) == words(block)
    for name, value in names.items():
        if name.startswith("test_"):
            value(verify_gradient)
        elif isinstance(value, oracle.Spec):
            for case in value.cases:
                oracle.verify_case(value, case).raise_for_failures()
            if value.strategy is not None:
                arguments, options = value.strategy(oracle.Draw("page"))
                oracle.verify(value.op, *arguments, options=options, reference=value.reference).raise_for_failures()


def commands(text: str) -> list[list[str]]:
    """The commands in the blocks of shell, and in those without a language, as words."""
    lines = [line for language, block in BLOCK.findall(text) if language in ("sh", "yaml", "") for line in block.splitlines()]
    parts = [part for line in lines for part in re.split(r" (?:&&|\|\||\||>) ", PROMPT.sub("", line).split("  #")[0])]
    return [shlex.split(part) for part in parts if part.startswith(("oracle ", "make ", "python ", "pip "))]


@named([*LINKED, *sorted((ROOT / "docs" / "tutorials").glob("*.md")), *sorted((ROOT / "docs" / "wrong").glob("*.md"))])
def test_the_commands_of_a_page_are_taken(page: Path) -> None:
    """By the command line of oracle, by the Makefile, by pip; and a module that is run with `-m` is there."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for words_of in commands(page.read_text(encoding="utf-8")):
        match words_of:
            case ["oracle", *rest] if rest:
                _parser().parse_args(rest)
            case ["make", target, *_]:
                assert target in targets, words_of
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module), words_of
            case ["pip", "install", *what]:
                extras = [name for one in what for names in re.findall(r"\[(.*)\]", one) for name in names.split(",")]
                assert set(extras) <= set(project["optional-dependencies"]), words_of


CAUSES = re.findall(
    r"^\| (.*?) \| \[.*\]\((\w+\.md)\) \|$", (ROOT / "docs/wrong/index.md").read_text(encoding="utf-8"), re.MULTILINE
)


def test_every_page_of_a_cause_is_in_the_table() -> None:
    assert {name for _, name in CAUSES} == {path.name for path in (ROOT / "docs" / "wrong").glob("*.md")} - {"index.md"}


@pytest.mark.parametrize(("said", "name"), CAUSES)
def test_the_example_of_a_cause_gets_the_report_that_the_table_says(said: str, name: str) -> None:
    """And a later version passes, which is the mended one."""
    page = (ROOT / "docs" / "wrong" / name).read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": name}
    results = []
    for language, block in BLOCK.findall(page):
        if language == "{code-cell}":
            *statements, last = ast.parse(block).body
            exec(compile(ast.Module(statements, []), name, "exec"), names)  # noqa: S102 - our own page
            assert isinstance(last, ast.Expr)
            results.append(eval(compile(ast.Expression(last.value), name, "eval"), names))  # noqa: S307 - our own page
    told = " ".join(" ".join(map(str, results)).split())
    assert any(some in told for some in said.split(", "))
    assert not results[0].passed
    assert any(result.passed for result in results[1:])


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@named(LINKED)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        if place.startswith("ops/"):
            continue  # pages that the build of the site makes, and checks
        target = (page.parent / place) if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_linked_from_the_readme_or_has_its_place_in_the_site() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    placed = {f"docs/{line}.md" for line in (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines()}
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} - linked - placed == {"docs/index.md"}


def test_the_glossary_has_every_reason_with_its_verdict() -> None:
    page = (ROOT / "docs" / "verdicts.md").read_text()
    for reason in Reason:
        assert f"| {reason.value} | {reason.verdict} | {reason.__doc__} |\n" in page


def _help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with suppress(SystemExit):
        main([*command.split(), "--help"])
    return capsys.readouterr().out


def test_the_page_of_commands_has_every_option_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And no other, each with the commands that take it."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    told = {
        re.findall(r"--[a-z-]+", option)[-1]: (set(of.split(", ")), meaning)
        for option, of, meaning in re.findall(r"^\| ([^|]*`-[^|]*) \| ([^|]*) \| (.*) \|$", page, re.MULTILINE)
    }
    taken: dict[str, set[str]] = {}
    commands = re.findall(r"^    ([a-z]+)  ", _help_of("", capsys) or "", re.MULTILINE)
    assert commands == ["verify", "locate", "diff", "list", "show", "fuzz", "power", "accuracy", "seeds", "grade", "vectors"]
    for command in commands:
        text = " ".join(_help_of(command, capsys).split())
        for option in set(re.findall(r"--[a-z-]+(?=[ \],])", text.partition("show this help")[2] or text)) - {"--help"}:
            if re.search(rf"{option}( [A-Z]+)?(?= [a-z0-9])", text):
                taken.setdefault(option, set()).add(command)
        assert f"`oracle {command}" in page
    assert {option: of for option, (of, _) in told.items()} == taken
