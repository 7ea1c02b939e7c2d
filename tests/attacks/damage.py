"""Damage to files: random changes of bytes and of JSON values, each drawn from one generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

ESCAPE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e"
FORMULA = '=HYPERLINK("http://evil")'
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"
MANY = 2_000_000
"""Characters of a value that is repeated until it is long."""
DEEP = 3_000
"""Levels of a nested value, more than Python's recursion limit."""
TEXTS = (
    "", " ", ESCAPE, FORMULA, "@SUM(1)", "+1", MARKUP, "../../../etc/passwd", "/dev/full", "\x00",
    "a" * 200_000, "\ud800", "nan", "-inf", "1e400", "%s%n{0}", "$(touch hacked)", "|x|y|\n|z|",
    "\\input{/etc/passwd}", "AgeMem-HotpotQA-v0", "http://user:secret@127.0.0.1:9/v1",
)  # fmt: skip
NUMBERS = (-1, 0, 1, 10**9, 2**63, 10**400, -(10**18), 1e308, 5e-324, 0.1, -0.0)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": ""}, {"a": {"b": [1]}})


def value(chance: Random) -> Any:
    """A value that a record should not have."""
    return deepcopy(chance.choice(chance.choice((TEXTS, NUMBERS, OTHERS))))


def json_text(text: str, chance: Random) -> str:
    """A JSON text with one to three changes in its values, keys or lists."""
    data = json.loads(text)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(data))
        if not places:
            break
        container, key = chance.choice(places)
        chance.choice(_CHANGES)(container, key, chance)
    written = json.dumps(data)
    if chance.random() < 0.05:
        written = written.replace("null", chance.choice(("NaN", "Infinity", "1e999")), 1)
    if chance.random() < 0.05:
        deep = "[" * DEEP + "]" * DEEP
        written = written.replace('"', f'"deep": {deep}, "', 1)
    return written


def _places(data: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    left = [data]
    while left:
        one = left.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one))
        for key in keys:
            found.append((one, key))
            if isinstance(one[key], dict | list):
                left.append(one[key])
    return found


def _replace(container: Any, key: Any, chance: Random) -> None:
    container[key] = value(chance)


def _remove(container: Any, key: Any, chance: Random) -> None:
    del container[key]


def _multiply(container: Any, key: Any, chance: Random) -> None:
    one = container[key]
    times = max(2, min(20_000, MANY // len(json.dumps(one))))
    if isinstance(one, str):
        container[key] = one * times
        return
    items = one if isinstance(one, list) else [one]
    container[key] = [deepcopy(item) for _ in range(times) for item in items]


def _add(container: Any, key: Any, chance: Random) -> None:
    if isinstance(container, dict):
        container[chance.choice(TEXTS)] = value(chance)
    else:
        container.append(value(chance))


def _swap(container: Any, key: Any, chance: Random) -> None:
    other = chance.choice(list(container) if isinstance(container, dict) else range(len(container)))
    container[key], container[other] = container[other], container[key]


_CHANGES: tuple[Callable[[Any, Any, Random], None], ...] = (
    _replace, _replace, _replace, _remove, _multiply, _add, _swap,
)  # fmt: skip


def raw(data: bytes, chance: Random) -> bytes:
    """Bytes that are cut, repeated, in another encoding, or changed in some places."""
    kind = chance.randrange(6)
    at = chance.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + chance.randbytes(chance.randint(1, 40)) + data[at:]
    if kind == 2:
        changed = bytearray(data)
        for _ in range(chance.randint(1, 20)):
            if changed:
                changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    if kind == 3:
        return data.decode("utf-8", "replace").encode("utf-16")
    if kind == 4:
        return data * 3
    return chance.choice((b"", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * DEEP, bytes(range(256))))
