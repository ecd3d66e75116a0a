"""Classes of learners on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.cli.main import Exit
from oracle.running import making
from tests.oracle.conftest import Module, Run
from tests.oracle.learners import bits
from tests.oracle.students import book_nets

NET = """
import numpy as np
import oracle
from tests.oracle.students.book_layers import Relu, Sigmoid
from tests.oracle.students.book_nets import TwoLayerNet


class Unchecked(TwoLayerNet):
    pass


class Doubled(TwoLayerNet):
    def gradient(self, x, t):
        grads = super().gradient(x, t)
        return {**grads, "b1": 2 * grads["b1"]}


np.random.seed(0)
x = np.random.rand(3, 5)
check = oracle.adapters.of_net(TwoLayerNet(5, 4, 3, 0.5), x, np.array([0, 2, 1]))
again = oracle.Spec(oracle.adapters.of_net(Doubled(5, 4, 3, 0.5), x, np.array([0, 2, 1])), cases=(oracle.Case("one", ()),))
relu = oracle.adapters.of_layer(Relu(), x)
"""


@pytest.fixture
def net(module: Module, in_this_process: None) -> Iterator[str]:
    module("sub.book_net", NET)
    yield "sub/book_net.py"
    sys.modules.pop("book_net", None)  # a file is imported as in `python sub/book_net.py`, without its folder's name


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_line_in_the_module_and_the_file_of_it(net: str, run: Run, module: Module) -> None:
    code, out, err = run("verify", f"{net}:check", f"{net}:relu", "--accept", "1e-5")
    assert (code, "5 gradients of 2 ops in 2 cases: 1 PASS, 4 ACCEPTED" in words(out)) == (Exit.PASS, True), out + err
    code, out, err = run("verify", f"{net}:Doubled", "--accept", "1e-5")
    assert code == Exit.FAIL, out + err
    assert "params.b1 is 2 times the true gradient" in words(out)
    assert f"reproduce: oracle verify {net}:Doubled --case one --accept 1e-05" in words(out)
    program = Path("reports/failures/Doubled-one/repro.py").read_text(encoding="utf-8")
    assert "Task('book_net', 'Doubled', 'one', 'float64', accept=1e-05)" in program


@pytest.mark.usefixtures("undiagnosed")
def test_the_class_of_a_net_and_digits(net: str, run: Run) -> None:
    code, out, err = run("verify", f"{net}:Doubled", "--data", "mnist", "--accept", "1e-5", "--init", "784, 3, output_size=10")
    assert code == Exit.FAIL, out + err
    assert "3 ACCEPTED, 1 FAIL" in out
    assert "Doubled / mnist, 10 rows / params.b1  float64 3" in out
    again = "--data mnist --init '784, 3, output_size=10' --accept 1e-05"
    assert f"reproduce: oracle verify {net}:Doubled --case 'mnist, 10 rows' {again}" in words(out)


def test_sizes_by_the_names_of_parameters() -> None:
    spec = making.made(book_nets.TwoLayerNet, "mnist")
    assert {name: a.shape for name, a in spec.cases[0].draw(spec.name)[0][0].items()} == {
        "W1": (784, 8), "b1": (8,), "W2": (8, 10), "b2": (10,)
    }  # fmt: skip
    assert spec.cases[0].name == "mnist, 10 rows"
    images = making.made(book_nets.SimpleConvNet, "mnist((1, 28, 28), output_size=10)")
    assert images.cases[0].name == "mnist, 10 images"
    again = making.made(book_nets.TwoLayerNet, "mnist")  # in another process, say
    assert bits(again.cases[0].draw(again.name)) == bits(spec.cases[0].draw(spec.name))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("NET:Unchecked", r"NET:Unchecked has no inputs .* check = oracle.adapters.of_net.* of Unchecked, or use --data mnist"),
        ("NET:Sigmoid", r"NET:Sigmoid has no inputs .* check = oracle.adapters.of_layer\(layer, x\) with an object of Sigmoid"),
        ("NET:TwoLayerNet --data cifar", "NET:TwoLayerNet: --data takes mnist or a folder with the files of MNIST, got cifar"),
        ("NET:TwoLayerNet --data mnist --init 784,", "NET:TwoLayerNet: .*missing 2 required positional arguments.*"),
        ("NET:TwoLayerNet --data mnist --init x", "NET:TwoLayerNet: --init takes numbers, .* got 'x'"),
        ("NET:TwoLayerNet --data mnist --init 5,5,5", "NET:TwoLayerNet: TwoLayerNet.loss takes neither rows nor images .*"),
        ("NET:Relu --data mnist", "NET:Relu: of_net: no parameters found in Relu: name them, params=.*"),
        ("NET:Nothing --data mnist", "book_net has no 'Nothing'"),
        ("NET:check --init 3", "--init needs --data, such as --data mnist"),
        ("relu --data mnist", "--data is for a class of nets in a module of yours, such as mynet.py:TwoLayerNet"),
        ("relu --accept 1e-5", "--accept is for functions of your own, such as package.module:op"),
        ("NET:check --accept 2", "argument --accept: expected a number from 0 to 1, got '2' .*"),
        ("sub/other.py:check", "there is no file sub/other.py"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(net: str, run: Run, arguments: str, match: str) -> None:
    code, out, err = run("verify", *(part.replace("NET", net) for part in arguments.split()))
    assert (code, out) == (Exit.USAGE, "")
    assert re.fullmatch(rf"oracle: {match.replace('NET', net)}\n", err), err


def test_a_file_with_the_name_of_another_module(module: Module, run: Run) -> None:
    module("sub.random", NET)
    code, _, err = run("verify", "sub/random.py:check")
    assert code == Exit.USAGE
    assert "cannot import sub/random.py: random is another module" in err
