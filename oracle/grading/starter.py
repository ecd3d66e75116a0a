"""The file that students start from: what is to be written, with its points."""

from __future__ import annotations

from oracle.grading.assignment import Assignment, Functions, Layer, Part
from oracle.grading.cases import Hidden

__all__ = ["starter"]

TODO = "raise NotImplementedError"


def starter(assignment: Assignment) -> str:
    """The source of a file in which all functions of the assignment are still to be written."""
    head = f'"""{assignment.name}, {assignment.total:g} points. Do not change arguments in place."""\n\nimport numpy as np\n'
    return "\n\n".join([head, *(_part(part) for part in assignment.parts)])


def _part(part: Part) -> str:
    case = Hidden(part, part.cases[0], [0])
    arguments = list(case.arguments)
    upstream = ["dout"] if len(case.values) == 1 else [f"dout{k + 1}" for k in range(len(case.values))]
    gradients = ", ".join(f"d{name} ({points:g})" for name, points in part.points.items())
    about, back = f"{part.about or part.name} ({part.value:g})", f"Returns {gradients}."
    style = part.styles[0]
    if isinstance(style, Functions):
        values = ", ".join(["out"] if len(upstream) == 1 else [f"out{k + 1}" for k in range(len(upstream))])
        forward = _function(style.forward, arguments, [about, f"Returns {values}, cache."])
        return f"{forward}\n\n{_function(style.backward, [*upstream, 'cache'], [back])}"
    if isinstance(style, Layer):
        held = [f"Leaves the gradient of {name} in self.{attribute}." for name, attribute in style.gradients.items()]
        methods = [
            _function("__init__", ["self", *style.holds], []),
            _function("forward", ["self", *(name for name in arguments if name not in style.holds)], [about]),
            _function("backward", ["self", *upstream], [back, *held]),
        ]
        body = "\n".join(methods)
        return f"class {style.name}:\n" + "".join(f"    {line}\n" if line else "\n" for line in body.splitlines())
    return _function(style.name, arguments, [about, f"Returns the value, and gradients: {gradients}."])


def _function(name: str, arguments: list[str], about: list[str]) -> str:
    lines = [f"def {name}({', '.join(arguments)}):"]
    if about:
        lines += [f'    """{about[0]}', *(f"    {line}" for line in about[1:]), '    """']
    return "\n".join([*lines, f"    {TODO}", ""])
