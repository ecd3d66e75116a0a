"""Failures as programs: they hold the arguments exact to the last bit, and the file of arrays holds no code."""

from __future__ import annotations

import enum
import io
import runpy
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import ml_dtypes
import numpy as np
import pytest

import purenet as pn
from oracle import Flag
from oracle.cli.main import Exit
from oracle.counterexamples import program as repro
from oracle.counterexamples import shrink
from oracle.counterexamples.folder import write
from oracle.counterexamples.program import Words
from oracle.running.tasks import Task
from tests.oracle.conftest import Module, Run, environment

TASK = Task("", "affine", "one row", "float64")
WORDS = Words("FAIL affine", "Found by `oracle verify affine`.")


class Weights(NamedTuple):
    w: Any
    b: Any


class Mode(enum.Enum):
    FAST = 1


def named(x: Any) -> Any:
    return x


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that programs can import what is defined here from."""
    module: Any = SimpleNamespace(Weights=Weights, Mode=Mode, named=named)
    for value in vars(module).values():
        monkeypatch.setattr(value, "__module__", "planted_names")
    monkeypatch.setitem(sys.modules, "planted_names", module)
    return "planted_names"


def read_again(folder: Path, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """What the program reads and writes down, without what it then verifies."""
    files = repro.holding(TASK, arguments, options, WORDS, seed=0)
    assert files is not None
    write(folder, "one", files, "oracle verify affine")
    program = folder / "one" / "repro.py"
    names: dict[str, Any] = {"__file__": str(program)}
    exec(program.read_text().partition("result = ")[0], names)  # noqa: S102 - what has just been written
    return names["arguments"], names["options"]


VALUES = [
    np.array([[0.1, -1e-300], [1 / 3, np.nan]]),
    np.array(0.1, np.float32),
    np.zeros((0, 3), np.float16),
    np.array([True, False]),
    np.array([2**63 + 1], np.uint64),
    np.array([np.inf, -0.0]),
    np.arange(6.0).reshape(2, 3).T,
    np.array(["a", "bc"]),
    np.array([0.1, 3.0], ml_dtypes.bfloat16),
    np.array([[0.5]], ml_dtypes.float8_e4m3fn),
    ml_dtypes.bfloat16(0.1),
    np.float32(0.1),
    (np.ones(1),),
    (),
    {"a": [1, None, "x"], "b": (np.int64(3), 0.1), ("c", 1): b"bytes", "'": "é\ud800\x1b"},
    {"file": np.ones(2), "../../x": np.zeros(1), "a/b": 1, "a_b": np.ones(1)},
    pn.LSTMCarry(np.ones(1), np.zeros(2)),
    {"op": pn.relu, "dtype": np.float32, "name": np.dtype("int8"), "narrow": np.dtype(ml_dtypes.bfloat16)},
    [float("inf"), -float("inf"), 1e-320, 2j, slice(1, None), range(3), Ellipsis, Flag.AT_KINK, np.exp, len],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40].encode("ascii", "replace").decode())
def test_arguments_and_options_are_exact(value: Any, tmp_path: Path) -> None:
    (again,), options = read_again(tmp_path, (value,), {"option": value})
    for found in (again, options["option"]):
        assert type(found) is type(value)
        assert repr(found) == repr(value)
        if isinstance(value, np.ndarray):
            assert (found.dtype, found.shape, found.tobytes()) == (value.dtype, value.shape, value.tobytes())


def test_nan_is_written(tmp_path: Path) -> None:
    _, options = read_again(tmp_path, (np.ones(1),), {"fill": float("nan")})
    assert options["fill"] != options["fill"]


def test_what_a_module_names_is_imported_from_it(here: str, tmp_path: Path) -> None:
    (again,), options = read_again(tmp_path, (Weights(np.ones(2), None),), {"mode": Mode.FAST, "f": named})
    assert (type(again), again.b) == (Weights, None)
    assert (options["mode"], options["f"]) == (Mode.FAST, named)


@pytest.mark.parametrize(
    "value",
    [
        lambda x: x,
        object(),
        np.array([None, 1], object),
        np.ma.masked_array([1.0]),
        OrderedDict(a=1),
        pn.chain(one=pn.relu),
        {1, 2}.__iter__(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_written_down_is_drawn(value: Any) -> None:
    assert repro.holding(TASK, (np.ones(1),), {"option": value}, WORDS, seed=0) is None
    program = repro.drawing(TASK, WORDS)["repro.py"]
    assert "oracle.verify_case(spec, spec.case('one row'), dtype='float64', seed=0)" in str(program)


def test_the_file_of_arguments_holds_no_code(tmp_path: Path) -> None:
    files = repro.holding(
        TASK, ({"w": np.ones((2, 3)), "../../b": np.zeros(3, ml_dtypes.bfloat16)}, np.ones((1, 2))), {}, WORDS, seed=0
    )
    assert files is not None
    data = files["inputs.npz"]
    assert isinstance(data, bytes)
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        assert sorted(found.files) == ["params..._.._b.bfloat16", "params.w", "x"]
        assert found["params..._.._b.bfloat16"].dtype == np.uint16
    assert "allow_pickle=False" in str(files["repro.py"])
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    again = repro.holding(
        TASK, ({"w": np.ones((2, 3)), "../../b": np.zeros(3, ml_dtypes.bfloat16)}, np.ones((1, 2))), {}, WORDS, seed=0
    )
    assert again == files


# ---------------------------------------------------------------------------------------------- programs that run


WRONG = """
import collections
import numpy as np, jax.numpy as jnp, oracle

