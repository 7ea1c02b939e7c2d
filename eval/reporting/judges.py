"""The agreement of two judges that scored the same episodes, and the ranks that each gives."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agemem.eval.reporting.summary import Row
from agemem.eval.runs.reading import read_runs
from agemem.eval.runs.result import Result, consistent
from agemem.eval.stats.intervals import mean
from agemem.eval.stats.pairing import difference, paired
from agemem.eval.stats.sample import make_sample
from agemem_envs.episode import Episode
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.rewards import make_reward, retrieved, stored_in_stage_1

RIGHT = 0.6
"""The lowest score that counts as right: "partly right" on the paper's scale."""
Pair = tuple[Episode, Episode]
Score = Callable[[Episode], float | None]


@dataclass(frozen=True, slots=True)
class Judged:
    """A score that judges give.

    Attributes:
        score: The score of an episode, or None.
        decided: Whether a judge had to decide the score of an episode.
    """

    score: Score
    decided: Callable[[Episode], bool]


def _part(name: str) -> Score:
    return lambda episode: None if episode.reward is None else getattr(episode.reward, name)


def _asks(episode: Episode) -> bool:
    """Whether an episode is question answering. Interactive worlds score themselves."""
    return not episode.interactive


def _judges_memory(episode: Episode) -> bool:
    """Whether a judge scores what is stored and retrieved; ``effective`` counts words instead."""
    return not make_reward(episode.settings.reward).effective


SCORES: dict[str, Judged] = {
    "judge": Judged(
        lambda episode: episode.metrics.get("judge"),
        lambda episode: _asks(episode) and episode.prediction is not None,
    ),
    "memory_quality": Judged(
        lambda episode: episode.metrics.get("memory_quality"),
        lambda episode: bool(episode.memories),
    ),
    "storage": Judged(_part("storage"), lambda e: _judges_memory(e) and bool(stored_in_stage_1(e))),
    "relevance": Judged(_part("relevance"), lambda e: _judges_memory(e) and bool(retrieved(e))),
}
RANKED = ("judge", "memory_quality")


def read_side(path: Path) -> list[Result]:
    """Read the episodes of a run, or of all runs in a folder.

    Raises:
        ConfigurationError: There are no episodes, or they have several judges.
    """
    results = [result for run in read_runs([path]) for result in run.results]
    judges = sorted({result.episode.settings.judge for result in results})
    if len(judges) > 1:
        raise ConfigurationError(
            f"{path} mixes judges: {', '.join(judges)}. Name runs of a single judge."
        )
    return results


