"""Attention: what the catalogue cannot say. Agreement with jax.nn in float32, what is masked, published numbers."""

from __future__ import annotations

from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from oracle.compiling import in_one_piece

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"is_causal": True},
    "window": {"local_window_size": (1, 2)},
    "one window for both sides": {"local_window_size": 1, "is_causal": True},
    "mask of heads": {"mask": np.random.default_rng(0).random((1, 4, 5, 7)) < 0.8},
    "bias and scale": {"bias": np.random.default_rng(1).normal(size=(2, 1, 5, 7)), "scale": 0.3},
}


def arguments(*, dtype: Any = np.float64, shared: int = 2, scale: float = 1.0) -> tuple[Any, Any, Any]:
    """Queries (2, 5, 4, 3), and keys and values (2, 7, shared, 3)."""
    generator = np.random.default_rng(2)
    query, key, value = (scale * generator.normal(size=s) for s in ((2, 5, 4, 3), (2, 7, shared, 3), (2, 7, shared, 3)))
    return query.astype(dtype), key.astype(dtype), value.astype(dtype)


def by_jax(dy: Any, primals: Any, options: dict[str, Any]) -> Any:
    """The value of jax.nn and its cotangents, compiled as one program; one by one, every operation would be compiled."""

    def both(dy: Any, *primals: Any) -> Any:
        y, vjp = jax.vjp(lambda *a: jax.nn.dot_product_attention(*a, **options), *primals)
        return y, *vjp(dy)

    return jax.jit(both, compiler_options=in_one_piece())(dy, *primals)


@pytest.mark.parametrize(("name", "shared"), [*((name, 2) for name in OPTIONS), ("mask of heads", 4), ("mask of heads", 1)])
def test_it_is_that_of_jax(name: str, shared: int) -> None:
    options = OPTIONS[name]
    primals = arguments(dtype=np.float32, shared=shared)
    y, pullback = pn.vjp(pn.dot_product_attention, *primals, **options)
    dy = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
    for one, two in zip((y, *pullback(dy)), by_jax(dy, primals, options), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=2e-6)


def test_logits_of_1e4_are_those_of_jax() -> None:
    primals = arguments(dtype=np.float32, scale=100.0)
    y, pullback = pn.vjp(pn.dot_product_attention, *primals, scale=1.0)
    for one, two in zip((y, *pullback(y)), by_jax(y, primals, {"scale": 1.0}), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-2)
        assert np.isfinite(one).all()


def test_heads_share_keys_in_neighbouring_groups() -> None:
    query, key, value = arguments()
    whole = pn.dot_product_attention(query, key, value)
    apart = pn.dot_product_attention(query, np.repeat(key, 2, axis=2), np.repeat(value, 2, axis=2))
    np.testing.assert_allclose(whole, apart, rtol=1e-13)


def test_a_batch_is_no_more_than_its_sequences() -> None:
    query, key, value = arguments()
    whole = pn.dot_product_attention(query, key, value, is_causal=True)
    for b in range(2):
        np.testing.assert_allclose(pn.dot_product_attention(query[b], key[b], value[b], is_causal=True), whole[b], rtol=1e-13)


# ---------------------------------------------------------------------------------------------- dropout of weights

KEY = pn.random.key(5)


@pytest.mark.parametrize("options", [{"rate": 0.7}, {"rate": 0.0, "dropout_key": KEY}, {"dropout_key": KEY}])
def test_without_a_key_or_a_rate_nothing_is_dropped(options: dict[str, Any]) -> None:
    primals = arguments()
    np.testing.assert_array_equal(
        pn.dot_product_attention(*primals, **options, is_causal=True), pn.dot_product_attention(*primals, is_causal=True)
    )


def test_a_key_drops_what_dropout_drops_of_the_weights() -> None:
    query, key, value = arguments(shared=4)
    logits = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(3)
    weights = pn.dropout(pn.softmax(logits), rate=0.25, key=KEY)
    assert 0.1 < (weights == 0).mean() < 0.4
    y = pn.dot_product_attention(query, key, value, rate=0.25, dropout_key=KEY)
    np.testing.assert_allclose(y, np.einsum("bnts,bsnv->btnv", weights, value), rtol=1e-12)


