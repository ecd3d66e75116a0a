"""The kernel whose rule forgets eps: JAX's own check accepts it, the verdict names the option."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import oracle
from examples import custom_vjp_kernel as example

X, _, GAMMA = example.points()
OPTIONS = {"eps": 1e-6}

pytestmark = pytest.mark.xdist_group("the example of a kernel")  # one worker runs it once


class Shown(NamedTuple):
    """What the example prints in a terminal of 80 columns, and the verifications that it prints, by kernel and case."""

    page: str
    results: dict[tuple[str, str], oracle.Verification]


@pytest.fixture(scope="module")
def shown() -> Shown:
    page = io.StringIO()
    results: dict[tuple[str, str], oracle.Verification] = {}
    verify = oracle.verify

    def recorded(kernel: Any, *arguments: Any, case: str, **options: Any) -> oracle.Verification:
        results[kernel.__name__, case] = verify(kernel, *arguments, case=case, **options)
        return results[kernel.__name__, case]

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(page):
        patch.setenv("COLUMNS", "80")
        patch.setattr(oracle, "verify", recorded)
        example.main()
    return Shown(page.getvalue(), results)


@pytest.mark.parametrize("kernel", [example.rms_norm, example.mended])
def test_jax_accepts_both(kernel: Any) -> None:
    assert example.accepted_by_jax(kernel, X, GAMMA, 1e-6)
    narrow = [jnp.asarray(a, jnp.float32) for a in (X, GAMMA)]
    check_grads(lambda x, gamma: kernel(x, gamma, 1e-6), narrow, order=1, modes=["rev"])


def test_jax_would_notice_a_large_eps() -> None:
    assert not example.accepted_by_jax(example.rms_norm, X, GAMMA, 0.1)
    assert example.accepted_by_jax(example.mended, X, GAMMA, 0.1)


@pytest.mark.parametrize("witnesses", ["alone", "JAX"])
def test_the_option_is_named(witnesses: str, shown: Shown) -> None:
    alone = witnesses == "alone"
    result = oracle.verify(example.rms_norm, X, GAMMA, options=OPTIONS) if alone else shown.results["rms_norm", "ordinary"]
    cause = "option ignored: this is the gradient for eps = 0.0, but the forward pass uses 1e-06"
    assert {(row.parameter, str(row.verdict), row.diagnosis) for row in result.rows} == {
        ("x", "FAIL", cause),
        ("gamma", "FAIL", cause),
    }


def test_padding_has_no_gradient(shown: Shown) -> None:
    assert all("NaN in 8 of" in row.diagnosis for row in shown.results["rms_norm", "padded"].rows)


@pytest.mark.parametrize("case", ["ordinary", "padded"])
def test_the_mended_rule_passes(case: str, shown: Shown) -> None:
    assert shown.results["mended", case].passed, shown.results["mended", case]


def test_its_forward_pass_is_the_reference() -> None:
    with jax.enable_x64(True):
        ours, theirs = (f(X, GAMMA, **OPTIONS) for f in (example.rms_norm, example.reference))
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_its_page_fits_a_terminal(shown: Shown) -> None:
    assert max(map(len, shown.page.splitlines())) <= 80
    assert "rms_norm: accepted\nmended: accepted" in shown.page
    assert (shown.page.count("2 FAIL"), shown.page.count("2 PASS"), shown.page.count("option ignored")) == (2, 2, 1)
