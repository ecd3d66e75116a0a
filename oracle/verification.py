"""One check from the call to its rows: `verify`, and `_Run._verified_rows`, which every verification goes through.

1. The op is run once (`contract.first_call`), and the form of its cotangents is checked (`contract.form`).
2. Each pass must be a function of its arguments (`contract.repeatability`); otherwise that is the only row. Then the contract
   is checked: purity, linearity, determinism, memory (`contract.checks`), except what is declared (`contract.allowed`).
3. The values are compared with the reference's. If they differ, that is a row, and the gradients are judged without it. Both
   witnesses measure each gradient at this point (`judging.measurements`): central differences with their error estimates
   (`differences`), and the reference by automatic differentiation (`autodiff`; `adapters` for torch).
4. The measurement is compared with the error budget (`judging.comparison`, `judging.error_budget`): truncation and noise,
   roundoff, conditioning, dtype. A table gives the verdict (`judging.verdict`) with its reason (`judging.reasons`).
5. `judging.escalation` does steps 3 and 4, and measures again while the verdict is open: at the point itself (`settling`: a
   full sweep of steps, conditioning, tied elements), at rescaled arguments, at kinks taken together, at a generic point nearby.
   Arguments of more than 65,536 elements have measurements of their own instead (`at_size`).
6. `findings.judged` takes the final judgement; `diagnosis` explains a wrong gradient; the row is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle import complex_numbers, second_order
from oracle.adapters import name_of
from oracle.arguments import check_settings, given
from oracle.arrays import Leaf, cast, leaves_of, native, quiet
from oracle.at_size.measurements import LARGE, AtSize
from oracle.at_size.memory import check_memory, peak_memory
from oracle.at_size.stages import has_stages
from oracle.contract.allowed import allowance_for, with_advice
from oracle.contract.checks import all_breaches, check_contract, is_still_the_same
from oracle.contract.first_call import first_call
from oracle.contract.form import completed, is_tuple_of, well_formed
from oracle.contract.process_state import preserved
from oracle.contract.repeatability import alike, call_elsewhere, not_a_function, smaller
from oracle.contract.setting import IGNORED, Setting, undisturbed
from oracle.contract.state import State
from oracle.diagnosis.context import Context, Contexts
from oracle.findings import Findings, Label, batch_of, of_another_function, of_none
from oracle.judging.compiled import compiled
from oracle.judging.escalation import acceptable, escalated
from oracle.judging.measurements import Measurements
from oracle.judging.plan import Plan
from oracle.judging.point import ComplexValue, Point, Trouble
from oracle.judging.reference import Reference
from oracle.report.causes import with_hint
from oracle.report.html import displayed
from oracle.report.table import render
from oracle.row import Row, Verdict, worst_first
from oracle.settings import QUICK, check_order
from oracle.spec import Allows, Case, Flag, Spec
from oracle.subject import Subject, check_primals
from oracle.tensors import says_none
from purenet import Op

__all__ = ["Verification", "verify", "verify_case"]

Array = NDArray[Any]

LIMIT = 2048  # elements of one argument up to which every one is differentiated


@dataclass(frozen=True)
class Verification:
    """The result of `verify`: one row per parameter and one per breach of the contract, or one ERROR row."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every row is PASS, KINK or ACCEPTED (and there is one)."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    def __bool__(self) -> bool:
        """As `passed`, so that `assert verify(...)` means what it says."""
        return self.passed

    def __str__(self) -> str:
        return render(self.rows)

    def _repr_html_(self) -> str:
        """What a notebook shows: the failures with their pictures, and the table."""
        return displayed(self.rows)

    def raise_for_failures(self) -> None:
        """An AssertionError that carries the table, unless everything passed."""
        if not self.passed:
            raise AssertionError(f"not every gradient is right\n{self}")


