"""The selective scan and linear attention: sequences in parts, a step by hand, prefixes."""

from __future__ import annotations

import numpy as np
import pytest

import purenet as pn

GENERATOR = np.random.default_rng(0)
XS, DELTA = GENERATOR.normal(size=(2, 6, 3)), GENERATOR.uniform(0.1, 1.0, size=(2, 6, 3))
B, C = GENERATOR.normal(size=(2, 2, 6, 2))
CARRY = GENERATOR.normal(size=(2, 3, 2))
PARAMS = {"a": -GENERATOR.uniform(0.3, 2.0, size=(3, 2)), "d": GENERATOR.normal(size=3)}


@pytest.mark.parametrize("cut", [0, 1, 4, 6])
def test_a_sequence_in_two_parts_gives_the_same(cut: int) -> None:
    whole, last = pn.selective_scan(PARAMS, XS, DELTA, B, C, CARRY)
    early, carry = pn.selective_scan(PARAMS, *(s[:, :cut] for s in (XS, DELTA, B, C)), CARRY)
    late, end = pn.selective_scan(PARAMS, *(s[:, cut:] for s in (XS, DELTA, B, C)), carry)
    np.testing.assert_array_equal(np.concatenate([early, late], axis=1), whole)
    np.testing.assert_array_equal(end, last)


def test_a_step_of_no_time_reads_the_state_and_leaves_it() -> None:
    ys, carry = pn.selective_scan(PARAMS, XS, 0 * DELTA, B, C, CARRY)
    np.testing.assert_array_equal(carry, CARRY)
    np.testing.assert_allclose(ys, np.einsum("bdn,btn->btd", CARRY, C) + PARAMS["d"] * XS, rtol=1e-14)


def test_no_steps_pass_the_carry_and_its_cotangent() -> None:
    empty = [s[:, :0] for s in (XS, DELTA, B, C)]
    (ys, carry), pullback = pn.vjp(pn.selective_scan, PARAMS, *empty, CARRY)
    np.testing.assert_array_equal(carry, CARRY)
    assert not np.shares_memory(carry, CARRY)
    *_, dcarry = pullback((ys, 2 * CARRY))
    np.testing.assert_array_equal(dcarry, 2 * CARRY)


def test_a_causal_position_is_the_last_one_of_its_prefix() -> None:
    query, key, value = GENERATOR.normal(size=(3, 2, 5, 2, 3))
    y = pn.linear_attention(query, key, value, is_causal=True)
    for t in range(5):
        prefix = pn.linear_attention(query[:, : t + 1], key[:, : t + 1], value[:, : t + 1])
        np.testing.assert_allclose(y[:, t], prefix[:, -1], rtol=1e-13)


def test_equal_values_come_out_as_they_are() -> None:
    query, key = GENERATOR.normal(size=(2, 1, 4, 2, 3))
    y = pn.linear_attention(query, key, np.full((1, 4, 2, 1), 7.0), eps=0.0)
    np.testing.assert_allclose(y, 7.0, rtol=1e-15)


def test_features_that_vanish_give_zeros_and_no_gradient() -> None:
    query = np.full((1, 2, 1, 3), -1e4)
    y, pullback = pn.vjp(pn.linear_attention, query, query, np.ones((1, 2, 1, 2)), eps=0.0)
    np.testing.assert_array_equal(y, np.zeros((1, 2, 1, 2)))
    for gradient in pullback(np.ones_like(y)):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
