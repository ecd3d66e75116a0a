"""The exact witness: a forward function, unchanged, on arrays of balls with tangents.

    from oracle import exact
    if exact.available():                                   # python-flint, the extra `exact`
        from oracle.exact.witness import directional
        enclosure = directional(forward, primals, options, tangents, weights)

`witness` says what an `Enclosure` holds; `jaxpr.forward_of` makes a forward function of one of JAX, `fx.forward_of` of one of
torch. A function that cannot be evaluated exactly raises `NotExact` with the reason.
"""

from __future__ import annotations

from importlib.util import find_spec

from oracle.exact.kinks import Kink, NotExact

__all__ = ["Kink", "NotExact", "available"]


def available() -> bool:
    """Whether python-flint is installed."""
    return find_spec("flint") is not None
