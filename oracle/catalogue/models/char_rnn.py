"""The character RNN with its loss: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.models.parts import cross_entropy
from oracle.catalogue.recurrent.sequences import Make, arguments, equinox_cell, scanned
from oracle.catalogue.recurrent.simple import row_cell
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.combinators import named
from purenet.models import char_rnn

Arguments = tuple[Any, ...]
Params = dict[str, Any]

CHARACTERS = 4
LSTM, STACK = char_rnn.goal(), named(char_rnn.goal(cell="gru", layers=2), char_rnn.goal, "char_rnn_gru_goal")
SIMPLE = named(char_rnn.goal(cell="rnn"), char_rnn.goal, "char_rnn_rnn_goal")


def goal_by_scan(cell: Callable[[Params], Any], params: Params, carry: Any, *, net: Any, loss: Any) -> Any:
    """The layers one after the other, a cell of equinox over each."""
    own, states = params["net"], {}
    y = jnp.take(own["rnn"]["embedding"]["w"], net["rnn"]["ids"], axis=0)
    for name, layer in own["rnn"]["layer"].items():
        y, states[name] = scanned(cell(layer), y, carry[name])
    logits = jnp.dot(y, own["affine"]["w"]) + own["affine"]["b"]
    return cross_entropy(logits, loss["labels"]), states


def lstm_goal(params: Params, carry: Any, **options: Any) -> Any:
    return goal_by_scan(partial(equinox_cell, equinox.nn.LSTMCell), params, carry, **options)


def gru_goal(params: Params, carry: Any, **options: Any) -> Any:
    return goal_by_scan(partial(equinox_cell, equinox.nn.GRUCell), params, carry, **options)


def rnn_goal(params: Params, carry: Any, **options: Any) -> Any:
    return goal_by_scan(lambda layer: row_cell(layer, "tanh"), params, carry, **options)


def windows(draw: Draw, make: Make, *, batch: int = 2, embedding: int = 2, hidden: int = 2, layers: int = 1) -> Arguments:
    """Parameters, and the state after an earlier window."""
    stack, states, width = {}, {}, embedding
    for name in [f"layer{i + 1}" for i in range(layers)]:
        stack[name], _, states[name] = make(draw, batch=batch, features=width, hidden=hidden)
        width = hidden
    affine = {"w": draw.normal(hidden, CHARACTERS, scale=hidden**-0.5), "b": draw.normal(CHARACTERS, scale=0.3)}
    return {"net": {"rnn": {"embedding": {"w": draw.normal(CHARACTERS, embedding)}, "layer": stack}, "affine": affine}}, states


def text(ids: Any, labels: Any) -> dict[str, Any]:
    return {"net": {"rnn": {"ids": np.array(ids)}}, "loss": {"labels": np.array(labels)}}


def cases(make: Make, **own: Any) -> tuple[Case, ...]:
    no_text = np.zeros((0, 2), np.int64)
    return (
        Case("two windows", lambda draw: windows(draw, make, **own), text([[0, 3], [2, 1]], [[3, 1], [1, 0]])),
        Case(
            "a character again and again",
            lambda draw: windows(draw, make, batch=1, **own),
            text([[2, 2, 2]], [[2, 2, 1]]),
            frozenset({Flag.REPEATED, Flag.BATCH_OF_ONE}),
        ),
        Case(
            "no text",
            lambda draw: windows(draw, make, batch=0, **own),
            text(no_text, no_text),
            frozenset({Flag.EMPTY_BATCH}),
        ),
    )


def random_windows(make: Make, layers: int = 1) -> Any:
    def strategy(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
        sizes = {name: draw.between(1, 3) for name in ("batch", "embedding")} | {"hidden": draw.between(2, 3)}
        ids = draw.labels(CHARACTERS, sizes["batch"], draw.between(2, 4))
        return windows(draw, make, layers=layers, **sizes), text(ids[:, :-1], ids[:, 1:])

    return strategy


def errors(name: str, make: Make, **own: Any) -> tuple[Error, ...]:
    def wrong(what: str, exception: type[Exception], match: str, options: Any) -> Error:
        return Error(what, lambda draw: windows(draw, make, **own), exception, match, options)

    one, good = [[0], [1]], text([[0], [1]], [[1], [0]])
    return (
        wrong("a character that is not there", ValueError, "embedding: ids must be in 0..3, got 4", text([[0], [4]], one)),
        wrong("another that should follow", ValueError, "labels must be in 0..3, got 4", text(one, [[0], [4]])),
        wrong("a text of another batch", ValueError, "to match xs (1, 1, 2)", text([[0]], [[1]])),
        wrong("fewer labels", ValueError, "softmax_cross_entropy: integer labels must have shape (2, 1)", text(one, [0, 1])),
        wrong("no text", TypeError, "missing the keyword argument 'ids'", {"loss": good["loss"]}),
        wrong("an unknown stage", TypeError, "char_rnn: no stage is named 'embedding'", good | {"net": {"embedding": {}}}),
        Error(
            "params of the net alone",
            lambda draw: (windows(draw, make, **own)[0]["net"], windows(draw, make, **own)[1]),
            ValueError,
            f"{name}: params must hold the stages net, got rnn, affine",
            good,
        ),
    )


def spec(op: Any, reference: Any, cell: str, make: Make, count: int = 3, **own: Any) -> Spec:
    return Spec(
        op,
        reference=reference,
        source=library(f"{cell} in jax.lax.scan, optax.softmax_cross_entropy_with_integer_labels"),
        cases=cases(make, **own)[:count],
        strategy=random_windows(make, **own),
        errors=errors(op.name, make, **own),
    )


SPECS = (
    spec(LSTM, lstm_goal, "equinox.nn.LSTMCell", partial(arguments, gates=4)),
    spec(STACK, gru_goal, "equinox.nn.GRUCell", partial(arguments, gates=3, hidden_bias=True), 2, layers=2),
    spec(SIMPLE, rnn_goal, "jax.numpy.tanh", partial(arguments, gates=1), 1),
)
