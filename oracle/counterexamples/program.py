"""Writes a failure as a program that runs by itself, with its arrays in an npz file, which cannot hold code."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import purenet
from oracle.running.tasks import Task, spec_of
from oracle.settings import QUICK
from oracle.sources import file_of, folder_of, own_modules
from oracle.spec import Flag
from oracle.subject import Subject
from oracle.text import plain
from purenet import Op

__all__ = ["INPUTS", "PROGRAM", "SOURCE", "Files", "Words", "drawing", "holding", "running"]

Files = Mapping[str, str | bytes]

PROGRAM = "repro.py"
INPUTS = "inputs.npz"
SOURCE = "source.zip"

TEMPLATE = """# {title}
# {command}

import sys
{find}{imports}
import oracle
from oracle.running.tasks import Task, spec_of
{guard}
spec = spec_of({task})
{body}print(result)
sys.exit({code})
"""

FIND = """from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / {folder}
if not (SOURCE / {file}).exists():  # use the copy of {module} that was made when this program was written
    SOURCE = HERE / "{copy}"
sys.path.insert(0, str(SOURCE))
"""

HOLDING = """
inputs = np.load(Path(__file__).with_name("{file}"), allow_pickle=False)
arguments = {arguments}
options = {options}

{clock}result = oracle.verify(
    spec.op,
    *arguments,
    options=options,
    reference=spec.reference,
    seed={seed},{more}
    views=spec.views,
    allows=spec.allows,
    accept=spec.accept,
    order=spec.order,
    convention=spec.convention,
    strict=True,
)
"""

DRAWING = """
{clock}result = oracle.verify_case(spec, spec.case({case}), dtype={dtype}, seed={seed}{exact})
"""

GUARD = """
if sys.argv[1:] != ["here"]:  # the process that verifies the op dies, so this one starts it and reports its end
    ended = subprocess.run([sys.executable, __file__, "here"], check=False).returncode
    print(f"the process ended with {ended}")
    sys.exit(ended != 42)
"""

CLOCK = "faulthandler.dump_traceback_later({seconds:g}, exit=True)  # the op took longer than this: show where it is\n"


@dataclass(frozen=True)
class Words:
    """The comments at the head of a program, and how it guards against an op that hangs or dies."""

    title: str
    command: str
    seconds: float | None = None
    """The time limit that the op exceeded; None if it did not."""
    dies: bool = False
    """Whether the op ends its process."""


class _UnwritableError(Exception):
    """Raised for a value that cannot be written as source code, such as a function without a name."""


def holding(
    task: Task,
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
    words: Words,
    *,
    seed: int,
    flags: frozenset[Flag] = frozenset(),
) -> Files | None:
    """A program that holds these arguments, verifies an op there, prints the report, and exits with 1 unless all is right.

    None if some argument cannot be written as source code.
    """
    writer = _Writer()
    names = Subject.of(spec_of(task).op, options).names(len(arguments))
    try:
        given = writer._tuple([writer.source(value, name) for value, name in zip(arguments, names, strict=True)])
        keywords = writer.source(dict(options), "options")
    except _UnwritableError:
        return None
    special = ", ".join(f"oracle.Flag.{flag.name}" for flag in sorted(flags, key=list(Flag).index))
    more = [f"case={task.case!a}," if task.case else "", f"flags=frozenset({{{special}}})," if flags else ""]
    more += ["exact=True,"] if task.exact else []
    more += [f"effort={task.effort!a},"] if task.effort == QUICK else []
    body = HOLDING.format(
        file=INPUTS,
        arguments=given,
        options=keywords,
        clock=_clock(words),
        seed=seed,
        more="".join(f"\n    {line}" for line in more if line),
    )
    imports = {"from pathlib import Path", "import numpy as np", *writer.imports}
    return {PROGRAM: _program(task, body, words, imports), INPUTS: _npz(writer.arrays), **_copy(task.module)}


def drawing(task: Task, words: Words) -> Files:
    """A program that draws the arguments of a case as `oracle verify` does: for those that cannot be written as source code."""
    exact = ", exact=True" if task.exact else f", effort={task.effort!a}" if task.effort == QUICK else ""
    body = DRAWING.format(case=ascii(task.case), dtype=ascii(task.dtype), seed=task.seed, clock=_clock(words), exact=exact)
    return {PROGRAM: _program(task, body, words, set()), **_copy(task.module)}


def running(command: Sequence[str], module: str) -> Files:
    """A program that runs a command again: for uses that can neither be written as source code nor drawn by name."""
    find = _found(module) if module else ""
    program = f"import sys\n{find}\nfrom oracle.cli.main import main\n\nsys.exit(main({list(command[1:])!a}))\n"
    return {PROGRAM: program, **_copy(module)}


def _clock(words: Words) -> str:
    return CLOCK.format(seconds=words.seconds) if words.seconds else ""


def _program(task: Task, body: str, words: Words, imports: set[str]) -> str:
    find = _found(task.module) if task.module else ""
    modules = imports - {"from pathlib import Path"} if find else set(imports)
    if words.seconds:
        modules.add("import faulthandler")
    if words.dies:
        modules.add("import subprocess")
    made = f", made={task.made!a}" if task.made else ""
    accept = f", accept={task.accept!r}" if task.accept else ""
    return TEMPLATE.format(
        title=plain(words.title),
        command=plain(words.command),
        imports="".join(f"{line}\n" for line in sorted(modules, key=lambda line: (line.startswith("from"), line))),
        guard=GUARD if words.dies else "",
        find=find,
        task=f"Task({task.module!a}, {task.op!a}, {task.case!a}, {task.dtype!a}{made}{accept})",
        body=body,
        code="42 if result.passed else 1" if words.dies else "not result.passed",
    )


def _found(module: str) -> str:
    """The lines with which a program finds this module: in its folder, or else in the copy beside the program."""
    file = _file(module)
    if file is None:
        return ""
    folder = folder_of(module)
    return FIND.format(module=module, folder=ascii(str(folder)), file=ascii(file.relative_to(folder).as_posix()), copy=SOURCE)


def _file(module: str) -> Path | None:
    """The file of a user's module. None for a module without a file, and for an installed one, which needs no copy."""
    import_module(module)
    file = file_of(module)
    if file is None or module.partition(".")[0] in ("oracle", "purenet"):
        return None
    return file if file.is_relative_to(folder_of(module)) else None


