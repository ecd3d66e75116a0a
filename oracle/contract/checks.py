"""What a pair of pure functions owes its caller, beside the right numbers.

Each check returns breaches: which argument, and what was seen. The values compared here are the op's own, so a breach is
certain whatever the witnesses say.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, Leaf, copied_arrays, flat, leaves_of, narrowest, vector, widened
from oracle.contract.process_state import kept
from oracle.measures import eps_of, largest
from oracle.subject import BLURRING, Subject, blur, conditioning, natural_sizes

__all__ = ["CHECKS", "FEW_CHECKS", "Breach", "Setting", "check_contract", "is_still_the_same"]

Array = NDArray[Any]


WRITES = "writes to"
GLOBAL = "changes what is global"
SHARED = "shared buffer"
IGNORED = "cotangent ignored"
ONCE = "bwd can be called only once"
NARROW_BLUR = 2.0**-8  # of a gradient's size: no more is forgiven in a narrow dtype
ROOM = 2.0**-80
FAR = {"float64": 60, "float32": 20}  # powers of 2 times dy: what is clipped, or below a threshold, shows there
MOST_ARRAYS = 8  # of a value, each of which is pulled back alone


class Breach(NamedTuple):
    """`parameter` is the path of the argument or cotangent concerned, or '' for the op as a whole."""

    parameter: str
    what: str


@dataclass(frozen=True)
class Setting:
    """What the checks look at: the subject at a point, with the cotangent and what it gave."""

    subject: Subject
    primals: tuple[Any, ...]
    dy: Any
    y: Any
    cotangents: tuple[Any, ...]
    views: bool
    """Whether the value may be a view of an argument, by declaration."""
    aliases: bool = False
    """Whether a cotangent may share memory with dy, an argument or another, by declaration."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.subject.names(len(self.primals))

    def gradient(self, primals: Sequence[Any], dy: Any) -> tuple[Any, ...]:
        _, residuals = self.subject.fwd(*primals)
        return tuple(self.subject.bwd(residuals, dy))

    def leaves(self, trees: Sequence[Any]) -> list[Leaf]:
        return leaves_of(self.names, trees)

    def results(self) -> tuple[Any, list[Leaf]]:
        """The value and each cotangent. The layout of the arguments is kept: a matrix product rounds by it."""
        y, residuals = self.subject.fwd(*self.primals)
        return _copied(y), self.leaves(_copied(self.subject.bwd(residuals, self.dy)))

    @cached_property
    def sizes(self) -> list[float]:
        """The natural size of each cotangent: what its rounding is measured by."""
        return natural_sizes(self.subject, self.primals, self.dy, self.y, self.cotangents)[1]

    @cached_property
    def blur(self) -> list[float]:
        """How far each cotangent moves with the rounding of the arguments, if little: so may another order of sums."""

        def gradient(primals: Any) -> list[Array]:
            return flat(self.gradient(primals, widened(self.dy)))

        dtype = narrowest(self.leaves(self.primals)).name
        try:
            moved = conditioning(gradient, widened(self.primals), dtype=dtype)
        except RAISED:  # it does not take float64
            return [0.0] * len(self.sizes)
        if dtype == "float64":
            return [blur(largest(m), size) for m, size in zip(moved, self.sizes, strict=True)]
        return [min(BLURRING * largest(m), NARROW_BLUR * size) for m, size in zip(moved, self.sizes, strict=True)]

    def is_close(self, i: int, one: Array, two: Array) -> bool:
        """Whether two gradients of argument `i` are the same but for the order of operations."""
        a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
        if a.shape != b.shape or largest(a, b) <= self.rounding[i]:
            return a.shape == b.shape
        return self.forgives(i, largest(a - b), 256 * eps_of(one.dtype) * max(self.sizes[i], largest(a)))

    def forgives(self, i: int, apart: float, allowed: float) -> bool:
        """Whether two gradients of argument `i` may be so far apart: by their own rounding, or by that of the arguments."""
        return not apart > allowed or not apart > allowed + self.blur[i]

    @property
    def far(self) -> tuple[float, ...]:
        """Factors of dy, in the dtype of the value."""
        dtypes = [np.asarray(leaf).dtype.name for leaf in optree.tree_leaves(self.dy)]
        power = min((FAR.get(dtype, 0) for dtype in dtypes), default=0)
        return (2.0**power, -(2.0**-power)) if power else ()

    @cached_property
    def rounding(self) -> list[float]:
        """Gradients of this size are zero but for rounding, where terms as large as the value cancel."""
        value = largest(vector(self.y))
        return [
            64 * eps_of(np.asarray(leaf.array).dtype) * value / (largest(np.asarray(leaf.array, np.float64)) or 1.0)
            for leaf in self.leaves(self.primals)
        ]


