"""Group-relative advantages of whole trajectories, and the weight of each of their steps. Pure.

Source: AgeMem (arXiv 2601.01885), section on step-wise GRPO. The K rollouts of a task form a
group; a trajectory's advantage is its reward within the group, and every step of it, in all
stages, carries that advantage with equal weight.
"""

from __future__ import annotations

import torch

EPSILON = 1e-4
"""Keeps the division finite in a group of equal rewards."""


def group_advantages(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    """``(r - mean(G)) / (std(G) + eps)`` with the sample standard deviation (``K - 1``).

    A NaN reward (unscored: a judge or a simulator failed) takes no part in its group's
    statistics, and its advantage is NaN. In a group with fewer than two scored rewards there
    is nothing to compare: 0.

    Args:
        rewards: Shape (groups * group_size,), the trajectories of a group side by side.
        group_size: K, at least 1.

    Returns:
        The advantages, of the same shape.
    """
    groups = rewards.view(-1, group_size)
    scored = ~groups.isnan()
    count = scored.sum(1, keepdim=True)
    centred = groups - groups.nanmean(1, keepdim=True)
    squares = torch.where(scored, centred**2, 0.0).sum(1, keepdim=True)
    deviation = (squares / (count - 1).clamp(min=1)).sqrt()
    return (centred / (deviation + EPSILON)).view(-1)


def flat_groups(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    """Which trajectories are in a group whose scored rewards are all equal.

    Such a group has no preference to teach; its steps only pull towards the reference.

    Returns:
        Booleans of the shape of ``rewards``.
    """
    groups = rewards.view(-1, group_size)
    high = groups.nan_to_num(nan=-torch.inf).amax(1)
    low = groups.nan_to_num(nan=torch.inf).amin(1)
    return (high <= low).repeat_interleave(group_size)


def step_weights(
    steps: torch.Tensor, trained: torch.Tensor, *, per_trajectory: bool = False
) -> torch.Tensor:
    """The weight of each single step of each trajectory in the loss.

    Args:
        steps: Number of steps of each trajectory, shape (trajectories,).
        trained: Which trajectories take part, booleans of the same shape.
        per_trajectory: Give each trajectory the same weight, however many steps it took,
            instead of each step (the paper).

    Returns:
        Shape (trajectories,); weights times steps sum to 1, or are all 0 if there is no step.
    """
    used = torch.where(trained, steps, 0)
    if per_trajectory:
        taking_part = used > 0
        share = 1.0 / taking_part.sum().clamp(min=1)
        return torch.where(taking_part, share / used.clamp(min=1), 0.0)
    return torch.where(used > 0, 1.0 / used.sum().clamp(min=1), 0.0)
