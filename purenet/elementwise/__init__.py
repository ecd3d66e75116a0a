"""Arithmetic and elementary functions of single entries, with NumPy's names and broadcasting: a loss of one's own is a chain.

`unary` functions take one array, `binary` ones two that broadcast; their gradients are summed over what was repeated.

    charbonnier = pn.chain(error=pn.subtract, squared=pn.square, shifted=pn.add.bind(y=1e-6), root=pn.sqrt, mean=pn.mean)
    value, residuals = charbonnier.fwd({}, predictions, error={"y": targets})

Where a function has no real value or an infinite one, its value and its slope are NaN or infinite as in JAX, and nothing warns.
`abs` is NumPy's name for it, so it is ours, although Python has a function of that name.
"""
# ruff: noqa: A004 - see the last line above

from purenet.elementwise.binary import add, divide, maximum, minimum, multiply, power, subtract
from purenet.elementwise.unary import abs, absolute, cos, erf, exp, log, sin, sqrt, square

__all__ = [
    "abs",
    "absolute",
    "add",
    "cos",
    "divide",
    "erf",
    "exp",
    "log",
    "maximum",
    "minimum",
    "multiply",
    "power",
    "sin",
    "sqrt",
    "square",
    "subtract",
]
