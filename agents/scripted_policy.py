"""The agent that plays a scripted policy. It knows the task: it measures a benchmark."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, ClassVar

import numpy as np

from agemem.agents.base import Agent, RolloutEnv, memory_env
from agemem.agents.budget import REDUCTION, is_full
from agemem.agents.guessing import guess
from agemem.agents.policies import POLICIES, Answer, Conflict, Hack, Policy, Reduce, Retrieve, Store
from agemem_envs.episode import UNKNOWN, MemoryItem, MessageKind, ToolCall
from agemem_envs.similarity import topic_words
from agemem_envs.stages import Stage
from agemem_envs.state import EpisodeState
from agemem_envs.tasks.base import Fact, Talk
from agemem_envs.tasks.qa.key_items import key_items
from agemem_envs.turns import MAX_CALLS, Turn, render

HALF = 0.5
"""Share above which a policy that reduces its context does so, by filters or a summary."""
CRITERION_WORDS, MAX_CRITERIA = 5, 3
"""Words that a filter names, and the filters of one message."""
OWN_NOISE = ("answer Noted", "manage name arguments", "removed tokens saved", "stored as")
"""Criteria that name the agent's own acknowledgements and tool calls, and their results."""
HOPS, A_HOP = 4, 2
"""Further retrievals, one after another, and the queries of each."""
ROOM = 0.7
"""Share of the budget above which a policy retrieves no more."""
DUMMY = "A note to myself that means nothing."
NOTHING_THERE = "zzzz qqqq xxxx"
"""A criterion that no message meets."""
LONG_THOUGHT = "I think about nothing in particular. " * 15
ENDLESS = {
    Answer.NEVER: "I look for more.",
    Answer.OVERFLOW: "I think about everything. " * 1_200,
}
"""The thoughts of policies that retrieve and do not answer."""
FIXED = {Answer.DIE: "focus on air", Answer.WRONG: "nothing of the kind"}
"""The answers of policies that do not care for the question."""
_TAG = re.compile(r"</?(?:think|tool_call|answer)>")
_COMMANDS = re.compile(r":\s*([^.]*)\.")
_OWN = (MessageKind.SYSTEM, MessageKind.QUERY, MessageKind.ASSISTANT)

Calls = list[ToolCall]


class Reading(Enum):
    """What the context tells a reader in stage 3."""

    RIGHT = auto()
    STALE = auto()
    """It shows a statement that does not hold as if it did."""
    MISSING = auto()
    """It lacks a needed statement."""


