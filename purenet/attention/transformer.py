"""Blocks of a transformer: feed-forward nets of each position, and both ways to combine them with attention and norms."""

from __future__ import annotations

from typing import Any, NamedTuple

from purenet.activations.smooth import gelu, silu, silu_bwd
from purenet.attention.multi_head import multi_head_attention, optional_affine
from purenet.checks import fields, number
from purenet.combinators import Chain, chain, named, residual
from purenet.linear.products import affine, affine_bwd
from purenet.normalization import layer_norm
from purenet.op import Array, Op
from purenet.stochastic import dropout

__all__ = ["feed_forward", "post_norm_block", "pre_norm_block", "swiglu_block"]


class Gated(NamedTuple):
    """Residuals of swiglu_block."""

    gate: Any
    """The residuals of the affine map to the gate, its activation, the other affine map, and the one to the output."""
    active: Any
    up: Any
    down: Any
    opened: Array
    """silu(gate)"""
    wide: Array
    """The factor that the gate multiplies."""


@Op
def swiglu_block(params: dict[str, Array], x: Array) -> tuple[Array, Gated]:
    """The gated feed-forward net of Llama and PaLM: an affine map, times the silu of another, and an affine map back.

    Shapes: w_gate (D, F), w_up (D, F), w_down (F, O), and biases b_gate (F,), b_up (F,), b_down (O,), each of which may be
        absent, x (..., D) -> y (..., O)
    Math, with g = x w_gate + b_gate and u = x w_up + b_up:
        y  = (silu(g) u) w_down + b_down
        dh = dy w_down^T,  du = dh silu(g),  dg = dh u silu'(g);  dx = dg w_gate^T + du w_up^T
        dw_down = (silu(g) u)^T dy,  dw_gate = x^T dg,  dw_up = x^T du;  the biases' are the sums of dg, du, dy
    Errors: ValueError where the shapes do not match, or params lack a weight; TypeError unless params are a dict.
    Source: Shazeer, GLU variants improve transformer (2020). Conventions: the paper has no biases. Llama calls w_gate, w_up and
        w_down w1, w3 and w2.

    >>> import numpy as np, purenet as pn
    >>> eye = np.eye(1)
    >>> pn.swiglu_block({"w_gate": eye, "w_up": 2 * eye, "w_down": 10 * eye, "b_down": np.ones(1)}, np.array([[0.0], [40.0]]))
    array([[1.0000e+00],
           [3.2001e+04]])
    """
    op = "swiglu_block"
    weights = ("w_gate", "w_up", "w_down")
    w_gate, w_up, w_down, b_gate, b_up, b_down = fields(op, params, *weights, optional=("b_gate", "b_up", "b_down"))
    if x.ndim < 1:
        raise ValueError(f"{op}: x must have shape (..., D), got {x.shape}")
    if w_gate.ndim != 2 or w_gate.shape[0] != x.shape[-1]:
        raise ValueError(f"{op}: params.w_gate must have shape ({x.shape[-1]}, F) to match x {x.shape}, got {w_gate.shape}")
    if w_down.ndim != 2 or w_down.shape[0] != w_gate.shape[1]:
        raise ValueError(
            f"{op}: params.w_down must have shape ({w_gate.shape[1]}, O) to match params.w_gate {w_gate.shape}, "
            f"got {w_down.shape}"
        )
    hidden, out = w_down.shape
    for name, value, shape in (
        ("w_up", w_up, w_gate.shape), ("b_gate", b_gate, (hidden,)), ("b_up", b_up, (hidden,)), ("b_down", b_down, (out,)),
    ):  # fmt: skip
        if value is not None and value.shape != shape:
            raise ValueError(f"{op}: params.{name} must have shape {shape}, got {value.shape}")
    gate, saved_gate = optional_affine(x, w_gate, b_gate)
    wide, saved_up = optional_affine(x, w_up, b_up)
    opened, active = silu.forward(gate)
    y, saved_down = optional_affine(opened * wide, w_down, b_down)
    return y, Gated(saved_gate, active, saved_up, saved_down, opened, wide)


@swiglu_block.pullback
def swiglu_block_bwd(saved: Gated, dy: Array) -> tuple[dict[str, Array], Array]:
    grads = {}
    grads["down"], dhidden = affine_bwd(saved.down, dy)
    grads["up"], dx = affine_bwd(saved.up, dhidden * saved.opened)
    (dgate,) = silu_bwd(saved.active, dhidden * saved.wide)
    grads["gate"], dx_gate = affine_bwd(saved.gate, dgate)
    return {f"{kind}_{name}": d for name, own in grads.items() for kind, d in own.items()}, dx + dx_gate


