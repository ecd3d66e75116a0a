"""What a check costs: seconds, forward passes and start-up, beside gradcheck and check_grads, for 10 to 10^6 entries.

    python -m benchmarks.checks                        # some minutes; the tables
    python -m benchmarks.checks --sizes 10 100 1000    # a glance
    python -m benchmarks.checks --reports DIR          # also DIR/checks.md

From the root of the repository. Every checker has a process of its own with one thread, and they take turns at each problem. A
time is the least of several, of the processor. Where a checker would take too long, by its time for the size before, the
table has a dash.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate

import purenet as pn
from benchmarks import peers
from benchmarks.problems import Problem
from oracle.power.reach import backward, forward
from oracle.report import document
from oracle.running import campaign
from oracle.verification import verify

__all__ = ["CHECKERS", "OPS", "Cost", "cost", "main", "problem"]

SIZES = (10, 100, 1000, 10_000, 100_000, 1_000_000)
REPEATS = 3
LONGEST = 30.0
"""Seconds: who would take longer than this is not asked. The Jacobian of a slow gradcheck has the square of the entries."""
GROWTH = 10.0
"""What a check of ten times the entries costs, at least, for a checker that displaces them one by one."""


def quickly(given: Problem) -> None:
    """`oracle.verify` with `effort="quick"`."""
    result = verify(given.op, *given.arguments, options=given.options, effort="quick")
    if not result.passed:
        raise peers.Noticed(str(result))


def slowly_by_torch(given: Problem) -> None:
    """`torch.autograd.gradcheck` as it is called mostly."""
    peers.by_torch(given)


def fast_by_torch(given: Problem) -> None:
    """`torch.autograd.gradcheck` with `fast_mode=True`: one random direction of all entries."""
    peers.by_torch(given, fast_mode=True)


class Checker(NamedTuple):
    """A checker, and what its process imports before the first check."""

    check: Callable[[Problem], None]
    peer: str
    """Its name in `peers.CHECKERS`, which knows whether it is installed."""
    one_by_one: bool = True
    """Whether its evaluations grow with the number of entries, however many there are."""


CHECKERS = {
    "oracle.verify": Checker(peers.alone, "oracle.verify", one_by_one=False),
    "oracle.verify, quick": Checker(quickly, "oracle.verify", one_by_one=False),
    "gradcheck": Checker(slowly_by_torch, "torch.autograd.gradcheck"),
    "gradcheck, fast": Checker(fast_by_torch, "torch.autograd.gradcheck", one_by_one=False),
    "check_grads": Checker(peers.by_jax, "jax.test_util.check_grads", one_by_one=False),
}


def _tanh(draw: Any, entries: int) -> Problem:
    return Problem(pn.tanh, (draw(size=(entries // 10, 10)),))


def _affine(draw: Any, entries: int) -> Problem:
    n = max(round((entries / 2) ** 0.5), 2)
    return Problem(pn.affine, ({"b": draw(size=n), "w": draw(size=(n, n))}, draw(size=(n, n))))


def _layer_norm(draw: Any, entries: int) -> Problem:
    columns = min(max(entries // 10, 5), 1000)
    params = {"beta": draw(size=columns), "gamma": draw(size=columns)}
    return Problem(pn.layer_norm, (params, draw(size=(max(entries // columns, 2), columns))))


def _conv2d(draw: Any, entries: int) -> Problem:
    pixels = max(round((entries / 8) ** 0.5), 3)
    return Problem(pn.conv2d, ({"b": draw(size=4), "w": draw(size=(4, 4, 3, 3))}, draw(size=(2, 4, pixels, pixels))))


OPS: Mapping[str, Callable[[Any, int], Problem]] = {
    "tanh": _tanh,
    "affine": _affine,
    "layer_norm": _layer_norm,
    "conv2d": _conv2d,
}


def problem(op: str, entries: int) -> Problem:
    """The op at random arguments that have about this number of entries."""
    return OPS[op](np.random.default_rng(0).normal, entries)


@dataclass(frozen=True)
class Cost:
    """What one check costs."""

    seconds: float
    """Of the processor."""
    forward_passes: int
    accepted: bool


def cost(name: str, op: str, entries: int) -> Cost:
    """One check of one right gradient; in the checker's own process."""
    given, calls = problem(op, entries), [0]
    fwd, bwd = forward(given.op), backward(given.op)

    def counted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        return fwd(*arguments, **options)

    given = replace(given, op=(counted, bwd))
    started = time.process_time()
    try:
        CHECKERS[name].check(given)
        accepted = True
    except KeyboardInterrupt:
        raise
    except Exception:  # each checker has its own
        accepted = False
    return Cost(time.process_time() - started, calls[0], accepted)


def compared(names: Sequence[str], ops: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[str, int, dict[str, Cost]]]:
    """The op, the entries, and the least cost for each checker that would not take too long."""
    last: dict[tuple[str, str], Cost] = {}
    with ExitStack() as stack:
        stack.enter_context(campaign.few_threads())
        pools = {name: stack.enter_context(campaign.executor(1)) for name in names}
        for pool, name in ((pools[name], name) for name in names):  # what is loaded once is start-up
            pool.submit(cost, name, ops[0], sizes[0]).result()
        for op in ops:
            for entries in sizes:
                asked = [name for name in names if _expected(name, last.get((name, op))) < LONGEST]
                found: dict[str, Cost] = {}
                for _ in range(REPEATS):
                    for name in asked:
                        if name in found and found[name].seconds > LONGEST / REPEATS:
                            continue
                        one = pools[name].submit(cost, name, op, entries).result()
                        found[name] = min(one, found.get(name, one), key=lambda a: a.seconds)
                last |= {(name, op): one for name, one in found.items()}
                yield op, entries, found


