"""Recurrent layers: other libraries' numbers, padding that changes nothing, sequences in parts, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.op import Op
from purenet.recurrent import LSTMCarry, bidirectional, gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell, stacked

Array = np.ndarray[Any, Any]

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
BEFORE = gru.bind(reset_after=False)
LAYERS = {"rnn": rnn, "relu": rnn.bind(activation="relu"), "lstm": lstm, "gru": gru, "gru, reset before": BEFORE}
CELLS = {
    "rnn": rnn_cell,
    "relu": rnn_cell.bind(activation="relu"),
    "lstm": lstm_cell,
    "gru": gru_cell,
    "gru, reset before": gru_cell.bind(reset_after=False),
}
GATES = {"rnn": 1, "lstm": 4, "gru": 3}

every_layer = pytest.mark.parametrize("name", LAYERS)
few = settings(max_examples=10, deadline=None, derandomize=True)


def normal_numbers(seed: int) -> Callable[..., Array]:
    generator = np.random.default_rng(seed)
    return lambda *shape: np.asarray(generator.normal(size=shape))


def sequences(name: str, batch: int, time: int, seed: int = 0, features: int = 2, hidden: int = 3) -> tuple[Any, Array, Any]:
    """Random params, xs and carry of a layer."""
    normal, op = normal_numbers(seed), LAYERS[name]
    width = GATES[op.name] * hidden
    params = {"wx": normal(features, width), "wh": normal(hidden, width) / 2, "b": normal(width)}
    if name == "gru":
        params["bh"] = normal(hidden)
    carry: Any = normal(batch, hidden)
    return params, normal(batch, time, features), LSTMCarry(carry, normal(batch, hidden)) if op is lstm else carry


def leaves(tree: Any) -> list[Any]:
    return list(optree.tree_leaves(tree))


def mapped(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    return optree.tree_map(function, tree, *others)


def seeds(value: Any, seed: int = 1) -> Any:
    """A random cotangent of a value."""
    normal = normal_numbers(seed)
    return mapped(lambda a: normal(*a.shape), value)


def assert_close(a: Any, b: Any, rtol: float = 1e-12) -> None:
    assert optree.tree_structure(a) == optree.tree_structure(b)
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def added(a: Any, b: Any) -> Any:
    return mapped(np.add, a, b)


# ------------------------------------------------------------------------------------ other libraries' numbers


def numbers(first: int, *shape: int) -> Array:
    return np.asarray(np.sin(first + 0.7 * np.arange(1, np.prod(shape) + 1) ** 2).reshape(shape))


def both_ways(op: Op) -> tuple[Any, Array, Any]:
    """Params, xs and carry in both directions, that were also given to torch."""

    def params(first: int) -> dict[str, Array]:
        width = 2 * GATES[op.name]
        own = {"wx": numbers(first, 3, width), "wh": numbers(first + 1, 2, width), "b": numbers(first + 2, width)}
        return own | ({"bh": numbers(first + 3, 2)} if op is gru else {})

    def carry(first: int) -> Any:
        return LSTMCarry(numbers(first, 2, 2), numbers(first + 10, 2, 2)) if op is lstm else numbers(first, 2, 2)

    directions = {"forward": params(1), "backward": params(5)}
    return directions, numbers(10, 2, 3, 3), {"forward": carry(20), "backward": carry(21)}


# torch 2.13.0, bidirectional, lengths 3 and 2: ys, and the gradient of sum(ys**2) with respect to both h
BY_TORCH: dict[str, tuple[Any, Any]] = {
    "rnn": (
        [
            [
                [-0.86984202, -0.95048964, 0.93023807, -0.70725301],
                [-0.24866798, -0.87898526, 0.34853697, 0.17827403],
                [-0.93891821, -0.82029411, 0.98523921, 0.97426319],
            ],
            [
                [-0.59674375, -0.93673607, 0.92859313, -0.71572324],
                [-0.45337694, -0.92364044, 0.69641381, 0.44309128],
                [0.0, 0.0, 0.0, 0.0],
            ],
        ],
        [
            [[0.08732975, -0.40285753], [-0.01117221, -0.90983755]],
            [[0.05840013, -0.066129], [0.93895839, -1.36117593]],
        ],
    ),
    "lstm": (
        [
            [
                [-0.06347779, 0.13178665, 0.0146448, 0.14969923],
                [-0.00300368, 0.1498517, -0.03568793, -0.13917069],
                [0.0096029, 0.23212127, 0.47458212, 0.35069716],
            ],
            [
                [-0.07097745, -0.04354979, -0.08269595, 0.11210024],
                [-0.04203582, -0.08352099, -0.52735792, -0.12860066],
                [0.0, 0.0, 0.0, 0.0],
            ],
        ],
        [
            [[0.04986716, -0.00249647], [-0.0083245, -0.0245222]],
            [[-0.07769923, -0.13267451], [0.12457267, 0.12554403]],
        ],
    ),
    "gru": (
        [
            [
                [0.7631379, -0.72138255, 0.28717826, 0.60977211],
                [0.49155415, -0.57996973, 0.28867318, -0.49596291],
                [0.70196823, -0.66550409, 0.11671072, 0.523492],
            ],
            [
                [0.57252335, -0.23286797, 0.35191087, 0.67052687],
                [0.19623371, -0.18367975, 0.32829809, -0.36487022],
                [0.0, 0.0, 0.0, 0.0],
            ],
        ],
        [
            [[1.45231624, -3.75054095], [0.88180855, -0.73277673]],
            [[0.56749387, -0.03576449], [0.27510637, 0.12204967]],
        ],
    ),
}


@pytest.mark.parametrize("op", [rnn, lstm, gru], ids=repr)
def test_both_directions_with_lengths_are_those_of_torch(op: Op) -> None:
    (ys, last), residuals = bidirectional(op).fwd(*both_ways(op), lengths=[3, 2])
    _, _, dcarry = bidirectional(op).bwd(residuals, (2 * ys, mapped(np.zeros_like, last)))
    expected, dh = BY_TORCH[op.name]
    np.testing.assert_allclose(ys, expected, atol=1e-8)
    found = [dcarry[direction] for direction in ("forward", "backward")]
    np.testing.assert_allclose([d.h if op is lstm else d for d in found], dh, atol=1e-8)


def test_the_reset_before_is_that_of_onnx() -> None:
    params, xs, carry = both_ways(gru)
    del params["forward"]["bh"]
    ys, _ = gru(params["forward"], xs, carry["forward"], reset_after=False)
    by_onnx = [  # onnx 1.23.2, the reference evaluator's GRU with linear_before_reset = 0
        [[0.86152333, -0.72454691], [0.69112368, -0.58019704], [0.84893331, -0.60707626]],
        [[0.70255713, -0.24179152], [0.49229321, -0.18934829], [0.6923722, -0.33741896]],
    ]
    np.testing.assert_allclose(ys, by_onnx, atol=1e-8)


def test_a_layer_that_only_adds() -> None:
    adds = {"wx": np.ones((1, 1)), "wh": np.ones((1, 1))}
    xs = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])[..., None]
    layer = rnn.bind(activation="relu", reverse=True)
    (ys, last), residuals = layer.fwd(adds, xs, np.array([[64.0], [128.0]]), lengths=[2, 3])
    np.testing.assert_array_equal(ys[..., 0], [[67, 66, 0], [184, 176, 160]])
    np.testing.assert_array_equal(last, [[67], [184]])
    dparams, dxs, dcarry = layer.bwd(residuals, (np.ones_like(ys), np.array([[10.0], [100.0]])))
    np.testing.assert_array_equal(dxs[..., 0], [[11, 12, 0], [101, 102, 103]])
    np.testing.assert_array_equal(dcarry, [[12], [103]])
    np.testing.assert_array_equal(dparams["wx"], [[11 * 1 + 12 * 2 + 101 * 8 + 102 * 16 + 103 * 32]])
    np.testing.assert_array_equal(dparams["wh"], [[11 * 66 + 12 * 64 + 101 * 176 + 102 * 160 + 103 * 128]])


# --------------------------------------------------------------------------------------- parts of a sequence


@every_layer
@few
@given(data=st.data())
def test_padding_changes_nothing(name: str, data: st.DataObject) -> None:
    batch, time = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    lengths = data.draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    layer = LAYERS[name].bind(reverse=data.draw(st.booleans()))
    params, xs, carry = sequences(name, batch, time, seed=time)
    padded = np.arange(time) >= np.array(lengths)[:, None]
    (ys, last), residuals = layer.fwd(params, np.where(padded[..., None], np.nan, xs), carry, lengths=lengths)
    dys, dlast = seeds((ys, last))
    dparams, dxs, dcarry = layer.bwd(residuals, (np.where(padded[..., None], np.nan, dys), dlast))
    assert not ys[padded].any()
    assert not dxs[padded].any()
    total = mapped(np.zeros_like, dparams)
    for n, length in enumerate(lengths):
        own, down = (mapped(lambda a, n=n: a[n : n + 1], tree) for tree in ((ys, last, carry), (dys, dlast)))
        (alone, ends), saved = layer.fwd(params, xs[n : n + 1, :length], own[2])
        assert_close((own[0][:, :length], own[1]), (alone, ends))
        one, dx, d = layer.bwd(saved, (down[0][:, :length], down[1]))
        assert_close((dxs[n : n + 1, :length], mapped(lambda a, n=n: a[n : n + 1], dcarry)), (dx, d))
        total = added(total, one)
    assert_close(dparams, total)


@every_layer
@few
@given(first=st.integers(0, 3), second=st.integers(0, 3))
def test_the_carry_continues_a_sequence(name: str, first: int, second: int) -> None:
    layer = LAYERS[name]
    params, xs, carry = sequences(name, 2, first + second)
    (ys, last), whole = layer.fwd(params, xs, carry)
    (zs1, between), one = layer.fwd(params, xs[:, :first], carry)
    (zs2, end), two = layer.fwd(params, xs[:, first:], between)
    assert_close((ys, last), (np.concatenate([zs1, zs2], axis=1), end))
    dys, dlast = seeds((ys, last))
    dparams2, dxs2, dbetween = layer.bwd(two, (dys[:, first:], dlast))
    dparams1, dxs1, dcarry = layer.bwd(one, (dys[:, :first], dbetween))
    parts = added(dparams1, dparams2), np.concatenate([dxs1, dxs2], axis=1), dcarry
    assert_close(layer.bwd(whole, (dys, dlast)), parts)


@every_layer
def test_a_sequence_is_its_cell_step_by_step(name: str) -> None:
    layer, cell = LAYERS[name], CELLS[name]
    params, xs, carry = sequences(name, 2, 4)
    (ys, last), residuals = layer.fwd(params, xs, carry)
    state, saved = carry, []
    for t in range(4):
        state, step = cell.fwd(params, xs[:, t], state)
        saved.append(step)
        np.testing.assert_allclose(ys[:, t], state[0] if layer is lstm else state, rtol=1e-12)
    assert_close(last, state)
    dys, dstate = seeds((ys, last))
    expected = layer.bwd(residuals, (dys, dstate))
    total, dxs = mapped(np.zeros_like, params), np.zeros_like(xs)
    for t in reversed(range(4)):
        dstate = LSTMCarry(dstate.h + dys[:, t], dstate.c) if layer is lstm else dstate + dys[:, t]
        dparams, dxs[:, t], dstate = cell.bwd(saved[t], dstate)
        total = added(total, dparams)
    assert_close(expected, (total, dxs, dstate))


@every_layer
def test_reverse_is_the_layer_on_the_flipped_sequence(name: str) -> None:
    params, xs, carry = sequences(name, 2, 5)
    ys, last = LAYERS[name](params, xs, carry, reverse=True)
    zs, end = LAYERS[name](params, xs[:, ::-1], carry)
    np.testing.assert_array_equal(ys, zs[:, ::-1])
    assert_close(last, end, rtol=0)


def test_both_directions_are_two_layers_side_by_side() -> None:
    forward, xs, first = sequences("lstm", 2, 4, hidden=3)
    backward, _, last = sequences("lstm", 2, 4, hidden=2)
    (ys, one), saved1 = lstm.fwd(forward, xs, first, lengths=[4, 2])
    (zs, two), saved2 = lstm.fwd(backward, xs, last, lengths=[4, 2], reverse=True)
    layer, directions = bidirectional(lstm), ("forward", "backward")
    params, carry = ({"forward": a, "backward": b} for a, b in ((forward, backward), (first, last)))
    value, residuals = layer.fwd(params, xs, carry, lengths=[4, 2])
    assert_close(value, (np.concatenate([ys, zs], axis=-1), {"forward": one, "backward": two}), rtol=0)
    dys, dlast = seeds(value)
    expected = lstm.bwd(saved1, (dys[..., :3], dlast["forward"])), lstm.bwd(saved2, (dys[..., 3:], dlast["backward"]))
    dparams, dxs, dcarry = ({n: d[i] for n, d in zip(directions, expected, strict=True)} for i in range(3))
    assert_close(layer.bwd(residuals, (dys, dlast)), (dparams, dxs["forward"] + dxs["backward"], dcarry), rtol=0)


def test_a_stack_is_its_layers_in_turn() -> None:
    low, xs, first = sequences("gru, reset before", 2, 3)
    high, _, second = sequences("lstm", 2, 3, features=3)
    net = stacked(low=BEFORE, high=lstm)
    params, carry = {"low": low, "high": high}, {"low": first, "high": second}
    (zs, last), residuals = net.fwd(params, xs, carry, lengths=[3, 1])
    (ys, one), saved1 = BEFORE.fwd(low, xs, first, lengths=[3, 1])
    (expected, two), saved2 = lstm.fwd(high, ys, second, lengths=[3, 1])
    assert_close((zs, last), (expected, {"low": one, "high": two}), rtol=0)
    dzs, dlast = seeds((zs, last))
    dhigh, dys, dsecond = lstm.bwd(saved2, (dzs, dlast["high"]))
    dlow, dxs, dfirst = BEFORE.bwd(saved1, (dys, dlast["low"]))
    expected_cotangents = {"low": dlow, "high": dhigh}, dxs, {"low": dfirst, "high": dsecond}
    assert_close(net.bwd(residuals, (dzs, dlast)), expected_cotangents, rtol=0)


# ------------------------------------------------------------------------------------------- what comes and goes


@pytest.mark.parametrize("time", [0, 2])
@pytest.mark.parametrize("structure", [tuple, LSTMCarry._make])
def test_the_carry_keeps_its_structure(structure: Callable[[Any], Any], time: int) -> None:
    params, xs, carry = sequences("lstm", 2, time)
    given = structure(carry)
    (ys, last), residuals = lstm.fwd(params, xs, given)
    assert type(last) is type(given)
    _, _, dcarry = lstm.bwd(residuals, seeds((ys, last)))
    assert type(dcarry) is type(given)


@every_layer
def test_without_steps_the_carry_passes(name: str) -> None:
    params, xs, carry = sequences(name, 2, 0)
    (ys, last), residuals = LAYERS[name].fwd(params, xs, carry)
    assert ys.shape == (2, 0, 3)
    assert_close(last, carry, rtol=0)
    dlast = seeds(last)
    dparams, dxs, dcarry = LAYERS[name].bwd(residuals, (ys, dlast))
    assert not any(d.any() for d in leaves(dparams))
    assert dxs.shape == xs.shape
    assert_close(dcarry, dlast, rtol=0)
    for a, b in zip(leaves((last, dcarry)), leaves((carry, dlast)), strict=True):
        assert not np.shares_memory(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@every_layer
def test_the_ends_are_finite_and_without_warning(name: str, dtype: Any) -> None:
    layer = bidirectional(LAYERS[name])
    params, _, carry = sequences(name, 1, 1)
    xs = np.array([[[1e4, -1e4], [-1e4, -1e4], [750, -750], [0, 0], [-40, 40]]])
    drawn = {"forward": params, "backward": params}, xs, {"forward": carry, "backward": carry}
    arguments: Any = mapped(lambda a: a.astype(dtype), drawn)
    value, residuals = layer.fwd(*arguments)
    cotangents = layer.bwd(residuals, mapped(np.ones_like, value))
    if name != "relu":  # which is linear, and may well leave the range of float16
        for leaf in leaves((value, cotangents)):
            assert leaf.dtype == dtype
            assert np.isfinite(leaf.astype(float)).all()


def test_what_is_kept_for_the_pullback() -> None:
    params, xs, carry = sequences("lstm", 2, 5, hidden=3)
    residuals = lstm.fwd(params, xs, carry)[1]
    assert residuals.gates.shape == (5, 2, 12)
    assert [s.shape for s in residuals.states] == [(6, 2, 3)] * 2
    assert rnn.fwd(*sequences("rnn", 2, 5))[1].gates is None


# ------------------------------------------------------------------------------------------------- what is refused


def test_layers_must_be_ops_of_sequences() -> None:
    with pytest.raises(TypeError, match="bidirectional: layer must be an Op, got function"):
        bidirectional(lambda params, xs, carry: (xs, carry))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"bidirectional: layer must be an Op of \(params, xs, carry\) with the keywords lengths, r"
    ):
        bidirectional(lstm_cell)
    with pytest.raises(TypeError, match=r"stacked: low must be an Op of .*, got <Op gru_cell"):
        stacked(low=gru_cell)
    with pytest.raises(TypeError, match="keywords lengths, reverse free, got <Op stacked"):
        bidirectional(stacked(low=rnn))
    with pytest.raises(TypeError, match=r"keywords lengths, reverse free, got <Op rnn.*, reverse=True"):
        bidirectional(rnn.bind(reverse=True))
    with pytest.raises(TypeError, match="stacked: at least one layer is needed"):
        stacked()


def test_an_error_inside_says_where() -> None:
    params, xs, carry = sequences("lstm", 2, 3)
    net = stacked(low=bidirectional(lstm))
    both = {"forward": params, "backward": params | {"b": np.zeros(3)}}
    with pytest.raises(ValueError, match=r"lstm: params.b must have shape \(12,\)") as caught:
        net({"low": both}, xs, {"low": {"forward": carry, "backward": carry}})
    assert caught.value.__notes__ == ["in the part 'backward' of bidirectional(lstm)", "in the part 'low' of stacked(low)"]
