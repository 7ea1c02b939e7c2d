"""BabyAI's levels as minigrid registers them, and one game of a level."""

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
"""Levels most of whose missions nobody can do: their strict verifier holds the toggle that
carries out the first instruction against the second one too, which it fails."""
RENAMED = {"BabyAI-GoToObjS6-v0": "BabyAI-GoToObjS4-v0"}
"""Ids of older minigrids, and what makes the same games now: S6 used to name rooms of size 4."""


@functools.cache
def level_ids() -> tuple[str, ...]:
    """The ids of all BabyAI levels, sorted.

    Raises:
        MissingDependencyError: minigrid is not installed.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pygame greets
        require("minigrid", extra="babyai")
    return tuple(sorted(name for name in gym.registry if name.startswith(PREFIX)))


def level_name(level: str) -> str:
    """``GoToObjS6`` for ``BabyAI-GoToObjS6-v1``: what stays the same over versions."""
    return level.removeprefix(PREFIX).rpartition("-v")[0]


def make_game(level: str, seed: int) -> Game:
    """A level's game with this seed, at its start.

    The observation picture is not computed, since all that is read is the grid; and the step
    limit is lifted, since it counts primitive steps, many of which make one of our actions.

    Raises:
        UnknownNameError: minigrid has no such level.
        SimulatorError: The level cannot be made.
        MissingDependencyError: minigrid is not installed.
    """
    if level not in level_ids():
        raise UnknownNameError("BabyAI level", level, level_ids())
    with contextlib.redirect_stdout(io.StringIO()):  # minigrid tells of rejected samples
        try:
            game: Game = gym.make(level, disable_env_checker=True).unwrapped
            game.gen_obs = _no_picture
            game.reset(seed=seed)
        except Exception as error:
            message = f"minigrid cannot make {level} with seed {seed}: {error!r}"
            raise SimulatorError(message) from error
    game.max_steps = sys.maxsize
    return game


def _no_picture() -> dict[str, object]:
    return {}
