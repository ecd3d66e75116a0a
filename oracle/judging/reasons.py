"""Why a verdict is what it is: the glossary of the reasons, each with the verdict that follows from it."""

from __future__ import annotations

from enum import Enum

from oracle.row import Verdict

__all__ = ["Reason"]


class Reason(Enum):
    """Why a gradient has its verdict: a name for reports, the verdict that follows, and the docstring of the member."""

    verdict: Verdict

    def __new__(cls, text: str, verdict: Verdict, meaning: str) -> Reason:
        member = object.__new__(cls)
        member._value_ = text
        member.verdict = verdict
        member.__doc__ = meaning
        return member

    @classmethod
    def named(cls, text: str) -> Reason:
        """The reason with this name."""
        return next(reason for reason in cls if reason.value == text)

    AGREES = (
        "every comparison agrees",
        Verdict.PASS,
        "The gradient agrees with every witness: the finite differences, and the reference if one was given.",
    )

    AT_KINK = (
        "agrees, with entries at kinks",
        Verdict.KINK,
        "The gradient agrees. Where the slopes of two sides differ, it lies between them and equals the reference's choice.",
    )

    WRONG_BACKWARD = (
        "the backward pass is wrong",
        Verdict.FAIL,
        "Every witness contradicts the gradient: the finite differences, and the reference if one was given.",
    )

    WRONG_FORMULA = (
        "wrong without its rounding",
        Verdict.FAIL,
        "The backward pass, evaluated without rounding, is not the exact derivative: by more than rounded constants explain.",
    )

    OUTSIDE_KINK = (
        "outside the slopes of a kink",
        Verdict.FAIL,
        "An entry at a kink lies outside the slopes of the two sides, and differs from the reference's.",
    )

    ANOTHER_FUNCTION = (
        "another function than the reference",
        Verdict.FAIL,
        "The gradient is that of the forward pass, as the differences show, and the reference's gradient is another.",
    )

    CONVENTION = (
        "another convention at a kink",
        Verdict.FAIL,
        "An entry at a kink lies between the slopes of the two sides, but the reference chooses another value there.",
    )

    OTHER_VALUES = (
        "other values than the reference",
        Verdict.FAIL,
        "The values of the forward pass differ from the reference's. Each gradient is then judged by the differences alone.",
    )

    NOT_THE_FORWARD_PASS = (
        "not the gradient of the forward pass",
        Verdict.FAIL,
        "The gradient agrees with the reference, and the differences contradict both by far more than any rounding.",
    )

    DIRECTIONAL_MISMATCH = (
        "wrong along a direction",
        Verdict.FAIL,
        "The slope along a direction of many entries is not the one that the gradient predicts.",
    )

    TIED_SLOPE = (
        "wrong along tied elements",
        Verdict.FAIL,
        "Equal elements, moved together, have another slope than the sum of their entries.",
    )

    BIASED = (
        "off in one direction",
        Verdict.FAIL,
        "The gradient in 16 bits is off by a factor on average, at this point and nearby. Rounding errors average out.",
    )

    PILED_UP = (
        "roundings pile up",
        Verdict.FAIL,
        "The gradient in 16 bits is off by far more than rounding its arguments and itself once, at this point and nearby.",
    )

    NO_SUBGRADIENT = (
        "no subgradient",
        Verdict.FAIL,
        "Each entry at a kink lies between the slopes of its two sides, but together they are no gradient.",
    )

    NOT_FINITE = (
        "not finite",
        Verdict.FAIL,
        "The gradient has an infinity or NaN where the true slope is a finite number.",
    )

    WRONG_STAGE = (
        "made of a wrong cotangent",
        Verdict.FAIL,
        "A stage of the chain hands back a cotangent that is not its derivative, and this gradient is computed from it.",
    )

    WRONG_AT_RESCALED_POINT = (
        "wrong at rescaled arguments",
        Verdict.FAIL,
        "An error that rounding could hide here is one where rounding hides less.",
    )

    WRONG_AT_GENERIC_POINT = (
        "wrong at a generic point nearby",
        Verdict.INCONCLUSIVE,
        "The arguments are special (zeros, ones, equal numbers): the gradient is right there, and wrong at usual ones nearby.",
    )

    REFERENCE_CONTRADICTS = (
        "only the reference contradicts",
        Verdict.INCONCLUSIVE,
        "The reference contradicts the gradient by less than the differences can resolve.",
    )

    BEYOND_ITS_DTYPE = (
        "off by more than its dtype inside explains",
        Verdict.FAIL,
        "The function computes in a narrower dtype inside. The gradient is further from the reference's than that explains.",
    )

    REFERENCE_ROUNDS = (
        "the reference loses these digits",
        Verdict.INCONCLUSIVE,
        "The reference contradicts, but its own gradient moves as far when its arguments are rounded.",
    )

    DIFFERENCES_CONTRADICT = (
        "only the differences contradict",
        Verdict.INCONCLUSIVE,
        "The differences contradict the gradient and the reference, by hardly more than their error estimate.",
    )

    TIED = (
        "a tied element",
        Verdict.INCONCLUSIVE,
        "An entry is outside the slopes of its two sides, but equal elements may share a slope; a reference would decide.",
    )

    ALMOST_A_SUBGRADIENT = (
        "almost a subgradient",
        Verdict.INCONCLUSIVE,
        "As *no subgradient*, but by so little that the step of the measurement may be the cause.",
    )

    NO_REFERENCE = (
        "no reference to decide",
        Verdict.INCONCLUSIVE,
        "The gradient is declared not to be the derivative, so only a reference can decide, and none was given.",
    )

    STEP_BELOW_ULP = (
        "the step is below one ULP",
        Verdict.INCONCLUSIVE,
        "The given step does not move an element at all.",
    )

    UNCERTAIN = (
        "the differences are too uncertain",
        Verdict.INCONCLUSIVE,
        "The error estimate of the differences is too large to decide about an entry.",
    )

    UNRESOLVED = (
        "rounding hides the gradient",
        Verdict.INCONCLUSIVE,
        "Rounding is larger than the gradient here: even twice the true gradient would not have been noticed.",
    )

    TOO_MANY_KINKS = (
        "too many kinks",
        Verdict.INCONCLUSIVE,
        "Kinks hide single entries of a large argument, and there is no reference.",
    )

    BELOW_ROUNDOFF = (
        "below the roundoff floor",
        Verdict.INCONCLUSIVE,
        "An entry contradicts the differences by less than the rounding of larger terms, and no other point could test it.",
    )

    INFINITE = (
        "the slope is infinite",
        Verdict.INCONCLUSIVE,
        "The true slope is infinite, so that nothing can be compared.",
    )

    ZERO = (
        "identically zero",
        Verdict.VACUOUS,
        "The gradient is zero everywhere and nobody has declared that it should be: nothing was checked.",
    )

    ROUNDING_ONLY = (
        "zero but for rounding",
        Verdict.VACUOUS,
        "The gradient is what rounding leaves when terms cancel, and nobody has declared that: nothing was checked.",
    )

    EMPTY = (
        "no elements",
        Verdict.VACUOUS,
        "The argument has no elements: nothing was checked.",
    )