def test_the_same_key_drops_the_same_in_every_dtype() -> None:
    wide, narrow = (
        pn.dot_product_attention(*arguments(dtype=dtype), rate=0.5, dropout_key=KEY) for dtype in (np.float64, np.float32)
    )
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, wide, rtol=1e-4, atol=1e-6)


def test_at_rate_1_nothing_is_left() -> None:
    primals = arguments()
    y, pullback = pn.vjp(pn.dot_product_attention, *primals, rate=1, dropout_key=KEY)
    assert not y.any()
    assert not any(d.any() for d in pullback(np.ones_like(y)))


def test_what_a_dropped_value_holds_reaches_nothing() -> None:
    query, key, value = (x[:1, :, :1] for x in arguments(shared=1))
    kept = pn.dropout(np.ones((1, 1, 5, 7)), rate=0.5, key=KEY)[0, 0] != 0
    value[0, 2] = np.nan
    y, pullback = pn.vjp(pn.dot_product_attention, query, key, value, rate=0.5, dropout_key=KEY)
    np.testing.assert_array_equal(np.isnan(y[0]).any(axis=(1, 2)), kept[:, 2])
    dy = np.where(np.isnan(y), 0, 1.0)
    dquery = pullback(dy)[0]
    assert np.isfinite(dquery[0][~kept[:, 2]]).all()


def test_heads_drop_weights_by_the_same_key() -> None:
    generator = np.random.default_rng(6)
    x = generator.normal(size=(2, 3, 4))
    params = {name: generator.normal(size=(4, 2, 2)) for name in ("wq", "wk", "wv")} | {"wo": generator.normal(size=(2, 2, 4))}
    q, k, v = (np.einsum("btd,dnh->btnh", x, params[name]) for name in ("wq", "wk", "wv"))
    inner = pn.dot_product_attention(q, k, v, rate=0.5, dropout_key=KEY)
    y = pn.multi_head_attention(params, x, rate=0.5, key=KEY)
    np.testing.assert_allclose(y, np.einsum("btnv,nvo->bto", inner, params["wo"]), rtol=1e-12)


# ---------------------------------------------------------------------------------------------- what is masked


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1.75e308])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_what_masked_keys_and_values_hold_reaches_nothing(garbage: float, softcap: float | None) -> None:
    query, key, value = arguments()
    options: dict[str, Any] = {"mask": pn.padding_mask([5, 3], 7), "softcap": softcap}
    dirty_key, dirty_value = key.copy(), value.copy()
    for dirty in (dirty_key, dirty_value):
        dirty[0, 5:], dirty[1, 3:] = garbage, garbage
    clean = pn.dot_product_attention.fwd(query, key, value, **options)
    dirty = pn.dot_product_attention.fwd(query, dirty_key, dirty_value, **options)
    np.testing.assert_array_equal(dirty[0], clean[0])
    dy = np.random.default_rng(4).normal(size=query.shape)
    for one, two in zip(pn.dot_product_attention.bwd(dirty[1], dy), pn.dot_product_attention.bwd(clean[1], dy), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-15)


def test_a_nan_in_the_future_stays_there() -> None:
    query, key, value = arguments()
    key[:, 3], value[:, 3] = np.nan, np.nan
    y = pn.dot_product_attention(query, key, value, is_causal=True)
    assert np.isfinite(y[:, :3]).all()
    assert np.isnan(y[:, 3:]).all()  # what may see it does


def test_a_value_of_infinity_that_counts_gives_nan() -> None:
    query, key, value = arguments()
    value[0, 2, 0, 1] = np.inf
    y = pn.dot_product_attention(query, key, value)
    assert np.isnan(y[0, :, :2, 1]).all()
    assert np.isnan(y).sum() == 5 * 2


def test_a_query_without_keys_gives_0_and_has_no_gradient() -> None:
    query, key, value = arguments()
    mask = np.ones((5, 7), np.bool_)
    mask[2] = False
    y, pullback = pn.vjp(pn.dot_product_attention, query, key, value, mask=mask)
    assert not y[:, 2].any()
    assert y[:, [0, 1, 3, 4]].all()
    dy = np.zeros_like(y)
    dy[:, 2] = 1
    assert not any(d.any() for d in pullback(dy))


