"""Modules of equinox as pairs that hold their parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from oracle.adapters.jax_functions import jaxs_leaves, of_jax
from oracle.adapters.pairs import Bound
from oracle.adapters.places import places_of

__all__ = ["of_equinox"]


def of_equinox(module: Any) -> Bound:
    """A module of equinox, as a function of its parameters and its inputs: `verify(module, x)` has a row for each parameter.

    The parameters are its arrays of floats, as in `equinox.filter_grad`; everything else in it stays as it is.
    """
    places = places_of((module,), jaxs_leaves, numbers=False)

    def call(params: Mapping[str, Any], *inputs: Any, **options: Any) -> Any:
        return places.all_of((params,))[0](*inputs, **options)

    call.__name__ = type(module).__name__
    call.__module__ = type(module).__module__
    first = inspect.Parameter("params", inspect.Parameter.POSITIONAL_ONLY)
    parameters = inspect.signature(type(module).__call__).parameters.values()
    rest = [p for p in parameters if p.name not in ("self", "params")]
    call.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    return Bound(of_jax(call), *places.primals)
