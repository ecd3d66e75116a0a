"""Convolutions with bounds on what is computed at a time that are so low that small cases have several blocks."""

from __future__ import annotations

import importlib
from typing import Any

from oracle.catalogue import blocks
from purenet.convolution import lines, matrix_products
from purenet.op import Op

BOUNDS: blocks.Bounds = (
    (importlib.import_module("purenet.convolution.conv2d"), {"PLAIN": -1}),
    (lines, {"FEWEST": 2, "BLOCK": 500, "empty": blocks.filled}),
    (matrix_products, {"BLOCK": 1000, "NEAR": 1, "FEWEST": 3, "SMALL": 25, "THIN": 2, "FEW": 4, "NARROW": 3}),
)
"""The package has the op by the name of the first module."""


def in_small_blocks(op: Op[..., Any]) -> Op[..., Any]:
    """The op with these bounds in its forward and backward passes."""
    return blocks.in_small_blocks(op, BOUNDS)
