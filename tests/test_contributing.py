"""The worked example of CONTRIBUTING.md is true: two pieces of code make an op that both witnesses find right."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import oracle
import purenet as pn
from oracle import spec as records
from oracle.campaign import DTYPES
from purenet.op import Array, Op

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_the_worked_example_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    op_source, spec_source = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {**vars(records), "Array": Array, "Op": Op, "np": np, "jax": jax}
    exec(op_source, names)  # noqa: S102 - our own page
    op = names["sparse_plus"]
    spec = eval(spec_source, names)  # noqa: S307
    assert not hasattr(pn, op.name), "the example needs an op that is not there yet"
    for case in spec.cases:
        for dtype in DTYPES:
            result = oracle.verify_case(spec, case, dtype=dtype)
            assert result.passed, str(result)
    (error,) = spec.errors
    with pytest.raises(error.exception, match=error.match):
        op(*error.arguments(records.Draw("integers")))
    monkeypatch.setattr(pn, op.name, op, raising=False)
    (examples,) = doctest.DocTestFinder().find(op, op.name, module=False, globs={})
    said: list[str] = []
    assert not doctest.DocTestRunner().run(examples, out=said.append).failed, "".join(said)
