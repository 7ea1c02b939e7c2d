"""MemoryEnv: one Gymnasium environment for every benchmark.

It owns the short-term context, the long-term memory, the six tools and the three stages.
A benchmark is a :class:`~agemem_envs.tasks.base.Task`; nothing here names one.
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
import numpy as np

from agemem_envs import prompts, protocol
from agemem_envs.context import Context
from agemem_envs.encoders import Encoder, make_encoder
from agemem_envs.episode import Episode, MessageKind, Step, StopReason
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.judges import Judge, make_judge
from agemem_envs.judging.rewards import RewardConfig, key_items, make_reward
from agemem_envs.judging.scoring import scored
from agemem_envs.memory.base import LongTermMemory
from agemem_envs.memory.registry import make_memory
from agemem_envs.spaces import UnicodeText, sample_action
from agemem_envs.stages import Stage, StagePlan, protocol_stages
from agemem_envs.state import EpisodeState
from agemem_envs.summarizers import Summarizer, make_summarizer
from agemem_envs.tasks.base import Task, make_task
from agemem_envs.tokens import TokenCounter, make_token_counter
from agemem_envs.tools import MAX_TOP_K, Tool, ToolContext, choose_tools, execute, render_hits

MAX_SHOWN_MALFORMED = 1_000
"""Characters of a malformed output that stay in the context."""
MAX_BUDGET = 10_000_000
"""Largest ``max_context_tokens``: beyond any model's window."""
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
        task: A :class:`Task`, or ``"module:Class"``, which is called with ``task_options``.
        stages: ``"full"``, or ``"task"`` for stage 3 alone.
        tools: ``"all"``, ``"ltm"``, ``"stm"``, ``"none"``, or tool names.
        encoder: ``"hashing"``, ``"minilm"`` or an encoder.
        memory: ``"exact"``, ``"qdrant"``, ``"qdrant:<folder or URL>"``, or a store.
        judge: ``"lexical"``, ``"MODEL@URL"`` or a judge.
        summarizer: ``"extractive"``, ``"MODEL@URL"`` or a summarizer.
        token_counter: ``"approximate"``, ``"tokenizer:<id or path>"`` or a counter.
        reward: ``"all-returns"``, ``"answer-only"``, a mapping of fields, or a config.
        max_context_tokens: T_max.
        top_k: Memories shown by retrieval (the paper: 3 to 5).
        filter_threshold: theta of Filter_context.
        rounds_per_message: Rounds that may be spent on a message of stages 1 and 2.
        max_task_rounds: Rounds of stage 3; by default the benchmark's, or enough for
            ``max_task_actions``.
        max_task_actions: World actions in stage 3; by default the benchmark's.
        list_actions: Whether an interactive world's observations end with the admissible
            actions, at most ``MAX_LISTED_ACTIONS``, some of each verb.
        render_mode: ``"ansi"`` or None.
        task_options: Passed to the task's class: ``split``, ``data``, ...

    Raises:
        ConfigurationError: An argument has an impossible value.
        MissingDependencyError: An argument asks for a library that is not installed.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}

    def __init__(
        self,
        task: str | Task,
        *,
        stages: str = "full",
        tools: str | Sequence[str] = "all",
        encoder: str | Encoder = "hashing",
        memory: str | LongTermMemory = "exact",
        judge: str | Judge = "lexical",
        summarizer: str | Summarizer = "extractive",
        token_counter: str | TokenCounter = "approximate",
        reward: str | Mapping[str, float] | RewardConfig = "all-returns",
        max_context_tokens: int = 8192,
        top_k: int = 3,
        filter_threshold: float = 0.6,
        rounds_per_message: int = 3,
        max_task_rounds: int | None = None,
        max_task_actions: int | None = None,
        list_actions: bool = False,
        render_mode: str | None = None,
        **task_options: Any,
    ) -> None:
        _check_limits(max_context_tokens, top_k, filter_threshold, render_mode)
        _refuse_none(
            tools=tools, encoder=encoder, memory=memory, judge=judge, summarizer=summarizer,
            token_counter=token_counter, reward=reward,
        )  # fmt: skip
        self.task = make_task(task, task_options)
        self.stage_plan = StagePlan(
            stages=protocol_stages(stages),
            rounds_per_message=rounds_per_message,
            task_rounds=_task_rounds(self.task, max_task_rounds, max_task_actions),
            task_actions=_default(max_task_actions, self.task.default_task_actions),
        )
        self.tools: dict[str, Tool] = choose_tools(tools)
        self.encoder = make_encoder(encoder)
        self.judge = make_judge(judge)
        self.summarizer = make_summarizer(summarizer)
        self.token_counter = make_token_counter(token_counter)
        self.reward = make_reward(reward)
        self.max_context_tokens = max_context_tokens
        self.top_k = top_k
        self.filter_threshold = filter_threshold
        self.list_actions = list_actions
        self.render_mode = render_mode
        self.state: EpisodeState | None = None
        self._memory = make_memory(memory, self.encoder)
        schemas = [tool.schema for tool in self.tools.values()]
        self._schemas_json = json.dumps(schemas)
        self._system_prompt = prompts.system_prompt(
            schemas, max_context_tokens, self._with_stage_messages
        )
        self._stages_name = stages
        if self.token_counter.count(self._system_prompt) >= max_context_tokens:
            raise ConfigurationError(
                f"max_context_tokens={max_context_tokens} does not even hold the system prompt "
                f"({self.token_counter.count(self._system_prompt)} tokens)"
            )
        self._max_observation = 16 * max_context_tokens + (1 << 18)
        self.observation_space = UnicodeText(self._max_observation)
        self.action_space = UnicodeText(
            protocol.MAX_ACTION_CHARS, partial(sample_action, tools=tuple(self.tools))
        )

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
        if state.stop_reason is None and state.context.tokens > self.max_context_tokens:
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
        ctx = ToolContext(
            memory=state.memory,
            context=state.context,
            encoder=self.encoder,
            summarizer=self.summarizer,
            filter_threshold=self.filter_threshold,
            top_k=self.top_k,
        )
        results = tuple(execute(call, self.tools, ctx) for call in turn.calls)
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
        message = self._stage_messages(state)[state.message_index]
        if state.stage is Stage.CONSTRUCTION:
            self._show_memories(state, message)
        form = prompts.INCOMING[int(state.rng.integers(len(prompts.INCOMING)))]
        state.context.append(MessageKind.INCOMING, form.format(text=message), round_)

    def _with_actions(self, observation: str) -> str:
        """A world's reply, with the admissible actions if they are to be listed."""
        if not self.list_actions:
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

    def _show_memories(self, state: EpisodeState, message: str) -> None:
        """Stage 1's automatic retrieval, before every model call; shown when it is news."""
        if not self._retrieves:
            return
        if len(state.memory):
            self.encoder.encode(self._stage_messages(state))  # one batch, then cached
        hits = state.memory.search(message, self.top_k)
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
            "token_budget": self.max_context_tokens,
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

    def use_memory(self, memory: LongTermMemory) -> None:
        """Record and score another memory in this episode; the next reset brings back the own.

        For an agent with a memory system of its own: what that has stored is then what memory
        quality judges. Call it after :meth:`reset`.

        Raises:
            gymnasium.error.ResetNeeded: There is no episode yet.
        """
        if self.state is None:
            raise gym.error.ResetNeeded("call reset() before use_memory()")
        self.state.memory = memory

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
            env_id=self.spec.id if self.spec else self.task.name,
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
            messages=tuple(state.context.history),
            steps=tuple(state.steps),
            final_tokens=state.context.tokens,
            memories=tuple(state.memory),
            stop_reason=state.stop_reason,
            prediction=state.prediction,
        )

    def settings(self) -> dict[str, Any]:
        """What an episode's result depends on beside the agent, as plain data."""
        return {
            "task": self.task.variant,
            "stages": self._stages_name,
            "tools": list(self.tools),
            "encoder": self.encoder.name,
            "memory": self._memory.name,
            "judge": self.judge.name,
            "reward": asdict(self.reward),
            "summarizer": self.summarizer.name,
            "token_counter": self.token_counter.name,
            "max_context_tokens": self.max_context_tokens,
            "top_k": self.top_k,
            "filter_threshold": self.filter_threshold,
            "rounds_per_message": self.stage_plan.rounds_per_message,
            "max_task_rounds": self.stage_plan.task_rounds,
            "max_task_actions": self.stage_plan.task_actions,
            "list_actions": self.list_actions,
        }


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


def _refuse_none(**arguments: object) -> None:
    for name, value in arguments.items():
        if value is None:
            raise ConfigurationError(f"{name} must not be None; leave it out for the default")


def _check_limits(
    max_context_tokens: int, top_k: int, filter_threshold: float, render_mode: str | None
) -> None:
    for name, value, high in (
        ("max_context_tokens", max_context_tokens, MAX_BUDGET),
        ("top_k", top_k, MAX_TOP_K),
    ):
        if type(value) is not int or not 1 <= value <= high:
            raise ConfigurationError(f"{name} must be an integer in [1, {high}], got {value!r}")
    if type(filter_threshold) not in (int, float) or not -1.0 <= filter_threshold <= 1.0:
        raise ConfigurationError(f"filter_threshold must be in [-1, 1], got {filter_threshold}")
    if render_mode not in (None, "ansi"):
        raise ConfigurationError(f"render_mode must be 'ansi' or None, got {render_mode!r}")
