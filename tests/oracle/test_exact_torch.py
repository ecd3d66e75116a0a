"""Functions of torch on balls: derivatives beside those of torch.autograd, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oracle.exact.fx import forward_of
from oracle.exact.kinks import NotExact
from oracle.exact.witness import directional

ROWS, IMAGES = (3, 4), (2, 4, 5, 5)
FUNCTIONS: dict[str, tuple[tuple[int, ...], Callable[[Any, Any], Callable[[Any], Any]]]] = {
    "softmax": (ROWS, lambda torch, f: lambda x: f.softmax(x, -1)),
    "gelu": (ROWS, lambda torch, f: f.gelu),
    "layer_norm": (ROWS, lambda torch, f: lambda x: f.layer_norm(x, (4,))),
    "linear": (ROWS, lambda torch, f: torch.nn.Linear(4, 2).double()),
    "logsumexp": (ROWS, lambda torch, f: lambda x: torch.logsumexp(x, 1)),
    "cross_entropy": (ROWS, lambda torch, f: lambda x: f.cross_entropy(x, torch.tensor([0, 1, 2]))),
    "batch_norm": (ROWS, lambda torch, f: lambda x: f.batch_norm(x, None, None, training=True)),
    "attention": (ROWS, lambda torch, f: lambda x: f.scaled_dot_product_attention(x[None], x[None], x[None])),
    "a layer of a transformer": (
        (1, *ROWS),
        lambda torch, f: torch.nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True).double(),
    ),
    "std": (ROWS, lambda torch, f: lambda x: x.std(1)),
    "max": (ROWS, lambda torch, f: lambda x: x.max(1).values),
    "cumsum": (ROWS, lambda torch, f: lambda x: torch.cumsum(x, 1)),
    "slices": (ROWS, lambda torch, f: lambda x: torch.cat([x[1:, ::2] * x[:2, 1, None], x[[2, 0], 2:]], 1)),
    "in place": (ROWS, lambda torch, f: lambda x: x.clone().mul_(2.0).sin()),
    "conv2d": (IMAGES, lambda torch, f: torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2).double()),
    "max_pool2d": (IMAGES, lambda torch, f: lambda x: f.max_pool2d(x, 2)),
    "group_norm": (IMAGES, lambda torch, f: lambda x: f.group_norm(x, 2)),
    "pad": (IMAGES, lambda torch, f: lambda x: f.pad(x, (1, 2)) ** 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    shape, made = FUNCTIONS[name]
    function, generator = made(torch, torch.nn.functional), np.random.default_rng(1)
    x, along = generator.normal(size=shape), generator.normal(size=shape)
    forward = forward_of(function, (x,), {})
    tensor = torch.tensor(x, requires_grad=True)
    value = function(tensor)
    weights = generator.normal(size=tuple(value.shape))
    (gradient,) = torch.autograd.grad(value, tensor, torch.tensor(weights))
    found = directional(forward, (x,), {}, (along,), weights)
    assert found.relative_error(float((gradient.numpy() * along).sum())) < 1e-13
    assert found.misfit < 1e-14


def test_trees_and_options() -> None:
    torch = pytest.importorskip("torch")

    def function(params: Any, x: Any, *, scale: Any) -> Any:
        return {"y": torch.sin(x @ params["w"]) * scale, "n": (x**2).sum()}

    w, x, scale = np.ones((4, 2)), np.linspace(-1, 1, 12).reshape(3, 4), np.array([2.0, 3.0])
    forward = forward_of(function, ({"w": w}, x), {"scale": scale})
    weights = {"y": np.ones((3, 2)), "n": 2.0}
    found = directional(forward, ({"w": w}, x), {}, ({"w": 0 * w}, np.ones(x.shape)), weights)
    right = float((np.cos(x.sum(axis=1)) * 4).sum() * scale.sum() + 4 * x.sum())
    assert found.relative_error(right) < 1e-14


REFUSED: dict[str, tuple[Callable[[Any], Callable[[Any], Any]], str]] = {
    "float32": (lambda torch: lambda x: x.float().exp().double(), "computes in float32"),
    "random numbers": (lambda torch: lambda x: x * torch.rand(4), "draws random numbers"),
    "a Fourier transform": (lambda torch: lambda x: torch.fft.rfft(x).abs(), "no exact rule for the torch primitive"),
    "Python code that asks for a number": (lambda torch: lambda x: x if x.sum() > 0 else -x, "torch.fx cannot trace it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    torch = pytest.importorskip("torch")
    made, reason = REFUSED[name]
    x = np.ones((3, 4))

    def evaluated() -> None:
        forward = forward_of(made(torch), (x,), {})
        directional(forward, (x,), {}, (x,), forward(x))

    with pytest.raises(NotExact, match=reason):
        evaluated()
