"""The checker's power: mistakes are planted where they should be, and each meets the fate that it deserves."""

from __future__ import annotations

import ast
import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet as pn
from oracle import Spec, catalogue
from oracle.power import equivalent, measuring
from oracle.power.edits import edits, function_of
from oracle.power.measuring import _after, measure
from oracle.power.mutants import Fate, Outcome, mutants_of, plan
from oracle.power.performing import Baseline, Work, _promising, _TooLong, time_limit
from oracle.power.reach import Reached, compiled, function_named, pullback_of, reached, source_of, with_backward, with_code
from oracle.power.report import as_dict, page, text
from oracle.power.smallest import smallest
from oracle.report import document
from oracle.running.tasks import Task
from tests.oracle.conftest import Module, Run

# ----------------------------------------------------------------------------------------------------- edits


def edited(body: str, alike: Any = lambda name, line: ()) -> dict[str, str]:
    """The bodies that the edits of `def f(a, b): body` leave, each with its kind."""
    head = "def f(a, b):\n    "
    source = f"{head}{body}\n"
    return {edit.applied(source).removeprefix(head).rstrip(): edit.kind for edit in edits(source, "f", alike)}


@pytest.mark.parametrize(
    ("body", "kind", "mistake"),
    [
        ("c = a * b", "operator", "c = (a / b)"),
        ("c = a + b", "operator", "c = (a - b)"),
        ("c = a + b", "dropped term", "c = a"),
        ("c = a - b", "dropped term", "c = (-b)"),
        ("c = a * b", "dropped factor", "c = b"),
        ("c = a / b", "dropped factor", "c = (1 / b)"),
        ("c = a * (a + b)", "dropped term", "c = a * (a)"),
        ("c = a / b", "swapped operands", "c = (b / a)"),
        ("c = a @ b", "swapped operands", "c = (b @ a)"),
        ("c = a @ b", "added transpose", "c = (a @ b.mT)"),
        ("c = a.T", "dropped transpose", "c = a"),
        ("c = np.swapaxes(a, 0, 1)", "dropped transpose", "c = a"),
        ("c = -a", "sign", "c = a"),
        ("return (a * b, b)", "sign", "return (-(a * b), b)"),
        ("c = a * b", "sign", "c = -(a * b)"),
        ("c = a < b", "comparison", "c = (a <= b)"),
        ("c = a < b", "comparison", "c = (a > b)"),
        ("c = 3 * a", "constant", "c = 4 * a"),
        ("c = a.sum(keepdims=True)", "constant", "c = a.sum(keepdims=False)"),
        ("c = 0.5 * a", "constant", "c = 0.5000005 * a"),
        ("c = a.sum(axis=0)", "another function", "c = a.mean(axis=0)"),
        ("c = a.sum(axis=0)", "dropped axis", "c = a.sum()"),
        ("c = a.sum(axis=0)", "dropped call", "c = a"),
        ("c = a.sum(axis=1)", "constant", "c = a.sum(axis=2)"),
        ("c = np.square(a)", "dropped call", "c = a"),
        ("c = np.where(a, b, 0)", "missing mask", "c = b"),
        ("c = np.where(a, b, 0)", "swapped operands", "c = np.where(a, 0, b)"),
        ("c = a[1:b]", "slice", "c = a[1:b - 1]"),
        ("c = a[:b]", "slice", "c = a[1:b]"),
        ("c = a[b > 0]", "dropped index", "c = a"),
        ("a += b", "overwritten", "a = b"),
        ("a += b", "dropped statement", "pass"),
        ("np.add.at(a, b, 1)", "overwritten", "a[b] += 1"),
        ("a[b] = 0", "dropped statement", "pass"),
        ("c = a if b else 0", "one branch", "c = a"),
        ("if a: b = 1", "negation", "if (not a): b = 1"),
        ("c = np.einsum('ij,jk->ik', a, b)", "added transpose", "c = np.einsum('ij,jk->ki', a, b)"),
        ("for i in range(a): pass", "off by one", "for i in range(a - 1): pass"),
        ("for i in range(a, b): pass", "off by one", "for i in range(a, b - 1): pass"),
        ("c = np.einsum('ij,jk->ik', a, b)", "swapped operands", "c = np.einsum('ij,jk->ik', b, a)"),
        ("np.multiply(a, b, out=a)", "another function", "np.divide(a, b, out=a)"),
        ("c = np.subtract(a, b)", "dropped term", "c = b"),
        ("c = np.matmul(a, b)", "added transpose", "c = np.matmul(a, b.mT)"),
        ("c = a.sum(0)", "dropped axis", "c = a.sum()"),
        ("c = np.mean(a, b)", "dropped axis", "c = np.mean(a)"),
        ("c = a.sum(axis=(0, 2))", "dropped axis", "c = a.sum(axis=(2,))"),
    ],
)  # fmt: skip
def test_a_mistake_is_made(body: str, kind: str, mistake: str) -> None:
    assert edited(body).get(mistake) == kind, edited(body)


