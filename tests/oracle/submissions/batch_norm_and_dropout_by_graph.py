"""A right solution that goes back through each step of the computation, and recomputes where it can."""

import numpy as np


def batchnorm_forward(x, gamma, beta, eps):
    centred = x - np.mean(x, axis=0)
    var = np.mean(centred**2, axis=0)
    inverse = 1.0 / np.sqrt(var + eps)
    return gamma * (centred * inverse) + beta, {"x": x, "gamma": gamma, "beta": beta, "eps": eps}


def batchnorm_backward(dout, cache):
    x, gamma, eps = cache["x"], cache["gamma"], cache["eps"]
    batchnorm_forward(x, gamma, cache["beta"], eps)
    n = x.shape[0]
    centred = x - np.mean(x, axis=0)
    var = np.mean(centred**2, axis=0)
    inverse = 1.0 / np.sqrt(var + eps)
    dnormed = dout * gamma
    dinverse = np.sum(dnormed * centred, axis=0)
    dvar = -0.5 * (var + eps) ** -1.5 * dinverse
    dcentred = dnormed * inverse + 2.0 / n * centred * dvar
    return dcentred - np.sum(dcentred, axis=0) / n, np.sum(dout * centred * inverse, axis=0), np.sum(dout, axis=0)


def batchnorm_inference_forward(x, gamma, beta, mean, var, eps):
    scale = gamma / np.sqrt(var + eps)
    return scale * (x - mean) + beta, (x - mean, scale, np.sqrt(var + eps))


def batchnorm_inference_backward(dout, cache):
    centred, scale, std = cache
    return scale * dout, np.einsum("nd,nd->d", dout, centred / std), dout.sum(0)


def dropout_forward(x, mask, rate):
    scale = mask / (1.0 - rate)
    return scale * x, scale


def dropout_backward(dout, scale):
    return scale * dout


def loss_and_grads(params, x, t, mask, rate, eps):
    hidden = x.dot(params["W1"])
    normed, norm = batchnorm_forward(hidden, params["gamma"], params["beta"], eps)
    kept, scale = dropout_forward(np.where(normed > 0, normed, 0), mask, rate)
    scores = kept.dot(params["W2"]) + params["b2"]
    shifted = scores - scores.max(1)[:, None]
    logs = shifted - np.log(np.exp(shifted).sum(1))[:, None]
    targets = np.eye(scores.shape[1])[t]
    dscores = (np.exp(logs) - targets) / len(t)
    dnormed = dropout_backward(dscores.dot(params["W2"].T), scale) * np.heaviside(normed, 0)
    dhidden, dgamma, dbeta = batchnorm_backward(dnormed, norm)
    grads = {"W1": x.T.dot(dhidden), "gamma": dgamma, "beta": dbeta, "W2": kept.T.dot(dscores), "b2": dscores.sum(0)}
    return -(targets * logs).sum() / len(t), grads
