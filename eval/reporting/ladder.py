"""The ladder: what each scripted policy earns on each benchmark, as a table and a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agemem.agents.policies import POLICIES
from agemem.eval.reporting.document import Section
from agemem.eval.reporting.figures import PALETTE, Theme, save
from agemem.eval.reporting.groups import pooled_runs
from agemem.eval.reporting.rendered import (
    Record,
    RenderedCell,
    RenderedTable,
    format_interval,
    format_number,
)
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import mean_interval
from agemem.eval.stats.sample import make_sample
from agemem_envs.episode import Episode
from agemem_envs.judging.judges import LexicalJudge
from agemem_envs.judging.rewards import REWARDS
from agemem_envs.judging.scoring import rescored
from agemem_envs.metrics import METRICS
from agemem_envs.registration import ENVS

WITHOUT_MEMORY = "oracle-no-memory"
"""The policy against which tasks are counted as helped or harmed."""
DIGITS = 3
KEY, TITLE = "ladder", "The ladder of scripted policies"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of the ladder: its name, and its value for an episode, or None.

    Attributes:
        name: The column.
        of: Computes it from an episode.
        share: Whether its values are in [0, 1] by definition.
    """

    name: str
    of: Callable[[Episode], float | None]
    share: bool = False


def _component(name: str) -> Callable[[Episode], float | None]:
    return lambda episode: None if episode.reward is None else getattr(episode.reward, name)


def _total(reward: str) -> Callable[[Episode], float | None]:
    """The total of an episode under a named reward, scored again if another was recorded."""

    def total(episode: Episode) -> float | None:
        if episode.settings.reward == asdict(REWARDS[reward]):  # it was scored by this one
            return METRICS["reward"].of(episode)
        again = rescored(episode, LexicalJudge(), REWARDS[reward]).reward
        return None if again is None else again.total

    return total


def _metric(name: str) -> Quantity:
    return Quantity(name, METRICS[name].of, METRICS[name].share)


