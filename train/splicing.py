"""Prompts that hold the sampled tokens of earlier steps, instead of a new encoding of their text.

A tokenizer often encodes a sampled text in other tokens than those that were sampled. A prompt
that continues an earlier step then no longer begins with that step's tokens, which costs the
engine its prefix cache and the token tree a branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agemem.agents.backbones.base import Request
from agemem_envs.context import ChatMessages

Chat = tuple[tuple[str, str], ...]


class SampledPrompts:
    """Encodes the prompts of a round; a prompt that continues a step begins with its tokens.

    The text of a prompt is that of the chat template in any case.

    Args:
        tokenizer: The model's tokenizer.
        encode: Encodes a prompt by its text alone.
    """

    def __init__(self, tokenizer: Any, encode: Callable[[Request], list[int]]) -> None:
        self._tokenizer = tokenizer
        self._encode = encode
        self._plain: dict[Chat, list[int]] = {}
        self._steps: dict[Chat, tuple[list[int], list[int]]] = {}

    def clear(self) -> None:
        """Forget all steps."""
        self._plain.clear()
        self._steps.clear()

    def encode(self, request: Request) -> list[int]:
        """The tokens of a prompt."""
        chat = _chat(request.messages)
        plain = self._plain[chat] = self._encode(request)
        for end in range(len(chat) - 1, 0, -1):
            encoded, sampled = self._steps.get(chat[:end], (None, []))
            # Not where the template rewrites what was said, or a token goes over its end.
            if encoded is not None and plain[: len(encoded)] == encoded:
                return sampled + plain[len(encoded) :]
        return plain

    def add(self, request: Request, prompt: list[int], said: list[int], text: str) -> None:
        """Remember a step.

        Args:
            request: The request, encoded before.
            prompt: The tokens of its prompt.
            said: The tokens of its completion, without an end token.
            text: The text of its completion.
        """
        tokens = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        encoded = list(tokens["input_ids"])
        # Special tokens that a model sampled are not in the text of its completion.
        if self._tokenizer.decode(said) == self._tokenizer.decode(encoded):
            chat = _chat(request.messages)
            step = (self._plain[chat] + encoded, prompt + said)
            self._steps.setdefault((*chat, ("assistant", text)), step)


def _chat(messages: ChatMessages) -> Chat:
    return tuple((message["role"], message["content"]) for message in messages)