Weights = collections.namedtuple("Weights", "w b")

def layer_fwd(params, xs, *, scale, shift=None):
    x, = xs
    y = np.maximum(x @ params.w + params.b, 0)
    moved = y * scale + (0 if shift is None else shift(1.0))
    return moved.astype(x.dtype), (params, x, y > 0, scale)

def layer_bwd(residuals, dy):
    params, x, on, scale = residuals
    d = np.where(on, dy * scale, 0).astype(x.dtype)
    db = d.sum(axis=0)
    if len(x) > 2:
        db = d[0]
    return Weights((x.T @ d).astype(x.dtype), db.astype(x.dtype)), [(d @ params.w.T).astype(x.dtype)]

def by_jax(params, xs, *, scale, shift=None):
    y = jnp.maximum(jnp.dot(xs[0], params.w) + params.b, 0) * scale + (0 if shift is None else shift(1.0))
    return y.astype(xs[0].dtype)

def drawn(draw):
    n, m, k = draw.between(1, 6), draw.between(1, 4), draw.between(1, 4)
    return (Weights(draw.normal(m, k), draw.normal(k)), [draw.normal(n, m)]), {"scale": draw.choice([1.0, np.array(2.0)])}

def given(draw):
    return Weights(draw.normal(4, 3), draw.normal(3)), [draw.normal(9, 4)]

CASES = (
    oracle.Case("../nine rows", given, options={"scale": np.full(3, 0.5)}),
    oracle.Case("with a function", given, options={"scale": 1.0, "shift": lambda one: 2 * one}),
    oracle.Case("two rows", lambda draw: (given(draw)[0], [draw.normal(2, 4)]), options={"scale": 1.0}),
)
drawing = oracle.Spec((layer_fwd, layer_bwd), cases=CASES, reference=by_jax, strategy=drawn)

def same_fwd(params, xs, *, scale, shift=None):
    return layer_fwd(params, xs, scale=scale, shift=shift)

plain = oracle.Spec((same_fwd, layer_bwd), cases=CASES, reference=by_jax)
"""


def run_alone(program: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(program)], cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.stderr == ""
    return done


def run_here(program: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a program, and what it prints: in this process, in a fraction of the time."""
    load, opened = np.load, []

    def kept(*arguments: Any, **options: Any) -> Any:
        opened.append(load(*arguments, **options))
        return opened[-1]

    capfd.readouterr()
    with mock.patch.object(np, "load", kept), pytest.raises(SystemExit) as end:
        runpy.run_path(str(program), run_name="__main__")
    for file in opened:  # as the end of a process does
        file.close()
    out, err = capfd.readouterr()
    assert err == ""
    return int(end.value.code or 0), out


@pytest.mark.usefixtures("in_this_process", "undiagnosed")
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_every_failing_case_has_a_program_that_shows_it(
    run: Run, module: Module, tmp_path: Path, capfd: pytest.CaptureFixture[str], dtype: str
) -> None:
    module("wrong_layers", WRONG)
    code, out, _ = run("verify", "wrong_layers:plain", "--dtype", dtype)
    assert code == Exit.FAIL
    root = tmp_path / "reports" / "failures"
    programs = sorted(root.glob("*/repro.py"))
    assert len(programs) == 2
    for program in programs:
        assert f"repro: python {shlex.quote(str(program.relative_to(tmp_path)))}\n" in out
    for program in programs if dtype == "bfloat16" else programs[1:]:  # other tests run one with its arrays in float64
        code, shown = run_here(program, capfd)
        assert code == 1
        assert "params.b" in shown
        assert f"{dtype} 3\n" in shown
    drawn, held = (program.read_text() for program in programs[::-1])
    assert "verify_case(" in drawn  # a function without a name
    assert "'scale': inputs['options.scale']" in held
    assert "wrong_layers.Weights(w=inputs['params.w" in held


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_that_was_taken_elsewhere_runs_there(run: Run, module: Module, tmp_path: Path) -> None:
    home, away = tmp_path / "reports", tmp_path / "of another" / "machine"
    module("mine.wrong_layers", WRONG.replace("import collections", "import collections\nfrom mine.helpers import two"))
    module("mine.helpers", "two = 2\n")
    assert run("verify", "mine.wrong_layers:plain", "--case", "../nine rows")[0] == Exit.FAIL
    (program,) = (home / "failures").glob("*/repro.py")
    assert " " not in program.parent.name
    assert str(tmp_path) not in program.read_text()
    (tmp_path / "mine").rename(tmp_path / "mine as it was")
    shutil.move(home, away)
    (there,) = (away / "failures").glob("*/repro.py")
    done = run_alone(there, away)  # from the copy
    assert (done.returncode, "batch sum missing" in done.stdout) == (1, True)
    shutil.move(away, home)
    shutil.copytree(tmp_path / "mine as it was", tmp_path / "mine")
    mended = tmp_path / "mine" / "wrong_layers.py"
    mended.write_text(mended.read_text().replace("db = d[0]", "pass"))
    assert run_alone(program, tmp_path).returncode == 0  # the module as it is now