def _copy(module: str) -> dict[str, bytes]:
    """A zip file from which Python imports: the module, and the other modules that were imported from the same folder."""
    if not module or _file(module) is None:
        return {}
    folder = folder_of(module)
    own = {
        file for name, file in own_modules(folder).items() if name.partition(".")[0] not in ("oracle", "purenet", "__main__")
    }
    files = sorted(file.relative_to(folder) for file in own if file.suffix == ".py" and file.is_relative_to(folder))
    folders = sorted({parent for file in files for parent in file.parents} - {Path()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for parent in folders:  # Python finds packages without __init__.py only if their folders have entries
            archive.writestr(zipfile.ZipInfo(f"{parent.as_posix()}/"), b"")
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.as_posix()), (folder / file).read_bytes())
    return {SOURCE: buffer.getvalue()}


# ----------------------------------------------------------------------------------------------------- source


@dataclass
class _Writer:
    """Writes Python source for trees of arrays and options. It refers to the arrays by name, which go into the npz file."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)

    @staticmethod
    def _tuple(items: Sequence[str]) -> str:
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"

    def source(self, value: Any, path: str) -> str:
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value, path)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            fields = [f"{n}={self.source(v, path + '.' + n)}" for n, v in zip(value._fields, value, strict=True)]
            return f"{self._named(type(value))}({', '.join(fields)})"
        if type(value) in (tuple, list, dict):
            return self._container(value, path)
        if isinstance(value, np.dtype):
            return f"np.dtype({value.str!r})" if value.isbuiltin == 1 else f"np.dtype({self._named(value.type)})"
        if isinstance(value, Enum):
            return f"{self._named(type(value))}[{value.name!r}]"
        if isinstance(value, Op):
            return self._op(value)
        if isinstance(value, float):
            return repr(value) if np.isfinite(value) else f'float("{value}")'
        if hasattr(value, "__qualname__") and hasattr(value, "__module__"):
            return self._named(value)
        if hasattr(value, "dtype") and hasattr(value, "__array__"):  # an array of another library
            return self._array(np.asarray(value), path)
        return self._literal(value)

    def _op(self, op: Op) -> str:
        if getattr(purenet, op.name, None) is not op:
            raise _UnwritableError
        self.imports.add("import purenet")
        return f"purenet.{op.name}"

    def _container(self, value: Any, path: str) -> str:
        if isinstance(value, dict):
            pairs = (f"{self._literal(key)}: {self.source(item, f'{path}.{key}')}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        items = [self.source(item, f"{path}.{i}") for i, item in enumerate(value)]
        return f"[{', '.join(items)}]" if isinstance(value, list) else self._tuple(items)

    def _array(self, value: Any, path: str) -> str:
        array = np.asarray(value)
        if array.dtype.hasobject or isinstance(value, np.ma.MaskedArray | np.matrix):
            raise _UnwritableError
        name = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in path)[:80]
        suffix = "" if isinstance(value, np.ndarray) else "[()]"
        if array.dtype.isbuiltin == 2:  # npz files cannot hold dtypes such as bfloat16, so they get the bits
            name += f".{array.dtype.name}"
            suffix = f".view({self._named(array.dtype.type)}){suffix}"
            array = array.view(f"uint{8 * array.dtype.itemsize}")
        if name in self.arrays:
            name += f".{len(self.arrays)}"
        self.arrays[name] = array
        return f"inputs[{name!r}]{suffix}"

    def _named(self, value: Any) -> str:
        """The import path of a function, class or dtype, such as `package.module.name`."""
        module, name = value.__module__, value.__qualname__
        try:
            found: Any = import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError, TypeError):
            raise _UnwritableError from None
        if found is not value or module == "__main__":
            raise _UnwritableError
        if module == "builtins":
            return str(name)
        self.imports.add(f"import {module}")
        return f"{module}.{name}"

    @staticmethod
    def _literal(value: Any) -> str:
        if value is Ellipsis or isinstance(value, slice | range):
            return repr(value)
        text = ascii(value)
        try:
            same = ast.literal_eval(text) == value
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            same = False
        if not same:
            raise _UnwritableError
        return text


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An npz file as `np.savez` writes it. But any name is allowed, and the same arrays give the same bytes."""
    buffer = io.BytesIO()
    write: Callable[..., None] = np.lib.format.write_array
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                write(file, array, allow_pickle=False)
    return buffer.getvalue()
