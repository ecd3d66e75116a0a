"""A net in the style of a well-known book, as it is, and five lines that verify it.

    python examples/book_style.py

The layers keep what `backward` needs in attributes, the parameters are in `params`, and the layers hold the same arrays. It
does not know this package. The second net has a mistake that training hides: it learns, a little worse.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

import oracle


def softmax(x):
    x = x - np.max(x, axis=1, keepdims=True)
    return np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)


def cross_entropy_error(y, t):
    batch_size = y.shape[0]
    return -np.sum(np.log(y[np.arange(batch_size), t] + 1e-7)) / batch_size


class Relu:
    def __init__(self):
        self.mask = None

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


class Affine:
    def __init__(self, W, b):
        self.W = W
        self.b = b
        self.x = None
        self.dW = None
        self.db = None

    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b

    def backward(self, dout):
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return dx


class SoftmaxWithLoss:
    def __init__(self):
        self.loss = None
        self.y = None
        self.t = None

    def forward(self, x, t):
        self.t = t
        self.y = softmax(x)
        self.loss = cross_entropy_error(self.y, self.t)
        return self.loss

    def backward(self, dout=1):
        batch_size = self.t.shape[0]
        dx = self.y.copy()
        dx[np.arange(batch_size), self.t] -= 1
        return dx / batch_size


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.1):
        rng = np.random.default_rng(0)
        self.params = {}
        self.params["W1"] = weight_init_std * rng.normal(size=(input_size, hidden_size))
        self.params["b1"] = np.zeros(hidden_size)
        self.params["W2"] = weight_init_std * rng.normal(size=(hidden_size, output_size))
        self.params["b2"] = np.zeros(output_size)

        self.layers = OrderedDict()
        self.layers["Affine1"] = Affine(self.params["W1"], self.params["b1"])
        self.layers["Relu1"] = Relu()
        self.layers["Affine2"] = Affine(self.params["W2"], self.params["b2"])
        self.lastLayer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.lastLayer.forward(self.predict(x), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.lastLayer.backward(1)
        layers = list(self.layers.values())
        layers.reverse()
        for layer in layers:
            dout = layer.backward(dout)

        grads = {}
        grads["W1"], grads["b1"] = self.layers["Affine1"].dW, self.layers["Affine1"].db
        grads["W2"], grads["b2"] = self.layers["Affine2"].dW, self.layers["Affine2"].db
        return grads


class LeakyBack(Relu):
    """The mistake: a leaky unit in the backward pass alone."""

    def backward(self, dout):
        return np.where(self.mask, 0.1 * dout, dout)


class MistakenNet(TwoLayerNet):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.layers["Relu1"] = LeakyBack()


# The five lines. The loss has log(y + 1e-7), and its gradient is that of log(y): a known deviation of 1e-6, which is accepted.


def main():
    rng = np.random.default_rng(1)
    x, t = rng.uniform(size=(9, 5)), rng.integers(0, 3, size=9)
    for net in (TwoLayerNet(5, 6, 3), MistakenNet(5, 6, 3)):
        print(oracle.verify(oracle.adapters.of_net(net, x, t), accept=1e-5), end="\n\n")


if __name__ == "__main__":
    main()
