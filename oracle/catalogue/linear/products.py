"""Linear and multilinear maps: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import purenet as pn
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.linear import bilinear, einsum, matmul


def affine_by_dot(params: dict[str, Any], x: Any) -> Any:
    y = jnp.dot(x, params["w"])
    return y + params["b"] if "b" in params else y


def affines(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    inner, outer = draw.between(1, 6), draw.between(1, 6)
    params = {"w": draw.normal(inner, outer)}
    if draw.choice([True, False]):
        params["b"] = draw.normal(outer)
    return (params, draw.normal(*draw.shape(), inner)), {}


def bilinear_by_einsum(params: dict[str, Any], x1: Any, x2: Any) -> Any:
    y = jnp.einsum("...i,...j,ijo->...o", x1, x2, params["w"])
    return y + params["b"] if "b" in params else y


def bilinears(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    one, two, outer = draw.between(1, 3), draw.between(1, 4), draw.between(1, 3)
    params = {"w": draw.normal(one, two, outer)}
    if draw.choice([True, False]):
        params["b"] = draw.normal(outer)
    leading = draw.shape(0, 2, 3)
    return (params, draw.normal(*leading, one), draw.normal(*leading, two)), {}


def matmul_by_jax(a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    return jnp.matmul(jnp.matrix_transpose(a) if transpose_a else a, jnp.matrix_transpose(b) if transpose_b else b)


def matmuls(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows, inner, columns = (draw.between(1, 4) for _ in range(3))
    kind = draw.choice(["matrices", "vector first", "vector last", "broadcast"])
    options = {
        name: True for name in ("transpose_a", "transpose_b") if kind in ("matrices", "broadcast") and draw.between(0, 1)
    }
    a: tuple[int, ...] = (inner, rows) if "transpose_a" in options else (rows, inner)
    b: tuple[int, ...] = (columns, inner) if "transpose_b" in options else (inner, columns)
    leading = draw.shape(0, 2, 3)
    if kind == "vector first":
        a, b = (inner,), (*leading, *b)
    elif kind == "vector last":
        a, b = (*leading, *a), (inner,)
    else:
        shared = tuple(draw.choice([n, 1]) for n in leading) if kind == "broadcast" else leading
        a, b = (*leading, *a), (*shared[draw.between(0, len(shared)) :], *b)
        if draw.choice([False, True]) and not options:
            a, b = (*b[:-2], *a[-2:]), (*a[:-2], *b[-2:])
    return (draw.normal(*a), draw.normal(*b)), options


def einsum_by_jax(operands: Any, *, subscripts: str) -> Any:
    return jnp.einsum(subscripts, *operands)


def einsums(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Up to three operands of up to three letters out of four, perhaps with a letter twice, perhaps with an ellipsis."""
    sizes = {k: draw.between(1, 3) for k in "ijkl"}
    extra = draw.shape(0, 2, 3)
    terms, operands = [], []
    for _ in range(draw.between(1, 3)):
        letters = "".join(draw.choice("ijkl") for _ in range(draw.between(0, 3)))
        shape = tuple(sizes[k] for k in letters)
        if draw.choice([False, True]):
            own = tuple(draw.choice([n, 1]) for n in extra)[draw.between(0, len(extra)) :]
            letters, shape = f"...{letters}", (*own, *shape)
        terms.append(letters)
        operands.append(draw.normal(*shape))
    used = sorted(set("".join(terms)) - {"."})
    out = "".join(k for k in used if draw.choice([True, False]))
    subscripts = f"{','.join(terms)}->{'...' if any('.' in t for t in terms) else ''}{out}"
    return (tuple(operands),), {"subscripts": subscripts}


def operands(*shapes: tuple[int, ...]) -> Any:
    """Draws a tuple of operands of these shapes."""
    return lambda draw: (tuple(draw.normal(*shape) for shape in shapes),)


def arrays(*shapes: tuple[int, ...]) -> Any:
    """Draws arguments of these shapes."""
    return lambda draw: tuple(draw.normal(*shape) for shape in shapes)


def bad_einsum(what: str, subscripts: Any, match: str, *shapes: tuple[int, ...], by: type[Exception] = ValueError) -> Error:
    return Error(what, operands(*shapes), by, f"einsum: {match}", {"subscripts": subscripts})


ONE, NONE, REPEATED = frozenset({Flag.BATCH_OF_ONE}), frozenset({Flag.EMPTY_BATCH}), frozenset({Flag.REPEATED})

