"""What the generator refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from purenet import random

KEY = random.key(0)
SAMPLERS: list[Callable[[Any], Any]] = [
    random.split,
    lambda key: random.fold_in(key, 0),
    random.bits,
    random.uniform,
    random.normal,
    lambda key: random.truncated_normal(key, -1.0, 1.0),
    random.bernoulli,
    lambda key: random.permutation(key, 3),
    random.exponential,
    random.gumbel,
    lambda key: random.orthogonal(key, 2),
    lambda key: random.randint(key, (), 0, 2),
    lambda key: random.categorical(key, np.zeros(2)),
    lambda key: random.choice(key, 3),
    lambda key: random.check_key("dropout", key),
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_a_key_is_a_key(sampler: Callable[[Any], Any]) -> None:
    for other, error, match in (
        (0, TypeError, r": key must be a NumPy array of dtype uint32 and shape \(2,\), got int"),
        ([0, 0], TypeError, "got list"),
        (jax.random.key(0), TypeError, r"take np.asarray\(jax.random.key_data\(key\)\)"),
        (np.zeros(2), TypeError, "key must have dtype uint32, got float64"),
        (np.zeros(2, np.int64), TypeError, "key must have dtype uint32, got int64"),
        (np.zeros(3, np.uint32), ValueError, r"key must have shape \(2,\), got \(3,\)"),
        (random.split(KEY), ValueError, r"key must have shape \(2,\), got \(2, 2\)"),
    ):
        with pytest.raises(error, match=match):
            sampler(other)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: random.key(-1), ValueError, f"key: seed must be between 0 and {2**63 - 1}, got -1"),
        (lambda: random.key(2**63), ValueError, "key: seed must be between"),
        (lambda: random.key(1.0), TypeError, "key: seed must be an integer, got 1.0"),  # type: ignore[arg-type]
        (lambda: random.key(True), TypeError, "key: seed must be an integer, got True"),
        (lambda: random.key(np.zeros(2, np.int64)), TypeError, "key: seed must be an integer"),  # type: ignore[arg-type]
        (lambda: random.split(KEY, 0), ValueError, "split: num must be at least 1, got 0"),
        (lambda: random.split(KEY, (2, 0)), ValueError, "split: num must be at least 1, got 0"),
        (lambda: random.split(KEY, 2.0), TypeError, "split: num must be an integer, got 2.0"),  # type: ignore[arg-type]
        (lambda: random.fold_in(KEY, -1), ValueError, "fold_in: data must be between 0 and 4294967295, got -1"),
        (lambda: random.fold_in(KEY, 2**32), ValueError, "fold_in: data must be between"),
        (lambda: random.fold_in(KEY, 0.5), TypeError, "fold_in: data must be an integer"),  # type: ignore[arg-type]
        (lambda: random.bits(KEY, (), np.int32), TypeError, "bits: dtype must be uint8, uint16, uint32 or uint64, got int32"),
        (lambda: random.bits(KEY, (), "nonsense"), TypeError, "bits: dtype must be a NumPy dtype, got 'nonsense'"),
        (lambda: random.normal(KEY, 3), TypeError, "normal: shape must be a tuple of integers, got 3"),  # type: ignore[arg-type]
        (lambda: random.normal(KEY, (-1,)), ValueError, "normal: every dimension of shape must be at least 0, got -1"),
        (lambda: random.normal(KEY, (1.5,)), TypeError, "normal: every dimension of shape must be an integer, got 1.5"),  # type: ignore[arg-type]
        (lambda: random.normal(KEY, (), int), TypeError, "normal: dtype must be float64, .* or bfloat16, got int64"),
        (lambda: random.normal(KEY, (), complex), TypeError, "normal: dtype must be float64, .*, got complex128"),
        (lambda: random.uniform(KEY, (), bool), TypeError, "uniform: dtype must be float64"),
        (lambda: random.uniform(KEY, (), minval="a"), TypeError, "uniform: minval must be a real number"),
        (lambda: random.uniform(KEY, (), maxval=1j), TypeError, "uniform: maxval must be a real number"),
        (lambda: random.uniform(KEY, (), minval=2.0), ValueError, "uniform: minval must not exceed maxval, got 2.0 and 1.0"),
        (lambda: random.uniform(KEY, (), minval=np.nan), ValueError, "uniform: minval and maxval must be finite in float64"),
        (lambda: random.uniform(KEY, (), "f4", 0, 1e39), ValueError, "uniform: minval and maxval must be finite in float32"),
        (lambda: random.uniform(KEY, (), "f2", -6e4, 6e4), ValueError, "uniform: maxval - minval must be finite in float16"),
        (
            lambda: random.uniform(KEY, (2,), maxval=np.ones(3)),
            ValueError,
            r"uniform: maxval must broadcast to shape \(2,\), got \(3,\)",
        ),
        (lambda: random.uniform(KEY, (), maxval=np.ones(3)), ValueError, r"maxval must broadcast to shape \(\), got \(3,\)"),
        (lambda: random.truncated_normal(KEY, 1.0, 1.0), ValueError, "truncated_normal: lower must be less than upper"),
        (lambda: random.truncated_normal(KEY, np.nan, 1.0), ValueError, "truncated_normal: lower must be less than upper"),
        (lambda: random.truncated_normal(KEY, 9.0, 10.0), ValueError, "erf does not tell lower and upper apart in float64"),
        (
            lambda: random.truncated_normal(KEY, np.zeros(2), np.ones(3)),
            ValueError,
            r"truncated_normal: lower and upper must broadcast, got \(2,\) and \(3,\)",
        ),
        (lambda: random.truncated_normal(KEY, -1, 1, (), int), TypeError, "truncated_normal: dtype must be float64"),
        (lambda: random.bernoulli(KEY, 1), TypeError, "bernoulli: p must be a floating-point number .*, got int64"),
        (lambda: random.bernoulli(KEY, 1.1), ValueError, r"bernoulli: p must lie in \[0, 1\], got 1.1"),
        (lambda: random.bernoulli(KEY, -0.1), ValueError, r"bernoulli: p must lie in \[0, 1\], got -0.1"),
        (lambda: random.bernoulli(KEY, np.nan), ValueError, r"bernoulli: p must lie in \[0, 1\], got nan"),
        (lambda: random.bernoulli(KEY, np.full(3, 0.5), (2,)), ValueError, r"bernoulli: p must broadcast to shape \(2,\)"),
        (lambda: random.check_key("dropout", 7), TypeError, "^dropout: key must be a NumPy array"),
        (lambda: random.exponential(KEY, (), int), TypeError, "exponential: dtype must be float64"),
        (lambda: random.gumbel(KEY, (), int), TypeError, "gumbel: dtype must be float64"),
        (lambda: random.gumbel(KEY, mode="highest"), ValueError, "gumbel: mode must be one of 'low', 'high', got 'highest'"),
        (lambda: random.orthogonal(KEY, 2.0), TypeError, "orthogonal: n must be an integer, got 2.0"),  # type: ignore[arg-type]
        (lambda: random.orthogonal(KEY, 2, m=-1), ValueError, "orthogonal: m must be at least 0, got -1"),
        (lambda: random.randint(KEY, (), 0, 2, float), TypeError, "randint: dtype must be an integer type, got float64"),
        (lambda: random.randint(KEY, (), 0.0, 2), TypeError, "randint: minval must be an integer or an array .*, got float64"),
        (lambda: random.randint(KEY, (), 2, 2), ValueError, "randint: minval must be less than maxval, got 2 and 2"),
        (
            lambda: random.randint(KEY, (), 0, 257, "u1"),
            ValueError,
            r"randint: minval and maxval - 1 must be in 0\.\.255, got 0 and",
        ),
        (lambda: random.randint(KEY, (), -1, 2, "u8"), ValueError, r"randint: minval and maxval - 1 must be in 0\.\."),
        (
            lambda: random.randint(KEY, (2,), 0, np.ones(3, int)),
            ValueError,
            r"randint: maxval must broadcast to shape \(2,\), got",
        ),
        (lambda: random.categorical(KEY, [1, 2]), TypeError, "categorical: logits must be a floating-point array, got int64"),
        (
            lambda: random.categorical(KEY, [1.0, np.nan]),
            ValueError,
            "categorical: logits must be numbers below infinity, got nan",
        ),
        (
            lambda: random.categorical(KEY, [1.0, np.inf]),
            ValueError,
            "categorical: logits must be numbers below infinity, got inf",
        ),
        (
            lambda: random.categorical(KEY, [[0.0, 1.0], [-np.inf, -np.inf]]),
            ValueError,
            r"categorical: logits must leave at least 1 possible \(above -inf\), got 0",
        ),
        (
            lambda: random.categorical(KEY, np.zeros((2, 0))),
            ValueError,
            "logits must leave at least 1 possible",
        ),
        (
            lambda: random.categorical(KEY, [0.0, 1.0, -np.inf], shape=(3,), replace=False),
            ValueError,
            "categorical: logits must leave at least 3 possible",
        ),
        (
            lambda: random.categorical(KEY, np.zeros((1, 3)), shape=(2, 4), replace=False),
            ValueError,
            r"categorical: shape must end in \(1,\) where nothing is replaced, got \(2, 4\)",
        ),
        (
            lambda: random.categorical(KEY, np.zeros((2, 3)), shape=(3,)),
            ValueError,
            r"categorical: shape must be one that \(2,\) broadcasts to, got \(3,\)",
        ),
        (lambda: random.categorical(KEY, np.zeros((2, 3)), shape=()), ValueError, "categorical: shape must be one that"),
        (lambda: random.categorical(KEY, np.zeros(3), 1), ValueError, "categorical: axis must be one of the 1 axes"),
        (
            lambda: random.categorical(KEY, np.zeros(3), mode="exact"),
            ValueError,
            "mode must be one of 'low', 'high', got 'exact'",
        ),
        (lambda: random.choice(KEY, 2.5), TypeError, "choice: a must be an integer or an array .*, got float"),  # type: ignore[arg-type]
        (lambda: random.choice(KEY, 3, (4,), False), ValueError, "choice: a and p must leave at least 4 possible, got 3"),
        (lambda: random.choice(KEY, 0), ValueError, "choice: a and p must leave at least 1 possible, got 0"),
        (
            lambda: random.choice(KEY, 2, (2,), False, [0, 1]),
            ValueError,
            "choice: a and p must leave at least 2 possible, got 1",
        ),
        (lambda: random.choice(KEY, 2, p=[0, 0]), ValueError, "choice: a and p must leave at least 1 possible, got 0"),
        (
            lambda: random.choice(KEY, 2, p=[1.0]),
            ValueError,
            r"choice: p must have shape \(2,\), one for each entry, got \(1,\)",
        ),
        (lambda: random.choice(KEY, 2, p=[1.0, -1.0]), ValueError, "choice: p must be finite and at least 0, got -1.0"),
        (lambda: random.choice(KEY, 2, p=[1.0, np.inf]), ValueError, "choice: p must be finite and at least 0, got inf"),
        (lambda: random.choice(KEY, 2, p=["a", "b"]), TypeError, "choice: p must be an array of real numbers .*, got <U1"),
        (lambda: random.choice(KEY, 2, p=np.ones(2, "f2")), TypeError, "choice: p must be .* of 32 bits at least, got float16"),
        (lambda: random.choice(KEY, 3, axis=1), ValueError, "choice: axis must be between -1 and 0, got 1"),
        (lambda: random.permutation(KEY, -1), ValueError, "permutation: x must be at least 0, got -1"),
        (lambda: random.permutation(KEY, True), TypeError, "permutation: x must be an integer, got True"),
        (lambda: random.permutation(KEY, np.array(1.5)), TypeError, "permutation: x must be an integer, got array"),
        (lambda: random.permutation(KEY, [1, 2]), TypeError, "permutation: x must be an integer or an array .*, got list"),  # type: ignore[arg-type]
        (lambda: random.permutation(KEY, 3, 1), ValueError, "permutation: axis must be between -1 and 0, got 1"),
        (
            lambda: random.permutation(KEY, np.ones((2, 2)), -3),
            ValueError,
            "permutation: axis must be between -2 and 1, got -3",
        ),
        (lambda: random.permutation(KEY, np.ones(2), 0.0), TypeError, "permutation: axis must be an integer"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
