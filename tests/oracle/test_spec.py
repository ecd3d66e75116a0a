"""Specs: errors of wrong ones, flags that have a meaning, and draws that are reproduced by their names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optree
import pytest
from hypothesis import given
from hypothesis import strategies as st

import purenet as pn
from oracle import Case, Draw, Flag, Spec, catalogue, composed, library, verify_case
from oracle.adapters import Bound
from oracle.spec import Source

CASE = Case("typical", (np.array([1.0, 2.0]),))
CASES = [(spec, case) for spec in catalogue.specs() for case in spec.cases]


def same(a: Any, b: Any) -> bool:
    """Whether two trees of arrays and options are equal, bit for bit."""
    leaves, structure = optree.tree_flatten(a)
    others, other_structure = optree.tree_flatten(b)
    return structure == other_structure and all(
        np.array_equal(x, y) and np.asarray(x).dtype == np.asarray(y).dtype for x, y in zip(leaves, others, strict=True)
    )


# ---------------------------------------------------------------------------------------------- flags


def test_every_flag_says_what_it_means_catches_and_does() -> None:
    for flag in Flag:
        texts = (flag.meaning, flag.catches, flag.effect)
        assert len(set(texts)) == 3, flag
        assert all(len(text.split()) >= 3 for text in texts), flag


@pytest.mark.parametrize("flag", Flag)
def test_every_flag_is_used(flag: Flag) -> None:
    assert any(flag in case.flags for _, case in CASES)


# ---------------------------------------------------------------------------------------------- the catalogue's draws


every_spec = pytest.mark.parametrize("spec", catalogue.specs(), ids=lambda spec: spec.name)


@every_spec
def test_cases_and_strategies_are_reproduced_by_their_names(spec: Spec) -> None:
    for case in spec.cases:
        arguments, options = case.draw(spec.name)
        assert same((arguments, options), case.draw(spec.name)), case.name
        for leaf in optree.tree_leaves(arguments):  # type: ignore[arg-type]
            assert isinstance(leaf, np.ndarray), case.name
            assert leaf.dtype == np.float64, case.name
            assert np.isfinite(leaf).all(), case.name
    drawn = next(case for case in spec.cases if callable(case.arguments) and Flag.EMPTY_BATCH not in case.flags)
    arguments, _ = drawn.draw(spec.name)
    assert not same(arguments, drawn.draw(spec.name, seed=1)[0])
    assert not same(arguments, drawn.draw("another op")[0])
    assert spec.strategy is not None
    one, again = (spec.strategy(Draw("strategy", spec.name)) for _ in range(2))
    assert same(one, again)
    uses = [spec.strategy(Draw("strategy", spec.name, i)) for i in range(20)]
    assert len({str([np.shape(leaf) for leaf in optree.tree_leaves(arguments)]) for arguments, _ in uses}) > 3


# ---------------------------------------------------------------------------------------------- Draw


def test_a_draw_depends_on_all_of_its_name() -> None:
    first = Draw("affine", "one row", 0).normal(4)
    np.testing.assert_array_equal(first, Draw("affine", "one row", 0).normal(4))
    for other in (("affine", "one row", 1), ("affine", "two rows", 0), ("linear", "one row", 0), ("one row", "affine", 0)):
        assert (first != Draw(*other).normal(4)).all()


def test_numbers_of_a_draw_have_the_shape_and_range_they_are_asked_for() -> None:
    draw = Draw("ranges")
    assert draw.normal(2, 3).shape == (2, 3)
    assert abs(draw.normal(4000, scale=5.0).std() - 5) < 0.3
    uniform = draw.uniform(2000, low=-2.0, high=3.0)
    assert -2 <= uniform.min() < -1.9 < 2.9 < uniform.max() < 3
    probabilities = draw.probabilities(4, 5)
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1)
    assert set(draw.labels(3, 200).tolist()) == {0, 1, 2}
    assert 0.55 < draw.mask(2000).mean() < 0.78
    assert draw.mask(3).dtype == np.bool_
    assert draw.key().dtype == np.uint32
    assert draw.key().shape == (2,)


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_away_from_keeps_its_distance(seed: int, scale: float) -> None:
    x = Draw(seed).away_from([0.0, 1.0], 5, 4, scale=scale)
    assert x.shape == (5, 4)
    assert (np.abs(x) >= 1e-2).all()
    assert (np.abs(x - 1) >= 1e-2).all()
    assert (x < 0).any()


def test_away_from_gives_up_by_name() -> None:
    with pytest.raises(ValueError, match=r"away_from: no numbers of scale 0\.001 found 1 away from \[0\.0\]"):
        Draw("x").away_from([0.0], 3, scale=1e-3, gap=1)


def test_structure_goes_through_pick_and_numbers_do_not() -> None:
    picked: list[tuple[int, int]] = []

    def lowest(low: int, high: int) -> int:
        picked.append((low, high))
        return low

    draw = Draw("structure", pick=lowest)
    assert draw.choice(["first", "second", "third"]) == "first"
    assert draw.between(2, 7) == 2
    assert draw.shape(1, 3, 5) == (1,)
    assert picked == [(0, 2), (2, 7), (1, 3), (1, 5)]
    np.testing.assert_array_equal(draw.normal(3), Draw("structure").normal(3))


@given(seed=st.integers(0, 10**6))
def test_choices_stay_within_their_bounds(seed: int) -> None:
    draw = Draw(seed)
    assert 2 <= draw.between(2, 4) <= 4
    shape = draw.shape(1, 3, 4)
    assert 1 <= len(shape) <= 3
    assert all(1 <= size <= 4 for size in shape)
    assert draw.choice("ab") in "ab"


# ---------------------------------------------------------------------------------------------- Case, Spec, Source


def test_a_case_draws_or_holds_its_arguments_and_options() -> None:
    held = Case("held", (np.ones(2),), {"axis": 0})
    arguments, options = held.draw("op")
    assert same(arguments, (np.ones(2),))
    assert options == {"axis": 0}
    options["axis"] = 1  # the caller's own
    assert held.draw("op")[1] == {"axis": 0}
    drawn = Case("drawn", lambda draw: (draw.normal(2),), lambda draw: {"labels": draw.labels(3, 2)})
    assert same(drawn.draw("op"), drawn.draw("op"))


def test_a_spec_needs_cases_of_different_names() -> None:
    with pytest.raises(ValueError, match="Spec of relu: at least one case is needed"):
        Spec(pn.relu, cases=())
    with pytest.raises(ValueError, match="Spec of relu: two cases share a name: typical, typical"):
        Spec(pn.relu, cases=(CASE, CASE))


def test_a_case_is_found_by_its_name() -> None:
    spec = Spec(pn.relu, cases=(CASE, Case("other", CASE.arguments)))
    assert spec.case("typical") is CASE
    with pytest.raises(KeyError, match="relu has no case 'another'; it has typical, other"):
        spec.case("another")


def cube_fwd(x: Any) -> tuple[Any, Any]:
    return x**3, x


def cube_bwd(x: Any, dy: Any) -> tuple[Any]:
    return (3 * x**2 * dy,)


def test_a_pair_of_functions_is_as_good_as_an_op() -> None:
    spec = Spec((cube_fwd, cube_bwd), cases=(CASE,), reference=cube_bwd)
    assert (spec.name, spec.family) == ("cube", __name__)
    assert (spec.forward, spec.backward) == (cube_fwd, cube_bwd)
    assert str(spec.source) == "composed: cube_bwd"  # unless it says more


def test_an_op_is_of_the_family_of_its_module() -> None:
    assert Spec(pn.relu, cases=(CASE,)).family == "activations"
    assert Spec(pn.affine, cases=(CASE,)).family == "linear"
    assert Spec(pn.relu, cases=(CASE,)).source is None


def test_sources_name_their_kind() -> None:
    assert library("jax.nn.relu") == Source("library", "jax.nn.relu")
    assert str(composed("by powers")) == "composed: by powers"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda case: Spec(np.tanh, cases=(case,)), "op must be a purenet.Op, a pair"),
        (lambda case: Spec((np.tanh, np.tanh), cases=case), "cases must be a tuple of Case"),
    ],
)
def test_a_spec_says_what_it_is_made_of(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make(Case("typical", (np.ones(2),)))


def test_arguments_that_are_no_tuple_are_named() -> None:
    with pytest.raises(TypeError, match=r"op / typical: the arguments must be a tuple, such as \(x,\), got ndarray"):
        Case("typical", lambda draw: draw.normal(3)).draw("op")


def test_the_arguments_that_an_op_holds_come_before_those_of_the_cases() -> None:
    held = Bound((lambda p, x: (p * x, (p, x)), lambda r, dy: (r[1] * dy, r[0] * dy)), np.array([2.0, 3.0]))
    cases = (Case("given", (np.array([1.0, 5.0]),)), Case("drawn", lambda draw: (draw.normal(2),)))
    spec = Spec(held, cases=cases, strategy=lambda draw: ((draw.normal(2),), {}))
    for case in spec.cases:
        arguments, _ = case.draw(spec.name)
        assert np.array_equal(arguments[0], [2.0, 3.0])
        assert len(arguments) == 2
        result = verify_case(spec, case, dtype="float32")
        assert [(row.dtype, row.passed) for row in result.rows] == [("float32", True)] * 2
    assert spec.strategy is not None
    assert len(spec.strategy(Draw("spec"))[0]) == 2
    assert len(cases[0].draw(spec.name)[0]) == 1  # the user's own cases stay as they are
    assert replace(spec, accept=1e-5).cases is spec.cases  # and nothing is put before them a second time


def test_a_name_is_found_whether_its_module_or_all_modules_are_imported() -> None:
    every = (*catalogue.specs(), *catalogue.on_request(), *catalogue.trajectories())
    assert [record.name for record in every if catalogue.find(record.name) is not record] == []
