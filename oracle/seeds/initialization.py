"""The effect of the scale of the first weights on the activations and the gradients of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.drawing import Panel, curves, histograms
from oracle.seeds.experiment import in_one_piece
from oracle.seeds.section import Claim, Section, Table
from purenet.initializers import Initializer, normal, variance_scaling

__all__ = ["EXPERIMENT", "INITIALIZERS", "Layers", "layers_of", "section"]

Array = NDArray[Any]

UNITS, DEPTH, SAMPLES = 100, 5, 1000
INITIALIZERS: dict[str, Initializer] = {
    "std 1": normal(1.0),
    "std 0.01": normal(0.01),
    "Xavier": variance_scaling(1.0, "fan_in", "normal"),
    "He": variance_scaling(2.0, "fan_in", "normal"),
}
"""The book's initializers: Xavier has a standard deviation of sqrt(1 / fan_in), He of sqrt(2 / fan_in)."""
FUNCTIONS = {"sigmoid": pn.sigmoid, "tanh": pn.tanh, "relu": pn.relu}
LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, 3.0)}
"""The ranges of the histograms. Values beyond them count in the first or last bin."""


class Layers(NamedTuple):
    """The activations and gradients of each layer for one function and one initializer."""

    function: str
    initializer: str
    activations: tuple[Array, ...]
    gradients: tuple[float, ...]
    """The norm of the gradient by the input of each layer's function, as a share of that in the last layer."""
    quiet: tuple[float, ...]
    """The share of the entries of that gradient that are below a hundredth of its root mean square."""


def layers_of(function: str, initializer: str) -> Layers:
    """Sends a thousand normal samples through five layers, and the gradient of a cross entropy back through them."""
    x_key, label_key, *keys = pn.random.split(pn.random.key(0), 2 + DEPTH)
    x: Any = pn.random.normal(x_key, (SAMPLES, UNITS))
    labels = pn.random.randint(label_key, (SAMPLES,), 0, UNITS)
    passed, activations = [], []
    for key in keys:
        params = {"w": INITIALIZERS[initializer](key, (UNITS, UNITS))}
        z, into_affine = pn.affine.fwd(params, x)
        x, into_function = FUNCTIONS[function].fwd(z)
        passed.append((into_affine, into_function))
        activations.append(x)
    _, into_loss = pn.softmax_cross_entropy.fwd(x, labels=labels)
    (dy,) = pn.softmax_cross_entropy.bwd(into_loss, 1.0)
    norms, quiet = [], []
    for into_affine, into_function in reversed(passed):
        (dz,) = FUNCTIONS[function].bwd(into_function, dy)
        _, dy = pn.affine.bwd(into_affine, dz)
        norms.append(float(np.linalg.norm(dz)))
        quiet.append(float((np.abs(dz) < 0.01 * norms[-1] / np.sqrt(dz.size)).mean()))
    shares = tuple(norm / norms[0] for norm in reversed(norms))
    return Layers(function, initializer, tuple(activations), shares, tuple(reversed(quiet)))


def section(found: Mapping[tuple[str, str], Layers]) -> Section:
    """Histograms of the activations, a table of gradients, and the claims of the book about both."""
    names = [*INITIALIZERS]
    rows = [
        (f"{function}, {name}", *(f"{share:.2g}" for share in layers.gradients), f"{layers.quiet[0]:.0%}")
        for (function, name), layers in found.items()
    ]
    pictures = [
        histograms(
            f"activations_{function}.svg",
            f"histograms of the activations of {function} in each layer, by initializer",
            {name: found[function, name].activations for name in names},
            LIMITS[function],
        )
        for function in FUNCTIONS
    ]
    norms = curves(
        "gradient_norms.svg",
        "the norm of the gradient in each layer, by initializer",
        [
            Panel(
                function,
                {name: (range(1, DEPTH + 1), found[function, name].gradients) for name in names},
                "layer",
                "norm / norm in layer 5" if function == "sigmoid" else "",
                log_y=True,
            )
            for function in FUNCTIONS
        ],
    )
    return Section(
        "Activations and gradients by initializer",
        (
            f"""{SAMPLES} x {UNITS} normal inputs through {DEPTH} layers of {UNITS} units without biases. Xavier is a standard
            deviation of sqrt(1 / fan_in), He of sqrt(2 / fan_in). The activations, by layer:""",
            *pictures,
            """The norm of the gradient of a cross entropy in each layer, as a share of that in the last one; and, in layer 1,
            how many of its entries are below a hundredth of their root mean square (quiet):""",
            Table(("", *(f"layer\n{i + 1}" for i in range(DEPTH)), "quiet"), tuple(rows)),
            norms,
        ),
        (*_about_activations(found), *_about_gradients(found)),
    )


