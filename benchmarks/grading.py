"""Grades submissions whose marks are known: right ones, mutants and cheats. Prints each mistake of the grader, and the costs.

python -m benchmarks.grading [--seed 0] [--only WORD]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from tests.oracle.submitted import cheats, graded, lost, mutants, right


def main() -> int:
    """The number of mistakes."""
    parser = argparse.ArgumentParser(description="grade submissions whose marks are known")
    parser.add_argument("--seed", type=int, default=0, help="of the hidden cases of the first submission")
    parser.add_argument("--only", default="", metavar="WORD", help="submissions whose name has this word")
    parser.add_argument("--show", action="store_true", help="print all hints")
    options = parser.parse_args()
    mistakes, slowest = 0, (0.0, "")
    for kind, submissions in (("right", right()), ("mutants", mutants()), ("cheats", cheats())):
        chosen = [submission for submission in submissions if options.only in submission.name]
        for number, submission in enumerate(chosen):
            began = time.monotonic()
            result = graded(submission, options.seed + number)
            if not submission.lost:
                slowest = max(slowest, (time.monotonic() - began, submission.name))
            mistakes += lost(result) != submission.lost
            if lost(result) != submission.lost:
                print(f"MISTAKE: {submission.name!r} of {submission.assignment}, seed {options.seed + number}")
                print("  lost", sorted(lost(result)), "instead of", sorted(submission.lost))
            if options.show or lost(result) != submission.lost:
                print(*(f"  {m.part} / {m.name}: {m.hint}" for m in result.marks if m.hint), sep="\n")
                print(f"  {submission.name}", *result.refused, *result.remarks, sep="\n  ")
        print(f"{kind}: {len(chosen)} graded")
    grader, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{mistakes} mistakes; peak memory {grader:.0f} MB here and {worker:.0f} MB in the largest process of a submission")
    print(f"longest of the right ones: {slowest[0]:.1f} s, {slowest[1]}")
    return mistakes


if __name__ == "__main__":
    sys.exit(bool(main()))
