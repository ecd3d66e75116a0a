"""Functions with a rule of JAX, autograd or torch: right rules pass, wrong ones fail with their cause."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from autograd import numpy as anp
from autograd.extend import defvjp, primitive

import oracle
from oracle import Verdict, adapters
from tests.oracle.planted import normal, row, signed

X, W = signed(2, 3), signed(3, 2)
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def by_jax(factor: float) -> Any:
    """x**power * w, whose rule multiplies one cotangent by a factor."""

    @jax.custom_vjp
    def power_of(x: Any, w: Any, power: int = 3) -> Any:
        return x**power * w

    def fwd(x: Any, w: Any, power: int) -> Any:
        return x**power * w, (x, w, power)

    def bwd(residuals: Any, dy: Any) -> Any:
        x, w, power = residuals
        return factor * dy * w * power * x ** (power - 1), dy * x**power, None

    power_of.defvjp(fwd, bwd)
    return power_of


def by_autograd(factor: float) -> Any:
    @primitive
    def power_of(x: Any, w: Any, power: int = 3) -> Any:
        return x**power * w

    defvjp(
        power_of,
        lambda y, x, w, power=3: lambda dy: factor * dy * w * power * x ** (power - 1),
        lambda y, x, w, power=3: lambda dy: dy * x**power,
    )
    return power_of


def by_torch(factor: float) -> Any:
    torch = pytest.importorskip("torch")

    class PowerOf(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any, power: int = 3) -> Any:
            ctx.save_for_backward(x, w)
            ctx.power = power
            return x**power * w

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, w = ctx.saved_tensors
            return factor * dy * w * ctx.power * x ** (ctx.power - 1), dy * x**ctx.power, None

    return PowerOf


LIBRARIES = pytest.mark.parametrize("library", [by_jax, by_autograd, by_torch])


@LIBRARIES
@pytest.mark.parametrize("options", [{}, {"power": 2}])
@pytest.mark.parametrize("reference", [None, lambda x, w, power=3: x**power * w], ids=["alone", "JAX"])
def test_a_right_rule_passes(library: Any, options: dict[str, Any], reference: Any) -> None:
    result = oracle.verify(library(1.0), X, X + 0.25, options=options, reference=reference)
    assert {r.verdict for r in result.rows} == {Verdict.PASS}, result
    assert {r.parameter for r in result.rows} == {"x", "w"}
    assert {r.op for r in result.rows} <= {"power_of", "PowerOf"}


@LIBRARIES
def test_a_wrong_rule_is_found_and_explained(library: Any) -> None:
    result = oracle.verify(library(2.0), X, X + 0.25)
    assert row(result, "w").verdict is Verdict.PASS
    assert row(result, "x").verdict is Verdict.FAIL
    assert row(result, "x").diagnosis.startswith("constant factor: x is 2 times the true gradient everywhere")


@pytest.mark.usefixtures("undiagnosed")
@LIBRARIES
def test_a_billionth_too_much_is_found(library: Any) -> None:
    assert row(oracle.verify(library(1 + 1e-9), X, X + 0.25), "x").verdict is Verdict.FAIL


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", [by_jax, by_torch])
def test_narrow_floats_stay_what_they_are(library: Any, dtype: Any) -> None:
    x, w = X.astype(dtype), (X + 0.25).astype(dtype)
    result = oracle.verify(library(1.0), x, w, reference=lambda x, w: x**3 * w)
    assert {(r.dtype, r.verdict) for r in result.rows} == {(np.dtype(dtype).name, Verdict.PASS)}, result


def test_a_jvp_of_jax() -> None:
    @jax.custom_jvp
    def root(x: Any) -> Any:
        return jnp.sqrt(x)

    root.defjvp(lambda primals, tangents: (root(primals[0]), tangents[0] / root(primals[0])))  # 2 is missing
    only = row(oracle.verify(root, np.abs(X)), "x")
    assert only.verdict is Verdict.FAIL
    assert "2 times the true gradient" in only.diagnosis


def test_a_rule_whose_forward_pass_is_another_function() -> None:
    @jax.custom_vjp
    def cube(x: Any) -> Any:
        return x**3

    cube.defvjp(lambda x: (x**2, x), lambda x, dy: (2 * x * dy,))
    only = row(oracle.verify(cube, X))
    assert only.verdict is Verdict.FAIL
    assert only.diagnosis.startswith(
        "another forward pass: the forward pass of the rule returns other values than the function"
    )
    assert only.diagnosis.endswith("; the gradient is right for the forward pass of the rule")


def test_twice_the_value_is_no_factor() -> None:
    for function in (sine := jax.custom_vjp(jnp.sin), jax.jit(sine)):
        sine.defvjp(lambda x: (2 * jnp.sin(x), x), lambda x, dy: (2 * dy * jnp.cos(x),))
        diagnosis = row(oracle.verify(function, X)).diagnosis
        assert diagnosis.startswith("another forward pass: ")
        assert diagnosis.endswith("; the gradient is right for the forward pass of the rule")
    sine.defvjp(lambda x: (2 * jnp.sin(x), x), lambda x, dy: (dy * jnp.exp(x),))
    assert row(oracle.verify(sine, X)).diagnosis.endswith(")")


def test_a_rule_with_another_rounding_is_the_same_function() -> None:
    @jax.custom_vjp
    def root(x: Any) -> Any:
        return jnp.sqrt(x)

    root.defvjp(lambda x: (x**0.5 * (1 + 1e-15), x), lambda x, dy: (dy / x**0.5,))  # 2 is missing
    assert row(oracle.verify(root, np.abs(X))).diagnosis.startswith("constant factor: x is 2 times the true gradient")


def test_what_only_calls_a_rule_is_named_by_its_library() -> None:
    wrong = by_jax(2.0)

    def layer(params: Any, x: Any) -> Any:
        hidden = x @ params["w"]
        return {"y": wrong(hidden, jnp.ones_like(hidden))}

    result = oracle.verify(adapters.of_jax(layer), {"w": W}, X)
    assert {r.parameter: r.verdict for r in result.rows} == {"params.w": Verdict.FAIL, "x": Verdict.FAIL}
    right = oracle.verify(adapters.of_autograd(lambda params, x: anp.tanh(anp.dot(x, params["w"]))), {"w": W}, X)
    assert {r.verdict for r in right.rows} == {Verdict.PASS}, right


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PASS), (2.0, Verdict.FAIL)])
def test_a_jitted_rule_is_still_one(factor: float, verdict: Verdict) -> None:
    result = oracle.verify(jax.jit(by_jax(factor)), X, X + 0.25)
    assert row(result, "x").verdict is verdict
    assert {r.op for r in result.rows} == {"power_of"}


def test_trees_of_values_of_autograd() -> None:
    for factor, verdict in ((1.0, Verdict.PASS), (2.0, Verdict.FAIL)):
        power_of = by_autograd(factor)
        pair = adapters.of_autograd(lambda x, w, power_of=power_of: {"both": (power_of(x, w), anp.sum(x)), "w": w})
        result = oracle.verify(pair, X, X + 0.25)
        assert (row(result, "x").verdict, row(result, "w").verdict) == (verdict, Verdict.PASS), result


def test_tensors_of_torch_by_their_own_rules() -> None:
    torch = pytest.importorskip("torch")
    pair = adapters.of_torch(lambda params, x: torch.softmax(x @ params["w"], -1))
    assert oracle.verify(pair, {"w": W}, X).passed

    class Forgetful(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(x: Any, w: Any) -> Any:
            return x * w

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy * ctx.saved_tensors[1], None

    only = row(oracle.verify(Forgetful, X, X + 1), "w")
    assert (only.parameter, only.verdict) == ("w", Verdict.FAIL)
    assert "returned None" in only.diagnosis


def test_apply_of_torch_is_its_function() -> None:
    for factor, verdict in ((1.0, Verdict.PASS), (2.0, Verdict.FAIL)):
        power_of = by_torch(factor).apply
        for op in (power_of, adapters.of_torch(power_of)):
            result = oracle.verify(op, X, X + 0.25, options={"power": 2})
            assert row(result, "x").verdict is verdict
            assert {r.op for r in result.rows} == {"PowerOf"}


def test_values_of_torch_that_nothing_flows_to() -> None:
    torch = pytest.importorskip("torch")
    both = row(oracle.verify(adapters.of_torch(lambda x: (x**2, x.argmax(0), x.detach())), X))
    assert both.verdict is Verdict.FAIL  # the last output does move with x
    right = oracle.verify(adapters.of_torch(lambda x: (x**2, (x > 0).to(torch.int64))), X)
    assert right.passed, right
    only = row(oracle.verify(adapters.of_torch(lambda x: 2 * x.detach()), X))
    assert (only.verdict, "returned None" in only.diagnosis) == (Verdict.FAIL, True)


def test_a_function_of_torch_that_writes_to_its_argument() -> None:
    torch = pytest.importorskip("torch")

    class Doubled(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return 2 * dy

    result = oracle.verify(Doubled, X)
    assert result.passed, result


@pytest.mark.parametrize(
    ("options", "text"),
    [({"powr": 2}, "unexpected keyword argument 'powr'"), ({"w": X}, "multiple values for argument 'w'")],
)
def test_wrong_options_name_the_function_of_torch(options: dict[str, Any], text: str) -> None:
    only = row(oracle.verify(by_torch(1.0), X, X, options=options), "")
    assert only.verdict is Verdict.ERROR
    assert f"PowerOf.forward: got an {text}" in only.diagnosis or f"PowerOf.forward: {text}" in only.diagnosis


@pytest.mark.parametrize("op", [np.sin, lambda x: x, 3, int, normal])
def test_what_has_no_rule_of_its_own_is_refused(op: Any) -> None:
    with pytest.raises(
        TypeError, match=r"verify: op must be a purenet.Op, a pair .*, a jax.custom_vjp function.*oracle.adapters has"
    ):
        oracle.verify(op, X)


# ------------------------------------------------------------------------------------------ arguments as users give them


def gathered(factor: float) -> Any:
    """A rule with integers, a mask, None, a number and a flag between its arrays, and an integer among its values."""
    torch = pytest.importorskip("torch")

    class Gathered(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(x: Any, index: Any, w: Any, mask: Any, bias: Any, scale: float, transposed: bool) -> Any:
            assert index.dtype == torch.int64
            assert (mask.dtype, bias, scale, transposed) == (torch.bool, None, 0.5, True)
            y = (x[index] * w * scale).masked_fill(mask, 0)
            return y, y.argmax(), torch.sign(x)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, index, w, mask, *_ = inputs
            ctx.mark_non_differentiable(output[2])
            ctx.save_for_backward(x, index, w, mask)

        @staticmethod
        def backward(ctx: Any, dy: Any, *_: Any) -> Any:
            x, index, w, mask = ctx.saved_tensors
            dy = dy.masked_fill(mask, 0) * 0.5
            dx = torch.zeros_like(x).index_add_(0, index, dy * w)
            return dx, None, factor * (dy * x[index]).sum(0), None, None, None, None

    return Gathered


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_arguments_of_torch_that_are_not_differentiated(factor: float, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    x, w = (torch.tensor(a).to(getattr(torch, dtype)).requires_grad_() for a in (X, X[0] + 2))
    index, mask = torch.tensor([1, 0, 1]), torch.tensor([[True], [False], [False]])
    for op in (gathered(factor), gathered(factor).apply):
        result = oracle.verify(op, x, index, w, mask, None, 0.5, True)
        assert {r.parameter: r.passed for r in result.rows} == {"x": True, "w": factor == 1}, result
        assert {r.dtype for r in result.rows} == {dtype}


def test_the_reference_gets_the_same_arguments() -> None:
    torch = pytest.importorskip("torch")

    def by_torch_alone(x: Any, index: Any, w: Any, power: int) -> Any:
        return torch.index_select(x, 0, index) ** power * w

    def by_jax_alone(x: Any, index: Any, w: Any, power: int) -> Any:
        return jnp.take(x, index, axis=0) ** power * w

    for reference in (by_torch_alone, by_jax_alone):
        pair = adapters.of_torch(by_torch_alone)
        right = oracle.verify(pair, X, np.array([0, 0, 1]), X[:1] + 1, 2, reference=reference)
        assert right.passed, right
        assert {(r.reference, r.autodiff_error is None) for r in right.rows} == {(reference.__name__, False)}
        other = oracle.verify(pair, X, np.array([0, 0, 1]), X[:1] + 1, 2, reference=lambda *a, f=reference: 2 * f(*a))
        assert not other.passed


def jaxs_gathered(factor: float) -> Any:
    @partial(jax.custom_vjp, nondiff_argnums=(3, 4))
    def rule(x: Any, index: Any, w: Any, scale: float, how: str, mask: Any, key: Any) -> Any:
        assert how == "gathered"
        y = x[index] * w * scale + jax.random.normal(key, w.shape, x.dtype)
        return {"y": jnp.where(mask, 0, y), "best": y.argmax()}

    def fwd(*given: Any) -> Any:
        x, index, w, *_, mask, _ = given
        return rule(*given), (x, index, w, mask)

    def bwd(scale: float, how: str, residuals: Any, dy: Any) -> Any:
        x, index, w, mask = residuals
        dy = jnp.where(mask, 0, dy["y"]) * scale
        dx = jnp.zeros_like(x).at[index].add(dy * w)
        return dx, np.zeros(index.shape, jax.dtypes.float0), factor * (dy * x[index]).sum(0), None, None

    rule.defvjp(fwd, bwd)
    return rule


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("factor", "dtype"), [(1.1, np.float64), (1.0, np.float32), (1.0, ml_dtypes.bfloat16)])
def test_arguments_of_jax_that_are_not_differentiated(factor: float, dtype: Any) -> None:
    given = (X[:, :2].astype(dtype), jnp.array([1, 0, 1]), (X[0, :2] + 2).astype(dtype), 0.5, "gathered")
    mask = np.array([[True], [False], [False]])
    result = oracle.verify(jaxs_gathered(factor), *given, mask, jax.random.key(0))
    assert {r.parameter: r.passed for r in result.rows} == {"x": True, "w": factor == 1}, result
    assert {r.dtype for r in result.rows} == {np.dtype(dtype).name}


class Pair(NamedTuple):
    w: Any
    b: Any


@jax.tree_util.register_dataclass
@dataclass
class State:
    pair: Pair
    count: Any


@pytest.mark.usefixtures("undiagnosed")
def test_trees_that_jax_knows() -> None:
    wrong = by_jax(2.0)

    def step(state: State, x: Any) -> State:
        y = wrong(x @ state.pair.w, jnp.ones((2, 2))) + state.pair.b
        return State(Pair(y, None), state.count + 1)

    result = oracle.verify(adapters.of_jax(step), State(Pair(W, X[0, :2]), jnp.array(3)), jnp.asarray(X))
    assert {r.parameter: r.passed for r in result.rows} == {"state.pair.w": False, "state.pair.b": True, "x": False}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("options", "factor"), [({"static": 2}, 2.0), ({"static": 2, "mask": np.array([True, False])}, 1.0)])
def test_a_rule_of_jax_that_is_called_point_by_point(options: dict[str, Any], factor: float) -> None:
    """Its Python code depends on values, so that it can neither be compiled nor be evaluated at many points at once."""

    def branching(x: Any, static: int, mask: Any = True) -> Any:
        return jnp.where(mask, static * x if float(x.sum()) > 0 else x, 1)

    rule = jax.custom_vjp(branching)
    rule.defvjp(
        lambda x, static, mask=True: (branching(x, static, mask), mask),
        lambda mask, dy: (jnp.where(mask, 2 * factor * dy, 0), None, None),
    )
    assert oracle.verify(rule, np.abs(X[0, :2]), options=options).passed is (factor == 1)


def test_a_rule_of_jax_that_draws_in_python() -> None:
    generator = np.random.default_rng(0)
    rule = jax.custom_vjp(lambda x: x * (generator.random(x.shape) > 0.5))
    rule.defvjp(lambda x: (rule(x), None), lambda _, dy: (dy,))
    only = row(oracle.verify(rule, X), "")
    assert "fwd is not a function of its arguments" in only.diagnosis


def test_values_of_integers_have_no_second_order() -> None:
    result = oracle.verify(adapters.of_jax(lambda x: (x**2, x.argmax())), X, order=2)
    assert {r.parameter: r.verdict for r in result.rows} == {"": Verdict.INCONCLUSIVE, "x": Verdict.PASS}
    assert "its value has integers" in row(result, "").diagnosis
