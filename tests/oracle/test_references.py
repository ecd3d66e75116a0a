"""References as people write them: they promote under x64, are functions of torch, or are another function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import oracle
from oracle import Verdict, adapters
from tests.oracle.planted import Array, Pair, cube, normal, row, signed

NARROW = [np.float32, np.float16, ml_dtypes.bfloat16]


def attention_scores(factor: float = 1.0) -> Pair:
    """y = q @ k.T / 2, computed in float32 and rounded once, as kernels are; dq may be too large."""

    def scores_fwd(q: Array, k: Array) -> Any:
        wide = np.promote_types(q.dtype, np.float32) if q.dtype.kind == "f" else np.dtype(np.float32)
        a, b = q.astype(wide), k.astype(wide)
        return (a @ b.T / wide.type(2)).astype(q.dtype), (a, b, q.dtype)

    def scores_bwd(residuals: Any, dy: Array) -> Any:
        a, b, dtype = residuals
        d = dy.astype(a.dtype) / a.dtype.type(2)
        return (d @ b * a.dtype.type(factor)).astype(dtype), (d.T @ a).astype(dtype)

    return scores_fwd, scores_bwd


PROMOTING: dict[str, Callable[..., Any]] = {
    "np.sqrt": lambda q, k: q @ k.T / np.sqrt(q.shape[-1]),
    "np.float64": lambda q, k: q @ k.T * np.float64(0.5),
    "a NumPy array": lambda q, k: q @ k.T * np.array([0.5] * 3),
    "np.eye": lambda q, k: q @ k.T @ np.eye(3) / 2,
    "jnp.linspace": lambda q, k: q @ k.T * jnp.linspace(0.5, 0.5, 3),
    "jnp.arange": lambda q, k: q @ k.T * (jnp.arange(1.0, 4.0) / jnp.arange(2.0, 8.0, 2.0)),
    "jnp.ones": lambda q, k: q @ k.T / (2 * jnp.ones((2, 3))),
    "inside jit": jax.jit(lambda q, k: q @ k.T / np.sqrt(q.shape[-1])),
    "no tracing": lambda q, k: q @ k.T / (np.float64(2) if jnp.sum(q) < 1e9 else 1.0),
}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("name", "dtype"), list(zip(PROMOTING, cycle(NARROW), strict=False)))  # each dtype in three ways
def test_a_reference_that_promotes_is_judged_like_any_other(name: str, dtype: Any) -> None:
    q, k = normal(2, 4).astype(dtype), normal(3, 4).astype(dtype)
    right = oracle.verify(attention_scores(), q, k, reference=PROMOTING[name])
    assert {(r.parameter, r.verdict) for r in right.rows} == {("q", Verdict.PASS), ("k", Verdict.PASS)}, right
    assert all("autodiff" in r.evidence for r in right.rows)
    short = np.dtype(dtype).name
    assert all(
        r.note.startswith(f"the reference promotes {short} to float64 (a float64 number or array in it") for r in right.rows
    )
    assert all(r.note.endswith(f"its value was cast to {short}") for r in right.rows)
    wrong = oracle.verify(attention_scores(3.0), q, k, reference=PROMOTING[name])
    assert row(wrong, "q").verdict is Verdict.FAIL
    assert row(wrong, "k").verdict is Verdict.PASS


def test_the_note_shows_the_operation_and_is_printed_once() -> None:
    q, k = normal(3, 4).astype(np.float32), normal(5, 4).astype(np.float32)
    reference = lambda q, k: q @ k.T / np.sqrt(q.shape[-1])  # noqa: E731 - the operation is in the middle of its line
    result = oracle.verify(attention_scores(), q, k, reference=reference)
    assert "(a float64 number or array in it: q @ k.T / np.sqrt(q.shape[-1])" in result.rows[0].note
    assert str(result).count("note: scores: the reference promotes") == 1


@pytest.mark.usefixtures("undiagnosed")
def test_a_promoting_reference_rounds_as_it_does_in_the_users_jax() -> None:
    """Its yardstick is float32 throughout: a kernel that loses what float32 loses passes, and one that loses more fails."""
    x = signed(4, 64).astype(np.float32)

    def variance(step: float) -> Pair:
        def variance_bwd(x: Array, dy: Array) -> Any:
            d = 2 * (x - x.mean(-1, keepdims=True)) / x.dtype.type(64) * dy[:, None]
            return (d if not step or x.dtype == np.float64 else (np.round(d / step) * step).astype(x.dtype),)

        return (lambda x: (x.var(-1), x)), variance_bwd

    def reference(x: Any) -> Any:
        return jnp.mean((x - jnp.mean(x, -1, keepdims=True)) ** 2 * np.float64(1.0), -1)

    assert oracle.verify(variance(0.0), x, reference=reference).passed
    assert not oracle.verify(variance(1e-4), x, reference=reference).passed


@pytest.mark.usefixtures("undiagnosed")
def test_an_array_in_float64_that_a_reference_keeps_does_not_stop_it() -> None:
    """JAX keeps its dtype of another mode in traces that are alive, and refuses to trace the derivative."""
    target = normal(4, 6)

    def pair(times: float) -> Pair:
        return (
            lambda x: ((target.astype(x.dtype) * x).sum() / x.dtype.type(4), x),
            lambda x, dy: (target.astype(x.dtype) / x.dtype.type(4) * dy * x.dtype.type(times),),
        )

    for dtype, times in ((np.float32, 1.0), (ml_dtypes.bfloat16, 1.0), (np.float32, 1.5)):
        (row,) = oracle.verify(pair(times), normal(4, 6).astype(dtype), reference=lambda x: (target * x).sum() / 4).rows
        assert row.passed == (times == 1.0), row
        assert "autodiff" in row.evidence
        assert row.note.startswith("the reference promotes")


def test_an_ordinary_reference_has_no_note() -> None:
    for dtype in [np.float64, *NARROW]:
        result = oracle.verify(attention_scores(), normal(3, 4).astype(dtype), normal(5, 4).astype(dtype), reference=halved)
        assert {r.note for r in result.rows} == {""}


def halved(q: Any, k: Any) -> Any:
    return q @ k.T / 2


def test_a_reference_in_a_narrower_float_is_cast_too() -> None:
    x = signed(6).astype(np.float32)
    result = oracle.verify(cube(), x, reference=lambda x: (x**3).astype(jnp.bfloat16).astype(jnp.float32).astype(jnp.float16))
    assert row(result, "").verdict is Verdict.FAIL
    assert row(result, "x").verdict is Verdict.PASS
    single = oracle.verify(cube(), x, reference=lambda x: (x**3).astype(jnp.float32))
    assert row(single, "x").verdict is Verdict.PASS, single
    assert row(single, "x").note.startswith("the reference computes in float32 where the value is float64")


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("dtype", [np.float64, *NARROW])
def test_another_function_hides_no_gradient(dtype: Any) -> None:
    q, k = normal(2, 4).astype(dtype), normal(3, 4).astype(dtype)
    others = [lambda q, k: q @ k.T, lambda q, k: q @ k.T / 2 + 1, lambda q, k: (q @ k.T).T / 2, lambda q, k: q @ k.T > 0]
    shift = [np.float64, *NARROW].index(dtype) % 2  # so that each of them meets a right gradient and a wrong one
    others = others[shift:] + others[:shift]
    for reference, (factor, verdict) in zip(others, cycle([(1.0, Verdict.PASS), (3.0, Verdict.FAIL)]), strict=False):
        result = oracle.verify(attention_scores(factor), q, k, reference=reference)
        assert row(result, "").verdict is Verdict.FAIL
        assert row(result, "").diagnosis.startswith("another function than the reference: ")
        assert row(result, "q").verdict is verdict, result
        assert row(result, "k").verdict is Verdict.PASS
        assert all("judged by the differences alone" in r.note for r in result.rows if r.parameter)


def total_of_a_product(offset: float = 0.0) -> Pair:
    """The sum over a product of three matrices in float32, the last two multiplied first."""

    def fwd(a: Array, b: Array, c: Array) -> Any:
        return np.float32((a @ (b @ c)).sum() + np.float32(offset)), (a, b, c)

    def bwd(residuals: Any, dy: Array) -> Any:
        a, b, c = residuals
        d = np.full((len(a), c.shape[1]), dy, np.float32)
        return d @ (b @ c).T, a.T @ d @ c.T, (a @ b).T @ d

    return fwd, bwd


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("seed", range(2))
def test_where_terms_cancel_a_value_depends_on_the_order_of_its_float32_products(seed: int) -> None:
    a, b, c = (normal(3, 3, seed=seed + k).astype(np.float32) for k in (0, 10, 20))
    a -= (a @ b @ c).sum() / ((b @ c).sum() * np.float32(4))  # now the value is near 0

    def first_two_first(a: Any, b: Any, c: Any) -> Any:
        a, b, c = (x.astype(jnp.float32) for x in (a, b, c))
        return jnp.sum(a @ b @ c)

    right = oracle.verify(total_of_a_product(), a, b, c, reference=first_two_first)
    assert right.passed, right
    wrong = oracle.verify(total_of_a_product(0.01), a, b, c, reference=first_two_first)
    assert {r.reason for r in wrong.rows if not r.passed} == {"other values than the reference"}


def scaled_beside_a_state(state: Array) -> Pair:
    """y = 3 x, and a state that does not depend on x."""
    return lambda x: ((3 * x, state.copy()), None), lambda residuals, dy: (3 * dy[0],)


@pytest.mark.parametrize("error", [0.0, 1e-6])
def test_a_state_that_is_kept_in_float32_is_the_references_rounded_once(error: float) -> None:
    """It does not move with the arguments, so that no noise of it tells that it is rounded."""
    state = np.array([0.1, 0.7, 1.3])
    kept = (state * (1 + error)).astype(np.float32).astype(np.float64)
    result = oracle.verify(scaled_beside_a_state(kept), normal(4), reference=lambda x: (3 * x, jnp.asarray(state)))
    assert row(result, "x").verdict is Verdict.PASS
    assert result.passed == (error == 0), result


def test_a_reference_that_raises_hides_no_gradient() -> None:
    result = oracle.verify(cube(lambda dx: 2 * dx), signed(4), reference=lambda x: x + jnp.zeros(3))
    assert row(result, "").verdict is Verdict.ERROR
    assert row(result, "x").verdict is Verdict.FAIL
    assert "constant factor" in row(result, "x").diagnosis


# ------------------------------------------------------------------------------------------------- torch


def softmax(factor: float = 1.0) -> Pair:
    def softmax_fwd(x: Array) -> Any:
        wide = x.astype(np.float64 if x.dtype == np.float64 else np.float32)
        e = np.exp(wide - wide.max(-1, keepdims=True))
        p = e / e.sum(-1, keepdims=True)
        return p.astype(x.dtype), (p, x.dtype)

    def softmax_bwd(residuals: Any, dy: Array) -> Any:
        p, dtype = residuals
        d = dy.astype(p.dtype)
        return ((p * (d - p.dtype.type(factor) * (d * p).sum(-1, keepdims=True))).astype(dtype),)

    return softmax_fwd, softmax_bwd


def torch_softmax(x: Any) -> Any:
    import torch

    return torch.softmax(x, -1)


TORCH: dict[str, Callable[..., Any]] = {
    "function": torch_softmax,
    "method": lambda x: x.softmax(-1),
    "keyword": lambda x: (x - x.amax(-1, keepdim=True)).exp() / (x - x.amax(-1, keepdim=True)).exp().sum(-1, keepdim=True),
    "marked": adapters.torch_reference(torch_softmax),
    "marked though JAX could": adapters.torch_reference(lambda x: x.exp() / x.exp().sum(-1)[:, None]),
}


@pytest.mark.parametrize("dtype", [np.float64, *NARROW])
@pytest.mark.parametrize("name", TORCH)
def test_a_function_of_torch_is_a_reference(name: str, dtype: Any) -> None:
    pytest.importorskip("torch")
    x = normal(3, 4).astype(dtype)
    right = oracle.verify(softmax(), x, reference=TORCH[name])
    assert row(right, "x").verdict is Verdict.PASS, right
    assert "autodiff 12/12" in row(right, "x").evidence
    assert "torch.autograd" in row(right, "x").note
    assert row(oracle.verify(softmax(0.0), x, reference=TORCH[name]), "x").verdict is Verdict.FAIL
    another = oracle.verify(softmax(), x, reference=adapters.torch_reference(lambda x: 2 * x.softmax(-1)))
    assert row(another, "").verdict is Verdict.FAIL
    assert row(another, "x").verdict is Verdict.PASS


def test_constants_and_weights_of_torch_are_float64_while_the_truth_is_computed() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3), torch.nn.Tanh())
    w, b = (p.detach().numpy().astype(np.float64) for p in layer[0].parameters())
    ramp = np.linspace(0.1, 1.0, 3)

    def fwd(x: Array) -> Any:
        z = x @ w.T + b
        r = 1 / np.sqrt(z.var(-1, keepdims=True) + 1e-5)
        h = (z - z.mean(-1, keepdims=True)) * r
        return np.tanh(h) * ramp, (h, r)

    def bwd(residuals: Any, dy: Array) -> Any:
        h, r = residuals
        d = dy * ramp * (1 - np.tanh(h) ** 2)
        return ((d - d.mean(-1, keepdims=True) - h * (d * h).mean(-1, keepdims=True)) * r @ w,)

    x = normal(5, 4)
    result = oracle.verify((fwd, bwd), x, reference=lambda x: layer(x) * torch.linspace(0.1, 1.0, 3))
    assert row(result, "x").verdict is Verdict.PASS, result
    assert torch.get_default_dtype() == layer[0].weight.dtype == torch.float32
    result = oracle.verify((lambda x: (fwd(x)[0] / ramp, fwd(x)[1]), lambda r, dy: bwd(r, dy / ramp)), x, reference=layer)
    assert row(result, "x").verdict is Verdict.PASS, result
    assert row(result, "x").reference == "Sequential"


def test_the_error_is_that_of_the_library_that_the_function_is_for() -> None:
    torch = pytest.importorskip("torch")
    with_torch = oracle.verify(softmax(), normal(3, 4), reference=lambda x: torch.nn.functional.softmax(x, dim=7))
    assert "Dimension out of range" in row(with_torch, "").diagnosis
    with_jax = oracle.verify(softmax(), normal(3, 4), reference=lambda x: jax.nn.softmax(x, axis=7))
    assert "axis 7 is out of bounds" in row(with_jax, "").diagnosis


def test_a_function_of_torch_without_a_gradient_is_another_function() -> None:
    pytest.importorskip("torch")
    result = oracle.verify(softmax(), normal(3, 4), reference=lambda x: x.softmax(-1).detach())
    assert row(result, "x").diagnosis.startswith("another function than the reference: the differences agree")


def test_torch_is_not_imported_for_a_function_of_jax() -> None:
    before = "torch" in sys.modules
    oracle.verify(cube(), signed(3), reference=lambda x: x**3)
    assert ("torch" in sys.modules) == before
    with pytest.raises(TypeError, match="torch_reference: expected a function of torch tensors, got int"):
        adapters.torch_reference(3)  # type: ignore[arg-type]
