"""Golden gradients: their files are always the same, no changed bit passes, and published bugs and planted ones are found."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest
from safetensors.numpy import load

from oracle import catalogue
from oracle.arrays import quiet
from oracle.cli import vectors
from oracle.cli.main import main
from oracle.golden import cases, history, schema
from oracle.golden.checking import check
from oracle.golden.encoding import decoded, encoded
from oracle.golden.files import changed_entry, checksum, from_json, pack, to_json, unpack
from oracle.golden.writing import NotRight, files_of
from oracle.spec import Case, Spec
from purenet.normalization import Statistics
from tests.zoo.golden import SPECS
from tests.zoo.record import Bug, Pair
from tests.zoo.test_zoo import BUGS
from tests.zoo.vectors import catches

RUNNERS = Path(__file__).parents[2] / "runners"
ON_ONE_WORKER = pytest.mark.xdist_group("golden files")
"""One worker verifies the ops once whose files the tests read."""
WRITTEN = ("layer_norm", "conv2d", "embedding", "batch_norm", "logsumexp", "norm")
"""Trees, tuples of options, arrays among them, a NamedTuple, masks, values that are not finite, an option that is not."""


@cache
def spec_of(op: str) -> Spec:
    """The op with some of its cases, where all of them take seconds."""
    spec = catalogue.find(op)
    assert isinstance(spec, Spec)
    if op == "layer_norm":
        return replace(spec, cases=spec.cases[:2])
    if op == "conv2d":  # with options that are tuples
        return replace(
            spec, cases=(spec.case("padding on one side, dilated"), spec.case("stride larger than the filter, in groups"))
        )
    return spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of some ops."""
    path = tmp_path_factory.mktemp("golden")
    for op in WRITTEN:
        put(path, files_of(spec_of(op)))
    return path


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def find(module: str, op: str) -> Any:
    assert module == ""
    return spec_of(op) if op in WRITTEN else catalogue.find(op)


def mistakes(folder: Path, op: str) -> tuple[str, ...]:
    return check(folder / f"{op}.json", find).mistakes


def document(folder: Path, op: str) -> Any:
    return json.loads((folder / f"{op}.json").read_text())


# ------------------------------------------------------------------------------------------------ files


@ON_ONE_WORKER
@pytest.mark.parametrize("op", WRITTEN)
def test_files_agree_with_their_op(folder: Path, op: str) -> None:
    assert mistakes(folder, op) == ()
    assert schema.mistakes(document(folder, op)) == []


@ON_ONE_WORKER
def test_two_runs_write_the_same_bytes(folder: Path) -> None:
    for name, content in files_of(spec_of("layer_norm")).items():
        assert (folder / name).read_bytes() == content


@ON_ONE_WORKER
def test_a_case_has_its_tensors_their_tolerances_and_their_witnesses(folder: Path) -> None:
    case = document(folder, "layer_norm")["cases"][0]
    tensors = {one["name"]: one for one in case["tensors"]}
    assert {one["role"] for one in case["tensors"]} == {
        "argument", "value", "cotangent", "gradient", "exact value", "exact gradient",
    }  # fmt: skip
    dx = tensors["0/gradient/x"]
    assert dx["witnesses"] == ["differences", "reference", "exact"]
    assert dx["verdict"] == "PASS"
    assert 0 < dx["tolerance"] < 1e-11 < dx["scale"]
    assert case["arguments"]["params"]["gamma"] == {"tensor": "0/argument/params.gamma"}


@ON_ONE_WORKER
def test_options_are_json_and_their_arrays_are_tensors(folder: Path) -> None:
    ids = document(folder, "embedding")["cases"][0]["options"]["ids"]
    assert unpack((folder / "embedding.safetensors").read_bytes())[ids["tensor"]].dtype == np.int64
    assert {"number": "inf"} in [case["options"].get("ord") for case in document(folder, "norm")["cases"]]
    statistics = [case["options"].get("statistics") for case in document(folder, "batch_norm")["cases"]]
    assert {"tensor": "9/option/statistics.mean"} in [one["mean"] for one in statistics if one]


