"""Networks, chains of ops. A module has `net()`, the net; `goal()`, the net with its loss; and `init(key)`, its parameters.

    params = {"net": pn.models.lenet.init(random.key(0))}
    goal = pn.models.lenet.goal()
    value, residuals = goal.fwd(params, x, loss={"labels": labels})
    grads, dx = goal.bwd(residuals, 1.0)               # grads["net"]["conv1"]["w"]

Modules are found by their place, and imported when they are first used: a new file in this folder is a new net.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from purenet.checks import nearest

__all__ = ["names"]


def names() -> tuple[str, ...]:
    """Of all nets, in alphabetical order.

    >>> import purenet as pn
    >>> "two_layer_net" in pn.models.names()
    True
    """
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def __getattr__(name: str) -> Any:
    """The module of that name, imported."""
    if name.startswith("_") or name not in names():
        raise AttributeError(f"purenet.models has no net named {name!r}; {nearest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *names()})
