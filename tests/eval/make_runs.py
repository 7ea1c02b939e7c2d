"""Handmade runs, so that the numbers of a report can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.result import Result
from agemem_envs.episode import DataSource, Episode, Step, StopReason, ToolCall
from agemem_envs.run_record import RunKind, RunRecord, write_record
from agemem_envs.stages import Stage
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


def write_run(path: Path, made: Sequence[Result], **config: Any) -> Path:
    """Write a run with these episodes, and return its folder."""
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
        ),
    )
    lines = "".join(result.to_json() + "\n" for result in made)
    (path / "episodes.jsonl").write_text(lines, encoding="ascii")
    return path
