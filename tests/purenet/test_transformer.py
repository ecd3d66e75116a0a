"""Blocks of a transformer: what they are made of, and that they can be trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import purenet as pn

WIDTH = 4


def weights(generator: np.random.Generator, *shape: int) -> Any:
    return generator.normal(size=shape) / 2


def attention_params(generator: np.random.Generator) -> dict[str, Any]:
    return {**{name: weights(generator, WIDTH, 2, 2) for name in ("wq", "wk", "wv")}, "wo": weights(generator, 2, 2, WIDTH)}


def net_params(generator: np.random.Generator) -> dict[str, Any]:
    return {"up": {"w": weights(generator, WIDTH, 6)}, "down": {"w": weights(generator, 6, WIDTH)}}


def norm_params(generator: np.random.Generator) -> dict[str, Any]:
    return {"gamma": weights(generator, WIDTH), "beta": weights(generator, WIDTH)}


def pre_norm() -> tuple[dict[str, Any], Any]:
    generator = np.random.default_rng(0)
    params = {
        "attention": {"norm": norm_params(generator), "attention": attention_params(generator)},
        "net": {"norm": norm_params(generator), "net": net_params(generator)},
    }
    return params, generator.normal(size=(2, 3, WIDTH))


def post_norm() -> tuple[dict[str, Any], Any]:
    params, x = pre_norm()
    one, two = params["attention"], params["net"]
    return {"attention": one["attention"], "norm1": one["norm"], "net": two["net"], "norm2": two["norm"]}, x


def test_a_pre_norm_block_is_written_out() -> None:
    params, x = pre_norm()
    one, two = params["attention"], params["net"]
    h = x + pn.multi_head_attention(one["attention"], pn.layer_norm(one["norm"], x), is_causal=True)
    inner = pn.layer_norm(two["norm"], h)
    y = h + pn.affine(two["net"]["down"], pn.gelu(pn.affine(two["net"]["up"], inner)))
    found = pn.pre_norm_block()(params, x, attention={"attention": {"is_causal": True}})
    np.testing.assert_allclose(found, y, rtol=1e-13)
    bound = pn.pre_norm_block(attention=pn.multi_head_attention.bind(is_causal=True))
    np.testing.assert_array_equal(bound(params, x), found)


def test_a_post_norm_block_is_written_out() -> None:
    params, x = post_norm()
    kept = pn.padding_mask([3, 2], 3)
    h = pn.layer_norm(params["norm1"], x + pn.multi_head_attention(params["attention"], x, mask=kept))
    y = pn.layer_norm(params["norm2"], h + pn.feed_forward()(params["net"], h))
    np.testing.assert_allclose(pn.post_norm_block()(params, x, attention={"mask": kept}), y, rtol=1e-13)


def test_a_causal_block_does_not_see_the_future() -> None:
    params, x = pre_norm()
    block = pn.pre_norm_block(attention=pn.multi_head_attention.bind(is_causal=True))
    later = x.copy()
    later[:, 2] += 1
    before, after = block(params, x), block(params, later)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (before[:, 2] != after[:, 2]).all()


def test_a_block_drops_what_it_adds_and_nothing_without_a_key() -> None:
    params, x = pre_norm()
    block, plain = pn.pre_norm_block(rate=0.5), pn.pre_norm_block()
    np.testing.assert_array_equal(block(params, x), plain(params, x))
    keys = {"attention": {"dropout": {"key": pn.random.key(1)}}, "net": {"dropout": {"key": pn.random.key(2)}}}
    attended = pn.chain(norm=pn.layer_norm, attention=pn.multi_head_attention)(params["attention"], x)
    h = x + pn.dropout(attended, rate=0.5, key=pn.random.key(1))
    fed = pn.chain(norm=pn.layer_norm, net=pn.feed_forward())(params["net"], h)
    np.testing.assert_allclose(block(params, x, **keys), h + pn.dropout(fed, rate=0.5, key=pn.random.key(2)), rtol=1e-13)
    with pytest.raises(ValueError, match=r"pre_norm_block: rate must be in \[0, 1\], got 2"):
        pn.pre_norm_block(rate=2)


def test_residuals_are_read_by_stage() -> None:
    params, x = pre_norm()
    _, residuals = pn.pre_norm_block().fwd(params, x)
    weights = residuals["attention"]["attention"].attended.weights
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-13)
    assert weights.shape == (2, 2, 3, 3)


def test_blocks_stack() -> None:
    params, x = pre_norm()
    model = pn.chain(block1=pn.pre_norm_block(), block2=pn.pre_norm_block(), norm=pn.layer_norm)
    y, residuals = model.fwd({"block1": params, "block2": params, "norm": {}}, x)
    grads, dx = model.bwd(residuals, np.ones_like(y) * x)
    assert set(grads) == {"block1", "block2", "norm"}
    assert dx.shape == x.shape
    assert grads["block1"]["net"]["net"]["up"]["w"].any()


def test_a_block_learns() -> None:
    params, x = pre_norm()
    goal = pn.chain(block=pn.pre_norm_block(), loss=pn.squared_error)
    optimizer, target, values = pn.optimizers.adam(0.02), np.roll(x, 1, axis=1), []
    held = {"block": params}
    state = optimizer.init(held)
    for _ in range(60):
        value, residuals = goal.fwd(held, x, loss={"targets": target})
        updates, state = optimizer.update(goal.bwd(residuals, 1.0)[0], state, held)
        held = pn.apply_updates(held, updates)
        values.append(float(value))
    assert values[-1] < 0.2 * values[0]


def test_names_say_what_a_block_is() -> None:
    for make in (pn.pre_norm_block, pn.post_norm_block, pn.feed_forward):
        op = make()
        assert (op.name, op.__doc__, op.__module__) == (make.__name__, make.__doc__, make.__module__)
    with pytest.raises(ValueError, match=r"^pre_norm_block: params must hold the stages attention, net, got none$"):
        pn.pre_norm_block()({}, np.ones((2, 4)))


def test_llama_writes_its_gate_first() -> None:
    generator = np.random.default_rng(1)
    params = {"w_gate": weights(generator, 3, 5), "w_up": weights(generator, 3, 5), "w_down": weights(generator, 5, 3)}
    x = generator.normal(size=(2, 3))
    both = np.concatenate([x @ params["w_up"], x @ params["w_gate"]], axis=-1)  # the second half is swiglu's gate
    np.testing.assert_allclose(pn.swiglu_block(params, x), pn.swiglu(both) @ params["w_down"], rtol=1e-13)
