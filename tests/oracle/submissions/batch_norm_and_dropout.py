"""A right solution with the formula of the paper in one line."""

import numpy as np


def batchnorm_forward(x, gamma, beta, eps):
    mean, var = x.mean(axis=0), x.var(axis=0)
    xhat = (x - mean) / np.sqrt(var + eps)
    return gamma * xhat + beta, (xhat, gamma, np.sqrt(var + eps))


def batchnorm_backward(dout, cache):
    xhat, gamma, std = cache
    dgamma = np.sum(dout * xhat, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx = gamma / std * (dout - dout.mean(axis=0) - xhat * (dout * xhat).mean(axis=0))
    return dx, dgamma, dbeta


def batchnorm_inference_forward(x, gamma, beta, mean, var, eps):
    std = np.sqrt(var + eps)
    xhat = (x - mean) / std
    return gamma * xhat + beta, (xhat, gamma, std)


def batchnorm_inference_backward(dout, cache):
    xhat, gamma, std = cache
    return dout * gamma / std, np.sum(dout * xhat, axis=0), np.sum(dout, axis=0)


def dropout_forward(x, mask, rate):
    return x * mask / (1 - rate), (mask, rate)


def dropout_backward(dout, cache):
    mask, rate = cache
    return dout * mask / (1 - rate)


def softmax_loss(x, t):
    n = len(x)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dx = p.copy()
    dx[np.arange(n), t] -= 1
    return -np.log(p[np.arange(n), t]).mean(), dx / n


def loss_and_grads(params, x, t, mask, rate, eps):
    a = x @ params["W1"]
    n, norm = batchnorm_forward(a, params["gamma"], params["beta"], eps)
    h = np.maximum(n, 0)
    d, drop = dropout_forward(h, mask, rate)
    loss, ds = softmax_loss(d @ params["W2"] + params["b2"], t)
    dn = dropout_backward(ds @ params["W2"].T, drop) * (n > 0)
    da, dgamma, dbeta = batchnorm_backward(dn, norm)
    return loss, {"W1": x.T @ da, "gamma": dgamma, "beta": dbeta, "W2": d.T @ ds, "b2": ds.sum(axis=0)}
