"""One op at one point, through both witnesses, the contract, the verdict and the diagnosis: `verify`."""

from __future__ import annotations

import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, Leaf, leaves_of, narrowest, quiet, random_cotangent
from oracle.at_size.measurements import LARGE, AtSize, resolution
from oracle.at_size.memory import check_memory, peak_memory
from oracle.at_size.stages import has_stages
from oracle.contract.checks import CHECKS, FEW_CHECKS, check_contract, is_still_the_same
from oracle.contract.form import well_formed
from oracle.contract.process_state import kept
from oracle.contract.setting import GLOBAL, IGNORED, SHARED, WRITES, Breach, Setting
from oracle.diagnosis import diagnose
from oracle.diagnosis.context import Contexts, Situation
from oracle.judging.escalation import escalated
from oracle.judging.evidence import Evidence
from oracle.judging.measurements import Trouble, Witnesses
from oracle.judging.reported_errors import measured
from oracle.judging.verdict import Judgement, judge
from oracle.report.exhibits import exhibit_of
from oracle.report.table import render
from oracle.row import Row, Verdict, worst_first
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject, check_primals
from oracle.text import count, digits
from purenet import Op

__all__ = ["Label", "Verification", "dtype_named", "verify", "verify_case"]

Array = NDArray[Any]

ENGINE = Path(__file__).parent
LIMIT = 2048  # elements of one argument up to which every one is differentiated


@dataclass(frozen=True)
class Verification:
    """What `verify` found: one row per parameter."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every row is PASS or KINK (and there is one)."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    def __bool__(self) -> bool:
        """As `passed`, so that `assert verify(...)` means what it says."""
        return self.passed

    def __str__(self) -> str:
        return render(self.rows)

    def raise_for_failures(self) -> None:
        """An AssertionError that carries the table, unless everything passed."""
        if not self.passed:
            raise AssertionError(f"not every gradient is right\n{self}")


@dataclass(frozen=True)
class Label:
    """Where the rows of one verification belong."""

    family: str
    op: str
    case: str
    source: str


def verify(
    op: Op | tuple[Callable[..., Any], Callable[..., Any]],
    *primals: Any,
    options: Mapping[str, Any] | None = None,
    reference: Callable[..., Any] | None = None,
    seed: int = 0,
    case: str = "",
    source: str = "",
    flags: frozenset[Flag] = frozenset(),
    views: bool = False,
    aliases: bool = False,
    step: float | None = None,
    limit: int = LIMIT,
    strict: bool = False,
    label: Label | None = None,
) -> Verification:
    """Whether the pullback of `op` is the derivative of its forward function, at `primals`.

    Args:
        op: an `Op`, or a pair `(fwd, bwd)`: `fwd(*primals, **options) -> (y, residuals)`, `bwd(residuals, dy)` -> a tuple
            of one cotangent per primal. Or what has a rule in another library, see `oracle.adapters`.
        primals: the arguments to differentiate: arrays of floats, or trees of them. They keep their dtype; what is narrower
            than float64 is judged by what JAX loses at that dtype.
        options: keywords for `op` and `reference`.
        reference: the same function for JAX, with the same arguments. Without it the differences are the only witness.
        seed: of the random cotangent, the random directions and the sample of elements.
        case: a name for the rows.
        source: where the reference comes from, for the rows.
        flags: what is special about the point, see `oracle.spec.Flag`.
        views: whether the value may be a view of an argument.
        aliases: whether a cotangent may share memory with `dy`, an argument or another cotangent, as in `return dy, dy`.
        step: the first step of the differences, for all elements; chosen by the size of each unless given.
        limit: the size of an argument up to which every element is differentiated.
        strict: whether a warning of the op is an error, as in the reports; otherwise that is left to the filters in force.
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
    if reference is not None and not callable(reference):
        raise TypeError(f"verify: reference must be a function for JAX, got {type(reference).__name__}")
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"verify: seed must be an integer from 0, got {seed!r}")
    if step is not None and not 0 < step < np.inf:
        raise ValueError(f"verify: step must be positive, got {step!r}")
    if not isinstance(limit, int | np.integer) or isinstance(limit, bool) or limit < 0:
        raise ValueError(f"verify: limit must be an integer from 0, got {limit!r}")
    subject = Subject.of(op, options or {})
    check_primals(subject, primals)
    arrays: Any = tuple(primals)
    primals = tuple(optree.tree_map(np.asarray, arrays))  # a Python float is a scalar
    native: Any = optree.tree_map(_native, primals)  # type: ignore[arg-type]
    if label is None:
        label = Label(subject.module, subject.name, case, source or getattr(reference, "__name__", "none"))
    run = _Run(subject, native, reference, dict(options or {}), seed, label, flags, views, aliases, step, limit, strict)
    started = time.perf_counter()
    rows = run.rows()
    seconds = (time.perf_counter() - started) / max(len(rows), 1)
    peak = peak_memory(native)
    return Verification(tuple(worst_first(replace(row, seconds=seconds, peak_memory=peak) for row in rows)))


