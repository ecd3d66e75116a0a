"""Arrays given another shape, order or extent, and parts of them.

`layout` moves entries, `broadcasting` repeats them, `joining` puts arrays together and cuts them, `padding` adds margins,
`indexing` chooses entries by their place, `ordering` by their size, `masking` keeps or replaces them, `interpolation` and
`sampling` resample images, `channels` moves pixels to channels. Arrays are positional and differentiated; shapes, axes,
indices and masks are keywords and are not.

`slice` is JAX's name for it, so it is ours, although Python has a type of that name.
"""
# ruff: noqa: A004 - see the last line above

from purenet.shaping.broadcasting import broadcast_to, squeeze
from purenet.shaping.channels import channel_shuffle, pixel_unshuffle
from purenet.shaping.indexing import gather, slice, take_along_axis
from purenet.shaping.interpolation import interpolate
from purenet.shaping.joining import concat, split, stack, tile
from purenet.shaping.layout import (
    ensure_shape,
    expand_dims,
    flatten,
    flip,
    pixel_shuffle,
    reshape,
    transpose,
)
from purenet.shaping.masking import clip, tril, triu, where
from purenet.shaping.ordering import sort, top_k
from purenet.shaping.padding import pad
from purenet.shaping.sampling import affine_grid, grid_sample

__all__ = [
    "affine_grid",
    "broadcast_to",
    "channel_shuffle",
    "clip",
    "concat",
    "ensure_shape",
    "expand_dims",
    "flatten",
    "flip",
    "gather",
    "grid_sample",
    "interpolate",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "reshape",
    "slice",
    "sort",
    "split",
    "squeeze",
    "stack",
    "take_along_axis",
    "tile",
    "top_k",
    "transpose",
    "tril",
    "triu",
    "where",
]
