"""What an op owes its caller: each breach is planted and named, and a clean op has none."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest
from scipy import special

import purenet as pn
from oracle import Verdict, verify
from oracle.arrays import random_cotangent
from oracle.contract.checks import CHECKS, check_contract
from oracle.contract.setting import Breach, Setting
from oracle.judging.point import Point
from oracle.subject import Subject, on_copies
from tests.oracle.planted import Array, Pair, cube, dense, normal, row, signed

X = signed(5)
STALE = (
    "stale or shared buffer: another forward pass in between changes what bwd returns "
    "(fwd must hand everything that bwd needs to it as residuals)"
)


def breaches(op: Any, *primals: Any, views: bool = False, **options: Any) -> list[Breach]:
    subject = Subject.of(op, options)
    y, residuals = on_copies(subject).fwd(*primals)
    dy = random_cotangent(y)
    cotangents: Any = optree.tree_map(np.array, subject.bwd(residuals, dy))
    return check_contract(Setting(Point(subject, primals, y, dy, cotangents), views))


def said(op: Any, *primals: Any, **options: Any) -> list[str]:
    return [f"{b.parameter}: {b.what}" if b.parameter else b.what for b in breaches(op, *primals, **options)]


def square(forward: Callable[[Array], Any] | None = None, backward: Callable[[Any, Array], Any] | None = None) -> Pair:
    """y = x**2, of which either pass may misbehave."""

    def square_fwd(x: Array) -> Any:
        return forward(x) if forward else (x * x, x.copy())

    def square_bwd(x: Array, dy: Array) -> Any:
        return backward(x, dy) if backward else (2 * x * dy,)

    return square_fwd, square_bwd


# ------------------------------------------------------------------------------------------------- clean


CLEAN: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "square": (square(), (X,)),
    "cube": (cube(), (X,)),
    "dense": (dense(), (normal(3, 2), normal(4, 3))),
    "residuals that are the argument": (square(lambda x: (x * x, x)), (X,)),
    "a scalar": (square(), (np.float64(1.5),)),
    "nothing": (square(), (np.zeros((0, 3)),)),
    "zeros": (square(), (np.zeros(3),)),
    "float32": (square(), (X.astype(np.float32),)),
    "Op": (pn.affine, ({"w": normal(3, 2), "b": normal(2)}, normal(4, 3))),
    "Op in float16": (pn.affine, ({"w": normal(3, 2).astype(np.float16)}, normal(4, 3).astype(np.float16))),
    "large": (square(), (normal(50, 60),)),
    "a loss": ((lambda x: ((x**2).sum(), x.copy()), lambda x, dy: (2 * x * dy,)), (X,)),
    "a tree": (
        (lambda p: ([p["a"] * p["b"]], dict(p)), lambda p, dy: ({"a": dy[0] * p["b"], "b": dy[0] * p["a"]},)),
        ({"a": X, "b": X + 3},),
    ),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_op_has_no_breach(name: str) -> None:
    op, primals = CLEAN[name]
    assert said(op, *primals) == []


@pytest.mark.parametrize("scale", [1.0, 10.0, 20.0, 40.0, 100.0, 1000.0])
def test_rounding_of_a_saturated_function_is_no_breach(scale: float) -> None:
    """Beside 1 - s the gradient itself is nearly nothing, and its rounding is not."""

    def softmax_fwd(x: Array) -> Any:
        s = special.softmax(x, axis=-1)
        return s, s.copy()

    def softmax_bwd(s: Array, dy: Array) -> Any:
        return (s * (dy - (s * dy).sum(axis=-1, keepdims=True)),)

    for seed in range(5):
        assert said((softmax_fwd, softmax_bwd), scale * normal(6, 8, seed=seed)) == []
        assert said((lambda x: (np.tanh(x),) * 2, lambda y, dy: ((1 - y * y) * dy,)), scale * normal(8, seed=seed)) == []


def test_rounding_of_long_sums_is_no_breach() -> None:
    assert said(dense(), normal(200, 3), normal(300, 200)) == []
    assert said(dense(), normal(200, 3).astype(np.float32), normal(300, 200).astype(np.float32)) == []


# ------------------------------------------------------------------------------------------------- writing


def writes_forward(x: Array) -> Any:
    x *= 2
    return x * x, x.copy()


def writes_backward(x: Array, dy: Array) -> Any:
    x *= 2
    return (x * dy,)


def writes_dy(x: Array, dy: Array) -> Any:
    dy *= 2
    return (x * dy,)


def writes_residuals(residuals: list[Array], dy: Array) -> Any:
    residuals[0] = residuals[0] * 2
    return (residuals[0] * dy,)


def test_writing_to_an_argument() -> None:
    assert said(square(writes_forward), X.copy()) == ["x: the forward pass writes to its argument"]
    keeps = square(lambda x: (x * x, x), writes_backward)
    assert said(keeps, X.copy())[0] == "x: the backward pass writes to an argument of the forward pass"
    assert said(square(None, writes_dy), X.copy()) == ["the backward pass writes to the caller's dy"]


def test_writing_to_the_value() -> None:
    """A residual may be the value itself, which the caller has, too."""

    def square_fwd(x: Array) -> Any:
        y = x * x
        return y, (x.copy(), y)

    def writes_value(residuals: Any, dy: Array) -> Any:
        x, y = residuals
        y[:1] = 0
        return (2 * x * dy,)

    assert said((square_fwd, writes_value), X) == [
        "the backward pass writes to the value of the forward pass, which the caller has"
    ]


def test_writing_to_the_residuals() -> None:
    changed = "two calls of bwd with the same residuals return different results: the first changes the residuals"
    assert changed in said(square(lambda x: (x * x, [x.copy()]), writes_residuals), X)
    assert changed in said(square(None, writes_backward), X)


def test_writing_to_one_leaf_of_a_tree() -> None:
    def tree_fwd(p: Any) -> Any:
        p["b"] += 1
        return p["a"] * p["b"], None

    assert said((tree_fwd, lambda r, dy: ({"a": dy, "b": dy},)), {"a": X.copy(), "b": X.copy()}) == [
        "p.b: the forward pass writes to its argument"
    ]


def test_writing_to_a_keyword_argument() -> None:
    """As running statistics often are."""

    def running_fwd(x: Array, *, running: Any, rate: float) -> Any:
        running["mean"] *= 1 - rate
        running["mean"] += rate * x
        return x * x, x.copy()

    def late_bwd(residuals: Any, dy: Array) -> Any:
        x, weights = residuals
        weights *= 2
        return (2 * x * dy,)

    running: dict[str, Any] = {"mean": np.zeros(5), "name": "of the batch"}
    assert said((running_fwd, square()[1]), X, running=running, rate=0.1) == ["the op writes to its keyword argument running"]
    result = verify((running_fwd, square()[1]), X, options={"running": running, "rate": 0.1}, reference=None)
    meant = "(if that is meant: allows={oracle.Allows.WRITES_TO_OPTIONS})"
    assert [r.diagnosis for r in result.rows if not r.passed] == [f"the op writes to its keyword argument running {meant}"]
    late = (lambda x, *, weights: (x * x, (x.copy(), weights)), late_bwd)
    assert "the op writes to its keyword argument weights" in said(late, X, weights=np.ones(5))
    assert running["mean"].tolist() == [0.0] * 5


@pytest.mark.parametrize(
    "op",
    [square(writes_forward), square(lambda x: (x * x, x), writes_backward), square(None, writes_dy)],
    ids=["forward", "backward", "dy"],
)
@pytest.mark.parametrize("make", [X.copy, lambda: {"a": X.copy()}["a"], lambda: np.array([1.5])])
def test_the_arrays_of_the_caller_are_protected(op: Pair, make: Callable[[], Array]) -> None:
    x = make()
    kept = x.copy()
    result = verify(op, x)
    assert not result.passed
    assert (x == kept).all()
    assert x.flags.writeable


def test_what_writes_to_its_argument_is_still_differentiated() -> None:
    """x *= 2 and then x * x is 4 x**2 of what the caller gave."""
    result = verify(square(writes_forward, lambda x, dy: (4 * x * dy,)), X)
    assert [r.diagnosis for r in result.rows if r.evidence == "contract"] == ["the forward pass writes to its argument"]
    assert row_of_witnesses(result).verdict is Verdict.PASS
    result = verify(square(writes_forward, lambda x, dy: (2 * x * dy,)), X)
    assert row_of_witnesses(result).diagnosis.startswith("constant factor: x is 0.5 times")


def row_of_witnesses(result: Any) -> Any:
    (only,) = [r for r in result.rows if r.evidence != "contract"]
    return only


# ------------------------------------------------------------------------------------------------- sharing memory


def test_a_view_of_an_argument() -> None:
    same = "x: the value shares memory with this argument: return a copy, or declare views"
    assert same in said((lambda x: (x, None), lambda _, dy: (dy.copy(),)), X)
    assert same in said((lambda x: (x[::-1], None), lambda _, dy: (dy[::-1].copy(),)), X)
    assert same in said((lambda x: (x.reshape(5, 1), None), lambda _, dy: (dy.reshape(5).copy(),)), X)
    assert said((lambda x: (x[::-1], None), lambda _, dy: (dy[::-1].copy(),)), X, views=True) == []


def test_a_value_that_holds_an_argument_among_others() -> None:
    pair = (lambda x: ((2 * x, x), None), lambda _, dy: (2 * dy[0] + dy[1],))
    assert said(pair, X) == ["x: the value shares memory with this argument: return a copy, or declare views"]


def test_a_view_of_dy() -> None:
    shared = "x: the gradient shares memory with the caller's dy: return a copy, or declare aliases"
    assert said((lambda x: (x + 1, None), lambda _, dy: (dy,)), X) == [shared]
    assert said((lambda x: (x.reshape(5, 1) + 0, None), lambda _, dy: (dy[:, 0],)), X) == [shared]
    assert said((lambda x: (x + 1, None), lambda _, dy: (dy + 0,)), X) == []


def test_a_view_of_an_argument_as_a_cotangent() -> None:
    """d(w . x) of one number: the cotangent of w is x times dy, and here without dy."""
    pair = (lambda w, x: (w @ x, (w, x)), lambda r, dy: (r[1], r[0] * dy))
    assert "w: the gradient shares memory with the argument x: return a copy, or declare aliases" in said(pair, X, X + 3)


def test_one_array_for_two_cotangents() -> None:
    def add_bwd(_: Any, dy: Any) -> Any:
        dx = dy.copy()
        return dx, dx

    assert said((lambda a, b: (a + b, None), add_bwd), X, X + 3) == [
        "b: the gradient shares memory with the gradient of a: return a copy, or declare aliases"
    ]


def test_aliases_are_declared() -> None:
    add = (lambda a, b: (a + b, None), lambda _, dy: (dy, dy))
    assert not verify(add, X, X + 3).passed
    assert verify(add, X, X + 3, aliases=True).passed
    total = (lambda x: (x.sum(), x.shape), lambda shape, dy: (np.broadcast_to(dy, shape),))
    assert verify(total, X, aliases=True).passed
    assert not verify(
        (lambda x: (x[::-1], None), lambda _, dy: (dy[::-1],)), X, aliases=True
    ).passed  # the value is another matter


def test_residuals_that_can_be_read_once() -> None:
    once = said((lambda x: (x**2, iter([x])), lambda residuals, dy: (2 * next(residuals) * dy,)), X)
    assert once == ["bwd can be called only once: a second call with the same residuals raises StopIteration: "]


def test_state_that_shows_after_many_calls() -> None:
    calls = {"count": 0, "late": 10**6}

    def square_bwd(x: Any, dy: Any) -> Any:
        calls["count"] += 1
        return (2 * x * dy * (1.0 if calls["count"] < calls["late"] else 1.5),)

    pair = (lambda x: (x**2, x), square_bwd)
    assert verify(pair, X).passed
    calls = {"count": 0, "late": calls["count"]}
    assert [r.diagnosis for r in verify(pair, X).rows if not r.passed] == [
        "the first call, repeated after many others, gives another gradient: the op keeps state"
    ]


def test_a_view_of_the_residuals_as_a_cotangent() -> None:
    """Whoever adds to it in place spoils the next backward pass."""
    pair = (lambda x: (x.sum(), np.ones_like(x)), lambda ones, dy: (np.multiply(ones, dy, out=ones),))
    found = said(pair, X)
    assert found == ["two calls of bwd with the same residuals return different results: the first changes the residuals"]


# ------------------------------------------------------------------------------------------------- state


def test_randomness_without_a_key() -> None:
    generator = np.random.default_rng(0)

    def dropout_fwd(x: Array) -> Any:
        mask = generator.random(x.shape) < 0.5
        return x * mask, mask

    found = said((dropout_fwd, lambda mask, dy: (dy * mask,)), signed(40))
    assert "two calls of fwd with the same arguments return different values" in found


def test_randomness_in_the_backward_pass_alone() -> None:
    generator = np.random.default_rng(0)
    found = said(square(None, lambda x, dy: (2 * x * dy * (1 + 1e-12 * generator.normal()),)), X)
    assert found == ["two calls of bwd with the same residuals return different results: it keeps something between its calls"]


def test_a_memo_that_the_next_forward_pass_overwrites() -> None:
    memo: dict[str, Array] = {}

    def memo_fwd(x: Array) -> Any:
        memo["x"] = x.copy()
        return x * x, None

    found = said((memo_fwd, lambda _, dy: (2 * memo["x"] * dy,)), X)
    assert found == [f"x: {STALE}"]


def test_residuals_in_a_buffer_that_the_next_forward_pass_overwrites() -> None:
    buffer = np.zeros(5)

    def buffer_fwd(x: Array) -> Any:
        if x.shape == buffer.shape:
            buffer[...] = x
        return x * x, buffer

    found = said((buffer_fwd, lambda r, dy: (2 * r * dy,)), X)
    assert found == [f"x: {STALE}"]


def value_in_a_buffer() -> Pair:
    buffer = np.zeros(5)
    return square(lambda x: (np.multiply(x, x, out=buffer), x.copy()))


def cotangent_in_a_buffer() -> Pair:
    buffer = np.zeros(5)
    return square(None, lambda x, dy: (np.multiply(2 * x, dy, out=buffer),))


def test_a_value_in_a_buffer_that_the_next_forward_pass_overwrites() -> None:
    assert said(value_in_a_buffer(), X) == ["shared buffer: two forward passes return the same memory"]


def test_a_cotangent_in_a_buffer_that_the_next_backward_pass_overwrites() -> None:
    """And it is not taken for a cotangent that ignores dy: each result is the right one while it lasts."""
    found = said(cotangent_in_a_buffer(), X)
    assert found == ["x: shared buffer: two backward passes with the same residuals return the same memory"]


@pytest.mark.parametrize("make", [value_in_a_buffer, cotangent_in_a_buffer])
def test_buffers_are_a_breach_and_the_numbers_are_still_judged(make: Callable[[], Pair]) -> None:
    result = verify(make(), X, reference=lambda x: x * x)
    assert [r.verdict for r in result.rows] == [Verdict.FAIL, Verdict.PASS]
    assert result.rows[0].diagnosis.startswith("shared buffer")
    forward, backward = make()
    result = verify((forward, lambda x, dy: (1.5 * backward(x, dy)[0],)), X)
    assert row_of_witnesses(result).diagnosis.startswith("constant factor: x is 1.5 times")


def test_a_counter_changes_the_value() -> None:
    calls: list[int] = []

    def counting_fwd(x: Array) -> Any:
        calls.append(1)
        return x * x + 1e-9 * len(calls), x.copy()

    assert "two calls of fwd with the same arguments return different values" in said((counting_fwd, square()[1]), X)


# ------------------------------------------------------------------------------------------------- linearity


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda x, dy: 2 * x * dy**2, "bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"),
        (lambda x, dy: 2 * x * np.abs(dy), "bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"),
        (lambda x, dy: 2 * x * np.clip(dy, -1, 1), "bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"),
        (lambda x, dy: np.clip(2 * x * dy, -1.5, 1.5), "bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"),
        (lambda x, dy: 2 * x * dy / np.abs(dy).max() ** 0.5, "bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"),
        (lambda x, dy: 2 * x * dy + 1e-9, "bwd(0) is not 0"),
        (lambda x, dy: 2 * x * dy + 1e-9 * dy**2, "bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"),
    ],
    ids=["square", "abs", "clip", "clipped", "normalized", "constant", "slightly"],
)
def test_a_pullback_that_is_not_linear(wrong: Callable[[Array, Array], Array], what: str) -> None:
    def nonlinear(x: Array, dy: Array) -> Any:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (wrong(x, dy),)

    assert said(square(None, nonlinear), X) == [f"x: not linear in dy: {what}"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("wrong", "sign"),
    [
        (lambda x, dy: np.clip(2 * x * dy, -100, 100), 1),
        (lambda x, dy: np.clip(2 * x * dy, -1e5, 1e5), 1),
        (lambda x, dy: 2 * x * np.where(np.abs(dy) < 1e-5, 0, dy), -1),
    ],
    ids=["clipped", "clipped far out", "threshold"],
)
def test_what_is_linear_only_for_ordinary_cotangents(wrong: Callable[[Array, Array], Array], sign: int, dtype: Any) -> None:
    factor = f"{sign * 2.0 ** (sign * (60 if dtype is np.float64 else 20)):g}"
    found = said(square(None, lambda x, dy: (np.asarray(wrong(x, dy), dtype),)), X.astype(dtype))
    what = f"bwd({factor} dy) is not {factor} bwd(dy) (is dy clipped, or compared with a fixed number?)"
    assert found == [f"x: not linear in dy: {what}"]


def test_cotangents_with_zeros_are_tried() -> None:
    """Of a random cotangent no entry is 0; behind a relu or a mask half of them are, and an output that nobody uses is."""
    what = "x: not linear in dy: bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"

    def divided(x: Array, dy: Array) -> Any:
        with np.errstate(invalid="ignore"):
            return (2 * x * (dy * dy / dy),)

    assert said(square(None, divided), X) == [what]
    assert said(square(None, lambda x, dy: (2 * x * dy * dy.all(),)), X) == [what]


def test_each_array_of_a_value_is_pulled_back_alone() -> None:
    def both_fwd(x: Array) -> Any:
        return (x.copy(), 2 * x), None

    def both_bwd(_: Any, dy: Any) -> Any:
        return (dy[0] + 2 * dy[1] if dy[1].any() else 3 * dy[0],)

    assert said((both_fwd, both_bwd), X) == ["x: not linear in dy: bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)"]


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_huge_and_tiny_gradients_are_linear(size: float) -> None:
    assert said((lambda x: (x * size, None), lambda _, dy: (dy * size,)), X) == []


@pytest.mark.parametrize("wrong", [lambda x, dy: 2 * x, lambda x, dy: 2 * x * np.sign(dy), lambda x, dy: np.ones_like(x)])
def test_a_cotangent_that_is_ignored(wrong: Callable[[Array, Array], Array]) -> None:
    assert said(square(None, lambda x, dy: (wrong(x, dy).copy(),)), X) == ["x: dy ignored: bwd(2 dy) is bwd(dy), bit for bit"]


def test_a_zero_gradient_ignores_nothing() -> None:
    assert said((lambda x: (np.ones_like(x), None), lambda _, dy: (0 * dy,)), X) == []


def test_linearity_is_judged_for_each_argument() -> None:
    def product_bwd(r: Any, dy: Array) -> Any:
        return r[1] * dy, r[0] * dy * np.abs(dy)

    found = said((lambda a, b: (a * b, (a.copy(), b.copy())), product_bwd), X, X + 3)
    assert [f.split(":")[0] for f in found] == ["b"]


# ------------------------------------------------------------------------------------------------- layouts


def demanding(flag: Callable[[Array], bool], what: str, *, of: str) -> Pair:
    def check(a: Array, now: str) -> None:
        if now == of and not flag(a):
            raise BufferError(what)

    def demanding_fwd(x: Array) -> Any:
        check(x, "x")
        return x * x, x.copy()

    def demanding_bwd(x: Array, dy: Array) -> Any:
        check(dy, "dy")
        return (2 * x * dy,)

    return demanding_fwd, demanding_bwd


@pytest.mark.parametrize("of", ["x", "dy"])
def test_read_only_memory(of: str) -> None:
    found = said(demanding(lambda a: a.flags.writeable, "read-only", of=of), normal(3, 4))
    assert "arguments in Fortran order, read-only, raise BufferError: read-only" in found


@pytest.mark.parametrize("of", ["x", "dy"])
def test_memory_in_another_order(of: str) -> None:
    found = said(demanding(lambda a: a.flags.c_contiguous, "not contiguous", of=of), normal(3, 4))
    assert [f.split(", read-only")[0] for f in found] == [
        "arguments in Fortran order",
        "arguments in negative strides",
        "arguments in non-contiguous memory",
    ]
    found = said(demanding(lambda a: min(a.strides) > 0, "strides", of=of), normal(3, 4))
    assert found == ["arguments in negative strides, read-only, raise BufferError: strides"]


def test_values_that_depend_on_the_order_in_memory() -> None:
    def raveled_fwd(x: Array) -> Any:
        return x.ravel(order="K") * np.arange(1, x.size + 1), (x.shape, x.flags.c_contiguous)

    def raveled_bwd(r: Any, dy: Array) -> Any:
        return ((dy * np.arange(1, dy.size + 1)).reshape(r[0], order="C" if r[1] else "F"),)

    found = said((raveled_fwd, raveled_bwd), normal(3, 4))
    assert "x: the gradient changes when the arguments and dy come in Fortran order" in found


def test_values_that_depend_a_little_on_the_order_in_memory() -> None:
    def layout_bwd(x: Array, dy: Array) -> Any:
        return (2 * x * dy * (1 + 1e-9 * (not dy.flags.c_contiguous)),)

    found = said((square()[0], layout_bwd), normal(3, 4))
    assert "x: the gradient changes when the arguments and dy come in Fortran order" in found
    assert "x: the gradient changes when the arguments and dy come in non-contiguous memory" in found


@pytest.mark.parametrize("error", [0.0, 1e-9])
def test_sums_in_the_order_of_memory_may_differ_by_what_cancels_in_them(error: float) -> None:
    x = np.random.default_rng(3).normal(size=(40, 30)) * 1e3
    x[-1, -1] -= x.sum() - 1.0

    def total(x: Array) -> Any:
        wrong = error * (not x.flags.c_contiguous)
        return np.cumsum(x.ravel(order="K"))[-1] * (1 + wrong)

    def total_fwd(x: Array) -> Any:
        return np.asarray(0.5 * total(x) ** 2), (total(x), x.shape)

    def total_bwd(residuals: Any, dy: Array) -> Any:
        return (np.full(residuals[1], residuals[0] * dy),)

    found = said((total_fwd, total_bwd), x)
    assert len(found) == (3 if error else 0), found


def test_raw_memory() -> None:
    """Through the buffer, as a binding to C would."""

    def raw(a: Array) -> Array:
        return np.frombuffer(a.tobytes(order="A"), a.dtype).reshape(a.shape)

    found = said(square(lambda x: (raw(x) ** 2, raw(x))), normal(3, 4))
    assert "x: the gradient changes when the arguments and dy come in Fortran order" in found


# ------------------------------------------------------------------------------------------------- form


class Carry(NamedTuple):
    h: Any
    c: Any


def form(*cotangents: Any, of: Any = None) -> list[str]:
    """What is said of cotangents of these forms; `of` are the primals, two vectors unless given."""
    primals = (X, X + 3) if of is None else of
    given = cotangents[0] if len(cotangents) == 1 and not isinstance(cotangents[0], np.ndarray) else cotangents
    result = verify((lambda *p: (X * 2, None), lambda _, dy: deepcopy(given)), *primals)
    rows = [r for r in result.rows if r.evidence == "contract"]
    assert all(r.verdict is Verdict.FAIL for r in rows)
    return [f"{r.parameter}: {r.diagnosis}" if r.parameter else r.diagnosis for r in rows]


def test_the_number_of_cotangents() -> None:
    expected = "expected a tuple of 2, one for each argument"
    assert form((X,)) == [f"the backward pass returned a tuple of 1, {expected}"]
    assert form((X, X, X)) == [f"the backward pass returned a tuple of 3, {expected}"]
    assert form([X, X]) == [f"the backward pass returned list, {expected}"]
    assert form(None) == [f"the backward pass returned NoneType, {expected}"]
    assert form({"a": X}) == [f"the backward pass returned dict, {expected}"]
    bare = verify((lambda x: (x * 2, None), lambda _, dy: 2 * dy), X)
    assert row(bare).diagnosis == "the backward pass returned ndarray, expected a tuple of 1, one for each argument"


def test_none_is_no_gradient() -> None:
    assert form((X, None)) == ["argument 1: the backward pass returned None: if the gradient is zero, return zeros"]


def test_the_shape_of_a_cotangent() -> None:
    assert form((X, X[:4])) == ["argument 1: the gradient has shape (4,), the argument (5,)"]
    assert form((X, np.float64(1.0))) == ["argument 1: the gradient has shape (), the argument (5,)"]


def test_the_dtype_of_a_cotangent() -> None:
    assert form((X.astype(np.float32), X)) == ["argument 0: the gradient is float32, the argument float64"]
    assert form((X, np.arange(5))) == ["argument 1: integer dtype: the gradient is int64, the argument float64"]
    assert form((X, X + 0j)) == ["argument 1: the gradient is complex128, the argument float64"]
    wide = verify((lambda x: (x * 2, None), lambda _, dy: (2.0 * dy.astype(np.float64),)), X.astype(np.float32))
    assert row(wide).diagnosis == "the gradient is float64, the argument float32"


def test_what_is_no_array() -> None:
    assert verify((lambda x: (3.0 * x, None), lambda _, dy: (3.0 * float(dy),)), 2.0).passed  # a number for a number
    assert form((1.0,), of=(X,)) == ["argument 0: the gradient is a float, not an array"]
    assert form((1,), of=(np.float64(2.0),)) == ["argument 0: the gradient is a int, not an array"]


def test_the_structure_of_a_cotangent() -> None:
    carry = Carry(X, X)
    (found,) = form((Carry(X, (X,)),), of=(carry,))
    assert found.startswith("argument 0: the gradient has the structure ")
    (found,) = form(((X, X),), of=(carry,))
    assert "Carry" in found
    (found,) = form(({"w": X},), of=({"w": X, "b": X},))
    assert found.startswith("argument 0: the gradient has the structure ")
    (found,) = form(({"w": X, "b": None},), of=({"w": X, "b": X},))
    assert found == "argument 0.b: the backward pass returned None: if the gradient is zero, return zeros"


def test_a_gradient_that_contains_itself() -> None:
    def double(params: Any, x: Any) -> Any:
        return 2.0 * params["w"] * x, params["w"]

    def pullback(w: Any, dy: Any) -> Any:
        dparams: dict[str, Any] = {}
        dparams["w"] = dparams
        return dparams, 2.0 * dy * w

    result = verify((double, pullback), {"w": X + 3.0}, X)
    assert [(r.parameter, str(r.verdict), r.diagnosis) for r in result.rows] == [
        ("params", "FAIL", "the gradient is a tree too deep to walk: does it contain itself?"),
        ("x", "PASS", ""),
    ]


def test_each_leaf_is_named() -> None:
    found = form(({"w": X[:2], "b": X.astype(np.float32)},), of=({"w": X, "b": X},))
    assert sorted(found) == [
        "argument 0.b: the gradient is float32, the argument float64",
        "argument 0.w: the gradient has shape (2,), the argument (5,)",
    ]


# ------------------------------------------------------------------------------------------------- the checks themselves


def test_a_check_that_raises_is_a_breach() -> None:
    calls: list[int] = []

    def tired_bwd(x: Array, dy: Array) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("only once")
        return (2 * x * dy,)

    found = said(square(None, tired_bwd), X)
    assert found[0] == "leaves the process alone: raised RuntimeError: only once"
    assert len(found) >= len(CHECKS) - 1


def test_every_check_says_what_it_is_for() -> None:
    assert all(check.__doc__ for check in CHECKS)
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("name", ["affine", "tanh", "softmax"])
def test_ops_of_this_project_keep_their_word(name: str) -> None:
    op = getattr(pn, name)
    primals = ({"w": normal(3, 2), "b": normal(2)}, normal(4, 3)) if op.takes_params else (normal(4, 3),)
    assert said(op, *primals) == []
