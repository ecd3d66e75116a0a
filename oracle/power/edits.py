"""The planted mistakes: small edits of the source of a function, found on its syntax tree.

Each edit replaces the text of one expression or statement. The rest of the source does not change, comments included.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, singledispatch
from typing import Any, TypeAlias

from oracle.power.exchanges import (
    ARITHMETIC,
    BUILTIN,
    COMMUTATIVE,
    COMPARISONS,
    EXCHANGED,
    FACTORS,
    ONE_SIDED,
    PASSIVE,
    PASSIVE_KEYWORDS,
    REDUCTIONS,
    TERMS,
)

__all__ = ["CHECKING", "Alike", "Edit", "edits", "function_of", "parsed"]

Alike: TypeAlias = Callable[[str, int], Sequence[str]]
"""Maps a name and a line to the other names of the same kind that the function has bound there."""

Change: TypeAlias = tuple[str, ast.AST]
"""The kind of mistake, and the node that replaces the original one."""

CHECKING = ("check", "_check")  # beginnings of the names of functions that only check and raise; these are not edited


@dataclass(frozen=True)
class Edit:
    """Another text between two offsets, which count bytes of the source in UTF-8."""

    kind: str
    start: int
    end: int
    text: str

    def applied(self, source: str) -> str:
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.end :]).decode()


def edits(source: str, function: str, alike: Alike = lambda name, line: ()) -> list[Edit]:
    """All edits of the function with this qualified name, in the order of the source. No two give the same text."""
    lines = [0]
    for line in source.encode().splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    found: dict[tuple[int, int, str], Edit] = {}
    for node, kind, new in _in_statements(function_of(parsed(source), function).body, alike):
        place: Any = node
        start, end = lines[place.lineno - 1] + place.col_offset, lines[place.end_lineno - 1] + place.end_col_offset
        text = _text(node, new)
        if ast.dump(node) != ast.dump(new):
            found.setdefault((start, end, text), Edit(kind, start, end, text))
    return sorted(found.values(), key=lambda edit: (edit.start, edit.end))


parsed = cache(ast.parse)
"""The tree of a module's source, which nobody may change: most modules have several functions with mutants."""


def function_of(tree: ast.Module, qualified: str) -> ast.FunctionDef:
    """The first definition with this qualified name, such as `Reduction.cotangent`; a property may have several."""
    node: Any = tree
    for name in qualified.split("."):
        within = (
            n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name and n is not node
        )
        node = next(within, None)
        if node is None:
            raise KeyError(f"no function is named {qualified}")
    if not isinstance(node, ast.FunctionDef):
        raise KeyError(f"{qualified} is no function")
    return node


def _text(node: ast.AST, new: ast.AST) -> str:
    simple = (ast.stmt, ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple, ast.Slice, type(node))
    bound = ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.IfExp  # these need brackets in most places
    text = ast.unparse(new)
    return text if isinstance(new, simple) and not isinstance(new, bound) else f"({text})"


# ----------------------------------------------------------------------------------------------- where to look


def _in_statements(body: Sequence[ast.stmt], alike: Alike) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    first = body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    for statement in body[1:] if documented else body:
        yield from _walk(statement, alike)


