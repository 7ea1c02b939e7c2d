"""Micro-batches: every sample once, equal numbers everywhere, padding that says nothing."""

from __future__ import annotations

import math

from agemem.train.samples import IGNORED, Sample, collate, fill, step_rows


def sample(length: int, weight: float = 0.25) -> Sample:
    return Sample(tuple(range(1, length)), (7,), None, 1.0, weight)


def test_samples_are_all_there_once_and_the_rest_weighs_nothing() -> None:
    samples = [sample(n) for n in (9, 3, 5)]
    batches = fill(step_rows(samples, size=2, budget=None), count=4, filler=0)
    assert [len(batch) for batch in batches] == [1, 1, 2, 1]
    flat = [one for batch in batches for one in batch]
    assert [one.tokens for one in flat if one.weight] == [3, 5, 9]
    assert sum(one.weight == 0 for one in flat) == 2
    assert all(one.advantage == 0 for one in flat if one.weight == 0)


def test_a_process_without_samples_has_micro_batches_too() -> None:
    assert [len(batch) for batch in fill(step_rows([], 3, None), 2, 0)] == [1, 1]


def test_a_budget_of_tokens_counts_padding_and_divides_no_sample() -> None:
    samples = [sample(n) for n in (30, 4, 9, 5, 10)]
    rows = step_rows(samples, size=1, budget=20)
    assert [[one.tokens for one in row] for row in rows] == [[4, 5], [9, 10], [30]]


def test_prompts_are_padded_on_the_left_completions_on_the_right() -> None:
    rows = [
        Sample((1, 2, 3), (4,), (-0.5,), 1.0, 0.5),
        Sample((5,), (6, 7), None, -1.0, 0.5),
    ]
    batch = collate(rows, padding=99)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 99], [99, 99, 5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    x = IGNORED
    assert batch["labels"].tolist() == [[x, x, 4, x, x], [x, x, 6, 7, x]]
    assert batch["predicting"].tolist() == [[2, 0], [7, 8]]
    assert batch["completion_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["sampled_logprobs"][0, 0] == -0.5
    assert all(math.isnan(value) for value in batch["sampled_logprobs"][1].tolist())
    assert batch["advantages"].tolist() == [1.0, -1.0]
    assert batch["weights"].tolist() == [0.5, 0.5]
