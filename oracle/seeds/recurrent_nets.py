"""Recurrent nets that learn a text, with and without gradient clipping. The text comes with every Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.drawing import Panel, curves, smoothed
from oracle.seeds.experiment import Experiment, Setting
from oracle.seeds.learning import OPTIMIZERS
from oracle.seeds.section import Claim, Quote, Section, Table
from purenet import training
from purenet.models import char_rnn
from purenet.op import Tree
from purenet.optimizers import GradientTransformation

__all__ = ["CHAR_RNN", "Read", "Reading", "of_clipping", "of_reading", "read", "readings", "text_of", "topics_text"]

Array = NDArray[Any]

CELLS = ("rnn", "lstm", "gru")
PROMPT = "The value of "
WINDOW = 20  # steps over which a loss is averaged
TEXTS, LENGTH = 32, 25  # the number of parts of the text that are read in parallel, and of characters before each update
RATE = 5.0  # the learning rate of SGD: so large that clipping matters
EXPLODED = 10.0  # a norm this many times the median norm of clipped training counts as an explosion


class Reading(NamedTuple):
    """A recurrent cell and its training."""

    label: str
    cell: str
    optimizer: str
    rate: float
    clip: float | None
    """The limit of the norm of all gradients together; None: no clipping."""
    characters: int
    """The number of characters of the text that are read."""
    hidden: int
    steps: int
    sampled: int = 0
    """The number of characters that the net writes at the end."""


class Read(NamedTuple):
    """The results of a training."""

    losses: Array
    """The loss of each step, in nats per character."""
    norms: Array
    """The norm of the gradients of each step, before clipping."""
    alphabet: int
    """The number of different characters."""
    sample: str
    """The text that the net has written."""


def topics_text() -> str:
    """Python's help topics in alphabetical order."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


@lru_cache(maxsize=1)
def text_of(characters: int) -> tuple[str, Array]:
    """The first `characters` of that text: the alphabet that occurs, and the text as indices into it."""
    alphabet, ids = np.unique(np.array(list(topics_text()[:characters])), return_inverse=True)
    return "".join(alphabet), ids.astype(np.int64)


def measured(norms: list[float]) -> GradientTransformation:
    """Appends the norm of the gradients to `norms` and does not change them."""

    def update(grads: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]:
        norms.append(float(np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in optree.tree_leaves(grads)))))
        return grads, state

    return GradientTransformation(lambda params: (), update)


def _optimizer(reading: Reading, norms: list[float]) -> GradientTransformation:
    clip = [] if reading.clip is None else [pn.optimizers.clip_by_global_norm(reading.clip)]
    return pn.optimizers.chain(measured(norms), *clip, OPTIMIZERS[reading.optimizer](reading.rate))


