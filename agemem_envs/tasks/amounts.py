"""How much the stages of a task tell."""

from __future__ import annotations

from dataclasses import dataclass, fields

from agemem_envs.errors import ConfigurationError


def check_counts(**counts: int) -> None:
    """Check numbers that must not be negative.

    Raises:
        ConfigurationError: One is; the message names the first.
    """
    for name, value in counts.items():
        if value < 0:
            raise ConfigurationError(f"{name} must be at least 0, got {value}")


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is told.

    Attributes:
        facts: The least number of statements in stage 1, 0 for those of one task alone.
        updates: How many of them change.
        distractors: The messages of stage 2, without late corrections.

    Raises:
        ConfigurationError: A number is negative.
    """

    facts: int
    updates: int
    distractors: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_counts(**self._counts)

    def differing(self, distractors: int) -> str:
        """The numbers as text; empty if they are 0, 0 and ``distractors``."""
        if self == Amounts(0, 0, distractors):
            return ""
        return ", ".join(f"{name}={value}" for name, value in self._counts.items())

    @property
    def _counts(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}
