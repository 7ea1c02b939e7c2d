"""Token counters."""

from __future__ import annotations

import pytest

from agemem_envs.errors import UnknownNameError
from agemem_envs.tasks.qa.generator import make_record
from agemem_envs.tokens import ApproximateCounter, make_token_counter


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("abc", 1), ("abcd", 1), ("abcde", 2), ("é", 1), ("☃☃", 2), ("\ud800", 1)],
)
def test_the_approximation(text: str, tokens: int) -> None:
    assert ApproximateCounter().count(text) == tokens


def test_names() -> None:
    counter = make_token_counter("approximate")
    assert make_token_counter(counter) is counter
    assert make_token_counter(counter.name).name == counter.name  # as recorded in an episode
    with pytest.raises(UnknownNameError, match="approximate"):
        make_token_counter("approx")


@pytest.mark.slow
def test_the_approximation_against_a_real_tokenizer() -> None:
    from agemem.agents.smollm2 import transformers_path

    real = make_token_counter(f"tokenizer:{transformers_path()}")
    plain = "The river flows through the old town, which was founded long ago by a clockmaker."
    assert 0.6 < ApproximateCounter().count(plain) / real.count(plain) < 1.6
    invented = " ".join(make_record("x", "test/1").context[0][1])
    assert 0.4 < ApproximateCounter().count(invented) / real.count(invented) < 1.6
