"""Word vectors: CBOW with negative sampling on the words of Python's help topics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.drawing import Panel, curves, smoothed
from oracle.seeds.experiment import Experiment
from oracle.seeds.recurrent_nets import topics_text
from oracle.seeds.section import Claim, Section, Table
from purenet import training
from purenet.models import word2vec

__all__ = ["EXPERIMENT", "Corpus", "Vectors", "Words", "corpus_of", "learn", "nearest", "section"]

Array = NDArray[Any]

SIDE = 3  # the context of a word is this many words on each side
LEAST = 10  # rarer words are left out
NEGATIVES = 5  # negative samples for each word
SIZE = 64  # entries of a vector
BATCH = 256
RATE = 0.01  # the learning rate of Adam
OFTEN = 1e-3  # words with a larger share of the text are left out at random, as in the original program
PAIRS = (("list", "tuple"), ("int", "float"), ("true", "false"), ("left", "right"), ("integer", "string"), ("first", "second"))
"""Pairs of words that are related in this text."""
WINDOW = 100  # steps over which the loss is averaged


class Words(NamedTuple):
    """The training of the vectors."""

    steps: int


class Corpus(NamedTuple):
    """The vocabulary and the text."""

    words: tuple[str, ...]
    """The words that occur often enough."""
    counts: Array
    """The number of times that each occurs."""
    ids: Array
    """The text as indices of words, without some of the frequent ones."""


class Vectors(NamedTuple):
    """A row of unit length for each word, and the loss of each step."""

    words: tuple[str, ...]
    rows: Array
    losses: Array


def corpus_of(text: str, key: Array) -> Corpus:
    """The words of a text. Frequent words are left out at random, because they carry little information about neighbours."""
    found = re.findall(r"[a-z]+", text.lower())
    often = [(word, count) for word, count in Counter(found).most_common() if count >= LEAST]
    number = {word: i for i, (word, _) in enumerate(often)}
    counts = np.array([count for _, count in often])
    ids = np.array([number[word] for word in found if word in number])
    kept = np.minimum(1.0, np.sqrt(OFTEN * ids.size / counts))
    return Corpus(tuple(number), counts, ids[pn.random.uniform(key, ids.shape) < kept[ids]])


def learn(task: Words) -> Vectors:
    """Trains the vectors of the context words, whose mean predicts the word between them."""
    thin_key, init_key, order_key, run_key, draw_key = pn.random.split(pn.random.key(0), 5)
    words, counts, ids = corpus_of(topics_text(), thin_key)
    contexts, targets = word2vec.windows(ids, SIDE)
    goal, optimizer = word2vec.goal(), pn.optimizers.adam(RATE)
    params = {"net": word2vec.init(init_key, len(words), width=SIZE, dtype=np.float32)}
    step, state = training.make_step(goal, optimizer), training.start(optimizer, params, run_key)
    losses: list[float] = []
    for indices in islice(training.shuffled(order_key, len(targets), BATCH), task.steps):
        key = pn.random.fold_in(draw_key, len(losses))
        negatives = word2vec.sample_negatives(key, counts, (BATCH, NEGATIVES))
        output = {"targets": targets[indices], "negatives": negatives}
        state, metrics = step(state, {"net": {"embedding": {"ids": contexts[indices]}, "output": output}})
        losses.append(metrics["loss"])
    rows = state.params["net"]["embedding"]["w"].astype(np.float64)
    return Vectors(words, rows / np.linalg.norm(rows, axis=1, keepdims=True), np.array(losses))


def nearest(vectors: Vectors, word: str, count: int = 5) -> list[str]:
    """The words whose vectors have the largest cosine with the vector of this word."""
    i = vectors.words.index(word)
    order = np.argsort(-(vectors.rows @ vectors.rows[i]), kind="stable")
    return [vectors.words[j] for j in order if j != i][:count]


def rank(vectors: Vectors, a: str, b: str) -> float:
    """The share of all words that are closer to `a` than `b` is: 0 for the closest, 0.5 on average by chance."""
    i, j = vectors.words.index(a), vectors.words.index(b)
    near = vectors.rows @ vectors.rows[i]
    return float((np.delete(near, i) > near[j]).mean())


def section(pieces: Sequence[Words], results: Sequence[Vectors]) -> Section:
    """The closest words of some words, and the ranks of related words."""
    (vectors,) = results
    ranks = {f"{a}, {b}": rank(vectors, a, b) for a, b in PAIRS if a in vectors.words and b in vectors.words}
    rows = [(a, ", ".join(nearest(vectors, a))) for a, _ in PAIRS if a in vectors.words]
    curve = {"loss": (np.arange(1, vectors.losses.size + 1), smoothed(vectors.losses, WINDOW))}
    return Section(
        "Word vectors",
        (
            f"""CBOW with {NEGATIVES} negative samples on the {len(vectors.words):,} words that occur {LEAST} times or more in
            Python's help topics; {SIDE} words on each side, vectors of {SIZE}, Adam {RATE:g}, {pieces[0].steps} batches of
            {BATCH}. The nearest words by cosine:""",
            Table(("", "nearest"), tuple(rows)),
            curves("word_vectors.svg", "loss by step", [Panel("", curve, "step", f"loss, mean of {WINDOW}")], size=(3.6, 2.2)),
        ),
        (
            Claim(
                "neighbours make sense: half of the related words are among the nearest twentieth",
                bool(ranks) and float(np.median([*ranks.values()])) < 0.05,
                published="neighbours make sense",
                measured="share of words that are nearer: " + "; ".join(f"{pair} {share:.1%}" for pair, share in ranks.items()),
            ),
        ),
    )


EXPERIMENT = Experiment(
    lambda setting: [Words(1000 if setting.quick else 20_000)], learn, lambda pieces, results: [section(pieces, results)]
)
