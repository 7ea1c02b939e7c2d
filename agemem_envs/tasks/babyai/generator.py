"""BabyAI's levels in minigrid, and their games."""

from __future__ import annotations

import contextlib
import functools
import io
import sys

import gymnasium as gym

from agemem_envs.errors import SimulatorError, UnknownNameError, require
from agemem_envs.tasks.babyai.world import Game

PREFIX = "BabyAI-"
FLAWED = ("BabyAI-OpenDoorsOrderN2Debug-v0", "BabyAI-OpenDoorsOrderN4Debug-v0")
"""Levels most of whose missions are impossible: their strict verifier applies the toggle that
completes the first instruction to the second one too, which then fails."""
LARGE = frozenset(
    f"{PREFIX}{name}-v0"
    for name in (
        "FindObjS7 GoToImpUnlock GoToObjMaze GoToObjMazeOpen GoToObjMazeS6 GoToObjMazeS7 "
        "KeyCorridorS3R3 KeyCorridorS4R3 KeyCorridorS5R3 KeyCorridorS6R3 Pickup UnblockPickup"
    ).split()
)
"""Levels of many rooms with one instruction, in which a player who searches rarely does with
twice the actions of one who knows the places."""
RENAMED = {"BabyAI-GoToObjS6-v0": "BabyAI-GoToObjS4-v0"}
"""Ids in older versions of minigrid, and the levels with the same games now: S6 used to name
rooms of size 4."""


@functools.cache
def level_ids() -> tuple[str, ...]:
    """The ids of all BabyAI levels, sorted.

    Raises:
        MissingDependencyError: minigrid is not installed.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pygame prints a banner
        require("minigrid", extra="babyai")
    return tuple(sorted(name for name in gym.registry if name.startswith(PREFIX)))


def level_name(level: str) -> str:
    """The name without prefix and version: ``GoToObjS6`` for ``BabyAI-GoToObjS6-v1``."""
    return level.removeprefix(PREFIX).rpartition("-v")[0]


def make_game(level: str, seed: int) -> Game:
    """Make the game of a level with this seed, at its start.

    The image observation is not computed, because only the grid is read. minigrid's step limit
    is lifted, because it counts primitive steps, and one action has many of them.

    Raises:
        UnknownNameError: minigrid does not have the level.
        SimulatorError: minigrid cannot make the game.
        MissingDependencyError: minigrid is not installed.
    """
    if level not in level_ids():
        raise UnknownNameError("BabyAI level", level, level_ids())
    with contextlib.redirect_stdout(io.StringIO()):  # minigrid prints rejected samples
        try:
            game: Game = gym.make(level, disable_env_checker=True).unwrapped
            game.gen_obs = _no_image
            game.reset(seed=seed)
        except Exception as error:
            message = f"minigrid cannot make {level} with seed {seed}: {error!r}"
            raise SimulatorError(message) from error
    game.max_steps = sys.maxsize
    return game


def _no_image() -> dict[str, object]:
    return {}
