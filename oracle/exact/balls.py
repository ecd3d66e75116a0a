"""A ball with a tangent: a number that is known to lie within a radius of a midpoint, and its derivative along a direction.

Arithmetic is Arb's (python-flint), which rounds outwards: the exact result lies in the ball. Numbers that do not depend on the
arguments stay Python numbers. They are exact as they stand, and operations between them are those of float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flint import arb

from oracle.exact.kinks import WORK

__all__ = ["Ball", "compared", "is_number", "of_number"]

NAN = float("nan")


class Ball:
    """The enclosure `value` of a number, and the enclosure `tangent` of its derivative; None where the direction is 0."""

    __slots__ = ("tangent", "value")

    def __init__(self, value: Any, tangent: Any = None) -> None:
        WORK.left -= 1
        if WORK.left < 0:
            raise WORK.refuse(f"too large: more than {WORK.limit:,} scalar operations")
        self.value = value
        self.tangent = tangent

    # ------------------------------------------------------------------------------------------ arithmetic

    def __add__(self, other: Any) -> Any:
        if type(other) is Ball:
            s, o = self.tangent, other.tangent
            return Ball(self.value + other.value, o if s is None else s if o is None else s + o)
        if not is_number(other):
            return NotImplemented
        other = of_number(other)
        return other if math.isinf(other) else Ball(self.value + other, self.tangent)

    __radd__ = __add__

    def __neg__(self) -> Ball:
        return Ball(-self.value, None if self.tangent is None else -self.tangent)

    def __pos__(self) -> Ball:
        return self

    def __sub__(self, other: Any) -> Any:
        if type(other) is Ball:
            if other is self:  # the largest entry, from which it is subtracted: 0 at any precision
                return Ball(arb(0))
            s, o = self.tangent, other.tangent
            return Ball(self.value - other.value, s if o is None else -o if s is None else s - o)
        if not is_number(other):
            return NotImplemented
        other = of_number(other)
        return -other if math.isinf(other) else Ball(self.value - other, self.tangent)

    def __rsub__(self, other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        other = of_number(other)
        return other if math.isinf(other) else Ball(other - self.value, None if self.tangent is None else -self.tangent)

    def __mul__(self, other: Any) -> Any:
        if type(other) is Ball:
            a, b, s, o = self.value, other.value, self.tangent, other.tangent
            if s is not None:
                s = s * b
            if o is not None:
                o = o * a
            return Ball(a * b, o if s is None else s if o is None else s + o)
        if not is_number(other):
            return NotImplemented
        other = of_number(other)
        if math.isinf(other):
            return compared(self, 0, "*") * other
        return Ball(self.value * other, None if self.tangent is None else self.tangent * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        if type(other) is Ball:
            quotient, s, o = self.value / other.value, self.tangent, other.tangent
            if o is not None:
                s = -quotient * o if s is None else s - quotient * o
            return Ball(quotient, None if s is None else s / other.value)
        if not is_number(other):
            return NotImplemented
        other = of_number(other)
        if math.isinf(other):
            return 0.0
        if other == 0:
            return _over_zero(self)
        return Ball(self.value / other, None if self.tangent is None else self.tangent / other)

    def __rtruediv__(self, other: Any) -> Any:
        if not is_number(other):
            return NotImplemented
        other = of_number(other)
        if math.isinf(other):
            return other * compared(self, 0, "/")
        quotient = other / self.value
        return Ball(quotient, None if self.tangent is None else -quotient * self.tangent / self.value)

    def __pow__(self, other: Any) -> Any:
        if not (type(other) is Ball or is_number(other)):
            return NotImplemented
        return power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return power(_as_ball(other), self) if is_number(other) else NotImplemented

    def __abs__(self) -> Ball:
        sign = compared(self, 0, "abs")
        return self if sign > 0 else -self if sign < 0 else Ball(self.value * 0)

    def __floordiv__(self, other: Any) -> Any:
        return math.floor(self / other)

    def __rfloordiv__(self, other: Any) -> Any:
        return math.floor(other / self)

    def __mod__(self, other: Any) -> Any:
        return self - math.floor(self / other) * other

    def __rmod__(self, other: Any) -> Any:
        return other - math.floor(other / self) * self

    # ------------------------------------------------------------------------------------------ comparisons

    def __lt__(self, other: Any) -> Any:
        return NotImplemented if _is_foreign(other) else compared(self, other, "<") < 0

    def __le__(self, other: Any) -> Any:
        return NotImplemented if _is_foreign(other) else compared(self, other, "<=") <= 0

    def __gt__(self, other: Any) -> Any:
        return NotImplemented if _is_foreign(other) else compared(self, other, ">") > 0

    def __ge__(self, other: Any) -> Any:
        return NotImplemented if _is_foreign(other) else compared(self, other, ">=") >= 0

    def __eq__(self, other: Any) -> Any:
        return NotImplemented if _is_foreign(other) else compared(self, other, "==") == 0

    def __ne__(self, other: Any) -> Any:
        return NotImplemented if _is_foreign(other) else compared(self, other, "!=") != 0

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return bool(compared(self, 0, "bool") != 0)

    # ------------------------------------------------------------------------------------------ whole numbers

    def __floor__(self) -> int:
        return self._whole()

    def __ceil__(self) -> int:
        return -((-self)._whole())

    def __trunc__(self) -> int:
        return self._whole() if compared(self, 0, "trunc") >= 0 else -((-self)._whole())

    def __round__(self, digits: int | None = None) -> int:
        """To the even one of two nearest; a tie at the half is a kink."""
        if digits:
            raise WORK.refuse("rounding to decimals")
        below: int = (self - 0.5)._whole()
        return below + 1 if compared(self, below + 0.5, "round") > 0 or below % 2 else below

    def _whole(self) -> int:
        """The largest integer not above the number. The function jumps at the integers, so they are ties."""
        if not self.value.rad() < 0.25:  # also where the number is not finite
            WORK.undecided("floor", forced=False)
        whole = int((self.value.mid() + 0.5).floor().unique_fmpz())
        return whole if compared(self, whole, "floor") >= 0 else whole - 1

    # ------------------------------------------------------------------------------------------ what leaves the balls

    def __float__(self) -> float:
        raise WORK.refuse("float() of a number that depends on the arguments")

    def __complex__(self) -> complex:
        raise WORK.refuse("complex() of a number that depends on the arguments")

    def __int__(self) -> int:
        raise WORK.refuse("int() of a number that depends on the arguments")

    __index__ = __int__

    def __reduce__(self) -> Any:
        raise WORK.refuse("pickling a number that depends on the arguments")

    def __copy__(self) -> Ball:
        return self

    def __deepcopy__(self, memo: Any) -> Ball:
        return self

    def __repr__(self) -> str:
        return f"Ball({self.value}, {self.tangent})"

    def conjugate(self) -> Ball:
        """NumPy's variance asks for it."""
        return self

    @property
    def real(self) -> Ball:
        return self

    @property
    def imag(self) -> float:
        return 0.0


