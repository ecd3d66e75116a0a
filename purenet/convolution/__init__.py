"""Convolutions, transposed convolutions, and patches of images as columns."""

from purenet.convolution.conv2d import conv2d
from purenet.convolution.correlation import causal_conv1d, conv1d, conv3d, depthwise_conv2d, separable_conv2d
from purenet.convolution.patches import col2im, im2col
from purenet.convolution.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "causal_conv1d",
    "col2im",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "depthwise_conv2d",
    "im2col",
    "separable_conv2d",
]
