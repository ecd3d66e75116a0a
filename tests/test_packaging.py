"""What is built from the checkout, installed alone and with its extra into environments that hold what it asks for and no more.

The backend that builds is installed by pip, as pip itself does. What the package depends on is taken from the environment that
runs these tests, as links, following what the wheel and each distribution say of their dependencies: so what is not declared is
not there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCES = ("purenet", "oracle", "tests", "docs", "examples", "runners", "benchmarks", ".ci")
FILES = ("Makefile", "pyproject.toml", "MANIFEST.in", "PACKAGE.md", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE")
NEEDS = 'oracle needs its extra: pip install "purenet[oracle]" (missing: '

PLAIN = "def test_plain(): assert True\n"
SUITE = """
import numpy as np

def cube(x):
    return x**3, x

def test_right(verify_gradient):
    verify_gradient((cube, lambda x, dy: (3 * x**2 * dy,)), np.array([1.0, -2.0]))

def test_wrong(verify_gradient):
    verify_gradient((cube, lambda x, dy: (2 * x**2 * dy,)), np.array([1.0, -2.0]))
"""

pytestmark = pytest.mark.xdist_group("packaging")


class Built(NamedTuple):
    """What the backend has made."""

    wheel: Path
    sdist: Path

    @property
    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as wheel:
            (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
            return HeaderParser().parsestr(wheel.read(name).decode())


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> tuple[int, str, str]:
    """Its exit code, and what it wrote to stdout and stderr, with nothing of this environment on its path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "COVERAGE"))}
    environment |= {"COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"} | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The source distribution of a copy of the checkout, and the wheel of that."""
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "checkout"
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
    code, out, err = run(*pip, folder / "backend", *wanted, cwd=folder)
    assert code == 0, out + err

    def build(what: str, where: Path) -> Path:
        program = f"from setuptools import build_meta; print(build_meta.build_{what}({str(folder)!r}))"
        code, out, err = run(sys.executable, "-c", program, cwd=where, path=folder / "backend")
        assert code == 0, out + err
        return folder / out.splitlines()[-1]

    sdist = build("sdist", copy)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return Built(build("wheel", folder / sdist.name.removesuffix(".tar.gz")), sdist)


def closure(*requirements: str) -> dict[str, Path]:
    """What must be installed for these, by name in site-packages and place: themselves and all that they say they need."""
    places: dict[str, Path] = {}
    seen: set[tuple[str, str]] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        wanted = left.pop()
        for extra in {"", *wanted.extras}:
            if (canonicalize_name(wanted.name), extra) in seen:
                continue
            seen.add((canonicalize_name(wanted.name), extra))
            found = distribution(wanted.name)
            assert wanted.specifier.contains(found.version, prereleases=True), f"{wanted}: {found.version} is installed"
            for file in found.files or ():
                if file.parts[0] not in ("..", "__pycache__"):
                    places[file.parts[0]] = Path(str(found.locate_file(file.parts[0])))
            needs = [Requirement(text) for text in found.requires or ()]
            left += [one for one in needs if one.marker is None or one.marker.evaluate({"extra": extra})]
    return places


def environment(folder: Path, built: Built, extra: str = "") -> Path:
    """A fresh environment with the wheel, what it asks for with this extra, and pytest."""
    venv.create(folder, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    _, packages, _ = run(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    needs = [Requirement(text) for text in built.metadata.get_all("Requires-Dist") or ()]
    chosen = [one for one in needs if one.marker is None or one.marker.evaluate({"extra": extra})]
    for one in chosen:
        one.marker = None
    for name, place in closure("pytest", *map(str, chosen)).items():
        (Path(packages.strip()) / name).symlink_to(place)
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet", "--no-deps", "--no-index"]
    code, out, err = run(*pip, built.wheel, cwd=folder)
    assert code == 0, out + err
    return scripts


@pytest.fixture(scope="session")
def alone(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("alone"), built)


@pytest.fixture(scope="session")
def extra(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("extra"), built, "oracle")


@pytest.fixture(scope="session")
def grader(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("grader"), built, "grade")


def below(name: str) -> set[str]:
    """The files of a folder of the checkout, as git would see them."""
    files = {path for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {path.relative_to(ROOT).as_posix() for path in files if path.parent != ROOT / "docs" / "ops"}  # the site makes these


def test_the_source_distribution_holds_what_the_tests_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {*FILES, *(file for name in SOURCES for file in below(name))} - held == set()
    assert not [name for name in held if "__pycache__" in name or name.endswith(".pyc")]


def test_the_wheel_holds_the_two_packages_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == below("purenet") | below("oracle")


def test_what_an_index_shows(built: Built) -> None:
    metadata = built.metadata
    assert metadata["Author"] == "purenet contributors"
    assert metadata["License-Expression"] == "MIT"
    classifiers = metadata.get_all("Classifier") or []
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)} <= {*classifiers}
    assert "Operating System :: OS Independent" in classifiers
    page = metadata.get_payload()
    assert isinstance(page, str)
    assert page.startswith("# purenet + oracle")
    assert re.findall(r"\]\((?!https?://)[^)]*\)", page) == []  # a link into the repository leads nowhere there


def test_alone_it_disturbs_no_suite(alone: Path, tmp_path: Path) -> None:
    python = alone / "python"
    (tmp_path / "test_plain.py").write_text(PLAIN)
    code, out, err = run(python, "-m", "pytest", "-W", "error", cwd=tmp_path)
    assert (code, "1 passed" in out) == (pytest.ExitCode.OK, True), out + err
    (tmp_path / "test_gradient.py").write_text(SUITE)
    code, out, _ = run(python, "-m", "pytest", cwd=tmp_path)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 passed, 2 errors" in out
    assert out.count(f"\nverify_gradient: {NEEDS}") == 2
    code, out, err = run(python, "-m", "pytest", "--gradient-report", "x", cwd=tmp_path)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: --gradient-report: {NEEDS}" in out + err


def test_alone_it_computes_and_says_what_the_oracle_needs(alone: Path, tmp_path: Path) -> None:
    code, out, err = run(alone / "python", "-W", "error", "-c", "import purenet as pn; print(pn.relu(-1.0))", cwd=tmp_path)
    assert (code, out, err) == (0, "0.0\n", "")
    for command in ([alone / "oracle"], [alone / "python", "-m", "oracle"]):
        code, out, err = run(*command, "verify", "relu", cwd=tmp_path)
        assert (code, out) == (4, "")
        assert err.startswith(NEEDS)
        assert err.count("\n") == 1
    code, _, err = run(alone / "python", "-c", "import oracle; oracle.verify", cwd=tmp_path)
    assert code == 1
    assert f"\nImportError: {NEEDS}" in err


def test_with_its_extra_it_verifies(extra: Path, tmp_path: Path) -> None:
    code, out, err = run(extra / "oracle", "verify", "relu", "--jobs", "1", cwd=tmp_path)
    assert code == 0, out + err
    assert (tmp_path / "reports" / "index.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "test_gradient.py").write_text(SUITE)
    code, out, err = run(extra / "python", "-m", "pytest", "--gradient-report", "found", cwd=tmp_path / "mine")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in out
    assert "constant factor: x is 0.666667 times the true gradient" in out
    assert (tmp_path / "mine" / "found" / "verification.json").exists()


def test_a_small_extra_grades(grader: Path, alone: Path, tmp_path: Path) -> None:
    submission = ROOT / "tests" / "oracle" / "submissions" / "convolution.py"
    arguments = ("grade", "--assignment", "convolution", submission)
    code, out, err = run(grader / "oracle", *arguments, cwd=tmp_path)
    assert (code, err) == (0, ""), out + err
    assert "convolution: 21 of 21 points" in out
    code, _, err = run(grader / "oracle", "verify", "relu", cwd=tmp_path)
    assert (code, err.startswith(NEEDS + "jax, ")) == (4, True)
    code, _, err = run(alone / "oracle", *arguments, cwd=tmp_path)
    assert (code, err) == (4, f"{NEEDS.replace('[oracle]', '[grade]')}ml_dtypes, tabulate, tqdm)\n")


def test_the_first_demonstration_of_the_readme(extra: Path, tmp_path: Path) -> None:
    said = "oracle verify oracle.examples.own_op:mean_squared_error"
    for page in ("README.md", "PACKAGE.md"):
        assert said in (ROOT / page).read_text()
    code, out, err = run(extra / "oracle", *said.split()[1:], "--jobs", "1", "--timeout", "0", cwd=tmp_path)
    assert code == 1, out + err
    assert "constant factor: each of w, x, targets is 0.01 times the true gradient" in out
    assert "divided by the batch (100) once too often" in " ".join(out.split())
