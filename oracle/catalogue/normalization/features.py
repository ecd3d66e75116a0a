"""Norms of each sample by itself: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.normalization.batch import scaled
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.normalization import group_norm, instance_norm, layer_norm, rms_norm
from purenet.normalization.core import FEW
from purenet.normalization.sums import SHORT


def with_parameters(layer: Any, params: dict[str, Any]) -> Any:
    """The equinox layer with our parameters, ones and zeros where there are none."""
    gamma = params.get("gamma", layer.weight)
    return eqx.tree_at(lambda m: (m.weight, m.bias), layer, (gamma, params.get("beta", layer.bias)))


def over_features(make: Any) -> Any:
    """A reference that applies the equinox layer to each sample, whose axes are last."""

    def reference(params: dict[str, Any], x: Any, *, axes: Any = -1, eps: float = 1e-5) -> Any:
        along = sorted(range(x.ndim) if axes is None else {int(a) % x.ndim for a in np.atleast_1d(axes)})
        last = tuple(range(x.ndim - len(along), x.ndim))
        moved = jnp.moveaxis(x, along, last)
        layer = with_parameters(make(moved.shape[last[0] :], eps=eps), params)
        for _ in range(x.ndim - len(along)):
            layer = jax.vmap(layer)
        return jnp.moveaxis(layer(moved), last, along)

    return reference


def group_norm_by_equinox(params: dict[str, Any], x: Any, *, groups: int, eps: float = 1e-5) -> Any:
    return jax.vmap(with_parameters(eqx.nn.GroupNorm(groups, x.shape[1], eps=eps), params))(x)


def instance_norm_by_equinox(params: dict[str, Any], x: Any, *, eps: float = 1e-5) -> Any:
    return group_norm_by_equinox(params, x, groups=x.shape[1], eps=eps)


def common(draw: Draw, own: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters, any of which may be absent, and an eps."""
    params = {name: draw.normal(*own) for name in ("gamma", "beta") if draw.choice([True, False])}
    return params, {"eps": draw.choice([1e-3, 0.5])} if draw.choice([False, True]) else {}


