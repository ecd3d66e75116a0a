"""Arguments of very many elements: what each row has seen, errors that are named by their index, chains stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optree
import pytest

import oracle
import purenet as pn
from oracle.row import Row, Verdict
from oracle.spec import Flag
from oracle.verification import verify
from purenet import Op
from tests.oracle.planted import dense, elementwise, normal, row

SMALL = 2500  # elements from which on an argument is large in these tests, which would take minutes otherwise
GENERATOR = np.random.default_rng(0)
INPUTS, OUTPUTS = 60, 50  # of a matrix that is large here
MATRIX = {"w": GENERATOR.normal(size=(INPUTS, OUTPUTS)), "b": GENERATOR.normal(size=OUTPUTS)}
ROWS = GENERATOR.normal(size=(3, INPUTS))


@pytest.fixture(autouse=True)
def _large_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oracle.verification.LARGE", SMALL)


def rows_of(*arguments: Any, **options: Any) -> dict[str, Row]:
    return {row.parameter: row for row in oracle.verify(*arguments, **options).rows}


def changed(op: Op, change: Callable[[Any], Any]) -> tuple[Any, Any]:
    """`op`, whose first cotangent is another."""

    def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
        first, *others = op.bwd(residuals, dy)
        return (change(first), *others)

    return op.fwd, bwd


def with_w(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda params: {**params, "w": change(params["w"].copy())}


def one_entry(at: tuple[int, ...], factor: float) -> Callable[[Any], Any]:
    def change(w: Any) -> Any:
        w[at] *= factor
        return w

    return change


def counted(op: Op, calls: list[int]) -> tuple[Any, Any]:
    def fwd(*arguments: Any) -> Any:
        calls[0] += 1
        return op.fwd(*arguments)

    return fwd, op.bwd


# ---------------------------------------------------------------------------------------------- one op


def test_what_is_large_costs_evaluations_by_the_argument() -> None:
    calls = [0]
    assert OUTPUTS * INPUTS > SMALL
    result = oracle.verify(counted(pn.affine, calls), MATRIX, ROWS)
    assert result.passed
    assert calls[0] < 200
    w = next(row for row in result.rows if row.shape == (INPUTS, OUTPUTS))
    # One entry of each column, at least, and the slope of each column along a direction of all.
    seen, power = w.evidence.split("; ")
    assert seen.endswith(f"/{INPUTS * OUTPUTS} and 1 direction in {OUTPUTS} parts")
    assert OUTPUTS <= int(seen.removeprefix("numerical ").partition("/")[0]) < 2 * OUTPUTS
    assert power.startswith("a single entry that is off by ")


@pytest.mark.parametrize("op", [pn.tanh, pn.relu, pn.softmax, pn.cumsum.bind(axis=1)])
@pytest.mark.parametrize("shape", [(55, 50), (2600,)])
def test_right_ops_pass(op: Op, shape: tuple[int, ...]) -> None:
    if op.name == "cumsum" and len(shape) == 1:
        op = pn.cumsum.bind(axis=0)
    row = rows_of(op, GENERATOR.normal(size=shape))["x"]
    assert row.verdict is Verdict.PASS
    assert row.resolution is not None
    assert 0 < row.resolution < 1e-4


def test_what_an_entry_moves_need_not_be_told_by_its_index() -> None:
    op = Op(lambda x: (x * x[::-1], x), name="mirrored")  # every output is moved by two entries
    op.pullback(lambda x, dy: (dy * x[::-1] + dy[::-1] * x[::-1],))
    x = GENERATOR.normal(size=SMALL + 3)
    assert rows_of(op, x)["x"].verdict is Verdict.PASS
    half = Op(op.forward, name="mirrored")
    half.pullback(lambda x, dy: (dy * x[::-1],))
    assert rows_of(half, x)["x"].verdict is Verdict.FAIL


@pytest.mark.parametrize("reference", [None, lambda params, x: x @ params["w"] + params["b"]])
def test_a_factor_is_noticed_and_told(reference: Any) -> None:
    pair = changed(pn.affine, with_w(lambda w: w * (1 + 1e-9)))
    row = rows_of(pair, MATRIX, ROWS, reference=reference)["argument 0.w"]
    assert row.verdict is Verdict.FAIL
    assert row.diagnosis.startswith("constant factor: argument 0.w is (1 + 1e-09) times the true gradient")


@pytest.mark.parametrize(
    ("at", "reference"), [((0, 0), None), ((23, 45), lambda params, x: x @ params["w"] + params["b"]), ((59, 49), None)]
)
def test_a_single_entry_is_found_wherever_it_is(reference: Any, at: tuple[int, int]) -> None:
    pair = changed(pn.affine, with_w(one_entry(at, 1 + 1e-6)))
    rows = rows_of(pair, MATRIX, ROWS, reference=reference)
    assert rows["argument 0.w"].verdict is Verdict.FAIL
    assert rows["argument 0.w"].worst_index == at
    assert rows["argument 0.w"].diagnosis.startswith("a single entry is wrong")
    assert rows["argument 0.b"].verdict is rows["argument 1"].verdict is Verdict.PASS


@pytest.mark.usefixtures("undiagnosed")
def test_an_entry_is_found_where_all_move_one_output() -> None:
    op = Op(lambda x: (np.asarray(np.sum(np.sin(x))), x), name="total")
    op.pullback(lambda x, dy: (np.cos(x) * dy,))
    x = GENERATOR.normal(size=SMALL + 1)
    assert rows_of(op, x)["x"].verdict is Verdict.PASS
    wrong = rows_of(changed(op, one_entry((1321,), 1.01)), x)["argument 0"]
    assert wrong.verdict is Verdict.FAIL
    assert wrong.worst_index == (1321,)


@pytest.mark.usefixtures("undiagnosed")
def test_what_is_said_to_be_noticed_is_noticed() -> None:
    x = GENERATOR.normal(size=(55, 55))
    right = rows_of(pn.softmax, x)["x"]
    assert right.resolution is not None
    size = np.abs(pn.vjp(pn.softmax, x)[1](oracle.arrays.random_cotangent(x, 0))[0]).max()
    for at in ((7, 40), (50, 3)):

        def off(dx: Any, at: tuple[int, int] = at) -> Any:
            dx = dx.copy()
            dx[at] += 2 * right.resolution * size  # type: ignore[operator]
            return dx

        (row,) = oracle.verify(changed(pn.softmax, off), x).rows
        assert row.verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_float32_is_judged_by_its_formula_and_by_its_rounding() -> None:
    params: Any = optree.tree_map(lambda a: a.astype(np.float32), MATRIX)
    x = ROWS.astype(np.float32)
    assert oracle.verify(pn.affine, params, x).passed
    wide = rows_of(changed(pn.affine, with_w(lambda w: w * w.dtype.type(1 + 1e-5))), params, x)["argument 0.w"]
    assert wide.verdict is Verdict.FAIL

    def narrow_only(w: Any) -> Any:
        return one_entry((5, 7), 1.01)(w) if w.dtype == np.float32 else w

    reference = lambda params, x: x @ params["w"] + params["b"]  # noqa: E731
    narrow = rows_of(changed(pn.affine, with_w(narrow_only)), params, x, reference=reference)["argument 0.w"]
    assert narrow.verdict is Verdict.FAIL
    assert narrow.worst_index == (5, 7)


def test_memory_is_said_and_what_there_is_not_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    x = GENERATOR.normal(size=(55, 55))
    assert oracle.verify(pn.tanh, x).rows[0].peak_memory is None
    monkeypatch.setattr("oracle.at_size.memory.WORTH_REPORTING", SMALL)
    result = oracle.verify(pn.tanh, x)
    assert result.rows[0].peak_memory is not None
    assert "GiB of memory" in str(result).splitlines()[-1]
    monkeypatch.setattr("oracle.at_size.memory.available", lambda: 100_000)
    (row,) = oracle.verify(pn.tanh, x).rows
    assert row.verdict is Verdict.ERROR
    assert row.diagnosis == "about 0.0 GiB of memory are needed at this size, 0.0 GiB are available"


def test_what_writes_to_its_argument_is_noticed() -> None:
    def fwd(x: Any) -> Any:
        y = x * x
        x[0, 0] += 1.0
        return y, x.copy()

    rows = oracle.verify((fwd, lambda x, dy: (2 * x * dy,)), GENERATOR.normal(size=(55, 55))).rows
    assert any("writes to its argument" in row.diagnosis for row in rows)


# ---------------------------------------------------------------------------------------------- chains

NET = {"a": pn.affine, "r": pn.relu, "b": pn.affine, "t": pn.tanh, "c": pn.affine}
SIZES = {"a": (60, 50), "b": (50, 20), "c": (20, 5)}
PARAMS = {"net": {n: {"w": GENERATOR.normal(size=s) / s[0] ** 0.5, "b": GENERATOR.normal(size=s[1])} for n, s in SIZES.items()}}
WRONG = (int(np.argmax(ROWS @ PARAMS["net"]["a"]["w"] + PARAMS["net"]["a"]["b"]) % 50), 13)  # a unit that relu lets through
LABELS = {"labels": np.array([4, 0, 2])}


def goal(**changes: Op) -> Op:
    return pn.chain(net=pn.chain(**(NET | changes)), loss=pn.softmax_cross_entropy)


def goal_by_jax(params: Any, x: Any, *, loss: Any) -> Any:
    p = params["net"]
    h = jnp.tanh(jax.nn.relu(x @ p["a"]["w"] + p["a"]["b"]) @ p["b"]["w"] + p["b"]["b"])
    z = jax.nn.log_softmax(h @ p["c"]["w"] + p["c"]["b"])
    return -jnp.take_along_axis(z, loss["labels"][:, None], 1).mean()


def of_tanh(change: Callable[[Any], Any]) -> Op:
    op = Op(pn.tanh.forward, name="tanh")

    def backward(saved: Any, dy: Any) -> tuple[Any, ...]:
        assert pn.tanh.backward is not None
        return (change(pn.tanh.backward(saved, dy)[0]),)

    op.pullback(backward)
    return op


@pytest.mark.parametrize("reference", [None, goal_by_jax])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_chain_passes_parameter_by_parameter(reference: Any, dtype: Any) -> None:
    params: Any = optree.tree_map(lambda a: a.astype(dtype), PARAMS)
    rows = rows_of(goal(), params, ROWS.astype(dtype), options={"loss": LABELS}, reference=reference)
    assert set(rows) == {"x"} | {f"params.net.{n}.{leaf}" for n in "abc" for leaf in "wb"}
    assert {row.verdict for row in rows.values()} == {Verdict.PASS}


@pytest.mark.parametrize("reference", [None, goal_by_jax])
def test_a_stage_that_hands_back_a_wrong_cotangent_is_named(reference: Any) -> None:
    rows = rows_of(goal(t=of_tanh(lambda dx: dx * (1 + 1e-8))), PARAMS, ROWS, options={"loss": LABELS}, reference=reference)
    assert rows["the input of net.t"].verdict is Verdict.FAIL
    assert rows["the input of net.t"].diagnosis.startswith("constant factor: the input of net.t is (1 + 1e-08) times")
    for name in ("params.net.a.w", "params.net.b.b", "x"):
        assert rows[name].verdict is Verdict.FAIL
        assert "the stage net.t hands one back" in rows[name].diagnosis
    assert rows["params.net.c.w"].verdict is rows["params.net.c.b"].verdict is Verdict.PASS


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("reference", [None, goal_by_jax])
def test_a_wrong_parameter_of_one_stage_is_named_alone(reference: Any) -> None:
    bad = Op(pn.affine.forward, name="affine")

    def backward(saved: Any, dy: Any) -> tuple[Any, ...]:
        assert pn.affine.backward is not None
        dparams, dx = pn.affine.backward(saved, dy)
        return {**dparams, "w": one_entry(WRONG, 1 + 1e-6)(dparams["w"])}, dx

    bad.pullback(backward)
    rows = rows_of(goal(b=bad), PARAMS, ROWS, options={"loss": LABELS}, reference=reference)
    assert [name for name, row in rows.items() if not row.passed] == ["params.net.b.w"]
    assert rows["params.net.b.w"].worst_index == WRONG


@pytest.mark.usefixtures("undiagnosed")
def test_the_pullback_may_be_another_than_the_chains_own() -> None:
    whole = goal()

    def bwd(residuals: Any, dy: Any) -> Any:
        params, dx = whole.bwd(residuals, dy)
        params["net"]["a"]["w"] = one_entry((50, WRONG[0]), 1 + 1e-6)(params["net"]["a"]["w"])
        return params, dx

    rows = rows_of((whole.fwd, bwd), PARAMS, ROWS, options={"loss": LABELS})
    assert [name for name, row in rows.items() if not row.passed] == ["argument 0.net.a.w"]
    assert rows["argument 0.net.a.w"].worst_index == (50, WRONG[0])


@pytest.mark.usefixtures("undiagnosed")
def test_branches_do_not_accuse_each_other() -> None:
    wide = {"w": GENERATOR.normal(size=(60, 60)) / 8, "b": GENERATOR.normal(size=60)}
    bad = of_tanh(lambda dx: dx * 1.5)
    net = pn.chain(sides=pn.parallel(left=pn.chain(affine=pn.affine, tanh=bad), right=pn.affine), around=pn.residual(pn.affine))
    params = {
        "sides": {"left": {"affine": wide}, "right": {"w": wide["w"] + 1, "b": wide["b"] + 1}},
        "around": {"w": wide["w"] - 1},
    }
    rows = rows_of(net, params, ROWS)
    failing = {name for name, row in rows.items() if not row.passed}
    assert failing == {"the input of sides.left.tanh", "params.sides.left.affine.w", "params.sides.left.affine.b", "x"}


@pytest.mark.usefixtures("undiagnosed")
def test_kinks_that_hardly_count_are_no_errors() -> None:
    """The cotangents of a relu under a pool are of all sizes; an entry beside 0 bends the slope of its group by a billionth."""
    sizes = 10.0 ** -np.arange(0, 12, 12 / 96)
    scale = Op(lambda x: (x * sizes, sizes), name="scale")
    scale.pullback(lambda s, dy: (dy * s,))
    net = pn.chain(affine=pn.affine, relu=pn.relu, scale=scale, sum=pn.sum)
    params = {"affine": {"w": GENERATOR.normal(size=(60, 96)) / 8, "b": GENERATOR.normal(size=96)}}
    rows = rows_of(net, params, GENERATOR.normal(size=(200, 60)))
    assert {name for name, row in rows.items() if not row.passed} == set()


def test_tied_parameters_are_checked_in_each_use() -> None:
    net = pn.tied(pn.chain(first=pn.affine, tanh=pn.tanh, again=pn.affine), again="first")
    params = {"first": {"w": GENERATOR.normal(size=(52, 52)) / 7, "b": GENERATOR.normal(size=52)}}
    x = GENERATOR.normal(size=(3, 52))
    rows = rows_of(net, params, x)
    assert {row.verdict for row in rows.values()} == {Verdict.PASS}
    assert "2 directions" in rows["params.first.w"].evidence

    def bwd(residuals: Any, dy: Any) -> Any:
        grads, dx = net.bwd(residuals, dy)
        grads["first"]["w"] = one_entry((9, 20), 1 + 1e-6)(grads["first"]["w"])
        return grads, dx

    assert rows_of((net.fwd, bwd), params, x)["argument 0.first.w"].worst_index == (9, 20)


def test_what_is_added_beside_the_stages_is_part_of_the_gradient() -> None:
    class Penalized(Op):
        """An Op that adds the squares of the weights to what its one stage gives."""

        def __init__(self, op: Op) -> None:
            super().__init__(op.forward, name="penalized")
            self.op = op
            self.stages = {"op": op}

        def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Any]:
            y, residuals = self.op.fwd(*primals, **options)
            return y + (primals[0]["w"] ** 2).sum(), (residuals, primals[0]["w"])

        def bwd(self, residuals: Any, dy: Any) -> tuple[Any, ...]:
            params, dx = self.op.bwd(residuals[0], dy)
            return {**params, "w": params["w"] + 2 * residuals[1] * np.sum(dy)}, dx

    rows = rows_of(Penalized(pn.affine), MATRIX, ROWS)
    assert {row.verdict for row in rows.values()} == {Verdict.PASS}


def test_an_empty_argument_beside_a_large_one() -> None:
    affine = dense()
    assert verify(affine, normal(300, 300), normal(0, 300), flags=frozenset({Flag.EMPTY_BATCH})).passed
    net = pn.chain(a=pn.affine, r=pn.relu, b=pn.affine)
    params = {"a": {"w": normal(40, 60), "b": normal(60)}, "b": {"w": normal(60, 5), "b": normal(5)}}
    assert verify(net, params, normal(0, 40), flags=frozenset({Flag.EMPTY_BATCH})).passed


@pytest.mark.parametrize("size", [3000, 70_000])
def test_the_numbers_of_a_pass_are_not_those_of_a_direction_that_kinks_hide(size: int) -> None:
    one = row(verify(elementwise(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0), np.maximum(normal(size), 0)))
    assert one.verdict in (Verdict.KINK, Verdict.INCONCLUSIVE)
    assert one.numerical_error is None or one.numerical_error < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_entries_very_near_a_kink_are_no_fault_of_the_others(seed: int) -> None:
    """The slope along a direction bends by a billionth where one of many entries crosses its kink."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(60, 60, 40))
    x[generator.random(x.shape) < 0.003] *= 1e-7
    one = row(verify(elementwise(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0), x, seed=seed))
    assert one.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE), one.diagnosis