def test_no_keys_at_all_give_0() -> None:
    query, key, value = arguments()
    y, pullback = pn.vjp(pn.dot_product_attention, query, key[:, :0], value[:, :0])
    assert y.shape == query.shape
    assert not y.any()
    dquery, dkey, dvalue = pullback(np.ones_like(y))
    assert not dquery.any()
    assert dkey.shape == dvalue.shape == (2, 0, 2, 3)


def test_a_bias_of_minus_infinity_masks() -> None:
    query, key, value = arguments()
    kept = pn.causal_mask(5, 7)
    kept[1] = False
    bias = np.where(kept, 0.25, -np.inf)
    np.testing.assert_allclose(
        pn.dot_product_attention(query, key, value, bias=bias),
        pn.dot_product_attention(query, key, value, mask=kept),
        rtol=1e-13,
    )
    with_bias = pn.vjp(pn.dot_product_attention_with_bias, query, key, value, bias)[1](np.ones_like(query))[3]
    assert np.isfinite(with_bias).all()
    assert not with_bias[~kept].any()


def test_a_mask_may_change_before_the_pullback() -> None:
    query, key, value = arguments()
    mask = np.ones((5, 7), np.bool_)
    _, residuals = pn.dot_product_attention.fwd(query, key, value, mask=mask)
    before = pn.dot_product_attention.bwd(residuals, query)
    mask[:] = False
    for one, two in zip(before, pn.dot_product_attention.bwd(residuals, query), strict=True):
        np.testing.assert_array_equal(one, two)


# ---------------------------------------------------------------------------------------------- several heads


def test_all_options_reach_the_heads() -> None:
    generator = np.random.default_rng(5)
    shapes = {"wq": (3, 4, 2), "wk": (3, 2, 2), "wv": (3, 2, 2), "wo": (4, 2, 3)}
    params = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    x = generator.normal(size=(2, 5, 3))
    q, k, v = (np.einsum("btd,dnh->btnh", x, params[name]) for name in ("wq", "wk", "wv"))
    options = {"mask": pn.padding_mask([5, 4], 5), "bias": pn.alibi_bias(4, 5), "scale": 0.4, "softcap": 3.0, "is_causal": True}
    heads = pn.dot_product_attention(pn.rotary_embedding(q), pn.rotary_embedding(k), v, local_window_size=2, **options)
    y = pn.multi_head_attention(params, x, rotary={}, local_window_size=2, **options)
    np.testing.assert_allclose(y, np.einsum("btnv,nvo->bto", heads, params["wo"]), rtol=1e-12)
    np.testing.assert_array_equal(pn.multi_head_attention(params, (x, x), rotary={}, local_window_size=2, **options), y)


# ---------------------------------------------------------------------------------------------- positions and masks


def test_the_rotation_is_that_of_equinox() -> None:
    x = np.random.default_rng(6).normal(size=(5, 6)).astype(np.float32)
    wanted = equinox.nn.RotaryPositionalEmbedding(6)(jnp.asarray(x))
    np.testing.assert_allclose(pn.rotary_embedding(x[:, None])[:, 0], wanted, rtol=1e-5, atol=1e-6)


def test_products_of_rotated_vectors_depend_on_the_distance_alone() -> None:
    query, key = np.random.default_rng(7).normal(size=(2, 1, 1, 8))
    for interleaved in (True, False):

        def product(at: float, other: float, interleaved: bool = interleaved) -> float:
            one, two = (
                pn.rotary_embedding(x, positions=p, interleaved=interleaved) for x, p in ((query, [at]), (key, [other]))
            )
            return float(np.vdot(one, two))

        assert product(3, 1) == pytest.approx(product(1002, 1000), rel=1e-12)
        assert product(3, 1) != pytest.approx(product(3, 2), rel=1e-3)


def test_both_pairings_are_one_rotation_of_reordered_entries() -> None:
    x = np.random.default_rng(8).normal(size=(4, 2, 6))
    order = [0, 3, 1, 4, 2, 5]
    np.testing.assert_allclose(pn.rotary_embedding(x[..., order], interleaved=True), pn.rotary_embedding(x)[..., order])


