"""`python -m purenet train`, run on a small MNIST of its own making: what it prints and writes, and how it ends."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

import purenet.__main__ as command
from purenet import checkpoints, curves, models
from tests.idx import idx

ROOT = Path(__file__).parent.parent

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 and 60 noisy images of ten patterns, in the format of MNIST."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 200, (10, 28, 28))
    place = tmp_path / "mnist"
    place.mkdir()
    for part, n in (("train", 300), ("t10k", 60)):
        labels = np.arange(n) % 10
        images = patterns[labels] + generator.integers(0, 56, (n, 28, 28))
        (place / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (place / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return place


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command with these arguments, in a folder of its own: its exit status, and what it wrote to stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "draw", lambda *_: True)  # one test draws; it takes half a second

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            status = command.main(list(map(str, arguments)))
        except SystemExit as end:  # argparse leaves by it
            status = end.code
        return status, *capfd.readouterr()

    return call


def arrays(path: Path) -> dict[str, bytes]:
    """The arrays in a checkpoint, as bytes."""
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(path).items()}


# -------------------------------------------------------------------------------------------------- what it writes


def test_it_trains_prints_a_line_per_epoch_and_writes_what_it_measured(
    folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    status, stdout, stderr = run("train", "two_layer_net", "--data", folder, "--steps", 100, "--batch", 20, "--rate", 0.005)
    assert (status, stderr) == (0, "")  # no progress bar where there is no terminal
    head, *epochs, last, wrote = stdout.splitlines()
    assert head == (
        "two_layer_net, 79,510 parameters; 300 digits to train on, 60 to test; adam, rate 0.005, batch 20, float32, 100 steps"
    )
    assert [int(line.split()[3]) for line in epochs] == [15, 30, 45, 60, 75, 90, 100]
    assert all(re.search(r"  \d+ samples/s$", line) for line in epochs)
    train, test = zip(*(map(float, re.findall(r"accuracy ([\d.]+)", line)) for line in epochs), strict=True)
    assert min(train[-1], test[-1]) > 0.9 > train[0]
    assert re.fullmatch(rf"100 steps, [\d.]+ s; test loss [\d.]+, test accuracy {test[-1]:.4f}", last)
    assert wrote == "wrote runs/two_layer_net.safetensors, runs/two_layer_net.csv, runs/two_layer_net.svg"
    assert "<svg" in Path("runs/two_layer_net.svg").read_text()
    rows = list(csv.DictReader(Path("runs/two_layer_net.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == [str(i) for i in range(1, 101)]
    assert [float(row["test_accuracy"]) for row in rows if row["test_accuracy"]] == pytest.approx(test, abs=1e-4)


def test_the_seed_decides_the_run_and_no_file_is_written_over(folder: Path, run: Run) -> None:
    arguments = ("train", "two_layer_net", "--data", folder, "--steps", 20, "--batch", 20)
    for seed in (0, 0, 1):
        assert run(*arguments, "--seed", seed)[0] == 0
    one, again, other = (arrays(Path(f"runs/two_layer_net{end}.safetensors")) for end in ("", "-2", "-3"))
    assert one == again
    assert not set(one.values()) & set(other.values()) - {one["step"], one["optimizer/count"]}


def test_without_a_folder_it_trains_on_the_digits_in_the_wheel(run: Run) -> None:
    status, stdout, _ = run("train", "two_layer_net", "--steps", 40)
    assert status == 0
    assert "; 4000 digits to train on, 1000 to test; adam, rate 0.002, batch 100, float32, 40 steps\n" in stdout


def test_the_nets_are_named_with_what_they_are(run: Run) -> None:
    status, stdout, _ = run("list")
    assert status == 0
    assert [line.split()[0] for line in stdout.splitlines()] == list(models.names())
    assert "two_layer_net " in stdout
    assert "The two-layer net: affine, relu, affine" in stdout


NEWCOMER = '''"""A small net."""

import numpy as np
import purenet as pn


def net():
    return pn.chain(
        pool=pn.avg_pool2d.bind(window=4), flatten=pn.flatten, norm=pn.batch_norm, dropout=pn.dropout, affine=pn.affine
    )


def goal():
    return pn.chain(net=net(), loss=pn.softmax_cross_entropy)


def init(key, *, dtype=np.float64):
    w = pn.initializers.he_normal()(key, (49, 10), dtype)
    return {"norm": {"gamma": np.ones(49, dtype), "beta": np.zeros(49, dtype)}, "affine": {"w": w, "b": np.zeros(10, dtype)}}
'''


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A net that lies in the folder of the nets, and of which nothing else knows."""
    path = tmp_path / "nets" / "newcomer.py"
    path.parent.mkdir()
    path.write_text(NEWCOMER)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(path.parent)])
    yield path
    sys.modules.pop("purenet.models.newcomer", None)
    vars(models).pop("newcomer", None)


