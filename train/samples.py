"""Steps as training samples, and their micro-batches as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from trl.trainer.utils import pad

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Sample:
    """One step of a trajectory: a prompt of the model and its completion.

    Attributes:
        prompt: Token ids, as the engine read them.
        completion: Token ids, exactly as sampled, at least one.
        logprobs: The completion tokens' log-probabilities by the engine that sampled them; None
            if unknown.
        advantage: The advantage of the whole trajectory.
        weight: The sample's weight in the loss; 0 if it only fills a micro-batch.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    advantage: float
    weight: float

    @property
    def tokens(self) -> int:
        """The number of tokens of prompt and completion."""
        return len(self.prompt) + len(self.completion)


def micro_batches(
    samples: Sequence[Sample], size: int, count: int, filler: int
) -> list[list[Sample]]:
    """Split samples into ``count`` micro-batches of ``size``, sorted by length.

    Samples of weight 0 fill the last places: every process must run the model equally often,
    although trajectories have unequal numbers of steps.

    Args:
        samples: The samples of this process, at most ``size * count``.
        size: Number of samples in a micro-batch.
        count: Number of micro-batches, the same on every process.
        filler: The token id that a filling sample is made of.
    """
    empty = Sample((filler,), (filler,), None, 0.0, 0.0)
    missing = size * count - len(samples)
    ordered = [empty] * missing + sorted(samples, key=lambda sample: sample.tokens)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def collate(samples: Sequence[Sample], padding: int) -> Tensors:
    """Pad prompts on the left and completions on the right, and name the tensors as TRL does.

    Args:
        samples: B samples, of at most P prompt and T completion tokens.
        padding: The token id to pad with.

    Returns:
        ``prompt_ids`` and ``prompt_mask`` (B, P); ``completion_ids``, ``completion_mask`` and
        ``sampled_logprobs`` (B, T), NaN where unknown; ``advantages`` and ``weights`` (B,).
    """
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
