"""A worker process that imports what a verification takes while the command itself still finds out what is to be verified.

JAX takes most of the time of a small run. So both import it at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module

import purenet
from oracle.running import campaign, workers
from purenet import Op

__all__ = ["prepare", "process_for"]


@contextmanager
def process_for(names: Sequence[str]) -> Iterator[None]:
    """In this block `campaign.run` finds a process for these names, if there are any and all are ops of purenet."""
    with ExitStack() as stack:
        if names and all(isinstance(getattr(purenet, name, None), Op) for name in names):
            with campaign.few_threads():
                stack.enter_context(workers.ahead(campaign.perform, partial(prepare, tuple(names))))
        yield


def prepare(names: Sequence[str]) -> None:
    """Import what `campaign.perform` takes for these ops."""
    from oracle import catalogue

    for module in ("oracle.verification", "oracle.trajectory.training", "oracle.autodiff"):
        import_module(module)
    for name in names:
        catalogue.find(name)