@pytest.mark.parametrize(
    ("body", "all_there_is"),
    [
        ('"""Sum 1 and 2."""', set()),
        ("raise ValueError(f'{a + 1} is not {b}')", set()),
        ("c = np.empty(a, dtype=b * 2)", {"c = a"}),
        ("c: int | str", set()),
        ("if a > 1: raise ValueError", set()),
        ("_check_shapes(a, b)", set()),
        ("c = np.maximum(a, b)  # 1 + 1", {"c = np.minimum(a, b)  # 1 + 1", "c = a  # 1 + 1"}),
        ("c = np.asarray(a)", set()),
    ],
)
def test_what_is_no_part_of_a_gradient_is_left_alone(body: str, all_there_is: set[str]) -> None:
    assert set(edited(body)) == all_there_is


def test_another_name_of_the_same_kind_takes_the_place_of_one() -> None:
    def alike(name: str, line: int) -> list[str]:
        return ["x.mean"] if (name, line) == ("a", 2) else []

    assert edited("c = a * b", alike)["c = x.mean * b"] == "wrong residual"


def test_every_edit_is_another_program_and_only_that_function_changes() -> None:
    """The syntax trees, of which one takes milliseconds, are compared for one edit of each kind in each function."""
    functions = {name for spec in catalogue.specs()[::18] for name in reached(spec)}
    assert len(functions) > 20
    for name in functions:
        source, path = source_of(name), name.split(":")[1]
        above, there, below = parted(source, path.split(".", maxsplit=1)[0])
        right = ast.dump(function_of(ast.parse(there), path))
        found = {edit: edit.applied(source) for edit in edits(source, path)}
        assert len({source, *found.values()}) == len(found) + 1
        for edit, wrong in found.items():
            assert wrong.startswith(above), edit
            assert wrong.endswith(below), edit
        for edit in {edit.kind: edit for edit in found}.values():
            wrong = found[edit]
            assert ast.dump(function_of(ast.parse(wrong[len(above) : len(wrong) - len(below)]), path)) != right, edit


def test_the_same_program_in_other_words_is_no_edit() -> None:
    assert "c = (a + a)" not in edited("c = a + a")
    assert "c = (a @ a)" not in edited("c = a @ a")
    assert "c = (a / a)" not in edited("c = a / a")
    assert "c = np.where(a, b, b)" not in edited("c = np.where(a, b, b)")
    assert len(edited("c = np.subtract(a, a)")) == len(set(edited("c = np.subtract(a, a)")))


def parted(source: str, name: str) -> tuple[str, str, str]:
    """The source above the function or class of this name, its own, and the source below."""
    (found,) = (node for node in ast.parse(source).body if getattr(node, "name", "") == name)
    lines = source.splitlines(keepends=True)
    first, last = found.lineno - 1, found.end_lineno
    return "".join(lines[:first]), "".join(lines[first:last]), "".join(lines[last:])


# ----------------------------------------------------------------------------------------------------- functions


def test_what_a_pullback_calls_is_found_wherever_it_is() -> None:
    assert {"purenet.normalization.features:layer_norm_bwd", "purenet.normalization.core:standardize_bwd"} <= set(
        reached(catalogue.find("layer_norm"))  # type: ignore[arg-type]
    )
    loss = reached(catalogue.find("huber_loss"))  # type: ignore[arg-type]
    assert "purenet.losses.reductions:Reduction.cotangent" in loss
    assert not any(name.startswith(("purenet.op:", "purenet.checks:")) for name in loss)