@ON_ONE_WORKER
def test_exact_values_are_within_the_tolerance_and_absent_at_a_kink(folder: Path) -> None:
    tensors = unpack((folder / "layer_norm.safetensors").read_bytes())
    exact, ours = tensors["0/exact/gradient/x"], tensors["0/gradient/x"]
    assert 0 < np.abs(exact - ours).max() < 1e-15
    at_kink = next(case for case in document(folder, "norm")["cases"] if case["name"] == "two are the largest")
    assert "kink" in at_kink["exact"]
    assert not any(one["role"].startswith("exact") for one in at_kink["tensors"])


@ON_ONE_WORKER
def test_other_programs_read_the_tensors(folder: Path) -> None:
    data = (folder / "embedding.safetensors").read_bytes()
    ours, theirs = unpack(data), load(data)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)


def test_a_gradient_that_does_not_pass_is_not_written() -> None:
    wrong = (lambda x: (x * x, x), lambda x, dy: (x * dy,))
    with pytest.raises(NotRight, match="FAIL: "):
        files_of(Spec(wrong, cases=(Case("two", (np.array([1.0, 2.0]),)),)))


@pytest.mark.parametrize("array", [np.array([1.0]), np.arange(6.0).reshape(2, 3), np.array([True, False]), np.array(3)])
def test_a_checksum_tells_which_entry_has_changed(array: Any) -> None:
    written = checksum(array)
    for index in np.ndindex(array.shape):
        changed = array.copy()
        changed[index] = (
            not changed[index] if changed.dtype == bool else np.nextafter(changed[index], 9) + (changed.dtype == int)
        )
        assert changed_entry(changed, written) == index


def test_what_cannot_be_written_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"pack: z must be an array of numbers in one of F64, .*, got complex128"):
        pack({"z": np.ones(2, complex)})
    with pytest.raises(TypeError, match=r"encoded: 0/option\.f must hold numbers, texts, arrays and trees of them, got "):
        encoded({"f": abs}, "0/option", {})


def test_trees_come_back() -> None:
    tensors: dict[str, Any] = {}
    tree = {"a": (np.arange(3), [1, None, "text", np.nan]), "b": Statistics(np.ones(2), np.zeros(2))}
    encoded(tree, "t", tensors)
    back = decoded(tree, "t", tensors)
    assert optree.tree_structure(back) == optree.tree_structure(tree)  # type: ignore[arg-type]
    assert np.array_equal(back["a"][0], np.arange(3))


# ------------------------------------------------------------------------------------------------ check


