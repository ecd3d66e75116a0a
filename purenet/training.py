"""Training as a loop of one pure function, from a state and a batch to the next state and metrics.

    goal = pn.models.lenet.goal()
    state = training.start(optimizer, {"net": pn.models.lenet.init(init_key)}, key)
    step = training.make_step(goal, optimizer)
    for indices in training.shuffled(key, len(labels), 100):
        state, metrics = step(state, {"x": x[indices], "loss": {"labels": labels[indices]}})

    evaluate = training.make_evaluation(goal)
    evaluate(state, [{"x": x_test, "loss": {"labels": test_labels}}])     # {"loss": 0.04, "accuracy": 0.988}

A batch holds the keywords of the goal: its data, which are constants, and what its stages need, such as the labels. The rest a
step finds by walking through the stages of the goal. A stage that takes a `key`, such as dropout, gets one of its own in every
step; what each batch_norm saw goes into running statistics, which the evaluation hands to it.
"""

from __future__ import annotations

import inspect
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import optree

from purenet import random
from purenet.data import batches as batches_of_an_epoch
from purenet.losses.cross_entropy import AtLabels
from purenet.normalization import Statistics, update_running_statistics
from purenet.op import Array, Op, Residuals, Tree
from purenet.optimizers.combining import moved_by
from purenet.optimizers.transformation import GradientTransformation
from purenet.stages import Staged, Wrapped

__all__ = [
    "MEASURES",
    "Batch",
    "Measure",
    "Metrics",
    "NotFinite",
    "State",
    "answer_accuracy",
    "label_accuracy",
    "leaf_stages",
    "make_evaluation",
    "make_step",
    "shuffled",
    "start",
]

Path: TypeAlias = tuple[str, ...]
"""The names of the stages that lead to one: ("net", "dropout1")."""

Batch: TypeAlias = Mapping[str, Any]
"""The keywords of the goal for one step: {"x": x, "loss": {"labels": labels}}."""

Metrics: TypeAlias = dict[str, float]

Measure: TypeAlias = Callable[[Residuals], float | None]
"""A metric, computed from the residuals of the goal; None if there is nothing to measure."""


class State(NamedTuple):
    """Everything that a run needs to continue: the same state and the same batches give the same bits."""

    params: Tree
    optimizer: Any
    """The state of the optimizer."""
    statistics: dict[str, Statistics]
    """Running statistics of each batch_norm by its path, such as "net/batch_norm1"; none before the first batch."""
    key: Array
    """Of the run; the keys of a step are folded from it, and it stays."""
    step: Array
    """The number of steps made."""
    carry: Tree = None
    """The carry that a recurrent goal passes from one batch to the next."""


