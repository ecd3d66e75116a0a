"""What importing loads: `purenet` neither JAX nor the oracle, the oracle no JAX until a reference is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import oracle
import purenet

ROOT = Path(__file__).parent.parent
HEAVY = ("jax", "jaxlib", "optax", "equinox", "ml_dtypes", "mlxtend", "tabulate", "tqdm", "matplotlib", "jinja2", "safetensors")


def loaded(code: str) -> set[str]:
    """The packages in `sys.modules` of a fresh interpreter after `code`."""
    program = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return set(result.stdout.split())


def test_importing_purenet_loads_what_it_computes_with_alone() -> None:
    names = loaded("import purenet")
    assert {"purenet", "numpy", "optree"} <= names
    assert not names & {"oracle", "scipy", "tempfile", *HEAVY}


def test_the_command_loads_what_only_shows_or_saves_when_it_is_needed() -> None:
    assert not loaded("import purenet.__main__") & {"oracle", *HEAVY}


def test_using_purenet_loads_nothing_more() -> None:
    code = """
import numpy as np, purenet as pn
goal = pn.models.two_layer_net.goal()
params = {"net": pn.models.two_layer_net.init(pn.random.key(0), (4, 3, 2))}
_, residuals = goal.fwd(params, np.ones((2, 4)), loss={"labels": np.array([0, 1])})
optimizer = pn.optimizers.adam(0.1)
optimizer.update(goal.bwd(residuals, 1.0)[0], optimizer.init(params), params)
assert pn.sigmoid(np.zeros(1)) == 0.5"""
    names = loaded(code)
    assert "scipy" in names
    assert not names & {"oracle", *HEAVY}


def test_importing_the_oracle_loads_no_jax() -> None:
    modules = "oracle.cli.main, oracle.running.campaign, oracle.trajectory, oracle.report.html"
    names = loaded(f"import oracle, {modules}\nassert oracle.verify")
    assert {"oracle", "purenet"} <= names
    assert not names & {"jax", "jaxlib", "optax", "equinox", "mlxtend", "matplotlib", "jinja2"}


def test_verifying_without_a_reference_loads_no_jax() -> None:
    code = """
import numpy as np, oracle, purenet as pn
assert oracle.verify(pn.tanh, np.array([0.5, -1.0])).passed"""
    assert not loaded(code) & {"jax", "jaxlib", "optax", "equinox"}


def test_an_op_of_the_catalogue_is_found_without_all_modules() -> None:
    names = loaded("from oracle import catalogue\nassert catalogue.find('relu').name == 'relu'")
    assert "jax" in names
    assert not names & {"optax", "equinox"}


def test_dir_has_what_is_meant_to_be_used_alone() -> None:
    for module in (oracle, purenet):
        names = [name for name in dir(module) if not name.startswith("__")]
        assert set(module.__all__) <= set(names)
        assert not {"op", "windows", "checks", "tuples", "extra", "import_module", "Any"} & set(names)
        assert all(getattr(module, name) is not None for name in names)
