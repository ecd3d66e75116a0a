"""Addition by sequence to sequence: the net reads "57+5" and writes "62", with or without attention and reversed questions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.drawing import Panel, curves
from oracle.seeds.experiment import Experiment, Setting
from oracle.seeds.section import Claim, Section, Table
from purenet import training
from purenet.models import seq2seq_attention

__all__ = ["EXPERIMENT", "Learned", "Learner", "encoded", "lessons", "practise", "section", "sums"]

Array = NDArray[Any]

ALPHABET = "0123456789+ _"
START = ALPHABET.index("_")
HELD_OUT = 500  # sums that are not learned and test the net
BATCH = 128
RATE, CLIP = 0.01, 5.0  # the learning rate of Adam, and the limit of the norm of all gradients together
NOISE = 0.06
"""Two standard errors of the difference between two shares of right answers among 500 sums. Claims need a larger difference."""
NEARLY_ALL = 0.95
VARIANTS = {"plain": (False, False), "reversed": (True, False), "attention": (False, True), "both": (True, True)}
"""Whether the question is reversed, and whether the decoder has attention."""


class Learner(NamedTuple):
    """A net that learns to add."""

    reverse: bool
    attention: bool
    digits: int
    """The largest number of digits of a summand."""
    hidden: int
    steps: int
    every: int
    """The number of steps between two tests."""


class Learned(NamedTuple):
    """The results of a learner's tests."""

    looks: Array
    """The step of each test."""
    right: Array
    """The share of the answers that are right in every character."""
    characters: Array
    """The share of the characters that are right."""
    examples: tuple[tuple[str, str], ...]
    """Some questions, and the answers of the net at the end."""


def sums(digits: int) -> tuple[list[str], list[str]]:
    """Different questions and their answers in random order, padded with blanks: all for two digits, 50,000 for three."""
    count = 10**digits
    chosen = np.asarray(pn.random.permutation(pn.random.key(0), count * count))[:50_000]
    pairs = [divmod(int(i), count) for i in chosen]
    questions = [f"{a}+{b}".ljust(2 * digits + 1) for a, b in pairs]
    return questions, [f"_{a + b}".ljust(digits + 2) for a, b in pairs]


def encoded(texts: Sequence[str]) -> Array:
    """A row of numbers for each text."""
    return np.array([[ALPHABET.index(character) for character in text] for text in texts])


def practise(task: Learner) -> Learned:
    """Trains a net from its first weights, and tests it on the way."""
    questions, answers = (encoded(texts) for texts in sums(task.digits))
    if task.reverse:
        questions = questions[:, ::-1].copy()
    init_key, order_key, run_key = pn.random.split(pn.random.key(1), 3)
    goal = seq2seq_attention.goal(attention=task.attention)
    net = seq2seq_attention.init(init_key, len(ALPHABET), hidden=task.hidden, attention=task.attention, dtype=np.float32)
    optimizer = pn.optimizers.chain(pn.optimizers.clip_by_global_norm(CLIP), pn.optimizers.adam(RATE))
    step, state = training.make_step(goal, optimizer), training.start(optimizer, {"net": net}, run_key)
    looks = []
    written = answers[:HELD_OUT, 1:]
    for i, chosen in enumerate(islice(training.shuffled(order_key, len(questions) - HELD_OUT, BATCH), task.steps), start=1):
        question, answer = questions[HELD_OUT + chosen], answers[HELD_OUT + chosen]
        batch = {"encoder": {"ids": question}, "decoder": {"ids": answer[:, :-1]}}
        state, _ = step(state, {"net": batch, "loss": {"labels": answer[:, 1:]}})
        if i % task.every == 0 or i == task.steps:
            written = seq2seq_attention.decode(
                state.params["net"], questions[:HELD_OUT], start=START, length=answers.shape[1] - 1, attention=task.attention
            )
            same = written == answers[:HELD_OUT, 1:]
            looks.append((i, same.all(axis=1).mean(), same.mean()))
    steps, right, characters = np.array(looks, np.float64).T
    examples = tuple(zip(sums(task.digits)[0][:3], ("".join(ALPHABET[j] for j in row) for row in written[:3]), strict=True))
    return Learned(steps, right, characters, examples)


def lessons(setting: Setting) -> list[Learner]:
    """One learner for each variant."""
    digits, hidden, steps = (2, 64, 220) if setting.quick else (3, 128, 25 * 386)
    return [Learner(reverse, attention, digits, hidden, steps, steps // 10) for reverse, attention in VARIANTS.values()]


def section(pieces: Sequence[Learner], results: Sequence[Learned]) -> Section:
    """The share of sums that each variant gets right, and how fast."""
    quick = pieces[0].digits < 3
    found = dict(zip(VARIANTS, results, strict=True))
    right = {name: float(result.right[-1]) for name, result in found.items()}
    rows = [(name, f"{right[name]:.3f}", f"{r.characters[-1]:.3f}", _quoted(r.examples)) for name, r in found.items()]
    lines = {name: (r.looks, r.right) for name, r in found.items()}
    measured = ", ".join(f"{name} {share:.3f}" for name, share in right.items())
    return Section(
        "Addition by sequence to sequence",
        (
            f"""Numbers of up to {pieces[0].digits} digits, such as "57+5" to "62"; an LSTM of {pieces[0].hidden} units reads,
            another writes; Adam {RATE:g}, gradients clipped to a norm of {CLIP:g}, {pieces[0].steps} batches of {BATCH}. Of
            {HELD_OUT} other sums, the share that is right, the share of their characters, and some answers:""",
            Table(("", "right", "characters", "answers"), tuple(rows)),
            curves(
                "addition.svg", "right answers by step", [Panel("", lines, "step", "right", limits=(0.0, 1.0))], size=(4.5, 2.6)
            ),
        ),
        (
            Claim(
                "a reversed question is learned faster",
                right["reversed"] > right["plain"] + NOISE and right["both"] > right["attention"] + NOISE,
                published="reversed learns faster",
                measured=measured,
            ),
            Claim(
                "with attention and a reversed question nearly all is right",
                None if quick else right["both"] > NEARLY_ALL,
                published="attention near 1.0",
                measured=measured,
            ),
            Claim("these two together are the best", max(right, key=lambda name: right[name]) == "both", measured=measured),
        ),
    )


def _quoted(examples: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{question.strip()}={answer.strip()}" for question, answer in examples)


EXPERIMENT = Experiment(lessons, practise, lambda pieces, results: [section(pieces, results)])
