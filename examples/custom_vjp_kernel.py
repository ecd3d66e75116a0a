"""A `jax.custom_vjp` kernel whose rule is wrong, and `jax.test_util.check_grads` accepts it.

    python examples/custom_vjp_kernel.py

An RMSNorm in the style of fused kernels: the forward pass saves little, and the backward pass computes the root again. Here it
forgets the eps under the root. At ordinary inputs the error is a millionth of the gradient; in a row of small numbers it is as
large as the gradient, and in a row of zeros (padding) the gradient is NaN.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

import oracle


def mean_square(x):
    return jnp.mean(x * x, axis=-1, keepdims=True)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x, gamma, eps):
    """Divides x (..., D) by the root of its mean square, times gamma (D)."""
    return x * jax.lax.rsqrt(mean_square(x) + eps) * gamma


def rms_norm_fwd(x, gamma, eps):
    return rms_norm(x, gamma, eps), (x, gamma)


def rms_norm_bwd(eps, residuals, dy):
    x, gamma = residuals
    return cotangents(x, gamma, jax.lax.rsqrt(mean_square(x)), dy)


def cotangents(x, gamma, r, dy):
    z, dz = r * x, dy * gamma
    dx = r * (dz - z * jnp.mean(z * dz, axis=-1, keepdims=True))
    return dx, jnp.sum(dy * z, axis=tuple(range(x.ndim - 1)))


rms_norm.defvjp(rms_norm_fwd, rms_norm_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def mended(x, gamma, eps):
    """The kernel with the corrected rule."""
    return rms_norm(x, gamma, eps)


def mended_bwd(eps, residuals, dy):
    x, gamma = residuals
    return cotangents(x, gamma, jax.lax.rsqrt(mean_square(x) + eps), dy)


mended.defvjp(rms_norm_fwd, mended_bwd)


def reference(x, gamma, *, eps):
    """The same function in plain jax.numpy, which JAX differentiates as the reference."""
    return gamma * x / jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)


def points():
    """An ordinary batch, and one with a row of padding."""
    generator = np.random.default_rng(0)
    x, gamma = generator.normal(size=(6, 8)), 1 + 0.5 * generator.normal(size=8)
    padded = x.copy()
    padded[3] = 0
    return x, padded, gamma


def accepted_by_jax(kernel, x, gamma, eps):
    """Whether `check_grads` accepts the rule, in float64 and with its defaults."""
    with jax.enable_x64(True):
        try:
            check_grads(lambda x, gamma: kernel(x, gamma, eps), (x, gamma), order=1, modes=["rev"])
        except AssertionError:
            return False
    return True


def main():
    x, padded, gamma = points()
    options = {"eps": 1e-6}
    print("--- jax.test_util.check_grads, in float64\n")
    for kernel in (rms_norm, mended):
        print(f"{kernel.__name__}: {'accepted' if accepted_by_jax(kernel, x, gamma, **options) else 'NOT accepted'}")
    for kernel in (rms_norm, mended):
        for name, point in (("ordinary", x), ("padded", padded)):
            print(f"\n--- {kernel.__name__}: oracle.verify\n")
            print(oracle.verify(kernel, point, gamma, options=options, reference=reference, case=name))


if __name__ == "__main__":
    main()
