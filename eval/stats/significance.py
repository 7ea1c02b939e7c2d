"""Paired tests of methods, and the correction for multiple tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agemem.eval.stats.intervals import CELLS_AT_ONCE, RESAMPLES


def permutation_p(differences: Sequence[float], seed: int = 0) -> float:
    """The two-sided p-value of a paired permutation test for a mean difference of zero.

    Under the null hypothesis each difference has either sign with equal probability. The test
    counts all sign patterns if there are at most :data:`RESAMPLES`, else that many random ones.
    Differences of zero do not affect the p-value.

    Args:
        differences: One difference for each task.
        seed: The seed of the random patterns.
    """
    signed = np.array([value for value in differences if value != 0.0])
    if len(signed) < 2:
        return 1.0  # both signs of a single difference are equally extreme
    from scipy import stats

    result = stats.permutation_test(
        (signed,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, CELLS_AT_ONCE // len(signed)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for a family of tests (Holm 1979), in the same order."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(ranked):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted
