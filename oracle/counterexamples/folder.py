"""The folder of a failure: its name, its files, and which folders of earlier runs are removed."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from oracle.counterexamples.program import INPUTS, PROGRAM, SOURCE, Files
from oracle.report import document
from oracle.text import plain

__all__ = ["folder_name", "prune", "write"]

SAFE = re.compile(r"[A-Za-z0-9_.,=+()-]+")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # names that Windows forbids, with any suffix
LONGEST = 100  # characters of a name; file systems allow 255 bytes, and one character may take several
MARK = re.compile(r"# Written by `(.*)`, sha256 ([0-9a-f]{64})\n")
ALLOWED = {PROGRAM, INPUTS, SOURCE}
PLACE = re.compile(r"^SOURCE = HERE / (.*)$", re.MULTILINE)


def folder_name(op: str, case: str, dtype: str = "float64") -> str:
    """`<op>-<case>` with _ for spaces. If a file system may forbid that, the other characters become _ and a hash follows.

    A case with an _ in its name gets the hash, too. So no two cases have the same folder.
    """
    wanted = "-".join(part for part in (op, case, "" if dtype == "float64" else dtype) if part)
    plain_name = wanted.replace(" ", "_") if " " not in op and "_" not in case else ""
    name = "".join(c if SAFE.fullmatch(c) else "_" for c in wanted)[:LONGEST].strip(" .-")
    if RESERVED.fullmatch(name.split(".")[0].strip()):
        name = f"_{name}"
    if name == plain_name:
        return name
    digest = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def write(root: Path, name: str, files: Files, command: str) -> Path:
    """Write the program into the folder with this name, and return its path.

    If that folder holds files that oracle did not write, the name gets a number: `name-2`.
    """
    folder = root / name
    for n in range(2, 1000):
        if not (folder.exists() or folder.is_symlink()) or written_by(folder) is not None:
            break
        folder = root / f"{name}-{n}"
    for other in ALLOWED - files.keys():
        (folder / other).unlink(missing_ok=True)
    program = PLACE.sub(lambda found: f"SOURCE = HERE / {_relative(ast.literal_eval(found[1]), folder)!a}", str(files[PROGRAM]))
    mark = f"\n# Written by `{plain(command)}`, sha256 {_digest(folder, program, files)}\n"
    document.write(folder, {**files, PROGRAM: program + mark})
    return folder / PROGRAM


def written_by(folder: Path) -> str | None:
    """The command that wrote this folder; None if somebody has changed a file in it since."""
    try:
        there = {path.name: path for path in folder.iterdir() if path.name != "__pycache__"}
        if folder.is_symlink() or PROGRAM not in there or not there.keys() <= ALLOWED:
            return None
        if any(path.is_symlink() or not path.is_file() for path in there.values()):
            return None
        text = there[PROGRAM].read_text(encoding="utf-8")
        others = {name: path.read_bytes() for name, path in there.items() if name != PROGRAM}
    except (OSError, ValueError):
        return None
    program, newline, last = text.removesuffix("\n").rpartition("\n")
    found = MARK.fullmatch(last + "\n")
    return found[1] if newline and found and found[2] == _digest(folder, program, others) else None


def prune(root: Path, kept: Iterable[Path], commands: Sequence[str] | None) -> None:
    """Remove the folders that these commands wrote, except `kept` ones. None stands for every `oracle verify`."""
    wanted = None if commands is None else {plain(command) for command in commands}
    kept = {path.parent for path in kept}
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return
    for folder in folders:
        command = None if folder in kept else written_by(folder)
        if command is None or not (command in wanted if wanted is not None else command.startswith("oracle verify ")):
            continue
        try:
            for path in folder.iterdir():
                if path.name in ALLOWED:
                    path.unlink()
            folder.rmdir()  # fails if the folder has a __pycache__, because the program was imported
        except OSError:
            continue


def _digest(folder: Path, program: str, others: Files) -> str:
    """A hash of the files and of the folder's name. So a folder that somebody renamed is never removed."""
    digest = hashlib.sha256(f"{folder.name}\0{program}\0".encode("utf-8", "surrogatepass"))
    for name in (INPUTS, SOURCE):
        data = others.get(name, b"")
        digest.update(data.encode() if isinstance(data, str) else data)
    return digest.hexdigest()


def _relative(place: str, folder: Path) -> str:
    """The relative path from the folder to a place, so that both can be moved together; otherwise the place itself."""
    try:
        return Path(os.path.relpath(place, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return place
