"""The learner's class: the usual check lets it pass, the verdict does not, and the step alone gets its cause."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from examples import two_layer_class as example

X = np.random.default_rng(2).uniform(size=(9, 5))
T = np.random.default_rng(3).integers(0, 4, size=9)


def verified(net_class: type) -> dict[str, oracle.Row]:
    result = oracle.verify(
        example.pair_of(net_class), example.params_of(net_class(5, 6, 4)), options={"x": X, "t": T}
    )  # fmt: skip
    return {row.parameter.removeprefix("params."): row for row in result.rows}


def test_the_usual_check_lets_the_mistake_pass() -> None:
    found = example.mean_differences(example.TwoLayerNet(5, 6, 4), X, T)
    assert set(found) == set(example.PARAMETERS)
    assert all(difference < 1e-4 for difference in found.values()), found


def test_the_verdict_tells_the_wrong_half_from_the_right_one() -> None:
    rows = verified(example.TwoLayerNet)
    assert {name for name, row in rows.items() if row.passed} == {"W2", "b2"}
    assert all(0.05 < rows[name].numerical_error < 0.08 for name in ("W1", "b1"))  # of the largest entry: nothing small


def test_the_step_alone_gets_its_cause() -> None:
    result = oracle.verify((example.hidden_layer, example.hidden_layer_bwd), X)
    assert [(row.parameter, str(row.verdict)) for row in result.rows] == [("a1", "FAIL")]
    assert result.rows[0].diagnosis == "wrong point: this is the gradient with a1 replaced by the function's value"


def test_the_mended_class_passes() -> None:
    assert all(row.passed for row in verified(example.MendedNet).values())


def test_its_page_fits_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    example.main()
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    assert page.count("looks fine") == 8
    assert "LOOKS WRONG" not in page
    assert page.index("2 PASS, 2 FAIL") < page.index("wrong point") < page.index("4 gradients of 1 op in 1 case: 4 PASS")
