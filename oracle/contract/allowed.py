"""Breaches that the user may declare as meant, with `Allows`."""

from __future__ import annotations

from oracle.contract.checks import NOT_TWICE, STALE
from oracle.contract.setting import GLOBAL, ONCE, OPTION, SHARED, Breach
from oracle.spec import Allows

__all__ = ["allowance_for", "with_advice"]

BEGINNINGS: dict[Allows, tuple[str, ...]] = {
    Allows.WRITES_TO_OPTIONS: (OPTION,),
    Allows.CHANGES_GLOBAL_STATE: (GLOBAL,),
    Allows.STATE_BETWEEN_PASSES: (STALE, NOT_TWICE, ONCE),
    Allows.REUSES_BUFFERS: (SHARED,),
}
"""How the sentences begin that each of them allows."""


def allowance_for(breach: Breach) -> Allows | None:
    """What the user would declare if this is meant; None if nothing can excuse it."""
    return next((allows for allows, known in BEGINNINGS.items() if breach.what.startswith(known)), None)


def with_advice(breach: Breach) -> Breach:
    """The breach, with the declaration that allows it, if there is one."""
    allows = allowance_for(breach)
    return breach if allows is None else breach._replace(what=f"{breach.what} (if that is meant: allows={{oracle.{allows}}})")
