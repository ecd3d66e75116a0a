"""The grader: right submissions have all points, mutants lose theirs, hints name the mistake, results become files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from oracle.cli.main import Exit
from oracle.grading import Assignment, BrokenAssignment, Functions, Layer, Part, Result, Whole, grade, hints, load, output
from oracle.grading.assignment import names
from oracle.grading.cases import Hidden
from oracle.grading.sandbox import wire
from oracle.grading.source import objections
from oracle.grading.starter import starter
from tests.oracle.conftest import Run, environment
from tests.oracle.submitted import FOLDER, Submission, graded, lost, mutants, right, source

EVERY = 8  # of the mutants; `python -m benchmarks.grading` grades them all
FILES = [submission for submission in right() if submission.name in {path.stem for path in FOLDER.glob("*.py")}]


def named(submissions: list[Submission]) -> Any:
    return pytest.mark.parametrize("submission", submissions, ids=lambda submission: submission.name)


# ------------------------------------------------------------------------------------------------------- right and wrong


@named(FILES)
def test_right_solutions_in_all_styles_have_all_points(submission: Submission) -> None:
    result = graded(submission, 1)
    assert [mark for mark in result.marks if mark.hint] == []
    assert result.passed
    assert result.score == result.most == load(submission.assignment).total


@named(mutants()[::EVERY])
def test_a_mistake_costs_the_points_of_the_gradients_that_it_makes_wrong(submission: Submission) -> None:
    result = graded(submission, 2)
    assert lost(result) == submission.lost
    assert result.score == result.most - sum(
        mark.most for mark in result.marks if f"{mark.part} / {mark.name}" in submission.lost
    )


def test_every_edit_can_be_made_and_costs_something() -> None:
    everything = [*right(), *mutants()]
    assert len(everything) > 100
    assert len({submission.source for submission in everything}) == len(everything)
    assert all(submission.lost for submission in mutants())


def test_the_seed_repeats_the_hidden_cases_and_another_one_changes_them() -> None:
    part = load("two_layer_net").parts[0]
    first, again, other = (Hidden(part, part.cases[0], seed) for seed in ([1, 0], [1, 0], [2, 0]))
    assert np.array_equal(first.arguments["x"], again.arguments["x"])
    assert not np.array_equal(first.arguments["x"], other.arguments["x"])
    assert not np.array_equal(first.upstream()[0], first.upstream()[0])
    text = "def nothing(): pass"
    assert grade(load("two_layer_net"), text).seed != grade(load("two_layer_net"), text).seed


# ------------------------------------------------------------------------------------------------------------- an assignment

AFFINE = """
import numpy as np
from oracle.grading import Assignment, Functions, Layer, Part

def forward(x, w, b):
    return x @ w + b, (x, w)

def backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(0)

def some(rng):
    return {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)}

assignment = Assignment("one layer", [
    Part("affine", [Functions("f", "b"), Layer("Dense", {"w": "grads_w", "b": "grads_b"}, ("w", "b"))],
         (forward, backward), {"x": 2, "w": 2, "b": 1}, [some]),
])
"""
DENSE = """
class Dense:
    def __init__(self, w, b):
        self.w, self.b = w, b

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, dout):
        self.grads_w = self.x.T @ dout
        self.grads_b = dout.sum(0)
        return dout @ self.w.T
