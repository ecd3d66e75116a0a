"""The published notes: every number of the page, and that what is wrong makes it fail."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import purenet as pn
from oracle import seeds
from oracle.differences import partials
from oracle.judging.verdict import judge
from oracle.row import Verdict
from oracle.seeds import descent, facts, section
from oracle.seeds.comparison import (
    EVERY,
    PARAMETERS,
    Differences,
    Gradient,
    H,
    Point,
    Slice,
    compare,
    logits_of,
    loss_of,
    loss_of_the_book,
    perform,
    slices,
)
from oracle.seeds.experiment import Experiment
from oracle.seeds.gradient_check import (
    PUBLISHED,
    check_section,
    diagnose_witness,
    halved,
    halved_section,
    near_a_kink,
    pieces_at,
    sections_of,
    usual_halves,
)
from oracle.seeds.section import Claim, Quote, Section, Table
from purenet.data import Digits

pytestmark = pytest.mark.xdist_group("published notes")  # one worker differentiates the small net once for all tests

DIGITS = seeds.three_digits(None)
STROKES = Digits(DIGITS.images[:, 213:225].copy(), DIGITS.labels)
"""A part of the images: a net small enough to be differentiated in a test."""
HIDDEN = 3


@cache
def pieces() -> list[Slice]:
    return pieces_at(STROKES, HIDDEN)


@cache
def differences() -> list[Differences]:
    """The differences of all pieces. They do not depend on the pullback, so a wrong one is compared with the same."""
    return [perform(piece) for piece in pieces()]


def gradients_of(scaled: bool, last_relu: bool) -> dict[str, Gradient]:
    """The gradients at one of the four points, compared with these differences."""
    wanted = small(scaled=scaled, last_relu=last_relu)
    found = {
        piece.parameter: [result]
        for piece, result in zip(pieces(), differences(), strict=True)
        if (piece.point.scaled, piece.point.last_relu, piece.point.key) == (scaled, last_relu, wanted.key)
    }
    return compare(wanted, found)


def replayed() -> seeds.Found:
    """The gradient method, the gradient check and the facts, the check of a net small enough for a test."""
    gradient_check = Experiment(
        lambda setting: list(range(len(pieces()))), lambda i: differences()[i], lambda _, found: sections_of(pieces(), found)
    )
    with mock.patch.dict(seeds.EXPERIMENTS, {"gradient_check": gradient_check}):
        return seeds.run(seeds.Setting(), ["descent", "gradient_check", "facts"], quiet=True)


@pytest.fixture(scope="module")
def found() -> seeds.Found:
    return replayed()


def checked(point: Point, *parameters: str, book: bool = False) -> dict[str, Gradient]:
    results: dict[str, list[Differences]] = {}
    for task in slices(point, parameters or tuple(PARAMETERS), book=book):
        results.setdefault(task.parameter, []).append(perform(task))
    return compare(point, results)


def small(**options: Any) -> Point:
    return Point(STROKES, HIDDEN, **options)


# --------------------------------------------------------------------------------------------- the whole page


def test_everything_holds(found: seeds.Found) -> None:
    assert "FALSE" not in found.text
    assert "claims of the published notes checked: " in found.text
    assert found.passed


def test_the_text_fits_into_80_columns(found: seeds.Found) -> None:
    assert max(map(len, found.text.splitlines())) <= 80


def test_published_and_right_stand_side_by_side(found: seeds.Found) -> None:
    for page in (found.text, found.page):
        for number in ("-6.35809854e-07", "6.11110793e-10", "-2499150084997", "2.97441101", "2.99940006", *PUBLISHED.values()):
            assert number in page.replace("\\", "")


def test_the_page_is_the_same_each_time(found: seeds.Found) -> None:
    differences.cache_clear()
    assert replayed() == found


def test_other_rounding_errors_do_not_change_the_page() -> None:
    generator = np.random.default_rng(0)

    def nudged(d: Differences) -> Differences:
        noise = generator.uniform(-1e-13, 1e-13, d.estimate.value.shape)
        moved = np.where(d.estimate.value == 0, 0.0, noise)
        estimate = replace(d.estimate, value=d.estimate.value + moved, uncertainty=d.estimate.uncertainty + np.abs(moved))
        return d._replace(estimate=estimate, central=d.central + 10 * moved)

    once, again = (section.page(sections_of(pieces(), found)) for found in (differences(), [nudged(d) for d in differences()]))
    assert once == again


def test_more_processes_give_the_same_page() -> None:
    once, again = (seeds.run(seeds.Setting(), ["descent", "valley"], jobs=jobs, quiet=True) for jobs in (1, 2))
    assert once == again
    assert list(once.pictures) == ["valley.svg"]


@pytest.mark.parametrize("name", ["W1", "W2"])
def test_a_quick_run_skips_elements_of_large_parameters_and_says_so(name: str) -> None:
    point = Point(STROKES, HIDDEN, quick=True)
    assert point.every(name) == 1
    full = Point(DIGITS, quick=True)
    assert full.every(name) == {"W1": EVERY, "W2": 1}[name]
    assert np.gcd(EVERY, 50) == 1  # or some hidden units would never be asked


def test_the_page_is_markdown(found: seeds.Found) -> None:
    lines = found.page.splitlines()
    assert lines[0] == "# The published notes"
    assert sum(line.startswith("## ") for line in lines) == 4
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) > 30
    assert found.page.endswith("\n")


def test_all_elements_are_differentiated(found: seeds.Found) -> None:
    elements = 12 * HIDDEN + HIDDEN + HIDDEN * 10 + 10
    assert found.text.count(f"all {elements} elements") == 4


def test_the_full_net_is_cut_into_slices_that_hold_every_element_once() -> None:
    tasks = slices(Point(DIGITS))
    sizes = {"W1": 39200, "b1": 50, "W2": 500, "b2": 10}
    assert sum(sizes.values()) == 39760
    for name, size in sizes.items():
        taken = [np.arange(task.part, size, task.parts) for task in tasks if task.parameter == name]
        assert sorted(np.concatenate(taken)) == list(range(size))
        assert max(map(len, taken)) <= 2048


@pytest.fixture
def wrong_relu() -> Iterator[None]:
    right = pn.relu.backward
    pn.relu.backward = lambda positive, dy: (np.where(positive, dy, 0.1 * dy),)
    yield
    pn.relu.backward = right


@pytest.mark.usefixtures("wrong_relu")
def test_a_wrong_pullback_fails() -> None:
    wrong = replayed()
    assert not wrong.passed
    assert "are FALSE" in wrong.text
    assert "Claim: raw pixels 0..255, a relu after the logits" in wrong.text
    assert "result: FALSE" in wrong.text
    assert "FAIL W1" in wrong.text
    assert "**false**" in wrong.page


def test_wrong_differences_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    right = partials._estimated  # with the usual steps and in full sweeps

    def half(*arguments: Any, **options: Any) -> Any:
        estimate = right(*arguments, **options)
        return replace(estimate, value=estimate.value / 2)

    monkeypatch.setattr(partials, "_estimated", half)
    assert all(g.judgement.verdict is Verdict.FAIL for g in checked(small()).values())


# --------------------------------------------------------------------------------------------- sections


def test_one_false_claim_is_enough() -> None:
    good, bad = (Section("A title", ("Prose.",), (Claim("this", True), Claim("that", holds))) for holds in (True, False))
    assert good.passed
    assert not bad.passed
    assert "Claim: that\n  result: FALSE" in section.text([good, bad])
    assert "4 claims of the published notes checked: 3 hold; 1 is FALSE" in section.text([good, bad])
    assert "- **false**: that" in section.page([bad])


def test_a_section_without_claims_does_not_pass() -> None:
    assert not Section("A title", ("Prose.",), ()).passed


def test_markup_in_messages_is_escaped_on_the_page() -> None:
    page = section.page([Section("x*y", (Quote("a*b <c>"), Table(("one-\ntwo", "x\ny"), (("|", "1"),))), (Claim("x", True),))])
    assert "## x\\*y" in page
    assert "> a\\*b &lt;c&gt;" in page
    assert "| onetwo" in page
    assert "x y" in page


# --------------------------------------------------------------------------------------------- the gradient method


@pytest.mark.parametrize(("rate", "published"), descent.PUBLISHED)
def test_integers_give_the_published_numbers(rate: float, published: tuple[str, str]) -> None:
    end = descent.descend(np.array([3, 2]), rate).end
    assert np.array2string(end) == f"[{' '.join(published)}]" or np.array2string(end) == f"[ {' '.join(published)}]"
    assert end.dtype == (np.int64 if rate == 1 else np.float64)


@pytest.mark.parametrize("rate", [0.1, 1, 1e-6])
def test_floats_give_the_right_numbers(rate: float) -> None:
    end = descent.descend(np.array([3.0, 2.0]), rate).end
    np.testing.assert_allclose(end, np.array([3, 2]) * (1 - 2 * rate) ** 100, rtol=1e-8)


def test_the_first_gradient_of_integers() -> None:
    assert descent.gradient_of_the_note(lambda x: x[0] ** 2 + x[1] ** 2, np.array([3, 2])).tolist() == [25000, 15000]
    right = descent.gradient_of_the_note(lambda x: x[0] ** 2 + x[1] ** 2, np.array([3.0, 2.0]))
    np.testing.assert_allclose(right, [6, 4], rtol=1e-9)


def test_rate_1_oscillates_and_only_a_larger_one_diverges() -> None:
    np.testing.assert_allclose(descent.descend(np.array([3.0, 2.0]), 1, steps=99).end, [-3, -2], rtol=1e-8)
    assert np.abs(descent.descend(np.array([3.0, 2.0]), 1.1).end).min() > 1e8


def test_the_published_run_freezes_and_the_right_one_does_not() -> None:
    assert descent.descend(np.array([3, 2]), 1).frozen == 4
    assert descent.descend(np.array([3.0, 2.0]), 1).frozen is None


def test_the_section_names_the_integers_and_the_step() -> None:
    quotes = [part.words for part in descent.section().parts if isinstance(part, Quote)]
    assert quotes[0].startswith("sum_of_squares: x must be a floating-point array")
    assert quotes[0].endswith("got int64")
    assert quotes[1].startswith("verify: x of sum_of_squares must be a floating-point array")
    assert "got int64; x + h would be truncated" in quotes[1]
    assert quotes[2].startswith(("PASS: numerical 2/2, exact 2/2", "INCONCLUSIVE: step below one ULP: 2 of 2 elements"))


def test_other_numbers_than_the_published_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "PUBLISHED", (descent.Published(0.1, ("-6.35809855e-07", "-3.81434987e-07")),))
    assert [claim.words for claim in descent.section().claims if not claim.holds] == [
        "rate 0.1: the integer start gives the published numbers, to every digit"
    ]


def test_an_accepted_integer_start_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_refusal", lambda call: "")
    assert [claim.words for claim in descent.section().claims if not claim.holds] == [
        "the integer start is rejected by the op, by name",
        "the integer start is rejected by oracle.verify, by name",
    ]


def test_what_is_not_refused_says_nothing() -> None:
    assert descent._refusal(lambda: descent.sum_of_squares(np.array([3.0, 2.0]))) == ""


# --------------------------------------------------------------------------------------------- the gradient check


def test_the_three_digits() -> None:
    assert DIGITS.labels.tolist() == [5, 0, 4]
    assert DIGITS.images.shape == (3, 784)


@pytest.mark.parametrize("last_relu", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_what_is_differentiated_is_what_the_op_computes(scaled: bool, last_relu: bool) -> None:
    point = Point(DIGITS, scaled=scaled, last_relu=last_relu)
    assert loss_of(point)(point.params) == point.goal(point.params, point.x, **point.options)
    assert abs(loss_of_the_book(point)(point.params) - loss_of(point)(point.params)) < 1e-5


def test_the_point_is_that_of_the_notes() -> None:
    point = Point(DIGITS)
    assert point.x.max() == 255
    assert replace(point, scaled=True).x.max() == 1
    first, second = point.params["net"]["affine1"], point.params["net"]["affine2"]
    assert (first["w"].shape, second["w"].shape) == ((784, 50), (50, 10))
    assert not first["b"].any()
    assert not second["b"].any()
    assert abs(first["w"].std() - 0.01) < 2e-4
    logits = logits_of(point)(point.params)
    assert logits.min() == 0
    assert logits_of(replace(point, last_relu=False))(point.params).min() < 0


@pytest.mark.parametrize("last_relu", [False, True])
def test_a_slice_of_the_full_net_agrees_with_jax(last_relu: bool) -> None:
    point = Point(DIGITS, last_relu=last_relu, scaled=True)
    estimate = perform(replace(slices(point, ("W1",))[0], part=20, parts=400)).estimate
    _, residuals = point.goal.fwd(point.params, point.x, **point.options)
    ours = point.goal.bwd(residuals, 1.0)[0]["net"]["affine1"]["w"].ravel()
    assert estimate.index.size == 98
    assert np.count_nonzero(ours[estimate.index]) > 10
    assert np.all(np.abs(estimate.value - ours[estimate.index]) <= 4 * estimate.uncertainty + 1e-14)
    np.testing.assert_allclose(estimate.value, ours[estimate.index], atol=1e-8 * np.abs(ours).max())


def test_the_biases_of_the_full_net_at_both_witnesses() -> None:
    for name, g in checked(Point(DIGITS), "b1", "b2").items():
        assert g.judgement.verdict is Verdict.PASS, g.diagnosis
        assert g.off(g.evidence.estimate.value)[2] < 1e-9
        assert g.off(g.autodiff)[2] < 1e-14
        assert g.evidence.estimate.index.size == {"b1": 50, "b2": 10}[name]


def test_the_book_is_off_in_b2_by_what_it_adds_inside_the_logarithm() -> None:
    (g,) = checked(Point(DIGITS, scaled=True, last_relu=False), "b2", book=True).values()
    assert f"{g.off(g.found.book)[0]:.1e}" == "1.4e-07"  # as published in the book's own check
    assert g.off(g.found.central)[0] < 2e-10
    assert g.off(g.evidence.estimate.value)[0] < 2e-12


def test_next_to_a_kink_plain_differences_are_off_and_the_net_passes() -> None:
    point = near_a_kink(Point(DIGITS))
    logits = logits_of(replace(point, last_relu=False))(point.params)
    assert np.abs(logits).min() < 3e-3
    (g,) = checked(point, "W2").values()
    mean, most, _ = g.off(g.found.central)
    assert 1e-4 < mean < 1e-2
    assert most > 1e-2
    assert g.judgement.verdict.passes, g.diagnosis
    assert g.off(g.evidence.estimate.value)[1] < 1e-9


def test_plain_differences_of_a_smooth_net_are_as_good_as_published() -> None:
    for g in gradients_of(scaled=True, last_relu=False).values():
        assert 0 < g.off(g.found.central)[0] < 2e-10
        np.testing.assert_allclose(g.found.one_sided, g.analytic / 2, atol=H)


def test_an_element_that_was_not_differentiated_is_noticed() -> None:
    points: list[Mapping[str, Gradient]] = [gradients_of(scaled, last_relu=False) for scaled in (False, True)]
    kink = compare(pieces()[-1].point, {"W2": differences()[-1:]})["W2"]
    assert check_section(points, kink).passed
    g = points[0]["W2"]
    few = replace(g.evidence.estimate, index=g.evidence.estimate.index[1:])
    points[0] = {**points[0], "W2": replace(g, evidence=replace(g.evidence, estimate=few))}
    assert not check_section(points, kink).passed


# --------------------------------------------------------------------------------------------- half the gradient


@pytest.fixture(scope="module")
def gradients() -> dict[str, Gradient]:
    return gradients_of(scaled=False, last_relu=True)


def test_half_the_numerical_gradient_is_called_out(gradients: dict[str, Gradient]) -> None:
    for name, g in gradients.items():
        evidence = halved(g.evidence)
        assert judge(evidence).verdict is Verdict.FAIL
        words = diagnose_witness(evidence)
        assert f"{name} is 2 times the numerical gradient everywhere" in words
        assert "the gradient is right, the numerical one is half of it: a one-sided difference divided by 2h?" in words


@pytest.mark.parametrize(
    ("factor", "words"), [(0.5, "the numerical one is twice it"), (3.0, "the numerical one is 0.333333 times it")]
)
def test_another_factor_is_called_what_it_is(gradients: dict[str, Gradient], factor: float, words: str) -> None:
    e = gradients["W2"].evidence
    assert words in diagnose_witness(replace(e, estimate=replace(e.estimate, value=e.estimate.value / factor)))


def test_a_right_numerical_gradient_is_not_called_wrong(gradients: dict[str, Gradient]) -> None:
    assert diagnose_witness(gradients["W2"].evidence) == ""


def test_a_wrong_pullback_is_not_blamed_on_the_differences(gradients: dict[str, Gradient]) -> None:
    e = gradients["W2"].evidence
    assert diagnose_witness(replace(e, analytic=2 * e.analytic)) == ""


def test_a_difference_without_a_factor_has_no_diagnosis(gradients: dict[str, Gradient]) -> None:
    e = gradients["W2"].evidence
    value = e.estimate.value * np.linspace(0.4, 0.6, e.estimate.value.size)
    assert diagnose_witness(replace(e, estimate=replace(e.estimate, value=value))) == ""


def test_the_halved_section_fails_where_the_pullback_is_wrong(gradients: dict[str, Gradient]) -> None:
    assert halved_section(gradients, gradients).passed
    g = gradients["W1"]
    wrong = {**gradients, "W1": replace(g, evidence=replace(g.evidence, analytic=1.5 * g.analytic))}
    assert not halved_section(wrong, gradients).passed


def test_the_published_figures_lie_among_those_of_halving_and_only_on_raw_pixels() -> None:
    for name, halves in usual_halves(Point(DIGITS)).items():
        published = float(PUBLISHED[name])
        assert halves.min() < published < halves.max()
        assert 0.9 < published / np.median(halves) < 1.1
    scaled = usual_halves(Point(DIGITS, scaled=True))
    assert scaled["W1"].max() < 0.01 * float(PUBLISHED["W1"])
    assert scaled["W2"].max() < 0.01 * float(PUBLISHED["W2"])


# --------------------------------------------------------------------------------------------- facts


def test_the_facts_hold() -> None:
    claims = facts.section(DIGITS).claims
    assert all(claim.holds for claim in claims)
    words = "\n".join(claim.words for claim in claims)
    assert "0.25 at 0" in words
    assert "10 at (3, 2)" in words
    assert "the gradient of l1_penalty is lambda sign(W)" in words


def test_equal_weights_give_equal_gradients_and_zeros_none() -> None:
    equal = facts.unit_gradients(DIGITS, 0.01)
    assert np.abs(equal).max() > 1e-3
    np.testing.assert_allclose(equal, np.broadcast_to(equal[0], equal.shape), rtol=0, atol=1e-15)
    assert not facts.unit_gradients(DIGITS, 0.0).any()


def test_a_wrong_penalty_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pn.l2_penalty, "backward", lambda saved, dy: (2 * saved[1] * dy * saved[0],))
    assert next(claim.words for claim in facts.section(STROKES).claims if not claim.holds).startswith(
        "the gradient of l2_penalty"
    )


# --------------------------------------------------------------------------------------------- where the digits come from


def idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()))


def folder(path: Path, labels: list[int]) -> Path:
    images = np.concatenate([DIGITS.images, DIGITS.images])[: len(labels)].reshape(-1, 28, 28)
    for part in ("train", "t10k"):
        idx(path / f"{part}-images-idx3-ubyte.gz", images)
        idx(path / f"{part}-labels-idx1-ubyte.gz", np.array(labels))
    return path


def test_a_folder_with_the_full_set_gives_the_same_digits(tmp_path: Path) -> None:
    digits = seeds.three_digits(folder(tmp_path, [5, 0, 4, 1]))
    np.testing.assert_array_equal(digits.images, DIGITS.images)
    np.testing.assert_array_equal(digits.labels, DIGITS.labels)


@pytest.mark.parametrize("labels", [[5, 0, 3, 1], [5, 0]])
def test_another_set_is_refused(tmp_path: Path, labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected the training set to begin with the digits 5, 0, 4, found \[5, 0"):
        seeds.three_digits(folder(tmp_path, labels))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        seeds.three_digits(tmp_path / "nowhere")