def test_a_function_that_both_passes_share_is_wrong_in_the_backward_pass_alone() -> None:
    name = "purenet.normalization.response:_window_sum"
    function, x = function_named(name), np.random.default_rng(0).normal(size=(2, 3, 4))
    source = source_of(name).replace(".sum(axis=-1)", ".mean(axis=-1)")
    before = function.__code__
    op = with_code(pn.local_response_norm, function, compiled(source, name))
    y, residuals = op.fwd(x, size=3)
    assert np.array_equal(y, pn.local_response_norm(x, size=3))
    assert not np.allclose(op.bwd(residuals, x), pn.local_response_norm.bwd(residuals, x))
    assert function.__code__ is before


def test_two_names_of_one_array_are_not_taken_for_each_other() -> None:
    found = reached(catalogue.find("batch_norm"))  # type: ignore[arg-type]
    alike = found["purenet.normalization.batch:batch_norm_bwd"].alike()
    assert "residuals.x_hat" not in alike("x_hat", 10**6)
    assert "residuals.mean" in alike("residuals.var", 10**6)


def test_a_mutant_belongs_to_the_op_whose_pullback_it_changes() -> None:
    specs: dict[str, Any] = {name: catalogue.find(name) for name in ("swiglu", "silu", "glu")}
    found = plan({name: reached(spec) for name, spec in specs.items()}, {n: pullback_of(spec) for n, spec in specs.items()})
    homes = {mutant.function: op for op, mutants in found.first.items() for mutant in mutants}
    assert homes["purenet.activations.smooth:silu_bwd"] == "silu"
    assert found.others["purenet.activations.smooth:silu_bwd"] == ["swiglu"]
    assert homes["purenet.activations.gated:gate_bwd"] == "swiglu"


# ----------------------------------------------------------------------------------------------------- fates


class Here(Executor):
    """Calls each function at once."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **options))
        return future


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests mutants in this process, because another one takes a second to start: for mutants that end no process."""
    monkeypatch.setattr(measuring.campaign, "executor", lambda jobs: nullcontext(Here()))


CUBE = """
import numpy as np
import oracle

def cube_fwd(x):
    return x**3, x

def cube_bwd(x, dy):
    return (3 * x**2 * dy,)

def waiting_fwd(x):
    return x**3, x

def waiting_bwd(x, dy):
    n = 2
    while n > 0:
        n = n - 1
    return (3 * x**2 * dy,)

SPECS = (
    oracle.Spec(
        (cube_fwd, cube_bwd),
        cases=(oracle.Case("signed", (np.array([1.5, -2.5, 3.0]),)),),
        strategy=lambda draw: ((draw.normal(3),), {}),
    ),
    oracle.Spec((waiting_fwd, waiting_bwd), cases=(oracle.Case("signed", (np.array([1.5, -2.5, 3.0]),)),)),
)
"""


def found_in(reports: Path) -> dict[str, Any]:
    """What `power.json` holds, each mutant by the names of its columns."""
    found: dict[str, Any] = json.loads((reports / "power.json").read_text())
    rows = (row for several in found["mutants"].values() for row in several)
    return found | {"mutants": [dict(zip(found["columns"], row, strict=True)) for row in rows]}


@pytest.mark.usefixtures("here")
def test_every_mistake_in_a_pullback_with_good_cases_is_noticed_and_right_uses_raise_no_alarm(
    run: Run, module: Module, tmp_path: Path
) -> None:
    module("mutated_cube", CUBE)
    code, out, _ = run("power", "mutated_cube:cube", "--alarms", 4, "--jobs", 1)
    assert code == 0
    assert "0 survived" in out
    assert "0 false alarms in 4 random uses" in out
    found = found_in(tmp_path / "reports")
    assert found["totals"]["killed"] == len(found["mutants"]) > 10
    assert found["smallest"][0]["error"] <= 1e-9
    killed = next(m for m in found["mutants"] if (m["was"], m["becomes"]) == ("3 * x**2 * dy", "(3 * x ** 2)"))
    assert (killed["line"], killed["kind"], killed["case"], killed["verdict"]) == (9, "dropped factor", "signed", "FAIL")
    assert killed["said"].startswith("dy ignored")