def pair(first: Sequence[Result], second: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Pair the episodes that both sides have, sorted by environment, method and index.

    Raises:
        ConfigurationError: The sides share no episode, a side has an episode twice, or an episode
            was played differently on the two sides.
    """
    sides = [_by_name(first), _by_name(second)]
    pairs = [(sides[0][name], sides[1][name]) for name in sorted(sides[0]) if name in sides[1]]
    if not pairs:
        raise ConfigurationError("the two sides have no episodes in common")
    for one, other in pairs:
        if _played(one.episode) != _played(other.episode):
            raise ConfigurationError(
                f"{one.agent} played {one.key} differently on the two sides, and judges can be "
                "compared only on the same episodes. Rescore a run with --rejudge."
            )
    return pairs


def _by_name(results: Sequence[Result]) -> dict[tuple[str, ...], Result]:
    named: dict[tuple[str, ...], Result] = {}
    for result in results:
        name = (*_method(result), f"{result.index:09}", result.episode.task_id)
        if name in named:
            raise ConfigurationError(f"one side has episode {result.key} of {result.agent} twice")
        named[name] = result
    return named


def _method(result: Result) -> tuple[str, ...]:
    """The environment and the method to rank: an agent on a backbone, constrained or not."""
    constrained = "constrained" if result.constrained else ""
    return result.episode.env_id, result.agent, result.backbone, constrained


def _played(episode: Episode) -> Any:
    return [step.action for step in episode.steps], episode.memories, episode.prediction


def agreement(pairs: Sequence[Pair], right: float = RIGHT) -> list[Row]:
    """One row for each score that the judges had to decide at least once.

    ``difference`` is second minus first, with its 95% paired bootstrap interval over tasks.
    ``agree`` is the share of episodes on which the judges agree about right or wrong, ``kappa`` is
    Cohen's kappa.
    """
    rows = []
    for name, judged in SCORES.items():
        decided = [pair for pair in pairs if _decided(judged, pair[0])]
        scores = [(judged.score(one), judged.score(other)) for one, other in decided]
        both = [(a, b) for a, b in scores if a is not None and b is not None]
        tasks = [
            (one.env_id, one.task_id)
            for (one, _), (a, b) in zip(decided, scores, strict=True)
            if a is not None and b is not None
        ]
        if decided:
            counts = {
                "score": name,
                "decided": len(decided),
                "unscored_first": sum(a is None for a, _ in scores),
                "unscored_second": sum(b is None for _, b in scores),
            }
            table = np.array(both, dtype=float).reshape(-1, 2)
            rows.append(counts | _compare(table, tasks, right))
    return rows


def _decided(judged: Judged, episode: Episode) -> bool:
    with consistent(episode):
        return judged.decided(episode)


def _compare(both: np.ndarray, tasks: Sequence[Hashable], right: float) -> Row:
    """Statistics of pairs of scores, shape (episodes, 2), and the task of each pair."""
    from scipy import stats

    first, second = both[:, 0], both[:, 1]
    differences = [float(value) for value in second - first]
    low, high = _ends(first, second, tasks)
    varies = len(both) > 1 and np.ptp(first) > 0 and np.ptp(second) > 0
    measures = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
    return {
        "first": mean(list(first)),
        "second": mean(list(second)),
        "difference": mean(differences),
        "difference_low": low,
        "difference_high": high,
        "mean_absolute_difference": mean([abs(value) for value in differences]),
        "agree": mean([float(a) for a in (first >= right) == (second >= right)]),
        "kappa": kappa(first >= right, second >= right),
        **{
            name: float(measure(first, second).statistic) if varies else None
            for name, measure in measures.items()
        },
    }


def _ends(
    first: np.ndarray, second: np.ndarray, tasks: Sequence[Hashable]
) -> tuple[float | None, float | None]:
    """The interval of the mean of second minus first."""
    samples = [make_sample(list(map(float, scores)), tasks) for scores in (second, first)]
    if samples[0] is None or samples[1] is None:
        return None, None
    result = paired([samples[0]], [samples[1]], difference, share=True)
    return (None, None) if result is None else (result.low, result.high)


def kappa(first: np.ndarray, second: np.ndarray) -> float | None:
    """Cohen's kappa of two binary judges; None if chance agreement is 1."""
    if not len(first):
        return None
    yes_first, yes_second = first.mean(), second.mean()
    chance = yes_first * yes_second + (1 - yes_first) * (1 - yes_second)
    return None if chance == 1.0 else float(((first == second).mean() - chance) / (1 - chance))


def ranks(pairs: Sequence[tuple[Result, Result]]) -> list[Row]:
    """One row for each method and ranked score, with its mean and rank under each judge.

    Rank 1 is the best. Equal means share the better rank. Only episodes that both judges scored
    count.
    """
    rows: list[Row] = []
    for score in RANKED:
        of = SCORES[score].score
        means: dict[str, dict[tuple[str, ...], tuple[float, float]]] = {}
        groups: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        for one, other in pairs:
            a, b = of(one.episode), of(other.episode)
            if a is not None and b is not None and (score != "judge" or _asks(one.episode)):
                groups.setdefault(_method(one), []).append((a, b))
        for method, scores in groups.items():
            first, second = np.array(scores).mean(axis=0)
            means.setdefault(method[0], {})[method] = (float(first), float(second))
        for methods in means.values():
            for method, values in methods.items():
                better = [sum(v[i] > values[i] for v in methods.values()) for i in (0, 1)]
                rows.append(
                    {
                        **dict(zip(("env", "agent", "backbone", "decoding"), method, strict=True)),
                        "score": score,
                        "first": values[0],
                        "second": values[1],
                        "rank_first": better[0] + 1,
                        "rank_second": better[1] + 1,
                        "rank_change": better[0] - better[1],
                    }
                )
    return rows
