"""The reference gradient: JAX's reverse mode applied to an independently written reference.

Only the catalogue, the adapters, `double_backward` and the example `own_op` import JAX as well.
"""

from __future__ import annotations

import linecache
import pickle
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache, partial
from typing import Any

import jax
import numpy as np
import optree
from jax.experimental import serialize_executable
from jax.extend import source_info_util

from oracle import programs
from oracle.compiling import EXECUTABLES, MOST, compiled_quickly
from oracle.jaxprs import Unknown, evaluate
from oracle.pullback import Pullback, StructureError, check_shapes, dtypes_apart, is_float, like

__all__ = [
    "Pullback",
    "StructureError",
    "differentiable",
    "forget",
    "kept",
    "optimizer_steps",
    "schedule_values",
    "vjp",
]

SHOWN = 60
"""Characters of a source line in a note: enough for one operation, and few enough for one line of a report."""


SMALL = 10_000
"""Elements of all arguments together up to which NumPy evaluates a program in less time than XLA takes to compile it."""
UNKNOWN = b"no function of NumPy for one of its primitives"
"""What is kept in place of the values of a program that has to be compiled."""
NARROW = frozenset(np.dtype(name) for name in ("float32", "float16", "bfloat16", "complex64"))


def vjp(reference: Callable[..., Any], primals: Sequence[Any], cotangent: Any, options: Mapping[str, Any]) -> Pullback:
    """`reference` at `primals`, and its VJP with `cotangent`, in the dtype of the primals."""
    return differentiable(reference, options)(primals, cotangent)


def differentiable(reference: Callable[..., Any], options: Mapping[str, Any]) -> Callable[[Sequence[Any], Any], Pullback]:
    """A function of primals and a cotangent that gives the value of `reference` and its VJP.

    JAX traces forward and backward together, once. A small program in float64 is then evaluated in NumPy, any other one is
    compiled. A reference whose Python code depends on values of its arguments cannot be traced; it runs operation by operation.
    """
    both = None
    if _is_pure(reference):
        with suppress(Exception):  # an option may be impossible to pickle, for example a lambda
            both = _remembered(reference, pickle.dumps(dict(options)))
    both = both or _jitted(reference, options)

    def evaluated(primals: Any, cotangent: Any, *, x64: bool) -> tuple[Any, Any]:
        with jax.enable_x64(x64):
            arguments, seed = jax.device_put(primals), jax.device_put(cotangent)
            try:
                return both(arguments, seed)  # type: ignore[no-any-return]
            except (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError):
                return _both(reference, options, arguments, seed)

    def pull(primals: Sequence[Any], cotangent: Any) -> Pullback:
        tree: Any = tuple(primals)
        value, cotangents = evaluated(tree, cotangent, x64=True)
        apart = dtypes_apart(value, cotangent)
        if apart is None:
            return Pullback(_arrays(value), _arrays(cotangents))
        note = _cast_in_words(*apart, _promotion(reference, options, tree))
        given: Any = (tree, cotangent)
        if all(leaf.dtype != np.float64 for leaf in optree.tree_leaves(given)):
            # Its rounding in a narrow dtype is that of the user's JAX, which has no float64 by default.
            # JAX (0.10) may refuse here: traces that are alive hold an array of the reference in float64. Then float64 it is.
            with suppress(Exception):
                value, cotangents = evaluated(tree, cotangent, x64=False)
        return Pullback(like(value, cotangent), _arrays(cotangents), note)

    return pull


def _cast_in_words(theirs: str, ours: str, where: str) -> str:
    if np.dtype(theirs).itemsize < np.dtype(ours).itemsize:
        return f"the reference computes in {theirs} where the value is {ours}; its value was cast to {ours}"
    what = f"a {theirs} number or array in it" + (f": {where}" if where else ", such as np.sqrt(d) or jnp.linspace(0, 1, 3)")
    return f"the reference promotes {ours} to {theirs} ({what}); its value was cast to {ours}"


