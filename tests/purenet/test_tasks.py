"""The tasks that nets are trained on: what their batches hold, and that every net has one that it can learn from."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet as pn
from purenet import models, recipes, running, texts
from purenet.tasks import Setting, Task

KEY = pn.random.key(5)


def setting(batch: int, place: Path | None = None) -> Setting:
    return Setting(batch, 0, np.float32, None if place is None else str(place))


def ids(batch: Any) -> list[list[int]]:
    (options,) = batch["net"].values()
    return options["ids"].tolist()


def first(task: Task, count: int, start: int = 0) -> list[Any]:
    return list(islice(task.batches(KEY, start), count))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Characters whose numbers are 0, 1, 2, ..., nine tenths of which are trained on."""
    path = tmp_path / "text"
    path.write_text("".join(map(chr, range(100, 200))), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", models.names())
def test_every_net_learns_from_its_data(name: str, tmp_path: Path) -> None:
    """From one batch seen again and again: the loss falls, so that data, labels and stages belong together."""
    prepared = running.prepare(running.Settings(name, batch=4, checkpoint=str(tmp_path / "here")))
    state, batch = prepared.state, next(prepared.task.batches(prepared.state.key, 0))
    losses = []
    for _ in range(6):
        state, metrics = prepared.step(state._replace(carry=prepared.state.carry), batch)
        losses.append(metrics["loss"])
    assert min(losses[3:]) < losses[0]


@pytest.mark.parametrize("name", ["two_layer_net", "char_rnn", "gpt", "word2vec"])
def test_the_batches_of_a_step_are_the_same_in_every_run(name: str) -> None:
    (recipe,) = recipes.recipes_of(name)
    task = recipe.task_for(setting(4))
    whole, later = first(task, 5), first(task, 2, start=3)
    assert list(map(repr, later)) == list(map(repr, whole[3:]))
    assert repr(whole[0]) != repr(whole[1])


def test_readers_read_on_from_window_to_window_and_begin_anew(text: Path) -> None:
    task = texts.readers(setting(2, text), stage="rnn", window=4)
    assert (task.epoch, task.recurrent, task.init) == (11, True, {"vocabulary": 100})
    one, two, *_, again = first(task, 12)
    assert ids(one) == [[0, 1, 2, 3], [45, 46, 47, 48]]
    assert ids(two) == [[4, 5, 6, 7], [49, 50, 51, 52]]
    assert ids(again) == ids(one)
    np.testing.assert_array_equal(one["loss"]["labels"], np.array(ids(one)) + 1)
    assert [(size, ids(batch)) for size, batch in task.tests()] == [(2, [[90, 91, 92, 93], [95, 96, 97, 98]])]


def test_a_text_whose_test_is_too_short_is_named(text: Path) -> None:
    with pytest.raises(ValueError, match="at least 14 characters to test, 2 windows of 6 and what follows, found 10"):
        texts.readers(setting(2, text), stage="rnn", window=6)


def test_passages_are_all_the_windows_of_a_text_once_in_an_epoch(text: Path) -> None:
    task = texts.passages(setting(4, text), stage="embedding", window=8)
    batches = first(task, task.epoch)
    starts = sorted(row[0] for batch in batches for row in ids(batch))
    assert len(starts) == len(set(starts)) == 4 * task.epoch == 8
    assert all(row == list(range(row[0], row[0] + 8)) and row[0] % 8 == 0 for batch in batches for row in ids(batch))
    ((size, test),) = task.tests()
    assert (size, ids(test), test["loss"]["labels"].tolist()) == (1, [list(range(90, 98))], [list(range(91, 99))])
    with pytest.raises(ValueError, match="--batch 12 is more than the 11 windows of 8 characters to train on"):
        texts.passages(setting(12, text), stage="embedding", window=8)


def test_words_stand_between_those_around_them(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("One two, three! " * 40 + "rare", encoding="utf-8")
    task = texts.words(setting(6, path), window=1, negatives=5, least=2)
    assert task.init == {"vocabulary": 3}  # one, three, two
    (batch,) = first(task, 1)
    around, here = batch["net"]["embedding"]["ids"], batch["net"]["output"]
    follows = {0: 2, 2: 1, 1: 0}
    assert all(follows[a] == b and follows[b] == c for (a, c), b in zip(around.tolist(), here["targets"].tolist(), strict=True))
    assert here["negatives"].shape == (6, 5)
    with pytest.raises(ValueError, match=r"at least 80 words that occur 50 times, found 0"):
        texts.words(setting(6, path), window=4, negatives=5, least=50)


def test_sums_are_right_and_no_question_is_in_both_parts() -> None:
    task = texts.sums(setting(90), below=10, reverse=False)
    spell = lambda rows: ["".join(texts.ALPHABET[i] for i in row) for row in rows]  # noqa: E731
    (batch,), ((_, test),) = first(task, 1), task.tests()
    asked: list[str] = []
    for part in (batch, test):
        questions, read = spell(part["net"]["encoder"]["ids"]), spell(part["net"]["decoder"]["ids"])
        answers = spell(part["loss"]["labels"])
        for question, seen, answer in zip(questions, read, answers, strict=True):
            a, b = question.split("+")
            assert int(a) + int(b) == int(answer)
            assert seen == "_" + answer[:-1]
        asked += questions
    assert len(asked) == len(set(asked)) == 100
    backwards = texts.sums(setting(90), below=10)
    assert spell(first(backwards, 1)[0]["net"]["encoder"]["ids"][:, ::-1]) == asked[:90]
    with pytest.raises(ValueError, match="this net learns additions"):
        texts.sums(setting(90, Path("here")), below=10)
