"""Memory, state, dtypes, and the bookkeeping of graphs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracle.planted import signed
from tests.zoo.activations import softmax_bwd, softmax_fwd
from tests.zoo.arithmetic import ADD, add_fwd
from tests.zoo.record import BOOK, LEARNERS, Array, Bug, entrywise

# ------------------------------------------------------------------------------------------------ memory that is not ours


def softmax_in_place(y: Array, dy: Array) -> tuple[Array]:
    np.multiply(dy, y, out=dy)
    dy -= y * dy.sum(axis=-1, keepdims=True)
    return (dy,)


def relu_fwd(x: Array) -> tuple[Array, Array]:
    return np.maximum(x, 0), x <= 0


def relu_bwd(mask: Array, dy: Array) -> tuple[Array]:
    return (np.where(mask, 0, dy),)


def relu_in_place(mask: Array, dy: Array) -> tuple[Array]:
    dy[mask] = 0
    return (dy,)


def gated_fwd(a: Array, b: Array) -> tuple[Array, Any]:
    return a * np.tanh(b), (a, b)


def gated_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    a, b = residuals
    t = np.tanh(b)
    return dy * t, dy * a * (1 - t * t)


def gated_over_its_arguments(residuals: Any, dy: Array) -> tuple[Array, Array]:
    da, db = gated_bwd(residuals, dy)
    residuals[0][...], residuals[1][...] = da, db
    return da, db


def add_shared(residuals: Any, dy: Array) -> tuple[Array, Array]:
    return dy, dy


# ------------------------------------------------------------------------------------------------ state between calls


class Workspace:
    """Doubles into a buffer that it keeps."""

    def __init__(self) -> None:
        self.output = np.zeros((3, 4))

    def double_fwd(self, x: Array) -> tuple[Array, None]:
        np.multiply(2, x, out=self.output)
        return self.output, None

    def double_bwd(self, residuals: None, dy: Array) -> tuple[Array]:
        return (2 * dy,)


class Square:
    """Remembers the input of the last call only."""

    def square_fwd(self, x: Array) -> tuple[Array, None]:
        self.x = x.copy()
        return x * x, None

    def square_bwd(self, residuals: None, dy: Array) -> tuple[Array]:
        return (2 * self.x * dy,)


WORKSPACE, SQUARE = Workspace(), Square()
DOUBLE = entrywise(lambda x: 2 * x, lambda x: 2.0)
SQUARES = entrywise(lambda x: x * x, lambda x: 2 * x)

# ------------------------------------------------------------------------------------------------ graphs and dtypes


def square_of_tanh_fwd(x: Array) -> tuple[Array, Array]:
    b = np.tanh(x)
    return b * b, b


def square_of_tanh_bwd(b: Array, dy: Array) -> tuple[Array]:
    return (2 * b * dy * (1 - b * b),)


def square_of_tanh_by_paths(b: Array, dy: Array) -> tuple[Array]:
    """Each use adds to the gradient of b and sends on all that has come together there so far."""
    db, dx = np.zeros_like(b), np.zeros_like(b)
    for other in (b, b):
        db = db + other * dy
        dx = dx + db * (1 - b * b)
    return (dx,)


def square_overwriting(x: Array, dy: Array) -> tuple[Array]:
    grads = {}
    for operand, other in (("x", x), ("x", x)):
        grads[operand] = other * dy
    return (grads["x"],)


def square_residual_fwd(x: Array) -> tuple[Array, Array]:
    return x * x, x.copy()


def cube_fwd(x: Array) -> tuple[Array, Array]:
    return x**3, x.copy()


def cube_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (3 * x * x * dy,)


def cube_of_whole_numbers(x: Array, dy: Array) -> tuple[Array]:
    dx = np.zeros(x.shape, int)
    dx[...] = 3 * x * x * dy
    return (dx,)


BUGS = (
    Bug(
        "softmax over its upstream",
        "NVIDIA/apex#1430",
        "The result of the backward pass is written over the gradient that came from above.",
        wrong=(softmax_fwd, softmax_in_place),
        right=(softmax_fwd, softmax_bwd),
        reference=jax.nn.softmax,
        arguments=(signed(3, 4),),
        causes={"": "the backward pass writes to the caller's dy"},
    ),
    Bug(
        "relu over its upstream",
        f"{BOOK}, section 5.5.1",
        "dout[mask] = 0 changes the array of the caller.",
        wrong=(relu_fwd, relu_in_place),
        right=(relu_fwd, relu_bwd),
        reference=jax.nn.relu,
        arguments=(signed(3, 4),),
        causes={"": "the backward pass writes to the caller's dy"},
    ),
    Bug(
        "gate over its arguments",
        "linkedin/Liger-Kernel#254",
        "The gradients are stored where the arguments of the forward pass lie, which others may have kept.",
        wrong=(gated_fwd, gated_over_its_arguments),
        right=(lambda a, b: gated_fwd(a.copy(), b.copy()), gated_bwd),
        reference=lambda a, b: a * jnp.tanh(b),
        arguments=(signed(3, 4), signed(3, 4, seed=1)),
        causes={
            "a": "the backward pass writes to an argument of the forward pass",
            "b": "the backward pass writes to an argument of the forward pass",
        },
    ),
    Bug(
        "one array for two gradients",
        LEARNERS,
        "A sum hands the array of its upstream to both operands, so that what adds to one changes the other.",
        wrong=(add_fwd, add_shared),
        right=ADD,
        reference=jnp.add,
        arguments=(signed(3), signed(3, seed=1)),
        causes={
            "a": "the gradient shares memory with the caller's dy",
            "b": "the gradient shares memory with the caller's dy",
        },
    ),
    Bug(
        "every output in one buffer",
        "torch/torch7#935",
        "Each forward pass returns the same memory, so that the output of an earlier one changes.",
        wrong=(WORKSPACE.double_fwd, WORKSPACE.double_bwd),
        right=DOUBLE,
        reference=lambda x: 2 * x,
        arguments=(signed(3, 4),),
        causes={"": "shared buffer: two forward passes return the same memory"},
    ),
    Bug(
        "one module used twice",
        "jmschrei/tangermeme#54",
        "A module keeps the input of its last call only, and uses it for the earlier ones too.",
        wrong=(SQUARE.square_fwd, SQUARE.square_bwd),
        right=SQUARES,
        reference=jnp.square,
        arguments=(signed(3, 4),),
        causes={"x": "stale or shared buffer: another forward pass in between changes what bwd returns"},
    ),
    Bug(
        "reused node sent on too early",
        "karpathy/micrograd#2",
        "A node that is used twice sends on what it has with every use: the first share counts twice.",
        wrong=(square_of_tanh_fwd, square_of_tanh_by_paths),
        right=(square_of_tanh_fwd, square_of_tanh_bwd),
        reference=lambda x: jnp.tanh(x) ** 2,
        arguments=(signed(3, 4),),
        causes={"x": "constant factor: "},
    ),
    Bug(
        "reused node overwritten",
        "PaddlePaddle/Paddle#3689",
        "A variable that is both operands of a product keeps the gradient of the second only.",
        wrong=(square_residual_fwd, square_overwriting),
        right=SQUARES,
        reference=jnp.square,
        arguments=(signed(3, 4),),
        causes={"x": "constant factor: "},
    ),
    Bug(
        "gradient in an integer array",
        "nu-radio/NuRadioMC#1061",
        "The gradient is written into an array of integers, which truncates it.",
        wrong=(cube_fwd, cube_of_whole_numbers),
        right=(cube_fwd, cube_bwd),
        reference=lambda x: x**3,
        arguments=(signed(3, 4),),
        causes={"x": "integer dtype: "},
    ),
)
