"""The serial engine: batch after batch, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.config import RunConfig
from eval.engines.base import Engine
from eval.plan import Batch, Plan
from eval.player import Player
from eval.results import Result


class SerialEngine(Engine):
    """One player, here.

    Args:
        config: What to play.
        plan: Its episodes.
    """

    def __init__(self, config: RunConfig, plan: Plan) -> None:
        self._player = Player(config, plan.sources)

    def play(self, batches: Sequence[Batch]) -> Iterator[Result]:
        """Play every batch, each episode yielded as it ends."""
        for batch in batches:
            yield from self._player.play(batch)

    def close(self) -> None:
        """Release environments and the backbone."""
        self._player.close()
