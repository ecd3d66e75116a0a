"""Runs the bugs of the zoo on golden gradients: which of them does a case of the catalogue catch?"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import optree

from oracle.arrays import quiet
from oracle.golden.cases import drawn, evaluated
from oracle.spec import Case, Spec
from tests.zoo.record import Bug, Pair

RENAMED = {"window": "size", "ids": "indices", "index": "indices", "padding_idx": "padding", "where": "allowed"}
MOST = 4  # arrays of a case whose orders are tried: 24 calls


def catches(bug: Bug, spec: Spec, case: Case) -> bool:
    """Whether the right twin of the bug gives the golden value and gradients of this case, and the wrong one does not.

    The op and the function of the zoo may name and order their arguments otherwise: every order is tried.
    """
    primals, options = drawn(spec, case)
    golden = evaluated(spec, primals, options)
    gradients: list[Any] = optree.tree_leaves(golden.cotangents)  # type: ignore[arg-type]
    leaves: list[Any] = optree.tree_leaves(primals)  # type: ignore[arg-type]
    if len(leaves) > MOST:
        return False
    for order in itertools.permutations(range(len(leaves))):
        given, wanted = [leaves[i] for i in order], [gradients[i] for i in order]
        for form in (lambda pair: pair, with_bias, *([partial(FITTED[bug.name], **options)] if bug.name in FITTED else [])):
            if _agrees(form(bug.right), bug, given, options, golden, wanted):
                return not _agrees(form(bug.wrong), bug, given, options, golden, wanted)
    return False


def _agrees(pair: Pair, bug: Bug, given: list[Any], options: dict[str, Any], golden: Any, wanted: list[Any]) -> bool:
    """Whether this pair of functions gives the golden value and gradients."""
    for keywords in _keywords(pair, bug, options):
        try:
            with quiet():
                y, residuals = pair[0](*(np.array(a) for a in given), **keywords)
                found = pair[1](residuals, optree.tree_map(np.array, golden.cotangent))
            pairs = [*zip(_leaves(y), _leaves(golden.value), strict=True), *zip(_leaves(found), wanted, strict=True)]
            if all(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs):
                return True
        except Exception:  # noqa: S112 - of arguments that do not fit, or the bug itself
            continue
    return False


def _leaves(tree: Any) -> list[Any]:
    return optree.tree_leaves(tree)


def _keywords(pair: Pair, bug: Bug, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of the case by the names of the zoo. What the zoo has not is left out: then its value must be the same."""
    known = set(inspect.signature(pair[0]).parameters)
    renamed = {RENAMED.get(name, name): value for name, value in options.items()}
    renamed = {name: value for name, value in renamed.items() if name in known}
    if "size" in renamed and "stride" in known:
        renamed.setdefault("stride", renamed["size"])
    yield renamed
    yield {**bug.options, **renamed}
    if len(options) == len(bug.options) == 1:
        yield dict(zip(bug.options, options.values(), strict=True))


def with_bias(pair: Pair) -> Pair:
    """A convolution of the zoo and a bias, which the ops of the catalogue have."""

    def fwd(b: Any, w: Any, x: Any, **options: Any) -> Any:
        y, residuals = pair[0](w, x, **options)
        return y + b[:, None], residuals

    def bwd(residuals: Any, dy: Any) -> Any:
        return (dy.sum(axis=(0, 2)), *pair[1](residuals, dy))

    fwd.__signature__ = inspect.signature(pair[0])  # type: ignore[attr-defined]
    return fwd, bwd


# --------------------------------------------------------- functions of the zoo that take other arguments than the op


def rows(pair: Pair, where: Any = None, axis: Any = None, *, keepdims: bool = False) -> Pair:
    """Of rows, as an op of one row or of each row, with the entries that it reads."""

    def fwd(x: Any) -> Any:
        flat, kept = (a.reshape(1, -1) if axis is None else a for a in (x, np.broadcast_to(where, np.shape(x))))
        y, residuals = pair[0](flat, allowed=kept)
        return (y[:, None] if keepdims else y.reshape(())), (residuals, x.shape)

    def bwd(residuals: Any, dy: Any) -> Any:
        return (pair[1](residuals[0], np.reshape(dy, -1))[0].reshape(residuals[1]),)

    return fwd, bwd


def entries(pair: Pair, *, delta: float, reduction: str) -> Pair:
    """A loss of rows, as one of each entry."""
    assert reduction == "none"

    def fwd(prediction: Any, target: Any) -> Any:
        y, residuals = pair[0](prediction.reshape(-1, 1), target.reshape(-1, 1), delta=delta)
        return y.reshape(prediction.shape), residuals

    def bwd(residuals: Any, dy: Any) -> Any:
        return tuple(gradient.reshape(dy.shape) for gradient in pair[1](residuals, dy.reshape(-1)))

    return fwd, bwd


