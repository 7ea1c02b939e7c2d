"""The -RAG variants: the policy stores memories, and plain retrieval shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from agemem.agents.agemem import AgeMemAgent
from agemem.agents.base import RolloutEnv, memory_env
from agemem_envs.context import ChatMessages
from agemem_envs.stages import Stage


class AgeMemRAGAgent(AgeMemAgent):
    """AgeMem without short-term tools: each prompt shows the most similar memories.

    The paper's ablation (its section on STM management). The four long-term tools are on;
    retrieval replaces Summary and Filter. Each prompt gets the memories most similar to the
    current context: to the last message and, in stage 3, the task. It gets at most the
    environment's ``top_k``. They are messages of the context, so they count in its tokens. The
    setting ``recalled`` says how long they stay:

    - ``replaced``: until the next prompt. Those that the context already shows are left out.
    - ``kept``: for good, as in the paper's released code: all of the ``top_k`` are appended after
      each message that arrives, before the first reply to it, and nothing is left out.

    Args:
        few_shot: Insert the examples of :class:`~agemem.agents.agemem.AgeMemAgent`.
    """

    tools: ClassVar[str | None] = "ltm"

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Keep the environment, to retrieve from its memory."""
        self._env = memory_env(env)
        self._kept = env.settings().recalled == "kept"
        self._task = ""
        self._question = 0

    def act(self, observation: str, info: Mapping[str, Any]) -> ChatMessages:
        """The context, with the memories retrieved for it."""
        chat = self._env.show_recalled(())
        last = chat[-1]["content"]
        if info.get("question", 0) != self._question:
            self._question, self._task = info["question"], ""
        if info["stage"] == Stage.REASONING and not self._task:
            self._task = last
        query = last if self._task in ("", last) else f"{self._task}\n{last}"
        recalled = self._env.recall(query)
        if not self._kept:
            visible = "\n".join(message["content"] for message in chat)
            recalled = [text for text in recalled if text not in visible]
        return super().act(observation, {**info, "messages": self._env.show_recalled(recalled)})