@ON_ONE_WORKER
def test_a_changed_bit_of_a_tensor_is_named(folder: Path, tmp_path: Path) -> None:
    """A bit of an entry of each tensor, also the last one, whose change is far within the tolerance."""
    shutil.copy(folder / "layer_norm.json", tmp_path)
    data = (folder / "layer_norm.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    for name, about in header.items():
        begin, end = about["data_offsets"]
        if begin == end:
            continue
        entry = (end - begin) // 8 - 1
        flipped = bytearray(data)
        flipped[start + begin + 8 * entry] ^= 1
        (tmp_path / "layer_norm.safetensors").write_bytes(flipped)
        index = ", ".join(str(i) for i in np.unravel_index(entry, about["shape"]))
        (mistake,) = mistakes(tmp_path, "layer_norm")
        assert mistake.startswith(f"layer_norm: {name}[{index}] has changed since it was written: it is "), name


@ON_ONE_WORKER
@pytest.mark.parametrize("name", ["norm.json", "norm.safetensors"])
def test_no_changed_bit_passes(folder: Path, tmp_path: Path, name: str) -> None:
    for file in ("norm.json", "norm.safetensors"):
        shutil.copy(folder / file, tmp_path)
    data = (folder / name).read_bytes()
    for place in np.random.default_rng(0).integers(len(data), size=60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(place % 8)
        (tmp_path / name).write_bytes(flipped)
        assert mistakes(tmp_path, "norm"), place


@ON_ONE_WORKER
@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_file_that_was_cut_is_an_error(folder: Path, tmp_path: Path, cut: int) -> None:
    shutil.copy(folder / "norm.json", tmp_path)
    (tmp_path / "norm.safetensors").write_bytes((folder / "norm.safetensors").read_bytes()[:cut])
    assert "it is no safetensors file of golden gradients: " in mistakes(tmp_path, "norm")[0]
    (tmp_path / "norm.safetensors").unlink()
    assert "No such file" in mistakes(tmp_path, "norm")[0]


def forged(folder: Path, to: Path, name: str, change: Any) -> tuple[str, ...]:
    """The mistakes in files of layer_norm of which one tensor has been changed, and written with new checksums."""
    tensors = unpack((folder / "layer_norm.safetensors").read_bytes())
    tensors[name] = change(tensors[name].copy())
    about = document(folder, "layer_norm")
    for case in about["cases"]:
        for one in case["tensors"]:
            one["checksum"] = checksum(tensors[one["name"]])
    put(to, {"layer_norm.json": to_json(about).encode(), "layer_norm.safetensors": pack(tensors)})
    return mistakes(to, "layer_norm")


@ON_ONE_WORKER
@pytest.mark.parametrize("name", ["1/value", "1/gradient/x", "1/exact/gradient/x"])
def test_a_value_beyond_its_tolerance_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    def moved(by: float) -> Any:
        def change(array: Any) -> Any:
            array[1, 30] += by
            return array

        return change

    (mistake,) = forged(folder, tmp_path, name, moved(1e-11))
    assert mistake.startswith(f"layer_norm / more features than a few: {name}[1, 30] is ")
    assert ", the op gives " in mistake
    assert forged(folder, tmp_path, name, moved(1e-14)) == ()


@ON_ONE_WORKER
def test_another_argument_has_other_gradients(folder: Path, tmp_path: Path) -> None:
    found = forged(folder, tmp_path, "0/argument/x", lambda array: array + np.eye(3, 5))
    assert any("0/gradient/x[" in text for text in found)
    assert forged(folder, tmp_path, "0/argument/x", lambda array: array[:2])[0].endswith(
        "0/argument/x must be float64 (3, 5), got float64 (2, 5)"
    )


@ON_ONE_WORKER
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=2), "document.schema must be 1, got 2"),
        (lambda d: d.update(more=1), "document has 'more', which is not known"),
        (lambda d: d.pop("family"), "document lacks 'family'"),
        (lambda d: d.update(file="../norm.safetensors"), "its tensors must be in norm.safetensors, not in ../norm.safetensors"),
        (lambda d: d.update(cases={}), "document.cases must be of type array, got {}"),
        (lambda d: d["cases"][0]["tensors"][0].update(role="other"), "document.cases[0].tensors[0].role must be one of"),
        (lambda d: d["cases"][0]["tensors"][0].update(shape=[True]), "shape[0] must be of type integer, got True"),
        (lambda d: d["cases"][0]["tensors"][1].update(tolerance=-1), "tolerance must be at least 0, got -1"),
        (lambda d: d["cases"][0]["tensors"][1].update(checksum="0"), "checksum must match"),
        (lambda d: d["cases"][0]["tensors"].pop(), "the file has it, the JSON does not list it"),
        (lambda d: d["cases"].reverse(), "its cases are no longer these"),
        (lambda d: d["cases"][0]["options"].update(axis=1), "its arguments or options are no longer these"),
        (lambda d: d.update(op="normal"), "no op is named 'normal'"),
    ],
)
def test_what_is_wrong_with_a_document_is_said(folder: Path, tmp_path: Path, change: Any, message: str) -> None:
    shutil.copy(folder / "norm.safetensors", tmp_path)
    about = document(folder, "norm")
    change(about)
    (tmp_path / "norm.json").write_text(to_json(about))
    assert message in mistakes(tmp_path, "norm")[0]


@ON_ONE_WORKER
def test_tensors_that_are_missing_in_both_files_are_named(folder: Path, tmp_path: Path) -> None:
    tensors = unpack((folder / "norm.safetensors").read_bytes())
    for name in ("0/argument/x", "0/cotangent", "0/value", "0/gradient/x"):
        about = document(folder, "norm")
        about["cases"][0]["tensors"] = [one for one in about["cases"][0]["tensors"] if one["name"] != name]
        kept = {key: array for key, array in tensors.items() if key != name}
        put(tmp_path, {"norm.json": to_json(about).encode(), "norm.safetensors": pack(kept)})
        assert mistakes(tmp_path, "norm") == (f"norm / everything: {name} is missing",)


