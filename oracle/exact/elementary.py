"""The elementary and special functions of NumPy and scipy.special, on balls with tangents.

`UNARY` and `BINARY` go from the name of a ufunc to a function of elements. Where no argument is a ball, the ufunc itself is
called: constants are what float64 makes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from flint import arb

from oracle.exact.balls import Ball, compared, of_number, power
from oracle.exact.kinks import WORK

__all__ = ["BINARY", "STEPS", "UNARY", "as_ball", "on_balls"]

Real: TypeAlias = Any  # an arb
Unary: TypeAlias = Callable[[Any], Any]


def as_ball(number: Any) -> Ball:
    """The number as a ball without radius."""
    return number if type(number) is Ball else Ball(arb(of_number(number)))


def smooth(value: Callable[[Real], Real], slope: Callable[[Real, Real], Real]) -> Unary:
    """A function of balls from its value, and from its slope at x, where the value is y."""

    def function(ball: Ball) -> Ball:
        y = value(ball.value)
        return Ball(y, None if ball.tangent is None else slope(ball.value, y) * ball.tangent)

    return function


def on_balls(function: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function where an argument is a ball, and the one of float64 where none is."""

    def either(*elements: Any) -> Any:
        for element in elements:
            if type(element) is Ball:
                return function(*elements)
        return plain(*elements)

    return either


# -------------------------------------------------------------------------------------------- one argument


def _log(x: Real) -> Real:
    return arb("-inf") if x.is_zero() else x.log()


def _cbrt(x: Real) -> Real:
    return -((-x).root(3)) if x < 0 else x.root(3)


def _gammaln(x: Real) -> Real:
    return x.lgamma() if x > 0 else abs(x.gamma()).log()


def _expit(x: Real) -> Real:
    return 1 / (1 + (-x).exp())


def _ndtr(x: Real) -> Real:
    return (-x * _root_half()).erfc() / 2


def _trigamma(x: Real) -> Real:
    return arb(2).zeta(x) if x > 0 else (arb.pi() / x.sin_pi()) ** 2 - arb(2).zeta(1 - x)


