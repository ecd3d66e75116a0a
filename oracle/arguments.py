"""What `verify` was given: checks of its settings, and its op and arguments in the form that the engine knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optree

from oracle.adapters import Pair, Places, adapted, bound, like_reference, name_of, placed, reference_for, settled, tensors_of
from oracle.settings import check_accept, check_convention, check_effort, check_exact, check_text
from oracle.spec import Allows, Flag
from oracle.tensors import host, is_tensor
from purenet import Op

__all__ = ["check_settings", "given"]


def check_settings(
    reference: Any,
    seed: Any,
    flags: Any,
    allows: Any,
    names: Mapping[str, Any],
    step: Any,
    limit: Any,
    accept: Any,
    convention: Any,
    exact: Any,
    effort: Any,
) -> None:
    """Raise unless each setting of `verify` has a value that it can have."""
    if reference is not None and not callable(reference):
        raise TypeError(f"verify: reference must be a function for JAX or torch, got {type(reference).__name__}")
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"verify: seed must be an integer from 0, got {seed!r}")
    if isinstance(flags, Flag) or not all(isinstance(flag, Flag) for flag in flags):
        raise TypeError(f"verify: flags must be a set of oracle.Flag, got {flags!r}")
    if isinstance(allows, Allows) or not all(isinstance(one, Allows) for one in allows):
        raise TypeError(f"verify: allows must be a set of oracle.Allows, got {allows!r}")
    check_text("verify", **names)
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float | np.number)):
        raise TypeError(f"verify: step must be a number, got {type(step).__name__}")
    if step is not None and not 0 < step < np.inf:
        raise ValueError(f"verify: step must be positive, got {step!r}")
    if not isinstance(limit, int | np.integer) or isinstance(limit, bool) or limit < 0:
        raise ValueError(f"verify: limit must be an integer from 0, got {limit!r}")
    check_accept(accept, "verify")
    check_convention(convention, "verify")
    check_exact(exact, "verify")
    check_effort(effort, "verify", exact=exact)


def given(
    op: Any, primals: tuple[Any, ...], reference: Callable[..., Any] | None, options: Mapping[str, Any] | None = None
) -> tuple[Op | Pair, tuple[Any, ...], Callable[..., Any] | None]:
    """The op as an Op or a pair, the arguments that it differentiates as arrays of NumPy, and the reference for these.

    Arguments that it does not differentiate are put in their places in each call, where its library allows them by position.
    """
    reference = reference_for(op, reference)
    op = settled(adapted(op) or op, primals, options or {})
    primals = tuple(optree.tree_map(host, tree, none_is_leaf=True) for tree in (*bound(op), *primals))
    op, places = placed(op, primals)
    if places is None:
        return op, primals, reference
    return op, places.primals, None if reference is None else like_reference(_placed(reference, places), reference)


def _placed(reference: Callable[..., Any], places: Places) -> Callable[..., Any]:
    """The reference as a function of the arguments that are differentiated."""

    def called(*primals: Any, **options: Any) -> Any:
        tree: Any = primals
        of_torch = any(map(is_tensor, optree.tree_leaves(tree)))
        arguments = places.all_of(primals)
        return reference(*(map(tensors_of, arguments) if of_torch else arguments), **options)

    called.__name__ = name_of(reference)
    return called
