"""The loss of a sequence of labels whose places in time are unknown: reference, cases, strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import EMPTY, MASKED, NOTHING, ONE, REPEATED, SATURATED
from oracle.spec import Case, Draw, Error, Spec, library
from purenet.losses import ctc_loss


def ctc_by_optax(
    log_probs: Any,
    *,
    targets: Any,
    input_lengths: Any = None,
    target_lengths: Any = None,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """Optax normalizes its logits: the logarithms of the sums by which it divides are taken off again."""
    x = log_probs if log_probs.ndim == 3 else log_probs[:, None]
    if not x.shape[1]:
        return x.sum() if reduction != "none" else x.sum(axis=(0, 2))
    steps = np.full(x.shape[1], len(x)) if input_lengths is None else np.ravel(input_lengths)
    rows = np.asarray(targets)
    if rows.ndim == 1 and log_probs.ndim == 3:
        parts = np.split(rows, np.cumsum(target_lengths)[:-1])
        rows = np.array([[*part, *[0] * (max(target_lengths) - len(part))] for part in parts])
    rows = rows.reshape(x.shape[1], -1)
    lengths = np.full(len(rows), rows.shape[1]) if target_lengths is None else np.ravel(target_lengths)
    late = np.arange(len(x)) >= steps[:, None]
    logits = jnp.where(late[..., None], 0, jnp.swapaxes(x, 0, 1))
    beyond = np.arange(rows.shape[1]) >= lengths[:, None]
    paddings = (jnp.asarray(late, x.dtype), jnp.asarray(beyond, x.dtype))
    losses = optax.ctc_loss(logits, paddings[0], jnp.asarray(rows), paddings[1], blank_id=blank)
    impossible = losses > 5e4  # optax has -1e5 for the logarithm of 0
    losses -= jnp.where(late, 0, jax.nn.logsumexp(logits, axis=-1)).sum(axis=1)
    losses = jnp.where(impossible, 0.0 if zero_infinity else jnp.inf, losses).astype(x.dtype)
    if reduction == "mean":
        return jnp.mean(losses / jnp.asarray(np.maximum(lengths, 1), x.dtype))
    return losses.sum() if reduction == "sum" or log_probs.ndim == 2 else losses


def logarithms(*shape: int, scale: float = 1.0) -> Callable[[Draw], tuple[Any, ...]]:
    """Draws logarithms of probabilities."""

    def arguments(draw: Draw) -> tuple[Any, ...]:
        x = draw.normal(*shape, scale=scale)
        return (np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True))),)

    return arguments


def unlikely(draw: Draw) -> tuple[Any, ...]:
    """Probabilities far below the smallest number of any dtype; those of two classes are equal."""
    (x,) = logarithms(6, 2, 3)(draw)
    x[1:4] = np.array([0.0, -3e3, -3e3])
    return (x,)


def sequences(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    batch, classes, longest = draw.between(1, 3), draw.between(2, 4), draw.between(1, 3)
    time = 2 * longest + draw.between(0, 2)
    blank = draw.choice([0, classes - 1])
    targets = np.arange(classes)[np.arange(classes) != blank][draw.labels(classes - 1, batch, longest)]
    options: dict[str, Any] = {"targets": targets, "blank": blank, "reduction": draw.choice(["mean", "sum", "none"])}
    lengths = draw.generator.integers(1, longest + 1, size=batch)
    if draw.choice([False, True]):
        options["input_lengths"] = draw.generator.integers(2 * longest, time + 1, size=batch)
    if draw.choice([False, True]):
        options["target_lengths"] = lengths
        if draw.choice([False, True]):
            options["targets"] = targets[np.arange(longest) < lengths[:, None]]
    if draw.choice([False, True]):
        options["zero_infinity"] = True
    return logarithms(time, batch, classes)(draw), options


TWO = np.array([[1, 2], [2, 1]])


def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, logarithms(4, 2, 3), by, f"ctc_loss: {match}", {"targets": TWO, **options})


SPECS = (
    Spec(
        ctc_loss,
        tier=2,
        reference=ctc_by_optax,
        source=library("optax.ctc_loss, without its normalization"),
        cases=(
            Case("two sequences", logarithms(5, 2, 4), {"targets": np.array([[1, 3], [2, 1]])}),
            Case("repeated labels", logarithms(6, 2, 3), {"targets": np.array([[1, 1, 2], [2, 2, 2]])}, REPEATED),
            Case(
                "lengths that differ",
                logarithms(6, 3, 3),
                {
                    "targets": np.array([[1, 2, 1], [2, 9, 9], [1, 1, -1]]),
                    "input_lengths": np.array([6, 2, 3]),
                    "target_lengths": np.array([3, 1, 2]),
                },
                MASKED,
            ),
            Case(
                "one after the other, no reduction",
                logarithms(5, 3, 4),
                {
                    "targets": np.array([0, 2, 1, 1]),
                    "target_lengths": np.array([2, 0, 2]),
                    "blank": 3,
                    "reduction": "none",
                },
            ),
            Case("sum, last class blank", logarithms(4, 2, 3), {"targets": 1 - TWO % 2, "blank": 2, "reduction": "sum"}),
            Case("one sequence", logarithms(4, 1, 3), {"targets": np.array([[2, 1]])}, ONE),
            Case("no batch", logarithms(4, 3), {"targets": np.array([2, 1]), "target_lengths": 1, "input_lengths": 3}),
            Case("one path", logarithms(3, 1, 4), {"targets": np.array([[2, 1, 3]])}, ONE),
            Case("not normalized", lambda draw: (draw.normal(5, 2, 3, scale=2.0),), {"targets": TWO}),
            Case("unlikely", unlikely, {"targets": TWO, "reduction": "none"}, SATURATED),
            Case(
                "a target too long", logarithms(3, 2, 3), {"targets": np.array([[1, 1, 2], [1, 2, 1]]), "zero_infinity": True}
            ),
            Case("all too long", logarithms(1, 2, 3), {"targets": TWO, "zero_infinity": True}, NOTHING),
            Case("no sequences", logarithms(4, 0, 3), {"targets": np.zeros((0, 2), int)}, EMPTY),
        ),
        strategy=sequences,
        errors=(
            bad("targets of floats", "targets must be integers, got float64", TypeError, targets=TWO + 0.5),
            bad("a label too large", "targets must be in 0..2, got 3", targets=TWO + 1),
            bad("a blank", "targets must not hold the blank, got 1", blank=1),
            bad("a blank that is no class", "blank must be in 0..2, got 3", blank=3),
            bad("other rows", "targets must have shape (2, S), or (sum of target_lengths,) with these to", targets=TWO[:1]),
            bad(
                "another sum", "targets must have shape (3,), the sum", targets=np.ones(4, int), target_lengths=np.array([1, 2])
            ),
            bad("longer than the time", "input_lengths must be in 0..4, got 5", input_lengths=np.array([4, 5])),
            bad("longer than the targets", "target_lengths must be in 0..2, got 3", target_lengths=np.array([3, 1])),
            bad("one length", "input_lengths must have shape (2,), one for each sequence, got ()", input_lengths=4),
            bad("lengths of floats", "input_lengths must be integers", TypeError, input_lengths=np.ones(2)),
            bad("unknown reduction", "reduction must be one of 'mean', 'sum', 'none', got 'avg'", reduction="avg"),
            bad("zero_infinity by name", "zero_infinity must be True or False", TypeError, zero_infinity="yes"),
            Error(
                "a vector", lambda draw: (draw.normal(3),), ValueError, "ctc_loss: log_probs must have shape", {"targets": TWO}
            ),
        ),
    ),
)
