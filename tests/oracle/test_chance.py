"""Functions of torch that draw in their forward pass: a mask that is kept is right, one that is drawn anew is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import oracle

torch = pytest.importorskip("torch")

DRAWS: dict[str, Callable[[Any], Any]] = {
    "rand_like": lambda x: (torch.rand_like(x) > 0.5).to(x.dtype),
    "rand": lambda x: (torch.rand(x.shape) > 0.5).to(x.dtype),
    "rand of a dtype": lambda x: (torch.rand(*x.shape, dtype=x.dtype) > 0.5).to(x.dtype),
    "randn_like": torch.randn_like,
    "bernoulli_": lambda x: torch.empty_like(x).bernoulli_(0.5),
    "bernoulli": lambda x: torch.bernoulli(torch.full_like(x, 0.5)),
    "uniform_": lambda x: (torch.empty_like(x).uniform_() > 0.5).to(x.dtype),
    "dropout": lambda x: torch.nn.functional.dropout(torch.ones_like(x), 0.5),
}


def dropout(draw: Callable[[Any], Any], backward: Callable[[Any, Any], Any]) -> Any:
    class Dropout(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mask = draw(x)
            return 2 * x * ctx.mask

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return backward(ctx, dy)

    return Dropout


@pytest.mark.parametrize("name", DRAWS)
def test_a_mask_that_is_kept_is_the_same_in_each_forward_pass(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.linspace(-1.5, 2, 30, dtype=dtype).reshape(6, 5)
        before = torch.random.get_rng_state()
        right = oracle.verify(dropout(DRAWS[name], lambda ctx, dy: 2 * dy * ctx.mask), x)
        assert right.passed, right
        assert right.rows[0].note == "it draws random numbers, from the fixed seed 0"
        half = oracle.verify(dropout(DRAWS[name], lambda ctx, dy: dy * ctx.mask), x)
        assert "constant factor: x is 0.5 times the true gradient" in half.rows[0].diagnosis, half
        assert torch.equal(before, torch.random.get_rng_state())


def test_a_mask_that_the_backward_pass_draws_anew_is_found() -> None:
    x = torch.linspace(-1.5, 2, 30).reshape(6, 5)
    result = oracle.verify(dropout(DRAWS["rand_like"], lambda ctx, dy: 2 * dy * DRAWS["rand_like"](dy)), x)
    assert "bwd is not a function of its arguments" in result.rows[0].diagnosis
    assert "save them among the residuals" in result.rows[0].diagnosis


def test_a_function_that_draws_nothing_has_no_note() -> None:
    result = oracle.verify(dropout(torch.ones_like, lambda ctx, dy: 2 * dy * ctx.mask), torch.ones(3))
    assert result.passed
    assert not result.rows[0].note
