"""Bound JSON schemas so that a small model's constrained output always terminates.

A small model repeats itself: a string or list without a bound goes on until the tokens are
spent, and the JSON is cut off. This module adds the missing bounds and keeps a schema's own
``maxLength`` and ``maxItems``. A bounded schema accepts nothing that the original rejects.

Two things stay unbounded, since llama.cpp's grammars cannot count them: the members of an
object whose keys are free, and the depth of a schema that refers to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agemem_envs.util.http_errors import RequestError

STRING_CHARS = 400
ARRAY_ITEMS = 8

_JSON_ITEMS = (8, 6, 4)
_JSON_CHARS = (200, 160, 80)
"""Bounds of JSON mode, from the outermost object inwards: a list of small objects takes at
most about 800 tokens."""
_JSON_KEY_CHARS = 32

_UNENFORCED = frozenset(
    "not if then else patternProperties propertyNames minProperties maxProperties"
    " uniqueItems multipleOf contains dependentRequired dependentSchemas"
    " unevaluatedItems unevaluatedProperties".split()
)
_RANGE = frozenset("minimum maximum exclusiveMinimum exclusiveMaximum".split())
_OF_SCHEMAS = ("properties", "$defs", "definitions")
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties")
_FREE = _OF_SCHEMAS[:1] + _LISTS_OF_SCHEMAS + _SCHEMAS + ("$ref", "enum", "const", "type")


def bounded(schema: Any, root: str = "#") -> Any:
    """The schema with bounds wherever it has none.

    Args:
        schema: A JSON schema: an object, or ``true`` for any value.
        root: Path of the schema within the one that will contain it. References to ``#``
            become references to this path.

    Raises:
        RequestError: ``schema`` is not a schema, or has a keyword that llama.cpp's grammar
            ignores, so that the output might not conform.
    """
    if schema is True:
        return _scalar()
    if not isinstance(schema, Mapping):
        raise RequestError(f"{str(schema)[:80]!r} is not a JSON schema", param="schema")
    _refuse_unenforced(schema)
    if not any(key in schema for key in _FREE):
        return {**schema, **_scalar()}
    result: dict[str, Any] = dict(schema)
    for key in _OF_SCHEMAS:
        if isinstance(schema.get(key), Mapping):
            result[key] = {name: bounded(part, root) for name, part in schema[key].items()}
    for key in _LISTS_OF_SCHEMAS:
        if isinstance(schema.get(key), list):
            result[key] = [bounded(part, root) for part in schema[key]]
    for key in _SCHEMAS:
        if key in schema and schema[key] is not False:
            result[key] = bounded(schema[key], root)
    if isinstance(schema.get("$ref"), str) and schema["$ref"].startswith("#"):
        result["$ref"] = root + schema["$ref"][1:]
    return _bound_own(result)


def _bound_own(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = _kinds(schema)
    fixed = schema.keys() & {"enum", "const", "pattern", "format", "anyOf", "oneOf", "allOf"}
    if "string" in kinds and not fixed:
        schema.setdefault("maxLength", max(STRING_CHARS, _number(schema.get("minLength"))))
    if "array" in kinds and not fixed and "prefixItems" not in schema:
        schema.setdefault("items", _scalar())
        schema.setdefault("maxItems", max(ARRAY_ITEMS, _number(schema.get("minItems"))))
    if "object" in kinds and not fixed:
        if schema.get("properties"):
            # With free members besides the named ones, a small model goes on for ever.
            schema["additionalProperties"] = False
        else:
            schema.setdefault("additionalProperties", _scalar())
    return schema


def _kinds(schema: Mapping[str, Any]) -> set[Any]:
    kinds = schema.get("type")
    return set(map(str, kinds)) if isinstance(kinds, list) else {kinds}


def _refuse_unenforced(schema: Mapping[str, Any]) -> None:
    ignored = _UNENFORCED & schema.keys()
    if not _kinds(schema) <= {"integer", "null"}:
        ignored |= _RANGE & schema.keys()
    if ignored:
        names = ", ".join(sorted(ignored))
        raise RequestError(
            f"this server cannot enforce {names} in the schema {str(dict(schema))[:120]}: leave it "
            "out and check the reply yourself",
            param="schema",
        )


def _scalar() -> dict[str, Any]:
    """A schema for any value that does not nest: nesting would have no end."""
    kinds = ("number", "boolean", "null")
    text: dict[str, Any] = {"type": "string", "maxLength": STRING_CHARS}
    return {"anyOf": [text, *({"type": kind} for kind in kinds)]}


def _number(value: Any) -> int:
    return value if type(value) is int else 0


def _json_object_grammar() -> str:
    rules = [
        "root ::= object0",
        f'key ::= "\\"" char{{1,{_JSON_KEY_CHARS}}} "\\"" ":" " "?',
        'char ::= [^"\\\\\\x7F\\x00-\\x1F] | "\\\\" ["\\\\/bfnrt]',
        'atom ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,8})? | "true" | "false" | "null"',
        # Models were trained on indented JSON: forbidden to indent, they write "{}" and stop.
        'gap ::= " "? | "\\n" [ ]{0,8}',
    ]
    for depth, (items, chars) in enumerate(zip(_JSON_ITEMS, _JSON_CHARS, strict=True)):
        more = f"{{0,{items - 1}}}"
        nested = f" | object{depth + 1} | array{depth + 1}" if depth + 1 < len(_JSON_ITEMS) else ""
        members = f'gap key value{depth} ("," gap key value{depth}){more} gap'
        rules += [
            f'object{depth} ::= "{{" {members if depth == 0 else f"({members})?"} "}}"',
            f'array{depth} ::= "[" (gap value{depth} ("," gap value{depth}){more} gap)? "]"',
            f'value{depth} ::= atom | "\\"" char{{0,{chars}}} "\\""{nested}',
        ]
    return "\n".join(rules) + "\n"


JSON_OBJECT_GRAMMAR = _json_object_grammar()
"""A JSON object with at least one member, nested at most three deep."""
