"""Pools: the largest entry, the mean or the norm of windows, of parts of an image, or of all of it."""

from purenet.pooling.maxima import adaptive_max_pool, global_max_pool, max_pool1d, max_pool2d, max_pool3d, max_unpool
from purenet.pooling.means import adaptive_avg_pool, avg_pool1d, avg_pool2d, avg_pool3d, global_avg_pool
from purenet.pooling.norms import lp_pool

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "global_avg_pool",
    "global_max_pool",
    "lp_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool",
]
