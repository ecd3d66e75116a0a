"""Linear and multilinear maps."""

from __future__ import annotations

import math
from collections.abc import Container
from string import ascii_letters
from typing import Any

import numpy as np

from purenet.checks import fields
from purenet.linear.parts import product
from purenet.op import ALL, Array, Op

__all__ = ["affine", "affine_params", "bilinear", "einsum", "matmul", "unbroadcast"]


@Op
def affine(params: dict[str, Array], x: Array) -> tuple[Array, Any]:
    """The affine map y = x @ w + b, over any number of leading dimensions; without `b` it is linear.

    Shapes: w (I, O), b (O,), x (..., I) -> y (..., O)
    Math:
        y  = x w + b
        dx = dy w^T,  dw = sum over the leading dimensions of x^T dy,  db = sum over the leading dimensions of dy
    Errors: ValueError where the last dimension of x is not I, or w or b has another shape.
    Source: Rumelhart, Hinton, Williams (1986). Conventions: weights are [in, out] as in flax; torch and ONNX Gemm
        store [out, in].

    >>> import numpy as np, purenet as pn
    >>> params = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([0.5, -0.5])}
    >>> pn.affine(params, np.array([[1.0, 1.0]]))
    array([[4.5, 5.5]])
    """
    w, b = affine_params("affine", params, x)
    y = product(x, w)
    if b is not None:
        y += b
    return y, (x, w, b is not None)


@affine.pullback
def affine_bwd(residuals: Any, dy: Array, *, wanted: Container[int] = ALL) -> tuple[Any, Any]:
    x, w, has_bias = residuals
    rows = math.prod(x.shape[:-1])  # not -1, which a width of 0 leaves open
    rows_x, rows_dy = x.reshape(rows, w.shape[0]), dy.reshape(rows, w.shape[1])
    dparams = {"w": product(rows_x.T, rows_dy)}
    if has_bias:
        dparams["b"] = rows_dy.sum(axis=0)
    return dparams, product(dy, w.T) if 1 in wanted else None


def affine_params(op: str, params: Any, x: Array) -> tuple[Array, Array | None]:
    """The weights and biases of an affine map of x, checked."""
    w, b = fields(op, params, "w", optional=("b",))
    if w.ndim != 2:
        raise ValueError(f"{op}: params.w must have shape (in, out), got {w.shape}")
    if x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"{op}: x must have shape (..., {w.shape[0]}) to match params.w {w.shape}, got {x.shape}")
    if b is not None and b.shape != (w.shape[1],):
        raise ValueError(f"{op}: params.b must have shape ({w.shape[1]},) to match params.w {w.shape}, got {b.shape}")
    return w, b


@Op
def bilinear(params: dict[str, Array], x1: Array, x2: Array) -> tuple[Array, Any]:
    """The bilinear map y_o = x1^T w_o x2 + b_o, over any number of leading dimensions; `b` may be absent.

    Shapes: w (I, J, O), b (O,), x1 (..., I), x2 (..., J) -> y (..., O)
    Math, sums over the leading dimensions in dw and db:
        y_o   = sum_ij x1_i x2_j w_ijo + b_o
        dx1_i = sum_jo x2_j dy_o w_ijo,  dx2_j = sum_io x1_i dy_o w_ijo,  dw_ijo = sum x1_i x2_j dy_o,  db = sum dy
    Errors: ValueError where x1 or x2 does not match w, their leading dimensions differ, or b has another shape.
    Source: Tenenbaum and Freeman, Separating style and content with bilinear models (2000). Conventions: weights are
        [in1, in2, out] as those of affine are [in, out]; torch stores [out, in1, in2].

    >>> import numpy as np, purenet as pn
    >>> params = {"w": np.array([[[1.0], [2.0]], [[3.0], [4.0]]]), "b": np.array([0.5])}
    >>> pn.bilinear(params, np.array([1.0, 0.0]), np.array([1.0, 10.0]))
    array([21.5])
    """
    w, b = fields("bilinear", params, "w", optional=("b",))
    if w.ndim != 3:
        raise ValueError(f"bilinear: params.w must have shape (in1, in2, out), got {w.shape}")
    for name, x, width in (("x1", x1, w.shape[0]), ("x2", x2, w.shape[1])):
        if x.ndim < 1 or x.shape[-1] != width:
            raise ValueError(f"bilinear: {name} must have shape (..., {width}) to match params.w {w.shape}, got {x.shape}")
    if x1.shape[:-1] != x2.shape[:-1]:
        raise ValueError(f"bilinear: x2 must have the leading dimensions of x1, {x1.shape[:-1]}, got {x2.shape[:-1]}")
    if b is not None and b.shape != w.shape[2:]:
        raise ValueError(f"bilinear: params.b must have shape {w.shape[2:]} to match params.w {w.shape}, got {b.shape}")
    y = _first_contracted(x1, w, x2.shape[:-1]).swapaxes(-1, -2) @ x2[..., None]
    y = y[..., 0] if b is None else y[..., 0] + b
    return y, (x1, x2, w, b is not None)


