"""Complex arguments and values: right and wrong gradients by JAX's convention and by torch's, under the user's names."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optree
import pytest
from autograd import numpy as anp

import oracle
import purenet as pn
from oracle import Verdict, adapters
from oracle.arrays import cast
from oracle.complex_numbers import as_real
from oracle.report import document
from tests.oracle.planted import normal, row

Z, V, R = normal(2, 3) + 1j * normal(2, 3, seed=1), normal(3, 2) + 1j * normal(3, 2, seed=1), normal(3)


def by_rule(forward: Any, rule: Any) -> Any:
    return lambda *primals: (forward(*primals), primals), lambda residuals, dy: rule(*residuals, dy)


SQUARE = by_rule(lambda z: z * z, lambda z, dy: (2 * z * dy,))
SQUARE_OF_TORCH = by_rule(lambda z: z * z, lambda z, dy: (2 * np.conj(z) * dy,))
DTYPES = ["float64", "float32"]


def test_the_square_of_finding_8() -> None:
    oracle.verify((lambda z: (z * z, z), lambda z, dy: (2 * z * dy,)), np.ones(2, complex)).raise_for_failures()
    wrong = oracle.verify((lambda z: (z * z, z), lambda z, dy: (3 * z * dy,)), np.ones(2, complex))
    assert row(wrong).verdict is Verdict.FAIL
    assert row(wrong).diagnosis.startswith("constant factor: z is 1.5 times the true gradient everywhere")


# By JAX's convention: name, function, its rule, wrong rules, arguments, the same function in JAX.
RULES: dict[str, Any] = {
    "holomorphic": (np.exp, lambda z, dy: (np.exp(z) * dy,), [lambda z, dy: (z * dy,)], (Z,), jnp.exp),
    "abs": (
        np.abs,
        lambda z, dy: (dy * z.conj() / abs(z),),
        [lambda z, dy: (dy * z.conj() / abs(z) ** 2,), lambda z, dy: (dy * (z.real / abs(z)).astype(z.dtype),)],
        (Z,),
        jnp.abs,
    ),
    "conj": (np.conj, lambda z, dy: (dy.conj(),), [lambda z, dy: (dy.copy(),), lambda z, dy: (1j * dy,)], (Z,), jnp.conj),
    "real": (
        lambda z: z.real.copy(),
        lambda z, dy: (dy.astype(z.dtype),),
        [lambda z, dy: (-1j * dy.astype(z.dtype),), lambda z, dy: ((dy / 2).astype(z.dtype),)],
        (Z,),
        jnp.real,
    ),
    "imag": (lambda z: z.imag.copy(), lambda z, dy: ((-1j * dy).astype(z.dtype),), [], (Z,), jnp.imag),
    "matmul": (
        np.matmul,
        lambda z, v, dy: (dy @ v.T, z.T @ dy),
        [lambda z, v, dy: (dy @ v.conj().T, z.T @ dy), lambda z, v, dy: (dy @ v.T, 2 * z.T @ dy)],
        (Z, V),
        jnp.matmul,
    ),
    "real weights": (
        lambda z, w: z * w,
        lambda z, w, dy: (dy * w, (dy * z).real.sum(0)),
        [lambda z, w, dy: (dy * w, (dy * z).imag.sum(0)), lambda z, w, dy: (dy * w, (dy * z).real[0])],
        (Z, R),
        lambda z, w: z * w,
    ),
    "phase": (
        lambda t: np.exp(1j * t).astype(np.result_type(t, np.complex64)),
        lambda t, dy: ((1j * np.exp(1j * t) * dy).real.astype(t.dtype),),
        [lambda t, dy: ((np.exp(1j * t) * dy).real.astype(t.dtype),)],
        (R,),
        lambda t: jnp.exp(1j * t),
    ),
    "tree": (
        lambda p: {"y": p["a"] * p["b"]},
        lambda p, dy: ({"a": p["b"] * dy["y"], "b": p["a"] * dy["y"]},),
        [lambda p, dy: ({"a": p["a"] * dy["y"], "b": p["a"] * dy["y"]},)],
        ({"a": Z, "b": Z[::-1] + 1},),
        lambda p: {"y": p["a"] * p["b"]},
    ),
}


def at(name: str, dtype: str) -> tuple[Any, ...]:
    given: Any = RULES[name][3]
    return tuple(optree.tree_map(lambda a: cast(a, dtype), given))


def other_convention(rule: Any) -> Any:
    """The rule of the same function by the other convention."""

    def conjugate(tree: Any) -> Any:
        return optree.tree_map(np.conj, tree)

    return lambda *given: conjugate(rule(*given[:-1], conjugate(given[-1])))


WAYS = [(False, "jax", "float64"), (True, "torch", "float64"), (False, "torch", "float32"), (True, "jax", "float32")]
"""With a reference or without, the convention, the dtype: any two of them meet."""


@pytest.mark.parametrize(
    ("name", "with_reference", "convention", "dtype"),
    [(name, *WAYS[(2 * i + k) % 4]) for i, name in enumerate(RULES) for k in range(2)],
)
def test_right_rules(name: str, with_reference: bool, convention: str, dtype: str) -> None:
    forward, rule, _, _, reference = RULES[name]
    rule = rule if convention == "jax" else other_convention(rule)
    result = oracle.verify(
        by_rule(forward, rule),
        *at(name, dtype),
        reference=reference if with_reference else None,
        convention=convention,
    )
    result.raise_for_failures()
    assert all((r.autodiff_error is not None) == with_reference for r in result.rows)


WRONG = [(name, i) for name, rule in RULES.items() for i in range(len(rule[2]))]


def in_turn(wrong: list[tuple[str, int]], *ways: Any) -> list[tuple[Any, ...]]:
    """Wrong rules, one in the first of these ways, the next in the second."""
    return [(*one, *ways[i % len(ways)]) for i, one in enumerate(wrong)]


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("name", "which", "with_reference", "dtype"), in_turn(WRONG, (False, "float64"), (True, "float32")))
def test_wrong_rules(name: str, which: int, with_reference: bool, dtype: str) -> None:
    forward, _, wrong, _, reference = RULES[name]
    op = by_rule(forward, wrong[which])
    result = oracle.verify(op, *at(name, dtype), reference=reference if with_reference else None)
    assert {r.verdict for r in result.rows if not r.passed} == {Verdict.FAIL}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("name", "which", "dtype"), in_turn(WRONG[::2], ("float32",), ("float64",)))
def test_wrong_rules_are_wrong_by_the_other_convention_too(name: str, which: int, dtype: str) -> None:
    forward, _, wrong, _, _ = RULES[name]
    assert not oracle.verify(by_rule(forward, wrong[which]), *at(name, dtype), convention="torch").passed


DISAGREEING = [name for name in RULES if name not in ("real", "conj")]  # there both conventions agree


@pytest.mark.parametrize("name", DISAGREEING)
def test_the_other_convention_is_a_cause(name: str) -> None:
    forward, rule, _, _, reference = RULES[name]
    if DISAGREEING.index(name) % 2:
        result = oracle.verify(by_rule(forward, rule), *at(name, "float64"), reference=reference, convention="torch")
        cause = "conjugated: this is JAX's convention, dL/dx - i dL/dy; it was verified by torch's, dL/dx + i dL/dy "
    else:
        result = oracle.verify(by_rule(forward, other_convention(rule)), *at(name, "float64"), reference=reference)
        cause = "conjugated: this is torch's convention, dL/dx + i dL/dy; it was verified by JAX's, dL/dx - i dL/dy "
    assert not result.passed
    assert all(r.diagnosis.startswith(cause) for r in result.rows if not r.passed)


def test_a_conjugate_that_is_of_neither_convention() -> None:
    result = oracle.verify(by_rule(lambda z: z * z, lambda z, dy: (np.conj(2 * z * dy),)), Z)
    assert row(result).diagnosis == "conjugated: the complex conjugate of this gradient is right"


def test_a_row_tells_the_convention() -> None:
    notes = [row(oracle.verify(SQUARE, Z, convention=c)).note for c in (None, "jax", "torch")]
    assert notes[0] == notes[1]
    assert notes[1] == "complex numbers by JAX's convention: the gradient by x + iy of a real loss L is dL/dx - i dL/dy"
    assert notes[2] == "complex numbers by torch's convention: the gradient by x + iy of a real loss L is dL/dx + i dL/dy"


@pytest.mark.parametrize(("part", "error"), [("real", 1e-3), ("imag", 1e-3j)])
@pytest.mark.parametrize("convention", ["jax", "torch"])
def test_a_row_is_about_the_complex_array(convention: str, part: str, error: complex) -> None:
    def off(z: Any, dy: Any) -> Any:
        found = np.multiply(2 * (z if convention == "jax" else z.conj()), dy)
        found[1, 2] += error * np.multiply(3, dy[1, 2]).real
        return (found,)

    result = oracle.verify((lambda z: (z * z, (z,)), lambda r, dy: off(*r, dy)), Z, convention=convention)
    (wrong,) = (r for r in result.rows if not r.passed)
    assert (wrong.parameter, wrong.shape, wrong.worst_index, wrong.part) == ("z", (2, 3), (1, 2), part)
    assert wrong.diagnosis.startswith(f"a single entry is wrong: z[1, 2].{part} is ")
    assert f"at z[1, 2].{part}: hand-written " in str(result)
    again = json.loads(document.to_json([document.packed(wrong)]))[0]
    assert document.row_of(again).part == part


@pytest.mark.parametrize("convention", ["jax", "torch"])
def test_the_numbers_of_a_row_are_those_of_the_gradient(convention: str) -> None:
    seen = []

    def doubled(z: Any, dy: Any) -> Any:
        seen.append((4 * z if convention == "jax" else 4 * z.conj()) * dy)
        return (seen[-1],)

    found = row(oracle.verify(by_rule(lambda z: z * z, doubled), Z, convention=convention, reference=lambda z: z * z))
    values = {float(getattr(gradient[found.worst_index], found.part)) for gradient in seen if gradient.shape == Z.shape}
    assert found.analytic in values
    assert found.numerical == pytest.approx(found.analytic / 2)
    assert found.autodiff == pytest.approx(found.analytic / 2)


@pytest.mark.parametrize("scalar", [1 + 2j, np.complex128(1 + 2j), np.array(1 + 2j)])
def test_scalars(scalar: Any) -> None:
    assert oracle.verify(SQUARE, scalar, reference=lambda z: z * z).passed
    wrong = oracle.verify(by_rule(lambda z: z * z, lambda z, dy: (-2 * z * dy,)), scalar)
    assert row(wrong).shape == ()
    assert f"at argument 0.{row(wrong).part}: hand-written " in str(wrong)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (lambda z, dy: ((2 * z * dy).real,), "the gradient is float64, the argument complex128"),
        (lambda z, dy: ((2 * z * dy).sum(0),), "the gradient has shape (3,), the argument (2, 3)"),
        (lambda z, dy: ((2 * z * dy).astype(np.complex64),), "the gradient is complex64, the argument complex128"),
        (lambda z, dy: (None,), "the backward pass returned None: if the gradient is zero, return zeros"),
        (lambda z, dy: (as_real(2 * z * dy),), "the gradient has shape (2, 3, 2), the argument (2, 3)"),
        (lambda z, dy: ([2 * z * dy],), "the gradient has the structure "),
    ],
)
def test_the_form_of_a_gradient_is_told_of_the_complex_array(rule: Any, told: str) -> None:
    result = oracle.verify(by_rule(lambda z: z * z, rule), Z)
    assert row(result).verdict is Verdict.FAIL
    assert row(result).diagnosis.startswith(told)


def test_a_gradient_by_a_real_argument_is_real() -> None:
    result = oracle.verify(by_rule(lambda z, w: z * w, lambda z, w, dy: (dy * w, (dy * z).sum(0))), Z, R)
    (wrong,) = (r for r in result.rows if not r.passed)
    assert wrong.diagnosis == "the gradient is complex128, the argument float64"


@pytest.mark.parametrize("convention", ["jax", "torch"])
def test_the_contract_holds(convention: str) -> None:
    def writes_to_dy(z: Any, dy: Any) -> Any:
        dy *= 2 * (z if convention == "jax" else z.conj())
        return (dy.copy(),)

    def writes_to_z(z: Any) -> Any:
        y = z * z
        z *= -1
        return y, -z

    def told(op: Any) -> set[str]:
        return {r.diagnosis for r in oracle.verify(op, Z, convention=convention).rows if not r.passed}

    assert told(by_rule(lambda z: z * z, writes_to_dy)) >= {"the backward pass writes to the caller's dy"}
    rule = (lambda z, dy: (2 * z * dy,)) if convention == "jax" else (lambda z, dy: (2 * z.conj() * dy,))
    assert told((writes_to_z, rule)) >= {"the forward pass writes to its argument"}
    constant = by_rule(lambda z: z * z, lambda z, dy: (2 * z,))
    assert any("dy ignored" in what for what in told(constant))
    drawn = np.random.default_rng(0)
    random = by_rule(lambda z: z * z, lambda z, dy: (2 * z * dy * drawn.random(z.shape),))
    assert any("bwd is not a function of its arguments" in what for what in told(random))
    memo: dict[Any, Any] = {}
    first = by_rule(lambda z: z * z, lambda z, dy: (2 * memo.setdefault(z.shape, z.copy()) * dy,))
    assert any("it remembers an earlier call" in what for what in told(first))


# ------------------------------------------------------------------------------------------ libraries, order 2


def test_functions_of_jax() -> None:
    for function, primals in ((jnp.fft.rfft, (R,)), (jnp.fft.ifft, (Z[0],)), (jnp.linalg.inv, (Z[:, :2],))):
        oracle.verify(adapters.of_jax(function), *primals, reference=function).raise_for_failures()

    @jax.custom_vjp
    def square(z: Any) -> Any:
        return z * z

    square.defvjp(lambda z: (z * z, z), lambda z, dy: (2 * jnp.conj(z) * dy,))
    assert row(oracle.verify(square, Z[0, :2])).diagnosis.startswith("conjugated: this is torch's convention")


def test_a_rule_of_jax_that_differentiates_another_function() -> None:
    square = jax.custom_vjp(lambda z: z * z)
    square.defvjp(lambda z: (z * z * z, z), lambda z, dy: (3 * z * z * dy,))
    found = row(oracle.verify(square, Z[0, :2]))
    assert found.verdict is Verdict.FAIL
    assert found.diagnosis.startswith("another forward pass: ")


def test_a_function_of_autograd() -> None:
    oracle.verify(adapters.of_autograd(anp.exp), Z, order=2, reference=jnp.exp).raise_for_failures()


TWICE = ((lambda z, dy: ((2 * z * dy,), (z, dy))), lambda r, u: (2 * r[1] * u[0], 2 * r[0] * u[0]))


@pytest.mark.parametrize("reference", [None, lambda z: z * z])
def test_order_2(reference: Any) -> None:
    result = oracle.verify((SQUARE, TWICE), Z, order=2, reference=reference)
    result.raise_for_failures()
    assert len(result.rows) == 3
    wrong = (TWICE[0], lambda r, u: (2 * r[1] * u[0], 2 * r[0].conj() * u[0]))
    result = oracle.verify((SQUARE, wrong), Z, order=2, reference=reference)
    assert [r.order for r in result.rows if not r.passed] == [2]


def test_a_pass_with_other_gradients_than_the_first_is_told() -> None:
    other = ((lambda z, dy: ((2 * z.conj() * dy,), z)), TWICE[1])
    told = {r.diagnosis for r in oracle.verify((SQUARE, other), Z[0], order=2).rows}
    assert any(what.startswith("bwd_fwd returns other gradients than bwd: by ") for what in told)


@pytest.mark.parametrize("reference", [None, lambda z: z * z])
def test_order_2_by_the_convention_of_torch(reference: Any) -> None:
    second = (
        lambda z, dy: ((2 * z.conj() * dy,), (z, dy)),
        lambda r, u: (2 * r[1] * u[0].conj(), 2 * r[0] * u[0]),
    )
    result = oracle.verify((SQUARE_OF_TORCH, second), Z, order=2, reference=reference, convention="torch")
    result.raise_for_failures()
    assert {"torch" in r.note for r in result.rows} == {True}


def test_order_2_of_functions_of_jax() -> None:
    def mixed(z: Any) -> Any:
        return jnp.exp(z) * jnp.abs(z)

    oracle.verify(adapters.of_jax(mixed), Z[0, :2], order=2, reference=mixed).raise_for_failures()
    oracle.verify(adapters.of_jax(jnp.fft.rfft), R, order=2, reference=jnp.fft.rfft).raise_for_failures()


def test_functions_of_torch() -> None:
    torch = pytest.importorskip("torch")
    functions = (torch.exp, torch.abs, lambda z: torch.fft.fft(z) * z.conj(), lambda z: torch.view_as_real(z * z))
    for function in functions:
        reference = adapters.torch_reference(function)
        for z in (Z, Z.astype(np.complex64)):
            result = oracle.verify(adapters.of_torch(function), z, order=2, reference=reference)
            result.raise_for_failures()
            assert all("torch's convention" in r.note for r in result.rows)
    oracle.verify(adapters.of_torch(torch.exp), Z, order=2, reference=jnp.exp).raise_for_failures()
    oracle.verify(adapters.of_jax(jnp.exp), Z, order=2, reference=adapters.torch_reference(torch.exp)).raise_for_failures()
    assert row(oracle.verify(adapters.of_torch(torch.exp), Z, convention="jax")).diagnosis.startswith("conjugated: ")


def test_a_rule_of_torch() -> None:
    torch = pytest.importorskip("torch")

    def square(*, conjugated: bool) -> Any:
        class Square(torch.autograd.Function):  # type: ignore[misc]
            @staticmethod
            def forward(ctx: Any, z: Any) -> Any:
                ctx.save_for_backward(z)
                return z * z

            @staticmethod
            def backward(ctx: Any, dy: Any) -> Any:
                (z,) = ctx.saved_tensors
                return 2 * (z.conj() if conjugated else z) * dy

        return Square

    oracle.verify(square(conjugated=True), Z, order=2).raise_for_failures()
    wrong = row(oracle.verify(square(conjugated=False), Z))
    assert wrong.diagnosis.startswith("conjugated: this is JAX's convention")


# ------------------------------------------------------------------------------------------ ways to ask for it


def test_what_is_no_complex_array() -> None:
    for bad, error, what in (
        (np.array([1j, np.nan]), ValueError, "holds NaN"),
        (np.ma.array([1j, 2j], mask=[False, True]), TypeError, "got MaskedArray"),
        (np.array([1j, object()]), TypeError, "got object"),
    ):
        with pytest.raises(error, match=f"^verify: argument 0 of .* {what}"):
            oracle.verify(SQUARE, bad)
    with pytest.raises(TypeError, match=r"^verify: x of tanh must be a floating-point array .*got complex128"):
        oracle.verify(pn.tanh, Z)


@pytest.mark.parametrize("convention", ["JAX", "", 1, b"torch"])
def test_a_convention_that_is_none(convention: Any) -> None:
    with pytest.raises(ValueError, match=r"^verify: convention must be 'jax' or 'torch', got "):
        oracle.verify(SQUARE, Z, convention=convention)
    with pytest.raises(ValueError, match=r"^Spec of .*: convention must be 'jax' or 'torch', got "):
        oracle.Spec(SQUARE, cases=(oracle.Case("typical", (Z,)),), convention=convention)


@pytest.mark.parametrize("convention", [None, "torch"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_spec(dtype: str, convention: str | None) -> None:
    op = SQUARE if convention is None else SQUARE_OF_TORCH
    spec = oracle.Spec(op, cases=(oracle.Case("typical", (Z,)),), reference=lambda z: z * z, convention=convention)
    result = oracle.verify_case(spec, spec.cases[0], dtype=dtype)
    result.raise_for_failures()
    assert row(result).dtype == dtype
    with pytest.raises(TypeError, match=r"^verify: there are no complex numbers of float16"):
        oracle.verify_case(spec, spec.cases[0], dtype="float16")


MODULE = """
import numpy as np
import oracle
def square(z): return z * z, z
def square_bwd(z, dy): return ({factor} * np.conj(z) * dy,)
z = np.array([1.5 + 1j, -2.5 - 3j])
check = oracle.Spec(
    (square, square_bwd),
    cases=(oracle.Case("two", (z,)),),
    convention="torch",
    strategy=lambda draw: ((draw.normal(1) + 1j * draw.normal(1),), {}),
)
"""


@pytest.mark.usefixtures("in_this_process")
def test_the_command_line(run: Any, module: Any, tmp_path: Any) -> None:
    module("right_square", MODULE.replace("{factor}", "2"))
    module("wrong_square", MODULE.replace("{factor}", "3"))
    for name, command, expected in (
        ("right_square", ("fuzz", "--examples", 2), 0),
        ("wrong_square", ("fuzz", "--examples", 1), 1),
        ("wrong_square", ("verify",), 1),
    ):
        code, out, _ = run(*command, f"{name}:square")
        assert code == expected, out
    (program,) = (tmp_path / "reports" / "failures").glob("square-two/repro.py")
    assert "convention=spec.convention" in program.read_text()