def features(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = (*draw.shape(0, 2, 3), draw.between(3, 6))
    count = draw.between(1, len(shape))
    params, options = common(draw, shape[-count:])
    if count > 1:
        options["axes"] = tuple(range(-count, 0))
    return (params, draw.normal(*shape, scale=draw.choice([1.0, 5.0]))), options


def grouped(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    groups, each = draw.between(1, 3), draw.between(1, 2)
    params, options = common(draw, (groups * each,))
    x = draw.normal(draw.between(1, 3), groups * each, 3, *draw.shape(0, 1, 3))
    return (params, x), {**options, "groups": groups}


def instances(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    channels = draw.between(1, 3)
    params, options = common(draw, (channels,))
    return (params, draw.normal(draw.between(1, 3), channels, 3, *draw.shape(0, 2, 3))), options


ONE, NONE, SATURATED = (frozenset({f}) for f in (Flag.BATCH_OF_ONE, Flag.EMPTY_BATCH, Flag.SATURATED))


def gradient_of_beta_alone(draw: Draw) -> tuple[Any, ...]:
    return {"beta": draw.normal(1)}, draw.normal(3, 1)


OVER_FEATURES = (
    Case("a batch of vectors", scaled((5,), 3, 5)),
    Case("more features than a few", scaled((FEW + 1,), 2, FEW + 1)),
    Case("many vectors", scaled((21,), 20, 21)),
    Case("a long vector, no parameters", lambda draw: ({}, draw.normal(1, SHORT + 2)), flags=ONE),
    Case("two axes", scaled((3, 2), 2, 3, 2), {"axes": (-2, -1), "eps": 1e-3}),
    Case("the first axis", scaled((4,), 4, 2), {"axes": 0}),
    Case("no beta, far from 0", lambda draw: ({"gamma": draw.normal(4)}, draw.normal(2, 4) + 30)),
    Case(
        "a row of zeros",
        lambda draw: ({"gamma": draw.normal(3), "beta": draw.normal(3)}, np.concatenate([draw.normal(1, 3), np.zeros((1, 3))])),
        {"eps": 0.25},
        frozenset({Flag.REPEATED}),
    ),
    Case("of size 1e4", scaled((4,), 2, 4, scale=1e4), flags=SATURATED),
    Case("one vector", scaled((4,), 1, 4), flags=ONE),
    Case("no vectors", scaled((4,), 0, 4), flags=NONE),
)


def errors(op: str) -> tuple[Error, ...]:
    def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
        return Error(what, scaled((3,), 2, 3), by, f"{op}: {match}", options)

    return (
        bad("no such axis", "axes must be one of the 2 axes of x (2, 3), got 2", axes=2),
        bad("no axes", "axes must name at least one axis of x (2, 3), got ()", axes=()),
        bad("axis by name", "axes must be an integer, a tuple", TypeError, axes="last"),
        bad("parameters of another axis", "params.gamma must have shape (2,) to match x (2, 3), got (3,)", axes=0),
        bad("negative eps", "eps must be finite and at least 0, got -1", eps=-1),
        Error(
            "beta of another width",
            lambda draw: ({"beta": draw.normal(1)}, draw.normal(2, 3)),
            ValueError,
            f"{op}: params.beta must have shape (3,) to match x (2, 3), got (1,)",
        ),
    )


SPECS = (
    Spec(
        layer_norm,
        tier=2,
        reference=over_features(eqx.nn.LayerNorm),
        source=library("equinox.nn.LayerNorm"),
        cases=(
            *OVER_FEATURES,
            Case("many small images", scaled((3, 7), 20, 3, 7), {"axes": (-2, -1)}),
            Case("an odd number of features", lambda draw: ({}, draw.normal(2, SHORT + 1))),
            Case("width 1", gradient_of_beta_alone, flags=frozenset({Flag.ZERO_GRADIENT})),
        ),
        strategy=features,
        errors=errors("layer_norm"),
    ),
    Spec(
        rms_norm,
        tier=2,
        reference=over_features(eqx.nn.RMSNorm),
        source=library("equinox.nn.RMSNorm"),
        cases=(*OVER_FEATURES, Case("width 1", scaled((1,), 3, 1), {"eps": 0.5})),
        strategy=features,
        errors=errors("rms_norm"),
    ),
    Spec(
        group_norm,
        tier=2,
        reference=group_norm_by_equinox,
        source=library("equinox.nn.GroupNorm"),
        cases=(
            Case("vectors of two groups", scaled((6,), 2, 6), {"groups": 2}),
            Case("images", scaled((4,), 2, 4, 3, 2), {"groups": 2, "eps": 1e-3}),
            Case("one group", scaled((3,), 2, 3, 2), {"groups": 1}),
            Case("many positions", scaled((6,), 4, 6, 18), {"groups": 2}),
            Case("many samples", scaled((6,), 17, 6, 2, 2), {"groups": 2}),
            Case(
                "no gamma, as many groups as channels",
                lambda draw: ({"beta": draw.normal(2)}, draw.normal(3, 2, 4)),
                {"groups": 2},
            ),
            Case("groups of one value", scaled((3,), 2, 3), {"groups": 3}, frozenset({Flag.ZERO_GRADIENT})),
            Case("one sample", scaled((4,), 1, 4, 2), {"groups": 2}, ONE),
            Case("no samples", scaled((4,), 0, 4, 2), {"groups": 2}, NONE),
        ),
        strategy=grouped,
        errors=(
            Error(
                "groups do not divide",
                scaled((6,), 2, 6),
                ValueError,
                "group_norm: groups must divide the 6 channels of x (2, 6), got 4",
                {"groups": 4},
            ),
            Error("no groups", scaled((6,), 2, 6), ValueError, "group_norm: groups must divide the 6", {"groups": 0}),
            Error("groups are no integer", scaled((6,), 2, 6), TypeError, "group_norm: groups must be an", {"groups": 2.0}),
            Error("groups missing", scaled((6,), 2, 6), TypeError, "group_norm: missing the keyword argument 'groups'"),
            Error("a vector", scaled((6,), 6), ValueError, "group_norm: x must have shape (batch, ch", {"groups": 2}),
            Error(
                "gamma of another width",
                scaled((2,), 2, 6),
                ValueError,
                "group_norm: params.gamma must have shape (6,) to match x (2, 6), got (2,)",
                {"groups": 2},
            ),
        ),
    ),
    Spec(
        instance_norm,
        tier=2,
        reference=instance_norm_by_equinox,
        source=library("equinox.nn.GroupNorm"),
        cases=(
            Case("sequences", scaled((3,), 2, 3, 4)),
            Case("many positions, no parameters", lambda draw: ({}, draw.normal(3, 4, 36))),
            Case("images", scaled((2,), 2, 2, 3, 2), {"eps": 1e-3}),
            Case("no parameters", lambda draw: ({}, draw.normal(2, 2, 3))),
            Case("one position", scaled((3,), 2, 3, 1), flags=frozenset({Flag.ZERO_GRADIENT})),
            Case("one sample", scaled((2,), 1, 2, 3, 1), flags=ONE),
            Case("no samples", scaled((2,), 0, 2, 3), flags=NONE),
        ),
        strategy=instances,
        errors=(
            Error(
                "integers",
                lambda draw: ({}, draw.labels(3, 2, 3, 4)),
                TypeError,
                "instance_norm: x must be a floating-point array",
            ),
            Error("no positions", scaled((3,), 2, 3), ValueError, "instance_norm: x must have shape (batch, channels, pos"),
            Error(
                "gamma of another width", scaled((2,), 2, 3, 4), ValueError, "instance_norm: params.gamma must have shape (3,)"
            ),
            Error(
                "eps infinite", scaled((3,), 2, 3, 4), ValueError, "instance_norm: eps must be finite", {"eps": float("inf")}
            ),
        ),
    ),
)
