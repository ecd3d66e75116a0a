"""The comparison of gradient checkers: each is asked rightly, and what they say is counted rightly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from scipy import sparse

from benchmarks import checkers, narrow, peers, problems
from benchmarks.checkers import Answer, Asked, Measured, ask
from oracle.arrays import cast, random_cotangent
from oracle.spec import Flag
from oracle.subject import Subject
from tests.oracle.planted import cube, dense, signed

X, W = signed(4, 3), signed(3, 2)
RIGHT = problems.Problem(dense(), (W, X))
WRONG = problems.Problem(dense(dx=lambda w, dy: 1.1 * dy @ w.T), (W, X))
CHOICE = narrow.Choice(1, 3)
EVERY = pytest.mark.parametrize("name", peers.CHECKERS)

pytestmark = pytest.mark.xdist_group("checkers")  # one worker samples mutants, and compiles for JAX's checker


@pytest.fixture(scope="module")
def sampled() -> list[problems.Sampled]:
    return problems.sample(2, 7)


def checker(name: str) -> peers.Checker:
    if peers.present(name) is None:
        assert "torch" in name, "all others are dependencies"
        pytest.skip("torch is not installed")
    return peers.CHECKERS[name][0]


@EVERY
def test_a_right_gradient_is_accepted_and_a_wrong_one_noticed(name: str) -> None:
    asked = checker(name)
    asked(RIGHT)
    assert [ask(asked, problem)[0] for problem in (RIGHT, WRONG)] == [Answer.ACCEPTED, Answer.NOTICED]


@EVERY
def test_trees_options_and_several_values(name: str) -> None:
    def fwd(params: Any, x: Any, *, power: float) -> Any:
        return {"y": x @ params["w"], "s": (x**power).sum()}, (params, x, power)

    def bwd(residuals: Any, dy: Any) -> Any:
        params, x, power = residuals
        return {"w": x.T @ dy["y"]}, dy["y"] @ params["w"].T + dy["s"] * power * x ** (power - 1)

    def wrong(residuals: Any, dy: Any) -> Any:
        dparams, dx = bwd(residuals, dy)
        return dparams, dx + dy["s"]

    for backward, answer in ((bwd, Answer.ACCEPTED), (wrong, Answer.NOTICED)):
        problem = problems.Problem((fwd, backward), ({"w": W}, np.abs(X)), {"power": 3.0})
        assert ask(checker(name), problem)[0] is answer


@EVERY
def test_what_cannot_be_asked(name: str) -> None:
    by_definition = problems.Problem(cube(), (X,), flags=frozenset({Flag.NOT_THE_DERIVATIVE}), reference=lambda x: x**3)
    narrow = problems.Problem(cube(), (X.astype(np.float32),))
    answers = [ask(checker(name), problem)[0] for problem in (by_definition, narrow)]
    ours = name.startswith("oracle")
    assert answers[1] is (Answer.ACCEPTED if ours else Answer.NOT_APPLICABLE)
    assert (answers[0] is Answer.NOT_APPLICABLE) == ("reference" not in name)


def test_an_op_that_raises_is_noticed() -> None:
    def raising(residuals: Any, dy: Any) -> Any:
        raise ZeroDivisionError

    for name in peers.CHECKERS:
        if peers.present(name) is not None:
            assert ask(peers.CHECKERS[name][0], problems.Problem((cube()[0], raising), (X,)))[0] is Answer.NOTICED


def test_the_smallest_error_is_found_by_bisection() -> None:
    (entry,) = [e for e in problems.entries() if e.name.startswith("affine")][:1]
    y, residuals = entry.right.forward(entry.right.leaves)
    true = entry.right.backward(residuals, y)[entry.leaf]

    def strict(problem: problems.Problem, allowed: float = 2e-5) -> None:
        y, residuals = problem.forward(problem.leaves)
        if not np.allclose(problem.backward(residuals, y)[entry.leaf], true, rtol=allowed, atol=0):
            raise peers.Noticed

    assert checkers._smallest(strict, entry) == pytest.approx(10**-4.5)
    assert checkers._smallest(lambda problem: strict(problem, 2.0), entry) is None
    assert checkers._smallest(lambda problem: strict(problem, 1e-16), entry) <= 1e-13


def test_there_are_twelve_entries_of_hundred() -> None:
    entries = problems.entries()
    assert len({entry.name for entry in entries}) == 12
    assert {np.size(entry.right.leaves[entry.leaf]) for entry in entries} == {100}


def test_mutants_are_sampled_by_their_seed(sampled: list[problems.Sampled]) -> None:
    assert len(sampled) == 2
    assert all(problems.ROUNDING < one.moved < np.inf for one in sampled)
    for _, wrong, right in problems.mutants(sampled):
        assert [ask(peers.alone, problem)[0] for problem in (wrong, right)] == [Answer.NOTICED, Answer.ACCEPTED]


def test_a_mutant_that_would_write_into_foreign_memory_is_not_sampled() -> None:
    class Point:
        def moved(self, wrong: Any) -> float:
            sparse.csr_array((np.ones(1), np.array([9]), np.array([0, 1])), shape=(1, 2))
            return 1.0

    mutant: Any = SimpleNamespace(function="purenet.shaping.selection:weighing")
    point: Any = Point()
    assert problems._moved(point, None, mutant) == np.inf
    assert point.moved(None) == 1.0, "scipy itself does not look"


def test_every_bug_that_has_a_gradient_is_put() -> None:
    from tests.zoo.test_zoo import BUGS

    assert [name for name, _, _ in problems.zoo()] == [bug.name for bug in BUGS]


# ------------------------------------------------------------------------------------------------ narrow precision


def in_bfloat16(factor: float) -> problems.Problem:
    def change(gradients: list[Any]) -> list[Any]:
        return [gradients[0] * factor, *gradients[1:]]

    pair = narrow.in_bfloat16(Subject.of(dense(), {}), change)
    return problems.Problem(pair, (cast(signed(20, 5), "bfloat16"), cast(signed(3, 20), "bfloat16")), dtype="bfloat16")


PAIRS = [narrow.Pair("a factor", "dense", in_bfloat16(narrow.FACTOR), in_bfloat16(1.0))]


def accepts(problem: problems.Problem) -> None:
    """A checker that accepts everything that it can evaluate."""
    y, residuals = problem.forward(problem.leaves)
    problem.backward(residuals, y)


def refuses(problem: problems.Problem) -> None:
    accepts(problem)
    raise peers.Noticed


def refuses_what_is_wrong(problem: problems.Problem) -> None:
    if problem is not PAIRS[0].right:
        refuses(problem)


def widens(problem: problems.Problem) -> None:
    """A checker that makes float64 of every point."""
    problem.forward([leaf.astype(np.float64) for leaf in problem.leaves])


PLANTED = {accepts: "1/1, 0/1", refuses: "0/1, 1/1", refuses_what_is_wrong: "1/1, 1/1", widens: "n/a"}


@pytest.mark.parametrize("planted", PLANTED)
def test_right_and_wrong_functions_are_counted_apart(planted: peers.Checker) -> None:
    assert checkers.accepted_and_noticed(checkers.asked_of_pairs(planted, PAIRS)) == PLANTED[planted]


WIDENED = np.result_type(np.zeros(1, ml_dtypes.bfloat16) * 0.5) != ml_dtypes.bfloat16
"""Whether a Python float makes float32 of bfloat16, as before ml_dtypes 0.7. autograd multiplies by one."""
BFLOAT16 = {  # as far as a fixed step vanishes beside a rounding, everything is refused
    "oracle.verify": "1/1, 1/1",
    "oracle.verify, JAX reference": "1/1, 1/1",
    "torch.autograd.gradcheck": "0/1, 1/1",
    "jax.test_util.check_grads": "0/1, 1/1",
    "autograd.test_util.check_grads": "n/a" if WIDENED else "0/1, 1/1",
    "scipy.optimize.check_grad": "n/a",
}


@EVERY
def test_what_each_says_of_a_function_in_bfloat16(name: str) -> None:
    assert checkers.accepted_and_noticed(checkers.asked_of_pairs(checker(name), PAIRS)) == BFLOAT16[name]


def test_the_error_is_only_in_bfloat16() -> None:
    wide = tuple(np.asarray(a, np.float64) for a in PAIRS[0].wrong.arguments)
    assert ask(peers.alone, problems.Problem(PAIRS[0].wrong.op, wide))[0] is Answer.ACCEPTED


@pytest.mark.parametrize("pairs", [narrow.inside_float32, narrow.pairs_in_bfloat16])
def test_each_wrong_function_differs_from_its_twin_in_the_gradient_alone(pairs: Any) -> None:
    found = list(pairs(CHOICE))
    names = [(pair.kind, pair.twin) for pair in found]
    assert len(set(names)) == len(names) > 1
    for pair in found:
        values, gradients = [], []
        for problem in (pair.right, pair.wrong):
            y, residuals = problem.forward(problem.leaves)
            values.append(y)
            gradients.append(problem.backward(residuals, random_cotangent(y)))
        assert all(np.array_equal(a, b) for a, b in zip(*values, strict=True)), pair
        off = [np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in zip(*gradients, strict=True) if a.any()]
        assert 1e-8 < max(off) < 0.2, pair


# ------------------------------------------------------------------------------------------------ counting


def asked(*answers: tuple[Answer, Answer], seconds: float = 1.0) -> list[Asked]:
    return [Asked(f"bug {i}", f"twin {i}", wrong, right, seconds) for i, (wrong, right) in enumerate(answers)]


YES, NO, NA = Answer.NOTICED, Answer.ACCEPTED, Answer.NOT_APPLICABLE
FIRST = Measured(
    [1e-12, 1e-9, 1e-11],
    asked((YES, NO), (YES, NO), (YES, NO), (YES, NO)),
    asked((YES, NO)),
    asked((YES, NO), (NO, NO)),
    [Asked("a factor", "twin", YES, NO, 1.0), Asked("one entry", "twin", NO, NO, 1.0)],
)
SECOND = Measured(
    [1e-3, None, 1e-2],
    asked((YES, NO), (NO, NO), (YES, YES), (NA, NA), seconds=3.0),
    asked((NO, NO), seconds=3.0),
    asked((YES, YES), (NA, NA)),
    [Asked("a factor", "twin", NA, NA, 1.0), Asked("one entry", "twin", NA, NA, 1.0)],
)
MEASURED = {"one|first": FIRST, "second": SECOND, "torch.autograd.gradcheck": None}


def test_the_summary() -> None:
    first, second, absent = checkers.summary(MEASURED)
    assert first == ("one|first", "1e-11", "1e-09", "4/4", "1/1", "0/4", "1.00", "2/2, 1/2", "1/1, 1/2")
    assert second == ("second", "1e-02", "none", "1/2", "0/1", "1/3", "3.00", "0/1, 1/1", "n/a")
    assert absent == ("torch.autograd.gradcheck", "not installed", "", "", "", "", "", "", "")


def test_only_what_somebody_missed_is_listed() -> None:
    rows, others = checkers.not_by_all([FIRST.zoo, SECOND.zoo])
    assert (rows, others) == ([("bug 1", "noticed", "accepted"), ("bug 2", "noticed", "(noticed)")], 2)


def test_narrow_precision_has_a_row_for_each_kind() -> None:
    rows = checkers.in_narrow_precision([FIRST.bfloat16, SECOND.bfloat16])
    assert rows == [("a factor", "1/1, 1/1", "n/a"), ("one entry", "1/1, 0/1", "n/a")]


def test_the_page() -> None:
    names = list(peers.CHECKERS)[:3]
    page = checkers.page(
        {names[0]: FIRST, names[1]: SECOND, names[2]: None}, dict.fromkeys(names, "1.2"), 7, narrow.Choice(9, 0), "the command"
    )
    assert page.startswith("# What gradient checkers notice\n\n`the command`, Python ")
    assert "purenet 1.2." in page
    assert "of 7 random" in page
    assert "9 ops of the catalogue at points in bfloat16" in page
    assert "The other 2 are noticed by every checker that can be asked." in page
    page = checkers.page({names[0]: FIRST}, {names[0]: "1.2"}, 7, narrow.Choice(9, 0), "the command")
    assert page.count("All are noticed by all.") == 2


def test_each_works_in_a_process_of_its_own(sampled: list[problems.Sampled], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.CHECKERS, "absent", (peers.alone, "absent", "no_such_module"))
    advanced: list[str] = []
    found = checkers.compare(["scipy.optimize.check_grad", "absent"], sampled[:1], CHOICE, lambda: advanced.append(""))
    assert (len(advanced), found["absent"]) == (2, None)
    measured = found["scipy.optimize.check_grad"]
    assert measured is not None
    assert len(measured.smallest) == 12
    assert all(error is not None and 1e-6 < error < 1 for error in measured.smallest)
    assert len(measured.zoo) == len(list(problems.zoo()))
    assert [a.wrong for a in measured.mutants] == [Answer.NOTICED]
    assert {a.name for a in measured.inside} == {"kernels given float64", "kernels given float32", "casts at random places"}
    assert {a.wrong for a in measured.bfloat16} == {Answer.NOT_APPLICABLE}


@pytest.mark.parametrize("arguments", [["--mutants", "0"], ["--functions", "0"], ["--seed", "-1"], ["--mutants", "x"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        checkers.main(arguments)
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err
