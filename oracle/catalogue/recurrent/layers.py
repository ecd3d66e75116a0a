"""Layers in both directions, on top of each other, and of ids: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.recurrent import long_short_term, simple
from oracle.catalogue.recurrent.long_short_term import lstm_by_equinox
from oracle.catalogue.recurrent.sequences import Arguments, Make, Params, flagged, lengths, sizes
from oracle.catalogue.recurrent.simple import rnn_by_scan
from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.recurrent import bidirectional, embedded, lstm, rnn, stacked

BOTH_WAYS = bidirectional(lstm)
PYRAMID = stacked(low=bidirectional(rnn), high=lstm)
READER = embedded(lstm)


def both_ways(params: Params, xs: Any, carry: Any, *, layer: Any = lstm_by_equinox, **options: Any) -> Any:
    ys, forward = layer(params["forward"], xs, carry["forward"], **options)
    zs, backward = layer(params["backward"], xs, carry["backward"], reverse=True, **options)
    return jnp.concatenate([ys, zs], axis=2), {"forward": forward, "backward": backward}


def pyramid(params: Params, xs: Any, carry: Any, **options: Any) -> Any:
    ys, low = both_ways(params["low"], xs, carry["low"], layer=rnn_by_scan, **options)
    zs, high = lstm_by_equinox(params["high"], ys, carry["high"], **options)
    return zs, {"low": low, "high": high}


def reader(params: Params, carry: Any, *, ids: Any, **options: Any) -> Any:
    return lstm_by_equinox(params["layer"], jnp.take(params["embedding"]["w"], ids, axis=0), carry, **options)


def make_both_ways(draw: Draw, make: Make = long_short_term.make, **own: Any) -> Arguments:
    forward, xs, first = make(draw, **own)
    backward, _, last = make(draw, **own)
    return {"forward": forward, "backward": backward}, xs, {"forward": first, "backward": last}


def make_pyramid(draw: Draw, **own: Any) -> Arguments:
    """The upper layer is one unit wider than each direction of the lower."""
    hidden = own.pop("hidden", 1)
    low, xs, first = make_both_ways(draw, simple.make, hidden=hidden, **own)
    high, _, second = long_short_term.make(draw, **own | {"features": 2 * hidden, "hidden": hidden + 1})
    return {"low": low, "high": high}, xs, {"low": first, "high": second}


WORDS = 3


def make_reader(draw: Draw, **own: Any) -> Arguments:
    """Parameters and a carry; the embedding has WORDS rows."""
    layer, xs, carry = long_short_term.make(draw, **own)
    return {"embedding": {"w": draw.normal(WORDS, xs.shape[2])}, "layer": layer}, carry


def reads(name: str, ids: Any, *flags: Flag, lengths: Any = None) -> Case:
    options = {"ids": np.array(ids)} | ({} if lengths is None else {"lengths": np.array(lengths)})
    return Case(name, lambda draw: make_reader(draw, batch=len(ids), features=1), options, flagged(*flags))


def random_reader(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    own, time = sizes(draw), draw.between(1, 3)
    return make_reader(draw, **own), {"ids": draw.labels(WORDS, own["batch"], time), **lengths(draw, own["batch"], time)}


def misread(what: str, exception: type[Exception], match: str, ids: Any) -> Error:
    return Error(what, make_reader, exception, match, {"ids": ids})


def cases(make: Make) -> tuple[Case, ...]:
    return (
        Case("three sequences", lambda draw: make(draw, hidden=1)),
        Case(
            "lengths, one of them 0",
            lambda draw: make(draw, features=1, hidden=2),
            {"lengths": np.array([4, 0, 2])},
            flagged(Flag.MASKED),
        ),
        Case("no steps", lambda draw: make(draw, time=0, hidden=1), flags=flagged(Flag.ZERO_GRADIENT)),
        Case("no rows", lambda draw: make(draw, batch=0, time=2, hidden=1), flags=flagged(Flag.EMPTY_BATCH)),
    )


def layers(make: Make) -> Any:
    def strategy(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
        own, time = sizes(draw), draw.between(1, 3)
        return make(draw, time=time, **own), lengths(draw, own["batch"], time)

    return strategy


def errors(name: str, make: Make, first: str, second: str) -> tuple[Error, ...]:
    def partly(draw: Draw) -> Arguments:
        params, xs, carry = make(draw)
        return {first: params[first]}, xs, carry

    def narrowed(draw: Draw) -> Arguments:
        params, xs, carry = make(draw)
        return params, xs[..., :1], carry

    return (
        Error("one layer without params", partly, ValueError, f"{name}: params must hold {first}, {second}, got {first}"),
        Error(
            "one carry for both",
            lambda draw: (*make(draw)[:2], np.zeros((3, 2))),
            TypeError,
            f"{name}: carry must be a dict with {first}, {second}, got ndarray",
        ),
        Error("inputs of another width", narrowed, ValueError, "xs must have shape (batch, time, 2) to match params.wx"),
        Error("an option of no layer", make, TypeError, "unknown keyword argument 'reverse'", {"reverse": True}),
        Error("too many lengths", make, ValueError, "lengths must have shape (3,) to match xs", {"lengths": [1, 2, 3, 4]}),
    )


SPECS = (
    Spec(
        BOTH_WAYS,
        reference=both_ways,
        source=composed("two layers of equinox.nn.LSTMCell in jax.lax.scan"),
        cases=cases(make_both_ways),
        strategy=layers(make_both_ways),
        errors=errors(BOTH_WAYS.name, make_both_ways, "forward", "backward"),
    ),
    Spec(
        PYRAMID,
        reference=pyramid,
        source=composed("two simple layers and one of equinox.nn.LSTMCell in jax.lax.scan"),
        cases=cases(make_pyramid),
        strategy=layers(make_pyramid),
        errors=errors(PYRAMID.name, make_pyramid, "low", "high"),
    ),
    Spec(
        READER,
        reference=reader,
        source=composed("rows by jax.numpy.take, equinox.nn.LSTMCell in jax.lax.scan"),
        cases=(
            reads("three sequences", [[0, 2], [1, 1], [2, 0]], Flag.REPEATED),
            reads("lengths, one of them 0", [[0, 2], [1, 1], [2, 0]], Flag.MASKED, lengths=[1, 0, 2]),
            reads("one word", [[2]], Flag.BATCH_OF_ONE),
            Case(
                "no sequences",
                lambda draw: make_reader(draw, batch=0),
                {"ids": np.zeros((0, 2), np.int64)},
                flagged(Flag.EMPTY_BATCH),
            ),
        ),
        strategy=random_reader,
        errors=(
            misread("one sequence without a batch", ValueError, "ids must have shape (batch, time), got (2,)", [0, 1]),
            misread("an unknown word", ValueError, "embedding: ids must be in 0..2, got 3", [[0], [3], [0]]),
            misread("ids that are numbers", TypeError, "embedding: ids must be integers, got float64", [[0.0], [1.0], [0.0]]),
            misread("another batch", ValueError, "lstm: carry.h must have shape (batch, hidden) = (2, 2) to match", [[0], [1]]),
            Error(
                "params of the layer alone",
                lambda draw: (make_reader(draw)[0]["layer"], make_reader(draw)[1]),
                ValueError,
                "embedded(lstm): params must hold embedding, layer, got wx, wh, b",
                {"ids": [[0], [1], [0]]},
            ),
        ),
    ),
)
