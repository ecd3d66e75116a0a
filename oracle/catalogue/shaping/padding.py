"""Arrays with margins: reference, cases, strategy."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, integer_x, numbers
from oracle.spec import Case, Draw, Flag, Spec, library
from purenet.shaping.padding import pad

MODES = ("constant", "reflect", "edge", "wrap")
REPEATED = frozenset({Flag.REPEATED})


def pad_by_jax(x: Any, *, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> Any:
    return jnp.pad(x, pad_width, mode, **({"constant_values": constant_values} if mode == "constant" else {}))


def paddings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(*draw.shape(1, 3))
    pairs = tuple((draw.between(0, 5), draw.between(0, 3)) for _ in range(x.ndim))
    options: dict[str, Any] = {"pad_width": draw.choice([pairs, pairs[0], pairs[:1], pairs[0][1]])}
    mode = draw.choice(MODES)
    if mode == "constant":
        return (x,), options | draw.choice([{}, {"mode": mode, "constant_values": 1.5}])
    return (x,), options | {"mode": mode}


SPECS = (
    Spec(
        pad,
        reference=pad_by_jax,
        source=library("jax.numpy.pad"),
        cases=(
            Case("zeros", numbers(2, 3), {"pad_width": ((1, 2), (0, 3))}),
            Case("a constant on all sides", numbers(2, 2, 3), {"pad_width": 1, "constant_values": -2.5}),
            Case("reflect", numbers(3, 4), {"pad_width": ((2, 1), (0, 3)), "mode": "reflect"}, REPEATED),
            Case("edge", numbers(3, 4), {"pad_width": (1, 2), "mode": "edge"}, REPEATED),
            Case("wrap", numbers(2, 1, 3), {"pad_width": ((0, 0), (2, 1), (1, 2)), "mode": "wrap"}, REPEATED),
            Case("reflect more than once", numbers(3), {"pad_width": (7, 6), "mode": "reflect"}, REPEATED),
            Case("wrap more than once", numbers(3), {"pad_width": (7, 5), "mode": "wrap"}, REPEATED),
            Case("reflect a single entry", numbers(1, 2), {"pad_width": (2, 1), "mode": "reflect"}, ONE_ROW | REPEATED),
            Case("nothing around it", numbers(2, 3), {"pad_width": 0, "mode": "edge"}),
            Case("a scalar", lambda draw: (np.array(0.5),), {"pad_width": 3, "mode": "wrap"}),
            Case("no rows", numbers(0, 3), {"pad_width": ((0, 0), (1, 1)), "mode": "reflect"}, NO_ROWS),
            Case("rows where there were none", numbers(0, 3), {"pad_width": (1, 0)}, NO_ROWS),
        ),
        strategy=paddings,
        errors=(
            integer_x("pad", pad_width=1),
            bad("pad", "negative", ValueError, "pad_width must be at least 0, got (-1, 0)", pad_width=(-1, 0)),
            bad("pad", "half", TypeError, "pad_width must be an integer or a tuple of 2, got (0.5, 0.5)", pad_width=0.5),
            bad(
                "pad", "too many pairs", ValueError, "pad_width must be an integer, a pair, or a pair", pad_width=((1, 1),) * 3
            ),
            bad(
                "pad", "a triple", ValueError, "pad_width must be an integer, a pair, or a pair for", pad_width=((1, 1, 1),) * 2
            ),
            bad("pad", "unknown mode", ValueError, "mode must be one of 'constant', 'reflect'", pad_width=1, mode="symmetric"),
            bad("pad", "nothing to repeat", ValueError, "an axis without entries can only be", 0, 3, pad_width=1, mode="edge"),
            bad("pad", "no number", TypeError, "constant_values must be a real number", pad_width=1, constant_values="a"),
            bad("pad", "no margins", TypeError, "missing the keyword argument 'pad_width'"),
        ),
    ),
)
