"""The errors and the fitted factor that a row reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.judging.comparison import reported_scale
from oracle.judging.evidence import Evidence
from oracle.judging.verdict import directional_errors
from oracle.measures import EPSILON, differences, fit_scale, relative, ulps
from oracle.spec import Flag

__all__ = ["measured"]

JAX_ROUNDING = 4.0  # ULP of the roundoff scale: how exact JAX is taken to be where the differences are measured by it


def measured(e: Evidence) -> dict[str, Any]:
    """The errors and the fitted factor that a row reports, relative to the largest entry."""
    scale = reported_scale(e)
    smooth = ~e.estimate.kink
    index = e.estimate.index[smooth]
    witness = e.autodiff
    if witness is None and e.estimate.index.size == e.analytic.size:
        witness = np.empty_like(e.analytic)
        witness[e.estimate.index] = e.estimate.value
    fit = fit_scale(e.analytic, witness) if witness is not None else None
    report: dict[str, Any] = {"fitted_scale": fit.scale if fit else None}
    if e.autodiff is None or Flag.NOT_THE_DERIVATIVE not in e.flags:
        report["numerical_error"] = max(
            relative(differences(e.analytic[index], e.estimate.value[smooth]), scale), relative(directional_errors(e), scale)
        )
        report["numerical_uncertainty"] = relative(e.estimate.uncertainty[smooth], scale)
    if e.autodiff is not None:
        error = differences(e.analytic, e.autodiff)
        at = int(error.argmax()) if error.size else 0
        report["autodiff_error"] = relative(error, scale)
        if e.dtype.name == "float64" and Flag.NOT_THE_DERIVATIVE not in e.flags:
            apart = differences(e.estimate.value[smooth], e.autodiff[index])
            rounding = JAX_ROUNDING * EPSILON["float64"] * e.scale
            known = np.isfinite(e.estimate.uncertainty[smooth])
            report["compared"] = int(known.sum())
            report["understated"] = int((apart > e.estimate.uncertainty[smooth] + rounding)[known].sum())
        report["autodiff_ulp"] = ulps(float(e.analytic[at]), float(e.autodiff[at]), e.dtype) if error.size else 0.0
    return report
