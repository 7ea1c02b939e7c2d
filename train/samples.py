"""Steps as training samples: micro-batches of equal number on every process, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from trl.trainer.utils import pad

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Sample:
    """One model call of one trajectory.

    Attributes:
        prompt: Token ids, as the engine read them.
        completion: Token ids, exactly as sampled, at least one.
        logprobs: Of the completion's tokens, by the engine that sampled; None if unknown.
        advantage: Of the whole trajectory.
        weight: In the loss; 0 for a sample that only fills a micro-batch.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    advantage: float
    weight: float

    @property
    def tokens(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt) + len(self.completion)


def micro_batches(
    samples: Sequence[Sample], size: int, count: int, filler: int
) -> list[list[Sample]]:
    """Split samples into ``count`` micro-batches of ``size``, those of like length together.

    What is missing is filled by samples of weight 0: every process must run the model equally
    often, although trajectories have unequal numbers of steps.

    Args:
        samples: Of this process, at most ``size * count``.
        size: Samples in a micro-batch.
        count: Micro-batches, the same on every process.
        filler: A token id.
    """
    empty = Sample((filler,), (filler,), None, 0.0, 0.0)
    missing = size * count - len(samples)
    ordered = [empty] * missing + sorted(samples, key=lambda sample: sample.tokens)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def collate(samples: Sequence[Sample], padding: int) -> Tensors:
    """Prompts padded on the left, completions on the right, under TRL's names."""
    prompts = [torch.tensor(sample.prompt) for sample in samples]
    completions = [torch.tensor(sample.completion) for sample in samples]
    sampled = [
        torch.tensor(sample.logprobs or [float("nan")] * len(sample.completion))
        for sample in samples
    ]
    return {
        "prompt_ids": pad(prompts, padding_value=padding, padding_side="left"),
        "prompt_mask": pad([torch.ones_like(ids) for ids in prompts], padding_side="left"),
        "completion_ids": pad(completions, padding_value=padding),
        "completion_mask": pad([torch.ones_like(ids) for ids in completions]),
        "sampled_logprobs": pad(sampled),
        "advantages": torch.tensor([sample.advantage for sample in samples]),
        "weights": torch.tensor([sample.weight for sample in samples]),
    }
