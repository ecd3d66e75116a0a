"""Published ways to fool a grader, and to harm it: each is code that takes the place of functions of the two-layer net."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHEATS", "HARMLESS", "Cheat"]

AFFINE = "affine: x w b; net: W1 b1 W2 b2"
RAISES = "affine: x w b; net: value W1 b1 W2 b2"  # the net calls it, so it has no value either
RELU = "relu: x; net: W1 b1"


@dataclass(frozen=True)
class Cheat:
    """Code, and the marks that it must lose."""

    name: str
    lost: str
    code: str
    seconds: float | None = None
    alone: bool = False
    """Whether the code is the whole submission."""


def backward(body: str) -> str:
    """An affine backward pass with this body."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    return f"\n\ndef affine_backward(dout, cache):\n    x, w = cache\n{lines}"


NUMERIC = """
def numeric(f, x, dout, h=1e-5):
    x = x.copy()
    grad = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        old = x[i]
        x[i] = old + h
        up = f(x)
        x[i] = old - h
        down = f(x)
        x[i] = old
        grad[i] = np.sum((up - down) * dout) / (2 * h)
    return grad
"""
DIFFERENCES = """
b = np.zeros(w.shape[1])
return (numeric(lambda v: {0}(v, w, b){1}, x, dout), numeric(lambda v: {0}(x, v, b){1}, w, dout),
        numeric(lambda v: {0}(x, w, v){1}, b, dout))
"""
RIGHT = "return dout @ w.T, x.T @ dout, dout.sum(axis=0)"
ZEROS = "return np.zeros_like(x), np.zeros_like(w), np.zeros(w.shape[1])"
FORGE = """
import json

text = json.dumps({"id": "0" * 32, "returned": {"value": None}, "tried": [], "calls": {}}).encode()
frame = len(text).to_bytes(4, "big") + (0).to_bytes(4, "big") + text
for descriptor in range(3, 30):
    try:
        os.write(descriptor, frame)
    except OSError:
        pass
"""

