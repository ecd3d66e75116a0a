"""How to measure, at whichever point."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.judging.reference import Reference
from oracle.spec import Flag

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """How to measure, at whichever point."""

    reference: Reference | None
    """The same function for JAX or torch, with its keywords."""
    seed: int
    """Of random directions and samples."""
    flags: frozenset[Flag]
    """What is declared about the point."""
    step: float | None
    """The first step of the differences, for all elements; chosen by the size of each if None."""
    limit: int
    """The size of an argument up to which every element is differentiated."""
    large: bool = False
    """Whether some argument is so large that evaluations are saved: the conditioning is measured at a single point nearby, and
    the rounding noise of the values is not measured."""
    accept: float = 0.0
    """The share of the gradient's largest entry up to which an error is accepted."""
    exact: bool = False
    """Whether gradients that pass are compared with exact derivatives, too."""
    quick: bool = False
    """Whether evaluations are saved although no argument is large: of each argument one part of the entries is displaced."""