def read(reading: Reading) -> Read:
    """Trains on the text repeatedly, one window at a time (truncated backpropagation through time)."""
    alphabet, ids = text_of(reading.characters)
    streams = ids[: ids.size // TEXTS * TEXTS].reshape(TEXTS, -1)
    init_key, run_key, sample_key = pn.random.split(pn.random.key(0), 3)
    net = char_rnn.init(init_key, len(alphabet), embedding=32, hidden=reading.hidden, cell=reading.cell, dtype=np.float32)
    norms: list[float] = []
    losses: list[float] = []
    optimizer = _optimizer(reading, norms)
    step = training.make_step(char_rnn.goal(cell=reading.cell), optimizer)
    state = training.start(optimizer, {"net": net}, run_key, char_rnn.carry(net, TEXTS))
    windows = (streams.shape[1] - 1) // LENGTH
    for i in range(reading.steps):
        start = i % windows * LENGTH
        current, following = (streams[:, begin : begin + LENGTH] for begin in (start, start + 1))
        try:
            state, metrics = step(state, {"net": {"rnn": {"ids": current}}, "loss": {"labels": following}})
        except training.NotFinite:
            break
        losses.append(metrics["loss"])
    sample = ""
    if reading.sampled:
        prompt = np.array([alphabet.index(character) for character in PROMPT])
        drawn = char_rnn.sample(sample_key, state.params["net"], prompt, reading.sampled, cell=reading.cell, temperature=0.7)
        sample = "".join(alphabet[i] for i in drawn)
    return Read(np.array(losses), np.array(norms), len(alphabet), sample)


def readings(setting: Setting) -> list[Reading]:
    """Three cells with Adam, then the simple cell with SGD, with and without clipping."""
    characters, hidden, steps, sampled = (100_000, 100, 80, 200) if setting.quick else (450_000, 256, 6000, 500)
    read_well = [
        Reading(cell, cell, "Adam", 0.005, 1.0, characters, hidden, steps, sampled * (cell == "gru")) for cell in CELLS
    ]
    by_sgd = [
        Reading(label, "rnn", "SGD", RATE, clip, characters, hidden, min(steps, 500) * 2 // 3)
        for label, clip in (("clipped", 0.25), ("not clipped", None))
    ]
    return [*read_well, *by_sgd]


def of_reading(pieces: Sequence[Reading], results: Sequence[Read]) -> Section:
    """The three cells compared, and a text that one of them writes."""
    found = {piece.cell: result for piece, result in zip(pieces, results, strict=True)}
    guess = float(np.log(results[0].alphabet))
    ends = {cell: _end(r) for cell, r in found.items()}
    rows = [(cell, f"{r.losses[0]:.2f}", f"{ends[cell]:.2f}", f"{ends[cell] / np.log(2):.2f}") for cell, r in found.items()]
    lines = {cell: (np.arange(1, r.losses.size + 1), smoothed(r.losses, WINDOW)) for cell, r in found.items()}
    sample = next(r.sample for r in results if r.sample)
    writer = next(cell for cell, r in found.items() if r.sample)
    return Section(
        "Recurrent nets read a text",
        (
            f"""The first {pieces[0].characters:,} characters of Python's help topics (`pydoc_data.topics`, which differs
            between versions), {results[0].alphabet} different ones; {TEXTS} places at once, windows of {LENGTH} characters,
            {pieces[0].hidden} hidden units, Adam {pieces[0].rate:g}, gradients clipped to a norm of {pieces[0].clip:g},
            {pieces[0].steps} steps. The loss per character in nats:""",
            Table(("", "first", f"mean of last {WINDOW}", "in bits"), tuple(rows)),
            curves(
                "char_rnn.svg",
                "loss per character by step for each cell",
                [Panel("", lines, "step", "nats per character")],
                size=(4.5, 2.6),
            ),
            f"What the {writer} then writes after the words of its prompt, at temperature 0.7:",
            Quote(PROMPT + "| " + " ".join(sample.split())),
        ),
        (
            Claim(
                "the loss falls with each cell to below two thirds of a guess",
                all(end < 2 / 3 * guess for end in ends.values()),
                published="loss falls",
                measured=", ".join(f"{cell} {end:.2f}" for cell, end in ends.items()) + f"; a guess has {guess:.2f}",
            ),
        ),
    )


def of_clipping(pieces: Sequence[Reading], results: Sequence[Read]) -> Section:
    """SGD at a large learning rate with and without clipping."""
    found = {piece.label: result for piece, result in zip(pieces, results, strict=True)}
    clipped, free = found["clipped"], found["not clipped"]
    rows = [(label, f"{_end(r):.2f}", f"{np.median(r.norms):.2g}", f"{r.norms.max():.2g}") for label, r in found.items()]
    panels = [
        Panel(title, {label: (np.arange(1, len(y) + 1), y) for label, y in lines.items()}, "step", y_label, log_y=True)
        for title, y_label, lines in (
            ("loss", "nats per character", {label: smoothed(r.losses, WINDOW) for label, r in found.items()}),
            ("norm of the gradient", "before clipping", {label: r.norms for label, r in found.items()}),
        )
    ]
    growth = float(free.norms.max() / np.median(clipped.norms))
    return Section(
        "Gradient clipping",
        (
            f"The same rnn with SGD {RATE:g}, {pieces[0].steps} steps; clipped to a norm of {pieces[0].clip:g}, or not.",
            Table(("", "loss", "median norm", "largest norm"), tuple(rows)),
            curves("clipping.svg", "loss and norm of the gradient with clipping and without", panels),
        ),
        (
            Claim(
                "without clipping the gradient explodes, with clipping the net learns",
                growth > EXPLODED and _end(clipped) < _end(free),
                published="without clipping an RNN's gradient explodes",
                measured=f"largest norm {free.norms.max():.2g} without, {clipped.norms.max():.2g} with; "
                f"loss {_end(free):.2f} without, {_end(clipped):.2f} with",
            ),
        ),
    )


def _end(result: Read) -> float:
    return float(result.losses[-WINDOW:].mean())


CHAR_RNN = Experiment(
    readings,
    read,
    lambda pieces, results: [
        of_reading(pieces[: len(CELLS)], results[: len(CELLS)]),
        of_clipping(pieces[len(CELLS) :], results[len(CELLS) :]),
    ],
)
