"""Nets with and without batch norm, remedies for overfitting, and a random search of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oracle.seeds.drawing import Panel, curves
from oracle.seeds.experiment import Experiment, Setting
from oracle.seeds.learning import Learned, Lesson, learn
from oracle.seeds.section import Claim, Picture, Section, Table
from purenet import random

__all__ = [
    "BATCH_NORM",
    "OVERFITTING",
    "RANDOM_SEARCH",
    "of_batch_norm",
    "of_overfitting",
    "of_search",
    "trials",
]

BATCH = 100
EPOCH = 10  # steps of an epoch of 1,000 digits
SCALES = np.logspace(0, -4, 16)
DRAWN = 3  # one of this many scales has its own curves in the picture
LEARNED = 0.2  # the training accuracy above which a net counts as learning; a guess has 0.1
FEW = 300  # training digits in the experiment on overfitting
NOISE = 0.03  # nearly two standard errors of an accuracy of 0.8 on 1,000 digits; a claim needs a larger difference
EVERY = 10  # epochs between two tests
VALIDATION = 100  # digits that are held out in a random search
BEST = 3  # trials of a random search in the table


# --------------------------------------------------------------------------------------------------- batch norm


def _with_and_without(setting: Setting) -> list[Lesson]:
    sizes = (784, *[100] * 5, 10)
    epochs = 6 if setting.quick else 20
    return [
        Lesson(
            setting.data,
            "SGD",
            0.01,
            epochs * EPOCH,
            BATCH,
            goal={"sizes": sizes, "batch_norm": batch_norm},
            init={"sizes": sizes, "batch_norm": batch_norm, "initializer": float(scale)},
            digits=1000,
            every=EPOCH,
        )
        for scale in SCALES
        for batch_norm in (True, False)
    ]


def of_batch_norm(pieces: Sequence[Lesson], results: Sequence[Learned]) -> Section:
    """The number of scales of the first weights at which each net learns."""
    scales = [float(piece.init["initializer"]) for piece in pieces[::2]]
    ours, plain = results[::2], results[1::2]
    rows = [(f"{scale:.1e}", _accuracy(a), _accuracy(b)) for scale, a, b in zip(scales, ours, plain, strict=True)]
    learned = [sum(bool(r.train.size and r.train[-1] > LEARNED) for r in half) for half in (ours, plain)]
    epochs = pieces[0].steps // EPOCH
    names = ("batch norm", "none")
    ends = {
        name: (scales, [float(r.train[-1]) if r.train.size else np.nan for r in half])
        for name, half in zip(names, (ours, plain), strict=True)
    }
    panels = [Panel("at the end", ends, "standard deviation", "accuracy", log_x=True, limits=(0.0, 1.0))]
    panels += [
        Panel(
            f"std {scale:.1e}",
            {name: (r.looks / EPOCH, r.train) for name, r in zip(names, pair, strict=True)},
            "epoch",
            limits=(0.0, 1.0),
        )
        for scale, *pair in [*zip(scales, ours, plain, strict=True)][::DRAWN]
    ]
    return Section(
        "Batch norm against none",
        (
            f"""1,000 digits, five hidden layers of 100 with relu, SGD 0.01, batches of {BATCH}, {epochs} epochs; the standard
            deviation of the first weights at {len(scales)} scales. The accuracy on the training set at the end:""",
            Table(("std", "batch norm", "none"), tuple(rows)),
            curves(
                "batch_norm.svg", "training accuracy at each scale of the first weights", panels, columns=4, size=(1.9, 1.6)
            ),
        ),
        (
            Claim(
                "with batch norm the net learns at nearly all scales, without at few",
                learned[0] >= 0.75 * len(scales) and learned[1] <= 0.4 * len(scales),
                published="at nearly all; at few",
                measured=f"accuracy above {LEARNED:g} at {learned[0]} of {len(scales)} scales with it, at {learned[1]} without",
            ),
        ),
    )


def _accuracy(learned: Learned) -> str:
    return f"{learned.train[-1]:.2f}" if learned.train.size else "-"


BATCH_NORM = Experiment(_with_and_without, learn, lambda pieces, results: [of_batch_norm(pieces, results)])


# --------------------------------------------------------------------------------------------------- overfitting


def _lesson(setting: Setting, epochs: int, model: str = "multi_layer_net", **options: Any) -> Lesson:
    sizes = (784, *[100] * 6, 10)
    steps = FEW // BATCH
    return Lesson(
        setting.data,
        "SGD",
        0.01,
        epochs * steps,
        BATCH,
        model,
        goal={"sizes": sizes, **options},
        init={"sizes": sizes},
        digits=FEW,
        every=EVERY * steps,
    )


def few_digits(setting: Setting) -> list[Lesson]:
    """Lessons without regularization, with weight decay, with our dropout and with the book's."""
    epochs = 150 if setting.quick else 300
    return [
        _lesson(setting, epochs),
        _lesson(setting, epochs, l2=0.1),
        _lesson(setting, epochs, dropout_rate=0.2),
        _lesson(setting, epochs, "oracle.seeds.book_dropout", dropout_rate=0.2),
    ]


