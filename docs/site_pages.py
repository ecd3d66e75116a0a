"""Pages of the site that are made from the sources: one for each op, from its docstring, its code and its Spec."""

from __future__ import annotations

import html
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optree

import purenet
from oracle import Flag, Spec, catalogue
from purenet import Op

__all__ = ["docstring", "typeset", "write_pages"]

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PARTS = re.compile(r"^(Shapes|Math|Errors|Source)\b(.*)", re.DOTALL)
GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "lambda", "mu", "sigma", "rho", "theta", "tau", "pi", "phi")
LETTERS = {name: html.unescape(f"&{name};") for name in GREEK} | {"eps": "ε"}
SIGNS = {"sum": "∑", "prod": "∏", "sqrt": "√", "inf": "∞", ">=": "≥", "<=": "≤", "!=": "≠", "->": "→"}
TOKEN = re.compile(
    r"(?P<sign>>=|<=|!=|->)|(?P<name>[A-Za-z]+'?)(?P<below>_(?:\w+(?:[+-]1\b)?|\{[^}]*\}))?|(?P<power>(?<=[\w)\]])\^(?:[\w.]+|\([^)]*\)|(?=[\s,;:)])))"
)
ARTICLE = re.compile(r" (?:[a-z_]{3,}\b(?! ?\()|$)")  # what follows a word that is no variable
MOST_CALLED = 12  # helpers of an op that its page shows; those of whole nets are too many to read
SECTIONS = ("Args", "Raises", "Returns", "Yields")  # of a docstring, which Sphinx itself lays out
LEFT = 24  # characters to the left of an equals sign; with more it is a sentence
UPRIGHT = {
    "exp",
    "log",
    "an",
    "as",
    "at",
    "be",
    "by",
    "if",
    "in",
    "is",
    "it",
    "no",
    "of",
    "on",
    "or",
    "so",
    "to",
}  # not in italics


def write_pages(*_: object) -> None:
    """Writes docs/ops/: a page for each public op, and an index by family. Pages that have not changed stay untouched."""
    specs = {spec.name: spec for spec in catalogue.specs() if isinstance(spec, Spec)}
    accuracy, speed = _table(ROOT / "reports" / "accuracy.md"), _table(ROOT / "reports" / "speed.md")
    folder = DOCS / "ops"
    folder.mkdir(exist_ok=True)
    families: dict[str, list[str]] = {}
    ops = {op.name: op for name in purenet.__all__ if isinstance(op := getattr(purenet, name), Op)}
    written = {folder / "index.md"}
    for name, op in sorted(ops.items()):
        spec = specs.get(name)
        families.setdefault(spec.family if spec else "others", []).append(name)
        written.add(folder / f"{name}.md")
        _write(folder / f"{name}.md", "\n\n".join(_page(op, spec, accuracy.get(name, ""), speed.get(name, ""))) + "\n")
    _write(folder / "index.md", _index(families, ops))
    for left in set(folder.glob("*.md")) - written:
        left.unlink()


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _table(page: Path) -> dict[str, str]:
    """The rows of a report's table, with its head, by the name in their first column; none if there is no such report."""
    if not page.exists():
        return {}
    head: list[str] = []
    rows: dict[str, list[str]] = {}
    lines = page.read_text(encoding="utf-8").splitlines()
    for before, line in zip(lines, [*lines[1:], ""], strict=True):
        if re.match(r"^\|[-:|]+\|$", line.replace(" ", "")):
            head = [before, line]
        elif before.startswith("|") and not re.match(r"^\|[-:|]+\|$", before.replace(" ", "")) and head and before != head[0]:
            rows.setdefault(before.split("|")[1].strip(" `"), [*head]).append(before)
    return {name: "\n".join(lines) for name, lines in rows.items()}


def _index(families: dict[str, list[str]], ops: dict[str, Op]) -> str:
    parts = ["# All ops", "Each page has the mathematics, the code, the verified cases and the accuracy of one op."]
    for family, names in sorted(families.items()):
        rows = "\n".join(f"| [{name}]({name}.md) | {_first(ops[name])} |" for name in names)
        hidden = "\n".join(names)
        parts.append(f"## {family.capitalize()}\n\n| `pn.` | |\n|---|---|\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{hidden}\n```")
    return "\n\n".join(parts) + "\n"


def _first(op: Op) -> str:
    return " ".join(inspect.cleandoc(op.__doc__ or "").split("\n\n")[0].split()).replace("|", r"\|")


