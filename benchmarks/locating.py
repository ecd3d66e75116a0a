"""Whether `oracle.locate` names the one stage of a net with a planted mistake, and no other.

    python -m benchmarks.locating 300

The nets are a transformer of 12 blocks and a residual net of convolutions, with small widths. Each time one mistake of `oracle
power` is planted into the backward pass of one stage. A mistake that changes nothing there, as `verify` says of that stage, is
replaced by another one.
"""

from __future__ import annotations

import argparse
import os
import pickle
import time
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optree

import oracle
import purenet as pn
from oracle.arrays import quiet
from oracle.locating import chains
from oracle.locating.calls import Call
from oracle.power.mutants import Mutant, mutants_of
from oracle.power.performing import time_limit
from oracle.power.reach import compiled, function_named, reached, with_code
from oracle.spec import Case, Flag, Spec
from purenet import Op
from purenet.models import gpt

__all__ = ["NETS", "Net", "Outcome", "outcomes", "planted", "residual_net", "transformer"]

NOT_JUDGED = ("equivalent", "crashed")
LONGEST = 600  # seconds for one mutant: some never end


@dataclass
class Net:
    """A net with its arguments."""

    name: str
    op: Op
    primals: tuple[Any, ...]
    options: dict[str, Any]
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = chains.record(self.op, self.primals, self.options, lambda y: np.ones(np.shape(y)), 0).calls


def transformer(blocks: int = 12) -> Net:
    """GPT with its loss."""
    sizes: dict[str, Any] = {"vocabulary": 11, "context": 6, "width": 8, "layers": blocks, "heads": 2, "hidden": 12}
    generator = np.random.default_rng(0)
    shapes: Any = gpt.shapes(**sizes)
    drawn: Any = optree.tree_map(lambda s: generator.normal(size=s) * 0.3, shapes, is_leaf=lambda n: isinstance(n, tuple))
    ids = generator.integers(0, 11, (2, 6))
    options = {"net": {"embedding": {"ids": ids[:, :-1]}}, "loss": {"labels": ids[:, 1:]}}
    return Net("transformer", gpt.goal(**sizes), ({"net": drawn},), options)


def residual_net(blocks: int = 3) -> Net:
    """Convolutions, batch norms and rectifiers in residual blocks, a pool, an affine map and the loss."""
    generator = np.random.default_rng(1)
    conv = pn.conv2d.bind(padding=1)

    def normal(*shape: int) -> Any:
        return generator.normal(size=shape) * 0.5

    def kernel(*shape: int) -> dict[str, Any]:
        return {"w": normal(*shape), "b": normal(shape[0])}

    def norm() -> dict[str, Any]:
        return {"gamma": 1 + normal(4), "beta": normal(4)}

    stages: dict[str, Op] = {"conv": conv, "norm": pn.batch_norm, "relu": pn.relu, "pool": pn.max_pool2d.bind(window=2)}
    params: dict[str, Any] = {"conv": kernel(4, 2, 3, 3), "norm": norm()}
    for i in range(1, blocks + 1):
        inner = pn.chain(conv1=conv, norm1=pn.batch_norm, relu=pn.relu, conv2=conv, norm2=pn.batch_norm)
        stages |= {f"block{i}": pn.residual(inner), f"relu{i}": pn.relu}
        params[f"block{i}"] = {"conv1": kernel(4, 4, 3, 3), "norm1": norm(), "conv2": kernel(4, 4, 3, 3), "norm2": norm()}
    stages |= {"average": pn.avg_pool2d.bind(window=4), "flatten": pn.flatten, "affine": pn.affine}
    stages["loss"] = pn.softmax_cross_entropy
    params["affine"] = {"w": normal(4, 5), "b": normal(5)}
    return Net("residual net", pn.chain(**stages), (params, normal(3, 2, 8, 8)), {"loss": {"labels": np.array([0, 3, 4])}})


NETS = (transformer, residual_net)


def planted(op: Op, path: str, change: Any) -> Op:
    """The net with `change` of the op at this path, in a copy."""
    inner = getattr(op, "op", None)
    if isinstance(inner, Op):
        made: Op = copy(op)
        vars(made)["op"] = planted(inner, path, change)
        return made
    stages = getattr(op, "stages", None)
    if not stages:
        changed: Op = change(op)
        return changed
    name, _, rest = path.partition(".")
    made = copy(op)
    vars(made)["stages"] = {**stages, name: planted(stages[name], rest, change)}
    return made


@dataclass(frozen=True)
class Outcome:
    """What was said of one mutant."""

    net: str
    stage: str
    op: str
    mutant: Mutant
    kind: str
    """right, equivalent, crashed, missed, another stage, undecided, too long, raised"""
    told: str
    seconds: float


