"""Reads the source of a submission without running it, and names what makes a submission be refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from oracle.grading.sandbox.guards import MODULES

__all__ = ["objections"]

LONGEST = 500_000
"""Letters of a submission."""
AUTODIFF = frozenset({
    "torch", "jax", "jaxlib", "autograd", "tensorflow", "keras", "tinygrad", "mxnet", "theano", "aesara", "pytensor",
    "chainer", "paddle", "mindspore", "flax", "equinox", "haiku", "optax", "functorch", "autodidact", "casadi",
    "sympy", "micrograd", "numdifftools", "algopy", "pyadolc", "jvp", "tangent", "minitorch", "needle",
})  # fmt: skip
"""Libraries that differentiate."""
JUDGES = frozenset({"oracle", "purenet"})
PLACES = {
    **dict.fromkeys(
        ["_getframe", "_current_frames", "f_back", "f_locals", "f_globals", "gi_frame", "tb_frame", "cr_frame"],
        "reads the stack",
    ),
    **dict.fromkeys(["settrace", "setprofile", "addaudithook", "meta_path", "path_hooks"], "changes how Python runs"),
    **dict.fromkeys(["__subclasses__", "__globals__", "__builtins__", "__code__", "__closure__"], "reaches into Python"),
    **dict.fromkeys(["ctypeslib", "f2py", "ctypes"], "leaves Python"),
}
"""Attributes that no solution needs, and what is done with them."""
CODE = frozenset({"exec", "eval", "compile", "__import__"})
"""Functions that run code which is not in the file."""
COMPLEX = frozenset({
    "complex", "complex64", "complex128", "complex256", "csingle", "cdouble", "clongdouble", "imag", "iscomplex",
})  # fmt: skip
CODES = frozenset({"complex", "complex64", "complex128", "c8", "c16"})
STEP = "uses complex numbers (a derivative by a complex step is no backward pass)"


def objections(source: str, packages: Sequence[str]) -> list[str]:
    """The reasons to refuse this submission, each with its line; empty if there is none."""
    if len(source) > LONGEST:
        return [f"it has {len(source)} letters, and {LONGEST} are the most"]
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        return [f"{f'line {line}: ' if line else ''}it is no Python: {getattr(error, 'msg', None) or type(error).__name__}"]
    found = [(node.lineno, reason) for node, reason in _reasons(tree, frozenset(name.partition(".")[0] for name in packages))]
    return [f"line {line}: {reason}" for line, reason in sorted(set(found))]


def _reasons(tree: ast.AST, packages: frozenset[str]) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    imported = _imported(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node, reason) for alias in names for reason in _import(alias.name, packages))
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from ((node, reason) for reason in _import("." if level else module or "", packages))
                yield from ((node, f"{alias.name} {PLACES[alias.name]}") for alias in names if alias.name in PLACES)
                yield from ((node, STEP) for alias in names if alias.name in COMPLEX)
            case ast.Attribute(attr=name) if name in PLACES:
                yield node, f"{name} {PLACES[name]}"
            case ast.Name(id=name, ctx=ast.Load()) if name in CODE:
                yield node, f"{name} runs code that is not in the file"
            case ast.Attribute(attr=name) if name in COMPLEX:
                yield node, STEP
            case ast.Name(id="complex", ctx=ast.Load()) | ast.Constant(value=complex()):
                yield node, STEP
            case ast.Call(args=arguments, keywords=keywords):
                given = [*arguments, *(keyword.value for keyword in keywords)]
                yield from ((node, STEP) for one in given if isinstance(one, ast.Constant) and one.value in CODES)
        yield from _patches(node, imported)


def _imported(tree: ast.AST) -> frozenset[str]:
    """The names that stand for imported modules, or for what was imported from them."""
    return frozenset(
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    )


def _import(name: str, packages: frozenset[str]) -> Iterator[str]:
    top = name.partition(".")[0]
    if top in AUTODIFF:
        yield f"imports {top}, a library that differentiates"
    elif top in JUDGES:
        yield f"imports {top}, which has the solutions"
    elif top not in packages and top not in MODULES:
        usable = f"{', '.join(sorted(packages))} and plain modules of Python"
        yield f"imports {top or 'a neighbouring file'}; a submission may import {usable}"


def _patches(node: ast.AST, imported: frozenset[str]) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Changes of imported modules, such as `np.allclose = ...`."""
    changed: list[ast.expr]
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            changed = [*targets]
        case ast.AugAssign(target=one) | ast.AnnAssign(target=one):
            changed = [one]
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[first, *_]):
            changed = [ast.Attribute(first, "...")]
        case _:
            return
    assert isinstance(node, ast.expr | ast.stmt)  # noqa: S101 - each of the above is
    for target in changed:
        name = _attribute_of(target)
        if name in imported:
            yield node, f"changes {name}, which it has imported"


def _attribute_of(target: ast.expr) -> str | None:
    """The name `a` of a target such as `a.b`, `a.b.c` or `a.b[c]`; None for another target."""
    within = False
    while isinstance(target, ast.Attribute | ast.Subscript):
        within = within or isinstance(target, ast.Attribute)
        target = target.value
    return target.id if isinstance(target, ast.Name) and within else None
