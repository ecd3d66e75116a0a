"""Points at which checkers go wrong, entry by entry: saturation, huge and tiny numbers, kinks, jumps, bumps, noise.

Each function is written once, for NumPy and as JAX's reference: it takes its functions from the namespace of its argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["HARD", "MORE", "Hard", "elementwise", "normal", "numpy_of", "points", "signed", "times"]

Array = NDArray[Any]
Slope = Callable[[Array], Any]


class Hard(NamedTuple):
    """y = function(x), entry by entry, its slope, and slopes that are wrong."""

    function: Callable[[Any], Any]
    slope: Slope
    x: Array
    wrong: tuple[Slope, ...] = ()
    undecided: bool = False
    """Whether the right slope may also be INCONCLUSIVE."""
    by_jax: bool = True
    """Whether JAX can differentiate the function."""


def numpy_of(x: Any) -> Any:
    """The functions for this array: those of NumPy, or of JAX."""
    return x.__array_namespace__()


def elementwise(function: Callable[[Any], Any], slope: Slope) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A forward and a backward function of y = function(x), entry by entry."""
    return lambda x: (function(x), x.copy()), lambda x, dy: (np.asarray(slope(x) * dy, x.dtype),)


def points(*numbers: float) -> Array:
    """A vector of these numbers."""
    return np.array(numbers, np.float64)