def _promotion(reference: Callable[..., Any], options: Mapping[str, Any], primals: Any) -> str:
    """The source line of the first operation that makes a wider float of a narrow one; empty if it cannot be found."""
    with suppress(Exception), jax.enable_x64(True):  # a reference may refuse tracing, and its source may be gone
        jaxpr = jax.make_jaxpr(partial(reference, **options))(*primals)
        for equation in jaxpr.jaxpr.eqns:
            read = [v.aval.dtype for v in equation.invars if hasattr(v.aval, "dtype")]
            made = [v.aval.dtype for v in equation.outvars if hasattr(v.aval, "dtype")]
            narrow = min((np.dtype(d).itemsize for d in read if is_float(d)), default=np.inf)
            if any(is_float(d) and np.dtype(d).itemsize > narrow for d in made):
                file, line, column = source_info_util.summarize(equation.source_info).split(" ")[0].rsplit(":", 2)
                return linecache.getline(file, int(line))[int(column) - 1 :].strip()[:SHOWN]
    return ""


def _is_pure(reference: Callable[..., Any]) -> bool:
    """Whether the reference always computes the same function. A user's one may read a global that changes between calls."""
    return (getattr(reference, "__module__", None) or "").startswith(("oracle.catalogue.", "jax.", "optax.", "equinox."))


def _both(reference: Callable[..., Any], options: Mapping[str, Any], primals: Any, cotangent: Any) -> tuple[Any, Any]:
    """The value, and the cotangents of the primals."""
    value, pull = jax.vjp(lambda *arguments: reference(*arguments, **options), *primals)
    seeds, values = optree.tree_leaves(cotangent), optree.tree_leaves(value)
    check_shapes(values, seeds)
    seeds = [seed.astype(v.dtype) for seed, v in zip(seeds, values, strict=True)]
    return value, pull(optree.tree_unflatten(optree.tree_structure(value), seeds))


