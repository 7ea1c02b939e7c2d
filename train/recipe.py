"""Recipes: an experiment as data. A warm start, arms that begin from it, and unseen tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem.train.config import read_yaml
from agemem_envs.errors import ConfigurationError

Settings = dict[str, Any]
PROGRAMS = ("sft", "grpo")
SECTIONS = ("setting", "held_out", "warm_start", "arms")


@dataclass(frozen=True, slots=True)
class Recipe:
    """An experiment.

    Attributes:
        setting: The settings of the environment, of all programs.
        held_out: The settings of the evaluation on unseen tasks.
        warm_start: The settings of the warm start, from which every arm begins.
        arms: The program and the settings of each arm, by its name. The text ``{warm_start}``
            stands for the folder of the warm start's model.
    """

    setting: Settings
    held_out: Settings
    warm_start: Settings
    arms: Mapping[str, tuple[str, Settings]]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. The programs check the settings themselves.

    Raises:
        ConfigurationError: The file cannot be read, or has another structure.
    """
    values = read_yaml(path)
    if not isinstance(values, dict) or set(values) != set(SECTIONS):
        raise ConfigurationError(f"{path} is not a recipe, which has {', '.join(SECTIONS)}")
    for name in SECTIONS:
        if not isinstance(values[name], dict):
            raise ConfigurationError(f"{path}: {name} holds no settings")
    arms = {}
    for name, given in values["arms"].items():
        program = given.get("program") if isinstance(given, dict) else None
        if program not in PROGRAMS:
            raise ConfigurationError(f"{path}: {name} needs a program, {' or '.join(PROGRAMS)}")
        arms[str(name)] = program, {key: v for key, v in given.items() if key != "program"}
    return Recipe(values["setting"], values["held_out"], values["warm_start"], arms)


def filled(settings: Settings, **values: object) -> Settings:
    """The settings with each text such as ``{warm_start}`` replaced by the value of that name."""
    texts = {f"{{{name}}}": value for name, value in values.items()}
    return {k: texts.get(v, v) if isinstance(v, str) else v for k, v in settings.items()}