def _same_bits(one: Any, two: Any) -> bool:
    """Whether two trees hold the same bits, without a copy of them."""
    ones, twos = ([np.asarray(a) for a in optree.tree_leaves(tree)] for tree in (one, two))
    if [(a.shape, a.dtype) for a in ones] != [(a.shape, a.dtype) for a in twos]:
        return False
    return all(np.array_equal(_bytes(a), _bytes(b)) for a, b in zip(ones, twos, strict=True))


def _bytes(a: Array) -> Array:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8)


def _array_bits(option: Any) -> list[bytes]:
    return [leaf.tobytes() for leaf in optree.tree_leaves(option) if isinstance(leaf, np.ndarray)]


def _copied(tree: Any, change: Callable[[Array], Array] = lambda a: a.copy()) -> Any:
    return optree.tree_map(lambda a: change(np.asarray(a)), tree)


def leaves_the_process_alone(s: Setting) -> Iterator[Breach]:
    """Nothing global is changed: what others compute afterwards must not depend on it.

    Everything is set to what no op would set it to, so that a change is one.
    """
    with kept(), warnings.catch_warnings(), np.errstate(all="call", call=lambda *_: None):
        warnings.resetwarnings()
        np.random.seed(0x676C6F62)  # noqa: NPY002 - an op may seed the global generator
        with kept() as changed:
            replace(s, subject=s.subject.on_copies()).gradient(s.primals, _copied(s.dy))
            found = changed()
    if found:
        yield Breach("", f"{GLOBAL}: {', '.join(found)}")


def leaves_arguments_alone(s: Setting) -> Iterator[Breach]:
    """Neither pass writes to an argument, nor the backward pass to its cotangent or its residuals."""
    primals, dy, options = _copied(s.primals), _copied(s.dy), copied_arrays(s.subject.options)
    _, residuals = s.subject.forward(*primals, **options)
    for before, after in zip(s.leaves(s.primals), s.leaves(primals), strict=True):
        if not _same_bits(before.array, after.array):
            yield Breach(before.path, f"the forward pass {WRITES} its argument")
    given = _copied(primals)  # as the forward pass left them
    first = _copied(s.subject.bwd(residuals, dy))
    for before, after in zip(s.leaves(given), s.leaves(primals), strict=True):
        if not _same_bits(before.array, after.array):
            yield Breach(before.path, f"the backward pass {WRITES} an argument of the forward pass")
    for name, before in s.subject.options.items():
        if _array_bits(before) != _array_bits(options[name]):
            yield Breach("", f"the op {WRITES} its keyword argument {name}")
    if not _same_bits(dy, s.dy):
        yield Breach("", f"the backward pass {WRITES} the caller's cotangent dy")
        return
    try:
        again = s.subject.bwd(residuals, _copied(s.dy))
    except RAISED as error:
        yield Breach("", f"{ONCE}: with the same residuals again it raises {type(error).__name__}: {error}")
        return
    if not _same_bits(again, first):
        yield Breach("", "bwd called twice with the same residuals gives two results: it changes its residuals")


def shares_memory(s: Setting) -> Iterator[Breach]:
    """No result shares memory with an argument or another, so that changing one later never changes the other."""
    y, residuals = s.subject.fwd(*s.primals)
    if not s.views:
        for leaf in s.leaves(s.primals):
            if any(_overlap(leaf.array, out) for out in optree.tree_leaves(y)):
                yield Breach(leaf.path, "the value shares memory with this argument: return a copy, or declare views")
    if s.aliases:
        return
    dy = _copied(s.dy)
    results = s.leaves(s.subject.bwd(residuals, dy))
    for i, result in enumerate(results):
        others = [("the caller's dy, who may change it", d) for d in optree.tree_leaves(dy)]
        others += [(f"the argument {leaf.path}", leaf.array) for leaf in s.leaves(s.primals)]
        others += [(f"that of {leaf.path}", leaf.array) for leaf in results[:i]]
        for whose, array in others:
            if _overlap(result.array, array):
                yield Breach(result.path, f"the cotangent shares memory with {whose}: return a copy, or declare aliases")
                break


def _overlap(a: Any, b: Any) -> bool:
    return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and bool(np.shares_memory(a, b))


