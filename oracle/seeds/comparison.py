"""The gradients of the two-layer net on three digits, compared with finite differences and with JAX.

The differences of all elements take the most time, so worker processes compute them in slices. A slice names a point, a
parameter and a part of it; the worker builds the function itself and does not import JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.arrays import Leaf, flat, leaves_of
from oracle.diagnosis import diagnose
from oracle.diagnosis.context import Context
from oracle.differences import partials
from oracle.differences.evaluation import Evaluator
from oracle.differences.partials import Estimate
from oracle.judging.error_budget import ErrorBudget
from oracle.judging.evidence import Evidence, Parameter, Values
from oracle.judging.settling import swept_fully
from oracle.judging.verdict import Judgement, judge
from oracle.measures import distance, largest, relative
from purenet.data import Digits, scaled
from purenet.models import two_layer_net

if TYPE_CHECKING:
    from purenet.combinators import Chain

__all__ = [
    "PARAMETERS",
    "Differences",
    "Gradient",
    "H",
    "Point",
    "Slice",
    "compare",
    "logits_of",
    "loss_of",
    "loss_of_the_book",
    "perform",
    "slices",
]

Array = NDArray[Any]

PARAMETERS = {
    "W1": "params.net.affine1.w",
    "b1": "params.net.affine1.b",
    "W2": "params.net.affine2.w",
    "b2": "params.net.affine2.b",
}
"""The names of the parameters in the notes, in the order of the notes, and ours."""

H = 1e-4  # the step of the plain differences in the notes
INSIDE_THE_LOG = 1e-7  # the book adds this to a probability before it takes the logarithm
SLICE = 2048  # the largest number of elements in a slice, some seconds of work
EVERY = 53
"""A quick run differentiates one of this many elements of a large parameter. It has no common factor with the 50 hidden units,
so that each unit gets some."""
LARGE = 2048  # a parameter with more elements is large


@dataclass(frozen=True)
class Point:
    """The point at which the net is differentiated. The weights are 0.01 * normal, the biases 0."""

    digits: Digits
    hidden: int = 50
    key: int = 0
    scaled: bool = False
    last_relu: bool = True
    quick: bool = False
    """Whether the differences skip elements of large parameters. JAX differentiates all."""

    @property
    def name(self) -> str:
        pixels = "pixels scaled to 0..1" if self.scaled else "raw pixels 0..255"
        return f"{pixels}, {'a relu' if self.last_relu else 'no relu'} after the logits"

    @property
    def goal(self) -> pn.Op:
        return two_layer_net.goal(last_relu=self.last_relu)

    @property
    def options(self) -> dict[str, Any]:
        return {"loss": {"labels": self.digits.labels}}

    @property
    def x(self) -> Array:
        return scaled(self.digits.images) if self.scaled else self.digits.images.astype(np.float64)

    @property
    def params(self) -> Any:
        sizes = (self.digits.images.shape[1], self.hidden, 10)
        return {"net": two_layer_net.init(pn.random.key(self.key), sizes)}

    def every(self, parameter: str) -> int:
        """n, if one of n elements of this parameter is differentiated."""
        sizes = {leaf.path: leaf.array.size for leaf in _leaves(self.params)}
        return EVERY if self.quick and sizes[PARAMETERS[parameter]] > LARGE else 1


def logits_of(point: Point) -> Callable[[Any], Any]:
    """The net as a function of only the parameters, with the same bits as the Op.

    It calls the forward function of each stage directly, because for such small arrays the checks of the arguments would
    take a third of the time.
    """
    net, x = cast("Chain", two_layer_net.net(last_relu=point.last_relu)), point.x
    stages = [(stage.forward, name if stage.takes_params else None) for name, stage in net.stages.items()]

    def logits(params: Any) -> Any:
        y: Any = x
        for forward, name in stages:
            y, _ = forward(y) if name is None else forward(params["net"][name], y)
        return y

    return logits


def loss_of(point: Point) -> Callable[[Any], Any]:
    """The function that is differentiated: the loss as a function of only the parameters."""
    logits, cross_entropy, labels = logits_of(point), pn.softmax_cross_entropy.forward, point.digits.labels
    return lambda params: cross_entropy(logits(params), labels=labels)[0]


def loss_of_the_book(point: Point) -> Callable[[Any], Any]:
    """The loss with the book's constant inside the logarithm, which the book's backward pass ignores."""
    logits, softmax, labels = logits_of(point), pn.softmax.forward, point.digits.labels

    def loss(params: Any) -> Array:
        right = softmax(logits(params))[0][np.arange(labels.size), labels]
        return np.asarray(-np.log(right + INSIDE_THE_LOG).mean())

    return loss


@dataclass(frozen=True)
class Slice:
    """Every `parts`-th element that is differentiated of one parameter at one point, beginning with number `part`."""

    point: Point
    parameter: str
    part: int = 0
    parts: int = 1
    book: bool = False
    """Whether the book's loss is differentiated as well."""


class Differences(NamedTuple):
    """The differences of some elements: ours with error estimates, and those of the notes, with a step of H."""

    estimate: Estimate
    central: Array
    """(f(x + h) - f(x - h)) / 2h."""
    one_sided: Array
    """(f(x + h) - f(x)) / 2h, which is half the slope."""
    book: Array
    """The central differences of the book's loss; empty unless `Slice.book`."""


