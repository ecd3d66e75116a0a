"""Runs the bugs of the zoo on golden gradients: which of them does a case of the catalogue catch?"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
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
        for form in (lambda pair: pair, with_bias):
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
