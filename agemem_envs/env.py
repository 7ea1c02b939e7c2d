"""MemoryEnv: one Gymnasium environment for every benchmark.

It owns the short-term context, the long-term memory, the six tools and the three stages.
A benchmark is a :class:`~agemem_envs.tasks.base.Task`; nothing here names one.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from agemem_envs import prompts, protocol
from agemem_envs.context import Context
from agemem_envs.encoders import Encoder, make_encoder
from agemem_envs.env_settings import EnvSettings, EpisodeSettings
from agemem_envs.episode import DataSource, Episode, MessageKind, Step, StopReason
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.judges import Judge, make_judge
from agemem_envs.judging.rewards import RewardConfig, key_items, make_reward
from agemem_envs.judging.scoring import scored
from agemem_envs.memory.base import LongTermMemory, MemoryView
from agemem_envs.memory.registry import make_memory
from agemem_envs.settings import settings_of
from agemem_envs.spaces import UnicodeText, sample_action
from agemem_envs.stages import Stage, StagePlan, protocol_stages
from agemem_envs.state import EpisodeState
from agemem_envs.summarizers import Summarizer, make_summarizer
from agemem_envs.tasks.base import Task, make_task
from agemem_envs.tokens import TokenCounter, make_token_counter
from agemem_envs.tools import Tool, ToolContext, choose_tools, execute, render_hits

MAX_SHOWN_MALFORMED = 1_000
"""Characters of a malformed output that stay in the context."""
PARTS = {"tools", "encoder", "memory", "judge", "summarizer", "token_counter", "reward"}
"""Settings that may be given as an object in place of a name."""
MAX_RECORDED_ACTION = 4_096
"""Characters of a malformed output that stay in the record."""
MAX_LISTED_ACTIONS = 60
"""Admissible actions that ``list_actions`` names; the text says how many more there are."""

Transition: TypeAlias = tuple[str, float, bool, bool, dict[str, Any]]


class MemoryEnv(gym.Env[str, str]):
    """An agent's memory, in three stages.

    - Observation: the visible context as text; ``info["messages"]`` is the same as chat
      messages. It is the whole state that the policy may know, so a Filter or Summary is
      visible in it.
    - Action: the model's raw output in the protocol of :mod:`agemem_envs.protocol`. A
      malformed one is answered by a message and costs a round. Any text is accepted.
    - Stage 1 tells the knowledge message by message, each with an automatic retrieval; an
      ``<answer>`` asks for the next message. Stage 2 the same with distractors, after the
      context was reset. Stage 3 asks the query; ``<answer>`` is the final answer, or in an
      interactive world one action.
    - Reward: 0 until the end, then ``R(tau)`` of :mod:`agemem_envs.judging.rewards`; NaN if a judge
      failed (unscored). Gymnasium's own checks warn of a NaN; that is wanted.
    - ``terminated``: answered, or the world ended. ``truncated``: rounds or actions ran
      out, or the context overflowed.
    - ``info``: ``messages``, ``stage``, ``round``, ``tokens_used``, ``token_budget``,
      ``tools`` (schemas), ``task_id``, ``data_source``; at the end also ``success``,
      ``progress``, ``reward_breakdown`` and ``episode``.

    Args:
        task: A :class:`Task`, or ``"module:Class"``, which is called with the remaining options.
        render_mode: ``"ansi"`` or None.
        options: The fields of :class:`~agemem_envs.env_settings.EnvSettings` (``stages``,
            ``tools``, ``max_context_tokens``, ``top_k``, ...). ``encoder``, ``memory``,
            ``judge``, ``summarizer``, ``token_counter`` and ``reward`` may be objects too.
            All others are arguments of the task's class: ``split``, ``data``, ...

    Raises:
        ConfigurationError: An argument has an impossible value.
        MissingDependencyError: An argument asks for a library that is not installed.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(self, task: str | Task, *, render_mode: str | None = None, **options: Any) -> None:
        if render_mode not in (None, "ansi"):
            raise ConfigurationError(f"render_mode must be 'ansi' or None, got {render_mode!r}")
        asked, parts = _split(options)
        self.task = make_task(task, options)
        self.stage_plan = StagePlan(
            stages=protocol_stages(asked.stages),
            rounds_per_message=asked.rounds_per_message,
            task_rounds=_task_rounds(self.task, asked.max_task_rounds, asked.max_task_actions),
            task_actions=_default(asked.max_task_actions, self.task.default_task_actions),
        )
        self.tools: dict[str, Tool] = choose_tools(asked.tools)
        self.encoder: Encoder = make_encoder(parts.get("encoder", asked.encoder or "hashing"))
        self.judge: Judge = make_judge(parts.get("judge", asked.judge))
        self.summarizer: Summarizer = make_summarizer(parts.get("summarizer", asked.summarizer))
        self.token_counter: TokenCounter = make_token_counter(
            parts.get("token_counter", asked.token_counter or "approximate")
        )
        self.reward: RewardConfig = make_reward(parts.get("reward", asked.reward))
        self._memory: LongTermMemory = make_memory(parts.get("memory", asked.memory), self.encoder)
        self._settings = self._resolved(asked)
        self.render_mode = render_mode
        self.state: EpisodeState | None = None
        budget = asked.max_context_tokens
        schemas = [tool.schema for tool in self.tools.values()]
        self._schemas_json = json.dumps(schemas)
        self._system_prompt = prompts.system_prompt(schemas, budget, self._with_stage_messages)
        needed = self.token_counter.count(self._system_prompt)
        if needed >= budget:
            raise ConfigurationError(
                f"max_context_tokens={budget} is too small for the system prompt ({needed} tokens)"
            )
        self._max_observation = 16 * budget + (1 << 18)
        self.observation_space = UnicodeText(self._max_observation)
        self.action_space = UnicodeText(
            protocol.MAX_ACTION_CHARS, partial(sample_action, tools=tuple(self.tools))
        )

    def _resolved(self, asked: EnvSettings) -> EpisodeSettings:
        """The settings as they are recorded, every name and default resolved."""
        names = {
            "task": self.task.variant,
            "tools": tuple(self.tools),
            "encoder": self.encoder.name,
            "memory": self._memory.name,
            "judge": self.judge.name,
            "reward": asdict(self.reward),
            "summarizer": self.summarizer.name,
            "token_counter": self.token_counter.name,
            "max_task_rounds": self.stage_plan.task_rounds,
            "max_task_actions": self.stage_plan.task_actions,
        }
        values = {name: getattr(asked, name) for name in settings_of(EnvSettings)}
        return EpisodeSettings(**(values | names))

    # -- Gymnasium ---------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: One seed gives one episode, in any process.
            options: ``{"task_id": ...}`` chooses the task; else one is drawn.

        Raises:
            UnknownNameError: The split has no such task.
            ConfigurationError: An option is not known.
        """
        super().reset(seed=seed)
        self.state = None  # if the task cannot begin, no stale episode is left to step
        chosen = dict(options or {})
        task_id = chosen.pop("task_id", None)
        if chosen:
            raise ConfigurationError(f"unknown reset option {next(iter(chosen))!r}; known: task_id")
        # Two draws whether or not a task is chosen, so that the same seed tells it alike.
        rng = np.random.default_rng(int(self.np_random.integers(2**63)))
        drawn = self.task.sample_id(self.np_random) if task_id is None else str(task_id)
        spec = self.task.reset(drawn, rng, with_stage_messages=self._with_stage_messages)
        self._memory.clear()
        self.state = EpisodeState(
            spec=spec,
            seed=seed,
            rng=rng,
            context=Context(self.token_counter),
            memory=self._memory,
            stage=self.stage_plan.stages[0],
        )
        self.state.context.append(MessageKind.SYSTEM, self._system_prompt)
        self._begin_message(self.state)
        return self._observe(self.state)

    def step(self, action: str) -> Transition:
        """Carry out one model output. No text makes it raise.

        Raises:
            gymnasium.error.ResetNeeded: No episode is under way.
            SimulatorError: The world's simulator died, hung or failed.
            EndpointError: The server of an LLM summarizer failed for good.
        """
        state = self.state
        if state is None or state.stop_reason is not None:
            raise gym.error.ResetNeeded("call reset() before step(): no episode is under way")
        turn = protocol.parse(action)
        step = Step(
            index=len(state.steps),
            stage=state.stage,
            visible=tuple(message.id for message in state.context.messages),
            context_tokens=state.context.tokens,
            action=action if isinstance(action, str) else f"<{type(action).__name__}>",
        )
        state.rounds_here += 1
        if isinstance(turn, protocol.Malformed):
            step = self._reject(state, step, turn)
        elif turn.calls:
            step = self._call(state, step, turn)
        else:
            step = self._answer(state, step, turn)
        state.steps.append(step)
        self._advance(state, answered=step.answer is not None)
        if state.stop_reason is None and state.context.tokens > self._settings.max_context_tokens:
            state.stop_reason = StopReason.CONTEXT_OVERFLOW
        return self._transition(state)

    def render(self) -> str | None:
        """The visible context as text, in render mode ``ansi``; else None."""
        if self.render_mode != "ansi" or self.state is None:
            return None
        return self.state.context.render(self._max_observation)

    def close(self) -> None:
        """Release the task's simulators and the memory. Calling it again has no effect."""
        self.task.close()
        self._memory.close()

    # -- what an action does -----------------------------------------------------------

    def _reject(self, state: EpisodeState, step: Step, turn: protocol.Malformed) -> Step:
        shown = step.action[:MAX_SHOWN_MALFORMED]
        state.context.append(MessageKind.ASSISTANT, shown, step.index)
        reply = prompts.MALFORMED.format(reason=turn.reason)
        state.context.append(MessageKind.FEEDBACK, reply, step.index)
        return replace(step, action=step.action[:MAX_RECORDED_ACTION], malformed=turn.reason)

    def _call(self, state: EpisodeState, step: Step, turn: protocol.Turn) -> Step:
        state.context.append(MessageKind.ASSISTANT, step.action, step.index)
        effects = ToolContext(
            memory=state.memory,
            context=state.context,
            encoder=self.encoder,
            summarizer=self.summarizer,
            filter_threshold=self._settings.filter_threshold,
            top_k=self._settings.top_k,
        )
        results = tuple(execute(call, self.tools, effects) for call in turn.calls)
        text = "\n".join(f"{result.name[:40]}: {result.text}" for result in results)
        reply = prompts.TOOL_RESPONSE.format(text=text)
        state.context.append(MessageKind.TOOL_RESULT, reply, step.index)
        return replace(step, thought=turn.thought, calls=turn.calls, results=results)

    def _answer(self, state: EpisodeState, step: Step, turn: protocol.Turn) -> Step:
        answer = turn.answer or ""
        state.context.append(MessageKind.ASSISTANT, step.action, step.index)
        observation = None
        if state.stage is Stage.REASONING:
            state.prediction = answer
            state.task_actions += 1
            state.outcome = self.task.step(answer)
            if self.task.interactive:
                observation = self._with_actions(state.outcome.observation)
                state.context.append(MessageKind.OBSERVATION, observation, step.index)
        return replace(step, thought=turn.thought, answer=answer, observation=observation)

    # -- what comes next ---------------------------------------------------------------

    def _advance(self, state: EpisodeState, answered: bool) -> None:
        """Move to the next message or stage, or end the episode."""
        if state.stage is Stage.REASONING:
            if state.outcome is not None and state.outcome.done:
                interactive = self.task.interactive
                state.stop_reason = StopReason.WORLD_ENDED if interactive else StopReason.ANSWERED
            elif (
                state.rounds_here >= self.stage_plan.task_rounds
                or state.task_actions >= self.stage_plan.task_actions
            ):
                state.stop_reason = StopReason.ROUND_LIMIT
        elif answered or state.rounds_here >= self.stage_plan.rounds_per_message:
            state.message_index += 1
            state.rounds_here = 0
            self._begin_message(state)
        elif state.stage is Stage.CONSTRUCTION:
            self._show_memories(state, self._stage_messages(state)[state.message_index])

    def _begin_message(self, state: EpisodeState) -> None:
        """Let the next message arrive, in the next stage if this one has no more."""
        while state.stage is not Stage.REASONING and state.message_index >= len(
            self._stage_messages(state)
        ):
            stages = self.stage_plan.stages
            state.stage = stages[stages.index(state.stage) + 1]
            state.message_index = 0
            if state.stage.starts_with_fresh_context:
                state.context.reset()
        round_ = len(state.steps)
        if state.stage is Stage.REASONING:
            template = prompts.GOAL if self.task.interactive else prompts.QUESTION
            text = template.format(query=state.spec.query)
            if state.spec.briefing and not self._with_stage_messages:
                text += "\n\n" + state.spec.briefing
            state.context.append(MessageKind.QUERY, text, round_)
            if self.task.interactive:
                opening = self._with_actions(state.spec.opening)
                state.context.append(MessageKind.OBSERVATION, opening, round_)
            return
        told = self._stage_messages(state)[state.message_index]
        if state.stage is Stage.CONSTRUCTION:
            self._show_memories(state, told)
        form = prompts.INCOMING[int(state.rng.integers(len(prompts.INCOMING)))]
        state.context.append(MessageKind.INCOMING, form.format(text=told), round_)

    def _with_actions(self, observation: str) -> str:
        """A world's reply, with the admissible actions if they are to be listed."""
        if not self._settings.list_actions:
            return observation
        actions = sorted(self.task.admissible_actions())
        shown = ", ".join(_of_each_kind(actions, MAX_LISTED_ACTIONS))
        if len(actions) > MAX_LISTED_ACTIONS:
            shown += prompts.AND_MORE.format(count=len(actions) - MAX_LISTED_ACTIONS)
        return f"{observation}\n{prompts.ADMISSIBLE.format(actions=shown)}"

    def _stage_messages(self, state: EpisodeState) -> tuple[str, ...]:
        """The messages of the current stage (1 or 2)."""
        if state.stage is Stage.CONSTRUCTION:
            return tuple(fact.text for fact in state.spec.knowledge)
        return state.spec.distractors

    def _show_memories(self, state: EpisodeState, told: str) -> None:
        """Stage 1's automatic retrieval, before every model call; shown when it is news."""
        if not self._retrieves:
            return
        if len(state.memory):
            self.encoder.encode(
                self._stage_messages(state)
            )  # all of the stage in one batch; then cached
        hits = state.memory.search(told, self._settings.top_k)
        text = f"{prompts.MEMORIES}\n{render_hits(hits)}" if hits else ""
        shown = [m for m in state.context.messages if m.kind is MessageKind.MEMORIES]
        if [message.content for message in shown] == ([text] if text else []):
            return
        state.context.remove(lambda message: message.kind is MessageKind.MEMORIES)
        if text:
            state.context.append(MessageKind.MEMORIES, text, len(state.steps))

    @property
    def _with_stage_messages(self) -> bool:
        """Whether stages 1 and 2 are run."""
        return len(self.stage_plan.stages) > 1

    @property
    def _retrieves(self) -> bool:
        return any(tool.target == "ltm" for tool in self.tools.values())

    # -- what is returned --------------------------------------------------------------

    def _observe(self, state: EpisodeState) -> tuple[str, dict[str, Any]]:
        info: dict[str, Any] = {
            "messages": state.context.chat(),
            "stage": int(state.stage),
            "round": len(state.steps),
            "tokens_used": state.context.tokens,
            "token_budget": self._settings.max_context_tokens,
            "tools": json.loads(self._schemas_json),  # the caller's own copy
            "task_id": state.spec.id,
            "data_source": str(state.spec.source),
        }
        return state.context.render(self._max_observation), info

    def _transition(self, state: EpisodeState) -> Transition:
        reason, reward = state.stop_reason, 0.0
        if reason is not None:
            episode = state.episode = self._finish(state)
            total = episode.reward.total if episode.reward else None
            reward = math.nan if total is None else total
        observation, info = self._observe(state)
        if state.episode is not None:
            info["success"] = state.episode.success
            info["progress"] = state.episode.progress
            info["reward_breakdown"] = state.episode.reward
            info["episode"] = state.episode
        terminated = reason in (StopReason.ANSWERED, StopReason.WORLD_ENDED)
        return observation, reward, terminated, reason is not None and not terminated, info

    def _finish(self, state: EpisodeState) -> Episode:
        """The complete, scored record."""
        record = self.record()
        outcome = state.outcome
        record = replace(
            record,
            success=bool(outcome and outcome.success),
            progress=outcome.progress if outcome else 0.0,
        )
        metrics = dict(self.task.metrics(record))
        native = None
        if self.task.interactive:
            metrics["actions"] = float(state.task_actions)
            native = (outcome.score if outcome else 0.0) or 0.0
        return scored(replace(record, metrics=metrics), self.judge, self.reward, native)

    @property
    def env_id(self) -> str:
        """The Gymnasium id, or the task's name if the environment was made by hand."""
        return self.spec.id if self.spec else self.task.name

    @property
    def source(self) -> DataSource:
        """Where the tasks come from."""
        return self.task.source

    def recall(self, query: str, top_k: int | None = None) -> list[str]:
        """The texts of the most similar memories, best first; at most ``top_k``.

        For an agent that retrieves by itself. It costs no round and is not recorded.

        Raises:
            gymnasium.error.ResetNeeded: There is no episode yet.
        """
        if self.state is None:
            raise gym.error.ResetNeeded("call reset() before recall()")
        hits = self.state.memory.search(query, self._settings.top_k if top_k is None else top_k)
        return [hit.item.content for hit in hits]

    def use_memory(self, memory: MemoryView) -> None:
        """Record and score another memory in this episode, in place of the environment's own.

        For an agent with a memory system of its own: memory quality then judges what that has
        stored. The tools keep working on the environment's memory. Call it after
        :meth:`reset`, which ends its effect.

        Raises:
            gymnasium.error.ResetNeeded: There is no episode yet.
        """
        if self.state is None:
            raise gym.error.ResetNeeded("call reset() before use_memory()")
        self.state.view = memory

    def overflow(self) -> Episode:
        """End the episode as overflowed, and score it.

        For whoever calls the model and learns that the prompt does not fit into its window,
        which the environment's own count did not show.

        Raises:
            gymnasium.error.ResetNeeded: No episode is under way.
        """
        state = self.state
        if state is None or state.stop_reason is not None:
            raise gym.error.ResetNeeded("no episode is under way")
        state.stop_reason = StopReason.CONTEXT_OVERFLOW
        state.episode = self._finish(state)
        return state.episode

    def record(self) -> Episode:
        """The record of the episode as far as it went, not scored.

        For whoever must end an episode from outside, say because a model server failed.

        Raises:
            gymnasium.error.ResetNeeded: There was no episode yet.
        """
        state = self.state
        if state is None:
            raise gym.error.ResetNeeded("there is no episode to record: call reset() first")
        spec = state.spec
        return Episode(
            env_id=self.env_id,
            task_id=spec.id,
            seed=state.seed,
            source=spec.source,
            category=spec.category,
            difficulty=spec.difficulty,
            query=spec.query,
            reference=spec.reference,
            gold_facts=spec.gold_facts,
            key_items=key_items(spec.query),
            settings=self.settings(),
            interactive=self.task.interactive,
            messages=tuple(state.context.history),
            steps=tuple(state.steps),
            final_tokens=state.context.tokens,
            memories=tuple(state.memory if state.view is None else state.view),
            stop_reason=state.stop_reason,
            prediction=state.prediction,
        )

    def settings(self) -> EpisodeSettings:
        """What an episode's result depends on beside the task and the agent."""
        return self._settings