def _normal_density(x: Real) -> Real:
    return (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


def _sinc(ball: Ball) -> Any:
    """NumPy's: sin(pi x) / (pi x)."""
    x, tangent = ball.value, ball.tangent
    if x.is_zero():
        return Ball(arb(1), None if tangent is None else tangent * 0)
    y = x.sinc_pi()
    return Ball(y, None if tangent is None else (x.cos_pi() - y) / x * tangent)


def _sign(ball: Ball) -> float:
    return float(compared(ball, 0, "sign"))


def _entr(ball: Any) -> Any:
    return 0.0 if compared(ball, 0, "entr") == 0 else -ball * UNARY["log"](ball)


def _root_half() -> Real:
    return arb(0.5).sqrt()


def _two_over_root_pi() -> Real:
    return 2 / arb.pi().sqrt()


def _degree() -> Real:
    return arb.pi() / 180


UNARY: dict[str, Unary] = {
    "exp": smooth(arb.exp, lambda x, y: y),
    "expm1": smooth(arb.expm1, lambda x, y: y + 1),
    "exp2": smooth(lambda x: arb(2) ** x, lambda x, y: y * arb.const_log2()),
    "exp10": smooth(lambda x: arb(10) ** x, lambda x, y: y * arb.const_log10()),
    "log": smooth(_log, lambda x, y: 1 / x),
    "log1p": smooth(lambda x: arb("-inf") if x == -1 else x.log1p(), lambda x, y: 1 / (1 + x)),
    "log2": smooth(lambda x: _log(x) / arb.const_log2(), lambda x, y: 1 / (x * arb.const_log2())),
    "log10": smooth(lambda x: _log(x) / arb.const_log10(), lambda x, y: 1 / (x * arb.const_log10())),
    "sqrt": smooth(arb.sqrt, lambda x, y: 1 / (2 * y)),
    "cbrt": smooth(_cbrt, lambda x, y: 1 / (3 * y * y)),
    "square": smooth(lambda x: x * x, lambda x, y: 2 * x),
    "reciprocal": smooth(lambda x: 1 / x, lambda x, y: -y * y),
    "sin": smooth(arb.sin, lambda x, y: x.cos()),
    "cos": smooth(arb.cos, lambda x, y: -x.sin()),
    "tan": smooth(arb.tan, lambda x, y: 1 + y * y),
    "arcsin": smooth(arb.asin, lambda x, y: (1 - x * x).rsqrt()),
    "arccos": smooth(arb.acos, lambda x, y: -(1 - x * x).rsqrt()),
    "arctan": smooth(arb.atan, lambda x, y: 1 / (1 + x * x)),
    "sinh": smooth(arb.sinh, lambda x, y: x.cosh()),
    "cosh": smooth(arb.cosh, lambda x, y: x.sinh()),
    "tanh": smooth(arb.tanh, lambda x, y: x.sech() ** 2),
    "arcsinh": smooth(arb.asinh, lambda x, y: (1 + x * x).rsqrt()),
    "arccosh": smooth(arb.acosh, lambda x, y: (x * x - 1).rsqrt()),
    "arctanh": smooth(arb.atanh, lambda x, y: 1 / (1 - x * x)),
    "deg2rad": smooth(lambda x: x * _degree(), lambda x, y: _degree()),
    "rad2deg": smooth(lambda x: x / _degree(), lambda x, y: 1 / _degree()),
    "sinc": _sinc,
    "sign": _sign,
    "erf": smooth(arb.erf, lambda x, y: _two_over_root_pi() * (-x * x).exp()),
    "erfc": smooth(arb.erfc, lambda x, y: -_two_over_root_pi() * (-x * x).exp()),
    "erfcx": smooth(lambda x: (x * x).exp() * x.erfc(), lambda x, y: 2 * x * y - _two_over_root_pi()),
    "erfinv": smooth(arb.erfinv, lambda x, y: (y * y).exp() / _two_over_root_pi()),
    "ndtr": smooth(_ndtr, lambda x, y: _normal_density(x)),
    "log_ndtr": smooth(lambda x: _ndtr(x).log(), lambda x, y: _normal_density(x) / _ndtr(x)),
    "ndtri": smooth(lambda x: (2 * x - 1).erfinv() / _root_half(), lambda x, y: 1 / _normal_density(y)),
    "expit": smooth(_expit, lambda x, y: y * _expit(-x)),
    "log_expit": smooth(lambda x: -((-x).exp().log1p()), lambda x, y: _expit(-x)),
    "logit": smooth(lambda x: (x / (1 - x)).log(), lambda x, y: 1 / (x * (1 - x))),
    "gamma": smooth(arb.gamma, lambda x, y: y * x.digamma()),
    "gammaln": smooth(_gammaln, lambda x, y: x.digamma()),
    "psi": smooth(arb.digamma, lambda x, y: _trigamma(x)),
    "entr": _entr,
    "positive": lambda x: x,
    "conjugate": lambda x: x,
}
UNARY |= {"degrees": UNARY["rad2deg"], "radians": UNARY["deg2rad"], "digamma": UNARY["psi"], "loggamma": UNARY["gammaln"]}

STEPS: dict[str, Unary] = {
    "floor": lambda x: float(x.__floor__()),
    "ceil": lambda x: float(x.__ceil__()),
    "trunc": lambda x: float(x.__trunc__()),
    "rint": lambda x: float(x.__round__()),
    "signbit": lambda x: compared(x, 0, "signbit") < 0,
}
"""Functions whose values are constants between their jumps."""


# -------------------------------------------------------------------------------------------- two arguments


def _divide(a: Any, b: Any) -> Any:
    return a / b


def _arctan2(y: Any, x: Any) -> Ball:
    y, x = as_ball(y), as_ball(x)
    square = x.value * x.value + y.value * y.value
    parts = [None if y.tangent is None else x.value * y.tangent, None if x.tangent is None else -y.value * x.tangent]
    return Ball(arb.atan2(y.value, x.value), _total([None if p is None else p / square for p in parts]))


def _total(parts: list[Any]) -> Any:
    known = [p for p in parts if p is not None]
    return sum(known[1:], known[0]) if known else None


def _hypot(a: Any, b: Any) -> Any:
    return UNARY["sqrt"](as_ball(a) * a + as_ball(b) * b)


def _logaddexp(a: Any, b: Any) -> Any:
    if -np.inf in (a if type(a) is not Ball else 0, b if type(b) is not Ball else 0):  # the other one
        return b if type(a) is not Ball else a
    a, b = as_ball(a), as_ball(b)
    larger, smaller = (a, b) if a.value.mid() > b.value.mid() else (b, a)  # the value is the same for either
    return larger + UNARY["log1p"](UNARY["exp"](smaller - larger))


def _logaddexp2(a: Any, b: Any) -> Any:
    return UNARY["log2"](UNARY["exp2"](as_ball(a)) + UNARY["exp2"](as_ball(b)))


def _xlogy(x: Any, y: Any) -> Any:
    """The product x log y; 0 where x is 0, even where log y is infinite."""
    if (x.value.is_zero() and type(y) is not Ball and y == 0) if type(x) is Ball else x == 0:
        return 0.0
    return x * UNARY["log"](as_ball(y))


def _xlog1py(x: Any, y: Any) -> Any:
    return 0.0 if type(x) is not Ball and x == 0 else x * UNARY["log1p"](as_ball(y))


def _rel_entr(x: Any, y: Any) -> Any:
    if type(x) is not Ball and x == 0:
        return 0.0
    return x * UNARY["log"](as_ball(x) / y)


def _kl_div(x: Any, y: Any) -> Any:
    return _rel_entr(x, y) - x + y


def _copysign(a: Any, b: Any) -> Any:
    size = abs(a)
    negative = compared(b, 0, "copysign") < 0 if type(b) is Ball else bool(np.signbit(b))
    return -size if negative else size


def _heaviside(x: Any, at_zero: Any) -> Any:
    sign = compared(as_ball(x), 0, "heaviside")
    return at_zero if sign == 0 else float(sign > 0)


def _remainder(a: Any, b: Any) -> Any:
    return as_ball(a) % b


def _fmod(a: Any, b: Any) -> Any:
    return as_ball(a) - (as_ball(a) / b).__trunc__() * b


def _ldexp(x: Any, n: Any) -> Any:
    if type(n) is Ball:
        raise WORK.refuse("ldexp with an exponent that depends on the arguments")
    return x * Ball(arb(2) ** int(n))


def _betaln(a: Any, b: Any) -> Any:
    log_gamma = UNARY["gammaln"]
    return log_gamma(as_ball(a)) + log_gamma(as_ball(b)) - log_gamma(as_ball(a) + b)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "divide": _divide,
    "power": lambda a, b: power(a if type(a) is Ball else as_ball(a), b),
    "arctan2": _arctan2,
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "logaddexp2": _logaddexp2,
    "xlogy": _xlogy,
    "xlog1py": _xlog1py,
    "rel_entr": _rel_entr,
    "kl_div": _kl_div,
    "copysign": _copysign,
    "heaviside": _heaviside,
    "remainder": _remainder,
    "fmod": _fmod,
    "floor_divide": lambda a, b: float((as_ball(a) / b).__floor__()),
    "ldexp": _ldexp,
    "betaln": _betaln,
}
BINARY["float_power"] = BINARY["power"]

for _name, _function in UNARY.items():  # NumPy's loops over objects call these methods of the elements
    setattr(Ball, _name, _function)
