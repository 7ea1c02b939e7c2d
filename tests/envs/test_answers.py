"""The score of an answer: LoCoMo's F1, by hand-worked numbers and by the library of its scorer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agemem_envs.episode import UNKNOWN, Question
from agemem_envs.judging.answers import answer_score, contains_answer, list_f1, stem_f1, words
from agemem_envs.judging.stemmer import IRREGULAR, stem

STEMS = {
    "caresses": "caress",
    "ponies": "poni",
    "cats": "cat",
    "agreed": "agre",
    "plastered": "plaster",
    "sing": "sing",
    "hopping": "hop",
    "falling": "fall",
    "filing": "file",
    "happy": "happi",
    "enjoy": "enjoy",
    "relational": "relat",
    "conditional": "condit",
    "hopefulness": "hope",
    "electrical": "electr",
    "adoption": "adopt",
    "probate": "probat",
    "controlling": "control",
    "dies": "die",
    "spied": "spi",
    "is": "is",
}
"""Porter's examples, and NLTK's."""


@pytest.mark.parametrize(("word", "expected"), STEMS.items())
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.fixture(scope="module")
def stemmer() -> Any:
    """The scorer's stemmer. Its import takes seconds, which must not count as an example's."""
    return pytest.importorskip("nltk.stem.porter").PorterStemmer()


@given(st.text(alphabet="abeilnorstyz", max_size=4), st.sampled_from(
    "ational ization iveness biliti logi alli fulli ement ion ied ies eed ing ed s e y ll".split()
))  # fmt: skip
def test_stems_are_those_of_the_scorers_library(stemmer: Any, root: str, ending: str) -> None:
    for word in (root + ending, *IRREGULAR):
        assert stem(word) == stemmer.stem(word)


def test_words_are_normalised_as_in_locomo() -> None:
    assert words("The Cat, and a (big) dog's 1,000 toys!") == ["cat", "big", "dogs", "1000", "toys"]


def test_f1_compares_stems() -> None:
    assert stem_f1("painting classes", "the painted class") == 1.0
    assert stem_f1("7 May 2023", "May 2023") == pytest.approx(2 * 2 / (3 + 2))
    assert stem_f1("", "May") == stem_f1("May", "the") == 0.0
    assert stem_f1("no no", "no") == pytest.approx(2 / 3), "words count as often as they come"


def test_f1_of_a_list_takes_the_nearest_part_for_each() -> None:
    # recall 2/3, precision 1
    assert list_f1("swimming, pottery", "pottery, swimming, camping trip") == pytest.approx(0.8)
    assert list_f1("a camping trip and pottery", "pottery") == pytest.approx(2 / 4)
    assert list_f1("pottery", "pottery, ") == 1.0, "a part without words does not count"
    assert list_f1("pottery", ",") == 0.0
    everything = "pottery, swimming, camping, yoga, chess, tennis, painting, singing"
    assert list_f1(everything, "pottery") == pytest.approx(2 / 9), (
        "who lists everything gains little"
    )


def ask(reference: str, *accepted: str, scoring: str = "whole") -> Question:
    return Question("q", "?", reference, "", (), accepted, scoring)  # type: ignore[arg-type]


def test_the_best_right_answer_counts() -> None:
    question = ask("yoga (but the year is wrong)", "yoga", UNKNOWN)
    assert answer_score(question, "Yoga.") == answer_score(question, "I don't know") == 1.0
    assert answer_score(question, "the year") == pytest.approx(2 * 1 / (1 + 5))
    assert answer_score(question, None) == 0.0


def test_beside_an_abstention_only_the_words_of_an_accepted_answer_count() -> None:
    question = ask(UNKNOWN, "You did not mention getting a gerbil.")
    assert answer_score(question, "you did not mention getting a gerbil") == 1.0
    assert answer_score(question, "You did mention getting a gerbil.") == 0.0


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("unknown", 1.0),
        ("It is not known.", 1.0),
        ("That is not mentioned in the conversation", 1.0),
        ("No information available", 1.0),
        ("Marble", 0.0),
        ("the unknown cat", 0.0),
        ("Marble, not mentioned", 0.0),
        ("not mentioned, Marble", 0.0),
        ("It was not mentioned that she hates it: it is Marble", 0.0),
        ("", 0.0),
    ],
)
def test_where_nobody_knows_only_an_abstention_is_right(said: str, score: float) -> None:
    assert answer_score(ask(UNKNOWN), said) == score
    assert (answer_score(ask("Marble"), said) == 1.0) == (said == "Marble")
    assert contains_answer(ask(UNKNOWN), said) == bool(score)


@pytest.mark.parametrize("text", ["a, b,", "the", "!", "yes; since it rained", "two, two"])
@pytest.mark.parametrize("scoring", ["whole", "list"])
def test_the_reference_itself_has_the_score_1(text: str, scoring: str) -> None:
    assert answer_score(ask(text, scoring=scoring), text) == 1.0


def test_an_answer_contains_a_reference_as_consecutive_words() -> None:
    assert contains_answer(ask("Tolvik Bay"), "She lives at Tolvik Bay, I think.")
    assert not contains_answer(ask("Tolvik Bay"), "Tolvik is at a bay")
    assert not contains_answer(ask("art"), "a party")
    assert not contains_answer(ask("the"), "the the")
    assert not contains_answer(ask("Tolvik"), None)


@given(st.text(), st.text())
def test_scores_are_shares(prediction: str, reference: str) -> None:
    for scoring in ("whole", "list"):
        assert 0.0 <= answer_score(ask(reference, scoring=scoring), prediction) <= 1.0
