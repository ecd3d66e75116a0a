"""What a notebook shows of a result, and the picture of quotients."""

from __future__ import annotations

import numpy as np

from oracle.verification import verify
from tests.oracle.test_html import Parsed


def test_a_notebook_shows_the_card_of_a_failure_and_the_table() -> None:
    wrong = verify((lambda x: (x * x, x), lambda x, dy: (3 * x * dy,)), np.array([[1.0, 2.0], [0.5, -1.0]]), name="square")
    shown, again = wrong._repr_html_(), wrong._repr_html_()
    parsed = Parsed(shown)
    assert "constant factor: x is 1.5 times the true gradient everywhere" in " ".join(parsed.texts_of("p"))
    assert len(parsed.all("svg")) == 3
    assert "1 gradient of 1 op in 1 case: 1 FAIL" in shown
    both = [attributes["id"] for text in (shown, again) for _, attributes in Parsed(text).elements if "id" in attributes]
    assert len(set(both)) == len(both)
    right = verify((lambda x: (x * x, x), lambda x, dy: (2 * x * dy,)), np.array([1.0, 2.0]))
    assert "1 PASS" in right._repr_html_()
    assert "<svg" not in right._repr_html_()


def test_the_quotients_by_the_true_gradient_are_drawn() -> None:
    """A factor of the whole gradient is one flat colour; entries that are right are no quotients worth a picture."""
    x = np.random.default_rng(0).normal(size=(4, 3))
    details = verify((lambda x: (x * x, x), lambda x, dy: (3 * x * dy,)), x).rows[0].details
    assert details is not None
    assert details.error_map is not None
    np.testing.assert_allclose(details.error_map.multiples, 1.5, rtol=1e-9)
    small = verify((lambda x: (x * x, x), lambda x, dy: (2.000001 * x * dy,)), x).rows[0].details
    assert small is not None
    assert small.error_map is not None
    assert small.error_map.multiples == ()