def _of_each_kind(actions: Sequence[str], count: int) -> list[str]:
    """``count`` sorted actions, of each first word in turn."""
    kinds: dict[str, list[str]] = {}
    for action in actions:
        kinds.setdefault(action.partition(" ")[0], []).append(action)
    turns = itertools.zip_longest(*kinds.values())
    chosen = [action for turn in turns for action in turn if action is not None]
    return sorted(chosen[:count])


def _task_rounds(task: Task, rounds: int | None, actions: int | None) -> int:
    """The rounds of stage 3: if only actions are given, as many more as the benchmark leaves."""
    if rounds is not None or actions is None or not task.interactive:
        return _default(rounds, task.default_task_rounds)
    return actions + task.default_task_rounds - task.default_task_actions


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def _split(options: dict[str, Any]) -> tuple[EnvSettings, dict[str, Any]]:
    """Take the environment's settings out of its arguments.

    Args:
        options: What remains in it belongs to the task.

    Returns:
        The settings; and, by name, the objects that were given in place of names.
    """
    given = {name: options.pop(name) for name in settings_of(EnvSettings) if name in options}
    parts = {}
    for name in PARTS & given.keys():
        if given[name] is None:
            raise ConfigurationError(f"{name} must not be None; leave it out for the default")
        if not isinstance(given[name], str):
            parts[name] = given.pop(name)
    if isinstance(given.get("tools"), list):
        given["tools"] = tuple(given["tools"])
    return EnvSettings(**given), parts