def verify(
    op: Op | tuple[Callable[..., Any], Callable[..., Any]],
    *primals: Any,
    options: Mapping[str, Any] | None = None,
    reference: Callable[..., Any] | None = None,
    seed: int = 0,
    case: str = "",
    name: str = "",
    source: str = "",
    flags: frozenset[Flag] = frozenset(),
    views: bool = False,
    aliases: bool = False,
    allows: frozenset[Allows] = frozenset(),
    step: float | None = None,
    limit: int = LIMIT,
    strict: bool = False,
    accept: float = 0.0,
    order: int = 1,
    convention: str | None = None,
    exact: bool = False,
    effort: str = "full",
    label: Label | None = None,
) -> Verification:
    """Whether the pullback of `op` is the derivative of its forward function, at `primals`.

    Args:
        op: an `Op`, or a pair `(fwd, bwd)`: `fwd(*primals, **options) -> (y, residuals)`, `bwd(residuals, dy)` -> a tuple
            of one cotangent per primal. Or a module, or what has a rule in another library, see `oracle.adapters`. Or two
            pairs, for order 2, see `oracle.double_backward`.
        primals: the arguments to differentiate, after those that `op` holds itself (parameters of a module): arrays of
            floats or complex numbers, or trees of them. They keep their dtype; what is narrower than float64 is judged by
            what the reference loses at that dtype, or without one by its own conditioning. Between those of functions of
            torch and JAX everything else may stand that these take by position.
        options: keywords for `op` and `reference`.
        reference: the same function for JAX or torch, with the same arguments. Without it the differences are the only
            witness. A function that only torch can compute is recognized; `oracle.adapters.torch_reference` marks one.
        seed: of the random cotangent, the random directions and the sample of elements.
        case: a name for the rows.
        name: of the op in the rows, if not its own.
        source: where the reference comes from, for the rows.
        flags: what is special about the point, see `oracle.spec.Flag`.
        views: whether the value may be a view of an argument.
        aliases: whether a cotangent may share memory with `dy`, an argument or another cotangent, as in `return dy, dy`.
        allows: what the op does by prescription, though a pure function would not, see `oracle.spec.Allows`.
        step: the first step of the differences, for all elements; chosen by the size of each unless given.
        limit: the size of an argument up to which every element is differentiated.
        strict: whether a warning of the op is an error, as in the reports; otherwise that is left to the filters in force.
        accept: an error below this share of the gradient's largest entry is ACCEPTED, which passes: a known deviation. NaN,
            wrong shapes and breaches of the contract are never accepted.
        order: with 2 the pullback of the pullback is verified, too; its rows come last. See `oracle.second_order`.
        convention: of gradients by complex numbers, "jax" or "torch", see `oracle.complex_numbers`; by default the op's own.
        exact: whether a gradient that passes is compared once more without its rounding, with exact derivatives: an error of
            1e-14 in one entry is noticed. For small functions in float64 that can be evaluated or traced; needs python-flint.
        effort: "quick" measures an argument of any size as "full" measures one of 10^6 entries: in some 25 forward passes and
            35 for each argument. The rows say which errors they notice: somewhat larger ones.
        label: where the rows belong, instead of the names of the op and the case.

    Raises:
        TypeError, ValueError: for arguments at which nothing can be verified (integers, NaN, nothing at all). Whatever
            the op itself does wrong is a row, not an exception.

    >>> import numpy as np
    >>> def square(x): return x * x, x
    >>> def square_bwd(x, dy): return (2 * x * dy,)
    >>> verify((square, square_bwd), np.array([1.0, 2.0])).passed
    True

    """
    check_settings(reference, seed, flags, allows, {"case": case, "name": name}, step, limit, accept, convention, exact, effort)
    op, primals, reference = given(op, primals, reference, options)
    subject = Subject.of(op, options or {})
    check_order(order, subject, subject.name, "verify")
    check_primals(subject, primals if isinstance(op, Op) else complex_numbers.as_real(tuple(primals)))
    arrays: Any = tuple(primals)
    primals = tuple(optree.tree_map(np.asarray, arrays))  # a Python float is a scalar
    ours: Any = optree.tree_map(native, primals)  # type: ignore[arg-type]
    if label is None:
        label = Label(
            subject.module, name or subject.name, case, source or ("none" if reference is None else name_of(reference))
        )
    second = None if reference is None else Reference(reference, dict(options or {}))
    plan = Plan(second, seed, frozenset(flags), step, limit, accept=float(accept), exact=exact, quick=effort == QUICK)
    by = convention or str(getattr(subject.forward, "convention", "jax"))
    run = _Run(subject, ours, plan, label, views, aliases, frozenset(allows), strict, by)
    started = time.perf_counter()
    rows = _rows(run)
    rows += second_order.judged(run, rows, _rows) if order == 2 else []
    seconds = (time.perf_counter() - started) / max(len(rows), 1)
    peak = peak_memory(ours)
    return Verification(tuple(replace(row, seconds=seconds, peak_memory=peak) for row in with_hint(rows)))


