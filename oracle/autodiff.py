"""The reference gradient: JAX's reverse mode applied to an independently written reference.

Only the catalogue, the adapters and the example `own_op` import JAX as well.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import jax
import numpy as np
import optree
from jax.experimental import serialize_executable

from oracle import programs

__all__ = [
    "Pullback",
    "StructureError",
    "differentiable",
    "forget",
    "known",
    "quick_to_compile",
    "vjp",
]

MOST = 256
"""The largest number of compiled programs, and of references, that are kept. With more, memory grows; with fewer, the same
program is compiled again."""
EXECUTABLES: dict[Any, Any] = {}
"""The compiled programs, by their text and the structures of their inputs and outputs."""

OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
"""Options with which XLA compiles fast and produces slower programs."""


@dataclass(frozen=True)
class Pullback:
    """The value of a reference and the cotangents of its arguments: trees of NumPy arrays."""

    value: Any
    cotangents: tuple[Any, ...]


class StructureError(ValueError):
    """The value of the reference has other shapes or dtypes than ours."""


def vjp(reference: Callable[..., Any], primals: Sequence[Any], cotangent: Any, options: Mapping[str, Any]) -> Pullback:
    """`reference` at `primals`, and its VJP with `cotangent`, in the dtype of the primals."""
    return differentiable(reference, options)(primals, cotangent)


def differentiable(reference: Callable[..., Any], options: Mapping[str, Any]) -> Callable[[Sequence[Any], Any], Pullback]:
    """A function of primals and a cotangent that gives the value of `reference` and its VJP.

    Forward and backward are compiled together, once; this is several times faster than running operation by operation. A
    reference whose Python code depends on values of its arguments cannot be compiled, and runs operation by operation.
    """
    both = None
    if _is_pure(reference):
        with suppress(Exception):  # an option may be impossible to pickle, for example a lambda
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
    """Whether the reference always computes the same function. A user's one may read a global that changes between calls."""
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
        key = str(structure), tuple((leaf.shape, leaf.dtype.name) for leaf in leaves)
        if key not in compiled:
            # JAX's own cache, if it is on, returns programs that cannot be serialized again (jaxlib 0.10.2).
            cached: Any = jax.config
            name = None if cached.jax_compilation_cache_dir else programs.name_of(reference, (dict(options), key))
            compiled[key] = _loaded(name) or _written(name, _compiled(jitted.lower(primals, cotangent)))
        return compiled[key](primals, cotangent)

    return both


def _loaded(name: str | None) -> Any:
    """The program of that name on disk; None if there is none that this version of JAX can load."""
    kept = None if name is None else programs.load(name)
    if kept is None:
        return None
    with suppress(Exception):  # a damaged file costs no more than the time to compile again
        return serialize_executable.deserialize_and_load(*pickle.loads(kept))  # noqa: S301 - from a folder of the user's own
    return None


def _written(name: str | None, program: Any) -> Any:
    """The program, after it was kept on disk if it has a name there."""
    if name is not None:
        with suppress(Exception):  # a program with a callback cannot be kept
            programs.store(name, pickle.dumps(serialize_executable.serialize(program)))
    return program


def _compiled(lowered: Any) -> Any:
    """The compiled program. Two traces with the same text share one program."""
    program = lowered.as_text()
    key = program, lowered.in_tree, lowered.out_tree
    if key not in EXECUTABLES:
        if len(EXECUTABLES) >= MOST:
            EXECUTABLES.clear()
        # XLA (jaxlib 0.10.2) aborts on some convolutions if its fusion emitters are off, and on some gradients of grouped
        # convolutions in its algebraic simplifier under any options. Other programs compile in half the time without the
        # fusion emitters, and, since they are small, faster in one piece.
        others: Any = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
        more: Any = {"xla_disable_hlo_passes": "algsimp"} if "convolution" in program else others
        options = quick_to_compile(**more)
        EXECUTABLES[key] = lowered.compile(compiler_options=options)
    return EXECUTABLES[key]


def quick_to_compile(**more: Any) -> dict[str, Any]:
    """Options of XLA for programs that run only once. With its defaults, compiling takes most of the time of a verification."""
    return known(**OPTIONS, **more)


@cache
def known(**options: Any) -> dict[str, Any]:
    """The options that this version of XLA accepts. They belong to XLA's compiler and not to the interface of JAX."""
    found: dict[str, Any] = {}
    for option, value in options.items():
        with suppress(Exception):
            jax.jit(lambda: 0.0, compiler_options={option: value})()
            found[option] = value
    return found


@lru_cache(maxsize=MOST)
def _remembered(reference: Callable[..., Any], options: bytes) -> Callable[..., Any]:
    """One jitted function for each reference with the same options, which is compiled once for each shape and dtype."""
    return _jitted(reference, pickle.loads(options))  # noqa: S301 - this process has just written it


def forget() -> None:
    """Frees all compiled programs. After some thousand shapes they take gigabytes and slow down every garbage collection."""
    _remembered.cache_clear()
    EXECUTABLES.clear()
    clear: Any = jax.clear_caches
    clear()


def _arrays(tree: Any) -> Any:
    return optree.tree_map(np.asarray, tree)
