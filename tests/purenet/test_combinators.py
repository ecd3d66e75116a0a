"""Ops made of Ops, whose parameters, keywords, residuals and errors go by the names of their parts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import purenet as pn
from purenet import Op
from purenet.combinators import parameter_count

X = np.array([[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0]])
LABELS = np.array([0, 1, 1])


def weights(*widths: int) -> dict[str, Any]:
    """The parameters of affine maps between layers of these widths."""
    generator = np.random.default_rng(widths)
    return {
        f"affine{i}": {"w": generator.normal(size=(a, b)), "b": generator.normal(size=b)}
        for i, (a, b) in enumerate(pairwise(widths), start=1)
    }


def net() -> pn.Op:
    return pn.chain(affine1=pn.affine, tanh1=pn.tanh, affine2=pn.affine)


def goal() -> pn.Op:
    return pn.chain(net=net(), loss=pn.softmax_cross_entropy)


# ---------------------------------------------------------------------------------------------- the composition


def test_a_chain_is_its_stages_one_after_the_other() -> None:
    params = weights(2, 4, 3)
    hidden, kept1 = pn.affine.fwd(params["affine1"], X)
    active, kept2 = pn.tanh.fwd(hidden)
    y, kept3 = pn.affine.fwd(params["affine2"], active)
    dy = np.ones((3, 3))
    grads2, d = pn.affine.bwd(kept3, dy)
    grads1, dx = pn.affine.bwd(kept1, *pn.tanh.bwd(kept2, d))

    value, residuals = net().fwd(params, X)
    grads, found = net().bwd(residuals, dy)
    np.testing.assert_array_equal(value, y)
    np.testing.assert_array_equal(found, dx)
    assert list(grads) == ["affine1", "affine2"]  # no entry for the stage without parameters
    for name, wanted in (("affine1", grads1), ("affine2", grads2)):
        for leaf in ("w", "b"):
            np.testing.assert_array_equal(grads[name][leaf], wanted[leaf])


def test_vjp_takes_a_chain_as_any_op() -> None:
    params = {"net": weights(2, 4, 3)}
    value, pullback = pn.vjp(goal(), params, X, loss={"labels": LABELS})
    assert value.shape == ()
    grads, dx = pullback(2.0)
    half, _ = pullback(1.0)
    np.testing.assert_allclose(grads["net"]["affine1"]["w"], 2 * half["net"]["affine1"]["w"], rtol=1e-14)
    assert dx.shape == X.shape


@settings(max_examples=25)
@given(depth=st.integers(1, 4), cut=st.integers(0, 3))
def test_chains_nest_without_a_change(depth: int, cut: int) -> None:
    stages: dict[str, Op] = {}
    for i in range(1, depth + 1):
        stages |= {f"affine{i}": pn.affine, f"sigmoid{i}": pn.sigmoid}
    params = weights(*range(2, depth + 3))
    names = list(stages)
    cut = min(2 * cut, len(names) - 1)
    first, rest = {n: stages[n] for n in names[:cut]}, {n: stages[n] for n in names[cut:]}
    parts = {"first": pn.chain(**first)} if first else {}
    nested = pn.chain(**parts, rest=pn.chain(**rest))
    parts_params = {"first": {n: params[n] for n in first if n in params}, "rest": {n: params[n] for n in rest if n in params}}
    nested_params = {part: held for part, held in parts_params.items() if held}  # a chain without parameters takes no entry

    y, residuals = pn.chain(**stages).fwd(params, X)
    value, nested_residuals = nested.fwd(nested_params, X)
    np.testing.assert_array_equal(value, y)
    grads, dx = pn.chain(**stages).bwd(residuals, y)
    nested_grads, nested_dx = nested.bwd(nested_residuals, y)
    np.testing.assert_array_equal(nested_dx, dx)
    for name in params:
        part = "first" if name in first else "rest"
        np.testing.assert_array_equal(nested_grads[part][name]["w"], grads[name]["w"])


def test_a_chain_without_parameters_takes_none() -> None:
    op = pn.chain(tanh=pn.tanh, inner=pn.chain(relu=pn.relu))
    y, residuals = op.fwd({}, X)
    np.testing.assert_array_equal(y, np.maximum(np.tanh(X), 0))
    assert op.bwd(residuals, y)[0] == {}
    # Such a chain is a stage that needs no entry either.
    outer = pn.chain(affine1=pn.affine, squash=op)
    assert set(outer.bwd(outer.fwd(weights(2, 2), X)[1], X)[0]) == {"affine1"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_passes_through(dtype: Any) -> None:
    params = {"net": {n: {k: v.astype(dtype) for k, v in p.items()} for n, p in weights(2, 4, 3).items()}}
    value, residuals = goal().fwd(params, X.astype(dtype), loss={"labels": LABELS})
    grads, dx = goal().bwd(residuals, 1.0)
    assert {value.dtype, dx.dtype, grads["net"]["affine1"]["w"].dtype} == {np.dtype(dtype)}


def test_parameters_are_counted() -> None:
    assert parameter_count(weights(2, 4, 3)) == 2 * 4 + 4 + 4 * 3 + 3
    assert parameter_count({}) == 0


# ---------------------------------------------------------------------------------------------- keywords by stage


def test_keywords_go_to_stages_and_bind_keeps_them() -> None:
    params = {"net": weights(2, 4, 3)}
    plain = goal()(params, X, loss={"labels": LABELS})
    smooth = goal()(params, X, loss={"labels": LABELS, "label_smoothing": 0.3})
    assert plain != smooth
    bound = goal().bind(loss={"labels": LABELS})
    assert bound(params, X) == plain
    assert bound(params, X, loss={"label_smoothing": 0.3}) == smooth
    assert bound.bind(loss={"label_smoothing": 0.3})(params, X) == smooth
    assert bound(params, X) == plain  # neither call nor bind changed it


def test_keywords_reach_the_stages_of_stages() -> None:
    op = pn.chain(inner=pn.chain(gelu=pn.gelu), outer=pn.identity)
    exact = op({}, X, inner={"gelu": {"approximate": False}})
    np.testing.assert_array_equal(exact, pn.gelu(X, approximate=False))
    assert (exact != op({}, X)).any()


def test_a_bound_op_is_a_stage() -> None:
    op = pn.chain(gelu=pn.gelu.bind(approximate=False))
    np.testing.assert_array_equal(op({}, X), pn.gelu(X, approximate=False))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda op, p: op(p, X, labels=LABELS), r"chain\(net, loss\): no stage is named 'labels' \(stages: net, loss\)"),
        (lambda op, p: op(p, X, x=X), r"chain\(net, loss\): takes 1 positional argument \(params\), got 2"),
        (lambda op, _: op(X), r"chain\(net, loss\): takes 2 positional arguments \(params, x\), got 1"),
        (lambda op, p: op(p, X, LABELS), r"chain\(net, loss\): takes 2 positional arguments \(params, x\), got 3"),
        (lambda op, _: op.bind(labels=LABELS), r"chain\(net, loss\): no stage is named 'labels'"),
        (
            lambda op, p: op(p, X, loss=LABELS),
            r"chain\(net, loss\): loss must be a dict of the keywords of that stage, got ndarray",
        ),
        (lambda op, p: op(p, X), r"chain\(net, loss\): softmax_cross_entropy: missing the keyword argument 'labels'"),
        (
            lambda op, p: op(p, X, loss={"label": LABELS}),
            r"chain\(net, loss\): softmax_cross_entropy: unknown keyword argument",
        ),
        (lambda op, _: op([], X), r"chain\(net, loss\): params must be a dict by stage name \(net\), got list"),
    ],
)
def test_a_wrong_call_is_named(call: Callable[[Op, Any], Any], match: str) -> None:
    with pytest.raises(TypeError, match=f"^{match}"):
        call(goal(), {"net": weights(2, 4, 3)})


# ---------------------------------------------------------------------------------------------- constants


def spied(name: str, op: Op, called: list[str]) -> Op:
    """`op`, whose pullback says that it was called, and which cotangents were wanted."""
    spy = Op(op.forward, name=name)

    def backward(saved: Any, dy: Any, *, wanted: Any = None) -> tuple[Any, ...]:
        called.append(f"{name} {wanted}")
        assert op.backward is not None
        return op.backward(saved, dy)

    spy.pullback(backward)
    return spy


def test_no_stage_computes_the_cotangent_of_a_constant() -> None:
    called: list[str] = []
    stages = {"scale": pn.tanh, "affine1": pn.affine, "relu": pn.relu, "affine2": pn.affine}
    net = pn.chain(**{name: spied(name, op, called) for name, op in stages.items()})
    whole = pn.chain(net=net, loss=pn.softmax_cross_entropy)
    params = {"net": weights(2, 4, 3)}
    grads, dx = whole.bwd(whole.fwd(params, X, loss={"labels": LABELS})[1], 1.0)
    assert called == ["affine2 (0, 1)", "relu (0,)", "affine1 (0, 1)", "scale (0,)"]
    called.clear()
    (same,) = whole.bwd(whole.fwd(params, x=X, loss={"labels": LABELS})[1], 1.0)
    assert called == ["affine2 (0, 1)", "relu (0,)", "affine1 (0,)"]
    for name, leaf in (("affine1", "w"), ("affine1", "b"), ("affine2", "w")):
        np.testing.assert_array_equal(same["net"][name][leaf], grads["net"][name][leaf])
    called.clear()
    (same_dx,) = whole.bwd(whole.fwd(X, params=params, loss={"labels": LABELS})[1], 1.0)
    assert called == ["affine2 (1,)", "relu (0,)", "affine1 (1,)", "scale (0,)"]
    np.testing.assert_array_equal(same_dx, dx)
    assert whole.bwd(whole.fwd(params=params, x=X, loss={"labels": LABELS})[1], 1.0) == ()


@pytest.mark.parametrize("size", [4, 7])  # conv2d computes large images in another way
@pytest.mark.parametrize("op", [pn.affine, pn.conv1d, pn.conv2d, pn.conv3d])
def test_a_layer_of_constants_leaves_their_cotangent_out(op: Op, size: int) -> None:
    n = int(op.name[4]) if op.name.startswith("conv") else 0
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, *(size,) * n))
    params = {"w": rng.normal(size=(2, 3, *(2,) * n) if n else (3, 2)), "b": rng.normal(size=2)}
    y, residuals = op.fwd(params, x)
    both = op.bwd(residuals, y)
    (one,) = op.bwd(op.fwd(params, x=x)[1], y)
    assert op.backward is not None
    assert op.backward(residuals.saved, y, wanted=(0,))[1] is None
    exact = op is not pn.conv2d or size == 4  # a large image without dx has its kernels' gradient in another order of sums
    for leaf in "wb":
        np.testing.assert_allclose(one[leaf], both[0][leaf], rtol=0 if exact else 1e-13, atol=0 if exact else 1e-13)
    (dx,) = op.bwd(op.fwd(x, params=params)[1], y)
    np.testing.assert_array_equal(dx, both[1])


def test_combinators_take_constants() -> None:
    params = weights(2, 2)["affine1"]
    for op, held in ((pn.residual(pn.affine), params), (pn.parallel(one=pn.affine, two=pn.tanh), {"one": params})):
        y, residuals = op.fwd(held, X)
        both = op.bwd(residuals, y)
        value, residuals = op.fwd(held, x=X)
        np.testing.assert_array_equal(value, y)
        (dparams,) = op.bwd(residuals, y)
        np.testing.assert_equal(dparams, both[0])
        (dx,) = op.bwd(op.fwd(X, params=held)[1], y)
        np.testing.assert_array_equal(dx, both[1])


def test_the_first_of_a_tuple_may_be_a_constant() -> None:
    params, beside = weights(2, 2)["affine1"], np.ones(3)
    op = pn.first(pn.affine)
    y, residuals = op.fwd(params, (X, beside))
    dparams, _ = op.bwd(residuals, y)
    value, residuals = op.fwd(params, x=(X, beside))
    np.testing.assert_equal(value, y)
    np.testing.assert_equal(op.bwd(residuals, y), (dparams,))


def test_constants_pass_a_loss_with_targets() -> None:
    net = pn.chain(affine1=pn.affine, loss=pn.mse)
    params, targets = weights(2, 2), np.ones_like(X)
    (grads,) = net.bwd(net.fwd(params, x=X, loss={"targets": targets})[1], 1.0)
    expected, _ = net.bwd(net.fwd(params, X, loss={"targets": targets})[1], 1.0)
    np.testing.assert_equal(grads, expected)


# ---------------------------------------------------------------------------------------------- sources and ties

IDS = np.array([[0, 2], [2, 1]])


def test_a_chain_may_begin_with_parameters_alone() -> None:
    net = pn.chain(embedding=pn.embedding, affine=pn.affine)
    params = {"embedding": {"w": np.arange(6.0).reshape(3, 2)}, "affine": {"w": np.ones((2, 1))}}
    assert net.arguments == ("params",)
    y, residuals = net.fwd(params, embedding={"ids": IDS})
    np.testing.assert_array_equal(y[..., 0], [[1, 9], [9, 5]])
    (grads,) = net.bwd(residuals, np.ones_like(y))
    np.testing.assert_array_equal(grads["embedding"]["w"], [[1, 1], [1, 1], [2, 2]])
    whole = pn.chain(net=net, mean=pn.tanh)  # such a chain is such a stage
    (outer,) = whole.bwd(whole.fwd({"net": params}, net={"embedding": {"ids": IDS}})[1], np.zeros_like(y))
    assert set(outer["net"]) == {"embedding", "affine"}
    with pytest.raises(TypeError, match=r"takes 1 positional argument \(params\), got 2"):
        net(params, X, embedding={"ids": IDS})


def test_tied_stages_share_parameters_and_add_their_gradients() -> None:
    free = pn.chain(first=pn.affine, middle=pn.tanh, last=pn.affine)
    net = pn.tied(free, last="first")
    own = weights(2, 2)["affine1"]
    y, residuals = net.fwd({"first": own}, X)
    expected, free_residuals = free.fwd({"first": own, "last": own}, X)
    np.testing.assert_array_equal(y, expected)
    grads, dx = net.bwd(residuals, y)
    apart, free_dx = free.bwd(free_residuals, y)
    np.testing.assert_array_equal(dx, free_dx)
    assert set(grads) == {"first"}
    np.testing.assert_allclose(grads["first"]["w"], apart["first"]["w"] + apart["last"]["w"], rtol=1e-15)
    assert set(free.fwd({"first": own, "last": own}, X)[1].saved) == {"first", "middle", "last"}  # `free` is what it was
    with pytest.raises(ValueError, match=r"params must hold the stages first, got first, last"):
        net({"first": own, "last": own}, X)


@pytest.mark.parametrize(
    ("call", "exception", "match"),
    [
        (lambda: pn.tied(pn.tanh, a="b"), TypeError, "tied: op must be a chain or parallel, got Op"),  # type: ignore[type-var]
        (
            lambda: pn.tied(pn.chain(one=pn.affine, two=pn.tanh), two="one"),
            ValueError,
            r"tied: chain\(one, two\) has no stage 'two' with parameters \(it has one\)",
        ),
        (
            lambda: pn.tied(pn.chain(one=pn.affine, two=pn.affine), one="one"),
            ValueError,
            "tied: 'one' cannot have the parameters of 'one', which has those of 'one'",
        ),
        (lambda: pn.chain(x=pn.tanh), ValueError, "chain: no stage may be named 'x', which is the name of an argument"),
        (
            lambda: pn.chain(one=pn.tanh, two=pn.embedding),
            ValueError,
            "chain: only the first stage may take parameters alone, but 'two' takes no x",
        ),
        (
            lambda: pn.parallel(one=pn.affine, two=pn.embedding),
            ValueError,
            "parallel: every branch must take x, but 'two' takes parameters alone",
        ),
    ],
)
def test_what_cannot_be_combined_is_named(call: Callable[[], Any], exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^{match}"):
        call()


# ---------------------------------------------------------------------------------------------- parameters by stage


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda p: p.pop("affine2"), "affine1"),
        (lambda p: p.update(affine3=p["affine2"]), "affine1, affine2, affine3"),
        (lambda p: p.update(tanh1={}), "affine1, affine2, tanh1"),
        (lambda p: p.clear(), "none"),
    ],
)
def test_params_hold_the_stages_with_parameters_and_no_other(change: Callable[[dict[str, Any]], Any], got: str) -> None:
    params = weights(2, 4, 3)
    change(params)
    with pytest.raises(
        ValueError, match=rf"^chain\(affine1, tanh1, affine2\): params must hold the stages affine1, affine2, got {got}$"
    ):
        net()(params, X)


def test_an_error_names_the_stage_it_came_from() -> None:
    params = {"net": weights(2, 4, 3)}
    params["net"]["affine2"]["w"] = np.ones((5, 3))
    with pytest.raises(ValueError, match=r"^chain\(net, loss\): affine: x must have shape \(\.\.\., 5\)") as caught:
        goal()(params, X, loss={"labels": LABELS})
    assert caught.value.__notes__ == [
        "in the stage 'affine2' of chain(affine1, tanh1, affine2)",
        "in the stage 'net' of chain(net, loss)",
    ]


def test_two_dtypes_are_an_error_of_the_stage_where_they_meet() -> None:
    with pytest.raises(
        TypeError,
        match=r"^chain\(affine1, tanh1, affine2\): affine: .* share one dtype, .*params\.b is float64 and x is float32\n",
    ) as caught:
        net()(weights(2, 4, 3), X.astype(np.float32))
    assert caught.value.__notes__ == ["in the stage 'affine1' of chain(affine1, tanh1, affine2)"]


# ---------------------------------------------------------------------------------------------- residuals by stage


def test_residuals_are_read_by_stage() -> None:
    params = {"net": weights(2, 4, 3)}
    _, residuals = goal().fwd(params, X, loss={"labels": LABELS})
    x, w, has_bias = residuals["net"]["affine1"]
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(w, params["net"]["affine1"]["w"])
    assert has_bias
    assert list(residuals) == ["net", "loss"]
    assert residuals["net"].op == "chain(affine1, tanh1, affine2)"


def test_foreign_residuals_are_refused() -> None:
    _, residuals = net().fwd(weights(2, 4, 3), X)
    with pytest.raises(
        TypeError,
        match=r"^chain\(net, loss\): residuals must be those of chain\(net, loss\)\.fwd, got those of chain\(affine1, ",
    ):
        goal().bwd(residuals, 1.0)
    with pytest.raises(TypeError, match=r"^chain\(net, loss\): residuals must be those of .*, got tuple$"):
        goal().bwd((), 1.0)
    with pytest.raises(TypeError, match=r"^affine: residuals must be those of affine\.fwd, got those of chain"):
        pn.affine.bwd(residuals, X)


def test_stages_of_the_same_names_are_told_apart() -> None:
    _, residuals = pn.chain(first=pn.relu, second=pn.tanh).fwd({}, X)
    with pytest.raises(TypeError, match=r"^relu: residuals must be those of relu\.fwd, got those of tanh$"):
        pn.chain(first=pn.tanh, second=pn.relu).bwd(residuals, X)


def test_the_cotangent_is_checked_against_the_value_of_the_last_stage() -> None:
    _, residuals = net().fwd(weights(2, 4, 3), X)
    with pytest.raises(ValueError, match=r"the cotangent dy has shape \(3, 2\), the value it belongs to has \(3, 3\)"):
        net().bwd(residuals, X)


# ---------------------------------------------------------------------------------------------- how a chain is made


def test_stages_are_ops() -> None:
    with pytest.raises(ValueError, match=r"^chain: at least one stage is needed"):
        pn.chain()
    with pytest.raises(TypeError, match=r"^chain: the stage 'tanh' must be an Op, got ufunc"):
        pn.chain(affine=pn.affine, tanh=np.tanh)  # type: ignore[arg-type]


def test_a_chain_reads_like_an_op() -> None:
    assert repr(net()) == "<Op chain(affine1, tanh1, affine2)(params, x)>"
    assert net().__doc__ == "The stages affine1: affine, tanh1: tanh, affine2: affine, in this order."
    assert net().arguments == ("params", "x")


# ---------------------------------------------------------------------------------------------- residual


def test_a_residual_passes_its_argument_around_its_op() -> None:
    params = weights(2, 2)["affine1"]
    y, kept = pn.affine.fwd(params, X)
    dparams, dx = pn.affine.bwd(kept, X)
    value, residuals = pn.residual(pn.affine).fwd(params, X)
    np.testing.assert_array_equal(value, X + y)
    grads, found = pn.residual(pn.affine).bwd(residuals, X)
    np.testing.assert_array_equal(found, X + dx)
    np.testing.assert_array_equal(grads["w"], dparams["w"])


def test_a_residual_takes_the_keywords_of_its_op_and_shows_its_residuals() -> None:
    op = pn.residual(pn.chain(affine1=pn.affine, gelu=pn.gelu))
    value, residuals = op.fwd(weights(2, 2), X, gelu={"approximate": False})
    np.testing.assert_array_equal(value, op.bind(gelu={"approximate": False})(weights(2, 2), X))
    assert (value != op(weights(2, 2), X)).any()
    np.testing.assert_array_equal(residuals["affine1"][0], X)
    assert repr(pn.residual(pn.gelu.bind(approximate=False))) == "<Op residual(gelu)(x, approximate=False)>"


def test_a_residual_is_a_stage_with_the_parameters_of_its_op() -> None:
    plain, deep = pn.residual(pn.tanh), pn.residual(pn.residual(pn.chain(tanh=pn.tanh)))
    net = pn.chain(affine1=pn.affine, plain=plain, deep=deep, last=pn.residual(pn.affine))
    params = {"affine1": weights(2, 2)["affine1"], "last": weights(2, 2)["affine1"]}
    y, residuals = net.fwd(params, X)
    assert set(net.bwd(residuals, y)[0]) == {"affine1", "last"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sums_keep_the_dtype(dtype: Any) -> None:
    x = np.asarray([60000.0, 1.0], dtype)
    for op, arguments in ((pn.residual(pn.identity), (x,)), (pn.parallel(one=pn.identity, two=pn.relu), ({}, x))):
        y, residuals = op.fwd(*arguments)
        assert y.dtype == op.bwd(residuals, y)[-1].dtype == dtype
        np.testing.assert_array_equal(y, [np.inf if dtype is np.float16 else 120000, 2])


def test_a_point_stays_an_array() -> None:
    y, residuals = pn.residual(pn.tanh).fwd(np.array(0.0))
    (dx,) = pn.residual(pn.tanh).bwd(residuals, 3.0)
    assert isinstance(y, np.ndarray)
    assert isinstance(dx, np.ndarray)
    assert dx == 6


@pytest.mark.parametrize(
    ("call", "exception", "match"),
    [
        (lambda: pn.residual(np.tanh), TypeError, "residual: op must be an Op, got ufunc"),  # type: ignore[arg-type]
        (
            lambda: pn.residual(pn.affine)({"w": np.ones((2, 3))}, X),
            ValueError,
            r"residual\(affine\): the value must have the shape of x, but x has \(3, 2\), float64 \(3, 3\)",
        ),
        (
            pn.residual(pn.identity),
            TypeError,
            r"residual\(identity\): takes x, to which the value is added, got none",
        ),
        (lambda: pn.residual(pn.tanh).bwd((), X), TypeError, r"residual\(tanh\): residuals must be those of residual"),
        (
            lambda: pn.residual(pn.concat)((X, X), axis=0),
            ValueError,
            r"residual\(concat\): the value must have the shape of .*, but .* has a tree, float64 \(6, 2\)",
        ),
    ],
)
def test_a_wrong_residual_is_named(call: Callable[[], Any], exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^{match}"):
        call()


# ---------------------------------------------------------------------------------------------- parallel


def test_branches_are_added() -> None:
    params = weights(2, 2)
    op = pn.parallel(affine1=pn.affine, tanh=pn.tanh, pair=pn.chain(relu=pn.relu))
    y, residuals = op.fwd(params, X)
    np.testing.assert_array_equal(y, pn.affine(params["affine1"], X) + np.tanh(X) + np.maximum(X, 0))
    grads, dx = op.bwd(residuals, X)
    assert list(grads) == ["affine1"]
    np.testing.assert_allclose(dx, X @ params["affine1"]["w"].T + X / np.cosh(X) ** 2 + np.where(X > 0, X, 0), rtol=1e-12)


def test_keywords_and_errors_go_by_branch() -> None:
    op = pn.parallel(exact=pn.gelu.bind(approximate=False), rough=pn.gelu)
    np.testing.assert_array_equal(op({}, X, rough={"approximate": False}), 2 * pn.gelu(X, approximate=False))
    with pytest.raises(TypeError, match=r"^parallel\(exact, rough\): no branch is named 'bent' \(branches: exact, rough\)"):
        op({}, X, bent={})
    with pytest.raises(ValueError, match=r"^parallel: at least one branch is needed"):
        pn.parallel()
    with pytest.raises(ValueError, match=r"^parallel\(a, b\): the values .* a gives float64 \(3, 2\) and b float64 \(3, 1\)"):
        pn.parallel(a=pn.tanh, b=pn.affine)({"b": {"w": np.ones((2, 1))}}, X)
