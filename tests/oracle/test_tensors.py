"""Arrays of other libraries are taken for what they hold."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import oracle
from oracle.tensors import host


class ByDLPack:
    """An array that has nothing but DLPack; on a device whose memory NumPy cannot read, if `elsewhere`."""

    def __init__(self, array: Any, *, elsewhere: bool = False) -> None:
        self.array, self.dtype, self.shape, self.elsewhere = array, array.dtype, array.shape, elsewhere

    def __dlpack__(self, **how: Any) -> Any:
        if self.elsewhere and how.get("dl_device") is None:
            raise BufferError("this memory belongs to a GPU")
        return self.array.__dlpack__(**{k: v for k, v in how.items() if k != "dl_device"} if self.elsewhere else how)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class ByArray:
    def __init__(self, array: Any) -> None:
        self.array, self.dtype, self.shape = array, array.dtype, array.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


def square(x: Any) -> Any:
    assert type(x) is np.ndarray
    return x * x, x


def square_bwd(x: Any, dy: Any) -> Any:
    return (2 * x * dy,)


A = np.array([0.5, -1.25])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("made", [ByDLPack, lambda a: ByDLPack(a, elsewhere=True), ByArray, jnp.asarray])
def test_arrays_of_other_libraries(made: Any, dtype: Any) -> None:
    found = host(made(A.astype(dtype)))
    assert type(found) is np.ndarray
    assert np.array_equal(found, A.astype(dtype))
    assert oracle.verify((square, square_bwd), made(A.astype(dtype))).passed
    assert not oracle.verify((square, lambda x, dy: (x * dy,)), {"a": made(A.astype(dtype))}["a"]).passed


def test_tensors_as_arguments_of_numpys_functions() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        result = oracle.verify((square, square_bwd), torch.tensor(A, dtype=dtype, requires_grad=True))
        assert result.passed, result
        assert {row.dtype for row in result.rows} == {str(dtype).removeprefix("torch.")}
    assert host(torch.tensor([1.5], dtype=torch.bfloat16)).dtype == ml_dtypes.bfloat16
    assert np.array_equal(host(ByDLPack(torch.tensor(A))), A)


def test_what_is_no_array_stays_what_it_is() -> None:
    for thing in (None, "text", 3, [1.0], len):
        assert host(thing) is thing


def test_dlpack_that_gives_nothing() -> None:
    class Broken:
        dtype, shape = np.dtype(float), (2,)

        def __dlpack__(self, **how: Any) -> Any:
            raise BufferError("no")

        def __dlpack_device__(self) -> Any:
            return (2, 0)

    with pytest.raises(TypeError, match=r"verify: .*Broken cannot be copied to NumPy by DLPack"):
        oracle.verify((square, square_bwd), Broken())
