"""Padded images in which the entries under one tap, in all windows of an image, are one run of memory.

An image is padded and its axes become one. With a stride of 1 window p of the run begins at entry p, and its tap is a fixed
number of entries further on. With a stride s every s-th entry follows the last: the image is cut into `phases`, of which only
those are kept that a tap touches.

The run goes on from one row of an image to the next, and there are entries at the end of a row where no window begins, because
it would leave the image. A value computed there is cut off; a cotangent is 0 there.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from purenet.convolution.unfolding import cropped, padded
from purenet.op import Array
from purenet.windows import Axis

__all__ = ["Runs", "runs"]


class Runs(NamedTuple):
    """Where in memory the windows and taps of an image are."""

    axes: tuple[Axis, ...]
    rows: tuple[int, ...]
    """The entries of a phase along each axis."""
    lengths: tuple[int, ...]
    """Of the padded axes."""
    phases: tuple[tuple[int, ...], ...]
    """For each axis the first entry of a phase."""
    taps: tuple[tuple[int, int], ...]
    """The phase of each tap, and the entry of it that the first window has under this tap."""
    length: int
    """The entries of a phase."""
    windows: int
    """The entries from the first window to the last."""
    room: int
    """The windows and what follows the last of them in its row."""
    exact: bool
    """Whether a window begins at each of these entries."""
    whole: bool
    """Whether the entries are those of the image as they are, without padding."""

    def entries(self, x: Array) -> Array:
        """The phases of padded images x (N, C, sizes): (N, C, phases, length)."""
        entries = padded(x, self.axes, self.lengths, 2)
        if any(a.stride > 1 for a in self.axes):
            parts = np.empty((*x.shape[:2], len(self.phases), *self.rows), x.dtype)
            for i, phase in enumerate(self.phases):
                parts[:, :, i] = entries[self._every(phase)]
            entries = parts
        return entries.reshape(*x.shape[:2], len(self.phases), self.length)

    def image(self, entries: Array) -> Array:
        """The adjoint of `entries`."""
        parts = entries.reshape(*entries.shape[:3], *self.rows)
        if all(a.stride == 1 for a in self.axes):
            return cropped(parts[:, :, 0], self.axes, 2)
        image = np.zeros((*entries.shape[:2], *self.lengths), entries.dtype)
        for i, phase in enumerate(self.phases):
            image[self._every(phase)] = parts[:, :, i]
        return cropped(image, self.axes, 2)

    def values(self, run: Array) -> Array:
        """A view of what belongs to windows, of a run (N, O, room): (N, O, outs)."""
        outer, *inner = self.axes
        rows = run.reshape(*run.shape[:2], outer.out, *self.rows[1:])
        inside: tuple[slice, ...] = (slice(None),) * 3 + tuple(slice(a.out) for a in inner)
        return rows[inside]

    def run(self, values: Array, reach: int = 0) -> Array:
        """The adjoint of `values`: (N, O, windows), of zeros where no window begins.

        With a reach there are so many zeros before it, and more behind it: (N, O, reach + length).
        """
        if self.exact and not reach:
            return np.ascontiguousarray(values).reshape(*values.shape[:2], self.windows)
        run = np.zeros((*values.shape[:2], reach + self.length), values.dtype)
        self.values(run[:, :, reach : reach + self.room])[...] = values
        return run if reach else run[:, :, : self.windows]

    def _every(self, phase: tuple[int, ...]) -> tuple[slice, ...]:
        return slice(None), slice(None), *(slice(p, None, a.stride) for p, a in zip(phase, self.axes, strict=True))


@lru_cache(maxsize=256)
def runs(axes: tuple[Axis, ...]) -> Runs:
    """The runs of these windows."""
    rows = tuple(-(-a.extent // a.stride) for a in axes)
    steps = [math.prod(rows[i + 1 :]) for i in range(len(rows))]
    places = [[divmod(a.dilation * tap, a.stride) for tap in range(a.window)] for a in axes]  # the entry, the phase
    phases = tuple(itertools.product(*(sorted({phase for _, phase in some}) for some in places)))
    taps = []
    for tap in itertools.product(*places):
        first = sum(entry * step for (entry, _), step in zip(tap, steps, strict=True))
        taps.append((phases.index(tuple(phase for _, phase in tap)), first))
    windows = sum((a.out - 1) * step for a, step in zip(axes, steps, strict=True)) + 1
    exact = windows == math.prod(a.out for a in axes)
    whole = all(a.stride == 1 and a.low == 0 and n == a.size for a, n in zip(axes, rows, strict=True))
    lengths = tuple(n * a.stride for n, a in zip(rows, axes, strict=True))
    return Runs(
        axes, rows, lengths, phases, tuple(taps), math.prod(rows), windows, axes[0].out * math.prod(rows[1:]), exact, whole
    )
