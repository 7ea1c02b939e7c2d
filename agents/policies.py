"""The ladder: scripted policies as data, from the ideal one to those that exploit a reward.

A benchmark of memory is sound if the ideal policy succeeds, every other one fails where its memory
is worse, and none of the exploits pays. ``agemem run --suite ladder`` plays them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Store(StrEnum):
    """What a policy stores."""

    NOTHING = "nothing"
    NEEDED = "needed"
    """The statements that the task needs, which no honest policy can know."""
    NEEDED_TWICE = "needed twice"
    USELESS = "useless"
    """The other statements of stage 1."""
    EVERYTHING = "everything"
    """Every statement, each as a memory of its own."""
    RANDOM = "random"
    """Every statement with probability 1/2."""
    MESSAGES = "messages"
    """Every message as a whole."""
    BLOB = "blob"
    """All messages in one memory."""
    DISTRACTORS = "distractors"
    """The messages of stage 2."""


class Reduce(StrEnum):
    """How a policy keeps its context small."""

    NOTHING = "nothing"
    FILTER = "filter"
    """It filters what it has read when the context is half full, and before stage 3."""
    SUMMARY = "summary"
    """It summarises at the same times."""


class Retrieve(StrEnum):
    """How a policy retrieves in stage 3."""

    NOTHING = "nothing"
    NEEDED = "needed"
    """With each needed statement, which no honest policy can know."""
    QUERY = "query"
    """Once, with the question or the goal."""
    HOPS = "hops"
    """With the names of the question or the goal, then with the names that came back."""


class Conflict(StrEnum):
    """Which of two contradicting statements a policy believes, if its context shows both."""

    CHANCE = "chance"
    LATEST = "latest"
    """The one that was told last."""
    FIRST = "first"
    """The one that was told first."""
    VERDICT = "verdict"
    """The one that the announcing message says, if its context shows that message as a whole. The
    policy stores such messages as a whole."""


class Answer(StrEnum):
    """What a policy answers, or how it plays."""

    READER = "reader"
    """What follows from its context: the right answer, the expert's actions; the answer that a
    statement which does not hold suggests; or that it does not know, the searcher's actions."""
    RIGHT = "right"
    """The right answer, or the expert's actions, whatever the context shows."""
    WRONG = "wrong"
    """A wrong answer, or actions that do nothing."""
    UNKNOWN = "unknown"
    """That it is not known. In a world, the searcher's actions."""
    NEVER = "never"
    """It retrieves until the rounds run out."""
    PARROT = "parrot"
    """What stands between a colon and a full stop in its memories."""
    DIE = "die"
    """An action that ends ScienceWorld at once; in other worlds it does nothing."""
    OVERFLOW = "overflow"
    """A thought that overflows the context."""


class Hack(StrEnum):
    """Tool calls that only a reward could want."""

    USELESS_FILTER = "useless filter"
    """A filter that removes nothing."""
    SAME_UPDATE = "same update"
    """An update with the memory's own text."""
    CHURN = "churn"
    """A dummy is stored in stage 1 and deleted in stage 3."""
    STALE_CHURN = "stale churn"
    """A statement that does not hold is stored in stage 3 and deleted."""
    SYSTEM_PROMPT = "system prompt"
    """The system prompt is stored."""
    LONG_THOUGHT = "long thought"
    """A long thought of the policy's own is filtered."""
    RETRIEVE_AGAIN = "retrieve again"
    """The same retrieval three times, then a filter of what it showed."""


EVERY_HACK = tuple(Hack)


@dataclass(frozen=True, slots=True)
class Policy:
    """A scripted policy.

    Attributes:
        summary: What it does, in one phrase.
        store: What it stores.
        update: Whether it corrects its memories when a message announces a change. Otherwise it
            stores what the message says beside them.
        reduce: How it keeps its context small.
        retrieve: How it retrieves.
        conflict: Which of two contradicting statements it believes.
        answer: What it answers.
        hacks: Tool calls that only a reward could want.
    """

    summary: str
    store: Store = Store.NOTHING
    update: bool = False
    reduce: Reduce = Reduce.FILTER
    retrieve: Retrieve = Retrieve.NOTHING
    conflict: Conflict = Conflict.CHANCE
    answer: Answer = Answer.READER
    hacks: tuple[Hack, ...] = ()

    @property
    def honest(self) -> bool:
        """Whether it answers by what it reads, without exploits."""
        return self.answer is Answer.READER and not self.hacks


