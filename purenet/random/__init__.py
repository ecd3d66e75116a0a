"""Random numbers as pure functions of a key: the threefry generator of `jax.random`, in NumPy.

    key = random.key(0)                                # from a seed
    for_weights, for_dropout = random.split(key)       # independent keys; use each one once
    w = random.normal(for_weights, (784, 50))

A key is a NumPy array of dtype uint32 and shape (2,): `jax.random.key_data` of JAX's key. Nothing else is accepted as
one, and the keys made here are read-only. The same key gives the same numbers, always, and the same as `jax.random`
does (threefry2x32 with `jax_threefry_partitionable`, the default): `bits`, `uniform`, `bernoulli`, `randint` and
`permutation` bit for bit, the others to rounding.

Conventions: the default dtype is NumPy's, float64, where JAX's is float32 unless its x64 flag is set; numbers of
different dtypes come from different bits. `key(seed)` is JAX's key with x64 enabled. For seeds below 2**32 the flag
makes no difference; without it JAX drops the upper half of a larger seed, so that 2**32 and 0 are the same to it. Negative
seeds, whose keys depend on the flag, are errors here. float16 and bfloat16 are rounded after each step, as XLA does.
"""

from purenet.random.checks import check_key
from purenet.random.continuous import exponential, gumbel, normal, orthogonal, truncated_normal, uniform
from purenet.random.discrete import bernoulli, categorical, choice, permutation, randint
from purenet.random.threefry import bits, fold_in, key, split

__all__ = [
    "bernoulli",
    "bits",
    "categorical",
    "check_key",
    "choice",
    "exponential",
    "fold_in",
    "gumbel",
    "key",
    "normal",
    "orthogonal",
    "permutation",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]
