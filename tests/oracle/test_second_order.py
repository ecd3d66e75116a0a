"""Order 2: the backward pass of the backward pass, by hand, of JAX, autograd and torch. Each right one has wrong twins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autograd import numpy as anp

import oracle
from oracle import Verdict, adapters
from oracle.row import VALUES, Row
from tests.oracle.conftest import environment
from tests.oracle.planted import normal, signed

X, W = normal(2, 3), normal(3, 2)


def by_parameter(result: oracle.Verification) -> dict[str, Row]:
    return {row.parameter: row for row in result.rows}


def failing(result: oracle.Verification) -> set[str]:
    return {row.parameter for row in result.rows if not row.passed}


def product(x: Any, w: Any) -> Any:
    return x @ w, (x, w)


def product_bwd(residuals: Any, dy: Any) -> Any:
    x, w = residuals
    return dy @ w.T, x.T @ dy


def product_bwd_fwd(x: Any, w: Any, dy: Any) -> Any:
    return (dy @ w.T, x.T @ dy), (x, w, dy)


def product_bwd_bwd(residuals: Any, u: Any) -> Any:
    x, w, dy = residuals
    by_x, by_w = u
    return dy @ by_w.T, by_x.T @ dy, by_x @ w + x @ by_w


FIRST = (product, product_bwd)
PRODUCT = (FIRST, (product_bwd_fwd, product_bwd_bwd))
ROWS = ["x", "w", "d2 <(dx, dw), u> by x", "d2 <(dx, dw), u> by w", "d2 <(dx, dw), u> by dy"]


@pytest.mark.parametrize(
    ("reference", "dtype"), [(None, np.float64), (jnp.matmul, np.float64), (jnp.matmul, np.float32), (None, np.float16)]
)
def test_two_pairs(reference: Any, dtype: Any) -> None:
    result = oracle.verify(PRODUCT, X.astype(dtype), W.astype(dtype), order=2, reference=reference)
    result.raise_for_failures()
    assert sorted(row.parameter for row in result.rows) == sorted(ROWS)
    assert [row.order for row in result.rows] == [1, 1, 2, 2, 2]
    assert all((row.autodiff_error is not None) == (reference is not None) for row in result.rows)


def test_at_order_1_two_pairs_are_the_first() -> None:
    result = oracle.verify(PRODUCT, X, W)
    assert result.passed
    assert {row.parameter for row in result.rows} == {"x", "w"}


@pytest.mark.parametrize(("wrong", "reference"), [(0, None), (1, jnp.matmul), (2, None)])
def test_a_wrong_second_derivative(wrong: int, reference: Any) -> None:
    def doubled(residuals: Any, u: Any) -> Any:
        return tuple(2 * g if i == wrong else g for i, g in enumerate(product_bwd_bwd(residuals, u)))

    result = oracle.verify((FIRST, (product_bwd_fwd, doubled)), X, W, order=2, reference=reference)
    assert failing(result) == {ROWS[2 + wrong]}
    row = by_parameter(result)[ROWS[2 + wrong]]
    assert row.verdict is Verdict.FAIL
    assert row.diagnosis.startswith(f"constant factor: {['x', 'w', 'dy'][wrong]} is 2 times the true gradient everywhere")


def test_what_a_row_of_order_2_means() -> None:
    row = by_parameter(oracle.verify(PRODUCT, X, W, order=2))["d2 <(dx, dw), u> by dy"]
    assert row.note == (
        "order 2: d2 <(dx, dw), u> by x is the gradient by x of the sum of (dx, dw) times u, where (dx, dw) is what bwd "
        "returns for dy, and u is random"
    )


def test_messages_call_the_upstream_gradient_of_order_2_u() -> None:
    def forgetful(residuals: Any, u: Any) -> Any:
        return product_bwd_bwd(residuals, (u[0], 0 * u[1]))

    result = oracle.verify((FIRST, (product_bwd_fwd, forgetful)), X, W, order=2)
    assert by_parameter(result)["d2 <(dx, dw), u> by dy"].diagnosis == "u ignored: nothing flows back from the value[1]"


def test_the_contract_holds_at_order_2() -> None:
    def writing(residuals: Any, u: Any) -> Any:
        found = product_bwd_bwd(residuals, u)
        u[0][...] = 0
        return found

    result = oracle.verify((FIRST, (product_bwd_fwd, writing)), X, W, order=2)
    assert [row.diagnosis for row in result.rows if not row.passed] == ["order 2: the backward pass writes to the caller's u"]


def test_the_value_of_the_second_pair_is_what_bwd_returns() -> None:
    def another(x: Any, w: Any, dy: Any) -> Any:
        return (dy @ w.T, 2 * x.T @ dy), (x, w, dy)

    result = oracle.verify((FIRST, (another, product_bwd_bwd)), X, W, order=2)
    row = by_parameter(result)[""]
    assert (row.verdict, row.evidence, row.order) == (Verdict.FAIL, VALUES, 2)
    assert row.diagnosis == "bwd_fwd returns other gradients than bwd: by w"


def test_the_form_of_the_second_pair() -> None:
    result = oracle.verify((FIRST, (lambda x, w, dy: (dy @ w.T, (x, w, dy)), product_bwd_bwd)), X, W, order=2)
    assert [row.diagnosis for row in result.rows if not row.passed] == [
        "bwd_fwd must return (gradients, residuals), with the gradients in the tuple that bwd returns"
    ]


def test_an_exception_at_order_2() -> None:
    def broken(x: Any, w: Any, dy: Any) -> Any:
        raise ZeroDivisionError("no")

    result = oracle.verify((FIRST, (broken, product_bwd_bwd)), X, W, order=2)
    (row,) = (row for row in result.rows if row.verdict is Verdict.ERROR)
    assert row.diagnosis.startswith("order 2: the forward pass raised ZeroDivisionError: no")


def test_order_2_waits_for_order_1() -> None:
    result = oracle.verify(((product, lambda r, dy: (dy @ r[1].T, None)), PRODUCT[1]), X, W, order=2)
    row = by_parameter(result)[""]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.diagnosis == "order 2 was not verified: mend what is reported about order 1 first"


def test_rows_of_order_1_come_first() -> None:
    wrong = ((product, lambda r, dy: (dy @ r[1].T, 2 * r[0].T @ dy)), PRODUCT[1])
    result = oracle.verify(wrong, X, W, order=2)
    assert [row.order for row in result.rows if row.parameter] == [1, 1, 2, 2, 2]
    assert "bwd_fwd returns other gradients than bwd: by w" in {row.diagnosis for row in result.rows}


def test_the_reference_of_another_function_is_left_out() -> None:
    result = oracle.verify(PRODUCT, X, W, order=2, reference=lambda x, w: 2 * x @ w)
    assert failing(result) == {""}
    assert all(row.autodiff_error is None for row in result.rows)


def test_trees_and_zero_second_derivatives() -> None:
    def affine(params: Any, x: Any) -> Any:
        return {"y": x @ params["w"] + params["b"]}, (params["w"], x)

    def affine_bwd(residuals: Any, dy: Any) -> Any:
        w, x = residuals
        return {"w": x.T @ dy["y"], "b": dy["y"].sum(0)}, dy["y"] @ w.T

    def affine_bwd_fwd(params: Any, x: Any, dy: Any) -> Any:
        return affine_bwd((params["w"], x), dy), (params["w"], x, dy["y"])

    def affine_bwd_bwd(residuals: Any, u: Any) -> Any:
        w, x, dy = residuals
        by_w, by_b, by_x = u[0]["w"], u[0]["b"], u[1]
        return {"w": by_x.T @ dy, "b": np.zeros_like(by_b)}, dy @ by_w.T, {"y": x @ by_w + by_b + by_x @ w}

    op = ((affine, affine_bwd), (affine_bwd_fwd, affine_bwd_bwd))
    params = {"w": W, "b": normal(2)}
    result = oracle.verify(op, params, X, order=2, reference=lambda p, x: {"y": x @ p["w"] + p["b"]})
    result.raise_for_failures()
    assert {"d2 <(dparams, dx), u> by params.b", "d2 <(dparams, dx), u> by dy.y"} <= set(by_parameter(result))


def test_options_go_to_the_second_pair_too() -> None:
    def power(x: Any, *, n: int) -> Any:
        return x**n, (x, n)

    def power_bwd_fwd(x: Any, dy: Any, *, n: int) -> Any:
        return (n * x ** (n - 1) * dy,), (x, dy, n)

    def power_bwd_bwd(residuals: Any, u: Any) -> Any:
        x, dy, n = residuals
        return n * (n - 1) * x ** (n - 2) * dy * u[0], n * x ** (n - 1) * u[0]

    op = ((power, lambda r, dy: (r[1] * r[0] ** (r[1] - 1) * dy,)), (power_bwd_fwd, power_bwd_bwd))
    oracle.verify(op, X, options={"n": 3}, order=2, reference=lambda x, *, n: x**n).raise_for_failures()


def test_a_straight_through_gradient_has_a_backward_pass_of_its_own() -> None:
    def rounded(factor: float) -> Any:
        keep = lambda x: abs(x) < 1  # noqa: E731
        first = (lambda x: (np.round(x), x), lambda x, dy: (dy * keep(x),))
        return first, (lambda x, dy: ((dy * keep(x),), x), lambda x, u: (0 * x, factor * u[0] * keep(x)))

    x = np.array([-1.7, -0.3, 0.2, 0.8, 1.4])
    flags = frozenset({oracle.Flag.NOT_THE_DERIVATIVE})
    rows = by_parameter(oracle.verify(rounded(1), x, order=2, flags=flags))
    assert rows["x"].verdict is Verdict.INCONCLUSIVE
    assert {row.verdict for row in rows.values() if row.order == 2} == {Verdict.PASS}
    rows = by_parameter(oracle.verify(rounded(2), x, order=2, flags=flags))
    assert rows["d2 <dx, u> by dy"].verdict is Verdict.FAIL


# ------------------------------------------------------------------------------------------ JAX, autograd, torch


def softsign(*, stopped: bool) -> Any:
    @jax.custom_vjp
    def softsign(x: Any) -> Any:
        return x / (1 + jnp.abs(x))

    def backward(x: Any, dy: Any) -> Any:
        size = jnp.abs(x)
        return (dy / (1 + (jax.lax.stop_gradient(size) if stopped else size)) ** 2,)

    softsign.defvjp(lambda x: (softsign(x), x), backward)
    return softsign


LINE = np.array([-1.0, 0.5])


@pytest.mark.parametrize("reference", [None, lambda x: x / (1 + jnp.abs(x))])
def test_a_stop_gradient_in_the_rule_is_right_at_order_1_alone(reference: Any) -> None:
    result = oracle.verify(softsign(stopped=True), LINE, order=2, reference=reference)
    assert failing(result) == {"d2 <dx, u> by x"}
    row = by_parameter(result)["d2 <dx, u> by x"]
    assert row.verdict is Verdict.FAIL
    assert row.diagnosis.startswith("the gradient is zero everywhere, but the true one is not")


@pytest.mark.parametrize(("reference", "dtype"), [(None, np.float32), (lambda x: x / (1 + jnp.abs(x)), np.float64)])
def test_the_same_rule_without_it(reference: Any, dtype: Any) -> None:
    oracle.verify(softsign(stopped=False), LINE.astype(dtype), order=2, reference=reference).raise_for_failures()


def test_a_function_of_jax_whose_code_depends_on_values() -> None:
    def branching(x: Any, *, power: int) -> Any:
        return x**power if x.sum() < 100 else x

    oracle.verify(adapters.of_jax(branching), X[0, :1], options={"power": 3}, order=2).raise_for_failures()


def test_a_function_of_jax_with_an_array_among_its_options() -> None:
    scaled = adapters.of_jax(lambda x, *, scale: scale * x**3)
    oracle.verify(scaled, X[0, :2], options={"scale": np.array([1.0, 2.0])}, order=2).raise_for_failures()


def test_a_function_of_autograd() -> None:
    tanh = adapters.of_autograd(lambda x, w: anp.tanh(anp.dot(x, w)))
    oracle.verify(tanh, X, W, order=2, reference=lambda x, w: jnp.tanh(x @ w)).raise_for_failures()


def test_a_function_of_torch() -> None:
    torch = pytest.importorskip("torch")

    def softmax(x: Any) -> Any:
        return torch.softmax(x, -1)

    reference = adapters.torch_reference(softmax)
    for dtype in (np.float64, np.float32):
        oracle.verify(adapters.of_torch(softmax), X.astype(dtype), order=2, reference=reference).raise_for_failures()
    oracle.verify(adapters.of_torch(torch.nn.functional.silu), X, order=2, reference=jax.nn.silu).raise_for_failures()


@pytest.mark.parametrize("stopped", [False, True])
def test_double_backward_of_torch(stopped: bool) -> None:
    torch = pytest.importorskip("torch")

    class Square(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return x**2 * w

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, w = ctx.saved_tensors
            return 2 * (x.detach() if stopped else x) * w * dy, x**2 * dy

    result = oracle.verify(Square, X, signed(2, 3), order=2)
    assert failing(result) == ({"d2 <(dx, dw), u> by x"} if stopped else set())


def test_a_function_of_torch_that_is_differentiable_once() -> None:
    torch = pytest.importorskip("torch")

    class Square(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(ctx: Any, dy: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * dy

    result = oracle.verify(adapters.of_torch(lambda x: Square.apply(x) + Square.apply(2 * x)), X, order=2)
    (row,) = (row for row in result.rows if not row.passed)
    assert row.verdict is Verdict.ERROR
    assert "is marked once_differentiable" in row.diagnosis


# ------------------------------------------------------------------------------------------ ways to ask for it


@pytest.mark.parametrize("order", [0, 3, True, 2.0, "2", None])
def test_an_order_that_is_none(order: Any) -> None:
    with pytest.raises(ValueError, match=r"^verify: order must be 1 or 2, got "):
        oracle.verify(PRODUCT, X, W, order=order)


def test_an_op_without_a_second_pair() -> None:
    with pytest.raises(TypeError, match=r"^verify: order=2 needs the backward pass of bwd: give product as \(\(fwd, bwd\), "):
        oracle.verify(FIRST, X, W, order=2)
    with pytest.raises(TypeError, match=r"^Spec of product: order=2 needs the backward pass of bwd: "):
        oracle.Spec(FIRST, cases=(oracle.Case("typical", (X, W)),), order=2)
    with pytest.raises(ValueError, match=r"^Spec of product: order must be 1 or 2, got 3"):
        oracle.Spec(PRODUCT, cases=(oracle.Case("typical", (X, W)),), order=3)


def test_a_spec() -> None:
    spec = oracle.Spec(PRODUCT, cases=(oracle.Case("typical", (X, W)),), order=2)
    assert spec.name == "product"
    result = oracle.verify_case(spec, spec.cases[0], dtype="float32")
    result.raise_for_failures()
    assert len(result.rows) == len(ROWS)


def test_the_fixture(verify_gradient: Any) -> None:
    assert len(verify_gradient(PRODUCT, X, W, order=2).rows) == len(ROWS)


MODULE = """
import numpy as np
import oracle
def square(x): return x * x, x
def square_bwd(x, dy): return (2 * x * dy,)
def square_bwd_fwd(x, dy): return (2 * x * dy,), (x, dy)
def square_bwd_bwd(residuals, u): return 2 * residuals[1] * u[0], {factor} * residuals[0] * u[0]
twice = ((square, square_bwd), (square_bwd_fwd, square_bwd_bwd))
check = oracle.Spec(twice, cases=(oracle.Case("three", (np.array([1.5, -2.5, 3.5]),)),), order=2)
"""


@pytest.mark.usefixtures("in_this_process")
def test_the_command_line_and_its_programs(run: Any, module: Any, tmp_path: Path) -> None:
    for name, factor, expected in (("right_twice", 2, 0), ("wrong_twice", 3, 1)):
        module(name, MODULE.replace("{factor}", str(factor)))
        for op in ("square", "twice"):
            code, out, _ = run("verify", f"{name}:{op}")
            assert code == expected, out
            assert ("FAIL  square / three / d2 <dx, u> by dy" in out) == (expected == 1)
    (program,) = (tmp_path / "reports" / "failures").glob("*/repro.py")
    done = subprocess.run([sys.executable, program], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "d2 <dx, u> by dy" in done.stdout
