"""Rows for the tests of reports."""

from __future__ import annotations

from typing import Any

from oracle.row import Row, Verdict

ENVIRONMENT = {
    "command": "oracle verify",
    "seed": 0,
    "python": "3.13.0",
    "platform": "Linux x86_64",
    "blas": "openblas 0.3",
    "packages": {"numpy": "2.4"},
}
HOSTILE = "a|b <script>alert(1)</script> `code` *bold* [link](x) \\ &amp;\r\n# heading\n- item"


def row(**changed: Any) -> Row:
    fields: dict[str, Any] = {
        "family": "losses",
        "op": "squared_error",
        "case": "two dimensions",
        "dtype": "float64",
        "parameter": "predictions",
        "shape": (3, 5),
        "reference": "library: optax",
        "evidence": "numerical 15/15, autodiff 15/15",
        "verdict": Verdict.PASS,
        "diagnosis": "",
        "forward_error": 1e-17,
        "numerical_error": 2.5e-13,
        "numerical_uncertainty": 1e-13,
        "autodiff_error": 0.0,
        "autodiff_ulp": 0.0,
        "used": 0.125,
    }
    return Row(**{**fields, **changed})


def failing(**changed: Any) -> Row:
    return row(
        **{
            "verdict": Verdict.FAIL,
            "diagnosis": "constant factor: predictions is 2 times the true gradient everywhere",
            "worst_index": (2, 4),
            "analytic": 2.0,
            "numerical": 1.0,
            "autodiff": 1.0,
            "used": 1e12,
            **changed,
        }
    )


def reproduce(one: Row) -> str:
    return f"oracle verify {one.op} --case '{one.case}'"
