"""Seeds of episodes: one run seed gives each of its episodes one of its own."""

from __future__ import annotations

SEED_STRIDE = 1_000_003
"""Separates the episode seeds of neighbouring run seeds."""


def episode_seed(run_seed: int, index: int) -> int:
    """The seed of a run's episode number ``index``."""
    return run_seed * SEED_STRIDE + index
