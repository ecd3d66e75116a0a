"""A right solution, step by step."""

import numpy as np


def rnn_step_forward(x, prev_h, wx, wh, b):
    next_h = np.tanh(x @ wx + prev_h @ wh + b)
    return next_h, (x, prev_h, wx, wh, next_h)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, wx, wh, next_h = cache
    da = dnext_h * (1 - next_h**2)
    return da @ wx.T, da @ wh.T, x.T @ da, prev_h.T @ da, da.sum(axis=0)


def rnn_forward(x, h0, wx, wh, b):
    states, caches, h = [], [], h0
    for t in range(x.shape[1]):
        h, cache = rnn_step_forward(x[:, t], h, wx, wh, b)
        states.append(h)
        caches.append(cache)
    return np.stack(states, axis=1), (x.shape, caches)


def rnn_backward(dh, cache):
    shape, caches = cache
    dx, dprev, dwx, dwh, db = np.zeros(shape), 0, 0, 0, 0
    for t in reversed(range(shape[1])):
        dx[:, t], dprev, step_wx, step_wh, step_b = rnn_step_backward(dh[:, t] + dprev, caches[t])
        dwx, dwh, db = dwx + step_wx, dwh + step_wh, db + step_b
    return dx, dprev, dwx, dwh, db


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def lstm_step_forward(x, prev_h, prev_c, wx, wh, b):
    h = prev_h.shape[1]
    a = x @ wx + prev_h @ wh + b
    i, f, o = sigmoid(a[:, :h]), sigmoid(a[:, h : 2 * h]), sigmoid(a[:, 3 * h :])
    g = np.tanh(a[:, 2 * h : 3 * h])
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (x, prev_h, prev_c, wx, wh, i, f, g, o, next_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, wx, wh, i, f, g, o, next_c = cache
    through = np.tanh(next_c)
    dc = dnext_c + dnext_h * o * (1 - through**2)
    di = dc * g * i * (1 - i)
    df = dc * prev_c * f * (1 - f)
    dg = dc * i * (1 - g**2)
    do = dnext_h * through * o * (1 - o)
    da = np.concatenate([di, df, dg, do], axis=1)
    return da @ wx.T, da @ wh.T, dc * f, x.T @ da, prev_h.T @ da, da.sum(axis=0)


def embedding_forward(x, w):
    return w[x], (x, w.shape)


def embedding_backward(dout, cache):
    x, shape = cache
    dw = np.zeros(shape)
    np.add.at(dw, x, dout)
    return dw


def loss_and_grads(params, x, t):
    words, embedded = embedding_forward(x, params["W_embed"])
    h0 = np.zeros((len(x), len(params["Wh"])))
    h, passed = rnn_forward(words, h0, params["Wx"], params["Wh"], params["b"])
    scores = h @ params["W_out"] + params["b_out"]
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    rows, steps = np.indices(t.shape)
    loss = -np.log(p[rows, steps, t]).mean()
    p[rows, steps, t] -= 1
    ds = p / t.size
    dh = ds @ params["W_out"].T
    dwords, _, dwx, dwh, db = rnn_backward(dh, passed)
    grads = {"W_embed": embedding_backward(dwords, embedded), "Wx": dwx, "Wh": dwh, "b": db}
    return loss, {**grads, "W_out": np.einsum("nth,ntv->hv", h, ds), "b_out": ds.sum(axis=(0, 1))}
