"""What `benchmarks.ops` compares: each op with its twin in torch, in autograd where that has it, and arrays of three sizes.

The twin in JAX is the op's reference in the catalogue. A twin is called with its library's functions and the arrays in order.
"""

from __future__ import annotations

from typing import Any

from benchmarks.loss_twins import LOSSES, softened
from benchmarks.twin import (
    HEADS,
    IMAGES,
    LINES,
    ROWS,
    VOLUMES,
    Leaf,
    Twin,
    along_rows,
    cell,
    embedded,
    few_channels,
    indexed,
    keyword,
    layer,
    layers,
    normal,
    of,
    products,
    scaled,
    together,
    unrolled,
    with_channels,
)

__all__ = ["TWINS"]


def of_lstm(wx: Any, wh: Any, b: Any, x: Any, h: Any, c: Any) -> Any:
    return ({"wx": wx, "wh": wh, "b": b}, x, (h, c)), {}


def lstm(t: Any, wx: Any, wh: Any, b: Any, x: Any, h: Any, c: Any) -> Any:
    ys, h, c = t.lstm(x, (h[None], c[None]), [wx, wh, b, t.zeros_like(b)], True, 1, 0.0, True, False, True)
    return ys, h[0], c[0]


def lstm_cell(t: Any, wx: Any, wh: Any, b: Any, x: Any, h: Any, c: Any) -> Any:
    return t.lstm_cell(x, (h, c), wx, wh, b, t.zeros_like(b))


def cell_of(function: str) -> Any:
    return lambda t, wx, wh, b, x, h: getattr(t, function)(x, h, wx, wh, b, t.zeros_like(b))


def unrolled_by(function: str) -> Any:
    def twin(t: Any, wx: Any, wh: Any, b: Any, x: Any, h: Any) -> Any:
        ys, h = getattr(t, function)(x, h[None], [wx, wh, b, t.zeros_like(b)], True, 1, 0.0, True, False, True)
        return ys, h[0]

    return twin


def attention(t: Any, q: Any, k: Any, v: Any) -> Any:
    return t.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def logistic(a: Any, x: Any) -> Any:
    return 1 / (1 + a.exp(-x))


def standardized(a: Any, g: Any, b: Any, x: Any) -> Any:
    m = a.mean(x, axis=-1, keepdims=True)
    return g * (x - m) / a.sqrt(a.mean((x - m) ** 2, axis=-1, keepdims=True) + 1e-5) + b


def weights_and_lengths(i: int) -> tuple[Leaf, ...]:
    return normal(*ROWS[i]), normal(ROWS[i][0], 1)


def of_lengths(a: Any, v: Any, g: Any) -> Any:
    return g * v / a.sqrt(a.sum(v * v, axis=1, keepdims=True))


def standardized_rows(a: Any, w: Any) -> Any:
    return standardized(a, 1, 0, w)


X, LINE, IMAGE, VOLUME = of(ROWS), of(LINES), of(IMAGES), of(VOLUMES)
WB, NORM = layer("w", "b"), layer("gamma", "beta")

