"""The right twins of the bugs as Specs, one case each, named like the bug: `oracle vectors write DIR tests.zoo.golden`."""

from __future__ import annotations

import functools
import re
from typing import Any

from oracle.spec import Case, Spec, composed
from tests.zoo.record import Bug
from tests.zoo.test_zoo import BUGS

__all__ = ["SPECS"]


def spec_of(bug: Bug) -> Spec:
    """The op has the name of the bug, since several bugs of the zoo share a function."""
    forward, backward = bug.right

    @functools.wraps(forward)
    def fwd(*arguments: Any, **options: Any) -> Any:
        return forward(*arguments, **options)

    fwd.__name__ = re.sub(r"\W+", "_", bug.name)
    arguments = bug.other_arguments or bug.arguments
    case = Case(bug.name, arguments, bug.options, bug.flags)
    return Spec((fwd, backward), cases=(case,), reference=bug.reference, source=composed(bug.source))


SPECS = tuple(spec_of(bug) for bug in BUGS)
