"""Handmade runs, so that the numbers of a report can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.result import Result
from agemem_envs.episode import DataSource, Episode, Step, StopReason, ToolCall
from agemem_envs.judging.rewards import make_reward
from agemem_envs.run_record import FILE, FORMAT, RunKind, RunRecord, write_record
from agemem_envs.stages import Stage
from agemem_envs.training_record import MODEL, TrainedModel, Training, weights_sha256
from agemem_envs.util.provenance import Provenance
from tests.conftest import episode_settings

SOURCES = {
    "AgeMem-ALFWorld-v0": DataSource("alfworld", "file", "valid_seen", "1", "json_2.1.1"),
    "AgeMem-ScienceWorld-v0": DataSource("scienceworld", "file", "agentboard", "1", "s.jsonl"),
    "AgeMem-PDDL-v0": DataSource("pddl", "file", "agentboard", "1", "p.jsonl"),
    "AgeMem-BabyAI-v0": DataSource("babyai", "file", "agentboard", "1", "b.jsonl"),
    "AgeMem-HotpotQA-v0": DataSource("hotpotqa", "file", "validation", "1", "h.json"),
    "AgeMem-SyntheticQA-v0": DataSource("syntheticqa", "embedded", "test", "1", "synthetic_worlds"),
}
SETTINGS = episode_settings(judge="llm:judge", max_task_actions=30)
PAPER = ({"protocol": "agentboard", "stages": "task"}, {"protocol": "release", "stages": "full"})
"""The paper's protocols: in worlds, and in question answering."""
FAILED = None
"""The score of an episode whose endpoint failed."""


def results(
    agent: str,
    env: str,
    scores: Sequence[float | None],
    *,
    backbone: str = "scripted",
    first_task: int = 0,
    tokens: Sequence[int] = (),
    quality: Sequence[float] = (),
    calls: Sequence[tuple[str, ...]] = (),
    categories: Sequence[str] = (),
    source: DataSource | None = None,
    constrained: bool = False,
    **settings: Any,
) -> list[Result]:
    """One episode for each score, on tasks numbered from ``first_task``."""
    qa = "QA" in env
    made = []
    for index, score in enumerate(scores):
        lost = score is FAILED
        step = Step(
            index=0,
            stage=Stage.REASONING,
            visible=(),
            context_tokens=0,
            action="",
            calls=tuple(ToolCall(name) for name in (calls[index] if calls else ())),
            prompt_tokens=tokens[index] if tokens else 100,
            completion_tokens=10,
            seconds=0.5,
        )
        metrics = {"judge": score, "memory_quality": quality[index] if quality else 0.5}
        episode = Episode(
            env_id=env,
            task_id=f"task-{first_task + index}",
            seed=index,
            source=source or SOURCES[env],
            category=categories[index] if categories else "",
            difficulty="",
            query="",
            reference="answer" if qa else "",
            gold_facts=(),
            key_items=(),
            settings=replace(SETTINGS, **(PAPER[qa] | settings)),
            interactive=not qa,
            steps=(step,),
            stop_reason=StopReason.ENDPOINT_ERROR if lost else StopReason.ANSWERED,
            success=None if lost else score == 1.0,
            progress=score,
            metrics={} if lost else metrics,
            errors=("EndpointError: down",) if lost else (),
        )
        engine = "none" if backbone == "none" else "scripted"
        made.append(Result(agent, backbone, engine, constrained, index, 2.0, episode))
    return made


def make_training(
    reward: str = "all-returns",
    seed: int = 0,
    *,
    weights: str = "0" * 64,
    verified: bool = True,
    source: str = "hotpotqa/train (file: h.json@1)",
    **config: Any,
) -> Training:
    """The training of a model that is not there."""
    model = TrainedModel(
        base="scripted", reward=asdict(make_reward(reward)), weights_sha256=weights
    )
    record = {
        "kind": "training",
        "config": {"seed": seed, "backbone": "scripted", **config},
        "sources": {"AgeMem-HotpotQA-v0": source},
        "model": asdict(model),
    }
    return Training(record, weights if verified else None)


def write_training(path: Path, reward: str = "all-returns", seed: int = 0, **config: Any) -> Path:
    """Write the folder of a training whose model is some bytes, and return it."""
    model = path / MODEL
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(f"weights of seed {seed}".encode())
    training = make_training(reward, seed, weights=weights_sha256(model), **config)
    (path / FILE).write_text(json.dumps({"format": FORMAT, **training.record}))
    return path


def write_run(
    path: Path, made: Sequence[Result], training: Training | None = None, **config: Any
) -> Path:
    """Write a run with these episodes, and return its folder.

    A model whose name begins with ``my-`` is trained, by the reward that the agent's name implies.
    """
    if training is None and made[0].backbone.startswith("my-"):
        training = make_training("answer-only" if "answer" in made[0].agent else "all-returns")
    path.mkdir(parents=True)
    values: dict[str, Any] = {"max_tokens": 64, "judge": "judge@http://localhost/v1"}
    values |= {"agent": made[0].agent, "backbone": made[0].backbone, **config}
    values.setdefault("envs", tuple(dict.fromkeys(r.episode.env_id for r in made)))
    write_record(
        path,
        RunRecord(
            kind=RunKind.SUITE if values.get("suite") else RunKind.EVALUATION,
            config=RunConfig(**values),
            started="2026-01-01T00:00:00+00:00",
            sources={r.episode.env_id: str(r.episode.source) for r in made},
            provenance=Provenance(agemem_envs="0.1.0", git_revision="abc", python="3.11.7"),
            training=training,
        ),
    )
    lines = "".join(result.to_json() + "\n" for result in made)
    (path / "episodes.jsonl").write_text(lines, encoding="ascii")
    return path
