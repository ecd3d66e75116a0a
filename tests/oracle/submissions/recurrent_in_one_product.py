"""A right solution with one matrix product for the input and the state, and gates that are split by NumPy."""

import numpy as np


def logistic(a):
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1 / (1 + e), e / (1 + e))


def rnn_step_forward(x, prev_h, wx, wh, b):
    joined, w = np.hstack([x, prev_h]), np.vstack([wx, wh])
    next_h = np.tanh(joined.dot(w) + b)
    return next_h, {"joined": joined, "w": w, "h": next_h, "d": x.shape[1]}


def rnn_step_backward(dnext_h, cache):
    d, joined = cache["d"], cache["joined"]
    da = (1 - np.square(cache["h"])) * dnext_h
    djoined, dw = da.dot(cache["w"].T), joined.T.dot(da)
    return djoined[:, :d], djoined[:, d:], dw[:d], dw[d:], np.ones(len(da)).dot(da)


def rnn_forward(x, h0, wx, wh, b):
    h = np.zeros((x.shape[0], x.shape[1] + 1, h0.shape[1]))
    h[:, 0] = h0
    for t in range(x.shape[1]):
        h[:, t + 1] = np.tanh(x[:, t] @ wx + (h[:, t] @ wh + b))
    return h[:, 1:], (x, h, wx, wh)


def rnn_backward(dh, cache):
    x, h, wx, wh = cache
    da = np.zeros_like(dh)
    coming = np.zeros_like(dh[:, 0])
    for t in range(x.shape[1] - 1, -1, -1):
        da[:, t] = (dh[:, t] + coming) * (1 - h[:, t + 1] ** 2)
        coming = da[:, t] @ wh.T
    dwx = np.tensordot(x, da, axes=([0, 1], [0, 1]))
    dwh = np.tensordot(h[:, :-1], da, axes=([0, 1], [0, 1]))
    return da @ wx.T, coming, dwx, dwh, da.sum((0, 1))


def lstm_step_forward(x, prev_h, prev_c, wx, wh, b):
    a = np.hstack([x, prev_h]) @ np.vstack([wx, wh]) + b
    i, f, g, o = np.split(a, 4, axis=1)
    i, f, g, o = logistic(i), logistic(f), np.tanh(g), logistic(o)
    next_c = prev_c * f + g * i
    through = np.tanh(next_c)
    return through * o, next_c, [x, prev_h, prev_c, wx, wh, i, f, g, o, through]


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, wx, wh, i, f, g, o, through = cache
    dc = dnext_c + dnext_h * o * (1 - through * through)
    da = np.hstack([dc * g * i * (1 - i), dc * prev_c * f * (1 - f), dc * i * (1 - g * g), dnext_h * through * o * (1 - o)])
    return da @ wx.T, da @ wh.T, f * dc, x.T @ da, prev_h.T @ da, np.sum(da, axis=0)


def embedding_forward(x, w):
    return np.take(w, x, axis=0), (x, len(w))


def embedding_backward(dout, cache):
    x, words = cache
    return np.eye(words)[x.ravel()].T @ dout.reshape(x.size, -1)


def loss_and_grads(params, x, t):
    words, embedded = embedding_forward(x, params["W_embed"])
    h, passed = rnn_forward(words, np.zeros((len(x), len(params["Wh"]))), params["Wx"], params["Wh"], params["b"])
    flat = h.reshape(-1, h.shape[-1])
    scores = flat @ params["W_out"] + params["b_out"]
    scores -= scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    every = np.arange(t.size)
    loss = -np.mean(logs[every, t.reshape(-1)])
    ds = np.exp(logs)
    ds[every, t.reshape(-1)] -= 1
    ds /= t.size
    dwords, _, dwx, dwh, db = rnn_backward((ds @ params["W_out"].T).reshape(h.shape), passed)
    return loss, {
        "W_embed": embedding_backward(dwords, embedded),
        "Wx": dwx,
        "Wh": dwh,
        "b": db,
        "W_out": flat.T @ ds,
        "b_out": ds.sum(axis=0),
    }
