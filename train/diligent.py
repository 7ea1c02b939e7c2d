"""A demonstrator for questions: the names, numbers and ids that it writes are in its prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agemem.agents.base import RolloutEnv
from agemem.agents.budget import REDUCTION, is_full
from agemem.agents.scripted_policy import Reading
from agemem.train.demonstrator import DemonstratedStep, Demonstrator
from agemem_envs.episode import UNKNOWN, Change, MemoryItem, ToolCall
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.effective import withdrawn
from agemem_envs.stages import Stage
from agemem_envs.tasks.base import Talk
from agemem_envs.tasks.qa.cases import stated
from agemem_envs.tasks.qa.key_items import key_items
from agemem_envs.tasks.qa.task import QATask
from agemem_envs.turns import MAX_CALLS, Turn, render

TOPIC_WORDS = 8
"""Words of a message that name it in a filter."""
NOTED = Turn("Nothing is left to do here.", answer="Noted.")
_QUOTED = re.compile('"([^"]+)"')
_YEAR = re.compile(r"\b\d{4}\b")


class DiligentDemonstrator(Demonstrator):
    """Stores every statement, keeps memory right, and answers from what it has looked up.

    - It stores each statement of a message, whether or not the question will need it: those that
      follow one another about one subject as one memory.
    - When a message corrects a statement, it looks the memory up, unless the prompt shows it, and
      updates it. What is withdrawn it deletes. What only others say it leaves.
    - It filters each message when the next one has come, and summarises a nearly full context.
    - In stage 3 it looks up one statement after another, by the names that it knows by then: it
      repeats what it has found, and says which name comes next. Of two years that a question
      compares it says which is before. It answers in the same way.

    Args:
        error_rate: Share of its tool calls that it leaves out, in [0, 1].
        erring: The tool whose calls it leaves out; or :data:`~agemem.train.config.ANY_TOOL`.
    """

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Begin an episode.

        Raises:
            ConfigurationError: The environment does not ask questions.
        """
        super().begin(env, seed)
        _ = self._task
        self._turns: Iterator[Turn] = iter(())
        self._arrived: list[Talk] = []

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The next action of the demonstration."""
        self._info = info
        action = render(self._turn())
        self.steps.append(DemonstratedStep(info["messages"], action, Stage(info["stage"])))
        return action

    def _turn(self) -> Turn:
        state = self._state
        here = (state.stage, state.message_index)
        if here != self._here:
            self._here, self._turns = here, self._about_this_message()
        return next(self._turns)

    def _about_this_message(self) -> Iterator[Turn]:
        """The turns that follow the message which has just come."""
        state = self._state
        if state.stage is Stage.REASONING:
            yield from self._answer()
            return
        talk = self._talks(state)[state.message_index]
        earlier, self._arrived = self._arrived, [talk]
        if state.message_index == 0:  # the context of the stage before is gone
            earlier = []
        calls = [_filter_of(one) for one in earlier if self._matches_topics]
        if talk.changes:
            yield from self._change(talk, calls)
        else:
            calls += [ToolCall("Add_memory", {"content": text}) for text in _by_subject(talk)]
            yield from self._called("I store what I was told.", calls)
        yield NOTED

    def _called(self, thought: str, calls: Sequence[ToolCall]) -> Iterator[Turn]:
        """Turns with these calls, but for those that it errs about; first it makes room."""
        left = self._without_errors(calls)
        while left:
            room = [REDUCTION] if is_full(self._info) else []
            now, left = [*room, *left][:MAX_CALLS], left[MAX_CALLS - len(room) :]
            yield Turn(thought, calls=tuple(now))

    def _change(self, talk: Talk, calls: list[ToolCall]) -> Iterator[Turn]:
        """Look the memories up that a message changes, and change them."""
        for change in talk.changes:
            if change.stale in [fact.text for fact in talk.facts]:  # a rumour
                yield from self._called("What I know still holds.", calls)
            elif not any(map(self._shows, self._stating(change))):
                query = {"query": _said_of(change, talk)}
                calls = [*calls, ToolCall("Retrieve_memory", query)]
                yield from self._called("I look up what this changes.", calls)
            calls = [_mend(change, item) for item in self._stating(change) if self._shows(item)]
            yield from self._called("I keep my memory right.", calls)

    def _stating(self, change: Change) -> list[MemoryItem]:
        return [item for item in self._memory if change.stale in item.content]

    def _shows(self, item: MemoryItem) -> bool:
        """Whether the prompt shows the id of a memory."""
        return any(f"[{item.id}]" in message["content"] for message in self._info["messages"])

    # -- stage 3 -----------------------------------------------------------------------

    def _answer(self) -> Iterator[Turn]:
        """Look up what the question needs, then answer."""
        calls = [_filter_of(talk) for talk in self._arrived if self._matches_topics]
        asked: list[str] = []
        while (wanted := self._missing(asked)) is not None:
            asked.append(wanted)
            calls.append(ToolCall("Retrieve_memory", {"query": self._without_unknown(wanted)}))
            thought = [*self._thoughts(), f"I look up {self._first_known(wanted)}."]
            yield from self._called(" ".join(thought), calls)
            calls = []
        self._reading = self._read(self._state)
        if self._reading is not Reading.RIGHT and len(self._found()) == len(self._chain()):
            self._reading = Reading.STALE  # nothing that it can see speaks against what it found
        answer = self._say(self._state, self._reading is Reading.RIGHT)
        found = self._thoughts() + (["My memory does not say more."] if answer == UNKNOWN else [])
        yield Turn(" ".join(found) or "I answer.", answer=answer)

    def _missing(self, asked: Sequence[str]) -> str | None:
        """The next statement to look up: one that it has not seen, about a name that it knows."""
        known, visible = self._known(), self._visible()
        for statement in self._chain():
            if statement not in visible and statement not in asked:
                return statement if any(name in known for name in key_items(statement)) else None
        return None

    def _without_unknown(self, statement: str) -> str:
        """A statement without the names and numbers that only the memory can tell."""
        known = self._known()
        for name in key_items(statement):
            statement = statement if name in known else statement.replace(name, "")
        return " ".join(statement.split())

    def _first_known(self, statement: str) -> str:
        known = self._known()
        return next(name for name in key_items(statement) if name in known)

    def _known(self) -> str:
        return " ".join([self._state.spec.query, *self._found()])

    def _found(self) -> list[str]:
        """The needed statements that the context shows, in the order of the reasoning."""
        visible = self._visible()
        return [statement for statement in self._chain() if statement in visible]

    def _thoughts(self) -> list[str]:
        """What it has found; of two years that the question compares, it says which is before."""
        found = self._found()
        compared = self._chain()[:2]
        if found[:2] != compared or self._task.record(self._state.spec.id).type != "comparison":
            return found
        years = [_YEAR.findall(statement) for statement in compared]
        if [len(set(of_one)) for of_one in years] != [1, 1] or years[0] == years[1]:
            return found
        (first, subject), (second, _) = sorted(
            (of_one[0], key_items(statement)[0])
            for of_one, statement in zip(years, compared, strict=True)
        )
        return [*compared, f"{first} is before {second}, so {subject} is first.", *found[2:]]

    def _chain(self) -> list[str]:
        """The needed statements in the order of the reasoning; what was withdrawn as it was."""
        spec = self._state.spec
        record = self._task.record(spec.id)
        said = dict(record.context)
        order = [stated(title, said[title][index]) for title, index in record.supporting_facts]
        lost = {change.valid: change.stale for change in spec.changes if withdrawn(change)}

        chain: list[tuple[int, str]] = []
        for fact in spec.gold_facts:  # a statement, or a paragraph of which some sentences count
            parts = [(place, text) for place, text in enumerate(order) if text in fact]
            whole = fact in lost or not parts
            chain += (
                [(min(parts, default=(len(order),))[0], lost.get(fact, fact))] if whole else parts
            )
        return [text for _, text in sorted(chain)]

    @property
    def _task(self) -> QATask:
        task = self._env.task
        if not isinstance(task, QATask):
            raise ConfigurationError(
                "the diligent demonstrator answers questions: choose a benchmark of question "
                "answering, or --teacher oracle"
            )
        return task


def _by_subject(talk: Talk) -> list[str]:
    """The statements of a message; those that follow one another and share a name, as one text."""
    groups: list[tuple[set[str], list[str]]] = []
    for fact in talk.facts:
        names = set(key_items(fact.text))
        shared = groups[-1][0] & names if groups else set[str]()
        if shared:
            groups[-1] = (shared, [*groups[-1][1], fact.text])
        else:
            groups.append((names, [fact.text]))
    return [" ".join(texts) for _, texts in groups]


def _filter_of(talk: Talk) -> ToolCall:
    return ToolCall("Filter_context", {"criteria": " ".join(talk.text.split()[:TOPIC_WORDS])})


def _said_of(change: Change, talk: Talk) -> str:
    """The words of a message that name the memory which it changes."""
    quoted = _QUOTED.search(talk.text)
    return change.valid if change.valid in talk.text or quoted is None else quoted[1]


def _mend(change: Change, item: MemoryItem) -> ToolCall:
    if withdrawn(change):
        return ToolCall("Delete_memory", {"memory_id": item.id, "confirmation": True})
    content = item.content.replace(change.stale, change.valid)
    return ToolCall("Update_memory", {"memory_id": item.id, "content": content})
