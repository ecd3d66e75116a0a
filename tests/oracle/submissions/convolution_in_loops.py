"""A right solution that goes from window to window."""

import numpy as np


def windows(height, width, size, stride):
    for i in range((height - size[0]) // stride + 1):
        for j in range((width - size[1]) // stride + 1):
            yield i, j, slice(i * stride, i * stride + size[0]), slice(j * stride, j * stride + size[1])


def conv_forward(x, w, b, stride, pad):
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = padded.shape[2:]
    shape = (len(x), len(w), (height - w.shape[2]) // stride + 1, (width - w.shape[3]) // stride + 1)
    out = np.zeros(shape)
    for i, j, rows, columns in windows(height, width, w.shape[2:], stride):
        for n in range(shape[0]):
            for f in range(shape[1]):
                out[n, f, i, j] = np.sum(padded[n, :, rows, columns] * w[f]) + b[f]
    return out, (padded, w, b, stride, pad)


def conv_backward(dout, cache):
    padded, w, b, stride, pad = cache
    dpadded, dw, db = np.zeros_like(padded), np.zeros_like(w), np.zeros_like(b)
    for i, j, rows, columns in windows(*padded.shape[2:], w.shape[2:], stride):
        for n in range(len(padded)):
            for f in range(len(w)):
                d = dout[n, f, i, j]
                dpadded[n, :, rows, columns] += d * w[f]
                dw[f] += d * padded[n, :, rows, columns]
                db[f] += d
    height, width = padded.shape[2:]
    return dpadded[:, :, pad : height - pad, pad : width - pad], dw, db


def max_pool_forward(x, size, stride):
    n, c, height, width = x.shape
    out = np.zeros((n, c, (height - size) // stride + 1, (width - size) // stride + 1))
    for i, j, rows, columns in windows(height, width, (size, size), stride):
        out[:, :, i, j] = x[:, :, rows, columns].max(axis=(2, 3))
    return out, (x, size, stride)


def max_pool_backward(dout, cache):
    x, size, stride = cache
    dx = np.zeros_like(x)
    for i, j, rows, columns in windows(*x.shape[2:], (size, size), stride):
        window = x[:, :, rows, columns]
        dx[:, :, rows, columns] += (window == window.max(axis=(2, 3), keepdims=True)) * dout[:, :, i, j][:, :, None, None]
    return dx


def loss_and_grads(params, x, t):
    a, conv = conv_forward(x, params["W1"], params["b1"], 1, 0)
    p, pool = max_pool_forward(np.maximum(a, 0), 2, 2)
    flat = p.reshape(len(x), -1)
    scores = flat.dot(params["W2"]) + params["b2"]
    scores = scores - scores.max(axis=1, keepdims=True)
    y = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = -np.log(y[range(len(t)), t] + 1e-7).sum() / len(t)
    y[range(len(t)), t] -= 1
    ds = y / len(t)
    da = max_pool_backward(ds.dot(params["W2"].T).reshape(p.shape), pool)
    da[a <= 0] = 0
    _, dw1, db1 = conv_backward(da, conv)
    return loss, {"W1": dw1, "b1": db1, "W2": flat.T.dot(ds), "b2": ds.sum(axis=0)}
