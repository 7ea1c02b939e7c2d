"""Running summary: one text, which the model rewrites after every few messages."""

from __future__ import annotations

from typing import ClassVar

from agemem.baselines.base import TOP_K, MemorySystem
from agemem.baselines.gateway import Gateway
from agemem_envs.errors import EndpointError
from agemem_envs.tokens import ApproximateCounter
from agemem_envs.util.endpoint import ChatEndpoint

BUFFER_TOKENS = 200
"""Approximate tokens of new messages after which the summary is rewritten."""
MAX_TOKENS = 512
PROMPT = """\
Here is a summary of a conversation so far, and what was said since. Write one new summary that \
keeps every name, number, place and relation of both, and nothing else. Answer with the summary \
alone.

Summary so far:
{summary}

Said since:
{news}"""


class RunningSummary(MemorySystem):
    """Recalls one summary, and the messages since it was last rewritten.

    After a failed rewrite the old summary stays, and the next message causes another attempt.
    Nothing is lost until the prompt outgrows the model's window.

    Args:
        gateway: Gateway to the model that writes the summary.
        buffer_tokens: Tokens of new messages after which it is rewritten.
    """

    name: ClassVar[str] = "running-summary"
    uses_llm: ClassVar[bool] = True

    def __init__(self, gateway: Gateway, buffer_tokens: int = BUFFER_TOKENS) -> None:
        super().__init__()
        self._endpoint = ChatEndpoint("model", gateway.url(self), gateway.token, attempts=1)
        self._limit = buffer_tokens
        self._counter = ApproximateCounter()

    def reset(self) -> None:
        """Forget the summary and the messages."""
        self._summary = ""
        self._news: list[str] = []

    def observe(self, text: str) -> None:
        """Keep the message; rewrite the summary if the new messages are long enough."""
        self._news.append(text)
        if sum(map(self._counter.count, self._news)) >= self._limit:
            self._rewrite()

    def _rewrite(self) -> None:
        prompt = PROMPT.format(summary=self._summary or "(none)", news="\n".join(self._news))
        try:
            reply = self._endpoint.complete(
                [{"role": "user", "content": prompt}], temperature=0.0, max_tokens=MAX_TOKENS
            )
        except EndpointError:
            return  # the gateway has counted it
        if reply.text.strip():
            self._summary, self._news = reply.text.strip(), []
        else:
            self.usage.parse_failures += 1

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The summary and the messages since, for any query."""
        return self.memories()

    def memories(self) -> list[str]:
        """The summary and the messages since."""
        return [text for text in (self._summary, *self._news) if text]
