"""Activations and dropout."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from tests.oracle.planted import normal, signed
from tests.zoo.record import LEARNERS, Array, Bug, entrywise

# ------------------------------------------------------------------------------------------------ tanh and its kin

TANH = entrywise(np.tanh, lambda x: 1 - np.tanh(x) ** 2)


def dish_slope(x: Array) -> Array:
    return 0.5 * (x / np.sqrt(1 + x * x) + 1) + 0.5 * x / (1 + x * x) ** 1.5


def dish_fwd(x: Array, b: Array) -> tuple[Array, Any]:
    z = x + b
    return 0.5 * z * (z / np.sqrt(1 + z * z) + 1), (x.copy(), z)


def dish_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    dz = dish_slope(residuals[1]) * dy
    return dz, dz.copy()


def dish_at_the_input(residuals: Any, dy: Array) -> tuple[Array, Array]:
    dz = dish_slope(residuals[0]) * dy
    return dz, dz.copy()


def dish(x: Any, b: Any) -> Any:
    z = x + b
    return z * (z * jax.lax.rsqrt(1 + z * z) + 1) / 2


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def mish_slope(x: Array) -> Array:
    t = np.tanh(softplus(x))
    return t + x * expit(x) * (1 - t * t)


MISH = entrywise(lambda x: x * np.tanh(softplus(x)), mish_slope)

# ------------------------------------------------------------------------------------------------ rectifiers

RELU = entrywise(lambda x: np.maximum(x, 0), lambda x: x > 0)


def leaky_relu_fwd(x: Array, *, alpha: float = 0.01) -> tuple[Array, Any]:
    return np.where(x > 0, x, alpha * x), (x.copy(), alpha)


def leaky_relu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, alpha = residuals
    return (np.where(x > 0, 1, alpha) * dy,)


def leaky_relu_of_one_alpha(residuals: Any, dy: Array) -> tuple[Array]:
    x, _ = residuals
    return (np.where(x > 0, 1, 0.01) * dy,)


def prelu_fwd(alpha: Array, x: Array) -> tuple[Array, Any]:
    y = np.where(x > 0, x, alpha * x)
    return y, (alpha.copy(), x.copy(), y)


def prelu_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    alpha, x, _ = residuals
    return np.where(x > 0, 0, x * dy).sum(axis=0), np.where(x > 0, 1, alpha) * dy


def prelu_by_its_output(residuals: Any, dy: Array) -> tuple[Array, Array]:
    alpha, x, y = residuals
    return np.where(y > 0, 0, x * dy).sum(axis=0), np.where(y > 0, 1, alpha) * dy


def prelu(alpha: Any, x: Any) -> Any:
    return jnp.maximum(x, 0) + alpha * jnp.minimum(x, 0)


# ------------------------------------------------------------------------------------------------ softmax


def softmax_fwd(x: Array) -> tuple[Array, Array]:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_bwd(y: Array, dy: Array) -> tuple[Array]:
    return (y * (dy - (y * dy).sum(axis=-1, keepdims=True)),)


def diagonal_of_softmax(y: Array, dy: Array) -> tuple[Array]:
    return (y * (1 - y) * dy,)


def softmax_of_all_fwd(x: Array) -> tuple[Array, Array]:
    e = np.exp(x - x.max())
    y = e / e.sum()
    return y, y


def softmax_of_all_bwd(y: Array, dy: Array) -> tuple[Array]:
    return (y * (dy - (y * dy).sum()),)


# ------------------------------------------------------------------------------------------------ dropout

GENERATOR = np.random.default_rng(0)
KEPT = {"mask": np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1]], bool), "rate": 0.2}


def dropout_fwd(x: Array, *, mask: Array, rate: float) -> tuple[Array, Any]:
    y = np.where(mask, x / (1 - rate), 0)
    return y, (mask, rate, x.copy(), y.copy())


def dropout_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    mask, rate, *_ = residuals
    return (np.where(mask, dy / (1 - rate), 0),)


def dropout_without_mask(residuals: Any, dy: Array) -> tuple[Array]:
    _, rate, *_ = residuals
    return (dy / (1 - rate),)


def dropout_without_scale(residuals: Any, dy: Array) -> tuple[Array]:
    return (np.where(residuals[0], dy, 0),)


def dropout_by_quotient(residuals: Any, dy: Array) -> tuple[Array]:
    _, _, x, y = residuals
    return (np.where(x == 0, dy, y / np.where(x == 0, 1, x) * dy),)


def dropout_drawn_again(residuals: Any, dy: Array) -> tuple[Array]:
    _, rate, *_ = residuals
    return (np.where(GENERATOR.random(dy.shape) < rate, 0, dy / (1 - rate)),)


def dropout(x: Any, *, mask: Any, rate: float) -> Any:
    return x * mask / (1 - rate)


DROPPED = (dropout_fwd, dropout_bwd)
WITH_A_ZERO = np.array([[1.5, 0.0, -0.5, 2.0], [0.7, -1.2, 0.4, 0.9], [-0.3, 1.1, -2.0, 0.6]])

BUGS = (
    Bug(
        "tanh at its output",
        "davidrmiller/neural2d#40",
        "The derivative is taken at the output of tanh, as if that were its input.",
        wrong=entrywise(np.tanh, lambda x: 1 - np.tanh(np.tanh(x)) ** 2),
        right=TANH,
        reference=jnp.tanh,
        arguments=(signed(3, 4),),
        causes={"x": "wrong point: "},
    ),
    Bug(
        "tanh in parentheses",
        LEARNERS,
        "The whole difference is squared: (1 - y)^2 instead of 1 - y^2.",
        wrong=entrywise(np.tanh, lambda x: (1 - np.tanh(x)) ** 2),
        right=TANH,
        reference=jnp.tanh,
        arguments=(signed(3, 4),),
        causes={"x": "term missing: "},
    ),
    Bug(
        "tanh without its one",
        "scutan90/DeepLearning-500-questions#544",
        "The derivative is given as -y^2 instead of 1 - y^2.",
        wrong=entrywise(np.tanh, lambda x: -(np.tanh(x) ** 2)),
        right=TANH,
        reference=jnp.tanh,
        arguments=(signed(3, 4),),
        causes={"x": "term missing: "},
    ),
    Bug(
        "dish of the input",
        "explosion/thinc#719",
        "The layer takes the derivative at its input instead of at what the activation was given.",
        wrong=(dish_fwd, dish_at_the_input),
        right=(dish_fwd, dish_bwd),
        reference=dish,
        arguments=(signed(3, 4), signed(3, 4, seed=1)),
        causes={"x": "wrong point: ", "b": "wrong point: "},
    ),
    Bug(
        "half of mish",
        LEARNERS,
        "The product rule is left half done: the slope of tanh(softplus(x)) is missing.",
        wrong=entrywise(lambda x: x * np.tanh(softplus(x)), lambda x: np.tanh(softplus(x))),
        right=MISH,
        reference=jax.nn.mish,
        arguments=(signed(3, 4),),
        causes={"x": "one path lost: "},
    ),
    Bug(
        "relu asks its output",
        "iamtrask/Grokking-Deep-Learning#56",
        "The step function x >= 0 is given the output, which is never negative, so nothing is masked.",
        wrong=entrywise(lambda x: np.maximum(x, 0), lambda x: np.maximum(x, 0) >= 0),
        right=RELU,
        reference=jax.nn.relu,
        arguments=(signed(3, 4),),
        causes={"x": "mask not applied: "},
    ),
    Bug(
        "leaky_relu forgets alpha",
        "deeplearning4j/deeplearning4j#8178",
        "The backward pass does not take alpha and uses the default.",
        wrong=(leaky_relu_fwd, leaky_relu_of_one_alpha),
        right=(leaky_relu_fwd, leaky_relu_bwd),
        reference=lambda x, *, alpha=0.01: jax.nn.leaky_relu(x, alpha),
        arguments=(signed(3, 4),),
        options={"alpha": 0.3},
        causes={"x": "option ignored: "},
    ),
    Bug(
        "prelu asks its output",
        "PaddlePaddle/Paddle#12538",
        "The side is decided by the sign of the output, which a negative alpha turns round.",
        wrong=(prelu_fwd, prelu_by_its_output),
        right=(prelu_fwd, prelu_bwd),
        reference=prelu,
        arguments=(np.array([-0.3, -0.2, -0.5]), signed(4, 3)),
        causes={"alpha": "the gradient is zero everywhere", "x": "wrong point: "},
    ),
    Bug(
        "abs at zero",
        "KhawajaAbaid/micrograd_c#4",
        "Zero is counted as positive: its slope is 1 instead of 0.",
        wrong=entrywise(np.abs, lambda x: np.where(x >= 0, 1, -1)),
        right=entrywise(np.abs, np.sign),
        reference=lambda x: jnp.maximum(x, -x),
        arguments=(np.array([1.5, 0.0, -2.0, 0.7]),),
        causes={"x": "kink: "},
    ),
    Bug(
        "diagonal of softmax",
        "eriklindernoren/ML-From-Scratch#71",
        "Softmax is treated as an entrywise function: only the diagonal y (1 - y) of its Jacobian is used.",
        wrong=(softmax_fwd, diagonal_of_softmax),
        right=(softmax_fwd, softmax_bwd),
        reference=jax.nn.softmax,
        arguments=(normal(3, 4),),
        causes={"x": "term missing: "},
    ),
    Bug(
        "softmax over the whole batch",
        "nntrainer/nntrainer#430",
        "Maximum and sum go over all axes, so every sample is normalized by all of them.",
        wrong=(softmax_of_all_fwd, softmax_of_all_bwd),
        right=(softmax_fwd, softmax_bwd),
        reference=jax.nn.softmax,
        arguments=(normal(3, 4),),
        causes={"": "another function than the reference"},
    ),
    Bug(
        "dropout without its mask",
        "ddbourgin/numpy-ml#94",
        "The gradient is scaled by 1 / (1 - rate) but reaches the dropped units too.",
        wrong=(dropout_fwd, dropout_without_mask),
        right=DROPPED,
        reference=dropout,
        arguments=(signed(3, 4),),
        options=KEPT,
        causes={"x": "mask not applied: "},
    ),
    Bug(
        "dropout without its scale",
        "rohitg00/ai-engineering-from-scratch#17",
        "The kept units miss the factor 1 / (1 - rate) of inverted dropout.",
        wrong=(dropout_fwd, dropout_without_scale),
        right=DROPPED,
        reference=dropout,
        arguments=(signed(3, 4),),
        options=KEPT,
        causes={"x": "constant factor: "},
    ),
    Bug(
        "dropout guesses its mask",
        "kaldi-asr/kaldi#3890",
        "The mask is recovered as y / x, and where x is 0 the unit is taken for kept.",
        wrong=(dropout_fwd, dropout_by_quotient),
        right=DROPPED,
        reference=dropout,
        arguments=(WITH_A_ZERO,),
        options=KEPT,
        causes={"x": "a single entry is wrong: "},
    ),
    Bug(
        "dropout draws again",
        "Benny-Nottonson/voodoo#19",
        "The backward pass draws a mask of its own.",
        wrong=(dropout_fwd, dropout_drawn_again),
        right=DROPPED,
        reference=dropout,
        arguments=(signed(3, 4),),
        options=KEPT,
        causes={"": "bwd is not a function of its arguments: it draws random numbers"},
    ),
)