def verify_case(
    spec: Spec, case: Case, *, dtype: str = "float64", seed: int = 0, exact: bool = False, effort: str = "full"
) -> Verification:
    """One case of the catalogue, in `dtype`; `exact` and `effort` as in `verify`."""
    arguments: Any
    arguments, options = case.draw(spec.name, seed)
    op, arguments, reference = given(spec.op, tuple(arguments), spec.reference, options)
    check_primals(Subject.of(op, options), complex_numbers.as_real(arguments))  # a cast would hide what an integer does
    return verify(
        op,
        *optree.tree_map(lambda a: cast(a, dtype), arguments),
        options=options,
        reference=reference,
        seed=seed,
        flags=case.flags,
        views=spec.views,
        allows=spec.allows,
        strict=True,
        accept=spec.accept,
        order=spec.order,
        convention=spec.convention,
        exact=exact,
        effort=effort,
        label=Label(spec.family, spec.name, case.name, str(spec.source)),
    )


def _rows(run: _Run) -> list[Row]:
    """The rows of one order."""
    if not complex_numbers.has_complex(run.primals):
        with suppress(ComplexValue):
            return worst_first(run.rows())
    return worst_first(complex_numbers.judged(run))


@dataclass
class _Run:
    """One verification: what is verified and how, and its rows."""

    subject: Subject
    primals: tuple[Any, ...]
    plan: Plan
    label: Label
    views: bool
    aliases: bool
    allows: frozenset[Allows]
    strict: bool
    convention: str

    def rows(self) -> Iterator[Row]:
        """One by one, since a witness may raise."""
        found = Findings(self.label, tuple(self.leaves), has_reference=self.plan.reference is not None, large=self.large)
        state = State.of(self.subject)
        try:
            with preserved():  # a change of what is global shows only where it has not been made before
                for other in (smaller,) if self.large else (smaller, alike):
                    call_elsewhere(self.subject, self.primals, self.plan.seed, other)
                y, dy, cotangents = first_call(self.subject, self.primals, self.plan.seed, strict=self.strict)
            with quiet():  # its warnings were shown by the first call
                yield from self._verified_rows(found, state, y, dy, cotangents)
        except (Trouble, MemoryError) as trouble:
            wrong = isinstance(trouble, Trouble) and trouble.wrong
            yield found.row("", (), Verdict.FAIL if wrong else Verdict.ERROR, str(trouble))

    def _verified_rows(self, found: Findings, state: State, y: Any, dy: Any, cotangents: Any) -> Iterator[Row]:
        """The contract is checked, both witnesses measure, each gradient is judged, and a wrong one is explained."""
        batch = batch_of(self.leaves, y)
        # The form of the cotangents. What has none is replaced by zeros, so that the others can be judged.
        breaches = well_formed(cotangents, self.names, self.primals, batch)
        rows = found.breached(breaches)
        yield from rows
        missing = {breach.parameter for breach in breaches}
        missing |= {leaf.path for leaf in self.leaves if leaf.path.startswith(tuple(f"{path}." for path in missing))}
        if not is_tuple_of(cotangents, len(self.primals)) or missing.issuperset(leaf.path for leaf in self.leaves):
            return
        if missing:
            cotangents = completed(cotangents, self.names, self.primals, missing)
            subject, state.twin = self._completed(self.subject, missing), None
        else:
            subject = self.subject
        given: Any = cotangents
        none = {x.path for x, g in zip(self.leaves, optree.tree_leaves(given), strict=True) if says_none(g)}
        copies: Any = optree.tree_map(np.array, given)  # later calls may use the memory they came in again
        cotangents = tuple(copies)
        # The contract. Passes that are no functions cannot be measured; other breaches are rows beside those of the gradients.
        setting = Setting(Point(subject, self.primals, y, dy, cotangents), self.views, self.aliases)
        breaches = not_a_function(setting, state, self.plan.seed, few=self.large)
        if breaches:
            yield from found.breached(breaches)
            return
        quick = compiled(subject, self.primals, dy)
        breaches = all_breaches(setting, quick, few=self.large)
        ignored = {breach.parameter for breach in breaches if IGNORED in breach.what}
        meant = [breach for breach in breaches if allowance_for(breach) in self.allows]
        named = [with_advice(breach) for breach in breaches if IGNORED not in breach.what and breach not in meant]
        yield from found.breached(named)
        rows += found.breached(named)
        # Both witnesses measure at this point. Where the values differ, the reference is of another function.
        if self.large:
            check_memory(self.primals)
        to_measure = undisturbed(quick, breaches)
        # What the contract has found out about the roundings at the point need not be measured again.
        point = setting.point if to_measure is subject else Point(to_measure, self.primals, y, dy, cotangents)
        measurements = with_reference = Measurements(point, replace(self.plan, large=self.large))
        found, other, judges = found.compared(measurements, self.plan.accept)
        rows += other
        yield from other
        if not judges:  # another function's gradient says nothing about ours
            measurements = Measurements(point, replace(measurements.plan, reference=None))
        another = bool(other and other[0].reason)
        # Each gradient is measured until its verdict is certain, judged, and explained if it is wrong.
        at_size = AtSize(measurements) if self.large else None
        contexts = Contexts(batch, large=self.large)
        known = escalated(measurements) if at_size is None else at_size.known()
        for i, e, there, accepted in known:
            if e.parameter.name in missing:
                continue
            ignored_here = e.parameter.name in ignored
            if another:
                e = of_another_function(e, i, with_reference)
            context = contexts.of(there, i, ignores_cotangent=ignored_here)
            row = found.judged(e, context, measurements.values.error, accepted=accepted)
            row = of_none(row) if e.parameter.name in none else row
            if row.passed and ignored_here:  # right for this cotangent by chance
                row = replace(row, verdict=Verdict.FAIL, diagnosis=f"{IGNORED}: bwd(2 dy) is bwd(dy)")
            rows.append(row)
            yield row
            for link in () if at_size is None else at_size.wrong_links(there):  # each stage that is wrong, once
                if all(row.parameter != link.parameter.name for row in rows):
                    small = acceptable(link, self.plan.accept)
                    rows.append(found.judged(link, Context(large=True), None, accepted=small))
                    yield rows[-1]
        if not self.large and all(row.passed for row in rows):
            measured = setting if point.subject is subject else replace(setting, point=point)
            yield from found.breached(check_contract(measured, [is_still_the_same]))

    def _completed(self, subject: Subject, missing: Collection[str]) -> Subject:
        """The subject with zeros for gradients that have no usable form."""
        return replace(
            subject, bwd=lambda residuals, dy: completed(subject.bwd(residuals, dy), self.names, self.primals, missing)
        )

    @property
    def names(self) -> tuple[str, ...]:
        return self.subject.names(len(self.primals))

    @cached_property
    def leaves(self) -> list[Leaf]:
        return leaves_of(self.names, self.primals)

    @cached_property
    def large(self) -> bool:
        """Whether the number of evaluations must not grow with the number of elements, as for an argument of very many.

        For a chain the limit is lower, because its stages are measured one by one.
        """
        if self.plan.quick:
            return True
        most = LIMIT if has_stages(getattr(self.subject.forward, "__self__", None)) else LARGE
        return max(np.size(leaf.array) for leaf in self.leaves) > max(most, self.plan.limit)
