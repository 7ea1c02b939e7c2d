"""Settings: each is declared once, as a field of a frozen dataclass.

A declaration gives the type, the default, the range, the help text and the scope. From it follow

- the check of a value, wherever it comes from (:func:`check_settings`);
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
    """What a setting belongs to, and so which results it keeps apart."""

    TABLE = "table"
    """All results of a table share its value."""
    WORLD = "world"
    """The benchmark: all results of a table's column share its value."""
    METHOD = "method"
    """The method: it may differ between the rows of a table, never within one."""
    MODEL = "model"
    """The language model: all results of a table that use a model share its value."""
    TASKS = "tasks"
    """The choice of tasks. An episode records its own task and data, which keep it apart."""
    SUITE = "suite"
    """The choice of runs, each of which records its own method and model."""
    RUN = "run"
    """The execution: no result depends on it. It may change when a run is resumed."""


class Group(StrEnum):
    """The part of ``--help`` in which a setting is listed."""

    SUBJECT = "what is evaluated"
    MODEL = "what is trained"
    ENVIRONMENT = "on what"
    SCORING = "how it is scored and sampled"
    LEARNING = "how it learns"
    EXECUTION = "how it is run"


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of a setting, beside its name, type and default.

    Attributes:
        help: One phrase for ``--help``, without the default.
        scope: What it belongs to.
        group: Where ``--help`` lists it.
        low: The smallest number, or None.
        high: The largest number, or None.
        default_text: The default as ``--help`` shows it, where the value does not say it: what None
            means, for example. Empty to show none.
        none: The word for None on the command line, where None is not the default.
        flag: The command-line flag, where it is not made of the name.
        aliases: Older flags that are still understood.
        choices: The texts that are values; empty if any text may be one.
        repeated: Whether the flag may be given several times, one element of a tuple each.
        metavar: The placeholder of the value in ``--help``.
        summarized: Whether ``summary.csv`` has a column of it.
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
        default: The value where none is given.
        help: See :class:`Setting`, as for the other arguments.
        scope: What it belongs to.
        group: Where ``--help`` lists it.
        low: The smallest number.
        high: The largest number.
        options: The other attributes of :class:`Setting`.
    """
    declared = Setting(help, scope, group, low, high, **options)
    return dataclasses.field(default=default, metadata={"setting": declared})


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting of a class.

    Attributes:
        name: The field's name.
        kind: ``str``, ``int``, ``float`` or ``bool``; for a tuple, that of its elements.
        optional: Whether None is a value.
        several: Whether the value is a tuple.
        free: Whether the type has further alternatives, which are not checked here.
        value: The default.
        setting: The declaration.
    """

    name: str
    kind: type
    optional: bool
    several: bool
    free: bool
    value: Any
    setting: Setting

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return self.setting.flag or "--" + self.name.replace("_", "-")


_SETTINGS: dict[type, Mapping[str, Declared]] = {}


def settings_of(cls: type) -> Mapping[str, Declared]:
    """The settings that a dataclass declares, by name, in the order of their declaration."""
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
        free=len(kinds) > 1,
        value=field.default,
        setting=field.metadata["setting"],
    )


def in_scope(cls: type, *scopes: Scope) -> list[str]:
    """The names of a class's settings that have one of these scopes, in order."""
    return [name for name, d in settings_of(cls).items() if d.setting.scope in scopes]


def check_settings(settings: Any) -> None:
    """Check the type and range of every setting of a dataclass instance.

    Raises:
        ConfigurationError: A value has another type, or is out of range.
    """
    for name, declared in settings_of(type(settings)).items():
        value = getattr(settings, name)
        if declared.free and not isinstance(value, declared.kind):
            continue
        if value is None and declared.optional:
            continue
        if not _valid(value, declared):
            raise ConfigurationError(f"{name} must be {_wanted(declared)}, got {value!r}")


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
    return _WANTED[declared.kind] + limits + (" or null" if declared.optional else "")


S = TypeVar("S")


def settings_from(cls: type[S], values: Mapping[str, Any]) -> S:
    """An instance of a settings class from plain data, such as a configuration file.

    Raises:
        UnknownNameError: A name is not a setting; the message lists the closest ones.
        ConfigurationError: A value has another type, or is out of range.
    """
    declared = settings_of(cls)
    for name in values:
        if name not in declared:
            raise UnknownNameError("configuration field", name, declared)
    plain = {
        name: tuple(value) if declared[name].several and isinstance(value, list) else value
        for name, value in values.items()
    }
    return cls(**plain)


def plain_settings(settings: Any) -> dict[str, Any]:
    """The settings of an instance as plain data, the inverse of :func:`settings_from`."""
    values = {name: getattr(settings, name) for name in settings_of(type(settings))}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def differences(before: Any, after: Any, allowed: set[str]) -> Iterator[str]:
    """The settings that differ, as ``name: before -> after``, but for those in ``allowed``."""
    old, new = plain_settings(before), plain_settings(after)
    for name, value in old.items():
        if new[name] != value and name not in allowed:
            yield f"{name}: {value!r} -> {new[name]!r}"
