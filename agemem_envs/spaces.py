"""Spaces of arbitrary Unicode text (``gymnasium.spaces.Text`` knows only fixed alphabets)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from gymnasium.vector.utils import (
    create_empty_array,
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)

from agemem_envs.episode import ToolCall
from agemem_envs.tools import TOOLS
from agemem_envs.turns import Turn, render

_WORDS = ("the a in of near red green old tall river town song who wrote was born").split()


class UnicodeText(Space[str]):
    """Every string of at most ``max_length`` characters, lone surrogates included.

    Args:
        max_length: In characters; also the size of the buffers of asynchronous vector
            environments (4 bytes a character).
        sampler: Draws a sample from a generator; by default a few English words.
        seed: Seed of the space's own generator.
    """

    def __init__(
        self,
        max_length: int,
        sampler: Callable[[np.random.Generator], str] | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.max_length = max_length
        self._sampler = sampler or _sample_words
        super().__init__(shape=None, dtype=None, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """False: a text has no fixed-size array form."""
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        """Draw a random text.

        Raises:
            ValueError: A mask is given; this space has none.
        """
        if mask is not None or probability is not None:
            raise ValueError("UnicodeText.sample() takes no mask and no probability")
        return self._sampler(self.np_random)[: self.max_length]

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a string that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and self.max_length == other.max_length


def _sample_words(generator: np.random.Generator) -> str:
    return " ".join(generator.choice(_WORDS, size=int(generator.integers(1, 9))))


# Registered with Gymnasium so that `gym.make_vec` works in every mode, asynchronous
# environments with shared memory included. A buffer row: 4 bytes of length in bytes, then UTF-8.


@create_empty_array.register(UnicodeText)
def _create_empty_array(space: UnicodeText, n: int = 1, fn: Any = np.zeros) -> tuple[str, ...]:
    return ("",) * n


@create_shared_memory.register(UnicodeText)
def _create_shared_memory(space: UnicodeText, n: int = 1, ctx: Any = multiprocessing) -> Any:
    return ctx.Array("B", n * (4 + 4 * space.max_length))


@write_to_shared_memory.register(UnicodeText)
def _write_to_shared_memory(space: UnicodeText, index: int, value: str, memory: Any) -> None:
    row = _row(space, memory, index)
    text = value.encode("utf-8", "surrogatepass")
    row[:4] = len(text).to_bytes(4, "little")
    row[4 : 4 + len(text)] = text


@read_from_shared_memory.register(UnicodeText)
def _read_from_shared_memory(space: UnicodeText, memory: Any, n: int = 1) -> Sequence[str]:
    return _SharedTexts(space, memory, n)


class _SharedTexts(Sequence[str]):
    """The texts in a shared buffer, decoded on access.

    Gymnasium reads a buffer once, at the start, and expects the result to follow the buffer
    from then on, as an array does. A copy (Gymnasium's default) is a tuple of strings.
    """

    def __init__(self, space: UnicodeText, memory: Any, n: int) -> None:
        self._space, self._memory, self._n = space, memory, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self)[index]
        row = _row(self._space, self._memory, range(self._n)[index])
        size = int.from_bytes(row[:4], "little")
        return bytes(row[4 : 4 + size]).decode("utf-8", "surrogatepass")

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


def _row(space: UnicodeText, memory: Any, index: int) -> memoryview:
    size = 4 + 4 * space.max_length
    return memoryview(memory.get_obj()).cast("B")[index * size : (index + 1) * size]


def sample_action(generator: np.random.Generator, tools: Sequence[str]) -> str:
    """Draw a well-formed action: a call of one of ``tools`` with its example, or an answer."""
    choice = int(generator.integers(len(tools) + 1))
    if choice == len(tools):
        return render(Turn("I answer.", answer="the old river"))
    tool = TOOLS[tools[choice]]
    return render(Turn("I use a tool.", calls=(ToolCall(tool.name, tool.example),)))
