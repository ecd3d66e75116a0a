"""Sequence to sequence with its loss, with and without attention: references, cases, strategies."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.models.parts import cross_entropy
from oracle.catalogue.recurrent.sequences import arguments, equinox_cell, scanned
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.models import seq2seq_attention

Arguments = tuple[Any, ...]
Params = dict[str, Any]

WORDS = 4


def read(params: Params, ids: Any, carry: Any = None) -> Any:
    """The states of an LSTM over embedded words, and the last one."""
    xs = jnp.take(params["embedding"]["w"], ids, axis=0)
    if carry is None:
        zeros = jnp.zeros((xs.shape[0], params["layer"]["wh"].shape[0]), xs.dtype)
        carry = zeros, zeros
    return scanned(equinox_cell(equinox.nn.LSTMCell, params["layer"]), xs, carry)


def looked_up(questions: Any, answer: Any) -> Any:
    """What one state of the decoder finds among those of the encoder, and itself."""
    return jnp.concatenate([jax.nn.softmax(questions @ answer) @ questions, answer])


def goal_by_scan(params: Params, *, net: Any, loss: Any, attention: bool = True) -> Any:
    own = params["net"]
    questions, carry = read(own["encoder"], net["encoder"]["ids"])
    answers, _ = read(own["decoder"], net["decoder"]["ids"], carry)
    if attention:
        answers = jax.vmap(jax.vmap(looked_up, (None, 0)))(questions, answers)
    logits = jnp.dot(answers, own["affine"]["w"]) + own["affine"]["b"]
    return cross_entropy(logits, loss["labels"])


def goal_without_attention(params: Params, **options: Any) -> Any:
    return goal_by_scan(params, attention=False, **options)


def parameters(draw: Draw, *, embedding: int = 2, hidden: int = 2, attention: bool = True) -> Arguments:
    params: Params = {}
    for name in ("encoder", "decoder"):
        layer, _, _ = arguments(draw, gates=4, batch=1, time=1, features=embedding, hidden=hidden)
        params[name] = {"embedding": {"w": draw.normal(WORDS, embedding)}, "layer": layer}
    width = (1 + attention) * hidden
    params["affine"] = {"w": draw.normal(width, WORDS, scale=width**-0.5), "b": draw.normal(WORDS, scale=0.3)}
    return ({"net": params},)


def dialogue(questions: Any, answers: Any, labels: Any) -> dict[str, Any]:
    ids = {"encoder": {"ids": np.array(questions)}, "decoder": {"ids": np.array(answers)}}
    return {"net": ids, "loss": {"labels": np.array(labels)}}


def dialogues(draw: Draw, *, attention: bool) -> tuple[Arguments, dict[str, Any]]:
    batch = draw.between(1, 2)
    questions, answers = draw.labels(WORDS, batch, draw.between(1, 3)), draw.labels(WORDS, batch, draw.between(2, 3))
    params = parameters(draw, embedding=draw.between(1, 2), hidden=draw.between(2, 3), attention=attention)
    return params, dialogue(questions, answers[:, :-1], answers[:, 1:])


TWO = dialogue([[0, 3], [2, 0]], [[0, 2], [0, 3]], [[2, 1], [3, 3]])


def cases(*, attention: bool) -> tuple[Case, ...]:
    make = partial(parameters, attention=attention)
    return (
        Case("two questions", make, TWO, frozenset({Flag.REPEATED})),
        Case("one question", make, dialogue([[1, 3]], [[0]], [[3]]), frozenset({Flag.BATCH_OF_ONE})),
    )


def part(name: str, value: Any) -> Any:
    """Good arguments but for one stage's params."""
    return lambda draw: ({"net": {**parameters(draw)[0]["net"], name: value}},)


def wrong(what: str, match: str, options: Any = TWO, by: type[Exception] = ValueError, make: Any = parameters) -> Error:
    return Error(what, make, by, match, options)


ERRORS = (
    wrong("an unknown word", "embedding: ids must be in 0..3, got 4", dialogue([[4]], [[0]], [[1]])),
    wrong("an answer of another vocabulary", "embedding: ids must be in 0..3, got 7", dialogue([[0]], [[7]], [[1]])),
    wrong("an unknown label", "labels must be in 0..3, got 4", dialogue([[0]], [[0]], [[4]])),
    wrong("fewer answers", "(batch, hidden) = (1, 2) to match xs (1, 1, 2)", dialogue([[0], [1]], [[0]], [[1]])),
    wrong("a question without a batch", "ids must have shape (batch, time), got (2,)", dialogue([0, 1], [[0]], [[1]])),
    wrong("params without attention", "affine: x must have shape (..., 2)", make=partial(parameters, attention=False)),
    wrong("an encoder without embedding", "encoder: params must hold embedding, layer", make=part("encoder", {"layer": {}})),
    wrong("an encoder in a list", "encoder: params must be a dict", make=part("encoder", []), by=TypeError),
    wrong("no question", "missing the keyword argument 'ids'", {"loss": TWO["loss"]}, TypeError),
)

SPECS = (
    Spec(
        seq2seq_attention.goal(),
        reference=goal_by_scan,
        source=library("equinox.nn.LSTMCell in jax.lax.scan, jax.nn.softmax, optax's cross entropy"),
        cases=cases(attention=True),
        strategy=partial(dialogues, attention=True),
        errors=ERRORS,
    ),
    Spec(
        seq2seq_attention.goal(attention=False),
        reference=goal_without_attention,
        source=library("equinox.nn.LSTMCell in jax.lax.scan, optax's cross entropy"),
        cases=cases(attention=False)[:1],
        strategy=partial(dialogues, attention=False),
        errors=(wrong("params with attention", "affine: x must have shape (..., 4)"), *ERRORS[-1:]),
    ),
)
