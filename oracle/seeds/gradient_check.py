"""The gradient check of the two-layer net on three digits: published, repeated, and with a halved numerical gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.judging.evidence import Evidence
from oracle.judging.verdict import judge
from oracle.measures import Fit, fit_scale, largest
from oracle.row import Verdict
from oracle.seeds.comparison import PARAMETERS, Differences, Gradient, H, Point, Slice, compare, perform, slices
from oracle.seeds.experiment import Experiment, three_digits
from oracle.seeds.section import Claim, Quote, Section, Table, below
from oracle.text import digits as shown
from purenet.data import Digits
from purenet.models import two_layer_net

__all__ = [
    "EXPERIMENT",
    "check_section",
    "diagnose_witness",
    "halved",
    "halved_section",
    "near_a_kink",
    "pieces_at",
    "sections_of",
    "usual_halves",
]

Array = NDArray[Any]
Found = Mapping[str, Sequence[Differences]]

PUBLISHED = {"W1": "0.0398", "b1": "0.0009", "W2": "0.3926", "b2": "0.0412"}
BOOK = {"W1": "4e-10", "b1": "2e-9", "W2": "5e-9", "b2": "1.4e-7"}
SHORT = {(False, True): "raw,\nrelu", (False, False): "raw", (True, True): "scaled,\nrelu", (True, False): "scaled"}
KEYS = 200  # the number of nets whose gradients show which sizes are usual

DIFFERENCES = (1e-10, 1e-9, 1e-7)
"""Below these the mean, the largest and the relative error of the differences are rounding, and only the bound is printed."""
AUTODIFF = (1e-14, 1e-13, 1e-14)
"""The same bounds for the hand-written gradient against JAX's."""
PLAIN = 1e-8  # the rounding of plain differences with a step of H: eps times the loss over H
LEFT = 1e-3  # a factor explains the differences if it leaves less than this share of them
AGREE = 1e-6  # the relative distance at which a fitted factor counts as a known number


def pieces_at(digits: Digits, hidden: int = 50, *, quick: bool = False) -> list[Slice]:
    """The slices that are differentiated: at four points, and near a kink."""
    published = Point(digits, hidden, quick=quick)
    points = [replace(published, scaled=scaled, last_relu=relu) for scaled in (False, True) for relu in (True, False)]
    tasks = [task for point in points for task in slices(point, book=point.scaled and not point.last_relu)]
    return [*tasks, *slices(near_a_kink(published), ("W2",))]


def sections_of(tasks: Sequence[Slice], results: Sequence[Differences]) -> list[Section]:
    """The gradient check, and the same with half the numerical gradient, from the differences of these slices."""
    found: dict[int, dict[str, list[Differences]]] = {}
    points: list[Point] = []
    for task, result in zip(tasks, results, strict=True):
        if not points or points[-1] is not task.point:
            points.append(task.point)
        found.setdefault(len(points) - 1, {}).setdefault(task.parameter, []).append(result)
    *compared, kink = (compare(point, found[i]) for i, point in enumerate(points))
    return [check_section(compared, kink["W2"]), halved_section(compared[0], compared[2])]


def near_a_kink(point: Point) -> Point:
    """The point with the first net in which a step of H in W2 moves a logit across 0, where the last relu has its kink."""
    for key in range(1000):
        other = replace(point, key=key)
        net = other.params["net"]
        hidden = pn.relu(pn.affine(net["affine1"], other.x))
        if (np.abs(pn.affine(net["affine2"], hidden)) < H * hidden.max(axis=1, keepdims=True)).any():
            return other
    raise ValueError("near_a_kink: none of 1,000 nets has a logit within a step of 0")


# --------------------------------------------------------------------------------------------------- the check


