"""What JAX draws with a key, from the file `answers.npz`.

JAX compiles a program for each shape and dtype that it draws, which takes nearly all of the time of such a test. So the tests
read its answers from the file. `python -m tests.purenet.answers` writes the file: it runs the tests with JAX. If a call is not
in the file, the error names this command. One test asks JAX itself for some of the answers, so it notices a version of JAX
that draws other numbers.
"""

from __future__ import annotations

import hashlib
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FILE = Path(__file__).with_suffix(".npz")
FILES = [str(FILE.with_name(f"test_{name}.py")) for name in ("random", "initializers")]

recorded: dict[str, NDArray[Any]] | None = None
"""The answers that the script collects; None in a run of the tests."""


def live(name: str, key: Any, *arguments: Any, made_by: Mapping[str, Any] | None = None, **options: Any) -> NDArray[Any]:
    """The answer of `jax.<name>` to this call. With `made_by`, `jax.<name>(**made_by)` makes the function that is called."""
    function = attrgetter(name)(jax)
    if made_by is not None:
        function = function(**made_by)
    with jax.enable_x64(True):
        wrapped = jax.random.wrap_key_data(jax.numpy.asarray(key), impl="threefry2x32")
        return np.asarray(function(wrapped, *arguments, **options))


def answer(name: str, key: Any, *arguments: Any, every: int | None = None, **options: Any) -> NDArray[Any]:
    """The same answer, from the file; with `every`, one number in so many of it, so that the file stays small."""
    call = f"{name} {_digest((key, arguments, options, every))}"
    if recorded is not None:
        whole = live(name, key, *arguments, **options)
        recorded[call] = whole if every is None else whole[::every]
        return recorded[call]
    if call not in _kept():
        raise LookupError(f"{FILE.name} has no answer to this call of {name}: run `python -m tests.purenet.answers`")
    dtype, field = _kept()[call]
    with np.load(FILE) as file:
        found: NDArray[Any] = file[field].view(dtype)
    return found


@cache
def _kept() -> dict[str, tuple[Any, str]]:
    """The dtype and the name in the file of each answer."""
    with np.load(FILE) as file:
        return {call: (_dtype(dtype), f"{call} {dtype}") for call, _, dtype in (name.rpartition(" ") for name in file.files)}


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def _digest(value: Any) -> str:
    """A short name for a call, the same in every run."""
    return hashlib.sha256(_text(value).encode()).hexdigest()[:16]


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype.name}{value.shape}{value.tobytes().hex()}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_text(value[name])}' for name in sorted(value))}}}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"
    return repr(value)


def write() -> None:
    """Run the tests with JAX and keep what it answers. An answer that no test asks for any more is not kept."""
    from tests.purenet import answers  # the module that the tests import, which this one is not if it runs as a script

    answers.recorded = {}
    if pytest.main(["-q", "-p", "no:xdist", *FILES]):
        raise SystemExit("the answers are not written, because a test failed")
    # A type that NumPy does not know would be read as bytes without a type.
    files = {f"{call} {a.dtype.name}": a.view(f"u{a.itemsize}") for call, a in sorted(answers.recorded.items())}
    np.savez_compressed(FILE, **files)
    print(f"{len(files)} answers, {FILE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    write()
