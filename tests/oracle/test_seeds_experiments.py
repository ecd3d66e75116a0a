"""The experiments of the notes: what a right result says, that a wrong one is reported, and tiny runs of the real thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet as pn
from oracle import seeds
from oracle.seeds import (
    addition,
    book_dropout,
    convolutional_nets,
    dense_nets,
    initialization,
    recurrent_nets,
    regularization,
    singular_values,
    valley,
    word_vectors,
)
from oracle.seeds.experiment import Setting
from oracle.seeds.learning import Learned, Lesson, learn
from oracle.seeds.recurrent_nets import Read, Reading
from oracle.seeds.section import Section, text
from oracle.seeds.word_vectors import Vectors, Words

QUICK = Setting()
PUBLISHED = Setting(Path("somewhere"))
TINY: dict[str, Any] = {"sizes": (784, 6, 10)}


def learned(train: float = 0.9, test: float = 0.9, loss: float = 1.0, **other: Any) -> Learned:
    """The result of a lesson that ends like this."""
    steps = np.array([10.0, 20.0])
    values: dict[str, Any] = {"finite": True, "kept": None, **other}
    return Learned(np.full(20, loss), steps, np.array([0.1, train]), np.array([0.1, test]), **values)


def lost(section: Section) -> list[str]:
    """What is claimed and false, without a reason."""
    return [claim.words for claim in section.claims if not claim.passed]


# ------------------------------------------------------------------------------------------------- lessons


def test_a_lesson_gives_the_same_each_time_and_looks_when_asked() -> None:
    lesson = Lesson(None, "SGD", 0.1, 5, 20, goal=TINY, init=TINY, digits=100, every=2, keep="affine1")
    once, again = learn(lesson), learn(lesson)
    assert once.looks.tolist() == [2, 4, 5]
    assert once.losses.size == 5
    assert once.finite
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert once.kept is not None
    before, after = once.kept
    assert before.dtype == np.float32
    assert 0 < np.abs(after - before).max() < 1


def test_a_lesson_that_diverges_ends() -> None:
    result = learn(Lesson(None, "SGD", 1e20, 9, 20, goal=TINY, init=TINY, digits=100))
    assert not result.finite
    assert result.losses.size < 9
    assert np.isfinite(result.losses).all()
    assert dense_nets.final(result) == np.inf


def test_what_is_held_out_is_not_learned() -> None:
    lesson = Lesson(None, "SGD", 0.1, 1, 10, goal=TINY, init=TINY, digits=50, held_out=20)
    train, judges = seeds.learning._digits(lesson)
    assert (len(train.labels), len(judges.labels)) == (30, 20)
    both = np.concatenate([judges.images, train.images])
    np.testing.assert_array_equal(both, seeds.experiment.digits_of(None).train.images[:50])


def test_the_books_dropout_is_ours_times_what_is_kept() -> None:
    sizes, x = (4, 6, 3), np.linspace(-1, 1, 20).reshape(5, 4)
    params = {"net": book_dropout.init(pn.random.key(0), sizes)}
    labels = {"labels": np.arange(5) % 3}
    plain = pn.models.multi_layer_net.goal(sizes)
    shrunk = {"net": {**params["net"], "affine2": {**params["net"]["affine2"], "w": 0.75 * params["net"]["affine2"]["w"]}}}
    book = book_dropout.goal(sizes, dropout_rate=0.25)
    assert np.isclose(book(params, x, loss=labels), plain(shrunk, x, loss=labels))
    _, residuals = book.fwd(params, x, loss=labels)
    grads = book.bwd(residuals, 1.0)[0]["net"]["affine2"]["w"]
    _, residuals = plain.fwd(shrunk, x, loss=labels)
    np.testing.assert_allclose(grads, 0.75 * plain.bwd(residuals, 1.0)[0]["net"]["affine2"]["w"])


# ------------------------------------------------------------------------------------------------- activations, the valley


@pytest.fixture(scope="module")
def layers() -> dict[tuple[str, str], initialization.Layers]:
    return {
        (function, name): initialization.layers_of(function, name)
        for function in initialization.FUNCTIONS
        for name in initialization.INITIALIZERS
    }


def test_activations_and_gradients_hold_but_for_what_is_refuted(layers: dict[tuple[str, str], initialization.Layers]) -> None:
    section = initialization.section(layers)
    assert section.passed
    assert [c.words for c in section.claims if not c.holds] == ["sigmoid with std 1: the gradient vanishes layer by layer"]


def test_exchanged_initializers_are_noticed(layers: dict[tuple[str, str], initialization.Layers]) -> None:
    wrong = {**layers, ("relu", "He"): layers["relu", "Xavier"], ("relu", "Xavier"): layers["relu", "He"]}
    assert [words[:14] for words in lost(initialization.section(wrong))] == ["relu with Xavi", "relu with He k"]
    wrong = {**layers, ("sigmoid", "std 1"): layers["sigmoid", "std 0.01"]}
    assert lost(initialization.section(wrong))[0] == "sigmoid with std 1: the activations are near 0 and 1"


def test_sgd_zigzags_in_the_valley_and_not_at_a_small_rate() -> None:
    assert valley.section().passed
    assert lost(valley.section({**valley.RATES, "SGD": 0.1}))
    way = valley.path(pn.optimizers.sgd(0.95))
    np.testing.assert_allclose(way[:, 0], -7 * 0.905 ** np.arange(31))  # 1 - 0.95 / 10
    np.testing.assert_allclose(way[:, 1], 2 * (-0.9) ** np.arange(31))  # 1 - 0.95 * 2


# ------------------------------------------------------------------------------------------------- dense nets


def by_name(losses: dict[str, float]) -> dict[str, Learned]:
    return {name: learned(loss=loss) for name, loss in losses.items()}


def test_initializers_compared() -> None:
    right = {"std 0.01": 2.302, "Xavier": 1.0, "He": 0.4}
    assert dense_nets.of_initializers(by_name(right)).passed
    assert lost(dense_nets.of_initializers(by_name({**right, "He": 1.1}))) == ["He learns fastest"]
    assert lost(dense_nets.of_initializers(by_name({**right, "std 0.01": 2.1}))) == ["std 0.01 does not learn"]


def test_optimizers_compared() -> None:
    right = {"SGD": 0.3, "Momentum": 0.1, "AdaGrad": 0.04, "RMSProp": 0.05, "Adam": 0.04}
    assert dense_nets.of_optimizers(by_name(right), quick=False).passed
    wrong = by_name({**right, "Adam": 0.2})
    assert lost(dense_nets.of_optimizers(wrong, quick=False)) == ["AdaGrad and Adam are ahead of Momentum, and Momentum of SGD"]
    quick = dense_nets.of_optimizers(wrong, quick=True)
    assert [claim.holds for claim in quick.claims] == [True, None]
    assert lost(dense_nets.of_optimizers(by_name({**right, "SGD": 0.01}), quick=True)) == ["SGD learns most slowly"]


def test_rates_compared() -> None:
    right = {"10": learned(loss=2.4), "0.1": learned(), "1e-10": learned(loss=2.31)}
    assert dense_nets.of_rates(right).passed
    gone = learned(finite=False)._replace(train=np.zeros(0), test=np.zeros(0))
    assert dense_nets.of_rates({**right, "10": gone}).passed
    assert lost(dense_nets.of_rates({**right, "10": learned(loss=0.5)})) == ["rate 10 diverges or stalls"]
    assert lost(dense_nets.of_rates({**right, "0.1": gone})) == ["rate 0.1 learns"]


# ------------------------------------------------------------------------------------------------- regularization


def test_batch_norm_learns_at_nearly_all_scales() -> None:
    pieces = seeds.EXPERIMENTS["batch_norm"].pieces(QUICK)
    assert len(pieces) == 32
    ours, plain = learned(0.8), learned(0.1)
    assert regularization.of_batch_norm(pieces, [ours, plain] * 16).passed
    assert lost(regularization.of_batch_norm(pieces, [ours, ours] * 16))
    assert lost(regularization.of_batch_norm(pieces, [plain, plain] * 16))
    gone = learned(finite=False)._replace(train=np.zeros(0), test=np.zeros(0), looks=np.zeros(0))
    assert regularization.of_batch_norm(pieces, [ours, gone] * 16).passed


def test_overfitting() -> None:
    pieces = regularization.few_digits(QUICK)
    plain, decay, ours, book = learned(1.0, 0.8), learned(0.9, 0.78), learned(0.97, 0.77), learned(0.66, 0.55)
    section = regularization.of_overfitting(pieces, [plain, decay, ours, book])
    assert section.passed
    assert [claim.status[:4] for claim in section.claims] == ["hold"] * 4 + ["does", "hold"]
    assert lost(regularization.of_overfitting(pieces, [decay, decay, ours, book]))[0].startswith("without help the net learns")
    assert lost(regularization.of_overfitting(pieces, [plain, plain, ours, book])) == [
        "with decay the accuracy on the training set is no longer 1",
        "with decay the gap of train and test shrinks",
    ]


def test_a_random_search_shows_the_best() -> None:
    pieces = regularization.trials(QUICK)
    rates = np.array([piece.rate for piece in pieces])
    assert 1e-6 <= rates.min() < 1e-5 < 1e-3 < rates.max() <= 1e-2
    right = regularization.of_search(pieces, [learned(test=rate) for rate in rates])
    assert right.passed
    assert f"to {rates.max():.1e}" in right.claims[0].measured
    assert lost(regularization.of_search(pieces, [learned(test=-rate) for rate in rates]))


# ------------------------------------------------------------------------------------------------- convolutional nets


def filters(*, smooth: bool) -> np.ndarray[Any, Any]:
    noise = np.asarray(pn.random.normal(pn.random.key(0), (30, 1, 5, 5)))
    return np.cumsum(np.cumsum(noise, axis=2), axis=3) if smooth else noise


def test_smoothness_tells_noise_from_blobs() -> None:
    assert abs(convolutional_nets.smoothness(filters(smooth=False)[:, 0])) < 0.2
    assert convolutional_nets.smoothness(filters(smooth=True)[:, 0]) > 0.4


def test_accuracies_of_convolutional_nets() -> None:
    kept = (filters(smooth=False), filters(smooth=True))
    for setting, accuracy in ((QUICK, 0.6), (PUBLISHED, 0.9935)):
        pieces = convolutional_nets.lessons(setting)
        results = [learned(1.0, accuracy, kept=kept if piece.keep else None) for piece in pieces]
        assert convolutional_nets.section(pieces, results).passed
        results[0] = learned(1.0, 0.2)
        assert [words[:11] for words in lost(convolutional_nets.section(pieces, results))] == ["DeepConvNet"]
        results = [learned(1.0, accuracy, kept=kept[::-1] if piece.keep else None) for piece in pieces]
        assert [words[:8] for words in lost(convolutional_nets.section(pieces, results))] == ["training"]


# ------------------------------------------------------------------------------------------------- recurrent nets


def test_the_text_is_read_and_written_in_its_characters() -> None:
    alphabet, ids = recurrent_nets.text_of(500)
    assert "".join(alphabet[i] for i in ids) == recurrent_nets.topics_text()[:500]
    reading = Reading("rnn", "rnn", "Adam", 0.01, 1.0, 2000, 4, 3, sampled=7)
    once, again = recurrent_nets.read(reading), recurrent_nets.read(reading)
    assert once.losses.size == once.norms.size == 3
    assert len(once.sample) == 7
    assert once.sample == again.sample
    np.testing.assert_array_equal(once.losses, again.losses)


def readings(loss: float, norm: float, sample: str = "") -> Read:
    return Read(np.full(50, loss), np.full(50, norm), 100, sample)


def test_reading_and_clipping_compared() -> None:
    experiment = seeds.EXPERIMENTS["char_rnn"]
    pieces = experiment.pieces(QUICK)
    cells = [readings(2.0, 1.0, "one two" if piece.sampled else "") for piece in pieces[:3]]
    right = experiment.sections(pieces, [*cells, readings(2.0, 1.0), readings(9.0, 30.0)])
    assert all(section.passed for section in right)
    assert "one two" in text(right)
    wrong = experiment.sections(pieces, [cells[0], readings(4.0, 1.0), cells[2], readings(2.0, 1.0), readings(2.5, 2.0)])
    assert [len(lost(section)) for section in wrong] == [1, 1]


def test_the_gradient_of_a_recurrent_net_is_a_power_of_the_singular_value() -> None:
    np.testing.assert_allclose(
        singular_values.gradient_norms(singular_values.matrix("orthogonal", 0.9), 6), 0.9 ** np.arange(1, 7)
    )
    assert np.isclose(np.linalg.norm(singular_values.matrix("normal", 1.1), 2), 1.1)
    found = {
        (kind, s): s ** np.arange(1.0, 41.0) * (1e-9 if kind == "normal" and s > 1 else 1.0)
        for kind in singular_values.KINDS
        for s in singular_values.LARGEST
    }
    assert singular_values.section(found).passed
    found["orthogonal", 0.5] = np.ones(40)
    assert len(lost(singular_values.section(found))) == 2


# ------------------------------------------------------------------------------------------------- addition


def test_sums_are_right_and_different() -> None:
    questions, answers = addition.sums(2)
    assert len(set(questions)) == len(questions) == 10_000
    for question, answer in zip(questions[:100], answers, strict=False):
        a, b = question.split("+")
        assert int(a) + int(b) == int(answer[1:])
        assert (len(question), len(answer)) == (5, 4)
    assert addition.encoded(["_62 "]).tolist() == [[12, 6, 2, 11]]


def test_a_net_practises_and_is_judged_by_sums_that_it_has_not_seen() -> None:
    task = addition.Learner(reverse=True, attention=True, digits=2, hidden=4, steps=3, every=2)
    once, again = addition.practise(task), addition.practise(task)
    assert once.looks.tolist() == [2, 3]
    assert once.examples == again.examples
    assert 0 <= once.right[-1] <= once.characters[-1] <= 1
    assert [question for question, _ in once.examples] == addition.sums(2)[0][:3]


def added(right: float) -> addition.Learned:
    return addition.Learned(np.array([1.0, 2.0]), np.array([0.0, right]), np.array([0.0, right]), (("1+1", "2 "),))


def test_reversed_questions_and_attention_compared() -> None:
    for setting, best in ((QUICK, 0.9), (PUBLISHED, 0.99)):
        pieces = addition.lessons(setting)
        assert addition.section(pieces, [added(share) for share in (0.4, 0.7, 0.4, best)]).passed
        assert len(lost(addition.section(pieces, [added(share) for share in (0.7, 0.4, 0.4, best)]))) == 1
    assert len(lost(addition.section(pieces, [added(share) for share in (0.4, 0.92, 0.4, 0.9)]))) == 2


# ------------------------------------------------------------------------------------------------- word vectors


def test_words_are_counted_and_thinned_out() -> None:
    often, seldom = "the cat sat " * 40, "once "
    corpus = word_vectors.corpus_of(often + seldom, pn.random.key(0))
    assert corpus.words == ("the", "cat", "sat")
    assert corpus.counts.tolist() == [40, 40, 40]
    assert 0 < corpus.ids.size < 120


def test_neighbours_are_the_nearest_by_angle() -> None:
    angles = np.array([0.0, 0.1, 1.0, 3.0])
    vectors = Vectors(("a", "b", "c", "d"), np.column_stack([np.cos(angles), np.sin(angles)]), np.ones(3))
    assert word_vectors.nearest(vectors, "a", 2) == ["b", "c"]
    assert word_vectors.rank(vectors, "a", "b") == 0
    assert word_vectors.rank(vectors, "a", "d") == pytest.approx(2 / 3)


def test_related_words_must_be_near() -> None:
    words = [word for pair in word_vectors.PAIRS for word in pair]
    others = [f"other{i}" for i in range(100)]
    rows = np.asarray(pn.random.normal(pn.random.key(0), (112, 30)))
    rows[1:12:2] = rows[0:12:2] + 0.1 * rows[1:12:2]  # the second of each pair beside the first
    near = Vectors((*words, *others), rows / np.linalg.norm(rows, axis=1, keepdims=True), np.ones(5))
    assert word_vectors.section([Words(5)], [near]).passed
    apart = near._replace(rows=np.roll(near.rows, 1, axis=0)[::-1])
    assert lost(word_vectors.section([Words(5)], [apart]))
