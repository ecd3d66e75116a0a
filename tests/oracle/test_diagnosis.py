"""Each cause is named where it is planted, and not where something else only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from oracle import Flag, Verdict, verify
from oracle.contract.form import shape_cause
from oracle.diagnosis.causes.fits import explain_factor
from tests.oracle.planted import Array, Pair, cube, dense, elementwise, found, normal, of_values, row, signed

X = signed(6)
SQUARE = signed(3, 3)
OBLONG = signed(3, 4)
W, BATCH = normal(3, 2), normal(4, 3)
REFERENCE = {"alone": None, "JAX": lambda x: x**3}
LAYER = {"alone": None, "JAX": lambda w, x: x @ w}
alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def in_turn(*values: Any) -> list[tuple[Any, str]]:
    """Each value with one of the witnesses, which take turns."""
    return [(value, ("alone", "JAX")[i % 2]) for i, value in enumerate(values)]


def cause(wrong: Callable[[Array], Any], x: Array = X, witness: str = "alone", **options: Any) -> str:
    """The diagnosis of a wrong gradient of x**3."""
    verdict, diagnosis = found(cube(wrong), x, reference=REFERENCE[witness], **options)
    assert verdict is Verdict.FAIL
    return diagnosis


def cause_of_layer(dw: Callable[[Array, Array], Any], witness: str = "alone", w: Array = W, x: Array = BATCH) -> str:
    """The diagnosis of a wrong gradient of the weights of x @ w, whose other gradient is right."""
    result = verify(dense(dw=dw), w, x, reference=LAYER[witness])
    assert row(result, "x").passed
    assert not row(result, "w").passed
    return row(result, "w").diagnosis


# ------------------------------------------------------------------------------------------------- constant factor


@alone_and_with_jax
@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (2.0, "2 times the true gradient everywhere: counted twice, or a 1/2 forgotten"),
        (0.5, "0.5 times the true gradient everywhere: a 2 forgotten, or halved twice"),
        (-1.0, "-1 times the true gradient everywhere: the sign is wrong"),
        (6.0, "6 times the true gradient everywhere: not divided by the number of outputs (6)"),
        (
            1 / 6,
            "0.166667 times the true gradient everywhere: divided by the number of outputs (6) once too often",
        ),
        (
            1 / 36,
            "everywhere: divided by the number of outputs (6) twice too often",
        ),
        (-2.0, "the sign is wrong, and counted twice, or a 1/2 forgotten"),
        (-1 / 6, "the sign is wrong, and divided by the number of outputs (6) once too often"),
    ],
)
def test_a_constant_factor_is_named(witness: str, factor: float, said: str) -> None:
    diagnosis = cause(lambda dx: factor * dx, witness=witness)
    assert diagnosis.startswith("constant factor: x is ")
    assert diagnosis.endswith(said)


@pytest.mark.parametrize(("factor", "witness"), in_turn(1.37, 0.9, 7.0, 3.0001, 2.0001, 1 / 5, -0.77))
def test_a_factor_that_is_no_known_number_names_no_size(witness: str, factor: float) -> None:
    diagnosis = cause(lambda dx: factor * dx, witness=witness)
    assert diagnosis == f"constant factor: x is {factor:.6g} times the true gradient everywhere"


@pytest.mark.parametrize(
    ("off", "witness"), [*in_turn(*((-10.0) ** -k for k in range(1, 10))), *in_turn(*(-((-10.0) ** -k) for k in range(1, 10)))]
)
def test_a_factor_of_any_size_is_seen(witness: str, off: float) -> None:
    diagnosis = cause(lambda dx: (1 + off) * dx, witness=witness)
    assert diagnosis.startswith("constant factor: x is")
    if abs(off) < 5e-6:
        assert float(diagnosis.split("x is (1 ")[1].split(") times")[0].replace(" ", "")) == pytest.approx(off, rel=1e-3)


@pytest.mark.parametrize(
    ("dtype", "says"), [(np.float32, "counted twice"), (np.float16, "counted twice"), (ml_dtypes.bfloat16, "counted twice")]
)
def test_a_factor_is_named_in_narrow_dtypes(dtype: Any, says: str) -> None:
    verdict, diagnosis = found(cube(lambda dx: (2 * dx).astype(dx.dtype)), X.astype(dtype), reference=lambda x: x**3)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("constant factor: x is 2")
    assert says in diagnosis


@alone_and_with_jax
def test_the_mean_divided_by_a_dimension_is_named(witness: str) -> None:
    diagnosis = cause_of_layer(lambda x, dy: x.T @ dy / 2, witness, w=normal(3, 7), x=normal(5, 3))
    assert diagnosis.endswith("a 2 forgotten, or halved twice")
    diagnosis = cause_of_layer(lambda x, dy: x.T @ dy / 5, witness, w=normal(3, 7), x=normal(5, 3))
    assert diagnosis.endswith("divided by the batch (5) once too often")
    diagnosis = cause_of_layer(lambda x, dy: x.T @ dy * 7, witness, w=normal(3, 7), x=normal(5, 3))
    assert diagnosis.endswith("not divided by the dimension 1 of w (7)")


def test_the_mean_over_two_axes_that_are_not_neighbours_is_named() -> None:
    """Of batch and places, but not of channels."""

    def scaled_fwd(w: Array, x: Array) -> Any:
        return w[:, None] * x, (w.copy(), x.copy())

    def scaled_bwd(r: Any, dy: Array) -> Any:
        return (dy * r[1]).mean(axis=(0, 2)), dy * r[0][:, None]

    said = row(verify((scaled_fwd, scaled_bwd), normal(4), normal(3, 4, 5)), "w").diagnosis
    assert said.endswith("divided by the dimensions 0 and 2 of the value (15) once too often")


@alone_and_with_jax
@pytest.mark.parametrize("factor", [2.0, 1 + 1e-6, 0.0])
def test_a_factor_in_one_column_is_not_constant(witness: str, factor: float) -> None:
    for column in (np.array([factor, 1.0, 1.0, 1.0]), np.array([factor, factor, factor, 1.0])):
        assert "constant factor" not in cause(column.__mul__, OBLONG, witness)


@alone_and_with_jax
def test_a_factor_where_the_gradient_is_large_is_not_constant(witness: str) -> None:
    """What is left is a thousandth of the error, and yet the other entries are right."""
    x = np.concatenate([signed(2), 0.01 * signed(4)])
    diagnosis = cause(lambda dx: np.where(np.abs(x) > 0.1, 2 * dx, dx), x, witness)
    assert diagnosis.startswith("no known cause: 2 of 6 entries are wrong")


@alone_and_with_jax
def test_almost_a_factor_is_none(witness: str) -> None:
    assert "constant factor" not in cause(lambda dx: dx * (2 + 0.01 * normal(6)), witness=witness)


def test_a_factor_of_a_single_number_is_no_pattern() -> None:
    assert "constant factor" not in cause(lambda dx: 1.9 * dx, np.array([1.5]))


def test_what_factors_mean() -> None:
    sizes = {"batch": 8, "number of outputs": 24, "dimension 1 of x": 1}
    assert explain_factor(8.0, sizes) == "not divided by the batch (8)"
    assert explain_factor(1 / 24, sizes) == "divided by the number of outputs (24) once too often"
    assert explain_factor(-24.0, sizes) == "the sign is wrong, and not divided by the number of outputs (24)"
    assert explain_factor(1.0, sizes) == ""
    assert explain_factor(8.001, sizes) == ""
    assert explain_factor(8.001, sizes, 1e-3) == "not divided by the batch (8)"


def test_a_factor_may_mean_several_things() -> None:
    sizes, numbers = {"batch": 4, "dimension 1 of q": 16}, {"momentum": 0.5}
    forgotten = (
        "counted twice, or a 1/2 forgotten; or not multiplied by momentum (0.5); or not divided by the square root of the"
    )
    assert (
        explain_factor(4.0, sizes)
        == "not divided by the batch (4); or not divided by the square root of the dimension 1 of q (16)"
    )
    assert explain_factor(2.0, sizes, numbers=numbers) == f"{forgotten} batch (4)"
    assert explain_factor(-2.0, sizes, numbers=numbers) == f"the sign is wrong, and {forgotten} batch (4)"


def cause_of_gain(wrong: Callable[[Array], Array], dtype: type = np.float64, witness: str = "alone") -> str:
    """The diagnosis of a wrong gradient of a gain, which is one number."""
    op = (lambda x, gain: (gain * x, (x, gain)), lambda r, dy: (dy * r[1], wrong(dy * r[0]).astype(dtype)))
    reference = (lambda x, gain: gain * x) if witness == "JAX" else None
    result = verify(op, BATCH.astype(dtype), np.array(1.5, dtype), reference=reference)
    assert row(result, "x").passed
    assert not row(result, "gain").passed
    return row(result, "gain").diagnosis


@alone_and_with_jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda each: -each.sum(), "-1 times the true gradient: the sign is wrong"),
        (lambda each: 2 * each.sum(), "2 times the true gradient: counted twice, or a 1/2 forgotten"),
        (lambda each: each.sum() / 2, "0.5 times the true gradient: a 2 forgotten, or halved twice"),
        (lambda each: each.mean(), "times the true gradient: divided by the number of outputs (12) once too often"),
        (lambda each: 4 * each.sum(), "4 times the true gradient: not divided by the batch (4)"),
    ],
)
def test_a_factor_of_one_number_is_named_if_mistakes_cause_it_often(witness: str, dtype: type, wrong: Any, said: str) -> None:
    diagnosis = cause_of_gain(wrong, dtype, witness)
    assert diagnosis.startswith("constant factor: gain is ")
    assert diagnosis.endswith(said)


@pytest.mark.parametrize("factor", [1.5, 0.3, -2.01, 1.99, 2.0001, 11.9, -0.25, 144.0])
def test_no_other_factor_of_one_number_is_named(factor: float) -> None:
    assert "factor" not in cause_of_gain(lambda each: factor * each.sum())
    assert "factor" not in cause_of_gain(lambda each: each[0, 0] + each[1, 1])


# ------------------------------------------------------------------------------------------------- transposed


@alone_and_with_jax
def test_transposed(witness: str) -> None:
    assert cause(lambda dx: dx.T.copy(), SQUARE, witness) == "transposed: the entries are the true ones in another order"
    said = "transposed: the entries are the true ones in another order, where a tensor of shape (4, 3) is read as (3, 4)"
    assert cause(lambda dx: dx.T.reshape(3, 4).copy(), OBLONG, witness) == said


@alone_and_with_jax
def test_permuted_axes(witness: str) -> None:
    x = signed(2, 3, 2)
    assert "its axes are permuted as (2, 1, 0)" in cause(lambda dx: dx.transpose(2, 1, 0).copy(), x, witness)


def test_the_shape_transposed() -> None:
    diagnosis = cause(lambda dx: dx.T.copy(), OBLONG)
    assert diagnosis == "the gradient has shape (4, 3), the argument (3, 4): transposed?"


@alone_and_with_jax
def test_a_symmetric_gradient_is_not_transposed(witness: str) -> None:
    def symmetric_fwd(w: Array, x: Array) -> Any:
        return (w * (x.T @ x)).sum(), (w.copy(), x.copy())

    def symmetric_bwd(residuals: Any, dy: Any) -> Any:
        w, x = residuals
        return 2 * dy * (x.T @ x), dy * x @ (w + w.T)

    reference = None if witness == "alone" else lambda w, x: (w * (x.T @ x)).sum()
    result = verify((symmetric_fwd, symmetric_bwd), SQUARE, normal(4, 3), reference=reference)
    assert row(result, "x").passed
    assert row(result, "w").diagnosis.startswith("constant factor: w is 2 times")


@alone_and_with_jax
def test_transposed_and_scaled(witness: str) -> None:
    assert cause(lambda dx: 2 * dx.T, SQUARE, witness) == "transposed: the entries are 2 times the true ones in another order"


def test_a_vector_is_never_transposed() -> None:
    assert cause(lambda dx: dx[::-1].copy()).startswith("reversed: ")
    assert cause(lambda dx: dx[:, ::-1].copy(), signed(1, 5)).startswith("reversed: ")


# ------------------------------------------------------------------------------------------------- the cotangent


@alone_and_with_jax
def test_the_cotangent_is_ignored_as_in_the_gradient_of_a_sum(witness: str) -> None:
    ignoring = (lambda x: (x**3, x.copy()), lambda x, dy: (3 * x**2,))
    verdict, diagnosis = found(ignoring, X, reference=REFERENCE[witness])
    assert verdict is Verdict.FAIL
    assert diagnosis == "dy ignored: bwd(2 dy) is bwd(dy); this is the gradient of the sum of the outputs"


@alone_and_with_jax
@pytest.mark.parametrize("wrong", [lambda x: 3 * x**2 / x.size, lambda x: x + 1, np.ones_like], ids=["mean", "other", "ones"])
def test_the_cotangent_is_ignored_otherwise(witness: str, wrong: Callable[[Array], Array]) -> None:
    verdict, diagnosis = found((lambda x: (x**3, x.copy()), lambda x, dy: (wrong(x),)), X, reference=REFERENCE[witness])
    assert verdict is Verdict.FAIL
    assert diagnosis == "dy ignored: bwd(2 dy) is bwd(dy)"


@alone_and_with_jax
def test_an_ignored_cotangent_of_a_loss_is_no_factor(witness: str) -> None:
    """Of one number each gradient is a multiple of each other; the cause comes before the symptom."""
    pair = (lambda x: ((x**3).sum(), x.copy()), lambda x, dy: (3 * x**2,))
    verdict, diagnosis = found(pair, X, reference=None if witness == "alone" else lambda x: (x**3).sum())
    assert verdict is Verdict.FAIL
    assert diagnosis == "dy ignored: bwd(2 dy) is bwd(dy); this is the gradient of the sum of the outputs"


@pytest.mark.parametrize("seed", range(3))
def test_an_ignored_cotangent_is_a_failure_even_where_the_numbers_agree(seed: int) -> None:
    """The loss of a scalar: its own seed happens to be the cotangent."""
    from oracle.arrays import random_cotangent

    v = float(np.asarray(random_cotangent(np.zeros(()), seed)))
    verdict, diagnosis = found((lambda x: ((x**3).sum(), x.copy()), lambda x, dy: (3 * v * x**2,)), X, seed=seed)
    assert (verdict, diagnosis) == (Verdict.FAIL, "dy ignored: bwd(2 dy) is bwd(dy)")


@alone_and_with_jax
def test_only_the_sign_of_the_cotangent_used(witness: str) -> None:
    pair = (lambda x: (x**3, x.copy()), lambda x, dy: (3 * x**2 * np.sign(dy),))
    verdict, diagnosis = found(pair, X, reference=REFERENCE[witness])
    assert verdict is Verdict.FAIL
    assert diagnosis == "dy ignored: bwd(2 dy) is bwd(dy)"


def test_a_cotangent_used_for_one_argument_only() -> None:
    result = verify((lambda a, b: (a * b, (a.copy(), b.copy())), lambda r, dy: (r[1] * dy, r[0].copy())), X, 2 + X)
    assert row(result, "a").passed
    assert row(result, "b").diagnosis.startswith("dy ignored")


# ------------------------------------------------------------------------------------------------- the batch


@alone_and_with_jax
@pytest.mark.parametrize(("which", "name"), [(slice(0, 1), "first"), (slice(-1, None), "last")])
def test_only_one_sample_counted(witness: str, which: slice, name: str) -> None:
    diagnosis = cause_of_layer(lambda x, dy: x[which].T @ dy[which], witness)
    assert diagnosis == f"batch sum missing: only the {name} sample of 4 contributes to this gradient"


@alone_and_with_jax
def test_a_sample_in_the_middle_is_not_called_the_first(witness: str) -> None:
    diagnosis = cause_of_layer(lambda x, dy: x[1:2].T @ dy[1:2], witness)
    assert diagnosis == "batch sum missing: only sample 1 (counted from 0) of 4 contributes to this gradient"


@alone_and_with_jax
def test_a_mean_for_a_sum_is_a_factor(witness: str) -> None:
    diagnosis = cause_of_layer(lambda x, dy: x.T @ dy / 4, witness)
    assert diagnosis.endswith("divided by the batch (4) once too often")


@alone_and_with_jax
def test_a_batch_of_one_is_right_alone(witness: str) -> None:
    assert verify(dense(dw=lambda x, dy: x[:1].T @ dy[:1]), W, normal(1, 3), reference=LAYER[witness]).passed


def test_a_gradient_for_each_sample() -> None:
    result = verify(dense(dw=lambda x, dy: x[:, :, None] * dy[:, None, :]), W, BATCH)
    said = "the gradient has shape (4, 3, 2), the argument (3, 2): batch sum missing (one gradient for each of 4 samples)"
    assert [r.diagnosis for r in result.rows if not r.passed] == [said]


def test_what_shapes_suggest() -> None:
    assert shape_cause((4, 3), (3, 4), 7) == "the gradient has shape (4, 3), the argument (3, 4): transposed?"
    assert shape_cause((7, 5), (5,), 7).endswith("batch sum missing (one gradient for each of 7 samples)")
    assert shape_cause((9, 5), (5,), 7).endswith("not summed back over the broadcast dimensions")
    assert shape_cause((7, 2, 5), (5,), 7).endswith("not summed back over the broadcast dimensions")
    assert shape_cause((3, 4), (1, 4), 7).endswith("not summed back over the broadcast dimensions")
    assert shape_cause((2, 3, 4), (3, 1), 7).endswith("not summed back over the broadcast dimensions")
    assert shape_cause((1, 3, 4), (3, 4), 7).endswith("a dimension of size 1 too many (keepdims?)")
    assert shape_cause((1, 4), (3, 4), 7) == "the gradient has shape (1, 4), the argument (3, 4)"
    assert shape_cause((5,), (5, 5), 7) == "the gradient has shape (5,), the argument (5, 5)"
    assert shape_cause((), (5,), 7) == "the gradient has shape (), the argument (5,)"


# ------------------------------------------------------------------------------------------------- integers


@alone_and_with_jax
def test_truncated_values(witness: str) -> None:
    """Written into an integer array on the way, as in the published notes."""
    result = verify(cube(np.trunc), 2 * X, reference=REFERENCE[witness])
    said = "integer dtype: every entry is the true one truncated to a whole number (was it written into an integer array?)"
    assert said in [r.diagnosis for r in result.rows]
    assert not result.passed


def test_an_integer_cotangent() -> None:
    assert cause(lambda dx: dx.astype(np.int64)) == "integer dtype: the gradient is int64, the argument float64"
    assert cause(lambda dx: dx.astype(np.float32)) == "the gradient is float32, the argument float64"


@alone_and_with_jax
@pytest.mark.parametrize("wrong", [np.round, lambda dx: np.trunc(dx) + 1, np.zeros_like, lambda dx: np.trunc(100 * dx) / 100])
def test_whole_numbers_that_are_not_the_truncated_ones(witness: str, wrong: Callable[[Array], Array]) -> None:
    x = np.array([0.45, -0.3, 0.5, 0.2, -0.52, 0.41])  # slopes below 1: all zero when truncated
    result = verify(cube(wrong), x, reference=REFERENCE[witness])
    assert not result.passed
    assert not [r for r in result.rows if r.diagnosis.startswith("integer dtype")]


def test_a_gradient_of_true_whole_numbers_is_right() -> None:
    assert verify((lambda x: (3 * x, None), lambda _, dy: (3 * dy,)), X).passed


# ------------------------------------------------------------------------------------------------- at a point


@pytest.mark.usefixtures("without_exact")
def test_a_step_below_one_ulp() -> None:
    verdict, diagnosis = found(cube(), np.array([1.0, 2.5e12]), step=1e-4)
    assert verdict is Verdict.INCONCLUSIVE
    assert diagnosis == "step below one ULP: 1 of 2 elements do not move by a step of 0.0001, first x[1]"


def leaky(slope_at_zero: float) -> Pair:
    return elementwise(
        lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x == 0, slope_at_zero, np.where(x > 0, 1, 0.1))
    )


def test_a_kink_of_another_convention() -> None:
    x = np.array([1.0, 0.0, -1.0])
    verdict, diagnosis = found(leaky(1.0), x, reference=lambda x: jax.nn.leaky_relu(x, 0.1))
    assert verdict is Verdict.KINK  # jax.nn.leaky_relu takes the right slope at 0
    verdict, diagnosis = found(leaky(0.55), x, reference=lambda x: jax.nn.leaky_relu(x, 0.1))
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("kink: at x[1] the slopes are")
    verdict, diagnosis = found(leaky(0.05), x, reference=lambda x: jax.nn.leaky_relu(x, 0.1))
    assert verdict is Verdict.FAIL
    assert "lies between them" not in diagnosis


@alone_and_with_jax
def test_vacuous(witness: str) -> None:
    reference = None if witness == "alone" else jnp.zeros_like
    verdict, diagnosis = found(elementwise(np.zeros_like, np.zeros_like), X, reference=reference)
    assert verdict is Verdict.VACUOUS
    assert diagnosis.startswith("vacuous: the gradient is identically zero, so nothing was checked")
    assert found(elementwise(np.zeros_like, np.zeros_like), X, flags=frozenset({Flag.ZERO_GRADIENT})) == (Verdict.PASS, "")


def test_another_function_than_the_reference() -> None:
    gelu = elementwise(lambda x: x**3, lambda x: 3 * x**2)
    verdict, diagnosis = of_values(gelu, X, reference=lambda x: x**3 + 1e-3 * x)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("another function than the reference")
    assert "times the reference's" not in diagnosis
    assert of_values(gelu, X, reference=lambda x: -(x**3))[1].endswith("ours is -1 times the reference's")


def test_an_epsilon_in_the_forward_pass_alone_is_another_function() -> None:
    """log(y + 1e-7), as in the book, against a reference without it."""
    p = np.array([0.1, 0.5, 0.9, 1e-3])
    pair = elementwise(lambda p: np.log(p + 1e-7), lambda p: 1 / (p + 1e-7))
    verdict, diagnosis = of_values(pair, p, reference=jnp.log)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("another function than the reference")
    backward_without = elementwise(lambda p: np.log(p + 1e-7), lambda p: 1 / p)
    for reference in (None, lambda p: jnp.log(p + 1e-7)):
        assert found(backward_without, p, reference=reference)[0] is Verdict.FAIL


# ------------------------------------------------------------------------------------------------- a single entry


@alone_and_with_jax
@pytest.mark.parametrize(
    ("size", "entry"), [(1e-1, 0), (1e-2, 7), (1e-3, 11), (1e-4, 0), (1e-5, 7), (1e-6, 11), (1e-7, 0), (1e-8, 7), (1e-9, 11)]
)
def test_a_single_wrong_entry_is_found_at_its_place(witness: str, size: float, entry: int) -> None:
    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx.flat[entry] *= 1 + size
        return dx

    diagnosis = cause(wrong, OBLONG, witness)
    place = ", ".join(str(int(i)) for i in np.unravel_index(entry, (3, 4)))
    assert diagnosis.startswith(f"a single entry is wrong: x[{place}] is ")
    assert float(diagnosis.split(", ")[-1].split()[0]) == pytest.approx(1 + size, abs=1e-11)


@alone_and_with_jax
def test_the_largest_entry_alone_is_no_factor(witness: str) -> None:
    x = np.array([2.0, 1e-3, -2e-3, 1e-3])
    diagnosis = cause(lambda dx: dx * np.array([2, 1, 1, 1]), x, witness)
    assert diagnosis.startswith("a single entry is wrong: x[0] is ")
    assert diagnosis.endswith(", 2 times the true one")


@alone_and_with_jax
def test_two_wrong_entries_are_not_single(witness: str) -> None:
    diagnosis = cause(lambda dx: dx * np.array([1, 1.5, 1, 1, 0.7, 1]), witness=witness)
    assert diagnosis.startswith("no known cause: 2 of 6 entries are wrong, the worst at x[")


def test_an_entry_that_should_be_zero() -> None:
    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[2] = dx[1]
        return dx

    diagnosis = cause(wrong, np.array([1.0, 2.0, 0.0, -1.5]))
    assert diagnosis.startswith("a single entry is wrong: x[2] is ")
    assert diagnosis.endswith("instead of 0")


# ------------------------------------------------------------------------------------------------- nothing known


@alone_and_with_jax
def test_what_nobody_knows_says_how_much_and_where(witness: str) -> None:
    error = np.array([0.0, 0.3, 0.1, -0.2, 0.0, 0.1])
    only = row(verify(cube(lambda dx: dx + error * dx[0]), X, reference=REFERENCE[witness]))
    assert only.diagnosis.startswith("no known cause: 4 of 6 entries are wrong, the worst at x[1] by ")
    assert only.worst_index == (1,)
    assert only.numerical_error == pytest.approx(float(only.diagnosis.split(" by ")[1].split()[0]), rel=1e-2)


def test_what_nobody_knows_is_measured_against_the_reference_where_it_alone_decides() -> None:
    """A straight-through rounding: the differences are zero."""

    def rounded_bwd(x: Array, dy: Array) -> Any:
        return (dy * (1 + np.array([0.0, -0.5, -0.1, -0.2, 0.0, -0.1])),)

    def straight(x: Any) -> Any:
        return x + jax.lax.stop_gradient(jnp.round(x) - x)

    flags = frozenset({Flag.NOT_THE_DERIVATIVE})
    only = row(verify((lambda x: (np.round(x), x.copy()), rounded_bwd), X, reference=straight, flags=flags))
    assert only.diagnosis.startswith("no known cause: ")
    assert only.autodiff_error == pytest.approx(float(only.diagnosis.split(" by ")[1].split()[0]), rel=1e-2)


@alone_and_with_jax
def test_a_missing_gradient_of_zeros_is_named(witness: str) -> None:
    assert cause(np.zeros_like, witness=witness).startswith("the gradient is zero everywhere, but the true one is not")


@alone_and_with_jax
def test_a_dropped_term_is_no_factor(witness: str) -> None:
    """A norm whose mean path is missing."""

    def center_fwd(x: Array) -> Any:
        x = np.asarray(x)  # so that `paths` does not see what is made of it
        return x - x.mean(axis=0), None

    reference = None if witness == "alone" else lambda x: x - x.mean(axis=0)
    verdict, diagnosis = found((center_fwd, lambda _, dy: (dy.copy(),)), normal(4, 3), reference=reference)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("term missing: x lacks a constant along axis 0")


def test_a_pass_has_nothing_to_say() -> None:
    assert found(cube(), X) == (Verdict.PASS, "")
