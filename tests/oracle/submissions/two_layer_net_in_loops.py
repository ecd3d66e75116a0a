"""A right solution with a loop for each index."""

import math

import numpy as np


def affine_forward(x, w, b):
    n, i, o = len(x), len(w), len(b)
    out = np.zeros((n, o))
    for r in range(n):
        for c in range(o):
            total = b[c]
            for k in range(i):
                total += x[r, k] * w[k, c]
            out[r, c] = total
    return out, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    for r in range(len(x)):
        for c in range(len(b)):
            db[c] += dout[r, c]
            for k in range(len(w)):
                dx[r, k] += dout[r, c] * w[k, c]
                dw[k, c] += dout[r, c] * x[r, k]
    return dx, dw, db


def relu_forward(x):
    out = np.empty(x.size)
    for i, value in enumerate(x.reshape(-1)):
        out[i] = value if value > 0 else 0.0
    return out.reshape(x.shape), x


def relu_backward(dout, x):
    dx = np.zeros(x.size)
    for i, value in enumerate(x.reshape(-1)):
        if value > 0:
            dx[i] = dout.reshape(-1)[i]
    return dx.reshape(x.shape)


def softmax_loss(x, t):
    loss, dx = 0.0, np.zeros_like(x)
    for r, row in enumerate(x):
        top = max(row)
        powers = [math.exp(value - top) for value in row]
        total = sum(powers)
        loss -= (row[t[r]] - top - math.log(total)) / len(x)
        for c, power in enumerate(powers):
            dx[r, c] = (power / total - (c == t[r])) / len(x)
    return loss, dx


def loss_and_grads(params, x, t):
    hidden, first = affine_forward(x, params["W1"], params["b1"])
    active, mask = relu_forward(hidden)
    scores, second = affine_forward(active, params["W2"], params["b2"])
    loss, dscores = softmax_loss(scores, t)
    dactive, dw2, db2 = affine_backward(dscores, second)
    _, dw1, db1 = affine_backward(relu_backward(dactive, mask), first)
    return loss, {"W1": dw1, "b1": db1, "W2": dw2, "b2": db2}
