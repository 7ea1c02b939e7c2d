"""The policy on a server: no trajectory waits for another, and a failure ends only its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from agemem.agents.backbones.base import Completion, Request, Sampling
from agemem.train.policy import Generation
from agemem.train.served_policy import ServedPolicy
from agemem_envs.errors import EndpointError, PromptTooLongError
from tests.train.test_policy import END, TOKENIZER, request
from tests.train.toy import EngineSettings, build_model, toy_trainer

SECONDS = 60


class Server:
    """Answers one prompt at a time; ``slow`` prompts wait until ``quick`` ones were asked twice."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str] = []
        self._fails = fails
        self._turn = threading.Condition()

    def __call__(self, prompts: list[list[int]]) -> Generation:
        (text,) = TOKENIZER.batch_decode(prompts)
        with self._turn:
            self.asked.append(text)
            self._turn.notify_all()
            if self._fails and self._fails in text:
                raise EndpointError("the server is down")
            if "slow" in text:
                seen = self._turn.wait_for(lambda: self._count("quick") > 1, SECONDS)
                assert seen, "the others waited for this one"
            return [[72, 105, len(self.asked), END]], [[-0.5] * 4]

    def _count(self, word: str) -> int:
        return sum(word in text for text in self.asked)


def served(server: Any, **options: Any) -> ServedPolicy:
    return ServedPolicy(TOKENIZER, server, (END,), 1_000, **options)


def test_no_prompt_waits_for_another() -> None:
    backbone = served(Server())
    prompts = [request(text) for text in ("slow", "quick", "quick again")]
    replies = backbone.generate(prompts, Sampling())
    assert [type(reply) for reply in replies] == [Completion] * 3
    assert backbone.seconds > 0
    backbone.begin((0,))
    assert backbone.seconds == 0


def test_a_failure_is_the_reply_to_its_own_prompt() -> None:
    backbone = served(Server(fails="bad"))
    good, bad, long = backbone.generate(
        [request("good"), request("bad"), request("x" * 2_000)], Sampling()
    )
    assert isinstance(good, Completion)
    assert isinstance(bad, EndpointError)
    assert isinstance(long, PromptTooLongError)


def test_stages_that_a_group_shares_are_sampled_once() -> None:
    server = Server()
    backbone = served(server, shared_stages=2)

    def sampled(requests: Sequence[Request]) -> list[Any]:
        replies = backbone.generate(requests, Sampling())
        return [reply.completion_ids for reply in replies if isinstance(reply, Completion)]

    same = [replace(request("a"), stage=2)] * 3
    assert len(set(sampled(same))) == 1
    assert len(server.asked) == 1
    assert len(set(sampled([replace(request("a"), stage=3)] * 3))) == 3
    backbone.begin((1,))
    sampled(same)
    assert len(server.asked) == 5, "another round"
    later = [replace(one, seed=7) for one in same]
    assert sampled(same) != sampled(later), "an equal prompt of another step, or task"


def test_after_a_failure_a_shared_prompt_is_asked_again() -> None:
    class FailsOnce(Server):
        def __call__(self, prompts: list[list[int]]) -> Generation:
            result = super().__call__(prompts)
            if len(self.asked) == 1:
                raise EndpointError("the server is down")
            return result

    backbone = served(FailsOnce(), shared_stages=2)
    one = [replace(request("a"), stage=1)]
    assert isinstance(backbone.generate(one, Sampling())[0], EndpointError)
    assert isinstance(backbone.generate(one, Sampling())[0], Completion)


class Engine(EngineSettings):
    """In the place of TRL's client: its third request fails."""

    def __init__(self) -> None:
        self.vllm_client = self
        self.sizes: list[int] = []
        self._lock = threading.Lock()

    def sync_weights(self) -> None: ...

    def generate(self, prompts: list[list[int]], **_: Any) -> dict[str, Any]:
        with self._lock:
            self.sizes.append(len(prompts))
            if len(self.sizes) == 3:
                raise Exception("Request failed: 502")
        ids = [[65 + len(prompts[0]) % 3, 256] for _ in prompts]
        return {"completion_ids": ids, "logprobs": [[[-1.0], [-2.0]] for _ in prompts]}


def test_a_failed_request_costs_one_trajectory(tmp_path: Path) -> None:
    trainer = toy_trainer(build_model(tmp_path / "model"), tmp_path / "run", max_steps=1)
    # As GRPOTrainer leaves them where vLLM is installed.
    trainer.use_vllm, trainer.vllm_mode, trainer._last_loaded_step = True, "server", -1
    engine = Engine()
    trainer.vllm_generation = engine  # type: ignore[assignment]
    trainer._policy = trainer._make_policy()
    trainer.train()
    assert set(engine.sizes) == {1}
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert entry["samples"] == len(engine.sizes) - 1
    assert entry["success"] == 7 / 8
