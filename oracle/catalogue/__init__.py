"""The catalogue: one module per module of `purenet`, of the same name, with the reference and the cases of each op.

Modules are found by their place: one that defines `SPECS`, `TRAJECTORIES`, `SCHEDULES` or `TRAININGS` is part of the catalogue.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import TypeAlias

import purenet
from oracle.spec import Spec
from oracle.trajectory import ScheduleSpec, TrajectorySpec
from oracle.trajectory.spec import TrainingSpec
from purenet import Op

__all__ = ["find", "modules", "on_request", "specs", "trajectories"]


Followed: TypeAlias = TrajectorySpec | ScheduleSpec | TrainingSpec
FOLLOWED = ("TRAJECTORIES", "SCHEDULES", "TRAININGS")


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of the catalogue, in alphabetical order."""
    return tuple(
        importlib.import_module(info.name) for info in pkgutil.walk_packages(__path__, f"{__name__}.") if not info.ispkg
    )


def specs() -> tuple[Spec, ...]:
    """Every Spec that is verified without being named, in the order of the modules."""
    return tuple(spec for spec in _every_spec() if not spec.on_request)


def on_request() -> tuple[Spec, ...]:
    """The Specs that are verified only when they are named: nets at their real size."""
    return tuple(spec for spec in _every_spec() if spec.on_request)


def _every_spec() -> tuple[Spec, ...]:
    return tuple(spec for module in modules() for spec in getattr(module, "SPECS", ()))


def trajectories() -> tuple[Followed, ...]:
    """Every optimizer, schedule and whole training, which are followed step by step."""
    return tuple(s for module in modules() for name in FOLLOWED for s in getattr(module, name, ()))


def _beside(op: Op, name: str) -> Spec | None:
    """The Spec in the module of the same name as the op's: to import all modules takes longer than most verifications."""
    own = f"{__name__}.{op.__module__.partition('.')[2]}"
    try:
        module = importlib.import_module(own)
    except ModuleNotFoundError as error:
        if not own.startswith(str(error.name)):  # a package that is not installed
            raise
        return None
    return next((spec for spec in getattr(module, "SPECS", ()) if spec.name == name), None)


def find(name: str) -> Spec | Followed:
    """The record of that name, for a net that of its goal; a KeyError that suggests the nearest name."""
    op = getattr(purenet, name, None)
    if isinstance(op, Op):  # some have two names, such as silu and swish
        name = op.name
        beside = _beside(op, name)
        if beside is not None:
            return beside
    known = {record.name: record for record in (*_every_spec(), *trajectories())}
    if name not in known and f"{name}_goal" in known:
        name = f"{name}_goal"
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `oracle list` shows all"
    raise KeyError(f"no op is named {name!r}{hint}")
