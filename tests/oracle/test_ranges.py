"""Diagnoses that say where a gradient is right: from an index on, in a pattern that repeats, at smaller sizes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle.planted import Array, Pair, causes, cube, elementwise, found, normal, signed

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def scan(carry: float, block: int = 4) -> Pair:
    """y[t] = a[t] y[t - 1] + x[t]; what flows back from one block of steps to the one before is multiplied by `carry`."""

    def scan_fwd(a: Array, x: Array) -> Any:
        y, h = np.zeros_like(x), np.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            h = a[:, t] * h + x[:, t]
            y[:, t] = h
        return y, (a.copy(), y.copy())

    def scan_bwd(residuals: Any, dy: Array) -> Any:
        a, y = residuals
        da, dx, c = np.zeros_like(a), np.zeros_like(a), np.zeros_like(a[:, 0])
        for t in reversed(range(dy.shape[1])):
            if t + 1 < dy.shape[1]:
                c = c * a[:, t + 1] * (a.dtype.type(carry) if (t + 1) % block == 0 else 1)
            c = c + dy[:, t]
            dx[:, t] = c
            if t:
                da[:, t] = c * y[:, t - 1]
        return da, dx

    return scan_fwd, scan_bwd


def scan_by_jax(a: Any, x: Any) -> Any:
    def step(h: Any, now: Any) -> Any:
        h = now[0] * h + now[1]
        return h, h

    return jax.lax.scan(step, jnp.zeros_like(x[:, 0]), (a.T, x.T))[1].T


@pytest.mark.parametrize(("witness", "dtype"), [("alone", np.float32), ("JAX", np.float64)])
def test_the_last_block_of_a_scan_is_named_and_the_size_of_the_blocks(witness: str, dtype: Any) -> None:
    arguments = (1 + 0.3 * normal(3, 10)).astype(dtype), signed(3, 10).astype(dtype)
    reference = scan_by_jax if witness == "JAX" else None
    assert causes(scan(0.5), *arguments, reference=reference) == {
        name: f"right from index 8 of axis 1 on: {name} is wrong at each index before it ({count} of 10; the blocks of a scan?)"
        f"; cut to fewer entries along axis 1, {name} is right at 4 entries and fewer, and wrong from 5 on"
        for name, count in (("a", 7), ("x", 8))  # the first entry of a counts for nothing
    }
    assert causes(scan(1.0), *arguments, reference=reference) == {}


def test_a_gradient_that_is_right_up_to_an_index_is_named() -> None:
    noise = np.where(np.arange(7) < 3, 0.0, normal(5, 7))
    said = found(cube(lambda dx: dx * (1 + noise)), signed(5, 7))[1]
    assert said == "right up to index 2 of axis 1: x is wrong at each index after it (4 of 7; the blocks of a scan?)"


def test_smaller_sizes_at_which_the_gradient_is_right_are_named() -> None:
    def strange_bwd(x: Array, dy: Array) -> Any:
        return (3 * x**2 * dy * (1 if x.shape[1] % 3 == 0 else np.sin(50 * x)),)

    said = found((lambda x: (x**3, x.copy()), strange_bwd), signed(5, 7))[1]
    assert said == (
        "right at smaller sizes only: cut to fewer entries along axis 1, x is right at the sizes 3, 6, and wrong at 1, 2, 4, 5"
    )


@pytest.mark.parametrize(
    ("shape", "witness", "dtype"),
    [((64, 2), "JAX", np.float32), ((2048, 2), "alone", np.float32), ((2048, 2), "JAX", np.float64)],
)
def test_a_pattern_of_blocks_is_named_in_small_and_large_arrays(witness: str, dtype: Any, shape: tuple[int, ...]) -> None:
    """The sum of each row of a block of two rows lands in the column of its number."""

    def norm_fwd(x: Array) -> Any:
        r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + x.dtype.type(1e-6))
        return x * r, (x.copy(), r)

    def norm_bwd(residuals: Any, dy: Array) -> Any:
        x, r = residuals
        term = (dy * x).sum(axis=-1).reshape(-1, 2).repeat(2, axis=0)
        return (r * dy - x * r**3 * term / 2,)

    reference = (lambda x: x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)) if witness == "JAX" else None
    said = found((norm_fwd, norm_bwd), normal(*shape).astype(dtype), reference=reference)[1]
    assert said.startswith("a pattern of period 2 along axis 0: x is wrong at the same places in every 2 indices (")
    if witness == "JAX":
        assert f"({shape[0]} of {2 * shape[0]} entries, first x[0, 1]; blocks of 2?)" in said


# ------------------------------------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("seed", [0, 13, 17])
def test_scattered_errors_are_no_range_and_no_pattern(seed: int) -> None:
    generator = np.random.default_rng(seed)
    noise = np.where(generator.random((6, 8)) < 0.5, generator.normal(size=(6, 8)), 0.0)
    said = found(cube(lambda dx: dx * (1 + noise)), signed(6, 8))[1]
    assert "period" not in said
    assert "right from" not in said
    assert "right up to" not in said


def test_whole_columns_are_no_pattern_of_rows() -> None:
    noise = np.where(np.arange(8) % 2, 0.0, normal(6, 8))
    said = found(cube(lambda dx: dx * (1 + noise)), signed(6, 8))[1]
    assert said.startswith("only some samples: x is wrong only at indices 0, 2, 4, 6 of axis 1")


def test_an_error_that_is_there_at_every_size_has_no_sizes() -> None:
    strange = elementwise(lambda x: x**3, lambda x: 3 * x**2 * (1 + np.sin(40 * x)))
    assert found(strange, signed(5, 7))[1].startswith("no known cause: ")


@alone_and_with_jax
def test_all_entries_of_a_large_array_are_counted_where_the_reference_knows_them(witness: str) -> None:
    x = signed(60, 40)
    which = np.random.default_rng(0).random(x.shape) < 0.3
    strange = elementwise(lambda x: x**3, lambda x: 3 * x**2 * (1 + which[: len(x)] * np.sin(40 * x)))
    said = found(strange, x, reference=(lambda x: x**3) if witness == "JAX" else None)[1]
    if witness == "JAX":
        assert said.startswith(f"no known cause: {np.count_nonzero(which)} of 2400 entries are wrong, the worst of the ")
    else:
        assert " entries looked at (of 2400) are wrong, the worst at x[" in said


@pytest.mark.parametrize("seed", [0, 3])
def test_an_error_that_smaller_sizes_hide_is_not_called_absent_there(seed: int) -> None:
    """Along a random direction of few entries, the noise of float32 is larger than this error."""

    def norm_fwd(x: Array) -> Any:
        inner = x.astype(np.float32)
        r = 1 / np.sqrt((inner * inner).mean(-1, keepdims=True) + np.float32(1e-5))
        return (inner * r).astype(x.dtype), (inner * r, r)

    def norm_bwd(residuals: Any, dy: Array) -> Any:
        h, r = residuals
        d = dy.astype(np.float32)
        return (((d - np.float32(1.0003) * h * (d * h).mean(-1, keepdims=True)) * r).astype(dy.dtype),)

    assert "smaller sizes" not in found((norm_fwd, norm_bwd), signed(4, 6, seed=seed))[1]
