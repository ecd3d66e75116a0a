"""Causes with free numbers that are fitted to the error: a factor for each index of an axis, or a missing term."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np

from oracle.diagnosis.call import tensors_of_shape
from oracle.diagnosis.matching import LEFT, matches
from oracle.diagnosis.view import View, tensors
from oracle.diagnosis.words import Array
from oracle.effort import AGREEING
from oracle.measures import fit_scale

__all__ = ["factor_along_an_axis", "one_product", "only_one_term", "term_along_axes", "two_products"]

MANY = 40
"""The largest number of products of known tensors whose pairs are tried. The work grows with the square of it, and so does the
probability that a pair fits by chance."""
SAME = 1e-9
"""A fitted factor this close to 1 counts as 1. Smaller, and rounding looks like a factor; larger, and small factors are not
listed."""
PATHS = {1: " (a path through a mean or a sum?)", 2: " (the paths through a mean and a standard deviation?)"}
ORTHOGONAL = 0.01
"""If the true gradient has less than this share of our gradient's part along a term, it has no such part: something has
projected it out, and our gradient lacks the projection."""


def factor_along_an_axis(v: View) -> Iterator[str]:
    """The gradient is the true one times a factor for each index of one axis."""
    if not v.whole:
        return
    for axis, n in enumerate(v.shape):
        if n < 2 or v.index.size < AGREEING * n:
            continue
        ours, truth = (np.moveaxis(t, axis, 0) for t in tensors(v))
        fits = [fit_scale(a, b) for a, b in zip(ours, truth, strict=True)]
        scales = np.array([f.scale if f else 1.0 for f in fits]).reshape(n, *[1] * (len(v.shape) - 1))
        if matches(v, np.moveaxis(scales * truth, 0, axis).ravel()):
            other = np.flatnonzero(np.abs(scales.ravel() - 1) > SAME)
            if 2 * other.size <= n:
                shown = ", ".join(f"{scales.ravel()[i]:.6g} times at index {i}" for i in other[:4]) + ", ..." * (other.size > 4)
                yield f"a factor along axis {axis}: {v.name} is right except at {other.size} of {n} indices ({shown})"
            shown = ", ".join(f"{s:.4g}" for s in scales.ravel()[:6]) + (", ..." if n > 6 else "")
            yield f"a factor along axis {axis}: {v.name} is the true gradient times ({shown}) along that axis"


def one_product(v: View) -> Iterator[str]:
    """The error is a product of the arguments, the value and the cotangent, with one coefficient."""
    yield from _products_in_error(v, 1)


def two_products(v: View) -> Iterator[str]:
    """The error is the sum of two such products, each with its coefficient."""
    yield from _products_in_error(v, 2)


def _products_in_error(v: View, count: int) -> Iterator[str]:
    if not v.whole or v.index.size < AGREEING * count:
        return
    terms = {k: t.ravel() for k, t in _products({"1": np.ones(v.shape)} | _known(v)).items()}
    if count > 1 and len(terms) > MANY:
        return
    for names in combinations(terms, count):
        basis = np.stack([terms[k] for k in names], axis=1)
        solved, rank = _solve(basis, v.error)
        if rank == count and matches(v, v.truth + basis @ solved):
            parts = [(float(c) / v.context.unit, _with_dy(v, k)) for c, k in zip(solved, names, strict=True)]
            simple = [t[None] for t in terms.values()]
            if _is_too_many(v, basis @ solved, simple, range(len(v.shape)), single=count == 1):
                (first, _), *_ = parts
                by = "plus" if first > 0 else "minus"
                yield f"a term too many: {v.name} is the true gradient {by} {_signed_sum(parts).removeprefix('-')}"
            else:
                yield f"term missing: {v.name} lacks {_signed_sum([(-c, k) for c, k in parts])}"


def only_one_term(v: View) -> Iterator[str]:
    """The gradient is a single product of the arguments, the value and the cotangent, summed to the shape of the argument."""
    forward = v.context.forward
    if forward is None or not v.whole or v.index.size < AGREEING + 1:
        return
    for shape in dict.fromkeys((v.shape, forward.call.outputs)):
        axes = _summed(shape, v.shape)
        if axes is None:
            continue
        for name, t in _products(tensors_of_shape(forward.call, shape), ratios=True).items():
            summed = t.sum(axis=axes).ravel() if axes else t.ravel()
            fit = fit_scale(v.ours, summed)
            if fit is not None and matches(v, fit.scale * summed):
                over = f" summed over {'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}" if axes else ""
                what = _signed_sum([(fit.scale / v.context.unit, _with_dy(v, name))])
                yield f"term missing: {v.name} is only {what}{over}, so another term or a factor is missing"


def _signed_sum(parts: Sequence[tuple[float, str]]) -> str:
    """`0.5 * x * dy - dy` of the coefficients and the names of the terms."""
    words = ""
    for c, name in parts:
        sign = ("-" if c < 0 else "") if not words else " - " if c < 0 else " + "
        words += sign + (name if abs(abs(c) - 1) <= SAME and name != "1" else f"{abs(c):.6g} * {name}".removesuffix(" * 1"))
    return words


def _with_dy(v: View, name: str) -> str:
    """The name of a term whose coefficient was divided by the cotangent of a scalar."""
    return name if v.context.unit == 1.0 else f"{name} * dy".removeprefix("1 * ")


def _summed(shape: tuple[int, ...], onto: tuple[int, ...]) -> tuple[int, ...] | None:
    """The leading axes over which a tensor of one shape must be summed to get the other; None if that is impossible."""
    extra = len(shape) - len(onto)
    if extra < 0 or shape[extra:] != onto:
        return None
    return tuple(range(extra))


def _known(v: View) -> dict[str, Array]:
    """The known tensors in the shape of the argument, by name; a missing term is probably made of these."""
    return tensors_of_shape(v.context.forward.call, v.shape) if v.context.forward is not None else {}


def _products(known: dict[str, Array], *, ratios: bool = False) -> dict[str, Array]:
    """One, the tensors, their squares and products of two, and each of these times the cotangent, by name.

    Derivatives mostly consist of such products. With `ratios`, quotients of two are included.
    """
    if not known:
        return {}
    others = {k: t for k, t in known.items() if k not in ("1", "dy")}
    named = {"1": np.ones(next(iter(known.values())).shape)} | others | {f"{k}**2": t**2 for k, t in others.items()}
    named |= {f"{a} * {b}": others[a] * others[b] for a, b in combinations(others, 2)}
    if ratios:
        with np.errstate(all="ignore"):
            named |= {f"{a} / {b}": others[a] / others[b] for a, b in permutations(others, 2)}
    if "dy" in known:
        named |= {"dy" if k == "1" else f"{k} * dy": t * known["dy"] for k, t in tuple(named.items())}
    return {k: t for k, t in named.items() if np.isfinite(t).all() and t.any()}


def term_along_axes(v: View) -> Iterator[str]:
    """Along some axes the error is constant, or a multiple of the argument, the value or the cotangent, or a sum of both."""
    if not v.whole or not v.shape:
        return
    known = {"1": np.ones(v.shape)} | _known(v)
    error = v.error.reshape(v.shape)
    for names in [(k,) for k in known] + [("1", k) for k in known if k not in ("1", "dy")]:
        for count in range(len(v.shape), 0, -1):
            for axes in combinations(range(len(v.shape)), count):
                along = int(np.prod([v.shape[a] for a in axes]))
                if not _determined(v, along, len(names)) or 1 in (v.shape[a] for a in axes):
                    continue
                bases = [_rows(known[k], axes) for k in names]
                fitted = np.stack([
                    (basis := np.stack(row[1:], axis=1)) @ _solve(basis, row[0])[0]
                    for row in zip(_rows(error, axes), *bases, strict=True)
                ])  # fmt: skip
                fitted = _unrows(fitted, axes, v.shape).ravel()
                if matches(v, v.truth + fitted):
                    what = " and ".join("a constant" if k == "1" else f"a multiple of {k}" for k in names)
                    where = f"{'axis' if count == 1 else 'axes'} {', '.join(map(str, axes))}"
                    paths = PATHS[len(names)] if names[0] == "1" else ""
                    simple = [_rows(t, axes) for t in known.values()]
                    too_many = _is_too_many(v, fitted, simple, axes)
                    how = "a term too many" if too_many else "term missing"
                    verb = "is the true gradient plus" if too_many else "lacks"
                    yield f"{how}: {v.name} {verb} {what} along {where}{paths}"
                    return


def _determined(v: View, along: int, count: int) -> bool:
    """Whether `count` numbers fitted to each run of `along` entries are few enough that the fit is not chance."""
    return along >= count + 2 and v.index.size // along * (along - count) >= (AGREEING - 1) * count


def _rows(tensor: Array, axes: Sequence[int]) -> Array:
    """The tensor as a matrix, with one row for each place along the other axes."""
    kept = tuple(a for a in range(tensor.ndim) if a not in axes)
    return tensor.transpose(*kept, *axes).reshape(-1, int(np.prod([tensor.shape[a] for a in axes])))


def _unrows(rows: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The inverse of `_rows`."""
    order = (*(a for a in range(len(shape)) if a not in axes), *axes)
    return rows.reshape([shape[a] for a in order]).transpose(np.argsort(order))


