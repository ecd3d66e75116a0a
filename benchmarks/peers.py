"""The checkers: each is given a problem as its users would write it, with its defaults, and accepts it or does not."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.problems import Problem
from oracle.tensors import array_of, tensor
from oracle.verification import verify

__all__ = ["CHECKERS", "SCIPY_NOTICES", "Checker", "Noticed", "present"]

Checker = Callable[[Problem], None]

SCIPY_NOTICES = 1.5e-5  # its check_grad returns a number and leaves the judgement to its users: scikit-learn's tests have this


class Noticed(Exception):
    """The checker did not accept the gradient."""


def alone(problem: Problem) -> None:
    """`oracle.verify` with nothing but the forward function, as all others have it."""
    problem.check_is_derivative()
    with_reference(replace(problem, reference=None))


def with_reference(problem: Problem) -> None:
    """`oracle.verify` with its second witness."""
    result = verify(
        problem.op,
        *problem.arguments,
        options=problem.options,
        reference=problem.reference,
        flags=problem.flags,
        views=problem.views,
    )
    if not result.passed:
        raise Noticed(str(result))


def by_torch(problem: Problem, **options: Any) -> None:
    """`torch.autograd.gradcheck` of a `torch.autograd.Function`."""
    import torch

    def array(one: Any) -> Any:
        """The memory of torch itself, which an op may damage; NumPy cannot read bfloat16 there."""
        return array_of(one) if one.dtype == torch.bfloat16 else one.numpy()

    class Rule(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            y, ctx.residuals = problem.forward([array(one) for one in given])
            return tuple(tensor(a) for a in y)

        @staticmethod
        def backward(ctx: Any, *dy: Any) -> Any:
            gradients = problem.backward(ctx.residuals, [array(d) for d in dy])
            return tuple(tensor(g) for g in gradients)

    tensors = [tensor(leaf, wanted=True) for leaf in problem.leaves]
    torch.autograd.gradcheck(Rule.apply, tensors, **options)


def by_jax(problem: Problem) -> None:
    """`jax.test_util.check_grads` of a `jax.custom_vjp` function. Its rule cannot be differentiated again: order 1, reverse."""
    import jax
    from jax.test_util import check_grads

    def shapes(arrays: Any) -> Any:
        return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays)

    def value(*leaves: Any) -> Any:
        return tuple(problem.forward([np.asarray(a) for a in leaves])[0])

    def pullback(leaves: Any, dy: Any) -> Any:
        _, residuals = problem.forward([np.asarray(a) for a in leaves])
        return tuple(problem.backward(residuals, [np.asarray(d) for d in dy]))

    logging.getLogger("jax._src.callback").setLevel(logging.CRITICAL)  # it prints what it raises
    leaves = problem.leaves
    outputs = shapes(problem.forward(leaves)[0])

    @jax.custom_vjp
    def rule(*leaves: Any) -> Any:
        return jax.pure_callback(value, outputs, *leaves)

    rule.defvjp(
        lambda *leaves: (rule(*leaves), leaves),
        lambda given, dy: jax.pure_callback(pullback, shapes(leaves), given, dy),
    )
    with jax.enable_x64(True):
        check_grads(rule, leaves, order=1, modes=["rev"])


def by_autograd(problem: Problem) -> None:
    """`autograd.test_util.check_grads` of a primitive; order 1, reverse, as for JAX. Its directions are random: seeded here."""
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    sizes = [a.shape for a in problem.forward(problem.leaves)[0]]
    ends = np.cumsum([int(np.prod(shape)) for shape in sizes])[:-1]

    @primitive
    def rule(*leaves: Any) -> Any:
        return np.concatenate([a.ravel() for a in problem.forward(leaves)[0]])

    def pullback(argnums: Any, _: Any, leaves: Any, keywords: Any) -> Any:
        _, residuals = problem.forward(leaves)

        def of(dy: Any) -> Any:
            parts = [part.reshape(shape) for part, shape in zip(np.split(dy, ends), sizes, strict=True)]
            gradients = problem.backward(residuals, parts)
            return tuple(gradients[i] for i in argnums)

        return of

    defvjp_argnums(rule, pullback)
    leaves = problem.leaves
    np.random.seed(0)  # noqa: NPY002 - the generator that it draws from
    check_grads(rule, tuple(range(len(leaves))), modes=["rev"], order=1)(*leaves)


def by_scipy(problem: Problem) -> None:
    """`scipy.optimize.check_grad` of one number, the value times a random cotangent, as a function of one vector."""
    from scipy.optimize import check_grad

    leaves = problem.leaves
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    generator = np.random.default_rng(0)
    cotangent = [generator.normal(size=a.shape) for a in problem.forward(leaves)[0]]

    def arrays(x: Any) -> Any:
        return [part.reshape(leaf.shape).copy() for part, leaf in zip(np.split(x, ends), leaves, strict=True)]

    def value(x: Any) -> float:
        return sum(float(np.vdot(v, a)) for v, a in zip(cotangent, problem.forward(arrays(x))[0], strict=True))

    def gradient(x: Any) -> Any:
        _, residuals = problem.forward(arrays(x))
        return np.concatenate([g.ravel() for g in problem.backward(residuals, [v.copy() for v in cotangent])])

    error = check_grad(value, gradient, np.concatenate([leaf.ravel() for leaf in leaves]))
    if not error <= SCIPY_NOTICES:
        raise Noticed(f"check_grad returned {error:.1e}")


CHECKERS: dict[str, tuple[Checker, str, str]] = {
    "oracle.verify": (alone, "purenet", "oracle"),
    "oracle.verify, JAX reference": (with_reference, "purenet", "oracle"),
    "torch.autograd.gradcheck": (by_torch, "torch", "torch"),
    "jax.test_util.check_grads": (by_jax, "jax", "jax"),
    "autograd.test_util.check_grads": (by_autograd, "autograd", "autograd"),
    "scipy.optimize.check_grad": (by_scipy, "scipy", "scipy"),
}
"""By name: the checker, the distribution that it comes with, and the module that must be there."""


def present(name: str) -> str | None:
    """The version of a checker; None where it is not installed."""
    _, distribution, module = CHECKERS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except ImportError:
        return None
    return version(distribution)
