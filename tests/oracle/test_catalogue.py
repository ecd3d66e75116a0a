"""The catalogue as a whole: every op is right, to the digits promised, and an error of 1e-9 in one entry is found.

What is true of all ops is tested here, over all of them; a new Spec needs no new test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import optree
import pytest

import oracle
from oracle import Case, Deviation, Draw, Error, Flag, Spec, Verdict, catalogue
from oracle.arrays import leaves_of, random_cotangent
from oracle.power.smallest import NOT_SMOOTH, plant
from oracle.row import Row
from oracle.subject import Subject
from purenet import Op
from tests.oracle.few_arguments import FewArguments
from tests.oracle.reported import REPORT, reported

SPECS = {spec.name: spec for spec in catalogue.specs()}
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

NUMERICAL = 1e-11  # of the largest entry: how near the differences must come on smooth cases
AUTODIFF = 1e-12  # and JAX
SMALL = 1e-9  # an error of one entry that must be found in any entry that is not small


def of(spec: Spec, *values: Any, name: str = "") -> Any:
    """A parameter of a test of this op. All of them go to one worker, which keeps what JAX has compiled for it."""
    return pytest.param(spec, *values, id=f"{spec.name}{name}", marks=pytest.mark.xdist_group(spec.name))


every_spec = pytest.mark.parametrize("spec", [of(spec) for spec in SPECS.values()])


def smooth(spec: Spec) -> list[Case]:
    """The cases at which nothing hides a small error."""
    return [case for case in spec.cases if not case.flags & NOT_SMOOTH]


# ---------------------------------------------------------------------------------------------- right, and accurate


def wrong_of(case: Case, rows: list[Row]) -> list[str]:
    """What these rows lack of the digits promised."""
    at_kink, another = Flag.AT_KINK in case.flags, Flag.NOT_THE_DERIVATIVE in case.flags
    verdicts = {row.verdict for row in rows}
    wrong = [] if verdicts <= {Verdict.PASS, Verdict.KINK} else [f"verdicts {verdicts}"]
    if (Verdict.KINK in verdicts) != at_kink:
        wrong.append(f"verdicts {verdicts}, flags {case.flags}")
    for row in rows:
        known = max(NUMERICAL, row.numerical_uncertainty or 0.0)
        if (row.numerical_error is None) != another or (row.numerical_error or 0.0) > known:
            wrong.append(f"{row.parameter}: numerical_error {row.numerical_error}")
        for name in ("forward_error", "autodiff_error"):
            error = getattr(row, name)
            if error is None or not error <= AUTODIFF:
                wrong.append(f"{row.parameter}: {name} {error}")
    return wrong


def assert_the_report_has_every_case_to_the_digits_promised(spec: Spec) -> None:
    for case in spec.cases:
        rows = reported().get((spec.name, case.name), [])
        assert rows, f"{spec.name}, {case.name} is not in {REPORT.name}: run `make verify`"
        assert {row.parameter for row in rows} == set(leaves(spec, case))
        assert wrong_of(case, rows) == [], case.name


def test_fewer_digits_in_the_report_are_noticed() -> None:
    spec = SPECS["sigmoid"]
    case = spec.cases[0]
    rows = reported()[spec.name, case.name]
    assert wrong_of(case, rows) == []
    for change in (
        {"numerical_error": 2 * NUMERICAL, "numerical_uncertainty": 0.0},
        {"numerical_error": None},
        {"forward_error": 2 * AUTODIFF},
        {"autodiff_error": None},
        {"autodiff_error": float("nan")},
        {"verdict": Verdict.KINK},
        {"verdict": Verdict.INCONCLUSIVE},
    ):
        assert wrong_of(case, [replace(rows[0], **change), *rows[1:]]), change


def far_out() -> Iterator[Any]:
    """Ops where they saturate, each at one such case, in float16: float32 and bfloat16 end much farther out.

    `test_false_alarms.py` verifies a random use of many ops in float32, and of each chain, which rounds on its way, in any
    narrow dtype. A statement below is that ops in 16 bits are float32 rounded once.
    """
    for spec in SPECS.values():
        far = [case for case in spec.cases if Flag.SATURATED in case.flags]
        if far:
            yield of(spec, far)


@pytest.mark.parametrize(("spec", "cases"), list(far_out()))
def test_far_out_float16_is_as_accurate_as_jax(spec: Spec, cases: list[Case]) -> None:
    result = oracle.verify_case(spec, Draw("far out", spec.name).choice(cases), dtype="float16")
    assert {row.dtype for row in result.rows} == {"float16"}
    assert {row.verdict for row in result.rows} == {Verdict.PASS}, str(result)


# ---------------------------------------------------------------------------------------------- what is wrong is found


def leaves(spec: Spec, case: Case) -> list[str]:
    """The parameters of a case: `params.w`, `x`."""
    arguments, options = case.draw(spec.name)
    names = Subject.of(spec.op, options).names(len(arguments))
    return [leaf.path for leaf in leaves_of(names, arguments)]


def gradients(spec: Spec, case: Case) -> list[Any]:
    """The gradient that `verify` sees of each parameter."""
    arguments, options = case.draw(spec.name)
    y, residuals = spec.op.fwd(*arguments, **options)
    return optree.tree_leaves(spec.op.bwd(residuals, random_cotangent(y)))


def assert_found(spec: Spec, case: Case, wrong: dict[int, tuple[int, ...]], right: Collection[int] | None = None) -> None:
    """An error of SMALL in these entries turns their rows into FAIL at that index, and no other row.

    With `right`, the others are left as they are, and only these and the wrong ones are verified.
    """
    arguments, options = case.draw(spec.name)
    op = spec.op
    for leaf, index in wrong.items():
        op = plant(op, leaf, index, 1 + SMALL)
    if right is None:
        names = leaves(spec, case)
        result = oracle.verify(op, *arguments, options=options, reference=spec.reference, flags=case.flags, views=spec.views)
    else:
        few = FewArguments(op, [*wrong, *right], arguments)
        names = {leaf: f"argument {k}" for k, leaf in enumerate(few.leaves)}
        by_jax = few.within(spec.reference)
        result = oracle.verify(few.pair, *few.given, options=options, reference=by_jax, flags=case.flags, views=spec.views)
    found = {row.parameter: row for row in result.rows if not row.passed}
    assert set(found) == {names[leaf] for leaf in wrong}, str(result)
    for leaf, index in wrong.items():
        assert (found[names[leaf]].verdict, found[names[leaf]].worst_index) == (Verdict.FAIL, index), str(result)


@cache
def not_small(spec_name: str, case_name: str, leaf: int) -> list[tuple[int, ...]]:
    """The entries of at least a tenth of the largest."""
    gradient = gradients(SPECS[spec_name], SPECS[spec_name].case(case_name))[leaf]
    large = np.abs(gradient) >= 0.1 * np.abs(gradient).max()
    return [tuple(map(int, index)) for index in np.argwhere(large)]


def small(spec: Spec) -> list[Case]:
    """The smaller half of the smooth cases: a planted error is as easy to hide there, and found in less time."""

    def size(case: Case) -> int:
        return sum(np.size(leaf) for leaf in optree.tree_leaves(case.draw(spec.name)[0]))

    ordered = sorted(smooth(spec), key=size)
    return ordered[: (len(ordered) + 1) // 2]


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("spec", [of(spec) for spec in SPECS.values() if smooth(spec)])  # the gradient of step is 0
def test_a_billionth_too_much_in_one_entry_is_found(spec: Spec) -> None:
    """In a case drawn from the small ones, of every parameter but one: a FAIL at its entry, and none of the one.

    A net or another chain may have many parameters: errors are planted in two of them, and a third is right. Each op that it is
    made of is tested by itself.
    """
    draw = Draw("one entry", spec.name)
    case = draw.choice(small(spec))
    wrong = list(range(len(leaves(spec, case))))
    is_chain = type(spec.op) is not Op
    most = max(1, min(len(wrong) - 1, 2 if is_chain else len(wrong)))
    right = []
    while len(wrong) > most:
        right.append(draw.choice(wrong))
        wrong.remove(right[-1])
    planted = {leaf: draw.choice(not_small(spec.name, case.name, leaf)) for leaf in wrong}
    assert_found(spec, case, planted, right[:1] if is_chain else None)


def test_it_is_found_in_an_argument_too_large_to_look_at_every_entry() -> None:
    spec = SPECS["two_layer_net_goal"]
    case = spec.case("three real digits")
    leaf = leaves(spec, case).index("params.net.affine1.w")
    assert gradients(spec, case)[leaf].size == 784 * 50
    entries = not_small(spec.name, case.name, leaf)
    assert_found(spec, case, {leaf: entries[len(entries) // 3]})


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("spec", [of(spec) for spec in SPECS.values() if smooth(spec)])
def test_a_tenth_of_that_in_the_largest_entry_is_never_a_pass(spec: Spec) -> None:
    case = Draw("a case", spec.name).choice(small(spec))
    found = gradients(spec, case)
    leaf = Draw("one parameter", spec.name).between(0, len(found) - 1)
    index = tuple(map(int, np.unravel_index(np.abs(found[leaf]).argmax(), found[leaf].shape)))
    arguments, options = case.draw(spec.name)
    few = FewArguments(plant(spec.op, leaf, index, 1 + 0.1 * SMALL), [leaf], arguments)
    result = oracle.verify(few.pair, *few.given, options=options, flags=case.flags, views=spec.views)
    assert not result.rows[0].passed, str(result)


# ---------------------------------------------------------------------------------------------- declarations


def deviations() -> Iterator[Any]:
    for spec in SPECS.values():
        for deviation in spec.deviations:
            yield pytest.param(deviation, id=f"{spec.name}-{deviation.point}", marks=pytest.mark.xdist_group(spec.name))


@pytest.mark.parametrize("deviation", list(deviations()))
def test_a_declared_deviation_is_as_declared(deviation: Deviation) -> None:
    np.testing.assert_array_equal(deviation.measure(), (deviation.ours, deviation.jax))  # JAX's may be NaN
    assert deviation.ours != deviation.jax
    assert deviation.why


def test_the_slope_of_the_absolute_value_at_0_is_declared() -> None:
    assert [(d.ours, d.jax) for d in SPECS["l1_penalty"].deviations] == [(0.0, 1.0)]


def raised(op: Any, error: Error, draw: Draw) -> BaseException | None:
    try:
        op.fwd(*error.arguments(draw), **error.options)
    except BaseException as caught:
        return caught
    return None


def assert_bad_input_raises_what_is_declared_and_nothing_else(spec: Spec) -> None:
    for error in spec.errors:
        caught = raised(spec.op, error, Draw(spec.name, error.name))
        said = f"{error.name}: {error.exception.__name__} {error.match!r} is declared, and it raised {caught!r}"
        assert type(caught) is error.exception, said
        assert error.match in str(caught), said
        assert "\n" not in str(caught), said
        assert caught.__context__ is None or caught.__suppress_context__, said


def are_broadcast(arrays: list[Any]) -> bool:
    """Whether an array is broadcast with another: all its axes, or those before the three of attention."""

    def widened(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        try:
            return np.broadcast_shapes(a, b) != a
        except ValueError:
            return False

    pairs = [(a.shape, b.shape) for a in arrays for b in arrays]
    return any(widened(a, b) or (min(len(a), len(b)) >= 3 and widened(a[:-3], b[:-3])) for a, b in pairs)


def assert_flags_tell_the_truth(spec: Spec) -> None:
    for case in spec.cases:
        arguments, options = case.draw(spec.name)
        given = [np.asarray(leaf) for leaf in optree.tree_leaves(arguments)]
        arrays = given + [leaf for leaf in map(np.asarray, optree.tree_leaves(options)) if leaf.dtype.kind in "fiub"]
        found = gradients(spec, case)
        dead = [g.size > 0 and not g.any() for g in found]
        said = {flag: flag in case.flags for flag in Flag}
        if said[Flag.EMPTY_BATCH]:
            assert any(a.size == 0 for a in arrays), case.name
        else:
            assert said[Flag.ZERO_GRADIENT] == any(dead) or any(g.size == 0 for g in found), case.name
            assert said[Flag.ZERO_GRADIENT] or all(g.size for g in found), case.name
        if said[Flag.BATCH_OF_ONE]:
            assert any(1 in a.shape for a in arrays), case.name
        if said[Flag.SATURATED]:
            assert max(np.abs(a).max() for a in given) >= 100, case.name
        if said[Flag.REPEATED] and not any(isinstance(option, str) for option in options.values()):  # a mode repeats, too
            numbers = np.concatenate([np.abs(a).ravel() for a in given])
            assert any(np.unique(a).size < a.size for a in (numbers, *arrays)) or are_broadcast(arrays), case.name
        if said[Flag.MASKED] and not said[Flag.EMPTY_BATCH]:
            assert any((a == 0).any() for a in (*found, *arrays[len(given) :])), case.name


# ---------------------------------------------------------------------------------------------- forms of arguments

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "Fortran order": lambda a: np.array(a, order="F"),
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "every other element": lambda a: np.stack([a, a + 1], axis=-1)[..., 0],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "another byte order": lambda a: a.astype(a.dtype.newbyteorder("S")),
}


def by_op(op: Op, arguments: Any, dy: Any, options: Any) -> list[Any]:
    """The value and the cotangents, as a list of arrays."""
    y, residuals = op.fwd(*arguments, **options)
    return optree.tree_leaves((y, op.bwd(residuals, dy)))


def in_all(trees: Any, change: Callable[[Any], Any]) -> Any:
    return optree.tree_map(lambda a: change(np.asarray(a)), trees)


def assert_the_layout_of_arguments_changes_nothing(spec: Spec) -> None:
    for case in smooth(spec)[:3]:
        arguments, options = case.draw(spec.name)
        dy = random_cotangent(spec.op(*arguments, **options))
        wanted = by_op(spec.op, arguments, dy, options)
        for layout, change in LAYOUTS.items():
            found = by_op(spec.op, *in_all((arguments, dy), change), options)
            for one, two in zip(wanted, found, strict=True):
                assert np.shape(one) == np.shape(two), (case.name, layout)
                assert two.dtype == one.dtype, (case.name, layout)
                atol = 1e-13 * np.abs(one[np.isfinite(one)]).max(initial=0.0)
                np.testing.assert_allclose(two, one, rtol=1e-13, atol=atol, err_msg=f"{case.name}, {layout}")


def assert_sixteen_bits_are_float32_rounded_once(spec: Spec) -> None:
    """Not true of chains: they round between their stages, as their stages do."""
    for case, dtype in product(spec.cases, ("float16", "bfloat16")):
        arguments, options = case.draw(spec.name)
        narrow = in_all(arguments, lambda a, dtype=dtype: a.astype(DTYPES[dtype]))
        dy = random_cotangent(spec.op(*narrow, **options))
        found = by_op(spec.op, narrow, dy, options)
        exact = by_op(spec.op, *in_all((narrow, dy), lambda a: a.astype(np.float32)), options)
        for one, two in zip(exact, found, strict=True):
            assert two.dtype == dtype, case.name
            with np.errstate(over="ignore"):
                np.testing.assert_array_equal(two, one.astype(DTYPES[dtype]), err_msg=f"{case.name}, {dtype}")


def refusal(op: Op, arguments: Any, options: Any) -> str | None:
    """The message of the ValueError that these arguments raise, if they do."""
    try:
        op(*arguments, **options)
    except ValueError as error:
        return str(error)
    return None


@every_spec
def test_arguments_without_dimensions_are_computed_or_refused_by_name(spec: Spec) -> None:
    case = spec.cases[0]
    arguments, options = case.draw(spec.name)
    points = in_all(arguments, lambda a: np.asarray(a.ravel()[0]))
    refused = refusal(spec.op, points, options)
    if refused is not None:
        assert re.match(r"[^:]+: .*(must|does not fit)", refused)
        return
    rows = oracle.verify(spec.op, *points, options=options, reference=spec.reference, views=spec.views).rows
    assert {row.verdict for row in rows} <= {Verdict.PASS, Verdict.VACUOUS, Verdict.KINK}


def assert_no_rows_give_no_values_and_zero_gradients_of_parameters(spec: Spec) -> None:
    for case in (case for case in spec.cases if Flag.EMPTY_BATCH in case.flags):
        arguments, options = case.draw(spec.name)
        y, residuals = spec.op.fwd(*arguments, **options)
        for cotangent, argument in zip(
            optree.tree_leaves(spec.op.bwd(residuals, in_all(y, np.ones_like))), optree.tree_leaves(arguments), strict=True
        ):
            assert np.shape(cotangent) == argument.shape
            assert not cotangent.any()
        assert all(np.isfinite(leaf).all() for leaf in optree.tree_leaves(y))


# ---------------------------------------------------------------------------------------------- all at once


@every_spec
def test_what_takes_no_verification_is_true(spec: Spec) -> None:
    """One test of each op for all of these, whose names tell in a traceback what is not true: they take milliseconds."""
    assert_the_report_has_every_case_to_the_digits_promised(spec)
    assert_bad_input_raises_what_is_declared_and_nothing_else(spec)
    assert_flags_tell_the_truth(spec)
    assert_the_layout_of_arguments_changes_nothing(spec)
    assert_no_rows_give_no_values_and_zero_gradients_of_parameters(spec)
    if type(spec.op) is Op:
        assert_sixteen_bits_are_float32_rounded_once(spec)