@pytest.mark.usefixtures("here")
def test_what_a_blind_case_lets_pass_is_shown_with_its_diff(
    run: Run, module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    module("blind_cube", CUBE.replace("1.5, -2.5, 3.0", "1.0"))
    code, out, _ = run("power", "blind_cube:cube", "--jobs", 1)
    assert code == 1
    assert "SURVIVED  blind_cube:cube_bwd (constant" in out
    assert "A mutant is a backward pass with one planted mistake. killed: verify noticed" in " ".join(out.split())
    table = out[out.index("\nfamily") :]
    assert max(map(len, table.splitlines())) <= 80
    assert "-    return (3 * x**2 * dy,)\n+    return (3 * x**3 * dy,)" in out
    assert "+    return (3 * x**3 * dy,)" in (tmp_path / "reports" / "power.md").read_text()


@pytest.mark.usefixtures("here")
def test_an_op_that_is_wrong_as_it_is_is_not_mutated(run: Run, module: Module, tmp_path: Path) -> None:
    module("wrong_cube", CUBE.replace("3 * x**2 * dy", "4 * x**2 * dy"))
    code, out, _ = run("power", "wrong_cube:cube", "--jobs", 1)
    assert code == 1
    assert "LOST  cube passes at none of its cases; correct it first (oracle verify wrong_cube:cube)" in out
    assert "SURVIVED" not in out
    assert found_in(tmp_path / "reports")["totals"]["killed"] == 0


@pytest.mark.usefixtures("here")
def test_a_mutant_that_never_ends_is_ended(run: Run, module: Module, tmp_path: Path) -> None:
    module("hanging_cube", CUBE)
    code, _, _ = run("power", "hanging_cube:waiting", "--jobs", 1, "--timeout", 1)
    found = found_in(tmp_path / "reports")
    assert "(n + 1)" in {m["becomes"] for m in found["mutants"] if m["outcome"] == "timed out"}
    assert any("+        n = (n + 1)" in diff.splitlines() for diff in found["diffs"])
    assert found["totals"]["timed out"] >= 1
    assert found["totals"]["killed"] > 10
    assert code == 1  # how often it waits, and where it stops, changes no gradient


def test_a_mutant_that_ends_its_process_is_killed_and_the_others_are_measured(run: Run, module: Module, tmp_path: Path) -> None:
    crash = "def cube_bwd(x, dy):\n    if x.size > 4:\n        os._exit(3)\n"
    module("crashing_cube", CUBE.replace("def cube_bwd(x, dy):\n", crash).replace("import oracle", "import os\nimport oracle"))
    run("power", "crashing_cube:cube", "--jobs", 1)
    found = found_in(tmp_path / "reports")
    died = [m for m in found["mutants"] if m["said"] == "the process died"]
    assert "(x.size < 4)" in {m["becomes"] for m in died}
    assert all(m["outcome"] == "killed" for m in died)
    assert found["totals"]["killed"] > 10 + len(died)
    assert found["lost"] == []
    assert found["smallest"]


def test_only_a_mutant_that_ends_a_new_process_is_blamed_for_it() -> None:
    one, two, three = mutants_of(reached(catalogue.find("silu"))["purenet.activations.smooth:silu_bwd"])[:3]  # type: ignore[arg-type]
    work = Work(Task("", "silu", "", "float64"), (one, two, three), 1.0)
    before = (Fate(one, Outcome.KILLED, "silu"),)
    assert _after(BrokenExecutor(), work, before) == (before, [replace(work, mutants=(two, three), retried=True)], [])
    again = replace(work, mutants=(two, three), retried=True)
    fates, more, lost = _after(BrokenExecutor(), again, ())
    assert ([fate.mutant for fate in fates], fates[0].said, lost) == ([two], "the process died", [])
    assert more == [replace(work, mutants=(three,))]
    assert _after(ValueError("mad"), again, ()) == ((), more, ["silu: ValueError: mad"])
    assert _after(BrokenExecutor("?"), replace(work, mutants=(), retried=True), ()) == ((), [], ["silu: BrokenExecutor: ?"])


def test_the_clock_rings_only_inside_its_block() -> None:
    with pytest.raises(_TooLong), time_limit(0.05):
        threading.Event().wait(10)
    with time_limit(0.05):
        pass
    threading.Event().wait(0.2)


def test_the_right_numbers_in_another_structure_are_another_gradient() -> None:
    spec = catalogue.find("multi_head_attention")
    assert isinstance(spec, Spec)
    baseline = Baseline(spec, spec.case("a list of two sequences"))

    def as_tuple(residuals: Any, dy: Any) -> Any:
        dparams, dx = pn.multi_head_attention.bwd(residuals, dy)
        return dparams, tuple(dx)

    assert baseline.moved(with_backward(pn.multi_head_attention, as_tuple)) == float("inf")
    assert baseline.moved(pn.multi_head_attention) == 0


def test_what_is_soon_seen_is_asked_first() -> None:
    spec = catalogue.find("silu")
    assert isinstance(spec, Spec)
    small, large, third, fourth = (Baseline(spec, case) for case in spec.cases[:4])
    for baseline, size in ((small, 2), (large, 9), (third, 1), (fourth, 3)):
        vars(baseline)["size"] = size
    found = _promising([small, large, third, fourth], [0.5, float("inf"), 1e-12, 0.0])
    assert found == [large, small, third]


@cache
def reached_by(name: str) -> dict[str, Reached]:
    """What the backward passes of an op of the catalogue run; for all of them that takes seconds, and two tests ask."""
    spec: Any = catalogue.find(name)
    return reached(spec)


@pytest.mark.usefixtures("here")
@pytest.mark.xdist_group("reached")
def test_ops_of_the_catalogue_and_what_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "reached", lambda spec: reached_by(spec.name))
    specs: list[Any] = [catalogue.find(name) for name in ("relu6", "silu")]
    found = measure([("", spec) for spec in specs], 1, 60.0)
    outcomes = Counter(fate.outcome for fate in found.fates)
    assert outcomes[Outcome.SURVIVED] == 0, text(found)
    assert outcomes[Outcome.KILLED] > 25
    assert found.passed
    assert {small.op for small in found.smallest} == {"relu6", "silu"}
    env = document.environment("oracle power relu6 silu", 0)
    assert document.to_json(as_dict(found, env))
    assert "# Detection power" in page(found, env)
    assert "| activations" in page(found, env)


