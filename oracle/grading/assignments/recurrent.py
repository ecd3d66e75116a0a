"""Recurrent nets: one step, all steps through time, an LSTM step, an embedding, and a small language model."""

from __future__ import annotations

from typing import Any

import numpy as np

import purenet as pn
from oracle.grading import Assignment, Functions, Part, Whole

HUGE = 1e12  # an offset beside which differences see nothing
LARGE = 3e3  # two such factors cancel an offset of 1e7, beside which differences see too little


def rnn_step(x: Any, prev_h: Any, wx: Any, wh: Any, b: Any) -> Any:
    return pn.rnn_cell.fwd({"wx": wx, "wh": wh, "b": b}, x, prev_h)


def rnn_step_backward(dnext_h: Any, cache: Any) -> Any:
    params, dx, dprev_h = pn.rnn_cell.bwd(cache, dnext_h)
    return dx, dprev_h, params["wx"], params["wh"], params["b"]


def rnn(x: Any, h0: Any, wx: Any, wh: Any, b: Any) -> Any:
    (h, _), saved = pn.rnn.fwd({"wx": wx, "wh": wh, "b": b}, x, h0)
    return h, (saved, np.zeros_like(h0))


def rnn_backward(dh: Any, cache: Any) -> Any:
    saved, nothing = cache
    params, dx, dh0 = pn.rnn.bwd(saved, (dh, nothing))
    return dx, dh0, params["wx"], params["wh"], params["b"]


def lstm_step(x: Any, prev_h: Any, prev_c: Any, wx: Any, wh: Any, b: Any) -> Any:
    (h, c), saved = pn.lstm_cell.fwd({"wx": wx, "wh": wh, "b": b}, x, (prev_h, prev_c))
    return h, c, saved


def lstm_step_backward(dnext_h: Any, dnext_c: Any, cache: Any) -> Any:
    params, dx, (dprev_h, dprev_c) = pn.lstm_cell.bwd(cache, (dnext_h, dnext_c))
    return dx, dprev_h, dprev_c, params["wx"], params["wh"], params["b"]


def embedding(x: Any, w: Any) -> Any:
    return pn.embedding.fwd({"w": w}, ids=x)


def embedding_backward(dout: Any, cache: Any) -> Any:
    (params,) = pn.embedding.bwd(cache, dout)
    return params["w"]


def model(params: Any, x: Any, t: Any) -> Any:
    words, embedded = pn.embedding.fwd({"w": params["W_embed"]}, ids=x)
    start = np.zeros((len(x), len(params["Wh"])))
    cell = {"wx": params["Wx"], "wh": params["Wh"], "b": params["b"]}
    (h, _), passed = pn.rnn.fwd(cell, words, start)
    scores, affine = pn.affine.fwd({"w": params["W_out"], "b": params["b_out"]}, h)
    loss, saved = pn.softmax_cross_entropy.fwd(scores, labels=t)
    (dscores,) = pn.softmax_cross_entropy.bwd(saved, np.float64(1))
    out, dh = pn.affine.bwd(affine, dscores)
    cell, dwords, _ = pn.rnn.bwd(passed, (dh, np.zeros_like(start)))
    (table,) = pn.embedding.bwd(embedded, dwords)
    grads = {"W_embed": table["w"], "Wx": cell["wx"], "Wh": cell["wh"], "b": cell["b"], "W_out": out["w"], "b_out": out["b"]}
    return loss, grads


def some_cell(rng: Any, d: int, h: int, gates: int = 1) -> dict[str, Any]:
    return {
        "wx": rng.normal(size=(d, gates * h)) / d**0.5,
        "wh": rng.normal(size=(h, gates * h)) / h**0.5,
        "b": rng.normal(size=gates * h) / 2,
    }


def some_step(rng: Any, n: int = 4, d: int = 3, h: int = 5, *, gates: int = 1, cancels: bool = False) -> dict[str, Any]:
    cell = some_cell(rng, d, h, gates)
    x, states = rng.normal(size=(n, d)), {"prev_h": rng.normal(size=(n, h))}
    if gates > 1:
        states["prev_c"] = rng.normal(size=(n, h))
    if cancels:
        x[:, 0], cell["wx"][0] = LARGE, -LARGE
        cell["b"] += LARGE * LARGE
    return {"x": x, **states, **cell}


