"""Runs and suites with progress bars, summaries and hints on how to continue."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agemem.eval.play.rejudge import Rejudging
from agemem.eval.play.session import RunSession
from agemem.eval.play.suites import CURVE_METRIC, SUITES, parts
from agemem.eval.reporting.build import write as write_report
from agemem.eval.reporting.questions import question_rows, question_tables, write_questions
from agemem.eval.reporting.summary import Row, comparison, summarize, table, unscored, write_summary
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.reading import read_runs
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import mean
from agemem_envs.errors import AgeMemError, ConfigurationError, WorkerError
from agemem_envs.run_record import RunKind, RunRecord
from agemem_envs.util.cli import EXIT_INTERRUPTED, EXIT_OK
from agemem_envs.util.paths import CODE

EXIT_UNSCORED = 3
BAR = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.fields[score]}"),
)


def play_run(
    config: RunConfig,
    path: Path,
    console: Console,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    show: bool = True,
) -> int:
    """Play the missing episodes of a run and summarise it; returns the exit status."""
    folder = ResultsFolder(path)
    if not resume:
        folder.refuse_existing()  # before anything slow is loaded
    session = RunSession(config)
    try:
        done = _open(folder, session, resume, retry_failed)
        interrupted = _play(session, folder, done, console)
    finally:
        folder.close()
        session.close()
    results = folder.read()
    _conclude(results, path, table if show else None, console)
    if interrupted:
        _say(console, f"Interrupted. Continue with: --out {path} --resume")
        return EXIT_INTERRUPTED
    return _status(results, f"--out {folder.path} --resume --retry-failed", console)


def rejudge_run(config: RunConfig, run: Path, out: Path, console: Console) -> int:
    """Score a run by another judge into a new folder; returns the exit status."""
    folder = ResultsFolder(out)
    folder.refuse_existing()
    session = Rejudging(run, config)
    with Progress(*BAR, console=console) as progress:
        bar = progress.add_task(f"judged by {config.judge}", total=len(session.results), score="")
        try:
            results = session.score(lambda _: progress.update(bar, advance=1))
        except KeyboardInterrupt:
            _say(
                console, "Interrupted; no folder was written. Judgements are cached: run it again."
            )
            return EXIT_INTERRUPTED
    folder.create(session.describe())
    folder.rewrite(results)
    folder.close()
    _conclude(results, folder.path, table, console)
    return _status(results, "the same --rejudge and another --out", console)


def play_suite(
    config: RunConfig, path: Path, console: Console, *, resume: bool, retry_failed: bool
) -> int:
    """Play the runs of a suite in subfolders and summarise them; returns the exit status.

    A member that cannot start is reported and skipped; the others are played.

    Raises:
        AgeMemError: No member can start.
    """
    folder = ResultsFolder(path)
    if not resume:
        folder.refuse_existing()
    played: list[Path] = []
    failed: dict[str, AgeMemError] = {}
    status = EXIT_OK
    for part in parts(config):
        name, member_path = part.name, path / part.name
        _say(console, f"{config.suite}: {name}")
        try:
            member = part.configure(config)
            begun = resume and ResultsFolder(member_path).exists
            ended = play_run(
                member, member_path, console, resume=begun, retry_failed=retry_failed, show=False
            )
        except AgeMemError as error:
            failed[name] = error
            _say(console, f"{name} is missing: {error}")
            continue
        except KeyboardInterrupt:  # before an episode was played
            ended = EXIT_INTERRUPTED
        if not played and not resume:
            folder.create(RunRecord(kind=RunKind.SUITE, config=config))
        played.append(member_path)
        status = max(status, ended)
        if ended == EXIT_INTERRUPTED:
            break
    if not played:
        raise next(iter(failed.values()))
    results = [result for member_path in played for result in ResultsFolder(member_path).read()]
    _conclude(results, path, comparison, console)
    for name, why in failed.items():
        _say(console, f"missing: {name}: {why}")
    if status == EXIT_INTERRUPTED:
        _say(console, f"Interrupted. Continue with: --out {path} --resume")
    else:
        runs = read_runs([path])  # before the old report goes
        shutil.rmtree(path / "report", ignore_errors=True)  # that of before it was resumed
        logs = SUITES[str(config.suite)].curves.items()
        written = write_report(
            runs,
            path / "report",
            curves={name: [CODE / file] for name, file in logs},
            curve_metrics=(CURVE_METRIC,),
        )
        _say(console, f"Written to {written}")
    return max(status, EXIT_UNSCORED) if failed else status


def _status(results: Sequence[Result], remedy: str, console: Console) -> int:
    """Report unscored episodes and how to repeat them; returns the exit status of the run."""
    count = unscored(results)
    if not count:
        return EXIT_OK
    first = next((error for r in results for error in r.episode.errors), "no error was recorded")
    _say(console, f"{count} of {len(results)} episodes are not fully scored. First error: {first}")
    _say(console, f"Repeat them with: {remedy}")
    return EXIT_UNSCORED


def _conclude(
    results: Sequence[Result],
    path: Path,
    render: Callable[[Sequence[Row]], RenderableType] | None,
    console: Console,
) -> None:
    """Write and show the summary of the results."""
    if results:
        rows = summarize(results)
        write_summary(rows, path)
        of_questions = question_rows(results)
        write_questions(of_questions, path)
        if render is not None:
            console.print(render(rows))
            if of_questions:
                console.print(question_tables(of_questions))
    console.print(f"Written to {path}", soft_wrap=True, highlight=False)


def _open(
    folder: ResultsFolder, session: RunSession, resume: bool, retry_failed: bool
) -> list[Result]:
    """Create the folder, or return the results that it already holds."""
    if not resume:
        folder.create(session.describe())
        return []
    folder.lock()
    if folder.record().rejudged:
        raise ConfigurationError(
            f"{folder.path} was scored again from another run: resume that run, and then use "
            "--rejudge again"
        )
    results = folder.repair()
    session.check(folder, results)
    if retry_failed:
        results = [r for r in results if r.scored and not r.episode.errors]
        folder.rewrite(results)
    folder.reconfigure(session.config)
    return results


def _play(session: RunSession, folder: ResultsFolder, done: list[Result], console: Console) -> bool:
    """Play the missing episodes with a progress bar; returns whether it was interrupted."""
    successes = [r.episode.success for r in done]
    every = max(1, len(session.plan.episodes) // 10)
    with Progress(*BAR, console=console) as progress:
        bar = progress.add_task(
            session.config.agent, total=len(session.plan.episodes), completed=len(done), score=""
        )

        def on_result(result: Result) -> None:
            successes.append(result.episode.success)
            score = _score(successes)
            progress.update(bar, advance=1, score=score)
            if not console.is_terminal and len(successes) % every == 0:
                console.print(f"{len(successes)}/{len(session.plan.episodes)} episodes, {score}")

        try:
            session.play(folder, on_result)
        except KeyboardInterrupt:
            return True
        except WorkerError as error:
            raise WorkerError(f"{error} Continue with: --out {folder.path} --resume") from error
    return False


def _score(successes: Sequence[bool | None]) -> str:
    rate = mean([None if success is None else float(success) for success in successes])
    return "success -" if rate is None else f"success {rate:.3f}"


def _say(console: Console, text: str) -> None:
    console.print(escape(text), soft_wrap=True, highlight=False)
