"""The record of an evaluated episode: one line of ``episodes.jsonl``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agemem_envs.episode import FORMAT, Episode
from agemem_envs.errors import AgeMemError, DataFormatError
from agemem_envs.util.records import Int, Number, from_line, to_line

Key = tuple[str, int]
"""Identifies an episode within a run: the environment id and the episode's index."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one evaluated episode.

    Attributes:
        agent: Name of the agent.
        backbone: Name of the model, or ``none``.
        engine: The inference engine that ran the model, or ``none``.
        constrained: Whether a grammar constrained outputs to the protocol.
        index: Index among the run's episodes of the same environment, from 0.
        seconds: Wall time from reset to reward. Episodes that are played at the same time overlap.
        episode: The complete record of the episode.
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
        """The key of the episode within its run."""
        return self.episode.env_id, self.index

    @property
    def scored(self) -> bool:
        """Whether the outcome is attributed to the agent, and so scored."""
        reason = self.episode.stop_reason
        return reason is not None and reason.scored

    @property
    def complete(self) -> bool:
        """Whether the episode is fully scored, without failures outside the agent."""
        return self.scored and not self.episode.errors

    def to_json(self) -> str:
        """Encode as one line of ASCII JSON."""
        return to_line(self, FORMAT)

    @classmethod
    def from_json(cls, line: str | bytes) -> Result:
        """Decode a line: the inverse of :meth:`to_json`. Older formats are read, too.

        Raises:
            ValueError: The line is not a result, has a newer format, or records an episode that
                has not ended.
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
            f"{error!r}. The file was not written by this harness, or was damaged later."
        ) from error
