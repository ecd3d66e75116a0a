"""How long each op takes beside its twins in torch, JAX and autograd: forward and backward, one thread; prints a table.

    python -m benchmarks.ops                                    # every op: some ten minutes
    python -m benchmarks.ops relu gelu --sizes large --dtypes float32 --peers torch
    python -m benchmarks.ops --write                            # every op, and reports/speed.md

From the root of the repository. torch is in no list of dependencies: what is not installed is left out, and the table says so.
Each library works in a process of its own. They take turns, row by row and several times in each row, and the smallest time
counts: the machine may be busy with other things, which slows all of them alike. Times are those of the processor.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tabulate import tabulate

from benchmarks.libraries import OURS, PEERS, NoTwin, Step, there
from benchmarks.twin import SIZES, Twin
from benchmarks.twins import TWINS
from oracle.report import document
from oracle.running import campaign

DTYPES = ("float32", "float64")
LEAST = 2e-3
"""Seconds of the processor of one measurement at least: what takes less is repeated. The clock counts in microseconds."""
TURNS = 5
"""How often each library has its turn at a row. With 3 the smallest times of two runs differ by a tenth on a busy machine."""
LONG = 5.0
"""Seconds of a turn after which a library has no further one at that row: some references of JAX take minutes."""
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Settings of glibc for every library's process, in bytes: it keeps the memory that is freed. Otherwise it gives large arrays
back to the system, which clears every page anew, or not, by what else the process has freed before: up to ten times the time
of an op, for NumPy and torch alike, and by chance."""
FAR = 3.0
"""A ratio above this is counted in the summary: the bound that single rows should stay below."""

_prepared: dict[tuple[str, str, int, str], tuple[Step, int]] = {}


def seconds(peer: str, name: str, size: int, dtype: str) -> float | None:
    """Of the processor, for one forward and backward pass, on the average of one turn; in the process of the peer."""
    key = (peer, name, size, dtype)
    if key not in _prepared:
        _prepared.clear()  # of one row at a time: large arrays are many
        twin = next(t for t in TWINS if t.name == name)
        try:
            step = PEERS[peer][0](twin, size, dtype)
            step()  # JAX compiles here
        except NoTwin:
            return None
        except Exception as error:
            if peer == OURS or not _is_out_of_memory(error):
                raise
            return None
        _prepared[key] = step, max(1, math.ceil(LEAST / max(_spent(step, 1), 1e-7)))
    step, count = _prepared[key]
    return _spent(step, count) / count


def _is_out_of_memory(error: Exception) -> bool:
    """Whether NumPy, JAX or torch got no memory for an array: each says so in its own way."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in ("Out of memory", "can't allocate memory"))


def _spent(step: Step, count: int) -> float:
    started = time.process_time()
    for _ in range(count):
        step()
    return time.process_time() - started


def blas() -> str:
    """The library of matrix products of this NumPy, and the kernels that it has chosen for this processor."""
    try:
        pools = importlib.import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return "unknown without threadpoolctl"
    found = {
        f"{p['internal_api']} {p.get('version')}, kernels for {p.get('architecture')}" for p in pools if p["user_api"] == "blas"
    }
    return "; ".join(sorted(found))


# ------------------------------------------------------------------------------------------------ rows


@dataclass(frozen=True)
class Row:
    """The times of one op at one size and dtype, by library."""

    name: str
    size: str
    dtype: str
    seconds: dict[str, float | None]

    def ratio(self, peer: str) -> float | None:
        """Ours as a multiple of the peer's."""
        ours, theirs = self.seconds.get(OURS), self.seconds.get(peer)
        return None if ours is None or theirs is None else ours / theirs


def measured(twins: Sequence[Twin], sizes: Sequence[str], dtypes: Sequence[str], peers: Sequence[str], turns: int) -> list[Row]:
    """All rows; every peer has a process, and they take turns."""
    rows = []
    wanted = [(t.name, size, dtype) for t in twins for size in sizes for dtype in dtypes]
    with campaign.few_threads(), ExitStack() as stack:
        stack.enter_context(environment(KEEP))
        pools = {peer: stack.enter_context(campaign.executor(1)) for peer in peers}
        advance = stack.enter_context(campaign.progress(len(wanted), "ops", "row"))
        for name, size, dtype in wanted:
            found: dict[str, list[float | None]] = {peer: [] for peer in peers}
            for _ in range(turns):
                for peer in peers:
                    if max((s for s in found[peer] if s is not None), default=0.0) < LONG:
                        found[peer].append(pools[peer].submit(seconds, peer, name, SIZES.index(size), dtype).result())
            least = {peer: min((s for s in times if s is not None), default=None) for peer, times in found.items()}
            rows.append(Row(name, size, dtype, least))
            advance()
    return rows


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set these variables for the processes that are started inside this block."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def geometric_mean(ratios: Sequence[float]) -> str:
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else ""