"""


@pytest.fixture(scope="module")
def affine(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    path = tmp_path_factory.mktemp("course") / "week1.py"
    path.write_text(AFFINE)
    return load(str(path))


def only(result: Result, name: str) -> str:
    """The hint of the only mark that was lost."""
    (mark,) = [mark for mark in result.marks if mark.hint]
    assert mark.name == name
    assert mark.points == 0
    return mark.hint


def test_a_course_writes_an_assignment_of_its_own(affine: Assignment) -> None:
    assert len(AFFINE.splitlines()) < 22
    assert grade(affine, DENSE, 1).passed
    wrong = grade(affine, DENSE.replace("self.x.T @ dout", "self.x.T @ dout * 2"), 1)
    assert only(wrong, "w").startswith("constant factor: counted twice, or a 1/2 forgotten")
    assert wrong.score == wrong.most - 2


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (
            "self.grads_b = dout.sum(0)",
            "self.grads_b = dout",
            r"its shape is \(4, 2\) instead of \(2,\): the sum over the batch is missing",
        ),
        ("self.grads_b = dout.sum(0)", "pass", r"it raised AttributeError: 'Dense' object has no attribute 'grads_b'"),
        ("return dout @ self.w.T", "return None", "expected an array, got None"),
        ("return dout @ self.w.T", "return dout @ self.w.T, 1", r"backward must return 1 gradients \(x\), got 2"),
        ("return dout @ self.w.T", "return 'x'", "expected an array, got a str"),
        ("self, w, b):", "self, w):", r"it raised TypeError: Dense.__init__\(\) takes 2 positional arguments but 3 were given"),
        ("class Dense", "class Dance", "the submission defines no f or Dense"),
    ],
)
def test_a_wrong_form_is_named(affine: Assignment, old: str, new: str, hint: str) -> None:
    result = grade(affine, DENSE.replace(old, new), 1)
    assert not result.passed
    assert any(re.fullmatch(hint, mark.hint) for mark in result.marks), [mark.hint for mark in result.marks]


def some_part(**changes: Any) -> Part:
    given = {
        "name": "p",
        "styles": [Whole("f")],
        "truth": lambda x: (x, x),
        "points": {"x": 1},
        "cases": [lambda rng: {"x": 1.0}],
    }
    return Part(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"styles": []}, "styles must be a list of Functions, Layer or Whole"),
        ({"styles": ["f"]}, "styles must be a list of Functions, Layer or Whole"),
        ({"cases": []}, "cases must have at least one function"),
        ({"points": {}}, "points must be a number from 0 for each gradient"),
        ({"points": {"x": -1}}, "points must be a number from 0 for each gradient"),
        ({"points": {"x": True}}, "points must be a number from 0 for each gradient"),
        ({"styles": [Functions("f", "b")]}, r"truth must be a pair \(forward, backward\)"),
        ({"truth": (len, len)}, "truth must be one function"),
    ],
)
def test_a_wrong_part_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"Part 'p': {match}"):
        some_part(**changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"truth": lambda x: (x, (x, x))}, "of the model solution: expected 1 gradients"),
        ({"truth": lambda x: x / 0}, "the model solution raised ZeroDivisionError"),
        ({"cases": [lambda rng: 1 / 0]}, "the function that draws a case raised ZeroDivisionError"),
        (
            {"styles": [Layer("f")], "truth": (lambda x: (x, x), lambda d, c: d), "points": {"y": 1}},
            "a case has no argument 'y', for whose gradient there are points",
        ),
    ],
)
def test_a_mistake_of_the_course_is_no_mistake_of_the_student(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(BrokenAssignment, match=f"Part 'p': {match}"):
        grade(Assignment("a", [some_part(**changes)]), "def f(x):\n    return x, x\n", 1)


def test_an_assignment_has_parts_with_different_names() -> None:
    with pytest.raises(TypeError, match="Assignment 'a': parts must be a list of Part"):
        Assignment("a", [])
    with pytest.raises(ValueError, match="two parts have the same name"):
        Assignment("a", [some_part(), some_part()])
    with pytest.raises(BrokenAssignment, match="Assignment 'a': packages: 'nosuchpackage' is not installed"):
        grade(Assignment("a", [some_part()], packages=["nosuchpackage"]), "", 1)


def test_other_packages_can_be_allowed() -> None:
    text = "from scipy.special import expit\n\ndef f(x):\n    return float(expit(0.0)) * 2 * x, x\n"
    assert grade(Assignment("a", [some_part()], packages=["numpy", "scipy.special"]), text, 1).passed
    assert grade(Assignment("a", [some_part()]), text, 1).refused == (
        "line 1: imports scipy; a submission may import numpy and plain modules of Python",
    )


# ------------------------------------------------------------------------------------------------------------- hints

HINTS = [
    ("two_layer_net", "dout @ w.T, x.T", "dout @ w[::-1].T, x.T", "affine / x", "reversed"),
    (
        "two_layer_net",
        "x.T @ dout,",
        "x.T @ dout / len(x),",
        "affine / w",
        "constant factor: divided by the batch once too often",
    ),
    ("two_layer_net", "x.T @ dout,", "-x.T @ dout,", "affine / w", "constant factor: the sign is wrong"),
    ("two_layer_net", "x.T @ dout,", "dout.T @ x,", "affine / w", "it is transposed"),
    ("two_layer_net", "x.T @ dout,", "x.T @ np.ones_like(dout),", "affine / w", "dout ignored"),
    ("two_layer_net", "x.T @ dout,", "np.outer(x[0], dout[0]),", "affine / w", "only the first sample contributes"),
    ("two_layer_net", "x.T @ dout,", "np.clip(x.T @ dout, -0.5, 0.5),", "affine / w", "clipped"),
    ("two_layer_net", "dout.sum(axis=0)", "dout", "affine / b", "the sum over the batch is missing"),
    ("two_layer_net", "dout.sum(axis=0)", "dout.sum(axis=0).astype(int)", "affine / b", "integer dtype"),
    ("two_layer_net", "dout.sum(axis=0)", "np.zeros(dout.shape[1])", "affine / b", "zero everywhere"),
    ("two_layer_net", "dout * (x > 0)", "dout", "relu / x", "it is dout itself"),
    ("two_layer_net", "dout * (x > 0)", "np.abs(dout) * (x > 0)", "relu / x", "sign lost"),
    ("two_layer_net", "dx[np.arange(n), t] -= 1", "pass", "softmax loss / x", "a constant is missing"),
    ("two_layer_net", "relu_backward(dh, c2)", "dh * np.inf", "net / W1", "it has NaN"),
    ("two_layer_net", "relu_backward(dh, c2)", "relu_backward(dh, c2) * 1.00001", "net / W1", "nearly right"),
    (
        "batch_norm_and_dropout",
        "dout * mask / (1 - rate)",
        "dout * mask",
        "dropout / x",
        "multiplied by 1 - rate once too often",
    ),
    (
        "batch_norm_and_dropout",
        "dout * mask / (1 - rate)",
        "dout * mask / rate",
        "dropout / x",
        "divided by rate instead of 1 - rate",
    ),
]


@pytest.mark.parametrize(("assignment", "old", "new", "mark", "hint"), HINTS, ids=[row[2] for row in HINTS])
def test_hints_name_the_mistake(assignment: str, old: str, new: str, mark: str, hint: str) -> None:
    text = source(assignment)
    assert text.count(old) == 1
    result = grade(load(assignment), text.replace(old, new), 3)
    assert hint in {f"{m.part} / {m.name}": m.hint for m in result.marks}[mark]


def test_no_number_of_a_hidden_case_is_told() -> None:
    """Also if the submission prints it or raises it, or a single entry is wrong."""
    leaks = """
