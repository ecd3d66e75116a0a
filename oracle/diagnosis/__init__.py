"""What is probably wrong, with the evidence: the first cause, in this order, that explains what was seen.

A cause must explain the error almost whole: it supposes a gradient that leaves less than a thousandth of it. The order goes
from what is certain to what is fitted, from the special to the general, and from what costs nothing to what must be evaluated:

1. What the verdict itself says: a gradient that is not finite, a convention at a kink, another function (`by_reason`).
2. What is so whatever else it is: a rule that differentiates another function than is called (`wrong_inputs`), zero
   everywhere, whole numbers where the true ones are not, a cotangent that bwd never looks at. Of a single output every gradient
   is a multiple of every other, so this comes before factors.
3. The true numbers in other places: transposed, reversed, shifted, reshaped (`permutations`). Before a factor: a symmetric
   tensor passes as both.
4. The true numbers, all changed alike: a factor, with its name (`known_constants`), lost signs, a limit, a narrow float on the
   way (`fits`).
5. Places where something definite is wrong, the rest being right: a single entry, a place in an argument too large to be seen
   whole (`bisection`), a mask, the ones of a one-hot, some samples, borders (`regions`).
6. Other gradients, which have nothing fitted in them: of some outputs only (`cotangents`), of one use of several
   (`accumulation`), of another argument, with another keyword, at another point (`wrong_inputs`). They are evaluated on the
   forward pass, and only now, as far as a budget allows. Behind them what they are special cases of: any permutation, any
   contributions that are lost.
7. What is fitted with the most freedom: a factor for each index of an axis, terms with free coefficients (`terms`).
8. Places without a known reason: rows, borders.

What is not distinguishable here is not said: causes with free numbers need more entries than numbers. Of a scalar, whose
gradient is a multiple of its random cotangent, numbers are said for a cotangent of 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from oracle.arrays import quiet
from oracle.diagnosis.by_reason import BY_REASON, another_function, convention, unexplained
from oracle.diagnosis.causes import accumulation, bisection, cotangents, fits, permutations, regions, terms, wrong_inputs
from oracle.diagnosis.context import Context
from oracle.diagnosis.view import Cause, View
from oracle.judging.evidence import Evidence
from oracle.judging.reasons import Reason
from oracle.judging.verdict import Judgement

__all__ = ["diagnose"]

CAUSES: tuple[Cause, ...] = (
    wrong_inputs.of_another_value,
    fits.zero,
    fits.truncated,
    cotangents.ignored_cotangent,
    permutations.transposed,
    permutations.reversed_or_shifted,
    permutations.reshaped,
    fits.factor,
    fits.signs_lost,
    fits.limited,
    fits.narrow,
    permutations.transposed_and_scaled,
    regions.one_entry,
    bisection.localized,
    regions.mask_not_applied,
    regions.constant_missing,
    regions.rows_exchanged,
    regions.block,
    regions.rows_explained,
    regions.borders_explained,
    regions.zero_where_it_should_not_be,
    wrong_inputs.of_another_argument,
    cotangents.own,
    cotangents.of_some_arrays,
    accumulation.overwritten,
    cotangents.some_outputs,
    wrong_inputs.multiplied_too_late,
    cotangents.untransposed,
    cotangents.other_cotangents,
    wrong_inputs.with_other_options,
    wrong_inputs.at_other_points,
    permutations.permuted,
    cotangents.permuted_cotangent,
    terms.one_product,
    wrong_inputs.at_constants,
    wrong_inputs.scaled,
    accumulation.partly_lost,
    terms.factor_along_an_axis,
    cotangents.weighted_outputs,
    terms.term_along_axes,
    terms.two_products,
    terms.only_one_term,
    fits.noise_of_a_narrow_float,
    regions.borders,
    regions.rows,
)


OF_LARGE: tuple[Cause, ...] = (fits.zero, fits.factor, regions.one_entry)
"""Those that look once at each entry of an argument and ask nothing of the forward pass."""


def diagnose(e: Evidence, judgement: Judgement, context: Context) -> str:
    """The cause in words. Empty for a pass without anything to say."""
    with quiet():  # numbers that are off may be off by any power of ten
        return _diagnosed(e, judgement, context)


def _diagnosed(e: Evidence, judgement: Judgement, context: Context) -> str:
    view = View.of(e, context)
    for_dy = view.for_dy if view is not None else ""
    in_words = BY_REASON.get(judgement.reason)
    if in_words is not None:
        words = in_words(e, judgement)
        return words + for_dy if words and judgement.reason is Reason.AT_KINK else words  # its slopes are those of one dy
    if judgement.reason is Reason.CONVENTION:
        return convention(e, judgement, context) + for_dy
    if judgement.reason is Reason.ANOTHER_FUNCTION:
        return another_function(e, judgement) + for_dy
    found = _explanations(view) if view is not None else iter(())
    return next(found, "") or unexplained(e, judgement)


def _explanations(view: View) -> Iterator[str]:
    for cause in OF_LARGE if view.context.large else CAUSES:
        with suppress(np.linalg.LinAlgError, ArithmeticError):  # numbers that no fit can be made of: the verdict stands
            yield from cause(view)
