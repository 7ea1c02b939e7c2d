"""The reward ``effective``: a call counts by its effect, and only in an episode that succeeds.

``w_task R_task + gate (w_context R_context + w_memory R_memory) + P``, where the gate is 1 if the
episode succeeded, else 0.

- ``R_task`` is the paper's.
- ``R_context`` is the mean of compression (the paper's), :meth:`~Reading.prevention` and
  :meth:`~Reading.preservation`.
- ``R_memory`` is the mean of :meth:`~Reading.storage`, :meth:`~Reading.relevance` and, if something
  that the task needs changed, :meth:`~Reading.maintenance`.
- ``P`` is the round penalty, unless the episode :func:`ended_well`.

Of several questions, the gate is the share of their points, and ``P`` the part of the round
penalty that is the share of those without an answer.

Every part is a pure function of the record and needs no judge but for the answer. So a call without
effect never pays: it adds tokens and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from agemem_envs.episode import Change, Episode, Message, MessageKind, Step, StopReason
from agemem_envs.judging.kept import kept_text, occurs
from agemem_envs.judging.replay import Memory, memory_at_query, replay
from agemem_envs.judging.wording import (
    all_words,
    content_words,
    names,
    sentences,
    template_words,
    without_opening,
)
from agemem_envs.tools import REDUCING_TOOLS

LEAST_SHARE = 0.75
"""Least share of a statement's content words in a sentence that states it."""
REACH = 3
"""Sentences of a message that may state a fact together, as in "At the lodge, ... It also has"."""
_NOT_KNOWN = re.compile(
    r"\b(not known|unknown|no longer known|not clear|nobody knows|no one knows)\b", re.I
)
_OWN = frozenset({MessageKind.ASSISTANT, MessageKind.TOOL_RESULT})


def ended_well(episode: Episode) -> bool:
    """Whether a question was answered, or a world ended with success.

    All other ends cost the same: to die or to overflow is not cheaper than to run out of rounds.
    """
    if episode.stop_reason is StopReason.WORLD_ENDED:
        return bool(episode.success)
    return episode.stop_reason is StopReason.ANSWERED


def withdrawn(change: Change) -> bool:
    """Whether a change says that something is not known after all."""
    return denies(change.valid) and not denies(change.stale)


def denies(text: str) -> bool:
    """Whether a text says of something that it is not known."""
    return _NOT_KNOWN.search(text) is not None


def share_ended_badly(episode: Episode) -> float:
    """1 unless the episode :func:`ended_well`; the share of the questions without an answer."""
    if episode.asked:
        ends = [one.ended is not StopReason.ANSWERED for one in episode.asked]
        return sum(ends) / len(ends)
    return float(not ended_well(episode))


class Stated:
    """A needed sentence, and which words state it.

    They state it if they have at least :data:`LEAST_SHARE` of its content words, and all by which
    it differs from others: its names and numbers, and the words that its rival lacks.

    Args:
        sentence: The sentence.
        rival: What was or is said in its place; empty if it never changed.
        template: Words that say nothing about a single fact.
    """

    def __init__(self, sentence: str, rival: str, template: frozenset[str]) -> None:
        self._words = frozenset(content_words(sentence)) - template
        telling = self._words - frozenset(content_words(rival)) if rival else frozenset()
        self._telling = telling | (names(sentence) & self._words)

    def within(self, words: frozenset[str]) -> bool:
        """Whether these words state it."""
        if not self._words or not self._telling <= words:
            return False
        return len(self._words & words) >= LEAST_SHARE * len(self._words)


