"""The files that llama.cpp loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GGUF:
    """A model for llama.cpp.

    Attributes:
        model: Its GGUF file.
        adapter: The GGUF file of a low-rank adapter (LoRA) on top of it, or None.
    """

    model: Path
    adapter: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The model's file, then the adapter's."""
        return (self.model,) if self.adapter is None else (self.model, self.adapter)
