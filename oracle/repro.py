"""A failure as a program of a few lines that runs alone: the arguments are written out, nothing is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import purenet
from purenet import Op

__all__ = ["literal", "program"]

TEMPLATE = '''"""{title}

{command}
"""

import sys
{imports}
import numpy as np
from numpy import inf, nan

import oracle
{find}

arguments = {arguments}
options = {options}

result = oracle.verify(
    spec.op, *arguments, options=options, reference=spec.reference, seed={seed}, views=spec.views
)
print(result)
sys.exit(not result.passed)
'''


def program(
    module: str, op: str, arguments: tuple[Any, ...], options: Mapping[str, Any], seed: int, *, title: str, command: str
) -> str:
    """The source of a program that verifies `op` there, prints the report, and exits 1 if a gradient is not right.

    `module` is that of someone else's op, empty for the catalogue.
    """
    if module:
        find = f"sys.path.insert(0, {_folder(module)!r})\nfrom oracle.campaign import specs_in\nimport {module}\n\n"
        find += f"spec = next(spec for spec in specs_in({module}) if spec.name == {op!r} and spec.strategy)"
    else:
        find = f"from oracle import catalogue\n\nspec = catalogue.find({op!r})"
    written = {"arguments": literal(arguments), "options": literal(dict(options))}
    imports = [name for name in ("ml_dtypes", "purenet") if any(f"{name}." in text for text in written.values())]
    return TEMPLATE.format(
        title=title.replace('"""', "'''"),
        command=command,
        imports="".join(f"import {name}\n" for name in imports),
        find=find,
        seed=seed,
        **written,
    )


def _folder(module: str) -> str:
    """Where Python has found the package, or the module, of this name."""
    top = importlib.import_module(module.partition(".")[0])
    place = next(iter(top.__path__)) if hasattr(top, "__path__") else top.__file__
    return str(Path(place or ".").resolve().parent)


def literal(value: Any) -> str:
    """Python source for a tree of arrays and options, exact to the last bit."""
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, np.generic):
        return f"{_array(np.asarray(value))}[()]"
    if isinstance(value, Op):
        return f"purenet.{value.name}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        name = type(value).__name__
        fields = ", ".join(f"{field}={literal(item)}" for field, item in zip(value._fields, value, strict=True))
        return f"purenet.{name}({fields})" if hasattr(purenet, name) else f"{name}({fields})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{literal(item)}, ' for item in value).rstrip()})"
    return repr(value)


def _array(array: np.ndarray[Any, Any]) -> str:
    dtype = array.dtype.name
    written = "ml_dtypes.bfloat16" if dtype == "bfloat16" else f'"{dtype}"'
    if array.size == 0:
        return f"np.zeros({array.shape}, {written})"
    exact = array.astype(np.float64) if array.dtype.kind not in "biu" else array
    return f"np.array({exact.tolist()}, {written})"
