"""Finds the ops that a command line names: in the catalogue, or in a module of the user. A wrong name stops the command."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from oracle.double_backward import pair_of_pairs
from oracle.running import making
from oracle.running.tasks import checks_in, specs_in
from oracle.spec import Spec
from purenet import Op

__all__ = ["Exit", "Stop", "at_size", "cannot_write", "catalogued", "foreign", "is_module", "meant"]


class Exit(IntEnum):
    """The exit codes. They are those of pytest."""

    PASS = 0
    FAIL = 1
    INTERRUPTED = 2
    INTERNAL = 3
    USAGE = 4
    NOTHING = 5


class Stop(Exception):
    """Ends the command with one line on stderr."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


def cannot_write(folder: Path, error: OSError) -> Stop:
    """The exception for a folder in which no report can be written."""
    return Stop(Exit.USAGE, f"cannot write reports to {folder}: {error.strerror or error}")


def catalogued(names: Sequence[str], family: str | None) -> list[Any]:
    """The records with these names, or all records without names. With `family`, only those of this family."""
    from oracle import catalogue

    def everything() -> list[Any]:
        return [*catalogue.specs(), *catalogue.trajectories()]

    try:
        chosen = [catalogue.find(name) for name in names] if names else everything()
    except KeyError as error:
        own = next((name for name in names if "." in name or Path(f"{name}.py").exists()), None)
        module = f"; write an op of your own module as {_module_of(own)}:OP" if own else ""
        raise Stop(Exit.USAGE, f"{error.args[0]}{module}") from None
    if family is None:
        return chosen
    families = sorted({record.family for record in everything()})
    if family not in families:
        near = difflib.get_close_matches(family, families, n=1, cutoff=0.4)
        raise Stop(Exit.USAGE, f"no family is named {family!r}{_did_you_mean(near)} (families: {', '.join(families)})")
    return [record for record in chosen if record.family == family]


def _module_of(name: str) -> str:
    """How a module is named whose file was given: `./package/layer.py` is `package.layer`."""
    return name.removesuffix(".py").removeprefix("./").replace("/", ".") if name.endswith(".py") else name


def at_size() -> tuple[Spec, ...]:
    """The records of nets at their real size. They are verified only when they are named."""
    from oracle import catalogue

    return catalogue.on_request()


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(near)}?" if near else ""


def meant(message: str) -> str:
    """The choice that argparse's message about a misspelt one is near to, as a question; empty if there is none."""
    misspelt = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
    return _did_you_mean(difflib.get_close_matches(misspelt[1], re.findall(r"[\w-]+", misspelt[2]), n=1)) if misspelt else ""


def foreign(name: str, made: str = "") -> tuple[str, list[Any]]:
    """The module and the records that `package.module:op` or `folder/file.py:op` names.

    `op` is the name of a Spec, of a check of an optimizer or a schedule, or of several in a tuple; or of an op that a Spec in
    that module verifies; or of a class of nets, if `made` says how an object of it is made, and with which data. A module alone
    names all its records.
    """
    given, _, attribute = name.rpartition(":") if ":" in name else (_module_of(name), "", "")
    if not given:
        raise Stop(Exit.USAGE, f"{name!r} names no module; write MODULE{name if attribute else ':OP'}")
    module = _import(given)
    module_name = module.__name__
    checks = _checks(module_name, module, attribute)
    if checks:
        return module_name, checks
    if ":" not in name:
        return module_name, _everything(module_name, module)
    if not attribute:
        raise Stop(Exit.USAGE, f"{name!r} names no op; write {given}:OP")
    if made and hasattr(module, attribute):
        try:
            spec = making.made(getattr(module, attribute), made)
        except Exception as error:
            raise Stop(Exit.USAGE, f"{name}: {error}") from None
        return module_name, [replace(spec, op=_named_as(spec.op, attribute))]
    specs = specs_in(module)
    chosen = [spec for spec in specs if spec.name == attribute]  # reports name an op so, whatever its variable is called
    if not chosen and not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, _names_of_ops(module, specs), n=2)
        raise Stop(Exit.USAGE, f"{module_name} has no {attribute!r}{_did_you_mean(near)}")
    target = getattr(module, attribute, None)
    several = target if isinstance(target, tuple | list) else (target,)
    chosen = [spec for spec in specs if any(t is spec or t is spec.op for t in several) or _is_pair(spec.op, target)] or chosen
    _check_cases(module_name, chosen, specs)
    if not chosen and not (callable(target) or isinstance(target, tuple | list)):
        names_of_ops = ", ".join(sorted({spec.name for spec in specs})) or "none; add a Spec"
        raise Stop(Exit.USAGE, f"{name} is of type {type(target).__name__}, not an op (ops of {module_name}: {names_of_ops})")
    own = not isinstance(target, Op)
    if not chosen and own and any(callable(getattr(target, method, None)) for method in ("loss", "forward")):
        kind = target.__name__ if isinstance(target, type) else type(target).__name__
        adapter = "of_net(net, x, t)" if hasattr(target, "loss") else "of_layer(layer, x)"
        data = f", or use --data {making.MNIST}" if hasattr(target, "loss") else ""
        raise Stop(
            Exit.USAGE,
            f"{name} has no inputs to verify it at: add a line to {module_name}, such as check = oracle.adapters.{adapter} "
            f"with an object of {kind}{data}",
        )
    if not chosen:
        stem = attribute.removesuffix("_bwd").removesuffix("_fwd")
        forward = f"{stem}_fwd" if hasattr(module, f"{stem}_fwd") else stem
        op = attribute if isinstance(target, Op) else f"({forward}, {stem}_bwd)"
        raise Stop(
            Exit.USAGE,
            f"{name} has no inputs to verify it at: add a Spec to {module_name}, such as "
            f'check = oracle.Spec({op}, cases=(oracle.Case("typical", (x,)),), reference=jax_function)',
        )
    return module_name, chosen