def _expected(name: str, before: Cost | None) -> float:
    """Seconds for ten times the entries; without an answer for fewer entries, none is sought for more."""
    if before is None:
        return 0.0
    return before.seconds * (GROWTH**2 if CHECKERS[name].one_by_one else 1.0)


OURS = """
import numpy as np
import oracle
def fwd(x): return np.tanh(x), np.tanh(x)
def bwd(y, dy): return (dy * (1 - y * y),)
assert oracle.verify((fwd, bwd), np.linspace(-1, 1, 10){more})
"""
TORCH = """
import torch
class Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(torch.tanh(x))
        return torch.tanh(x)
    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * (1 - y * y)
x = torch.linspace(-1, 1, 10, dtype=torch.float64, requires_grad=True)
assert torch.autograd.gradcheck(Tanh.apply, (x,){more})
"""
JAX = """
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
jax.config.update("jax_enable_x64", True)
rule = jax.custom_vjp(jnp.tanh)
rule.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, dy: (dy * (1 - y * y),))
check_grads(rule, (jnp.linspace(-1, 1, 10),), order=1, modes=["rev"])
"""
PROGRAMS = {
    "oracle.verify": OURS.format(more=""),
    "oracle.verify, quick": OURS.format(more=', effort="quick"'),
    "gradcheck": TORCH.format(more=""),
    "gradcheck, fast": TORCH.format(more=", fast_mode=True"),
    "check_grads": JAX,
}
"""The first check of each checker, of a rule for tanh at ten entries."""


def start_up(name: str) -> float:
    """Seconds of the processor from the start of Python to the end of the first check."""
    program = [sys.executable, "-c", f"{PROGRAMS[name]}\nimport time\nprint(time.process_time())"]
    done = [subprocess.run(program, check=True, capture_output=True, text=True).stdout for _ in range(REPEATS)]  # noqa: S603
    return min(float(printed.split()[-1]) for printed in done)


# ------------------------------------------------------------------------------------------------ what is shown

LEGEND = """\
Seconds of the processor for one check of a right gradient, the least of {repeats}, and in brackets its forward passes. Each
checker has its defaults and a process of its own with one thread; they take turns. A dash: longer than {longest:g} s. (n) after
a cell: the checker did not accept the gradient. *entries*: of all arguments together, about. *start-up*: from the start of
Python to the end of the first check, of a rule for tanh at ten entries.

gradcheck and `oracle.verify` compare every entry, `oracle.verify` up to 2,048 entries of an argument. gradcheck's fast mode and
check_grads compare one number along a random direction: an error of one entry in a million is one of a thousandth there.
`oracle.verify` along directions says in each row which error of one entry it notices."""


def rows_of(found: Sequence[tuple[str, int, dict[str, Cost]]], names: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each problem."""
    return [(op, f"{entries:,}", *(_cell(costs.get(name)) for name in names)) for op, entries, costs in found]


def _cell(one: Cost | None) -> str:
    if one is None:
        return "-"
    return f"{one.seconds:.3g} ({one.forward_passes:,}){'' if one.accepted else ' (n)'}"


def ratios(found: Sequence[tuple[str, int, dict[str, Cost]]], ours: str, theirs: str) -> list[tuple[str, ...]]:
    """A row for each op: our seconds as a multiple of theirs, for each size."""
    ops = dict.fromkeys(op for op, _, _ in found)
    return [(op, *(_ratio(costs, ours, theirs) for o, _, costs in found if o == op)) for op in ops]


def _ratio(costs: Mapping[str, Cost], ours: str, theirs: str) -> str:
    return f"{costs[ours].seconds / costs[theirs].seconds:.2f}" if ours in costs and theirs in costs else "-"


def page(
    found: Sequence[tuple[str, int, dict[str, Cost]]], started: Mapping[str, float], sizes: Sequence[int], command: str
) -> str:
    """Everything as markdown."""

    def table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
        return tabulate(rows, headers, tablefmt="github", disable_numparse=True)

    names = list(started)
    columns = ("op", *(f"{n:,}" for n in sizes))
    parts = [
        "# What a check costs",
        f"`{command}`, Python {platform.python_version()} on {platform.system()} {platform.machine()}.",
        table(rows_of(found, names), ("op", "entries", *names)),
        table([("start-up", *(f"{started[name]:.2f}" for name in names))], ("seconds", *names)),
        LEGEND.format(repeats=REPEATS, longest=LONGEST),
    ]
    for ours, theirs in (("oracle.verify", "gradcheck"), ("oracle.verify, quick", "gradcheck, fast")):
        if theirs in names:
            parts += [f"## {ours} as a multiple of {theirs}", table(ratios(found, ours, theirs), columns)]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ops", nargs="+", choices=OPS, default=list(OPS), metavar="OP", help="default: all")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="N", help="entries; default: 10 to 10^6")
    parser.add_argument("--reports", type=Path, metavar="DIR", help="also write checks.md there")
    options = parser.parse_args(arguments)
    if min(options.sizes) < 10 or options.sizes != sorted(options.sizes):
        parser.error("--sizes must be at least 10 and in order")
    names = [name for name, checker in CHECKERS.items() if peers.present(checker.peer) is not None]
    found = []
    with campaign.progress(len(options.ops) * len(options.sizes), "checks", "problem") as advance:
        for one in compared(names, options.ops, options.sizes):
            found.append(one)
            advance()
    started = {name: start_up(name) for name in names}
    command = " ".join(["python -m benchmarks.checks", *(sys.argv[1:] if arguments is None else arguments)])
    text = page(found, started, options.sizes, command)
    print(text, end="")
    if options.reports:
        document.write(options.reports, {"checks.md": text})
    return 0


if __name__ == "__main__":
    sys.exit(main())
