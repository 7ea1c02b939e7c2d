"""The record of an evaluated episode: one line of ``episodes.jsonl``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agemem_envs.episode import FORMAT, Episode
from agemem_envs.errors import AgeMemError, DataFormatError
from agemem_envs.util.records import Int, Number, from_line, to_line

Key = tuple[str, int]
"""Identifies an episode within a run: the environment, and which of its episodes."""


@dataclass(frozen=True, slots=True)
class Result:
    """One episode as evaluated.

    Attributes:
        agent: Name of the agent.
        backbone: Name of the model, or ``none``.
        engine: The inference engine that ran it, or ``none``.
        constrained: Whether decoding was forced into the protocol.
        index: Which episode of its environment it is, from 0.
        seconds: Wall time from reset to reward, shared out over the episodes of a batch.
        episode: The whole record.
    """

    agent: str
    backbone: str
    engine: str
    constrained: bool
    index: Int
    seconds: Number
    episode: Episode

    @property
    def key(self) -> Key:
        """Identifies the episode within a run."""
        return self.episode.env_id, self.index

    @property
    def scored(self) -> bool:
        """Whether the episode says anything about the agent."""
        reason = self.episode.stop_reason
        return reason is not None and reason.scored

    @property
    def complete(self) -> bool:
        """Whether it is scored in full: nothing failed around the model."""
        return self.scored and not self.episode.errors

    def to_json(self) -> str:
        """One line of pure ASCII."""
        return to_line(self, FORMAT)

    @classmethod
    def from_json(cls, line: str | bytes) -> Result:
        """The inverse of :meth:`to_json`; also reads older formats.

        Raises:
            ValueError: The line is not a result, is of a newer format, or is the record of an
                episode that has not ended.
        """
        result, version = from_line(cls, line, FORMAT)
        if result.episode.stop_reason is None:
            raise ValueError("the episode has not ended")
        if version == FORMAT:
            return result
        return replace(result, episode=result.episode.upgraded(version))


@contextmanager
def consistent(episode: Episode) -> Iterator[None]:
    """Re-raise errors from computing on a recorded episode as DataFormatError.

    Raises:
        DataFormatError: The record contradicts itself.
    """
    try:
        yield
    except AgeMemError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataFormatError(
            f"{episode.env_id}, task {episode.task_id!r}: the record contradicts itself: "
            f"{error!r}. It was not written by this harness, or was damaged later."
        ) from error
