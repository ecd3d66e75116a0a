"""The loss of a sequence of labels whose places in time are unknown."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.checks import array_of, boolean, choice, indices, integer
from purenet.losses.reductions import REDUCTIONS, Reduction
from purenet.op import Array, Op

__all__ = ["ctc_loss"]


class Paths(NamedTuple):
    """Residuals: all paths through the states of each target, which are blank, first label, blank, second label, ..., blank."""

    states: Array
    """The label of each state, (N, L)."""
    skip: Array
    """Whether a path may step over the blank before a state, (N, L)."""
    alpha: Array
    """The logarithm of the probability of all paths to a state, before the first time and after each, (T + 1, N, L)."""
    last: Array
    """Those of the paths that stand for the target, by their last state, (N, L)."""
    log_likelihood: Array
    lengths: Array
    shape: tuple[int, ...]
    zeroed: bool
    by: Reduction


@Op
def ctc_loss(
    log_probs: Array,
    *,
    targets: Any,
    input_lengths: Any = None,
    target_lengths: Any = None,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> tuple[Array, Paths]:
    """The connectionist temporal classification loss: minus the log-likelihood of the targets, wherever in time they stand.

    A path has a class at each time; it stands for the labels that are left when repetitions and then blanks are removed.
    `input_lengths` says how many times count, all unless given, `target_lengths` how many labels. Where no path gives the
    targets the loss is infinite and its gradient NaN, or both are 0 with `zero_infinity`.

    Shapes: log_probs (T, N, C), targets (N, S), or (sum of the lengths,) with target_lengths, both lengths (N,) -> y (), or
        (N,) without reduction; or log_probs (T, C), targets (S,), lengths () -> y ()
    Math, with the states z = (blank, label, blank, ..., blank), the states l, l - 1 and, between labels that differ, l - 2
      before the state l, and x_t(z) = log_probs:
        l           = -log sum of exp(alpha_T) over the last two states
        alpha_t(l)  = x_t(z_l) + log sum over the states k before l of exp(alpha_(t-1)(k))
        gamma_t(k)  = sum over the states l after k of gamma_(t+1)(l) exp(alpha_t(k) + x_(t+1)(z_l) - alpha_(t+1)(l)), the
                      probability that a path for the targets is in k at time t
        dx_t(c)     = -dl sum over the states with z_k = c of gamma_t(k)
        dl          = dy / (N max(S, 1)), with S the labels of that target;  reduction "sum": dy,  "none": dy of that target
    Errors: TypeError unless targets and lengths are integers; ValueError for a label outside 0..C-1 or that is `blank`, lengths
        outside 0..T and 0..S, wrong shapes, or another reduction.
    Source: Graves et al. (2006). Conventions: torch's, except that the gradient is the derivative by log_probs. torch's is
        exp(log_probs) larger, which is the same after log_softmax. optax takes logits, batch first, and does not reduce.

    >>> import numpy as np, purenet as pn
    >>> log_probs = np.log([[[0.5, 0.25, 0.25]], [[0.25, 0.5, 0.25]]])
    >>> y = pn.ctc_loss(log_probs, targets=np.array([[1]]))  # the paths are 01, 10 and 11
    >>> np.exp(-y).round(12), 0.5 * 0.5 + 0.25 * 0.25 + 0.25 * 0.5
    (np.float64(0.4375), 0.4375)
    """
    op = "ctc_loss"
    choice(op, "reduction", reduction, REDUCTIONS)
    boolean(op, "zero_infinity", zero_infinity)
    if log_probs.ndim not in (2, 3) or not log_probs.shape[-1]:
        raise ValueError(f"{op}: log_probs must have shape (T, N, C) or (T, C), C at least 1, got {log_probs.shape}")
    x = log_probs if log_probs.ndim == 3 else log_probs[:, None]
    padded, labels = _targets(op, targets, target_lengths, blank, log_probs)
    steps = _lengths(op, "input_lengths", input_lengths, log_probs.shape[1:-1], len(x))

    states = np.full((len(padded), 2 * padded.shape[1] + 1), blank)
    states[:, 1::2] = padded
    skip = np.zeros(states.shape, np.bool_)
    skip[:, 3::2] = padded[:, 1:] != padded[:, :-1]
    ahead = 2 * labels[:, None] - np.arange(states.shape[1])
    counts = np.arange(len(x))[:, None] < steps
    scores = np.where(counts[..., None], np.take_along_axis(x, states[None], axis=2), 0)  # later ones may hold anything

    alpha = np.full((len(x) + 1, *states.shape), -np.inf, x.dtype)
    alpha[0, :, 0] = 0
    for t in range(len(x)):
        alpha[t + 1] = scores[t] + np.logaddexp.reduce(_before(alpha[t], skip))
    last = np.where((ahead == 0) | (ahead == 1), alpha[steps, np.arange(len(states))], -np.inf)
    log_likelihood = np.logaddexp.reduce(last, axis=1)

    losses = -log_likelihood
    if zero_infinity:
        losses = np.where(losses == np.inf, 0, losses)
    shares = 1 / np.maximum(labels, 1).astype(x.dtype) if reduction == "mean" else None
    by = Reduction("none" if log_probs.ndim == 2 and reduction != "mean" else reduction, shares, len(states))
    y = by.value(losses)
    saved = Paths(states, skip, alpha, last, log_likelihood, steps, log_probs.shape, zero_infinity, by)
    return y.reshape(()) if log_probs.ndim == 2 else y, saved


@ctc_loss.pullback
def ctc_loss_bwd(paths: Paths, dy: Array) -> tuple[Array]:
    states, skip, alpha, last, log_likelihood, lengths, shape, zeroed, by = paths
    dl = by.cotangent(dy, (1,))
    with np.errstate(invalid="ignore"):
        at_end = np.exp(last - log_likelihood[:, None])  # NaN where there is no path
    if zeroed:
        at_end = np.where(log_likelihood[:, None] > -np.inf, at_end, 0)
    dx = np.zeros(shape, dy.dtype)
    at_time = dx if dx.ndim == 3 else dx[:, None]
    gamma = np.zeros(states.shape, dy.dtype)
    for t in reversed(range(len(dx))):
        gamma = np.where(lengths[:, None] == t + 1, at_end, gamma)
        np.add.at(at_time[t], (np.arange(len(states))[:, None], states), -dl * gamma)
        before = _before(alpha[t], skip)
        total = np.logaddexp.reduce(before)
        stay, step, over = gamma * np.exp(before - np.nan_to_num(total))  # 0 if no path comes here
        gamma = stay
        gamma[:, :-1] += step[:, 1:]
        gamma[:, :-2] += over[:, 2:]
    return (dx,)


def _before(alpha: Array, skip: Array) -> Array:
    """`alpha` of the three states before each: itself, the one before and, where it is allowed, the one before that."""
    before = np.full((3, *alpha.shape), -np.inf, alpha.dtype)
    before[0] = alpha
    before[1, :, 1:] = alpha[:, :-1]
    before[2, :, 2:] = alpha[:, :-2]
    before[2] = np.where(skip, before[2], -np.inf)
    return before


def _targets(op: str, targets: Any, target_lengths: Any, blank: Any, log_probs: Array) -> tuple[Array, Array]:
    """The targets (N, S), blank from their lengths on, and the lengths (N,)."""
    classes, batch = log_probs.shape[-1], log_probs.shape[1:-1]
    if not 0 <= integer(op, "blank", blank) < classes:
        raise ValueError(f"{op}: blank must be in 0..{classes - 1}, got {blank}")
    given = array_of(op, "targets", targets)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{op}: targets must be integers, got {given.dtype}")
    if batch and given.ndim == 1 and target_lengths is not None:  # one after the other
        lengths = _lengths(op, "target_lengths", target_lengths, batch, len(given))
        if lengths.sum() != len(given):
            raise ValueError(f"{op}: targets must have shape ({lengths.sum()},), the sum of target_lengths, got {given.shape}")
        within = np.arange(lengths.max(initial=0)) < lengths[:, None]
        padded = np.full(within.shape, blank)
        padded[within] = given
    else:
        if given.ndim != len(batch) + 1 or given.shape[:-1] != batch:
            wanted = f"({batch[0]}, S), or (sum of target_lengths,) with these" if batch else "(S,)"
            raise ValueError(f"{op}: targets must have shape {wanted} to match log_probs {log_probs.shape}, got {given.shape}")
        lengths = _lengths(op, "target_lengths", target_lengths, batch, given.shape[-1])
        within = np.arange(given.shape[-1]) < lengths[:, None]
        padded = np.where(within, given.reshape(within.shape), blank)
    indices(op, "targets", padded, classes)
    if (padded[within] == blank).any():
        raise ValueError(f"{op}: targets must not hold the blank, got {blank}")
    return padded.astype(np.intp), lengths


def _lengths(op: str, name: str, value: Any, batch: tuple[int, ...], most: int) -> Array:
    """`value` as lengths (N,) of at most `most`, which all are if None is given."""
    given = np.full(batch, most) if value is None else array_of(op, name, value)
    if given.shape != batch:
        raise ValueError(f"{op}: {name} must have shape {batch}, one for each sequence, got {given.shape}")
    return indices(op, name, given, most + 1).reshape(-1)