def gives_memory_away(s: Setting) -> Iterator[Breach]:
    """Two calls never return the same memory, so that the second does not overwrite what the first returned."""
    (y, residuals), (again, others) = (s.subject.fwd(*_copied(s.primals)) for _ in range(2))
    if any(_overlap(a, b) for a, b in zip(optree.tree_leaves(y), optree.tree_leaves(again), strict=True)):
        yield Breach("", f"{SHARED}: two forward passes return the same memory")
    first = s.leaves(s.subject.bwd(residuals, _copied(s.dy)))
    for same, call in ((residuals, "with the same residuals"), (others, "of two forward passes")):
        found = [one.path for one, two in zip(first, s.leaves(s.subject.bwd(same, _copied(s.dy))), strict=True)
                 if _overlap(one.array, two.array)]  # fmt: skip
        if found:
            yield from (Breach(path, f"{SHARED}: two backward passes {call} return the same memory") for path in found)
            return


def is_deterministic(s: Setting) -> Iterator[Breach]:
    """The same input gives the same bits."""
    (first, cotangents), (second, again) = (s.results() for _ in range(2))
    if not _same_bits(first, second):
        yield Breach("", "two forward passes with the same arguments give different values")
    for one, two in zip(cotangents, again, strict=True):
        if not _same_bits(one.array, two.array):
            yield Breach(one.path, "two backward passes with the same arguments give different cotangents")


def keeps_its_own_residuals(s: Setting) -> Iterator[Breach]:
    """A second forward pass before the first backward pass changes nothing: no state is kept between calls."""
    _, cotangents = s.results()
    for change in ELSEWHERE:
        _, residuals = s.subject.fwd(*s.primals)
        with _tolerant():
            try:
                s.subject.fwd(*_copied(s.primals, change))
            except RAISED:  # another point may be outside the op's domain
                continue
        pairs = zip(s.leaves(s.subject.bwd(residuals, s.dy)), cotangents, strict=True)
        stale = [leaf.path for leaf, before in pairs if not _same_bits(leaf.array, before.array)]
        yield from (
            Breach(path, "stale or shared buffer: another forward pass in between changes the cotangent") for path in stale
        )
        if stale:
            return


# Smaller; of the other sign; in another order; and fewer: what a mask, an index or a shape is remembered of.
ELSEWHERE: tuple[Callable[[Array], Array], ...] = (
    lambda a: np.asarray(a * 0.5, a.dtype),
    lambda a: -a,
    lambda a: np.flip(a).copy(),
    lambda a: a[:1].copy() if a.ndim else a,
)


def is_linear_in_dy(s: Setting) -> Iterator[Breach]:
    """bwd(a dy) = a bwd(dy), bwd(0) = 0, and bwd(dy1 + dy2) = bwd(dy1) + bwd(dy2); also where parts of a cotangent are 0."""
    _, residuals = s.subject.fwd(*s.primals)
    generator = np.random.default_rng(0)
    base = s.leaves(s.cotangents)

    def pulled(dy: Any) -> list[Leaf]:
        return s.leaves(_copied(s.subject.bwd(residuals, dy)))

    other = _copied(s.dy, lambda a: np.asarray(generator.choice([-0.5, 1.0, 2.0], size=a.shape), a.dtype) * a)
    alone, both = pulled(other), pulled(optree.tree_map(lambda a, b: a + b, s.dy, other))
    doubled, none = (pulled(_copied(s.dy, _times(factor))) for factor in (2, 0))
    parts = [[[leaf.array for leaf in pulled(part)] for part in some] for some in _sums(s.dy, generator)]
    far = {factor: pulled(_copied(s.dy, _times(factor))) for factor in s.far}
    for i, (g, g2, g0, size) in enumerate(zip(base, doubled, none, s.sizes, strict=True)):
        if g.array.dtype.kind != "f" and g.array.dtype.name != "bfloat16":
            continue  # another breach says so
        a, a2, b, ab = (np.asarray(leaf.array, np.float64) for leaf in (g, g2, alone[i], both[i]))
        sums = [np.sum([np.asarray(arrays[i], np.float64) for arrays in some], axis=0) for some in parts]
        allowed = 64 * eps_of(g.array.dtype) * max(size, largest(a, b, ab))
        apart = max(_apart(a2, 2 * a), *(_apart(*pair) / 4 for pair in ((ab, a + b), *((total, a) for total in sums))))
        if np.array_equal(a, a2) and largest(a) > 0:
            yield Breach(g.path, f"{IGNORED}: bwd(2 dy) is bwd(dy), bit for bit")
        elif largest(np.asarray(g0.array, np.float64)) > 0:
            yield Breach(g.path, "not linear in its cotangent: bwd(0) is not 0")
        elif largest(a, b, ab, *sums) <= s.rounding[i]:
            continue
        elif not s.forgives(i, apart, allowed):
            yield Breach(g.path, "not linear in its cotangent: bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)")
        elif g.array.dtype.name in ("float64", "float32") and ROOM < largest(a) < 1 / ROOM:  # nothing else over- or underflows
            for factor, leaves in far.items():
                if _apart(np.asarray(leaves[i].array, np.float64) / factor, a) > allowed:
                    what = f"bwd({factor:g} dy) is not {factor:g} bwd(dy): clipped, or compared with a fixed number?"
                    yield Breach(g.path, f"not linear in its cotangent: {what}")
                    break