def feed_forward(activation: Op = gelu) -> Chain:
    """The feed-forward net of each position: an affine map to more features, an activation, an affine map back.

    Shapes: params {up: {w (D, F), b (F,)}, down: {w (F, O), b (O,)}}, biases may be absent, x (..., D) -> y (..., O)
    Math:
        y = activation(x w_up + b_up) w_down + b_down; the cotangents pass through down, the activation and up
    Errors: those of affine; ValueError where `params` has other keys than up and down.
    Source: Vaswani et al. (2017), section 3.3, with relu. Conventions: gelu as in GPT-2 and BERT; the paper's is
        `feed_forward(pn.relu)`.

    >>> import numpy as np, purenet as pn
    >>> params = {"up": {"w": np.array([[1.0, -1.0]])}, "down": {"w": np.array([[1.0], [10.0]])}}
    >>> pn.feed_forward(pn.relu)(params, np.array([[3.0], [-2.0]]))
    array([[ 3.],
           [20.]])
    """
    return named(chain(up=affine, activation=activation, down=affine), feed_forward)


def pre_norm_block(
    *, norm: Op = layer_norm, attention: Op = multi_head_attention, net: Op | None = None, rate: float = 0.0
) -> Chain:
    """A block of a transformer with its norms inside of the residual branches, as in GPT-2 and Llama.

    Shapes: params {attention: {norm, attention}, net: {norm, net}}, each as that op takes them, x (B, T, D) -> y (B, T, D)
    Math:
        h = x + attention(norm(x)),  y = h + net(norm'(h)); the cotangents pass through both residuals in reverse
        With a `rate` other than 0, what attention and net give passes through dropout before it is added.
    Errors: those of the parts, of dropout for the rate, and of residual where a part changes the shape.
    Source: Xiong et al. (2020); Radford et al. (2019). Conventions: keywords go by stage,
        `block(params, x, attention={"attention": {"is_causal": True}})`, or are bound to a part. Llama's block is
        `pre_norm_block(norm=rms_norm, attention=multi_head_attention.bind(is_causal=True, rotary={}), net=swiglu_block)`. A
        norm follows the last block. Nothing is dropped without a key, `attention={"dropout": {"key": key}}`; weights of the
        attention are dropped by an attention that is bound to a rate and gets a key.

    >>> import numpy as np, purenet as pn
    >>> eye = np.eye(2)[:, None]
    >>> attention = {"norm": {}, "attention": {"wq": 0 * eye, "wk": eye, "wv": eye, "wo": np.eye(2)[None]}}
    >>> net = {"norm": {}, "net": {"up": {"w": np.eye(2)}, "down": {"w": 10 * np.eye(2)}}}
    >>> block = pn.pre_norm_block(norm=pn.layer_norm.bind(eps=0.0), net=pn.feed_forward(pn.relu))
    >>> block({"attention": attention, "net": net}, np.array([[3.0, 5.0]]))  # 1 from attention, 10 from the net
    array([[ 2., 16.]])
    """
    rate = number("pre_norm_block", "rate", rate, 0, 1)
    last = {"dropout": dropout.bind(rate=rate)} if rate else {}
    block = chain(
        attention=residual(chain(norm=norm, attention=attention, **last)),
        net=residual(chain(norm=norm, net=feed_forward() if net is None else net, **last)),
    )
    return named(block, pre_norm_block)


def post_norm_block(*, norm: Op = layer_norm, attention: Op = multi_head_attention, net: Op | None = None) -> Chain:
    """A block of a transformer with a norm after each residual, as in the first transformer and in BERT.

    Shapes: params {attention, norm1, net, norm2}, each as that op takes them, x (B, T, D) -> y (B, T, D)
    Math:
        h = norm1(x + attention(x)),  y = norm2(h + net(h)); the cotangents pass through norms and residuals in reverse
    Errors: those of the parts, and of residual where a part changes the shape.
    Source: Vaswani et al. (2017). Conventions: keywords go by stage, `block(params, x, attention={"mask": kept})`. Parts are
        layer_norm, multi_head_attention and feed_forward() with gelu, as in BERT; the paper has relu. A part with the paper's
        dropout is a chain, such as `net=chain(net=feed_forward(), dropout=dropout.bind(rate=0.1))`.

    >>> import numpy as np, purenet as pn
    >>> eye = np.eye(2)[:, None]
    >>> attention = {"wq": 0 * eye, "wk": eye, "wv": eye, "wo": np.eye(2)[None]}
    >>> net = {"up": {"w": np.eye(2)}, "down": {"w": np.eye(2)}}
    >>> block = pn.post_norm_block(norm=pn.layer_norm.bind(eps=0.0))
    >>> block({"attention": attention, "norm1": {}, "net": net, "norm2": {}}, np.array([[3.0, 5.0]]))
    array([[-1.,  1.]])
    """
    inner = feed_forward() if net is None else net
    block = chain(attention=residual(attention), norm1=norm, net=residual(inner), norm2=norm)
    return named(block, post_norm_block)
