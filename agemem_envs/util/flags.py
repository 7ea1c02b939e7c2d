"""Command-line flags, generated from the declarations of settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from dataclasses import is_dataclass
from typing import Any, TypeVar

from agemem_envs.settings import Declared, Group, settings_from, settings_of

S = TypeVar("S")


def add_flags(
    parser: argparse.ArgumentParser, cls: type, omit: Collection[str] = ()
) -> dict[Group, Any]:
    """Add a flag for every setting of a class, in the groups that the settings declare.

    Args:
        parser: The parser. The ``dest`` of each flag is the setting's name.
        cls: A settings class.
        omit: Names of settings that get no flag.

    Returns:
        The argument group for EXECUTION and for each other :class:`~agemem_envs.settings.Group` in
        use, so that a program can add flags of its own.
    """
    own_first = sorted(settings_of(cls).items(), key=lambda item: -_depth(cls, item[0]))
    declared = [d for name, d in own_first if name not in omit]
    used = {d.setting.group for d in declared} | {Group.EXECUTION}
    groups = {group: parser.add_argument_group(group.value) for group in Group if group in used}
    for one in declared:
        _add(groups[one.setting.group], one)
    return groups


def _depth(cls: type, name: str) -> int:
    """The number of classes in the MRO that lack the setting: largest for the class's own."""
    return sum(is_dataclass(c) and name not in settings_of(c) for c in cls.__mro__)


def from_flags(cls: type[S], options: argparse.Namespace, **overrides: Any) -> S:
    """Build an instance of a settings class from parsed flags.

    Args:
        cls: The class that the flags were generated from.
        options: Parsed flags; those that are not settings are ignored.
        overrides: Values that override the flags.

    Raises:
        ConfigurationError: A value is out of range.
    """
    values = {name: getattr(options, name) for name in settings_of(cls) if hasattr(options, name)}
    return settings_from(cls, values | overrides)


def _add(group: Any, declared: Declared) -> None:
    setting, options = declared.setting, dict[str, Any](dest=declared.name)
    if declared.kind is bool and not declared.value:
        options |= {"action": "store_true"}
    elif declared.kind is bool:
        options |= {"action": argparse.BooleanOptionalAction}
    else:
        options |= {"type": _reader(declared), "metavar": setting.metavar}
        if declared.kind in (int, float) and setting.metavar is None:
            options["metavar"] = "N" if declared.kind is int else "X"
        if setting.repeated:
            options["action"] = "append"
        elif declared.several:
            options["nargs"] = "+"
        if setting.choices:
            options["choices"] = setting.choices
    default = list(declared.value) if declared.several else declared.value
    text = {"default": default, "help": _help(declared)}
    group.add_argument(declared.flag, **options, **text)
    for alias in setting.aliases:
        hidden = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        group.add_argument(alias, **options, **hidden)


def _help(declared: Declared) -> str:
    text, default = declared.setting.help, declared.setting.default_text
    if default is None:
        default = _shown(declared.value)
    return (f"{text} ({default})" if default else text).replace("%", "%%")


def _shown(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _reader(declared: Declared) -> Callable[[str], Any]:
    """The function that converts the text of a flag to a value."""
    word = declared.setting.none
    if word is None:
        return declared.kind

    def read(text: str) -> Any:
        try:
            return None if text == word else declared.kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"expected a number or {word!r}, got {text!r}"
            ) from error

    return read
