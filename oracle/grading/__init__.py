"""Grades code that nobody trusts: the submissions of a course, or programs that were generated.

    oracle grade --assignment two_layer_net submission.py

A submission runs in a process of its own, which gets arguments and sends arrays back. The expected values, the seed of the
hidden cases and the judge are in the grader's process alone. The page docs/grading.md has the format of an assignment, and what
the grader cannot prevent.
"""

from oracle.grading.assignment import Assignment, BrokenAssignment, Functions, Layer, Part, Whole, load
from oracle.grading.candidate import Limits
from oracle.grading.grade import Mark, Result, grade

__all__ = ["Assignment", "BrokenAssignment", "Functions", "Layer", "Limits", "Mark", "Part", "Result", "Whole", "grade", "load"]
