"""A right solution in the way of the book: layers that keep what they need, and a logarithm with 1e-7 inside."""

import os
import sys
from collections import OrderedDict

import numpy as np

sys.path.append(os.pardir)


class Affine:
    def __init__(self, W, b):
        self.W = W
        self.b = b
        self.x = None
        self.dW = None
        self.db = None

    def forward(self, x):
        self.x = x
        return np.dot(self.x, self.W) + self.b

    def backward(self, dout):
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return dx


class Relu:
    def __init__(self):
        self.mask = None

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dx = dout.copy()
        dx[self.mask] = 0
        return dx


def softmax(x):
    x = x.T
    x = x - np.max(x, axis=0)
    y = np.exp(x) / np.sum(np.exp(x), axis=0)
    return y.T


def cross_entropy_error(y, t):
    batch_size = y.shape[0]
    return -np.sum(np.log(y[np.arange(batch_size), t] + 1e-7)) / batch_size


def softmax_loss(x, t):
    y = softmax(x)
    dx = y.copy()
    dx[np.arange(t.size), t] -= 1
    return cross_entropy_error(y, t), dx / t.shape[0]


def loss_and_grads(params, x, t):
    layers = OrderedDict()
    layers["Affine1"] = Affine(params["W1"], params["b1"])
    layers["Relu1"] = Relu()
    layers["Affine2"] = Affine(params["W2"], params["b2"])
    for layer in layers.values():
        x = layer.forward(x)
    loss, dout = softmax_loss(x, t)
    for layer in reversed(list(layers.values())):
        dout = layer.backward(dout)
    return loss, {
        "W1": layers["Affine1"].dW,
        "b1": layers["Affine1"].db,
        "W2": layers["Affine2"].dW,
        "b2": layers["Affine2"].db,
    }


if __name__ == "__main__":
    print(softmax_loss(np.zeros((1, 2)), np.array([0])))