SPECS = (
    Spec(
        pn.affine,
        reference=affine_by_dot,
        source=library("jax.numpy.dot"),
        cases=(
            Case("batch of 3", lambda draw: ({"w": draw.normal(4, 2), "b": draw.normal(2)}, draw.normal(3, 4))),
            Case("no bias", lambda draw: ({"w": draw.normal(3, 5)}, draw.normal(2, 3))),
            Case(
                "two leading dimensions",
                lambda draw: ({"w": draw.normal(3, 4), "b": draw.normal(4)}, draw.normal(2, 5, 3)),
            ),
            Case("products in parts", lambda draw: ({"w": draw.normal(100, 101)}, draw.normal(101, 100))),
            Case("no leading dimension", lambda draw: ({"w": draw.normal(3, 2), "b": draw.normal(2)}, draw.normal(3))),
            Case(
                "one row",
                lambda draw: ({"w": draw.normal(3, 2), "b": draw.normal(2)}, draw.normal(1, 3)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no rows",
                lambda draw: ({"w": draw.normal(3, 2), "b": draw.normal(2)}, draw.normal(0, 3)),
                flags=frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=affines,
        errors=(
            Error(
                "inner dimension",
                lambda draw: ({"w": draw.normal(4, 2)}, draw.normal(3, 5)),
                ValueError,
                "affine: x must have shape (..., 4) to match params.w (4, 2), got (3, 5)",
            ),
            Error(
                "bias of another width",
                lambda draw: ({"w": draw.normal(4, 2), "b": draw.normal(3)}, draw.normal(3, 4)),
                ValueError,
                "affine: params.b must have shape (2,)",
            ),
            Error(
                "weights are a vector",
                lambda draw: ({"w": draw.normal(4)}, draw.normal(3, 4)),
                ValueError,
                "affine: params.w must have shape (in, out), got (4,)",
            ),
            Error("weights missing", lambda draw: ({}, draw.normal(3, 4)), ValueError, "affine: params must hold w, b (opt"),
            Error(
                "integer x",
                lambda draw: ({"w": draw.normal(2, 2)}, draw.labels(9, 3, 2)),
                TypeError,
                "affine: x must be a floating-point array",
            ),
        ),
    ),
    Spec(
        bilinear,
        tier=2,
        reference=bilinear_by_einsum,
        source=library("jax.numpy.einsum"),
        cases=(
            Case(
                "batch of 2",
                lambda draw: ({"w": draw.normal(3, 4, 2), "b": draw.normal(2)}, draw.normal(2, 3), draw.normal(2, 4)),
            ),
            Case("no bias", lambda draw: ({"w": draw.normal(2, 3, 5)}, draw.normal(3, 2), draw.normal(3, 3))),
            Case("no leading dimension", lambda draw: ({"w": draw.normal(3, 2, 2)}, draw.normal(3), draw.normal(2))),
            Case(
                "two leading dimensions, one row",
                lambda draw: ({"w": draw.normal(3, 1, 2), "b": draw.normal(2)}, draw.normal(1, 2, 3), draw.normal(1, 2, 1)),
                flags=ONE,
            ),
            Case(
                "no rows",
                lambda draw: ({"w": draw.normal(3, 2, 2), "b": draw.normal(2)}, draw.normal(0, 3), draw.normal(0, 2)),
                flags=NONE,
            ),
        ),
        strategy=bilinears,
        errors=(
            Error(
                "weights are a matrix",
                lambda draw: ({"w": draw.normal(3, 2)}, draw.normal(3), draw.normal(2)),
                ValueError,
                "bilinear: params.w must have shape (in1, in2, out), got (3, 2)",
            ),
            Error(
                "integers",
                lambda draw: ({"w": draw.normal(3, 2, 4)}, draw.labels(3, 5, 3), draw.normal(5, 2)),
                TypeError,
                "bilinear: x1 must be a floating-point array",
            ),
            Error(
                "x2 of another width",
                lambda draw: ({"w": draw.normal(3, 2, 4)}, draw.normal(5, 3), draw.normal(5, 3)),
                ValueError,
                "bilinear: x2 must have shape (..., 2) to match params.w (3, 2, 4), got (5, 3)",
            ),
            Error(
                "other leading dimensions",
                lambda draw: ({"w": draw.normal(3, 2, 4)}, draw.normal(5, 3), draw.normal(4, 2)),
                ValueError,
                "bilinear: x2 must have the leading dimensions of x1, (5,), got (4,)",
            ),
            Error(
                "bias of another width",
                lambda draw: ({"w": draw.normal(3, 2, 4), "b": draw.normal(3)}, draw.normal(5, 3), draw.normal(5, 2)),
                ValueError,
                "bilinear: params.b must have shape (4,) to match params.w (3, 2, 4), got (3,)",
            ),
        ),
    ),
    Spec(
        matmul,
        tier=2,
        reference=matmul_by_jax,
        source=library("jax.numpy.matmul"),
        cases=(
            Case("two matrices", arrays((3, 4), (4, 2))),
            Case("both transposed", arrays((4, 3), (2, 4)), {"transpose_a": True, "transpose_b": True}),
            Case("batches that broadcast", arrays((2, 1, 3, 4), (5, 4, 2))),
            Case("one transposed matrix for all", arrays((4, 2), (3, 1, 4)), {"transpose_a": True, "transpose_b": True}),
            Case("two vectors", arrays((4,), (4,))),
            Case("a vector and matrices", arrays((4,), (3, 4, 2))),
            Case("matrices and a vector", arrays((2, 3, 4), (4,))),
            Case("one row", arrays((1, 4), (4, 2)), flags=ONE),
            Case("no rows", arrays((0, 4), (4, 2)), flags=NONE),
        ),
        strategy=matmuls,
        errors=(
            Error(
                "inner dimensions",
                arrays((3, 4), (3, 2)),
                ValueError,
                "matmul: the inner dimensions of a (3, 4) and b (3, 2) must agree, got 4 and 3",
            ),
            Error(
                "leading dimensions",
                arrays((2, 3, 4), (3, 4, 2)),
                ValueError,
                "matmul: the leading dimensions of a (2, 3, 4) and b (3, 4, 2) must broadcast, got (2,) and (3,)",
            ),
            Error("a scalar", arrays((), (3, 2)), ValueError, "matmul: a must have at least one dimension, got shape ()"),
            Error(
                "a vector transposed",
                arrays((3, 4), (4,)),
                ValueError,
                "matmul: b must have at least two dimensions to be transposed, got shape (4,)",
                {"transpose_b": True},
            ),
            Error(
                "integers",
                lambda draw: (draw.labels(9, 3, 4), draw.normal(4, 2)),
                TypeError,
                "matmul: a must be a floating-point array",
            ),
        ),
    ),
    Spec(
        einsum,
        tier=2,
        reference=einsum_by_jax,
        source=library("jax.numpy.einsum"),
        cases=(
            Case("three matrices, an inner letter alone", operands((2, 3), (3, 4), (4, 2)), {"subscripts": "ij,jk,kl->il"}),
            Case("a letter in one operand alone", operands((2, 3), (4, 2)), {"subscripts": "ij,ki->k"}),
            Case("a trace and a diagonal", operands((3, 3), (3, 3, 2)), {"subscripts": "ii,jjk->jk"}, REPEATED),
            Case("a transpose", operands((2, 3, 4)), {"subscripts": "ijk->kij"}),
            Case("all is summed", operands((2, 3)), {"subscripts": "ij->"}),
            Case("ellipses that broadcast", operands((2, 1, 3), (4, 3, 2)), {"subscripts": "...i,...ij->...j"}),
            Case("sizes of 1 that broadcast", operands((1, 3), (2, 1)), {"subscripts": "ij,ij->i"}),
            Case("a list of operands", lambda draw: ([draw.normal(3), draw.normal(2)],), {"subscripts": "i,j->ji"}),
            Case("one row, implicit output", operands((3, 1), (3, 2)), {"subscripts": "ib, io"}, ONE),
            Case("no rows", operands((0, 3), (3, 2)), {"subscripts": "bi,io->bo"}, NONE),
        ),
        strategy=einsums,
        errors=(
            bad_einsum("another number of operands", "ij,jk->ik", "subscripts 'ij,jk->ik' name 2 operands, got 1", (2, 3)),
            bad_einsum(
                "another number of dimensions",
                "ijk->i",
                "'ijk' in subscripts 'ijk->i' does not fit an operand of 2 dimensions",
                (2, 3),
            ),
            bad_einsum(
                "two sizes of one letter",
                "ij,jk->ik",
                "subscripts 'ij,jk->ik' do not fit operands of the shapes (2, 3), (4, 2): one letter has the sizes 3 and 4",
                (2, 3),
                (4, 2),
            ),
            bad_einsum(
                "two sizes on a diagonal",
                "ii->i",
                "subscripts 'ii->i' do not fit operands of the shapes (1, 3): one letter has the sizes 1 and 3",
                (1, 3),
            ),
            bad_einsum("no such letter", "ij->k", "the letters after -> must come once each from those before", (2, 3)),
            bad_einsum("a letter twice after the arrow", "ij->ii", "the letters after -> must come once each", (2, 3)),
            bad_einsum("not a letter", "i1->i", "subscripts must be letters, commas, '...' and '->', got 'i1->i'", (2, 3)),
            bad_einsum("subscripts are no string", ["ij->i"], "subscripts must be a string", (2, 3), by=TypeError),
            Error("no tuple", arrays((2, 3)), TypeError, "einsum: operands must be a tuple or list", {"subscripts": "ij->i"}),
        ),
    ),
)
