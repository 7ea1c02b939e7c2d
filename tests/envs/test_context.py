"""Short-term memory: what is removed, what is spared, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agemem_envs.context import Context
from agemem_envs.encoders import make_encoder
from agemem_envs.episode import MessageKind as Kind
from agemem_envs.errors import ToolError, UnknownNameError
from agemem_envs.similarity import make_similarity, message_similarity
from agemem_envs.summarizers import ExtractiveSummarizer
from agemem_envs.tokens import MESSAGE_OVERHEAD, ApproximateCounter

HASHING = message_similarity(make_encoder("hashing"))
TEXTS = (
    (Kind.SYSTEM, "the rules of the game", -1),
    (Kind.INCOMING, "the river tasp flows through velmor", 0),
    (Kind.ASSISTANT, "noted the river tasp", 0),
    (Kind.INCOMING, "glassmaking is an old trade in velmor", 1),
    (Kind.ASSISTANT, "noted glassmaking", 1),
    (Kind.QUERY, "which river flows through velmor", 2),
    (Kind.ASSISTANT, "filter please", 2),
)


@pytest.fixture
def context() -> Context:
    made = Context(ApproximateCounter())
    for kind, text, round_ in TEXTS:
        made.append(kind, text, round_)
    return made


def shown(context: Context) -> list[int]:
    return [message.id for message in context.messages]


def test_tokens_are_the_sum_of_what_is_visible(context: Context) -> None:
    counter = ApproximateCounter()
    expected = sum(counter.count(text) + MESSAGE_OVERHEAD for _, text, _ in TEXTS)
    assert context.tokens == expected
    context.reset()
    assert shown(context) == [0]
    assert context.tokens == counter.count(TEXTS[0][1]) + MESSAGE_OVERHEAD
    assert len(context.history) == len(TEXTS)


def test_filter_removes_the_similar_and_spares_the_query(context: Context) -> None:
    removed = context.filter("the river tasp flows through velmor", HASHING, 0.6)
    assert [message.id for message in removed] == [1]
    removed = context.filter("which river flows through velmor", HASHING, 0.9)
    assert removed == []
    # everything is similar enough: only the system, the query and the last own message stay
    context.filter("anything", HASHING, -1.0)
    assert shown(context) == [0, 5, 6]


def test_the_threshold_is_inclusive(context: Context) -> None:
    # removed if similarity >= theta, and a text is exactly similar to itself up to rounding
    assert context.filter("noted glassmaking", HASHING, 0.999)[0].id == 4


def test_before_the_query_the_last_incoming_message_is_spared() -> None:
    context = Context(ApproximateCounter())
    for kind, text, round_ in TEXTS[:4]:
        context.append(kind, text, round_)
    context.filter("anything", HASHING, -1.0)
    assert shown(context) == [0, 2, 3]


def test_a_summary_takes_the_place_of_what_it_replaces(context: Context) -> None:
    removed = context.summarize(None, ExtractiveSummarizer())
    assert [message.id for message in removed] == [1, 2, 3, 4]
    assert shown(context) == [0, 7, 5, 6]
    assert context.messages[1].kind is Kind.SUMMARY
    assert context.tokens == sum(message.tokens for message in context.messages)


def test_a_span_of_rounds(context: Context) -> None:
    removed = context.summarize(1, ExtractiveSummarizer())
    assert [message.id for message in removed] == [3, 4]
    assert shown(context) == [0, 1, 2, 7, 5, 6]


def test_a_failed_summary_changes_nothing(context: Context) -> None:
    class Broken:
        name = "broken"

        def summarize(self, texts: Sequence[str]) -> str:
            raise ToolError("no")

    before = shown(context)
    with pytest.raises(ToolError):
        context.summarize(None, Broken())
    assert shown(context) == before


def test_chat_joins_neighbours_of_one_role(context: Context) -> None:
    context.append(Kind.TOOL_RESULT, "result", 2)
    context.append(Kind.INCOMING, "next", 3)
    chat = context.chat()
    assert [m["role"] for m in chat] == [
        "system", "user", "assistant", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert chat[-1]["content"] == "result\n\nnext"


def test_a_note_stands_where_the_first_user_message_was(context: Context) -> None:
    context.remove(lambda message: message.id == 1)
    assert [m["role"] for m in context.chat()][:3] == ["system", "user", "assistant"]
    assert "removed" in context.chat()[1]["content"]


def test_render_is_clipped_to_its_limit(context: Context) -> None:
    assert len(context.render(50)) == 50
    assert context.render(50).endswith("[... clipped]")
    assert "clipped" not in context.render(10_000)


def test_summaries_are_short_and_bounded_on_any_text() -> None:
    summarizer = ExtractiveSummarizer()
    assert summarizer.summarize([]) == "(nothing)"
    assert summarizer.summarize([""]) == "(nothing)"
    assert len(summarizer.summarize(["x" * 1_000_000])) <= 200
    long = [f"Sentence {i} tells of town {i % 9}." for i in range(5_000)]
    assert len(summarizer.summarize([" ".join(long)])) <= 2_048


TALK = (
    "Have you heard? The bakery of Orsk sells rye bread. It opens at six. The baker is Tamsin Vole.",
    "The ferry to Lunn leaves from pier nine. Tickets cost four crowns. Dogs travel free.",
    "In Orsk the mill grinds rye for the whole valley. The miller owns two mules.",
    "Noted.",
)


def told(matching: str, criteria: str) -> list[int]:
    """The indices of the talk that a criterion in plain words removes; theta is the paper's."""
    context = Context(ApproximateCounter())
    context.append(Kind.SYSTEM, "the rules of the game")
    for round_, text in enumerate(TALK):
        context.append(Kind.INCOMING, text, round_)
    context.append(Kind.QUERY, "who is the baker", len(TALK))
    removed = context.filter(criteria, make_similarity(matching, make_encoder("hashing")), 0.6)
    return [message.id - 1 for message in removed]


@pytest.mark.parametrize(
    ("criteria", "removed"),
    [
        ("the ferry to Lunn", [1]),
        ("messages about the ferry tickets", [1]),
        ("everything about the bakery of Orsk", [0]),
        ("rye", []),  # one word alone names too little
        ("rye in Orsk", [0, 2]),
        ("Dogs travel free.", [1]),  # a sentence of it
        ("the moon landing", []),
        ("messages that are not about it", []),
    ],
)
def test_topic_matching_removes_what_plain_words_name_and_nothing_else(
    criteria: str, removed: list[int]
) -> None:
    assert told("topic", criteria) == removed


def test_message_matching_compares_with_whole_messages_alone() -> None:
    assert told("message", TALK[1]) == [1]
    for criteria in ("the ferry to Lunn", "Dogs travel free.", "rye in Orsk"):
        assert told("message", criteria) == [], criteria


@pytest.mark.parametrize("matching", ["message", "topic"])
def test_either_matching_removes_a_message_that_is_quoted(matching: str) -> None:
    for index, text in enumerate(TALK[:3]):
        assert told(matching, text) == [index]


def test_a_matching_has_a_name() -> None:
    with pytest.raises(UnknownNameError, match="topic"):
        make_similarity("topics", make_encoder("hashing"))
