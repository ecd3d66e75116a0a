"""Points at which checkers go wrong, of several entries at once: sums that cancel, ties, special points; and side effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.power.hard_points import exp, normal, numpy_of, points, relu, signed, twice

__all__ = ["BREACHES", "PAIRS", "Several", "pair"]

Array = NDArray[Any]
Pullback = Callable[..., tuple[Any, ...]]


class Several(NamedTuple):
    """y = function(*primals), its pullback(dy, *primals), and pullbacks that are wrong."""

    function: Callable[..., Any]
    right: tuple[Pullback, ...]
    primals: tuple[Array, ...]
    wrong: tuple[Pullback, ...] = ()
    reference: Callable[..., Any] | None = None
    """The function for JAX: the same one, unless it would be another by JAX's conventions at ties."""


def pair(function: Callable[..., Any], pullback: Pullback) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A forward and a backward function. Both count on the arguments alone."""
    return (
        lambda *primals: (function(*primals), tuple(x.copy() for x in primals)),
        lambda primals, dy: tuple(np.array(g) for g in pullback(dy, *primals)),
    )


# ------------------------------------------------------------------------------------------- sums that cancel


def normalized(x: Any) -> Any:
    return (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)


def normalized_by_squares(x: Any) -> Any:
    """The variance as a mean of squares less a square: far from zero it loses digits."""
    mean = x.mean(axis=-1, keepdims=True)
    return (x - mean) / numpy_of(x).sqrt((x * x).mean(axis=-1, keepdims=True) - mean * mean)


def of_normalized(dy: Array, x: Array, share: float = 1.0) -> tuple[Array]:
    y = normalized(x)
    along = share * y * (dy * y).mean(axis=-1, keepdims=True)
    return ((dy - dy.mean(axis=-1, keepdims=True) - along) / x.std(axis=-1, keepdims=True),)


def without_the_mean(dy: Array, x: Array) -> tuple[Array]:
    return of_normalized(dy, x, 0.0)


def of_shifted(dy: Array, b: Array, x: Array) -> tuple[Array, Array]:
    (dx,) = of_normalized(dy, (x + b).T)
    return dx.T.sum(axis=0), dx.T


def far(offset: float) -> Several:
    return Several(normalized, (of_normalized,), (normal(3, 5) + offset,), (without_the_mean,), normalized)


def softmax(x: Any) -> Any:
    e = exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def of_softmax(dy: Array, x: Array) -> tuple[Array]:
    s = softmax(x)
    return (s * (dy - (dy * s).sum(axis=-1, keepdims=True)),)


def one_sign_wrong(dy: Array, x: Array) -> tuple[Array]:
    s = softmax(x)
    return (s * (dy + (dy * s).sum(axis=-1, keepdims=True)),)


FREQUENCIES = 2.0 ** np.arange(11) * np.pi
T = normal(6)
LABELS = points(1, 0, 1)


def entropy(x: Any) -> Any:
    return numpy_of(x).logaddexp(0 * x, x) - x * LABELS


def two_sizes(x: Any) -> Any:
    return 1e8 * x, 1e-8 * numpy_of(x).sin(x)


CANCELLING = {
    **{f"a normalization {offset:g} from zero": far(offset) for offset in (30, 1e3, 1e5)},
    "a normalization in float32": Several(
        normalized, (of_normalized,), ((normal(3, 5) + 100).astype(np.float32),), (without_the_mean,), normalized
    ),
    "a reference that loses digits": Several(
        normalized, (of_normalized,), (normal(3, 5) + 1e5,), reference=normalized_by_squares
    ),
    "a bias before a normalization": Several(
        lambda b, x: normalized((x + b).T), (of_shifted,), (normal(3), normal(6, 3)), (), lambda b, x: normalized((x + b).T)
    ),
    "frequencies over three decades": Several(
        lambda x: numpy_of(x).sin(x[:, None] * FREQUENCIES),
        (lambda dy, x: ((dy * np.cos(x[:, None] * FREQUENCIES) * FREQUENCIES).sum(axis=1),),),
        (signed(6) / 2,),
    ),
    "predictions beside their targets": Several(
        lambda p, t: (p - t) ** 2,
        (lambda dy, p, t: (2 * (p - t) * dy, -2 * (p - t) * dy),),
        (T * (1 + 1e-9 * normal(6, seed=5)), T),
        (lambda dy, p, t: (2.001 * (p - t) * dy, -2 * (p - t) * dy),),
        lambda p, t: (p - t) ** 2,
    ),
    "an entropy whose terms round to nothing": Several(
        entropy, (lambda dy, x: ((1 / (1 + np.exp(-x)) - LABELS) * dy,),), (points(40, -35, 0.3),), (), entropy
    ),
    "an output that is small beside another": Several(
        two_sizes,
        (lambda dy, x: (1e8 * dy[0] + 1e-8 * np.cos(x) * dy[1],),),
        (points(1, 2),),
        (lambda dy, x: (1e8 * dy[0] + 1.001e-8 * np.cos(x) * dy[1],),),
    ),
    **{
        f"a softmax at {scale:g} times": Several(
            softmax, (of_softmax,), (scale * normal(3, 4),), (one_sign_wrong,) if scale < 100 else (), softmax
        )
        for scale in (10, 40, 300)
    },
    **{
        f"a sum of units {distance:g} beside a kink": Several(
            lambda x: relu(x).sum(),
            (lambda dy, x: (dy * (x > 0),),),
            (points(distance, -distance, 1, 2, -1, 3, 0.5),),
            (lambda dy, x: (dy * (x > 0) * np.where(x > 2.5, 1 + 1e-6, 1),),),
            lambda x: relu(x).sum(),
        )
        for distance in (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)
    },
}

# ------------------------------------------------------------------------------------------- ties, and kinks together


def of_largest(share: Callable[[Array], Array]) -> Pullback:
    return lambda dy, x: (share(x == x.max()) * dy,)


def unsorted(dy: Array, x: Array) -> tuple[Array]:
    dx = np.empty_like(dy)
    dx[np.argsort(x, kind="stable")] = dy
    return (dx,)


def of_maximum(a_share: float, b_share: float) -> Pullback:
    """The larger of two, which get these shares of dy where they are equal."""
    return lambda dy, a, b: (dy * np.where(a == b, a_share, a > b), dy * np.where(a == b, b_share, b > a))


def of_norm(at_zero: float) -> Pullback:
    return lambda dy, x: (dy * (x / np.sqrt((x**2).sum()) if x.any() else np.full(x.shape, at_zero)),)


def of_distance(s: float, t: float) -> Pullback:
    return lambda dy, a, b: (dy * np.where(a == b, s, np.sign(a - b)), dy * np.where(a == b, t, np.sign(b - a)))


A, W = normal(4), normal(4, seed=3)
TIED = {
    "the largest of tied numbers": Several(
        lambda x: x.max(),
        (of_largest(lambda tied: tied / tied.sum()), of_largest(lambda tied: tied & (np.cumsum(tied) == 1))),
        (points(1, 2, 2, 0.5),),
        (of_largest(lambda tied: tied),),
    ),
    "sorted ties": Several(np.sort, (unsorted,), (points(1, 1, 1, 2),), (), lambda x: numpy_of(x).sort(x)),
    "the larger of equal arguments": Several(
        np.maximum,
        (of_maximum(0.5, 0.5), of_maximum(0.1, 0.9)),
        (A, A.copy()),
        (of_maximum(1, 1), of_maximum(0.1, 0.1), of_maximum(0.5, 0.7)),
    ),
    "a norm at zero": Several(lambda x: np.sqrt((x**2).sum()), (of_norm(0.49),), (np.zeros(4),), (of_norm(0.9),)),
    "the distance of equal numbers": Several(
        lambda a, b: np.abs(a - b), (of_distance(1, -1),), (A, A.copy()), (of_distance(1, 1),)
    ),
    "ties in a sum of both signs": Several(
        lambda a, b: np.sum(W * np.maximum(a, b)),
        (lambda dy, a, b: (dy * W * (a >= b), dy * W * (b > a)),),
        (A, A + points(1, 0, 1, 0)),
        (lambda dy, a, b: (dy * W * (a >= b), dy * W * (b >= a)),),
    ),
}

# ------------------------------------------------------------------------------------------- right at special points


def log_loss(p: Any, w: Any) -> Any:
    return -(w * numpy_of(p).log(1 - p)).sum()


def of_cross_entropy(share: float) -> Pullback:
    return lambda dy, z, t: (dy * (softmax(z) - t), -dy * share * np.log(softmax(z)))


def product(a: Any, b: Any) -> Any:
    return a * b


def matrices(x: Any, w: Any) -> Any:
    return x @ w


SPECIAL = {
    "equal arguments": Several(
        product, (lambda dy, a, b: (dy * b, dy * a),), (A, A.copy()), (lambda dy, a, b: (dy * a, dy * b),), product
    ),
    "the unit matrix": Several(
        matrices, (lambda dy, x, w: (dy @ w.T, x.T @ dy),), (normal(2, 3), np.eye(3)), (lambda dy, x, w: (dy @ w, x.T @ dy),)
    ),
    "weights of one": Several(
        log_loss,
        (lambda dy, p, w: (dy * w / (1 - p), -dy * np.log(1 - p)),),
        (points(0.99, 0.98, 0.995), np.ones(3)),
        (lambda dy, p, w: (dy / (1 - p), -dy * np.log(1 - p)),),
        log_loss,
    ),
    "targets that sum to one": Several(
        lambda z, t: -(t * np.log(softmax(z))).sum(),
        (of_cross_entropy(1.0),),
        (normal(3, 4), np.eye(4)[[2, 0, 3]]),
        (of_cross_entropy(0.5),),
    ),
    "a symmetric matrix": Several(
        lambda a: np.linalg.slogdet(a)[1],
        (lambda dy, a: (dy * np.linalg.inv(a),),),
        (np.array([[2.0, 0.5], [0.5, 1.0]]),),
        (lambda dy, a: (dy * np.linalg.inv(a) ** 2,),),
    ),
}

PAIRS = {**CANCELLING, **TIED, **SPECIAL}

# ------------------------------------------------------------------------------------------- side effects


def _square(backward: Callable[[Array, Array], Any] = lambda x, dy: twice(x) * dy) -> Any:
    return lambda x: (x * x, x.copy()), lambda x, dy: (backward(x, dy),)


def _written(a: Array, factor: float) -> Array:
    a *= factor
    return a


def _in_a_buffer() -> Any:
    buffer = np.zeros((8, 5))
    return _square(lambda x, dy: np.multiply(2 * x, dy, out=buffer) if dy.shape == buffer.shape else 2 * x * dy)


def _at_random() -> Any:
    generator = np.random.default_rng(0)
    return _square(lambda x, dy: 2 * x * dy * (1 + 1e-12 * generator.normal()))


def _remembered() -> Any:
    memo = {}

    def forward(x: Array) -> Any:
        memo["x"] = x.copy()
        return x * x, None

    return forward, lambda _, dy: (2 * memo["x"] * dy,)


def _after_many() -> Any:
    """Every gradient is right until the forward pass has run as often as the differences need it."""
    calls = []

    def forward(x: Array) -> Any:
        calls.append(0)
        return x * x, x.copy()

    return forward, lambda x, dy: (2 * x * dy * (1.5 if len(calls) > 150 else 1.0),)


def _sets_errors() -> Any:
    def backward(x: Array, dy: Array) -> Any:
        np.seterr(under="raise")
        return 2 * x * dy

    return _square(backward)


BREACHES: dict[str, Callable[[], Any]] = {
    "writes to its argument": lambda: (lambda x: (_written(x, 1.0 + 1e-9) ** 2, x.copy()), lambda x, dy: (2 * x * dy,)),
    "writes to dy": lambda: _square(lambda x, dy: x * _written(dy, 2.0)),
    "uses its residuals up": lambda: (lambda x: (x * x, [x.copy()]), lambda r, dy: (2 * r.pop() * dy,)),
    "returns its argument": lambda: (lambda x: (x, None), lambda _, dy: (dy.copy(),)),
    "returns dy": lambda: (lambda x: (x + 1, None), lambda _, dy: (dy,)),
    "returns a buffer": _in_a_buffer,
    "draws random numbers": _at_random,
    "keeps the last argument": _remembered,
    "changes after many calls": _after_many,
    "sets the handling of errors": _sets_errors,
    "is slightly nonlinear": lambda: _square(lambda x, dy: 2 * x * dy + 1e-13 * dy**2),
    "ignores its cotangent": lambda: _square(lambda x, dy: 2 * x * np.sign(dy)),
    "clips far out": lambda: _square(lambda x, dy: np.clip(2 * x * dy, -1e5, 1e5)),
    "depends on the layout": lambda: _square(lambda x, dy: 2 * x * dy * (1 + 1e-9 * (not dy.flags.c_contiguous))),
}
"""y = x**2 by ops whose numbers are right at first, made anew for each verification."""
