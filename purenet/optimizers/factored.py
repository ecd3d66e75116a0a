"""Adafactor: the squares of a matrix's gradients, remembered as one number for each row and each column."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import optree

from purenet.checks import booleans, integer, number
from purenet.masks import Mask
from purenet.op import Array, Tree
from purenet.optimizers import transformation
from purenet.optimizers.adding import decayed_weights
from purenet.optimizers.combining import MaskedNode
from purenet.optimizers.norms import norm_of
from purenet.optimizers.transformation import (
    GradientTransformation,
    init_slots,
    leaves_of,
    not_zero,
    state_of,
    step_count,
    update_each,
    working_dtype,
)
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = ["AdafactorState", "adafactor"]

LEAST_SCALE = 1e-3
"""The least root mean square of parameters that a step is a share of. At 0, parameters of zero would never move."""


class AdafactorState(NamedTuple):
    """The number of updates made; averages of squares by row and column, or for some arrays by entry; the velocity, if any."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    v_row: Tree
    v_col: Tree
    v: Tree
    ema: Tree = None


def adafactor(
    learning_rate: ScalarOrSchedule = 1.0,
    min_dim_size_to_factor: int = 128,
    decay_rate: float = 0.8,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: float | None = 1.0,
    momentum: float | None = None,
    weight_decay_rate: ScalarOrSchedule = 0.0,
    eps: float = 1e-30,
    factored: bool = True,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    """Adafactor: the gradient over the root of its average square, of which an array keeps only row and column means.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule gets t - 1), the weights p and b = 1 - t^-decay_rate:
        R_t = b R_{t-1} + (1 - b) (mean of g_t^2 + eps over columns)     C_t = the same over rows
        d   = g_t / sqrt(R_t C_t / mean R_t)                             an array that is not factored: g_t / sqrt(V_t)
        d   = d / max(1, RMS(d) / clipping_threshold)                    with clipping_threshold=None: d
        s   = a_t max(RMS(p), 1e-3) d                                    without multiply_by_parameter_scale: a_t d
        s   = momentum s_{t-1} + (1 - momentum) s                        with a momentum
        u_t = -(s + weight_decay_rate p)                                 where `weight_decay_mask` is false: -s
    Rows and columns are the two longest axes, if both are at least min_dim_size_to_factor long; otherwise, and without
    `factored`, V_t averages g_t^2 + eps itself.
    State: count, v_row, v_col, v, of which an array uses the first two or the last; ema with a momentum
    Errors: ValueError for a negative or infinite rate, decay_rate or weight decay, a threshold not above 0, momentum outside
        [0, 1), eps so small that float32 has it as 0, a size below 1; without `params`.
    Source: Shazeer and Stern (2018), algorithms 4 and 5; optax.adafactor. Conventions: as optax the decay of weights is not
        scaled by the rate. The paper's rate is max(1e-2, 1/sqrt(t)) at most; torch's Adafactor has that as its default.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adafactor(1.0, 2, multiply_by_parameter_scale=False, clipping_threshold=None)
    >>> w = np.zeros((2, 3))
    >>> updates, state = opt.update(np.array([[1.0, 2.0, 2.0], [2.0, 4.0, 4.0]]), opt.init(w), w)
    >>> updates.round(6), state.v_row, state.v_col
    (array([[-1., -1., -1.],
           [-1., -1., -1.]]), array([ 3., 12.]), array([ 2.5, 10. , 10. ]))
    """
    who = "adafactor"
    rate_at, least = as_schedule(who, learning_rate), integer(who, "min_dim_size_to_factor", min_dim_size_to_factor, 1)
    power, eps = number(who, "decay_rate", decay_rate, 0), number(who, "eps", eps, 0)
    not_zero(who, eps=eps)
    limit = None if clipping_threshold is None else number(who, "clipping_threshold", clipping_threshold, above=0)
    keep = None if momentum is None else transformation.decay_rate(who, "momentum", momentum)
    booleans(who, multiply_by_parameter_scale=multiply_by_parameter_scale, factored=factored)
    decayed = decayed_weights(who, weight_decay_rate, weight_decay_mask, "weight_decay_rate")

    def axes_of(array: Array) -> tuple[int, int] | None:
        """The second longest axis and the longest; among axes of one length the later counts as longer, as in optax."""
        order = np.argsort(array.shape, kind="stable")
        if not factored or array.ndim < 2 or array.shape[order[-2]] < least:
            return None
        return int(order[-2]), int(order[-1])

    def init(params: Tree) -> AdafactorState:
        arrays, structure = leaves_of(who, "params", params)
        slots: list[list[Any]] = [[], [], []]
        for p in arrays:
            shapes: tuple[tuple[int, ...] | None, ...] = (None, None, p.shape)
            if axes := axes_of(p):
                shapes = (_without(p.shape, axes[1]), _without(p.shape, axes[0]), None)
            for slot, shape in zip(slots, shapes, strict=True):
                slot.append(MaskedNode() if shape is None else np.zeros(shape, working_dtype(p.dtype)))
        v_row, v_col, v = map(structure.unflatten, slots)
        return AdafactorState(step_count(), v_row, v_col, v, None if keep is None else init_slots(who, params))

    def update(grads: Tree, state: AdafactorState, params: Tree = None) -> tuple[Tree, AdafactorState]:
        t = int(state_of(who, AdafactorState, state).count) + 1
        if params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        rate, forget = rate_at(t - 1), float(t) ** -power
        _, structure = leaves_of(who, "grads", grads)
        averages = zip(*(_parts(who, name, getattr(state, name), structure) for name in ("v_row", "v_col", "v")), strict=True)
        new: list[list[Any]] = [[], [], []]

        def rule(g: Array, p: Array, *others: Array) -> tuple[Array, ...]:
            decay, old = others[: len(others) - (keep is not None)], others[len(others) - (keep is not None) :]
            root, *slots = _root(np.square(g) + eps, next(averages), axes_of(g), forget)
            for column, slot in zip(new, slots, strict=True):
                column.append(slot)
            step = g / root
            if limit is not None:
                step = step / max(1.0, _rms(step) / limit)
            step = rate * (max(_rms(p), LEAST_SCALE) if multiply_by_parameter_scale else 1.0) * step
            if keep is not None:
                step = keep * old[0] + (1 - keep) * step
            return -sum(decay, step), *([step] if keep is not None else ())

        read, ema = (params, *decayed(params, t - 1)), {} if keep is None else {"ema": state.ema}
        updates, *velocity = update_each(who, rule, grads, params, read, entrywise=False, **ema)
        v_row, v_col, v = map(structure.unflatten, new)
        return updates, AdafactorState(step_count(t), v_row, v_col, v, *velocity)

    return GradientTransformation(init, update)


def _parts(who: str, name: str, slot: Tree, structure: optree.PyTreeSpec) -> list[Any]:
    """The entries of a slot, one for each array of parameters: an array, or a MaskedNode."""
    try:
        return structure.flatten_up_to(slot)
    except ValueError as error:
        raise ValueError(f"{who}: state.{name} does not match grads: {error}") from None


def _root(square: Array, old: tuple[Any, ...], axes: tuple[int, int] | None, forget: float) -> tuple[Any, ...]:
    """The root of the average square, and the new averages: by row, by column, by entry."""
    v_row, v_col, v = old
    if axes is None:
        average = (1 - forget) * v.reshape(square.shape) + forget * square
        return np.sqrt(average), v_row, v_col, average.reshape(v.shape)
    column, row = axes
    v_row = (1 - forget) * v_row + forget * square.mean(axis=row)
    v_col = (1 - forget) * v_col + forget * square.mean(axis=column)
    share = v_row / v_row.mean(axis=column - (column > row), keepdims=True)
    return np.sqrt(np.expand_dims(share, row)) * np.sqrt(np.expand_dims(v_col, column)), v_row, v_col, v


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _rms(array: Array) -> float:
    return norm_of(array) / math.sqrt(max(array.size, 1))
