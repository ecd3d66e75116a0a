"""An op as a function of a few of its arrays, so that a test of a net need not measure all of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from purenet import Op


@dataclass
class FewArguments:
    """`op` at `arguments`, as a function of those leaves of the arguments that have the numbers `leaves`."""

    op: Op
    leaves: Sequence[int]
    arguments: Any

    @property
    def given(self) -> list[Any]:
        """What the function is given."""
        found = optree.tree_leaves(self.arguments)
        return [found[leaf] for leaf in self.leaves]

    def within(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of all arguments, such as the reference, as one of these leaves."""

        def of_leaves(*given: Any, **options: Any) -> Any:
            found, structure = optree.tree_flatten(self.arguments)
            found = [array.astype(given[0].dtype) for array in found]  # as the other arguments, in float64, too
            for leaf, array in zip(self.leaves, given, strict=True):
                found[leaf] = array
            return function(*optree.tree_unflatten(structure, found), **options)

        return of_leaves

    @property
    def pair(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Its forward function and its backward pass."""

        def bwd(residuals: Any, dy: Any) -> Any:
            found = optree.tree_leaves(self.op.bwd(residuals, dy))
            return tuple(found[leaf] for leaf in self.leaves)

        return self.within(self.op.fwd), bwd
