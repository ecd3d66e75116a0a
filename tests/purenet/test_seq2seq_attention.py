"""Sequence to sequence: written out, what sees what, and that it learns to turn a sequence round."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest

import purenet as pn
from purenet.models import seq2seq_attention as model

QUESTIONS = np.array([[0, 3, 1], [2, 2, 4]])
ANSWERS = np.array([[4, 1, 3, 0], [4, 4, 2, 2]])
zeros = pn.LSTMCarry(np.zeros((2, 4)), np.zeros((2, 4)))


def small(dtype: Any = np.float64, **options: Any) -> Any:
    return model.init(pn.random.key(1), 5, embedding=3, hidden=4, dtype=dtype, **options)


def logits(params: Any, questions: Any = QUESTIONS, answers: Any = ANSWERS, **options: Any) -> Any:
    return model.net(**options)(params, encoder={"ids": questions}, decoder={"ids": answers})


@pytest.mark.parametrize("attention", [True, False])
def test_the_net_is_written_out(attention: bool) -> None:
    params, reader = small(attention=attention), pn.embedded(pn.lstm)
    read, carry = reader(params["encoder"], zeros, ids=QUESTIONS)
    written, _ = reader(params["decoder"], carry, ids=ANSWERS)
    if attention:
        scores = np.einsum("bth,bsh->bts", written, read)
        weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        written = np.concatenate([np.einsum("bts,bsh->bth", weights, read), written], axis=-1)
    wanted = written @ params["affine"]["w"] + params["affine"]["b"]
    np.testing.assert_allclose(logits(params, attention=attention), wanted, rtol=1e-13)


@pytest.mark.parametrize("attention", [True, False])
def test_a_later_word_changes_no_earlier_logit_and_the_question_all(attention: bool) -> None:
    params, later, other = small(attention=attention), ANSWERS.copy(), QUESTIONS.copy()
    later[:, 2] = 0
    other[:, 0] = 4
    whole = logits(params, attention=attention)
    changed = logits(params, answers=later, attention=attention)
    np.testing.assert_array_equal(changed[:, :2], whole[:, :2])
    assert (changed[:, 2] != whole[:, 2]).any()
    assert (logits(params, other, attention=attention) != whole).any(axis=2).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("attention", [True, False])
def test_gradients_are_like_the_parameters(attention: bool, dtype: Any) -> None:
    params, goal = {"net": small(dtype, attention=attention)}, model.goal(attention=attention)
    ids = {"encoder": {"ids": QUESTIONS}, "decoder": {"ids": ANSWERS[:, :-1]}}
    value, residuals = goal.fwd(params, net=ids, loss={"labels": ANSWERS[:, 1:]})
    (grads,) = goal.bwd(residuals, 1.0)
    assert value.dtype == dtype
    assert optree.tree_structure(grads) == optree.tree_structure(params)
    for gradient, leaf in zip(optree.tree_leaves(grads), optree.tree_leaves(params), strict=True):
        assert (gradient.shape, gradient.dtype) == (leaf.shape, leaf.dtype)
        assert gradient.any()


def test_no_questions_give_a_loss_of_0_without_gradient() -> None:
    params, nothing = {"net": small()}, np.zeros((0, 3), int)
    ids = {"encoder": {"ids": nothing}, "decoder": {"ids": nothing}}
    value, residuals = model.goal().fwd(params, net=ids, loss={"labels": nothing})
    (grads,) = model.goal().bwd(residuals, 1.0)
    assert value == 0
    assert not any(gradient.any() for gradient in optree.tree_leaves(grads))


def test_it_learns_to_turn_words_round() -> None:
    questions = np.array([[a, b] for a in range(3) for b in range(3)])
    answers = np.concatenate([np.full((9, 1), 3), questions[:, ::-1]], axis=1)
    params, goal = {"net": model.init(pn.random.key(0), 4, embedding=4, hidden=12)}, model.goal()
    optimizer = pn.optimizers.adam(0.03)
    state = optimizer.init(params)
    ids = {"encoder": {"ids": questions}, "decoder": {"ids": answers[:, :-1]}}
    for _ in range(80):
        _, residuals = goal.fwd(params, net=ids, loss={"labels": answers[:, 1:]})
        updates, state = optimizer.update(goal.bwd(residuals, 1.0)[0], state, params)
        params = pn.apply_updates(params, updates)
    np.testing.assert_array_equal(model.decode(params["net"], questions, start=3, length=2), answers[:, 1:])


def test_decoding_is_that_of_the_likeliest_words() -> None:
    params = small()
    written = model.decode(params, QUESTIONS, start=4, length=3)
    before = np.concatenate([np.full((2, 1), 4), written[:, :-1]], axis=1)
    np.testing.assert_array_equal(logits(params, answers=before).argmax(axis=-1), written)
    assert model.decode(params, QUESTIONS, start=4, length=0).shape == (2, 0)


def test_what_is_refused() -> None:
    params = small()
    with pytest.raises(ValueError, match=r"seq2seq_attention.decode: start must be in 0\.\.4, got 5"):
        model.decode(params, QUESTIONS, start=5, length=1)
    with pytest.raises(ValueError, match=r"seq2seq_attention\.decode: length must be at least 0, got -1"):
        model.decode(params, QUESTIONS, start=0, length=-1)
    with pytest.raises(TypeError, match="seq2seq_attention: attention must be True or False, got 'dot'"):
        model.net(attention="dot")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"embedding: ids must be in 0\.\.4, got 9") as caught:
        logits(params, np.array([[9]]), np.array([[0]]))
    assert "in the stage 'encoder' of seq2seq_attention" in caught.value.__notes__