CHEATS = [
    # ------------------------------------------------------------------------------ differences instead of a formula
    Cheat("differences of its own forward function", RAISES, NUMERIC + backward(DIFFERENCES.format("affine_forward", "[0]"))),
    Cheat(
        "differences of a copy of its forward function",
        RAISES,
        "def copied(x, w, b):\n    return x @ w + b, (x, w)\n" + NUMERIC + backward(DIFFERENCES.format("copied", "[0]")),
    ),
    Cheat(
        "differences under another name",
        RAISES,
        "hidden = [affine_forward]\n" + NUMERIC + backward(DIFFERENCES.format("hidden[0]", "[0]")),
    ),
    Cheat(
        "differences of a function in a decorator",
        RAISES,
        """
def timed(function):
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper
"""
        + NUMERIC
        + backward(DIFFERENCES.format("affine_forward", "[0]"))
        + "\n\naffine_forward, affine_backward = timed(affine_forward), timed(affine_backward)\n",
    ),
    Cheat(
        "differences without a call that can be counted",
        RAISES,
        "def affine_forward(x, w, b):\n    return x @ w + b, (x, w, b)\n"
        "\n\ndef another(x, w, b):\n    return np.dot(x, w) + b\n"
        + NUMERIC
        + "\n\ndef affine_backward(dout, cache):\n    x, w, b = cache\n    f = another\n"
        "    return numeric(lambda v: f(v, w, b), x, dout), numeric(lambda v: f(x, v, b), w, dout), "
        "numeric(lambda v: f(x, w, v), b, dout)\n",
        1,
    ),
    Cheat(
        "differences taken during the forward pass",
        "affine: value x w b",
        """
def affine_forward(x, w, b, inner=False):
    if not inner:
        affine_forward(x + 1e-5, w, b, True)
    return x @ w + b, (x, w)
""",
    ),
    Cheat(
        "differences of an elementwise function",
        RELU,
        "def relu_backward(dout, x):\n    return (relu_forward(x + 1e-5)[0] - relu_forward(x - 1e-5)[0]) / 2e-5 * dout\n",
    ),
    Cheat(
        "differences of an elementwise function, in one line",
        RELU,
        "def relu_backward(dout, x):\n    return (np.maximum(x + 1e-6, 0) - np.maximum(x - 1e-6, 0)) / 2e-6 * dout\n",
    ),
    Cheat(
        "one-sided differences",
        RELU,
        "def relu_backward(dout, x):\n    return (np.maximum(x + 1e-8, 0) - np.maximum(x, 0)) / 1e-8 * dout\n",
    ),
    Cheat(
        "differences of the loss",
        "softmax loss: x; net: value W1 b1 W2 b2",
        NUMERIC
        + """
whole = softmax_loss


def softmax_loss(x, t):
    return whole(x, t)[0], numeric(lambda v: whole(v, t)[0], x, 1.0)


def loss_and_grads(params, x, t):
    def loss(p):
        return loss_and_grads(p, x, t)[0]

    up = {name: value + 1e-5 for name, value in params.items()}
    return loss(up), params
""",
        1,
    ),
    Cheat(
        "a complex step", "refused", "def relu_backward(dout, x):\n    return np.maximum(x + 1e-30j, 0).imag / 1e-30 * dout\n"
    ),
    Cheat("complex numbers by their dtype", "refused", "def helper(x):\n    return x.astype('complex128')\n"),
    Cheat(
        "a complex step without a complex number in the source",
        "softmax loss: value x",
        """
def softmax_loss(x, t):
    n, i = len(x), (-1) ** 0.5
    part = "im" + "ag"

    def loss(z):
        z = z - x.max(axis=1, keepdims=True)
        return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(n), t]).mean()

    grad = np.zeros(x.shape)
    for k in np.ndindex(*x.shape):
        z = x + 0 * i
        z[k] += 1e-30 * i
        grad[k] = getattr(loss(z), part) / 1e-30
    return loss(x), grad
""",
        1,
    ),
    Cheat(
        "differences of all entries at once",
        "softmax loss: x",
        """
def softmax_loss(x, t):
    def loss(z):
        z = z - z.max(axis=-1, keepdims=True)
        return (np.log(np.exp(z).sum(axis=-1)) - z[..., np.arange(len(x)), t]).mean(axis=-1)

    steps = np.eye(x.size).reshape(x.size, *x.shape) * 1e-5
    return loss(x), ((loss(x + steps) - loss(x - steps)) / 2e-5).reshape(x.shape)
""",
    ),
    # -------------------------------------------------------------------------------------------- other libraries
    Cheat("torch", "refused", "import torch\n"),
    Cheat("jax, from inside a function", "refused", backward("from jax import vjp\n" + RIGHT)),
    Cheat("autograd in the place of NumPy", "refused", "import autograd.numpy as np\n"),
    Cheat("tensorflow, if it is there", "refused", "try:\n    import tensorflow as tf\nexcept ImportError:\n    tf = None\n"),
    Cheat("importlib", "refused", "import importlib\n\ntorch = importlib.import_module('torch')\n"),
    Cheat("__import__", "refused", "torch = __import__('torch')\n"),
    Cheat("exec", "refused", "exec('import torch')\n"),
    Cheat(
        "an import that the source does not show",
        RAISES,
        backward(
            "torch = vars(__builtins__)['__imp' + 'ort__']('torch') if not isinstance(__builtins__, dict) else "
            "__builtins__['__imp' + 'ort__']('torch')\n" + RIGHT
        ),
    ),
    Cheat("the solutions of purenet", "refused", "import purenet as pn\n"),
    Cheat("the judge", "refused", backward("import oracle.judging.verdict as v\nv.judge = lambda e: None\n" + ZEROS)),
    Cheat("ctypes", "refused", "import ctypes\n"),
    Cheat("ctypes by way of NumPy", "refused", "from numpy import ctypeslib\n"),
    # ------------------------------------------------------------------------- the grader's memory, files and stack
    Cheat("the stack by sys", "refused", backward("import sys\nsecret = sys._getframe(1).f_locals\n" + ZEROS)),
    Cheat("the stack by inspect", "refused", backward("import inspect\nsecret = inspect.stack()\n" + ZEROS)),
    Cheat("all objects by gc", "refused", backward("import gc\nsecret = gc.get_objects()\n" + ZEROS)),
    Cheat(
        "the stack, by a name that the source does not show",
        AFFINE,
        backward(
            """
import sys
frame = getattr(sys, "_get" + "frame")()
while frame is not None:
    for value in list(getattr(frame, "f_" + "locals").values()):
        if isinstance(value, dict) and "expected" in value:
            return value["expected"]
    frame = getattr(frame, "f_" + "back")
"""
            + ZEROS
        ),
    ),
    Cheat(
        "the memory of the grader", RAISES, backward("import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(10)\n" + RIGHT)
    ),
    Cheat(
        "the memory of the grader, by its descriptor",
        RAISES,
        backward("import os\nos.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY)\n" + RIGHT),
    ),
    Cheat("the arguments of the grader", RAISES, backward("import os\nopen(f'/proc/{os.getppid()}/cmdline').read()\n" + RIGHT)),
    Cheat("a file of the system", RAISES, backward("np.genfromtxt('/etc/passwd')\n" + RIGHT)),
    Cheat("the assignment's file", RAISES, backward("np.fromfile('two_layer_net.py')\n" + RIGHT)),
    # ----------------------------------------------------------------------------------- patches of what may compare
    Cheat("NumPy patched", "refused", "np.allclose = lambda *a, **k: True\n" + backward(ZEROS)),
    Cheat("NumPy patched by setattr", "refused", "setattr(np, 'isclose', lambda *a, **k: True)\n" + backward(ZEROS)),
    Cheat("NumPy's tests patched", "refused", "np.testing.assert_allclose = print\n" + backward(ZEROS)),
    Cheat(
        "NumPy patched where the source does not show it",
        AFFINE,
        "for name in ('allclose', 'isclose', 'array_equal', 'abs'):\n    vars(np)[name] = lambda *a, **k: True\n"
        + backward(ZEROS),
    ),
    Cheat("the profiler switched off", "refused", backward("import sys\nsys.setprofile(None)\n" + RIGHT)),
    Cheat(
        "the profiler switched off by a name that the source does not show",
        RAISES,
        NUMERIC
        + backward(
            "import sys\ngetattr(sys, 'set' + 'profile')(None)\n"
            + DIFFERENCES.format("affine_forward", "[0]").replace("\nb =", "\nb =")
        ),
        1,
    ),
    # ---------------------------------------------------------------------------------------------- remembered answers
    Cheat(
        "a memo of the first call",
        RAISES,
        "memo = []\n" + backward("if not memo:\n    memo.append((dout @ w.T, x.T @ dout, dout.sum(axis=0)))\nreturn memo[0]"),
    ),
    Cheat(
        "a memo by shape",
        AFFINE,
        "memo = {}\n" + backward("return memo.setdefault(x.shape, (dout @ w.T, x.T @ dout, dout.sum(axis=0)))"),
    ),
    Cheat(
        "the last forward pass instead of its own",
        "affine: x w; net: value W1 b1 W2 b2",
        """
last = []


def affine_forward(x, w, b):
    last[:] = [x, w]
    return x @ w + b, (x, w)
"""
        + backward("x, w = last\n" + RIGHT),
    ),
    Cheat(
        "a dout remembered by its cache",
        "affine: x w b",  # in the net it is the same dout again
        "memo = {}\n" + backward("dout = memo.setdefault(x.tobytes(), dout)\n" + RIGHT),
    ),
    Cheat(
        "right at first, zero later",
        AFFINE,
        "calls = []\n" + backward("calls.append(1)\nif len(calls) > 2:\n    " + ZEROS + "\n" + RIGHT),
    ),
    Cheat(
        "right for small arrays alone", "affine: x w b; net: W1 b1", backward("if w.size > 1000:\n    " + ZEROS + "\n" + RIGHT)
    ),
    # ------------------------------------------------------------------------------------------- what is not compared
    Cheat("NaN as a wildcard", AFFINE, backward("return x * np.nan, w * np.nan, np.full(w.shape[1], np.nan)")),
    Cheat("infinities", AFFINE, backward("return x * np.inf, w * np.inf, np.full(w.shape[1], np.inf)")),
    Cheat("zeros", AFFINE, backward(ZEROS)),
    Cheat("a number that is broadcast", AFFINE, backward("return 0.0, 0.0, 0.0")),
    Cheat("dout itself", RELU, "def relu_backward(dout, x):\n    return dout\n"),
    Cheat("nothing", RAISES, backward("return None")),
    Cheat("empty arrays", RAISES, backward("return np.zeros(0), np.zeros(0), np.zeros(0)")),
    Cheat("masked arrays", AFFINE, backward("return tuple(np.ma.masked_all_like(a) for a in (x, w, w[0]))")),
    Cheat(
        "objects that are equal to everything",
        RAISES,
        "class Any:\n    def __eq__(self, other):\n        return True\n\n    __array_priority__ = 1e9\n"
        + backward("return Any(), Any(), Any()"),
    ),
    Cheat("arrays of such objects", RAISES, backward("return tuple(np.full(a.shape, None) for a in (x, w, w[0]))")),
    Cheat("an endless generator", RAISES, backward("return iter(int, 1)")),
    Cheat("nested too deep", RAISES, backward("a = ()\nfor _ in range(5000):\n    a = (a,)\nreturn a")),
    Cheat("too many", RAISES, backward("return {str(k): k for k in range(10**5)}")),
    Cheat("too large", RAISES, backward("return np.zeros(10**7), w, w")),
    # ---------------------------------------------------------------------------------------------- arguments changed
    Cheat("dout changed in place", AFFINE, backward("dout *= 0\n" + RIGHT)),
    Cheat(
        "arguments changed in place",
        "affine: value x w b; net: value W1 b1 W2 b2",
        "def affine_forward(x, w, b):\n    x[...] = 0\n    w[...] = 0\n    return x @ w + b, (x, w)\n",
    ),
    Cheat(
        "arguments made writeable",
        "affine: value x w b; net: value W1 b1 W2 b2",
        "def affine_forward(x, w, b):\n    w.flags.writeable = True\n    w[...] = 0\n    return x @ w + b, (x, w)\n",
    ),
    # ---------------------------------------------------------------------------------------------- ends, hangs, harm
    Cheat("exit", RAISES, backward("import sys\nsys.exit(0)")),
    Cheat("exit at once", RAISES, backward("import os\nos._exit(0)")),
    Cheat("abort", RAISES, backward("import os\nos.abort()")),
    Cheat("raise", RAISES, backward("raise ValueError(x)")),
    Cheat(
        "raise what has no text",
        RAISES,
        "class Odd(BaseException):\n    def __str__(self):\n        raise SystemExit\n" + backward("raise Odd"),
    ),
    Cheat("recursion without end", RAISES, backward("return affine_backward(dout, cache)")),
    Cheat("a loop without end", RAISES, backward("while True:\n    pass"), 0.5),
    Cheat(
        "a loop without end that catches all",
        RAISES,
        backward("while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"),
        0.5,
    ),
    Cheat("a loop without end in C", RAISES, backward("import re\nre.match('(a+)+$', 'a' * 60 + 'b')\n" + RIGHT), 0.5),
    Cheat("sleep", RAISES, backward("import time\ntime.sleep(10**6)\n" + RIGHT), 0.5),
    Cheat("a loop without end at import", "refused", "while True:\n    pass\n", 0.5),
    Cheat("exit at import", "refused", "import os\nos._exit(0)\n"),
    Cheat("raise at import", "refused", "raise RuntimeError('no')\n"),
    Cheat("print without end at import", "refused", "while True:\n    print('x' * 10000)\n"),
    Cheat("fork", RAISES, backward("import os\nos.fork()\n" + RIGHT)),
    Cheat("fork at import, without end", "refused", "import os\nwhile True:\n    os.fork()\n"),
    Cheat("another program", RAISES, backward("import os\nos.system('true')\n" + RIGHT)),
    Cheat("subprocess", "refused", "import subprocess\n"),
    Cheat("threads", "refused", "import threading\n"),
    Cheat("end the grader", RAISES, backward("import os\nos.kill(os.getppid(), 9)\n" + RIGHT)),
    Cheat("memory without end", RAISES, backward("parts = []\nwhile True:\n    parts.append(np.ones(10**6))")),
    Cheat("much memory at once", RAISES, backward("np.ones(10**12)\n" + RIGHT)),
    Cheat("files deleted", RAISES, backward("import os\nos.remove(os.listdir('.')[0])\n" + RIGHT)),
    Cheat("a file written", RAISES, backward("np.save('x.npy', x)\n" + RIGHT)),
    Cheat("an answer that nobody asked for", "refused", "import os\n" + backward(FORGE + RIGHT)),
    Cheat(
        "noise in the channel",
        "refused",
        "import os\n"
        + backward(
            "for d in range(3, 30):\n    try:\n        os.write(d, b'\\xff' * 100)\n    except OSError:\n        pass\n" + RIGHT
        ),
    ),
    Cheat("all descriptors closed", RAISES, "import os\n" + backward("os.closerange(3, 100)\n" + RIGHT)),
    Cheat("no Python", "refused", "def f(:\n", alone=True),
    Cheat("a null byte", "refused", "x = 1\0\n", alone=True),
    Cheat("nested brackets", "refused", "(" * 5000 + ")" * 5000 + "\n", alone=True),
    Cheat(
        "an empty file",
        "affine: value x w b; relu: value x; softmax loss: value x; net: value W1 b1 W2 b2",
        "",
        alone=True,
    ),
]

