"""Calls that must be refused, of everything there is: arguments that are no arrays, options of other types, bad numbers.

A new op, optimizer, schedule or initializer joins by itself; a numeric option of a new name needs its range here.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import purenet as pn
from oracle import Spec, catalogue
from purenet import Op, data, initializers, optimizers, random, schedules

# A convolution in small blocks is the same op with other bounds.
OPS: list[Spec] = [spec for spec in catalogue.specs() if isinstance(spec.op, Op) and not spec.name.endswith("_in_blocks")]
MODULES = (optimizers, schedules, initializers, random, data)
FUNCTIONS: list[Callable[..., Any]] = [
    f for m in (*MODULES, pn) for name in m.__all__ if inspect.isfunction(f := getattr(m, name)) and name != "as_schedule"
]


class Foreign:
    """Something of another library."""


NO_ARRAYS: tuple[Any, ...] = (
    *([1.0, -2.0], [[1.0], [2.0, 3.0]], {}, {"a": {"b": [1.0]}}, None, "abc", 3, True, (), {1.0}, Foreign()),
)
BAD: tuple[Any, ...] = (
    *NO_ARRAYS,
    -1,
    10**20,
    -0.5,
    math.nan,
    (np.ones(2), np.ones(2)),
    ((1, "a"), None),
    np.array([None, 1], object),
    np.array(["a", "b"]),
    np.arange(3),
    np.ones((2, 2)),
    np.ma.array([1.0]),
    abs,
)


def replaced(tree: Any, value: Any) -> Iterator[Any]:
    """The tree, with `value` in the place of each of its leaves in turn."""
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield from ({**tree, key: other} for other in (*replaced(child, value), value))
    elif type(tree) is tuple:
        for i, child in enumerate(tree):
            yield from ((*tree[:i], other, *tree[i + 1 :]) for other in (*replaced(child, value), value))


@pytest.mark.parametrize("spec", OPS, ids=lambda spec: spec.name)
def test_whatever_is_given_an_op_takes_it_or_names_itself(spec: Spec) -> None:
    op = spec.op
    assert isinstance(op, Op)
    arguments, options = spec.cases[0].draw(spec.name)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    for value in BAD:
        for i, argument in enumerate(arguments):
            calls += [((*arguments[:i], bad, *arguments[i + 1 :]), options) for bad in (value, *replaced(argument, value))]
        for name in op.keywords:
            bad_options = (value, *replaced(options.get(name), value))
            calls += [(arguments, {**options, name: bad}) for bad in bad_options]
    said = []
    with np.errstate(all="ignore"):
        for primals, keywords in calls:
            try:
                op.fwd(*primals, **keywords)
            except (TypeError, ValueError) as error:
                said.append(str(error))
    assert [message for message in said if not message.startswith(f"{op.name}: ")] == []
    assert len(said) > len(calls) / 4
    for i, name in enumerate(op.arguments):
        for value in NO_ARRAYS if op.arrays[i] else ():
            with pytest.raises(TypeError) as caught:
                op.fwd(*arguments[:i], value, *arguments[i + 1 :], **options)
            assert str(caught.value).startswith(f"{op.name}: {name} must be an array, got {type(value).__name__}")


def test_which_arguments_are_arrays() -> None:
    assert (pn.relu.arrays, pn.affine.arrays, pn.where.arrays) == ((True,), (False, True), (True, True))

    @Op
    def unannotated(x):  # type: ignore[no-untyped-def]
        return x["a"], None

    assert unannotated.arrays == (False,)
    assert unannotated({"a": np.ones(1)}) == 1


def test_the_op_that_was_called_is_named_first() -> None:
    x = np.ones((2, 2, 4))
    block = pn.post_norm_block()
    arguments, options = next(spec for spec in OPS if spec.name == "post_norm_block").cases[0].draw("post_norm_block")
    arguments[0]["attention"]["wo"] = [1.0]
    with pytest.raises(TypeError, match=r"^post_norm_block: multi_head_attention: params\.wo must be an array, got") as caught:
        block(*arguments, **options)
    assert caught.value.__notes__ == ["in the stage 'attention' of post_norm_block"]
    with pytest.raises(TypeError, match=r"^residual\(relu\): relu: x must be an array, got NoneType"):
        pn.residual(pn.relu)(None)
    with pytest.raises(TypeError, match=r"^global_avg_pool: keepdims must be True or False, got -0\.5"):
        pn.global_avg_pool(x, keepdims=-0.5)
    with pytest.raises(ValueError, match=r"^affine: params must hold w, b \(optional\), got nothing"):
        pn.affine({}, x)


# ---------------------------------------------------------------------------------------------------------- options

REQUIRED = {
    "adv_optimizer": optimizers.scale(1.0),
    "base_optimizer": optimizers.sgd(1.0),
    "boundaries_and_scales": {1: 0.5},
    "clipping": 0.5,
    "d_model": 4,
    "decay": 0.5,
    "decay_rate": 0.5,
    "decay_steps": 5,
    "distribution": "normal",
    "end_value": 0.5,
    "eta": 1.0,
    "every_k_schedule": 2,
    "fast_optimizer": optimizers.sgd(1.0),
    "gamma": 0.5,
    "init_value": 1.0,
    "interpolate_type": "linear",
    "key": random.key(0),
    "learning_rate": 0.1,
    "length": 3,
    "logits": np.zeros(3),
    "max_delta": 1.0,
    "max_norm": 1.0,
    "mode": "fan_in",
    "new_tensors": np.zeros(3),
    "old_tensors": np.zeros(3),
    "opt": optimizers.scale(1.0),
    "optimizer": optimizers.sgd(1.0),
    "params": np.ones(3),
    "peak_value": 2.0,
    "power": 2.0,
    "scale": 1.0,
    "shape": (3,),
    "size": 2,
    "slow_step_size": 0.5,
    "statistics": (np.zeros(3), np.ones(3)),
    "step_size": 1.0,
    "step_size_up": 2.0,
    "sync_period": 2,
    "threshold": 5.0,
    "transition_steps": 10,
    "updates": np.zeros(3),
    "value": 1.0,
    "value_and_grad": lambda p: (0.0, np.zeros_like(p)),
    "warmup_steps": 2,
    "weights": np.ones((2, 2)),
    "width": 4,
    "a": 3,
    "n": 5,
    "x": 5,
}
"""What a function needs beside the option that is tried."""


def required(f: Callable[..., Any]) -> dict[str, Any]:
    if f is pn.update_running_statistics:
        return {"statistics": REQUIRED["statistics"], "residuals": pn.batch_norm.fwd({}, np.ones((2, 3)))[1]}
    needed = [p.name for p in inspect.signature(f).parameters.values() if p.default is p.empty]
    return {name: REQUIRED[name] for name in needed}


def takers(*annotations: str) -> list[Any]:
    """Every function, with a call of it that is right, and its option of such an annotation."""
    found: list[tuple[Any, Spec | None, inspect.Parameter]] = []
    for spec in OPS:
        op = spec.op
        assert isinstance(op, Op)
        found += [(op, spec, p) for p in inspect.signature(op).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for f in dict.fromkeys(FUNCTIONS):
        found += [(f, None, p) for p in inspect.signature(f).parameters.values()]
    return [pytest.param(f, spec, p.name, id=f"{f.__name__}-{p.name}") for f, spec, p in found if p.annotation in annotations]


def call(f: Any, spec: Spec | None, name: str, value: Any) -> None:
    arguments, options = spec.cases[0].draw(spec.name) if spec else ((), required(f))
    if f in (optimizers.sgd, optimizers.rmsprop) and name == "nesterov":
        options["momentum"] = 0.5
    (f.fwd if isinstance(f, Op) else f)(*arguments, **{**options, name: value})


OTHER_ARGUMENTS = ("matmul", "gru", "gru_cell", "poisson_nll_loss", "interpolate")
"""What the other value of an option needs other arguments for."""


@pytest.mark.parametrize(("f", "spec", "name"), takers("bool"))
def test_a_boolean_is_true_or_false(f: Any, spec: Spec | None, name: str) -> None:
    for value in ("False", "", math.nan, [], {}, 1, 0, None, 0.5, np.ones(1, bool), np.array([1, 0])):
        with pytest.raises(TypeError, match=rf"^{f.__name__}: {name} must be True or False, got ".replace("(", r"\(")):
            call(f, spec, name, value)
    if f.__name__ not in OTHER_ARGUMENTS:
        for value in (True, False, np.True_, np.False_):
            call(f, spec, name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("where", True), ("where", False), ("where", np.ones((), int)), ("mask", True), ("mask", 1), ("condition", 1)],
)
def test_a_mask_is_an_array(name: str, value: Any) -> None:
    for spec in OPS:
        if isinstance(spec.op, Op) and name in spec.op.keywords:
            arguments, options = spec.cases[0].draw(spec.name)
            options = {key: option for key, option in options.items() if key != "key"} | {name: value}
            with pytest.raises(TypeError, match=f": {name} must be an array of booleans"):
                spec.op.fwd(*arguments, **options)


# ---------------------------------------------------------------------------------------------------------- numbers

ATTENTION = ("cached_attention", "dot_product_attention", "dot_product_attention_with_bias", "multi_head_attention")
OVER_EPS = (
    *("adadelta", "adafactor", "adam", "adamax", "adamw", "lamb", "muon", "nadam", "prodigy", "radam", "rmsprop"),
    *("schedule_free_adamw", "yogi"),
)
"""Optimizers that would divide zero by zero without it."""
RANGES = {
    "adam_b1": "[0, 1)",
    "adam_b2": "[0, 1)",
    "adam_eps_root": "[0, inf)",
    "adam_learning_rate": "[0, inf)",
    "adam_weight_decay": "[0, inf)",
    "alpha": {"elu": "any", "celu": "(0, inf)", "sigmoid_focal_loss": "[0, 1]", "cosine_decay_schedule": "any", "": "[0, inf)"},
    "atol": "[0, inf)",
    "b1": {"schedule_free": "(0, 1]", "schedule_free_sgd": "(0, 1]", "schedule_free_adamw": "(0, 1]", "": "[0, 1)"},
    "b2": "[0, 1)",
    "c1": "(0, 0.9)",  # below the default of c2
    "c2": "(0.0001, 1)",  # above that of c1
    "base": "(0, inf)",
    "beta_fast": "(0, inf)",
    "beta_slow": "(0, inf)",
    "beta3": "[0, 1)",
    "beta": {"muon": "[0, 1)", "": "[0, inf)"},
    "clipping": "(0, inf)",
    "clipping_threshold": "(0, inf)",
    "consistent_rms": "[0, inf)",
    "constant_values": "numbers",
    "d_model": "(0, inf)",
    "decay": "[0, 1)",
    "decay_rate": {"exponential_decay": "(0, inf)", "": "[0, inf)"},
    "decay_steps": {"warmup_cosine_decay_schedule": "(2, inf)", "": "(0, inf)"},
    "delta": "(0, inf)",
    "div_factor": "(0, inf)",
    "end_value": "any",
    "eps": dict.fromkeys(OVER_EPS, "(0, inf)") | {"": "[0, inf)"},
    "eps_root": "[0, inf)",
    "epsilon": "[0, inf)",
    "estim_lr0": "(0, inf)",
    "estim_lr_coef": "[0, inf)",
    "eta": "[0, inf)",
    "eta_minus": "(0, 1)",
    "eta_plus": "(1, inf)",
    "exponent": "(0, inf)",
    "factor": {"reduce_on_plateau": "(0, 1)", "rotary_frequencies": "[1, inf)", "": "[0, inf)"},
    "final_div_factor": "(0, inf)",
    "gamma": {"cyclic_schedule": "[0, 1]", "": "[0, inf)"},
    "high_freq_factor": "(0, inf)",
    "init_value": "any",
    "initial_accumulator_value": "[0, inf)",
    "initial_scale": "[0, inf)",
    "k": "(0, inf)",
    "l1_ratio": "[0, 1]",
    "label_smoothing": "[0, 1]",
    "lambd": "[0, inf)",
    "learning_rate": "[0, inf)",
    "low_freq_factor": "(0, inf)",
    "lower": "numbers",
    "margin": {"cosine_embedding_loss": "[-1, 1]", "": "[0, inf)"},
    "max_delta": "(0, inf)",
    "max_norm": "(0, inf)",
    "max_step_size": "[1e-6, inf)",
    "min_scale": "[0, inf)",
    "min_step_size": "[0, 50]",
    "momentum": {"update_running_statistics": "[0, 1]", "": "[0, 1)"},
    "momentum_decay": "[0, inf)",
    "negative_slope": "any",
    "norm_degree": "[1, inf)",
    "ord": "[1, inf]",
    "p": {"pairwise_distance": "[1, inf]", "cdist": "[1, inf]", "": "[1, inf)"},
    "pct_final": "(0.3, 1)",
    "pct_start": {"linear_onecycle_schedule": "[0, 0.8)", "": "[0, 1)"},
    "peak_value": "any",
    "power": "(0, inf)",
    "quantile": "[0, 1]",
    "rate": {"gaussian_dropout": "[0, 1)", "": "[0, 1]"},
    "rho": "[0, 1)",
    "rtol": "(0, 1]",
    "scale": {"variance_scaling": "(0, inf)", **dict.fromkeys(ATTENTION, "any"), "": "[0, inf)"},
    "slow_step_size": "[0, 1]",
    "smooth": "[0, inf)",
    "softcap": "(0, inf)",
    "stddev": "[0, inf)",
    "step_size": {"incremental_update": "[0, 1]", "": "any"},
    "step_size_down": "(0, inf)",
    "step_size_up": "(0, inf)",
    "strength": "[0, inf)",
    "tau": "(0, inf)",
    "temperature": "(0, inf)",
    "threshold": {"threshold": "any", "radam": "(4, inf)", "": "(0, inf)"},
    "transition_begin": "[0, inf)",
    "transition_steps": "(0, inf)",
    "trust_coefficient": "[0, inf)",
    "upper": "numbers",
    "value": "any",
    "warmup_steps": {"noam_schedule": "(0, inf)", "": "[0, 5)"},
    "weight_decay": "[0, inf)",
    "weight_decay_rate": "[0, inf)",
    "weight_lr_power": "[0, inf)",
}
"""The range of each numeric option: of all functions that have it, or of each function, with "" for the others."""


@pytest.mark.parametrize(("f", "spec", "name"), takers("float", "float | None", "ScalarOrSchedule"))
def test_a_number_is_in_its_range(f: Any, spec: Spec | None, name: str) -> None:
    ranges: Any = RANGES[name]
    interval = ranges if isinstance(ranges, str) else ranges.get(f.__name__, ranges.get(""))
    optional = "None" in str(inspect.signature(f).parameters[name].annotation)
    bad: list[Any] = ["1", True, [0.5], {}, np.array([1.0, 2.0]), 1j] + ([] if optional else [None])
    good: list[Any] = []
    if interval == "any":
        interval = "(-inf, inf)"
    if interval != "numbers":
        low, high = (float(end) for end in interval[1:-1].split(", "))
        bad += [math.nan, -math.inf]
        for end, closed, beyond in ((low, interval[0] == "[", -math.inf), (high, interval[-1] == "]", math.inf)):
            (good if closed else bad).append(end)
            if math.isfinite(end):
                bad.append(float(np.nextafter(end, beyond)))
                bad.append(end + (1 if beyond > 0 else -1))
        inner = [v for v in (0.25, 0.5, 1.0, 4.5, np.float32(2.5), 3) if low < v < high]
        good += inner[-1:]
    for value in bad:
        with pytest.raises((TypeError, ValueError), match=f"^{re.escape(f.__name__)}: .*{name}"):
            call(f, spec, name, value)
    for value in good:
        call(f, spec, name, value)
