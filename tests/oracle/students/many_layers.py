"""Layers of other habits: gradients that add up, buffers that are used again, values in attributes, layers inside layers."""

from __future__ import annotations

import numpy as np


class AddingUp:
    """The style of a library of layers: `parameters` and `gradients` are dicts, and gradients add up until they are flushed."""

    def __init__(self, n_in, n_out):
        rng = np.random.default_rng(5)
        self.parameters = {"W": rng.normal(size=(n_in, n_out)), "b": rng.normal(size=(1, n_out))}
        self.gradients = {"W": np.zeros((n_in, n_out)), "b": np.zeros((1, n_out))}
        self.X = []

    def forward(self, X, retain_derived=True):
        if retain_derived:
            self.X.append(X)
        return X @ self.parameters["W"] + self.parameters["b"]

    def backward(self, dLdy, retain_grads=True):
        X = self.X[-1]
        if retain_grads:
            self.gradients["W"] += X.T @ dLdy
            self.gradients["b"] += dLdy.sum(axis=0, keepdims=True)
        return dLdy @ self.parameters["W"].T


class FromScratch:
    """The style of a book from scratch: `forward` leaves `output`, `backward` leaves `dweights`, `dbiases` and `dinputs`."""

    def __init__(self, n_inputs, n_neurons):
        self.weights = 0.1 * np.random.default_rng(6).normal(size=(n_inputs, n_neurons))
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs, training=True):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)


class OneBuffer:
    """The same memory is returned by every call."""

    def __init__(self, size):
        self.scale = np.linspace(0.5, 1.5, size)
        self.dscale = np.zeros(size)
        self.buffer = None

    def forward(self, x):
        if self.buffer is None:
            self.buffer = np.empty_like(x)
        self.x = x
        np.multiply(x, self.scale, out=self.buffer)
        return self.buffer

    def backward(self, dout):
        self.dscale[...] = (dout * self.x).sum(axis=0)
        np.multiply(dout, self.scale, out=self.buffer)
        return self.buffer


class Flat:
    """All parameters are views of one vector, as optimizers of whole vectors want them."""

    def __init__(self, n_in, n_out):
        self.theta = np.random.default_rng(7).normal(size=n_in * n_out + n_out)
        self.W = self.theta[: n_in * n_out].reshape(n_in, n_out)
        self.b = self.theta[n_in * n_out :]
        self.n = n_in * n_out

    def forward(self, x):
        self.x = x
        return x @ self.theta[: self.n].reshape(self.W.shape) + self.theta[self.n :]

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class Prelu:
    """Its parameter is a number."""

    def __init__(self):
        self.alpha = 0.25
        self.dalpha = 0.0

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.alpha * x)

    def backward(self, dout):
        self.dalpha = float((dout * np.minimum(self.x, 0)).sum())
        return np.where(self.x > 0, dout, self.alpha * dout)


class Stack:
    """A layer that consists of layers, and has no parameters of its own."""

    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


class ByNames:
    """A dict of gradients that is empty until the first backward pass."""

    def __init__(self, n_in, n_out):
        rng = np.random.default_rng(n_in)
        self.params = {"w": rng.normal(size=(n_in, n_out)), "b": rng.normal(size=n_out)}
        self.grads = {}

    def forward(self, inputs):
        self.inputs = inputs
        return np.tanh(inputs @ self.params["w"] + self.params["b"])

    def backward(self, grad):
        da = grad * (1 - np.tanh(self.inputs @ self.params["w"] + self.params["b"]) ** 2)
        self.grads["b"] = np.sum(da, axis=0)
        self.grads["w"] = self.inputs.T @ da
        return da @ self.params["w"].T


class Tied:
    """One array is listed twice, and its gradient is the sum of both."""

    def __init__(self, size):
        W = np.random.default_rng(8).normal(size=(size, size))
        self.params = [W, W]
        self.grads = [np.zeros_like(W), np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        self.h = np.tanh(x @ self.params[0])
        return self.h @ self.params[1]

    def backward(self, dout):
        self.grads[1][...] = self.h.T @ dout
        da = (dout @ self.params[1].T) * (1 - self.h**2)
        self.grads[0][...] = self.x.T @ da
        return da @ self.params[0].T
