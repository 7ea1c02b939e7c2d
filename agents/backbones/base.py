"""The interface of a backbone: prompts in, completions out."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from agemem_envs.context import ChatMessages
from agemem_envs.episode import SampledTokens
from agemem_envs.errors import EndpointError
from agemem_envs.tokens import TokenCounter
from agemem_envs.util import background

DTYPES = ("auto", "bfloat16", "float32")
"""The numbers that the weights of a model may have."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters.

    Attributes:
        temperature: 0 is greedy decoding.
        top_p: Nucleus sampling; 1 keeps all.
        max_tokens: Maximum tokens of a completion (the paper trains with 2,048).
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2_048


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt.

    Attributes:
        messages: The chat.
        seed: Sampling seed. The same request with the same seed gives the same text, as far
            as the engine is deterministic.
        first: Whether this is the first request of an episode. An engine with a prompt cache
            then ignores it, so that no result depends on the episodes played before.
        shared: Whether other episodes are played at the same time. An engine with one prompt cache
            then ignores it for the same reason.
        stage: The stage of the episode, 1 to 3; 0 outside an episode.
    """

    messages: ChatMessages
    seed: int
    first: bool = False
    shared: bool = False
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion.

    Attributes:
        text: The model's text, without special tokens.
        prompt_tokens: Tokens of the prompt by the engine's count, or None.
        completion_tokens: Tokens of the completion by the engine's count, or None.
        finish_reason: ``stop``, ``length`` or a server's own word.
        seconds: Wall time of the call (of the whole batch, where calls are batched).
        prompt_ids: Token ids of the prompt, for training; None if they were not kept.
        completion_ids: Token ids as sampled, with the end token; None if they were not kept.
        logprobs: Log-probability of each completion token when it was sampled, or None.
    """

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    seconds: float | None = None
    prompt_ids: tuple[int, ...] | None = None
    completion_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None

    @property
    def sampled(self) -> SampledTokens | None:
        """The tokens as an episode records them; None if the engine did not give them."""
        if self.completion_ids is None:
            return None
        return SampledTokens(self.completion_ids, self.prompt_ids, self.logprobs)


Reply = Completion | EndpointError
"""A completion, or why there is none."""


class Backbone(ABC):
    """A language model that completes prompts in batches.

    Attributes:
        name: The name recorded in results.
        engine: The engine: ``openai``, ``llama.cpp``, ``transformers``, ``scripted``.
        constrained: Whether decoding is forced into the protocol.
    """

    name: str
    engine: str
    constrained: bool = False

    @abstractmethod
    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Complete all prompts, in order.

        A request that fails for good gives its error in its place and does not affect the
        others.
        """

    def token_counter(self) -> TokenCounter | None:
        """A counter that uses the model's own tokenizer, or None if there is none here."""
        return None

    def close(self) -> None:
        """Release processes and memory. Calling it again has no effect."""


class ConcurrentBackbone(Backbone):
    """A language model that completes each prompt by itself, whatever else it is doing."""

    @abstractmethod
    async def complete(self, request: Request, sampling: Sampling) -> Reply:
        """Complete one prompt. It is awaited in the background loop, and must not hold it up."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Complete all prompts at the same time; the replies are in the order of the requests."""

        async def complete_all() -> list[Reply]:
            return list(await asyncio.gather(*(self.complete(r, sampling) for r in requests)))

        return background.run(complete_all())
