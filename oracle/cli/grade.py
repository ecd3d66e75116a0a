"""`oracle grade`: grades one submission of an assignment, or prints the file that students start from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from oracle.cli.options import writing
from oracle.running.selection import Exit, Stop

if TYPE_CHECKING:
    from oracle.grading import Assignment

__all__ = ["grade"]


def grade(options: argparse.Namespace) -> Exit:
    """Grade the submission, print its points and hints, and write the files that were asked for."""
    from oracle import grading

    try:
        assignment = grading.load(options.assignment)
    except (ValueError, TypeError) as error:
        raise Stop(Exit.USAGE, str(error)) from None
    except Exception as error:  # the course's own file
        raise Stop(Exit.USAGE, f"{options.assignment} cannot be loaded: {type(error).__name__}: {error}") from None
    try:
        return _starter(assignment) if options.starter else _graded(assignment, options)
    except grading.BrokenAssignment as error:
        raise Stop(Exit.USAGE, f"{options.assignment}: {error}") from None


def _starter(assignment: Assignment) -> Exit:
    from oracle.grading.starter import starter

    print(starter(assignment), end="")
    return Exit.PASS


def _graded(assignment: Assignment, options: argparse.Namespace) -> Exit:
    from oracle import grading
    from oracle.grading import output

    if options.submission is None:
        raise Stop(Exit.USAGE, "grade: a SUBMISSION is missing; or use --starter")
    forms = {"json": output.as_json, "junit": output.as_junit, "gradescope": output.as_gradescope}
    files = {form: path for form in forms if (path := getattr(options, form)) is not None}
    for path in files.values():
        if not path.resolve().parent.is_dir() or path.is_dir():
            raise Stop(Exit.USAGE, f"cannot write {path}: {'it is a folder' if path.is_dir() else 'its folder is missing'}")
    result = grading.grade(assignment, _source(options.submission), options.seed)
    print(output.as_text(result))
    for form, path in files.items():
        with writing(path.parent):
            path.write_text(forms[form](result), encoding="utf-8")
    return Exit.PASS if result.passed else Exit.FAIL


def _source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(Exit.USAGE, f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