@pytest.mark.usefixtures("undiagnosed")
def test_a_program_shows_a_smaller_use_where_one_is_drawn(
    run: Run, module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shrink, "SECONDS", float("inf"))  # however slow this machine is
    module("wrong_layers", WRONG)
    run("verify", "wrong_layers:drawing", "--case", "../nine rows", "--jobs", 1, "--timeout", 0)
    (program,) = (tmp_path / "reports" / "failures").glob("*/repro.py")
    assert "smallest random use of layer that was found to be FAIL, like the case" in program.read_text()
    assert run_here(program, capfd)[0] == 1
    with np.load(program.with_name("inputs.npz"), allow_pickle=False) as found:
        assert found["xs.0"].shape[0] == 3  # the fewest rows that show it


BAD = """
import os, time
import numpy as np, oracle

def spec_of(name, act):
    def forward(x):
        act()
        return x * x, x
    forward.__name__ = name
    return oracle.Spec((forward, lambda x, dy: (2 * x * dy,)), cases=(oracle.Case("typical", (np.ones(2),)),))

def no_interrupt():
    raise KeyboardInterrupt

def unlucky(draw):
    raise RuntimeError("no such file")

def exp(x):
    return np.exp(x), np.exp(x)

def exp_of(x):
    return exp(x)

def exp_bwd(y, dy):
    return (y * dy,)

hangs = spec_of("hangs", lambda: time.sleep(3600))
dies = spec_of("dies", lambda: os._exit(0))
interrupts = spec_of("interrupts", no_interrupt)
prints = spec_of("prints", lambda: print("hello"))
draws = oracle.Spec((exp, exp_bwd), cases=(oracle.Case("drawn", unlucky),))
integers = oracle.Spec((exp_of, exp_bwd), cases=(oracle.Case("typical", (np.arange(3),)),))
"""


def assert_programs_show(folder: Path, shown: dict[str, str]) -> None:
    """The program of each of these ops ends with 1, and shows this."""
    for name, words in shown.items():
        (program,) = (folder / "reports" / "failures").glob(f"{name}-*/repro.py")
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd="/",
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 1, name
        assert words in done.stdout + done.stderr


def test_the_program_of_what_hangs_ends_with_1(run: Run, module: Module, tmp_path: Path) -> None:
    module("bad_ops", BAD)
    assert run("verify", "bad_ops:hangs", "--timeout", 1, "--jobs", 1)[0] == Exit.FAIL
    assert_programs_show(tmp_path, {"hangs": "Timeout (0:00:01)!"})


def test_the_program_of_what_gives_no_gradient_ends_with_1(
    run: Run, module: Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module("bad_ops", BAD)
    ended = {"dies": "the process ended with 0", "interrupts": "the process ended with"}
    raised = {"exp": "no such file", "exp_of": "must be a floating-point array"}
    ops = [f"bad_ops:{name}" for name in ("dies", "interrupts", "draws", "integers")]
    assert run("verify", *ops, "--timeout", 60, "--jobs", 1)[0] == Exit.FAIL
    assert_programs_show(tmp_path, ended)
    for name, words in raised.items():  # without a process that ends
        (program,) = (tmp_path / "reports" / "failures").glob(f"{name}-*/repro.py")
        try:
            code, said = run_here(program, capfd)
        except Exception as error:  # which ends a program with 1
            code, said = 1, str(error)
        assert (code, words in said) == (1, True), said


def test_what_is_only_printed_needs_no_program(run: Run, module: Module, tmp_path: Path) -> None:
    module("bad_ops", BAD)
    assert run("verify", "bad_ops:prints", "--jobs", 1)[0] == Exit.FAIL
    assert not (tmp_path / "reports" / "failures").exists()