class Reading:
    """The parts of the reward that follow from the record of one episode.

    Args:
        episode: A finished episode.
    """

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._arrivals = [m for m in episode.messages if m.kind is MessageKind.INCOMING]
        self._template = template_words([without_opening(m.content) for m in self._arrivals])
        self._changes = [change for change in episode.changes if change.needed]
        rivals = {c.stale: c.valid for c in self._changes}
        rivals |= {c.valid: c.stale for c in self._changes}
        self._needed = {
            sentence: Stated(sentence, rivals.get(text, ""), self._template)
            for text in (*episode.gold_facts, *rivals)
            for sentence in sentences(text)
        }
        self._withdrawn = frozenset(
            s for c in self._changes if withdrawn(c) for s in sentences(c.stale)
        )
        self._known: dict[tuple[str, int], frozenset[str]] = {}

    # -- context ------------------------------------------------------------------------

    def prevention(self) -> float:
        """The share of the arriving tokens that the reducing calls freed, in [0, 1].

        Only what nobody can avoid counts as arriving: the messages of stages 1 and 2. A step with
        reducing calls freed the tokens of those that it removed, minus the summary that it wrote
        and minus its own messages; less than nothing counts as nothing. It freed nothing if a
        needed statement was in what it removed and is then neither in the context nor in
        long-term memory. After an overflow nothing counts.
        """
        total = sum(message.tokens for message in self._arrivals)
        freed, budget = 0, self._episode.settings.max_context_tokens
        known: set[int] = set()
        for step, memory in replay(self._episode):
            if step.context_tokens > budget:
                break
            # What one of several questions has freed is there again for the next.
            removed = [message for message in self._removed(step) if message.id not in known]
            known.update(message.id for message in removed)
            if removed:
                freed += self._freed(step, removed, memory)
        return min(1.0, freed / total) if total else 0.0

    def _removed(self, step: Step) -> list[Message]:
        """The messages that a step's reducing calls removed."""
        results = (r for r in step.results if r.ok and r.name in REDUCING_TOOLS)
        ids = dict.fromkeys(int(i) for result in results for i in result.data.get("removed", ()))
        return [self._episode.messages[id_] for id_ in ids]

    def _freed(self, step: Step, removed: Sequence[Message], memory: Memory) -> int:
        gone = {message.id for message in removed}
        own = [*self._written(step), *self._summaries.get(step.index, ())]
        freed: int = sum(m.tokens for m in removed if m.kind is MessageKind.INCOMING)
        freed -= sum(message.tokens for message in own)
        if freed <= 0 or self._lost(step, removed, gone, own, memory):
            return 0
        return freed

    def _written(self, step: Step) -> list[Message]:
        """The model's message of a step, and the tool results."""
        return self._by_step.get(step.index, [])

    @cached_property
    def _by_step(self) -> dict[int, list[Message]]:
        written: dict[int, list[Message]] = {}
        for message in self._episode.messages:
            if message.kind in _OWN:
                written.setdefault(message.round, []).append(message)
        return written

    @cached_property
    def _replaced(self) -> list[tuple[int, Message, list[Message]]]:
        """Each summary, with the index of its step and the messages that it replaced."""
        messages = self._episode.messages
        written = (m for m in messages if m.kind is MessageKind.SUMMARY)
        calls = self._episode.results("Summary_context")
        done = ((step, r.data["removed"]) for step, r in calls if r.data.get("removed"))
        return [
            (step.index, summary, [messages[id_] for id_ in ids])
            for (step, ids), summary in zip(done, written, strict=False)
        ]

    @cached_property
    def _summaries(self) -> dict[int, list[Message]]:
        """The summaries that each step wrote."""
        written: dict[int, list[Message]] = {}
        for index, summary, _ in self._replaced:
            written.setdefault(index, []).append(summary)
        return written

    def _lost(
        self,
        step: Step,
        removed: Sequence[Message],
        gone: set[int],
        own: Sequence[Message],
        memory: Memory,
    ) -> bool:
        """Whether a needed sentence is in what was removed and nowhere else now."""
        told = self._told_by_all(message.content for message in removed)
        at_stake = told - self._corrected(step)
        visible = [self._episode.messages[id_] for id_ in step.visible]
        left = [message.content for message in (*visible, *own) if message.id not in gone]
        return bool(at_stake) and not at_stake <= self._told_by_all([*left, *memory.values()])

    def _corrected(self, step: Step) -> frozenset[str]:
        """The needed sentences that are known not to hold when a step is made."""
        return frozenset(
            sentence
            for change in self._changes
            if (announced := self._announced(change)) is not None and announced <= step.index
            for sentence in set(sentences(change.stale)) - set(sentences(change.valid))
        )

    def _announced(self, change: Change) -> int | None:
        """The step that first saw the announcement of a change; None if none did."""
        if not 0 <= change.message < len(self._arrivals):
            return None
        return self._arrivals[change.message].round

    def _told_by(self, text: str) -> frozenset[str]:
        """The needed sentences that a text tells. The announcement of a change tells what holds."""
        announced = (valid for said, valid in self._announcements if said in text)
        return self._states(text).union(*map(sentences, announced))

    def _told_by_all(self, texts: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*map(self._told_by, texts))

    @cached_property
    def _announcements(self) -> list[tuple[str, str]]:
        """Each announcement of a needed change, with the statement that holds."""
        seen = [c for c in self._changes if self._announced(c) is not None]
        return [(without_opening(self._arrivals[c.message].content), c.valid) for c in seen]

    def _states(self, text: str, reach: int = REACH) -> frozenset[str]:
        """The needed sentences that at most ``reach`` sentences of a text state together."""
        if (text, reach) not in self._known:
            said = [
                (frozenset(content_words(s)), denies(s)) for s in sentences(without_opening(text))
            ]
            known: frozenset[str] = frozenset()
            for end in range(1, len(said) + 1):
                for start in {max(0, end - reach), end - 1}:
                    words, denied = zip(*said[start:end], strict=True)
                    known |= self._stated(frozenset().union(*words), any(denied))
            self._known[text, reach] = known
        return self._known[text, reach]

    def _stated(self, words: frozenset[str], denied: bool) -> frozenset[str]:
        """The needed sentences that some words state; if it is denied, none that was withdrawn."""
        found = (sentence for sentence, stated in self._needed.items() if stated.within(words))
        return frozenset(found) - (self._withdrawn if denied else frozenset())

    def _holds(self, memory: Iterable[str], statement: str) -> bool:
        """Whether single sentences of a memory state all sentences of a statement."""
        known = frozenset().union(*(self._states(text, reach=1) for text in memory))
        return known >= set(sentences(statement))

    def preservation(self) -> float:
        """1 if all key items K_q were in the context at the last model call, else 0.

        As in the paper's reward, outside the question, the system prompt and the model's own
        words. A summary holds an item only if a message that it replaced did.
        """
        if not self._episode.steps:
            return 0.0
        kept: set[str] = set()
        for id_ in self._episode.steps[-1].visible:
            kept |= self._items(self._episode.messages[id_])
        return float(kept >= set(self._episode.key_items))

    def _items(self, message: Message) -> frozenset[str]:
        """The key items in a message."""
        text = kept_text(self._episode, message)
        found = frozenset(item for item in self._episode.key_items if text and occurs(item, text))
        if message.kind is not MessageKind.SUMMARY:
            return found
        replaced = next((r for _, summary, r in self._replaced if summary.id == message.id), [])
        return found & frozenset().union(*map(self._items, replaced))

    # -- memory -------------------------------------------------------------------------

    @cached_property
    def _at_query(self) -> list[str]:
        return memory_at_query(self._episode)

    def storage(self) -> float:
        """The quality of the memory when the query comes: :meth:`_agreement` with what is needed.

        What was told and is superseded is wrong, and what is there twice is once too much.
        """
        return self._agreement(self._at_query)

    def relevance(self, shown: Sequence[str]) -> float:
        """The same quality of what Retrieve_memory showed in stage 3.

        Args:
            shown: The distinct contents.
        """
        return self._agreement(shown)

    def _agreement(self, texts: Sequence[str]) -> float:
        """The harmonic mean of precision and recall of the words of the needed statements."""
        found: Counter[str] = all_words(texts, self._template)
        wanted = all_words(self._episode.gold_facts, self._template)
        total = found.total() + wanted.total()
        return 2 * (found & wanted).total() / total if total else 0.0

    def maintenance(self) -> float | None:
        """The share of the needed changes about which memory is right when the query comes.

        It is right if no item states what does not hold and an item states what does. It is also
        right about a statement that was withdrawn if an item stated it before the announcement.
        None if nothing changed that the task needs.
        """
        if not self._changes:
            return None
        stored = self._stored_in_time()
        return sum(self._right(change, stored) for change in self._changes) / len(self._changes)

    def _right(self, change: Change, stored: frozenset[str]) -> bool:
        if self._announced(change) is None or self._holds(self._at_query, change.stale):
            return False
        return change.stale in stored or self._holds(self._at_query, change.valid)

    def _stored_in_time(self) -> frozenset[str]:
        """The withdrawn statements that memory held when their withdrawal was announced."""
        waiting: dict[int, list[Change]] = {}
        for change in self._changes:
            announced = self._announced(change)
            if announced is not None and withdrawn(change):
                waiting.setdefault(announced - 1, []).append(change)
        return frozenset(
            change.stale
            for step, memory in replay(self._episode)
            for change in waiting.get(step.index, ())
            if self._holds(memory.values(), change.stale)
        )