class PolicyAgent(Agent):
    """Plays :attr:`policy`.

    It reads the task from the environment. Where a statement that holds and one that does not are
    both in its context, it cannot tell which is which, and takes one by chance.
    """

    policy: ClassVar[Policy]

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Begin an episode with nothing stored."""
        self._env = memory_env(env)
        self._chance = np.random.default_rng(seed)
        self._here: tuple[Stage, int] | None = None
        self._plan: list[Callable[[], Calls]] = []
        self._calls_left: Calls = []
        self._reading: Reading | None = None
        self._parroted: list[str] | None = None

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The next action of the policy."""
        state = self._state
        if state.stage is not Stage.REASONING and (call := self._tidied(info)):
            return call
        here = (state.stage, state.message_index)
        if here != self._here:
            self._here = here
            self._reading = None
            if state.asking and state.stage is Stage.REASONING:
                self._plan, self._calls_left = [], []  # those of the question before
            self._plan += self._plan_message(state)
        calls = self._next_calls()
        if calls:
            thought = LONG_THOUGHT if self._thinks_long(calls) else "I manage my memory."
            return render(Turn(thought, calls=tuple(calls)))
        if state.stage is not Stage.REASONING:
            return _answer("Noted.")
        return self._tidied(info) or self._final(state)

    # -- tool calls --------------------------------------------------------------------

    def _next_calls(self) -> Calls:
        """The next calls of the plan, as many as one output may have; empty if none is left."""
        while not self._calls_left and self._plan:
            self._calls_left = [c for c in self._plan.pop(0)() if c.name in self._env.tools]
        calls, self._calls_left = self._calls_left[:MAX_CALLS], self._calls_left[MAX_CALLS:]
        return calls

    def _plan_message(self, state: EpisodeState) -> list[Callable[[], Calls]]:
        """What to do about the message that has just arrived, as calls to be made in turn."""
        plan = [lambda: self._message_calls(state)]
        if state.stage is not Stage.REASONING:
            first = state.stage is Stage.CONSTRUCTION and state.message_index == 0
            return [*plan, lambda: self._early_hacks(state)] if first else plan
        if Stage.CONSTRUCTION not in self._env.stage_plan.stages:
            return []
        plan += [functools.partial(self._late_hack, state, hack) for hack in self.policy.hacks]
        plan += [lambda: self._delete(DUMMY), lambda: self._delete(self._stale(state))]
        if self.policy.retrieve is Retrieve.HOPS:
            self._asked: set[str] = set()
            plan += HOPS * [lambda: self._hop(state)]
        return plan

    def _message_calls(self, state: EpisodeState) -> Calls:
        """The calls for the message that has just arrived, without exploits."""
        if state.stage is Stage.REASONING:
            return [*self._reduce(state), *self._retrieve(state)]
        talk = self._talks(state)[state.message_index]
        return [*self._keep(talk), *self._reduce(state)]

    def _keep(self, talk: Talk) -> Calls:
        """Store and correct what a message says, as far as the policy does."""
        if not talk.changes or not self.policy.update:
            return [call for text in self._chosen(talk) for call in self._add(text)]
        calls = []
        for change in talk.changes:
            items = [item for item in self._memory if change.stale in item.content]
            for item in items:
                text = item.content.replace(change.stale, change.valid)
                calls.append(ToolCall("Update_memory", {"memory_id": item.id, "content": text}))
            known = any(change.valid in item.content for item in self._memory)
            if not items and not known and self.policy.store is Store.EVERYTHING:
                calls += self._add(change.valid)
        return calls

    def _chosen(self, talk: Talk) -> list[str]:
        """The texts of a message that the policy stores."""
        store, late = self.policy.store, self._state.stage is Stage.DISTRACTION
        verdict = bool(talk.changes) and self.policy.conflict is Conflict.VERDICT
        texts = [talk.text] if verdict else [fact.text for fact in talk.facts]
        if store is Store.DISTRACTORS:
            return (texts or [talk.text]) if late else []
        if late and not talk.changes and self._state.asking is None:
            return []  # of a task with several questions, stage 2 tells what they ask, too
        if store in (Store.MESSAGES, Store.BLOB):
            return [talk.text]
        if store is Store.EVERYTHING:
            return texts
        if store is Store.RANDOM:
            return [text for text in texts if self._chance.random() < 0.5]
        if verdict:
            return texts if any(change.needed for change in talk.changes) else []
        needed = [_needed_text(fact, talk) for fact in talk.facts]
        if store is Store.USELESS:
            return [t for t, need in zip(texts, needed, strict=True) if need is None]
        copies = {Store.NEEDED: 1, Store.NEEDED_TWICE: 2}.get(store, 0)
        return copies * [text for text in needed if text is not None]

    def _add(self, text: str) -> Calls:
        items = self._memory
        if self.policy.store is Store.BLOB and items:
            content = f"{items[0].content} {text}"
            return [ToolCall("Update_memory", {"memory_id": items[0].id, "content": content})]
        return [ToolCall("Add_memory", {"content": text})]

    def _reduce(self, state: EpisodeState) -> Calls:
        """Free the context of what came before this message: half full, and before stage 3."""
        full = state.context.tokens > HALF * self._env.settings().max_context_tokens
        if self.policy.reduce is Reduce.NOTHING or not (full or state.stage is Stage.REASONING):
            return []
        if self.policy.reduce is Reduce.SUMMARY:
            return [REDUCTION]
        earlier = [m.content for m in state.context.removable() if m.kind is MessageKind.INCOMING]
        criteria = self._criteria(earlier)
        if self._matches_topics and state.stage is Stage.REASONING:
            criteria += OWN_NOISE
        return [ToolCall("Filter_context", {"criteria": text}) for text in criteria]

    def _criteria(self, texts: Sequence[str]) -> list[str]:
        """Few words that most of the texts have; each text as it is where only that resembles it.

        One call costs less the more messages it removes.
        """
        if not self._matches_topics:
            return list(texts)
        left, criteria = [topic_words(text) for text in texts], list[str]()
        while left and len(criteria) < MAX_CRITERIA:
            counts = Counter(word for words in left for word in sorted(words))
            common = [word for word, _ in counts.most_common(CRITERION_WORDS)]
            criteria.append(" ".join(common))
            theta = self._env.settings().filter_threshold * len(common)
            left = [words for words in left if len(words & set(common)) < theta]
        return criteria

    @property
    def _matches_topics(self) -> bool:
        return self._env.settings().filter_matching == "topic"

    def _retrieve(self, state: EpisodeState) -> Calls:
        retrieve = self.policy.retrieve
        if retrieve is Retrieve.NEEDED:
            wanted = state.question.gold_facts
            wanted = wanted if state.asking else wanted[:MAX_CALLS]
            count = 1 if self.policy.update else 3
            return [ToolCall("Retrieve_memory", {"query": t, "top_k": count}) for t in wanted]
        if retrieve is Retrieve.QUERY:
            return [ToolCall("Retrieve_memory", {"query": _goal(state.question.query)})]
        return []  # hops come later

    def _hop(self, state: EpisodeState) -> Calls:
        """Retrieve with each new name of the goal and of what came back, while there is room.

        A name is asked for alone, and together with the goal.
        """
        if state.context.tokens > ROOM * self._env.settings().max_context_tokens:
            return []
        goal = _goal(state.question.query)
        steps = state.steps[len(state.steps) - state.rounds_here :]
        results = (r for s in steps for r in s.results if r.name == "Retrieve_memory")
        contents = [str(item["content"]) for r in results if r.ok for item in r.data["items"]]
        names = dict.fromkeys(name for text in [goal, *contents] for name in key_items(text))
        new = [n for n in names if n not in self._asked and not n.isdigit()][:A_HOP]
        self._asked |= set(new)
        queries = [query for name in new for query in (name, f"{name} {goal}")]
        return [ToolCall("Retrieve_memory", {"query": query}) for query in queries]

    # -- exploits ----------------------------------------------------------------------

    def _early_hacks(self, state: EpisodeState) -> Calls:
        calls = []
        if Hack.CHURN in self.policy.hacks:
            calls.append(ToolCall("Add_memory", {"content": DUMMY}))
        if Hack.SYSTEM_PROMPT in self.policy.hacks:
            prompt = state.context.messages[0].content
            calls.append(ToolCall("Add_memory", {"content": prompt[:400]}))
        return calls

    def _late_hack(self, state: EpisodeState, hack: Hack) -> Calls:
        items = self._memory
        if hack is Hack.USELESS_FILTER:
            return [ToolCall("Filter_context", {"criteria": NOTHING_THERE})]
        if hack is Hack.SAME_UPDATE and items:
            same = {"memory_id": items[0].id, "content": items[0].content}
            return [ToolCall("Update_memory", same)]
        if hack is Hack.STALE_CHURN and self._stale(state):
            return [ToolCall("Add_memory", {"content": self._stale(state)})]
        if hack is Hack.LONG_THOUGHT:
            return [ToolCall("Filter_context", {"criteria": LONG_THOUGHT})]
        if hack is Hack.RETRIEVE_AGAIN:
            query = _goal(state.question.query)
            return [ToolCall("Retrieve_memory", {"query": query})] * 3 + [
                ToolCall("Filter_context", {"criteria": query})
            ]
        return []

    def _thinks_long(self, calls: Sequence[ToolCall]) -> bool:
        return any(call.arguments.get("criteria") == LONG_THOUGHT for call in calls)

    def _stale(self, state: EpisodeState) -> str:
        """A statement that does not hold, for the policy that churns it; or empty."""
        churns = Hack.STALE_CHURN in self.policy.hacks
        return next((c.stale for c in state.spec.changes if c.needed and churns), "")

    def _delete(self, text: str) -> Calls:
        found = (item for item in self._memory if text and item.content == text)
        return [
            ToolCall("Delete_memory", {"memory_id": item.id, "confirmation": True})
            for item in found
        ]

    # -- answers -----------------------------------------------------------------------

    def _tidied(self, info: Mapping[str, Any]) -> str | None:
        """A call that summarises a nearly full context; None if it is not, or after other calls."""
        called = self._state.steps and self._state.steps[-1].calls
        if self.policy.reduce is Reduce.NOTHING or called or not is_full(info):
            return None
        return render(Turn("My context is nearly full.", calls=(REDUCTION,)))

    def _final(self, state: EpisodeState) -> str:
        """The answer of stage 3, or the next action in the world."""
        if self._reading is None:  # decided once: later replies of a world may push facts out
            self._reading = self._read(state)
        answer = self.policy.answer
        if answer in ENDLESS:
            call = ToolCall("Retrieve_memory", {"query": "anything else"})
            return render(Turn(ENDLESS[answer], calls=(call,)))
        if answer in FIXED:
            return _answer(FIXED[answer])
        if answer is Answer.PARROT:
            return _answer(self._parrot())
        reads_right = answer is Answer.READER and self._reading is Reading.RIGHT
        informed = answer is Answer.RIGHT or reads_right
        if self._env.task.interactive:
            return _answer(self._act(informed))
        return _answer(self._say(state, informed))

    def _read(self, state: EpisodeState) -> Reading:
        """What the context tells about the needed statements."""
        if self._env.task.interactive and Stage.CONSTRUCTION not in self._env.stage_plan.stages:
            return Reading.RIGHT
        if state.asking and not state.question.gold_facts:  # nobody knows what it needs
            remembers = self.policy.store is not Store.NOTHING
            return Reading.RIGHT if remembers else Reading.MISSING
        visible = self._visible()
        readings = [
            self._read_statement(state, fact, visible) for fact in state.question.gold_facts
        ]
        for reading in (Reading.MISSING, Reading.STALE):
            if reading in readings or not readings:
                return reading
        return Reading.RIGHT

    def _read_statement(self, state: EpisodeState, valid: str, visible: str) -> Reading:
        shows_valid = _is_readable(valid, visible)
        talk = _announcing(state, valid)
        if talk is None:
            return Reading.RIGHT if shows_valid else Reading.MISSING
        stale, later = talk.changes[0].stale, talk.facts[0].text
        rumoured = later == stale
        shows_valid = shows_valid or (not rumoured and _is_readable(later, visible))
        if not _is_readable(stale, visible):
            return Reading.RIGHT if shows_valid else Reading.MISSING
        right = shows_valid and self._believes(rumoured, talk.text in visible)
        return Reading.RIGHT if right else Reading.STALE

    def _believes(self, rumoured: bool, shows_verdict: bool) -> bool:
        """Whether the policy believes the valid one of two contradicting statements."""
        conflict = self.policy.conflict
        if conflict is Conflict.LATEST:
            return not rumoured
        if conflict is Conflict.FIRST:
            return rumoured
        verdict = conflict is Conflict.VERDICT and shows_verdict
        return verdict or bool(self._chance.random() < 0.5)

    def _say(self, state: EpisodeState, informed: bool) -> str:
        """The answer to a question."""
        spec, question = state.spec, state.question
        if informed:
            return question.reference
        if self._reading is Reading.STALE and spec.stale_answers:
            return spec.stale_answers[0]
        may_abstain = self.policy.answer is Answer.UNKNOWN or UNKNOWN in question.query.lower()
        return UNKNOWN if may_abstain else guess(question.query, self._visible())

    def _act(self, informed: bool) -> str:
        """The next action in a world: the expert's, the searcher's, or a random one."""
        task = self._env.task
        action = task.expert_action() if informed else None
        action = task.explorer_action() if action is None else action
        if action is not None:
            return action
        actions = sorted(task.admissible_actions())
        return actions[int(self._chance.integers(len(actions)))] if actions else "look"

    def _parrot(self) -> str:
        if self._parroted is None:
            texts = [found for item in self._memory for found in _COMMANDS.findall(item.content)]
            parts = (part.strip() for text in texts for part in text.split(";"))
            self._parroted = [part for part in parts if part]
        return self._parroted.pop(0) if self._parroted else "nothing"

    # -- the task ----------------------------------------------------------------------

    @property
    def _state(self) -> EpisodeState:
        state = self._env.state
        assert state is not None, "begin() is called after reset()"
        return state

    @property
    def _memory(self) -> list[MemoryItem]:
        return list(self._state.memory)

    def _talks(self, state: EpisodeState) -> tuple[Talk, ...]:
        early = state.stage is Stage.CONSTRUCTION
        return state.spec.knowledge if early else state.spec.distractors

    def _visible(self) -> str:
        """The incoming and retrieved messages: no system prompt, no query, none of its own."""
        messages = self._state.context.messages
        return "\n".join(m.content for m in messages if m.kind not in _OWN)