def _page(op: Op, spec: Spec | None, accuracy: str, speed: str) -> Iterator[str]:
    yield f"---\nhide-toc: true\n---\n\n# {op.name}"
    text, _, example = inspect.cleandoc(op.__doc__ or "").partition(">>>")
    yield f"```python\npn.{op.name}{_bare(inspect.signature(op.forward))}\n```"
    for paragraph in text.split("\n\n"):
        for part in re.split(r"\n(?=(?:Shapes|Math|Errors|Source)\b)", paragraph.strip()):
            if match := PARTS.match(part):
                yield from _part(match[1], match[2].lstrip(":"))
            elif part:
                yield part
    if example:
        yield f"## Example\n\n```pycon\n>>>{example.rstrip()}\n```"
    yield "## Code"
    passes = [_code("The forward pass", op.forward)]
    if op.backward is not None:
        passes.append(_code("The backward pass", op.backward))
    yield "\n\n".join(['<div class="passes">', *(f"<div>\n\n{code}\n\n</div>" for code in passes), "</div>"])
    helpers = [_code(f"`{function.__name__}`", function) for function in _called(op)]
    if helpers:
        yield "### What these call"
        yield from helpers
    if spec is not None:
        yield "## What is verified"
        yield f"`oracle verify {op.name}` compares each gradient with finite differences and with JAX's, in these cases:"
        yield _cases(spec)
    if accuracy:
        yield f"## Accuracy\n\nErrors in units in the last place ([all ops](../../reports/accuracy.md)):\n\n{accuracy}"
    if speed:
        yield f"## Speed\n\n([all ops](../../reports/speed.md))\n\n{speed}"


def _bare(signature: inspect.Signature) -> str:
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def _part(name: str, body: str) -> Iterator[str]:
    if name == "Math":
        head, _, formulas = body.partition("\n")
        said = head.strip().lstrip(",").rstrip(":").strip()
        yield "## Mathematics"
        if said:
            if formulas:  # the words before them lead to them: "of each of N rows", "with p the probabilities", "s the sigmoid"
                leads = said.split()[0] in ("with", "of", "for", "over")
                said = f"{said[0].upper()}{said[1:]}:" if leads else f"With {said}:"
            yield f"<p>{typeset(said)}</p>"
        if formulas:
            lines = inspect.cleandoc("\n" + formulas).splitlines()
            yield '<div class="formulas">\n' + "\n".join(map(_formula, lines)) + "\n</div>"
        return
    yield f"## {'Source and conventions' if name == 'Source' else name}"
    yield " ".join(body.replace("\n", " ").split()).replace(" -> ", " \N{RIGHTWARDS ARROW} ")


def _formula(line: str) -> str:
    """One line; the equals signs of equations stand below each other."""
    left, equals, right = line.partition(" = ")
    if not equals or len(left) > LEFT:
        return f'<p class="whole">{typeset(line)}</p>'
    return f"<p>{typeset(left.rstrip())}</p><p>= {typeset(right.lstrip())}</p>"


def typeset(line: str) -> str:
    """A line of a Math section as HTML: Greek letters, subscripts, powers, names in italics, the rest as it is."""
    indent = len(line) - len(line.lstrip())
    return "&#160;" * indent + _between(line.strip())


def _between(text: str) -> str:
    """Names between backticks are code."""
    pieces = text.split("`")
    pieces[::2] = map(_formulas, pieces[::2])
    pieces[1::2] = [f"<code>{html.escape(piece)}</code>" for piece in pieces[1::2]]
    return "".join(pieces)


def _formulas(text: str) -> str:
    text, reduction, words = text.partition('reduction "')  # what follows is a sentence
    parts, end = [], 0
    for match in TOKEN.finditer(text):
        article = match[0] in ("a", "A") and ARTICLE.match(text, match.end())
        parts += [_spaces(text[end : match.start()]), match[0] if article else _token(match)]
        end = match.end()
    return "".join([*parts, _spaces(text[end:] + reduction + words)])


def _spaces(text: str) -> str:
    return re.sub(r" {2,}", lambda run: "&#160;" * len(run[0]), html.escape(text))