def some_sequence(rng: Any, n: int = 3, steps: int = 4, d: int = 2, h: int = 5, *, cancels: bool = False) -> dict[str, Any]:
    cell = some_cell(rng, d, h)
    x, h0 = rng.normal(size=(n, steps, d)), rng.normal(size=(n, h))
    if cancels:
        x[..., 0], cell["wx"][0] = LARGE, -LARGE
        cell["b"] += LARGE * LARGE
    return {"x": x, "h0": h0, **cell}


def some_words(rng: Any, shape: tuple[int, int] = (3, 4), words: int = 6, d: int = 5, offset: float = 0.0) -> dict[str, Any]:
    x = rng.integers(words, size=shape)
    x[0, 0] = x[-1, -1]  # a word that comes twice
    return {"x": x, "w": rng.normal(size=(words, d)) + offset}


def some_model(rng: Any, sizes: tuple[int, ...] = (3, 4, 6, 5, 7), *, cancels: bool = False) -> dict[str, Any]:
    n, steps, words, d, h = sizes
    cell = some_cell(rng, d, h)
    params = {
        "W_embed": rng.normal(size=(words, d)),
        "Wx": cell["wx"],
        "Wh": cell["wh"],
        "b": cell["b"],
        "W_out": rng.normal(size=(h, words)) / h**0.5,
        "b_out": rng.normal(size=words) / 2,
    }
    if cancels:
        params["W_embed"][:, 0], params["Wx"][0] = LARGE, -LARGE
        params["b"] = params["b"] + LARGE * LARGE
    return {"params": params, "x": some_words(rng, (n, steps), words)["x"], "t": rng.integers(words, size=(n, steps))}


assignment = Assignment(
    "recurrent",
    [
        Part(
            "rnn step",
            [Functions("rnn_step_forward", "rnn_step_backward")],
            (rnn_step, rnn_step_backward),
            {"x": 1, "prev_h": 1, "wx": 1, "wh": 1, "b": 1},
            [some_step],
            blind=[lambda rng: some_step(rng, cancels=True)],
            large=[lambda rng: some_step(rng, 8, 300, 200)],
            about="next_h = tanh(x wx + prev_h wh + b) for x (N, D), prev_h (N, H)",
        ),
        Part(
            "rnn",
            [Functions("rnn_forward", "rnn_backward")],
            (rnn, rnn_backward),
            {"x": 2, "h0": 1, "wx": 1, "wh": 2, "b": 1},
            [some_sequence],
            blind=[lambda rng: some_sequence(rng, cancels=True)],
            large=[lambda rng: some_sequence(rng, 4, 10, 120, 160)],
            about="the states h (N, T, H) after each step, for x (N, T, D) and the first state h0 (N, H)",
        ),
        Part(
            "lstm step",
            [Functions("lstm_step_forward", "lstm_step_backward")],
            (lstm_step, lstm_step_backward),
            {"x": 1, "prev_h": 1, "prev_c": 1, "wx": 1, "wh": 1, "b": 1},
            [lambda rng: some_step(rng, gates=4)],
            blind=[lambda rng: some_step(rng, gates=4, cancels=True)],
            large=[lambda rng: some_step(rng, 8, 150, 100, gates=4)],
            about="next_h and next_c; the columns of wx, wh and b are those of the gates input, forget, block input, output",
        ),
        Part(
            "embedding",
            [Functions("embedding_forward", "embedding_backward")],
            (embedding, embedding_backward),
            {"w": 2},
            [some_words],
            blind=[lambda rng: some_words(rng, offset=HUGE)],
            large=[lambda rng: some_words(rng, (20, 30), 1000, 100)],
            about="the rows of w (V, D) that the integers x (N, T) name",
        ),
        Part(
            "language model",
            [Whole("loss_and_grads")],
            model,
            {"W_embed": 1, "Wx": 1, "Wh": 1, "b": 1, "W_out": 1, "b_out": 1},
            [some_model],
            blind=[lambda rng: some_model(rng, cancels=True)],
            large=[lambda rng: some_model(rng, (4, 8, 200, 100, 120))],
            value_tolerance=1e-4,  # some add 1e-7 inside the logarithm, which shows where a class is improbable
            about="embedding W_embed, rnn Wx, Wh, b from a state of zeros, affine W_out, b_out, the mean softmax loss over all "
            "words with labels t; and a dict of the gradients of params",
        ),
    ],
)
