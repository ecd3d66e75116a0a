"""The metrics of a run, step by step: a table in a CSV file, and the curve of the loss as a picture."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TypeAlias

from purenet.training import Metrics

__all__ = ["Row", "draw", "read", "write"]

Row: TypeAlias = dict[str, float]
"""The metrics of a step by their names; those of the test begin with `test_`."""


def write(path: Path, rows: list[Row]) -> None:
    """A table with a line for each step and a column for each metric, which is empty where a step has no such metric."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["step"]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, names, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read(path: Path, last: int) -> list[Row]:
    """The rows up to the step `last` of a table that `write` wrote, or none where there is no file.

    Errors: OSError where it cannot be read; ValueError where it is another table.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [_row(cells) for cells in csv.DictReader(file)]
        return [row for row in rows if row["step"] <= last]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise ValueError(f"{path}: expected the metrics of a run, found another file") from None


def _row(cells: dict[str, str]) -> Row:
    row: Row = {name: float(cell) for name, cell in cells.items() if cell}
    row["step"] = int(cells["step"])
    return row


def row_of(step: int, metrics: Metrics, tests: Metrics | None = None) -> Row:
    """The row of a step."""
    return {"step": step, **metrics, **{f"test_{name}": value for name, value in (tests or {}).items()}}


def draw(path: Path, title: str, rows: list[Row]) -> bool:
    """The losses and accuracies over the steps, as a picture; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    kinds = [kind for kind in ("loss", "accuracy") if any(kind in row for row in rows)]
    figure = Figure(figsize=(4.8 * max(len(kinds), 1), 3.6))
    figure.suptitle(title)
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.14, top=0.88, wspace=0.25)
    for i, kind in enumerate(kinds, 1):
        axes = figure.add_subplot(1, len(kinds), i)
        points = [(row["step"], row[kind]) for row in rows if kind in row]
        axes.plot(*zip(*points, strict=True), color="0.8", linewidth=0.7, label="batch")
        axes.plot(*zip(*_averages(points), strict=True), color="C0", label="average")
        if tests := [(row["step"], row[f"test_{kind}"]) for row in rows if f"test_{kind}" in row]:
            axes.plot(*zip(*tests, strict=True), color="C1", marker="o", markersize=3, label="test")
        axes.set(xlabel="step", ylabel=kind)
        if kind == "loss" and all(loss > 0 for _, loss in points):
            axes.set_yscale("log")
        axes.legend()
    figure.savefig(path)
    return True


def _averages(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The means of fifty equal runs of the points, each at the middle of its run."""
    size = max(1, len(points) // 50)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
