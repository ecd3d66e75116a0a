"""Someone else's op, with a mistake. `oracle verify oracle.examples.own_op:mean_squared_error` finds it and says what it is."""

import jax.numpy as jnp
import numpy as np

import oracle


def mean_squared_error(w, x, targets):
    error = x @ w - targets
    return np.mean(error**2), (x, w, error)


def mean_squared_error_bwd(residuals, dy):
    x, w, error = residuals
    n = len(x)
    derror = dy * 2 * error / error.size / n  # the mean over the batch is taken a second time
    return x.T @ derror, derror @ w.T, -derror


def reference(w, x, targets):
    return jnp.mean((jnp.dot(x, w) - targets) ** 2)


check = oracle.Spec(
    (mean_squared_error, mean_squared_error_bwd),
    cases=(
        oracle.Case("batch of 100", lambda draw: (draw.normal(5, 3), draw.normal(100, 5), draw.normal(100, 3))),
        oracle.Case("one row", lambda draw: (draw.normal(5, 3), draw.normal(1, 5), draw.normal(1, 3))),
    ),
    reference=reference,
)
