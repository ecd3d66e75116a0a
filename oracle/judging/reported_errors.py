"""The numbers that a row reports: those of the one entry, or direction, that decided, and two statistics of all entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.judging.comparison import reported_scale
from oracle.judging.error_budget import SAFETY, roundoff
from oracle.judging.evidence import Array, Evidence
from oracle.judging.reasons import Reason
from oracle.judging.verdict import DirectionalComparison, Judgement
from oracle.measures import distance, fit_scale, relative, ulps
from oracle.spec import Flag

__all__ = ["reported", "values_at"]


def reported(e: Evidence, judgement: Judgement) -> dict[str, Any]:
    """The fields of a row that are measured, relative to the largest entry of the true gradient.

    Where no entry decided, the differences' numbers are those of the direction that did, or of the entry that used most.
    """
    by_differences = Flag.NOT_THE_DERIVATIVE not in e.parameter.flags
    if judgement.reason is Reason.WRONG_STAGE:  # the differences are those of the stages, at the cotangents that reach them
        by_differences = False
    fields: dict[str, Any] = {"fitted_scale": _fitted_scale(e), **values_at(e, judgement.worst)}
    if by_differences:
        fields |= _of_differences(e, judgement)
        if e.autodiff is not None and e.parameter.dtype.name == "float64":
            fields |= _understated(e, e.autodiff)
    if e.autodiff is not None:
        fields |= _of_reference(e, e.autodiff, judgement)
    return fields


def values_at(e: Evidence, worst: int | None) -> dict[str, float | None]:
    """One entry by each witness. At a kink the differences' value is the nearest between the slopes of the two sides."""
    if worst is None:
        return {"analytic": None, "numerical": None, "autodiff": None}
    at, ours = np.flatnonzero(e.estimate.index == worst), float(e.analytic[worst])
    numerical = float(e.estimate.value[at[0]]) if at.size else None
    if at.size and e.estimate.kink[at[0]]:
        numerical = float(np.clip(ours, *sorted((e.estimate.left[at[0]], e.estimate.right[at[0]]))))
    return {"analytic": ours, "numerical": numerical, "autodiff": None if e.autodiff is None else float(e.autodiff[worst])}


def _of_differences(e: Evidence, judgement: Judgement) -> dict[str, Any]:
    scale, measured, slopes = reported_scale(e), e.estimate, DirectionalComparison.of(e)
    at = np.flatnonzero(measured.index == judgement.worst)
    if not at.size:
        if not e.analytic.size:
            return {"numerical_error": 0.0, "numerical_uncertainty": 0.0}
        if slopes.worst is None or judgement.worst is not None:
            return {}  # the differences did not measure that entry
        error, uncertainty = slopes.error[slopes.worst], slopes.uncertainty[slopes.worst]
        size = slopes.size[slopes.worst]
        return {"numerical_error": _share(error / size, scale), "numerical_uncertainty": _share(uncertainty / size, scale)}
    kink = measured.kink[at[0]]
    uncertainty = (measured.slope_uncertainty if kink else measured.uncertainty)[at[0]]
    by = values_at(e, judgement.worst)
    error = distance(np.asarray(by["analytic"]), np.asarray(by["numerical"]))
    return {"numerical_error": _share(error, scale), "numerical_uncertainty": _share(uncertainty, scale)}


def _of_reference(e: Evidence, reference: Array, judgement: Judgement) -> dict[str, Any]:
    error = distance(e.analytic, reference)
    if not error.size:
        return {"autodiff_error": 0.0, "autodiff_ulp": 0.0}
    at = int(error.argmax()) if judgement.worst is None else judgement.worst
    return {
        "autodiff_error": _share(error[at], reported_scale(e)),
        "autodiff_ulp": ulps(float(e.analytic[at]), float(reference[at]), e.parameter.dtype),
    }


def _understated(e: Evidence, reference: Array) -> dict[str, int]:
    """At how many smooth entries the differences are further from the reference than they state and than that may round."""
    smooth = ~e.estimate.kink & np.isfinite(e.estimate.uncertainty)
    apart = distance(e.estimate.value, reference[e.estimate.index])[smooth]
    stated = e.estimate.uncertainty[smooth] + roundoff(e.budget.scale, SAFETY)
    return {"compared": int(smooth.sum()), "understated": int((apart > stated).sum())}


def _fitted_scale(e: Evidence) -> float | None:
    """The factor that takes the true gradient to ours with the least squared error, if all of it is known."""
    truth = e.autodiff
    if truth is None and e.estimate.index.size == e.analytic.size:
        truth = np.empty_like(e.analytic)
        truth[e.estimate.index] = e.estimate.value
    fit = None if truth is None else fit_scale(e.analytic, truth)
    return fit.scale if fit else None


def _share(error: Any, scale: float) -> float:
    return relative(np.atleast_1d(error), scale)
