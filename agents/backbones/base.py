"""What a backbone is: prompts in, completions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from agemem_envs.context import ChatMessages
from agemem_envs.errors import EndpointError
from agemem_envs.tokens import TokenCounter


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        temperature: 0 is greedy decoding.
        top_p: Nucleus sampling; 1 keeps all.
        max_tokens: Most tokens of a completion (the paper trains with 2,048).
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2_048


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt.

    Attributes:
        messages: The chat.
        seed: Of the sampling; the same request with the same seed gives the same text,
            as far as the engine is deterministic.
        first: Whether an episode begins here. An engine with a prompt cache then starts
            anew, so that no result depends on which episodes were played before.
    """

    messages: ChatMessages
    seed: int
    first: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion.

    Attributes:
        text: What the model wrote, special tokens removed.
        prompt_tokens: As the engine counted them, or None.
        completion_tokens: Likewise.
        finish_reason: ``stop``, ``length`` or what a server said.
        seconds: Wall time of the call (of the whole batch, where calls are batched).
        prompt_ids: The prompt as the engine read it, for training; None if it was not kept.
        completion_ids: The tokens exactly as sampled, the end token included; likewise.
        logprobs: Of each completion token when it was sampled, where the engine gives them.
    """

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    seconds: float | None = None
    prompt_ids: tuple[int, ...] | None = None
    completion_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None


class Backbone(ABC):
    """A language model.

    Attributes:
        name: As recorded in results.
        engine: What runs it: ``openai``, ``llama.cpp``, ``transformers``, ``scripted``.
        constrained: Whether decoding is forced into the protocol.
    """

    name: str
    engine: str
    constrained: bool = False

    @abstractmethod
    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | EndpointError]:
        """Complete all prompts, in order.

        A request that failed for good gives its error in its place: the others must not
        suffer from it.
        """

    def token_counter(self) -> TokenCounter | None:
        """A counter with the model's own tokenizer, if it is at hand."""
        return None

    def close(self) -> None:
        """Release processes and memory. Calling it again has no effect."""
