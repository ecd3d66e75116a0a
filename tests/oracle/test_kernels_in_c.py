"""Kernels in C, which compute in float32 whatever they are given: the right ones pass, and a small error in one term fails."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from oracle.row import Verdict
from oracle.verification import verify

Array = NDArray[Any]

SOURCE = Path(__file__).parent / "kernels" / "kernels.c"
COMPILER = shutil.which("cc")
PLANTED = 1e-4

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler: the kernels are written in C"),
    pytest.mark.xdist_group("kernels in C"),  # one worker compiles them
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("kernels") / "kernels.so"
    subprocess.run([str(COMPILER), "-O2", "-shared", "-fPIC", "-o", path, SOURCE, "-lm"], check=True)
    return ctypes.CDLL(str(path))


def call(function: Any, *arguments: Any) -> None:
    """A call with the addresses of arrays, with integers and with floats."""
    function.restype = None
    function(
        *(
            a.ctypes.data_as(ctypes.c_void_p)
            if isinstance(a, np.ndarray)
            else ctypes.c_int(a)
            if isinstance(a, int)
            else ctypes.c_float(a)
            for a in arguments
        )
    )


def single(*arrays: Array) -> list[Array]:
    return [np.ascontiguousarray(a, np.float32) for a in arrays]


def layer_norm(library: ctypes.CDLL, planted: float) -> Any:
    def fwd(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
        given = single(x, w, b)
        y, mean, rstd = np.empty_like(given[0]), *np.empty((2, len(x)), np.float32)
        call(library.layer_norm, *x.shape, *given, y, mean, rstd)
        return y.astype(x.dtype), (given[0], given[1], mean, rstd, x.dtype)

    def bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
        *kept, dtype = residuals
        x, w = kept[:2]
        dx, dw, db = np.empty_like(x), np.zeros_like(w), np.zeros_like(w)
        call(library.layer_norm_bwd, *x.shape, *kept, *single(dy), dx, dw, db, planted)
        return dx.astype(dtype), dw.astype(dtype), db.astype(dtype)

    return fwd, bwd


def gelu(library: ctypes.CDLL, planted: float) -> Any:
    def fwd(x: Array) -> tuple[Array, Any]:
        (given,) = single(x)
        y = np.empty_like(given)
        call(library.gelu, x.size, given, y)
        return y.astype(x.dtype), (given, x.dtype)

    def bwd(residuals: Any, dy: Array) -> tuple[Array]:
        x, dtype = residuals
        dx = np.empty_like(x)
        call(library.gelu_bwd, x.size, x, *single(dy), dx, planted)
        return (dx.astype(dtype),)

    return fwd, bwd


def attention(library: ctypes.CDLL, planted: float) -> Any:
    def fwd(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
        given = single(q, k, v)
        y, p = np.empty_like(given[0]), np.empty((len(q), len(k)), np.float32)
        call(library.attention, len(q), *k.shape, *given, y, p)
        return y.astype(q.dtype), (*given, p, q.dtype)

    def bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
        *kept, dtype = residuals
        gradients = [np.zeros_like(a) for a in kept[:3]]
        call(library.attention_bwd, len(kept[0]), *kept[1].shape, *kept, *single(dy), *gradients, planted)
        return tuple(g.astype(dtype) for g in gradients)

    return fwd, bwd


def normalized(x: Any, w: Any, b: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * w + b


def attended(q: Any, k: Any, v: Any) -> Any:
    return jax.nn.softmax(q @ k.T / np.sqrt(q.shape[-1]), axis=-1) @ v


def normal(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


KERNELS: dict[str, tuple[Any, Any, tuple[Array, ...]]] = {
    "layer norm": (layer_norm, normalized, (normal(2, 4, seed=0), 1 + normal(4, seed=1) / 10, normal(4, seed=2))),
    "gelu": (gelu, jax.nn.gelu, (2 * normal(2, 6, seed=3),)),
    "attention": (attention, attended, (normal(2, 2, seed=4), normal(3, 2, seed=5), normal(3, 2, seed=6))),
}


IN_PAIRS = [(name, "float32", referenced) for name in KERNELS for referenced in (False, True)] + [("gelu", "float64", False)]
"""Every kernel at float32, with a reference and without; one is given float64."""


@pytest.mark.parametrize(("name", "dtype", "referenced"), IN_PAIRS)
def test_a_right_kernel_passes(library: ctypes.CDLL, name: str, dtype: str, referenced: bool) -> None:
    make, reference, arguments = KERNELS[name]
    result = verify(make(library, 0.0), *(a.astype(dtype) for a in arguments), reference=reference if referenced else None)
    assert result.passed, str(result)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("name", "referenced"), list(zip(KERNELS, (False, True, False), strict=True)))
def test_one_term_that_is_wrong_by_a_ten_thousandth_fails(library: ctypes.CDLL, name: str, referenced: bool) -> None:
    make, reference, arguments = KERNELS[name]
    result = verify(
        make(library, PLANTED), *(a.astype(np.float32) for a in arguments), reference=reference if referenced else None
    )
    assert result.rows[0].verdict is Verdict.FAIL, str(result)