def slices(point: Point, parameters: Sequence[str] = tuple(PARAMETERS), *, book: bool = False) -> list[Slice]:
    """The elements of these parameters, in slices of about equal work."""
    sizes = {leaf.path: leaf.array.size for leaf in _leaves(point.params)}
    cuts = [(name, -(-sizes[PARAMETERS[name]] // (SLICE * point.every(name)))) for name in parameters]
    return [Slice(point, name, part, parts, book) for name, parts in cuts for part in range(parts)]


def perform(task: Slice) -> Differences:
    """The differences of one slice; runs in any process."""
    evaluator = Evaluator(loss_of(task.point), (task.point.params,))
    leaf = _number(task)
    # A slice is a stride and not a block: the pixels at the edges are 0 in all images, so blocks would be unequal work.
    chosen = np.arange(0, evaluator.origin[leaf].size, task.point.every(task.parameter))
    estimate = partials.differentiate(evaluator, leaf, chosen[task.part :: task.parts])
    # An element that changes nothing over the longer steps of the search changes nothing over H.
    moving = np.flatnonzero((estimate.value != 0) | (estimate.uncertainty != 0) | estimate.kink)
    central, one_sided, book = np.zeros(estimate.index.size), np.zeros(estimate.index.size), np.zeros(0)
    for i in moving:
        difference = evaluator.difference(leaf, int(estimate.index[i]), H)
        central[i], one_sided[i] = difference.both / (2 * H), difference.ahead / (2 * H)
    if task.book:
        evaluator, book = Evaluator(loss_of_the_book(task.point), (task.point.params,)), np.zeros(estimate.index.size)
        for i in moving:
            book[i] = evaluator.difference(leaf, int(estimate.index[i]), H).both / (2 * H)
    return Differences(estimate, central, one_sided, book)


@dataclass(frozen=True)
class Gradient:
    """The three gradients of one parameter at one point, and the verdict."""

    point: Point
    parameter: str
    evidence: Evidence
    found: Differences
    judgement: Judgement

    @property
    def diagnosis(self) -> str:
        return diagnose(self.evidence, self.judgement, Context(sizes={"batch": len(self.point.digits.labels)}))

    @property
    def analytic(self) -> Array:
        return self.evidence.analytic

    @property
    def autodiff(self) -> Array:
        return np.asarray(self.evidence.autodiff)

    def off(self, other: Array) -> tuple[float, float, float]:
        """The mean and the largest |difference| from the hand-written gradient, and the latter relative to the largest entry.

        `other` has all elements, or only those that were differentiated.
        """
        ours = self.analytic if other.size == self.analytic.size else self.analytic[self.evidence.estimate.index]
        error = distance(ours, other)
        return float(error.mean()), float(error.max()), relative(error, largest(self.analytic))


def compare(point: Point, found: Mapping[str, Sequence[Differences]]) -> dict[str, Gradient]:
    """Compares the hand-written gradients at a point with JAX's and with the differences, which come in slices."""
    params, x = point.params, point.x
    value, residuals = point.goal.fwd(params, x, **point.options)
    ours = flat(point.goal.bwd(residuals, 1.0)[0])
    jax_value, theirs = _by_jax(point, params, x)
    loss = Evaluator(loss_of(point), (point.params,))
    allowed = ErrorBudget(abs(jax_value), 0.0).against_reference
    compared = {}
    for number, leaf in enumerate(_leaves(params)):
        names = [name for name, path in PARAMETERS.items() if path == leaf.path and name in found]
        for name in names:
            whole = _merged(found[name])
            scale = largest(ours[number], theirs[number]) or 1.0
            evidence = Evidence(
                parameter=Parameter(name, leaf.array.shape, np.dtype(np.float64)),
                analytic=ours[number],
                autodiff=theirs[number],
                estimate=whole.estimate,
                budget=ErrorBudget(scale, 0.0),
                values=Values(float(abs(value - jax_value) / allowed)),
            )
            evidence = swept_fully(evidence, loss, number)
            compared[name] = Gradient(point, name, evidence, whole, judge(evidence))
    return {name: compared[name] for name in PARAMETERS if name in compared}


def _by_jax(point: Point, params: Any, x: Array) -> tuple[float, list[Array]]:
    """JAX's loss and gradients, from the catalogue's reference for this net."""
    from oracle import autodiff  # imported here, because the workers do not need JAX
    from oracle.catalogue.models import two_layer_net as catalogued

    reference = catalogued.goal_by_mlp_last_relu if point.last_relu else catalogued.goal_by_mlp
    pullback = autodiff.vjp(reference, (params, x), np.asarray(1.0), point.options)
    return float(pullback.value), flat(pullback.cotangents[0])


def _merged(parts: Sequence[Differences]) -> Differences:
    """The slices of one parameter joined, in the order of its elements."""
    order = np.argsort(np.concatenate([part.estimate.index for part in parts]))

    def joined(arrays: Sequence[Array]) -> Array:
        whole = np.concatenate(arrays)
        return np.asarray(whole[order] if whole.size else whole)

    # The tables of plain differences have different lengths in different slices, so they are left out.
    columns = {f.name: [getattr(part.estimate, f.name) for part in parts] for f in fields(Estimate) if f.name != "differences"}
    estimate = Estimate(**{name: joined(arrays) for name, arrays in columns.items()}, differences=np.zeros((order.size, 0)))
    return Differences(
        estimate,
        joined([part.central for part in parts]),
        joined([part.one_sided for part in parts]),
        joined([part.book for part in parts]),
    )


def _leaves(params: Any) -> list[Leaf]:
    return leaves_of(("params",), (params,))


def _number(task: Slice) -> int:
    return [leaf.path for leaf in _leaves(task.point.params)].index(PARAMETERS[task.parameter])
