"""Activations that take small entries to 0, or towards it: the operators of sparse coding."""

from __future__ import annotations

import numpy as np

from purenet.checks import number
from purenet.entrywise import where
from purenet.op import Array, Op

__all__ = ["hardshrink", "softshrink", "tanhshrink"]


@Op
def softshrink(x: Array, *, lambd: float = 0.5) -> tuple[Array, Array]:
    """The shrinkage of x towards 0 by `lambd`; what is nearer than that becomes 0.

    Shapes: x (...) -> y (...)
    Math:
        y  = sign(x) max(|x| - lambd, 0)
        dx = dy where |x| > lambd, else 0
    Errors: TypeError unless `lambd` is a number, ValueError unless it is finite and at least 0.
    Source: Donoho (1995), soft thresholding. Conventions: as in torch, the slope at -lambd and at lambd is 0; but with lambd 0,
        which is the identity, it is 1 everywhere (torch: 0 at 0).

    >>> import numpy as np, purenet as pn
    >>> pn.softshrink(np.array([-2.0, -0.5, 0.25, 1.0]))
    array([-1.5,  0. ,  0. ,  0.5])
    """
    lambd = number("softshrink", "lambd", lambd, 0)
    return x - np.clip(x, -lambd, lambd), outside(x, lambd)


@softshrink.pullback
def softshrink_bwd(kept: Array, dy: Array) -> tuple[Array]:
    return (where(kept, dy, 0),)


@Op
def hardshrink(x: Array, *, lambd: float = 0.5) -> tuple[Array, Array]:
    """The identity, but 0 where x is no further than `lambd` from 0.

    Shapes: x (...) -> y (...)
    Math:
        y  = x where |x| > lambd, else 0
        dx = dy where |x| > lambd, else 0
    Errors: TypeError unless `lambd` is a number, ValueError unless it is finite and at least 0.
    Source: Donoho and Johnstone (1994), hard thresholding. Conventions: as in torch, value and slope at -lambd and at lambd are
        0, where the function jumps; but with lambd 0, which is the identity, the slope is 1 everywhere (torch: 0 at 0).

    >>> import numpy as np, purenet as pn
    >>> pn.hardshrink(np.array([-2.0, -0.5, 0.25, 1.0]))
    array([-2.,  0.,  0.,  1.])
    """
    kept = outside(x, number("hardshrink", "lambd", lambd, 0))
    return where(kept, x, 0), kept


@hardshrink.pullback
def hardshrink_bwd(kept: Array, dy: Array) -> tuple[Array]:
    return (where(kept, dy, 0),)


@Op
def tanhshrink(x: Array) -> tuple[Array, Array]:
    """The difference of x and its hyperbolic tangent.

    Shapes: x (...) -> y (...)
    Math:
        y  = x - tanh(x)
        dx = dy tanh(x)^2
    Errors: TypeError unless x is a floating-point array.
    Source: the layer of that name in Torch7, Collobert, Kavukcuoglu, Farabet (2011). Conventions: none differ.

    >>> import numpy as np, purenet as pn
    >>> np.log(2.0) - pn.tanhshrink(np.log([2.0])).round(12)
    array([0.6])
    """
    return x - np.tanh(x), x


@tanhshrink.pullback
def tanhshrink_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (dy * np.square(np.tanh(x)),)


def outside(x: Array, lambd: float) -> Array:
    """Where x is not taken to 0. NaN is not."""
    return np.asarray(~(np.abs(x) <= lambd)) if lambd else np.ones(x.shape, np.bool_)
