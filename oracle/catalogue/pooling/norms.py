"""The pool by a norm: reference, cases, strategy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.pooling.maxima import BATCH_OF_ONE, EMPTY_BATCH, never_empty, padded_by_lax, windows
from oracle.catalogue.windows import option_errors, padding_errors
from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, composed
from purenet.pooling import lp_pool


def powers_by_lax(x: Any, window: Any, p: float, **options: Any) -> Any:
    _, whole, sizes, strides, dilations = padded_by_lax(x, window, **options)
    return jax.lax.reduce_window(
        jnp.abs(x) ** p,
        0.0,
        jax.lax.add,
        (1, 1, *sizes),
        (1, 1, *strides),
        ((0, 0), (0, 0), *whole),
        window_dilation=(1, 1, *dilations),
    )


def lp_pool_by_lax(x: Any, *, window: Any, p: float = 2.0, **options: Any) -> Any:
    powers = powers_by_lax(x, window, p, **options)
    return jnp.where(powers > 0, jnp.where(powers > 0, powers, 1) ** (1 / p), 0)  # the slope at zeros is declared below


def lp_pools(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    n = draw.between(1, 3)
    (x,), options = windows(draw, n)
    options = never_empty(draw, options) | {"p": draw.choice([2.0, 1.0, 3.0, 2.5])}  # a norm of padding alone has no slope
    return (draw.away_from([0.0], *x.shape, gap=0.1),), options


def slopes_at_zeros() -> tuple[float, float]:
    x = np.zeros((1, 1, 2))
    (ours,) = lp_pool.bwd(lp_pool.fwd(x, window=2)[1], np.ones((1, 1, 1)))
    with jax.enable_x64(True):
        theirs = jax.grad(lambda x: (powers_by_lax(x, 2, 2.0) ** 0.5).sum())(jnp.asarray(x))
    return float(ours[0, 0, 0]), float(theirs[0, 0, 0])


def images(draw: Draw) -> tuple[Any, ...]:
    return (draw.normal(2, 2, 4, 3),)


SPECS = (
    Spec(
        lp_pool,
        reference=lp_pool_by_lax,
        source=composed("jax.lax.reduce_window of powers"),
        cases=(
            Case(
                "windows that overlap",
                lambda draw: (draw.away_from([0.0], 2, 2, 4, 5, gap=0.1),),
                {"window": (3, 2), "stride": 1, "padding": (1, 0)},
            ),
            Case(
                "odd p, stride larger than the window, ceil_mode",
                lambda draw: (draw.away_from([0.0], 2, 1, 5, 6, gap=0.1),),
                {"window": 2, "stride": (3, 4), "p": 3, "ceil_mode": True},
            ),
            Case(
                "p 1, a sequence",
                lambda draw: (draw.away_from([0.0], 1, 2, 7, gap=0.1),),
                {"window": 3, "stride": 2, "p": 1},
                BATCH_OF_ONE,
            ),
            Case(
                "padding wider than the stride",
                lambda draw: (draw.away_from([0.0], 2, 1, 9, gap=0.1),),
                {"window": 7, "stride": 2, "padding": 3},
            ),
            Case(
                "more padding than windows",
                lambda draw: (draw.away_from([0.0], 2, 1, 3, gap=0.1),),
                {"window": 6, "stride": 1, "padding": ((3, 0),)},
            ),
            Case(
                "a window of padding",
                lambda draw: (draw.away_from([0.0], 2, 1, 2, gap=0.1),),
                {"window": 6, "stride": 1, "padding": ((0, 6),)},
            ),
            Case(
                "windows of zeros",
                lambda draw: (np.array([[[0.0, -0.0, 1.5, -2.0, 0.0, 0.0, -0.5, 3.0]]]),),
                {"window": 2},
                frozenset({Flag.AT_KINK, Flag.BATCH_OF_ONE, Flag.REPEATED}),
            ),
            Case(
                "a volume, dilated",
                lambda draw: (draw.away_from([0.0], 1, 1, 2, 4, 3, gap=0.1),),
                {"window": (1, 2, 2), "stride": 1, "dilation": (1, 2, 1), "p": 2.5},
                BATCH_OF_ONE,
            ),
            Case(
                "large numbers",
                lambda draw: (1e4 * draw.away_from([0.0], 2, 2, 4, gap=0.1) / 4,),
                {"window": 2, "p": 2},
                frozenset({Flag.SATURATED}),
            ),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {"window": 2}, EMPTY_BATCH),
        ),
        strategy=lp_pools,
        errors=(
            *option_errors("lp_pool", 2, images, {"window": 2}),
            *padding_errors("lp_pool", 2, images, {"window": 2}),
            Error(
                "p below 1", images, ValueError, "lp_pool: p must be finite and at least 1, got 0.5", {"window": 2, "p": 0.5}
            ),
            Error("p by name", images, TypeError, "lp_pool: p must be a number, got str", {"window": 2, "p": "2"}),
            Error(
                "no axis behind the channels",
                lambda draw: (draw.normal(2, 3),),
                ValueError,
                "lp_pool: x must have shape (N, C, ...), got (2, 3)",
                {"window": 2},
            ),
        ),
        deviations=(
            Deviation(
                point="a window of zeros",
                ours=0.0,
                jax=float("nan"),
                why="the symmetric subgradient of a norm at 0",
                measure=slopes_at_zeros,
            ),
        ),
        tier=2,
    ),
)
