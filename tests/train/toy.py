"""A toy model and environment: a random Qwen2 with a byte tokenizer, and a three-stage game.

The trainer and the rollout loop are the real ones. The policy's text decides when a stage of the
game ends, so that trajectories have unequal numbers of steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from agemem.agents.agemem import AgeMemAgent
from agemem.train.rollouts import RolloutPool
from agemem.train.samples import Tensors
from agemem.train.stepwise_grpo import StepwiseGRPOConfig, StepwiseGRPOTrainer
from agemem.train.tiny import CHAT_TEMPLATE
from agemem_envs.env import Transition
from agemem_envs.episode import DataSource, Episode, RewardBreakdown, Step, StopReason
from agemem_envs.stages import Stage
from tests.conftest import SETTINGS, not_none

SOURCE = DataSource("toy", "embedded", "train", "1", "tests")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bare = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(folder: Path) -> Path:
    """A random two-layer Qwen2, saved."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None, tie_word_embeddings=True,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class ToyEnv(gym.Env[str, str]):
    """Three stages of one to ``rounds`` steps; a text that begins with an even letter ends one.

    If it ``grows``, the context holds the steps of the stage so far, and their middle is forgotten
    when there are more than two.
    """

    env_id, source = "toy", SOURCE

    def __init__(self, rounds: int = 3, early: bool = True, grows: bool = False) -> None:
        self.rounds, self.early, self.grows = rounds, early, grows

    def settings(self) -> dict[str, Any]:
        return {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        self.id, self.seed = (options or {})["task_id"], seed
        self.stage, self.here = 1, 0
        self.said: list[str] = []
        self.stages: list[int] = []
        self.chat: list[dict[str, str]] = [{"role": "system", "content": "toy"}]
        return "", self._info()

    def _info(self) -> dict[str, Any]:
        content = f"{self.id} {self.seed} stage {self.stage} round {self.here}"
        messages = [*self.chat, {"role": "user", "content": content}]
        return {"messages": messages, "stage": self.stage}

    def step(self, action: str) -> Transition:
        self.said.append(action)
        self.stages.append(self.stage)
        if self.grows:
            self.chat = [*self._info()["messages"], {"role": "assistant", "content": action}]
            self.chat = self.chat[:1] + self.chat[3:] if len(self.chat) > 5 else self.chat
        self.here += 1
        if self.here >= self.rounds or (self.early and action[:1] and ord(action[0]) % 2 == 0):
            self.stage, self.here, self.chat = self.stage + 1, 0, self.chat[:1]
        info, done = self._info(), self.stage > 3
        if done:
            info["episode"] = self.record()
        return "", 0.0, done, False, info

    def overflow(self) -> Episode:
        return self.record()

    def record(self) -> Episode:
        text = "".join(self.said)
        total = sum(c.isascii() and c.isalnum() for c in text) / max(1, len(text))
        steps = tuple(
            Step(number, Stage(stage), (), 10, action)
            for number, (stage, action) in enumerate(zip(self.stages, self.said, strict=True))
        )
        return Episode(
            env_id="toy", task_id=self.id, seed=self.seed, source=SOURCE, category="",
            difficulty="", query="", reference="", gold_facts=(), key_items=(), settings=SETTINGS,
            steps=steps, stop_reason=StopReason.ANSWERED, success=total > 0.5, progress=total,
            reward=RewardBreakdown(total, total, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        )  # fmt: skip


def tasks(count: int) -> Dataset:
    return Dataset.from_list(
        [{"prompt": f"task{i}", "task_id": f"task{i}", "seed": i} for i in range(count)]
    )


def toy_trainer(
    model: Path, out: Path, *, peft: Any = None, kind: Any = StepwiseGRPOTrainer,
    envs: list[Any] | None = None, callbacks: Any = None, grows: bool = False,
    held_out: list[Any] | None = None, unseen: Any = None, pool: Any = None,
    dataset: Any = None, **options: Any,
) -> StepwiseGRPOTrainer:  # fmt: skip
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 8, "max_steps": 2, "max_completion_length": 8,
        "learning_rate": 1e-3, "save_strategy": "no", "use_cpu": True, "bf16": False,
        "max_grad_norm": 1e9, "disable_tqdm": True, "lr_scheduler_type": "constant",
    }  # fmt: skip
    config = StepwiseGRPOConfig(output_dir=str(out), **(defaults | options))
    trajectories = config.per_device_train_batch_size * config.gradient_accumulation_steps
    envs = envs or [ToyEnv(grows=grows) for _ in range(trajectories)]
    groups = config.max_steps * not_none(config.generation_batch_size) // config.num_generations
    trainer: StepwiseGRPOTrainer = kind(
        rollout_pool=pool or RolloutPool(envs, [AgeMemAgent() for _ in envs]),
        held_out_pool=held_out and RolloutPool(held_out, [AgeMemAgent() for _ in held_out]),
        model=str(model),
        args=config,
        train_dataset=dataset or tasks(groups),
        eval_dataset=unseen,
        processing_class=byte_tokenizer(),
        peft_config=peft,
        callbacks=callbacks,
    )
    return trainer


def scored_batches(trainer: StepwiseGRPOTrainer) -> list[Tensors]:
    """A list to which each micro-batch is added, with the log-probabilities to compare with."""
    seen: list[Tensors] = []
    scored = trainer._scored

    def remember(batch: Tensors) -> Tensors:
        seen.append(scored(batch))
        return seen[-1]

    trainer._scored = remember  # type: ignore[method-assign]
    return seen


class EngineSettings:
    """The settings of TRL's vLLM engine, for what stands in its place."""

    repetition_penalty = temperature = top_p = 1.0
    top_k, min_p, max_completion_length = 0, None, 8
    structured_outputs_regex = generation_kwargs = None
