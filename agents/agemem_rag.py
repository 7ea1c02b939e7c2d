"""The -RAG variants: the policy stores, plain retrieval fills its context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from agemem.agents.agemem import AgeMemAgent
from agemem.agents.recall import with_recalled
from agemem_envs.context import ChatMessages
from agemem_envs.env import MemoryEnv
from agemem_envs.stages import Stage


class AgeMemRAGAgent(AgeMemAgent):
    """AgeMem without short-term tools: at each step the most similar memories are shown.

    The paper's ablation (its section on STM management): the four long-term tools are on;
    Summary and Filter are replaced by retrieval, which appends to each prompt the memories
    most similar to the current context, here to the last message and, once it is known, the
    task. As many are shown as the environment's own retrieval would (``top_k``), but none
    that can be read in the context already. They are part of the prompt, not of the
    environment's context: they cost prompt tokens at each step, and no message holds them.

    Args:
        few_shot: As for :class:`~agemem.agents.agemem.AgeMemAgent`.
    """

    tools: ClassVar[str | None] = "ltm"

    def begin(self, env: MemoryEnv, seed: int) -> None:
        """Remember whose memory it is that :meth:`decide` retrieves from."""
        self._env = env
        self._task = ""

    def decide(self, observation: str, info: Mapping[str, Any]) -> ChatMessages:
        """The context, with what is retrieved for it."""
        chat = super().decide(observation, info)
        last = chat[-1]["content"]
        if info["stage"] == Stage.REASONING and not self._task:
            self._task = last
        wanted = last if self._task in ("", last) else f"{self._task}\n{last}"
        visible = "\n".join(message["content"] for message in info["messages"])
        return with_recalled(chat, [text for text in self._similar(wanted) if text not in visible])

    def _similar(self, wanted: str) -> list[str]:
        state = self._env.state
        assert state is not None, "begin() is called after reset()"
        return [hit.item.content for hit in state.memory.search(wanted, self._env.settings().top_k)]
