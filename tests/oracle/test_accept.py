"""Known deviations: an error below `accept` is ACCEPTED, and every FAIL says in words how large it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import oracle
import purenet as pn
from oracle import Verdict, verification
from oracle.at_size import measurements
from oracle.report import document
from oracle.report.colour import painted
from tests.oracle.planted import Array, Pair, cube, dense, elementwise, normal, row, signed

X = signed(6)
REFERENCES = pytest.mark.parametrize("reference", [None, lambda x: x**3], ids=["alone", "JAX"])


def times(factor: float) -> Pair:
    return cube(lambda dx: dx * dx.dtype.type(factor))


@pytest.mark.usefixtures("undiagnosed")
@REFERENCES
@pytest.mark.parametrize("point", [X, np.ones(3), 1e-3 * X, np.asarray(1.5)], ids=["usual", "ones", "small", "scalar"])
def test_an_error_below_accept_is_accepted_and_one_above_is_not(point: Array, reference: Any) -> None:
    for error, verdict in ((1e-9, Verdict.ACCEPTED), (9e-6, Verdict.ACCEPTED), (1.1e-5, Verdict.FAIL), (0.3, Verdict.FAIL)):
        one = row(oracle.verify(times(1 + error), point, reference=reference, accept=1e-5))
        assert one.verdict is verdict
        assert one.numerical_error == pytest.approx(error, rel=1e-2)
    assert row(oracle.verify(times(1 + 1e-9), point, reference=reference)).verdict is Verdict.FAIL
    assert row(oracle.verify(times(1.0), point, reference=reference, accept=1e-5)).verdict is Verdict.PASS


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_formula_is_accepted_in_a_narrow_dtype_too(dtype: Any) -> None:
    formula = elementwise(np.sin, lambda x: np.cos(x) * x.dtype.type(1.5))
    x = X.astype(dtype)
    assert row(oracle.verify(formula, x)).verdict is Verdict.FAIL
    assert row(oracle.verify(formula, x, accept=0.6)).verdict is Verdict.ACCEPTED
    assert row(oracle.verify(formula, x, accept=0.4)).verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_a_narrow_gradient_that_rounds_far_more_than_its_formula_is_not_accepted() -> None:
    def slope(x: Array) -> Array:
        return np.cos(x) * x.dtype.type(1.001) if x.dtype == np.float64 else np.asarray(np.round(np.cos(x) * 4) / 4, x.dtype)

    x = X.astype(np.float32)
    assert row(oracle.verify(elementwise(np.sin, slope), x, accept=1e-2)).verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_many_entries_of_a_large_argument() -> None:
    x, many = normal(15, 10), {"limit": 128}
    assert row(oracle.verify(times(1 + 1e-8), x, accept=1e-5, **many)).verdict is Verdict.ACCEPTED
    assert row(oracle.verify(times(1.01), x, accept=1e-5, **many)).verdict is Verdict.FAIL

    largest = int(np.abs(x).argmax())

    def one_entry(dx: Array) -> Array:
        dx = dx.copy()
        dx.flat[largest] *= 1 + 1e-3
        return dx

    for accept, verdict in ((1e-5, Verdict.FAIL), (1e-2, Verdict.ACCEPTED)):
        found = oracle.verify(cube(one_entry), x, accept=accept, reference=lambda x: x**3, **many)
        assert row(found).verdict is verdict


@pytest.mark.usefixtures("undiagnosed")
@REFERENCES
def test_what_is_no_error_of_a_number_is_never_accepted(reference: Any) -> None:
    def with_nan(dx: Array) -> Array:
        dx = dx.copy()
        dx[2] = np.nan
        return dx

    broken: dict[str, Callable[[Array], Any]] = {
        "NaN": with_nan,
        "infinity": lambda dx: np.where(np.arange(6) == 1, np.inf, dx),
        "shape": lambda dx: dx[:3],
        "dtype": lambda dx: dx.astype(np.float32),
        "None": lambda dx: None,
    }
    for wrong in broken.values():
        result = oracle.verify(cube(wrong), X, accept=0.5, reference=reference)
        assert Verdict.FAIL in {r.verdict for r in result.rows}, result
        assert not result.passed
    calls: list[int] = []

    def restless(dx: Array) -> Array:
        calls.append(1)
        return dx * (1 + 1e-9 * len(calls))

    result = oracle.verify(cube(restless), X, accept=0.5, reference=reference)
    assert "contract" in {r.evidence for r in result.rows}
    assert not result.passed


@pytest.mark.usefixtures("undiagnosed")
def test_accepting_hides_no_gross_error_at_a_generic_point() -> None:
    """At ones x is as good as x**3, so that only the small error shows there."""
    pair = elementwise(lambda x: x**3, lambda x: 3 * x * (1 + 1e-7))
    assert not oracle.verify(pair, np.ones(4), accept=1e-5).passed
    right = elementwise(lambda x: x**3, lambda x: 3 * x**2 * (1 + 1e-7))
    assert row(oracle.verify(right, np.ones(4), accept=1e-5)).verdict is Verdict.ACCEPTED


def test_a_zero_gradient_and_an_uncertain_one_stay_what_they_are() -> None:
    assert row(oracle.verify(elementwise(np.zeros_like, np.zeros_like), X, accept=0.5)).verdict is Verdict.VACUOUS
    noisy = elementwise(lambda x: np.sin(x.astype(np.float16)).astype(np.float64), np.cos)
    strict, accepting = (row(oracle.verify(noisy, X, accept=accept)).verdict for accept in (0.0, 1e-9))
    assert accepting is strict


def test_values_that_differ_by_less_are_accepted() -> None:
    result = oracle.verify(cube(), X, accept=1e-5, reference=lambda x: x**3 + 1e-7)
    assert {r.parameter: r.verdict for r in result.rows} == {"": Verdict.ACCEPTED, "x": Verdict.PASS}
    assert row(result, "").diagnosis.startswith("accepted, like rounding (")
    for offset in (1e-3, np.nan):
        result = oracle.verify(cube(), X, accept=1e-5, reference=lambda x, offset=offset: x**3 + offset)
        assert row(result, "").verdict is Verdict.FAIL


def book_net() -> tuple[Pair, dict[str, Array]]:
    """Two layers, softmax and the loss of the book, log(y + 1e-7), whose backward pass is that of log(y)."""
    labels, x = np.array([0, 2, 1, 2]), normal(4, 4)

    def loss_fwd(params: Any) -> Any:
        h = 1 / (1 + np.exp(-(x @ params["W1"] + params["b1"])))
        z = h @ params["W2"] + params["b2"]
        e = np.exp(z - z.max(-1, keepdims=True))
        y = e / e.sum(-1, keepdims=True)
        return -np.log(y[range(4), labels] + 1e-7).mean(), (params["W2"], h, y)

    def loss_bwd(residuals: Any, dy: Array) -> Any:
        w2, h, y = residuals
        dz = (y - np.eye(3)[labels]) * dy / 4
        da = dz @ w2.T * h * (1 - h)
        return ({"W1": x.T @ da, "b1": da.sum(0), "W2": h.T @ dz, "b2": dz.sum(0)},)

    params = {"W1": normal(4, 4), "b1": normal(4), "W2": normal(4, 3), "b2": normal(3)}
    return (loss_fwd, loss_bwd), params


@pytest.mark.usefixtures("undiagnosed")
def test_the_books_right_net_is_accepted() -> None:
    net, params = book_net()
    strict = oracle.verify(net, params)
    assert {r.verdict for r in strict.rows} == {Verdict.FAIL}
    assert all(r.size.startswith(("a small constant's size (", "like rounding (")) for r in strict.rows), strict
    accepted = oracle.verify(net, params, accept=1e-4)
    assert {r.verdict for r in accepted.rows} == {Verdict.ACCEPTED}, accepted
    accepted.raise_for_failures()
    (fwd, bwd) = net

    def wrong(residuals: Any, dy: Array) -> Any:
        (found,) = bwd(residuals, dy)
        return ({**found, "W1": 1.01 * found["W1"]},)

    result = oracle.verify((fwd, wrong), params, accept=1e-4)
    assert {r.parameter for r in result.rows if not r.passed} == {"params.W1"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (1e-9, "like rounding (1e-09 of the largest entry)"),
        (1e-7, "like rounding (1e-07 of the largest entry)"),
        (1e-4, "a small constant's size (0.0001 of the largest entry)"),
        (0.3, "a wrong formula (0.3 of the largest entry)"),
    ],
)
@REFERENCES
def test_a_failure_says_how_large_it_is(error: float, words: str, reference: Any) -> None:
    result = oracle.verify(times(1 + error), X, reference=reference)
    assert row(result).size == words
    assert f"how large: {words}" in str(result)


def test_the_size_is_that_of_the_largest_error_and_of_the_witness_that_contradicts() -> None:
    def two(dx: Array) -> Array:
        return np.asarray(dx * np.where(np.arange(6) == 2, 1.25, 1 + 1e-8))

    assert row(oracle.verify(cube(two), X)).size.startswith("a wrong formula (0.")
    assert row(oracle.verify(cube(lambda dx: dx * np.nan), X)).size == "not a finite number"
    assert row(oracle.verify(cube(lambda dx: dx[:2]), X)).size == ""
    assert row(oracle.verify(cube(), X)).size == ""
    bias = dense(dw=lambda x, dy: x.T @ dy * 1.5)
    assert row(oracle.verify(bias, normal(3, 2), normal(4, 3)), "w").size.startswith("a wrong formula")


def test_rounding_is_that_of_the_dtype() -> None:
    def slope(x: Array) -> Array:
        return 3 * x**2 * x.dtype.type(1 + 2.0**-5)

    pair = elementwise(lambda x: x**3, slope)
    sizes = [row(oracle.verify(pair, X.astype(t), reference=lambda x: x**3)).size for t in (np.float64, np.float16)]
    assert all(size.startswith("a wrong formula (0.03") for size in sizes)


def test_bad_values_of_accept() -> None:
    for bad in (-1e-5, 1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^verify: accept must be a share of the largest entry, from 0 and below 1, got"):
            oracle.verify(cube(), X, accept=bad)
    for no_number in ("1e-5", None, True):
        with pytest.raises(TypeError, match=r"^verify: accept must be a number, got"):
            oracle.verify(cube(), X, accept=no_number)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^Spec of cube: accept must be"):
        oracle.Spec(cube(), cases=(oracle.Case("c", (X,)),), accept=2.0)


def test_reports_follow() -> None:
    result = oracle.verify(times(1 + 1e-6), X, accept=1e-5)
    text = " ".join(str(result).split())
    assert "cube / x: accepted, a small constant's size (1e-06 of the largest entry): constant factor: " in text
    assert text.endswith("1 gradient of 1 op in 1 case: 1 ACCEPTED")
    assert "\033[32mACCEPTED\033[0m" in painted(str(result))
    found = document.document(result.rows, {})
    assert (found["schema"], found["passed"], found["totals"]) == (2, True, {"ACCEPTED": 1})
    again = json.loads(document.to_json(found))["rows"][0]
    assert again["size"] == "a small constant's size (1e-06 of the largest entry)"
    assert document.row_of(document.packed(result.rows[0])) == result.rows[0]


@pytest.mark.usefixtures("in_this_process")
def test_a_spec_of_the_command_line_accepts(run: Any, module: Any) -> None:
    text = """
