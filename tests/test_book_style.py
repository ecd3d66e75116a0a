"""The book's own way of writing, verified by five lines: the mistake is found between the layers where it is."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import oracle
from examples import book_style as example

X = np.random.default_rng(2).uniform(size=(7, 4))
T = np.random.default_rng(3).integers(0, 3, size=7)


def verified(net: object) -> oracle.Verification:
    return oracle.verify(oracle.adapters.of_net(net, X, T), accept=1e-5)


def test_the_right_net_is_accepted_for_its_small_constant() -> None:
    rows = verified(example.TwoLayerNet(4, 5, 3)).rows
    assert {row.parameter: str(row.verdict) for row in rows} == {
        f"params.{name}": "ACCEPTED" for name in ("W1", "b1", "W2", "b2")
    }  # fmt: skip
    assert any("a small constant left out" in row.diagnosis and "1e-07" in row.diagnosis for row in rows)


def test_the_mistake_is_between_the_layers() -> None:
    result = verified(example.MistakenNet(4, 5, 3))
    assert {row.parameter for row in result.rows if not row.passed} == {"params.W1", "params.b1"}
    assert "params.W2 and params.b2 are right, params.W1 and params.b1 are wrong: look between them" in result.rows[0].note
    assert not oracle.verify(example.LeakyBack(), X - 0.5).passed


def test_its_main_has_five_lines_and_its_page_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(inspect.getsource(example.main).splitlines()) == 5
    monkeypatch.setenv("COLUMNS", "80")
    example.main()
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    assert page.index("4 gradients of 1 op in 1 case: 4 ACCEPTED") < page.index("2 ACCEPTED, 2 FAIL")
