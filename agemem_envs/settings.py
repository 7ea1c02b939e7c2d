"""Declarations of settings: each setting is declared once, as a field of a frozen dataclass.

A declaration states the type, the default, the range, the help text and the scope. It determines

- how a value from any source is checked (:func:`check_settings`);
- the command-line flag (:mod:`agemem_envs.util.flags`);
- which results may share a table, a column or a row (:class:`Scope`);
- what may change when a run is resumed or scored again.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from agemem_envs.errors import ConfigurationError, UnknownNameError


class Scope(StrEnum):
    """The scope of a setting: it determines which results the setting keeps apart."""

    TABLE = "table"
    """All results of a table share the value."""
    WORLD = "world"
    """The benchmark: all results in a column of a table share the value."""
    METHOD = "method"
    """The method: the value may differ between the rows of a table, but not within a row."""
    MODEL = "model"
    """The language model: all results of a table that use a model share the value."""
    TASKS = "tasks"
    """The choice of tasks. It keeps no results apart: an episode records its own task and data."""
    SUITE = "suite"
    """The choice of runs. Each run records its own method and model."""
    RUN = "run"
    """The execution. No result depends on it; it may change when a run is resumed."""


class Group(StrEnum):
    """The part of ``--help`` in which a setting is listed."""

    SUBJECT = "agent and model"
    MODEL = "model"
    ENVIRONMENT = "tasks and environment"
    SCORING = "scoring and sampling"
    LEARNING = "learning"
    EXECUTION = "execution"


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of a setting, except its name, type and default.

    Attributes:
        help: One phrase for ``--help``, without the default.
        scope: The scope of the setting.
        group: The section of ``--help`` that lists it.
        low: The smallest valid number, or None.
        high: The largest valid number, or None.
        default_text: The default as ``--help`` shows it, if the value itself is not informative:
            the meaning of None, for example. Empty to show no default.
        none: The word for None on the command line, if None is not the default.
        flag: The command-line flag, if it is not derived from the name.
        aliases: Older flags that are still accepted.
        choices: The valid texts; empty if any text is valid.
        repeated: Whether the flag may be repeated, each use adding one element to a tuple.
        metavar: The placeholder of the value in ``--help``.
        summarized: Whether ``summary.csv`` has a column for it.
        rejudging: Whether it may change when a run is scored by another judge.
    """

    help: str
    scope: Scope
    group: Group
    low: float | None = None
    high: float | None = None
    default_text: str | None = None
    none: str | None = None
    flag: str | None = None
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    repeated: bool = False
    metavar: str | None = None
    summarized: bool = False
    rejudging: bool = False


def setting(
    default: Any,
    help: str,
    scope: Scope,
    group: Group,
    low: float | None = None,
    high: float | None = None,
    **options: Any,
) -> Any:
    """Declare a setting: the right-hand side of a dataclass field.

    Args:
        default: The default value.
        help: One phrase for ``--help``, without the default.
        scope: The scope of the setting.
        group: The section of ``--help`` that lists it.
        low: The smallest valid number.
        high: The largest valid number.
        options: The other attributes of :class:`Setting`.
    """
    declared = Setting(help, scope, group, low, high, **options)
    return dataclasses.field(default=default, metadata={"setting": declared})


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting as a class declares it.

    Attributes:
        name: The field's name.
        kind: ``str``, ``int``, ``float`` or ``bool``; for a tuple, the type of its elements.
        optional: Whether None is a valid value.
        several: Whether the value is a tuple.
        other: The alternative type of a setting that has two, which no flag can give: a tuple of
            texts or an object of numbers; else None.
        value: The default.
        setting: The declaration.
    """

    name: str
    kind: type
    optional: bool
    several: bool
    other: Any
    value: Any
    setting: Setting

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return self.setting.flag or "--" + self.name.replace("_", "-")


_SETTINGS: dict[type, Mapping[str, Declared]] = {}


def settings_of(cls: type) -> Mapping[str, Declared]:
    """The settings of a dataclass by name, in the order of declaration."""
    if cls not in _SETTINGS:
        hints = typing.get_type_hints(cls)
        _SETTINGS[cls] = {
            field.name: _declared(field, hints[field.name])
            for field in dataclasses.fields(cls)
            if "setting" in field.metadata
        }
    return _SETTINGS[cls]


def _declared(field: dataclasses.Field[Any], hint: Any) -> Declared:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = [k for k in (typing.get_args(hint) if union else (hint,)) if k is not types.NoneType]
    kind, several = kinds[0], typing.get_origin(kinds[0]) is tuple
    return Declared(
        name=field.name,
        kind=typing.get_args(kind)[0] if several else kind,
        optional=types.NoneType in typing.get_args(hint),
        several=several,
        other=kinds[1] if len(kinds) > 1 else None,
        value=field.default,
        setting=field.metadata["setting"],
    )


def in_scope(cls: type, *scopes: Scope) -> list[str]:
    """The names of a class's settings that have one of these scopes, in declaration order."""
    return [name for name, d in settings_of(cls).items() if d.setting.scope in scopes]