def turned(pair: Pair, *, indices: Any) -> Pair:
    """Along the first axis, as along the last one."""

    def fwd(x: Any) -> Any:
        y, residuals = pair[0](x.T, indices=indices.T)
        return y.T, residuals

    return fwd, lambda residuals, dy: (pair[1](residuals, dy.T)[0].T,)


def points(pair: Pair, *, indices: Any) -> Pair:
    """Of points with one coordinate."""
    return (lambda x: pair[0](x, indices=np.asarray(indices)[None])), pair[1]


def padded_convolution(pair: Pair, *, stride: int, padding: int) -> Pair:
    def fwd(b: Any, w: Any, x: Any) -> Any:
        y, residuals = pair[0](w, np.pad(x, ((0, 0), (0, 0), (padding, padding))), stride=stride)
        return y + b[:, None], residuals

    def bwd(residuals: Any, dy: Any) -> Any:
        dw, dx = pair[1](residuals, dy)
        return dy.sum(axis=(0, 2)), dw, dx[:, :, padding:-padding]

    return fwd, bwd


def padded_maxima(pair: Pair, *, window: int, stride: int, padding: Any) -> Pair:
    ((before, after),) = padding

    def fwd(x: Any) -> Any:
        padded = np.pad(x, ((0, 0), (0, 0), (before, after)), constant_values=-np.inf)
        y, residuals = pair[0](padded, size=window, stride=stride)
        return y, (residuals, before, x.shape[2])

    def bwd(residuals: Any, dy: Any) -> Any:
        return (pair[1](residuals[0], dy)[0][:, :, residuals[1] :][:, :, : residuals[2]],)

    return fwd, bwd


def unpooled(pair: Pair, *, indices: Any, size: int) -> Pair:
    places = (np.arange(indices.shape[0] * indices.shape[1])[:, None] * size + indices.reshape(-1, indices.shape[2])).reshape(
        -1
    )

    def fwd(x: Any) -> Any:
        y, residuals = pair[0](x.reshape(-1), indices=places, size=indices.shape[0] * indices.shape[1] * size)
        return y.reshape(*x.shape[:2], size), residuals

    return fwd, lambda residuals, dy: (pair[1](residuals, dy.reshape(-1))[0].reshape(indices.shape),)


def with_statistics(pair: Pair, *, statistics: Any) -> Pair:
    def fwd(gamma: Any, beta: Any, x: Any) -> Any:
        return pair[0](gamma, beta, x, mean=statistics.mean, var=statistics.var)

    return fwd, pair[1]


def heads(pair: Pair) -> Pair:
    """Of one head, as of all heads of a batch."""

    def fwd(q: Any, k: Any, v: Any) -> Any:
        one = {place: pair[0](*(a[place[0], :, place[1]] for a in (q, k, v))) for place in np.ndindex(len(q), q.shape[2])}
        y = np.zeros((*q.shape[:3], v.shape[3]))
        for place, (part, _) in one.items():
            y[place[0], :, place[1]] = part
        return y, (one, (q, k, v))

    def bwd(residuals: Any, dy: Any) -> Any:
        found = tuple(np.zeros_like(a) for a in residuals[1])
        for place, (_, kept) in residuals[0].items():
            for whole, part in zip(found, pair[1](kept, dy[place[0], :, place[1]]), strict=True):
                whole[place[0], :, place[1]] = part
        return found

    return fwd, bwd


def summed(pair: Pair, ord: int) -> Pair:  # noqa: A002 - as the op
    """Of each entry, summed: the absolute values of a vector are its norm of order 1."""
    assert ord == 1

    def fwd(x: Any) -> Any:
        y, residuals = pair[0](x)
        return y.sum(), (residuals, x.shape)

    return fwd, lambda residuals, dy: pair[1](residuals[0], np.full(residuals[1], dy))


FITTED: dict[str, Callable[..., Pair]] = {
    "abs at zero": summed,
    "stride forgotten": padded_convolution,
    "one window for each maximum": padded_maxima,
    "gather overwrites": turned,
    "gather_nd overwrites": points,
    "unpooling pays the overwritten": unpooled,
    "huber_loss ignores its upstream": entries,
    "threshold without absolute value": entries,
    "batch_norm evaluated as in training": with_statistics,
    "attention without its scale": heads,
    "logsumexp masked too late": rows,
}
"""What makes the function of a bug one of the op's arguments, by the options of the case."""
