"""Witness 2: JAX's reverse mode through an independently written reference. Beside the catalogue, all that imports JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optree

__all__ = ["Pullback", "StructureError", "use_compilation_cache", "vjp"]


@dataclass(frozen=True)
class Pullback:
    """The value of a reference and the cotangents of its arguments: trees of NumPy arrays."""

    value: Any
    cotangents: tuple[Any, ...]


class StructureError(ValueError):
    """The reference's value does not look like ours."""


def vjp(reference: Callable[..., Any], primals: Sequence[Any], cotangent: Any, options: Mapping[str, Any]) -> Pullback:
    """`reference` at `primals`, and its VJP with `cotangent`, in the dtype of the primals.

    Forward and backward are compiled together, once: several times faster than one operation after the other. A reference
    whose Python code looks at values of its arguments cannot be compiled and is run as it is.
    """

    def both(primals: Any, cotangent: Any) -> tuple[Any, Any]:
        value, pull = jax.vjp(lambda *arguments: reference(*arguments, **options), *primals)
        seeds, values = optree.tree_leaves(cotangent), optree.tree_leaves(value)
        ours, theirs = [s.shape for s in seeds], [v.shape for v in values]
        if ours != theirs:
            raise StructureError(f"its value has the shapes {theirs}, ours {ours}")
        return value, pull(optree.tree_unflatten(optree.tree_structure(value), seeds))

    tree: Any = tuple(primals)
    with jax.enable_x64(True):
        arguments = optree.tree_map(jax.numpy.asarray, tree)
        seed = optree.tree_map(jax.numpy.asarray, cotangent)
        try:
            value, cotangents = jax.jit(both)(arguments, seed)
        except (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError):
            value, cotangents = both(arguments, seed)
        return Pullback(_arrays(value), _arrays(cotangents))


def _arrays(tree: Any) -> Any:
    return optree.tree_map(np.asarray, tree)


def use_compilation_cache(folder: Path) -> None:
    """Keep compiled references in `folder`, so that a second run starts with them. For processes that are all ours."""
    config: Any = jax.config
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)
