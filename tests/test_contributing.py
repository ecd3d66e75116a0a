"""The worked examples of CONTRIBUTING.md are true: their code makes an op, and a net, that both witnesses find right."""

from __future__ import annotations

import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import oracle
import oracle.catalogue.models
import purenet as pn
from oracle import catalogue
from oracle import spec as records
from oracle.running.tasks import DTYPES
from purenet.op import Array, Op

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def code_of(section: str) -> list[str]:
    """The pieces of Python in the section of that title."""
    (text,) = re.findall(rf"^## {section}\n(.*?)^## ", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_worked_example_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    op_source, spec_source = code_of("An op in two files")
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


@pytest.fixture
def new_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The files of the worked net, in folders that Python takes for parts of purenet/models and oracle/catalogue/models."""
    name = "maxout_net"
    assert name not in pn.models.names(), "the example needs a net that is not there yet"
    for package, source in zip((pn.models, oracle.catalogue.models), code_of("A net in one file"), strict=True):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    catalogue.modules.cache_clear()
    yield name
    catalogue.modules.cache_clear()
    for package in (pn.models, oracle.catalogue.models):
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)


def test_the_worked_net_is_found_by_its_place_verified_and_learns(new_net: str) -> None:
    model = getattr(pn.models, new_net)
    assert new_net in pn.models.names()
    spec = catalogue.find(new_net)
    assert isinstance(spec, oracle.Spec)
    (case,) = spec.cases
    for dtype in DTYPES:
        result = oracle.verify_case(spec, case, dtype=dtype)
        assert result.passed, str(result)
        assert {row.parameter for row in result.rows} >= {"params.net.affine1.w", "params.net.affine2.b", "x"}

    params, goal = {"net": model.init(pn.random.key(0))}, model.goal()
    assert list(params["net"]) == list(goal.stages["net"].owners)
    x, labels = np.random.default_rng(0).uniform(size=(8, 784)), np.arange(8)
    optimizer = pn.optimizers.sgd(0.01)
    value, residuals = goal.fwd(params, x, loss={"labels": labels})
    updates, _ = optimizer.update(goal.bwd(residuals, 1.0)[0], optimizer.init(params), params)
    assert goal(pn.apply_updates(params, updates), x, loss={"labels": labels}) < value