def check_section(points: Sequence[Mapping[str, Gradient]], kink: Gradient) -> Section:
    """The published and the right numbers at each point, plain differences, and a right net near a kink."""
    parts: list[str | Table | Quote] = [
        """Affine, relu, affine, softmax with cross entropy; labels 5, 0, 4; weights 0.01 * normal, biases 0. The note has raw
        pixels, and another relu after the logits. Below, the hand-written gradient against central differences with
        uncertainty (diff.), of every element, and against JAX: the mean and the largest |difference|, and the latter relative
        to the largest entry (rel.)."""
    ]
    claims = []
    for found in points:
        parts += [f"{_point(found).name}:", _witnesses(found)]
        wrong = [g for g in found.values() if not g.judgement.verdict.passes]
        parts += [Quote(f"{g.judgement.verdict} {g.parameter}: {g.diagnosis}") for g in wrong]
        elements = sum(g.evidence.estimate.index.size for g in found.values())
        whole = sum(g.analytic.size for g in found.values())
        expected = sum(-(-g.analytic.size // g.point.every(name)) for name, g in found.items())
        these = f"all {whole:,}" if expected == whole else f"{expected:,} of {whole:,}"
        claims.append(
            Claim(
                f"{_point(found).name}: all {whole:,} elements agree with JAX, {these} with differences",
                not wrong and elements == expected,
            )
        )
    parts += [
        f"""Plain central differences with h = {H:g}, as notes take them: the mean |difference| at the same four points. The
        book's own check (scaled pixels, no relu) adds 1e-7 inside the logarithm (in log), of which its backward pass knows
        nothing:""",
        _plain(points),
    ]
    claims += _about_the_book(points)
    mean, most, _ = kink.off(kink.found.central)
    ours = kink.off(kink.evidence.estimate.value)
    parts += [
        f"""A logit near 0 sits on the kink of the last relu: in the net of key {kink.point.key}, a step of h in W2 carries one
        over it. There, plain central differences are off by {mean:.1e} in W2 in the mean ({most:.1e} at most), and the net is
        right: differences with uncertainty are off by {below(ours[0], PLAIN)} ({below(ours[1], PLAIN)}), verdict
        {kink.judgement.verdict}. A mean without a bound cannot tell the one from the other."""
    ]
    size = largest(kink.analytic)
    claims.append(
        Claim(
            f"next to a kink a right net passes, where plain differences are off by {most / size:.0e} of the largest entry",
            kink.judgement.verdict.passes and most > 1e-3 * size,
        )
    )
    return Section("The gradient check of the two-layer net on three digits", tuple(parts), tuple(claims))


def _elements(found: Mapping[str, Gradient]) -> str:
    """The elements of the parameters that are differentiated, in words."""
    some = [f"every {g.point.every(name)}th element of {name}" for name, g in found.items() if g.point.every(name) > 1]
    return " and ".join([*some, "all of the others"]) if some else "at all elements"


def _witnesses(found: Mapping[str, Gradient]) -> Table:
    rows = []
    for name, g in found.items():
        numbers = (*g.off(g.evidence.estimate.value), *g.off(g.autodiff))
        cells = [below(number, bound) for number, bound in zip(numbers, DIFFERENCES + AUTODIFF, strict=True)]
        rows.append((name, PUBLISHED[name], *cells, str(g.judgement.verdict)))
    heads = [f"{who}\n{what}" for who in ("diff.", "JAX") for what in ("mean", "max", "rel.")]
    return Table(("", "pub-\nlished", *heads, "verdict"), tuple(rows))


def _plain(points: Sequence[Mapping[str, Gradient]]) -> Table:
    book = _of_the_book(points)
    rows = []
    for name in PARAMETERS:
        plain = [below(found[name].off(found[name].found.central)[0], PLAIN) for found in points]
        rows.append((name, PUBLISHED[name], *plain, shown(book[name].off(book[name].found.book)[0]), BOOK[name]))
    heads = [SHORT[_point(found).scaled, _point(found).last_relu] for found in points]
    return Table(("", "published", *heads, "scaled,\nin log", "the book"), tuple(rows))


def _about_the_book(points: Sequence[Mapping[str, Gradient]]) -> list[Claim]:
    book = _of_the_book(points)
    with_it, without = book["b2"].off(book["b2"].found.book)[0], book["b2"].off(book["b2"].found.central)[0]
    return [
        Claim(
            f"the 1e-7 inside the logarithm is what the book's check sees in b2: {with_it:.1e} with it, "
            f"{below(without, PLAIN / 10)} without",
            with_it > PLAIN > 10 * without,
        )
    ]


def _of_the_book(points: Sequence[Mapping[str, Gradient]]) -> Mapping[str, Gradient]:
    return next(found for found in points if _point(found).scaled and not _point(found).last_relu)


# --------------------------------------------------------------------------------------------------- halved


def halved(e: Evidence) -> Evidence:
    """The evidence with half the numerical gradient."""
    names = ("value", "uncertainty", "left", "right", "slope_uncertainty")
    return replace(e, estimate=replace(e.estimate, **{name: getattr(e.estimate, name) / 2 for name in names}))


def diagnose_witness(e: Evidence) -> str:
    """A sentence about a numerical gradient that is a multiple of the other two; empty unless the pullback and JAX agree."""
    ours, fit = e.analytic[e.estimate.index], _factor(e)
    if fit is None or abs(fit.scale - 1) < AGREE or e.autodiff is None:
        return ""
    if largest(e.analytic - e.autodiff) > e.budget.against_reference:
        return ""
    error = np.linalg.norm(ours - e.estimate.value)
    if not np.linalg.norm(ours - fit.scale * e.estimate.value) < LEFT * error:
        return ""
    known = {2.0: "half of it: a one-sided difference divided by 2h?", 0.5: "twice it: a central difference divided by h?"}
    named = next(
        (words for value, words in known.items() if abs(fit.scale - value) < AGREE * value), f"{1 / fit.scale:.6g} times it"
    )
    return (
        f"the pullback and JAX agree, and {e.parameter.name} is {fit.scale:.6g} times the numerical gradient everywhere "
        f"(R2 = {fit.r2:.6f}): the gradient is right, the numerical one is {named}"
    )


def _factor(e: Evidence) -> Fit | None:
    return fit_scale(e.analytic[e.estimate.index], e.estimate.value)


def halved_section(found: Mapping[str, Gradient], on_scaled_pixels: Mapping[str, Gradient]) -> Section:
    """The published check with half the numerical gradient, and the verdicts and diagnoses of the checker."""
    usual = usual_halves(_point(found))
    rows, diagnoses, verdicts, scales = [], [], [], []
    for name, g in found.items():
        evidence = halved(g.evidence)
        fit = _factor(evidence)
        scales.append(fit.scale if fit else float("nan"))
        verdicts.append(judge(evidence).verdict)
        diagnoses.append(diagnose_witness(evidence))
        numbers = (g.off(evidence.estimate.value)[0], g.off(g.found.one_sided)[0], *np.quantile(usual[name], (0.5, 0.0, 1.0)))
        rows.append((name, PUBLISHED[name], *(f"{n:.4f}" for n in numbers), f"{scales[-1]:.6f}", str(verdicts[-1])))
    agreed = [g.off(g.autodiff)[2] for g in found.values()]
    claims = (
        Claim(
            f"half the numerical gradient is called out for {', '.join(found)}, by name",
            all(v is Verdict.FAIL for v in verdicts) and all("the numerical one is half of it" in words for words in diagnoses),
        ),
        Claim("the fitted scale is 2 for each, to 6 digits", bool(np.all(np.abs(np.array(scales) - 2) < AGREE))),
        Claim(
            f"hand-written and JAX agree meanwhile: {below(max(agreed), AUTODIFF[-1])} of the largest entry",
            all(largest(g.analytic - g.autodiff) <= g.evidence.budget.against_reference for g in found.values()),
        ),
    )
    small = {name: float(np.abs(g.analytic).mean()) / 2 for name, g in on_scaled_pixels.items()}
    return Section(
        "The same net with half the numerical gradient",
        (
            f"""{_point(found).name}. If the numerical gradient is half the true one, the mean |difference| is half the mean
            |gradient|: what a check then prints for this net (halved), what a one-sided difference divided by 2h gives for it,
            and the first over {KEYS} nets (keys 0 to {KEYS - 1}): the middle, the least and the most.""",
            Table(
                ("", "pub-\nlished", "halved", "one-\nsided", "mid-\ndle", "least", "most", "fitted\nscale", "verdict"),
                tuple(rows),
            ),
            f"""That the published figures come from such a halving is inference: the note does not show its differentiation
            function. But they lie among what halving gives on raw pixels; on scaled ones it gives {small["W1"]:.1g} in W1 and
            {small["W2"]:.1g} in W2. What the checker says of the halved gradient of W1, and of the others alike:""",
            Quote(diagnoses[0]),
        ),
        claims,
    )


def usual_halves(point: Point) -> dict[str, Array]:
    """Half the mean |gradient| of each parameter in each of `KEYS` nets."""
    goal, x = two_layer_net.goal(last_relu=point.last_relu), point.x
    sizes = []
    for key in range(KEYS):
        _, residuals = goal.fwd(replace(point, key=key).params, x, **point.options)
        net = goal.bwd(residuals, 1.0)[0]["net"]
        sizes.append([float(np.abs(net[layer][leaf]).mean()) / 2 for layer in ("affine1", "affine2") for leaf in ("w", "b")])
    return dict(zip(PARAMETERS, np.array(sizes).T, strict=True))


def _point(found: Mapping[str, Gradient]) -> Point:
    return next(iter(found.values())).point


EXPERIMENT = Experiment(
    pieces=lambda setting: pieces_at(three_digits(setting.data), quick=setting.quick), perform=perform, sections=sections_of
)
