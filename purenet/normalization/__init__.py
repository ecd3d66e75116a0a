"""Normalization: over a batch, over the features or channels of a sample, over neighbouring channels, to unit length.

What is normalized are activations, or, in `weights`, weights before they are used.
"""

from purenet.normalization.batch import Statistics, batch_norm, update_running_statistics
from purenet.normalization.features import group_norm, instance_norm, layer_norm, rms_norm
from purenet.normalization.response import local_response_norm
from purenet.normalization.vectors import l1_normalize, l2_normalize
from purenet.normalization.weights import SingularVectors, spectral_norm, weight_norm, weight_standardization

__all__ = [
    "SingularVectors",
    "Statistics",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "l1_normalize",
    "l2_normalize",
    "layer_norm",
    "local_response_norm",
    "rms_norm",
    "spectral_norm",
    "update_running_statistics",
    "weight_norm",
    "weight_standardization",
]
