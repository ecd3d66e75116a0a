"""A right solution that computes in float32."""

import numpy as np


def single(*arrays):
    return [np.asarray(array, dtype=np.float32) for array in arrays]


def affine_forward(x, w, b):
    x, w, b = single(x, w, b)
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    (dout,) = single(dout)
    return dout @ w.T, x.T @ dout, dout.sum(0)


def relu_forward(x):
    (x,) = single(x)
    return np.where(x > 0, x, np.float32(0)), x > 0


def relu_backward(dout, mask):
    (dout,) = single(dout)
    return dout * mask


def softmax_loss(x, t):
    (x,) = single(x)
    z = x - x.max(-1, keepdims=True)
    logs = z - np.log(np.exp(z).sum(-1, keepdims=True))
    rows = np.arange(len(t))
    dx = np.exp(logs)
    dx[rows, t] -= 1
    return -logs[rows, t].mean(), dx / np.float32(len(t))


def loss_and_grads(params, x, t):
    w1, b1, w2, b2, x = single(params["W1"], params["b1"], params["W2"], params["b2"], x)
    a = x @ w1 + b1
    h = np.maximum(a, 0)
    loss, ds = softmax_loss(h @ w2 + b2, t)
    da = (ds @ w2.T) * (a > 0)
    return loss, {"W1": x.T @ da, "b1": da.sum(0), "W2": h.T @ ds, "b2": ds.sum(0)}
