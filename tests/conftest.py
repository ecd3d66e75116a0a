"""What all tests share: hypothesis repeats itself, and compiled references are kept from run to run."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

CACHE = Path(__file__).parent.parent / ".cache"

# The same examples in every run, so that a red test is red again; and no deadline, because a first call compiles.
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("reproducible")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects garbage after all tests are collected, not meanwhile: it took a third of that time, and found nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    gc.freeze()  # JAX and all these tests are here to stay: no collection need look at them
    gc.set_threshold(50_000, 20, 20)  # nor at what each trace of JAX allocates, as often as that


@pytest.fixture(scope="session", autouse=True)
def compiled_references() -> None:
    """Keep the compiled references of the catalogue: most of a verification's time goes there."""
    from oracle.programs import FOLDER

    os.environ.setdefault(FOLDER, str(CACHE / "references"))  # for the processes that tests start, too
