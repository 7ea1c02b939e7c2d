"""Chats in a model's template: their token ids, the template's arguments, what it must keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from agemem_envs.context import ChatMessages
from agemem_envs.errors import ConfigurationError
from agemem_envs.settings import Group, Scope, setting
from agemem_envs.util.cli import name_value
from agemem_envs.util.sanitize import sendable

FLAG = "--chat-template-arg"
_PRIVATE = 0xE000
"""The first of the characters that Unicode assigns no meaning."""
_ASKED: ChatMessages = [
    {"role": "system", "content": "rules"},
    {"role": "user", "content": "question"},
]
_REPLY = "<think>thought</think>\nreply"
_WENT_ON: ChatMessages = [
    *_ASKED,
    {"role": "assistant", "content": _REPLY},
    {"role": "user", "content": "next question"},
]


def template_setting(group: Group) -> Any:
    """The setting of the template's arguments, for a dataclass of settings."""
    return setting(
        (),
        "an argument of the model's chat template, with a JSON value: enable_thinking=false; may "
        "be repeated",
        Scope.METHOD,
        group,
        repeated=True,
        metavar="NAME=VALUE",
    )


def template_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """The arguments that texts of the form NAME=VALUE give.

    Raises:
        ConfigurationError: A text has another form, or its value is not JSON.
    """
    arguments = {}
    for text in texts:
        name, value = name_value(text, FLAG)
        if not name.isidentifier():
            raise ConfigurationError(f"{FLAG} {text}: {name!r} is not a name")
        try:
            arguments[name] = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigurationError(f"{FLAG} {text}: {value!r} is not JSON") from error
    return arguments


def set_arguments(tokenizer: Any, arguments: Mapping[str, Any]) -> None:
    """Fix arguments of the tokenizer's template, also in the models that are saved with it.

    Args:
        tokenizer: A tokenizer with a chat template.
        arguments: The values by name. The template of a saved model begins with them, so that
            whoever plays it, server or not, renders chats as they were in training.
    """
    fixed = "".join(
        f"{{%- set {name} = {_literal(value)} -%}}" for name, value in arguments.items()
    )
    tokenizer.chat_template = fixed + tokenizer.chat_template


def _literal(value: Any) -> str:
    """A JSON value in the language of templates, in which null is ``none``."""
    return "none" if value is None else json.dumps(value)


def check_template(tokenizer: Any, name: str) -> None:
    """Refuse a template that changes earlier turns when a chat goes on.

    The policy would not see what it has said, and no step would be the continuation of another.

    Args:
        tokenizer: The model's tokenizer.
        name: The model's name, for the message.

    Raises:
        ConfigurationError: The tokenizer has no template, or one that cannot be used.
    """
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise ConfigurationError(f"the tokenizer of {name} has no chat template")
    try:
        before, after = chat_text(tokenizer, _ASKED), chat_text(tokenizer, _WENT_ON)
    except TemplateError as error:
        raise ConfigurationError(f"the chat template of {name} fails: {error}") from error
    if not after.startswith(before + _REPLY):
        raise ConfigurationError(
            f"the chat template of {name} changes or drops earlier turns, such as the thoughts in "
            "them, when a chat goes on. Use a model that keeps them (of Qwen3, "
            "Qwen/Qwen3-4B-Instruct-2507), or a copy of the model's folder with a "
            "chat_template.jinja that writes each turn as it was"
        )


def chat_text(tokenizer: Any, messages: ChatMessages) -> str:
    """A chat in the model's template, up to the start of the assistant's reply."""
    clean = [{key: sendable(text) for key, text in message.items()} for message in messages]
    return str(tokenizer.apply_chat_template(clean, tokenize=False, add_generation_prompt=True))


def chat_ids(tokenizer: Any, messages: ChatMessages) -> list[int]:
    """The token ids of a chat, up to the start of the assistant's reply.

    The template alone writes special tokens: a message that contains ``<|im_end|>`` cannot end
    a turn, since its text is encoded as ordinary text.
    """
    special = [str(one) for one in tokenizer.added_tokens_decoder.values() if one.special]
    found = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")
    if not any(found.search(message["content"]) for message in messages):
        return _ids(tokenizer, chat_text(tokenizer, messages))
    mark = _unused_character(messages)
    hidden = [
        {**message, "content": found.sub(lambda hit: f"{mark}{special.index(hit[0])}{mark}",
                                         message["content"])}
        for message in messages
    ]  # fmt: skip
    ids: list[int] = []
    for index, part in enumerate(chat_text(tokenizer, hidden).split(mark)):
        if index % 2:  # between two marks
            ids += text_ids(tokenizer, special[int(part)])
        elif part:
            ids += _ids(tokenizer, part)
    return ids


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """The token ids of a text that a model reads or writes, in which nothing is special."""
    return _ids(tokenizer, sendable(text), split_special_tokens=True)


def _ids(tokenizer: Any, text: str, **options: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, **options)["input_ids"])


def _unused_character(messages: ChatMessages) -> str:
    used = set().union(*(message["content"] for message in messages))
    candidates: Iterator[str] = map(chr, count(_PRIVATE))
    return next(one for one in candidates if one not in used)
