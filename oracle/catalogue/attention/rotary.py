"""Rotary embeddings with given angles: reference, cases, strategy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.attention.positions import normal
from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.attention import apply_rotary, rotary_frequencies


def rotary_by_complex(x: Any, *, cos: Any, sin: Any, interleaved: bool = False) -> Any:
    """A pair as a complex number, times cos + i sin."""
    half = np.shape(cos)[-1]
    pairs = x[..., : 2 * half].reshape(*x.shape[:-1], *((half, 2) if interleaved else (2, half)))
    pairs = pairs if interleaved else jnp.swapaxes(pairs, -1, -2)
    wide = pairs.astype(jnp.promote_types(x.dtype, jnp.float32))
    cos, sin = (jnp.asarray(part, wide.dtype)[..., None, :] for part in (cos, sin))
    z = jax.lax.complex(wide[..., 0], wide[..., 1]) * jax.lax.complex(cos, sin)
    parts = jnp.stack([z.real, z.imag], axis=-1 if interleaved else -2).reshape(*x.shape[:-1], 2 * half)
    return jnp.concatenate([parts.astype(x.dtype), x[..., 2 * half :]], axis=-1)


def turning(*positions: int, width: int, by: float = 1.0, **options: Any) -> dict[str, Any]:
    """Cosines and sines of these positions, times `by`."""
    angles = np.array(positions)[:, None] * rotary_frequencies(width, **options)
    return {"cos": by * np.cos(angles), "sin": by * np.sin(angles)}


def of_a_part(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    half, rest, time = draw.between(1, 2), draw.between(0, 2), draw.between(1, 3)
    leading = draw.shape(0, 2, 3)
    places = draw.choice([(time,), (*leading, time)])
    options: dict[str, Any] = {"cos": draw.normal(*places, half), "sin": draw.normal(*places, half)}
    if draw.choice([False, True]):
        options["interleaved"] = True
    return normal(*leading, time, draw.between(1, 2), 2 * half + rest)(draw), options


def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(
        what, normal(2, 3, 1, 4), by, f"apply_rotary: {match}", {"cos": np.ones((3, 2)), "sin": np.ones((3, 2)), **options}
    )


SPECS = (
    Spec(
        apply_rotary,
        tier=2,
        reference=rotary_by_complex,
        source=composed("pairs as complex numbers, times cos + i sin"),
        cases=(
            Case("part of each head", normal(2, 3, 2, 5), turning(0, 1, 2, width=2)),
            Case("interleaved part", normal(3, 2, 7), turning(4, 0, 300, width=4, base=100.0) | {"interleaved": True}),
            Case(
                "whole heads, scaled as in YaRN",
                normal(1, 2, 2, 4),
                turning(5, 90, width=4, by=1.25, scaling="yarn", factor=4.0, original_length=64),
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case("angles of each sequence", normal(2, 2, 1, 3), lambda draw: {n: draw.normal(2, 2, 1) for n in ("cos", "sin")}),
            Case("no entry", normal(2, 1, 3), {"cos": np.ones((2, 0)), "sin": np.ones((2, 0))}),
            Case("no sequences", normal(0, 3, 1, 4), turning(0, 1, 2, width=2), frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=of_a_part,
        errors=(
            Error(
                "no heads",
                normal(3, 4),
                ValueError,
                "apply_rotary: x must have shape (..., T, N, H), got (3, 4)",
                turning(0, 1, 2, width=2),
            ),
            bad(
                "more than the head",
                "cos must have shape (..., R/2) with R at most 4",
                cos=np.ones((3, 3)),
                sin=np.ones((3, 3)),
            ),
            bad("other sines", "sin must have the shape of cos (3, 2), got (3, 1)", sin=np.ones((3, 1))),
            bad("other times", "cos must have a shape that broadcasts to (2, 3, 1)", cos=np.ones((2, 1)), sin=np.ones((2, 1))),
            bad("words", "cos must be an array of real numbers, got <U1", TypeError, cos=["a"]),
            bad("complex sines", "sin must be an array of real numbers", TypeError, sin=1j * np.ones((3, 2))),
            bad("interleaved by name", "interleaved must be True or False, got 'yes'", TypeError, interleaved="yes"),
        ),
    ),
)
