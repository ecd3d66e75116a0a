"""Whether gradients of micro-batches, or of the shards of several devices, are combined to the gradient of the whole batch.

The gradient of a mean loss over N samples is the mean of those of its parts, weighted by their sizes; of a summed loss it is
their sum. Which of the two holds is asked of the gradient itself, and if neither does, its samples are not independent (a batch
norm, a loss over pairs), so that no rule combines the parts.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray
from tabulate import tabulate

from oracle.arrays import leaves_of
from oracle.judging.error_budget import REORDERED_TERMS
from oracle.measures import EPSILON, distance, fit_scale, largest
from oracle.text import count, digits, plain

__all__ = ["Accumulated", "check_accumulation"]

Array = NDArray[Any]

PARTS = (3, 1, 2)
"""How the samples are shared out, in these proportions: a mean of means is right for equal parts alone."""

ONE_FACTOR = 1e-9
"""The share of the squared size that a common factor may leave unexplained: rounding leaves 1e-28, another weighting far more.
With 1e-3, weights that are nearly equal count as a factor; with 1e-20, a factor of a float32 gradient is not recognized."""


@dataclass(frozen=True)
class Accumulated:
    """The combined gradients beside those of the whole batch."""

    rule: str
    """What combines these gradients rightly; empty if nothing does."""
    sizes: tuple[int, ...]
    """Of the micro-batches."""
    errors: tuple[tuple[str, float, bool], ...]
    """Of each parameter: its name, its error relative to the largest entry, and whether it is right."""
    cause: str = ""

    @property
    def passed(self) -> bool:
        return bool(self.errors) and all(right for _, _, right in self.errors)

    def __bool__(self) -> bool:
        return self.passed

    def raise_for_failures(self) -> None:
        """An AssertionError that carries the table, unless everything passed."""
        if not self.passed:
            raise AssertionError(f"the combined gradients are not those of the whole batch\n{self}")

    def __str__(self) -> str:
        lines = [[plain(name), digits(error), "PASS" if right else "FAIL"] for name, error, right in self.errors]
        table = tabulate(lines, ("parameter", "error", "verdict"), tablefmt="simple", disable_numparse=True)
        told = self.cause or f"{count(len(self.sizes), 'micro-batch', 'micro-batches')} of {_sizes(self.sizes)}: {self.rule}"
        return f"{table}\n\n{textwrap.fill(told, shutil.get_terminal_size((100, 24)).columns)}"


def check_accumulation(
    gradient: Callable[..., Any],
    params: Any,
    *data: Any,
    accumulate: Callable[..., Any] | None = None,
    accumulated: Callable[..., Any] | None = None,
    parts: int | Sequence[int] | None = None,
) -> Accumulated:
    """Whether the gradients of micro-batches are combined to the gradient of the whole batch.

    Args:
        gradient: `gradient(params, *batch)` gives a tree of gradients, such as a dict of arrays.
        params: what `gradient` takes first.
        data: arrays with one row for each sample, such as x and t.
        accumulate: `accumulate(gradients, sizes)` combines the list of the parts' gradients; `sizes` are their numbers of
            samples. So do data-parallel devices: one part is what one device has.
        accumulated: instead of that, `accumulated(params, batches)` computes the gradient from the list of batches, each a
            tuple like `data`.
        parts: the number of parts, or their sizes; three unequal ones by default.

    Raises:
        TypeError, ValueError: for arguments with which nothing can be compared.

    >>> import numpy as np, oracle
    >>> def gradient(w, x, t): return 2 * x.T @ (x @ w - t) / len(x)
    >>> x, t = np.arange(12.0).reshape(6, 2), np.ones(6)
    >>> found = oracle.check_accumulation(gradient, np.ones(2), x, t, accumulate=lambda g, sizes: sum(g) / len(g))
    >>> found.passed, found.cause.partition(":")[0]
    (False, 'mean of means')

    """
    name = "check_accumulation"
    if not callable(gradient):
        raise TypeError(f"{name}: gradient must be a function of the parameters and a batch, got {type(gradient).__name__}")
    if (accumulate is None) == (accumulated is None) or not callable(accumulate or accumulated):
        raise TypeError(f"{name}: give either accumulate=f(gradients, sizes) or accumulated=f(params, batches)")
    if not data:
        raise ValueError(f"{name}: no data: give arrays with one row for each sample")
    samples = {len(np.asarray(a)) if np.ndim(a) else 0 for a in data}
    if len(samples) != 1:
        raise ValueError(f"{name}: all data must have as many rows, one for each sample, got {sorted(samples)}")
    sizes = _shared_out(samples.pop(), parts)
    ends = np.cumsum(sizes)
    batches = [tuple(np.asarray(a)[end - size : end] for a in data) for size, end in zip(sizes, ends, strict=True)]
    whole = _copied(gradient(params, *data))
    each = [_copied(gradient(params, *batch)) for batch in batches]
    if accumulated is not None:
        ours = accumulated(params, batches)
    else:
        assert accumulate is not None  # noqa: S101 - checked above
        ours = accumulate([_copied(g) for g in each], list(sizes))
    return _compared(_copied(ours), whole, each, sizes)


def _copied(tree: Any) -> Any:
    """A gradient function may return the same buffers each time."""
    return optree.tree_map(np.array, tree)


def _shared_out(samples: int, parts: int | Sequence[int] | None) -> tuple[int, ...]:
    """The sizes of the parts."""
    name = "check_accumulation"
    wanted: Any = PARTS if parts is None else parts
    if isinstance(wanted, int | np.integer) and not isinstance(wanted, bool):
        if not 2 <= wanted <= samples:
            raise ValueError(f"{name}: parts must be from 2 to the number of samples, {samples}, got {wanted}")
        return tuple(len(part) for part in np.array_split(np.arange(samples), wanted))
    sizes = tuple(wanted)
    if not all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise TypeError(f"{name}: parts must be an integer or positive integers, got {parts!r}")
    if parts is not None:
        if len(sizes) < 2 or sum(sizes) != samples:
            raise ValueError(
                f"{name}: parts must be at least two sizes whose sum is the number of samples, {samples}, got {sizes}"
            )
        return sizes
    if samples < 3:
        raise ValueError(f"{name}: at least 3 samples are needed for parts of unequal sizes, got {samples}")
    first, second = max(samples * PARTS[0] // sum(PARTS), 1), max(samples * PARTS[1] // sum(PARTS), 1)
    return (first, second, samples - first - second)


# ----------------------------------------------------------------------------------------------------- comparison


def _compared(ours: Any, whole: Any, each: list[Any], sizes: tuple[int, ...]) -> Accumulated:
    if optree.tree_structure(ours) != optree.tree_structure(whole):
        given, wanted = optree.tree_structure(ours), optree.tree_structure(whole)
        raise ValueError(f"check_accumulation: the combined gradients have the structure {given}, those of the whole {wanted}")
    named = leaves_of(("gradient",), (whole,))
    names = [leaf.path.removeprefix("gradient.") for leaf in named]
    truth, mine = _leaves(whole), _leaves(ours)
    for name, a, b in zip(names, mine, truth, strict=True):
        if a.shape != b.shape:
            raise ValueError(
                f"check_accumulation: the combined gradient {name} has shape {a.shape}, that of the whole {b.shape}"
            )
    parts = [_leaves(g) for g in each]
    n = np.array(sizes, float)
    allowed = [
        REORDERED_TERMS * _eps(leaf.array) * max(largest(t.ravel()), *(largest(p[i].ravel()) for p in parts))
        for i, (leaf, t) in enumerate(zip(named, truth, strict=True))
    ]
    rules = {"the mean, weighted by the sizes of the parts": n / n.sum(), "the sum of the parts": np.ones(len(n))}
    rule = next((text for text, weights in rules.items() if _fits(_weighted(parts, weights), truth, allowed)), "")
    errors = []
    for name, a, b, limit in zip(names, mine, truth, allowed, strict=True):
        off = largest(distance(a, b).ravel()) if np.isfinite(a).all() else np.inf
        errors.append((name, off / (largest(b.ravel()) or 1.0), bool(off <= limit)))
    found = Accumulated(rule, sizes, tuple(errors))
    if found.passed:
        return found
    cause = _cause(mine, truth, parts, n, allowed, rule, names)
    return Accumulated(rule, sizes, tuple(errors), cause)


def _leaves(tree: Any) -> list[Array]:
    return [np.asarray(leaf, np.float64) for leaf in optree.tree_leaves(tree)]


def _eps(array: Any) -> float:
    return EPSILON.get(np.asarray(array).dtype.name, EPSILON["float64"])


def _weighted(parts: list[list[Array]], weights: Array) -> list[Array]:
    return [np.asarray(sum(w * leaf for w, leaf in zip(weights, leaves, strict=True))) for leaves in zip(*parts, strict=True)]


def _fits(a: list[Array], b: list[Array], allowed: list[float]) -> bool:
    return all(bool((distance(x, y) <= limit).all()) for x, y, limit in zip(a, b, allowed, strict=True))


def _cause(
    ours: list[Array], whole: list[Array], parts: list[list[Array]], n: Array, allowed: list[float], rule: str, names: list[str]
) -> str:
    """What was computed instead."""
    if not rule:
        return (
            "the gradient of the whole batch is neither the mean nor the sum of those of its parts: its samples are not "
            "independent (batch norm, a loss over pairs or over all that is not masked?), so that parts have another gradient"
        )
    for text, weights in _mistakes(n, mean=rule.startswith("the mean")):
        made = _weighted(parts, weights)
        if _fits(made, ours, [limit * max(1.0, float(np.abs(weights).sum())) for limit in allowed]):
            return text
    wrong = [i for i, (a, b, limit) in enumerate(zip(ours, whole, allowed, strict=True)) if not (distance(a, b) <= limit).all()]
    if len(wrong) < len(names):
        return f"only {', '.join(names[i] for i in wrong)}: no known cause; the other parameters are combined rightly"
    fit = fit_scale(np.concatenate([a.ravel() for a in ours]), np.concatenate([b.ravel() for b in whole]))
    if fit is not None and 1 - fit.r2 < ONE_FACTOR:
        return f"the combined gradients are {fit.scale:.6g} times those of the whole batch"
    return "no known cause"


def _mistakes(n: Array, *, mean: bool) -> Iterator[tuple[str, Array]]:
    """Wrong weights of the parts, each with what it is called."""
    k, total, ones = len(n), n.sum(), np.ones(len(n))
    last, first = np.eye(k)[-1], np.eye(k)[0]
    right = n / total if mean else ones
    sizes = _sizes(n.astype(int))
    if mean:
        share = f"each part counts the same (1/{k}), though they have {sizes} samples"
        yield f"mean of means: {share}; weight each by its share of the samples", ones / k
        yield (
            f"sum instead of mean: the parts' gradients are means already, and are added up; weight them by n / {total:g}",
            ones,
        )
        yield "sum weighted by the sizes, without the division by the number of all samples", n
        yield f"divided twice: by the number of samples and by that of the parts, {k}", n / total / k
        yield f"divided by the number of samples, {total:g}, though the parts' gradients are means already", ones / total
        yield f"divided by the largest part, {n.max():g}, instead of by all {total:g} samples", n / n.max()
    else:
        yield f"mean instead of sum: divided by the number of parts, {k}", ones / k
        yield f"divided by the number of samples, {total:g}", ones / total
        yield "weighted by the sizes, though the parts' gradients are sums already", n / total
        yield "weighted by the sizes, though the parts' gradients are sums already", n
    for text, some in (("the last", last), ("the first", first)):
        for scale in (1.0, 1 / k, float((right * some).sum())):
            yield f"only {text} part counts: are gradients overwritten where they must be added?", some * scale
    for text, some in (("last", 1 - last), ("first", 1 - first)):
        for weights in (right, right / float((right * some).sum()), ones / k, ones / (k - 1)):
            yield f"the {text} part does not count", weights * some
    for base, what in ((right, ""), (ones / k, ", and each part counts the same")):
        running = np.arange(k, 0, -1.0)
        yield f"gradients are not set back to zero: the first part counts {k} times, the last once{what}", base * running
        yield f"gradients are not set back to zero: everything counts twice{what}", 2 * base
    yield "the sizes are in reverse order", right[::-1]


def _sizes(sizes: Sequence[int] | Array) -> str:
    texts = [str(int(size)) for size in sizes]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
