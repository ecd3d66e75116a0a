"""A class with a mistake that the usual gradient check does not notice: from `net.backward()` to a verdict in a few lines.

    python examples/two_layer_class.py

The net is written as learners write it: the weights and the intermediate results of the forward pass are attributes, and
`backward` sets `dW1`, `db1`, `dW2`, `db2`. Its code does not use this package.
"""

from __future__ import annotations

import numpy as np

import oracle

PARAMETERS = ("W1", "b1", "W2", "b2")


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def sigmoid_grad(a):
    return sigmoid(a) * (1 - sigmoid(a))


def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class TwoLayerNet:
    """The learner's net."""

    def __init__(self, inputs, hidden, outputs, weight_init_std=0.01):
        generator = np.random.default_rng(0)
        self.W1 = weight_init_std * generator.normal(size=(inputs, hidden))
        self.b1 = np.zeros(hidden)
        self.W2 = weight_init_std * generator.normal(size=(hidden, outputs))
        self.b2 = np.zeros(outputs)

    def forward(self, x, t):
        self.x, self.t = x, t
        self.a1 = x @ self.W1 + self.b1
        self.z1 = sigmoid(self.a1)
        self.y = softmax(self.z1 @ self.W2 + self.b2)
        return -np.mean(np.log(self.y[np.arange(len(t)), t]))

    def backward(self, dout=1.0):
        n = len(self.t)
        da2 = self.y.copy()
        da2[np.arange(n), self.t] -= 1
        da2 *= dout / n
        self.dW2, self.db2 = self.z1.T @ da2, da2.sum(axis=0)
        da1 = self.slope() * (da2 @ self.W2.T)
        self.dW1, self.db1 = self.x.T @ da1, da1.sum(axis=0)

    def slope(self):
        return sigmoid_grad(self.z1)


class MendedNet(TwoLayerNet):
    """The corrected net: `sigmoid_grad` gets the argument of the sigmoid instead of its value."""

    def slope(self):
        return sigmoid_grad(self.a1)


# The usual check: one central difference with one step, and the mean difference, which is "small" or not.


def mean_differences(net, x, t, h=1e-4):
    """The mean difference of each parameter, as in most tutorials."""
    net.forward(x, t)
    net.backward()
    found = {}
    for name in PARAMETERS:
        p, backprop = getattr(net, name), getattr(net, f"d{name}").copy()
        numerical = np.zeros_like(p)
        for i in np.ndindex(p.shape):
            here = p[i]
            p[i] = here + h
            above = net.forward(x, t)
            p[i] = here - h
            below = net.forward(x, t)
            p[i] = here
            numerical[i] = (above - below) / (2 * h)
        found[name] = np.mean(np.abs(backprop - numerical))
    return found


# The pair: the weights are arguments, because they are differentiated, and the data are keywords. Each forward pass makes a
# net of its own, because a net stores the results that `backward` needs: the net is the residuals.


def pair_of(net_class):
    def fwd(params, *, x, t):
        net = net_class.__new__(net_class)
        vars(net).update(params)
        return net.forward(x, t), net

    def bwd(net, dy):
        net.backward(dy)
        return ({name: getattr(net, f"d{name}") for name in PARAMETERS},)

    fwd.__name__ = net_class.__name__
    return fwd, bwd


def params_of(net):
    return {name: getattr(net, name) for name in PARAMETERS}


# If the table shows that all gradients behind one step are wrong, verify that step by itself.


def hidden_layer(a1):
    z1 = sigmoid(a1)
    return z1, z1


def hidden_layer_bwd(z1, dz1):
    return (sigmoid_grad(z1) * dz1,)


def main():
    generator = np.random.default_rng(1)
    x, t = generator.uniform(size=(20, 12)), generator.integers(0, 3, size=20)
    for net_class in (TwoLayerNet, MendedNet):
        net = net_class(12, 8, 3)
        print(f"--- {net_class.__name__}: the usual check, mean |backprop - numerical|\n")
        for name, difference in mean_differences(net, x, t).items():
            print(f"{name}  {difference:.1e}  {'looks fine' if difference < 1e-4 else 'LOOKS WRONG'}")
        print(f"\n--- {net_class.__name__}: oracle.verify\n")
        print(oracle.verify(pair_of(net_class), params_of(net), options={"x": x, "t": t}))
        if net_class is TwoLayerNet:
            print("\nWhat comes after the hidden layer is right, what comes before it is wrong.")
            print("\n--- the hidden layer alone: oracle.verify\n")
            print(oracle.verify((hidden_layer, hidden_layer_bwd), generator.normal(size=(5, 8))))
            print()


if __name__ == "__main__":
    main()
