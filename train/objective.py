"""The objective of step-wise GRPO on one micro-batch of steps. Pure.

``J = 1/|E| * sum over steps of mean over tokens of [min(rho * A, clip(rho) * A) - beta * KL]``
(AgeMem, section on step-wise GRPO; the clipping is PPO's, and idle in the paper's setting of
one update for each round of rollouts, where every ratio is 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Terms:
    """The components of a micro-batch's loss.

    Attributes:
        loss: A scalar; micro-batches of a round add up to the round's loss.
        sums: Of single tokens, by name, without gradient: ``kl``, ``clip_fraction``, with a
            correction ``importance``, and ``tokens`` to divide them by. Steps of weight 0 do not
            count.
    """

    loss: torch.Tensor
    sums: dict[str, torch.Tensor]


def stepwise_loss(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    reference: torch.Tensor | None,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    mask: torch.Tensor,
    *,
    beta: float,
    clip: tuple[float, float],
    correction: torch.Tensor | None = None,
) -> Terms:
    """The weighted loss of B steps of at most T completion tokens.

    Args:
        logprobs: Of the policy, with gradient, shape (B, T).
        old: Of the policy that sampled, without gradient, (B, T).
        reference: Of the reference policy, (B, T); None if ``beta`` is 0.
        advantages: Of each step's trajectory, (B,).
        weights: Of each step, (B,); they sum to 1 over a round and all processes.
        mask: 1 for a completion token, 0 for padding, (B, T).
        beta: Weight of the KL term.
        clip: How far the ratio may fall below and rise above 1.
        correction: Importance of each token where another engine sampled it, (B, T).
    """
    advantage = advantages.unsqueeze(1)
    ratio = torch.exp(logprobs - old)
    clipped = ratio.clamp(1 - clip[0], 1 + clip[1])
    per_token = -torch.min(ratio * advantage, clipped * advantage)
    if correction is not None:
        per_token = per_token * correction
    kl = torch.zeros_like(per_token)
    if reference is not None:
        gap = reference - logprobs
        kl = torch.exp(gap) - gap - 1  # Schulman's k3 estimator, as in GRPO
        per_token = per_token + beta * kl
    per_step = (per_token * mask).sum(1) / mask.sum(1).clamp(min=1)
    counted = mask * (weights > 0).unsqueeze(1)
    outside = ((ratio < 1 - clip[0]) & (advantage < 0)) | ((ratio > 1 + clip[1]) & (advantage > 0))
    sums = {
        "kl": (kl.detach() * counted).sum(),
        "clip_fraction": (outside * counted).sum(),
        "tokens": counted.sum(),
    }
    if correction is not None:
        sums["importance"] = (correction * counted).sum()
    return Terms(loss=(weights * per_step).sum(), sums=sums)


def truncated_importance(
    old: torch.Tensor, sampled: torch.Tensor, mask: torch.Tensor, largest: float
) -> torch.Tensor:
    """``min(p_train / p_engine, largest)`` of each token (truncated importance sampling).

    Args:
        old: Log-probabilities by the training engine, (B, T).
        sampled: By the engine that sampled; NaN where it gave none, which corrects nothing.
        mask: 1 for a completion token, 0 for padding.
        largest: The truncation.
    """
    return torch.nan_to_num((old - sampled) * mask, nan=0.0).exp().clamp(max=largest)
