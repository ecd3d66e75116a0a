"""Programs of XLA that are compiled fast, since a verification calls each only some hundred times."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import jax

__all__ = ["EXECUTABLES", "MOST", "compiled_for_shapes", "compiled_quickly", "in_one_piece", "known", "quick_to_compile"]

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


def compiled_for_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of arrays, compiled when arguments of a new structure, shape or dtype come."""
    jitted = jax.jit(function)
    programs: dict[Any, Any] = {}

    def call(*given: Any) -> Any:
        leaves, structure = jax.tree_util.tree_flatten(given)
        key = structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        if key not in programs:
            programs[key] = compiled_quickly(jitted.lower(*given))
        return programs[key](*given)

    return call


def compiled_quickly(lowered: Any) -> Any:
    """The compiled program. Two traces with the same text, and arguments of the same kinds, used or not, share one program."""
    program = lowered.as_text()
    key = program, str(lowered.in_avals), lowered.in_tree, lowered.out_tree
    if key not in EXECUTABLES:
        if len(EXECUTABLES) >= MOST:
            EXECUTABLES.clear()
        # XLA (jaxlib 0.10.2) aborts on some convolutions if its fusion emitters are off, and on some gradients of grouped
        # convolutions in its algebraic simplifier under any options.
        convolves = "convolution" in program
        options = quick_to_compile(xla_disable_hlo_passes="algsimp") if convolves else in_one_piece()
        EXECUTABLES[key] = lowered.compile(compiler_options=options)
    return EXECUTABLES[key]


def quick_to_compile(**more: Any) -> dict[str, Any]:
    """Options of XLA for programs that run only once. With its defaults, compiling takes most of the time of a verification."""
    return known(**OPTIONS, **more)


def in_one_piece() -> dict[str, Any]:
    """The same options for programs without a convolution, which compile in half the time without XLA's fusion emitters.

    They are small, so compiling them in one piece is faster than in several.
    """
    return quick_to_compile(xla_cpu_use_fusion_emitters=False, xla_cpu_parallel_codegen_split_count=1)


@cache
def known(**options: Any) -> dict[str, Any]:
    """The options that this version of XLA accepts. They belong to XLA's compiler and not to the interface of JAX.

    If it does not accept all of them together, which takes one program to find out, each is tried alone.
    """
    return options if _accepted(options) else {name: value for name, value in options.items() if _accepted({name: value})}


def _accepted(options: dict[str, Any]) -> bool:
    with suppress(Exception):
        jax.jit(lambda: 0.0, compiler_options=options)()
        return True
    return False