@pytest.mark.usefixtures("newcomer")
def test_a_new_net_trains_without_a_recipe(folder: Path, run: Run) -> None:
    status, stdout, stderr = run("train", "newcomer", "--data", folder, "--steps", 45, "--batch", 20, "--rate", 0.02)
    assert (status, stderr) == (0, "")
    assert "45 steps, " in stdout
    assert float(re.findall(r"test accuracy ([\d.]+)", stdout)[-1]) > 0.9
    assert {"statistics/net~1norm/mean", "statistics/net~1norm/var"} < set(arrays(Path("runs/newcomer.safetensors")))


def test_a_new_net_may_take_rows(folder: Path, run: Run, newcomer: Path) -> None:
    newcomer.write_text(NEWCOMER.replace("pool=pn.avg_pool2d.bind(window=4), flatten=pn.flatten, ", "").replace("49", "784"))
    status, stdout, stderr = run("train", "newcomer", "--data", folder, "--steps", 3, "--batch", 20)
    assert (status, stderr) == (0, "")
    assert "3 steps, " in stdout


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_train(folder: Path, run: Run, dtype: str) -> None:
    assert run("train", "two_layer_net", "--data", folder, "--steps", 3, "--batch", 20, "--dtype", dtype)[0] == 0
    about = checkpoints.read_about("runs/two_layer_net.safetensors")
    assert about["dtype"] == dtype


# ------------------------------------------------------------------------------------------- runs that end early


# Ends itself in the middle of an epoch, as `kill -9` would: no handler, no clean-up.
KILLED = """
import os, signal, sys
import purenet.__main__ as command

advance, steps = command.Bar.advance, iter(range(1, 1000))

def killed(bar, metrics):
    advance(bar, metrics)
    if next(steps) == 38:
        os.kill(os.getpid(), signal.SIGKILL)

command.Bar.advance = killed
command.main(sys.argv[1:])
"""


