"""The numeric constants of the engine: few, each with its reason, and no number with a meaning inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import oracle

ENGINE = Path(oracle.__file__).parent
MODULES = [
    ENGINE / "effort.py",
    *(p for name in ("judging", "differences", "contract") for p in sorted((ENGINE / name).glob("*.py"))),
]
MOST = 60  # with more, nobody can say what each of them is for
ARITHMETIC = {-1, 0, 1, 2, 0.5}  # halves, doubles, squares, first and last entries
WRITTEN_OUT = {
    "contract/process_state.py": {60, 1000},  # characters of a text that are shown or kept
    "contract/repeatability.py": {
        0.75,
        1.5,
    },  # other numbers as usual as these; no power of 2, by which many functions only scale
    "differences/richardson.py": {3},  # fields of an entry of the tableau
    "differences/roundoff.py": {4},  # fields of a quantization, one for each output
    "judging/exact_point.py": {200},  # characters of an error's message
    "judging/point.py": {8.0, 0.125},  # powers of 2, which move no digit of a floating-point number
    "judging/rescaled_point.py": {1.5},  # the upper end of "like size", which begins at a half
    "judging/verdict.py": {6},  # columns of a table of directions
}


def is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def numbers(node: ast.AST) -> Iterator[ast.Constant]:
    """The numbers in an expression, but for those in its lambdas, which are function bodies."""
    if isinstance(node, ast.Constant) and is_number(node):
        yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            yield from numbers(child)


def is_constant(value: ast.expr) -> bool:
    """Whether a value is a number of its own: written down, or with one that is more than arithmetic on another constant."""
    found = list(numbers(value))
    alone = bool(found) and not any(isinstance(node, (ast.Name, ast.Call)) for node in ast.walk(value))
    return alone or any(node.value not in ARITHMETIC for node in found)


def assigned(tree: ast.Module) -> Iterator[tuple[int, str, ast.expr]]:
    """The module-level constants, each with the place of its statement in the module."""
    for k, statement in enumerate(tree.body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        if value is not None and isinstance(targets[0], ast.Name) and targets[0].id.isupper():
            yield k, targets[0].id, value


def constants(source: str) -> list[str]:
    return [name for _, name, value in assigned(ast.parse(source)) if is_constant(value)]


def without_reason(source: str) -> list[str]:
    """Constants, also derived ones, with neither a comment before them nor a docstring behind."""
    tree, lines = ast.parse(source), source.splitlines()
    found = []
    for k, name, value in assigned(tree):
        behind = tree.body[k + 1] if k + 1 < len(tree.body) else None
        docstring = (
            isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant) and isinstance(behind.value.value, str)
        )
        if any(numbers(value)) and not docstring and not lines[value.lineno - 2].startswith("#"):
            found.append(name)
    return found


def in_bodies(source: str) -> list[float]:
    """The numbers outside of constants that are more than arithmetic."""
    tree = ast.parse(source)
    outside = {node for _, _, value in assigned(tree) for node in numbers(value)}
    return [node.value for node in ast.walk(tree) if is_number(node) and node not in outside and node.value not in ARITHMETIC]  # type: ignore[attr-defined]


def test_the_engine_has_few_constants() -> None:
    found = [f"{path.name}: {name}" for path in MODULES for name in constants(path.read_text(encoding="utf-8"))]
    assert len(found) <= MOST, "\n".join(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_a_constant_has_a_reason_and_no_number_hides_in_a_function(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not without_reason(source)
    assert set(in_bodies(source)) == WRITTEN_OUT.get(path.relative_to(ENGINE).as_posix(), set())


def test_numbers_in_other_forms_are_counted_too() -> None:
    source = """
A = 2.0
B = (1 / 4, 1 / 16)
C = 2 * A
D = 3 * A
E = -1
F = np.sqrt(A / 2)
G = Point(0.0, 1.0)
H: tuple[Any, ...] = (lambda a: a / 7,)

def f(x, n=5):
    return x / 2 + 9 * A
"""
    assert constants(source) == ["A", "B", "D", "E"]
    assert without_reason("# Why.\nA = 2.0\nB = 3.0\n'''Why.'''\nC = 4.0\n") == ["C"]
    assert sorted(in_bodies(source)) == [5, 7, 9]