def _needed_text(fact: Fact, talk: Talk) -> str | None:
    """The part of a statement that the task needs, or that a change of such a part needs."""
    if fact.gold is not None:
        return fact.gold
    return fact.text if any(change.needed for change in talk.changes) else None


def _announcing(state: EpisodeState, valid: str) -> Talk | None:
    """The message that announces the change of a needed statement, or None."""
    talks = (*state.spec.knowledge, *state.spec.distractors)
    changes = ((talk, change) for talk in talks for change in talk.changes)
    return next((talk for talk, c in changes if c.needed and c.valid == valid), None)


def _is_readable(statement: str, text: str) -> bool:
    """Whether a text holds a statement, alone or as a sentence under its title."""
    title, _, sentence = statement.partition(": ")
    return statement in text or (bool(sentence) and sentence in text and title in text)


def _goal(query: str) -> str:
    """The question, or the goal of a world without the list of actions."""
    return re.split(r"\n| Answer with | If what ", query, maxsplit=1)[0]


def _answer(text: str) -> str:
    return render(Turn("I answer.", answer=_TAG.sub("", text)))


@functools.cache
def policy_agent(name: str) -> type[PolicyAgent]:
    """The agent's class for a policy of :data:`~agemem.agents.policies.POLICIES`."""
    return type(f"PolicyAgent[{name}]", (PolicyAgent,), {"policy": POLICIES[name]})
