"""The context of a diagnosis: named sizes and keywords, and the forward pass that it may evaluate."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np

from oracle.arrays import leaves_of
from oracle.diagnosis.call import Call, numbers_of
from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.jacobian import Budget
from oracle.judging.measurements import Measurements
from oracle.subject import defaults_of

__all__ = ["Context", "Contexts"]


@dataclass(frozen=True)
class Context:
    """What a diagnosis may use besides the evidence."""

    sizes: dict[str, int] = field(default_factory=dict)
    """Named integers by which a gradient may be multiplied or divided by mistake: `batch`, `number of outputs`..."""
    numbers: dict[str, float] = field(default_factory=dict)
    """The keywords that are real numbers."""
    ignores_cotangent: bool = False
    """Whether bwd(2 dy) is bwd(dy)."""
    large: bool = False
    """Whether the argument is large, so that only the causes that look at each entry once are tried."""
    forward: ForwardPass | None = None
    """Evaluates the gradient for another cotangent, at another point or with other keywords, when a cause needs it."""

    @cached_property
    def unit(self) -> float:
        """The cotangent if the value is a scalar, because then every gradient is a multiple of it; else 1."""
        cotangent = np.zeros(0) if self.forward is None else self.forward.call.cotangent
        return float(cotangent[0]) or 1.0 if cotangent.size == 1 and np.isfinite(cotangent).all() else 1.0


class Contexts:
    """The contexts of one verification. All diagnoses at one point share one budget of evaluations."""

    def __init__(self, batch: int | None, *, large: bool) -> None:
        self.batch = batch
        self.large = large
        self.budgets: dict[int, tuple[Measurements, Budget]] = {}

    def of(self, m: Measurements, i: int, *, ignores_cotangent: bool) -> Context:
        """The context for argument `i`; without a forward pass if the arguments are large."""
        sizes = {} if self.batch is None else {"batch": self.batch}
        if self.large:
            return Context(sizes, ignores_cotangent=ignores_cotangent, large=True)
        # The dictionary keeps `m` alive, so that no other object can get the same id.
        _, budget = self.budgets.setdefault(id(m), (m, Budget()))
        call = Call(
            lambda *primals, **options: m.point.subject.forward(*primals, **options)[0],
            m.point.wide.primals,
            [leaf.path for leaf in m.point.leaves],
            m.point.wide.dy,
            m.point.subject.options,
            defaults_of(m.point.subject, len(m.point.primals)),
            value_by_rule=getattr(m.point.subject.forward, "value_by_rule", None),
        )
        forward = ForwardPass(
            call,
            i,
            lambda primals, dy: m.point.subject.gradients(primals, dy)[i],
            budget.share(len(m.point.leaves) - i - 1),
            m.point.evaluator.rounding.eps,
        )
        return Context(sizes | _sizes(m, i), numbers_of(call), ignores_cotangent, forward=forward)


def _sizes(m: Measurements, i: int) -> dict[str, int]:
    """The numbers of outputs and elements, the dimensions, and products of dimensions, by name."""
    sizes = {"number of outputs": m.point.evaluator.cotangent.size, "number of elements": m.point.evaluator.origin[i].size}
    products: dict[str, int] = {}
    value = leaves_of(("the value",), (m.point.y,))
    for leaf in (*m.point.leaves, *value):
        sizes |= {f"dimension {d} of {leaf.path}": n for d, n in enumerate(np.shape(leaf.array))}
    for leaf in (*value, *m.point.leaves):  # the value first: a mean over several axes mostly averages the cotangent
        shape = np.shape(leaf.array)
        for few in (dims for count in range(2, len(shape) + 1) for dims in combinations(range(len(shape)), count)):
            words = ", ".join(map(str, few[:-1])) + f" and {few[-1]}"
            products[f"dimensions {words} of {leaf.path}"] = int(np.prod([shape[d] for d in few]))
    return sizes | products