def verify_case(spec: Spec, case: Case, *, dtype: str = "float64", seed: int = 0) -> Verification:
    """One case of the catalogue, in `dtype`."""
    arguments: Any
    arguments, options = case.draw(spec.name, seed)
    check_primals(Subject.of(spec.op, options), arguments)  # a cast would hide what an integer does
    return verify(
        spec.op,
        *optree.tree_map(lambda a: np.asarray(a).astype(dtype_named(dtype)), arguments),
        options=options,
        reference=spec.reference,
        seed=seed,
        flags=case.flags,
        views=spec.views,
        strict=True,
        label=Label(spec.family, spec.name, case.name, str(spec.source)),
    )


def dtype_named(name: str) -> np.dtype[Any]:
    """The dtype of that name; NumPy itself does not know bfloat16."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def _native(array: Any) -> Any:
    """The same in the byte order of this machine, in which every gradient comes: another order is another dtype."""
    return array if not isinstance(array, np.ndarray) or array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


@dataclass
class _Run:
    """One verification: the op runs, its contract is checked, the witnesses are heard, and each gradient is judged."""

    subject: Subject
    primals: tuple[Any, ...]
    reference: Callable[..., Any] | None
    options: dict[str, Any]
    seed: int
    label: Label
    flags: frozenset[Flag]
    views: bool
    aliases: bool
    step: float | None
    limit: int
    strict: bool

    def rows(self) -> list[Row]:
        rows: list[Row] = []
        try:
            with kept():  # a change of what is global shows only where it has not been made before
                y, dy, cotangents = self._run_op()
            with quiet():  # what it warns of has been said
                self._judge_all(rows, y, dy, cotangents)
        except (Trouble, MemoryError) as trouble:
            wrong = isinstance(trouble, Trouble) and trouble.wrong
            rows.append(self._row("", (), Verdict.FAIL if wrong else Verdict.ERROR, str(trouble)))
        return rows

    def _judge_all(self, rows: list[Row], y: Any, dy: Any, cotangents: Any) -> None:
        """The rows of everything that the op gave are added to `rows`, one by one, since a witness may not answer."""
        breaches = well_formed(cotangents, self.names, self.primals, batch := _batch(self.leaves, y))
        if breaches:
            rows += self._breached(breaches)
            return
        given: Any = cotangents
        copies: Any = optree.tree_map(np.array, given)  # later calls may use the memory they came in again
        cotangents = tuple(copies)
        setting = Setting(self.subject, self.primals, dy, y, cotangents, self.views, self.aliases)
        breaches = check_contract(setting, FEW_CHECKS if self.large else CHECKS)
        ignored = {breach.parameter for breach in breaches if IGNORED in breach.what}
        rows += self._breached(breach for breach in breaches if IGNORED not in breach.what)
        if self.large:
            check_memory(self.primals)
        # The witnesses must see arguments and values as they were given, whatever the op does to them.
        writes = any(WRITES in breach.what or SHARED in breach.what for breach in breaches)
        subject = self.subject.on_copies() if writes else self.subject
        witnesses = (AtSize if self.large else Witnesses)(
            subject.sheltered() if any(GLOBAL in breach.what for breach in breaches) else subject,
            self.primals,
            self.leaves,
            self.dtype,
            y,
            dy,
            cotangents,
            self.reference,
            self.options,
            self.seed,
            self.flags,
            self.step,
            self.limit,
        )
        contexts = Contexts(batch, large=self.large)
        for i, e, those in witnesses.evidence() if isinstance(witnesses, AtSize) else escalated(witnesses):
            situation = contexts.of(those, i, ignores_cotangent=e.parameter in ignored)
            row = self._judged(e, situation, witnesses.forward_error)
            if row.passed and e.parameter in ignored:  # right for this cotangent by chance
                row = replace(row, verdict=Verdict.FAIL, diagnosis=f"{IGNORED}: bwd(2 dy) is bwd(dy)")
            rows.append(row)
            self._add_links(rows, those)
        if not self.large and all(row.passed for row in rows):
            rows += self._breached(check_contract(setting, [is_still_the_same]))

    def _add_links(self, rows: list[Row], witnesses: Witnesses) -> None:
        """A row for each stage of a chain that hands back a wrong cotangent, once."""
        for _, e in witnesses.broken if isinstance(witnesses, AtSize) else ():
            if all(row.parameter != e.parameter for row in rows):
                rows.append(self._judged(e, Situation(large=True), None))

    # ----------------------------------------------------------------------------------------- the op itself

    def _run_op(self) -> tuple[Any, Any, tuple[Any, ...]]:
        subject = self.subject.on_copies()
        with warnings.catch_warnings():
            if self.strict:
                warnings.simplefilter("error")
            try:
                y, residuals = subject.fwd(*self.primals)
                dy = random_cotangent(y, self.seed)
            except RAISED as error:
                raise Trouble(f"the forward pass raised {_said(error)}") from error
            for leaf in leaves_of(("the value",), (y,)):
                dtype = np.asarray(leaf.array).dtype
                if dtype.kind not in "fiub" and dtype.name != "bfloat16":
                    raise Trouble(f"the forward pass returned {dtype}, not real numbers, in {leaf.path}")
            try:
                cotangents = subject.bwd(residuals, optree.tree_map(np.copy, dy))
            except RAISED as error:
                raise Trouble(f"the backward pass raised {_said(error)}") from error
        return y, dy, cotangents

    def _row(self, parameter: str, shape: tuple[int, ...], verdict: Verdict, diagnosis: str, **measures: Any) -> Row:
        return Row(
            family=self.label.family,
            op=self.label.op,
            case=self.label.case,
            dtype=self.dtype.name,
            parameter=parameter,
            shape=shape,
            reference=self.label.source if self.reference is not None else "none",
            evidence=measures.pop("evidence", ""),
            verdict=verdict,
            diagnosis=diagnosis,
            **measures,
        )

    def _breached(self, breaches: Iterable[Breach]) -> list[Row]:
        shapes = {leaf.path: np.shape(leaf.array) for leaf in self.leaves}
        return [
            self._row(b.parameter, shapes.get(b.parameter, ()), Verdict.FAIL, b.what, evidence="contract") for b in breaches
        ]

    # ----------------------------------------------------------------------------------------- the point

    @property
    def names(self) -> tuple[str, ...]:
        return self.subject.names(len(self.primals))

    @cached_property
    def leaves(self) -> list[Leaf]:
        return leaves_of(self.names, self.primals)

    @cached_property
    def large(self) -> bool:
        """Whether some argument has so many elements that evaluations are counted for each argument.

        In a chain that is sooner so, because its stages are looked at one by one.
        """
        most = LIMIT if has_stages(getattr(self.subject.forward, "__self__", None)) else LARGE
        return max(np.size(leaf.array) for leaf in self.leaves) > max(most, self.limit)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return narrowest(self.leaves)

    # ----------------------------------------------------------------------------------------- the verdict

    def _judged(self, e: Evidence, situation: Situation, forward_error: float | None) -> Row:
        where, verdict = "", judge(e).verdict
        if e.elsewhere is not None and e.elsewhere.evidence is not None:
            where, e = f"{e.elsewhere.where}{' ' if e.elsewhere.beside else ', '}", e.elsewhere.evidence
        judgement = judge(e)
        seen = f"numerical {e.estimate.index.size}/{e.analytic.size}"
        if e.along is not None:
            seen += f" and {count(len(e.along.blocks), 'direction')}"
        if e.swept:
            seen += f" and {count(len(e.swept), 'direction')} in {sum(s.ours.size for s in e.swept)} parts"
        if e.autodiff is not None:
            seen += f", autodiff {e.analytic.size}/{e.analytic.size}"
        noticed = resolution(e) if self.large else None
        if noticed is not None:
            seen += f"; a single entry that is off by {digits(noticed)} of the largest would be noticed"
        at = np.flatnonzero(e.estimate.index == judgement.worst)
        return self._row(
            e.parameter,
            e.shape,
            verdict,
            where + diagnose(e, judgement, situation),
            evidence=seen,
            forward_error=forward_error,
            used=judgement.used,
            resolution=noticed,
            worst_index=_place(judgement, e.shape),
            analytic=None if judgement.worst is None else float(e.analytic[judgement.worst]),
            numerical=float(e.estimate.value[at[0]]) if at.size else None,
            autodiff=None if judgement.worst is None or e.autodiff is None else float(e.autodiff[judgement.worst]),
            exhibit=exhibit_of(e, judgement),
            **measured(e),
        )


def _batch(leaves: Sequence[Leaf], y: Any) -> int | None:
    """How many samples there are: the first dimension of most of the data, and of the value; a vector has elements."""
    data = [np.shape(leaf.array) for leaf in leaves if not leaf.path.startswith("params.")]
    if max(map(len, data), default=0) < 2 and len(data) < 2:
        return None
    counts = Counter(shape[0] for shape in data if shape)
    rows = {np.shape(leaf.array)[0] for leaf in leaves_of(("the value",), (y,)) if np.ndim(leaf.array)}
    shared = {n: count for n, count in counts.items() if not rows or n in rows}
    most = [n for n, count in shared.items() if count == max(shared.values())]
    return int(most[0]) if len(most) == 1 else None


def _said(error: BaseException) -> str:
    """What was raised, and where: in the innermost code that is of no installed package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith((sys.base_prefix, str(ENGINE)))]
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    counts = ", and a warning counts as an error" if isinstance(error, Warning) else ""
    return f"{type(error).__name__}: {error}{where}{counts}"


def _place(judgement: Judgement, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if judgement.worst is None:
        return None
    return tuple(int(n) for n in np.unravel_index(judgement.worst, shape)) if shape else ()
