"""How long a step of training and an update of an optimizer take, beside NumPy by hand, torch and JAX.

    python -m benchmarks.training                  all problems
    python -m benchmarks.training LeNet "adam,"    those whose names contain one of these

Every library runs in a process of its own, on one thread, which keeps the memory that it frees (see `KEEP` in `ops`). The
processes take turns: each makes steps for a twentieth of a second, then waits for the others. The smallest processor time of a
step counts. A library that is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.ops import KEEP
from benchmarks.steps import PEERS, PROBLEMS, prepared, present

__all__ = ["main", "measure", "serve", "table"]

ROUNDS = 12
"""How often each library is measured. With half as many the ratios of two runs differ by up to a tenth on a busy machine."""
TURN = 0.05  # seconds of one turn: with a tenth of it the processes mostly load their caches anew
WARM = 3  # steps before the first turn, in which JAX compiles

SETTINGS = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    **KEEP,
}


class Peer:
    """The process of one library."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.training", "--serve", name]
        self.process: Any = subprocess.Popen(  # noqa: S603 - this module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **SETTINGS}
        )

    def ask(self, what: str) -> str:
        """The answer to one line; RuntimeError if the process has ended."""
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"the process of {self.name} ended at {what!r}")
        return answer

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def serve(peer: str) -> None:
    """Answers the lines of standard input: the name of a problem is prepared, an empty line measures one turn of it."""
    step, steps = None, 1
    for line in sys.stdin:
        problem = line.strip()
        if problem:
            step = None  # the memory of the last problem
            step = prepared(peer, problem)
            if step is None:
                print("none", flush=True)
                continue
            for _ in range(WARM):
                step.run()
            start = time.process_time()
            step.run()
            steps = max(1, int(TURN / max(time.process_time() - start, 1e-9)))
            print("ready", flush=True)
        elif step is not None:
            start = time.process_time()
            for _ in range(steps):
                step.run()
            print((time.process_time() - start) / steps, flush=True)


def measure(problem: str, peers: Sequence[Peer], rounds: int = ROUNDS) -> dict[str, float]:
    """The seconds of a step, by the name of the library."""
    able = [peer for peer in peers if peer.ask(problem) == "ready"]
    seconds = {peer.name: float("inf") for peer in able}
    for _ in range(rounds):
        for peer in able:
            seconds[peer.name] = min(seconds[peer.name], float(peer.ask("")))
    return seconds


def table(found: dict[str, dict[str, float]]) -> str:
    """Of each problem the time of purenet, and its ratio to the time of every other library."""
    first, *others = [name for name in PEERS if any(name in seconds for seconds in found.values())]
    lines = [f"| step | {first} | {' | '.join(f'/ {name}' for name in others)} |", "|---" * (2 + len(others)) + "|"]
    for problem, seconds in found.items():
        ratios = [f"{seconds[first] / seconds[name]:.2f}" if name in seconds else "" for name in others]
        lines.append(f"| {problem} | {_written(seconds[first])} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _written(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def blas() -> str:
    """The BLAS of this NumPy, with the kernel that it has chosen for this processor."""
    configuration: Any = np.show_config(mode="dicts")
    of_blas = configuration["Build Dependencies"]["blas"]
    return f"{of_blas['name']} {of_blas['version']}, {of_blas.get('openblas configuration', 'no further details')}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of problems (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each library")
    parser.add_argument("--serve", choices=list(PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
        return
    problems = [name for name in PROBLEMS if not options.names or any(part in name for part in options.names)]
    if not problems:
        parser.error(f"no problem has one of these in its name; there are: {'; '.join(PROBLEMS)}")
    found = {}
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(name)) for name in PEERS if present(name)]
        for problem in problems:
            found[problem] = measure(problem, peers, options.rounds)
            print(problem, {name: _written(seconds) for name, seconds in found[problem].items()}, file=sys.stderr, flush=True)
    print(f"{platform.processor() or platform.machine()}, NumPy {np.__version__}, {blas()}\n\n{table(found)}")


if __name__ == "__main__":
    main()
