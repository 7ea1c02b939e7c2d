"""HotpotQA's definitions against hand-worked values."""

from __future__ import annotations

import pytest

from agemem_envs.judging.hotpot_metrics import (
    exact_match,
    joint_scores,
    normalize_answer,
    supporting_fact_scores,
    token_f1,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("a cat and the hat", "cat and hat"),
        ("U.S.A.", "usa"),
        ("An Other, A Theory", "other theory"),
        ("", ""),
        ("“Quoted”", "“quoted”"),  # only ASCII punctuation is dropped
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [("the Rome.", "Rome", 1.0), ("Rome, Italy", "Rome", 0.0), ("YES", "yes", 1.0), ("", "a", 1.0)],
)
def test_exact_match(prediction: str, reference: str, score: float) -> None:
    assert exact_match(prediction, reference) == score


@pytest.mark.parametrize(
    ("prediction", "reference", "f1", "precision", "recall"),
    [
        ("Rome, Italy", "Rome", 2 / 3, 1 / 2, 1.0),
        ("new york new york", "york new", 2 / 3, 1 / 2, 1.0),
        ("Paris", "Rome", 0.0, 0.0, 0.0),
        ("yes it is", "yes", 0.0, 0.0, 0.0),  # a verdict must match whole
        ("no", "yes", 0.0, 0.0, 0.0),
        ("noanswer", "the noanswer", 1.0, 1.0, 1.0),
        ("", "Rome", 0.0, 0.0, 0.0),
        ("", "", 0.0, 0.0, 0.0),
    ],
)
def test_token_f1(
    prediction: str, reference: str, f1: float, precision: float, recall: float
) -> None:
    assert token_f1(prediction, reference) == pytest.approx((f1, precision, recall))


def test_supporting_facts() -> None:
    gold = [("A", 0), ("B", 2)]
    assert supporting_fact_scores(gold, gold) == (1.0, 1.0, 1.0, 1.0)
    found = [("A", 0), ("A", 1), ("C", 2), ("A", 0)]
    assert supporting_fact_scores(found, gold) == pytest.approx((0.0, 2 / 5, 1 / 3, 1 / 2))
    assert supporting_fact_scores([], gold) == (0.0, 0.0, 0.0, 0.0)
    assert supporting_fact_scores([], [])[0] == 1.0


@pytest.mark.parametrize(
    ("prediction", "found", "em", "f1"),
    [
        # Answer: precision 1/2, recall 1. Facts: precision 1/2, recall 1/2. Joint: 1/4 and 1/2.
        ("Rome Italy", [("A", 0), ("C", 1)], 0.0, 1 / 3),
        ("Rome", [("A", 0), ("B", 2)], 1.0, 1.0),
        ("Rome", [("A", 0)], 0.0, 2 / 3),
        ("Paris", [("A", 0), ("B", 2)], 0.0, 0.0),
        ("Rome", [], 0.0, 0.0),
    ],
)
def test_joint_scores(prediction: str, found: list[tuple[str, int]], em: float, f1: float) -> None:
    answer = (exact_match(prediction, "Rome"), *token_f1(prediction, "Rome"))
    facts = supporting_fact_scores(found, [("A", 0), ("B", 2)])
    assert joint_scores(answer, facts) == pytest.approx((em, f1))
