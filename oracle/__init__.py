"""Checks hand-written gradients. They are compared with finite differences that have an error bar, and with JAX.

>>> import numpy as np, oracle
>>> def cube(x):
...     return x**3, x
>>> def cube_bwd(x, dy):
...     return (2 * x**2 * dy,)
>>> row = oracle.verify((cube, cube_bwd), np.array([1.0, 2.0])).rows[0]
>>> print(row.verdict, row.diagnosis.split(" everywhere")[0])
FAIL constant factor: x is 0.666667 times the true gradient

Each name is imported when it is first used. So `import oracle` is fast: every start of pytest does it to find the fixture
`verify_gradient`. It also works if the extra `purenet[oracle]` is not installed; then the first use of a name raises an error.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from oracle import extra

if TYPE_CHECKING:
    from oracle import adapters as adapters
    from oracle import trajectory as trajectory
    from oracle import vectors as vectors
    from oracle.locating.accumulation import Accumulated, check_accumulation
    from oracle.locating.locate import locate
    from oracle.locating.located import Located, StageRow
    from oracle.row import Row, Verdict
    from oracle.spec import Allows, Case, Deviation, Draw, Error, Flag, Spec, composed, library
    from oracle.trajectory.users_optimizers import OptimizerCheck, verify_optimizer
    from oracle.trajectory.users_schedules import ScheduleCheck, verify_schedule
    from oracle.verification import Verification, verify, verify_case

__all__ = [
    "Accumulated",
    "Allows",
    "Case",
    "Deviation",
    "Draw",
    "Error",
    "Flag",
    "Located",
    "OptimizerCheck",
    "Row",
    "ScheduleCheck",
    "Spec",
    "StageRow",
    "Verdict",
    "Verification",
    "check_accumulation",
    "composed",
    "library",
    "locate",
    "verify",
    "verify_case",
    "verify_optimizer",
    "verify_schedule",
]

_NAMES = {
    "oracle.locating.accumulation": ("Accumulated", "check_accumulation"),
    "oracle.locating.locate": ("locate",),
    "oracle.locating.located": ("Located", "StageRow"),
    "oracle.row": ("Row", "Verdict"),
    "oracle.spec": ("Allows", "Case", "Deviation", "Draw", "Error", "Flag", "Spec", "composed", "library"),
    "oracle.trajectory.users_optimizers": ("OptimizerCheck", "verify_optimizer"),
    "oracle.trajectory.users_schedules": ("ScheduleCheck", "verify_schedule"),
    "oracle.verification": ("Verification", "verify", "verify_case"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = ("adapters", "trajectory", "vectors")
_WITHOUT_JAX = ("OptimizerCheck", "ScheduleCheck", "verify_optimizer", "verify_schedule")
"""The names that need JAX and optax only if the user gives optimizers or schedules of theirs."""

if not TYPE_CHECKING:  # a type checker that sees this function would accept any name

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            extra.check(without=extra.OF_JAX if name in _WITHOUT_JAX else ())
            value = getattr(import_module(_HOME[name]), name)
        elif name in _MODULES:
            extra.check()
            value = import_module(f"oracle.{name}")
        else:
            raise AttributeError(f"module 'oracle' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names. The modules behind them are no part of the interface."""
    return sorted({name for name in globals() if name.startswith("__")} | {*__all__, *_MODULES})
