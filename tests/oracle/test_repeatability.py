"""A pass that is no function of its arguments: one row that says which pass and why, and nothing about its consequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import purenet as pn
from oracle import Verdict, verify
from oracle.contract.state import State
from oracle.subject import Subject
from tests.oracle.planted import Array, Pair, normal, row, signed

X = normal(4, 3)
DRAWS = "is not a function of its arguments: it draws random numbers"
ADDS = "bwd is not a function of its arguments: it adds to what an earlier call left: the results of equal calls grow by equal"
REMEMBERS = "is not a function of its arguments: it remembers an earlier call"


def only_row(pair: Pair, *primals: Array, **options: Any) -> str:
    """What the one row says; the op fails, and no gradient is judged."""
    only = row(verify(pair, *primals, **options))
    assert only.verdict is Verdict.FAIL
    assert only.evidence == "contract"
    return only.diagnosis


# --------------------------------------------------------------------------------- random numbers


def mask_drawn_again() -> Pair:
    generator = np.random.default_rng(1)
    return (
        lambda x: (x * (np.random.default_rng(0).random(x.shape) > 0.3), ()),
        lambda _, dy: (dy * (generator.random(dy.shape) > 0.3),),
    )


def rounded_at_random() -> Pair:
    """Stochastic rounding of the gradient, with an old generator in an object."""

    class Rounding:
        state = np.random.RandomState(3)

        def bwd(self, x: Array, dy: Array) -> Any:
            return (np.floor(2 * x * dy * 64 + self.state.random_sample(dy.shape)) / 64,)

    return lambda x: (x * x, x), Rounding().bwd


def noise_from_python() -> Pair:
    import random

    source = random.Random(5)  # noqa: S311
    return lambda x: (x * x, x), lambda x, dy: (2 * x * dy * source.choice([0.5, 1.0, 1.5]),)


def negatives_drawn_in_bwd() -> Pair:
    """From the global generator, which nothing has to hand in."""
    return lambda x: (x * x, x), lambda x, dy: (2 * x * dy + np.random.normal(size=x.shape),)  # noqa: NPY002


@pytest.mark.parametrize("make", [mask_drawn_again, noise_from_python, negatives_drawn_in_bwd])
def test_a_backward_pass_that_draws(make: Callable[[], Pair]) -> None:
    assert only_row(make(), X).startswith(f"bwd {DRAWS} (bwd must use the numbers that fwd drew")


def test_a_generator_that_cannot_be_seen_is_guessed_and_not_asserted() -> None:
    said = only_row((lambda x: (x * x, x), lambda x, dy: (2 * x * dy * np.random.default_rng().random(x.shape),)), X)
    assert said.startswith("bwd is not a function of its arguments: equal calls return different results, without a pattern")
    said = only_row(rounded_at_random(), X)  # the generator belongs to the class
    assert "random numbers" in said


def test_a_forward_pass_that_draws_comes_first() -> None:
    generator = np.random.default_rng(0)

    def dropout_fwd(x: Array) -> Any:
        mask = generator.random(x.shape) < 0.5
        return x * mask, mask

    for shape in ((4, 3), (2,), (1,)):  # a small mask is often drawn twice
        said = only_row((dropout_fwd, lambda mask, dy: (dy * mask,)), normal(*shape))
        assert said.startswith(f"fwd {DRAWS} (fix the seed, or pass the mask or the key as an option)")


def test_the_books_layer_of_dropout() -> None:
    class Dropout:
        def __init__(self, ratio: float = 0.5) -> None:
            self.ratio = ratio
            self.mask: Any = None

        def forward(self, x: Array, train_flg: bool = True) -> Array:
            if train_flg:
                self.mask = np.random.rand(*x.shape) > self.ratio  # noqa: NPY002
                return x * self.mask
            return x * (1.0 - self.ratio)

        def backward(self, dy: Array) -> Array:
            return dy * self.mask

    layer = Dropout()
    said = only_row((lambda x: (layer.forward(x), None), lambda _, dy: (layer.backward(dy),)), X)
    assert said.startswith(f"fwd {DRAWS}")


def test_random_pairs_are_one_row_however_many_arguments() -> None:
    generator = np.random.default_rng(0)

    def bwd(r: Any, dy: Array) -> Any:
        order = generator.permutation(len(dy))
        return (dy * r[1])[order], (dy * r[0])[order]

    assert only_row((lambda a, b: (a * b, (a.copy(), b.copy())), bwd), X, X + 3).startswith(f"bwd {DRAWS}")


# --------------------------------------------------------------------------------- what an earlier call left


def buffer_not_zeroed() -> Pair:
    buffer = np.zeros((4, 3))

    def bwd(_: Any, dy: Array) -> Any:
        buffer[...] += 2 * dy
        return (buffer.copy(),)

    return lambda x: (2 * x, ()), bwd


def gradient_in_an_object() -> Pair:
    class Weight:
        grad = 0.0

    weight = Weight()

    def bwd(x: Array, dy: Array) -> Any:
        weight.grad = weight.grad + 2 * x * dy
        return (weight.grad,)

    return lambda x: (x * x, x), bwd


def scattered_into_a_buffer() -> Pair:
    """The commonest form: np.add.at into an array that lives as long as the module."""
    buffer = np.zeros((4, 3))

    def bwd(_: Any, dy: Array) -> Any:
        np.add.at(buffer, [0, 2, 2], dy)
        return (buffer.copy(),)

    return lambda x: (x[[0, 2, 2]], ()), bwd


def grows_by_a_default() -> Pair:
    def bwd(x: Array, dy: Array, total: list[Any] = []) -> Any:  # noqa: B006
        total.append(2 * x * dy)
        return (np.sum(total, axis=0),)

    return lambda x: (x * x, x), bwd


@pytest.mark.parametrize("make", [buffer_not_zeroed, gradient_in_an_object, scattered_into_a_buffer, grows_by_a_default])
def test_a_backward_pass_that_adds_to_what_is_there(make: Callable[[], Pair]) -> None:
    assert only_row(make(), X).startswith(ADDS)


def test_a_running_mean_of_gradients() -> None:
    mean = np.zeros((4, 3))

    def bwd(x: Array, dy: Array) -> Any:
        mean[...] = 0.5 * mean + 0.5 * 2 * x * dy
        return (mean.copy(),)

    said = only_row((lambda x: (x * x, x), bwd), X)
    assert said.startswith("bwd is not a function of its arguments: it mixes what an earlier call left into its result")


def test_what_ran_before() -> None:
    """The momentum of another call; after equal calls it is the same again."""
    last: list[Array] = [np.zeros((4, 3))]

    def bwd(x: Array, dy: Array) -> Any:
        before, last[0] = last[0], 2 * x * dy
        return (2 * x * dy + 0.1 * before,)

    said = only_row((lambda x: (x * x, x), bwd), X)
    assert said.startswith("bwd is not a function of its arguments: its result depends on what ran before")


def test_a_counter_in_the_value() -> None:
    calls: list[int] = []

    def fwd(x: Array) -> Any:
        calls.append(1)
        return x * x + 1e-3 * len(calls), x.copy()

    assert only_row((fwd, lambda x, dy: (2 * x * dy,)), X).startswith("fwd is not a function of its arguments: it adds to what")


# --------------------------------------------------------------------------------- what the first call left


def memo_by_shape() -> Pair:
    memo: dict[Any, Array] = {}

    def bwd(x: Array, dy: Array) -> Any:
        x = memo.setdefault(x.shape, x.copy())
        return (dy * (np.tanh(x) + x * (1 - np.tanh(x) ** 2)),)

    return lambda x: (np.tanh(x) * x, x), bwd


def mask_of_the_first_batch() -> Pair:
    masks: dict[Any, Array] = {}

    def fwd(x: Array) -> Any:
        masks.setdefault(x.shape, x > 0)
        return np.maximum(x, 0), x.shape

    return fwd, lambda shape, dy: (dy * masks[shape],)


def attribute_set_once() -> Pair:
    class Layer:
        x: Any = None

        def fwd(self, x: Array) -> Any:
            if self.x is None or self.x.shape != x.shape:
                self.x = x.copy()
            return x**3, None

        def bwd(self, _: Any, dy: Array) -> Any:
            return (3 * self.x**2 * dy,)

    layer = Layer()
    return layer.fwd, layer.bwd


def memo_of_a_helper() -> Pair:
    norms: dict[int, Any] = {}

    def norm(x: Array) -> Any:
        if x.size not in norms:
            norms[x.size] = np.sqrt((x * x).sum())
        return norms[x.size]

    return lambda x: (np.sqrt((x * x).sum()), x), lambda x, dy: (dy * x / norm(x),)


@pytest.mark.parametrize("make", [memo_by_shape, mask_of_the_first_batch, attribute_set_once, memo_of_a_helper])
def test_a_memo_by_shape(make: Callable[[], Pair]) -> None:
    pair = make()
    assert only_row(pair, X).startswith(f"bwd {REMEMBERS}")
    assert not verify(pair, 2 * X).passed  # the memo is there before the first call of this verification
    assert not verify(make(), X, reference=None, limit=0).passed


@pytest.mark.parametrize("key", ["the first entry", "the sum", "the largest entry", "the dtype"])
def test_a_memo_by_a_part_of_the_arguments(key: str) -> None:
    keys = {
        "the first entry": lambda x: x.flat[0],
        "the sum": lambda x: round(float(x.sum()), 6),
        "the largest entry": np.max,
        "the dtype": lambda x: x.dtype,
    }
    memo: dict[Any, Array] = {}

    def bwd(x: Array, dy: Array) -> Any:
        return (3 * memo.setdefault(keys[key](x), x.copy()) ** 2 * dy,)

    assert only_row((lambda x: (x**3, x), bwd), X).startswith(f"bwd {REMEMBERS}")


def test_a_maximum_over_all_calls_so_far() -> None:
    most = [0.0]

    def bwd(x: Array, dy: Array) -> Any:
        most[0] = max(most[0], abs(x).max())
        return (3 * x * x * dy * abs(x).max() / most[0],)

    assert "its result depends on what ran before" in only_row((lambda x: (x**3, x), bwd), X)


def test_a_memo_of_an_op() -> None:
    memo: dict[Any, Array] = {}

    def cubed(x: Array) -> Any:
        return x**3, x

    op = pn.Op(cubed)

    @op.pullback
    def cubed_bwd(x: Array, dy: Array) -> Any:
        x = memo.setdefault(x.shape, x.copy())
        return (3 * x * x * dy,)

    assert only_row(op, X).startswith(f"bwd {REMEMBERS}")  # type: ignore[arg-type]


def test_a_memo_out_of_reach_fails_by_its_numbers() -> None:
    """As one of a library in C would: nothing about it can be copied."""

    class Library:
        """Refuses to be copied."""

        def __init__(self) -> None:
            self.kept: Any = None

        def __copy__(self) -> Any:
            raise TypeError("not to be copied")

        def bwd(self, x: Array, dy: Array) -> Any:
            self.kept = x.copy() if self.kept is None else self.kept
            return (2 * self.kept * dy,)

    only = row(verify((lambda x: (x * x, x), Library().bwd), X))
    assert only.verdict is Verdict.FAIL
    assert only.evidence != "contract"


# --------------------------------------------------------------------------------- right twins


def counts_its_calls() -> Pair:
    calls = {"count": 0}

    def bwd(x: Array, dy: Array) -> Any:
        calls["count"] += 1
        return (2 * x * dy,)

    return lambda x: (x * x, x), bwd


def cache_by_contents() -> Pair:
    cache: dict[Any, Array] = {}

    def slope(x: Array) -> Array:
        key = x.shape, x.dtype, x.tobytes()
        if key not in cache:
            cache[key] = 1 - np.tanh(x) ** 2
        return cache[key]

    return lambda x: (np.tanh(x), x), lambda x, dy: (dy * slope(x),)


def table_by_shape() -> Pair:
    """What depends on the shape alone may be kept by the shape."""
    tables: dict[Any, Array] = {}

    def table(shape: Any) -> Array:
        return tables.setdefault(shape, np.arange(1, 1 + np.prod(shape), dtype=np.float16).reshape(shape))

    return lambda x: (x * table(x.shape), x.shape), lambda shape, dy: (dy * table(shape),)


def workspace() -> Pair:
    space: dict[Any, Array] = {}

    def bwd(x: Array, dy: Array) -> Any:
        buffer = space.setdefault((x.shape, x.dtype), np.empty_like(x))
        np.multiply(x, dy, out=buffer)
        return (2 * buffer,)

    return lambda x: (x * x, x), bwd


def draws_with_a_seed() -> Pair:
    def fwd(x: Array) -> Any:
        mask = np.random.default_rng(7).random(x.shape) > 0.5
        return x * mask, mask

    return fwd, lambda mask, dy: (dy * mask,)


def draws_and_ignores() -> Pair:
    generator = np.random.default_rng(0)

    def fwd(x: Array) -> Any:
        return x * x + 0 * generator.random(), x

    return fwd, lambda x, dy: (2 * x * dy,)


@pytest.mark.parametrize(
    "make", [counts_its_calls, cache_by_contents, table_by_shape, workspace, draws_with_a_seed, draws_and_ignores]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_state_that_changes_no_result(make: Callable[[], Pair], dtype: Any) -> None:
    result = verify(make(), signed(4, 3).astype(dtype))
    assert result.passed, result


def test_the_users_own_state_is_left_alone() -> None:
    """The twin works on copies: cells, globals, defaults, objects, and lists that hold themselves."""
    loop: list[Any] = []
    loop.append(loop)

    class Kept:
        def __init__(self) -> None:
            self.calls = [0]
            self.me = self

    kept = Kept()

    def fwd(x: Array, *, parts: list[Any] = loop) -> Any:
        kept.calls[0] += len(parts)
        return x * x, x

    state = State.of(Subject.of((fwd, lambda x, dy: (2 * x * dy,)), {}))
    assert state.twin is not None
    state.twin.fwd(X)
    assert kept.calls == [0]
    fwd(X)
    assert kept.calls == [1]


# --------------------------------------------------------------------------------- state that another call overwrites


def test_another_forward_pass_in_between_is_one_row() -> None:
    class Product:
        def fwd(self, a: Array, b: Array) -> Any:
            self.a, self.b = a, b
            return a * b, None

        def bwd(self, _: Any, dy: Array) -> Any:
            return dy * self.b, dy * self.a

    layer = Product()
    result = verify((layer.fwd, layer.bwd), X, X + 3)
    said = [r.diagnosis for r in result.rows if r.evidence == "contract"]
    assert len(said) == 1
    assert said[0].startswith("stale or shared buffer: another forward pass in between changes what bwd returns")
    assert "as residuals): for a and b (if that is meant:" in said[0]
    assert [r.verdict for r in result.rows if r.evidence != "contract"] == [Verdict.PASS, Verdict.PASS]


def test_residuals_are_accused_only_if_they_change() -> None:
    class Grad:
        total: Any = 0.0

    grad = Grad()

    def fwd(x: Array) -> Any:
        grad.total = 0.0
        return x * x, x.copy()

    def bwd(x: Array, dy: Array) -> Any:
        grad.total = grad.total + 2 * x * dy
        return (grad.total,)

    said = [r.diagnosis for r in verify((fwd, bwd), X).rows if r.evidence == "contract"]
    assert len(said) == 1
    assert said[0].startswith(
        "two calls of bwd with the same residuals return different results: it keeps something between its calls ("
    )

    class Saved:
        def __init__(self, x: Array) -> None:
            self.x = x.copy()

    def spoils(saved: Saved, dy: Array) -> Any:
        saved.x *= 2
        return (saved.x * dy,)

    said = [r.diagnosis for r in verify((lambda x: (x * x, Saved(x)), spoils), X).rows if r.evidence == "contract"]
    assert len(said) == 1
    assert said[0].startswith(
        "two calls of bwd with the same residuals return different results: the first changes the residuals ("
    )