def _walk(node: ast.AST, alike: Alike) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """Every node that may be changed, with its changes. Code that only raises, annotates or names a dtype is left out."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.arguments | ast.FormattedValue):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _name(node.value.func).startswith(CHECKING):
        return
    if isinstance(node, ast.If) and not node.orelse and all(isinstance(inner, ast.Raise) for inner in node.body):
        return
    if isinstance(node, ast.keyword) and node.arg in PASSIVE_KEYWORDS:
        return
    for kind, new in changes(node):
        yield node, kind, new
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        for other in alike(ast.unparse(node), node.lineno):
            yield node, "wrong residual", ast.parse(other, mode="eval").body
    if isinstance(node, ast.If) and not isinstance(node.test, ast.Compare):
        yield node.test, "negation", ast.UnaryOp(ast.Not(), node.test)
    inferred = isinstance(node, ast.Call) and _name(node.func) == "reshape"  # any negative size means the same
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (inferred and ast.unparse(child) == "-1"):
                yield from _walk(child, alike)


# ----------------------------------------------------------------------------------------------- what is changed


@singledispatch
def changes(node: ast.AST) -> Iterator[Change]:
    """The mistakes that are planted at this node."""
    yield from ()


@changes.register
def _(node: ast.BinOp) -> Iterator[Change]:
    left, op, right = node.left, node.op, node.right
    if type(op) in ARITHMETIC:
        yield "operator", ast.BinOp(left, ARITHMETIC[type(op)](), right)
    what = "dropped term" if isinstance(op, ast.Add | ast.Sub) else "dropped factor"
    yield what, left
    if isinstance(op, ast.Sub):
        yield what, ast.UnaryOp(ast.USub(), right)
    elif isinstance(op, ast.Div):
        yield what, ast.BinOp(ast.Constant(1), op, right)
    elif not isinstance(op, ast.Pow):
        yield what, right
    if isinstance(op, ONE_SIDED):
        yield "swapped operands", ast.BinOp(right, op, left)
    if isinstance(op, ast.MatMult):
        yield "added transpose", ast.BinOp(ast.Attribute(left, "mT", ast.Load()), op, right)
        yield "added transpose", ast.BinOp(left, op, ast.Attribute(right, "mT", ast.Load()))


@changes.register
def _(node: ast.UnaryOp) -> Iterator[Change]:
    if not isinstance(node.operand, ast.Constant):
        yield ("sign" if isinstance(node.op, ast.USub) else "negation"), node.operand


@changes.register
def _(node: ast.Compare) -> Iterator[Change]:
    if len(node.ops) == 1:
        for other in COMPARISONS[type(node.ops[0])]:
            yield "comparison", ast.Compare(node.left, [other()], node.comparators)


@changes.register
def _(node: ast.BoolOp) -> Iterator[Change]:
    other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    yield "operator", ast.BoolOp(other, node.values)
    for i in range(len(node.values)):
        rest = [*node.values[:i], *node.values[i + 1 :]]
        yield "dropped condition", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


@changes.register
def _(node: ast.IfExp) -> Iterator[Change]:
    yield "one branch", node.body
    yield "one branch", node.orelse


@changes.register
def _(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1)
        yield "constant", ast.Constant(value - 1) if value else ast.UnaryOp(ast.USub(), ast.Constant(1))
    elif isinstance(value, float):
        yield "constant", ast.Constant(value * 1.000001 if value else 1.0)


@changes.register
def _(node: ast.Attribute) -> Iterator[Change]:
    if node.attr in ("T", "mT"):
        yield "dropped transpose", node.value


@changes.register
def _(node: ast.Subscript) -> Iterator[Change]:
    if isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Name | ast.Compare | ast.Attribute | ast.UnaryOp):
        yield "dropped index", node.value


@changes.register
def _(node: ast.Slice) -> Iterator[Change]:
    lower, upper, step = node.lower, node.upper, node.step
    one = ast.Constant(1)
    if step is not None:
        yield "slice", ast.Slice(lower, upper, None)
    yield "slice", ast.Slice(one if lower is None else ast.BinOp(lower, ast.Add(), one), upper, step)
    minus_one = ast.UnaryOp(ast.USub(), one)
    yield "slice", ast.Slice(lower, minus_one if upper is None else ast.BinOp(upper, ast.Sub(), one), step)
    if lower is not None:
        yield "slice", ast.Slice(None, upper, step)
    if upper is not None:
        yield "slice", ast.Slice(lower, None, step)


@changes.register
def _(node: ast.Call) -> Iterator[Change]:
    function, given, name = node.func, node.args, _name(node.func)
    if any(isinstance(a, ast.Starred) for a in given):
        return
    if name in EXCHANGED and isinstance(function, ast.Attribute | ast.Name):
        other = EXCHANGED[name]
        renamed = ast.Attribute(function.value, other, ast.Load()) if isinstance(function, ast.Attribute) else None
        if renamed is not None:
            yield "another function", ast.Call(renamed, given, node.keywords)
    if name == "where" and len(given) == 3:
        yield "swapped operands", ast.Call(function, [given[0], given[2], given[1]], node.keywords)
        yield "missing mask", given[1]
        yield "missing mask", given[2]
        return
    inside = _inside(node)
    if inside is not None and name not in PASSIVE:
        yield ("dropped transpose" if name in ("swapaxes", "transpose", "moveaxis") else "dropped call"), inside
    commutes = name in COMMUTATIVE or (name in ("max", "min") and isinstance(function, ast.Name))
    pair = 1 if name == "einsum" else 0  # the operands come after the subscripts
    if len(given) >= pair + 2 and not commutes:
        swapped = [*given[:pair], given[pair + 1], given[pair], *given[pair + 2 :]]
        yield "swapped operands", ast.Call(function, swapped, node.keywords)
    for i, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in PASSIVE_KEYWORDS:
            rest = [*node.keywords[:i], *node.keywords[i + 1 :]]
            yield f"dropped {keyword.arg}", ast.Call(function, given, rest)
    yield from _by_name(node, name)


def _by_name(node: ast.Call, name: str) -> Iterator[Change]:
    """Mistakes that are special to certain functions, by their names."""
    function, given = node.func, node.args

    def given_instead(*arguments: ast.expr) -> ast.Call:
        return ast.Call(function, list(arguments), node.keywords)

    if name in TERMS | FACTORS and len(given) == 2:
        yield f"dropped {'term' if name in TERMS else 'factor'}", given[1]
    if name in ("matmul", "dot") and len(given) == 2:
        yield "added transpose", given_instead(ast.Attribute(given[0], "mT", ast.Load()), given[1])
        yield "added transpose", given_instead(given[0], ast.Attribute(given[1], "mT", ast.Load()))
    if name == "einsum" and given and isinstance(given[0], ast.Constant) and "->" in str(given[0].value):
        inputs, output = str(given[0].value).split("->")
        yield "added transpose", given_instead(ast.Constant(f"{inputs}->{output[::-1]}"), *given[1:])
    if name == "range" and len(given) in (1, 2):
        yield "off by one", given_instead(*given[:-1], ast.BinOp(given[-1], ast.Sub(), ast.Constant(1)))
    method = isinstance(function, ast.Attribute) and _inside(node) is function.value
    if name in REDUCTIONS and isinstance(function, ast.Attribute) and len(given) == (1 if method else 2):
        yield "dropped axis", given_instead(*given[:-1])
    for i, keyword in enumerate(node.keywords):
        several = keyword.value.elts if keyword.arg == "axis" and isinstance(keyword.value, ast.Tuple) else []
        for j in range(len(several)):
            fewer = ast.keyword("axis", ast.Tuple([*several[:j], *several[j + 1 :]], ast.Load()))
            yield "dropped axis", ast.Call(function, given, [*node.keywords[:i], fewer, *node.keywords[i + 1 :]])


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def _inside(node: ast.Call) -> ast.expr | None:
    """The expression that remains of a call without its function: `x` of `x.sum()` and of `np.sum(x)`."""
    function = node.func
    if isinstance(function, ast.Attribute):
        of_module = isinstance(function.value, ast.Name) and function.value.id in ("np", "math", "special")
        if not of_module:
            return function.value
        return node.args[0] if node.args else None
    known = isinstance(function, ast.Name) and (function.id in BUILTIN or not hasattr(builtins, function.id))
    return node.args[0] if known and node.args and not isinstance(node.args[0], ast.Constant) else None


# ----------------------------------------------------------------------------------------------- statements


@changes.register
def _(node: ast.Return) -> Iterator[Change]:
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    for i, value in enumerate(values):
        if isinstance(value, ast.BinOp | ast.Name | ast.Call) and (len(values) > 1 or not isinstance(value, ast.Call)):
            negative: list[Any] = [*values[:i], ast.UnaryOp(ast.USub(), value), *values[i + 1 :]]
            yield "sign", ast.Return(ast.Tuple(negative, ast.Load()) if isinstance(node.value, ast.Tuple) else negative[0])


@changes.register
def _(node: ast.Dict) -> Iterator[Change]:
    for i, value in enumerate(node.values):
        yield "sign", ast.Dict(node.keys, [*node.values[:i], ast.UnaryOp(ast.USub(), value), *node.values[i + 1 :]])


@changes.register
def _(node: ast.AugAssign) -> Iterator[Change]:
    yield "overwritten", ast.Assign([node.target], node.value, lineno=node.lineno)
    yield "dropped statement", ast.Pass()
    if type(node.op) in ARITHMETIC:
        yield "operator", ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)


@changes.register
def _(node: ast.Assign) -> Iterator[Change]:
    if any(isinstance(target, ast.Subscript) for target in node.targets):
        yield "dropped statement", ast.Pass()
    if isinstance(node.value, ast.BinOp):
        yield "sign", ast.Assign(node.targets, ast.UnaryOp(ast.USub(), node.value), lineno=node.lineno)


@changes.register
def _(node: ast.Expr) -> Iterator[Change]:
    if not isinstance(node.value, ast.Call):
        return
    yield "dropped statement", ast.Pass()
    call = node.value
    if isinstance(call.func, ast.Attribute) and call.func.attr == "at" and len(call.args) == 3:  # np.add.at(a, i, v)
        target = ast.Subscript(call.args[0], call.args[1], ast.Store())
        yield "overwritten", ast.AugAssign(target, ast.Add(), call.args[2])
