"""The book's own way of writing, verified by five lines: the mistake is found between the layers where it is."""

from __future__ import annotations

import inspect
import io
from contextlib import redirect_stdout
from typing import Any, TypeAlias

import numpy as np
import pytest

import oracle
from examples import book_style as example

pytestmark = pytest.mark.xdist_group("book style")
X = np.random.default_rng(2).uniform(size=(7, 4))


Found: TypeAlias = tuple[oracle.Verification, oracle.Verification, str]


@pytest.fixture(scope="module")
def of_main() -> Found:
    """What main finds of the right net and of the mistaken one, and what it prints."""
    found: list[oracle.Verification] = []
    verify = oracle.verify

    def kept(*arguments: Any, **options: Any) -> oracle.Verification:
        found.append(verify(*arguments, **options))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setenv("COLUMNS", "80")
        patch.setattr(oracle, "verify", kept)
        example.main()
    right, mistaken = found
    return right, mistaken, out.getvalue()


def test_the_right_net_is_accepted_for_its_small_constant(of_main: Found) -> None:
    rows = of_main[0].rows
    assert {row.parameter: str(row.verdict) for row in rows} == {
        f"params.{name}": "ACCEPTED" for name in ("W1", "b1", "W2", "b2")
    }  # fmt: skip
    assert any("a small constant left out" in row.diagnosis and "1e-07" in row.diagnosis for row in rows)


def test_the_mistake_is_between_the_layers(of_main: Found) -> None:
    result = of_main[1]
    assert {row.parameter for row in result.rows if not row.passed} == {"params.W1", "params.b1"}
    assert "params.W2 and params.b2 are right, params.W1 and params.b1 are wrong: look between them" in result.rows[0].note
    assert not oracle.verify(example.LeakyBack(), X - 0.5).passed


def test_its_main_has_five_lines_and_its_page_fits_a_terminal(of_main: Found) -> None:
    assert len(inspect.getsource(example.main).splitlines()) == 5
    page = of_main[2]
    assert max(map(len, page.splitlines())) <= 80
    assert page.index("4 gradients of 1 op in 1 case: 4 ACCEPTED") < page.index("2 ACCEPTED, 2 FAIL")
