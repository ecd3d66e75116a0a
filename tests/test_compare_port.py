"""The port in C, through its saved arrays: the one wrong gradient gets its cause; the mended port passes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import optree
import pytest

from examples import compare_port as example
from examples.port import save_arrays
from oracle import vectors

WRONG, MENDED = (vectors.read(example.FOLDER / f"{name}.npz") for name in ("wrong", "mended"))


def test_the_overwritten_gradient_is_named() -> None:
    result = example.compare(WRONG, "wrong")
    (accused,) = (row for row in result.rows if not row.passed)
    assert (accused.parameter, accused.dtype) == ("params.gamma", "float32")
    assert accused.diagnosis == "batch sum missing: only the last sample of 5 contributes to this gradient"
    assert accused.analytic == WRONG["dparams"]["gamma"][accused.worst_index]


def test_the_mended_port_passes() -> None:
    result = example.compare(MENDED, "mended")
    assert result.passed, result
    assert {row.parameter for row in result.rows} == {"params.gamma", "params.beta", "x"}


def test_both_ports_were_given_the_same() -> None:
    differ = optree.tree_map(lambda a, b: not np.array_equal(a, b), WRONG, MENDED)
    assert differ.pop("dparams") == {"gamma": True, "beta": False}
    assert not any(optree.tree_leaves(differ))


def test_the_files_are_what_the_script_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler its numbers are those of the files, up to how it orders operations; without one it says so."""
    shutil.copy(example.FOLDER / "layer_norm.c", tmp_path)
    monkeypatch.setattr(save_arrays, "HERE", tmp_path)
    if shutil.which("cc") is None:
        with pytest.raises(FileNotFoundError, match="cc"):
            save_arrays.main()
        return
    save_arrays.main()
    for name, kept in (("wrong", WRONG), ("mended", MENDED)):
        made = vectors.read(tmp_path / f"{name}.npz")
        optree.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), made, kept)


def test_its_page_fits_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    example.main()
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    assert page.index("batch sum missing") < page.index("2 PASS, 1 FAIL") < page.index("3 gradients of 1 op in 1 case: 3 PASS")
