"""Paired tests of methods, and the correction for multiple tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agemem.eval.stats.resampling import CELLS_AT_ONCE
from agemem.eval.stats.sample import Array

SIGN_PATTERNS = 99_999
"""The number of random sign patterns: enough for a small p-value to survive a large family."""
ROUNDING = 1e-12
"""The relative error of a sum up to which it counts as equal."""


def permutation_p(differences: Sequence[float], seed: int = 0) -> float:
    """The two-sided p-value of a paired permutation test for a mean difference of zero.

    Under the null hypothesis each difference has either sign with equal probability. The test
    counts all sign patterns if there are at most :data:`SIGN_PATTERNS`, else that many random ones
    and the observed one. Differences of zero do not affect the p-value.

    Args:
        differences: One difference for each task.
        seed: The seed of the random patterns.
    """
    signed = np.array([value for value in differences if value != 0.0])
    if len(signed) < 2:
        return 1.0  # both signs of a single difference are equally extreme
    least = abs(signed.sum()) - ROUNDING * np.abs(signed).sum()
    if 2 ** len(signed) <= SIGN_PATTERNS:
        numbers = np.arange(2 ** len(signed))
        patterns = (numbers[:, None] >> np.arange(len(signed))) & 1
        return float(np.mean(np.abs(_sums(patterns, signed)) >= least))
    rng = np.random.default_rng(seed)
    step = max(1, CELLS_AT_ONCE // len(signed))
    extreme = 0
    for start in range(0, SIGN_PATTERNS, step):
        count = min(step, SIGN_PATTERNS - start)
        octets = rng.integers(256, size=-(-count * len(signed) // 8), dtype=np.uint8)
        negative = np.unpackbits(octets, count=count * len(signed)).reshape(count, -1)
        extreme += int(np.sum(np.abs(_sums(negative, signed)) >= least))
    return (1 + extreme) / (1 + SIGN_PATTERNS)


def _sums(negative: npt.NDArray[Any], values: Array) -> Array:
    """The sum of the values for each row of signs, 1 where the sign is turned."""
    sums: Array = values.sum() - 2.0 * (negative.astype(float) @ values)
    return sums


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for a family of tests (Holm 1979), in the same order."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(ranked):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted
