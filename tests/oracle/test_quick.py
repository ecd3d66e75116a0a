"""`effort="quick"`: few forward passes at every size, and rows that say which errors they notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest

import oracle
import purenet as pn
from oracle import catalogue
from oracle.arrays import cast, random_cotangent
from oracle.cli.main import main
from oracle.row import Row, Verdict
from oracle.running.tasks import Task
from oracle.verification import verify_case
from purenet import Op
from tests.oracle.planted import cube
from tests.oracle.test_at_size import changed, counted

NORMAL = np.random.default_rng(0).normal
LAYER_NORM = {"beta": NORMAL(size=30), "gamma": NORMAL(size=30)}


def quick(op: Any, *arguments: Any, **options: Any) -> tuple[Row, ...]:
    return oracle.verify(op, *arguments, effort="quick", **options).rows


def noticed(row: Row) -> float:
    """The error of an entry, as a share of the largest, that the row says would be noticed."""
    assert row.resolution is not None
    return row.resolution


@pytest.mark.parametrize("entries", [10, 100, 3000, 100_000])
def test_the_forward_passes_are_few_at_every_size(entries: int) -> None:
    calls = [0]
    (row,) = quick(counted(pn.tanh, calls), NORMAL(size=entries))
    assert row.verdict is Verdict.PASS
    assert calls[0] < 80
    calls[0] = 0
    rows = quick(
        counted(pn.affine, calls),
        {"w": NORMAL(size=(entries // 10, 10)), "b": NORMAL(size=10)},
        NORMAL(size=(2, entries // 10)),
    )
    assert {row.verdict for row in rows} == {Verdict.PASS}
    assert calls[0] < 160


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        (pn.tanh, (NORMAL(size=(6, 50)),)),
        (pn.softmax, (NORMAL(size=(6, 50)),)),
        (pn.layer_norm, (LAYER_NORM, NORMAL(size=(20, 30)))),
    ],
    ids=["tanh", "softmax", "layer_norm"],
)
def test_an_error_above_what_a_row_says_fails_and_one_far_below_passes(op: Op, arguments: Any, dtype: str) -> None:
    """In a narrow dtype the formula itself, which is judged in float64, is right; there far smaller errors are noticed, too."""
    arguments = optree.tree_map(lambda a: cast(a, dtype), arguments)
    right = quick(op, *arguments)
    assert {row.verdict for row in right} == {Verdict.PASS}
    row = right[[row.parameter for row in right].index("x")]
    y, residuals = op.fwd(*arguments)
    largest = np.abs(np.asarray(op.bwd(residuals, random_cotangent(y))[-1], np.float64)).max()

    def verdict(share: float, at: tuple[int, int]) -> Verdict:
        def bwd(residuals: Any, dy: Any) -> Any:
            *others, dx = op.bwd(residuals, dy)
            off = np.asarray(dx, np.float64)
            off[at] += share * largest
            return (*others, off.astype(dx.dtype) if dx.dtype == y.dtype else dx)

        return next(row for row in quick((op.fwd, bwd), *arguments) if row.shape == y.shape).verdict

    for at in ((0, 0), (5, 29)):
        assert verdict(4 * noticed(row), at) is Verdict.FAIL
        assert dtype != "float64" or verdict(noticed(row) / 64, at) is Verdict.PASS


def test_the_row_says_what_it_notices() -> None:
    (row,) = quick(pn.tanh, NORMAL(size=3000))
    assert "a single entry that is off by " in row.evidence
    assert row.evidence.endswith(" of the largest would be noticed")
    assert 1e-14 < noticed(row) < 1e-8


def test_a_wrong_formula_is_named() -> None:
    (row,) = quick(changed(pn.tanh, lambda dx: 1.01 * dx), NORMAL(size=3000))
    assert row.verdict is Verdict.FAIL
    assert "constant factor" in row.diagnosis


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("conv2d", "stride larger than the filter, in groups"),
        ("conv_transpose3d", "strides, padding on one side"),
        ("dot_product_attention", "grouped heads, causal, more queries than keys"),
    ],
)
@pytest.mark.parametrize("reference", [False, True])
def test_short_axes_do_not_mislead(name: str, case: str, reference: bool) -> None:
    """Along an axis of two, an output has the index of an entry by chance."""
    spec = next(spec for spec in catalogue.specs() if spec.name == name)
    if reference:
        assert verify_case(spec, spec.case(case), effort="quick").passed
    else:
        arguments, options = spec.case(case).draw(spec.name)
        assert oracle.verify(spec.op, *arguments, options=options, effort="quick").passed


@pytest.mark.parametrize("name", ["relu", "max", "triplet_margin_loss", "layer_norm", "l2_normalize"])
def test_nothing_right_fails_at_special_points(name: str) -> None:
    spec = next(spec for spec in catalogue.specs() if spec.name == name)
    for case in spec.cases:
        rows = verify_case(spec, case, effort="quick").rows
        assert all(row.passed or row.verdict is Verdict.INCONCLUSIVE for row in rows)


@pytest.mark.parametrize("effort", ["fast", "", None, 1, True])
def test_another_effort_is_refused(effort: Any) -> None:
    with pytest.raises(ValueError, match=r"verify: effort must be 'full' or 'quick', got "):
        oracle.verify(cube, NORMAL(size=3), effort=effort)


def test_exact_derivatives_take_full_effort() -> None:
    pytest.importorskip("flint")
    with pytest.raises(ValueError, match=r"verify: exact=True takes effort='full', got 'quick'"):
        oracle.verify(cube, NORMAL(size=3), exact=True, effort="quick")


@pytest.mark.parametrize("options", [["--quick"], ["--effort", "quick"]])
def test_the_command_line(options: list[str], tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "swish", "--jobs", "1", "--timeout", "0", "--reports", str(tmp_path), "--json", *options]) == 0
    printed = capsys.readouterr().out
    assert "would be noticed" in printed
    assert '"selection": "swish --quick' in printed
    assert Task("", "swish", "usual", "float64", effort="quick").command == "oracle verify swish --case usual --quick"


def test_exact_and_quick_are_refused_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("flint")
    assert main(["verify", "swish", "--exact", "--quick"]) == 4
    assert "--exact is not for --quick" in capsys.readouterr().err
