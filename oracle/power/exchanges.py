"""The tables of planted mistakes: which operators, comparisons and functions replace which."""

from __future__ import annotations

import ast

__all__ = [
    "ARITHMETIC",
    "BUILTIN",
    "COMMUTATIVE",
    "COMPARISONS",
    "EXCHANGED",
    "FACTORS",
    "ONE_SIDED",
    "PASSIVE",
    "PASSIVE_KEYWORDS",
    "REDUCTIONS",
    "TERMS",
]

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
ONE_SIDED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult, ast.FloorDiv, ast.Mod)  # a op b is not b op a
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
EXCHANGED = {
    **{one: two for pair in (("sum", "mean"), ("max", "min"), ("maximum", "minimum"), ("argmax", "argmin"), ("any", "all"),
       ("sin", "cos"), ("sinh", "cosh"), ("zeros_like", "ones_like"), ("zeros", "ones"), ("floor", "ceil"), ("tril", "triu"),
       ("cumsum", "cumprod"), ("exp", "expm1"), ("log", "log1p"), ("square", "sqrt"), ("expit", "tanh"),
       ("add", "subtract"), ("multiply", "divide"), ("less", "less_equal"), ("greater", "greater_equal"))
       for one, two in (pair, pair[::-1])},
}  # fmt: skip
COMMUTATIVE = {"maximum", "minimum", "multiply", "add", "hypot", "logaddexp", "logical_and", "logical_or", "equal", "swapaxes"}
REDUCTIONS = {"sum", "mean", "max", "min", "prod", "any", "all", "argmax", "argmin", "cumsum", "cumprod", "std", "var"}
TERMS = {"add", "subtract"}
FACTORS = {"multiply", "divide", "matmul", "dot"}
PASSIVE = {
    "asarray",
    "ascontiguousarray",
    "astype",
    "copy",
    "array",
}  # dtype and memory, which the contract checks
BUILTIN = {"abs", "reversed", "sorted", "max", "min", "sum"}
PASSIVE_KEYWORDS = {"dtype", "out", "casting", "strict", "copy"}
