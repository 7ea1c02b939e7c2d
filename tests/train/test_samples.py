"""Micro-batches: every sample once, equal numbers everywhere, padding that says nothing."""

from __future__ import annotations

import math

from agemem.train.samples import Sample, collate, micro_batches


def sample(length: int, weight: float = 0.25) -> Sample:
    return Sample(tuple(range(1, length)), (7,), None, 1.0, weight)


def test_samples_are_all_there_once_and_the_rest_weighs_nothing() -> None:
    samples = [sample(n) for n in (9, 3, 5)]
    batches = micro_batches(samples, size=2, count=4, filler=0)
    assert [len(batch) for batch in batches] == [2, 2, 2, 2]
    flat = [one for batch in batches for one in batch]
    assert [one.tokens for one in flat if one.weight] == [3, 5, 9]
    assert sum(one.weight == 0 for one in flat) == 5
    assert all(one.advantage == 0 for one in flat if one.weight == 0)


def test_a_process_without_samples_has_micro_batches_too() -> None:
    assert [len(batch) for batch in micro_batches([], 3, 2, 0)] == [3, 3]


def test_prompts_are_padded_on_the_left_completions_on_the_right() -> None:
    rows = [
        Sample((1, 2, 3), (4,), (-0.5,), 1.0, 0.5),
        Sample((5,), (6, 7), None, -1.0, 0.5),
    ]
    batch = collate(rows, padding=99)
    assert batch["prompt_ids"].tolist() == [[1, 2, 3], [99, 99, 5]]
    assert batch["prompt_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["completion_ids"].tolist() == [[4, 99], [6, 7]]
    assert batch["completion_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["sampled_logprobs"][0, 0] == -0.5
    assert all(math.isnan(value) for value in batch["sampled_logprobs"][1].tolist())
    assert batch["advantages"].tolist() == [1.0, -1.0]
    assert batch["weights"].tolist() == [0.5, 0.5]