def _about_activations(found: Mapping[tuple[str, str], Layers]) -> list[Claim]:
    def last(function: str, name: str) -> Array:
        return found[function, name].activations[-1]

    def narrowing(name: str) -> float:
        first, *_, end = found["relu", name].activations
        return float(end.std() / first.std())

    ends = float((np.abs(last("sigmoid", "std 1") - 0.5) > 0.4).mean())
    middle = float((np.abs(last("sigmoid", "std 0.01") - 0.5) < 0.1).mean())
    spread, flat = float(last("sigmoid", "Xavier").std()), float(last("sigmoid", "std 0.01").std())
    xavier, he, small = (narrowing(name) for name in ("Xavier", "He", "std 0.01"))
    return [
        Claim(
            "sigmoid with std 1: the activations are near 0 and 1",
            ends > 0.5,
            published="at 0 and 1",
            measured=f"{ends:.0%} of layer 5 within 0.1 of 0 or 1",
        ),
        Claim(
            "sigmoid with std 0.01: the activations are all near 0.5",
            middle > 0.99,
            published="all near 0.5",
            measured=f"{middle:.0%} of layer 5 within 0.1 of 0.5",
        ),
        Claim(
            "sigmoid with Xavier: they are spread",
            spread > 5 * flat,
            published="spread",
            measured=f"standard deviation in layer 5 {spread:.2f}, with std 0.01 {flat:.2f}",
        ),
        Claim(
            "relu with std 0.01: the activations vanish",
            small < 1e-3,
            published="all near 0",
            measured=f"from layer 1 to 5 their standard deviation falls to {small:.1g} of what it was",
        ),
        Claim(
            "relu with Xavier narrows with depth, with He it does not",
            xavier < 0.5 and 0.8 < he < 1.25,
            published="narrows; does not",
            measured=f"standard deviation of layer 5 over that of layer 1: Xavier {xavier:.2f}, He {he:.2f}",
        ),
    ]


def _about_gradients(found: Mapping[tuple[str, str], Layers]) -> list[Claim]:
    saturated, small = found["sigmoid", "std 1"], found["sigmoid", "std 0.01"]
    he, xavier = (found["relu", name].gradients[0] for name in ("He", "Xavier"))
    return [
        Claim(
            "sigmoid with std 1: the gradient vanishes layer by layer",
            saturated.gradients[0] < 0.1,
            published="vanishes",
            measured=f"its norm in layer 1 is {saturated.gradients[0]:.2f} of that in layer 5",
            because=f"""most units are saturated and get nearly nothing ({saturated.quiet[0]:.0%} of the entries are quiet), but
            weights of size 1 make up for it in the others""",
        ),
        Claim(
            "sigmoid with std 0.01: there it does vanish layer by layer",
            all(b < 0.1 * a for a, b in zip(small.gradients[:0:-1], small.gradients[-2::-1], strict=True)),
            measured=f"its norm in layer 1 is {small.gradients[0]:.1e} of that in layer 5",
        ),
        Claim(
            "relu with He keeps the norm of the gradient, with Xavier it shrinks",
            0.7 < he < 1.4 and xavier < 0.5,
            measured=f"layer 1 over layer 5: He {he:.2f}, Xavier {xavier:.2f}",
        ),
    ]


def _all() -> Section:
    return section({(function, name): layers_of(function, name) for function in FUNCTIONS for name in INITIALIZERS})


EXPERIMENT = in_one_piece(lambda setting: _all())
