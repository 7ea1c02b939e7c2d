"""The loss of a micro-batch, by hand-worked numbers."""

from __future__ import annotations

import math

import pytest
import torch

from agemem.train.objective import Terms, stepwise_loss, truncated_importance
from tests.conftest import not_none

Matrix = list[list[float]]


def loss(
    logprobs: Matrix,
    old: Matrix,
    advantage: list[float],
    *,
    reference: Matrix | None = None,
    weights: list[float] | None = None,
    mask: Matrix | None = None,
    correction: Matrix | None = None,
) -> tuple[Terms, torch.Tensor]:
    """The terms, and the gradient of the loss with respect to the log-probabilities."""
    policy = torch.tensor(logprobs, requires_grad=True)
    terms = stepwise_loss(
        policy,
        torch.tensor(old),
        None if reference is None else torch.tensor(reference),
        torch.tensor(advantage),
        torch.tensor(weights or [1 / len(advantage)] * len(advantage)),
        torch.ones_like(policy) if mask is None else torch.tensor(mask),
        beta=0.5,
        clip=(0.2, 0.2),
        correction=None if correction is None else torch.tensor(correction),
    )
    terms.loss.backward()
    return terms, not_none(policy.grad)


def test_on_policy_it_is_minus_the_advantage() -> None:
    terms, gradient = loss([[-1.0, -2.0]], [[-1.0, -2.0]], [3.0])
    assert terms.loss.item() == pytest.approx(-3)
    assert gradient.tolist() == [[-1.5, -1.5]]  # -A / T


def test_the_mean_is_over_tokens_first_and_steps_then() -> None:
    # A step of one token and one of two: mean of (-1) and of (-2, -2), not of three tokens.
    same = [[-1.0, 0.0], [-1.0, -1.0]]
    terms, _ = loss(same, same, [1.0, 2.0], mask=[[1.0, 0.0], [1.0, 1.0]])
    assert terms.loss.item() == pytest.approx(-1.5)
    assert float(terms.sums["tokens"]) == 3


def test_kl_is_schulmans_k3() -> None:
    terms, _ = loss([[-1.0]], [[-1.0]], [0.0], reference=[[-2.0]])
    expected = math.exp(-1) - (-1) - 1  # e^gap - gap - 1 with gap = -1: 0.36788
    assert float(terms.sums["kl"]) == pytest.approx(expected)
    assert terms.loss.item() == pytest.approx(0.5 * expected)


def test_large_ratios_are_clipped_and_counted() -> None:
    double = math.log(2)
    terms, gradient = loss([[double]], [[0.0]], [1.0])
    assert terms.loss.item() == pytest.approx(-1.2)
    assert gradient.tolist() == [[0.0]]
    assert float(terms.sums["clip_fraction"]) == 1
    terms, gradient = loss([[double]], [[0.0]], [-1.0])  # pessimistic: not clipped on this side
    assert terms.loss.item() == pytest.approx(2.0)
    assert gradient.item() == pytest.approx(2.0)
    assert float(terms.sums["clip_fraction"]) == 0


def test_a_step_of_no_weight_has_no_gradient_and_no_count() -> None:
    terms, gradient = loss(
        [[-1.0], [-5.0]], [[-1.0], [-5.0]], [1.0, 9.0], weights=[1.0, 0.0],
        reference=[[-1.0], [-1.0]],
    )  # fmt: skip
    assert terms.loss.item() == pytest.approx(-1)
    assert gradient[1].tolist() == [0.0]
    assert float(terms.sums["tokens"]) == 1
    assert float(terms.sums["kl"]) == 0


def test_the_engines_importance_scales_the_surrogate_not_the_kl() -> None:
    terms, _ = loss([[-1.0]], [[-1.0]], [1.0], reference=[[-2.0]], correction=[[0.5]])
    assert terms.loss.item() == pytest.approx(-0.5 + 0.5 * math.exp(-1))
    assert float(terms.sums["importance"]) == 0.5


def test_importance_is_truncated_and_unknown_is_one() -> None:
    old = torch.tensor([[0.0, 0.0, 0.0, 5.0]])
    sampled = torch.tensor([[-math.log(2), -10.0, math.nan, 0.0]])
    got = truncated_importance(old, sampled, torch.tensor([[1, 1, 1, 0]]), 3.0)
    assert got[0].tolist() == pytest.approx([2.0, 3.0, 1.0, 1.0])