def is_number(other: Any) -> bool:
    """Whether this is a constant of the user's code."""
    return isinstance(other, float | int | np.floating | np.integer | np.bool_)


def of_number(other: Any) -> Any:
    """The constant as a number of Python, which is exact."""
    if isinstance(other, float):
        return other
    return int(other) if isinstance(other, int) else other.item()


def _is_foreign(other: Any) -> bool:
    return type(other) is not Ball and not is_number(other)


def _as_ball(number: Any) -> Ball:
    return number if type(number) is Ball else Ball(arb(of_number(number)))


def compared(a: Ball, b: Any, symbol: str) -> int:
    """The sign of a - b, which is certain: -1, 0 or 1. A tie is recorded."""
    if a is b:
        return 0
    tangent = a.tangent
    if type(b) is Ball:
        other = b.value
        tangent = tangent if b.tangent is None else -b.tangent if tangent is None else tangent - b.tangent
    else:
        other = of_number(b)
    if a.value > other:
        return 1
    if a.value < other:
        return -1
    return WORK.tie(symbol, tangent) if a.value == other else WORK.undecided(symbol)


def power(base: Any, exponent: Any) -> Any:
    """Base ** exponent; of a base that may be negative only for whole exponents."""
    if type(exponent) is not Ball:
        return _power(base, of_number(exponent))
    base = _as_ball(base)
    value = base.value**exponent.value
    tangent = None
    if base.tangent is not None:
        tangent = exponent.value * base.value ** (exponent.value - 1) * base.tangent
    if exponent.tangent is not None:
        slope = value * base.value.log() * exponent.tangent
        tangent = slope if tangent is None else tangent + slope
    return Ball(value, tangent)


def _power(base: Ball, n: float) -> Any:
    """A constant exponent. At 0 the power has a slope only for exponents of at least 1."""
    if n == 0:
        return 1.0
    if n == 0.5:
        value = base.value.sqrt()
        return Ball(value, None if base.tangent is None else base.tangent / (2 * value))
    whole = math.isfinite(n) and n == int(n)
    exponent = arb(int(n)) if whole else arb(n)
    if base.tangent is None:
        return Ball(base.value**exponent)
    below = base.value ** (exponent - 1)
    return Ball(below * base.value if whole and n > 0 else base.value**exponent, exponent * below * base.tangent)


def _over_zero(ball: Ball) -> Any:
    """A number over a constant 0: infinite as in float64, with no slope that anything could use."""
    return Ball(arb(compared(ball, 0, "/") * math.inf), None if ball.tangent is None else arb(NAN))
