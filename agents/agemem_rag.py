"""The -RAG variants: the policy stores, plain retrieval fills its context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from agemem.agents.agemem import AgeMemAgent
from agemem.agents.base import RolloutEnv, memory_env, with_recalled
from agemem_envs.context import ChatMessages
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

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Keep the environment, to retrieve from its memory."""
        self._env = memory_env(env)
        self._task = ""

    def act(self, observation: str, info: Mapping[str, Any]) -> ChatMessages:
        """The context, with what is retrieved for it."""
        chat = super().act(observation, info)
        last = chat[-1]["content"]
        if info["stage"] == Stage.REASONING and not self._task:
            self._task = last
        query = last if self._task in ("", last) else f"{self._task}\n{last}"
        visible = "\n".join(message["content"] for message in info["messages"])
        news = [text for text in self._env.recall(query) if text not in visible]
        return with_recalled(chat, news)
