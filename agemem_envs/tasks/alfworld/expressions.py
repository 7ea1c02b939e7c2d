"""The expressions in the grammar of a game, evaluated without running code.

TextWorld gives each ``{...}`` of a game's grammar to Python's ``eval``, so a game from anywhere
could run anything. ALFWorld's own games name a variable or an attribute of one, the first of
several that is not empty, or texts in a row: ``o``, ``r.name or r.id``, ``o.indefinite + ' ' +
o.name``. Nothing else is evaluated here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from agemem_envs.errors import DataFormatError

LONGEST = 200
"""Characters of an expression."""
_REFUSED = (SyntaxError, ValueError, KeyError, AttributeError, RecursionError, MemoryError)


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """The value of an expression.

    Args:
        expression: Names, attributes that do not begin with an underscore, ``or``, texts, and the
            sum of texts.
        variables: The values of the names.

    Raises:
        DataFormatError: It is anything else, or has an unknown name.
    """
    try:
        if len(expression) > LONGEST:
            raise ValueError("it is too long")
        return _value(ast.parse(expression.strip(), mode="eval").body, variables)
    except _REFUSED as error:
        raise DataFormatError(
            f"the game's grammar has the expression {expression[:LONGEST]!r}, which is not one of "
            "ALFWorld's"
        ) from error


def _value(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(name):
            return variables[name]
        case ast.Attribute(value, name) if not name.startswith("_"):
            return getattr(_value(value, variables), name)
        case ast.Constant(str(text)):
            return text
        case ast.BinOp(left, ast.Add(), right):
            return "".join(_text(_value(side, variables)) for side in (left, right))
        case ast.BoolOp(ast.Or(), values):
            found = None
            for part in values:
                found = _value(part, variables)
                if found:
                    break
            return found
    raise ValueError("neither a name nor an attribute")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value
