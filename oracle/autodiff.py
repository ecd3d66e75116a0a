"""Witness 2: JAX's reverse mode of an independently written reference. Only the catalogue and an adapter import JAX too."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optree

__all__ = [
    "Pullback",
    "StructureError",
    "differentiable",
    "forget",
    "known",
    "quick_to_compile",
    "use_compilation_cache",
    "vjp",
]

MOST = 256  # programs, and references, that are kept
EXECUTABLES: dict[Any, Any] = {}

OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


@dataclass(frozen=True)
class Pullback:
    """The value of a reference and the cotangents of its arguments: trees of NumPy arrays."""

    value: Any
    cotangents: tuple[Any, ...]


class StructureError(ValueError):
    """The reference's value does not look like ours."""


def vjp(reference: Callable[..., Any], primals: Sequence[Any], cotangent: Any, options: Mapping[str, Any]) -> Pullback:
    """`reference` at `primals`, and its VJP with `cotangent`, in the dtype of the primals."""
    return differentiable(reference, options)(primals, cotangent)


def differentiable(reference: Callable[..., Any], options: Mapping[str, Any]) -> Callable[[Sequence[Any], Any], Pullback]:
    """The function that takes primals and a cotangent to the value of `reference` there and its VJP.

    Forward and backward are compiled together, once: several times faster than one operation after the other. A reference
    whose Python code looks at values of its arguments cannot be compiled and is run as it is.
    """
    both = None
    if _is_pure(reference):
        with suppress(Exception):  # an option that cannot be pickled, such as a lambda
            both = _remembered(reference, pickle.dumps(dict(options)))
    both = both or _jitted(reference, options)

    def pull(primals: Sequence[Any], cotangent: Any) -> Pullback:
        tree: Any = tuple(primals)
        with jax.enable_x64(True):
            arguments = jax.device_put(tree)
            seed = jax.device_put(cotangent)
            try:
                value, cotangents = both(arguments, seed)
            except (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError):
                value, cotangents = _both(reference, options, arguments, seed)
            return Pullback(_arrays(value), _arrays(cotangents))

    return pull


def _is_pure(reference: Callable[..., Any]) -> bool:
    """Whether it always means the same. A user's function may read a global or an attribute that changes between two calls."""
    return (getattr(reference, "__module__", None) or "").startswith(("oracle.catalogue.", "jax.", "optax.", "equinox."))


def _both(reference: Callable[..., Any], options: Mapping[str, Any], primals: Any, cotangent: Any) -> tuple[Any, Any]:
    """The value, and the cotangents of the primals."""
    value, pull = jax.vjp(lambda *arguments: reference(*arguments, **options), *primals)
    seeds, values = optree.tree_leaves(cotangent), optree.tree_leaves(value)
    ours, theirs = [s.shape for s in seeds], [v.shape for v in values]
    if ours != theirs:
        raise StructureError(f"its value has the shapes {theirs}, ours {ours}")
    for seed, v in zip(seeds, values, strict=True):
        if seed.dtype != v.dtype:
            raise StructureError(f"its value is {v.dtype}, ours {seed.dtype} (does a float64 number in it promote?)")
    return value, pull(optree.tree_unflatten(optree.tree_structure(value), seeds))


def _jitted(reference: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The value and the cotangents, compiled once for each shape and dtype of the arguments."""
    jitted = jax.jit(partial(_both, reference, options))
    compiled: dict[Any, Any] = {}

    def both(primals: Any, cotangent: Any) -> Any:
        given: Any = (primals, cotangent)
        leaves, structure = optree.tree_flatten(given)
        question = str(structure), tuple((leaf.shape, leaf.dtype.name) for leaf in leaves)
        if question not in compiled:
            compiled[question] = _compiled(jitted.lower(primals, cotangent))
        return compiled[question](primals, cotangent)

    return both


def _compiled(lowered: Any) -> Any:
    """The same program is compiled once, whoever has traced it."""
    program = lowered.as_text()
    question = program, lowered.in_tree, lowered.out_tree
    if question not in EXECUTABLES:
        if len(EXECUTABLES) >= MOST:
            EXECUTABLES.clear()
        # XLA aborts on some convolutions (jaxlib 0.10.2): without its emitters of fused operations, with which others
        # take twice as long; and, whatever the options, in its algebraic simplifier on some gradients of grouped ones.
        # The others are small: most are compiled faster in one piece.
        others: Any = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
        more: Any = {"xla_disable_hlo_passes": "algsimp"} if "convolution" in program else others
        options = quick_to_compile(**more)
        EXECUTABLES[question] = lowered.compile(compiler_options=options)
    return EXECUTABLES[question]


def quick_to_compile(**more: Any) -> dict[str, Any]:
    """XLA's options for what is compiled once and run once: with its defaults most of a verification's time goes there."""
    return known(**OPTIONS, **more)


@cache
def known(**options: Any) -> dict[str, Any]:
    """Those of these options that this version of XLA knows: they belong to its compiler, not to JAX's interface."""
    found: dict[str, Any] = {}
    for option, value in options.items():
        with suppress(Exception):
            jax.jit(lambda: 0.0, compiler_options={option: value})()
            found[option] = value
    return found


@lru_cache(maxsize=MOST)
def _remembered(reference: Callable[..., Any], options: bytes) -> Callable[..., Any]:
    """The same jitted function for the same question: JAX then compiles it once for each shape and dtype."""
    return _jitted(reference, pickle.loads(options))  # noqa: S301 - what this process has just written


def forget() -> None:
    """Let go of all that is compiled: gigabytes, after some thousand shapes, and every garbage collection looks at it."""
    _remembered.cache_clear()
    EXECUTABLES.clear()
    clear: Any = jax.clear_caches
    clear()


def _arrays(tree: Any) -> Any:
    return optree.tree_map(np.asarray, tree)


def use_compilation_cache(folder: Path) -> None:
    """Keep compiled references in `folder`, so that a second run starts with them. For processes that are all ours."""
    config: Any = jax.config
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)
