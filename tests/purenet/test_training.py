"""The step, the evaluation and the batches of training: against what they promise, computed directly."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import purenet as pn
from purenet import checkpoints, training
from purenet.normalization import Statistics
from purenet.op import ALL, Array, Op

KEY = pn.random.key(7)
SGD = pn.optimizers.sgd(0.1)


def recorder(seen: list[Any]) -> Op:
    """The identity, which notes the key that it gets."""

    @Op
    def noted(x: Array, *, key: Array | None = None) -> tuple[Array, None]:
        seen.append(None if key is None else tuple(map(int, key)))
        return x.copy(), None

    @noted.pullback
    def noted_bwd(residuals: None, dy: Array) -> tuple[Array]:
        return (dy.copy(),)

    return noted


def same(ours: Any, theirs: Any) -> bool:
    """Whether two trees hold the same bits in the same structure."""
    pairs = zip(optree.tree_leaves(ours), optree.tree_leaves(theirs), strict=True)
    return optree.tree_structure(ours) == optree.tree_structure(theirs) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs
    )


# -------------------------------------------------------------------------------------------------------------- keys


def test_every_stage_gets_another_key_in_every_step_and_none_in_the_evaluation() -> None:
    seen: list[Any] = []
    noted = recorder(seen)
    goal = pn.chain(a=noted, block=pn.residual(pn.chain(a=noted, b=noted)), loss=pn.sum)
    step, batch = training.make_step(goal, SGD), {"x": np.ones(3)}
    state = training.start(SGD, {}, KEY)
    for _ in range(3):
        state, _ = step(state, batch)
    assert len(set(seen)) == len(seen) == 9
    assert None not in seen

    first = list(seen)
    seen.clear()
    state = training.start(SGD, {}, KEY)
    for _ in range(3):
        state, _ = step(state, batch)
    assert seen == first  # they depend on nothing else

    seen.clear()
    training.make_evaluation(goal)(state, [(1, batch)])
    assert seen == [None] * 3


def test_a_key_that_is_bound_or_in_the_batch_stays() -> None:
    seen: list[Any] = []
    noted = recorder(seen)
    goal = pn.chain(bound=noted.bind(key=pn.random.key(1)), given=noted, off=noted, loss=pn.sum)
    batch = {"x": np.ones(3), "given": {"key": pn.random.key(2)}, "off": {"key": None}}
    training.make_step(goal, SGD)(training.start(SGD, {}, KEY), batch)
    assert seen == [(0, 1), (0, 2), None]


def test_a_stage_that_drops_nothing_costs_no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    goal = pn.chain(
        a=pn.dropout.bind(rate=0.0), b=pn.dropout.bind(rate=0.25), c=pn.gaussian_noise.bind(stddev=1.0), loss=pn.sum
    )
    keys: list[Any] = []
    monkeypatch.setattr(training, "stage_key", lambda key, step, path: keys.append(path) or pn.random.key(0))
    training.make_step(goal, SGD)(training.start(SGD, {}, KEY), {"x": np.ones(3)})
    assert keys == [("b",), ("c",)]


def test_a_stage_keeps_its_key_where_others_are_added() -> None:
    seen: list[Any] = []
    noted = recorder(seen)
    for goal in (pn.chain(a=noted, loss=pn.sum), pn.chain(b=noted, a=noted, loss=pn.sum)):
        training.make_step(goal, SGD)(training.start(SGD, {}, KEY), {"x": np.ones(3)})
    assert seen[0] == seen[2] != seen[1]


# -------------------------------------------------------------------------------------------------------- one step


OPTIMIZERS = {
    "adam": pn.optimizers.adam(1e-2),
    "masked decay": pn.optimizers.chain(
        pn.optimizers.clip_by_global_norm(1.0), pn.optimizers.adamw(1e-2, mask={"net": {"w": True, "b": False}})
    ),
    "lamb": pn.optimizers.lamb(1e-2),
    "by the loss": pn.optimizers.chain(pn.optimizers.sgd(1e-2), pn.optimizers.reduce_on_plateau(patience=1)),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_forward_backward_update_and_apply_bit_for_bit(name: str, dtype: Any) -> None:
    goal, optimizer = pn.chain(net=pn.affine, loss=pn.softmax_cross_entropy), OPTIMIZERS[name]
    x, labels = pn.random.normal(KEY, (5, 4)).astype(dtype), np.array([0, 2, 1, 1, 0])
    params = {"net": {"w": pn.random.normal(pn.random.key(1), (4, 3)).astype(dtype), "b": np.zeros(3, dtype)}}
    state, step = training.start(optimizer, params, KEY), training.make_step(goal, optimizer)
    inner = optimizer.init(params)
    extra = {"value": None} if name == "by the loss" else {}
    for i in range(3):
        state, metrics = step(state, {"x": x, "loss": {"labels": labels}})
        loss, residuals = goal.fwd(params, x, loss={"labels": labels})
        updates, inner = optimizer.update(goal.bwd(residuals, 1.0)[0], inner, params, **dict.fromkeys(extra, loss))
        assert metrics == {"loss": float(loss), "accuracy": pn.accuracy(pn.affine(params["net"], x), labels)}
        params = pn.apply_updates(params, updates)
        assert int(state.step) == i + 1
        assert same((state.params, state.optimizer), (params, inner))
    assert state.key is KEY


def test_no_stage_computes_the_cotangent_of_data() -> None:
    asked: list[Any] = []

    @Op
    def scaled(params: dict[str, Array], x: Array) -> tuple[Array, Any]:
        return params["s"] * x, (params["s"], x)

    @scaled.pullback
    def scaled_bwd(saved: Any, dy: Array, *, wanted: Any = ALL) -> tuple[Any, ...]:
        asked.append(tuple(wanted))
        s, x = saved
        return {"s": np.asarray((dy * x).sum())}, (dy * s if 1 in wanted else None)

    goal = pn.chain(first=scaled, second=scaled, loss=pn.sum)
    params = {"first": {"s": np.array(2.0)}, "second": {"s": np.array(3.0)}}
    training.make_step(goal, SGD)(training.start(SGD, params, KEY), {"x": np.ones(3)})
    assert asked == [(0, 1), (0,)]


def test_the_update_of_an_optimizer_must_look_like_the_parameters() -> None:
    goal, params = pn.chain(net=pn.affine, loss=pn.sum), {"net": {"w": np.ones((2, 1))}}
    broadcast = pn.optimizers.GradientTransformation(lambda params: (), lambda g, s, p=None: ({"net": {"w": np.ones(1)}}, s))
    with pytest.raises(ValueError, match=r"apply_updates: .* shape"):
        training.make_step(goal, broadcast)(training.start(broadcast, params, KEY), {"x": np.ones((1, 2))})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(bad: float) -> None:
    goal, params = pn.chain(net=pn.affine, loss=pn.sum), {"net": {"w": np.ones((2, 1))}}
    step, state = training.make_step(goal, SGD), training.start(SGD, params, KEY)
    state, _ = step(state, {"x": np.ones((1, 2))})
    before = optree.tree_map(np.copy, state)
    with pytest.raises(training.NotFinite, match=r"the loss is (nan|inf) at step 2") as caught:
        step(state, {"x": np.array([[bad, 1.0]])})
    assert caught.value.step == 2
    assert same(state, before)


def test_the_carry_goes_from_batch_to_batch() -> None:
    model = pn.models.char_rnn
    goal, params = model.goal(), {"net": model.init(pn.random.key(1), 5, embedding=3, hidden=4)}
    ids = pn.random.randint(KEY, (2, 9), 0, 5)
    windows = [{"net": {"rnn": {"ids": ids[:, i : i + 4]}}, "loss": {"labels": ids[:, i + 1 : i + 5]}} for i in (0, 4)]
    still = pn.optimizers.scale(0.0)
    zeros = model.carry(params["net"], 2)
    state, step = training.start(still, params, KEY, zeros), training.make_step(goal, still)
    losses = []
    for window in windows:
        state, metrics = step(state, window)
        losses.append(metrics["loss"])
    whole = {"net": {"rnn": {"ids": ids[:, :8]}}, "loss": {"labels": ids[:, 1:]}}
    loss, carry = goal(params, zeros, **whole)
    np.testing.assert_allclose(np.mean(losses), loss, rtol=1e-12)
    np.testing.assert_allclose(state.carry["layer1"].c, carry["layer1"].c, rtol=1e-12)
    tested = training.make_evaluation(goal)(state._replace(carry=zeros), [(2, window) for window in windows])
    np.testing.assert_allclose(tested["loss"], loss, rtol=1e-12)


# ---------------------------------------------------------------------------------------------- running statistics


def test_running_statistics_are_those_of_a_direct_computation_and_serve_the_evaluation() -> None:
    norm = pn.batch_norm.bind(eps=0.0)
    goal = pn.chain(net=pn.residual(pn.chain(norm=norm)), loss=pn.mean)
    state, step = training.start(SGD, {"net": {"norm": {}}}, KEY), training.make_step(goal, SGD, momentum=0.75)
    batches = pn.random.normal(KEY, (2, 6, 3)) + 2
    mean, var = np.zeros(3), np.ones(3)
    for x in batches:
        state, _ = step(state, {"x": x})
        mean, var = 0.75 * mean + 0.25 * x.mean(0), 0.75 * var + 0.25 * x.var(0)
    assert list(state.statistics) == ["net/norm"]
    np.testing.assert_allclose(state.statistics["net/norm"].mean, mean, rtol=1e-13)
    np.testing.assert_allclose(state.statistics["net/norm"].var, var, rtol=1e-13)

    one = batches[0][:1]  # a batch of one has no variance of its own
    tested = training.make_evaluation(goal)(state, [(1, {"x": one})])
    np.testing.assert_allclose(tested["loss"], np.mean(one + (one - mean) / np.sqrt(var)), rtol=1e-12)


def test_statistics_that_are_bound_are_left_alone() -> None:
    frozen = Statistics(np.zeros(3), np.full(3, 4.0))
    goal = pn.chain(norm=pn.batch_norm.bind(statistics=frozen, eps=0.0), loss=pn.sum)
    state, metrics = training.make_step(goal, SGD)(training.start(SGD, {"norm": {}}, KEY), {"x": np.ones((2, 3))})
    assert metrics["loss"] == 3.0
    assert state.statistics == {}


def test_the_evaluation_is_the_mean_over_all_samples() -> None:
    goal = pn.chain(net=pn.affine, loss=pn.softmax_cross_entropy)
    params = {"net": {"w": pn.random.normal(KEY, (4, 3))}}
    x, labels = pn.random.normal(pn.random.key(2), (7, 4)), np.array([0, 1, 2, 0, 1, 2, 2])
    parts = [(part.stop - part.start, {"x": x[part], "loss": {"labels": labels[part]}}) for part in (slice(0, 5), slice(5, 7))]
    tested = training.make_evaluation(goal)(training.start(SGD, params, KEY), parts)
    np.testing.assert_allclose(tested["loss"], goal(params, x, loss={"labels": labels}), rtol=1e-13)
    np.testing.assert_allclose(tested["accuracy"], pn.accuracy(pn.affine(params["net"], x), labels))


def test_labels_that_do_not_count_are_not_part_of_the_accuracy() -> None:
    goal = pn.chain(net=pn.relu, loss=pn.softmax_cross_entropy.bind(ignore_index=0))
    x = np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 9.0, 0.0]])
    _, residuals = goal.fwd({}, x, loss={"labels": np.array([0, 1, 2])})
    assert training.label_accuracy(residuals) == 0.5
    _, residuals = goal.fwd({}, x, loss={"labels": np.array([0, 0, 0])})
    assert training.label_accuracy(residuals) is None
    _, residuals = pn.chain(net=pn.relu, loss=pn.sum).fwd({}, x)
    assert training.label_accuracy(residuals) is None


# --------------------------------------------------------------------------------------------------------- batches


@settings(max_examples=40)
@given(n=st.integers(1, 40), size=st.integers(1, 40), start=st.integers(0, 60), seed=st.integers(0, 5))
def test_a_run_that_is_resumed_sees_the_batches_that_it_would_have_seen(n: int, size: int, start: int, seed: int) -> None:
    key = pn.random.key(seed)
    if size > n:
        with pytest.raises(ValueError, match=f"size must be in 1..{n}"):
            training.shuffled(key, n, size)
        return
    whole = list(islice(training.shuffled(key, n, size), start + 3))
    resumed = list(islice(training.shuffled(key, n, size, start=start), 3))
    assert [b.tolist() for b in resumed] == [b.tolist() for b in whole[start:]]
    per_epoch = n // size
    for first in range(0, len(whole) - per_epoch + 1, per_epoch):
        epoch = np.concatenate(whole[first : first + per_epoch])
        assert len(set(epoch.tolist())) == per_epoch * size


def test_every_epoch_has_an_order_of_its_own() -> None:
    first, second, third = islice(training.shuffled(KEY, 50, 50), 3)
    assert len({tuple(order.tolist()) for order in (first, second, third)}) == 3


def test_a_run_from_a_checkpoint_ends_in_the_same_bits(tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_norm": True, "dropout_rate": 0.3, "l2": 1e-3}
    model, sizes, optimizer = pn.models.multi_layer_net, (6, 8, 3), pn.optimizers.adam(1e-2)
    x, labels = pn.random.normal(KEY, (20, 6)), pn.random.randint(KEY, (20,), 0, 3)
    state = before = training.start(optimizer, {"net": model.init(KEY, sizes, batch_norm=True)}, KEY)
    step = training.make_step(model.goal(sizes, **options), optimizer)

    def on(state: training.State, steps: int) -> training.State:
        for i in islice(training.shuffled(state.key, 20, 6, start=int(state.step)), steps):
            state, _ = step(state, {"x": x[i], "loss": {"labels": labels[i]}})
        return state

    checkpoints.save(tmp_path / "here", on(state, 5), {})
    resumed = on(checkpoints.load(tmp_path / "here", before, {}), 6)
    assert same(resumed, on(state, 11))
    assert not same(resumed.params, on(state, 10).params)