def _solve(basis: Array, error: Array) -> tuple[Array, int]:
    """The coefficients with the least squared error, and the number of them that are determined."""
    scale = np.linalg.norm(basis, axis=0)
    scale[scale == 0] = 1.0
    solved, _, rank, _ = np.linalg.lstsq(basis / scale, error, rcond=1e-10)
    return np.asarray(solved / scale), int(rank)


def _is_too_many(v: View, fitted: Array, simple: Sequence[Array], axes: Sequence[int], *, single: bool = False) -> bool:
    """Whether the fitted term, which is the error, is too many; otherwise it is missing.

    If the true gradient is one of the simple terms, the fitted term is too many; if our gradient is one, it is missing. If
    neither is, a single term is too many if our gradient is longer than the true one, and the true gradient is not orthogonal
    to the term, as it would be after a projection that our gradient lacks.
    """
    ours, truth = (any(_is_multiple(_rows(t, axes), one) for one in simple) for t in tensors(v))
    grows = np.linalg.norm(v.ours) > np.linalg.norm(v.truth)
    orthogonal = abs(v.truth @ fitted) < ORTHOGONAL * abs(v.ours @ fitted)
    return bool(truth if ours != truth else single and grows and not orthogonal)


def _is_multiple(rows: Array, of: Array) -> bool:
    """Whether each row of one matrix is a multiple of the same row of the other."""
    square = (of**2).sum(axis=1)
    square[square == 0] = 1.0
    scale = (rows * of).sum(axis=1) / square
    return bool(np.linalg.norm(rows - scale[:, None] * of) <= LEFT * np.linalg.norm(rows))
