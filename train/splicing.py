"""Prompts that hold the sampled tokens of earlier steps, instead of a new encoding of their text.

A tokenizer often encodes a sampled text in other tokens than those that were sampled. A prompt
that continues an earlier step then no longer begins with that step's tokens, which costs the
engine its prefix cache and the token tree a branch.
"""

from __future__ import annotations

from typing import Any

from agemem.agents.backbones.transformers_model import chat_text
from agemem_envs.context import ChatMessages

Chat = tuple[tuple[str, str], ...]


class SampledPrompts:
    """Encodes the prompts of a round; a prompt that continues a step begins with its tokens.

    The text of a prompt is that of the chat template in any case.

    Args:
        tokenizer: The model's tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._steps: dict[Chat, tuple[str, list[int]]] = {}

    def clear(self) -> None:
        """Forget all steps."""
        self._steps.clear()

    def add(self, messages: ChatMessages, prompt: list[int], said: list[int], text: str) -> None:
        """Remember a step.

        Args:
            messages: Its chat.
            prompt: The tokens of its prompt.
            said: The tokens of its completion, without an end token.
            text: The text of its completion.
        """
        chat = (*_chat(messages), ("assistant", text))
        self._steps.setdefault(chat, (chat_text(self._tokenizer, messages) + text, prompt + said))

    def encode(self, messages: ChatMessages) -> list[int]:
        """The tokens of a prompt."""
        text = chat_text(self._tokenizer, messages)
        plain = self._encode(text)
        chat = _chat(messages)
        for end in range(len(chat) - 1, 0, -1):
            before, ids = self._steps.get(chat[:end], (None, []))
            # Not if the template has changed the earlier messages, or says something else here.
            if before is not None and text.startswith(before):
                spliced = ids + self._encode(text[len(before) :])
                # Special tokens that a model sampled are not in the text of its completion.
                if self._tokenizer.decode(spliced) == self._tokenizer.decode(plain):
                    return spliced
        return plain

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _chat(messages: ChatMessages) -> Chat:
    return tuple((message["role"], message["content"]) for message in messages)
