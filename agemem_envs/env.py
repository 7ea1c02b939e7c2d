"""MemoryEnv: one Gymnasium environment for every benchmark.

It owns the short-term context, the long-term memory, the six tools and the three stages.
A benchmark is a :class:`~agemem_envs.tasks.base.Task`; this module depends on none of them.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym
import msgspec
import numpy as np

from agemem_envs import prompts, turns
from agemem_envs.asking import Asking
from agemem_envs.context import ChatMessages, Context
from agemem_envs.counting import COUNTINGS
from agemem_envs.encoders import Encoder, encode_queries, make_encoder
from agemem_envs.env_settings import EnvSettings, EpisodeSettings
from agemem_envs.episode import DataSource, Episode, MemoryItem, MessageKind, Step, StopReason
from agemem_envs.errors import ConfigurationError, PromptTooLongError
from agemem_envs.judging.judges import Judge, make_judge
from agemem_envs.judging.rewards import RewardConfig, make_reward
from agemem_envs.judging.scoring import scored
from agemem_envs.memory.base import LongTermMemory, MemoryView
from agemem_envs.memory.registry import make_memory
from agemem_envs.protocols import DEFAULT, resolve
from agemem_envs.settings import settings_of
from agemem_envs.similarity import make_similarity
from agemem_envs.spaces import UnicodeText, sample_action
from agemem_envs.stages import Stage, StagePlan, named_stages
from agemem_envs.state import EpisodeState
from agemem_envs.summarizers import Summarizer, make_summarizer
from agemem_envs.tasks.base import Task, TaskSpec, make_task
from agemem_envs.tokens import TokenCounter, make_token_counter
from agemem_envs.tools import Tool, ToolContext, choose_tools, execute, render_hits

MAX_SHOWN_MALFORMED = 1_000
"""Characters of a malformed output that are kept in the context."""
PARTS = {"tools", "encoder", "memory", "judge", "summarizer", "token_counter", "reward"}
"""Settings that accept an object instead of a name."""
MAX_RECORDED_ACTION = 4_096
"""Characters of a malformed output that are kept in the record."""
MAX_LISTED_ACTIONS = 60
"""Most admissible actions that ``list_actions`` shows, followed by the number of the others."""

Transition: TypeAlias = tuple[str, float, bool, bool, dict[str, Any]]


class MemoryEnv(gym.Env[str, str]):
    """An environment for an agent that manages its own memory, in three stages.

    - Observation: the visible context as text; ``info["messages"]`` holds it as chat messages.
      It is all that the policy may know of the state, and it shows the effect of
      ``Filter_context`` and ``Summary_context``.
    - Action: the model's raw output in the protocol of :mod:`agemem_envs.turns`. Any text is
      accepted; a malformed one gets a feedback message and costs a round.
    - Stage 1 presents the knowledge message by message, each with an automatic retrieval; an
      ``<answer>`` requests the next message. Stage 2 resets the context and presents distractors
      in the same way, without the retrieval. Stage 3 presents the query; ``<answer>`` is the final
      answer or, in an interactive world, one action.
    - A task may ask several questions about one memory. Each has its own rounds, and is asked of
      the context that stage 3 began with, so that no answer is seen by a later question. Long-term
      memory can then be read only in stage 3. ``info["question"]`` is the index of the question.
    - Reward: 0 until the end, then ``R(tau)`` of :mod:`agemem_envs.judging.rewards`, or NaN if a
      judge failed (unscored). Gymnasium's own checks warn of the NaN, as intended.
    - ``terminated``: the query was answered, or the world ended the task. ``truncated``: rounds or
      actions ran out, or the context overflowed.
    - ``info``: ``messages``, ``stage``, ``round``, ``tokens_used``, ``token_budget``,
      ``tools`` (schemas), ``task_id``, ``data_source``; in stage 3 also ``success``,
      ``progress`` (the best so far) and ``refused`` (whether the world did not accept the last
      action); at the end also ``reward_breakdown`` and ``episode``.

    Args:
        task: A :class:`Task`, or the ``"module:Class"`` of one, which is called with the options
            that are not settings of the environment.
        render_mode: ``"ansi"`` or None.
        options: The fields of :class:`~agemem_envs.env_settings.EnvSettings` (``stages``,
            ``tools``, ``max_context_tokens``, ``top_k``, ...). ``encoder``, ``memory``,
            ``judge``, ``summarizer``, ``token_counter`` and ``reward`` also accept objects.
            All other options are arguments of the task's class: ``split``, ``data``, ...

    Raises:
        ConfigurationError: An argument has an invalid value.
        MissingDependencyError: An argument needs a library that is not installed.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(self, task: str | Task, *, render_mode: str | None = None, **options: Any) -> None:
        if render_mode not in (None, "ansi"):
            raise ConfigurationError(f"render_mode must be 'ansi' or None, got {render_mode!r}")
        resolved = resolve(options.pop("protocol", None) or DEFAULT, task, options)
        settings, parts = _split(resolved.settings)
        self.task = make_task(task, resolved.task)
        self.stage_plan = StagePlan(
            stages=named_stages(resolved.settings["stages"]),
            rounds_per_message=settings.rounds_per_message,
            task_rounds=_task_rounds(
                self.task, settings.max_task_rounds, settings.max_task_actions
            ),
            task_actions=_default(settings.max_task_actions, self.task.default_task_actions),
        )
        self._rounds_given = settings.max_task_rounds is not None
        self.tools: dict[str, Tool] = choose_tools(settings.tools)
        self.encoder: Encoder = make_encoder(parts.get("encoder", settings.encoder or "hashing"))
        self.judge: Judge = make_judge(parts.get("judge", settings.judge))
        self.summarizer: Summarizer = make_summarizer(parts.get("summarizer", settings.summarizer))
        self.token_counter: TokenCounter = make_token_counter(
            parts.get("token_counter", settings.token_counter or "approximate")
        )
        self.reward: RewardConfig = make_reward(parts.get("reward", resolved.settings["reward"]))
        self._memory: LongTermMemory = make_memory(
            parts.get("memory", settings.memory), self.encoder
        )
        self._settings = self._resolved(settings, resolved.overridden)
        self._similarity = make_similarity(self._settings.filter_matching, self.encoder)
        self.render_mode = render_mode
        self.state: EpisodeState | None = None
        budget = self._settings.max_context_tokens
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
            turns.MAX_ACTION_CHARS, partial(sample_action, tools=tuple(self.tools))
        )

    def _resolved(self, settings: EnvSettings, overridden: tuple[str, ...]) -> EpisodeSettings:
        """The settings as episodes record them, with every name and default resolved."""
        names = {
            "task": self.task.variant,
            "overridden": overridden,
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
        values = {name: getattr(settings, name) for name in settings_of(EnvSettings)}
        return EpisodeSettings(**(values | names))

    # -- Gymnasium ---------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: The same seed gives the same episode, in any process.
            options: ``{"task_id": ...}`` selects the task; without it, a task is sampled.

        Raises:
            UnknownNameError: The split has no task with this id.
            ConfigurationError: An option is unknown.
        """
        super().reset(seed=seed)
        self.state = None  # if the task cannot begin, no stale episode can be stepped
        remaining = dict(options or {})
        task_id = remaining.pop("task_id", None)
        if remaining:
            option = next(iter(remaining))
            raise ConfigurationError(f"unknown reset option {option!r}. Known: task_id.")
        # The episode's generator is seeded before a task is sampled, so that a seed gives the same
        # messages whether or not the task is selected.
        rng = np.random.default_rng(int(self.np_random.integers(2**63)))
        task_id = self.task.sample_id(self.np_random) if task_id is None else str(task_id)
        spec = self.task.reset(task_id, rng, with_stage_messages=self._with_stage_messages)
        self._memory.clear()
        self.state = EpisodeState(
            spec=spec,
            seed=seed,
            rng=rng,
            context=Context(self.token_counter),
            memory=self._memory,
            stage=self.stage_plan.stages[0],
            actions_allowed=self._actions_allowed(spec),
            rounds_allowed=self._rounds_allowed(spec),
            asking=Asking(spec.questions) if spec.questions else None,
        )
        self.state.context.append(MessageKind.SYSTEM, self._system_prompt)
        self._begin_message(self.state)
        return self._observe(self.state)

    def step(self, action: str) -> Transition:
        """Carry out one model output. No text of the model raises an error.

        Raises:
            gymnasium.error.ResetNeeded: No episode is in progress.
            SimulatorError: The world's simulator died, hung or failed.
            EndpointError: The server of an LLM summarizer failed, after all retries.
        """
        state = self.state
        if state is None or state.stop_reason is not None:
            raise gym.error.ResetNeeded("call reset() before step(): no episode is in progress")
        turn = turns.parse(action)
        step = Step(
            index=len(state.steps),
            stage=state.stage,
            visible=tuple(message.id for message in state.context.messages),
            context_tokens=state.context.tokens,
            action=action if isinstance(action, str) else f"<{type(action).__name__}>",
        )
        state.rounds_here += 1
        if isinstance(turn, turns.Malformed):
            step = self._reject(state, step, turn)
        elif turn.calls:
            step = self._call(state, step, turn)
        else:
            step = self._answer(state, step, turn)
        state.steps.append(step)
        self._advance(state, answered=step.answer is not None)
        self._end_overflowing(state)
        return self._transition(state)

    def render(self) -> str | None:
        """The visible context as text in render mode ``ansi``; None without a render mode."""
        if self.render_mode != "ansi" or self.state is None:
            return None
        return self.state.context.render(self._max_observation)

    def close(self) -> None:
        """Release the task's simulators and the memory. Calling it again has no effect."""
        self.task.close()
        self._memory.close()

    def _actions_allowed(self, spec: TaskSpec) -> int:
        """The action limit of a task: the expert's actions times the factor, where both are set."""
        limit, factor = self.stage_plan.task_actions, self._settings.action_factor
        if factor is None or spec.expert_actions is None:
            return limit
        return min(limit, math.ceil(factor * spec.expert_actions))

    def _rounds_allowed(self, spec: TaskSpec) -> int:
        """The rounds of stage 3. An action limit of the task keeps the benchmark's margin."""
        rounds, actions = self.stage_plan.task_rounds, self.stage_plan.task_actions
        return rounds if self._rounds_given else rounds - actions + self._actions_allowed(spec)

    # -- effects of an action ----------------------------------------------------------

    def _reject(self, state: EpisodeState, step: Step, turn: turns.Malformed) -> Step:
        beginning = step.action[:MAX_SHOWN_MALFORMED]
        state.context.append(MessageKind.ASSISTANT, beginning, step.index)
        reply = prompts.MALFORMED.format(reason=turn.reason)
        state.context.append(MessageKind.FEEDBACK, reply, step.index)
        return replace(step, action=step.action[:MAX_RECORDED_ACTION], malformed=turn.reason)

    def _call(self, state: EpisodeState, step: Step, turn: turns.Turn) -> Step:
        state.context.append(MessageKind.ASSISTANT, step.action, step.index)
        effects = ToolContext(
            memory=state.memory,
            context=state.context,
            similarity=self._similarity,
            summarizer=self.summarizer,
            filter_threshold=self._settings.filter_threshold,
            top_k=self._settings.top_k,
            max_top_k=self._settings.max_top_k,
            memory_is_fixed=state.asking is not None and state.stage is Stage.REASONING,
        )
        results = tuple(execute(call, self.tools, effects) for call in turn.calls)
        text = prompts.without_end("\n".join(f"{r.name[:40]}: {r.text}" for r in results))
        reply = prompts.TOOL_RESPONSE.format(text=text)
        state.context.append(MessageKind.TOOL_RESULT, reply, step.index)
        return replace(step, thought=turn.thought, calls=turn.calls, results=results)

    def _answer(self, state: EpisodeState, step: Step, turn: turns.Turn) -> Step:
        answer = turn.answer or ""
        state.context.append(MessageKind.ASSISTANT, step.action, step.index)
        observation = None
        if state.stage is Stage.REASONING:
            state.prediction = answer
            state.task_actions += 1
            outcome = state.outcome = None if state.asking else self.task.step(answer)
            if outcome is not None and self.task.interactive:
                observation = self._with_actions(outcome.observation)
                state.context.append(MessageKind.OBSERVATION, observation, step.index)
        return replace(step, thought=turn.thought, answer=answer, observation=observation)

    # -- messages and stages -----------------------------------------------------------

    def _advance(self, state: EpisodeState, answered: bool) -> None:
        """Move to the next message, question or stage, or end the episode."""
        if state.stage is Stage.REASONING and state.asking is not None:
            if answered:
                self._end(state, StopReason.ANSWERED, state.prediction)
            elif state.rounds_here >= state.rounds_allowed:
                self._end(state, StopReason.ROUND_LIMIT)
        elif state.stage is Stage.REASONING:
            if state.outcome is not None and state.outcome.done:
                interactive = self.task.interactive
                state.stop_reason = StopReason.WORLD_ENDED if interactive else StopReason.ANSWERED
            elif (
                state.rounds_here >= state.rounds_allowed
                or state.task_actions >= state.actions_allowed
            ):
                state.stop_reason = StopReason.ROUND_LIMIT
        elif answered or state.rounds_here >= self.stage_plan.rounds_per_message:
            state.message_index += 1
            state.rounds_here = 0
            self._begin_message(state)
        elif state.stage is Stage.CONSTRUCTION:
            self._show_memories(state, self._stage_messages(state)[state.message_index])

    def _end_overflowing(self, state: EpisodeState) -> None:
        """End the episode, or each question in turn, while the context is over the budget."""
        budget = self._settings.max_context_tokens
        while state.stop_reason is None and state.context.tokens > budget:
            self._end(state, StopReason.CONTEXT_OVERFLOW)

    def _end(self, state: EpisodeState, why: StopReason, prediction: str | None = None) -> None:
        """End the question in progress and ask the next; or end the episode, if there is none."""
        asking = state.asking
        if asking is not None and state.stage is Stage.REASONING:
            asking.end(why, prediction)
            if not asking.ended:
                state.rounds_here = 0
                state.message_index += 1
                self._begin_message(state)
                return
        state.stop_reason = why

    def _begin_message(self, state: EpisodeState) -> None:
        """Append the next message, from the next stage if this one has no more."""
        while state.stage is not Stage.REASONING and state.message_index >= len(
            self._stage_messages(state)
        ):
            stages = self.stage_plan.stages
            if state.stage.ends_with_reset:
                state.context.reset()
            state.stage = stages[stages.index(state.stage) + 1]
            state.message_index = 0
        round_ = len(state.steps)
        if state.stage is Stage.REASONING:
            if state.asking is not None:
                state.asking.prepare(state.context)
            template = prompts.GOAL if self.task.interactive else prompts.QUESTION
            text = template.format(query=state.question.query)
            if state.spec.preamble:
                text = f"{state.spec.preamble}\n\n{text}"
            if state.actions_allowed < self.stage_plan.task_actions:
                text += prompts.ACTION_LIMIT.format(count=state.actions_allowed)
            if state.spec.briefing and not self._with_stage_messages:
                text += "\n\n" + state.spec.briefing
            state.context.append(MessageKind.QUERY, text, round_)
            if self.task.interactive:
                opening = self._with_actions(state.spec.opening)
                state.context.append(MessageKind.OBSERVATION, opening, round_)
            return
        message = self._stage_messages(state)[state.message_index]
        if state.stage is Stage.CONSTRUCTION:
            self._show_memories(state, message)
        form = prompts.INCOMING[int(state.rng.integers(len(prompts.INCOMING)))]
        state.context.append(MessageKind.INCOMING, form.format(text=message), round_)

    def _with_actions(self, observation: str) -> str:
        """A world's observation, followed by the admissible actions if ``list_actions`` is set."""
        if not self._settings.list_actions:
            return observation
        actions = sorted(self.task.admissible_actions())
        text = ", ".join(_of_each_kind(actions, MAX_LISTED_ACTIONS))
        if len(actions) > MAX_LISTED_ACTIONS:
            text += prompts.AND_MORE.format(count=len(actions) - MAX_LISTED_ACTIONS)
        return f"{observation}\n{prompts.ADMISSIBLE.format(actions=text)}"

    def _stage_messages(self, state: EpisodeState) -> tuple[str, ...]:
        """The messages of the current stage (1 or 2)."""
        if state.stage is Stage.CONSTRUCTION:
            return tuple(talk.text for talk in state.spec.knowledge)
        return tuple(talk.text for talk in state.spec.distractors)

    def _show_memories(self, state: EpisodeState, message: str) -> None:
        """Retrieve memories before a model call of stage 1; show them unless they are unchanged."""
        if not self._retrieves:
            return
        if len(state.memory):
            # One batch for all messages of the stage; later calls find them in the cache.
            encode_queries(self.encoder, self._stage_messages(state))
        hits = state.memory.search(message, self._settings.top_k)
        text = f"{prompts.MEMORIES}\n{render_hits(hits)}" if hits else ""
        previous = [m.content for m in state.context.messages if m.kind is MessageKind.MEMORIES]
        if previous == ([text] if text else []):
            return
        state.context.remove(lambda m: m.kind is MessageKind.MEMORIES)
        if text:
            state.context.append(MessageKind.MEMORIES, text, len(state.steps))

    @property
    def _with_stage_messages(self) -> bool:
        """Whether stages 1 and 2 are played."""
        return len(self.stage_plan.stages) > 1

    @property
    def _retrieves(self) -> bool:
        return any(tool.target == "ltm" for tool in self.tools.values())

    # -- observations and records ------------------------------------------------------

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
        if state.stage is Stage.REASONING:
            outcome = state.outcome
            info["success"] = outcome is not None and outcome.success
            info["progress"] = 0.0 if outcome is None else outcome.progress
            info["refused"] = outcome is not None and outcome.refused
            if state.asking is not None:
                # Until the end, it would tell how good the answers so far were.
                info["progress"] = state.asking.progress if state.asking.ended else 0.0
                info["question"] = state.message_index
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
        """The complete and scored record of the episode."""
        record = self.record()
        record = replace(record, judged=self._judged(record), **self._achieved(state))
        outcome = state.outcome
        metrics = dict(self.task.metrics(record))
        native = None
        if self.task.interactive:
            metrics["actions"] = float(state.task_actions)
            native = (outcome.score if outcome else 0.0) or 0.0
        return scored(replace(record, metrics=metrics), self.judge, self.reward, native)

    def _achieved(self, state: EpisodeState) -> dict[str, Any]:
        """Success and progress, as fields of the record, and the score of each question."""
        outcome, asking = state.outcome, state.asking
        if asking is None or state.stop_reason is None:
            success = bool(outcome and outcome.success)
            return {"success": success, "progress": outcome.progress if outcome else 0.0}
        asked = asking.complete(state.stop_reason)
        right = all(one.score == 1.0 for one in asked)
        return {"questions": asked, "success": right, "progress": asking.progress}

    def _judged(self, record: Episode) -> tuple[str, ...] | None:
        """The ids of the memories that memory quality judges, or None for all."""
        most = COUNTINGS[self._settings.counting].judged_memories
        if most is None or len(record.memories) <= most:
            return None
        query = encode_queries(self.encoder, [record.query])[0]
        vectors = self.encoder.encode([memory.content for memory in record.memories])
        order = np.argsort(-(vectors @ query), kind="stable")
        return tuple(record.memories[index].id for index in order[:most])

    @property
    def env_id(self) -> str:
        """The Gymnasium id, or the task's name if the environment was not made by ``gym.make``."""
        return self.spec.id if self.spec else self.task.name

    @property
    def source(self) -> DataSource:
        """The data source of the tasks."""
        return self.task.source

    def recall(self, query: str, top_k: int | None = None) -> list[str]:
        """The texts of the most similar memories, best first; at most ``top_k``.

        For an agent that retrieves by itself. It costs no round and is not recorded.

        Raises:
            gymnasium.error.ResetNeeded: ``reset`` was never called.
        """
        if self.state is None:
            raise gym.error.ResetNeeded("call reset() before recall()")
        hits = self.state.memory.search(query, self._settings.top_k if top_k is None else top_k)
        return [hit.item.content for hit in hits]

    def show_recalled(self, texts: Sequence[str]) -> ChatMessages:
        """Show memories that an agent retrieved by itself, before its model is called.

        They are a message of the context, so they count in its tokens. Under the setting
        ``recalled="replaced"`` they stand before what arrived last and replace those shown
        before. Under ``"kept"`` they are appended when a message has just arrived, and those
        shown before stay.

        Args:
            texts: The memories; empty for none.

        Returns:
            The context as chat messages.

        Raises:
            PromptTooLongError: The context is over its budget now. Make it shorter, or end the
                episode by :meth:`overflow`: no model may be called with it.
            gymnasium.error.ResetNeeded: No episode is in progress.
        """
        state = self.state
        if state is None or state.stop_reason is not None:
            raise gym.error.ResetNeeded("call reset() before show_recalled()")
        context, replaced = state.context, self._settings.recalled == "replaced"
        if replaced:
            context.remove(lambda message: message.kind is MessageKind.RECALLED)
        if texts and (replaced or context.awaits_reply):
            listed = "\n".join(f"- {text}" for text in texts)
            text = prompts.RECALLED.format(memories=listed)
            context.append(
                MessageKind.RECALLED,
                text,
                len(state.steps),
                before_arrival=replaced,
                again=state.asking is not None,
            )
        if context.tokens > self._settings.max_context_tokens:
            raise PromptTooLongError(
                f"with the recalled memories the context has {context.tokens} tokens, over its "
                f"budget of {self._settings.max_context_tokens}"
            )
        return context.chat()

    def use_memory(self, memory: MemoryView) -> None:
        """Record and score another memory in this episode, instead of the environment's own.

        For an agent with its own memory system: memory quality then judges the content of that
        system. The tools still act on the environment's memory. Call it after each :meth:`reset`,
        which restores the environment's memory.

        Raises:
            gymnasium.error.ResetNeeded: ``reset`` was never called.
        """
        if self.state is None:
            raise gym.error.ResetNeeded("call reset() before use_memory()")
        self.state.view = memory

    def overflow(self) -> Transition:
        """End the episode with a context overflow, and score it; of several questions, end one.

        For a caller whose model reports that the prompt exceeds its context window, although the
        environment's own token count is within the budget.

        Returns:
            What :meth:`step` returns. The episode goes on if there is another question.

        Raises:
            gymnasium.error.ResetNeeded: No episode is in progress.
        """
        state = self.state
        if state is None or state.stop_reason is not None:
            raise gym.error.ResetNeeded("call reset() before overflow(): no episode is in progress")
        self._end(state, StopReason.CONTEXT_OVERFLOW)
        self._end_overflowing(state)
        return self._transition(state)

    def record(self) -> Episode:
        """The record of the episode so far, without scores.

        For a caller that must abandon an episode, say because a model server failed.

        Raises:
            gymnasium.error.ResetNeeded: ``reset`` was never called.
        """
        state = self.state
        if state is None:
            raise gym.error.ResetNeeded("call reset() before record(): there is no episode")
        spec = state.spec
        memories = _listed(state.memory if state.view is None else state.view)
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
            key_items=spec.key_items,
            settings=self.settings(),
            changes=spec.changes,
            stale_answers=spec.stale_answers,
            action_limit=state.actions_allowed if self.task.interactive else None,
            interactive=self.task.interactive,
            messages=tuple(state.context.history),
            steps=tuple(state.steps),
            final_tokens=state.context.tokens,
            memories=memories or (),
            memories_listed=memories is not None,
            stop_reason=state.stop_reason,
            prediction=state.prediction,
            questions=msgspec.UNSET if state.asking is None else tuple(state.asking.asked),
        )

    def settings(self) -> EpisodeSettings:
        """The resolved settings: what a result depends on, apart from the task and the agent."""
        return self._settings


