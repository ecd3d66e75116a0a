"""Rotary embeddings with given angles: of a part of each head, scaled for sequences longer than those of training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.attention.positions import frequencies_of, rotated
from purenet.checks import array_of, choice, integer, number
from purenet.op import Array, Op

__all__ = ["apply_rotary", "rotary_frequencies"]

SCALINGS = ("none", "linear", "ntk", "yarn", "llama3")


@Op
def apply_rotary(x: Array, *, cos: Any, sin: Any, interleaved: bool = False) -> tuple[Array, Any]:
    """The first R entries of each head, queries' or keys', rotated by given cosines and sines; the other entries are unchanged.

    Shapes: x (..., T, N, H), cos and sin of one shape that broadcasts to (..., T, R/2), R at most H -> y (..., T, N, H)
    Math, of the pair i, (x_i, x_(i + R/2)) or, interleaved, (x_2i, x_(2i+1)), with the cosine c and the sine s:
        y  = (x_1 c - x_2 s, x_2 c + x_1 s)
        dx = (dy_1 c + dy_2 s, dy_2 c - dy_1 s),  both the identity beyond R
    Errors: TypeError unless `cos` and `sin` are real numbers; ValueError where their shapes differ, do not broadcast, or
        ask for more than H entries, or where `interleaved` is not True or False.
    Source: Su et al., RoFormer (2021); of a part of each head: Black et al., GPT-NeoX-20B (2022). Conventions: cos and sin have
        half as many entries as are rotated, as in ONNX; transformers repeats them. They are constants, and need not be those of
        one angle: YaRN makes both larger by 0.1 log(factor) + 1. Their angles are position times rotary_frequencies.

    >>> import numpy as np, purenet as pn
    >>> angles = np.arange(2)[:, None] * np.array([np.pi / 2])
    >>> x = np.array([[[1.0, 0.0, 5.0]], [[1.0, 0.0, 5.0]]])
    >>> pn.apply_rotary(x, cos=np.cos(angles), sin=np.sin(angles)).round(12)[:, 0]
    array([[1., 0., 5.],
           [0., 1., 5.]])
    """
    op = "apply_rotary"
    if x.ndim < 3:
        raise ValueError(f"{op}: x must have shape (..., T, N, H), got {x.shape}")
    cosines, sines = _reals(op, "cos", cos), _reals(op, "sin", sin)
    if cosines.ndim < 1 or 2 * cosines.shape[-1] > x.shape[-1]:
        raise ValueError(
            f"{op}: cos must have shape (..., R/2) with R at most {x.shape[-1]} to match x {x.shape}, got {cosines.shape}"
        )
    if sines.shape != cosines.shape:
        raise ValueError(f"{op}: sin must have the shape of cos {cosines.shape}, got {sines.shape}")
    wanted = (*x.shape[:-2], cosines.shape[-1])
    try:
        np.broadcast_to(cosines, wanted)
    except ValueError:
        raise ValueError(f"{op}: cos must have a shape that broadcasts to {wanted}, got {cosines.shape}") from None
    c, s = cosines.astype(x.dtype)[..., None, :], sines.astype(x.dtype)[..., None, :]
    return _turned(x, c, s, interleaved), (c, s, interleaved)


@apply_rotary.pullback
def apply_rotary_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    c, s, interleaved = residuals
    return (_turned(dy, c, -s, interleaved),)


def rotary_frequencies(
    width: int,
    *,
    base: float = 10000.0,
    scaling: str = "none",
    factor: float = 1.0,
    original_length: int = 8192,
    low_freq_factor: float = 1.0,
    high_freq_factor: float = 4.0,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
) -> Array:
    """The angle in radians between neighbouring positions of each of the width / 2 pairs, scaled for `factor` times the length.

    "none" gives base^(-2i / width). "linear" divides all by the factor: Chen et al. (2023). "ntk" takes the base times
    factor^(width / (width - 2)), which divides the lowest frequency by the factor and leaves the highest. "yarn" divides those
    that turn less than `beta_slow` times in `original_length` positions, leaves those that turn more than `beta_fast` times,
    and joins both by a ramp over the pairs: Peng et al. (2023). "llama3" alike, with turns of `low_freq_factor` and
    `high_freq_factor`, joined by a ramp over the turns. All are as in transformers, whose dynamic NTK is "ntk" with the factor
    that the present length asks for.

    >>> import purenet as pn
    >>> pn.rotary_frequencies(4)
    array([1.  , 0.01])
    >>> pn.rotary_frequencies(4, scaling="ntk", factor=4.0)
    array([1.    , 0.0025])
    >>> pn.rotary_frequencies(4, scaling="llama3", factor=8.0, original_length=100)  # turns 16 times and 0.16 times
    array([1.     , 0.00125])
    """
    op = "rotary_frequencies"
    if integer(op, "width", width, 0) % 2:
        raise ValueError(f"{op}: width must be even, got {width}")
    choice(op, "scaling", scaling, SCALINGS)
    base, factor = number(op, "base", base, above=0), number(op, "factor", factor, 1)
    low, high = (
        number(op, "low_freq_factor", low_freq_factor, above=0),
        number(op, "high_freq_factor", high_freq_factor, above=0),
    )
    fast, slow = number(op, "beta_fast", beta_fast, above=0), number(op, "beta_slow", beta_slow, above=0)
    length = integer(op, "original_length", original_length, 1)
    if scaling == "ntk" and width > 2:
        base *= factor ** (width / (width - 2))
    frequencies = frequencies_of(op, width, base)
    if scaling == "linear":
        return frequencies / factor
    if scaling == "llama3":
        if low >= high:
            raise ValueError(f"{op}: high_freq_factor must be greater than low_freq_factor {low}, got {high}")
        kept = np.clip((length * frequencies / (2 * math.pi) - low) / (high - low), 0, 1)
    elif scaling == "yarn":
        if base <= 1 or slow > fast:
            raise ValueError(f"{op}: yarn needs base > 1 and beta_slow at most beta_fast, got {base}, {slow} and {fast}")
        first, last = (width * math.log(length / (2 * math.pi * turns)) / (2 * math.log(base)) for turns in (fast, slow))
        start, end = max(math.floor(first), 0), min(math.ceil(last), width - 1)
        ramp = max(end - start, 1e-3)  # pairs; transformers has the same least length, so that no ramp is a step
        kept = 1 - np.clip((np.arange(width // 2) - start) / ramp, 0, 1)
    else:
        return frequencies
    return np.asarray(kept * frequencies + (1 - kept) * frequencies / factor)


def _turned(x: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    part = 2 * cos.shape[-1]
    return np.concatenate([rotated(x[..., :part], cos, sin, interleaved), x[..., part:]], axis=-1)


def _reals(op: str, name: str, value: Any) -> Array:
    array = array_of(op, name, value)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{op}: {name} must be an array of real numbers, got {array.dtype}")
    return array
