"""What a user may declare as meant: no breach then, and the gradient decides; undeclared, its row names the declaration."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from oracle import Allows, Case, Spec, Verdict, verify, verify_case
from tests.oracle.planted import Array, Pair, normal

X = normal(6, 3)
EPS = 1e-5


def batch_norm(scale: float = 1.0, *, replaces: bool = False) -> Pair:
    """In training mode: the running statistics in a dict are updated in place, or replaced by new arrays."""

    def fwd(x: Array, *, bn_param: Any) -> Any:
        mean, variance = x.mean(axis=0), x.var(axis=0)
        if replaces:
            bn_param["mean"] = 0.9 * bn_param["mean"] + 0.1 * mean
        else:
            bn_param["mean"] *= 0.9
            bn_param["mean"] += 0.1 * mean
        h = (x - mean) / np.sqrt(variance + EPS)
        return h, (h, np.sqrt(variance + EPS))

    def bwd(saved: Any, dy: Array) -> Any:
        h, deviation = saved
        return (scale * (dy - dy.mean(axis=0) - h * (dy * h).mean(axis=0)) / deviation,)

    return fwd, bwd


def seeded(scale: float = 1.0, *, pythons: bool = False) -> Pair:
    def fwd(x: Array) -> Any:
        if pythons:
            random.seed(3)
            mask = np.reshape([random.random() > 0.5 for _ in range(x.size)], x.shape)  # noqa: S311
        else:
            np.random.seed(3)  # noqa: NPY002
            mask = np.random.rand(*x.shape) > 0.5  # noqa: NPY002
        return x * mask, mask

    return fwd, lambda mask, dy: (scale * dy * mask,)


def layer(scale: float = 1.0, *, once: bool = False) -> Pair:
    class Square:
        x: Any = None

        def forward(self, x: Array) -> Any:
            self.x = x
            return x * x, None

        def backward(self, _: Any, dy: Array) -> Any:
            x = self.x
            if once:
                self.x = None
            return (scale * 2 * x * dy,)

    square = Square()
    return square.forward, square.backward


def buffered(scale: float = 1.0, *, value: bool = False) -> Pair:
    space: dict[Any, Array] = {}

    def into(x: Array) -> Array:
        return space.setdefault((x.shape, x.dtype), np.empty_like(x))

    def fwd(x: Array) -> Any:
        return (np.multiply(x, x, out=into(x)) if value else x * x), x.copy()

    def bwd(x: Array, dy: Array) -> Any:
        return (scale * 2 * x * dy if value else np.multiply(scale * 2 * x, dy, out=into(x)),)

    return fwd, bwd


MEANT: list[tuple[Any, Allows, dict[str, Any]]] = [
    (batch_norm, Allows.WRITES_TO_OPTIONS, {}),
    (batch_norm, Allows.WRITES_TO_OPTIONS, {"replaces": True}),
    (seeded, Allows.CHANGES_GLOBAL_STATE, {}),
    (seeded, Allows.CHANGES_GLOBAL_STATE, {"pythons": True}),
    (layer, Allows.STATE_BETWEEN_PASSES, {}),
    (layer, Allows.STATE_BETWEEN_PASSES, {"once": True}),
    (buffered, Allows.REUSES_BUFFERS, {}),
    (buffered, Allows.REUSES_BUFFERS, {"value": True}),
]


def options_of(make: Any) -> dict[str, Any]:
    return {"bn_param": {"mean": np.zeros(3), "mode": "train"}} if make is batch_norm else {}


@pytest.mark.parametrize(("make", "allows", "how"), MEANT)
def test_what_is_declared_is_no_breach(make: Any, allows: Allows, how: dict[str, Any]) -> None:
    result = verify(make(**how), X, options=options_of(make), allows=frozenset({allows}))
    assert [row.verdict for row in result.rows] == [Verdict.PASS], result


@pytest.mark.parametrize(("make", "allows", "how"), MEANT)
def test_the_gradient_is_judged_in_any_case_and_comes_first(make: Any, allows: Allows, how: dict[str, Any]) -> None:
    wrong = verify(make(1.5, **how), X, options=options_of(make))
    assert "1.5 times the true gradient" in wrong.rows[0].diagnosis
    assert [row.evidence for row in wrong.rows[1:]] == ["contract"]
    assert wrong.rows[1].diagnosis.endswith(f"(if that is meant: allows={{oracle.{allows}}})")
    declared = verify(make(1.5, **how), X, options=options_of(make), allows=frozenset({allows}))
    assert len(declared.rows) == 1
    assert "1.5 times the true gradient" in declared.rows[0].diagnosis


@pytest.mark.parametrize(("make", "allows", "how"), MEANT)
def test_another_declaration_excuses_nothing(make: Any, allows: Allows, how: dict[str, Any]) -> None:
    others = frozenset(Allows) - {allows}
    assert not verify(make(**how), X, options=options_of(make), allows=others).passed


def test_checks_go_on_beside_declared_writes() -> None:
    """What the backward pass does wrong besides is found with the options protected."""
    fwd, bwd = batch_norm()
    clipped = (fwd, lambda saved, dy: (np.clip(bwd(saved, dy)[0], -1e3, 1e3),))
    result = verify(clipped, X, options=options_of(batch_norm), allows=frozenset({Allows.WRITES_TO_OPTIONS}))
    assert [row.diagnosis.split(":")[0] for row in result.rows if not row.passed] == ["not linear in dy"]


def test_a_spec_declares_it_too() -> None:
    spec = Spec(seeded(), cases=(Case("typical", (X,)),), allows=frozenset({Allows.CHANGES_GLOBAL_STATE}))
    assert verify_case(spec, spec.cases[0]).passed
    spec = Spec(seeded(), cases=(Case("typical", (X,)),))
    assert not verify_case(spec, spec.cases[0]).passed


def test_what_is_no_declaration() -> None:
    with pytest.raises(TypeError, match=r"verify: allows must be a set of oracle\.Allows, got"):
        verify(seeded(), X, allows=Allows.CHANGES_GLOBAL_STATE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"allows must be a set of oracle\.Allows, got"):
        Spec(seeded(), cases=(Case("typical", (X,)),), allows={"seed"})  # type: ignore[arg-type]


# --------------------------------------------------------------------------------- one gradient without a usable form


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (lambda b: None, "the backward pass returned None"),
        (lambda b: b[:2], "has shape (2, 3)"),
        (lambda b: [b, b], "has the structure"),
        (lambda b: b.astype(np.float32), "is float32"),
    ],
)
def test_the_other_gradients_are_judged_all_the_same(form: Any, says: str) -> None:
    def bwd(saved: Any, dy: Array) -> Any:
        a, b, c = saved
        return 3 * dy * b * c, form(dy * a * c), dy * a * b

    result = verify((lambda a, b, c: (a * b * c, (a, b, c)), bwd), X, X + 3, X - 3)
    by_name = {row.parameter: row for row in result.rows}
    assert len(result.rows) == 3
    assert by_name["a"].diagnosis.startswith("constant factor: a is 3 times")
    assert says in by_name["b"].diagnosis
    assert by_name["c"].verdict is Verdict.PASS


def test_one_array_of_a_tree_without_a_usable_form() -> None:
    def bwd(p: Any, dy: Array) -> Any:
        return ({"b": np.ones(2), "w": dy * p["b"]},)

    result = verify((lambda p: (p["w"] * p["b"], p), bwd), {"w": X, "b": X[0]})
    assert {row.parameter: row.verdict for row in result.rows} == {"p.b": Verdict.FAIL, "p.w": Verdict.PASS}
