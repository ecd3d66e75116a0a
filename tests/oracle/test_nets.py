"""Nets at their real size, which `oracle verify` checks only when they are named: here against their references alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest

from oracle import Case, Draw, Error, Spec, catalogue
from oracle.autodiff import vjp

DIGITS = 1e-12
"""Of the largest entry of each gradient, in float64."""

NETS = tuple(spec for name in ("lenet", "simple_convnet", "deep_convnet", "alexnet_small") for spec in [catalogue.find(name)])


def of(spec: Spec, what: Any) -> Any:
    return pytest.param(spec, what, id=f"{spec.name}-{what.name}", marks=pytest.mark.xdist_group(spec.name))


@pytest.mark.parametrize(("spec", "case"), [of(spec, case) for spec in NETS for case in spec.cases[:1]])
def test_every_entry_of_every_gradient_is_that_of_the_reference(spec: Spec, case: Case) -> None:
    arguments, options = case.draw(spec.name)
    value, residuals = spec.op.fwd(*arguments, **options)
    by_jax = vjp(spec.reference, arguments, np.asarray(1.5), options)
    np.testing.assert_allclose(value, by_jax.value, rtol=DIGITS)
    paths, ours, _ = optree.tree_flatten_with_path(spec.op.bwd(residuals, 1.5))
    for path, mine, other in zip(paths, ours, optree.tree_leaves(by_jax.cotangents), strict=True):
        assert np.abs(mine).max() > 0, path
        np.testing.assert_allclose(mine, other, rtol=0, atol=DIGITS * np.abs(other).max(), err_msg=str(path))


@pytest.mark.parametrize(("spec", "error"), [of(spec, error) for spec in NETS for error in spec.errors])
def test_bad_input_is_named(spec: Spec, error: Error) -> None:
    with pytest.raises(error.exception) as caught:
        spec.op(*error.arguments(Draw(spec.name, error.name)), **error.options)
    assert error.match in str(caught.value)


def test_a_net_is_found_by_its_name_and_verified_only_when_named() -> None:
    records = {spec.name for spec in catalogue.on_request()}
    for name in ("lenet", "simple_convnet", "deep_convnet", "alexnet", "alexnet_small"):
        assert catalogue.find(name).name == f"{name}_goal"
        assert f"{name}_goal" in records
    assert not records & {spec.name for spec in catalogue.specs()}
    assert catalogue.find("two_layer_net").name == "two_layer_net_goal"
