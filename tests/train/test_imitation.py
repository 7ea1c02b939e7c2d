"""Imitation: the same loss and gradient on trees and on padded steps, and a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainingArguments

from agemem.agents.trees.attention import use_tree_attention
from agemem.train.imitation import DemonstratedRows, ImitationTrainer
from agemem.train.packing import Packing
from agemem.train.samples import Sample
from agemem_envs.errors import ConfigurationError
from tests.train.toy import build_model

EPISODES = [
    [
        Sample((1, 2, 3), (4, 5, 6), None, 1.0, 1.0),
        Sample((1, 2, 3, 4, 5, 6, 7), (8, 9), None, 1.0, 1.0),
        Sample((1, 2, 9), (4,), None, 1.0, 1.0),
    ],
    [Sample((5, 6), (7, 8, 9, 10), None, 1.0, 1.0)],
]


def rows(trees: bool, budget: int = 100) -> DemonstratedRows:
    return DemonstratedRows(EPISODES, Packing(trees, budget, size=1, padding=0))


def trainer(model: Any, data: DemonstratedRows, out: Path) -> ImitationTrainer:
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=2, per_device_train_batch_size=1, save_steps=1,
        gradient_accumulation_steps=len(data), remove_unused_columns=False, use_cpu=True,
        learning_rate=1e-2, report_to="none", disable_tqdm=True, label_names=["labels"],
    )  # fmt: skip
    return ImitationTrainer(model=model, args=arguments, train_dataset=data)


def load(folder: Path, trees: bool = False) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    if trees:
        use_tree_attention(model)
    return model


def expected_loss(model: Any) -> torch.Tensor:
    """The mean over all completion tokens, of each step by itself."""
    scores = []
    for sample in (one for episode in EPISODES for one in episode):
        ids = torch.tensor([[*sample.prompt, *sample.completion]])
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)
        chosen = logprobs.gather(-1, ids[0, 1:, None]).squeeze(-1)
        scores.append(chosen[-len(sample.completion) :])
    return -torch.cat(scores).mean()


@pytest.mark.parametrize(("trees", "budget"), [(True, 100), (True, 5), (False, 100), (False, 8)])
def test_the_gradient_is_that_of_the_mean_over_completion_tokens(
    trees: bool, budget: int, tmp_path: Path
) -> None:
    folder = build_model(tmp_path / "toy")
    model, reference = load(folder, trees), load(folder)
    data = rows(trees, budget)
    ours = trainer(model, data, tmp_path / "out")
    count = sum(len(one.completion) for episode in EPISODES for one in episode)
    total = torch.zeros((), dtype=torch.float64)
    for index in range(len(data)):
        loss = ours.compute_loss(model, data[index], num_items_in_batch=count)
        loss.backward()
        total += loss.detach()
    wanted = expected_loss(reference)
    wanted.backward()
    assert total.item() == pytest.approx(wanted.item(), rel=1e-9)
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-8)


def test_training_lowers_the_loss_and_goes_on_exactly(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "toy")
    one, other = load(folder, trees=True), load(folder, trees=True)
    whole = trainer(one, rows(True), tmp_path / "whole")
    before = expected_loss(load(folder)).item()
    whole.train()
    assert expected_loss(load(tmp_path / "whole" / "checkpoint-2")).item() < before
    parts = trainer(other, rows(True), tmp_path / "parts")
    parts.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_tree_computes_what_is_shared_once() -> None:
    assert rows(True).tokens < rows(False).tokens
    assert len(rows(True)) == len(EPISODES)


def test_a_resumed_training_needs_the_same_rows(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    rows(True).begin(folder, resumed=False)
    rows(True).begin(folder, resumed=True)
    with pytest.raises(ConfigurationError, match="the demonstrations are not those with which"):
        rows(True, budget=5).begin(folder, resumed=True)
    rows(True, budget=5).begin(folder, resumed=False)  # nothing was learned from the others
    rows(True, budget=5).begin(folder, resumed=True)