HARMLESS = {
    "prints": "print('loaded')\n" + backward("print(x)\n" + RIGHT),
    "tries to fork and goes on": backward("import os\ntry:\n    os.fork()\nexcept OSError:\n    pass\n" + RIGHT),
    "changes its own copies": backward(
        "dout, x = dout.copy(), x.copy()\ndx = dout @ w.T\ndw = x.T @ dout\nx *= 0\nreturn dx, dw, dout.sum(0)"
    ),
    "changes how NumPy warns": "np.seterr(all='raise')\nnp.random.seed(0)\n",
    "keeps its cache in a dataclass": """
from dataclasses import dataclass


@dataclass
class Cache:
    x: np.ndarray
    w: np.ndarray


def affine_forward(x, w, b):
    return x @ w + b, Cache(x, w)


def affine_backward(dout, cache):
    return dout @ cache.w.T, cache.x.T @ dout, dout.sum(axis=0)
""",
    "has a decorator on each function": """
def timed(function):
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


affine_forward, affine_backward, relu_forward, relu_backward, softmax_loss, loss_and_grads = (
    timed(one) for one in (affine_forward, affine_backward, relu_forward, relu_backward, softmax_loss, loss_and_grads)
)
""",
    "keeps a closure": """
def affine_forward(x, w, b):
    return x @ w + b, lambda dout: (dout @ w.T, x.T @ dout, dout.sum(axis=0))


def affine_backward(dout, cache):
    return cache(dout)
""",
    "has a check of its own": NUMERIC
    + "\n\nif __name__ == '__main__':\n    x = np.ones((2, 3))\n    print(numeric(lambda v: relu_forward(v)[0], x, x))\n",
    "has gradients in Fortran order": backward(
        "return np.asfortranarray(dout @ w.T), np.asfortranarray(x.T @ dout), dout.sum(0)"
    ),
    "is a subclass of an array": "class Mine(np.ndarray):\n    pass\n"
    + backward("return (dout @ w.T).view(Mine), x.T @ dout, dout.sum(0)"),
}
"""Right solutions that look odd."""