def test_the_smallest_error_noticed_of_every_parameter() -> None:
    spec = catalogue.find("affine")
    assert isinstance(spec, Spec)
    found = {small.parameter: small.k for small in smallest(spec)}
    assert set(found) == {"params.w", "params.b", "x"}
    assert min(k or 0 for k in found.values()) >= 9


def test_nothing_to_mutate_is_said(run: Run) -> None:
    code, _, err = run("power", "adam")
    assert code == 5
    assert "nothing to mutate" in err


# ----------------------------------------------------------------------------------------------------- reasons


@pytest.mark.xdist_group("reached")
def test_every_reason_is_that_of_a_mutant_that_exists() -> None:
    specs = catalogue.specs()
    named = {function for function, _, _ in equivalent.reasons()}
    ran = {spec.name: {name: found for name, found in reached_by(spec.name).items() if name in named} for spec in specs}
    todo = plan(ran, {spec.name: pullback_of(spec) for spec in specs})
    mutants = [m for several in todo.first.values() for m in several]
    assert set(equivalent.reasons()) <= {equivalent.key(mutant) for mutant in mutants}


def test_reasons_are_reasons() -> None:
    assert all(len(why.split()) >= 5 and why.endswith(".") for why in equivalent.reasons().values())


def test_mutants_are_named_by_their_lines() -> None:
    found = reached(catalogue.find("tanh"))  # type: ignore[arg-type]
    for mutant in mutants_of(found["purenet.activations.smooth:tanh_bwd"]):
        was, becomes = mutant.lines
        assert was in ("e = np.square(falling(x))", "return (4 * dy * slope_of(e),)")
        assert was != becomes
        assert f"-    {was}" in mutant.diff.splitlines()
        assert f"+    {becomes}" in mutant.diff.splitlines()