@bilinear.pullback
def bilinear_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array, Array]:
    x1, x2, w, has_bias = residuals
    inner, outer = w.shape[0], w.shape[1] * w.shape[2]
    rows = (x2[..., :, None] * dy[..., None, :]).reshape(*dy.shape[:-1], outer)
    dparams = {"w": (x1.reshape(-1, inner).T @ rows.reshape(-1, outer)).reshape(w.shape)}
    if has_bias:
        dparams["b"] = dy.reshape(-1, w.shape[2]).sum(axis=0)
    dx1 = rows @ w.reshape(inner, outer).T
    dx2 = _first_contracted(x1, w, dy.shape[:-1]) @ dy[..., None]
    return dparams, dx1, dx2[..., 0]


def _first_contracted(x1: Array, w: Array, leading: tuple[int, ...]) -> Array:
    """The matrix sum_i x1_i w_i of each row."""
    return np.asarray((x1 @ w.reshape(w.shape[0], w.shape[1] * w.shape[2])).reshape(*leading, *w.shape[1:]))


@Op
def matmul(a: Array, b: Array, *, transpose_a: bool = False, transpose_b: bool = False) -> tuple[Array, Any]:
    """The matrix product of the last two dimensions, over leading dimensions that broadcast.

    Shapes: a (..., N, K) or (K,), b (..., K, M) or (K,) -> y (..., N, M); a vector's dimension is absent from y
    Math, with A = a or its transpose, and B:
        y  = A B
        dA = dy B^T,  dB = A^T dy, each summed over the dimensions along which it was broadcast
    Errors: ValueError where the inner dimensions differ, the leading ones do not broadcast, an argument is a scalar, or a
        vector is to be transposed.
    Source: Giles, An extended collection of matrix derivative results (2008). Conventions: numpy.matmul's; transposing swaps
        the last two dimensions, as ONNX Gemm's transA and transB do.

    >>> import numpy as np, purenet as pn
    >>> a = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> pn.matmul(a, np.array([1.0, 10.0])), pn.matmul(a, np.array([1.0, 10.0]), transpose_a=True)
    (array([21., 43.]), array([31., 42.]))
    """
    left = _transposed("a", a, transpose_a)
    right = _transposed("b", b, transpose_b)
    inner = left.shape[-1], right.shape[-2 if right.ndim > 1 else -1]
    if inner[0] != inner[1]:
        raise ValueError(
            f"matmul: the inner dimensions of a {left.shape} and b {right.shape} must agree, got {inner[0]} and {inner[1]}"
        )
    try:
        y = left @ right
    except ValueError:
        raise ValueError(
            f"matmul: the leading dimensions of a {left.shape} and b {right.shape} must broadcast, got "
            f"{left.shape[:-2]} and {right.shape[:-2]}"
        ) from None
    return np.asarray(y), (left, right, transpose_a, transpose_b)