def _sums(dy: Any, generator: np.random.Generator) -> list[list[Any]]:
    """Cotangents that add up to `dy`, those that callers pass among them.

    With zeros at random places; ones and the rest; a single element and the others; and each array by itself.
    """
    mask = _copied(dy, lambda a: np.asarray(generator.choice([0, 1], size=a.shape), a.dtype))
    single = _copied(dy, lambda a: np.asarray(np.arange(a.size).reshape(a.shape) == generator.integers(a.size or 1), a.dtype))
    ones = _copied(dy, np.ones_like)
    sums = [[optree.tree_map(lambda a, m: a * m, dy, some), optree.tree_map(lambda a, m: a * (1 - m), dy, some)]
            for some in (mask, single)]  # fmt: skip
    sums.append([ones, optree.tree_map(lambda a, one: np.asarray(a - one), dy, ones)])
    leaves, structure = optree.tree_flatten(dy)
    if 1 < len(leaves) <= MOST_ARRAYS:
        sums.append([structure.unflatten([a if k == j else 0 * a for j, a in enumerate(leaves)]) for k in range(len(leaves))])
    return sums


def _apart(a: Array, b: Array) -> float:
    """The largest distance, infinite where the first is no number but should be; what overflows a narrow dtype is left out."""
    return float("inf") if (np.isfinite(b) & np.isnan(a)).any() else largest(a - b)


def _times(factor: float) -> Callable[[Array], Array]:
    return lambda a: np.asarray(a * a.dtype.type(factor))


def accepts_any_layout(s: Setting) -> Iterator[Breach]:
    """Fortran order, negative strides, gaps and read-only memory change nothing."""
    layouts: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("Fortran order", lambda a: np.array(a, order="F")),
        ("negative strides", lambda a: np.flip(np.flip(a).copy()) if a.ndim else a.copy()),
        ("non-contiguous memory", _gapped),
    )
    for name, change in layouts:

        def laid_out(a: Array, change: Callable[[Array], Array] = change) -> Array:
            a = change(a).view()
            a.flags.writeable = False
            return a

        try:
            found = s.leaves(s.gradient(_copied(s.primals, laid_out), _copied(s.dy, laid_out)))
        except RAISED as error:
            yield Breach("", f"arguments in {name}, read-only, raise {type(error).__name__}: {error}")
            continue
        for i, (one, two) in enumerate(zip(s.leaves(s.cotangents), found, strict=True)):
            if not s.is_close(i, np.asarray(one.array), np.asarray(two.array)):
                yield Breach(one.path, f"another gradient when arguments and dy come in {name}")


def _gapped(a: Array) -> Array:
    return np.stack([a, np.zeros_like(a)], axis=-1)[..., 0]


def is_still_the_same(s: Setting) -> Iterator[Breach]:
    """After all that the witnesses have asked, the first call's cotangents come again, but for the order of sums."""
    again = s.leaves(s.gradient(s.primals, s.dy))
    for i, (one, two) in enumerate(zip(s.leaves(s.cotangents), again, strict=True)):
        if not s.is_close(i, np.asarray(one.array), np.asarray(two.array)):
            yield Breach(one.path, "this cotangent is another than before many other calls: state is kept between calls")


CHECKS: tuple[Callable[[Setting], Iterator[Breach]], ...] = (
    leaves_the_process_alone,
    leaves_arguments_alone,
    shares_memory,
    gives_memory_away,
    is_deterministic,
    keeps_its_own_residuals,
    is_linear_in_dy,
    accepts_any_layout,
)


FEW_CHECKS = (leaves_arguments_alone, shares_memory, is_deterministic)
"""Those that take a few evaluations and little memory, for arguments of millions of elements."""


def check_contract(setting: Setting, checks: Sequence[Callable[[Setting], Iterator[Breach]]] = CHECKS) -> list[Breach]:
    """All breaches, the most basic first; a check that raises is a breach too.

    An op that writes to its arguments, or uses its residuals up, would spoil every later check: that is reported alone.
    """
    breaches: list[Breach] = []
    for check in checks:
        if any(WRITES in breach.what or ONCE in breach.what for breach in breaches):
            break
        try:
            with _tolerant():  # the op has run without a warning before, where it should
                breaches += check(setting)
        except RAISED as error:
            breaches.append(Breach("", f"{check.__name__.replace('_', ' ')}: raised {type(error).__name__}: {error}"))
    return breaches


@contextmanager
def _tolerant() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
