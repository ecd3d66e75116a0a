"""A run of training, from its settings to a trained net; `python -m purenet train` calls this.

`prepare` makes everything and raises if something does not fit; `run` trains, tests and saves. When a run ends early, by a loss
that is not finite, an interrupt or the end of the process, the last good checkpoint stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import optree

from purenet import checkpoints, curves, models, random
from purenet.checks import nearest
from purenet.combinators import parameter_count
from purenet.recipes import Recipe, default_rate, optimizer_names, optimizer_of, recipes_of
from purenet.tasks import Setting, Task
from purenet.training import MEASURES, Batch, Metrics, NotFinite, State, make_evaluation, make_step, start

__all__ = ["Run", "Settings", "Teller", "prepare", "run"]

SAVE_AFTER = 60.0
"""Seconds after which the state is saved before an epoch has ended."""

FREE = ("rate", "steps")
"""The settings that may change when a run continues from a checkpoint."""


class Settings(NamedTuple):
    """The settings of a run. A setting of None is taken from the checkpoint that the run continues, or else from the recipe."""

    net: str
    optimizer: str | None = None
    rate: float | None = None
    batch: int | None = None
    steps: int | None = None
    seed: int | None = None
    dtype: str | None = None
    data: str | None = None
    checkpoint: str | None = None
    resume: str | None = None


class Teller(Protocol):
    """Receives the progress of a run."""

    def write(self, line: str) -> None:
        """Print a line."""

    def advance(self, metrics: Metrics) -> None:
        """Count one more step."""


class Run(NamedTuple):
    """A run that is ready to begin."""

    title: str
    state: State
    step: Callable[[State, Batch], tuple[State, Metrics]]
    test: Callable[[State], Metrics]
    task: Task
    about: dict[str, Any]
    """The header of its checkpoints: everything that determines its bits."""
    rows: list[curves.Row]
    """The metrics of the steps before this run began."""
    checkpoint: Path

    @property
    def steps(self) -> int:
        return int(self.about["steps"])

    @property
    def batch(self) -> int:
        return int(self.about["batch"])


# ------------------------------------------------------------------------------------------------------------- before


class DoesNotFit(ValueError):
    """The net does not take the data."""


def prepare(settings: Settings) -> Run:
    """The run of these settings, and its first checkpoint.

    Errors: ValueError or OSError for what cannot be read, trained or written, with a line for people; ImportError for a missing
        package; MemoryError.
    """
    first, *others = recipes_of(settings.net)
    try:
        return _prepared(settings, first)
    except DoesNotFit:
        for recipe in others:
            with suppress(DoesNotFit):
                return _prepared(settings, recipe)
        raise


def _prepared(settings: Settings, recipe: Recipe) -> Run:
    module = _module_of(settings.net)
    stored = checkpoints.read_about(settings.resume) if settings.resume else {}
    if stored and stored.get("net") != settings.net:
        raise ValueError(f"{settings.resume}: expected a checkpoint with net {settings.net}, found {stored.get('net')}")
    about = _about(settings, recipe, stored)
    dtype = np.dtype(about["dtype"])
    task = recipe.task_for(Setting(about["batch"], about["seed"], dtype, settings.data))
    about |= task.about

    init_key, key = random.split(random.key(about["seed"]))
    params = {"net": module.init(init_key, **recipe.init, **task.init, dtype=dtype)}
    first_carry = module.carry(params["net"], about["batch"]) if task.recurrent else None
    optimizer = optimizer_of(about["optimizer"], about["rate"], about["steps"], recipe.clip)
    state, rows = start(optimizer, params, key, first_carry), []
    checkpoint = _place(settings)
    if settings.resume:
        fixed = {name: value for name, value in about.items() if name not in FREE}
        state = checkpoints.load(settings.resume, state, fixed)
        rows = curves.read(Path(settings.resume).with_suffix(".csv"), int(state.step))
        if int(state.step) > about["steps"]:
            raise ValueError(f"{settings.resume}: has made {int(state.step)} steps already, more than --steps {about['steps']}")

    goal = module.goal(**recipe.options)
    measures = {**MEASURES, **task.measures}
    evaluate = make_evaluation(goal, measures=measures)

    def test(state: State) -> Metrics:
        return evaluate(state._replace(carry=first_carry), task.tests())

    try:  # raises if the parts do not fit together, before anything is written
        evaluate(state, [(1, next(task.batches(state.key, int(state.step))))])
    except (TypeError, ValueError) as error:
        notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
        raise DoesNotFit(f"{settings.net}: {error}{notes}") from error
    checkpoints.save(checkpoint, state, about)
    title = (
        f"{settings.net}, {parameter_count(params):,} parameters; {task.title}; {about['optimizer']}, rate {about['rate']:g}, "
        f"batch {about['batch']}, {about['dtype']}, {about['steps']} steps"
    )
    return Run(title, state, make_step(goal, optimizer, measures=measures), test, task, about, rows, checkpoint)


def _module_of(net: str) -> Any:
    names = models.names()
    if net not in names:
        raise ValueError(f"there is no net named {net!r}; {nearest(net, names)}")
    module = getattr(models, net)
    for part in ("goal", "init"):
        if not callable(getattr(module, part, None)):
            raise ValueError(f"purenet.models.{net} has no function {part}, which training needs")
    return module


def _about(settings: Settings, recipe: Recipe, stored: dict[str, Any]) -> dict[str, Any]:
    """Everything except the data that determines the bits of a run: the settings, or else the checkpoint's, or the recipe's."""
    optimizer = settings.optimizer or stored.get("optimizer", recipe.optimizer)
    if optimizer not in optimizer_names():
        raise ValueError(f"there is no optimizer named {optimizer!r}; {nearest(str(optimizer), optimizer_names())}")
    defaults = {
        "rate": default_rate(recipe, optimizer),
        "batch": recipe.batch,
        "steps": recipe.full_steps if settings.data else recipe.steps,
        "seed": 0,
        "dtype": "float32",
    }
    about: dict[str, Any] = {"net": settings.net, "options": dict(recipe.options), "optimizer": optimizer, "clip": recipe.clip}
    for name, default in defaults.items():
        given = getattr(settings, name)
        about[name] = stored.get(name, default) if given is None else given
        if type(about[name]) is not type(default):
            raise ValueError(f"{settings.resume}: expected {name} to be like {default}, found {about[name]!r}")
    return about


def _place(settings: Settings) -> Path:
    """The path of the checkpoints. A file is overwritten only if this run began with it."""
    if settings.checkpoint or settings.resume:
        path = Path(settings.checkpoint or settings.resume or "")
        if path.suffix in (".csv", ".svg"):
            raise ValueError(f"{path}: a checkpoint needs another name, the metrics are written to .csv and .svg beside it")
        if path.exists() and not (settings.resume and path.samefile(settings.resume)):
            raise ValueError(f"{path} is there already; --resume {path} goes on from it, or choose another --checkpoint")
        if not path.parent.is_dir():
            raise ValueError(f"{path.parent}: expected a folder to write the checkpoint to, found none")
        return path
    folder = Path("runs")
    folder.mkdir(exist_ok=True)
    paths = (folder / f"{settings.net}{f'-{i}' if i > 1 else ''}.safetensors" for i in count(1))
    return next(path for path in paths if not path.exists())


# ------------------------------------------------------------------------------------------------------------ training


def run(prepared: Run, teller: Teller) -> Metrics:
    """Train to the last step, and return the results of the test.

    Errors: NotFinite where the loss or a parameter is not finite; OSError where something cannot be written. Either way, and on
        KeyboardInterrupt, the checkpoint holds a state that was good.
    """
    state, rows, task = prepared.state, prepared.rows, prepared.task
    every = max(1, min(task.epoch, prepared.steps // 4))
    first = int(state.step)
    tests: Metrics | None = None
    recent: list[Metrics] = []
    saved = begun = time.perf_counter()
    try:
        for batch in islice(task.batches(state.key, first), prepared.steps - first):
            new, metrics = prepared.step(state, batch)
            number = int(new.step)
            tests = prepared.test(new) if number % every == 0 or number == prepared.steps else None
            rows.append(curves.row_of(number, metrics, tests))
            state = new
            recent.append(metrics)
            teller.advance(metrics)
            now = time.perf_counter()
            if tests is not None or now - saved > SAVE_AFTER:
                _save(prepared, state)
                saved = now
            if tests is not None:
                rate = (number - first) * prepared.batch / (now - begun)
                teller.write(_line(number, number / task.epoch, _mean(recent), tests, rate))
                recent = []
    except KeyboardInterrupt:
        _save(prepared, state)
        raise
    return prepared.test(state) if tests is None else tests


def _save(prepared: Run, state: State) -> None:
    """Save the checkpoint and the metrics so far, unless no run could continue from this state."""
    if not all(np.isfinite(leaf).all() for leaf in optree.tree_leaves(state.params)):
        raise NotFinite(int(state.step), "a parameter is not finite")
    # The metrics are written first: a run that continues drops rows after the checkpoint's step, but cannot add missing ones.
    curves.write(prepared.checkpoint.with_suffix(".csv"), [row for row in prepared.rows if row["step"] <= int(state.step)])
    checkpoints.save(prepared.checkpoint, state, prepared.about)


def _mean(recent: list[Metrics]) -> Metrics:
    names = dict.fromkeys(name for metrics in recent for name in metrics)
    return {name: float(np.mean([metrics[name] for metrics in recent if name in metrics])) for name in names}


def _line(step: int, epoch: float, metrics: Metrics, tests: Metrics, rate: float) -> str:
    both = [("", metrics), ("test ", tests)]
    numbers = "  ".join(f"{part}{name} {value:.4f}" for part, found in both for name, value in found.items())
    return f"epoch {epoch:6.2f}  step {step:6d}  {numbers}  {rate:.0f} samples/s"
