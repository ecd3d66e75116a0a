"""Attention and the transformer: scaled dot products, heads, positions, masks, blocks, mixtures of experts."""

from purenet.attention.cached import cached_attention
from purenet.attention.experts import RouterLosses, mixture_of_experts
from purenet.attention.linear import linear_attention
from purenet.attention.masks import causal_mask, padding_mask, sliding_window_mask
from purenet.attention.multi_head import multi_head_attention
from purenet.attention.positions import alibi_bias, alibi_slopes, learned_positions, rotary_embedding, sinusoidal_positions
from purenet.attention.rotary import apply_rotary, rotary_frequencies
from purenet.attention.scaled_dot_product import dot_product_attention, dot_product_attention_with_bias
from purenet.attention.transformer import feed_forward, post_norm_block, pre_norm_block, swiglu_block

__all__ = [
    "RouterLosses",
    "alibi_bias",
    "alibi_slopes",
    "apply_rotary",
    "cached_attention",
    "causal_mask",
    "dot_product_attention",
    "dot_product_attention_with_bias",
    "feed_forward",
    "learned_positions",
    "linear_attention",
    "mixture_of_experts",
    "multi_head_attention",
    "padding_mask",
    "post_norm_block",
    "pre_norm_block",
    "rotary_embedding",
    "rotary_frequencies",
    "sinusoidal_positions",
    "sliding_window_mask",
    "swiglu_block",
]