def _jitted(reference: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The value and the cotangents, traced once for each shape and dtype of the arguments."""
    parts = reference, dict(options)
    jitted = jax.jit(partial(_both, reference, options))
    compiled = kept(jitted, parts)
    evaluated = _evaluated(jitted, parts)

    def call(primals: Any, cotangent: Any) -> Any:
        leaves: list[Any] = jax.tree_util.tree_leaves((primals, cotangent))
        small = sum(leaf.size for leaf in leaves) <= SMALL
        # XLA rounds the steps of a program in a narrow dtype in its own way, and that is the rounding of the user's JAX.
        if small and all(leaf.dtype not in NARROW for leaf in leaves):
            with suppress(Unknown):
                return evaluated(primals, cotangent)
        return compiled(primals, cotangent)

    return call


def _evaluated(jitted: Any, parts: Any) -> Callable[..., Any]:
    """The same function of trees of arrays, evaluated in NumPy; its values are kept on disk. `Unknown` where it cannot be."""
    traces: dict[Any, Any] = {}

    def call(*given: Any) -> Any:
        leaves, structure = jax.tree_util.tree_flatten(given)
        arrays = [np.asarray(leaf) for leaf in leaves]
        key = structure, tuple([(leaf.shape, leaf.dtype) for leaf in leaves])
        name = None
        if key not in traces:  # what has been traced is evaluated in less time than its values are loaded
            name = programs.name_of(("evaluated", parts), (str(structure), arrays))
            known = None if name is None else programs.load(name)
            if known == UNKNOWN:
                traces[key] = None
            elif known is not None:
                with suppress(Exception):  # a damaged file costs no more than the time to evaluate again
                    return pickle.loads(known)  # noqa: S301 - from a folder of the user's own
        if key not in traces:
            traced = jitted.trace(*given)
            traces[key] = traced.jaxpr, traced.out_tree
        if traces[key] is None:
            raise Unknown("as at an earlier call")
        jaxpr, out = traces[key]
        try:
            values = jax.tree_util.tree_unflatten(out, evaluate(jaxpr, arrays))
        except Unknown:
            traces[key] = None
            if name is not None:
                programs.store(name, UNKNOWN)
            raise
        if name is not None:
            with suppress(Exception):
                programs.store(name, pickle.dumps(values))
        return values

    return call


def kept(function: Callable[..., Any], parts: Any, compiled: Callable[[Any], Any] | None = None) -> Callable[..., Any]:
    """The function of trees of arrays, compiled once for each structure, shape and dtype; its programs are kept on disk.

    `parts` tells what the function computes, for the names of its programs, see `oracle.programs`; `compiled` compiles what
    JAX has lowered, by default `compiled_quickly`.
    """
    jitted: Any = function if hasattr(function, "lower") else jax.jit(function)
    known: dict[Any, Any] = {}

    def call(*given: Any) -> Any:
        leaves, structure = jax.tree_util.tree_flatten(given)
        kinds = tuple([(np.shape(leaf), _kind(leaf)) for leaf in leaves])
        config: Any = jax.config
        key = structure, kinds, config.jax_enable_x64
        if key not in known:
            # JAX's own cache, if it is on, returns programs that cannot be serialized again (jaxlib 0.10.2).
            own = config.jax_compilation_cache_dir
            name = None if own else programs.name_of(parts, (str(structure), *key[1:]))
            known[key] = _loaded(name) or _written(name, (compiled or compiled_quickly)(jitted.lower(*given)))
        return known[key](*given)

    return call


def _kind(leaf: Any) -> str:
    """The name of an array's dtype, or of the type of a number."""
    return _name_of(leaf.dtype) if hasattr(leaf, "dtype") else type(leaf).__name__


@cache
def _name_of(dtype: Any) -> str:
    """The name of a dtype, which NumPy puts together anew each time: an optimizer's step would take a fifth longer."""
    return str(dtype.name)


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


Init = Callable[[Any], Any]
Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def optimizer_steps(init: Init, update: Callable[..., tuple[Any, Any]]) -> tuple[Init, Step]:
    """`init(params)` and `step(grads, state, params)` of an optimizer of JAX, from NumPy to NumPy with float64 enabled.

    Both are compiled, because optax called operation by operation takes seconds. An optimizer whose Python code depends on
    values cannot be compiled, and runs operation by operation.
    """
    known_by_name = isinstance(init, Hashable) and isinstance(update, Hashable)
    return _steps(init, update) if known_by_name else _steps.__wrapped__(init, update)


@lru_cache(maxsize=MOST)
def _steps(init: Init, update: Callable[..., tuple[Any, Any]]) -> tuple[Init, Step]:
    """The same functions for the same optimizer, which are compiled once for each shape and dtype."""

    def both(grads: Any, state: Any, params: Any) -> Any:
        updates, state = update(grads, state, params)
        return jax.tree.map(lambda p, u: jax.numpy.asarray(p + u, p.dtype), params, updates), state

    programs_of: dict[Callable[..., Any], Callable[..., Any]] = {
        init: kept(init, ("init", init)),
        both: kept(both, ("step", update)),
    }

    def called(function: Callable[..., Any], *arguments: Any) -> Any:
        with jax.enable_x64(True):
            try:
                result = programs_of[function](*arguments)
            except (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError):
                result = function(*jax.device_put(arguments))
            return optree.tree_map(_in_numpy, result)

    def begin(params: Any) -> Any:
        return called(init, params)

    def step(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        after: tuple[Any, Any] = called(both, grads, state, params)
        return after

    return begin, step


def schedule_values(schedule: Callable[[Any], Any], counts: Any) -> Any:
    """A schedule of JAX at all these counts in float64, for which optax takes as long as for one.

    It is not compiled as a whole: XLA would divide by a constant as it multiplies, and lose the last digit. The counts are
    floats: to its own int32 counts optax answers in float32, even where float64 is enabled.

    Each operation is a program of its own, so the values are kept on disk instead of some dozen programs.
    """
    name = programs.name_of(("values", schedule), counts)
    values = None if name is None else programs.load(name)
    if values is not None and len(values) == np.dtype(np.float64).itemsize * np.size(counts):
        return np.frombuffer(values, np.float64)
    with jax.enable_x64(True):
        given = jax.numpy.asarray(counts, jax.numpy.float64)
        found = np.asarray(jax.vmap(lambda t: jax.numpy.asarray(schedule(t), jax.numpy.float64))(given))
    if name is not None:
        programs.store(name, found.tobytes())
    return found


def _in_numpy(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(leaf.dtype, np.dtype) else leaf  # a key of JAX has a dtype of its own


@lru_cache(maxsize=MOST)
def _remembered(reference: Callable[..., Any], options: bytes) -> Callable[..., Any]:
    """One function for each reference with the same options, which is traced once for each shape and dtype."""
    return _jitted(reference, pickle.loads(options))  # noqa: S301 - this process has just written it


def forget() -> None:
    """Frees all compiled programs. After some thousand shapes they take gigabytes and slow down every garbage collection."""
    _remembered.cache_clear()
    _steps.cache_clear()
    EXECUTABLES.clear()
    clear: Any = jax.clear_caches
    clear()


def _arrays(tree: Any) -> Any:
    return optree.tree_map(np.asarray, tree)
