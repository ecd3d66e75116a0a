"""Docstrings run, and every public Op is complete: a pullback, five parts of a docstring, and a Spec that proves it."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oracle
import purenet
from oracle import Flag, catalogue
from purenet import Op

WEAKER = {Flag.AT_KINK, Flag.ZERO_GRADIENT, Flag.EMPTY_BATCH, Flag.NOT_THE_DERIVATIVE}  # what changes how a verdict is reached
PARTS = ("Shapes:", "Math", "Errors:", "Source:", "Conventions:")


def modules(package: types.ModuleType) -> list[types.ModuleType]:
    """The package and all modules in it, except those that run when imported."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package, *(importlib.import_module(m.name) for m in found if not m.name.endswith("__main__"))]


MODULES = [*modules(purenet), *modules(oracle)]


def own(module: types.ModuleType) -> dict[str, Any]:
    """What is defined in the module, not imported into it."""
    return {name: value for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}


OPS = {op.name: op for module in modules(purenet) for name, op in own(module).items() if isinstance(op, Op) and name[0] != "_"}
SPECS = {spec.name: spec for spec in catalogue.specs()}


def examples() -> Iterator[doctest.DocTest]:
    """Those of modules, functions and classes, as doctest finds them; and those of Ops, which it takes for mere values."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in MODULES:
        found = finder.find(module, module.__name__)
        for name, op in own(module).items():
            if isinstance(op, Op):
                found += finder.find(op, f"{module.__name__}.{name}", module=False, globs=dict(vars(module)))
        yield from (test for test in found if test.examples)


EXAMPLES = {test.name: test for test in examples()}


@pytest.mark.parametrize("test", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_gives_what_it_says(test: doctest.DocTest) -> None:
    said: list[str] = []
    result = doctest.DocTestRunner().run(test, out=said.append, clear_globs=False)
    assert result.attempted
    assert not result.failed, "".join(said)


def test_the_examples_of_all_ops_were_found() -> None:
    assert {name.rpartition(".")[2] for name in EXAMPLES} >= set(OPS)
    assert "purenet.activations.rectifiers.relu" in EXAMPLES


def test_every_module_and_what_it_exports_says_what_it_is() -> None:
    assert [module.__name__ for module in MODULES if not module.__doc__] == []
    for module in MODULES:
        exported = getattr(module, "__all__", ())
        assert len(set(exported)) == len(exported), module.__name__
        for name in exported:
            value = getattr(module, name)
            if isinstance(value, types.FunctionType | type | Op):
                assert value.__doc__, f"{module.__name__}.{name} has no docstring"


# ---------------------------------------------------------------------------------------------- the completeness of Ops


def test_the_ops_of_the_package_are_found() -> None:
    assert len(OPS) >= 15
    assert OPS["affine"] is purenet.affine
    exported = {op for name in purenet.__all__ if isinstance(op := getattr(purenet, name), Op)}  # some by two names
    assert {op.name for op in exported} == set(OPS)


@pytest.mark.parametrize(
    "module",
    [purenet, purenet.optimizers, purenet.schedules, purenet.random, purenet.initializers, purenet.metrics],
    ids=lambda module: module.__name__,
)
def test_the_docs_name_every_public_function(module: types.ModuleType) -> None:
    page = (Path(__file__).parents[2] / "docs" / "purenet.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", page))
    exported = [name for name in module.__all__ if isinstance(getattr(module, name), types.FunctionType | Op)]
    assert [name for name in exported if name not in words] == []


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_an_op_is_complete(op: Op) -> None:
    """Its pullback is directly below, its docstring has five parts, and a Spec proves it."""
    assert_its_pullback_is_directly_below(op)
    assert_its_docstring_has_five_parts(op)
    assert_a_spec_proves_it(op)


def assert_its_pullback_is_directly_below(op: Op) -> None:
    assert op.backward is not None
    assert op.backward.__name__ == f"{op.name}_bwd"
    assert op.backward.__module__ == op.forward.__module__ == op.__module__
    assert op.forward.__code__.co_firstlineno < op.backward.__code__.co_firstlineno
    between = [
        other.name
        for other in OPS.values()
        if other.__module__ == op.__module__
        and op.forward.__code__.co_firstlineno < other.forward.__code__.co_firstlineno < op.backward.__code__.co_firstlineno
    ]
    assert between == []


def refers(part: str) -> bool:
    """Whether this part of a docstring leaves it to another op's: `as conv2d, for one axis`."""
    return any(name in OPS for name in re.findall(r"\b(?:as|those of) (\w+)", part))


def assert_its_docstring_has_five_parts(op: Op) -> None:
    text = op.__doc__ or ""
    places = [text.find(part) for part in PARTS]
    assert all(place > 0 for place in places), f"{op.name} lacks {[p for p, at in zip(PARTS, places, strict=True) if at < 0]}"
    assert places == sorted(places)
    first = text.splitlines()[0]
    assert first.endswith("."), first
    shapes = text[places[0] : places[1]]
    assert "->" in shapes
    mathematics = text[places[1] : places[2]]
    if not refers(mathematics):
        assert re.search(r"\b[yzlh](_\w+|'|\b).*=", mathematics), "Math says nothing of the value"
        assert re.search(r"\bd[a-zA-Z]\w*\b.*=", mathematics), "Math says nothing of a cotangent"
    errors = text[places[2] : places[3]]
    assert refers(errors) or re.search(r"(Type|Value)Error", errors)
    assert text.count(">>> import numpy as np, purenet as pn") == 1
    assert re.search(rf"\bpn\.{op.name}\b", text), "the example does not use it"


def assert_a_spec_proves_it(op: Op) -> None:
    assert op.name in SPECS, f"{op.name} has no Spec: add one to the module of the catalogue of the same path"
    spec = SPECS[op.name]
    assert spec.op is op
    assert spec.reference is not None
    assert spec.source is not None
    assert spec.strategy is not None
    strict = [case for case in spec.cases if not case.flags & WEAKER]
    assert len(strict) >= 2 or spec.op is purenet.step, "two cases without exceptions"  # its gradient is 0
    assert any(Flag.EMPTY_BATCH in case.flags for case in spec.cases), "what does it give for no rows?"
    assert spec.errors
    assert any(issubclass(error.exception, TypeError) for error in spec.errors)


def test_a_spec_stands_at_the_path_of_its_op() -> None:
    for name, spec in SPECS.items():
        assert isinstance(spec.op, Op), name
        module = importlib.import_module(spec.op.__module__.replace("purenet.", "oracle.catalogue.", 1))
        assert any(spec is other for other in module.SPECS), name
        assert spec.family == spec.op.__module__.split(".")[1], name
        assert (spec.source and spec.source.kind) in ("library", "composed"), name


def test_no_two_records_share_a_name() -> None:
    names = [record.name for record in (*catalogue.specs(), *catalogue.trajectories())]
    assert len(set(names)) == len(names)