@ON_ONE_WORKER
def test_a_cotangent_of_another_shape_is_a_mistake(folder: Path, tmp_path: Path) -> None:
    tensors = unpack((folder / "norm.safetensors").read_bytes()) | {"0/cotangent": np.ones((7, 7))}
    about = document(folder, "norm")
    one = next(one for one in about["cases"][0]["tensors"] if one["name"] == "0/cotangent")
    one.update(shape=[7, 7], checksum=checksum(tensors["0/cotangent"]))
    put(tmp_path, {"norm.json": to_json(about).encode(), "norm.safetensors": pack(tensors)})
    assert mistakes(tmp_path, "norm")


def test_a_document_is_read_only_as_it_was_written() -> None:
    text = to_json({"a": 1})
    assert from_json(text)["a"] == 1
    for changed in (text.replace("1,", "2,"), text.replace("\n ", "\n  "), text + " ", "[]", "[" * 10**5, '{"a": NaN}', "{"):
        with pytest.raises(ValueError, match="it "):
            from_json(changed)


# ------------------------------------------------------------------------------------------------ history


def test_the_table_has_the_bugs_of_the_zoo() -> None:
    assert [(bug.name, bug.source, bug.what) for bug in history.bugs()] == [(bug.name, bug.source, bug.what) for bug in BUGS]


def test_the_cases_of_a_bug_have_a_flag_of_its_name() -> None:
    for bug in history.bugs():
        flag = {"name": bug.name, "meaning": f"a published bug: {bug.what}", "catches": bug.source}
        for op, case in (*bug.cases, (bug.name, bug.name)):
            assert flag in history.flags(op, case)
        assert all(catalogue.find(op).case(case) for op, case in bug.cases), bug.name


BY_RECORD = {
    "broadcast averaged",
    "broadcast not summed",
    "deviation of a constant",
    "divergence of the wrong sign",
    "divisor of the last window",
    "eps outside the root",
    "grouped weights",
    "ignored label writes to its neighbour",
    "last cell ignored",
    "logsumexp of nothing",
    "nothing comes from later steps",
    "rms_norm spreads its row term over columns",
    "unit length without eps",
}
"""Bugs whose function in the zoo takes other arguments than the op, so that only the record says that a case catches them."""
PLANTED = [(bug, one) for bug, one in zip(BUGS, history.bugs(), strict=True) if one.cases and bug.name not in BY_RECORD]


@pytest.mark.parametrize(("bug", "record"), PLANTED, ids=lambda one: one.name)
def test_a_bug_misses_the_golden_gradients_of_the_op(bug: Bug, record: history.Bug) -> None:
    """Its right twin gives them."""
    for op, case in record.cases:
        spec = catalogue.find(op)
        assert isinstance(spec, Spec)
        assert catches(bug, spec, spec.case(case))


def agrees(pair: Pair, golden: cases.Evaluated) -> bool:
    """Whether a pair gives the golden tensors where it is used as in a net, and leaves those that it was given as they are.

    Its forward pass is used a second time before its backward pass, and one gradient is changed in place after that.
    """
    given, other, dy = (optree.tree_map(np.array, tree) for tree in (golden.primals, golden.primals, golden.cotangent))
    with quiet():
        value, residuals = pair[0](*given, **golden.options)
        pair[0](*(1.5 * array for array in other), **golden.options)
        found = list(pair[1](residuals, dy))
    after: list[Any] = optree.tree_leaves((value, dy, given, found))  # type: ignore[arg-type]
    wanted: list[Any] = optree.tree_leaves((golden.value, golden.cotangent, golden.primals, list(golden.cotangents)))  # type: ignore[arg-type]
    pairs = list(zip(after, wanted, strict=True))
    if not all(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs):
        return False
    found[0] += 1.0
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found[1:], golden.cotangents[1:], strict=True))


@pytest.mark.parametrize(("bug", "spec"), list(zip(BUGS, SPECS, strict=True)), ids=lambda one: one.name)
def test_a_bug_misses_the_golden_gradients_of_its_own_function(bug: Bug, spec: Spec) -> None:
    """Its right twin gives them."""
    golden = cases.evaluated(spec, *cases.drawn(spec, spec.cases[0]))
    assert agrees(bug.right, golden)
    assert not agrees(bug.wrong, golden)


