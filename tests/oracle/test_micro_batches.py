"""Optimizers of users that get the gradients of micro-batches."""

from __future__ import annotations

from typing import Any

import optax
import pytest

from oracle.trajectory.users_optimizers import verify_optimizer
from purenet import optimizers
from tests.oracle.learners_optimizers import ADAM, SGD

SGD_OF_OPTAX = optax.sgd(0.1)


class Accumulating:
    """Descent at every third call, with the mean of the gradients since the last step."""

    def __init__(self, weigh: bool = True, clear: bool = True, every: int = 3, divide: bool = True) -> None:
        self.weigh, self.clear, self.every, self.divide = weigh, clear, every, divide
        self.sums: dict[str, Any] = {}
        self.examples = self.calls = 0

    def update(self, params: Any, grads: Any, size: int) -> None:
        weight = size if self.weigh else 1
        for key in params:
            self.sums[key] = self.sums.get(key, 0) + weight * grads[key]
        self.examples += weight
        self.calls += 1
        if self.calls % self.every == 0:
            for key, p in params.items():
                p -= 0.1 * self.sums[key] / (self.examples if self.divide else 1)
            self.examples = 0
            if self.clear:
                self.sums = {}


@pytest.mark.parametrize(
    ("mine", "says"),
    [
        (Accumulating(weigh=False), "is the mean of the 3 means: micro-batches of 3, 5, 2 examples count alike"),
        (optax.MultiSteps(optax.sgd(0.1), 3), "is the mean of the 3 means: micro-batches of 3, 5, 2 examples count alike"),
        (optimizers.multi_steps(optimizers.sgd(0.1), 3), "is the mean of the 3 means"),
        (Accumulating(divide=False), "is the sum over all examples: it is not divided by their number"),
        (Accumulating(clear=False), "is not cleared after a step: the next ones are added to it"),
        (SGD(0.1), "is the sum of the means of the micro-batches: it is not divided"),
    ],
    ids=["weights", "optax", "purenet", "not divided", "not cleared", "no accumulation"],
)
def test_micro_batches_are_compared_with_the_whole_batch(mine: Any, says: str) -> None:
    result = verify_optimizer(mine, like=SGD_OF_OPTAX, micro_batches=(3, 5, 2), dtypes=("float64",))
    assert not result.passed
    assert f"the accumulated gradient {says}" in result.diagnosis
    assert "the reference makes the same 20 steps of it" in result.diagnosis


def test_a_step_at_every_micro_batch_is_named() -> None:
    result = verify_optimizer(optimizers.adam(1e-3), like=ADAM, micro_batches=(3, 5), dtypes=("float64",))
    assert "there is a step at every micro-batch" in result.diagnosis


@pytest.mark.parametrize(
    ("mine", "sizes"),
    [(Accumulating(), (3, 5, 2)), (Accumulating(weigh=False), (4, 4, 4)), (optax.MultiSteps(optax.sgd(0.1), 3), (4, 4, 4))],
    ids=["weights", "means of equal sizes", "optax, equal sizes"],
)
def test_a_right_accumulation_passes(mine: Any, sizes: tuple[int, ...]) -> None:
    result = verify_optimizer(mine, like=SGD_OF_OPTAX, micro_batches=sizes)
    assert result.passed, str(result)


def test_micro_batches_have_examples() -> None:
    with pytest.raises(ValueError, match=r"micro_batches must be the numbers of their examples, got \(3, 0\)"):
        verify_optimizer(SGD(0.1), like=SGD_OF_OPTAX, micro_batches=(3, 0))
