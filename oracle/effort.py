"""How much is measured: the numbers of samples, entries and points that the whole engine takes.

None of them changes what is forgiven. With larger ones a check costs more, with smaller ones it overlooks more.
"""

from __future__ import annotations

__all__ = ["AGREEING", "BATCH", "ENTRIES", "ONE_BY_ONE", "REPEATS", "SAMPLES"]

AGREEING = 3
"""Places, spacings, tables or entries at which something must show before it is no chance. With one, a rounding may be absent
there by chance, and a single jump passes for a rounding; with two, gradients agree and two mistakes look like one cause by
chance; with six, the measurement of noise costs twice as much."""

SAMPLES = 4
"""Random directions, or points nearby, where each costs an evaluation of both passes; and the first batch of entries in doubt.
With 2, a spread is often underestimated and an error is orthogonal to all directions; with 8, each check costs that many more
evaluations. What shows in every other sample alone is sampled twice as often."""

REPEATS = 16
"""Repetitions where chance has more to say: equal calls of a function that draws random numbers, steps of a fit, directions at
a kink. With 8, a rare dropout mask is not drawn and the noise that a fit leaves over is often underestimated; with 32, each of
these costs twice the evaluations for little."""

BATCH = 32
"""Elements or points that are taken together: in one evaluation of many points, in one check of many elements, at one order of
ties; and the blocks of a large argument, each with one slope. With 128, a batch is hardly faster and its memory is four times
as much, and an error of one element is small beside the sum over all; with 8, the cost of a call shows again."""

ENTRIES = 64
"""Entries of one argument, or groups of them, that are looked at one by one where there are more. Twice as many cost twice the
evaluations; with half as many, fewer errors of single entries are found, and blocks with kinks remain blind."""

ONE_BY_ONE = 512
"""The largest number of elements that are all moved one by one, where each needs several gradients or 64 evaluations. With four
times as many, one wrong gradient of a net takes half a minute; with a quarter, the condition of most small layers is sampled,
which may understate it."""
