"""Log-probabilities of completions, of padded steps and of token trees alike."""

from __future__ import annotations

from typing import Any

import torch

from agemem.agents.trees.attention import tree_inputs
from agemem.train.samples import IGNORED, Tensors

_CHUNK = 256
"""Positions whose entropies are computed at once, to save memory."""


def completion_logprobs(
    model: torch.nn.Module,
    batch: Tensors,
    *,
    temperature: float,
    fused: bool,
    entropy: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probability and entropy of each completion token of a micro-batch.

    The language-model head is computed at the positions that predict a completion alone.

    Args:
        model: A causal language model with TRL's fused head, maybe wrapped.
        batch: By :func:`~agemem.train.samples.collate` or
            :func:`~agemem.train.trees.collate_tree`.
        temperature: What the logits are divided by.
        fused: Use TRL's fused head, which saves memory. Where there is no Triton it computes all
            positions.
        entropy: Whether to compute the entropies, which have no gradient.

    Returns:
        Both of the shape of ``predicting``, (S, T); None without ``entropy``.
    """
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"]}
    if "ends" in batch:
        inputs |= tree_inputs(batch["ends"])
        inputs["position_ids"] = batch["position_ids"]
    else:
        inputs["attention_mask"] = batch["attention_mask"]
    labels = batch["labels"]
    if fused:
        scored = model(**inputs, shift_labels=labels, fused_lm_head=True)
        logprobs, entropies = scored.log_probs, scored.entropy
    else:
        logprobs, entropies = _scored(model, inputs, labels, temperature, entropy)
    chosen = batch["predicting"]
    return logprobs.flatten()[chosen], entropies.flatten()[chosen] if entropy else None


def _scored(
    model: torch.nn.Module,
    inputs: dict[str, Any],
    labels: torch.Tensor,
    temperature: float,
    entropy: bool,
) -> tuple[torch.Tensor, torch.Tensor | Any]:
    """By the model's own head, at the columns in which any row has a label; both (B, N)."""
    columns = (labels != IGNORED).any(0).nonzero().squeeze(1)
    logits = model(**inputs, use_cache=False, logits_to_keep=columns).logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    scores = logits.log_softmax(-1)
    wanted = labels[:, columns].clamp(min=0).unsqueeze(-1)
    nothing = scores.new_zeros(labels.shape)
    logprobs = nothing.index_copy(1, columns, scores.gather(-1, wanted).squeeze(-1))
    if not entropy:
        return logprobs, None
    with torch.no_grad():
        parts = [-(part.exp() * part).sum(-1) for part in scores.split(_CHUNK, 1)]
    return logprobs, nothing.index_copy(1, columns, torch.cat(parts, 1))
