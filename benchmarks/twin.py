"""One row of `benchmarks.ops`: an op, the same function in other libraries, and its arrays at three sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "CLASSES",
    "HEADS",
    "IMAGES",
    "LAYERS",
    "LINES",
    "ROWS",
    "SIZES",
    "STEPS",
    "VOLUMES",
    "Leaf",
    "Twin",
    "along_rows",
    "cell",
    "embedded",
    "few_channels",
    "indexed",
    "keyword",
    "layer",
    "layers",
    "normal",
    "of",
    "paired",
    "products",
    "scaled",
    "scored",
    "together",
    "unrolled",
    "with_channels",
]

SIZES = ("tiny", "typical", "large")

ROWS = ((4, 8), (128, 512), (1024, 1024))
CLASSES = ((4, 5), (128, 100), (1024, 1000))
LAYERS = ((4, 5, 3), (64, 256, 128), (512, 1024, 1024))  # rows, inputs, outputs
LINES = ((1, 2, 12), (16, 32, 128), (32, 64, 1024))
IMAGES = ((1, 2, 6, 6), (8, 16, 28, 28), (16, 32, 56, 56))
VOLUMES = ((1, 2, 4, 4, 4), (2, 8, 12, 12, 12), (4, 16, 24, 24, 24))
STEPS = ((2, 3, 4), (16, 20, 64), (32, 50, 256))  # batch, steps, features
HEADS = ((1, 4, 2, 4), (2, 64, 4, 32), (4, 256, 8, 64))  # batch, positions, heads, features


@dataclass(frozen=True)
class Leaf:
    """One array of a call."""

    kind: str
    """"normal", "positive" or "unit" (between 0 and 1), which are differentiated; "labels" (below `classes`), "mask" or, of
    normal numbers that are not differentiated, "noise"."""
    shape: tuple[int, ...]
    classes: int = 0
    swapped: bool = False
    """Whether torch stores the transpose of this matrix."""

    @property
    def differentiated(self) -> bool:
        return self.kind not in ("labels", "mask", "noise")

    def draw(self, generator: np.random.Generator, dtype: str) -> Any:
        """Its numbers."""
        if self.kind == "labels":
            return generator.integers(0, self.classes, self.shape)
        if self.kind == "mask":
            return generator.random(self.shape) < 0.5
        if self.kind in ("normal", "noise"):
            return generator.normal(size=self.shape).astype(dtype)
        return generator.uniform(0.05, 0.95 if self.kind == "unit" else 2.0, self.shape).astype(dtype)


def normal(*shape: int, swapped: bool = False) -> Leaf:
    return Leaf("normal", shape, swapped=swapped)


def positionally(*arrays: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return arrays, {}


@dataclass(frozen=True)
class Twin:
    """One row of the table."""

    op: str
    leaves: Callable[[int], tuple[Leaf, ...]]
    """The arrays, by the number of the size."""
    torch: Callable[..., Any]
    autograd: Callable[..., Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    arrange: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] = positionally
    """The arguments and options of our op, made of the arrays."""
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.op}, {self.variant}" if self.variant else self.op

    def call(self, arrays: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments and options of our op, and of its reference."""
        arguments, options = self.arrange(*arrays)
        return arguments, {**self.options, **options}


def of(shapes: Any, kind: str = "normal", count: int = 1) -> Callable[[int], tuple[Leaf, ...]]:
    """So many arrays of one kind and shape."""
    return lambda i: (Leaf(kind, shapes[i]),) * count


def layer(*names: str) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """The first arrays are parameters of these names."""
    return lambda *arrays: ((dict(zip(names, arrays, strict=False)), *arrays[len(names) :]), {})


def keyword(name: str) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """The last array is a constant."""
    return lambda *arrays: (arrays[:-1], {name: arrays[-1]})


def together(*arrays: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (arrays,), {}


def with_channels(shapes: Any, kernel: int, *, depthwise: bool = False) -> Any:
    """Weights, biases and the input of a convolution that keeps the number of channels."""

    def leaves(i: int) -> tuple[Leaf, ...]:
        channels = shapes[i][1]
        taps = (kernel,) * (len(shapes[i]) - 2)
        return normal(channels, 1 if depthwise else channels, *taps), normal(channels), normal(*shapes[i])

    return leaves


def scaled(shapes: Any, axis: int, count: int = 2) -> Any:
    """The parameters of a normalization, then x."""
    return lambda i: (*(normal(shapes[i][axis]),) * count, normal(*shapes[i]))


def paired(first: str, second: str) -> Any:
    return lambda i: (Leaf(first, ROWS[i]), Leaf(second, ROWS[i]))


def scored(i: int) -> tuple[Leaf, ...]:
    rows, classes = CLASSES[i]
    return normal(rows, classes), Leaf("labels", (rows,), classes)


def cell(blocks: int, carries: int) -> Any:
    """Weights, bias, x and carries of one step."""

    def leaves(i: int) -> tuple[Leaf, ...]:
        batch, _, size = STEPS[i]
        weights = (normal(size, blocks * size, swapped=True),) * 2
        return (*weights, normal(blocks * size), normal(batch, size), *(normal(batch, size),) * carries)

    return leaves


def unrolled(blocks: int, carries: int) -> Any:
    """The same with a sequence for x."""
    return lambda i: (*cell(blocks, 0)(i)[:3], normal(*STEPS[i]), *(normal(STEPS[i][0], STEPS[i][2]),) * carries)


def embedded(i: int) -> tuple[Leaf, ...]:
    rows, width, _ = LAYERS[i]
    return normal(4 * width, width), Leaf("labels", (rows, 4), 4 * width)


def indexed(i: int) -> tuple[Leaf, ...]:
    rows, _ = ROWS[i]
    return normal(*ROWS[i]), Leaf("labels", (rows,), rows)


def along_rows(i: int) -> tuple[Leaf, ...]:
    rows, width = ROWS[i]
    return normal(*ROWS[i]), Leaf("labels", (rows, width), width)


def layers(i: int) -> tuple[Leaf, ...]:
    rows, inputs, outputs = LAYERS[i]
    return normal(inputs, outputs), normal(outputs), normal(rows, inputs)


def products(i: int) -> tuple[Leaf, ...]:
    rows, inputs, outputs = LAYERS[i]
    return normal(rows, inputs), normal(inputs, outputs)


def few_channels(i: int) -> tuple[Leaf, ...]:
    n, c, *field = IMAGES[i]
    return normal(c, 3, 3, 3), normal(c), normal(n, 3, *field)