@matmul.pullback
def matmul_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    left, right, transpose_a, transpose_b = residuals
    a = left if left.ndim > 1 else left[None, :]
    b = right if right.ndim > 1 else right[:, None]
    if right.ndim == 1:
        dy = dy[..., None]
    if left.ndim == 1:
        dy = dy[..., None, :]
    da = unbroadcast(dy @ b.swapaxes(-1, -2), a.shape)
    if b.ndim == 2:  # one product over all rows, instead of one each to be summed
        rows = math.prod(a.shape[:-1])
        db = a.reshape(rows, a.shape[-1]).T @ dy.reshape(rows, dy.shape[-1])
    else:
        db = unbroadcast(a.swapaxes(-1, -2) @ dy, b.shape)
    da, db = da.reshape(left.shape), db.reshape(right.shape)
    return da.swapaxes(-1, -2) if transpose_a else da, db.swapaxes(-1, -2) if transpose_b else db


@Op
def einsum(operands: tuple[Array, ...], *, subscripts: str) -> tuple[Array, Any]:
    """The sum of products of the operands that `subscripts` names, as in `pn.einsum((a, b), subscripts="ij,jk->ik")`.

    Shapes: operands: a tuple of arrays with one dimension per letter, `...` for any number that broadcast -> y, a dimension per
        letter after `->`
    Math:
        y   = the sum over the letters absent from y of the product of the operands
        dx  = the sum over the letters absent from x of the product of dy and the other operands, on the diagonal where x has
              a letter twice, and repeated along a letter that x alone has
    Errors: ValueError where `subscripts` does not parse, does not fit the operands, or two sizes of one letter differ (1
        broadcasts); TypeError unless the operands are a tuple or list, `subscripts` a string.
    Source: Laue, Mitterreiter, Giesen, A simple and efficient tensor calculus (2020). Conventions: numpy.einsum's, with the
        operands first, because they are differentiated. An ellipsis absent after `->` is summed over, as in torch; NumPy
        raises.

    >>> import numpy as np, purenet as pn
    >>> a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0])
    >>> value, pullback = pn.vjp(pn.einsum, (a, b), subscripts="ij,j->i")
    >>> value, pullback(np.array([1.0, 0.0]))[0][1]
    (array([21., 43.]), array([1., 2.]))
    """
    if type(operands) not in (tuple, list) or not all(isinstance(x, np.ndarray) for x in operands):
        raise TypeError(f"einsum: operands must be a tuple or list of arrays, got {type(operands).__name__}")
    terms, out = _letters(subscripts, [x.shape for x in operands])
    y = np.einsum(f"{','.join(terms)}->{out}", *operands, optimize=len(operands) > 1)
    return np.array(y), (operands, terms, out)  # NumPy returns a view of a single operand where nothing is summed


@einsum.pullback
def einsum_bwd(residuals: Any, dy: Array) -> tuple[Any]:
    operands, terms, out = residuals
    cotangents = []
    for i, (x, term) in enumerate(zip(operands, terms, strict=True)):
        others = [(t, o) for j, (t, o) in enumerate(zip(terms, operands, strict=True)) if j != i]
        around: dict[str, int] = {}
        for t, o in ((out, dy), *others):
            around |= {k: n for k, n in zip(t, o.shape, strict=True) if around.get(k, 1) == 1}
        own = dict(zip(term, x.shape, strict=True))
        # A letter along which x was broadcast is summed over, one that x has alone is repeated below.
        shared = "".join(k for k, n in own.items() if around.get(k) == n)
        d = np.einsum(
            f"{','.join([out, *(t for t, _ in others)])}->{shared}", dy, *(o for _, o in others), optimize=bool(others)
        )
        d = np.asarray(d)[tuple(slice(None) if k in shared else None for k in own)]
        if len(own) == x.ndim:
            cotangents.append(np.array(np.broadcast_to(d, x.shape)))
        else:
            cotangents.append(np.zeros_like(x))
            np.einsum(f"{term}->{''.join(own)}", cotangents[-1])[...] = d  # a view of the diagonal
    return (type(operands)(cotangents),)


def unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """The cotangent of an array of this shape, given that of the array it was broadcast to: summed over what was repeated."""
    added = dy.ndim - len(shape)
    repeated = (i + added for i, n in enumerate(shape) if n == 1)
    return dy if dy.shape == shape else np.asarray(dy.sum(axis=(*range(added), *repeated)).reshape(shape))


def _transposed(name: str, x: Array, transpose: bool) -> Array:
    if x.ndim < (2 if transpose else 1):
        needed = "two dimensions to be transposed" if transpose else "one dimension"
        raise ValueError(f"matmul: {name} must have at least {needed}, got shape {x.shape}")
    return x.swapaxes(-1, -2) if transpose else x


# ------------------------------------------------------------------------------------------------- einsum


def _letters(subscripts: Any, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The letters of each operand and of the value, with a letter for each dimension of an ellipsis."""
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts must be a string such as 'ij,jk->ik', got {type(subscripts).__name__}")
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: subscripts {subscripts!r} name {len(terms)} operands, got {len(shapes)}")
    free = [c for c in ascii_letters if c not in subscripts]
    widest = max(len(shape) - len(term) + 3 if "..." in term else 0 for term, shape in zip(terms, shapes, strict=True))
    if widest > len(free):
        raise ValueError(f"{_misfit(subscripts, shapes)}: at most {len(ascii_letters)} letters and dimensions of '...'")
    ellipsis = "".join(free[:widest])
    whole = [_expanded(subscripts, term, ellipsis, len(shape)) for term, shape in zip(terms, shapes, strict=True)]
    if arrow:
        out = _expanded(subscripts, right, ellipsis, None)
    else:
        out = ellipsis + "".join(sorted(c for c in set(left) if c in ascii_letters and left.count(c) == 1))
    if len(set(out)) != len(out) or not set(out) <= set("".join(whole)):
        raise ValueError(f"einsum: the letters after -> must come once each from those before, got {subscripts!r}")
    _check_sizes(subscripts, whole, shapes)
    return whole, out


def _expanded(subscripts: str, term: str, ellipsis: str, ndim: int | None) -> str:
    """`term` with letters instead of its ellipsis: the last ones, because leading dimensions broadcast."""
    before, dots, after = term.partition("...")
    letters = before + after
    if not all(c in ascii_letters for c in letters):
        raise ValueError(f"einsum: subscripts must be letters, commas, '...' and '->', got {subscripts!r}")
    inside = ellipsis if ndim is None else ellipsis[len(ellipsis) - (ndim - len(letters)) :]
    whole = before + inside + after if dots else letters
    if ndim is not None and len(whole) != ndim:
        raise ValueError(f"einsum: {term!r} in subscripts {subscripts!r} does not fit an operand of {ndim} dimensions")
    return whole


def _check_sizes(subscripts: str, terms: list[str], shapes: list[tuple[int, ...]]) -> None:
    """Raise unless each letter has one size: the same everywhere in an operand, the same or 1 among operands."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        own: dict[str, int] = {}
        for k, n in zip(term, shape, strict=True):
            known = sizes.get(k, 1)
            if own.setdefault(k, n) != n or (known != n and 1 not in (known, n)):
                other = own[k] if own[k] != n else known
                raise ValueError(f"{_misfit(subscripts, shapes)}: one letter has the sizes {other} and {n}")
            sizes[k] = n if known == 1 else known


def _misfit(subscripts: str, shapes: list[tuple[int, ...]]) -> str:
    return f"einsum: subscripts {subscripts!r} do not fit operands of the shapes {', '.join(map(str, shapes))}"
