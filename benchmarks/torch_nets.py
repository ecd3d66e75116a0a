"""The nets of purenet as functions of torch tensors, for the same parameters."""

from __future__ import annotations

from typing import Any

from purenet import models

__all__ = ["LOGITS"]


def two_layer(p: Any, x: Any) -> Any:
    return (x @ p["affine1"]["w"] + p["affine1"]["b"]).relu() @ p["affine2"]["w"] + p["affine2"]["b"]


def lenet(p: Any, x: Any) -> Any:
    from torch.nn.functional import avg_pool2d, conv2d

    h = avg_pool2d(conv2d(x, p["conv1"]["w"], p["conv1"]["b"], padding=2).tanh(), 2)
    h = avg_pool2d(conv2d(h, p["conv2"]["w"], p["conv2"]["b"]).tanh(), 2).flatten(1)
    for name in ("affine1", "affine2"):
        h = (h @ p[name]["w"] + p[name]["b"]).tanh()
    return h @ p["affine3"]["w"] + p["affine3"]["b"]


def gpt(p: Any, ids: Any) -> Any:
    from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention

    def normed(own: Any, x: Any) -> Any:
        return layer_norm(x, x.shape[-1:], own["gamma"], own["beta"])

    def heads(own: Any, which: str, x: Any) -> Any:
        w = own[f"w{which}"]
        return (x @ w.flatten(1) + own[f"b{which}"].flatten()).unflatten(-1, w.shape[1:]).transpose(1, 2)

    h = embedding(ids, p["embedding"]["w"]) + p["positions"]["w"][: ids.shape[1]]
    for name in sorted(name for name in p if name.startswith("block")):
        own, x = p[name]["attention"]["attention"], normed(p[name]["attention"]["norm"], h)
        seen = scaled_dot_product_attention(*(heads(own, which, x) for which in "qkv"), is_causal=True)
        h = h + seen.transpose(1, 2).flatten(2) @ own["wo"].flatten(0, 1) + own["bo"]
        own, x = p[name]["net"]["net"], normed(p[name]["net"]["norm"], h)
        h = h + gelu(x @ own["up"]["w"] + own["up"]["b"], approximate="tanh") @ own["down"]["w"] + own["down"]["b"]
    return linear(normed(p["norm"], h), p["embedding"]["w"])


LOGITS = {models.two_layer_net: two_layer, models.lenet: lenet, models.gpt: gpt}
"""By the module of the net: a function of its parameters and of x."""
