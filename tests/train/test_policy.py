"""The policy as a backbone: exact ids, own chance, and processes in lockstep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch

from agemem.agents.backbones.base import Completion, Request, Sampling
from agemem.train.policy import Generate, Generation, PolicyBackbone
from agemem_envs.errors import PromptTooLongError
from tests.conftest import not_none
from tests.train.toy import byte_tokenizer

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id


def request(text: str) -> Request:
    return Request([{"role": "user", "content": text}], seed=0)


def policy(
    generate: Generate, longest: int = 1_000, lockstep: Callable[[bool], bool] | None = None
) -> PolicyBackbone:
    return PolicyBackbone(TOKENIZER, generate, (END,), longest, lockstep=lockstep)


def random_ids(prompts: list[list[int]]) -> Generation:
    return [torch.randint(0, 200, (5,)).tolist() for _ in prompts], None


def test_ids_are_kept_exactly_as_sampled() -> None:
    # Two byte tokens that would be encoded otherwise, a cut-off reply, and one that ended.
    said = [[195, 40, END], [72, 105]]
    one, two = cast(
        list[Completion],
        policy(lambda prompts: (said, None)).generate([request("a"), request("b")], Sampling()),
    )
    assert one.completion_ids == (195, 40, END)
    assert (one.finish_reason, two.finish_reason) == ("stop", "length")
    assert two.text == TOKENIZER.decode([72, 105])
    prompt_ids = list(not_none(one.prompt_ids))
    prompt = cast(str, TOKENIZER.decode(prompt_ids))
    assert prompt.endswith("a<|im_end|>\n<|im_start|>assistant\n")
    assert one.prompt_tokens == len(prompt_ids)


def test_chance_is_the_rounds_own() -> None:
    backbone = policy(random_ids)

    def play(seed: tuple[int, ...]) -> list[tuple[int, ...]]:
        backbone.begin(seed)
        replies = [backbone.generate([request("x")], Sampling())[0] for _ in range(2)]
        return [not_none(cast(Completion, reply).completion_ids) for reply in replies]

    before = torch.random.get_rng_state()
    first = play((0, 1, 0))
    torch.rand(1)
    assert play((0, 1, 0)) == first
    assert first[0] != first[1]
    assert play((0, 2, 0)) != first  # another optimizer step
    assert play((0, 1, 1)) != first  # another process: or a group would be alike in all of them
    torch.random.set_rng_state(before)
    play((0, 1, 0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_stages_that_a_group_shares_are_sampled_once() -> None:
    asked: list[int] = []

    def generate(prompts: list[list[int]]) -> Generation:
        asked.append(len(prompts))
        return random_ids(prompts)[0], [[float(number)] for number, _ in enumerate(prompts)]

    backbone = PolicyBackbone(TOKENIZER, generate, (END,), longest=60, shared_stages=2)
    texts = ["a", "b", "a", "c" * 100, "b"]

    def play(stage: int) -> list[object]:
        requests = [replace(request(text), stage=stage) for text in texts]
        replies = backbone.generate(requests, Sampling())
        assert isinstance(replies.pop(3), PromptTooLongError)
        return [(cast(Completion, one).completion_ids, cast(Completion, one).logprobs)
                for one in replies]  # fmt: skip

    a, b, again, b_again = play(2)
    assert (a, b) == (again, b_again)
    assert a != b
    a, b, again, b_again = play(3)
    assert a != again
    play(0)  # outside an episode
    assert asked == [2, 4, 4]


def test_a_prompt_beyond_the_window_is_the_agents_overflow() -> None:
    asked: list[int] = []

    def generate(prompts: list[list[int]]) -> Generation:
        asked.append(len(prompts))
        return random_ids(prompts)

    replies = policy(generate, longest=60).generate([request("a" * 100), request("b")], Sampling())
    assert isinstance(replies[0], PromptTooLongError)
    assert isinstance(replies[1], Completion)
    assert replies[1].completion_ids
    assert asked == [1]


def test_in_lockstep_every_process_generates_equally_often_with_its_own_prompts() -> None:
    asked: list[list[list[int]]] = []
    others = iter([True, True, True, False])  # whether another process has a live episode

    def generate(prompts: list[list[int]]) -> Generation:
        asked.append(prompts)
        return random_ids(prompts)

    backbone = policy(generate, lockstep=lambda live: next(others) or live)
    replies = backbone.generate([request("a"), request("b")], Sampling())
    assert len(replies) == 2
    backbone.finish()  # its own episodes are over, the others' go on
    assert [len(prompts) for prompts in asked] == [2, 0, 0]
