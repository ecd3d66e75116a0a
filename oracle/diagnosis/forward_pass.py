"""The forward pass as a function of one argument, evaluated within a budget.

When the budget is spent (see `Budget`), nothing more is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oracle.arrays import quiet, unvector
from oracle.diagnosis.call import Call
from oracle.diagnosis.jacobian import Derivative, Share, differentiated, step_of
from oracle.diagnosis.words import Array
from oracle.measures import EPSILON

__all__ = ["SOUND", "ForwardPass"]

SOUND = 1e-6
"""How close the differences of a diagnosis must come to the true gradient, as a fraction of its largest entry. Entries where
they do not, for example near a kink, are not used at other points."""
LOST = 30
"""The same for a function that computes in a narrower dtype inside, in units of the rounding error of its differences,
eps^0.8. With 3, entries whose values round badly are not used; with 300, entries near kinks are."""

SMALL = 2**12
"""A forward pass with up to this many numbers in its arguments and value costs one evaluation; a larger one costs more in
proportion."""


@dataclass(frozen=True)
class ForwardPass:
    """The forward pass near a call, as a function of argument number `leaf`."""

    call: Call
    leaf: int
    pullback: Callable[[Any, Any], Array]
    """Our backward pass: the gradient of this argument, flat, at a given point and for a given dy."""
    share: Share
    """The evaluations that may be spent on this argument."""
    eps: float = EPSILON["float64"]
    """The rounding of a value, as a fraction of it: larger where the function computes in a narrower dtype inside."""

    @property
    def step(self) -> float:
        """The step of differences, as a fraction of an entry."""
        return step_of(self.eps)

    @property
    def sound(self) -> float:
        """How close differences must come to the true gradient, as a fraction of its largest entry."""
        return max(SOUND, float(LOST * self.eps**0.8))

    @property
    def cost(self) -> int:
        """The price of one evaluation, in units of a small forward pass."""
        return 1 + (sum(a.size for a in self.call.arguments) + self.call.cotangent.size) // SMALL

    def pull(self, primals: Any = None, dy: Array | None = None) -> Array | None:
        """Our gradient of this argument, flat, at another point or for another dy, which is one vector.

        None if our backward pass does not take them, or if it would cost more than the budget allows.
        """
        if not self.share.pay(2 * self.cost):
            return None
        primals = self.call.primals if primals is None else primals
        with quiet():
            try:
                return self.pullback(primals, self.call.dy if dy is None else unvector(dy, self.call.dy))
            except Exception:  # our backward pass may raise there
                return None

    def derivative(
        self, leaf: int, primals: Any, options: Mapping[str, Any], entries: Array, *, roughly: bool = False
    ) -> Derivative | None:
        """The derivative by these entries; None outside the domain, or if it would cost more than the budget allows."""
        if not entries.size or not self.share.pay((2 if roughly else 4) * entries.size * self.cost):
            return None
        return differentiated(self.call.function, primals, options, leaf, entries, self.step, roughly=roughly)
