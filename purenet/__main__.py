"""`python -m purenet train NAME` trains a net, `python -m purenet list` names them all."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from typing import Any

from purenet import curves, models
from purenet.recipes import optimizer_names
from purenet.running import Run, Settings, prepare, run
from purenet.training import Metrics, NotFinite

EXIT = """exit status:
  0    trained
  1    the loss did not stay finite; the last good checkpoint is kept
  2    bad input: of the command line, data or a checkpoint, or a file that cannot be written
  130  interrupted; the checkpoint holds the last step
"""


class Bar:
    """Tells of a run: a progress bar where there is a terminal and tqdm is installed, and lines in any case."""

    def __init__(self, prepared: Run) -> None:
        self.batch = prepared.batch
        try:
            from tqdm import tqdm
        except ImportError:
            self.bar = None
        else:
            begun, total = (int(steps) * self.batch for steps in (prepared.state.step, prepared.steps))
            self.bar = tqdm(total=total, initial=begun, unit=" samples", unit_scale=True, disable=None, leave=False)

    def write(self, line: str) -> None:
        if self.bar is None:
            print(line)
        else:
            self.bar.write(line)
        sys.stdout.flush()

    def advance(self, metrics: Metrics) -> None:
        if self.bar is not None:
            self.bar.set_postfix({name: f"{value:.4f}" for name, value in metrics.items()}, refresh=False)
            self.bar.update(self.batch)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def main(arguments: list[str] | None = None) -> int:
    options = vars(_parser().parse_args(arguments))
    if options.pop("command") == "list":
        try:
            return _list()
        except BrokenPipeError:  # the program that reads our output has ended, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
    try:
        return _train(prepare(Settings(**options)))
    except (OSError, ValueError, ImportError, MemoryError) as error:
        return _failed(str(error) or "out of memory", 2)
    except KeyboardInterrupt:
        return _failed("interrupted before the first step", 130)


def _train(prepared: Run) -> int:
    began = time.perf_counter()
    try:
        with Bar(prepared) as bar:
            bar.write(prepared.title)
            tests = run(prepared, bar)
    except NotFinite as error:
        return _failed(f"{error}; {prepared.checkpoint} holds the last good state; try a smaller --rate", 1)
    except KeyboardInterrupt:
        return _failed(f"interrupted; --resume {prepared.checkpoint} goes on", 130)
    seconds = time.perf_counter() - began
    last = ", ".join(f"test {name} {value:.4f}" for name, value in tests.items())
    print(f"{prepared.steps} steps, {seconds:.1f} s; {last}")
    table, picture = (prepared.checkpoint.with_suffix(end) for end in (".csv", ".svg"))
    drawn = curves.draw(picture, prepared.title.partition(";")[0], prepared.rows)
    print(f"wrote {prepared.checkpoint}, {table}" + (f", {picture}" if drawn else "; without matplotlib there is no picture"))
    return 0


def _list() -> int:
    """The names of all nets, each with a description."""
    names = models.names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {(getattr(models, name).__doc__ or '').partition(chr(10))[0]}")
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m purenet", description=__doc__, epilog=EXIT, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="the names of the nets")
    train = commands.add_parser(
        "train",
        help="train a net",
        description="Train a net. Options that are not given come from its recipe, or from the checkpoint of --resume.",
        epilog=EXIT,
        formatter_class=raw,
    )
    train.add_argument("net", metavar="NAME", help="of the net: one of `python -m purenet list`")
    train.add_argument(
        "--data",
        metavar="PLACE",
        help="the folder with MNIST's four IDX files, or a text file (default: what packages bring)",
    )
    train.add_argument("--steps", type=_positive(int), metavar="N", help="mini-batches")
    train.add_argument("--resume", metavar="FILE", help="the checkpoint to go on from")
    train.add_argument("--checkpoint", metavar="FILE", help="where to save (default: that of --resume, or a new one in runs/)")
    train.add_argument("--optimizer", metavar="NAME", help=f"one of {', '.join(optimizer_names())}")
    train.add_argument("--rate", type=_positive(float), help="learning rate at the start; it falls to 0")
    train.add_argument("--batch", type=_positive(int), metavar="N", help="samples in a mini-batch")
    train.add_argument("--seed", type=_natural, metavar="N", help="of the parameters and the order (default: 0)")
    train.add_argument("--dtype", choices=["float64", "float32", "float16"], help="(default: float32)")
    return parser


def _positive(kind: type[int] | type[float]) -> Any:
    def convert(text: str) -> float:
        number = kind(text)
        if not 0 < number < math.inf:
            raise ValueError(text)
        return number

    convert.__name__ = f"positive {kind.__name__}"  # argparse names it in its message
    return convert


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


_natural.__name__ = "natural number"


def _failed(reason: str, status: int) -> int:
    print(f"purenet: {reason}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
