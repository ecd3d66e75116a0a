"""Losses. `regression` compares numbers, `binary` a probability, `cross_entropy` a distribution over classes.

A loss takes predictions and real-valued targets positionally, and both are differentiated; integer labels, weights and masks
are keywords. `reduction` is "mean", "sum" or "none"; a mean over nothing, or over zero total weight, is 0.
"""

from purenet.losses.binary import sigmoid_binary_cross_entropy
from purenet.losses.cross_entropy import softmax_cross_entropy, softmax_cross_entropy_with_probabilities
from purenet.losses.regression import squared_error, sum_squared_error

__all__ = [
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_probabilities",
    "squared_error",
    "sum_squared_error",
]
