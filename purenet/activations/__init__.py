"""Activation functions. `rectifiers` have kinks, `smooth` have none, `normalized` couple the entries of an axis."""

from purenet.activations.normalized import log_softmax, softmax
from purenet.activations.rectifiers import relu
from purenet.activations.smooth import gelu, identity, sigmoid, tanh

__all__ = ["gelu", "identity", "log_softmax", "relu", "sigmoid", "softmax", "tanh"]