def test_a_run_that_is_killed_and_resumed_ends_in_the_same_bits(folder: Path, run: Run) -> None:
    arguments = ["train", "multi_layer_net", "--data", str(folder), "--steps", "60", "--batch", "20"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = [sys.executable, "-W", "error", "-c", KILLED, *arguments, "--checkpoint", "killed.safetensors"]
    process = subprocess.run(killed, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (process.returncode, process.stderr) == (-signal.SIGKILL, "")
    assert arrays(Path("killed.safetensors"))["step"] == np.int64(30).tobytes()  # the second epoch's end

    assert run("train", "multi_layer_net", "--data", folder, "--resume", "killed.safetensors")[0] == 0
    assert run(*arguments, "--checkpoint", "whole.safetensors")[0] == 0
    assert arrays(Path("killed.safetensors")) == arrays(Path("whole.safetensors"))
    assert Path("killed.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_an_interrupted_run_keeps_its_last_step(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = command.Bar.advance

    def interrupted(bar: Any, metrics: Any) -> None:
        advance(bar, metrics)
        interrupted.steps += 1
        if interrupted.steps == 22:
            raise KeyboardInterrupt

    interrupted.steps = 0
    monkeypatch.setattr(command.Bar, "advance", interrupted)
    status, _, stderr = run("train", "two_layer_net", "--data", folder, "--steps", 100, "--batch", 20, "--seed", 3)
    assert status == 130
    assert stderr == "purenet: interrupted; --resume runs/two_layer_net.safetensors goes on\n"
    assert arrays(Path("runs/two_layer_net.safetensors"))["step"] == np.int64(22).tobytes()
    status, stdout, _ = run("train", "two_layer_net", "--data", folder, "--resume", "runs/two_layer_net.safetensors")
    assert status == 0
    assert "batch 20, float32, 100 steps" in stdout
    assert len(Path("runs/two_layer_net.csv").read_text().splitlines()) == 101


def test_a_disk_that_is_full_keeps_the_last_checkpoint_and_its_metrics(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = checkpoints.save, iter(range(9))

    def full(*arguments: Any) -> None:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(checkpoints, "save", full)
    arguments = ("train", "two_layer_net", "--data", folder)
    status, _, stderr = run(*arguments, "--steps", 45, "--batch", 20)
    assert (status, stderr) == (2, "purenet: [Errno 28] No space left on device\n")
    path = Path("runs/two_layer_net.safetensors")
    assert arrays(path)["step"] == np.int64(11).tobytes()  # a quarter of the run is less than an epoch
    assert run(*arguments, "--resume", path)[0] == 0
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 46))


def test_a_run_that_diverges_says_so_and_keeps_a_good_state(folder: Path, run: Run) -> None:
    status, _, stderr = run("train", "two_layer_net", "--data", folder, "--rate", "1e20", "--batch", 20, "--optimizer", "sgd")
    assert status == 1
    assert re.fullmatch(
        r"purenet: (the loss is (nan|inf)|a parameter is not finite) at step \d+; runs/two_layer_net.safetensors holds "
        r"the last good state; try a smaller --rate\n",
        stderr,
    )
    from safetensors.numpy import load_file

    assert all(np.isfinite(array).all() for array in load_file("runs/two_layer_net.safetensors").values())


# -------------------------------------------------------------------------------------------------------- bad input


def truncated(folder: Path) -> None:
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-7])


def missing(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte").unlink()


def small(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((300, 27, 28))))


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (truncated, "t10k-images-idx3-ubyte: expected 47040 bytes of data"),
        (missing, "expected a file train-labels-idx1-ubyte"),
        (small, r"expected images of 28x28 bytes, found \(300, 27, 28\)"),
    ],
)
def test_a_damaged_set_is_one_clear_line(folder: Path, run: Run, damage: Callable[[Path], None], match: str) -> None:
    damage(folder)
    status, stdout, stderr = run("train", "two_layer_net", "--data", folder)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(rf"purenet: .*{match}.*\n", stderr)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["two_layer"], r"there is no net named 'two_layer'; did you mean two_layer_net.*\?"),
        (["two_layer_net", "--optimizer", "adm"], r"there is no optimizer named 'adm'; did you mean adam.*\?"),
        (["two_layer_net", "--data", "nowhere"], "nowhere: expected a folder with the IDX files of MNIST, found nothing"),
        (["two_layer_net", "--data", "mnist", "--batch", "301"], "--batch 301 is more than the 300 digits to train on"),
        (["two_layer_net", "--data", "mnist", "--checkpoint", "no/x"], "no: expected a folder to write the checkpoint to, .*"),
        (["two_layer_net", "--data", "mnist", "--checkpoint", "x.csv"], "x.csv: a checkpoint needs another name, .*"),
        (
            ["two_layer_net", "--data", "mnist", "--checkpoint", "text"],
            "text is there already; --resume text goes on from it, .*",
        ),
        (["two_layer_net", "--resume", "nothing"], r".*No such file or directory: 'nothing'"),
        (["two_layer_net", "--resume", "text"], "text: expected a whole checkpoint, found another file or a part of one .*"),
        (["char_rnn", "--data", "text"], "expected a text of at least 1056 characters to train, .*, found 9"),
        (["char_rnn", "--data", "empty"], "empty: expected a text, found an empty file"),
        (["char_rnn", "--data", "latin"], "latin: expected a text in UTF-8, found .*"),
    ],
)
def test_bad_input_is_one_clear_line(folder: Path, run: Run, tmp_path: Path, arguments: list[str], line: str) -> None:
    for name, content in (("text", b"0123456789"), ("empty", b""), ("latin", b"\xe9t\xe9")):
        (tmp_path / name).write_bytes(content)
    status, stdout, stderr = run("train", *arguments)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(rf"purenet: {line}\n", stderr)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_a_folder_that_cannot_be_written_is_one_clear_line(folder: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    status, stdout, stderr = run("train", "two_layer_net", "--data", folder)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"purenet: .*File exists: 'runs'\n", stderr)


