"""The parameters and gradients with which users' optimizers are run: each hyperparameter shows in some of them.

The gradients are given and do not depend on the parameters, so a mistake is not carried into later gradients. Their sizes
differ by ten orders, from entry to entry and from parameter to parameter: those near 1e-8 show where eps stands, and the signs
change from step to step, as moments need. Parameters of the size of 4 show a decay, small ones show small steps. Two biases
have one shape, so that one can use the slots of the other without an error. `frozen` has a gradient of zero: only a decay
moves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.streams import Stream

__all__ = ["Probe", "probe_of", "weighted"]

Array = NDArray[Any]
Params = dict[str, Array]

SIZES = ((1.0, 3.0), (1e-4, 1.0), (0.1, 4.0), (1e-8, 1e-3), (1.0, 1.5))
"""The sizes of the gradients and of the values, for one parameter after the other. With no gradient near 1e-8 an eps of that
size at another place does not show; with values of 1 beside them, their steps would be lost in rounding in float32."""
SHAPES = {"w1": (3, 4), "b1": (4,), "w2": (4, 2), "b2": (4,), "gain": (1,), "frozen": (2, 3)}
FROZEN = "frozen"


class Probe(NamedTuple):
    """The parameters at the start and the gradient of each step."""

    params: Params
    gradients: Sequence[Params]
    parts: Sequence[Sequence[Params]] = ()
    """For each step the gradients of its micro-batches, if there are any: each is the mean over its examples."""
    sizes: tuple[int, ...] = ()
    """The number of examples in each micro-batch."""

    @property
    def given(self) -> Sequence[Any]:
        """What the user's optimizer gets at each step: the gradient, or those of the micro-batches."""
        return self.parts or self.gradients

    def cast(self, dtype: str) -> Probe:
        def narrow(tree: Mapping[str, Array]) -> Params:
            return {name: a.astype(dtype) for name, a in tree.items()}

        parts = [[narrow(g) for g in step] for step in self.parts]
        return Probe(narrow(self.params), [narrow(g) for g in self.gradients], parts, self.sizes)

    def in_parts(self, sizes: tuple[int, ...]) -> Probe:
        """Steps of as many gradients each, which become those of micro-batches; that of a step is their weighted mean.

        Those of a step get one sign in each entry: else terms may cancel, and a right order of additions differ.
        """
        count = len(sizes)
        parts = [
            [{name: np.copysign(g[name], first[name]) for name in g} for g in (first, *self.gradients[i + 1 : i + count])]
            for i in range(0, len(self.gradients), count)
            for first in (self.gradients[i],)
        ]
        return Probe(self.params, [weighted(step, [n / sum(sizes) for n in sizes]) for step in parts], parts, sizes)

    @property
    def unmoved(self) -> set[str]:
        """The parameters whose gradient is always zero."""
        return {name for name in self.params if not any(g[name].any() for g in self.gradients)}


def weighted(gradients: Sequence[Params], weights: Sequence[float]) -> Params:
    """The sum of these gradients with these weights."""
    return {name: np.asarray(sum(w * g[name] for w, g in zip(weights, gradients, strict=True))) for name in gradients[0]}


def probe_of(steps: int, seed: int, params: Mapping[str, Array] | None = None) -> Probe:
    """The run of this many steps from this seed; from `params` instead of those made up, if they are given."""
    generator = np.random.default_rng([seed, Stream.OPTIMIZER])
    shapes = SHAPES if params is None else {name: np.shape(p) for name, p in params.items()}
    starts: Params = {}
    scales: Params = {}
    for i, (name, shape) in enumerate(shapes.items()):
        gradient, value = SIZES[i % len(SIZES)]
        if params is None and name == FROZEN:
            gradient, value = 0.0, 4.0
        starts[name] = value * (1 + 0.5 * generator.uniform(size=shape)) * generator.choice([-1.0, 1.0], size=shape)
        scales[name] = gradient * 10.0 ** generator.uniform(-1, 1, size=shape)
    if params is not None:
        starts = {name: np.array(p, np.float64) for name, p in params.items()}
    gradients = []
    for step in range(steps):
        drawn = {name: scale * (generator.normal(size=scale.shape) + 0.3) for name, scale in scales.items()}
        for i, g in enumerate(drawn.values()):
            if g.size > 1:
                g.flat[0] = 0.0  # an entry that has never a gradient
                g.flat[-1] *= (step + i) % 3 > 0  # and one that has none now and then
        gradients.append(drawn)
    return Probe(starts, gradients)