def normal(*shape: int, seed: int = 0) -> Array:
    """Normal numbers, the same for the same shape and seed."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def signed(*shape: int, seed: int = 0) -> Array:
    """Numbers of random sign between 1/2 and 3/2: none small, none alike."""
    generator = np.random.default_rng([seed, *shape, 1])
    return generator.choice([-1.0, 1.0], size=shape) * generator.uniform(0.5, 1.5, size=shape)


def times(slope: Slope, *factors: float) -> Slope:
    """The slope, but wrong by a factor of its own at each entry."""
    return lambda x: slope(x) * np.array(factors)


def twice(x: Any) -> Any:
    return 2 * x


def square(x: Any) -> Any:
    return x * x


def cube(x: Any) -> Any:
    return x**3


def of_cube(x: Array) -> Any:
    return 3 * x**2


def relu(x: Any) -> Any:
    return numpy_of(x).where(x > 0, x, 0 * x)


def exp(x: Any) -> Any:
    return numpy_of(x).exp(x)


HARD = {
    "exp(-x) at 40": Hard(lambda x: exp(-x), lambda x: -np.exp(-x), points(40, 41), (lambda x: np.exp(-x),)),
    "a bell far out": Hard(
        lambda x: exp(-x * x), lambda x: -2 * x * np.exp(-x * x), points(7, 6.5), (lambda x: -x * np.exp(-x * x),)
    ),
    "sigmoid at 40": Hard(
        lambda x: 1 / (1 + exp(-x)),
        lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
        points(40, 39),
        (lambda x: -np.exp(-x) / (1 + np.exp(-x)) ** 2,),
    ),
    "a tiny entry beside a large one": Hard(
        cube, of_cube, points(1e-8, 1), (times(of_cube, 2 / 3, 1), times(of_cube, 1 + 1e-6, 1))
    ),
    "1e-150": Hard(square, twice, points(1e-150, 2e-150), undecided=True),
    "1e-160": Hard(square, twice, points(1e-160, 2e-160), undecided=True),
    "1e150": Hard(square, twice, points(1e150, 2e150), (lambda x: 2.0001 * x,)),
    "1e-150, 1 and 1e100": Hard(
        square, twice, points(1e-150, 1, 1e100), (times(twice, 1.5, 1, 1), times(twice, 1, 1.5, 1), times(twice, 1, 1, 1.5))
    ),
    "tanh(1000 x)": Hard(
        lambda x: numpy_of(x).tanh(1000 * x),
        lambda x: 1000 * (1 - np.tanh(1000 * x) ** 2),
        points(1e-4, 0, 3e-3, 0.5, -1),
        (lambda x: 1 - np.tanh(1000 * x) ** 2,),
    ),
    "x**0.1 near 0": Hard(
        lambda x: x**0.1, lambda x: 0.1 * x**-0.9, points(1e-12, 1e-3, 1), (lambda x: 0.1 * x**-0.8,), undecided=True
    ),
    "1/x at 1e-12": Hard(
        lambda x: 1 / x,
        lambda x: -1 / x**2,
        points(1e-12, 1, 2, -3),
        (times(lambda x: -1 / x**2, 1.01, 1, 1, 1), times(lambda x: -1 / x**2, 1, 1, 1.01, 1)),
    ),
    "log|x| at 1e-12": Hard(
        lambda x: numpy_of(x).log(numpy_of(x).abs(x)),
        lambda x: 1 / x,
        points(1e-12, 1, 2, -3),
        (times(lambda x: 1 / x, 1.01, 1, 1, 1), times(lambda x: 1 / x, 1, 1, 1.01, 1)),
    ),
    "sin at 1e8": Hard(
        lambda x: numpy_of(x).sin(x), np.cos, points(1e8, 1.00001e8, -1.2e8), (lambda x: np.cos(x) * (1 + 1e-5),)
    ),
    "waves as long as the steps": Hard(
        lambda x: x + numpy_of(x).sin(32 * np.pi * x) / 50,
        lambda x: 1 + 0.64 * np.pi * np.cos(32 * np.pi * x),
        points(16, 32, 48),
        (np.ones_like,),
    ),
    "a square that cancels": Hard(
        lambda x: (x - 1) ** 2,
        lambda x: 2 * (x - 1),
        points(1 + 1e-9, 1 - 1e-12, 1.5),
        (times(lambda x: 2 * (x - 1), 1.5, 1, 1),),
    ),
    "1 - cos": Hard(lambda x: 1 - numpy_of(x).cos(x), np.sin, points(1e-7, 1e-4, 0.1), (lambda x: np.sin(x) * 1.001,)),
    "beside a large constant": Hard(lambda x: x + 1e10, np.ones_like, points(1, 2), (lambda x: 1.001 + 0 * x,), undecided=True),
}
"""Of these the tests assert every verdict."""

SMALL = 10.0 ** np.random.default_rng(1).uniform(-8, 0, 12)
SINGLE = signed(5).astype(np.float32)


def bump(sharpness: float) -> Hard:
    """A bell of this width: between the first steps nothing of it is seen."""
    at = 1 + normal(6) / (2 * sharpness)
    return Hard(
        lambda x: exp(-((sharpness * (x - 1)) ** 2)),
        lambda x: -2 * sharpness**2 * (x - 1) * np.exp(-((sharpness * (x - 1)) ** 2)),
        at,
        (np.zeros_like,),
    )


def bend(sharpness: float) -> Hard:
    """A bend at 0 that is no kink."""
    return Hard(
        lambda x: numpy_of(x).logaddexp(0 * x, sharpness * x) / sharpness,
        lambda x: 1 / (1 + np.exp(-sharpness * x)),
        points(0, 0.3 / sharpness, -2 / sharpness, 1),
        (lambda x: np.where(x == 0, 0.9, 1 / (1 + np.exp(-sharpness * x))),),
    )


def beside_a_kink(distance: float) -> Hard:
    return Hard(relu, lambda x: x > 0, points(distance, -distance, 0.7, -1.4))


def with_odd_powers(share: float) -> Hard:
    """The second derivative jumps at 0."""
    return Hard(
        lambda x: numpy_of(x).sin(x) + share * x * numpy_of(x).abs(x),
        lambda x: np.cos(x) + 2 * share * np.abs(x),
        points(0, 1, -2),
        (lambda x: (np.cos(x) + 2 * share * np.abs(x)) * (1 + 1e-9),),
    )


def in_float32(x: Array) -> Array:
    return np.asarray(np.sin(x.astype(np.float32)).astype(x.dtype))


def spoilt_by_one(x: Array) -> Any:
    """The slope of relu, but for one entry."""
    return (x > 0) * np.where(np.arange(x.size) == 1641, 1.001, 1.0)


def _many(tiny: float) -> Array:
    x = np.abs(signed(3000))
    x[7] = tiny
    return x


def _waves() -> Hard:
    """All longer steps are whole multiples of the period of one entry: to them it is as good as flat."""
    at, one, period = normal(12) + 3, np.arange(12) == 7, 2.0**-16
    return Hard(
        lambda x: np.sin(x) + np.where(one, 1e-6 * np.sin(2 * np.pi * (x - at) / period), 0.0),
        lambda x: np.cos(x) + np.where(one, 1e-6 * 2 * np.pi / period * np.cos(2 * np.pi * (x - at) / period), 0.0),
        at,
        (np.cos,),
        by_jax=False,
    )


MORE = {
    "a kink at 0": Hard(
        relu,
        lambda x: x > 0,
        points(0, 2, -1),
        (lambda x: np.where(x == 0, -0.1, x > 0), lambda x: np.where(x > 1.5, 1 + 1e-9, x > 0)),
    ),
    "one kink among many": Hard(relu, lambda x: x > 0, _many(0.0), (spoilt_by_one,)),
    **{f"{distance:g} beside a kink": beside_a_kink(distance) for distance in (1e-3, 1e-5, 1e-7, 1e-9)},
    "all of a tiny argument beside a kink": Hard(relu, lambda x: x > 0, 1e-5 * signed(8)),
    **{f"a bend of sharpness {sharpness:g}": bend(sharpness) for sharpness in (1e2, 1e4, 1e6)},
    "a bend sharper than any step": Hard(
        lambda x: numpy_of(x).sqrt(x * x + 1e-16),
        lambda x: x / np.sqrt(x * x + 1e-16),
        points(0, 1),
        (lambda x: np.where(x == 0, 0.9, 1),),
    ),
    **{f"a jump of the second derivative, {share:g}": with_odd_powers(share) for share in (1, 1e-2, 1e-5)},
    "x |x| at 0": Hard(lambda x: x * numpy_of(x).abs(x), lambda x: 2 * np.abs(x), points(0, 1e-9, 1e-3, 1)),
    "a cube root at 0": Hard(
        np.cbrt, lambda x: np.where(x == 0, 1.0, np.cbrt(np.where(x == 0, 1, x)) ** -2 / 3), points(0, 1), by_jax=False
    ),
    "x log x at 0": Hard(
        lambda x: x * np.log(np.where(x == 0, 1, np.abs(x))),
        lambda x: np.where(x == 0, -20, 1 + np.log(np.where(x == 0, 1, np.abs(x)))),
        points(0, 1),
        by_jax=False,
    ),
    "a jump": Hard(lambda x: np.sign(x) + x, np.ones_like, points(0, 1), by_jax=False),
    "one value elsewhere": Hard(
        lambda x: np.where(x == 0.3, 0, x), lambda x: np.where(x == 0.3, 5, 1), points(0.3, 1), by_jax=False
    ),
    "float32 inside": Hard(in_float32, np.cos, signed(6), (lambda x: 1.01 * np.cos(x),), by_jax=False),
    "float32 inside, at round numbers": Hard(
        in_float32, np.cos, points(1, 2, 0.5), (lambda x: 1.01 * np.cos(x),), by_jax=False
    ),
    "a step function": Hard(lambda x: np.round(64 * x) / 64, np.ones_like, signed(4), (np.zeros_like,), by_jax=False),
    **{f"a bump of sharpness {sharpness:g}": bump(sharpness) for sharpness in (1e3, 1e4, 1e5)},
    "waves of one entry among many": _waves(),
    "square roots near 0": Hard(
        lambda x: numpy_of(x).sqrt(x),
        lambda x: 0.5 / np.sqrt(x),
        SMALL,
        (lambda x: 0.5 / np.sqrt(x) * (1 + 1e-9 * (x > 0.01)),),
    ),
    "log at 1e-300": Hard(lambda x: numpy_of(x).log(x), lambda x: 1 / x, SMALL[:4] ** 30, (lambda x: 1.001 / x,)),
    "tiny arguments of values that are not": Hard(
        lambda x: exp(x + 0.5), lambda x: np.exp(x + 0.5), 1e-9 * signed(6), (lambda x: np.exp(x + 0.5) * (1 + 1e-9),)
    ),
    "x to the -3": Hard(
        lambda x: 1 / x**3, lambda x: -3 / x**4, signed(6), (lambda x: -3 / x**4 * (1 + 1e-7), lambda x: -3 / x**4 * (1 + 1e-9))
    ),
    "a cube at ones": Hard(cube, of_cube, np.ones(3), (lambda x: 3 * np.abs(x),)),
    "a second term at zeros": Hard(lambda x: x**3 + x, lambda x: 1 + 3 * x**2, np.zeros(3), (lambda x: 1 + 7 * x,)),
    "one large entry beside ones": Hard(
        square, twice, points(1e4, 1, 1, 1), (lambda x: np.where(np.abs(x) < 50, 2 * x**3, 2 * x),)
    ),
    "a tiny element among many": Hard(
        lambda x: numpy_of(x).sqrt(x), lambda x: 0.5 / np.sqrt(x), _many(1e-12), (lambda x: 0.5001 / np.sqrt(x),)
    ),
    "a cube in float32": Hard(cube, of_cube, SINGLE, (lambda x: of_cube(x) * np.float32(1.00001),)),
    "a cube in float16": Hard(cube, of_cube, SINGLE.astype(np.float16), (lambda x: of_cube(x) * np.float16(1.1),)),
    "a small entry in float32": Hard(
        cube, of_cube, points(1e-4, 100).astype(np.float32), (lambda x: points(-1, 1) * of_cube(x),)
    ),
}
"""Of these the knock-out table alone takes the verdicts."""
