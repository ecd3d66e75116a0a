"""Rotary embeddings with given angles, the scalings as their authors write them, and decoding with a cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import purenet as pn

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_whole_head_is_rotary_embedding(interleaved: bool) -> None:
    x = RANDOM.normal(size=(2, 5, 3, 8))
    angles = np.arange(5)[:, None] * pn.rotary_frequencies(8)
    np.testing.assert_array_equal(
        pn.apply_rotary(x, cos=np.cos(angles), sin=np.sin(angles), interleaved=interleaved),
        pn.rotary_embedding(x, interleaved=interleaved),
    )


def test_llama3_as_meta_writes_it() -> None:
    wanted = []
    for frequency in pn.rotary_frequencies(128, base=5e5):
        wavelength = 2 * math.pi / frequency
        if wavelength < 8192 / 4:
            wanted.append(frequency)
        elif wavelength > 8192:
            wanted.append(frequency / 8)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            wanted.append((1 - smooth) * frequency / 8 + smooth * frequency)
    got = pn.rotary_frequencies(128, base=5e5, scaling="llama3", factor=8.0)
    np.testing.assert_allclose(got, wanted, rtol=1e-13)
    assert len({round(x, 6) for x in got / pn.rotary_frequencies(128, base=5e5)}) > 3  # some pairs are on the ramp


def test_yarn_keeps_what_turns_often_and_divides_what_turns_seldom() -> None:
    plain = pn.rotary_frequencies(64)
    ratio = pn.rotary_frequencies(64, scaling="yarn", factor=4.0, original_length=2048) / plain
    turns = 2048 * plain / (2 * math.pi)
    step = plain[0] / plain[1]  # the ends of the ramp are rounded outwards to whole pairs
    assert (ratio[turns > 32 * step] == 1).all()
    np.testing.assert_allclose(ratio[turns < 1 / step], 0.25, rtol=1e-15)
    assert (np.diff(ratio) <= 1e-15).all()
    ramp = ratio[(ratio < 1) & (ratio > 0.2500001)]
    assert len(ramp) > 5
    np.testing.assert_allclose(np.diff(ramp), ramp[1] - ramp[0], rtol=1e-10)  # a straight line over the pairs


def test_ntk_divides_the_lowest_frequency_and_keeps_the_highest() -> None:
    ratio = pn.rotary_frequencies(32, scaling="ntk", factor=8.0) / pn.rotary_frequencies(32)
    assert ratio[0] == 1
    np.testing.assert_allclose(ratio[-1], 1 / 8, rtol=1e-13)
    assert (np.diff(ratio) < 0).all()
    np.testing.assert_allclose(
        pn.rotary_frequencies(32, scaling="linear", factor=8.0) * 8, pn.rotary_frequencies(32), rtol=1e-15
    )


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("width must be even, got 3", {"width": 3}),
        ("scaling must be one of 'none', 'linear', 'ntk', 'yarn', 'llama3', got 'dynamic'", {"scaling": "dynamic"}),
        ("high_freq_factor must be greater than low_freq_factor 4.0, got 4.0", {"scaling": "llama3", "low_freq_factor": 4.0}),
        ("yarn needs base > 1 and beta_slow at most beta_fast, got 0.5", {"scaling": "yarn", "base": 0.5}),
        ("original_length must be at least 1, got 0", {"original_length": 0}),
    ],
)
def test_what_cannot_be_scaled_is_refused(match: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^rotary_frequencies: {match}"):
        pn.rotary_frequencies(**{"width": 8, **options})


def test_decoding_step_by_step_is_causal_attention() -> None:
    query, key, value = (RANDOM.normal(size=(2, 5, heads, 4)) for heads in (4, 2, 2))
    cache: Any = {name: np.full((2, 6, 2, 4), np.nan) for name in ("key", "value")}
    rows = []
    for t, steps in ((0, 2), (2, 1), (3, 1), (4, 1)):
        new = slice(t, t + steps)
        y, cache = pn.cached_attention(cache, query[:, new], key[:, new], value[:, new], length=t)
        rows.append(y)
    np.testing.assert_allclose(
        np.concatenate(rows, axis=1), pn.dot_product_attention(query, key, value, is_causal=True), rtol=1e-13
    )
