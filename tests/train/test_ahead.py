"""Rounds that a server plays while the one before is trained on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch

from agemem.agents.rollout import Rollout
from agemem.train.ahead import RoundAhead
from agemem.train.config import GRPOConfig
from agemem.train.samples import Tensors
from agemem.train.stepwise_grpo import StepwiseGRPOConfig, StepwiseGRPOTrainer
from agemem_envs.errors import AgeMemError, ConfigurationError
from tests.train.toy import EngineSettings, ToyEnv, build_model, scored_batches, tasks, toy_trainer

SECONDS = 60


class Server(EngineSettings):
    """In the place of TRL's client: it knows when it was asked."""

    def __init__(self, trainer: StepwiseGRPOTrainer) -> None:
        self.vllm_client = self
        self._trainer = trainer
        self._busy = 0
        self.synced: list[int] = []
        self.steps: dict[str, int] = {}
        """The number of the newest weights, by the task that was asked about."""
        self.asked = threading.Condition()

    def sync_weights(self) -> None:
        assert self._busy == 0, "the weights changed under a request"
        self.synced.append(self._trainer.state.global_step)

    def generate(self, prompts: list[list[int]], **_: Any) -> dict[str, Any]:
        with self.asked:
            self._busy += 1
        texts = self._trainer._tokenizer.batch_decode(prompts)
        with self.asked:
            for text in texts:
                task = next(word for word in text.split() if "task" in word)
                self.steps.setdefault(task.rpartition("\n")[2], self.synced[-1])
            self._busy -= 1
            self.asked.notify_all()
        return {
            "completion_ids": [[65 + len(text) % 2, 256] for text in texts],
            "logprobs": [[[-1.0], [-2.0]] for _ in texts],
        }


class Waiting(StepwiseGRPOTrainer):
    """Its update of a round waits until the server was asked for the next one."""

    server: Server
    rounds: int

    def _compute_loss(self, model: torch.nn.Module, inputs: Tensors) -> torch.Tensor:
        coming = f"task{self.state.global_step + 1}"
        with self.server.asked:
            if self.state.global_step + 1 < self.rounds:
                asked = self.server.asked.wait_for(lambda: coming in self.server.steps, SECONDS)
                assert asked, f"{coming} was not played ahead"
        return super()._compute_loss(model, inputs)


def ahead_trainer(tmp_path: Path, **options: Any) -> Waiting:
    trainer = toy_trainer(
        build_model(tmp_path / "model"), tmp_path, kind=Waiting, max_steps=3, **options
    )
    assert isinstance(trainer, Waiting)
    trainer.server, trainer.rounds = Server(trainer), 3
    # As GRPOTrainer leaves them where vLLM is installed.
    trainer.use_vllm, trainer.vllm_mode, trainer._last_loaded_step = True, "server", -1
    trainer.vllm_generation = trainer.server  # type: ignore[assignment]
    trainer.vllm_importance_sampling_correction = True
    trainer._ahead = RoundAhead(trainer._play_round)
    trainer._policy = trainer._make_policy()
    return trainer


def test_the_next_round_is_played_during_the_update(tmp_path: Path) -> None:
    trainer = ahead_trainer(tmp_path)
    trainer.train()
    assert trainer.server.steps == {"task0": 0, "task1": 0, "task2": 1}, "one step older"
    assert trainer.server.synced == [0, 1, 2]
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["staleness"] for entry in entries] == [0.0, 1.0, 1.0]
    assert all("time/waiting" in entry for entry in entries)


def test_older_weights_are_corrected_for(tmp_path: Path) -> None:
    trainer = ahead_trainer(tmp_path)
    seen = scored_batches(trainer)
    trainer.train()
    limit = trainer.vllm_importance_sampling_clip_max
    for batch in seen:
        kept = batch["completion_mask"] == 1
        ratio = (batch["old_logprobs"] - batch["sampled_logprobs"]).exp().clamp(max=limit)
        assert torch.allclose(batch["correction"][kept], ratio[kept])


def test_an_evaluation_waits_for_the_round(tmp_path: Path) -> None:
    trainer = ahead_trainer(
        tmp_path, eval_strategy="steps", eval_steps=1, held_out=[ToyEnv()], unseen=tasks(1)
    )
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["staleness"] for entry in entries] == [0.0, 1.0, 1.0], "its round is kept"


def test_other_rows_are_not_what_was_played() -> None:
    played: list[Rollout] = []

    def play(rows: Sequence[dict[str, Any]], step: int) -> list[Rollout]:
        if step == 13:
            raise AgeMemError("the server is down")
        return played

    ahead = RoundAhead(play)
    assert ahead.take([{"seed": 1}]) is None
    ahead.start([{"seed": 1}], 0)
    assert ahead.take([{"seed": 1}]) is played
    ahead.start([{"seed": 1}], 1)
    assert ahead.take([{"seed": 2}]) is None, "a repetition has other seeds"
    ahead.start([{"seed": 1}], 13)
    ahead.wait()
    with pytest.raises(AgeMemError, match="the server is down"):
        ahead.take([{"seed": 1}])


def test_what_cannot_play_ahead_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--vllm server"):
        GRPOConfig(backbone="qwen3-4b", ahead=True)
    with pytest.raises(ConfigurationError, match="vLLM server alone"):
        StepwiseGRPOConfig(
            output_dir=str(tmp_path), max_steps=1, bf16=False, use_cpu=True, ahead=True
        )
