"""The limits of the house: how long a module may be, and how much of a class the rest of the package may use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LINES = 350
"""Of a module, at most."""
MEMBERS = 12
"""Of a class, at most: public fields and methods that other modules use."""

INTERFACES = {
    "oracle.row:Row": "a line of every report: its fields are those of the JSON file, which other programs read",
    "oracle.spec:Spec": "a record of the catalogue: users give each field by keyword, and most are left out",
    "purenet.op:Op": "the protocol: what a user calls, and the signature that combinators and the oracle read",
}
"""Classes with more members, and why."""


@cache
def modules() -> dict[str, ast.Module]:
    """The modules of both packages, by name."""
    paths = [path for package in ("oracle", "purenet") for path in sorted((ROOT / package).rglob("*.py"))]
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def names_in(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """The modules that a module imports, and the names of all attributes that it reads, of whatever object."""
    imported, read = set[str](), set[str]()
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Attribute):
            read.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{a.name}" for a in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            imported |= {a.name for a in node.names}
    return frozenset(imported & modules().keys()), frozenset(read)


def used_by_others(name: str) -> set[str]:
    """The attributes in modules that can get an object of this module: those that import it, or a module that does."""
    outsiders: set[str] = {name}
    for _ in range(2):
        outsiders |= {other for other in modules() if names_in(other)[0] & outsiders}
    return set().union(*(names_in(other)[1] for other in outsiders - {name}))


def members(made: ast.ClassDef) -> set[str]:
    """The public fields and methods of a class."""
    found = {node.name for node in made.body if isinstance(node, ast.FunctionDef)}
    found |= {node.target.id for node in made.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    found |= {
        node.attr
        for node in ast.walk(made)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name)
        if node.value.id == "self"
    }
    return {name for name in found if not name.startswith("_")}


def classes() -> Iterator[tuple[str, set[str]]]:
    """Each class that may be used elsewhere, with the members that are."""
    for name, tree in modules().items():
        made = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        used = used_by_others(name) if made else set()
        yield from ((f"{name}:{one.name}", members(one) & used) for one in made)


def test_no_module_is_too_long() -> None:
    places = [path for folder in ("oracle", "purenet", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in places}
    assert len(lengths) > 300
    assert {path: length for path, length in lengths.items() if length > LINES} == {}


@pytest.mark.xdist_group("the syntax trees of both packages")
def test_no_class_has_more_members_than_others_can_know() -> None:
    found = dict(classes())
    above = {name: sorted(used) for name, used in found.items() if len(used) > MEMBERS}
    assert above.keys() == INTERFACES.keys(), {name: used for name, used in above.items() if name not in INTERFACES}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class A:\n    x: int\n    def y(self): ...\n    def _z(self): ...", {"x", "y"}),
        ("class A:\n    def __init__(self):\n        self.a, self._b = 1, 2\n        self.c = 3", {"a", "c"}),
    ],
)
def test_members_are_the_public_fields_and_methods(source: str, expected: set[str]) -> None:
    (made,) = ast.parse(source).body
    assert isinstance(made, ast.ClassDef)
    assert members(made) == expected


@pytest.mark.xdist_group("the syntax trees of both packages")
def test_what_others_use_is_counted() -> None:
    used = used_by_others("oracle.differences.evaluation")
    assert {"secant", "differences_by_part"} <= used
    assert used_by_others("oracle.__main__") == set()
