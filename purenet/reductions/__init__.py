"""Reductions: many entries along some axes become one. `cumsum` and `cumprod` keep what they had on the way.

`axis` is an integer, a tuple of them, or None for all; `keepdims` keeps the axes, with size 1.

`sum`, `max` and `min` are NumPy's and JAX's names, so they are ours, although Python has functions of these names.
"""
# ruff: noqa: A004 - see the last line above

from purenet.reductions.extremes import max, min
from purenet.reductions.moments import cumsum, mean, norm, std, sum, var
from purenet.reductions.products import cumprod, prod

__all__ = ["cumprod", "cumsum", "max", "mean", "min", "norm", "prod", "std", "sum", "var"]
