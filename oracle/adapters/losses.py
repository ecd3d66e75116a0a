"""Losses whose backward pass gets the prediction and the target again, no upstream gradient: `backward(y_pred, y_true)`.

It is the gradient of one number. Where the forward pass returns a loss for each row, that number is their mean, as a method
`calculate` of such a class has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from oracle.adapters.calling import inputs_of
from oracle.adapters.evaluations import Held, Run

__all__ = ["with_prediction"]

NOTE = (
    "{0} is called with the prediction and the target again, not with an upstream gradient: it is right as the last layer only"
)
OF_MEAN = "; what is verified is the mean of the {1} numbers that {2} returns"


def with_prediction(subject: Held, forward: str, backward: str, run: Run) -> Held | None:
    """The loss as one that is called so; None if its names do not say so, and it can be called with the upstream gradient."""
    made = run.rebuilt()
    names, taken = inputs_of(getattr(made, forward)), inputs_of(getattr(made, backward))
    if subject.parameters or len(run.inputs) != 1 or not set(taken[1:]) & set(names[1:]) & set(run.options):
        return None
    try:
        value = run.value(forward)
    except Exception:  # what raises is reported by `verify`
        return None
    if taken[0] != names[0] and _gives_gradient(run, forward, backward, np.ones_like(value)):
        return None
    notes = NOTE + (OF_MEAN if np.ndim(value) else "")
    found = replace(
        subject, takes_prediction=True, notes={**subject.notes, notes.format(backward, np.size(value), forward): None}
    )
    return found if _gives_gradient(replace(run, subject=found), forward, backward, np.asarray(1.0)) else None


def _gives_gradient(run: Run, forward: str, backward: str, dy: Any) -> bool:
    """Whether the backward pass gives a gradient of the input for this upstream gradient."""
    try:
        (gradient,) = run.layer_gradients(forward, backward, dy)
    except Exception:  # of which kind depends on the user's code
        return False
    return bool(np.shape(gradient) == np.shape(run.inputs[0]))