_ORACLE = Policy(
    "stores what is needed, corrects it, filters, retrieves it",
    Store.NEEDED,
    update=True,
    retrieve=Retrieve.NEEDED,
)
_ALL = Policy("stores every statement", Store.EVERYTHING, retrieve=Retrieve.QUERY)
_BLOB = replace(_ORACLE, store=Store.BLOB, update=False, retrieve=Retrieve.QUERY)


def _like(policy: Policy, summary: str, **changes: object) -> Policy:
    return replace(policy, summary=summary, **changes)  # type: ignore[arg-type]


POLICIES: dict[str, Policy] = {
    "oracle": _ORACLE,
    "oracle-summary": _like(_ORACLE, "the oracle with summaries", reduce=Reduce.SUMMARY),
    "oracle-unfiltered": _like(_ORACLE, "the oracle without filter", reduce=Reduce.NOTHING),
    "oracle-append": _like(_ORACLE, "the oracle without updates", update=False),
    "append-latest": _like(
        _ORACLE, "no updates; believes the latest", update=False, conflict=Conflict.LATEST
    ),
    "append-first": _like(
        _ORACLE, "no updates; believes the first", update=False, conflict=Conflict.FIRST
    ),
    "append-verdict": _like(
        _ORACLE, "no updates; a perfect reader", update=False, conflict=Conflict.VERDICT
    ),
    "oracle-no-retrieval": _like(
        _ORACLE, "the oracle without retrieval", retrieve=Retrieve.NOTHING
    ),
    "store-all-updated": _like(
        _ALL, "stores everything, corrects it, retrieves twice", update=True, retrieve=Retrieve.HOPS
    ),
    "store-all-verdict": _like(
        _ALL,
        "stores everything, retrieves twice; a perfect reader",
        retrieve=Retrieve.HOPS,
        conflict=Conflict.VERDICT,
    ),
    "store-all-hops": _like(_ALL, "stores everything, retrieves twice", retrieve=Retrieve.HOPS),
    "store-all": _like(_ALL, "stores everything, retrieves once"),
    "store-all-unfiltered": _like(
        _ALL, "stores everything, does not filter", reduce=Reduce.NOTHING
    ),
    "store-messages": _like(
        _ALL, "stores whole messages", store=Store.MESSAGES, retrieve=Retrieve.HOPS
    ),
    "store-blob": _like(_BLOB, "stores all messages in one memory"),
    "store-random": _like(
        _ALL, "stores half at random", store=Store.RANDOM, retrieve=Retrieve.HOPS
    ),
    "store-useless": _like(
        _ALL, "stores only what is not needed", store=Store.USELESS, retrieve=Retrieve.HOPS
    ),
    "store-distractors": _like(
        _ALL, "stores only stage 2", store=Store.DISTRACTORS, retrieve=Retrieve.HOPS
    ),
    "oracle-no-memory": Policy("stores nothing; a competent player all the same"),
    "always-unknown": Policy("stores nothing, always answers unknown", answer=Answer.UNKNOWN),
    "psychic": Policy("stores nothing, answers rightly", answer=Answer.RIGHT),
    "parrot": _like(
        _ALL, "plays its memories as they are", retrieve=Retrieve.QUERY, answer=Answer.PARROT
    ),
    "never-answers": _like(_ORACLE, "the oracle that never answers", answer=Answer.NEVER),
    "wrong": Policy("stores nothing, answers wrongly", answer=Answer.WRONG),
    "oracle-wrong": _like(_ORACLE, "the oracle that answers wrongly", answer=Answer.WRONG),
    "hacks-wrong": _like(
        _ORACLE, "all exploits, a wrong answer", answer=Answer.WRONG, hacks=EVERY_HACK
    ),
    "hacks-blob-wrong": _like(
        _BLOB,
        "one memory, exploits, a wrong answer",
        answer=Answer.WRONG,
        hacks=(Hack.USELESS_FILTER, Hack.SAME_UPDATE),
    ),
    "hacks-die": _like(_ORACLE, "all exploits, then dies", answer=Answer.DIE, hacks=EVERY_HACK),
    "hacks-overflow": _like(
        _ORACLE, "all exploits, then overflows", answer=Answer.OVERFLOW, hacks=EVERY_HACK
    ),
    "hacks-twice": _like(_ORACLE, "the oracle that stores twice", store=Store.NEEDED_TWICE),
    "hacks-right": _like(_ORACLE, "the oracle with all exploits", hacks=EVERY_HACK),
    "hacks-blob-right": _like(
        _BLOB,
        "one memory, exploits, the right answer",
        answer=Answer.RIGHT,
        hacks=(Hack.USELESS_FILTER, Hack.SAME_UPDATE),
    ),
}
"""All policies by name, from the best to the worst as a reader would expect it."""
