"""Initial values of parameters, named as in `jax.nn.initializers`.

    init = initializers.he_normal()
    w = init(random.key(0), (784, 50))                 # init(key, shape, dtype=float64)

`zeros` and `ones` are such functions themselves; all others make one. The same key gives JAX's numbers, to rounding. Of the
16-bit dtypes JAX has no `orthogonal`; here it is float32's, rounded.

Conventions: `glorot_normal` (Xavier), `he_normal` (Kaiming) and `lecun_normal` are *truncated* normals, cut at two standard
deviations and rescaled to the stated variance, and Xavier's variance is 2 / (fan_in + fan_out), as in JAX and keras. Plain
normals are

    variance_scaling(2.0, "fan_in", "normal")          # He et al.: std sqrt(2 / fan_in), for relu; torch's kaiming_normal_
    variance_scaling(1.0, "fan_in", "normal")          # Xavier in Deep Learning from Scratch: std sqrt(1 / fan_in)
    variance_scaling(1.0, "fan_avg", "normal")         # torch's xavier_normal_

The fans of a shape are those of weights [in, out], as in `affine`; convolution weights OIHW need in_axis=1, out_axis=0.
`layers` knows both, and gives the weights and biases of a whole net.
"""

from purenet.initializers.cells import recurrent
from purenet.initializers.core import Initializer
from purenet.initializers.entries import constant, normal, ones, truncated_normal, uniform, zeros
from purenet.initializers.fans import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)
from purenet.initializers.layers import Scheme, layers
from purenet.initializers.matrices import delta_orthogonal, identity, orthogonal

__all__ = [
    "Initializer",
    "Scheme",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "layers",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "recurrent",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
