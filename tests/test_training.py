"""`benchmarks.training`: every library makes the same step, the processes answer, and the table has the ratios."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optree
import pytest

from benchmarks import training
from benchmarks.steps import PEERS, PROBLEMS, Arrays, present, start

NETS = {name: problem for name, problem in PROBLEMS.items() if not isinstance(problem, Arrays)}
MANY = [name for name in PROBLEMS if "100 arrays" in name]
SAME = {"float32": 2e-5, "float64": 1e-10}
"""The greatest distance of two parameters near 1 or below, after two steps."""


@pytest.fixture(autouse=True)
def width_of_jax() -> Iterator[None]:
    """JAX has float64 only in the process that needs it; here it is one process for all tests."""
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def after_two_steps(peer: str, problem: Any) -> list[Any] | None:
    step = PEERS[peer][0](problem)
    if step is None:
        return None
    step.run()
    step.run()
    return [np.array(p) for p in step.parameters()]


def compare(peer: str, problem: Any) -> bool:
    """Whether the peer has a step for this problem, which then must lead where purenet's leads: elsewhere than the start."""
    found = after_two_steps(peer, problem)
    if found is None:
        return False
    ours, before = after_two_steps("purenet", problem), optree.tree_leaves(start(problem)[0])
    assert ours is not None
    assert max(float(np.abs(p - q).max()) for p, q in zip(ours, before, strict=True)) > 10 * SAME[problem.dtype]
    for p, q in zip(ours, found, strict=True):
        np.testing.assert_allclose(q, p, rtol=0, atol=SAME[problem.dtype])
    return True


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer != "purenet"])
@pytest.mark.parametrize("name", MANY)
def test_every_library_makes_the_same_update(peer: str, name: str) -> None:
    if not present(peer):
        pytest.skip(f"{peer} is not installed")
    assert compare(peer, PROBLEMS[name]) or (peer, PROBLEMS[name].optimizer) == ("torch, fused", "rmsprop")


@pytest.mark.parametrize("peer", ["NumPy by hand", "JAX, jit"])
def test_every_library_trains_the_two_layer_net_alike(peer: str) -> None:
    assert compare(peer, PROBLEMS["two-layer 784-50-10, 100 rows, float64"])


@pytest.mark.parametrize("name", NETS)
def test_torch_trains_every_net_alike(name: str) -> None:
    pytest.importorskip("torch")
    # Adam divides by the size of a gradient: one that is 0 but for rounding would move a parameter anywhere.
    assert compare("torch", NETS[name]._replace(optimizer="sgd", dtype="float64"))


def test_the_processes_take_turns_and_the_table_has_the_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    name = "sgd, 100 arrays of 32 x 32"
    with training.Peer("purenet") as ours, training.Peer("NumPy by hand") as by_hand:
        seconds = training.measure(name, [ours, by_hand], rounds=2)
        assert training.measure("LeNet, 32 images, Adam", [by_hand], rounds=1) == {}, "no LeNet is written by hand"
    assert set(seconds) == {"purenet", "NumPy by hand"}
    assert all(0 < s < 1 for s in seconds.values())
    lines = training.table({name: {"purenet": 2e-3, "NumPy by hand": 1e-3}}).splitlines()
    assert lines[-1] == f"| {name} | 2.0 ms | 2.00 |"
    with pytest.raises(SystemExit):
        training.main(["no such problem"])
    assert "no problem has one of these in its name" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="the process of purenet ended"), training.Peer("purenet") as peer:
        peer.ask("no such problem")