QUANTITIES = (
    _metric("success"),
    Quantity("effective", _total("effective")),
    Quantity("all-returns", _total("all-returns")),
    Quantity("task", _component("task")),
    *(
        Quantity(name, _component(name), share=True)
        for name in (
            "context compression preventive preservation memory storage maintenance relevance"
        ).split()
    ),
    Quantity("penalty", _component("penalty")),
    *map(
        _metric,
        "memory_quality stale_share stale_answer abstention_precision abstention_recall".split(),
    ),
)
"""The columns of the ladder. The components are those of the reward that the runs recorded."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval.

    The mean is None where no episode has a value. The ends are None for fewer than two tasks, and
    where all values of a quantity without bounds are equal.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Rung:
    """One policy on one benchmark.

    Attributes:
        policy: Name of the policy.
        env_id: The benchmark.
        tasks: The number of scored episodes.
        estimates: The quantities by name.
        helped: Tasks that succeed and that fail without memory; None if that was not played.
        harmed: Tasks that fail and that succeed without memory; None if that was not played.
        changed: Success on the tasks of which a needed fact changes.
        pooled: The runs that it was played in, in words, if there are several.
    """

    policy: str
    env_id: str
    tasks: int
    estimates: Mapping[str, Estimate]
    helped: int | None
    harmed: int | None
    changed: Estimate
    pooled: str = ""


def is_ladder(runs: Sequence[PlayedRun]) -> bool:
    """Whether runs are of scripted policies alone, and of more than the usual references."""
    agents = {run.config.agent for run in runs}
    return len(agents) > 3 and agents <= set(POLICIES)


def make_rungs(runs: Iterable[PlayedRun]) -> list[Rung]:
    """The rungs of all runs, by benchmark and policy in the order of their registries."""
    played: dict[tuple[str, str], dict[str, Episode]] = {}
    origins: dict[tuple[str, str], dict[str, PlayedRun]] = {}
    for run in runs:
        for result in (result for result in run.results if result.scored):
            played.setdefault(_place(result), {})[result.episode.task_id] = result.episode
            origins.setdefault(_place(result), {})[result.episode.task_id] = run
    order = {name: index for index, name in enumerate([*ENVS, *POLICIES])}
    places = sorted(played, key=lambda place: [order.get(name, len(order)) for name in place])
    return [
        replace(
            _rung(place, played[place], played.get((place[0], WITHOUT_MEMORY))),
            pooled=pooled_runs(list(origins[place].values())),
        )
        for place in places
    ]


def _place(result: Result) -> tuple[str, str]:
    return result.episode.env_id, result.agent


def _rung(
    place: tuple[str, str], episodes: Mapping[str, Episode], without: Mapping[str, Episode] | None
) -> Rung:
    env_id, policy = place
    pairs = [(e, without[task]) for task, e in episodes.items() if without and task in without]
    changed = [e for e in episodes.values() if any(c.needed for c in e.changes)]
    return Rung(
        policy=policy,
        env_id=env_id,
        tasks=len(episodes),
        estimates={q.name: _estimate(q, episodes.values()) for q in QUANTITIES},
        helped=sum(bool(e.success and not o.success) for e, o in pairs) if without else None,
        harmed=sum(bool(o.success and not e.success) for e, o in pairs) if without else None,
        changed=_estimate(QUANTITIES[0], changed),
    )


def _estimate(quantity: Quantity, episodes: Iterable[Episode]) -> Estimate:
    played = list(episodes)
    sample = make_sample(list(map(quantity.of, played)), [episode.task_id for episode in played])
    if sample is None:
        return Estimate(None, None, None)
    low, high = mean_interval(sample, share=quantity.share) or (None, None)
    return Estimate(sample.mean, low, high)


def ladder_section(runs: Sequence[PlayedRun]) -> Section:
    """The section of the report: an overview, a table for each benchmark, and a figure."""
    rungs = make_rungs(runs)
    env_ids = list(dict.fromkeys(rung.env_id for rung in rungs))
    tables = [_overview(rungs, env_ids)]
    tables += [_details(env_id, [r for r in rungs if r.env_id == env_id]) for env_id in env_ids]
    tables[0] = replace(tables[0], records=tuple(r for rung in rungs for r in _records(rung)))
    return Section(
        KEY, TITLE, tuple(tables), pictures=((KEY, partial(draw_ladder, rungs, env_ids)),)
    )


def _overview(rungs: Sequence[Rung], env_ids: Sequence[str]) -> RenderedTable:
    by_place = {(rung.env_id, rung.policy): rung for rung in rungs}
    rows = []
    for policy in dict.fromkeys(rung.policy for rung in rungs):
        cells = [policy, POLICIES[policy].summary]
        for env_id in env_ids:
            rung = by_place.get((env_id, policy))
            cells.append(_pair(rung) if rung else "missing")
        rows.append(tuple(map(RenderedCell, cells)))
    return RenderedTable(
        "Success / total reward (effective)",
        ("Policy", "What it does", *map(short_id, env_ids)),
        tuple(sorted(rows, key=lambda row: list(POLICIES).index(row[0].text))),
        notes=("Intervals and all components are in the tables below.", *_pooled(rungs)),
    )


def _pooled(rungs: Sequence[Rung]) -> Iterator[str]:
    """A note for each policy that was played in several runs."""
    for rung in rungs:
        if rung.pooled:
            yield f"{rung.policy}, {short_id(rung.env_id)}: {rung.pooled}."


def _pair(rung: Rung) -> str:
    texts = [
        format_number(rung.estimates[name].value, digits)
        for name, digits in (("success", 2), ("effective", DIGITS))
    ]
    return " / ".join(texts)


def _details(env_id: str, rungs: Sequence[Rung]) -> RenderedTable:
    header = ["Policy", "Tasks", *(q.name.replace("_", " ") for q in QUANTITIES)]
    rows = []
    for rung in rungs:
        cells = [rung.policy, str(rung.tasks)]
        cells += [_text(rung.estimates[quantity.name]) for quantity in QUANTITIES]
        cells += [_text(rung.changed), _count(rung.helped), _count(rung.harmed)]
        rows.append(tuple(map(RenderedCell, cells)))
    return RenderedTable(
        short_id(env_id),
        (*header, "success where a needed fact changes", "helped", "harmed"),
        tuple(rows),
        notes=(
            "Means with 95% intervals: Wilson's for success and other shares, Student's over tasks "
            "for rewards; none where all values of a reward are equal. Helped and harmed are tasks "
            "that succeed or fail against a competent player without memory.",
            *_pooled(rungs),
        ),
    )


def _text(estimate: Estimate) -> str:
    if estimate.value is None:
        return ""
    return format_interval(estimate.value, estimate.low, estimate.high, DIGITS)


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _records(rung: Rung) -> list[Record]:
    where = {"benchmark": rung.env_id, "policy": rung.policy, "tasks": rung.tasks}
    estimates = {**rung.estimates, "success_changed": rung.changed}
    records: list[Record] = [
        {**where, "quantity": name, **asdict(estimate)} for name, estimate in estimates.items()
    ]
    counts = {"helped": rung.helped, "harmed": rung.harmed}
    none = {"low": None, "high": None}
    return records + [{**where, "quantity": k, "value": v, **none} for k, v in counts.items()]


def short_id(env_id: str) -> str:
    """``AgeMem-PDDL-v0`` -> ``PDDL``."""
    return env_id.removeprefix("AgeMem-").removesuffix("-v0")


DRAWN = (("success", "success", PALETTE[0], "o"), ("effective", "reward", PALETTE[5], "s"))
"""The quantities of the figure: name, label, colour and marker."""


def draw_ladder(rungs: Sequence[Rung], env_ids: Sequence[str], path: Path) -> list[Path]:
    """Draw success and total reward of each policy, one panel for each benchmark."""
    policies = [name for name in POLICIES if any(rung.policy == name for rung in rungs)]

    def draw(panels: Any, theme: Theme) -> None:
        for axes, env_id in zip(np.ravel(panels), env_ids, strict=True):
            own = {rung.policy: rung for rung in rungs if rung.env_id == env_id}
            _panel(axes, own, policies)
            axes.set_title(short_id(env_id), fontsize=9, color=theme.ink)
        first = np.ravel(panels)[0]
        first.set_yticks(range(len(policies)), policies)
        first.legend(fontsize=7, loc="lower left")

    size = (3.0 + 1.9 * len(env_ids), 1.2 + 0.24 * len(policies))
    title = "Success and total reward (effective) of scripted policies\n95% intervals over tasks"
    return save(draw, title, size, path, (1, len(env_ids)))


def _panel(axes: Any, rungs: Mapping[str, Rung], policies: Sequence[str]) -> None:
    for name, label, colour, marker in DRAWN:
        for place, policy in enumerate(policies):
            estimate = rungs[policy].estimates[name] if policy in rungs else None
            if estimate is None or estimate.value is None:
                continue
            if estimate.low is not None and estimate.high is not None:
                axes.hlines(place, estimate.low, estimate.high, color=colour, linewidth=1.2)
            dot = {"color": colour, "marker": marker, "s": 14, "zorder": 3}
            axes.scatter([estimate.value], [place], label=label if not place else None, **dot)
    axes.set_yticks(range(len(policies)), [""] * len(policies))
    axes.set_ylim(len(policies) - 0.5, -0.5)
    axes.set_xlim(-1.5, 1.1)
    axes.grid(axis="both")
