"""Functions of torch on balls: derivatives beside those of torch.autograd, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oracle.exact.array import BallArray, lifted
from oracle.exact.fx import forward_of
from oracle.exact.kinks import NotExact
from oracle.exact.witness import directional

ROWS, IMAGES = (3, 4), (2, 4, 5, 5)


def of(module: Any, function: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """The function of this module and of an array."""
    wide = module.double()
    return lambda x: function(wide, x)


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
    "circular pad": (IMAGES, lambda torch, f: lambda x: f.pad(x, (1, 2, 1, 0), mode="circular") ** 2),
    "a normalization in training": (IMAGES, lambda torch, f: torch.nn.BatchNorm2d(4).double()),
    "weighted group_norm": (IMAGES, lambda torch, f: torch.nn.GroupNorm(2, 4).double()),
    "rms_norm": (ROWS, lambda torch, f: torch.nn.RMSNorm(4).double()),
    "local_response_norm": (IMAGES, lambda torch, f: lambda x: f.local_response_norm(x, 3)),
    "ConvTranspose1d": (
        IMAGES[1:],
        lambda torch, f: torch.nn.ConvTranspose1d(5, 4, 3, stride=2, padding=1, output_padding=1).double(),
    ),
    "ConvTranspose2d": (
        IMAGES,
        lambda torch, f: torch.nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (0, 1), groups=2, dilation=(2, 1)).double(),
    ),
    "avg_pool1d": (ROWS, lambda torch, f: lambda x: f.avg_pool1d(x[None], 3, 1, 1)),
    "avg_pool2d": (IMAGES, lambda torch, f: lambda x: f.avg_pool2d(x, 2)),
    "avg_pool2d at borders": (IMAGES, lambda torch, f: lambda x: f.avg_pool2d(x, (3, 2), 2, 1, True, False)),
    "avg_pool2d with ceil_mode": (IMAGES, lambda torch, f: lambda x: f.avg_pool2d(x, 3, 3, 1, True)),
    "avg_pool3d": ((1, 2, 3, 4, 3), lambda torch, f: lambda x: f.avg_pool3d(x, 2, divisor_override=3)),
    "max_pool2d with padding": (IMAGES, lambda torch, f: lambda x: f.max_pool2d(x, 3, 2, 1)),
    "fold": ((1, 8, 4), lambda torch, f: lambda x: f.fold(x, (3, 3), 2) ** 2),
    "grid_sample": (
        IMAGES,
        lambda torch, f: lambda x: f.grid_sample(x, torch.tanh(x[:, :2, 1:3, 2:4].transpose(1, 3)), align_corners=False),
    ),
    "cosine_similarity": (ROWS, lambda torch, f: lambda x: f.cosine_similarity(x, x[[1, 2, 0]] ** 2, 1)),
    "cosine_similarity with ones": (ROWS, lambda torch, f: lambda x: f.cosine_similarity(x, torch.ones(4).double(), 1)),
    "cdist": (ROWS, lambda torch, f: lambda x: torch.cdist(x, torch.sin(2 + x[:2]))),
    "cdist with p = 1": (ROWS, lambda torch, f: lambda x: torch.cdist(x, torch.sin(2 + x[:2]), p=1)),
    "pdist with p = 3": (ROWS, lambda torch, f: lambda x: f.pdist(x, 3)),
    "bilinear": (ROWS, lambda torch, f: of(torch.nn.Bilinear(4, 3, 2), lambda m, x: m(x, x[:, :3] ** 2))),
    "margin_ranking_loss": (ROWS, lambda torch, f: lambda x: f.margin_ranking_loss(x[0], x[1], torch.ones(4), 0.3)),
    "label smoothing": (ROWS, lambda torch, f: lambda x: f.cross_entropy(x, torch.tensor([0, -100, 2]), label_smoothing=0.1)),
    "hinge_embedding_loss": (ROWS, lambda torch, f: lambda x: f.hinge_embedding_loss(x, torch.tensor([1, -1, 1, -1]))),
    "LSTMCell": (ROWS, lambda torch, f: of(torch.nn.LSTMCell(4, 2), lambda m, x: m(x)[1])),
    "GRUCell": (ROWS, lambda torch, f: torch.nn.GRUCell(4, 2).double()),
    "RNNCell": (ROWS, lambda torch, f: torch.nn.RNNCell(4, 2).double()),
    "LSTM": (ROWS, lambda torch, f: of(torch.nn.LSTM(4, 2, 2), lambda m, x: m(x)[0])),
    "GRU": (ROWS, lambda torch, f: of(torch.nn.GRU(4, 2, bidirectional=True), lambda m, x: m(x)[0])),
    "logcumsumexp": (ROWS, lambda torch, f: lambda x: torch.logcumsumexp(x, 1)),
    "cummax": (ROWS, lambda torch, f: lambda x: torch.cummax(x, 1).values),
    "sort": (ROWS, lambda torch, f: lambda x: torch.sort(x, 0, descending=True).values ** 2),
    "topk": (ROWS, lambda torch, f: lambda x: torch.topk(x, 2, 1, largest=False).values ** 2),
    "median": (ROWS, lambda torch, f: lambda x: x.median() * x.median(1).values),
    "kthvalue": (ROWS, lambda torch, f: lambda x: torch.kthvalue(x, 3, 1).values ** 2),
    "scatter": (ROWS, lambda torch, f: lambda x: x.scatter(1, torch.tensor([[0, 2], [1, 3]]), x[1:, 1:3] ** 2)),
    "scatter_add": (ROWS, lambda torch, f: lambda x: x.scatter_add(0, torch.tensor([[0, 0, 2, 1]] * 3), x**2)),
    "index_add": (ROWS, lambda torch, f: lambda x: x[:2].index_add(0, torch.tensor([1, 1, 0]), x**2)),
    "writing into rows": (ROWS, lambda torch, f: lambda x: x.clone().index_put((torch.tensor([2, 0]),), x[1] ** 2)),
    "inv": ((3, 3), lambda torch, f: lambda x: torch.linalg.inv(x + 3 * torch.eye(3))),
    "solve": ((3, 3), lambda torch, f: lambda x: torch.linalg.solve(x + 3 * torch.eye(3), x[0])),
    "det": ((3, 3), lambda torch, f: torch.linalg.det),
    "slogdet": ((3, 3), lambda torch, f: lambda x: torch.linalg.slogdet(x).logabsdet),
    "cholesky": ((3, 3), lambda torch, f: lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3))),
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
    products = gradient.numpy() * along
    assert found.error(float(products.sum())) < 1e-13 * np.abs(products).sum()
    assert found.misfit < 1e-14


def test_weights_in_float32_are_taken_as_they_are() -> None:
    torch = pytest.importorskip("torch")
    module, x = torch.nn.GRUCell(4, 2), np.random.default_rng(1).normal(size=ROWS).astype(np.float32)
    forward = forward_of(module, (x,), {})
    wide = torch.nn.GRUCell(4, 2).double()
    wide.load_state_dict(module.state_dict())
    tensor = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    wide(tensor).sum().backward()
    found = directional(forward, (np.asarray(x, np.float64),), {}, (np.ones(ROWS),), np.ones((3, 2)))
    assert found.relative_error(float(tensor.grad.sum())) < 1e-13
    assert found.misfit < 1e-14


def test_the_buffers_of_a_module_are_left_alone() -> None:
    torch = pytest.importorskip("torch")
    module, x = torch.nn.BatchNorm1d(4).double(), np.random.default_rng(1).normal(size=ROWS)
    forward = forward_of(module, (x,), {})
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    forward(BallArray(lifted(x)))
    assert all(torch.equal(before[name], buffer) for name, buffer in module.named_buffers())


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
    "two values for one element": (
        lambda torch: lambda x: x.index_put((torch.tensor([1, 1]),), x[:2]),
        "two values for one element",
    ),
    "a trace that computes other values": (
        lambda torch: lambda x: torch.nn.functional.multilabel_margin_loss(x, torch.tensor([[0, 1, -1, -1]] * 3)),
        "its torch.fx trace computes other values",
    ),
    "memory by strides": (lambda torch: lambda x: torch.as_strided(x.t() * 2, (6,), (2,)), "reads the memory of an array"),
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
