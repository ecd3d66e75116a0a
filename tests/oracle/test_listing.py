"""`oracle list` and `oracle show`: every record is listed, and every place that is shown exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import purenet as pn
from oracle import Spec, catalogue
from oracle.cli.main import Exit
from tests.oracle.conftest import ROOT, Run


def test_all_records_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = run("list")
    assert (code, err) == (Exit.PASS, "")
    names = [record.name for record in (*catalogue.specs(), *catalogue.trajectories())]
    # A long name may be wrapped after a blank or an underscore.
    assert [name for name in names if not all(part in out for part in re.split("[ _]", name))] == []
    at_size = out[out.index("only when named") :]
    assert all(record.name in at_size for record in catalogue.on_request())
    assert (
        out.splitlines()[-1]
        == f"{len(names)} in {len({r.family for r in (*catalogue.specs(), *catalogue.trajectories())})} families"
    )


def test_a_family_is_listed(run: Run) -> None:
    code, out, _ = run("list", "--family", "penalties")
    assert code == Exit.PASS
    assert "l1_penalty" in out
    assert "relu" not in out
    assert out.splitlines()[-1] == "6 in 1 family"
    assert "only when named" not in out
    assert re.search(r"l1_penalty +T1 +library +all four +8", out)


def test_a_long_name_is_folded_where_a_word_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run("list", "--family", "losses")
    assert re.search(r"softmax_cross_entropy_ .*\n +with_probabilities\n", out)


def test_the_table_of_families_is_the_one_in_the_docs(run: Run) -> None:
    code, out, _ = run("list", "--families")
    assert code == Exit.PASS
    assert out.startswith("| family ")
    assert out in (ROOT / "docs" / "purenet.md").read_text(encoding="utf-8")


def test_the_places_that_are_shown_exist(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no line is broken
    lengths: dict[str, int] = {}
    for record in (*catalogue.specs(), *catalogue.trajectories()):
        code, out, err = run("show", record.name)
        assert (code, err) == (Exit.PASS, ""), record.name
        places = re.findall(r"(\S+\.py):(\d+)", out)
        for path, line in places:
            length = lengths.setdefault(path, len(Path(path).read_text().splitlines()))
            assert int(line) <= length, (record.name, path)
        if isinstance(record, Spec):
            for label in ("forward pass", "backward pass", "reference", *(f"case {c.name!r}" for c in record.cases)):
                assert re.search(rf"^{re.escape(label)} ", out, re.MULTILINE), (record.name, label)
            assert str(record.source) in out, record.name
            assert re.search(rf"^{re.escape(record.name)}\(", out), record.name
        else:
            assert places, record.name


def test_a_place_is_where_the_thing_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, out, _ = run("show", "affine")
    shown = dict(re.findall(r"^(\w+(?: pass)?)\s+(\S+:\d+)", out, re.MULTILINE))
    for label, path, text in (
        ("forward pass", "purenet/linear/products.py", "@Op"),
        ("backward pass", "purenet/linear/products.py", "@affine.pullback"),
        ("reference", "oracle/catalogue/linear/products.py", "def affine_by_dot("),
    ):
        found, line = shown[label].split(":")
        assert found == path
        assert (ROOT / path).read_text().splitlines()[int(line) - 1].startswith(text)


@pytest.mark.parametrize("width", [80, 120])
def test_an_op_is_shown_with_signature_and_docstring_in_the_width_of_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = run("show", "conv2d")
    assert code == Exit.PASS
    assert out.startswith("conv2d(params, x, *, stride=1, padding=0, dilation=1, groups=1)\n\nThe convolution of images")
    words = " ".join(out.split())
    assert " ".join(str(pn.conv2d.__doc__).split()) in words
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize(
    ("name", "signature", "says", "maker"),
    [
        ("adam", "adam(learning_rate, b1=0.9,", "Adam: the average gradient over the root", "purenet/optimizers/moments.py"),
        ("adagrad, eps outside", "adagrad(learning_rate,", "AdaGrad: the gradient over", "purenet/optimizers/adaptive.py"),
        ("cosine_decay_schedule", "cosine_decay_schedule(init_value,", "half a period of a", "purenet/schedules/cosine.py"),
        ("lenet", "lenet_goal(params, x)", "LeNet-5: two convolutions with average pools", "purenet/models/lenet.py"),
    ],
)
def test_optimizers_schedules_and_nets_are_shown_by_the_function_that_makes_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, signature: str, says: str, maker: str
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("show", name)
    assert code == Exit.PASS
    assert out.startswith(signature)
    assert says in " ".join(out.split())
    place = re.search(rf"^made by +{re.escape(maker)}:(\d+)$", out, re.MULTILINE)
    assert place is not None, out
    line = (ROOT / maker).read_text().splitlines()[int(place[1]) - 1]
    assert line.startswith("def "), line
    assert max(map(len, out.splitlines())) <= 80


def test_a_long_path_stands_whole_below_its_label(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / ("a_long_name_" * 4)
    folder.mkdir()
    source = """
def own(x):
    return x, None

def own_bwd(_, dy):
    return (dy,)

import oracle
spec = oracle.Spec((own, own_bwd), cases=(oracle.Case("one", (1.0,)),))
"""
    (folder / "own_module.py").write_text(source)
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("show", "own_module:spec")
    assert code == Exit.PASS
    lines = out.splitlines()
    assert lines[lines.index("forward pass") + 1] == f"  {folder / 'own_module.py'}:2"
    assert lines[lines.index("backward pass") + 1] == f"  {folder / 'own_module.py'}:5"


def test_the_places_of_an_op_of_another_module(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, out, _ = run("show", "oracle.examples.own_op:mean_squared_error")
    assert code == Exit.PASS
    for label, text in (("forward pass", "def mean_squared_error("), ("backward pass", "def mean_squared_error_bwd(")):
        line = re.search(rf"^{label} +oracle/examples/own_op\.py:(\d+)$", out, re.MULTILINE)
        assert line is not None, out
        assert (ROOT / "oracle/examples/own_op.py").read_text().splitlines()[int(line[1]) - 1].startswith(text)
    assert run("show", "oracle.examples.own_op:other")[0] == Exit.USAGE
