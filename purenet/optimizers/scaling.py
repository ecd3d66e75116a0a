"""Transformations that multiply gradients by a number (fixed, or from a schedule or the loss), centre them or replace NaN."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.checks import axes, boolean, integer, number
from purenet.op import Array, Tree
from purenet.optimizers.transformation import (
    GradientTransformation,
    by_rule,
    leaves_of,
    state_of,
    stateless,
    step_count,
    update_each,
)
from purenet.schedules import ScalarOrSchedule, Schedule

__all__ = [
    "ReduceLROnPlateauState",
    "ScaleByScheduleState",
    "ZeroNansState",
    "centralize",
    "reduce_on_plateau",
    "scale",
    "scale_by_learning_rate",
    "scale_by_schedule",
    "zero_nans",
]


class ScaleByScheduleState(NamedTuple):
    """The number of updates made."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple


class ZeroNansState(NamedTuple):
    """Whether the last gradient of each array contained NaN."""

    found_nan: Tree


class ReduceLROnPlateauState(NamedTuple):
    """The factor, the best value, the number of values without improvement, the rest of a pause, the values to be averaged."""

    scale: Array
    best_value: Array
    plateau_count: Array
    cooldown_count: Array
    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    avg_value: Array


def scale(step_size: float) -> GradientTransformation:
    """The gradients times a number, which may be negative.

    Math:
        u = step_size * g
    State: nothing
    Errors: TypeError unless step_size is a number, ValueError unless it is finite.
    Source: optax.scale.

    >>> import numpy as np, purenet as pn
    >>> downhill = pn.optimizers.scale(-0.5)
    >>> downhill.update(np.array([4.0]), downhill.init(np.zeros(1)))[0]
    array([-2.])
    """
    factor = number("scale", "step_size", step_size)
    return stateless("scale", lambda grads: lambda g: (factor * g,))


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """The gradients times the value of a schedule.

    Math, for the t-th update, t = 0, 1, ...:
        u_t = step_size_fn(t) * g_t
    State: count
    Errors: TypeError unless step_size_fn is a function that gives numbers, ValueError where these are not finite.
    Source: optax.scale_by_schedule. Conventions: the sign is that of the schedule; `scale_by_learning_rate` turns it.

    >>> import numpy as np, purenet as pn
    >>> halved = pn.optimizers.scale_by_schedule(lambda count: 0.5**count)
    >>> updates, state = halved.update(np.array([4.0]), halved.init(np.zeros(1)))
    >>> updates, halved.update(np.array([4.0]), state)[0]
    (array([4.]), array([2.]))
    """
    if not callable(step_size_fn):
        raise TypeError(f"scale_by_schedule: step_size_fn must be a function of the count, got {type(step_size_fn).__name__}")
    return by_rule(
        "scale_by_schedule",
        ScaleByScheduleState,
        step_size_fn,
        lambda t, factor: lambda g: (factor * g,),
        name="step_size_fn",
        low=-np.inf,
    )


def scale_by_learning_rate(learning_rate: ScalarOrSchedule, *, flip_sign: bool = True) -> GradientTransformation:
    """The last link of a chain of transformations: a step against the transformed gradients.

    Math, with the rate a_t of the t-th update, t = 0, 1, ...:
        u_t = -a_t g_t                                     without flip_sign: a_t g_t
    State: nothing; under a schedule, count
    Errors: ValueError for a negative or infinite rate.
    Source: optax.scale_by_learning_rate.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.chain(pn.optimizers.clip(1.0), pn.optimizers.scale_by_learning_rate(0.5))
    >>> opt.update(np.array([4.0, 0.5]), opt.init(np.zeros(2)))[0]
    array([-0.5 , -0.25])
    """
    who = "scale_by_learning_rate"
    sign = -1 if boolean(who, "flip_sign", flip_sign) else 1
    if callable(learning_rate):
        return by_rule(who, ScaleByScheduleState, learning_rate, lambda t, rate: lambda g: (sign * rate * g,))
    factor = sign * number(who, "learning_rate", learning_rate, 0)
    return stateless(who, lambda grads: lambda g: (factor * g,))


