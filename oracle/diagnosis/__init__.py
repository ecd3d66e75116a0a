"""Names the probable cause of a wrong gradient: the first cause in this order that explains the error.

A cause proposes the gradient that a certain mistake would give. It explains the error if it leaves less than a thousandth of
it. Certain causes come before fitted ones, special causes before general ones, and cheap causes before those that must
evaluate the forward pass:

1. Causes that the verdict implies: a gradient that is not finite, a convention at a kink, another function (`by_reason`).
2. Causes that a single look at the gradient shows: the rule of another library differentiates another function than the one
   that is called (`wrong_inputs`), the function has steps only (`steps`), the gradient is zero everywhere, it holds whole
   numbers where the true ones are not whole, or the backward pass never uses the cotangent. With a single output every
   gradient is a multiple of every other, so these come before factors.
3. The true numbers in other places: transposed, reversed, shifted, reshaped (`permutations`). They come before factors, because
   a wrong order of a symmetric tensor also looks like a factor. The symmetric part and a triangle follow (`parts`).
4. The same change of all true numbers: a factor, with its name (`known_constants`), lost signs, clipping, rounding to a
   narrower float (`fits`).
5. A definite mistake in some places, while the rest is right: a single entry, a region of an argument that is too large to be
   tested entry by entry (`bisection`), a mask, the ones of a one-hot, some samples, borders (`regions`), one side of a number
   such as 0 (`one_side`).
6. Gradients of something else, without fitted numbers: of only some outputs (`cotangents`), of only one use of an entry
   that is used several times (`accumulation`), of another argument, with another keyword, at another point (`wrong_inputs`).
   Gradients that lack one path through the forward pass (`paths`). These evaluate the forward pass, as far as a budget allows.
   Their generalizations follow: any permutation, another mask, any lost contributions, wrong slopes inside
   (`slopes`, `activations`), another operand of a product (`operands`). One side of a number comes before the
   gradient for an argument of ones, which is often right on the other side.
7. Fits with many free numbers: a factor for each index of an axis, terms with free coefficients (`terms`).
8. Regions without a known reason: borders, rows, a range of indices, a pattern that repeats (`ranges`);
   outputs from which what flows back is right, parts of an argument that our gradient does not read (`dependence`), one
   index of a path through the forward pass (`paths`); smaller sizes at which the gradient is right.

A cause with free numbers needs more entries than numbers; with fewer, several causes would fit equally well, and none is
named. The gradient of a scalar is a multiple of its random cotangent, so its numbers are printed for a cotangent of 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from oracle.arrays import quiet
from oracle.diagnosis.by_reason import BY_REASON, another_function, convention, unexplained
from oracle.diagnosis.causes import (
    accumulation,
    activations,
    bisection,
    cotangents,
    dependence,
    deviations,
    fits,
    labels,
    loops,
    one_side,
    operands,
    parts,
    paths,
    permutations,
    ranges,
    regions,
    slopes,
    softmaxes,
    steps,
    terms,
    wrong_inputs,
)
from oracle.diagnosis.context import Context
from oracle.diagnosis.view import Cause, View, view_of
from oracle.diagnosis.words import for_dy
from oracle.judging.evidence import Evidence
from oracle.judging.reasons import Reason
from oracle.judging.verdict import Judgement

__all__ = ["diagnose"]

CAUSES: tuple[Cause, ...] = (
    wrong_inputs.of_another_value,
    steps.step_function,
    fits.zero,
    fits.truncated,
    cotangents.ignored_cotangent,
    permutations.transposed,
    permutations.reversed_or_shifted,
    permutations.reshaped,
    paths.constant_left_out,
    fits.factor,
    fits.signs_lost,
    fits.limited,
    fits.narrow,
    permutations.transposed_and_scaled,
    parts.symmetric_part,
    parts.triangle,
    regions.one_entry,
    bisection.localized,
    regions.mask_not_applied,
    regions.constant_missing,
    labels.other_labels,
    regions.rows_exchanged,
    regions.block_explained,
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
    cotangents.one_for_all,
    cotangents.other_cotangents,
    wrong_inputs.with_other_options,
    one_side.factor_on_one_side,
    wrong_inputs.at_other_points,
    permutations.permuted,
    one_side.another_mask,
    cotangents.permuted_cotangent,
    parts.summed_up,
    paths.path_lost,
    terms.one_product,
    one_side.wrong_on_one_side,
    slopes.wrong_slope,
    activations.wrong_activation,
    softmaxes.wrong_softmax,
    deviations.another_deviation,
    loops.lost_at_every_step,
    loops.wrong_slope_at_every_step,
    operands.wrong_operand,
    wrong_inputs.at_constants,
    wrong_inputs.scaled,
    accumulation.partly_lost,
    terms.factor_along_an_axis,
    cotangents.weighted_outputs,
    terms.term_along_axes,
    terms.two_products,
    terms.only_one_term,
    operands.operand_forgotten,
    fits.noise_of_a_narrow_float,
    dependence.right_for_some_arrays,
    regions.block,
    regions.borders,
    ranges.from_an_index,
    regions.rows,
    ranges.periodic,
    slopes.path_scaled_or_transposed,
    dependence.part_unread,
    dependence.right_for_some_outputs,
    paths.part_of_a_path_lost,
    ranges.only_at_smaller_sizes,
)


OF_LARGE: tuple[Cause, ...] = (fits.zero, fits.factor, regions.one_entry)
"""The causes for large arguments: they look at each entry once and never evaluate the forward pass."""


def diagnose(e: Evidence, judgement: Judgement, context: Context) -> str:
    """The cause as a sentence; empty for a pass without a remark."""
    with quiet():  # a wrong gradient may be wrong by any power of ten, so fits may overflow
        return _diagnosed(e, judgement, context)


def _diagnosed(e: Evidence, judgement: Judgement, context: Context) -> str:
    view = view_of(e, context)
    note = for_dy(view.context.unit) if view is not None else ""
    message_of = BY_REASON.get(judgement.reason)
    if message_of is not None:
        message = message_of(e, judgement)
        return message + note if message and judgement.reason is Reason.AT_KINK else message  # its slopes hold for this dy
    if judgement.reason is Reason.CONVENTION:
        return convention(e, judgement, context) + note
    if judgement.reason is Reason.ANOTHER_FUNCTION:
        return another_function(e, judgement) + note
    found = _explanations(view) if view is not None else iter(())
    return next(found, "") or unexplained(e, judgement)


def _explanations(view: View) -> Iterator[str]:
    for cause in OF_LARGE if view.context.large else CAUSES:
        with suppress(np.linalg.LinAlgError, ArithmeticError):  # some numbers cannot be fitted
            yield from cause(view)
