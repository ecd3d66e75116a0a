"""The mechanisms of the engine that can be switched off one at a time, and how. Only this table names parts of the engine."""

from __future__ import annotations

from oracle.power.switching import IS_A_FUNCTION, NO_BREACH, Mechanism

__all__ = ["DIAGNOSIS", "MECHANISMS"]

ESCALATION = "oracle.judging.escalation:_Escalation"
INNER = "oracle.differences.inner_rounding"
ACCEPTANCE = "oracle.differences.acceptance"
CONTRACT = "oracle.contract.checks"

MECHANISMS = (
    # Judging: further measurements, and what is forgiven.
    Mechanism(
        "full sweep of steps",
        "Doubtful elements are measured again at all steps, from very long to very short.",
        {"oracle.judging.settling:swept_fully": "lambda e, evaluator, leaf: e"},
    ),
    Mechanism(
        "conditioning of the budget",
        "Digits that any computation loses to the rounding of the arguments are forgiven.",
        {"oracle.judging.settling:conditioned": "lambda m, i, e: e"},
    ),
    Mechanism(
        "condition of the reference",
        "A contradiction by the reference is no FAIL where its own gradient moves as far when its arguments are rounded.",
        {"oracle.judging.settling:reference_conditioned": "lambda m, i, e: e"},
    ),
    Mechanism(
        "equal elements",
        "Equal elements at kinks are found; there the slopes of one element alone do not decide.",
        {"oracle.judging.ties:tied": "lambda evaluator, leaf, e: np.zeros(0, np.intp)"},
    ),
    Mechanism(
        "tied slope",
        "The sum of the entries of equal elements is compared with the slope along all of them.",
        {"oracle.judging.ties:tied_slope": "lambda evaluator, leaf, e: 0.0"},
    ),
    Mechanism(
        "exact witness",
        "Entries that the differences leave open are compared with exact derivatives.",
        {"oracle.judging.exact:asked": "lambda m, i, e, there: e"},
    ),
    Mechanism(
        "rescaled point",
        "Entries below the roundoff floor are measured again nearer the origin, where an error would show.",
        {f"{ESCALATION}.try_rescaled_point": "lambda self, known: known"},
    ),
    Mechanism(
        "generic point",
        "What passes at zeros, ones or equal arguments is tested at an ordinary point nearby.",
        {f"{ESCALATION}.try_generic_point": "lambda self, known: known"},
    ),
    Mechanism(
        "subdifferential",
        "Entries at kinks must be possible as one gradient, without a reference.",
        {f"{ESCALATION}.try_subdifferential": "lambda self, known: known"},
    ),
    Mechanism(
        "numerically zero",
        "A gradient that is zero but for rounding is reported as that, not compared digit by digit.",
        {"oracle.judging.verdict:is_rounding": "lambda e: False"},
    ),
    Mechanism(
        "declared zero in a narrow dtype",
        "Where float64 and the flags show a zero gradient, the differences need not resolve its rounding in a narrow dtype.",
        {"oracle.judging.verdict:_is_declared_zero": "lambda e: False"},
    ),
    Mechanism(
        "roundoff scale on the way to the origin",
        "Rounding is measured by the largest gradient on the ray to the origin, not by the one at the point alone.",
        {
            "oracle.judging.conditioning:roundoff_scales": (
                "lambda subject, primals, dy, y, cotangents: (largest(vector(y)), [largest(a) for a in flat(cotangents)])"
            )
        },
    ),
    Mechanism(
        "formula in float64",
        "The formula of a narrow dtype is judged in float64 first.",
        {"oracle.judging.measurements:Measurements.in_float64": "lambda self: None"},
    ),
    Mechanism(
        "conditioning in a narrow dtype",
        "A gradient in a narrow dtype may be off by what the rounding of its arguments moves it.",
        {"oracle.judging.rounding:RoundingAt.moved_in_dtype": "lambda self, i: None"},
    ),
    Mechanism(
        "roundings inside the gradient",
        "A gradient that is computed in a narrower dtype inside may be off by its measured roundings.",
        {"oracle.judging.settling:rounded_inside": "lambda m, i, e: e"},
    ),
    Mechanism(
        "cotangents that do not add up",
        "Roundings of the cotangent show in the gradient of a sum of two.",
        {"oracle.judging.inner_rounding:_not_additive": "lambda gradient, dy, entries: np.zeros(entries)"},
    ),
    Mechanism(
        "mean in 16 bits",
        "Errors in one direction, each within rounding, are found in the mean over points nearby.",
        {f"{ESCALATION}.try_mean": "lambda self, known: known"},
    ),
    Mechanism(
        "digits lost at random",
        "A gradient in a narrow dtype may be off by what its roundings lose, measured at points nearby.",
        {f"{ESCALATION}.try_lost_digits": "lambda self, known: known"},
    ),
    # Differences: noise, steps and extrapolation.
    Mechanism(
        "rounding inside the function",
        "Roundings to a narrower dtype inside the function count as its noise.",
        {
            f"{INNER}:inner_rounding": (
                "lambda values_at, line, one_ulp, sizes, least, *, continuous: (np.zeros(one_ulp.shape), False, 0.0)"
            )
        },
    ),
    Mechanism(
        "fitted slopes",
        "Where the function rounds inside, slopes are fitted to many long steps.",
        {"oracle.judging.settling:fitted": "lambda m, i, e: e"},
    ),
    Mechanism(
        "measured noise tables",
        "The noise of each output is measured from difference tables, not assumed to be one ULP.",
        {
            "oracle.differences.roundoff:_table_noise": (
                "lambda noisy, spacing, at_zero: (np.zeros(noisy.value.shape), np.ones(noisy.value.shape, bool))"
            )
        },
    ),
    Mechanism(
        "quantization steps",
        "An output that has whole multiples of some number only has half of it as noise.",
        {
            "oracle.differences.roundoff:_at_long_spacing": (
                "lambda noisy, one_ulp: Quantization(np.zeros(one_ulp.shape), *np.zeros((4, *one_ulp.shape), dtype=bool))"
            )
        },
    ),
    Mechanism(
        "values that shorter steps contradict",
        "Long steps may agree on a slope of another scale; then the shorter steps decide.",
        {f"{ACCEPTANCE}:consistent_with_shorter_steps": "lambda table, value, uncertainty: (value, uncertainty)"},
    ),
    Mechanism(
        "kinks near the point",
        "Beside a kink only steps shorter than the distance to it count.",
        {f"{ACCEPTANCE}:one_side_of_kink": ("lambda table, sides, only_consistent, value, uncertainty: (value, uncertainty)")},
    ),
    Mechanism(
        "one very short step",
        "The slope over one very short step must agree with the value from longer ones.",
        {
            f"{ACCEPTANCE}:checked_at_very_short_step": (
                "lambda table, value, uncertainty: (uncertainty, np.zeros(len(value), bool))"
            )
        },
    ),
    Mechanism(
        "one very short step for many elements",
        "That step is taken for many elements at once (saves evaluations).",
        {f"{ACCEPTANCE}:_checked_together": "lambda table, rows, steps, value, uncertainty: rows[:0]"},
    ),
    Mechanism(
        "bends that look like kinks",
        "A bend that is sharper than the shortest step, or a jump, is not called a kink.",
        {f"{ACCEPTANCE}:sharp_bends": "lambda table, sides: np.zeros(len(table.steps), bool)"},
    ),
    Mechanism(
        "slopes that diverge",
        "A slope that grows as the steps shrink is not known: the value jumps, or the slope is infinite.",
        {f"{ACCEPTANCE}:diverges": "lambda table: np.zeros(len(table.steps), bool)"},
    ),
    Mechanism(
        "slopes that change steadily",
        "A slope that changes by the same from step to step, as log h does, has no limit.",
        {"oracle.differences.one_sided:_grows_like_a_logarithm": "lambda slopes, noise: np.zeros(len(slopes), bool)"},
    ),
    Mechanism(
        "extrapolation by h",
        "A second table removes odd powers of the step, too: they are there beside a jump of the second derivative.",
        {
            "oracle.differences.richardson:extrapolated": (
                "lambda differences, noise, only_consistent: "
                "most_certain(tableau(differences, noise, RATIO**2), only_consistent)"
            )
        },
    ),
    Mechanism(
        "odd powers in the table by h^2",
        "The tableau in h^2 includes the error of odd powers in its estimate.",
        {"oracle.differences.richardson:_odd_powers": "lambda changes, noise: np.zeros(changes.shape)"},
    ),
    Mechanism(
        "agreement by chance",
        "The error estimate of a tableau entry is at least 2^-12 of that of the column before.",
        {"oracle.differences.richardson:LEAST_LEFT": 0.0},
    ),
    Mechanism(
        "unlike step lengths",
        "No two elements have the same first step, so that nothing repeats itself over all of them.",
        {"oracle.differences.stepsize:lengths": "lambda leaf, index: np.ones(len(index))"},
    ),
    Mechanism(
        "own steps for small elements",
        "Elements that are small beside the others are measured again with steps of their own size.",
        {"oracle.differences.partials:is_tiny": "lambda sizes, size: np.zeros(np.shape(sizes), bool)"},
    ),
    Mechanism(
        "long steps for tiny arguments",
        "Elements of an argument that is tiny as a whole are measured again with steps of order 1.",
        {"oracle.differences.partials:COARSE": 0.0},
    ),
    # Contract.
    Mechanism(
        "contract: process state",
        "The op changes nothing global.",
        {f"{CONTRACT}:leaves_the_process_alone": NO_BREACH},
    ),
    Mechanism(
        "contract: arguments",
        "The op writes to no argument, cotangent or residual.",
        {f"{CONTRACT}:leaves_arguments_alone": NO_BREACH},
    ),
    Mechanism(
        "contract: shared memory",
        "No result shares memory with an argument or another result.",
        {f"{CONTRACT}:shares_memory": NO_BREACH},
    ),
    Mechanism(
        "contract: buffers",
        "Two calls never return the same memory.",
        {f"{CONTRACT}:gives_memory_away": NO_BREACH},
    ),
    Mechanism(
        "contract: a function",
        "Each pass is a function of its arguments: no chance, no sum of earlier calls, no memory of the first.",
        {"oracle.contract.repeatability:not_a_function": IS_A_FUNCTION},
    ),
    Mechanism(
        "contract: determinism",
        "The same arguments give the same bits.",
        {f"{CONTRACT}:is_deterministic": NO_BREACH},
    ),
    Mechanism(
        "contract: own residuals",
        "Another forward pass in between changes no cotangent.",
        {f"{CONTRACT}:keeps_its_own_residuals": NO_BREACH},
    ),
    Mechanism(
        "contract: linearity",
        "The backward pass is linear in its cotangent.",
        {"oracle.contract.linearity:is_linear_in_dy": NO_BREACH},
    ),
    Mechanism(
        "contract: layout",
        "The layout of the arguments in memory changes no gradient.",
        {f"{CONTRACT}:accepts_any_layout": NO_BREACH},
    ),
    Mechanism(
        "contract: after many calls",
        "After all measurements the first call gives the same cotangents again.",
        {f"{CONTRACT}:is_still_the_same": NO_BREACH},
    ),
)

DIAGNOSIS = Mechanism(
    "diagnosis",
    "The cause is named; no verdict depends on it, and it takes most of the time of a wrong gradient.",
    {"oracle.diagnosis:diagnose": "lambda e, judgement, context: ''"},
)
"""Off in every measurement of this table."""