TWINS = (
    # ------------------------------------------------------------------------------------------ activations
    Twin("celu", X, lambda t, x: t.celu(x, 1.5), lambda a, x: a.where(x > 0, x, 1.5 * a.expm1(x / 1.5)), {"alpha": 1.5}),
    Twin("elu", X, lambda t, x: t.elu(x), lambda a, x: a.where(x > 0, x, a.expm1(x))),
    Twin(
        "gelu",
        X,
        lambda t, x: t.gelu(x, approximate="tanh"),
        lambda a, x: x / 2 * (1 + a.tanh(0.7978845608028654 * (x + 0.044715 * x**3))),
    ),
    Twin(
        "gelu",
        X,
        lambda t, x: t.gelu(x),
        lambda a, x: x / 2 * (1 + a.erf(x * 0.7071067811865476)),
        {"approximate": False},
        variant="exact",
    ),
    Twin("glu", X, lambda t, x: t.glu(x)),
    Twin("hard_sigmoid", X, lambda t, x: t.hardsigmoid(x), lambda a, x: a.clip(x + 3, 0, 6) / 6),
    Twin("hard_swish", X, lambda t, x: t.hardswish(x), lambda a, x: x * a.clip(x + 3, 0, 6) / 6),
    Twin("hard_tanh", X, lambda t, x: t.hardtanh(x), lambda a, x: a.clip(x, -1, 1)),
    Twin("hardshrink", X, lambda t, x: t.hardshrink(x), lambda a, x: a.where(abs(x) > 0.5, x, 0)),
    Twin("identity", X, lambda t, x: t.clone(x)),
    Twin("leaky_relu", X, lambda t, x: t.leaky_relu(x), lambda a, x: a.where(x >= 0, x, 0.01 * x)),
    Twin("log_sigmoid", X, lambda t, x: t.logsigmoid(x), lambda a, x: -softened(a, -x)),
    Twin("mish", X, lambda t, x: t.mish(x), lambda a, x: x * a.tanh(softened(a, x))),
    Twin("prelu", scaled(ROWS, 1, 1), lambda t, w, x: t.prelu(x, w), None, arrange=layer("a")),
    Twin("relu", X, lambda t, x: t.relu(x), lambda a, x: a.maximum(x, 0)),
    Twin("relu6", X, lambda t, x: t.relu6(x), lambda a, x: a.clip(x, 0, 6)),
    Twin("selu", X, lambda t, x: t.selu(x), lambda a, x: 1.0507009 * a.where(x > 0, x, 1.6732632 * a.expm1(x))),
    Twin("sigmoid", X, lambda t, x: t.sigmoid(x), logistic),
    Twin("silu", X, lambda t, x: t.silu(x), lambda a, x: x * logistic(a, x)),
    Twin("softplus", X, lambda t, x: t.softplus(x), softened),
    Twin("softshrink", X, lambda t, x: t.softshrink(x), lambda a, x: x - a.clip(x, -0.5, 0.5)),
    Twin("softsign", X, lambda t, x: t.softsign(x), lambda a, x: x / (1 + abs(x))),
    Twin("tanh", X, lambda t, x: t.tanh(x), lambda a, x: a.tanh(x)),
    Twin("tanhshrink", X, lambda t, x: t.tanhshrink(x), lambda a, x: x - a.tanh(x)),
    Twin("threshold", X, lambda t, x: t.threshold(x, 0.5, -1.0), None, {"threshold": 0.5, "value": -1.0}),
    Twin("softmax", X, lambda t, x: t.softmax(x, -1), lambda a, x: a.exp(x - a.logsumexp(x, axis=-1, keepdims=True))),
    Twin("log_softmax", X, lambda t, x: t.log_softmax(x, -1), lambda a, x: x - a.logsumexp(x, axis=-1, keepdims=True)),
    Twin("softmin", X, lambda t, x: t.softmin(x, -1)),
    Twin("logsumexp", X, lambda t, x: t.logsumexp(x, -1), lambda a, x: a.logsumexp(x, axis=-1), {"axis": -1}),
    # ------------------------------------------------------------------------------------------ masks, draws
    Twin(
        "dropout",
        lambda i: (normal(*ROWS[i]), Leaf("mask", ROWS[i])),
        lambda t, x, m: x * m * 2,
        lambda a, x, m: x * m * 2,
        arrange=keyword("mask"),
    ),
    Twin(
        "reparametrize",
        lambda i: (*X(i) * 2, Leaf("noise", ROWS[i])),
        lambda t, m, v, z: m + t.exp(v / 2) * z,
        lambda a, m, v, z: m + a.exp(v / 2) * z,
        arrange=keyword("noise"),
    ),
    Twin(
        "gumbel_softmax",
        lambda i: (*X(i), Leaf("noise", ROWS[i])),
        lambda t, x, g: t.softmax((x + g) / 0.5, -1),
        None,
        {"tau": 0.5},
        keyword("noise"),
    ),
    Twin("clip", X, lambda t, x: t.clamp(x, -0.5, 1.0), lambda a, x: a.clip(x, -0.5, 1.0), {"min": -0.5, "max": 1.0}),
    Twin(
        "where",
        lambda i: (normal(*ROWS[i]), normal(*ROWS[i]), Leaf("mask", ROWS[i])),
        lambda t, x, y, m: t.where(m, x, y),
        lambda a, x, y, m: a.where(m, x, y),
        arrange=keyword("condition"),
    ),
    Twin("tril", X, lambda t, x: t.tril(x), lambda a, x: a.tril(x)),
    Twin("triu", X, lambda t, x: t.triu(x), lambda a, x: a.triu(x)),
    *LOSSES,
    # ------------------------------------------------------------------------------------------ reductions
    Twin("sum", X, lambda t, x: t.sum(x, -1), lambda a, x: a.sum(x, axis=-1), {"axis": -1}),
    Twin("mean", X, lambda t, x: t.mean(x, -1), lambda a, x: a.mean(x, axis=-1), {"axis": -1}),
    Twin("var", X, lambda t, x: t.var(x, -1, correction=0), lambda a, x: a.var(x, axis=-1), {"axis": -1}),
    Twin("std", X, lambda t, x: t.std(x, -1, correction=0), lambda a, x: a.std(x, axis=-1), {"axis": -1}),
    Twin("max", X, lambda t, x: t.amax(x, -1), lambda a, x: a.max(x, axis=-1), {"axis": -1}),
    Twin("min", X, lambda t, x: t.amin(x, -1), lambda a, x: a.min(x, axis=-1), {"axis": -1}),
    Twin("prod", X, lambda t, x: t.prod(x, -1), lambda a, x: a.prod(x, axis=-1), {"axis": -1}),
    Twin("norm", X, lambda t, x: t.linalg.vector_norm(x, dim=-1), lambda a, x: a.sqrt(a.sum(x * x, axis=-1)), {"axis": -1}),
    Twin("cumsum", X, lambda t, x: t.cumsum(x, -1), lambda a, x: a.cumsum(x, axis=-1), {"axis": -1}),
    Twin("cumprod", X, lambda t, x: t.cumprod(x, -1), None, {"axis": -1}),
    # ------------------------------------------------------------------------------------------ shapes and places
    Twin("concat", of(ROWS, count=3), lambda t, *xs: t.cat(xs), lambda a, *xs: a.concatenate(xs), arrange=together),
    Twin("stack", of(ROWS, count=3), lambda t, *xs: t.stack(xs), lambda a, *xs: a.stack(xs), arrange=together),
    Twin("split", X, lambda t, x: t.chunk(x, 2), None, {"indices_or_sections": 2}),
    Twin("reshape", X, lambda t, x: t.reshape(x, (-1,)), lambda a, x: a.reshape(x, (-1,)), {"shape": -1}),
    Twin("transpose", X, lambda t, x: t.transpose(x, 0, 1).contiguous(), lambda a, x: a.transpose(x)),
    Twin("flip", X, lambda t, x: t.flip(x, (1,)), lambda a, x: x[:, ::-1], {"axis": 1}),
    Twin("tile", X, lambda t, x: t.tile(x, (2, 1)), lambda a, x: a.tile(x, (2, 1)), {"reps": (2, 1)}),
    Twin("pad", X, lambda t, x: t.pad(x, (1, 1, 1, 1)), lambda a, x: a.pad(x, 1, "constant"), {"pad_width": 1}),
    Twin("gather", indexed, lambda t, x, i: t.index_select(x, 0, i), lambda a, x, i: x[i], arrange=keyword("indices")),
    Twin("take_along_axis", along_rows, lambda t, x, i: t.gather(x, -1, i), arrange=keyword("indices")),
    Twin("sort", X, lambda t, x: t.sort(x, -1)[0]),
    Twin("top_k", X, lambda t, x: t.topk(x, 3)[0], None, {"k": 3}),
    Twin(
        "pixel_shuffle",
        of(((1, 4, 3, 3), (8, 16, 28, 28), (16, 32, 56, 56))),
        lambda t, x: t.pixel_shuffle(x, 2),
        None,
        {"upscale_factor": 2},
    ),
    Twin("interpolate", IMAGE, lambda t, x: t.interpolate(x, scale_factor=2), None, {"scale_factor": 2}, variant="nearest"),
    Twin(
        "interpolate",
        IMAGE,
        lambda t, x: t.interpolate(x, scale_factor=2, mode="bilinear"),
        None,
        {"scale_factor": 2, "mode": "bilinear"},
        variant="bilinear",
    ),
    # ------------------------------------------------------------------------------------------ products and tables
    Twin("affine", layers, lambda t, w, b, x: t.addmm(b, x, w), lambda a, w, b, x: a.dot(x, w) + b, arrange=WB),
    Twin("matmul", products, lambda t, x, y: t.mm(x, y), lambda a, x, y: a.matmul(x, y)),
    Twin(
        "einsum",
        products,
        lambda t, *xs: t.einsum("ij,jk->ik", *xs),
        lambda a, *xs: a.einsum("ij,jk->ik", *xs),
        {"subscripts": "ij,jk->ik"},
        together,
    ),
    Twin(
        "embedding",
        embedded,
        lambda t, w, i: t.embedding(i, w),
        lambda a, w, i: w[i],
        arrange=lambda w, i: (({"w": w},), {"ids": i}),
    ),
    Twin("embedding_bag", embedded, lambda t, w, i: t.embedding_bag(i, w), arrange=lambda w, i: (({"w": w},), {"ids": i})),
    # ------------------------------------------------------------------------------------------ convolutions
    Twin("conv1d", with_channels(LINES, 3), lambda t, w, b, x: t.conv1d(x, w, b, 1, 1), None, {"padding": 1}, WB),
    Twin("conv2d", with_channels(IMAGES, 3), lambda t, w, b, x: t.conv2d(x, w, b, 1, 1), None, {"padding": 1}, WB),
    Twin("conv2d", with_channels(IMAGES, 1), lambda t, w, b, x: t.conv2d(x, w, b), arrange=WB, variant="1x1"),
    Twin("conv2d", few_channels, lambda t, w, b, x: t.conv2d(x, w, b, 1, 1), None, {"padding": 1}, WB, "3 channels"),
    Twin("conv2d", with_channels(IMAGES, 3), lambda t, w, b, x: t.conv2d(x, w, b, 2), None, {"stride": 2}, WB, "stride 2"),
    Twin("conv3d", with_channels(VOLUMES, 3), lambda t, w, b, x: t.conv3d(x, w, b, 1, 1), None, {"padding": 1}, WB),
    Twin(
        "depthwise_conv2d",
        with_channels(IMAGES, 3, depthwise=True),
        lambda t, w, b, x: t.conv2d(x, w, b, 1, 1, 1, x.shape[1]),
        None,
        {"padding": 1},
        WB,
    ),
    Twin("conv_transpose1d", with_channels(LINES, 3), lambda t, w, b, x: t.conv_transpose1d(x, w, b), arrange=WB),
    Twin(
        "conv_transpose2d", with_channels(IMAGES, 3), lambda t, w, b, x: t.conv_transpose2d(x, w, b, 2), None, {"stride": 2}, WB
    ),
    Twin("im2col", IMAGE, lambda t, x: t.unfold(x, 3).unflatten(2, tuple(n - 2 for n in x.shape[2:])), None, {"window": 3}),
    # ------------------------------------------------------------------------------------------ pools
    Twin("max_pool1d", LINE, lambda t, x: t.max_pool1d(x, 2), None, {"window": 2}),
    Twin("max_pool2d", IMAGE, lambda t, x: t.max_pool2d(x, 2), None, {"window": 2}),
    Twin("max_pool2d", IMAGE, lambda t, x: t.max_pool2d(x, 3, 2), None, {"window": 3, "stride": 2}, variant="overlapping"),
    Twin("max_pool3d", VOLUME, lambda t, x: t.max_pool3d(x, 2), None, {"window": 2}),
    Twin("avg_pool1d", LINE, lambda t, x: t.avg_pool1d(x, 2), None, {"window": 2}),
    Twin("avg_pool2d", IMAGE, lambda t, x: t.avg_pool2d(x, 2), None, {"window": 2}),
    Twin("avg_pool3d", VOLUME, lambda t, x: t.avg_pool3d(x, 2), None, {"window": 2}),
    Twin("lp_pool", of(IMAGES, "positive"), lambda t, x: t.lp_pool2d(x, 2.0, 2), None, {"window": 2}),
    Twin("adaptive_avg_pool", IMAGE, lambda t, x: t.adaptive_avg_pool2d(x, 5), None, {"size": 5}),
    Twin("adaptive_max_pool", IMAGE, lambda t, x: t.adaptive_max_pool2d(x, 5), None, {"size": 5}),
    Twin("global_avg_pool", IMAGE, lambda t, x: t.mean(x, (2, 3)), lambda a, x: a.mean(x, axis=(2, 3))),
    Twin("global_max_pool", IMAGE, lambda t, x: t.amax(x, (2, 3)), lambda a, x: a.max(x, axis=(2, 3))),
    # ------------------------------------------------------------------------------------------ normalizations
    Twin("batch_norm", scaled(IMAGES, 1), lambda t, g, b, x: t.batch_norm(x, None, None, g, b, True), arrange=NORM),
    Twin("layer_norm", scaled(ROWS, 1), lambda t, g, b, x: t.layer_norm(x, g.shape, g, b), standardized, arrange=NORM),
    Twin("rms_norm", scaled(ROWS, 1, 1), lambda t, g, x: t.rms_norm(x, g.shape, g, 1e-5), arrange=layer("gamma")),
    Twin("group_norm", scaled(IMAGES, 1), lambda t, g, b, x: t.group_norm(x, 2, g, b), None, {"groups": 2}, NORM),
    Twin("instance_norm", scaled(IMAGES, 1), lambda t, g, b, x: t.instance_norm(x, None, None, g, b), arrange=NORM),
    Twin("local_response_norm", IMAGE, lambda t, x: t.local_response_norm(x, 3), None, {"size": 3}),
    Twin("l1_normalize", X, lambda t, x: t.normalize(x, 1.0, -1)),
    Twin("l2_normalize", X, lambda t, x: t.normalize(x, 2.0, -1), lambda a, x: x / a.sqrt(a.sum(x * x, -1, keepdims=True))),
    Twin("weight_norm", weights_and_lengths, lambda t, v, g: t._weight_norm(v, g, 0), of_lengths),
    Twin("weight_standardization", X, lambda t, w: t.batch_norm(w[None], None, None, training=True)[0], standardized_rows),
    # ------------------------------------------------------------------------------------------ recurrent, attention
    Twin("rnn_cell", cell(1, 1), cell_of("rnn_tanh_cell"), arrange=layer("wx", "wh", "b")),
    Twin("gru_cell", cell(3, 1), cell_of("gru_cell"), arrange=layer("wx", "wh", "b")),
    Twin("lstm_cell", cell(4, 2), lstm_cell, arrange=of_lstm),
    Twin("rnn", unrolled(1, 1), unrolled_by("rnn_tanh"), arrange=layer("wx", "wh", "b")),
    Twin("gru", unrolled(3, 1), unrolled_by("gru"), arrange=layer("wx", "wh", "b")),
    Twin("lstm", unrolled(4, 2), lstm, arrange=of_lstm),
    Twin("dot_product_attention", of(HEADS, count=3), attention),
)
