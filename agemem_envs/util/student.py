"""Student's t interval of a mean, shared by the reports of evaluation and training.

The other statistics are in ``eval/stats``, which training may not import.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agemem_envs.errors import require

Array = npt.NDArray[np.float64]


def student_interval(values: npt.ArrayLike) -> tuple[Array, Array]:
    """The mean of independent values and the half width of its 95% confidence interval.

    ``t(0.975, n - 1) * s / sqrt(n)`` with the sample standard deviation ``s`` (Student, "The
    probable error of a mean", Biometrika 6, 1908). It assumes that the values are normally
    distributed, and is meant for a few seeds of one training configuration.

    Args:
        values: Shape (n, ...), one row for each independent value, such as a seed.

    Returns:
        The mean and the half width, both of shape (...). The half width is NaN for fewer than
        two values, and so is the mean of none.
    """
    sample = np.asarray(values, dtype=float)
    count = len(sample)
    unknown = np.full(sample.shape[1:], np.nan)
    if count < 2:
        return (sample[0] if count else unknown), unknown
    stats = require("scipy.stats", extra="eval")
    error = sample.std(axis=0, ddof=1) / np.sqrt(count)
    return sample.mean(axis=0), error * stats.t.ppf(0.975, count - 1)
