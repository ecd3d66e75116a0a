"""Compile layer_norm.c, run it on random numbers and save what it was given and what it returned.

    python examples/port/save_arrays.py              # needs a C compiler (cc); writes wrong.npz and mended.npz beside it

Only whoever changes the port runs this: `examples/compare_port.py` reads the file.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from oracle import vectors

HERE = Path(__file__).parent
ROWS, WIDTH, EPS = 5, 7, 1e-5


def compiled(folder, name, *flags):
    library = Path(folder) / f"{name}.so"
    command = ["cc", "-O2", *flags, "-shared", "-fPIC", HERE / "layer_norm.c", "-o", library, "-lm"]
    subprocess.run(command, check=True)  # noqa: S603 - our own file
    return ctypes.CDLL(str(library))


def pointers(*arrays):
    return [array.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for array in arrays]


def save(port, path):
    draw = np.random.default_rng(0).normal
    x, dy = (draw(size=(ROWS, WIDTH)).astype(np.float32) for _ in range(2))
    gamma, beta = (draw(size=WIDTH).astype(np.float32) for _ in range(2))
    y, dx, dgamma, dbeta = (np.zeros_like(a) for a in (x, x, gamma, beta))
    sizes = (ROWS, WIDTH, ctypes.c_float(EPS))
    port.layer_norm_forward(*pointers(y, x, gamma, beta), *sizes)
    port.layer_norm_backward(*pointers(dx, dgamma, dbeta, dy, x, gamma), *sizes)
    given = {"params": {"gamma": gamma, "beta": beta}, "x": x, "dy": dy}
    vectors.write(path, **given, y=y, dparams={"gamma": dgamma, "beta": dbeta}, dx=dx)


def main():
    with tempfile.TemporaryDirectory() as folder:
        save(compiled(folder, "wrong"), HERE / "wrong.npz")
        save(compiled(folder, "mended", "-DMENDED"), HERE / "mended.npz")


if __name__ == "__main__":
    main()
