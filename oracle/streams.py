"""The random streams of the engine.

Each use of random numbers has a stream of its own, so that two uses never draw the same numbers, and more draws of one use
leave the numbers of all others as they are. The values mean nothing; another one would only give other directions and points.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Stream"]


class Stream(IntEnum):
    """The part of a generator's seed that tells one use from another."""

    COTANGENT = 0x6F7261
    """The upstream gradient `dy` of a verification."""
    CONDITIONING = 0x636F6E64
    """The roundings of the arguments by which the conditioning of a gradient is measured."""
    RESCALED_POINT = 0x656C73
    """The sizes of the elements at a rescaled point."""
    GENERIC_POINT = 0x626573
    """The displacement to a generic point."""
    SUBDIFFERENTIAL = 0x737562
    """The directions along which entries at kinks are tested together."""
    NOISE = 0x6E6F
    """The directions along which the noise of a function is measured."""
    BIAS = 0x62696173
    """The points nearby at which the mean factor of a gradient in 16 bits is measured."""
    LOST_DIGITS = 0x6C6F7374
    """The points nearby at which it is measured how many digits a gradient in a narrow dtype loses."""
    FITTED = 0x666974
    """The directions of all elements along which slopes are fitted."""
    NEARBY = 0x6E656172
    """The nearby point at which a diagnosis asks whether errors are rounding."""
    SHADOW = 0x736861
    """The rounding errors that are added to the runs of a training or an optimizer, to learn how far rounding moves them."""
    GLOBAL_STATE = 0x676C6F62
    """The state in which the check of global state puts the generator of np.random before the op runs."""
    OPTIMIZER = 0x6F7074
    """The parameters and gradients of the runs of a user's optimizer."""
    EXACT = 0x657861
    """The directions and the rounded arguments for which exact derivatives are computed."""
    LINES = 0x6C696E65
    """The directions of all arguments of a stage of a net."""
