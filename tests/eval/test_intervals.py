"""Intervals cover the truth as often as they say, by simulation."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import stats

from agemem.eval.stats.intervals import (
    Interval,
    average_interval,
    mean_interval,
    wilson_interval,
)
from agemem.eval.stats.sample import Array, Sample, make_sample
from agemem_envs.errors import DataFormatError
from tests.conftest import not_none

SIMULATED = 20_000
EXACT_OUTSIDE = {(100, 0.99)}
"""Where Wilson's own exact coverage is outside of [0.93, 0.97]: there it is 0.921."""


@functools.cache
def printed(successes: int, trials: int) -> Interval:
    """The interval that tables print for a number of successes on tasks played once."""
    values = [1.0] * successes + [0.0] * (trials - successes)
    return not_none(mean_interval(make_sample(values, range(trials)), share=True))


def exact_coverage(trials: int, share: float) -> float:
    """The coverage of Wilson's formula, as a sum of binomial probabilities."""
    covered = [
        k for k in range(trials + 1)
        if (ends := wilson_interval(k, trials))[0] <= share <= ends[1]
    ]  # fmt: skip
    return float(stats.binom.pmf(covered, trials, share).sum())


@pytest.mark.parametrize("trials", [40, 100])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.98, 0.99])
def test_printed_intervals_of_proportions_cover(trials: int, share: float) -> None:
    """The simulated coverage is Wilson's exact one, which is in [0.93, 0.97] but in one case."""
    episodes = np.random.default_rng(0).random((SIMULATED, trials)) < share
    ends = np.array([printed(int(k), trials) for k in range(trials + 1)])
    low, high = ends[episodes.sum(axis=1)].T
    coverage = float(np.mean((low <= share) & (share <= high)))
    exact = exact_coverage(trials, share)
    assert coverage == pytest.approx(exact, abs=4 * (exact * (1 - exact) / SIMULATED) ** 0.5)
    if (trials, share) in EXACT_OUTSIDE:
        assert exact == pytest.approx(0.9206, abs=1e-4)
    else:
        assert 0.93 <= coverage <= 0.97


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("repetitions", [1, 3])
def test_equal_values_leave_an_interval(value: float, repetitions: int) -> None:
    sample = make_sample([value] * 40 * repetitions, [*range(40)] * repetitions)
    assert mean_interval(sample, share=True) == pytest.approx(wilson_interval(40 * value, 40))


def test_almost_equal_values_leave_as_wide_an_interval() -> None:
    sample = make_sample([0.0] * 39 + [0.001], range(40))
    low, high = not_none(mean_interval(sample, share=True))
    assert low <= 0.001 / 40 <= high
    assert high == pytest.approx(wilson_interval(0, 40)[1], abs=0.001)


def clustered(values: Array, binary: bool = True) -> Sample:
    """A sample with one row for each training run."""
    return Sample(tuple(range(values.shape[1])), values, np.ones_like(values), binary)


def coverage(samples: list[Sample], truth: float, *, share: bool = True) -> float:
    ends = [not_none(mean_interval(sample, share=share)) for sample in samples]
    return float(np.mean([low <= truth <= high for low, high in ends]))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("likeness", [0.05, 0.5])
def test_intervals_of_repeated_tasks_cover(share: float, likeness: float) -> None:
    """40 tasks, three episodes each, whose chances of success have a beta distribution."""
    rng = np.random.default_rng(1)
    size = (1 - likeness) / likeness
    chances = rng.beta(share * size, (1 - share) * size, (2_000, 40))
    played = rng.binomial(3, chances).astype(float)
    samples = [
        Sample(tuple(range(40)), row[None], np.full((1, 40), 3.0), True) for row in played
    ]  # fmt: skip
    assert 0.93 <= coverage(samples, share) <= 0.985


@pytest.mark.parametrize(("a", "b"), [(5.0, 5.0), (1.0, 9.0), (0.2, 3.8)])
def test_intervals_of_fractions_cover(a: float, b: float) -> None:
    values = np.random.default_rng(2).beta(a, b, (2_000, 1, 40))
    assert 0.93 <= coverage([clustered(v, False) for v in values], a / (a + b)) <= 0.975


def test_intervals_of_counts_cover() -> None:
    values = np.random.default_rng(3).lognormal(6.0, 0.5, (2_000, 1, 40))
    truth = float(np.exp(6.125))
    assert 0.93 <= coverage([clustered(v, False) for v in values], truth, share=False) <= 0.97


def test_repeating_a_task_adds_no_certainty_if_it_ends_alike() -> None:
    once = make_sample([0.0] * 50 + [1.0] * 50, range(100))
    ten_times = make_sample(([0.0] * 50 + [1.0] * 50) * 10, [*range(100)] * 10)
    ends = [not_none(mean_interval(sample, share=True)) for sample in (once, ten_times)]
    assert ends[0] == pytest.approx(ends[1])


def test_repetitions_that_differ_add_certainty_up_to_their_number() -> None:
    values = np.random.default_rng(0).integers(2, size=400).astype(float)
    sample = make_sample(list(values), [*range(100)] * 4)
    low, high = not_none(mean_interval(sample, share=True))
    few, many = wilson_interval(50, 100), wilson_interval(200, 400)
    assert many[1] - many[0] <= high - low + 0.002
    assert high - low < 0.75 * (few[1] - few[0])


def test_what_has_no_interval() -> None:
    assert mean_interval(None, share=True) is None
    assert mean_interval(make_sample([1.0, 0.0], ["a", "a"]), share=True) is None  # one task
    assert mean_interval(make_sample([7.0, 7.0], ["a", "b"]), share=False) is None  # no spread


def test_students_interval_by_hand() -> None:
    """1, 2 and 3: the mean 2, the deviation 1, and t(0.975, 2) = 4.3027."""
    ends = mean_interval(make_sample([1.0, 2.0, 3.0], range(3)), share=False)
    half = 4.3027 / 3**0.5
    assert ends == pytest.approx((2.0 - half, 2.0 + half), abs=1e-4)


def test_a_share_beyond_its_bounds_is_an_error() -> None:
    with pytest.raises(DataFormatError, match=r"a share must be in \[0, 1\].* 1\.5"):
        mean_interval(make_sample([1.5, 0.5], ["a", "b"]), share=True)


def test_the_average_of_independent_parts() -> None:
    low, high = average_interval([0.5, 1.0], [(0.2, 0.8), (0.6, 1.0)])
    assert low == pytest.approx(0.75 - 0.25)  # sqrt(0.3^2 + 0.4^2) / 2
    assert high == pytest.approx(0.75 + 0.15)  # sqrt(0.3^2 + 0) / 2


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_over_training_seeds_cover(seeds: int) -> None:
    """Seeds and tasks move the chance of success. The bootstrap of both is never too narrow."""
    rng = np.random.default_rng(4)
    chances = 0.6 + rng.normal(0.0, 0.1, (60, seeds, 1)) + rng.normal(0.0, 0.1, (60, 1, 50))
    played = (rng.random((60, seeds, 50)) < chances).astype(float)
    assert coverage([clustered(values) for values in played], 0.6) >= 0.9
