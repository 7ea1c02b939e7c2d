"""The model under training as a backbone, so that the one rollout loop plays it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from agemem.agents.backbones.base import Backbone, Completion, Request, Sampling
from agemem.agents.backbones.transformers_model import chat_text
from agemem_envs.errors import EndpointError, PromptTooLongError

Generation = tuple[list[list[int]], list[list[float]] | None]
"""Completion ids, end token included, and their log-probabilities where the engine gives them."""
Generate = Callable[[list[list[int]]], Generation]
"""From the ids of prompts to their completions."""


class PolicyBackbone(Backbone):
    """Completes a round's prompts in one batched generation by the trainer's own engine.

    Token ids are kept exactly as read and sampled: what is trained on is never re-encoded.
    Chance comes from ``seed`` and the number of the call alone, so that a resumed run samples
    what an uninterrupted one would have.

    Args:
        tokenizer: Of the model.
        generate: The trainer's generation. How it samples is the trainer's setting: the
            ``sampling`` of a call is not looked at.
        ends: Ids of the tokens that end a completion.
        longest: Most tokens of a prompt; a longer one is the agent's context overflow.
        agree: Given this process's number of prompts, the largest of all processes. None
            where processes need not generate in lockstep.

    Attributes:
        seconds: Spent in generation since :meth:`begin`.
    """

    engine = "trainer"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        generate: Generate,
        ends: Sequence[int],
        longest: int,
        agree: Callable[[int], int] | None = None,
    ) -> None:
        self.name = str(tokenizer.name_or_path)
        self._tokenizer = tokenizer
        self._generate = generate
        self._ends = frozenset(ends)
        self._longest = longest
        self._agree = agree
        self.begin((0,))

    def begin(self, seed: Sequence[int]) -> None:
        """A new round of rollouts, whose chance ``seed`` decides."""
        self._seed = tuple(seed)
        self._calls = 0
        self.seconds = 0.0

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | EndpointError]:
        """Complete all prompts in one batch."""
        prompts = [self._encode(request) for request in requests]
        fitting = [ids for ids in prompts if len(ids) <= self._longest]
        start = time.perf_counter()
        completions, logprobs = self._batch(fitting, len(requests)) or ([], None)
        seconds = time.perf_counter() - start
        self.seconds += seconds
        replies: list[Completion | EndpointError] = []
        # A lockstep batch was filled up: what was added comes last, and is dropped.
        scores: Sequence[list[float] | None] = logprobs or [None] * len(completions)
        done = zip(completions, scores, strict=True)
        for ids in prompts:
            if len(ids) > self._longest:
                text = f"the prompt has {len(ids)} tokens, the limit is {self._longest}"
                replies.append(PromptTooLongError(text))
            else:
                replies.append(self._completion(ids, *next(done), seconds))
        return replies

    def finish(self) -> None:
        """Keep in step with processes whose episodes still go on."""
        while self._agree is not None and self._batch([], 0) is not None:
            pass

    def _batch(self, prompts: list[list[int]], live: int) -> Generation | None:
        """One generation; None if there is nothing to do, here and in every other process."""
        width = len(prompts) if self._agree is None else self._agree(live)
        if width == 0:
            return None
        # The engines of several processes want the same number of prompts from each.
        filled = prompts + [[self._tokenizer.eos_token_id]] * (width - len(prompts))
        self._calls += 1
        words = np.random.SeedSequence([*self._seed, self._calls]).generate_state(1, np.uint64)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):  # the global generators are left as they were
            torch.manual_seed(int(words[0]))
            return self._generate(filled)

    def _encode(self, request: Request) -> list[int]:
        text = chat_text(self._tokenizer, request.messages)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _completion(
        self, prompt: list[int], ids: list[int], logprobs: list[float] | None, seconds: float
    ) -> Completion:
        finished = bool(ids) and ids[-1] in self._ends
        said = ids[:-1] if finished else ids
        return Completion(
            text=cast(str, self._tokenizer.decode(said, skip_special_tokens=True)),
            prompt_tokens=len(prompt),
            completion_tokens=len(ids),
            finish_reason="stop" if finished else "length",
            seconds=seconds,
            prompt_ids=tuple(prompt),
            completion_ids=tuple(ids),
            logprobs=None if logprobs is None else tuple(logprobs),
        )