def summary(rows: Sequence[Row], peers: Sequence[str]) -> list[tuple[str, ...]]:
    """For each size and dtype: the geometric mean of ours / theirs, and how many rows are above FAR."""
    found = []
    for size, dtype in dict.fromkeys((row.size, row.dtype) for row in rows):
        cells = [size, dtype]
        for peer in peers:
            ratios = [r for row in rows if (row.size, row.dtype) == (size, dtype) and (r := row.ratio(peer)) is not None]
            cells += [geometric_mean(ratios), f"{sum(r > FAR for r in ratios)}/{len(ratios)}"]
        found.append(tuple(cells))
    for size in dict.fromkeys(row.size for row in rows):
        cells = [size, "both"]
        for peer in peers:
            ratios = [r for row in rows if row.size == size and (r := row.ratio(peer)) is not None]
            cells += [geometric_mean(ratios), f"{sum(r > FAR for r in ratios)}/{len(ratios)}"]
        found.append(tuple(cells))
    return found


def summary_headers(peers: Sequence[str]) -> tuple[str, ...]:
    return ("size", "dtype", *(h for peer in peers for h in (f"ours / {peer}", f"above {FAR:g}")))


def table(rows: Sequence[Row], peers: Sequence[str]) -> list[tuple[str, ...]]:
    """A line for each row: microseconds of each library, and ours as a multiple of each peer's."""
    return [
        (
            row.name,
            row.size,
            row.dtype,
            *(_cell(row.seconds.get(peer), 1e6) for peer in (OURS, *peers)),
            *(_cell(row.ratio(peer)) for peer in peers),
        )
        for row in rows
    ]


def _cell(number: float | None, unit: float = 1.0) -> str:
    return "" if number is None else f"{number * unit:.3g}" if number * unit < 1000 else f"{number * unit:.0f}"


def table_headers(peers: Sequence[str]) -> tuple[str, ...]:
    return ("op", "size", "dtype", *(f"{peer} µs" for peer in (OURS, *peers)), *(f"ours / {peer}" for peer in peers))


LEGEND = """\
Microseconds of the processor for one forward and one backward pass with one thread, the smallest of {turns} turns; each library
in a process of its own, and they take turns at every row. torch runs eagerly, JAX what it has compiled beforehand: the op's
reference in the catalogue. autograd has only some of the functions. A cell is empty where a library has no such
function, or its arrays do not fit in memory. *ours / torch*: our time as a multiple of torch's, so that less than 1 is faster.
A mean is the geometric mean of the rows. *above {far:g}*: how many rows are further behind than that. All processes keep the
memory that is freed (glibc's `MALLOC_TRIM_THRESHOLD_`)."""


def page(rows: Sequence[Row], peers: Sequence[str], missing: Sequence[str], kernels: str, turns: int, command: str) -> str:
    """Everything as markdown."""
    packages = [f"{name} {version(name)}" for name in ("numpy", "scipy", *peers)]
    place = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    parts = [
        "# How fast the ops are",
        f"`{command}`, {place}, {', '.join(packages)}. NumPy's matrix products: {kernels}.",
        LEGEND.format(turns=turns, far=FAR),
        *([f"Not installed, and left out: {', '.join(missing)}."] if missing else []),
        tabulate(summary(rows, peers), summary_headers(peers), tablefmt="github", disable_numparse=True),
        "## Every op",
        tabulate(table(rows, peers), table_headers(peers), tablefmt="github", disable_numparse=True),
    ]
    return "\n\n".join(parts) + "\n"


def chosen(parser: argparse.ArgumentParser, names: Sequence[str]) -> list[Twin]:
    """The rows of these ops, or all."""
    unknown = [n for n in names if all(n not in (t.op, t.name) for t in TWINS)]
    if unknown:
        parser.error(f"no twin is named {', '.join(unknown)}; there are {', '.join(t.name for t in TWINS)}")
    return [t for t in TWINS if not names or t.op in names or t.name in names]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops", description=(__doc__ or "").splitlines()[0])
    peers = [name for name in PEERS if name != OURS]
    parser.add_argument("names", nargs="*", metavar="OP", help="default: every op that has a twin")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="default: all")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES, help="default: both")
    parser.add_argument("--peers", nargs="+", choices=peers, default=peers, help="default: all that are installed")
    parser.add_argument("--turns", type=int, default=TURNS, metavar="N", help="of each library at a row (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write speed.md, too")
    parser.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.turns < 1:
        parser.error("--turns must be at least 1")
    twins = chosen(parser, options.names)
    present, missing = [p for p in options.peers if there(p)], [p for p in options.peers if not there(p)]
    rows = measured(twins, options.sizes, options.dtypes, (OURS, *present), options.turns)
    kernels = blas()
    print(f"NumPy's matrix products: {kernels}")
    print(tabulate(table(rows, present), table_headers(present), disable_numparse=True))
    print(tabulate(summary(rows, present), summary_headers(present), disable_numparse=True))
    if missing:
        print(f"not installed, and left out: {', '.join(missing)}")
    if options.write:
        command = " ".join(["python -m benchmarks.ops", *(sys.argv[1:] if arguments is None else arguments)])
        document.write(options.reports, {"speed.md": page(rows, present, missing, kernels, options.turns, command)})
        print(f"written: {options.reports / 'speed.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
