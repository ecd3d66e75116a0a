"""Turns functions, modules and classes as people write them into pairs (fwd, bwd) for `verify`.

`verify` itself adapts a `jax.custom_vjp`, `jax.custom_jvp` or jitted function, a subclass of `torch.autograd.Function` (or its
`apply`), a module of torch or equinox, and an autograd primitive. It cannot recognize a function that only calls one of them:
for such a function call `of_jax`, `of_torch` or `of_autograd`. These import their library only when they are called.

An object with `forward` and `backward` is adapted, too, and a pair (forward, backward) of a course, whose `backward` takes
`(dout, cache)`. `of_layer` says more about such an object, `of_net` adapts a net with `loss` and `gradient`, `of_call` a
function that returns `(value, gradients)`, `of_derivative` a function and its derivative, `of_engine` a small autodiff engine:
docs/classes.md.
"""

from oracle.adapters.autograd_functions import of_autograd
from oracle.adapters.calling import seeded
from oracle.adapters.calls import of_call, of_engine, of_functions
from oracle.adapters.classes import of_layer, of_net
from oracle.adapters.derivatives import of_derivative
from oracle.adapters.jax_functions import of_jax, traced, with_x64
from oracle.adapters.jax_modules import of_equinox
from oracle.adapters.pairs import Bound, bound, named, placed, settled
from oracle.adapters.places import Places
from oracle.adapters.recognized import adapted, reference_for, refusal
from oracle.adapters.torch_functions import (
    is_torch,
    like_reference,
    name_of,
    of_torch,
    tensors_of,
    torch_pullback,
    torch_reference,
)
from oracle.adapters.torch_modules import of_torch_module
from oracle.double_backward import Pair

__all__ = [
    "Bound",
    "Pair",
    "Places",
    "adapted",
    "bound",
    "is_torch",
    "like_reference",
    "name_of",
    "named",
    "of_autograd",
    "of_call",
    "of_derivative",
    "of_engine",
    "of_equinox",
    "of_functions",
    "of_jax",
    "of_layer",
    "of_net",
    "of_torch",
    "of_torch_module",
    "placed",
    "reference_for",
    "refusal",
    "seeded",
    "settled",
    "tensors_of",
    "torch_pullback",
    "torch_reference",
    "traced",
    "with_x64",
]