def centralize(axis: int = 0) -> GradientTransformation:
    """From each gradient of two or more axes its mean is subtracted, one for each entry along `axis`.

    Math:
        u = g - mean of g over all other axes than `axis`;  a vector stays as it is
    State: nothing
    Errors: TypeError unless axis is an integer, ValueError where an array of two axes or more lacks it.
    Source: Yong et al. (2020); optax.centralize, whose axis is the first. Conventions: in the paper `axis` is that of the
        outputs: the first of a convolution's weights, the last of affine's.

    >>> import numpy as np, purenet as pn
    >>> centre = pn.optimizers.centralize()
    >>> centre.update(np.array([[1.0, 3.0], [5.0, 5.0]]), centre.init(np.zeros((2, 2))))[0]
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    axis = integer("centralize", "axis", axis)

    def rule(g: Array) -> tuple[Array]:
        if g.ndim < 2:
            return (g.copy(),)
        (kept,) = axes("centralize", int(axis), g)
        others = tuple(a for a in range(g.ndim) if a != kept)
        return (g - g.mean(axis=others, keepdims=True) if g.size else g.copy(),)

    return stateless("centralize", lambda grads: rule, entrywise=False)


def zero_nans() -> GradientTransformation:
    """Zeros in place of NaN; the state says where there were any.

    Math:
        u = 0 where g is NaN, else g
    State: found_nan, a boolean for each array of the last gradient
    Errors: as every transformation.
    Source: optax.zero_nans. Conventions: inf stays.

    >>> import numpy as np, purenet as pn
    >>> mend = pn.optimizers.zero_nans()
    >>> updates, state = mend.update(np.array([np.nan, 2.0]), mend.init(np.zeros(2)))
    >>> updates, bool(state.found_nan)
    (array([0., 2.]), True)
    """

    def init(params: Tree) -> ZeroNansState:
        arrays, structure = leaves_of("zero_nans", "params", params)
        return ZeroNansState(structure.unflatten([np.asarray(False) for _ in arrays]))

    def update(grads: Tree, state: ZeroNansState, params: Tree = None) -> tuple[Tree, ZeroNansState]:
        state_of("zero_nans", ZeroNansState, state)
        (updates,) = update_each("zero_nans", lambda g: (np.where(np.isnan(g), 0, g),), grads, params)
        arrays, structure = leaves_of("zero_nans", "grads", grads)
        return updates, ZeroNansState(structure.unflatten([np.asarray(np.isnan(g).any()) for g in arrays]))

    return GradientTransformation(init, update)


def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: float = 0.0,
) -> GradientTransformation:
    """The updates times a scale that falls whenever the loss no longer does; it stands after an optimizer.

    Math: `update(grads, state, params, value=loss)`. Every accumulation_size values their mean v is compared with the best:
        better if v < (1 - rtol) best - atol; then best = v
        after `patience` means in a row that were not better: scale = max(factor * scale, min_scale)
        and the next `cooldown` means count as none
        u = scale * g
    State: scale, best_value, plateau_count, cooldown_count, count, avg_value
    Errors: TypeError without `value`; ValueError unless 0 < factor < 1, 0 <= rtol <= 1, atol >= 0 and not both 0, patience and
        accumulation_size are positive, cooldown and min_scale not negative.
    Source: optax.contrib.reduce_on_plateau. Conventions: torch's ReduceLROnPlateau waits for one more value (its patience
        + 1), has the floor as a rate, and compares either by rtol or by atol. Inside `chain` and the other wrappers `value`
        is passed on. NaN is not better.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.chain(pn.optimizers.sgd(1.0), pn.optimizers.reduce_on_plateau(0.5, patience=2))
    >>> state, grads = opt.init(np.zeros(1)), np.ones(1)
    >>> for loss in (3.0, 3.0, 3.0):
    ...     updates, state = opt.update(grads, state, value=loss)
    >>> updates
    array([-0.5])
    """
    who = "reduce_on_plateau"
    factor, rtol, atol = number(who, "factor", factor, 0, 1), number(who, "rtol", rtol, 0, 1), number(who, "atol", atol, 0)
    if factor in (0, 1):
        raise ValueError(f"{who}: factor must be in (0, 1), got {factor}")
    if rtol == 0 and atol == 0:
        raise ValueError(f"{who}: rtol and atol must not both be 0")
    patience, cooldown = integer(who, "patience", patience, 1), integer(who, "cooldown", cooldown, 0)
    size, floor = integer(who, "accumulation_size", accumulation_size, 1), number(who, "min_scale", min_scale, 0)

    def init(params: Tree) -> ReduceLROnPlateauState:
        leaves_of(who, "params", params)
        return ReduceLROnPlateauState(
            np.asarray(1.0), np.asarray(np.inf), step_count(), step_count(), step_count(), np.asarray(0.0)
        )

    def judged(state: ReduceLROnPlateauState, mean: float) -> ReduceLROnPlateauState:
        """The state after a mean of as many values as are needed."""
        best, now = float(state.best_value), float(state.scale)
        better = mean < (1 - rtol) * best - atol
        waited = 0 if better else int(state.plateau_count) + 1
        pause = int(state.cooldown_count)
        if pause > 0:
            waited, pause = 0, pause - 1
        else:
            reached = waited == patience
            waited, now, pause = (0, now * factor, cooldown) if reached else (waited, now, 0)
            now = max(now, floor)
        return ReduceLROnPlateauState(
            np.asarray(now),
            np.asarray(mean if better else best),
            step_count(waited),
            step_count(pause),
            step_count(),
            np.asarray(0.0),
        )

    def update(
        grads: Tree, state: ReduceLROnPlateauState, params: Tree = None, *, value: Any = None
    ) -> tuple[Tree, ReduceLROnPlateauState]:
        state_of(who, ReduceLROnPlateauState, state)
        if np.shape(value) != () or not isinstance(value, float | int | np.generic | np.ndarray):
            raise TypeError(f"{who}: value must be the loss: update(grads, state, params, value=loss), got {value!r}")
        count = int(state.count) + 1
        mean = ((count - 1) * float(state.avg_value) + float(value)) / count
        if count == size:
            after = judged(state, mean)
        else:
            scale, best, waited, pause = (np.array(entry) for entry in state[:4])
            after = ReduceLROnPlateauState(scale, best, waited, pause, step_count(count), np.asarray(mean))
        now = float(after.scale)
        (updates,) = update_each(who, lambda g: (now * g,), grads, params)
        return updates, after

    return GradientTransformation(init, update)
