"""A port in C, compared through the arrays that it saved: its LayerNorm has a mistake in one gradient.

    python examples/compare_port.py

`examples/port/layer_norm.c` is the port. `wrong.npz` next to it has its inputs (gamma, beta, x, dy) and outputs (y and three
gradients) in float32, and `mended.npz` has those of the corrected port. Any language that can write zip files can write such
files, and reading one executes nothing. No compiler is needed here.
"""

from __future__ import annotations

from pathlib import Path

import purenet as pn
from oracle import catalogue, vectors

FOLDER = Path(__file__).parent / "port"


def compare(saved, case):
    return vectors.compare(
        pn.layer_norm,
        saved["params"],
        saved["x"],
        value=saved["y"],
        dy=saved["dy"],
        cotangents=(saved["dparams"], saved["dx"]),
        options={"eps": 1e-5},
        reference=catalogue.find("layer_norm").reference,
        case=case,
    )


def main():
    for name in ("wrong", "mended"):
        print(compare(vectors.read(FOLDER / f"{name}.npz"), name), end="\n\n")


if __name__ == "__main__":
    main()
