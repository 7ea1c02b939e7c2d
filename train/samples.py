"""Steps as training samples, and their micro-batches as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from trl.trainer.utils import pad

Tensors = dict[str, torch.Tensor]
IGNORED = -100
"""The label of a position that predicts nothing that is trained on."""


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


def step_rows(samples: Sequence[Sample], size: int, budget: int | None) -> list[list[Sample]]:
    """Divide samples into micro-batches, sorted by length.

    Args:
        samples: The samples of this process.
        size: Most samples of a micro-batch.
        budget: Most tokens of a micro-batch, padding included, in the place of ``size``; a longer
            sample is a micro-batch of its own.
    """
    ordered = sorted(samples, key=lambda sample: sample.tokens)
    if budget is None:
        return [ordered[start : start + size] for start in range(0, len(ordered), size)]
    rows: list[list[Sample]] = []
    for sample in ordered:
        if rows and _padded([*rows[-1], sample]) <= budget:
            rows[-1].append(sample)
        else:
            rows.append([sample])
    return rows


def _padded(samples: Sequence[Sample]) -> int:
    prompt = max(len(sample.prompt) for sample in samples)
    return len(samples) * (prompt + max(len(sample.completion) for sample in samples))


def fill(rows: list[list[Sample]], count: int, filler: int) -> list[list[Sample]]:
    """Put micro-batches of weight 0 before the others.

    Every process must run the model equally often, although trajectories have unequal numbers of
    steps.

    Args:
        rows: The micro-batches of this process, at most ``count``.
        count: Number of micro-batches, the same on every process.
        filler: The token id that a filling sample is made of.
    """
    empty = Sample((filler,), (filler,), None, 0.0, 0.0)
    return [[empty] for _ in range(count - len(rows))] + rows


def collate(samples: Sequence[Sample], padding: int) -> Tensors:
    """Pad prompts on the left and completions on the right.

    Args:
        samples: S samples, of at most P prompt and T completion tokens.
        padding: The token id to pad with.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels`` (the token that a position predicts,
        :data:`IGNORED` where it is not a completion's), all (S, P + T); ``predicting`` (S, T), the
        position, counted through all rows, that predicts each completion token; and the
        :func:`loss_terms`.
    """
    prompts = [torch.tensor(sample.prompt) for sample in samples]
    completions = [torch.tensor(sample.completion) for sample in samples]
    prompt = pad(prompts, padding_value=padding, padding_side="left")
    completion = pad(completions, padding_value=padding)
    kept = pad([torch.ones_like(ids) for ids in completions])
    read = pad([torch.ones_like(ids) for ids in prompts], padding_side="left")
    first, width = prompt.size(1) - 1, prompt.size(1) + completion.size(1)
    labels = torch.full((len(samples), width), IGNORED)
    labels[:, first:-1] = completion.masked_fill(kept == 0, IGNORED)
    predicting = [
        row * width + first + torch.arange(len(one)) for row, one in enumerate(completions)
    ]
    return {
        "input_ids": torch.cat([prompt, completion], 1),
        "attention_mask": torch.cat([read, kept], 1),
        "labels": labels,
        **loss_terms(samples, predicting),
    }


def loss_terms(samples: Sequence[Sample], predicting: Sequence[torch.Tensor]) -> Tensors:
    """What the loss needs of S samples of at most T completion tokens.

    Args:
        samples: The samples.
        predicting: The position that predicts each completion token, of each sample.

    Returns:
        ``predicting``, ``completion_mask`` and ``sampled_logprobs`` (S, T), NaN where unknown;
        ``advantages`` and ``weights`` (S,).
    """
    sampled = [
        torch.tensor(sample.logprobs or [float("nan")] * len(sample.completion))
        for sample in samples
    ]
    return {
        "predicting": pad(list(predicting)),
        "completion_mask": pad([torch.ones_like(positions) for positions in predicting]),
        "sampled_logprobs": pad(sampled),
        "advantages": torch.tensor([sample.advantage for sample in samples]),
        "weights": torch.tensor([sample.weight for sample in samples]),
    }