class NotFinite(ArithmeticError):
    """The loss of a step is not finite, so there is no next state."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step = step


def start(optimizer: GradientTransformation, params: Tree, key: Array, carry: Tree = None) -> State:
    """The state before the first step."""
    random.check_key("start", key)
    return State(params, optimizer.init(params), {}, key, np.asarray(0, np.int64), carry)


# --------------------------------------------------------------------------------------------------- what a goal is made of


def leaf_stages(op: Op, path: Path = ()) -> Iterator[tuple[Path, Op]]:
    """The stages of an Op that are made of no others, each with its path, in order.

    >>> import purenet as pn
    >>> net = pn.chain(affine=pn.affine, block=pn.residual(pn.chain(norm=pn.layer_norm, dropout=pn.dropout)))
    >>> ["/".join(path) for path, op in pn.training.leaf_stages(net)]
    ['affine', 'block/norm', 'block/dropout']
    """
    if isinstance(op, Wrapped):  # its keywords and residuals are those of the Op inside
        yield from leaf_stages(op.op, path)
    elif isinstance(op, Staged):
        for name, stage in op.stages.items():
            yield from leaf_stages(stage, (*path, name))
    else:
        yield path, op


def stage_key(key: Array, step: int, path: Path) -> Array:
    """The key of one stage in one step."""
    # A checksum of the path, not its number: a stage keeps its key where others are added.
    return random.fold_in(random.fold_in(random.fold_in(key, 1), step), zlib.crc32("/".join(path).encode()))


def _taking(goal: Op, keyword: str) -> list[tuple[Path, Op]]:
    """The stages that take this keyword and do not have it bound, with their paths."""
    return [(path, op) for path, op in leaf_stages(goal) if keyword in op.keywords and keyword not in op.bound]


def _normalized(goal: Op) -> list[Path]:
    """The paths of the stages that have running statistics."""
    return [path for path, op in _taking(goal, "statistics") if op.name == "batch_norm"]


def _rate(op: Op) -> Any:
    """The probability with which a stage drops. If it is 0, a key would only cost time."""
    parameter = inspect.signature(op).parameters.get("rate")
    return op.bound.get("rate", parameter.default if parameter else None)


def _with(options: Batch, path: Path, keyword: str, value: Any) -> Batch:
    """The options with one more for the stage at this path; one that is there already stays."""
    if not path:
        return {keyword: value, **options}
    first, *rest = path
    return {**options, first: _with(options.get(first, {}), tuple(rest), keyword, value)}


def _residuals_at(residuals: Residuals, path: Path) -> Residuals:
    for name in path:
        residuals = residuals[name]
    while isinstance(residuals.saved, Residuals):  # those of an Op around the stage, such as a residual connection
        residuals = residuals.saved
    return residuals


# ----------------------------------------------------------------------------------------------------------- one step


def label_accuracy(residuals: Residuals) -> float | None:
    """The part of the labels that got the highest score, where the stage `loss` is a cross entropy at integer labels."""
    if (found := _right(residuals)) is None:
        return None
    right, counted = found
    if counted is not True:
        right = right[counted]
    return float(np.count_nonzero(right) / right.size) if right.size else None


def answer_accuracy(residuals: Residuals) -> float | None:
    """The share of the sequences in which every label that counts got the highest score.

    A decoder that reads its own words gives as many right answers: before its first mistake, they are the words of the answer.
    """
    if (found := _right(residuals)) is None:
        return None
    right, counted = found
    return float((right | np.logical_not(counted)).all(axis=-1).mean()) if right.size else None


def _right(residuals: Residuals) -> tuple[Array, Any] | None:
    """Masks of the labels that got the highest score, and of the labels that count: True if all do."""
    try:
        saved = _residuals_at(residuals, ("loss",)).saved
    except (LookupError, TypeError):  # the goal has no such stage
        return None
    if not isinstance(saved, AtLabels):
        return None
    right = saved.probabilities.argmax(axis=-1) == saved.labels
    return right, True if saved.by.factor is None else np.broadcast_to(saved.by.factor != 0, right.shape)


MEASURES: Mapping[str, Measure] = {"accuracy": label_accuracy}


def _measured(measures: Mapping[str, Measure], loss: Any, residuals: Residuals) -> Metrics:
    found: Metrics = {"loss": float(loss)}
    for name, measure in measures.items():
        if (value := measure(residuals)) is not None:
            found[name] = value
    return found


def make_step(
    goal: Op, optimizer: GradientTransformation, *, measures: Mapping[str, Measure] = MEASURES, momentum: float = 0.9
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """The function of a state and a batch that makes one step downhill: the next state, and the metrics of this batch.

    `momentum` is the weight of the past in the running statistics; `measures` are what to read off beside the loss. Where the
    loss is not finite it raises NotFinite, and the state that the caller holds is still the last good one.

    >>> import numpy as np, purenet as pn
    >>> optimizer = pn.optimizers.sgd(0.5)
    >>> step = pn.training.make_step(pn.chain(net=pn.affine, loss=pn.sum), optimizer)
    >>> state = pn.training.start(optimizer, {"net": {"w": np.array([[3.0]])}}, pn.random.key(0))
    >>> state, metrics = step(state, {"x": np.array([[2.0]])})
    >>> metrics, state.params["net"]["w"], int(state.step)  # d(2 w)/dw = 2
    ({'loss': 6.0}, array([[2.]]), 1)
    """
    moved = moved_by("make_step", "optimizer", optimizer)
    random_stages = [path for path, op in _taking(goal, "key") if _rate(op) != 0]
    normalized = _normalized(goal)

    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        number = int(state.step)
        options = batch
        for path in random_stages:
            options = _with(options, path, "key", stage_key(state.key, number, path))
        with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges the loss tells, here below
            loss, carry, residuals = _forward(goal, state, options)
            if not math.isfinite(loss):
                raise NotFinite(number + 1, f"the loss is {loss}")
            # Truncated backpropagation through time: no gradient comes from the next batch through the carry.
            dy = 1.0 if carry is None else (1.0, optree.tree_map(np.zeros_like, carry))
            (grads,) = goal.bwd(residuals, dy)
            params, optimizer_state = moved(grads, state.optimizer, state.params, value=loss)
        statistics = dict(state.statistics)
        for path in normalized:
            of_batch = _residuals_at(residuals, path)
            name = "/".join(path)
            so_far = statistics.get(name) or Statistics(np.zeros_like(of_batch.mean), np.ones_like(of_batch.var))
            statistics[name] = update_running_statistics(so_far, of_batch, momentum=momentum)
        new = State(params, optimizer_state, statistics, state.key, np.asarray(number + 1, np.int64), carry)
        return new, _measured(measures, loss, residuals)

    return step


def _forward(goal: Op, state: State, options: Batch) -> tuple[Any, Tree, Residuals]:
    """The loss, the carry for the next batch, and the residuals. A recurrent goal takes its carry as x, and gives a pair."""
    if state.carry is None:
        loss, residuals = goal.fwd(state.params, **options)
        return loss, None, residuals
    (loss, carry), residuals = goal.fwd(state.params, x=state.carry, **options)
    return loss, carry, residuals


def make_evaluation(
    goal: Op, *, measures: Mapping[str, Measure] = MEASURES
) -> Callable[[State, Iterable[tuple[int, Batch]]], Metrics]:
    """The function of a state and batches, each with its size, that measures without training.

    Stages that take a key get none, and each batch_norm its running statistics. What it gives is the mean over all samples.

    >>> import numpy as np, purenet as pn
    >>> goal = pn.chain(net=pn.dropout, loss=pn.mean)
    >>> state = pn.training.start(pn.optimizers.sgd(0.1), {}, pn.random.key(0))
    >>> batches = [(3, {"x": np.array([1.0, 2.0, 3.0])}), (1, {"x": np.array([6.0])})]
    >>> pn.training.make_evaluation(goal)(state, batches)
    {'loss': 3.0}
    """
    normalized = _normalized(goal)

    def evaluate(state: State, batches: Iterable[tuple[int, Batch]]) -> Metrics:
        totals: Metrics = {}
        counted = 0
        for size, batch in batches:
            options = batch
            for path in normalized:
                if statistics := state.statistics.get("/".join(path)):
                    options = _with(options, path, "statistics", statistics)
            with np.errstate(over="ignore", invalid="ignore"):
                loss, carry, residuals = _forward(goal, state, options)
            state = state._replace(carry=carry)
            for name, value in _measured(measures, loss, residuals).items():
                totals[name] = totals.get(name, 0.0) + size * value
            counted += size
        return {name: total / counted for name, total in totals.items()}

    return evaluate


# ----------------------------------------------------------------------------------------------------------- batches


def shuffled(key: Array, n: int, size: int, *, start: int = 0) -> Iterator[Array]:
    """The indices of one batch after another, without end, from step `start` on.

    Every epoch has its own order, which depends on the key and the number of the epoch alone, so that a run that is resumed
    sees the batches that it would have seen. What does not fill a batch is left out of that epoch.

    >>> from itertools import islice
    >>> import purenet as pn
    >>> batches = [b.tolist() for b in islice(pn.training.shuffled(pn.random.key(0), 7, 3), 5)]
    >>> resumed = [b.tolist() for b in islice(pn.training.shuffled(pn.random.key(0), 7, 3, start=2), 3)]
    >>> resumed == batches[2:]
    True
    """
    if not 0 < size <= n:
        raise ValueError(f"shuffled: size must be in 1..{n}, the number of samples, got {size}")
    order_key = random.fold_in(key, 0)
    epoch, place = divmod(start, n // size)
    epochs = (batches_of_an_epoch(random.fold_in(order_key, e), n, size) for e in count(epoch))
    return islice((batch for batches in epochs for batch in batches), place, None)