def _token(match: re.Match[str]) -> str:
    if match["sign"]:
        return SIGNS[match["sign"]]
    if match["power"]:
        power = match["power"][1:]
        return f"<sup>{html.escape(power.strip('()'))}</sup>" if power else "\u0302"
    name = match["name"]
    if name not in SIGNS and len(name) > 2 and len(match["below"] or "") > len("_ij"):
        return f"<code>{html.escape(match[0])}</code>"  # the name of an option, such as label_smoothing
    below = f"<sub>{html.escape(match['below'][1:].strip('{}'))}</sub>" if match["below"] else ""
    if name in SIGNS:
        return SIGNS[name] + below
    shown = LETTERS.get(name) or (f"d{LETTERS[name[1:]]}" if name[0] == "d" and name[1:] in LETTERS else name)
    italic = shown != name or (len(name.rstrip("'")) <= 2 and name not in UPRIGHT)
    return (f"<i>{shown}</i>" if italic else shown) + below


def _code(title: str, function: Any) -> str:
    function = inspect.unwrap(function)
    place = Path(inspect.getfile(function)).relative_to(ROOT).as_posix()
    source = inspect.getsource(function)
    body = re.sub(r'\n    (r?)"""(?:.*?)"""(?=\n)', "", source, count=1, flags=re.DOTALL)  # the docstring is the page itself
    return f"{title}, in [`{place}`](../../{place}):\n\n```python\n{textwrap.dedent(body).rstrip()}\n```"


def _called(op: Op) -> list[Any]:
    """The functions of purenet that compute for the op, in the order in which they are met; no checks of arguments."""
    met: dict[Any, None] = {}
    waiting = [inspect.unwrap(f) for f in (op.forward, op.backward) if f is not None]
    passes = set(waiting)
    while waiting:
        function = waiting.pop(0)
        for name in function.__code__.co_names:
            called = function.__globals__.get(name)
            if inspect.isfunction(called) and called not in passes and called not in met and _computes(called):
                met[called] = None
                waiting.append(called)
    return list(met)[:MOST_CALLED]


def _computes(function: Any) -> bool:
    module: str = function.__module__
    return module.startswith("purenet.") and module not in ("purenet.arrays", "purenet.checks", "purenet.op", "purenet.tuples")


def _cases(spec: Spec) -> str:
    rows = []
    for case in spec.cases:
        arrays = [leaf for leaf in optree.tree_leaves(case.draw(spec.name)[0]) if hasattr(leaf, "shape")]
        shapes = ", ".join("x".join(map(str, array.shape)) or "scalar" for array in arrays)
        flags = ", ".join(sorted(_words(flag) for flag in case.flags))
        rows.append(f"| {case.name.replace('|', chr(92) + '|')} | {shapes} | {flags} |")
    return "| case | shapes | what is special |\n|---|---|---|\n" + "\n".join(rows)


def _words(flag: Flag) -> str:
    return flag.name.lower().replace("_", " ")


def docstring(_app: object, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Makes a docstring of this repository readable for Sphinx: formulas keep their lines, the parts have titles in bold."""
    lines[:] = [line for block in _blocks("\n".join(lines)) for line in (*block, "")]


def _blocks(text: str) -> Iterator[list[str]]:
    for paragraph in filter(str.strip, re.split(r"\n\s*\n", text.strip("\n"))):
        prose, *example = re.split(r"^(?=\s*>>>)", paragraph, maxsplit=1, flags=re.MULTILINE)
        if prose.strip():
            yield from _parts(prose.rstrip())
        yield from (text.splitlines() for text in example)


def _parts(paragraph: str) -> Iterator[list[str]]:
    for part in re.split(r"\n(?=(?:Shapes|Math|Errors|Source|Conventions|Args)\b)", paragraph):
        block = [_escaped(line) for line in part.splitlines()]
        head, rest = block[0], block[1:]
        if match := re.match(r"(Shapes|Math|Errors|Source|Conventions)\b(.*?):?$", head, re.DOTALL):
            if match[1] == "Math" and rest:
                yield [f"**Math**{match[2]}:"]
                yield [".. code-block:: text", "", *("   " + line for line in part.splitlines()[1:])]
            else:
                yield [f"**{match[1]}**{match[2]} " + " ".join(line.strip() for line in rest)]
        elif (
            rest and any(line.startswith(" ") for line in rest) and not head.lstrip().startswith(("- ", "1. ", ":", *SECTIONS))
        ):
            if head.rstrip().endswith(":") and not re.match(r"\w+:", rest[0]):
                yield [head]
                yield [".. code-block:: text", "", *("   " + line for line in part.splitlines()[1:])]
            else:
                yield [".. code-block:: text", "", *("   " + line for line in part.splitlines())]
        else:
            yield block


def _escaped(line: str) -> str:
    """A line of prose for reStructuredText: code between single backticks, and no other markup."""
    pieces = line.split("`")
    pieces[::2] = [re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", piece) for piece in pieces[::2]]
    return "``".join(pieces)
