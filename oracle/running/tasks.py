"""What a run verifies: a task holds names alone, so that it can be sent to another process, which finds the record by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

from oracle.adapters import Bound
from oracle.running import making
from oracle.settings import EFFORTS, QUICK
from oracle.sources import written
from oracle.spec import Case, Spec
from oracle.text import command_line, plain

__all__ = ["DTYPES", "Task", "checks_in", "dtypes_of", "spec_of", "specs_in", "tasks_of"]

DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Task:
    """One case of one op in one dtype. `module` is the module of a user's op; it is empty for the catalogue."""

    module: str
    op: str
    case: str
    dtype: str
    seed: int = 0
    exact: bool = False
    """Whether its gradients are compared with exact derivatives, too."""
    made: str = ""
    """How the record is made of a class of a net, see `making`; empty for a record that is in the module."""
    accept: float = 0.0
    """An error below this share of the largest entry is accepted, beside what the record accepts."""
    effort: str = EFFORTS[0]
    """How many forward passes it may take, see `oracle.verify`."""

    def __str__(self) -> str:
        return plain(" / ".join(part for part in (self.op, self.case, self.dtype) if part))

    @property
    def name(self) -> str:
        """The op as it is written on the command line."""
        return f"{written(self.module)}:{self.op}" if self.module else self.op

    @property
    def command(self) -> str:
        """The command that verifies this case again."""
        parts = ["oracle", "verify", self.name]
        if self.case:
            parts += ["--case", self.case]
        if self.dtype != "float64":
            parts += ["--dtype", self.dtype]
        if self.seed:
            parts += ["--seed", str(self.seed)]
        if self.exact:
            parts += ["--exact"]
        if self.effort == QUICK:
            parts += ["--quick"]
        if self.made:
            source, _, init = self.made.partition("(")
            parts += ["--data", source, *(["--init", init[:-1]] if init else [])]
        if self.accept:
            parts += ["--accept", f"{self.accept:g}"]
        return command_line(parts)


def dtypes_of(record: Any) -> tuple[str, ...]:
    """The dtypes in which a record is verified: all four for an op, float64 for an optimizer, a schedule or a training.

    Nets at their real size have float64 and float32, in which they are trained. XLA aborts on some of their convolutions in
    bfloat16 (jaxlib 0.10.2).
    """
    if not isinstance(record, Spec):
        own: tuple[str, ...] = getattr(record, "dtypes", DTYPES[:1])  # a user's optimizer has float32, too
        return own
    return DTYPES[:2] if record.on_request else DTYPES


def tasks_of(record: Any, dtypes: Sequence[str], seed: int = 0, module: str = "", *, exact: bool = False) -> list[Task]:
    """A task for each case of a Spec in each of these dtypes; one task for an optimizer, a schedule or a training."""
    cases = [case.name for case in record.cases] if isinstance(record, Spec) else [""]
    chosen = [dtype for dtype in dtypes if dtype in dtypes_of(record)]
    return [Task(module, record.name, case, dtype, seed, exact) for dtype in chosen for case in cases]


def specs_in(module: ModuleType) -> list[Spec]:
    """The Specs in the variables of a user's module, alone or in tuples and lists, and its adapted objects with their data."""
    found: list[Spec] = _records_in(module, (Spec,))
    complete = ((name, value) for name, value in vars(module).items() if isinstance(value, Bound) and value.complete)
    return found + [Spec(value, cases=(Case(name, ()),)) for name, value in complete]


def checks_in(module: ModuleType) -> list[Any]:
    """The records of optimizers and schedules in the variables of a user's module."""
    from oracle.trajectory import OptimizerCheck, ScheduleCheck

    return _records_in(module, (OptimizerCheck, ScheduleCheck))


def _records_in(module: ModuleType, kinds: tuple[type, ...]) -> list[Any]:
    found: list[Any] = []
    for value in vars(module).values():
        several = value if isinstance(value, tuple | list) else (value,)
        found += [record for record in several if isinstance(record, kinds) and not any(record is known for known in found)]
    return found


def spec_of(task: Task) -> Any:
    """The record with the names of a task."""
    if not task.module:
        from oracle import catalogue

        return catalogue.find(task.op)
    module = import_module(task.module)
    if task.made:
        return replace(making.made(getattr(module, task.op), task.made), accept=task.accept)
    named = [replace(spec, accept=max(spec.accept, task.accept)) if task.accept else spec
             for spec in specs_in(module) if spec.name == task.op]  # fmt: skip
    fitting = [spec for spec in named if not task.case or any(case.name == task.case for case in spec.cases)]
    return next(record for record in (*fitting, *checks_in(module)) if record.name == task.op)
