"""The training example, run on a small MNIST of its own making: what it prints, and how it ends."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from tests.idx import idx
from tests.interrupts import interruptible

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "examples" / "train_mnist.py"

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 and 60 noisy images of ten patterns, in the format of MNIST."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 200, (10, 28, 28))
    for part, n in (("train", 300), ("t10k", 60)):
        labels = np.arange(n) % 10
        images = patterns[labels] + generator.integers(0, 56, (n, 28, 28))
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The example with these arguments: its exit status, and what it wrote to stdout and stderr."""
    monkeypatch.delenv("MNIST", raising=False)
    main = runpy.run_path(str(SCRIPT))["main"]

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main(list(map(str, arguments)))
        except SystemExit as end:  # argparse leaves by it
            status = end.code
        return status, *capfd.readouterr()

    return call


def test_it_trains_and_prints_a_line_per_epoch(folder: Path, run: Run) -> None:
    status, stdout, stderr = run("--mnist", folder, "--steps", 100, "--batch", 20, "--rate", 0.05)
    assert (status, stderr) == (0, "")  # no progress bar where there is no terminal
    head, *epochs, last = stdout.splitlines()
    assert head == "300 digits to train on, 60 to test; 784-50-10, batch 20, rate 0.05, 100 steps"
    assert [int(line.split()[3]) for line in epochs] == [15, 30, 45, 60, 75, 90, 100]
    train, test = zip(*(map(float, re.findall(r"(?:train|test) ([\d.]+)", line)) for line in epochs), strict=True)
    assert min(train[-1], test[-1]) > 0.9 > train[0]
    assert re.fullmatch(rf"100 steps in [\d.]+ s; test accuracy {test[-1]:.4f}", last)


def test_the_environment_names_the_folder_and_the_seed_decides_the_run(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST", str(folder))
    one, again, other = (run("--steps", 20, "--batch", 20, "--seed", seed)[1].splitlines()[:-1] for seed in (0, 0, 1))
    assert len(one) == 3
    assert one == again
    assert one[1:] != other[1:]


def test_without_a_folder_it_trains_on_the_digits_in_the_wheel(run: Run) -> None:
    status, stdout, _ = run("--steps", 40)
    assert status == 0
    assert stdout.startswith("4000 digits to train on, 1000 to test; 784-50-10, batch 100, rate 0.1, 40 steps\n")


def truncated(folder: Path) -> None:
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-7])


def missing(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte").unlink()


@pytest.mark.parametrize(
    ("damage", "match"),
    [(truncated, "t10k-images-idx3-ubyte: expected 47040 bytes of data"), (missing, "expected a file train-labels-idx1-ubyte")],
)
def test_a_damaged_set_is_one_clear_line(folder: Path, run: Run, damage: Callable[[Path], None], match: str) -> None:
    damage(folder)
    status, stdout, stderr = run("--mnist", folder)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(rf"train_mnist: .*{match}.*\n", stderr)


def test_a_missing_folder_is_one_clear_line(tmp_path: Path, run: Run) -> None:
    status, stdout, stderr = run("--mnist", tmp_path / "nowhere")
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"train_mnist: .*nowhere: expected a folder .*\n", stderr)


def test_a_batch_beyond_the_data_is_one_clear_line(folder: Path, run: Run) -> None:
    wanted = (2, "", "train_mnist: --batch 301 is more than the 300 digits to train on\n")
    assert run("--mnist", folder, "--batch", 301) == wanted


def test_a_net_beyond_memory_is_one_clear_line(folder: Path, run: Run) -> None:
    status, stdout, stderr = run("--mnist", folder, "--hidden", 10**12)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"train_mnist: Unable to allocate .*\n", stderr)


@pytest.mark.parametrize(
    ("option", "value"), [("--steps", "0"), ("--rate", "-1"), ("--rate", "nan"), ("--rate", "inf"), ("--hidden", "many")]
)
def test_an_option_out_of_range_is_named(run: Run, option: str, value: str) -> None:
    status, stdout, stderr = run(option, value)
    assert (status, stdout) == (2, "")
    assert re.search(rf"error: argument {option}: invalid positive (int|float) value: '{value}'\n$", stderr)


@pytest.mark.parametrize("package", ["mlxtend", "tqdm"])
def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    status, stdout, stderr = run("--steps", 1)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"train_mnist: .*pip install 'purenet\[examples\]'\n", stderr)


def test_a_run_that_diverges_says_so(folder: Path, run: Run) -> None:
    status, _, stderr = run("--mnist", folder, "--rate", "1e20", "--steps", 50, "--batch", 20)
    assert status == 1
    assert re.fullmatch(r"train_mnist: the loss is (nan|inf) at step \d+; try a smaller --rate than 1e\+20\n", stderr)


def test_an_interrupted_run_says_what_it_reached(folder: Path) -> None:
    command = interruptible(SCRIPT, "--mnist", str(folder), "--steps", "100000000", "--batch", "20")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert "300 digits" in process.stdout.readline()
        assert "epoch" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"train_mnist: interrupted in step \d+ of 100000000; test accuracy [\d.]+\n", stderr)
