"""Group advantages and step weights, by hand-worked numbers."""

from __future__ import annotations

import math

import pytest
import torch

from agemem.train.advantages import EPSILON, flat_groups, group_advantages, step_weights

NAN = math.nan


def test_the_sample_deviation_normalises_a_group() -> None:
    # mean 2, squares 1 + 0 + 1, over K - 1 = 2: deviation 1
    got = group_advantages(torch.tensor([1.0, 2.0, 3.0]), 3)
    assert got.tolist() == pytest.approx([-1 / (1 + EPSILON), 0, 1 / (1 + EPSILON)])


def test_groups_do_not_mix() -> None:
    one = group_advantages(torch.tensor([0.0, 1.0]), 2)
    both = group_advantages(torch.tensor([0.0, 1.0, 100.0, 300.0]), 2)
    assert both[:2].tolist() == one.tolist()
    # deviation of (100, 300) is sqrt(2 * 100^2) = 141.42
    assert both[2:].tolist() == pytest.approx([-0.70710, 0.70710], abs=1e-4)


def test_equal_rewards_teach_nothing() -> None:
    rewards = torch.tensor([0.5, 0.5, 0.0, 1.0])
    assert group_advantages(rewards, 2)[:2].tolist() == [0.0, 0.0]
    assert flat_groups(rewards, 2).tolist() == [True, True, False, False]


def test_an_unscored_trajectory_takes_no_part() -> None:
    got = group_advantages(torch.tensor([1.0, NAN, 3.0]), 3)
    assert got[[0, 2]].tolist() == group_advantages(torch.tensor([1.0, 3.0]), 2).tolist()
    assert got[1].isnan()
    alone = group_advantages(torch.tensor([1.0, NAN]), 2)
    assert alone[0] == 0.0
    assert flat_groups(torch.tensor([1.0, NAN, NAN, NAN]), 2).tolist() == [True] * 4


def test_a_group_of_one_has_no_advantage() -> None:
    assert group_advantages(torch.tensor([0.7]), 1).tolist() == [0.0]


def test_every_step_has_equal_weight() -> None:
    steps, trained = torch.tensor([2, 6, 3]), torch.tensor([True, True, False])
    weights = step_weights(steps, trained)
    assert weights.tolist() == pytest.approx([1 / 8, 1 / 8, 0])


def test_or_every_trajectory() -> None:
    steps, trained = torch.tensor([2, 6, 3, 0]), torch.tensor([True, True, False, True])
    weights = step_weights(steps, trained, per_trajectory=True)
    # two trajectories with steps: 1/2 each, over 2 and 6 steps
    assert weights.tolist() == pytest.approx([1 / 4, 1 / 12, 0, 0])
    assert float((weights * steps).sum()) == pytest.approx(1)


def test_nothing_to_train_on_weighs_nothing() -> None:
    none = torch.tensor([False, False])
    for per_trajectory in (False, True):
        weights = step_weights(torch.tensor([2, 3]), none, per_trajectory=per_trajectory)
        assert weights.tolist() == [0, 0]