def is_module(name: str) -> bool:
    """Whether this is the name of a module in the working directory, and of no record in the catalogue."""
    if ":" in name or not Path(f"{_module_of(name).replace('.', '/')}.py").exists():
        return False
    from oracle import catalogue

    try:
        catalogue.find(name)
    except KeyError:
        return True
    return False


def _everything(module_name: str, module: ModuleType) -> list[Any]:
    """All records of a module."""
    specs, checks = specs_in(module), checks_in(module)
    records = [*specs, *checks]
    if not records:
        raise Stop(Exit.USAGE, f"{module_name} has nothing to verify: it has no Spec, OptimizerCheck or ScheduleCheck")
    _check_cases(module_name, specs, specs)
    _check_names(module_name, checks, checks)
    return records


def _checks(module_name: str, module: ModuleType, attribute: str) -> list[Any]:
    """The checks of optimizers and schedules that the attribute names: by its variable, or by the name of the check."""
    checks = checks_in(module)
    target = getattr(module, attribute, None)
    several = target if isinstance(target, tuple | list) else (target,)
    chosen = [check for check in checks if any(t is check for t in several)]
    chosen = chosen or [check for check in checks if check.name == attribute or (target is not None and check.mine is target)]
    _check_names(module_name, chosen, checks)
    return chosen


def _check_cases(module_name: str, chosen: Sequence[Spec], specs: Sequence[Spec]) -> None:
    """Worker processes find a case by the names of its op and its own."""
    names = {spec.name for spec in chosen}
    cases = [(spec.name, case.name) for spec in specs if spec.name in names for case in spec.cases]
    twice = next((case for case in cases if cases.count(case) > 1), None)
    if twice is not None:
        op, case = twice
        raise Stop(
            Exit.USAGE,
            f"two Specs in {module_name} have the same op and a case of the same name: rename one (op {op!r}, case {case!r})",
        )


def _check_names(module_name: str, chosen: Sequence[Any], checks: Sequence[Any]) -> None:
    """Worker processes find a check by its name."""
    names = [check.name for check in checks]
    twice = next((check.name for check in chosen if names.count(check.name) > 1), None)
    if twice is not None:
        raise Stop(Exit.USAGE, f'two checks in {module_name} are called {twice!r}: give one another name, as in name="..."')


def _names_of_ops(module: ModuleType, specs: Sequence[Spec]) -> list[str]:
    """The names that may follow the colon: ops, variables with Specs, and functions that the module itself defines."""
    variables = [
        name
        for name, value in vars(module).items()
        if isinstance(value, Op | Spec)
        or (isinstance(value, tuple | list) and any(isinstance(item, Spec) for item in value))
        or (callable(value) and getattr(value, "__module__", None) == module.__name__)
    ]
    return list(dict.fromkeys([*(spec.name for spec in specs), *variables]))


def _is_pair(op: Any, target: Any) -> bool:
    """Whether `target` is the pair of functions that a Spec verifies, or its forward function, or what that was made from."""
    if not isinstance(op, tuple):
        return False
    target = pair_of_pairs(target) or target
    if isinstance(target, tuple):
        return len(target) == 2 and target[0] is op[0] and target[1] is op[1]
    return target is op[0] or target is getattr(op[0], "__wrapped__", op[0])


def _named_as(op: Any, name: str) -> Any:
    """The pair, whose name in reports is that of a variable: worker processes find the record by it."""
    op[0].__name__ = name
    return op


def _import(name: str) -> ModuleType:
    """The module of this name, or of this file; it may import what lies in the current folder, or beside the file."""
    folders, file = [str(Path.cwd())], Path(name) if name.endswith(".py") else None
    if file is not None:
        if not file.is_file():
            raise Stop(Exit.USAGE, f"there is no file {name}")
        folder, name = file.resolve().parent, file.stem
        while (folder / "__init__.py").exists():
            folder, name = folder.parent, f"{folder.name}.{name}"
        folders.append(str(folder))
    for place in folders:
        if place not in sys.path:  # `python -m` does so, too; worker processes inherit the path
            sys.path.insert(0, place)
    try:
        with redirect_stdout(sys.stderr):
            module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise Stop(Exit.USAGE, f"cannot import {name}: {type(error).__name__}: {error}") from None
    if file is not None and Path(module.__file__ or "").resolve() != file.resolve():
        raise Stop(Exit.USAGE, f"cannot import {file}: {name} is another module, {module.__file__}; rename the file")
    return module