def affine_backward(dout, cache):
    print(dout, cache)
    raise ValueError(f"{dout.tolist()} {dout[0, 0]:.3e}")

def relu_backward(dout, x):
    print(float(x[0, 0]))
    dx = dout * (x > 0)
    dx.flat[0] += 1
    return dx
"""
    result = grade(load("two_layer_net"), source("two_layer_net") + leaks, 4)
    told = [output.as_text(result), output.as_json(result), output.as_gradescope(result), output.as_junit(result)]
    assert "it printed" in told[0]
    assert "ValueError in line" in told[0]
    for text in told:
        without_time = re.sub(r'(time=|"seconds": )"?[\d.]+"?', "", text)
        assert re.findall(r"\d\.\d{2,}|\de-?\d", re.sub(r'"(max_)?score": [\d.]+', "", without_time)) == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("shapes (3,4) and (5,) differ", "shapes (3,4) and (5,) differ"),
        ("got 0.125, -1.5e-3 and 7e5\nnan", "got #, # and # #"),
        ("[ 1.  2.] 1234567", "[ # #] #"),
        ("x" * 1000, "x" * 200),
    ],
)
def test_messages_lose_their_numbers(message: str, shown: str) -> None:
    assert hints.without_numbers(message) == shown


# ---------------------------------------------------------------------------------------------------------- the source


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import numpy as np\nimport torch.nn as nn", "line 2: imports torch, a library that differentiates"),
        ("def f():\n    from jax import grad", "line 2: imports jax, a library that differentiates"),
        ("import purenet", "line 1: imports purenet, which has the solutions"),
        (
            "from . import other",
            "line 1: imports a neighbouring file; a submission may import numpy and plain modules of Python",
        ),
        ("import socket", "line 1: imports socket; a submission may import numpy and plain modules of Python"),
        ("import numpy as np\nnp.allclose = print", "line 2: changes np, which it has imported"),
        ("import numpy as np\nnp.random.seed += 1", "line 2: changes np, which it has imported"),
        ("from numpy import linalg\ndel linalg.norm", "line 2: changes linalg, which it has imported"),
        ("import numpy as np\nsetattr(np, 'a', 1)", "line 2: changes np, which it has imported"),
        ("import sys\nsys._getframe()", "line 2: _getframe reads the stack"),
        ("from sys import settrace", "line 1: settrace changes how Python runs"),
        ("exec('1')", "line 1: exec runs code that is not in the file"),
        ("f = eval", "line 1: eval runs code that is not in the file"),
        ("x = 1e-20j", "line 1: uses complex numbers (a derivative by a complex step is no backward pass)"),
        ("def f(x): return x.imag", "line 1: uses complex numbers (a derivative by a complex step is no backward pass)"),
        (
            "def f(x): return x.astype(complex)",
            "line 1: uses complex numbers (a derivative by a complex step is no backward pass)",
        ),
        ("def f(:", "line 1: it is no Python: invalid syntax"),
        ("x" * 500_001, "it has 500001 letters, and 500000 are the most"),
    ],
)
def test_the_source_says_what_is_refused(text: str, reason: str) -> None:
    assert objections(text, ["numpy"]) == [reason]


@pytest.mark.parametrize(
    "text",
    [
        "import sys, os\nsys.path.append(os.pardir)\nimport numpy as np\nnp.seterr(all='ignore')",
        "import numpy as np\ncopy = np.ones(3)\ncopy[0] = 1\ncopy.flags.writeable = False",
        "input = 1\nf_back = input\nx.reshape(2, order='F')",
        "from __future__ import annotations\nfrom typing import Any\nimport numpy.linalg",
    ],
)
def test_plain_code_is_not_refused(text: str) -> None:
    assert objections(text, ["numpy"]) == []


# ------------------------------------------------------------------------------------------------------------ the channel


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        "text",
        np.arange(6.0).reshape(2, 3),
        np.array(2, dtype=np.int8),
        np.zeros((0, 3), dtype=np.float32),
        (np.ones(3), {"a": np.array([True]), "b": (1, None)}),
        np.arange(6.0).reshape(2, 3).T,
    ],
)
def test_what_is_sent_arrives(value: Any) -> None:
    tree, payload = wire.encode(value)
    found = wire.decode(json.loads(json.dumps(tree)), payload)

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, tuple):
            return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, dict):
            return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
        return type(a) is type(b) and (a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b)

    assert same(value, found)


def test_arrays_that_arrive_cannot_be_written_to() -> None:
    tree, payload = wire.encode(np.ones(3))
    found = wire.decode(tree, payload)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 2.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        found.flags.writeable = True


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {},
        {"array": ["<f8", [2], 0], "value": 1},
        {"array": ["<f8", [3], 0]},
        {"array": ["<f8", [2], 8]},
        {"array": ["<f8", [-2], 0]},
        {"array": ["<f8", [2.0], 0]},
        {"array": ["<f8", [True], 0]},
        {"array": ["<f8", 2, 0]},
        {"array": ["<f8", [2]]},
        {"array": ["|O", [2], 0]},
        {"array": [["<f8"], [2], 0]},
        {"array": ["<f8", [0, 1 << 26, 1 << 26, 1 << 26], 0]},
        {"array": ["<f8", [1 << 62], 0]},
        {"value": 1.5},
        {"value": 10**400},
        {"value": {}},
        {"items": {}},
        {"items": [1]},
        {"names": []},
        {"other": "x"},
        {"code": "x"},
        json.loads('{"items": [' * 20 + "]}" * 20),
    ],
)
def test_a_malformed_value_is_refused(tree: Any) -> None:
    with pytest.raises(wire.Malformed):
        wire.decode(tree, b"\0" * 16)


@pytest.mark.parametrize("header", [b"", b"\xff", b"[1]", b"[" * 10**5, b"9" * 5000, b"{"])
def test_a_malformed_header_is_refused(header: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.pick(header)


def test_a_frame_cannot_ask_for_more_memory_than_the_limit() -> None:
    with pytest.raises(wire.Malformed, match="a frame of"):
        wire.sizes_of(b"\xff" * wire.HEADER.size)


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(source("two_layer_net").replace("dout.sum(axis=0)", "dout.mean(axis=0)"))
    return path


def test_the_command_prints_points_and_writes_files(run: Run, submission: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / f"{form}.out" for form in ("json", "junit", "gradescope")}
    given = [text for form, path in files.items() for text in (f"--{form}", path)]
    code, out, err = run("grade", "--assignment", "two_layer_net", submission, "--seed", 5, *given)
    assert (code, err) == (Exit.FAIL, "")
    assert "affine / b              0 / 1  constant factor: divided by the batch once too often\n" in out
    assert "affine / w              2 / 2  right\n" in out
    assert out.endswith("two-layer net: 17 of 20 points (repeat with --seed 5)\n")

    report = json.loads(files["json"].read_text())
    assert (report["passed"], report["score"], report["max_score"], report["seed"]) == (False, 17, 20, 5)
    assert [m["name"] for m in report["marks"] if not m["passed"]] == ["b", "b1", "b2"]

    scope = json.loads(files["gradescope"].read_text())
    assert scope["score"] == sum(test["score"] for test in scope["tests"]) == 17
    assert scope["tests"][3] == {
        "name": "affine / b",
        "score": 0,
        "max_score": 1,
        "output": "constant factor: divided by the batch once too often",
        "status": "failed",
        "visibility": "visible",
    }
    suite = ET.fromstring(files["junit"].read_text())[0]  # noqa: S314 - our own file
    assert (suite.get("tests"), suite.get("failures")) == ("13", "3")
    assert [case.get("name") for case in suite if len(case)] == ["b", "b1", "b2"]


def test_a_refused_submission_says_why_in_every_form(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import torch\n")
    code, out, _ = run("grade", "--assignment", "convolution", path, "--gradescope", tmp_path / "results.json")
    assert code == Exit.FAIL
    assert out.startswith("refused: line 1: imports torch, a library that differentiates\nconvolution: 0 of 21 points")
    scope = json.loads((tmp_path / "results.json").read_text())
    assert scope["score"] == 0
    assert {test["output"] for test in scope["tests"]} == {"line 1: imports torch, a library that differentiates"}


@pytest.mark.parametrize("name", names())
def test_a_starter_file_runs_and_has_no_points_yet(run: Run, tmp_path: Path, name: str) -> None:
    code, out, err = run("grade", "--assignment", name, "--starter")
    assert (code, err) == (Exit.PASS, "")
    result = grade(load(name), out, 1)
    assert (result.refused, result.score) == ((), 0)
    assert all("it raised NotImplementedError in line" in mark.hint for mark in result.marks)


def test_a_starter_file_of_a_class_runs_too(affine: Assignment) -> None:
    part = affine.parts[0]
    text = starter(Assignment("a", [Part("p", part.styles[1:], part.truth, part.points, part.cases)]))
    assert "def backward(self, dout):\n" in text
    assert "Leaves the gradient of w in self.grads_w." in text
    assert "NotImplementedError" in grade(affine, text, 1).marks[0].hint


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            "--assignment two_layer_nett x.py",
            r"no assignment is named 'two_layer_nett', .*\(ready: batch_norm_and_dropout, .*\)",
        ),
        ("--assignment two_layer_net", r"grade: a SUBMISSION is missing; or use --starter"),
        ("--assignment two_layer_net none.py", r"cannot read none.py: No such file or directory"),
        ("--assignment empty.py none.py", r"empty.py has no variable `assignment` that is an oracle.grading.Assignment"),
        ("--assignment broken.py none.py", r"broken.py cannot be loaded: ZeroDivisionError: division by zero"),
        ("--assignment wrong.py mine.py", r"wrong.py: Part 'affine': the model solution raised NameError: .*"),
        ("--assignment two_layer_net mine.py --json no/x.json", r"cannot write no/x.json: its folder is missing"),
        ("--assignment two_layer_net mine.py --junit .", r"cannot write .: it is a folder"),
        ("mine.py", r"the following arguments are required: --assignment .*"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, submission: Path, tmp_path: Path, arguments: str, match: str) -> None:
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "wrong.py").write_text(AFFINE.replace("x.T @ dout,", "y.T @ dout,"))
    if "wrong.py" in arguments:
        submission.write_text(DENSE)
    code, out, err = run("grade", *arguments.split())
    assert (code, out) == (Exit.USAGE, "")
    assert re.fullmatch(f"oracle: {match}\n", err), err


def test_it_needs_no_jax_and_little_memory(tmp_path: Path) -> None:
    """In a process of its own, since this one has loaded much else."""
    program = """
import re, resource, sys
from pathlib import Path
from oracle.cli.main import main
code = main(sys.argv[1:])
own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])  # getrusage's has the tests' own in it
submission = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("jax" in sys.modules, (own + submission) // 1024, code)
"""
    arguments = ["grade", "--assignment", "recurrent", str(FOLDER / "recurrent.py")]
    command = [sys.executable, "-c", program, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment())
    jax, megabytes, code = found.stdout.splitlines()[-1].split()
    assert (jax, code) == ("False", "0")
    assert int(megabytes) < 384


def test_the_ready_assignments_follow_the_notes() -> None:
    assert names() == ["batch_norm_and_dropout", "convolution", "recurrent", "two_layer_net"]
    assert [load(name).total for name in names()] == [21, 21, 31, 20]