def _listed(memory: MemoryView) -> tuple[MemoryItem, ...] | None:
    """The items of a memory; None if it cannot list them."""
    try:
        return tuple(memory)
    except NotImplementedError:
        return None


def _of_each_kind(actions: Sequence[str], count: int) -> list[str]:
    """At most ``count`` actions, taken from each first word in turn, and sorted."""
    kinds: dict[str, list[str]] = {}
    for action in actions:
        kinds.setdefault(action.partition(" ")[0], []).append(action)
    turns = itertools.zip_longest(*kinds.values())
    in_turn = [action for turn in turns for action in turn if action is not None]
    return sorted(in_turn[:count])


def _task_rounds(task: Task, rounds: int | None, actions: int | None) -> int:
    """The rounds of stage 3. Setting the actions alone keeps the benchmark's margin."""
    if rounds is not None or actions is None or not task.interactive:
        return _default(rounds, task.default_task_rounds)
    return actions + task.default_task_rounds - task.default_task_actions


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def _split(values: Mapping[str, Any]) -> tuple[EnvSettings, dict[str, Any]]:
    """Separate the environment's settings from the objects that were passed instead of names."""
    given, parts = dict(values), {}
    for name in PARTS & given.keys():
        if given[name] is None:
            raise ConfigurationError(f"{name} must not be None: omit it to use the default")
        if not isinstance(given[name], str):
            parts[name] = given.pop(name)
    if isinstance(given.get("tools"), list):
        given["tools"] = tuple(given["tools"])
    return EnvSettings(**given), parts
