"""Layers in the style of tutorials that train without an optimizer: `backward` updates the weights itself."""

from __future__ import annotations

import numpy as np


class FCLayer:
    """The learning rate comes with the gradient of the error."""

    def __init__(self, input_size, output_size):
        rng = np.random.default_rng(1)
        self.weights = rng.random((input_size, output_size)) - 0.5
        self.bias = rng.random((1, output_size)) - 0.5

    def forward(self, input_data):
        self.input = input_data
        self.output = np.dot(self.input, self.weights) + self.bias
        return self.output

    def backward(self, output_error, learning_rate):
        input_error = np.dot(output_error, self.weights.T)
        weights_error = np.dot(self.input.T, output_error)
        self.weights -= learning_rate * weights_error
        self.bias -= learning_rate * output_error.sum(axis=0, keepdims=True)
        return input_error


class SevenTimes(FCLayer):
    """A mistake: the step of the weights is too large."""

    def backward(self, output_error, learning_rate):
        input_error = np.dot(output_error, self.weights.T)
        self.weights -= learning_rate * 7 * np.dot(self.input.T, output_error)
        self.bias -= learning_rate * output_error.sum(axis=0, keepdims=True)
        return input_error


class TooLate(FCLayer):
    """A mistake: the weights are updated before the error is passed back through them."""

    def backward(self, output_error, learning_rate):
        self.weights -= learning_rate * np.dot(self.input.T, output_error)
        self.bias -= learning_rate * output_error.sum(axis=0, keepdims=True)
        return np.dot(output_error, self.weights.T)


class ActivationLayer:
    """It takes a learning rate as all layers do, and needs none."""

    def forward(self, input_data):
        self.input = input_data
        return np.tanh(self.input)

    def backward(self, output_error, learning_rate):
        return (1 - np.tanh(self.input) ** 2) * output_error


class OwnRate:
    """The learning rate is an attribute; the rows of a batch are learned one by one, in place."""

    def __init__(self, n_in, n_out, lr=0.1, factor=1.0):
        self.lr, self.factor = lr, factor
        self.W = np.random.default_rng(2).normal(size=(n_in, n_out))

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        dx = dout @ self.W.T
        for row, d in zip(self.x, dout, strict=True):
            self.W[...] -= self.lr * self.factor * np.outer(row, d)
        return dx


class Momentum(OwnRate):
    """The velocity starts at zero, so the first step is that of the gradient."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.v = np.zeros_like(self.W)

    def backward(self, dout):
        dx = dout @ self.W.T
        self.v = 0.9 * self.v + self.x.T @ dout
        self.W = self.W - self.lr * self.v
        return dx


class NoName(OwnRate):
    """The learning rate has no name."""

    def backward(self, dout):
        dx = dout @ self.W.T
        self.W = self.W - 0.1 * 7 * self.x.T @ dout
        return dx


class SignOfGradient(OwnRate):
    """The step is no multiple of the gradient."""

    def backward(self, dout):
        dx = dout @ self.W.T
        self.W = self.W - self.lr * np.sign(self.x.T @ dout)
        return dx


class Both(OwnRate):
    """It holds the gradient, and updates the weights, too."""

    def backward(self, dout):
        dx = dout @ self.W.T
        self.dW = self.factor * self.x.T @ dout
        self.W = self.W - self.lr * 3 * self.dW
        return dx
