"""The model under training as a backbone, for the rollout loop that evaluation uses too."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from agemem.agents.backbones.base import Backbone, Completion, Request, Sampling
from agemem.agents.backbones.chat_template import chat_ids
from agemem.train.splicing import SampledPrompts
from agemem_envs.errors import EndpointError, PromptTooLongError

Generation = tuple[list[list[int]], list[list[float]] | None]
"""Completion ids, end token included, and their log-probabilities where the engine gives them."""
Generate = Callable[[list[list[int]]], Generation]
"""From the ids of prompts to their completions."""


class PolicyBackbone(Backbone):
    """Completes a round's prompts in one batched generation by the trainer's own engine.

    Token ids are kept exactly as read and sampled: training never encodes a text again, nor does
    a prompt that continues an earlier step of the round. The
    random numbers depend only on ``seed`` and the number of the call, so that a resumed run
    samples the same tokens as an uninterrupted one.

    Args:
        tokenizer: The model's tokenizer.
        generate: The trainer's generation. The trainer's settings decide how it samples; the
            ``sampling`` of a call has no effect.
        ends: Ids of the tokens that end a completion.
        longest: Most tokens of a prompt; a longer one ends the episode by context overflow.
        lockstep: Returns whether any process has a live episode, given whether this one has.
            All processes then call ``generate`` equally often, some with no prompt. None where
            each process generates by itself.
        shared_stages: Stages in which equal prompts of a call get the same completion. The
            trajectories of a group, which begin alike, are then equal up to their end.

    Attributes:
        seconds: Time spent in generation since :meth:`begin`.
    """

    engine = "trainer"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        generate: Generate,
        ends: Sequence[int],
        longest: int,
        lockstep: Callable[[bool], bool] | None = None,
        shared_stages: int = 0,
    ) -> None:
        self.name = str(tokenizer.name_or_path)
        self._tokenizer = tokenizer
        self._generate = generate
        self._ends = frozenset(ends)
        self._longest = longest
        self._lockstep = lockstep
        self._shared_stages = shared_stages
        self._prompts = SampledPrompts(tokenizer, self._encode)
        self.begin((0,))

    def begin(self, seed: Sequence[int]) -> None:
        """Begin a round of rollouts, whose random numbers ``seed`` determines."""
        self._seed = tuple(seed)
        self._calls = 0
        self._prompts.clear()
        self.seconds = 0.0

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | EndpointError]:
        """Complete all prompts in one batch."""
        prompts = [self._prompts.encode(request) for request in requests]
        places = [
            self._place(number, *one)
            for number, one in enumerate(zip(requests, prompts, strict=True))
        ]
        fitting = {
            place: ids
            for place, ids in zip(places, prompts, strict=True)
            if len(ids) <= self._longest
        }
        start = time.perf_counter()
        completions, logprobs = self._batch(list(fitting.values()), True) or ([], None)
        seconds = time.perf_counter() - start
        self.seconds += seconds
        replies: list[Completion | EndpointError] = []
        scores: Sequence[list[float] | None] = logprobs or [None] * len(completions)
        done = dict(zip(fitting, zip(completions, scores, strict=True), strict=True))
        for place, request, ids in zip(places, requests, prompts, strict=True):
            if place in done:
                replies.append(self._completion(request, ids, *done[place], seconds))
            else:
                replies.append(self._too_long(ids))
        return replies

    def _too_long(self, ids: list[int]) -> PromptTooLongError:
        return PromptTooLongError(f"the prompt has {len(ids)} tokens; the limit is {self._longest}")

    def _place(self, number: int, request: Request, ids: list[int]) -> tuple[int, ...]:
        """What tells apart the completions of a call: those of shared stages, by the prompt."""
        return tuple(ids) if 0 < request.stage <= self._shared_stages else (-1, number)

    def finish(self) -> None:
        """Generate along with the processes whose episodes have not ended yet."""
        while self._lockstep is not None and self._batch([], False) is not None:
            pass

    def _batch(self, prompts: list[list[int]], live: bool) -> Generation | None:
        """One generation; None if there is nothing to generate, in any process in lockstep."""
        if not (prompts if self._lockstep is None else self._lockstep(live)):
            return None
        self._calls += 1
        words = np.random.SeedSequence([*self._seed, self._calls]).generate_state(1, np.uint64)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):  # leaves the global generators unchanged
            torch.manual_seed(int(words[0]))
            return self._generate(prompts)

    def _encode(self, request: Request) -> list[int]:
        return chat_ids(self._tokenizer, request.messages)

    def _completion(
        self,
        request: Request,
        prompt: list[int],
        ids: list[int],
        logprobs: list[float] | None,
        seconds: float,
    ) -> Completion:
        finished = bool(ids) and ids[-1] in self._ends
        said = ids[:-1] if finished else ids
        text = cast(str, self._tokenizer.decode(said, skip_special_tokens=True))
        self._prompts.add(request, prompt, said, text)
        return Completion(
            text=text,
            prompt_tokens=len(prompt),
            completion_tokens=len(ids),
            finish_reason="stop" if finished else "length",
            seconds=seconds,
            prompt_ids=tuple(prompt),
            completion_ids=tuple(ids),
            logprobs=None if logprobs is None else tuple(logprobs),
        )