def of_overfitting(pieces: Sequence[Lesson], results: Sequence[Learned]) -> Section:
    """The gap between the accuracies on training and on test digits.

    Our dropout divides by 1 - rate in training, so that the mask does not change the mean; the book's does not.
    """
    plain, decay, ours, book = results
    found = {"none": plain, "decay": decay, "dropout": ours, "book's dropout": book}
    epochs = pieces[0].steps * BATCH // FEW
    return Section(
        "Overfitting, weight decay and dropout",
        (
            f"""{FEW} digits, six hidden layers of 100 with relu, SGD 0.01, batches of {BATCH}, {epochs} epochs (in the book 200
            and 300); a decay of 0.1; dropout at a rate of 0.2, inverted (ours) and scaled at inference (the book's).""",
            *_compared(found),
        ),
        (
            Claim(
                f"without help the net learns all {FEW} digits by heart",
                bool(plain.train[-1] == 1.0),
                published="train 1.0",
                measured=f"train {plain.train[-1]:.3f}, test {plain.test[-1]:.3f}",
            ),
            *(_not_by_heart(name, found[name]) for name in ("decay", "dropout")),
            Claim(
                "with decay the gap of train and test shrinks",
                _gap(decay) < _gap(plain) - NOISE,
                published="shrinks",
                measured=_gaps(plain, decay),
            ),
            Claim(
                "with dropout the gap of train and test shrinks",
                _gap(ours) < _gap(plain) - NOISE,
                published="shrinks",
                measured=_gaps(plain, ours),
                because="""inverted dropout keeps the size of the activations, and the gap grows as the net learns. The
                published gap is that of the book's dropout, with which it learns more slowly (see below)""",
            ),
            Claim(
                "with the book's dropout it shrinks, and the net learns less of both: each layer passes on less in training",
                bool(_gap(book) < _gap(plain) - NOISE and book.train[-1] < ours.train[-1] and book.test[-1] < ours.test[-1]),
                published="shrinks",
                measured=f"{_gaps(plain, book)}; test {book.test[-1]:.3f}, before {plain.test[-1]:.3f}",
            ),
        ),
    )


def _compared(found: Mapping[str, Learned]) -> tuple[Table, Picture]:
    rows = [(label, f"{r.train[-1]:.3f}", f"{r.test[-1]:.3f}", f"{_gap(r):.3f}") for label, r in found.items()]
    panels = [
        Panel(
            label,
            {name: (r.looks * BATCH / FEW, accuracy) for name, accuracy in (("train", r.train), ("test", r.test))},
            "epoch",
            "accuracy",
            limits=(0.0, 1.02),
        )
        for label, r in found.items()
    ]
    words = f"accuracies by epoch: {', '.join(found)}"
    return Table(("", "train", "test", "gap"), tuple(rows)), curves("overfitting.svg", words, panels, columns=4)


def _not_by_heart(name: str, helped: Learned) -> Claim:
    return Claim(
        f"with {name} the accuracy on the training set is no longer 1",
        bool(helped.train[-1] < 1.0),
        published="below 1",
        measured=f"train {helped.train[-1]:.3f}",
    )


def _gap(learned: Learned) -> float:
    return float(learned.train[-1] - learned.test[-1])


def _gaps(plain: Learned, helped: Learned) -> str:
    return f"a gap of {_gap(helped):.3f}, before {_gap(plain):.3f}"


OVERFITTING = Experiment(few_digits, learn, lambda pieces, results: [of_overfitting(pieces, results)])


# --------------------------------------------------------------------------------------------------- random search


def trials(setting: Setting) -> list[Lesson]:
    """Lessons with random learning rates and decays, whose logarithms are uniform."""
    count, epochs = (20, 15) if setting.quick else (100, 50)
    sizes = (784, *[100] * 6, 10)
    rate_key, decay_key = random.split(random.key(0))
    rates = 10 ** random.uniform(rate_key, (count,), minval=-6.0, maxval=-2.0)
    decays = 10 ** random.uniform(decay_key, (count,), minval=-8.0, maxval=-4.0)
    return [
        Lesson(
            setting.data,
            "SGD",
            float(rate),
            epochs * 4,
            BATCH,
            goal={"sizes": sizes, "l2": float(decay)},
            init={"sizes": sizes},
            digits=500,
            held_out=VALIDATION,
        )
        for rate, decay in zip(rates, decays, strict=True)
    ]


def of_search(pieces: Sequence[Lesson], results: Sequence[Learned]) -> Section:
    """The learning rates and decays with the best accuracy on held-out digits."""
    order = np.argsort([-r.test[-1] for r in results], kind="stable")
    best = [(pieces[i], results[i]) for i in order[:BEST]]
    rows = [(f"{p.rate:.2g}", f"{p.goal['l2']:.1e}", f"{r.test[-1]:.2f}") for p, r in best]
    rates = [p.rate for p, _ in best]
    points = {"trials": ([p.rate for p in pieces], [float(r.test[-1]) for r in results])}
    by_rate = {name: tuple(np.array(xy)[:, np.argsort(xy[0])]) for name, xy in points.items()}
    return Section(
        "Random search of rate and decay",
        (
            f"""{len(pieces)} trials: rates 10^[-6, -2] and decays 10^[-8, -4], six hidden layers of 100, 400 of 500 digits,
            {pieces[0].steps} steps. The best by accuracy on the {VALIDATION} that were held out:""",
            Table(("rate", "decay", "accuracy"), tuple(rows)),
            curves(
                "random_search.svg",
                "validation accuracy by rate",
                [Panel("", by_rate, "rate", "accuracy", log_x=True)],
                size=(3.6, 2.2),
            ),
        ),
        (
            Claim(
                f"the best {BEST} rates are between 1e-3 and 1e-2",
                all(1e-3 <= rate <= 1e-2 for rate in rates),
                published="best rates 1e-3 to 1e-2",
                measured=f"{min(rates):.1e} to {max(rates):.1e}",
            ),
        ),
    )


RANDOM_SEARCH = Experiment(trials, learn, lambda pieces, results: [of_search(pieces, results)])
