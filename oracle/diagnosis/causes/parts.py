"""Causes in which our gradient is a part of the true one, or sums it up: its symmetric part, a triangle, its sum or mean."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from oracle.diagnosis.matching import matches
from oracle.diagnosis.view import View, tensors
from oracle.diagnosis.words import Array, named_axes

__all__ = ["summed_up", "symmetric_part", "triangle"]


def symmetric_part(v: View) -> Iterator[str]:
    """The gradient is the true one made symmetric, or antisymmetric."""
    truth = _square(v)
    if truth is None:
        return
    turned = np.swapaxes(truth, -1, -2)
    made = {
        "symmetric part: {} is half the sum of the true gradient and its transpose": (truth + turned) / 2,
        "made symmetric: {} is the sum of the true gradient and its transpose": truth + turned,
        "made symmetric: {} is the true gradient plus its transpose, with the diagonal counted once": truth
        + turned
        - _diagonal(truth),
        "antisymmetric part: {} is half the difference of the true gradient and its transpose": (truth - turned) / 2,
    }
    zero = (
        "; the true one is zero above the diagonal, as the forward pass reads one triangle only"
        if not np.triu(truth, 1).any()
        else "; the true one is zero below the diagonal, as the forward pass reads one triangle only"
        if not np.tril(truth, -1).any()
        else ""
    )
    for words, supposed in made.items():
        if matches(v, supposed.ravel()):
            yield words.format(v.name) + zero


def triangle(v: View) -> Iterator[str]:
    """The gradient is one triangle of the true one, with or without what belongs to the other."""
    truth = _square(v)
    if truth is None:
        return
    turned = np.swapaxes(truth, -1, -2)
    for which, part, other in (("lower", np.tril, np.triu), ("upper", np.triu, np.tril)):
        if matches(v, part(truth).ravel()) and other(truth, 1 if which == "lower" else -1).any():
            yield f"one triangle only: {v.name} is the {which} triangle of the true gradient, and zero elsewhere"
        if matches(v, (part(truth + turned) - _diagonal(truth)).ravel()):
            yield (
                f"one triangle only: {v.name} has the entries of both triangles of the true gradient added up in the {which} "
                "one, and is zero elsewhere"
            )


def _square(v: View) -> Array | None:
    """The true gradient, if its last two axes have one length above 2 and all of it is known; smaller ones fit by chance."""
    if not v.whole or len(v.shape) < 2 or v.shape[-1] != v.shape[-2] or v.shape[-1] < 3:
        return None
    truth = tensors(v)[1]
    return np.where(np.abs(truth) > v.tolerance.reshape(v.shape), truth, 0.0)


def _diagonal(matrix: Array) -> Array:
    """The matrix with zeros off its diagonal."""
    return np.asarray(matrix * np.eye(matrix.shape[-1]))


def summed_up(v: View) -> Iterator[str]:
    """Every entry is the sum or the mean of the true ones along some axes."""
    if not v.whole or v.index.size < 3:
        return
    truth = tensors(v)[1]
    long = [a for a, n in enumerate(v.shape) if n > 1]
    for count in range(1, len(long) + 1):
        for axes in combinations(long, count):
            total = truth.sum(axis=axes, keepdims=True)
            n = int(np.prod([v.shape[a] for a in axes]))
            for words, what, supposed in (("summed", "sum", total), ("averaged", "mean", total / n)):
                if matches(v, np.broadcast_to(supposed, v.shape).ravel()):
                    over = named_axes(axes)
                    yield f"{words} over {over}: each entry of {v.name} is the {what} of the true ones along {over}"