def test_images_that_do_not_fit_the_net_are_one_clear_line(folder: Path, run: Run, newcomer: Path) -> None:
    newcomer.write_text(NEWCOMER.replace("(49,", "(50,"))
    status, stdout, stderr = run("train", "newcomer", "--data", folder)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"purenet: newcomer: .*batch_norm: .*, in the stage 'norm' of .*\n", stderr)
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize("part", ["goal", "init"])
def test_a_net_that_lacks_a_part_is_one_clear_line(run: Run, newcomer: Path, part: str) -> None:
    newcomer.write_text(NEWCOMER.replace(f"def {part}(", f"def my_{part}("))
    wanted = f"purenet: purenet.models.newcomer has no function {part}, which training needs\n"
    assert run("train", "newcomer") == (2, "", wanted)


def test_a_checkpoint_of_another_run_is_one_clear_line(folder: Path, run: Run, tmp_path: Path) -> None:
    assert run("train", "two_layer_net", "--data", folder, "--steps", 4, "--batch", 20)[0] == 0
    path = tmp_path / "runs" / "two_layer_net.safetensors"
    before = path.read_bytes()
    text = tmp_path / "text"
    text.write_text("abcdefgh" * 2000)
    other = tmp_path / "other"
    other.write_text("abcdefg!" * 2000)
    assert run("train", "char_rnn", "--data", text, "--steps", 1, "--batch", 4)[0] == 0
    resume, characters = ("--resume", path), ("--resume", tmp_path / "runs" / "char_rnn.safetensors")
    for arguments, line in (
        (("multi_layer_net", *resume), "expected a checkpoint with net multi_layer_net, found two_layer_net"),
        (("two_layer_net", *resume, "--optimizer", "sgd"), "expected a checkpoint with optimizer sgd, found adam"),
        (("two_layer_net", *resume, "--batch", 30), "expected a checkpoint with batch 30, found 20"),
        (("two_layer_net", *resume, "--dtype", "float64"), "expected a checkpoint with dtype float64, found float32"),
        (("two_layer_net", *resume, "--steps", 3), "has made 4 steps already, more than --steps 3"),
        (("two_layer_net", *resume), 'expected a checkpoint with data {"checksum": .*'),  # without --data
        (("char_rnn", *characters, "--data", other), "expected a checkpoint with vocabulary !abcdefg, found abcdefgh"),
    ):
        data = () if "--data" in arguments or 'data {"' in line else ("--data", folder)
        status, stdout, stderr = run("train", *arguments, *data)
        assert (status, stdout) == (2, "")
        assert re.fullmatch(rf"purenet: .*\.safetensors: {line}\n", stderr)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("--steps", "0", "positive int"),
        ("--rate", "-1", "positive float"),
        ("--rate", "nan", "positive float"),
        ("--rate", "inf", "positive float"),
        ("--batch", "many", "positive int"),
        ("--seed", "-1", "natural number"),
    ],
)
def test_an_option_out_of_range_is_named(run: Run, option: str, value: str, kind: str) -> None:
    status, stdout, stderr = run("train", "two_layer_net", option, value)
    assert (status, stdout) == (2, "")
    assert re.search(rf"error: argument {option}: invalid {kind} value: '{value}'\n$", stderr)


@pytest.mark.parametrize("package", ["mlxtend", "safetensors"])
def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    status, stdout, stderr = run("train", "two_layer_net", "--steps", 1)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"purenet: .*pip install 'purenet\[examples\]'\n", stderr)


@pytest.mark.parametrize("package", ["tqdm", "matplotlib.figure"])
def test_what_is_only_shown_may_be_missing(
    folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    if package == "tqdm":
        monkeypatch.setattr(curves, "draw", lambda *_: True)
    status, stdout, _ = run("train", "two_layer_net", "--data", folder, "--steps", 4, "--batch", 20)
    assert status == 0
    assert ("without matplotlib there is no picture" in stdout) == (package != "tqdm")
