"""Seeds of episodes, derived from the seed of a run."""

from __future__ import annotations

SEED_STRIDE = 1_000_003
"""Distance between the episode seeds of consecutive run seeds."""


def episode_seed(run_seed: int, index: int) -> int:
    """The seed of a run's episode ``index``, counted from 0."""
    return run_seed * SEED_STRIDE + index
