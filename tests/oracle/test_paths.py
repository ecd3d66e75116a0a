"""Diagnoses of gradients that lack one path through the forward pass, or a small constant in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optree
import pytest

from oracle.arrays import vector
from oracle.diagnosis.call import Call
from oracle.diagnosis.held import holding, uses_of
from oracle.verification import verify
from tests.oracle.planted import Array, Pair, causes, cube, decaying_sums, elementwise, found, normal, signed

X = signed(4, 6)
alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def product_fwd(x: Array) -> Any:
    return x * np.sin(x), x.copy()


@pytest.mark.parametrize(("witness", "dtype"), [("alone", np.float64), ("JAX", np.float32)])
@pytest.mark.parametrize(
    ("slope", "said"),
    [
        (lambda x: x * np.cos(x), "one path lost: x is the gradient that treats the first operand of `multiply` in line "),
        (np.sin, "one path lost: x is the gradient that treats what enters `sin` in line "),
        (lambda x: np.sin(x) - x * np.cos(x), "one path reversed: x has the wrong sign in the path through what enters `sin`"),
        (
            lambda x: np.sin(x) + 2 * x * np.cos(x),
            "one path twice: x counts the path through what enters `sin`",
        ),
    ],
    ids=["without x", "without the sine", "minus", "twice"],
)
def test_half_of_a_product_rule_is_named(witness: str, dtype: Any, slope: Any, said: str) -> None:
    reference = (lambda x: x * jnp.sin(x)) if witness == "JAX" else None
    diagnosis = found((product_fwd, lambda x, dy: (dy * slope(x),)), X.astype(dtype), reference=reference)[1]
    assert diagnosis.startswith(said)
    assert "of test_paths.py (`return x * np.sin(x), x.copy()`)" in diagnosis


def norm_fwd(x: Array) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred * r, (centred * r, r)


def norm(x: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def mean(x: Array) -> Array:
    return np.asarray(x.mean(axis=-1, keepdims=True))


@alone_and_with_jax
@pytest.mark.parametrize(
    ("dx", "said"),
    [
        (lambda h, dy: dy - h * mean(dy * h), r"one path lost: .*\(`centred = x - x.mean.*as a constant"),
        (lambda h, dy: dy - mean(dy), r"one path lost: .*\(centred\*\*2\).mean.*as a constant"),
        (lambda h, dy: dy, r"two paths lost: .*\(`centred = x - x.mean.*, and .*\(centred\*\*2\).mean"),
    ],
    ids=["no mean", "no deviation", "neither"],
)
def test_the_paths_of_a_norm_are_named_by_their_lines(witness: str, dx: Callable[[Array, Array], Array], said: str) -> None:
    op = (norm_fwd, lambda r, dy: (dx(r[0], dy) * r[1],))
    diagnosis = found(op, X, reference=norm if witness == "JAX" else None)[1]
    assert re.match(said, diagnosis), diagnosis


def attention_fwd(x: Array) -> Any:
    e = np.exp(x @ x.T)
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ x, (x.copy(), p)


def through(*paths: str) -> Any:
    """The backward pass of self-attention through some of its three uses of x."""

    def attention_bwd(residuals: Any, dy: Array) -> Any:
        x, p = residuals
        ds = p * (dy @ x.T - (p * (dy @ x.T)).sum(axis=-1, keepdims=True))
        return (sum({"query": ds @ x, "key": ds.T @ x, "value": p.T @ dy}[path] for path in paths),)

    return attention_bwd


@alone_and_with_jax
@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("query", "value"), "treats the second operand of `matmul` in line"),
        (("query", "key"), "treats the second operand of `matmul` in line"),
        (("value",), "two paths lost: "),
    ],
)
def test_a_path_of_attention_is_named(witness: str, paths: tuple[str, ...], said: str) -> None:
    reference = (lambda x: jax.nn.softmax(x @ x.T) @ x) if witness == "JAX" else None
    diagnosis = found((attention_fwd, through(*paths)), 0.5 * X, reference=reference)[1]
    assert said in diagnosis or diagnosis.startswith("one path lost: "), diagnosis


@alone_and_with_jax
def test_an_attention_with_all_its_paths_and_keys_passes(witness: str) -> None:
    keys, values = normal(6, 4), normal(6, 8)
    of_itself, of_keys = (lambda x: jax.nn.softmax(x @ x.T) @ x), (lambda q: jax.nn.softmax(q @ keys.T) @ values)
    whole = attention_fwd, through("query", "key", "value")
    assert verify(whole, 0.5 * X, reference=of_itself if witness == "JAX" else None).passed
    assert verify(attending([], keys, values), normal(5, 4), reference=of_keys if witness == "JAX" else None).passed


class Layer:
    """A layer as books write it: it stores what its backward pass needs."""

    x: Array

    def forward(self, x: Array) -> tuple[Array, None]:
        self.x = x
        return x * np.tanh(x), None

    def backward(self, _: None, dy: Array) -> tuple[Array]:
        return (dy * np.tanh(self.x),)


def test_a_layer_keeps_plain_arrays() -> None:
    layer = Layer()
    rows = verify((layer.forward, layer.backward), X).rows
    assert any(row.diagnosis.startswith("one path lost: ") for row in rows)
    assert type(layer.x) is np.ndarray


def in_place(x: Array) -> Any:
    y = x.copy()
    y *= 2
    y[1:] += np.exp(x[:-1])
    np.multiply(y, x, out=y)
    return y


def mixed(x: Array) -> Any:
    a, b = np.split(np.concatenate([x, np.where(x > 0, x, 0.1 * x)]), 2)
    s = float(x.sum())
    return {"one": np.einsum("ij,kj->ik", a, b) + s, "two": [np.clip(a, -1, 1).max(axis=0), np.linalg.norm(b)]}


@pytest.mark.parametrize("function", [in_place, mixed, lambda x: norm_fwd(x)[0], lambda x: attention_fwd(x)[0]])
def test_a_forward_pass_whose_uses_are_seen_has_the_same_value(function: Any) -> None:
    call = Call(function, (X,), ["x"], None, {}, {})
    plain, seen = function(X), holding(call, 0, {})(X)
    uses = uses_of(call, 0, 1000)
    assert len(uses) > 3
    assert np.array_equal(vector(plain), vector(seen))
    assert all(type(leaf) in (np.ndarray, np.float64) for leaf in optree.tree_leaves(seen))
    fixed = holding(call, 0, {use.number: use.value for use in uses})
    assert np.array_equal(vector(fixed(X)), vector(plain))
    assert uses_of(call, 0, len(uses) - 1) == []


# ------------------------------------------------------------------------------------------------- small constants

LABELS = np.eye(5)[[0, 1, 2, 4]]
BATCH = normal(4, 6)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def net(eps: float) -> Any:
    """Logits and their cross entropy, with a small constant in the logarithm that the backward pass knows nothing of."""

    def net_fwd(w: Array, b: Array) -> Any:
        e = np.exp(BATCH @ w + b)
        y = e / e.sum(axis=1, keepdims=True)
        return -(LABELS * np.log(y + eps)).sum() / 4, (y.copy(),)

    def net_bwd(residuals: Any, dy: Array) -> Any:
        dz = (residuals[0] - LABELS) / 4 * dy
        return BATCH.T @ dz, dz.sum(axis=0)

    return net_fwd, net_bwd


@pytest.mark.parametrize("eps", [1e-7, 1e-6, 1e-4])
def test_the_epsilon_of_a_logarithm_is_named(eps: float) -> None:
    said = causes(net(eps), 0.5 * normal(6, 5), normal(5))
    assert sorted(said) == ["b", "w"]
    for parameter, diagnosis in said.items():
        assert diagnosis.startswith(
            f"a small constant left out: {parameter} is the gradient without the {eps:g} that enters `add` in line "
        )
        assert "np.log(y + eps)" in diagnosis
        assert "; the error is " in diagnosis


def test_a_net_without_a_constant_is_right() -> None:
    assert verify(net(0.0), 0.5 * normal(6, 5), normal(5)).passed


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 + 1e-3])
def test_a_factor_is_not_blamed_on_a_constant(factor: float) -> None:
    right_fwd = elementwise(lambda x: np.log(x**2 + 1e-7), np.sin)[0]
    op = (right_fwd, lambda x, dy: (2 * x / (x**2 + 1e-7) * dy * factor,))
    assert found(op, X)[1].startswith("constant factor: ")


# ------------------------------------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("seed", range(2))
def test_a_random_error_is_no_path(seed: int) -> None:
    noise = 1 + np.random.default_rng(seed).normal(size=X.shape)
    diagnosis = found((norm_fwd, lambda r, dy: ((dy - mean(dy) - r[0] * mean(dy * r[0])) * r[1] * noise,)), X)[1]
    assert "path" not in diagnosis
    assert "constant" not in diagnosis


def test_other_causes_come_first() -> None:
    assert found(cube(lambda dx: 2 * dx), X)[1].startswith("constant factor: ")
    assert found((product_fwd, lambda x, dy: (-dy * (np.sin(x) + x * np.cos(x)),)), X)[1].startswith("constant factor: ")


def test_a_forward_pass_that_refuses_such_arrays_is_diagnosed_without_them() -> None:
    def strict_fwd(x: Array) -> Any:
        if type(x) is not np.ndarray:
            raise TypeError("arrays only")
        return x * np.sin(x), x.copy()

    diagnosis = found((strict_fwd, lambda x, dy: (dy * x * np.cos(x),)), X)[1]
    assert diagnosis.startswith(("term missing: ", "no known cause: "))


# ------------------------------------------------------------------------------------- calls, constants, float32, parts


def test_a_line_that_runs_several_times_is_named_with_the_call() -> None:
    said = found(decaying_sums(4), normal(8, 3))[1]
    assert said.startswith("one path lost: x is the gradient that treats the second operand of `multiply` in line ")
    assert said.endswith("(`h = 0.8 * h + row`) (call 4 of that line that the argument reaches) as a constant")


def test_a_line_of_a_notebook_is_one_of_its_cell() -> None:
    """Jupyter compiles a cell under the name of a file that says nothing."""
    cell = compile("def fwd(x):\n    return x * np.sin(x), x.copy()\n", "ipykernel_7/3550121372.py", "exec")
    names: dict[str, Any] = {"np": np}
    exec(cell, names)  # noqa: S102 - as a notebook does
    said = found((names["fwd"], lambda x, dy: (dy * x * np.cos(x),)), X)[1]
    assert said.endswith("treats the first operand of `multiply` in line 2 of the cell as a constant")


@pytest.mark.parametrize(
    "constant",
    [
        lambda p: 1e-3,
        lambda p: np.float32(1e-3),
        lambda p: np.asarray(1e-3, p.dtype),
        lambda p: np.full(p.shape, 1e-3),
    ],
    ids=["Python", "NumPy", "array without axes", "array"],
)
def test_a_small_constant_is_named_in_every_form(constant: Callable[[Array], Any]) -> None:
    op = (lambda p: (-np.log(p + constant(p)).sum(-1), p.copy()), lambda p, dy: (-dy[:, None] / p,))
    said = found(op, np.abs(X))[1]
    assert said.startswith("a small constant left out: p is the gradient without the 0.001 that enters `add` in line ")


def test_a_small_constant_of_a_float32_kernel_is_named() -> None:
    def kernel_fwd(p: Array) -> Any:
        return (-np.log(p.astype(np.float32) + np.float32(1e-3))).astype(p.dtype), p.copy()

    op = (kernel_fwd, lambda p, dy: ((-dy.astype(np.float32) / p.astype(np.float32)).astype(p.dtype),))
    x = np.random.default_rng(0).uniform(0.1, 1, (4, 5))
    assert found(op, x)[1].startswith(
        "a small constant left out: p is the gradient without the 0.001 that enters `add` in line "
    )


def attending(lost: list[int], keys: Array, values: Array) -> Pair:
    """An attention whose backward pass lacks some keys."""
    kept = np.setdiff1d(np.arange(len(keys)), lost)

    def attend_fwd(q: Array) -> Any:
        e = np.exp(q @ keys.T)
        p = e / e.sum(-1, keepdims=True)
        return p @ values, np.asarray(p)

    def attend_bwd(p: Array, dy: Array) -> Any:
        dp = dy @ values.T
        return ((p * (dp - (dp * p).sum(-1, keepdims=True)))[:, kept] @ keys[kept],)

    return attend_fwd, attend_bwd


@pytest.mark.parametrize(
    ("witness", "lost", "said"),
    [
        ("alone", [5], "index 5"),
        ("JAX", [0], "index 0"),
        ("alone", [2], "index 2"),
        ("JAX", [2, 3], "indices 2, 3"),
        ("alone", [1, 2, 3, 4], "indices 1, 2, 3, 4"),
    ],
    ids=str,
)
def test_keys_that_attention_loses_are_named(witness: str, lost: list[int], said: str) -> None:
    keys, values = normal(6, 4), normal(6, 8)
    reference = (lambda q: jax.nn.softmax(q @ keys.T) @ values) if witness == "JAX" else None
    diagnosis = found(attending(lost, keys, values), normal(5, 4), reference=reference)[1]
    assert diagnosis.startswith(
        f"a part of a path lost: q is the gradient that treats {said} of axis 1 of what enters `exp` in"
    )


def test_keys_of_many_entries_are_named() -> None:
    """Not all entries are sampled, and the slope of some keys fits by chance."""
    said = found(attending([17, 18, 19], 0.3 * normal(40, 6), normal(40, 4)), normal(24, 6))[1]
    assert said.startswith("a part of a path lost: q is the gradient that treats indices 17, 18, 19 of axis 1 of what enters")


@pytest.mark.parametrize(("lost", "axis"), [(np.s_[:, 3], 1), (np.s_[2], 0)])
def test_a_block_inside_a_chain_is_named_on_any_axis(lost: Any, axis: int) -> None:
    a, b, c, d = normal(7, 5), normal(6, 8), normal(5, 8), normal(3, 7)

    def chain_fwd(x: Array) -> Any:
        h = np.sin(a @ x @ c)
        return d @ h @ b.T + np.cos(x.sum()), (x, a @ x @ c)

    def chain_bwd(residuals: Any, dy: Array) -> Any:
        x, inner = residuals
        dh = (d.T @ dy @ b) * np.cos(inner)
        dh[lost] = 0
        return (a.T @ dh @ c.T - np.sin(x.sum()) * dy.sum(),)

    said = found((chain_fwd, chain_bwd), normal(5, 5))[1]
    assert re.match(rf"a part of a path lost: x is the gradient that treats index \d of axis {axis} of ", said), said


@pytest.mark.parametrize("factor", [0.5, -1.0, 2.0])
def test_keys_that_are_not_lost_but_scaled_are_not_named_as_lost(factor: float) -> None:
    keys, values = normal(6, 4), normal(6, 8)
    fwd, lost_bwd = attending([2, 3], keys, values)
    right_bwd = attending([], keys, values)[1]

    def scaled_bwd(p: Array, dy: Array) -> Any:
        return (factor * right_bwd(p, dy)[0] + (1 - factor) * lost_bwd(p, dy)[0],)

    assert "part of a path lost" not in found((fwd, scaled_bwd), normal(5, 4))[1]


# ------------------------------------------------------------------------------------------------- maxima that are subtracted

KEYS, VALUES = normal(6, 4), normal(6, 8)


def stable_fwd(q: Array) -> Any:
    """The attention of queries, whose softmax subtracts its maximum."""
    p = softmax(q @ KEYS.T)
    return p @ VALUES, p


def stable_bwd(term: Callable[[Array, Array], Any]) -> Any:
    return lambda p, dy: ((p * (dy @ VALUES.T - term(p, dy @ VALUES.T))) @ KEYS,)


def log_softmax_fwd(w: Array) -> Any:
    z = np.sin(BATCH @ w)
    c = z - z.max(axis=1, keepdims=True)
    return c - np.log(np.exp(c).sum(axis=1, keepdims=True)), np.cos(BATCH @ w)


def rows_of(p: Array, dp: Array) -> Array:
    return np.asarray((p * dp).sum(-1, keepdims=True))


@alone_and_with_jax
def test_the_sum_of_a_softmax_that_subtracts_its_maximum_is_named(witness: str) -> None:
    reference = (lambda q: jax.nn.softmax(q @ KEYS.T) @ VALUES) if witness == "JAX" else None
    said = found((stable_fwd, stable_bwd(lambda p, dp: 0)), normal(5, 4), reference=reference)[1]
    assert said.startswith("one path lost: q is the gradient that treats what enters `sum` in line "), said
    assert verify((stable_fwd, stable_bwd(rows_of)), normal(5, 4), reference=reference).passed


def test_other_mistakes_in_that_sum_are_not_called_a_lost_path() -> None:
    scaled = found((stable_fwd, stable_bwd(lambda p, dp: 0.9 * rows_of(p, dp))), normal(5, 4))[1]
    assert scaled.startswith("one path scaled: q counts the path through what enters `sum` in line ")
    assert " 0.9" in scaled
    noisy = found((stable_fwd, stable_bwd(lambda p, dp: rows_of(p, dp) * normal(5, 1))), normal(5, 4))[1]
    assert "path" not in noisy


def test_the_sum_of_a_logarithm_of_a_softmax_is_named() -> None:
    said = found((log_softmax_fwd, lambda slope, dy: (BATCH.T @ (dy * slope),)), normal(6, 5))[1]
    assert said.startswith("one path lost: w is the gradient that treats what enters "), said
