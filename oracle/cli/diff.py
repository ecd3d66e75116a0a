"""`oracle diff`: compares two JSON reports."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from oracle.cli.options import show
from oracle.report import document
from oracle.report.diff import compare, rows_of
from oracle.running.selection import Exit, Stop
from oracle.settings import GROWTH

__all__ = ["diff"]


def diff(options: argparse.Namespace) -> Exit:
    """`oracle diff OLD.json NEW.json`: fails if a row became worse, or an error grew more than a factor that was given."""
    old, new = (_read(path) for path in (options.old, options.new))
    found = compare(old, new, GROWTH if options.factor is None else options.factor)
    if options.json:
        print(document.to_json(found.as_dict()), end="")
    else:
        show(found.text(shutil.get_terminal_size((100, 24)).columns))
    worse = found.of("worse") or (options.factor is not None and found.of("grown"))
    return Exit.FAIL if worse else Exit.PASS


def _read(path: Path) -> Any:
    """The report in this file, or a message about what is wrong with it."""
    try:
        report = document.read(path.read_text(encoding="utf-8"))
        rows_of(report)
    except OSError as error:
        raise Stop(Exit.USAGE, f"cannot read {path}: {error.strerror or error}") from None
    except RecursionError:
        raise Stop(Exit.USAGE, f"{path} is no report of oracle") from None
    except ValueError as error:  # of JSON or of UTF-8, too
        reason = "is no JSON" if isinstance(error, UnicodeDecodeError | json.JSONDecodeError) else str(error)
        raise Stop(Exit.USAGE, f"{path} {reason}") from None
    return report
