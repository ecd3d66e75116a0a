"""GPT: parameter counts, what sees what, tied gradients, dropout, and what it refuses."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import optree
import pytest

import purenet as pn
from purenet.models import gpt as model

SMALL: dict[str, Any] = {"vocabulary": 7, "context": 6, "width": 8, "heads": 4, "layers": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "gpt2": SMALL,
    "llama": {**model.LLAMA_SMALL, "vocabulary": 7, "width": 8, "heads": 4, "kv_heads": 2},
    "one kv head, biases everywhere": {**SMALL, "kv_heads": 1, "activation": "swiglu", "norm": "rms_norm"},
    "no biases, untied": {**SMALL, "bias": False, "tied": False, "hidden": 5},
}
IDS = np.array([[0, 3, 6, 1, 1], [2, 2, 0, 5, 4]])

every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def count(**options: Any) -> int:
    tree: Any = model.shapes(**options)
    return sum(math.prod(shape) for shape in optree.tree_leaves(tree, is_leaf=lambda node: isinstance(node, tuple)))


def logits(params: Any, options: dict[str, Any], ids: Any = IDS, **keys: Any) -> Any:
    return model.net(**options)(params, embedding={"ids": ids}, **keys)


def test_gpt2_small_has_124_439_808_parameters() -> None:
    assert count(**model.GPT2_SMALL) == 124_439_808
    assert count(**model.GPT2_SMALL, tied=False) == 124_439_808 + 768 * 50257


@every_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_init_gives_what_the_net_takes(options: dict[str, Any], dtype: Any) -> None:
    params = model.init(pn.random.key(0), **options, dtype=dtype)
    assert optree.tree_map(np.shape, params) == model.shapes(**options)
    y = logits(params, options)
    assert y.shape == (2, 5, 7)
    assert {leaf.dtype for leaf in optree.tree_leaves((params, y))} == {np.dtype(dtype)}


def test_init_is_small_and_smaller_where_blocks_add_up() -> None:
    params = model.init(pn.random.key(0), width=64, layers=8)
    block = params["block3"]
    assert abs(block["attention"]["attention"]["wq"].std() / 0.02 - 1) < 0.05
    for w in (block["attention"]["attention"]["wo"], block["net"]["net"]["down"]["w"]):
        assert abs(w.std() / (0.02 / 4) - 1) < 0.05
    assert not any(b.any() for name, b in block["attention"]["attention"].items() if name[0] == "b")
    np.testing.assert_array_equal(block["net"]["norm"]["gamma"], 1)
    assert (block["net"]["net"]["up"]["w"] != params["block4"]["net"]["net"]["up"]["w"]).all()


@every_variant
def test_a_later_word_changes_no_earlier_logit(options: dict[str, Any]) -> None:
    params, later = model.init(pn.random.key(0), **options), IDS.copy()
    later[:, 3] = 5
    one, two = logits(params, options), logits(params, options, later)
    np.testing.assert_allclose(one[:, :3], two[:, :3], rtol=1e-12)
    assert (one[0, 3:] != two[0, 3:]).any(axis=-1).all()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_order_of_words_counts(name: str) -> None:
    options = VARIANTS[name]
    params = model.init(pn.random.key(0), **options)
    one, two = (logits(params, options, np.array([ids]))[0, -1] for ids in ([1, 2, 3], [2, 1, 3]))
    assert (one != two).all()


def test_the_gradient_of_a_tied_embedding_is_the_sum_of_both() -> None:
    tied, free = SMALL, {**SMALL, "tied": False}
    params = model.init(pn.random.key(0), **tied)
    apart = {**params, "head": {"w": params["embedding"]["w"].T}}
    given: dict[str, Any] = {"net": {"embedding": {"ids": IDS[:, :-1]}}, "loss": {"labels": IDS[:, 1:]}}
    values, grads = [], []
    for own, options in ((params, tied), (apart, free)):
        value, residuals = model.goal(**options).fwd({"net": own}, **given)
        values.append(value)
        grads.append(model.goal(**options).bwd(residuals, 1.0)[0]["net"])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-14)
    both = grads[1]["embedding"]["w"] + grads[1]["head"]["w"].T
    np.testing.assert_allclose(grads[0]["embedding"]["w"], both, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(grads[0]["positions"]["w"], grads[1]["positions"]["w"], rtol=1e-12, atol=1e-16)


def test_without_keys_nothing_is_dropped_and_each_key_drops_something() -> None:
    options = {**SMALL, "dropout": 0.5}
    params, key = model.init(pn.random.key(0), **options), {"key": pn.random.key(3)}
    whole = logits(params, SMALL)
    np.testing.assert_array_equal(logits(params, options), whole)
    places: tuple[dict[str, Any], ...] = (
        {"dropout": key},
        {"block1": {"attention": {"attention": key}}},
        {"block2": {"attention": {"dropout": key}}},
        {"block2": {"net": {"dropout": key}}},
    )
    found = [logits(params, options, **place) for place in places]
    assert all((y != whole).any() for y in found)
    np.testing.assert_array_equal(found[0], logits(params, options, **places[0]))


def test_no_sequences_give_a_loss_of_0_without_gradient() -> None:
    params, nothing = {"net": model.init(pn.random.key(0), **SMALL)}, np.zeros((0, 3), int)
    value, residuals = model.goal(**SMALL).fwd(params, net={"embedding": {"ids": nothing}}, loss={"labels": nothing})
    (grads,) = model.goal(**SMALL).bwd(residuals, 1.0)
    assert value == 0
    assert not any(gradient.any() for gradient in optree.tree_leaves(grads))


def test_it_learns_a_sequence() -> None:
    options = {**SMALL, "layers": 1}
    params, goal, optimizer = {"net": model.init(pn.random.key(0), **options)}, model.goal(**options), pn.optimizers.adam(0.02)
    given: dict[str, Any] = {"net": {"embedding": {"ids": IDS[:, :-1]}}, "loss": {"labels": IDS[:, 1:]}}
    state, start = optimizer.init(params), goal(params, **given)
    for _ in range(60):
        _, residuals = goal.fwd(params, **given)
        updates, state = optimizer.update(goal.bwd(residuals, 1.0)[0], state, params)
        params = pn.apply_updates(params, updates)
    assert start > 1.9  # log 7 is 1.95: small weights know nothing
    assert goal(params, **given) < 0.1


@pytest.mark.parametrize(
    ("exception", "options", "message"),
    [
        (TypeError, {"depth": 3}, "gpt: unknown option 'depth' (options: vocabulary, context, width, layers, heads"),
        (ValueError, {"width": 10}, "gpt: heads must divide width, got 4 heads and width 10"),
        (ValueError, {"kv_heads": 3}, "gpt: kv_heads must divide heads, got 3 kv_heads and 4 heads"),
        (ValueError, {"width": 4, "positions": "rotary"}, "gpt: rotary positions need heads of an even size, got 1"),
        (ValueError, {"layers": 0}, "gpt: layers must be at least 1, got 0"),
        (TypeError, {"hidden": 2.5}, "gpt: hidden must be an integer, got 2.5"),
        (ValueError, {"norm": "batch_norm"}, "gpt: norm must be one of 'layer_norm', 'rms_norm', got 'batch_norm'"),
        (ValueError, {"dropout": 10}, "gpt: dropout must be in [0, 1], got 10"),
    ],
)
def test_options_that_do_not_go_together(exception: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(exception, match=re.escape(message)):
        model.net(**options)
    with pytest.raises(exception, match=re.escape(message.replace("gpt:", "gpt.init:"))):
        model.init(pn.random.key(0), **options)


@pytest.mark.parametrize(
    ("ids", "stage", "message"),
    [
        ([[0, 7]], "embedding", "embedding: ids must be in 0..6, got 7"),
        ([[0] * 7], "positions", "learned_positions: x must have shape (..., T, 8) with T at most 6 to match params.w (6, 8)"),
    ],
)
def test_an_error_says_which_net_and_stage(ids: Any, stage: str, message: str) -> None:
    params = model.init(pn.random.key(0), **SMALL)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        logits(params, SMALL, np.array(ids))
    assert caught.value.__notes__ == [f"in the stage {stage!r} of gpt"]
