"""Token counters, which measure the cost of a text in the context."""

from __future__ import annotations

from typing import Any, Protocol

from agemem_envs.errors import ConfigurationError, UnknownNameError, require
from agemem_envs.util.sanitize import sendable

MESSAGE_OVERHEAD = 4
"""Tokens that a chat template spends on a message's role and delimiters (ChatML: 4 to 5)."""


class TokenCounter(Protocol):
    """Counts the tokens of a text.

    Attributes:
        name: Recorded in the settings of every episode.
    """

    name: str

    def count(self, text: str) -> int:
        """Count the tokens of ``text``; at least 0."""


class ApproximateCounter:
    """One token per four UTF-8 bytes, rounded up. Needs no tokenizer.

    This is the usual rule of thumb for byte-pair encodings of English; it overestimates other
    scripts. ``tests/envs/test_tokens.py`` compares it with a real tokenizer.
    """

    name = "approximate-utf8-bytes/4"

    def count(self, text: str) -> int:
        """Estimate the tokens of ``text``."""
        length = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return -(-length // 4)


class TokenizerCounter:
    """Counts with a Hugging Face tokenizer, without special tokens.

    Args:
        tokenizer: The tokenizer.
        name: Its hub id or path, for the record.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self.name = f"tokenizer:{name}"
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        """Count the tokens of ``text``; lone surrogates count as replacement characters."""
        clean = sendable(text)
        return len(self._tokenizer.encode(clean, add_special_tokens=False))


def make_token_counter(spec: str | TokenCounter) -> TokenCounter:
    """Make a counter from its name, or return the given one.

    Args:
        spec: ``"approximate"``, ``"tokenizer:<hub id or path>"``, or a counter.

    Raises:
        UnknownNameError: The name is unknown.
        ConfigurationError: The tokenizer cannot be loaded from this machine or the hub.
        MissingDependencyError: transformers is needed and not installed.
    """
    if not isinstance(spec, str):
        return spec
    if spec in ("approximate", ApproximateCounter.name):
        return ApproximateCounter()
    kind, _, path = spec.partition(":")
    if kind == "tokenizer" and path:
        transformers = require("transformers", extra="transformers")
        try:
            return TokenizerCounter(transformers.AutoTokenizer.from_pretrained(path), path)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the tokenizer {path!r} cannot be loaded: {str(error)[:200]}"
            ) from error
    raise UnknownNameError("token counter", spec, ["approximate", "tokenizer:<hub id or path>"])