def test_sinusoids_are_those_of_the_paper() -> None:
    y = pn.sinusoidal_positions(50, 6)
    for position, i in ((0, 0), (7, 1), (49, 2)):
        angle = position / 10000 ** (2 * i / 6)
        np.testing.assert_allclose(y[position, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], rtol=1e-12)
    apart = pn.sinusoidal_positions(50, 6, interleaved=False, dtype=np.float32)
    assert apart.dtype == np.float32
    np.testing.assert_allclose(apart, y[:, [0, 2, 4, 1, 3, 5]], rtol=1e-6)


def test_slopes_of_alibi_are_those_of_the_paper() -> None:
    np.testing.assert_array_equal(pn.alibi_slopes(8), 0.5 ** np.arange(1, 9))
    np.testing.assert_array_equal(pn.alibi_slopes(1), [2.0**-8])
    np.testing.assert_allclose(pn.alibi_slopes(12)[:8], pn.alibi_slopes(8))
    np.testing.assert_allclose(pn.alibi_slopes(12)[8:], 2.0 ** -np.array([0.5, 1.5, 2.5, 3.5]))


def test_alibi_is_the_distance_to_keys_before() -> None:
    bias = pn.alibi_bias(2, 3, 5, offset=2)
    assert bias.shape == (2, 3, 5)
    np.testing.assert_array_equal(bias[:, 2], -pn.alibi_slopes(2)[:, None] * [4, 3, 2, 1, 0])


def test_masks_are_the_options_of_attention() -> None:
    query, key, value = arguments()
    for mask, options in (
        (pn.causal_mask(5, 7), {"is_causal": True}),
        (pn.sliding_window_mask(5, 7, window=(2, 1)), {"local_window_size": (2, 1)}),
        (pn.causal_mask(5, 7) & pn.sliding_window_mask(5, 7, window=1), {"is_causal": True, "local_window_size": 1}),
    ):
        one = pn.dot_product_attention(query, key, value, mask=mask)
        np.testing.assert_array_equal(one, pn.dot_product_attention(query, key, value, **options))


def test_an_offset_continues_a_sequence() -> None:
    np.testing.assert_array_equal(pn.causal_mask(2, 6, offset=4), pn.causal_mask(6)[4:])
    window = pn.sliding_window_mask(6, window=(2, 0))
    np.testing.assert_array_equal(pn.sliding_window_mask(2, 6, window=(2, 0), offset=4), window[4:])


@pytest.mark.parametrize(
    ("call", "exception", "match"),
    [
        (lambda: pn.causal_mask(-1), ValueError, "causal_mask: queries must be at least 0, got -1"),
        (lambda: pn.causal_mask(2, 2.5), TypeError, "causal_mask: keys must be an integer, got 2.5"),
        (lambda: pn.causal_mask(2, offset=True), TypeError, "causal_mask: offset must be an integer, got True"),
        (lambda: pn.sliding_window_mask(2, window=-1), ValueError, "sliding_window_mask: window must be at least 0"),
        (lambda: pn.padding_mask([1, 4], 3), ValueError, r"padding_mask: lengths must be in 0\.\.3, got 4"),
        (lambda: pn.padding_mask([1.0], 3), TypeError, "padding_mask: lengths must be integers, got float64"),
        (lambda: pn.padding_mask(2, 3), ValueError, r"padding_mask: lengths must have shape \(batch,\), got \(\)"),
        (lambda: pn.sinusoidal_positions(2, 3), ValueError, "sinusoidal_positions: width must be even, got 3"),
        (
            lambda: pn.sinusoidal_positions(2, 4, base=0),
            ValueError,
            "sinusoidal_positions: base must be finite and greater",
        ),
        (lambda: pn.alibi_slopes(0), ValueError, "alibi_slopes: heads must be at least 1, got 0"),
        (lambda: pn.alibi_bias(2, 3, offset=0.5), TypeError, "alibi_bias: offset must be an integer, got 0.5"),
    ],
)
def test_a_wrong_call_is_named(call: Any, exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^{match}"):
        call()
