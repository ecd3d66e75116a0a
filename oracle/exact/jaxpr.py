"""Functions of JAX on balls: their jaxpr, primitive by primitive.

What does not depend on the arguments is left to JAX, and so is moving elements: JAX moves their numbers. `PRIMITIVES` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optree
from scipy import special

from oracle.adapters import traced, with_x64
from oracle.exact.array import BallArray, check_dtype, lifted
from oracle.exact.functions import filled
from oracle.exact.kinks import WORK

__all__ = ["ELEMENTWISE", "correlated", "forward_of", "padded", "spread_out", "taps"]

Values = list[Any]

MOVES = frozenset(
    {"broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "concatenate", "stack", "tile", "pad", "slice"}
    | {"dynamic_slice", "dynamic_update_slice", "rev", "gather", "scatter", "split", "select_n"}
)
"""Primitives that move elements and do not compute with them."""

SAME = frozenset({"stop_gradient", "copy", "copy_p", "device_put", "sharding_constraint", "optimization_barrier", "real"})
"""Primitives whose value is their argument. The value of `stop_gradient` has the slope 1, whatever JAX makes of it."""

CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""The parameters by which a primitive calls another jaxpr: jit, remat, custom rules."""


def forward_of(function: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of JAX at these options, as a forward function that can be evaluated on balls shaped like the primals."""
    closed, structure = traced(function, primals, options)

    def forward(*balls: Any) -> Any:
        tree: Any = balls
        with with_x64():
            try:
                return structure.unflatten(_run(closed, optree.tree_leaves(tree)))
            finally:
                WORK.frames = []

    return forward


def _run(called: Any, arguments: Sequence[Any]) -> Values:
    """The values of a jaxpr, with its constants or without any."""
    jaxpr, constants = (called.jaxpr, called.consts) if hasattr(called, "consts") else (called, ())
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        WORK.frames = _frames(equation)
        known.update(zip(equation.outvars, _step(equation, [read(atom) for atom in equation.invars]), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _frames(equation: Any) -> list[tuple[str, int]]:
    """The lines of Python that made the equation, from the inside out."""
    traceback = equation.source_info.traceback
    return [(frame.file_name, frame.line_num) for frame in traceback.frames] if traceback is not None else []


def _step(equation: Any, values: Values) -> Values:
    primitive, params = equation.primitive, equation.params
    name = primitive.name
    called = next((params[key] for key in CALLS if key in params), None)
    if called is not None and name not in CONTROL:
        return _run(called, values)
    if not any(type(value) is BallArray for value in values):
        found = primitive.bind(*values, **params)
        return list(found) if primitive.multiple_results else [found]
    values = [value if type(value) is BallArray else np.asarray(value) for value in values]
    if name in SAME:
        return values
    if name in MOVES:
        return _moved(primitive, params, values)
    if name in CONTROL:
        return CONTROL[name](params, values)
    if name not in PRIMITIVES:
        raise WORK.refuse(f"no exact rule for the JAX primitive {name}")
    found = PRIMITIVES[name](params, *values)
    return list(found) if primitive.multiple_results else [found]


def _moved(primitive: Any, params: dict[str, Any], values: Values) -> Values:
    """Where the elements go is found with the numbers of all elements; -1 stands for a place outside."""
    pool: list[Any] = []
    numbers = []
    for value in values:
        if value.dtype.kind == "f":
            elements = np.asarray(lifted(value), object)
            numbers.append(np.arange(len(pool), len(pool) + elements.size).reshape(elements.shape))
            pool.extend(elements.reshape(-1))
        else:
            numbers.append(value)
    if "fill_value" in params:
        params = {**params, "fill_value": -1}
    found = primitive.bind(*numbers, **params)
    all_elements = np.empty(len(pool) + 1, object)
    all_elements[:] = [*pool, np.nan]
    places = [np.asarray(f) for f in (found if primitive.multiple_results else [found])]
    return [BallArray(all_elements[place.reshape(-1)].reshape(place.shape)) for place in places]


# -------------------------------------------------------------------------------------------- control flow


def _scan(params: dict[str, Any], values: Values) -> Values:
    constants, carried = params["num_consts"], params["num_consts"] + params["num_carry"]
    state, rows = values[constants:carried], values[carried:]
    order = range(params["length"])
    written = []
    for i in reversed(order) if params["reverse"] else order:
        found = _run(params["jaxpr"], [*values[:constants], *state, *(row[i] for row in rows)])
        state = found[: params["num_carry"]]
        written.append(found[params["num_carry"] :])
    if params["reverse"]:
        written.reverse()
    return [*state, *(_stacked(column) for column in zip(*written, strict=True))]


def _stacked(column: Sequence[Any]) -> Any:
    return np.stack([value if type(value) is BallArray else np.asarray(value) for value in column])


def _while(params: dict[str, Any], values: Values) -> Values:
    of_condition = values[: params["cond_nconsts"]]
    of_body, state = np.split(np.arange(len(values))[params["cond_nconsts"] :], [params["body_nconsts"]])
    constants, carried = [values[i] for i in of_body], [values[i] for i in state]
    while bool(_run(params["cond_jaxpr"], [*of_condition, *carried])[0]):
        carried = _run(params["body_jaxpr"], [*constants, *carried])
    return carried


def _cond(params: dict[str, Any], values: Values) -> Values:
    which = int(np.clip(int(values[0]), 0, len(params["branches"]) - 1))
    return _run(params["branches"][which], values[1:])


CONTROL: dict[str, Callable[[dict[str, Any], Values], Values]] = {"scan": _scan, "while": _while, "cond": _cond}


# -------------------------------------------------------------------------------------------- products and windows


def _dot_general(params: dict[str, Any], a: Any, b: Any) -> Any:
    check_dtype(params["preferred_element_type"])
    (of_a, of_b), (batch_a, batch_b) = params["dimension_numbers"]
    free_a = [i for i in range(a.ndim) if i not in (*of_a, *batch_a)]
    free_b = [i for i in range(b.ndim) if i not in (*of_b, *batch_b)]
    batch = [a.shape[i] for i in batch_a]
    inner = int(np.prod([a.shape[i] for i in of_a], dtype=np.int64))
    rows, columns = [a.shape[i] for i in free_a], [b.shape[i] for i in free_b]
    left = a.transpose(*batch_a, *free_a, *of_a).reshape(*batch, int(np.prod(rows, dtype=np.int64)), inner)
    right = b.transpose(*batch_b, *of_b, *free_b).reshape(*batch, inner, int(np.prod(columns, dtype=np.int64)))
    return np.matmul(left, right).reshape(*batch, *rows, *columns)


def padded(x: Any, pads: Sequence[tuple[int, int]], fill: float) -> Any:
    """With `fill` around the last axes; a negative padding takes away."""
    first = x.ndim - len(pads)
    for axis, (low, high) in enumerate(pads, first):
        kept = [slice(None)] * x.ndim
        kept[axis] = slice(max(-low, 0), x.shape[axis] - max(-high, 0))
        x = x[tuple(kept)]
    around = [(0, 0)] * first + [(max(low, 0), max(high, 0)) for low, high in pads]
    return np.pad(x, around, constant_values=fill)


def taps(x: Any, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Any:
    """For each entry of a window over the last axes: its index, and that entry of all windows."""
    first = x.ndim - len(sizes)
    extents = zip(x.shape[first:], sizes, strides, dilations, strict=True)
    outs = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in extents]
    for tap in np.ndindex(*sizes):
        ends = [slice(t * d, t * d + (out - 1) * s + 1, s) for t, d, out, s in zip(tap, dilations, outs, strides, strict=True)]
        yield tap, x[(..., *ends)]


def _convolution(params: dict[str, Any], x: Any, w: Any) -> Any:
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    if params["batch_group_count"] != 1:
        raise WORK.refuse("a convolution in groups of the batch")
    x, w = np.transpose(x, numbers.lhs_spec), np.transpose(w, numbers.rhs_spec)
    x = spread_out(x, params["lhs_dilation"])
    y = correlated(x, w, params["padding"], params["window_strides"], params["rhs_dilation"], groups)
    return np.transpose(y, np.argsort(numbers.out_spec))


def spread_out(x: Any, distances: Sequence[int]) -> Any:
    """With zeros between the elements, which are then so far apart along the last axes."""
    first = x.ndim - len(distances)
    spread = filled(0.0, (*x.shape[:first], *((n - 1) * d + 1 for n, d in zip(x.shape[first:], distances, strict=True))))
    spread[(..., *(slice(None, None, d) for d in distances))] = x
    return spread


def correlated(x: Any, w: Any, pads: Any, strides: Sequence[int], dilations: Sequence[int], groups: int) -> Any:
    """The convolution of deep learning, in groups of channels: x (N, C, ...) and w (O, C / groups, ...) -> (N, O, ...)."""
    x = padded(x, pads, 0.0)
    total: Any = 0
    for tap, part in taps(x, w.shape[2:], strides, dilations):
        inputs = part.reshape(len(x), groups, x.shape[1] // groups, *part.shape[2:])
        weights = w[(..., *tap)].reshape(groups, len(w) // groups, -1)
        total = total + np.einsum("ngc...,goc->ngo...", inputs, weights)
    return total.reshape(len(x), len(w), *total.shape[3:])


def _window(combine: Callable[[Any, Any], Any], fill: float) -> Callable[..., Any]:
    def reduce_window(params: dict[str, Any], x: Any) -> Any:
        if any(d > 1 for d in params["base_dilation"]):
            raise WORK.refuse("windows over an array that is spread out")
        found: Any = None
        x = padded(x, params["padding"], fill)
        for _, part in taps(x, params["window_dimensions"], params["window_strides"], params["window_dilation"]):
            found = part if found is None else combine(found, part)
        return found

    return reduce_window


# -------------------------------------------------------------------------------------------- order, sums, elements


def _sort(params: dict[str, Any], *operands: Any) -> Any:
    if params["num_keys"] != 1:
        raise WORK.refuse("a sort by several keys")
    order = np.argsort(operands[0], params["dimension"])
    return [np.take_along_axis(operand, order, params["dimension"]) for operand in operands]


def _top_k(params: dict[str, Any], x: Any) -> Any:
    axis = params.get("axis", -1)
    order = np.take(np.argsort(-x, axis), range(params["k"]), axis)
    return [np.take_along_axis(x, order, axis), order.astype(np.int32)]


def _running(ufunc: np.ufunc) -> Callable[..., Any]:
    def running(params: dict[str, Any], x: Any) -> Any:
        axis = params["axis"]
        x = np.flip(x, axis) if params["reverse"] else x
        found = ufunc.accumulate(x, axis)
        return np.flip(found, axis) if params["reverse"] else found

    return running


def _reduced(ufunc: np.ufunc) -> Callable[..., Any]:
    return lambda params, x: ufunc.reduce(x, axis=tuple(params["axes"]))


def _round(params: dict[str, Any], x: Any) -> Any:
    if int(params["rounding_method"]) != 1:
        raise WORK.refuse("rounding of halves away from zero")
    return np.rint(x)


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, *values: function(*values)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "log", "log1p", "sqrt", "cbrt", "square", "sign", "abs")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "floor", "ceil", "copysign")},
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "atan2": np.arctan2, "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "rem": np.fmod, "pow": np.power, "max": np.maximum, "min": np.minimum, "neg": np.negative,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "logistic": special.expit, "erf": special.erf, "erfc": special.erfc, "erf_inv": special.erfinv,
    "lgamma": special.gammaln, "digamma": special.psi, "is_finite": np.isfinite,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
}  # fmt: skip

PRIMITIVES: dict[str, Callable[..., Any]] = {
    **{name: _elementwise(function) for name, function in ELEMENTWISE.items()},
    "integer_pow": lambda params, x: x ** params["y"],
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "reduce_sum": _reduced(np.add), "reduce_prod": _reduced(np.multiply),
    "reduce_max": _reduced(np.maximum), "reduce_min": _reduced(np.minimum),
    "argmax": lambda params, x: np.argmax(x, params["axes"][0]), "argmin": lambda params, x: np.argmin(x, params["axes"][0]),
    "cumsum": _running(np.add), "cumprod": _running(np.multiply), "cummax": _running(np.maximum),
    "cummin": _running(np.minimum), "cumlogsumexp": _running(np.logaddexp),
    "dot_general": _dot_general, "conv_general_dilated": _convolution, "sort": _sort, "top_k": _top_k, "round": _round,
    "reduce_window_sum": _window(np.add, 0.0), "reduce_window_max": _window(np.maximum, -np.inf),
    "reduce_window_min": _window(np.minimum, np.inf),
}  # fmt: skip
