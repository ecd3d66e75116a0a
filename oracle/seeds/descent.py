"""The gradient method on x0^2 + x1^2 from (3, 2), with the published integer start and with a float start.

The published code writes x + h and x - h back into the array. An array of integers truncates them to 3 and 2, so the first
"gradient" is (9 - 4) / 2h = 25000 instead of 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import oracle
from oracle.measures import distance
from oracle.row import Verdict
from oracle.seeds.experiment import in_one_piece
from oracle.seeds.section import Claim, Quote, Section, Table
from purenet import Op

__all__ = ["EXPERIMENT", "Published", "Run", "descend", "gradient_of_the_note", "section", "sum_of_squares"]

Array = NDArray[Any]

START = (3, 2)
STEPS = 100
H = 1e-4
CLOSE = 1e-8  # the relative error of the result that plain central differences with this h leave after these steps


class Published(NamedTuple):
    """A learning rate and the result that the note prints for it. In the note the rate 1 is an integer."""

    rate: float
    result: tuple[str, str]


PUBLISHED = (
    Published(0.1, ("-6.35809854e-07", "-3.81434987e-07")),
    Published(1, ("-2499150084997", "-1499450054998")),
    Published(1e-6, ("2.97441101", "1.98460701")),
)
DIVERGING = 1.1


@Op
def sum_of_squares(x: Array) -> tuple[Array, Array]:
    """The sum of the squares of x."""
    return np.asarray(np.sum(x * x)), x


@sum_of_squares.pullback
def sum_of_squares_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (2 * x * dy,)


def gradient_of_the_note(f: Callable[[Array], Any], x: Array) -> Array:
    """The note's central differences, which write into `x` and into an array of its dtype."""
    gradient = np.zeros_like(x)
    for i in range(x.size):
        here = x[i]
        x[i] = here + H
        above = f(x)
        x[i] = here - H
        below = f(x)
        gradient[i] = (above - below) / (2 * H)
        x[i] = here
    return gradient


class Run(NamedTuple):
    """A run of the gradient method."""

    end: Array
    """The last point."""
    first: Array
    """The first gradient."""
    frozen: int | None
    """The first step with a gradient of 0; None if there was none."""


def descend(start: Array, rate: float, steps: int = STEPS) -> Run:
    """The note's gradient method: x - rate * gradient, again and again."""
    x, gradients = start.copy(), []
    with np.errstate(over="ignore"):  # the square of 2.5e12 does not fit into an integer
        for _ in range(steps):
            gradients.append(gradient_of_the_note(lambda x: x[0] ** 2 + x[1] ** 2, x))
            x = x - rate * gradients[-1]
    still = [i for i, gradient in enumerate(gradients, 1) if not gradient.any()]
    return Run(x, gradients[0], still[0] if still else None)


def section() -> Section:
    """Reproduces the published numbers, and shows that they are wrong."""
    integers = np.array(START, np.int64)
    floats = integers.astype(np.float64)
    rows, claims = [], []
    for rate, published in PUBLISHED:
        cut, right = descend(integers, rate), descend(floats, rate)
        exact = floats * (1 - 2 * rate) ** STEPS
        columns = (published, _printed(cut.end), _printed(right.end), _printed(exact))
        rows += [(f"{rate:g}" if i == 0 else "", f"x{i}", *(column[i] for column in columns)) for i in (0, 1)]
        same = _printed(cut.end) == published
        claims.append(Claim(f"rate {rate:g}: the integer start gives the published numbers, to every digit", same))
        error = float((distance(right.end, exact) / np.abs(exact)).max())
        claims.append(Claim(f"rate {rate:g}: a float start is right to {CLOSE:g}", error < CLOSE))
    diverged = float(np.abs(descend(floats, DIVERGING).end[0]))
    claims.append(Claim(f"rate {DIVERGING} diverges: |x0| = {diverged:.3g} after {STEPS} steps", diverged > 1e8))
    first = descend(integers, 1, steps=1).first
    claims.append(Claim(f"the first gradient with integers is {first[0]:g} instead of 6", bool(first[0] == 25000)))
    refusals = [_refusal(lambda: sum_of_squares(integers)), _refusal(lambda: oracle.verify(sum_of_squares, integers))]
    claims += [
        Claim(f"the integer start is rejected by {who}, by name", "x" in message.split() and "int64" in message)
        for who, message in zip(("the op", "oracle.verify"), refusals, strict=True)
    ]
    stuck = descend(integers, 1)
    at_the_end = stuck.end.astype(np.float64)
    given = oracle.verify(sum_of_squares, at_the_end, step=H).rows[0]
    chosen = oracle.verify(sum_of_squares, at_the_end).rows[0]
    claims += [
        Claim(f"the published run at rate 1 stands still from step {stuck.frozen} on", stuck.frozen is not None),
        Claim(
            f"there, a step of {H:g} moves no element: exact derivatives decide, or oracle.verify says why: {given.verdict}",
            given.diagnosis.startswith("step below one ULP") or (given.passed and "exact" in given.evidence),
        ),
        Claim(f"there, oracle.verify with steps of its own choice gives {chosen.verdict}", chosen.verdict is Verdict.PASS),
    ]
    ulp = float(np.spacing(np.abs(at_the_end)).min())
    return Section(
        f"The gradient method on x0^2 + x1^2 from (3, 2), {STEPS} steps, h = {H:g}",
        (
            """The published start is an array of integers: what the code writes back as x + h and x - h is cut off to whole
            numbers. Exact is (3, 2) times (1 - 2 rate)^100.""",
            Table(("rate", "", "published", "integer start", "float start", "exact"), tuple(rows)),
            """At rate 1 the right run goes to and fro between (3, 2) and (-3, -2). What an op and the checker say to the
            integers:""",
            *map(Quote, refusals),
            f"""The published run at rate 1 ends where one ULP of x ({ulp:.1e} and more) exceeds h, so that x + h = x. There,
            with h given as the step, the checker says:""",
            Quote(f"{given.verdict}: {given.diagnosis or given.evidence}"),
        ),
        tuple(claims),
    )


def _printed(x: Array) -> tuple[str, ...]:
    """The two numbers in NumPy's format."""
    return tuple(np.array2string(x).strip("[]").split())


def _refusal(call: Callable[[], object]) -> str:
    """The message of the TypeError that the call raises; empty if it raises none."""
    try:
        call()
    except TypeError as error:
        return str(error)
    return ""


EXPERIMENT = in_one_piece(lambda setting: section())
