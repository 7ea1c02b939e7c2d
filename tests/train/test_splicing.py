"""Prompts with the sampled tokens of earlier steps: the same text, and the very tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agemem.agents.backbones.base import Request
from agemem.agents.backbones.chat_template import chat_text
from agemem.train.splicing import SampledPrompts
from agemem.train.tiny import CHAT_TEMPLATE
from agemem_envs.context import ChatMessages


def tokenizer() -> PreTrainedTokenizerFast:
    """Encodes "ab" and "abc" as one token, so that a model can sample otherwise."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: index for index, text in enumerate([*alphabet, "ab", "abc"])}
    bare = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b"), ("ab", "c")]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    bare.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, eos_token="<|im_end|>", chat_template=CHAT_TEMPLATE
    )


TOKENIZER = tokenizer()
A, B, C = (TOKENIZER.get_vocab()[letter] for letter in "abc")
END = TOKENIZER.eos_token_id


def user(text: str) -> ChatMessages:
    return [{"role": "user", "content": text}]


def said(text: str) -> ChatMessages:
    return [{"role": "assistant", "content": text}]


def plain(messages: ChatMessages, by: PreTrainedTokenizerFast = TOKENIZER) -> list[int]:
    return list(by(chat_text(by, messages), add_special_tokens=False)["input_ids"])


class Prompts(SampledPrompts):
    """Of chats."""

    def __init__(self, by: PreTrainedTokenizerFast = TOKENIZER) -> None:
        super().__init__(by, lambda request: plain(request.messages, by))

    def of(self, messages: ChatMessages) -> list[int]:
        return self.encode(Request(messages, seed=0))


def take(prompts: Prompts, messages: ChatMessages, ids: Sequence[int]) -> list[int]:
    """Sample a completion of a prompt; returns the tokens of both."""
    prompt, sampled = prompts.of(messages), list(ids)
    text = TOKENIZER.decode(sampled, skip_special_tokens=True)
    prompts.add(Request(messages, seed=0), prompt, sampled, str(text))
    return prompt + sampled


def test_the_next_prompt_begins_with_the_sampled_tokens() -> None:
    prompts = Prompts()
    first = take(prompts, user("abc"), [A, B, C])
    chat = [*user("abc"), *said("abc"), *user("abc")]
    second = take(prompts, chat, [A, B])
    assert second[: len(first) + 1] == [*first, END]
    assert second[:-2] != plain(chat)
    chat = [*chat, *said("ab"), *user("c")]
    assert prompts.of(chat)[: len(second) + 1] == [*second, END]
    assert TOKENIZER.decode(prompts.of(chat)) == TOKENIZER.decode(plain(chat))


def test_before_a_change_the_tokens_are_those_sampled_and_after_it_new() -> None:
    prompts = Prompts()
    first = take(prompts, user("x"), [A, B, C])
    chat = [*user("x"), *said("abc"), *user("forgotten"), *said("abc"), *user("y")]
    take(prompts, chat[:3], [A, B, C])
    without = [*chat[:2], *user("y"), *said("abc"), *user("z")]
    got = prompts.of(without)
    assert got[: len(first)] == first
    tail = plain(without)[len(plain(user("x"))) + 1 :]  # "abc" is one token
    assert got[len(first) :] == tail


@pytest.mark.parametrize(
    "chat",
    [
        [*user("other"), *said("abc"), *user("y")],
        [*user("x"), *said("abcd"), *user("y")],
        [*user("x\n\ny"), *said("abc"), *user("y")],
    ],
)
def test_another_chat_is_encoded_anew(chat: ChatMessages) -> None:
    prompts = Prompts()
    take(prompts, user("x"), [A, B, C])
    assert prompts.of(chat) == plain(chat)


def test_special_tokens_that_were_sampled_do_not_enter_a_prompt() -> None:
    prompts = Prompts()
    take(prompts, user("x"), [A, END, B, C])
    chat = [*user("x"), *said("abc"), *user("y")]
    assert prompts.of(chat) == plain(chat)


def test_a_template_that_rewrites_what_was_said_is_obeyed() -> None:
    rewriting = tokenizer()
    rewriting.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]"
        "{{ '' if m['role'] == 'assistant' else m['content'] }}{% endfor %}[assistant]"
    )
    prompts = Prompts(rewriting)
    take(prompts, user("x"), [A, B, C])
    chat = [*user("x"), *said("abc"), *user("y")]
    assert rewriting.decode(prompts.of(chat)) == "[user]x[assistant][user]y[assistant]"


def test_a_new_round_has_no_earlier_steps() -> None:
    prompts = Prompts()
    take(prompts, user("x"), [A, B, C])
    prompts.clear()
    chat = [*user("x"), *said("abc"), *user("y")]
    assert prompts.of(chat) == plain(chat)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=8), max_size=5))
def test_whatever_is_sampled_the_text_of_every_prompt_is_the_templates(
    completions: list[list[int]],
) -> None:
    prompts = Prompts()
    chat = user("abc")
    for ids in completions:
        take(prompts, chat, ids)
        text = str(TOKENIZER.decode(ids, skip_special_tokens=True))
        chat = [*chat, *said(text), *user("abc")]
        assert TOKENIZER.decode(prompts.of(chat)) == TOKENIZER.decode(plain(chat))
