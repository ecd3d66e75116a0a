"""`verify`, as anyone calls it: what it takes, what it refuses, what it reports, and large arguments."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import oracle
import purenet as pn
from oracle import Case, Flag, Spec, Verdict, catalogue, library, verify, verify_case
from oracle.row import Row, worst_first
from tests.oracle.planted import Array, Pair, cube, dense, elementwise, normal, row, signed

X = signed(5)


# ------------------------------------------------------------------------------------------------- what is refused


class Parameters(NamedTuple):
    w: Any
    b: Any


TRUNCATED = "x + h would be truncated (what is not differentiated goes into options={'x': ...})"


@pytest.mark.parametrize(
    ("x", "what"),
    [
        (np.arange(3), f"got int64; {TRUNCATED}"),
        (np.arange(3, dtype=np.uint8), f"got uint8; {TRUNCATED}"),
        (np.array([True, False]), "got bool"),
        (np.array([1 + 2j], np.clongdouble), f"got {np.dtype(np.clongdouble)}"),
        (np.array([1.0, None], object), "got object"),
        (np.array(["1.0"]), "got <U3"),
        (np.zeros(2, np.longdouble), f"got {np.dtype(np.longdouble)}"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "got MaskedArray"),
        (3, "got int"),
        ("text", "got str"),
        ([1, 2], "got int"),
        (object(), "got object"),
    ],
)
def test_what_is_not_an_array_of_floats(x: Any, what: str) -> None:
    where = "x.0" if isinstance(x, list) else "x"
    with pytest.raises(TypeError, match=rf"^verify: {where} of cube must be a floating-point array") as raised:
        verify(cube(), x)
    assert str(raised.value).endswith(what)


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_points_without_a_gradient(value: float, what: str, dtype: Any) -> None:
    with pytest.raises(ValueError, match=rf"^verify: x of cube holds {what}: no gradient can be verified there"):
        verify(cube(), np.array([1.0, value], dtype))


def test_the_leaf_at_fault_is_named() -> None:
    with pytest.raises(TypeError, match=r"^verify: params.b of affine must be a floating-point array .*, got int64"):
        verify(pn.affine, {"w": normal(3, 2), "b": np.arange(2)}, normal(4, 3))
    with pytest.raises(ValueError, match=r"^verify: x\.0\.b of cube holds NaN"):
        verify(cube(), [Parameters(X, np.array([np.nan]))])


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True])
def test_a_seed_that_is_none(seed: Any) -> None:
    with pytest.raises(ValueError, match=r"^verify: seed must be an integer from 0, got "):
        verify(cube(), X, seed=seed)


@pytest.mark.parametrize(
    "wrong", [{"flags": {"zero_gradient"}}, {"flags": Flag.ZERO_GRADIENT}, {"case": 3}, {"step": "a"}, {"step": True}]
)
def test_an_option_of_another_type(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"^verify: {next(iter(wrong))} must be "):
        verify(cube(), X, **wrong)


def test_a_reference_that_is_no_function() -> None:
    reference: Any = "jax.nn.silu"
    with pytest.raises(TypeError, match=r"^verify: reference must be a function for JAX or torch, got str"):
        verify(cube(), X, reference=reference)


def test_an_optimizer_is_followed_instead() -> None:
    with pytest.raises(TypeError, match=r"^verify: an optimizer has no pullback"):
        verify(pn.optimizers.sgd(0.1), X)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_what_exits_is_a_row(where: str) -> None:
    def fwd(x: Array) -> Any:
        return x if where == "backward" else sys.exit(3), None

    def bwd(_: Any, dy: Array) -> Any:
        sys.exit(4)

    only = row(verify((fwd, bwd), X))
    assert only.verdict is Verdict.ERROR
    assert re.fullmatch(rf"the {where} pass raised SystemExit: [34] \(test_verification\.py:\d+\)", only.diagnosis)


def test_a_warning_is_said_to_count() -> None:
    only = row(verify(elementwise(np.log, lambda x: 1 / x), np.zeros(2)))
    assert "RuntimeWarning: divide by zero encountered in log" in only.diagnosis
    assert only.diagnosis.endswith("and a warning counts as an error")


def test_nothing_to_differentiate() -> None:
    with pytest.raises(ValueError, match=r"^verify: cube got no arguments to differentiate"):
        verify(cube())
    nothing: Any
    for nothing in (None, {}, (), [None]):
        with pytest.raises(ValueError, match=r"^verify: the arguments of cube hold no arrays"):
            verify(cube(), nothing)


@pytest.mark.parametrize("op", [np.sin, None, "relu", cube()[0], (cube()[0],), (*cube(), 1), [*cube()], (cube()[0], None)])
def test_what_is_no_op(op: Any) -> None:
    message = r"^verify: op must be a purenet.Op, a pair \(fwd, bwd\) of functions, .* primitive .*, got " + type(op).__name__
    with pytest.raises(TypeError, match=message):
        verify(op, X)


def test_an_op_without_a_pullback() -> None:
    @pn.Op
    def halfway(x: Array) -> tuple[Array, None]:
        return x * 2, None

    with pytest.raises(TypeError, match=r"^verify: halfway has no pullback"):
        verify(halfway, X)


def test_an_unknown_option_is_an_error_of_the_op() -> None:
    only = row(verify(pn.tanh, X, options={"speed": 3}))
    assert only.verdict is Verdict.ERROR
    assert "unknown keyword argument 'speed'" in only.diagnosis


# ------------------------------------------------------------------------------------------------- what is taken


def test_a_python_float_is_a_scalar() -> None:
    for reference in (None, lambda x: x**3):
        only = row(verify(cube(), 1.5, reference=reference))
        assert (only.verdict, only.shape, only.dtype) == (Verdict.PASS, (), "float64")
        wrong = row(verify(cube(lambda dx: 1.01 * dx), 1.5, reference=reference))
        assert (wrong.verdict, wrong.worst_index) == (Verdict.FAIL, ())


def test_a_value_may_be_a_python_float() -> None:
    loss = (lambda x: (float((x**2).sum()), x.copy()), lambda x, dy: (2 * x * dy,))
    assert verify(loss, X, reference=lambda x: (x**2).sum()).passed


def test_a_chain_is_an_op() -> None:
    net = pn.chain(affine1=pn.affine, tanh=pn.tanh, affine2=pn.affine)
    params = {"affine1": {"w": normal(3, 4), "b": normal(4)}, "affine2": {"w": normal(4, 2)}}
    result = verify(net, params, normal(5, 3))
    assert result.passed, str(result)
    assert {r.parameter for r in result.rows} == {"params.affine1.w", "params.affine1.b", "params.affine2.w", "x"}


@pytest.mark.usefixtures("undiagnosed")
def test_a_tree_of_parameters_and_a_named_tuple_of_values() -> None:
    class Output(NamedTuple):
        y: Any
        carry: dict[str, Any]

    def cell_fwd(p: Parameters, x: Array) -> Any:
        h = np.tanh(x @ p.w + p.b)
        return Output(h[:, :1].copy(), {"h": h}), (p.w.copy(), x.copy(), h.copy())

    def cell_bwd(residuals: Any, dy: Any) -> Any:
        w, x, h = residuals
        dh = dy.carry["h"].copy()
        dh[:, :1] += dy.y
        dz = dh * (1 - h * h)
        return Parameters(x.T @ dz, dz.sum(axis=0)), dz @ w.T

    def reference(p: Any, x: Any) -> Any:
        h = jnp.tanh(x @ p.w + p.b)
        return Output(h[:, :1], {"h": h})

    result = verify((cell_fwd, cell_bwd), Parameters(normal(3, 2), normal(2)), normal(4, 3), reference=reference)
    assert result.passed, str(result)
    assert {r.parameter: r.shape for r in result.rows} == {"p.w": (3, 2), "p.b": (2,), "x": (4, 3)}

    def carry_forgotten(residuals: Any, dy: Any) -> Any:
        return cell_bwd(residuals, dy._replace(carry={"h": 0 * dy.carry["h"]}))

    result = verify((cell_fwd, carry_forgotten), Parameters(normal(3, 2), normal(2)), normal(4, 3))
    assert {r.verdict for r in result.rows} == {Verdict.FAIL}


def test_options_go_to_the_op_and_to_the_reference() -> None:
    seen: list[dict[str, Any]] = []

    def scaled_fwd(x: Array, *, scale: float, shift: Array) -> Any:
        return scale * (x + shift) ** 2, (x.copy(), scale, shift)

    def scaled_bwd(residuals: Any, dy: Array) -> Any:
        x, scale, shift = residuals
        return (2 * scale * (x + shift) * dy,)

    def reference(x: Any, **options: Any) -> Any:
        seen.append(options)
        return options["scale"] * (x + options["shift"]) ** 2

    options = {"scale": 3.0, "shift": np.arange(5.0)}
    assert verify((scaled_fwd, scaled_bwd), X, options=options, reference=reference).passed
    assert seen
    assert seen[0]["scale"] == 3.0
    assert (seen[0]["shift"] == np.arange(5.0)).all()
    other = verify((scaled_fwd, scaled_bwd), X, options=options, reference=lambda x, scale, shift: x**2)
    assert not other.passed
    missing = row(verify((scaled_fwd, scaled_bwd), X, options={"scale": 3.0}))
    assert missing.verdict is Verdict.ERROR
    assert "shift" in missing.diagnosis


def test_an_argument_given_as_an_option_is_a_constant() -> None:
    result = verify(pn.affine, normal(4, 3), options={"params": {"w": normal(3, 2)}})
    assert result.passed
    assert [r.parameter for r in result.rows] == ["x"]
    assert verify(pn.affine.bind(params={"w": normal(3, 2)}), normal(4, 3)).passed


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_op_sees_the_dtype_of_the_primals(dtype: Any) -> None:
    seen: set[Any] = set()

    def watched_fwd(x: Array) -> Any:
        seen.add(x.dtype)
        return x**3, x.copy()

    only = row(verify((watched_fwd, cube()[1]), X.astype(dtype)))
    assert only.passed
    assert only.dtype == np.dtype(dtype).name
    assert seen == {np.dtype(dtype), np.dtype(np.float64)}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_ops_of_this_project_in_every_dtype(dtype: Any) -> None:
    params = {"w": normal(3, 2).astype(dtype), "b": normal(2).astype(dtype)}
    result = verify(pn.affine, params, normal(4, 3).astype(dtype), reference=lambda params, x: x @ params["w"] + params["b"])
    assert result.passed, str(result)
    assert {r.dtype for r in result.rows} == {np.dtype(dtype).name}


def test_a_reference_that_cannot_be_compiled_still_speaks() -> None:
    only = row(verify(cube(), X, reference=lambda x: x**3 if x.sum() < 1e9 else x))
    assert only.passed
    assert "autodiff 5/5" in only.evidence
    only = row(verify(cube(lambda dx: dx * (1 + 1e-9)), X, reference=lambda x: x**3 if x.sum() < 1e9 else x))
    assert only.verdict is Verdict.FAIL


def test_views_are_declared() -> None:
    pair = (lambda x: (x.T, None), lambda _, dy: (dy.T.copy(),))
    assert not verify(pair, normal(3, 4)).passed
    assert verify(pair, normal(3, 4), views=True).passed


def test_the_seed_decides_the_cotangent() -> None:
    seen: list[Array] = []

    def recording_bwd(x: Array, dy: Array) -> Any:
        seen.append(dy.copy())
        return (3 * x**2 * dy,)

    firsts = []
    for seed in (0, 0, 1):
        seen.clear()
        assert verify((cube()[0], recording_bwd), X, seed=seed).passed
        firsts.append(seen[0])
    assert (firsts[0] == firsts[1]).all()
    assert (firsts[0] != firsts[2]).all()


def test_two_runs_say_the_same() -> None:
    def said() -> list[dict[str, Any]]:
        result = verify(dense(dw=lambda x, dy: 1.5 * x.T @ dy), normal(3, 2), normal(4, 3), reference=lambda w, x: x @ w)
        return [{k: v for k, v in r.as_dict().items() if k != "seconds"} for r in result.rows]

    assert said() == said()


def test_the_state_of_the_world_is_as_before() -> None:
    np.random.seed(3)  # noqa: NPY002 - the legacy generator is what an impolite checker would disturb
    before = str(np.random.get_state())  # noqa: NPY002
    x = X.copy()
    x.flags.writeable = False
    with np.errstate(all="raise"):
        errors = np.geterr()
        verify(cube(), x, reference=lambda x: x**3)
        assert np.geterr() == errors
    assert str(np.random.get_state()) == before  # noqa: NPY002
    assert jnp.asarray(X).dtype == np.float32


def test_no_warning_reaches_the_caller() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verify(elementwise(np.log, lambda x: 1 / x), np.array([1e-6, 1.0, 2.0]), reference=jnp.log)
        verify(elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(x)), np.array([1e-9, 4.0]))
        verify(cube(lambda dx: dx * np.inf), X)
        verify(cube(lambda dx: dx * np.array([1, np.nan, 1, 1, 1])), X, reference=lambda x: x**3)
        verify(cube(lambda dx: dx * 1e200), X * 1e-200)
    assert [str(w.message) for w in caught] == []


# ------------------------------------------------------------------------------------------------- what is reported


def test_a_row_holds_the_evidence() -> None:
    result = verify(cube(lambda dx: 1.01 * dx), X.reshape(1, 5), reference=lambda x: x**3, case="five", source="library: power")
    only = row(result)
    assert (only.family, only.op, only.case, only.dtype) == ("tests.oracle.planted", "cube", "five", "float64")
    assert (only.parameter, only.shape, only.reference) == ("x", (1, 5), "library: power")
    assert only.evidence == "numerical 5/5, autodiff 5/5"
    assert only.verdict is Verdict.FAIL
    assert not only.passed
    assert only.fitted_scale == pytest.approx(1.01)
    assert only.numerical_error == pytest.approx(0.01)
    assert only.autodiff_error == pytest.approx(0.01)
    assert only.numerical_uncertainty is not None
    assert only.numerical_uncertainty < 1e-11
    assert only.autodiff_ulp is not None
    assert only.autodiff_ulp > 1e13
    assert only.forward_error is not None
    assert only.forward_error < 1e-15
    assert only.used is not None
    assert only.used > 1e6
    assert only.worst_index == (0, int(np.abs(X).argmax()))
    assert only.analytic is not None
    assert only.numerical == pytest.approx(only.analytic / 1.01)
    assert only.autodiff == pytest.approx(only.analytic / 1.01)
    assert only.seconds > 0
    assert only.label == "cube / five / x"
    assert set(only.as_dict()) == set(Row.__dataclass_fields__) - {"details"}


def test_a_passing_row_uses_little_of_what_is_allowed() -> None:
    only = row(verify(cube(), X, reference=lambda x: x**3))
    assert only.used is not None
    assert 0 <= only.used < 1
    assert only.numerical_error is not None
    assert only.numerical_error < 1e-13
    assert only.diagnosis == ""


def test_without_a_reference_the_row_says_so() -> None:
    only = row(verify(cube(), X))
    assert only.reference == "none"
    assert only.evidence == "numerical 5/5"
    assert (only.autodiff, only.autodiff_error, only.autodiff_ulp, only.forward_error) == (None, None, None, None)


def test_a_reference_gives_its_name() -> None:
    def cube_by_power(x: Any) -> Any:
        return x**3

    assert row(verify(cube(), X, reference=cube_by_power)).reference == "cube_by_power"
    assert row(verify(cube(), X, reference=jax.jit(cube_by_power))).reference == "cube_by_power"


def test_the_printed_table() -> None:
    text = str(verify(dense(dw=lambda x, dy: 2 * x.T @ dy), normal(3, 2), normal(4, 3), case="tiny"))
    assert text.startswith("FAIL  dense / tiny / w  float64 3x2\n")
    assert re.search(r"at w\[\d, \d\]: hand-written -?\d", text)
    assert "constant factor: w is 2 times the true gradient" in " ".join(text.split())
    assert text.endswith("2 gradients of 1 op in 1 case: 1 PASS, 1 FAIL")


def test_raise_for_failures() -> None:
    verify(cube(), X).raise_for_failures()
    bad = verify(cube(lambda dx: -dx), X)
    with pytest.raises(AssertionError, match="not every gradient is right") as raised:
        bad.raise_for_failures()
    assert "the sign is wrong" in " ".join(str(raised.value).split())
    with pytest.raises(AssertionError):
        oracle.Verification(()).raise_for_failures()


def test_rows_come_worst_first() -> None:
    rows = [row(verify(op, X)) for op in (cube(), cube(lambda dx: 1.1 * dx), cube(lambda dx: 3 * dx))]
    rows += verify((lambda x: (x**3, x), lambda x, dy: 1 / 0), X).rows
    rows += verify((lambda x: (0 * x, x), lambda x, dy: (0 * x,)), X).rows
    ordered = worst_first(rows)
    assert [r.verdict for r in ordered] == ["ERROR", "FAIL", "FAIL", "VACUOUS", "PASS"]
    assert ordered[1].fitted_scale == pytest.approx(3.0)


def test_a_case_of_the_catalogue() -> None:
    def numbers(draw: Any) -> tuple[Any, ...]:
        return (draw.normal(4),)

    flagged = frozenset({Flag.SATURATED})
    spec = Spec(
        pn.tanh,
        cases=(Case("small", numbers, flags=flagged),),
        reference=jnp.tanh,
        source=library("jax.numpy.tanh"),
    )
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        only = row(verify_case(spec, spec.case("small"), dtype=dtype))
        assert only.passed
        assert (only.op, only.case, only.dtype, only.reference) == ("tanh", "small", dtype, "library: jax.numpy.tanh")


# ------------------------------------------------------------------------------------------------- second looks


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("sharpness", "with_jax"), [(1e2, False), (1e3, True), (1e4, False)])
def test_a_bump_between_the_steps_condemns_no_right_gradient(sharpness: float, with_jax: bool) -> None:
    def bump(x: Any) -> Any:
        return jnp.exp(-((sharpness * (x - 1)) ** 2)) if with_jax else None

    def value(x: Array) -> Array:
        return np.asarray(np.exp(-((sharpness * (x - 1)) ** 2)))

    def slope(x: Array) -> Array:
        return -2 * sharpness**2 * (x - 1) * value(x)

    x = 1 + normal(6) / (2 * sharpness)
    reference = bump if with_jax else None
    assert row(verify(elementwise(value, slope), x, reference=reference)).verdict is Verdict.PASS
    wrong = row(verify(elementwise(value, lambda x: (1 + 1e-6) * slope(x)), x, reference=reference))
    assert wrong.verdict is Verdict.FAIL


# ------------------------------------------------------------------------------------------------- large arguments

MANY = normal(100, 200)  # 20,000 elements


def sine(wrong: Any = lambda dx: dx) -> Pair:
    def sine_fwd(x: Array) -> Any:
        return np.sin(x), x.copy()

    def sine_bwd(x: Array, dy: Array) -> Any:
        return (wrong(np.cos(x) * dy),)

    return sine_fwd, sine_bwd


@pytest.mark.parametrize("reference", [None, jnp.sin], ids=["alone", "JAX"])
def test_a_large_argument_is_sampled_and_followed_along_directions(reference: Any) -> None:
    only = row(verify(sine(), MANY, reference=reference))
    assert only.passed
    found = re.match(r"numerical (\d+)/20000 and 32 directions", only.evidence)
    assert found
    assert 64 <= int(found[1]) <= 64 + 32
    assert ("autodiff 20000/20000" in only.evidence) == (reference is not None)


@pytest.mark.parametrize("place", [(0, 0), (57, 123), (99, 199)])
def test_one_entry_of_20000_is_found_at_its_index(place: tuple[int, int]) -> None:
    x = MANY.copy()
    x[place] = 0.1  # where the slope is large

    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[place] *= 1 + 1e-9
        return dx

    only = row(verify(sine(wrong), x, reference=jnp.sin))
    assert only.verdict is Verdict.FAIL
    assert only.worst_index == place
    assert only.diagnosis.startswith(f"a single entry is wrong: x[{place[0]}, {place[1]}] is ")


FEWER = normal(50, 80)  # still many more than are looked at one by one


@pytest.fixture(scope="module")
def unsampled() -> Array:
    """The entries that are not sampled one by one; nor are the largest, which are looked at too."""
    sampled = np.zeros(FEWER.shape, bool)

    def watching_fwd(x: Array) -> Any:
        moved = x != FEWER
        if moved.sum() == 1:
            sampled[moved] = True
        return np.sin(x), x.copy()

    assert verify((watching_fwd, sine()[1]), FEWER).passed
    assert 60 < sampled.sum() < 100
    return ~sampled & (np.abs(np.cos(FEWER)) < 0.6)


@pytest.mark.xdist_group("blocks of a large argument")  # one worker finds out which entries are sampled
@pytest.mark.parametrize("size", [0.5, 1e-4])
def test_a_wrong_block_is_found_along_directions(size: float, unsampled: Array) -> None:
    """Away from every sampled element, so that only the directions can see it."""
    block = unsampled & (np.arange(80) < 32)
    assert block.sum() > 400

    def wrong(dx: Array) -> Array:
        return np.where(block, dx * (1 + size), dx)

    only = row(verify(sine(wrong), FEWER))
    assert only.verdict is Verdict.FAIL
    assert only.worst_index is None
    assert only.diagnosis.startswith("one place: x is wrong only at indices 0 to ")
    assert only.used is not None
    assert only.used > 1


def test_kinks_of_a_large_argument_are_no_failure() -> None:
    x = FEWER.copy()
    x[:, ::3] = 0.0
    relu = elementwise(lambda x: np.maximum(x, 0), lambda x: x > 0)
    for reference in (None, jax.nn.relu):
        assert row(verify(relu, x, reference=reference)).verdict is Verdict.KINK


def test_a_large_argument_that_is_wrong_everywhere_is_diagnosed() -> None:
    only = row(verify(sine(lambda dx: dx / 100), MANY, reference=jnp.sin))
    assert only.verdict is Verdict.FAIL
    assert only.diagnosis.endswith("divided by the batch (100) once too often")


def test_the_limit_decides_what_is_large() -> None:
    x = normal(30)
    assert row(verify(cube(), x)).evidence == "numerical 30/30"
    assert row(verify(cube(), x, limit=30)).evidence == "numerical 30/30"
    assert row(verify(cube(), x, limit=29)).evidence == "numerical 30/30 and 30 directions"
    assert row(verify(cube(), np.array([1.5]), limit=0)).evidence == "numerical 1/1 and 1 direction"


def test_each_argument_is_large_or_small_by_itself() -> None:
    result = verify(dense(), normal(30, 2), normal(100, 30))
    assert result.passed
    assert row(result, "w").evidence == "numerical 60/60"
    assert row(result, "x").evidence.endswith("and 32 directions")


def test_a_verification_is_as_true_as_it_passed() -> None:
    assert not oracle.verify((lambda x: (x * x, x), lambda x, dy: (x * dy,)), np.array([1.0, 2.0]))
    assert oracle.verify((lambda x: (x * x, x), lambda x, dy: (2 * x * dy,)), np.array([1.0, 2.0]))


# ---------------------------------------------------------------------------------------------- large terms that cancel

NEAR = (np.array(0.9824368735019097), np.array(0.981393833319586))
TRIPLET = (
    np.array([0.7133362711165717, 0.7031149763581847]),
    np.array([2.676411174504583, 3.080123827547279]),
    np.array([1.2378350450131776, 1.3397121090864594]),
)


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-9])
@pytest.mark.parametrize(
    ("name", "arguments", "options", "first"),
    [("squared_error", NEAR, {}, "predictions"), ("triplet_margin_loss", TRIPLET, {"norm_degree": 3}, "anchors")],
    ids=["squared_error", "triplet_margin_loss"],
)
def test_what_cancels_is_judged_by_the_rounding_of_what_it_is_made_of(
    name: str, arguments: Any, options: Any, first: str, factor: float
) -> None:
    spec = catalogue.find(name)
    assert isinstance(spec, Spec)
    wrong, right = spec.op.bind(), spec.op.bwd
    wrong.bwd = lambda residuals, dy: (factor * right(residuals, dy)[0], *right(residuals, dy)[1:])
    rows = verify(wrong, *arguments, options=options, reference=spec.reference).rows
    assert {row.parameter: row.passed for row in rows}[first] is (factor == 1)


@pytest.mark.usefixtures("undiagnosed")
def test_an_error_at_a_jump_of_the_gradient_is_not_taken_for_rounding() -> None:
    def steep_fwd(x: Any) -> Any:
        return np.abs(x - 1.0), x

    def steep_bwd(x: Any, dy: Any) -> Any:
        return (np.where(x >= 1.0, 1.0, -1.0) * dy * np.where(x == 1.0, 0.5, 1.0),)  # at the kink half of it

    result = verify((steep_fwd, steep_bwd), np.array([1.0, 2.0]), reference=lambda x: jax.numpy.abs(x - 1.0))
    assert {row.verdict for row in result.rows} == {Verdict.FAIL}
