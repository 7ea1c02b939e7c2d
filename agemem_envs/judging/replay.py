"""The long-term memory at any moment of a recorded episode, rebuilt from its tool results."""

from __future__ import annotations

from collections.abc import Iterator

from agemem_envs.episode import Episode, Step
from agemem_envs.stages import Stage

Memory = dict[str, str]
"""Contents by id, in the order in which they were added."""


def replay(episode: Episode) -> Iterator[tuple[Step, Memory]]:
    """Yield every step with the memory after it.

    It is one dictionary, which changes with the next step: copy what must stay.
    """
    memory: Memory = {}
    for step in episode.steps:
        for result in step.results:
            if not result.ok:
                continue
            if result.name in ("Add_memory", "Update_memory"):
                memory[str(result.data["memory_id"])] = str(result.data["content"])
            elif result.name == "Delete_memory":
                memory.pop(str(result.data["memory_id"]), None)
        yield step, memory


def memory_at_query(episode: Episode) -> list[str]:
    """The contents of the memory when stage 3 begins, or at the end if it never began.

    Of an agent with a memory system of its own, only the memory at the end is recorded.
    """
    before: Memory = {}
    last: Memory = {}
    for step, memory in replay(episode):
        last = memory
        if step.stage is not Stage.REASONING:
            before = dict(memory)
    if last == {item.id: item.content for item in episode.memories}:
        return list(before.values())
    return [item.content for item in episode.memories]
