"""Folders of failures: their names, and that no file is lost that somebody else has written or changed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from oracle.cli.main import Exit
from oracle.counterexamples.folder import folder_name, prune, write, written_by
from tests.oracle.conftest import Module, Run
from tests.oracle.test_program import WRONG


@pytest.mark.parametrize(
    ("op", "case", "dtype", "name"),
    [
        ("relu", "two dimensions", "float64", "relu-two_dimensions"),
        ("relu", "two dimensions", "float16", "relu-two_dimensions-float16"),
        ("chain(first, second)", "a", "float64", r"chain\(first,_second\)-a-[0-9a-f]{8}"),
        ("total", "fuzz", "float64", "total-fuzz"),
        ("op", "../../x", "float64", r"op-\.\._\.\._x-[0-9a-f]{8}"),
        ("op", "a/b", "float64", r"op-a_b-[0-9a-f]{8}"),
        ("con", "", "float64", r"_con-[0-9a-f]{8}"),
        ("NUL.x", "a", "float64", r"_NUL\.x-a-[0-9a-f]{8}"),
        ("op", "x" * 300, "float64", r"op-x{97}-[0-9a-f]{8}"),
        ("op", "ends with a dot.", "float64", r"op-ends_with_a_dot-[0-9a-f]{8}"),
        ("-rf", "", "float64", r"rf-[0-9a-f]{8}"),
        ("\ud800", "\x1b", "float64", r"_-_-[0-9a-f]{8}"),
        ("..", "", "float64", "[0-9a-f]{8}"),
    ],
)
def test_a_folder_has_the_name_of_its_case_if_that_is_safe(op: str, case: str, dtype: str, name: str) -> None:
    found = folder_name(op, case, dtype)
    assert found == name or re.fullmatch(name, found), found


def test_names_that_become_alike_stay_apart() -> None:
    assert len({folder_name("op", case) for case in ("a/b", "a\\b", "a|b", "a_b", "a b", "a b.")}) == 6
    assert folder_name("chain(a, b)", "c") != folder_name("chain(a,_b)", "c")
    assert not any(" " in folder_name(op, "a b") for op in ("relu", "chain(first, second)"))


FILES = {"repro.py": "print(1)\n", "inputs.npz": b"npz"}


@pytest.mark.parametrize(
    "touch",
    [
        lambda folder: (folder / "repro.py").write_text("mine"),
        lambda folder: (folder / "repro.py").write_text((folder / "repro.py").read_text().replace("print(1)", "print(2)")),
        lambda folder: (folder / "repro.py").write_text((folder / "repro.py").read_text() + "# mine\n"),
        lambda folder: (folder / "repro.py").unlink(),
        lambda folder: (folder / "inputs.npz").write_bytes(b"mine"),
        lambda folder: (folder / "inputs.npz").unlink(),
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / "more").mkdir(),
        lambda folder: ((folder / "inputs.npz").rename(folder.parent / "kept"), (folder / "inputs.npz").symlink_to("../kept")),
        lambda folder: (folder.rename(folder.with_name("moved")), folder.symlink_to("moved")),
    ],
    ids=["replaced", "edited", "longer", "no program", "other inputs", "no inputs", "a file", "a folder", "a link", "linked"],
)
def test_what_anyone_has_touched_is_neither_removed_nor_replaced(tmp_path: Path, touch: Any) -> None:
    folder = write(tmp_path, "op-case", FILES, "oracle verify op").parent
    assert written_by(folder) == "oracle verify op"
    touch(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert written_by(folder) is None
    prune(tmp_path, [], ["oracle verify op"])
    again = write(tmp_path, "op-case", FILES, "oracle verify op")
    assert again.parent.name == "op-case-2"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    prune(tmp_path, [], ["oracle verify op"])
    assert not again.parent.exists()


def test_only_folders_of_the_same_cases_or_of_the_same_kind_are_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "file").write_text("mine")
    one, two, fuzzed = (
        write(tmp_path, name, FILES, command)
        for name, command in (("one", "oracle verify one"), ("two", "oracle verify two"), ("one-fuzz", "oracle fuzz one"))
    )
    prune(tmp_path, [one], ["oracle verify one"])
    prune(tmp_path / "absent", [], None)
    assert one.exists()
    prune(tmp_path, [], ["oracle verify one"])
    assert (one.parent.exists(), two.exists(), fuzzed.exists()) == (False, True, True)
    (two.parent / "__pycache__").mkdir()  # someone has imported it
    prune(tmp_path, [], None)
    assert (two.exists(), fuzzed.exists()) == (False, True)
    assert (tmp_path / "mine").exists()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("in_this_process")
def test_a_case_that_fails_no_longer_has_no_folder(run: Run, module: Module, tmp_path: Path) -> None:
    module("wrong_layers", WRONG)
    run("verify", "wrong_layers:plain")
    root = tmp_path / "reports" / "failures"
    assert len(list(root.iterdir())) == 2
    module("wrong_layers", WRONG.replace("len(x) > 2", "len(x) > 99"))
    sys.modules.pop("wrong_layers")
    assert run("verify", "wrong_layers:plain", "--case", "with a function")[0] == Exit.PASS
    assert [path.name for path in root.iterdir()] == [folder_name("same", "../nine rows")]
    assert run("verify", "wrong_layers:plain")[0] == Exit.PASS
    assert list(root.iterdir()) == []
