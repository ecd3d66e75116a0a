"""One step of training, or of an optimizer, as each library makes it: purenet, NumPy by hand, torch and JAX.

All have the same parameters at the start and the same data, so that after as many steps their parameters agree.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import optree

from benchmarks import torch_nets
from purenet import models, optimizers, random, training
from purenet.op import Array
from purenet.optimizers.combining import moved_by

__all__ = ["PEERS", "PROBLEMS", "Step", "prepared", "present", "start"]


class Step(NamedTuple):
    """`run()` makes one step; `parameters()` are the arrays after it, in the order of the tree."""

    run: Callable[[], object]
    parameters: Callable[[], list[Array]]


class Net(NamedTuple):
    """The training of a net on one batch."""

    model: ModuleType
    batch: Callable[[np.random.Generator, Any], dict[str, Any]]
    init: Mapping[str, Any] = {}
    dtype: str = "float32"
    optimizer: str = "sgd"


class Arrays(NamedTuple):
    """The update of parameters by an optimizer; the gradients stay the same."""

    optimizer: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float32"


def _images(shape: tuple[int, ...]) -> Callable[[np.random.Generator, Any], dict[str, Any]]:
    def batch(generator: np.random.Generator, dtype: Any) -> dict[str, Any]:
        return {"x": generator.random(shape).astype(dtype), "loss": {"labels": generator.integers(0, 10, shape[0])}}

    return batch


def _words(generator: np.random.Generator, dtype: Any) -> dict[str, Any]:
    ids = generator.integers(0, 256, (8, 65))
    return {"net": {"embedding": {"ids": ids[:, :-1]}}, "loss": {"labels": ids[:, 1:]}}


RATE = 0.01
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "adam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "rmsprop": {"decay": 0.9, "eps": 1e-8, "eps_in_sqrt": False},
}
"""The options of each optimizer, by the names of purenet and optax."""
MANY = ((32, 32),) * 100
LARGE = ((10_000_000,),)
DEEP = ((784, 256), (256,), (256, 256), (256,), (256, 10), (10,))

PROBLEMS: dict[str, Net | Arrays] = {
    "two-layer 784-50-10, 100 rows, float32": Net(models.two_layer_net, _images((100, 784))),
    "two-layer 784-50-10, 100 rows, float64": Net(models.two_layer_net, _images((100, 784)), dtype="float64"),
    "LeNet, 32 images, Adam": Net(models.lenet, _images((32, 1, 28, 28)), optimizer="adam"),
    "GPT of 2 layers, 8 x 64 words, Adam": Net(models.gpt, _words, optimizer="adam"),
    **{f"{name}, 100 arrays of 32 x 32": Arrays(name, MANY) for name in SETTINGS},
    **{f"{name}, arrays of 784-256-256-10": Arrays(name, DEEP) for name in SETTINGS},
    **{f"{name}, 10 million float32": Arrays(name, LARGE) for name in SETTINGS},
}


def start(problem: Net | Arrays) -> tuple[Any, Any]:
    """The parameters, and the batch or the gradients."""
    generator = np.random.default_rng(0)
    dtype = np.dtype(problem.dtype)
    if isinstance(problem, Net):
        params = {"net": problem.model.init(random.key(0), dtype=dtype, **problem.init)}
        return params, problem.batch(generator, dtype)
    # Zero beside numbers near 1: a rule divides by the root of its averages everywhere.
    first, second = ([generator.uniform(0.5, 1, shape).astype(dtype) for shape in problem.shapes] for _ in range(2))
    return first, second


# ----------------------------------------------------------------------------------------------------- purenet


def _ours(name: str) -> optimizers.GradientTransformation:
    maker = optimizers.sgd if name == "momentum" else getattr(optimizers, name)
    made: optimizers.GradientTransformation = maker(RATE, **SETTINGS[name])
    return made


def by_purenet(problem: Net | Arrays) -> Step:
    """A step of `training.make_step`; of an optimizer the walk that such a step makes."""
    params, data = start(problem)
    optimizer = _ours(problem.optimizer)
    if isinstance(problem, Net):
        step = training.make_step(problem.model.goal(), optimizer)
        now = [training.start(optimizer, params, random.key(0))]

        def train() -> None:
            now[0], _ = step(now[0], data)

        return Step(train, lambda: optree.tree_leaves(now[0].params))
    move, held = moved_by("benchmark", "optimizer", optimizer), [params, optimizer.init(params)]

    def update() -> None:
        held[:] = move(data, held[1], held[0])

    return Step(update, lambda: optree.tree_leaves(held[0]))


def by_two_calls(problem: Net | Arrays) -> Step | None:
    """`optimizer.update`, then `apply_updates`."""
    if isinstance(problem, Net):
        return None
    params, grads = start(problem)
    optimizer = _ours(problem.optimizer)
    held = [params, optimizer.init(params)]

    def update() -> None:
        updates, held[1] = optimizer.update(grads, held[1], held[0])
        held[0] = optimizers.apply_updates(held[0], updates)

    return Step(update, lambda: optree.tree_leaves(held[0]))


# ----------------------------------------------------------------------------------------------------- NumPy by hand


def by_hand(problem: Net | Arrays) -> Step | None:
    """The two-layer net as the book writes it; an optimizer in place."""
    if isinstance(problem, Arrays):
        return _in_place(problem)
    if problem.model is not models.two_layer_net:
        return None
    params, data = start(problem)
    leaves = optree.tree_leaves(params)
    b1, w1, b2, w2 = leaves
    x, labels = data["x"], data["loss"]["labels"]
    rows = np.arange(len(x))

    def step() -> float:
        a = x @ w1 + b1
        mask = a <= 0
        h = a.copy()
        h[mask] = 0
        z = h @ w2 + b2
        e = np.exp(z - z.max(axis=1, keepdims=True))
        y = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(y[rows, labels] + 1e-7).sum() / len(x)
        d = y.copy()
        d[rows, labels] -= 1
        d /= len(x)
        dw2, db2 = h.T @ d, d.sum(axis=0)
        dh = d @ w2.T
        dh[mask] = 0
        dw1, db1 = x.T @ dh, dh.sum(axis=0)
        for p, g in ((w1, dw1), (b1, db1), (w2, dw2), (b2, db2)):
            p -= RATE * g
        return float(loss)

    return Step(step, lambda: leaves)


def _in_place(problem: Arrays) -> Step:
    params, grads = start(problem)
    first, second = ([np.zeros_like(p) for p in params] for _ in range(2))
    o = SETTINGS[problem.optimizer]
    b1, b2, eps, count = o.get("b1", 0.0), o.get("b2", 0.0), o.get("eps", 0.0), [0]

    def adam(p: Array, g: Array, m: Array, v: Array) -> None:
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        if "weight_decay" in o:
            p *= 1 - RATE * o["weight_decay"]
        root = np.sqrt(v)
        root /= (1 - b2 ** count[0]) ** 0.5
        root += eps
        p -= (RATE / (1 - b1 ** count[0])) * m / root

    def momentum(p: Array, g: Array, m: Array, v: Array) -> None:
        m *= o["momentum"]
        m += g
        p -= RATE * m

    def rmsprop(p: Array, g: Array, m: Array, v: Array) -> None:
        v *= o["decay"]
        v += (1 - o["decay"]) * (g * g)
        p -= RATE * g / (np.sqrt(v) + eps)

    def sgd(p: Array, g: Array, m: Array, v: Array) -> None:
        p -= RATE * g

    rule = {"adam": adam, "adamw": adam, "momentum": momentum, "rmsprop": rmsprop, "sgd": sgd}[problem.optimizer]

    def update() -> None:
        count[0] += 1
        for arrays in zip(params, grads, first, second, strict=True):
            rule(*arrays)

    return Step(update, lambda: params)


# ----------------------------------------------------------------------------------------------------- torch


def by_torch(problem: Net | Arrays, **options: Any) -> Step | None:
    """torch, eager, with its default implementation of the optimizer."""
    import torch

    torch.set_num_threads(1)
    params, data = start(problem)
    tensors: Any = optree.tree_map(lambda p: torch.tensor(p, requires_grad=True), params)
    leaves: list[Any] = optree.tree_leaves(tensors)
    o = SETTINGS[problem.optimizer]
    of_adam = {"betas": (o.get("b1"), o.get("b2")), "eps": o.get("eps"), "lr": RATE, **options}
    makers: dict[str, Callable[[], Any]] = {
        "sgd": lambda: torch.optim.SGD(leaves, RATE, **options),
        "momentum": lambda: torch.optim.SGD(leaves, RATE, momentum=o["momentum"], **options),
        "adam": lambda: torch.optim.Adam(leaves, **of_adam),
        "adamw": lambda: torch.optim.AdamW(leaves, weight_decay=o["weight_decay"], **of_adam),
        "rmsprop": lambda: torch.optim.RMSprop(leaves, RATE, alpha=o["decay"], eps=o["eps"]),
    }
    optimizer = makers[problem.optimizer]()

    def parameters() -> list[Array]:
        return [leaf.detach().numpy() for leaf in leaves]

    if isinstance(problem, Arrays):
        for leaf, g in zip(leaves, data, strict=True):
            leaf.grad = torch.tensor(g)
        return Step(optimizer.step, parameters)
    logits = torch_nets.LOGITS[problem.model]
    given = torch.tensor(data["x"] if "x" in data else data["net"]["embedding"]["ids"])
    labels = torch.tensor(data["loss"]["labels"]).reshape(-1)

    def step() -> None:
        optimizer.zero_grad()
        scores = logits(tensors["net"], given)
        torch.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), labels).backward()
        optimizer.step()

    return Step(step, parameters)


def by_fused_torch(problem: Net | Arrays) -> Step | None:
    """torch, eager, with the fused implementation of the optimizer."""
    return None if isinstance(problem, Net) or problem.optimizer == "rmsprop" else by_torch(problem, fused=True)


# ----------------------------------------------------------------------------------------------------- JAX


def by_jax(problem: Net | Arrays) -> Step:
    """JAX and optax, the whole step compiled; the nets are the references of the catalogue."""
    import jax
    import optax

    jax.config.update("jax_enable_x64", problem.dtype == "float64")
    params, data = start(problem)
    name, o = problem.optimizer, dict(SETTINGS[problem.optimizer])
    optimizer = optax.sgd(RATE, **o) if name in ("sgd", "momentum") else getattr(optax, name)(RATE, **o)
    if isinstance(problem, Net):
        from oracle import catalogue

        reference: Any = catalogue.find(problem.model.goal().name).reference  # type: ignore[union-attr]

        def gradient(params: Any, data: Any) -> Any:
            return jax.grad(lambda p: reference(p, **data))(params)
    else:

        def gradient(params: Any, data: Any) -> Any:
            return data

    @jax.jit
    def step(params: Any, state: Any, data: Any) -> Any:
        updates, state = optimizer.update(gradient(params, data), state, params)
        return optax.apply_updates(params, updates), state

    held = [params, optimizer.init(params)]

    def run() -> None:
        held[:] = jax.block_until_ready(step(held[0], held[1], data))

    return Step(run, lambda: [np.asarray(leaf) for leaf in optree.tree_leaves(held[0])])


PEERS: dict[str, tuple[Callable[[Any], Step | None], str]] = {
    "purenet": (by_purenet, "numpy"),
    "purenet, two calls": (by_two_calls, "numpy"),
    "NumPy by hand": (by_hand, "numpy"),
    "torch": (by_torch, "torch"),
    "torch, fused": (by_fused_torch, "torch"),
    "JAX, jit": (by_jax, "optax"),
}
"""By name: how a peer makes a step, and the module that it needs."""


def present(peer: str) -> bool:
    """Whether the library of a peer is installed."""
    return importlib.util.find_spec(PEERS[peer][1]) is not None


def prepared(peer: str, problem: str) -> Step | None:
    """The step of a peer; None where it has none for this problem."""
    return PEERS[peer][0](PROBLEMS[problem])
