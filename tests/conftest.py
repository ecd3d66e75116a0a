"""What all tests share: hypothesis repeats itself, and compiled references are kept from run to run."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import settings

CACHE = Path(__file__).parent.parent / ".cache" / "xla"

# The same examples in every run, so that a red test is red again; and no deadline, because a first call compiles.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


def pytest_configure(config: pytest.Config) -> None:
    # A run that was killed, or the other worker, may leave half an entry: JAX warns and compiles again.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache entry")


def pytest_collection_finish() -> None:
    gc.freeze()  # JAX and all these tests are here to stay: no collection need look at them
    gc.set_threshold(50_000, 20, 20)  # nor at what each trace of JAX allocates, as often as that


@pytest.fixture(scope="session", autouse=True)
def compiled_references() -> None:
    """Keep what XLA compiles: most of a verification's time goes there."""
    from oracle.autodiff import use_compilation_cache

    use_compilation_cache(CACHE)
