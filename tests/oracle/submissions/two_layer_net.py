"""A right solution with functions that work on whole arrays."""

import numpy as np


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def relu_forward(x):
    return np.maximum(x, 0), x


def relu_backward(dout, x):
    return dout * (x > 0)


def softmax_loss(x, t):
    n = len(x)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(n), t]).mean()
    dx = p.copy()
    dx[np.arange(n), t] -= 1
    return loss, dx / n


def loss_and_grads(params, x, t):
    a, c1 = affine_forward(x, params["W1"], params["b1"])
    h, c2 = relu_forward(a)
    s, c3 = affine_forward(h, params["W2"], params["b2"])
    loss, ds = softmax_loss(s, t)
    dh, dW2, db2 = affine_backward(ds, c3)
    da = relu_backward(dh, c2)
    _, dW1, db1 = affine_backward(da, c1)
    return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
