"""The kernel whose rule forgets eps: JAX's own check accepts it, the verdict names the option."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import oracle
from examples import custom_vjp_kernel as example

X, PADDED, GAMMA = example.points()
OPTIONS = {"eps": 1e-6}


@pytest.mark.parametrize("kernel", [example.rms_norm, example.mended])
def test_jax_accepts_both(kernel: Any) -> None:
    assert example.accepted_by_jax(kernel, X, GAMMA, 1e-6)
    narrow = [jnp.asarray(a, jnp.float32) for a in (X, GAMMA)]
    check_grads(lambda x, gamma: kernel(x, gamma, 1e-6), narrow, order=1, modes=["rev"])


def test_jax_would_notice_a_large_eps() -> None:
    assert not example.accepted_by_jax(example.rms_norm, X, GAMMA, 0.1)
    assert example.accepted_by_jax(example.mended, X, GAMMA, 0.1)


@pytest.mark.parametrize("reference", [None, example.reference], ids=["alone", "JAX"])
def test_the_option_is_named(reference: Any) -> None:
    result = oracle.verify(example.rms_norm, X, GAMMA, options=OPTIONS, reference=reference)
    cause = "option ignored: this is the gradient for eps = 0.0, but the forward pass uses 1e-06"
    assert {(row.parameter, str(row.verdict), row.diagnosis) for row in result.rows} == {
        ("x", "FAIL", cause),
        ("gamma", "FAIL", cause),
    }


def test_padding_has_no_gradient() -> None:
    result = oracle.verify(example.rms_norm, PADDED, GAMMA, options=OPTIONS, reference=example.reference)
    assert all("NaN in 8 of" in row.diagnosis for row in result.rows)


@pytest.mark.parametrize("x", [X, PADDED])
def test_the_mended_rule_passes(x: Any) -> None:
    result = oracle.verify(example.mended, x, GAMMA, options=OPTIONS, reference=example.reference)
    assert result.passed, result


def test_its_forward_pass_is_the_reference() -> None:
    with jax.enable_x64(True):
        ours, theirs = (f(X, GAMMA, **OPTIONS) for f in (example.rms_norm, example.reference))
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_its_page_fits_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    example.main()
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    assert "rms_norm: accepted\nmended: accepted" in page
    assert (page.count("2 FAIL"), page.count("2 PASS"), page.count("option ignored")) == (2, 2, 1)
