"""Paired bootstrap: shared tasks, training seeds, and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from agemem.eval.stats import resampling
from agemem.eval.stats.pairing import difference, paired, reduction, relative_gain
from agemem.eval.stats.resampling import draws, freedom
from agemem.eval.stats.sample import Array, Sample, make_sample
from tests.conftest import not_none


def sample(values: Array) -> Sample:
    """One row for each training run, one column for each task."""
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    return Sample(tuple(range(values.shape[1])), values, np.ones_like(values), binary)


def test_the_draws_have_the_variance_of_the_mean() -> None:
    """Drawing n - 1 of n leaves no bias: with five values it would be a fifth."""
    values = np.array([[1.0, 2.0, 4.0, 8.0, 16.0]])
    (means,) = draws([sample(values)])
    assert means.var() == pytest.approx(values.var(ddof=1) / 5, rel=0.05)


def test_seeds_are_drawn_before_tasks() -> None:
    """Seeds alone differ, so that a draw of one of two seeds is the mean of that seed."""
    values = np.array([[0.2] * 4, [0.6] * 4])
    (means,) = draws([sample(values)])
    assert set(means.round(9)) == {0.2, 0.6}


def test_methods_of_a_draw_share_its_tasks() -> None:
    values = np.random.default_rng(0).random((1, 20))
    first, second = draws([sample(values), sample(values + 1.0)])
    assert second - first == pytest.approx(np.ones(len(first)))


def test_shared_tasks_count_alone() -> None:
    first = not_none(make_sample([1.0, 0.0, 1.0], ["a", "b", "c"]))
    second = not_none(make_sample([0.0, 0.0, 1.0], ["b", "c", "d"]))
    found = not_none(paired([first], [second], difference, share=True))
    assert (found.value, found.tasks) == (0.5, 2)
    other = not_none(make_sample([1.0], ["e"]))
    assert paired([first], [other], difference, share=True) is None


def test_equal_pairs_leave_an_interval() -> None:
    ones = sample(np.ones((1, 40)))
    found = not_none(paired([ones], [ones], difference, share=True))
    assert found.value == 0.0
    assert -0.1 < not_none(found.low) < 0.0 < not_none(found.high) < 0.1


def test_equal_ratios_of_a_quantity_without_bounds_have_no_interval() -> None:
    tokens = sample(np.full((1, 5), 100.0))
    found = not_none(paired([tokens], [tokens], reduction, share=False))
    assert (found.value, found.low) == (0.0, None)


def test_reductions_and_relative_gains_by_hand() -> None:
    first, second = np.array([150.0, 1.0]), np.array([200.0, 0.0])
    assert reduction(first, second)[0] == 0.25
    assert relative_gain(first, second)[0] == -0.25
    assert np.isnan(reduction(first, second)[1])


def test_satterthwaite_by_hand() -> None:
    assert freedom([(1.0, 2.0), (1.0, 4.0)]) == pytest.approx(4 / (1 / 2 + 1 / 4))
    assert freedom([(1.0, 9.0), (0.0, 2.0)]) == 9.0


def test_training_seeds_widen_a_difference() -> None:
    rng = np.random.default_rng(0)
    base = sample(rng.random((1, 60)))
    steady = sample(np.tile(rng.random((1, 60)), (3, 1)))
    varied = sample(steady.totals + np.array([[-0.3], [0.0], [0.3]]))
    widths = []
    for method in (steady, varied):
        found = not_none(paired([method], [base], difference, share=False))
        widths.append(not_none(found.high) - not_none(found.low))
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.7), (0.95, 0.95), (0.99, 0.5)])
def test_paired_intervals_cover(
    monkeypatch: pytest.MonkeyPatch, first: float, second: float
) -> None:
    """Where methods hardly differ, the intervals are wider than they need to be."""
    monkeypatch.setattr(resampling, "RESAMPLES", 999)
    rng = np.random.default_rng(5)
    covered = []
    for seed in range(300):
        luck = rng.random((1, 40))
        other = np.where(rng.random((1, 40)) < 0.5, luck, rng.random((1, 40)))
        one, two = sample((luck < first).astype(float)), sample((other < second).astype(float))
        found = not_none(paired([one], [two], difference, share=True, seed=seed))
        covered.append(not_none(found.low) <= first - second <= not_none(found.high))
    assert np.mean(covered) >= 0.92


def test_the_same_seed_draws_the_same() -> None:
    values = sample(np.random.default_rng(0).random((2, 30)))
    assert (draws([values], 7)[0] == draws([values], 7)[0]).all()
    assert (draws([values], 7)[0] != draws([values], 8)[0]).any()
