"""Student's t interval, by hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agemem_envs.util.student import student_interval

pytest.importorskip("scipy")


def test_the_interval_is_students() -> None:
    # mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.3027
    mean, width = student_interval([1.0, 2.0, 3.0])
    assert (mean, width) == pytest.approx((2.0, 4.30265 / math.sqrt(3)), rel=1e-4)


def test_one_value_has_no_interval() -> None:
    mean, width = student_interval([1.0])
    assert mean == 1.0
    assert math.isnan(width)
    assert all(math.isnan(value) for value in student_interval([]))


def test_rows_are_the_independent_values() -> None:
    # two seeds of three steps; t(0.975, 1) = 12.7062, standard errors 0.5, 0.5 and 2
    mean, width = student_interval([[0.0, 1.0, 2.0], [1.0, 2.0, 6.0]])
    assert mean.tolist() == [0.5, 1.5, 4.0]
    assert width == pytest.approx(np.array([6.3531, 6.3531, 25.4124]), rel=1e-4)