def test_the_function_of_a_bug_is_written_with_its_flag() -> None:
    spec = next(spec for spec in SPECS if spec.name == "remainder_rounded_down")
    about = json.loads(files_of(spec, "tests.zoo.golden")["remainder_rounded_down.json"])
    assert about["cases"][0]["flags"][-1]["name"] == "remainder rounded down"
    assert about["module"] == "tests.zoo.golden"


# ------------------------------------------------------------------------------------------------ command


def test_the_command_writes_and_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["vectors", "write", str(tmp_path), "relu", "tanh", "--jobs", "1"]) == 0
    assert re.fullmatch(rf"written: 2 ops, \d\.\d MB, to {re.escape(str(tmp_path))}\n", capsys.readouterr().out)
    monkeypatch.setattr(vectors, "TIMEOUT", None)  # the others in this process
    assert main(["vectors", "check", str(tmp_path), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 ops, ")
    assert "every tensor is as it was written, and within its tolerance" in said
    (tmp_path / "tanh.json").unlink()
    assert main(["vectors", "check", str(tmp_path), "--jobs", "1"]) == 1
    assert "tanh: there is no tanh.json beside tanh.safetensors" in capsys.readouterr().out
    assert main(["vectors", "check", str(tmp_path), "elu", "--jobs", "1"]) == 1
    assert f"elu: {tmp_path / 'elu.json'} is missing" in capsys.readouterr().out


def test_a_file_does_not_choose_what_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "TIMEOUT", None)  # in this process
    module, folder = "tests.zoo.golden", str(tmp_path)
    assert main(["vectors", "write", folder, f"{module}:reused_node_overwritten", "--jobs", "1"]) == 0
    assert main(["vectors", "check", folder, "--jobs", "1"]) == 1
    assert f"its Spec is in the module {module}; name it, as {module}:reused_node_overwritten" in capsys.readouterr().out
    assert main(["vectors", "check", folder, f"{module}:reused_node_overwritten", "--jobs", "1"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "."], 5, "no golden gradients in .; `oracle vectors write .` writes them"),
        (["check", "nowhere"], 4, "nowhere"),
        (["write", "golden", "adam"], 5, "no op with a backward pass is named"),
        (["write", "golden", "nothing_like_it"], 4, "nothing_like_it"),
        (["print", "."], 4, "print"),
    ],
)
def test_mistakes_of_the_user_are_answered(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["vectors", *arguments]) == code
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ runners


def command(language: str, folder: Path) -> list[str]:
    """What runs the runner of this language, after it is compiled; the test is skipped where its tool is absent."""
    tool = {"c": "cc", "js": "node", "rs": "rustc"}[language]
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed: the runner golden.{language} cannot run")
    source, program = RUNNERS / f"golden.{language}", folder / f"runner_{language}"
    if language == "js":
        return [found, str(source)]
    flags = (
        ["-O2", "-Wall", "-Wextra", "-Werror", str(source), "-lm"]
        if language == "c"
        else ["--edition", "2021", "-O", "-D", "warnings", str(source)]
    )
    subprocess.run([found, "-o", str(program), *flags], check=True)
    return [str(program)]


@ON_ONE_WORKER
@pytest.mark.parametrize("language", ["c", "js", "rs"])
def test_a_runner_passes_and_finds_its_planted_bug(language: str, folder: Path, tmp_path: Path) -> None:
    run = command(language, tmp_path)
    right = subprocess.run([*run, str(folder)], capture_output=True, text=True, check=False)
    assert right.returncode == 0, right.stdout + right.stderr
    assert right.stdout.endswith(" tensors tested, 0 wrong\n")
    wrong = subprocess.run([*run, str(folder), "planted"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "gradient/x: entry " in wrong.stdout
    assert "gradient/params.w: entry " in wrong.stdout


def test_a_runner_is_short() -> None:
    runners = sorted(RUNNERS.glob("golden.*"))
    assert [path.suffix for path in runners] == [".c", ".js", ".rs"]
    assert all(len(path.read_text().splitlines()) <= 100 for path in runners)
