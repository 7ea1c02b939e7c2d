"""The trainer's gradient against a hand-written one; also run by torchrun, hence a program.

At each optimizer step: ``1/N * sum over steps of mean_t(-min(ratio * A, clip(ratio) * A) +
beta * KL)``, over all steps of all processes, computed one sample at a time on a plain copy of the
model. In double precision, unless it is asked otherwise.

    torchrun --nproc_per_node 2 tests/train/gradient_check.py MODEL OUT '{"option": value}'
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

import torch
from accelerate.utils import gather_object
from transformers import (
    AutoModelForCausalLM,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from agemem.agents.rollout import Rollout
from agemem.train.samples import Sample
from agemem.train.stepwise_grpo import StepwiseGRPOTrainer
from tests.train.toy import toy_trainer

BETA = 0.1


class Recording(StepwiseGRPOTrainer):
    """Keeps the samples of the round."""

    recorded: list[Sample]

    def _samples(self, played: list[Rollout]) -> tuple[list[Sample], list[float]]:
        self.recorded, advantages = super()._samples(played)
        return self.recorded, advantages


class Compare(TrainerCallback):
    trainer: Recording
    reference: torch.nn.Module

    def __init__(self) -> None:
        self.differences: list[float] = []
        self.counts: list[tuple[int, int]] = []
        self.old: list[torch.Tensor] = []

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trainer = self.trainer
        samples = gather_object(trainer.recorded)
        self.counts.append((len(trainer.recorded), len(samples)))
        model = trainer.accelerator.unwrap_model(trainer.model)
        got = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        if state.global_step % trainer.num_iterations == 0:  # the policy is the one that sampled
            with torch.no_grad():
                self.old = [logprobs(model, one.prompt, one.completion) for one in samples]
        want = by_hand(model, self.reference, samples, self.old)
        scale = max(g.abs().max() for g in want.values())
        worst = max((got[name] - want[name]).abs().max() for name in got)
        self.differences.append(float(worst / scale))
        assert got.keys() == want.keys()


def logprobs(
    model: torch.nn.Module, prompt: Sequence[int], completion: Sequence[int]
) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion]])
    scores = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    chosen: torch.Tensor = scores[range(len(completion)), list(completion)]
    return chosen


def by_hand(
    model: torch.nn.Module,
    reference: torch.nn.Module,
    samples: Sequence[Sample],
    old: Sequence[torch.Tensor],
) -> dict[str, torch.Tensor]:
    plain: Any = copy.deepcopy(model)
    plain.zero_grad()
    base = plain.get_base_model() if hasattr(plain, "peft_config") else plain
    base.__dict__.pop("forward", None)  # without TRL's fused head
    loss = torch.zeros(())
    for sample, before in zip(samples, old, strict=True):
        now = logprobs(plain, sample.prompt, sample.completion)
        gap = logprobs(reference, sample.prompt, sample.completion).detach() - now
        ratio = (now - before).exp()
        gain = torch.min(ratio * sample.advantage, ratio.clamp(0.8, 1.2) * sample.advantage)
        kl = gap.exp() - gap - 1
        loss = loss + (BETA * kl - gain).mean() / len(samples)
    loss.backward()
    return {n: p.grad for n, p in plain.named_parameters() if p.grad is not None}


def check(model: Path, out: Path, peft: Any = None, double: bool = True, **options: Any) -> Compare:
    """Train a little, comparing at every optimizer step."""
    compare = Compare()
    compare.reference = AutoModelForCausalLM.from_pretrained(model)
    trainer = toy_trainer(
        model, out, peft=peft, kind=Recording, callbacks=[compare], beta=BETA, **options
    )
    assert isinstance(trainer, Recording)
    compare.trainer = trainer
    if double:
        for one in (trainer.model, trainer.ref_model, compare.reference):
            if one is not None:
                one.double()
    trainer.train()
    return compare


if __name__ == "__main__":
    result = check(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3]))
    rank = result.trainer.accelerator.process_index
    line = json.dumps([rank, result.differences, result.counts])
    print(f"RESULT {line}", flush=True)