def check_settings(settings: Any) -> None:
    """Check the type and range of every setting of a dataclass instance.

    Raises:
        ConfigurationError: A value has the wrong type or is out of range.
    """
    for name, declared in settings_of(type(settings)).items():
        value = getattr(settings, name)
        if (value is None and declared.optional) or _is_other(value, declared.other):
            continue
        if not _valid(value, declared):
            raise ConfigurationError(f"{name} must be {_wanted(declared)}, got {value!r}")


def _is_other(value: Any, other: Any) -> bool:
    """Whether a value is of the alternative type of its setting."""
    if other is None:
        return False
    if typing.get_origin(other) is tuple:
        return isinstance(value, tuple) and all(type(item) is str for item in value)
    return isinstance(value, Mapping) and all(
        type(name) is str and type(number) in (int, float, bool) and math.isfinite(number)
        for name, number in value.items()
    )


def _valid(value: Any, declared: Declared) -> bool:
    if declared.several:
        return isinstance(value, tuple) and all(type(item) is declared.kind for item in value)
    kinds = (int, float) if declared.kind is float else (declared.kind,)
    if type(value) not in kinds:  # not isinstance: True is not a number
        return False
    if declared.kind not in (int, float):
        return not declared.setting.choices or value in declared.setting.choices
    low, high = declared.setting.low, declared.setting.high
    above = low is None or value >= low
    below = high is None or value <= high
    return math.isfinite(value) and above and below


_WANTED = {str: "text", bool: "true or false", int: "an integer", float: "a number"}


def _wanted(declared: Declared) -> str:
    if declared.several:
        return "a list of texts"
    if declared.setting.choices:
        return f"one of {', '.join(declared.setting.choices)}"
    low, high = declared.setting.low, declared.setting.high
    limits = "" if low is None or high is None else f" in [{low:g}, {high:g}]"
    if declared.kind is int and limits:
        limits = f" in [{low}, {high}]"
    wanted = _WANTED[declared.kind] + limits
    if declared.other is not None:
        several = typing.get_origin(declared.other) is tuple
        wanted += " or a list of texts" if several else " or an object of numbers"
    return wanted + (" or null" if declared.optional else "")


S = TypeVar("S")


def settings_from(cls: type[S], values: Mapping[str, Any]) -> S:
    """Build an instance of a settings class from plain data, such as a configuration file.

    Raises:
        UnknownNameError: A name is not a setting; the message suggests similar names.
        ConfigurationError: A value has the wrong type or is out of range.
    """
    declared = settings_of(cls)
    for name in values:
        if name not in declared:
            raise UnknownNameError("configuration field", name, declared)
    lists = {name for name, d in declared.items() if d.several or d.other is not None}
    plain = {
        name: tuple(value) if name in lists and isinstance(value, list) else value
        for name, value in values.items()
    }
    return cls(**plain)


def plain_settings(settings: Any) -> dict[str, Any]:
    """The settings of an instance as plain data, the inverse of :func:`settings_from`."""
    values = {name: getattr(settings, name) for name in settings_of(type(settings))}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def differences(before: Any, after: Any, allowed: set[str]) -> Iterator[str]:
    """Yield the settings that differ, as ``name: before -> after``, except those in ``allowed``."""
    old, new = plain_settings(before), plain_settings(after)
    for name, value in old.items():
        if new[name] != value and name not in allowed:
            yield f"{name}: {value!r} -> {new[name]!r}"
