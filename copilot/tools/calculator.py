"""Arithmetic, safely: the expression is parsed and only numbers, operators and a few functions are walked."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from copilot.tools.base import Tool, ToolContext, ToolError, object_schema

Number = int | float

LENGTH_MAX = 500
#: Integers beyond this many bits are refused before they are computed: they would hold the event loop.
BITS_MAX = 4096
DIGITS_MAX = 400

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def _round(value: Number, digits: Number = 0) -> Number:
    """Round to ``digits`` places; Python itself would compute 10 ** 10 ** 10 to round an integer to as many."""
    if not isinstance(digits, int) or abs(digits) > DIGITS_MAX:
        raise ToolError(f"round takes a whole number of places, at most {DIGITS_MAX}.")
    return round(value, digits) if digits else round(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("sqrt", "exp", "log", "log2", "log10", "sin", "cos", "tan")},
    **{name: getattr(math, name) for name in ("asin", "acos", "atan", "floor", "ceil", "degrees", "radians")},
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
}
CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}


def evaluate(expression: str) -> Number:
    """Return the value of an arithmetic expression.

    Raises:
        ToolError: it is not one, is too large, or has no value (division by zero).
    """
    if len(expression) > LENGTH_MAX:
        raise ToolError(f"The expression is longer than {LENGTH_MAX} characters.")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        return _value(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ToolError(f"This is not an arithmetic expression: {expression!r}.") from error
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ToolError(f"{expression!r} has no value: {error}.") from error


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _bounded(BINARY[type(op)](_value(left), _value(right)))
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in UNARY:
            return _bounded(UNARY[type(sign)](_value(operand)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return _bounded(FUNCTIONS[name](*(_value(arg) for arg in args)))
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
    raise ToolError(f"Only numbers, + - * / // % ** ( ), {', '.join(FUNCTIONS)}, pi, e and tau are known.")


def _power(base: Number, exponent: Number) -> Number:
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent > 0
    if whole and int(base).bit_length() * exponent > BITS_MAX:
        raise ToolError("The result would be too large.")
    result = base**exponent
    if isinstance(result, complex):
        raise ToolError("The result is not a real number.")
    return _bounded(result)


def _bounded(value: Any) -> Number:
    if isinstance(value, int) and value.bit_length() > BITS_MAX:
        raise ToolError("The result would be too large.")
    return value  # type: ignore[no-any-return]  # every operator above maps numbers to numbers


class Calculator(Tool):
    """Arithmetic."""

    name = "calculator"
    description = (
        "Evaluate an arithmetic expression with + - * / // % ** and parentheses, "
        "the functions sqrt, log, exp, sin, cos, tan, abs, round, min, max, floor, ceil, and pi, e, tau."
    )
    parameters = object_schema(expression={"type": "string", "description": "For example: (3 + 4) * 2 ** 10"})
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        value = evaluate(arguments["expression"])
        if isinstance(value, float) and not math.isfinite(value):
            raise ToolError("The result is not a finite number.")
        return {"result": value}