import numpy as np
import oracle
def square(x): return x * x, x
def square_bwd(x, dy): return (2 * x * dy * (1 + 1e-7),)
cases = (oracle.Case("three", (np.array([1.5, -2.5, 3.5]),)),)
check = oracle.Spec((square, square_bwd), cases=cases, accept={accept})
"""
    for name, accept, expected in (("lenient_module", 1e-5, 0), ("strict_module", 1e-9, 1)):
        module(name, text.replace("{accept}", str(accept)))
        code, out, _ = run("verify", f"{name}:square")
        assert code == expected, out
        assert ("ACCEPTED" in out) == (expected == 0)


@pytest.mark.usefixtures("undiagnosed")
def test_an_argument_at_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (verification, measurements):
        monkeypatch.setattr(module, "LARGE", 300)
    off = pn.Op(lambda x: (np.tanh(x), x))
    off.pullback(lambda x, dy: (dy * (1 - np.tanh(x) ** 2) * (1 + 1e-7),))

    def verdict(**options: float) -> Verdict:
        return row(oracle.verify(off, normal(20, 20), reference=jnp.tanh, limit=300, **options)).verdict

    assert verdict(accept=1e-5) is Verdict.ACCEPTED
    assert verdict() is Verdict.FAIL
    assert verdict(accept=1e-9) is Verdict.FAIL
