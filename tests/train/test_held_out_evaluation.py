"""Evaluation during training: on other tasks, greedily, without a trace in what is learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from datasets import Dataset
from transformers import AutoModelForCausalLM

from agemem.train.config import GRPOConfig
from agemem.train.log import read_log
from agemem.train.log_callback import TrainingLog
from agemem.train.run import check_checkpoint
from agemem.train.stepwise_grpo import UnscoredRoundError
from agemem_envs.errors import ConfigurationError
from tests.train.toy import ToyEnv, build_model, toy_trainer

UNSEEN = Dataset.from_list(
    [{"prompt": f"unseen{i}", "task_id": f"unseen{i}", "seed": i} for i in range(5)]
)


class Noted(ToyEnv):
    """A toy that notes its tasks and what is said in it."""

    played: list[tuple[str, str]]

    def record(self) -> Any:
        self.played.append((self.id, "".join(self.said)))
        return super().record()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("toy"))


def evaluated(model: Path, out: Path, **options: Any) -> tuple[Any, list[tuple[str, str]]]:
    played: list[tuple[str, str]] = []
    envs = [Noted(), Noted()]
    for env in envs:
        env.played = played
    given = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, **options}
    trainer = toy_trainer(
        model, out, held_out=envs, unseen=UNSEEN, callbacks=[TrainingLog(out)], **given
    )
    trainer.train()
    return trainer, played


def test_each_held_out_task_is_played_once_by_the_most_probable_tokens(
    model: Path, tmp_path: Path
) -> None:
    trainer, played = evaluated(model, tmp_path)
    names = [name for name, _ in played]
    assert sorted(names) == sorted(2 * [f"unseen{i}" for i in range(5)])
    lines = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(0.0 <= line["eval_reward/total"] <= 1.0 for line in lines)
    assert [entry["step"] for entry in read_log(tmp_path)] == [1, 2, 3, 4]
    # Greedily: the same once more, whatever the chance.
    torch.rand(7)
    again = trainer.evaluate()
    assert again["eval_reward/total"] == pytest.approx(lines[-1]["eval_reward/total"])
    assert sorted(played[5:10]) == sorted(played[10:])


def test_what_is_learned_does_not_depend_on_evaluations(model: Path, tmp_path: Path) -> None:
    trainer, _ = evaluated(model, tmp_path / "with")
    plain = toy_trainer(model, tmp_path / "without", max_steps=4)
    plain.train()
    for one, other in zip(trainer.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)


class Fading(ToyEnv):
    """Of two held-out tasks, whose reward halves with each evaluation but the second."""

    evaluations = 0

    def record(self) -> Any:
        type(self).evaluations += 1
        number = (self.evaluations + 1) // 2
        total = 1.0 if number == 2 else 0.5**number
        episode = super().record()
        assert episode.reward is not None
        return replace(episode, reward=replace(episode.reward, total=total))


def test_the_best_model_is_kept(model: Path, tmp_path: Path) -> None:
    trainer = toy_trainer(
        model, tmp_path, held_out=[Fading(), Fading()], unseen=UNSEEN.select([0, 1]), max_steps=4,
        eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
        save_total_limit=2, load_best_model_at_end=True, greater_is_better=True,
        metric_for_best_model="eval_reward/total",
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_metric == 1.0
    best = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    last = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-4")
    kept = list(trainer.model.parameters())
    assert all(map(torch.equal, kept, best.parameters()))
    assert not all(map(torch.equal, kept, last.parameters()))


def test_no_environments_for_it(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="held_out_pool"):
        toy_trainer(model, tmp_path, unseen=UNSEEN, eval_strategy="steps", eval_steps=1)


class Silent(ToyEnv):
    """A toy that the judge does not score."""

    def record(self) -> Any:
        return replace(super().record(), reward=None, success=None, errors=("the judge is down",))


def test_an_outage_during_an_evaluation_saves_the_state_and_says_so(
    model: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps",
        "save_steps": 2, "load_best_model_at_end": True, "metric_for_best_model": "eval_success",
    }  # fmt: skip
    trainer = toy_trainer(model, tmp_path, held_out=[Silent()], unseen=UNSEEN, **options)
    with pytest.raises(UnscoredRoundError, match="no held-out episode has eval_success"):
        trainer.train()
    check_checkpoint(tmp_path / "checkpoint-2")
    resumed = toy_trainer(model, tmp_path, held_out=[ToyEnv()], unseen=UNSEEN, **options)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4


def test_a_checkpoint_after_an_evaluation_can_be_resumed(model: Path, tmp_path: Path) -> None:
    """No episode of the toy has an exact match, for example."""
    trainer, _ = evaluated(model, tmp_path, save_strategy="steps", save_steps=2)
    assert "eval_em" not in trainer.evaluate()
    check_checkpoint(tmp_path / "checkpoint-2")
    check_checkpoint(tmp_path / "checkpoint-4")


@pytest.mark.parametrize("splits", [{"eval_split": "train"}, {"split": "validation"}])
def test_what_is_trained_on_is_not_evaluated(splits: dict[str, Any]) -> None:
    config = GRPOConfig(env="AgeMem-SyntheticQA-v0", eval_tasks=4, **splits)
    with pytest.raises(ConfigurationError, match="must be unseen"):
        config.held_out_rows()


def test_the_tasks_are_those_of_another_split() -> None:
    config = GRPOConfig(env="AgeMem-SyntheticQA-v0", eval_tasks=30, tasks=4)
    trained = {row["task_id"] for row in config.rows(40)}
    unseen = {row["task_id"] for row in config.held_out_rows()}
    assert len(trained) == 4
    assert len(unseen) == 30
    assert all(name.startswith("synthetic-validation-") for name in unseen)