def outcomes(nets: list[Net], seed: int, after: int = 0) -> Iterator[Outcome]:
    """Random mutants of random stages, without end, but for the first: the net, the kind of op, the stage, then the mistake."""
    generator = np.random.default_rng(seed)
    pools: dict[tuple[str, str], list[Mutant]] = {}
    done: set[Any] = set()
    while True:
        net = nets[generator.integers(len(nets))]
        kinds = sorted({call.name for call in net.calls})
        kind = kinds[generator.integers(len(kinds))]
        same = [call for call in net.calls if call.name == kind]
        call = same[generator.integers(len(same))]
        if (net.name, kind) not in pools:
            pools[net.name, kind] = list(_mutants(call))
        pool = pools[net.name, kind]
        mutant = pool[generator.integers(len(pool))]
        if (net.name, kind, mutant) in done:
            if len(done) > sum(map(len, pools.values())) * 0.98:
                return
            continue
        done.add((net.name, kind, mutant))
        if len(done) > after:
            yield _in_child(net, call, mutant)


def _mutants(call: Call) -> Iterator[Mutant]:
    spec = Spec(call.op, cases=(Case("recorded", call.primals, dict(call.options)),))
    for function in reached(spec).values():
        yield from mutants_of(function)


def _in_child(net: Net, call: Call, mutant: Mutant) -> Outcome:
    """The outcome by a process of its own: wrong strides write into memory that is not theirs, and end the process."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(sending, "wb") as file:
            file.write(pickle.dumps(_outcome(net, call, mutant)))
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as file:
        sent = file.read()
    os.waitpid(child, 0)
    if not sent:
        return Outcome(net.name, call.path, call.name, mutant, "crashed", "the process ended", 0.0)
    outcome: Outcome = pickle.loads(sent)  # noqa: S301 - our own child has just written it
    return outcome


def _outcome(net: Net, call: Call, mutant: Mutant) -> Outcome:
    started = time.process_time()
    function = function_named(mutant.function)
    right, code = function.__code__, compiled(mutant.source, mutant.function)
    wrong = planted(net.op, call.path, lambda op: with_code(op, function, code))
    told = ""
    try:
        with time_limit(LONGEST), quiet():
            found = oracle.locate(wrong, *net.primals, options=net.options)
            told = found.sentence + " " + "; ".join(f"{r.stage}: {r.verdict} {r.cause}" for r in found.rows if not r.passed)
            doubtful = [row.stage for row in found.rows if not row.passed]
            if doubtful == [call.path]:
                kind = "right" if found.wrong else "undecided"
            elif doubtful:
                kind = "another stage"
            else:
                kind = "equivalent" if _is_right(with_code(call.op, function, code), call) else "missed"
    except BaseException as error:
        function.__code__ = right
        if isinstance(error, KeyboardInterrupt):
            raise
        kind, told = ("too long" if type(error).__name__ == "_TooLong" else "raised"), repr(error)
    return Outcome(net.name, call.path, call.name, mutant, kind, told, time.process_time() - started)


def _is_right(op: Op, call: Call) -> bool:
    """Whether `verify` passes the gradients of the changed op at the arguments that the stage has in the net."""
    found = oracle.verify(
        op, *call.primals, options=call.options, flags=frozenset({Flag.ZERO_GRADIENT}), views=True, aliases=True
    )
    return found.passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=300, help="mutants that are no equivalents (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--after", type=int, default=0, metavar="N", help="leave out the first N mutants, of an earlier run")
    options = parser.parse_args()
    nets = [make() for make in NETS]
    for net in nets:
        print(f"{net.name}: {oracle.locate(net.op, *net.primals, options=net.options).sentence}", flush=True)
    counts: Counter[str] = Counter()
    seconds = 0.0
    for outcome in outcomes(nets, options.seed, options.after):
        counts[outcome.kind] += 1
        seconds += outcome.seconds
        if outcome.kind not in NOT_JUDGED and outcome.kind != "right":
            before, after = outcome.mutant.lines
            print(f"{outcome.kind}: {outcome.net}, {outcome.stage} ({outcome.op}): {outcome.mutant.function}", flush=True)
            print(f"    - {before}\n    + {after}\n    {outcome.told}", flush=True)
        judged = sum(counts.values()) - sum(counts[kind] for kind in NOT_JUDGED)
        if judged and judged % 10 == 0 and outcome.kind not in NOT_JUDGED:
            print(
                f"{judged}: {dict(counts)}, after {sum(counts.values()) + options.after}, {seconds:.0f} s of processor time",
                flush=True,
            )
        if judged >= options.count:
            break
    print(f"{dict(counts)}, {seconds:.0f} s of processor time")


if __name__ == "__main__":
    main()
