"""The character RNN: windows in a row are one long window, it learns a text, and samples go on with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest

import purenet as pn
from purenet.models import char_rnn as model

CELLS = ["rnn", "lstm", "gru"]
IDS = np.array([[0, 3, 1, 4, 4, 2], [2, 2, 0, 1, 3, 0]])


def small(cell: str = "lstm", layers: int = 2, dtype: Any = np.float64) -> Any:
    return model.init(pn.random.key(1), 5, embedding=3, hidden=4, cell=cell, layers=layers, dtype=dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_two_windows_with_a_carry_are_one_long_window(cell: str) -> None:
    params, net = small(cell), model.net(cell=cell, layers=2)
    start = model.carry(params, 2)
    whole, last = net(params, start, rnn={"ids": IDS})
    before, between = net(params, start, rnn={"ids": IDS[:, :2]})
    after, end = net(params, between, rnn={"ids": IDS[:, 2:]})
    np.testing.assert_allclose(np.concatenate([before, after], axis=1), whole, rtol=1e-14)
    for one, two in zip(optree.tree_leaves(end), optree.tree_leaves(last), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-14)


def test_a_constant_carry_cuts_the_gradient_at_the_window() -> None:
    params, goal = {"net": small()}, model.goal(layers=2)
    options = {"net": {"rnn": {"ids": IDS[:, :-1]}}, "loss": {"labels": IDS[:, 1:]}}
    start = model.carry(params["net"], 2)
    (value, carry), residuals = goal.fwd(params, x=start, **options)
    (grads,) = goal.bwd(residuals, (1.0, model.carry(params["net"], 2)))
    (same, _), residuals = goal.fwd(params, start, **options)
    both, dcarry = goal.bwd(residuals, (1.0, model.carry(params["net"], 2)))
    assert value == same
    assert optree.tree_structure(grads) == optree.tree_structure(params)
    assert all(map(np.array_equal, optree.tree_leaves(grads), optree.tree_leaves(both)))
    assert optree.tree_structure(dcarry) == optree.tree_structure(carry)
    assert all(d.any() for d in optree.tree_leaves(dcarry))


def test_a_later_character_changes_no_earlier_logit() -> None:
    params, net = small(), model.net(layers=2)
    later = IDS.copy()
    later[:, 4] = 1
    one, two = (net(params, model.carry(params, 2), rnn={"ids": ids})[0] for ids in (IDS, later))
    np.testing.assert_array_equal(one[:, :4], two[:, :4])
    assert (one[:, 4:] != two[:, 4:]).any(axis=(0, 2)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_init_gives_what_the_net_takes_in_its_dtype(cell: str, dtype: Any) -> None:
    params = small(cell, dtype=dtype)
    logits, carry = model.net(cell=cell, layers=2)(params, model.carry(params, 2), rnn={"ids": IDS})
    assert logits.shape == (2, 6, 5)
    assert {leaf.dtype for leaf in optree.tree_leaves((params, logits, carry))} == {np.dtype(dtype)}
    again = small(cell, dtype=dtype)
    assert all(map(np.array_equal, optree.tree_leaves(params), optree.tree_leaves(again)))


def test_the_forget_gates_start_open() -> None:
    bias = small()["rnn"]["layer"]["layer2"]["b"]
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], 4))


def test_it_learns_a_text_and_goes_on_with_it() -> None:
    text = np.tile([0, 1, 2, 1], 8)[None]  # what follows 1 depends on what was before it
    params = {"net": model.init(pn.random.key(0), 3, embedding=4, hidden=8)}
    goal, optimizer, zeros = model.goal(), pn.optimizers.adam(0.03), model.carry(params["net"], 1)
    state = optimizer.init(params)
    for _ in range(60):
        options = {"net": {"rnn": {"ids": text[:, :-1]}}, "loss": {"labels": text[:, 1:]}}
        (value, _), residuals = goal.fwd(params, x=zeros, **options)
        updates, state = optimizer.update(goal.bwd(residuals, (1.0, zeros))[0], state, params)
        params = pn.apply_updates(params, updates)
    assert value < 0.1
    drawn = model.sample(pn.random.key(1), params["net"], text[0, :4], 8, temperature=0.1)
    np.testing.assert_array_equal(drawn, text[0, :8])


def test_a_sample_is_that_of_its_key() -> None:
    params, key = small("gru"), pn.random.key(2)
    one = model.sample(key, params, np.array([3]), 20, cell="gru")
    np.testing.assert_array_equal(one, model.sample(key, params, np.array([3]), 20, cell="gru"))
    assert (one != model.sample(pn.random.key(3), params, np.array([3]), 20, cell="gru")).any()
    assert model.sample(key, params, np.array([3]), 0, cell="gru").shape == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": np.array([], int)}, r"char_rnn.sample: prompt must have shape \(length,\), at least one character"),
        ({"prompt": np.array([5])}, "char_rnn.sample: prompt must be in 0..4, got 5"),
        ({"length": -1}, "char_rnn.sample: length must be at least 0, got -1"),
        ({"temperature": 0.0}, "char_rnn.sample: temperature must be finite and greater than 0, got 0"),
    ],
)
def test_what_sample_refuses(options: dict[str, Any], message: str) -> None:
    given: Any = {"prompt": np.array([0]), "length": 3, **options}
    with pytest.raises(ValueError, match=message):
        model.sample(pn.random.key(0), small(), **given)


def test_parameters_of_another_cell_are_refused() -> None:
    with pytest.raises(TypeError, match="gru: carry must be an array, got LSTMCarry"):
        model.sample(pn.random.key(0), small(), np.array([0]), 3, cell="gru")


def test_an_error_says_which_net_and_stage() -> None:
    params = small()
    with pytest.raises(ValueError, match=r"embedding: ids must be in 0\.\.4, got 5") as caught:
        model.net(layers=2)(params, model.carry(params, 1), rnn={"ids": np.array([[5]])})
    assert caught.value.__notes__ == ["in the stage 'rnn' of char_rnn"]
    with pytest.raises(ValueError, match="char_rnn: cell must be one of 'rnn', 'lstm', 'gru', got 'elman'"):
        model.net(cell="elman")
    with pytest.raises(ValueError, match="char_rnn: layers must be at least 1, got 0"):
        model.net(layers=0)
