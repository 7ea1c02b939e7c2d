"""The command line of eval/run.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from agemem.agents.backbones.registry import BACKBONES
from agemem.baselines.registry import SYSTEMS
from agemem.eval.play.executors.registry import EXECUTORS
from agemem.eval.play.suites import SUITES
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.registry import AGENTS
from agemem_envs import BENCHMARKS, ENVS
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.stages import PROTOCOLS
from agemem_envs.tools import TOOL_SETS
from agemem_envs.util.cli import folder

AGENT = "agemem"
"""That is evaluated where none is named."""

MAY_CHANGE = {"episodes", "batch_size", "request_timeout", "attempts", "base_url"} | {
    "workers", "engine", "address", "judge_cache"
}  # fmt: skip
"""What a resumed run may set anew: how it is run, not what is measured."""

MAY_REJUDGE = {"judge", "judge_cache", "workers", "request_timeout", "attempts"}
"""What may be set anew to score a run by another judge."""
EPILOG = f"""\
names:
  agents      {", ".join(AGENTS)};
              with a memory system in place of the tools: {", ".join(SYSTEMS)};
              all-baselines for one run of each
  suites      {", ".join(SUITES)}
  backbones   {", ".join(BACKBONES)};
              MODEL@http://host:port/v1 for any OpenAI-compatible server,
              a folder or hub id (with a slash) for any transformers model
  envs        {", ".join(ENVS)}; "all" is the paper's benchmarks

examples:
  the embedded model on the embedded data, without a network:
    agemem run --agent agemem --backbone smollm2-135m --constrained \\
        --envs AgeMem-SyntheticQA-v0 --episodes 3 --max-tokens 256

  a vLLM server:
    vllm serve Qwen/Qwen3-4B-Instruct-2507
    agemem run --agent agemem --backbone qwen3-4b \\
        --base-url http://localhost:8000/v1 --episodes 200 --batch-size 32

  the memory gap of a benchmark:
    agemem run --agent oracle --envs AgeMem-HotpotQA-v0 --episodes 200
    agemem run --agent oracle-no-memory --envs AgeMem-HotpotQA-v0 --episodes 200

  eight processes that keep a server busy, each with 16 episodes in lockstep:
    agemem run --agent agemem --backbone qwen3-4b \\
        --base-url http://localhost:8000/v1 --episodes 200 --workers 8 --batch-size 16

  the same on a Ray cluster, 32 workers on all its machines:
    agemem run --agent agemem --backbone qwen3-4b \\
        --base-url http://gpu-box:8000/v1 --episodes 200 --engine ray \\
        --address head:6379 --workers 32

  another judge's scores of a run, without playing it again:
    agemem run --rejudge RUN --judge judge-model@http://localhost:8001/v1 --workers 8

  after a crash or Ctrl-C:
    agemem run --out RUN --resume

  a table of the paper, and all of them in small:
    agemem run --suite table2 --backbone qwen3-4b --base-url http://localhost:8000/v1 \\
        --checkpoint agemem-qwen3-4b@http://localhost:8001/v1 --episodes 100
    agemem run --suite smoke

workers:
  Each is a process with environments, agent and client of its own. Neither their number nor
  the engine nor the order in which episodes end changes a result. A backbone that is loaded
  by the process itself (smollm2-135m, a folder, a hub id) takes one worker only: serve it,
  with vLLM or `agemem serve`, and all workers share the server. A worker that dies
  has its episodes played again, twice at most; then they are environment errors.

files of a run:
  config.json      all settings, versions, git revision; --config repeats it
  episodes.jsonl   one whole episode a line
  summary.csv      one row for each environment and data source: what a repetition gives again
  report/          of a suite: the paper's tables and figures, as eval/report.py makes them
  timing.csv       what it does not: seconds, and the judge's answers that were cached

environment variables:
  AGEMEM_DATA      folder of benchmark data: hotpotqa/*dev*.json, hotpotqa/*train*.json,
                   alfworld/json_2.1.1/, agentboard/*_test.jsonl
  ALFWORLD_DATA    folder of ALFWorld's games, as alfworld-download leaves them
  AGEMEM_CACHE     folder of what LLM judges have said (~/.cache/agemem-envs)
  OPENAI_API_KEY   sent to servers of --base-url, --judge and --summarizer

exit status:
  0  every episode was scored
  2  the run could not start, and nothing was written; or its workers kept dying
  3  finished, but some episodes are unscored: a server, simulator or judge failed
  130  interrupted; continue with --resume
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line. Each destination but those of files is a field of RunConfig."""
    parser = argparse.ArgumentParser(
        prog="agemem run",
        description="Evaluate an agent on AgeMem environments.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what is evaluated")
    what.add_argument("--agent", default=AGENT, metavar="NAME", help="the agent (agemem)")
    what.add_argument(
        "--suite", metavar="NAME", help="many agents, for a table or figure of the paper"
    )
    what.add_argument("--backbone", metavar="NAME", help="its language model")
    what.add_argument(
        "--checkpoint", metavar="NAME", help="with --suite: the trained model, a backbone too"
    )
    what.add_argument(
        "--checkpoint-answer-only",
        metavar="NAME",
        help="with --suite table4: the model trained on the task's reward alone",
    )
    what.add_argument("--base-url", metavar="URL", help="server that runs a named backbone")
    what.add_argument(
        "--few-shot", action="store_true", help="show the model a short worked episode"
    )
    what.add_argument(
        "--constrained",
        action="store_true",
        help="force outputs into the protocol by a grammar (llama.cpp, vLLM); recorded",
    )
    where = parser.add_argument_group("on what")
    where.add_argument(
        "--envs", nargs="+", default=["all"], metavar="ID", help="environments (all)"
    )
    where.add_argument(
        "--episodes", type=_count, default=10, metavar="N", help='per environment, or "all" (10)'
    )
    where.add_argument("--split", help="data split (each benchmark's own default)")
    where.add_argument("--seed", type=int, default=0, help="chooses tasks and chance (0)")
    where.add_argument(
        "--stages",
        help=f"protocol: {', '.join(PROTOCOLS)} (full; in a suite of the paper's: full for "
        "question answering, task for worlds)",
    )
    where.add_argument("--tools", default="all", help=f"tools: {', '.join(TOOL_SETS)} (all)")
    where.add_argument(
        "--max-context-tokens", type=int, default=8192, metavar="N", help="T_max (8192)"
    )
    where.add_argument(
        "--rounds-per-message",
        type=int,
        default=3,
        metavar="N",
        help="rounds for a message of stages 1 and 2 (3)",
    )
    where.add_argument(
        "--noise",
        type=int,
        metavar="N",
        help="question answering: unneeded paragraphs of stage 1 (3)",
    )
    where.add_argument(
        "--distractors",
        type=int,
        metavar="N",
        help="question answering: paragraphs of stage 2, at most (5)",
    )
    where.add_argument(
        "--max-actions",
        type=int,
        metavar="N",
        help="actions in an interactive world (each benchmark's own: 30, as AgentBoard)",
    )
    where.add_argument(
        "--max-task-rounds",
        type=int,
        metavar="N",
        help="rounds of stage 3 (each benchmark's own; in a world some more than actions)",
    )
    where.add_argument(
        "--list-actions",
        action="store_true",
        help="end each observation of a world with the admissible actions",
    )
    where.add_argument("--encoder", help="hashing or minilm (each environment's own)")
    where.add_argument(
        "--summarizer", default="extractive", help="extractive or MODEL@URL (extractive)"
    )
    where.add_argument(
        "--token-counter",
        metavar="NAME",
        help="approximate or tokenizer:ID (the backbone's tokenizer where there is one)",
    )
    how = parser.add_argument_group("how it is scored and sampled")
    how.add_argument("--judge", default="lexical", help="lexical or MODEL@URL (lexical)")
    how.add_argument(
        "--judge-cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether an LLM judge is asked only what it has not said yet (yes)",
    )
    how.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (0)")
    how.add_argument("--top-p", type=float, default=1.0, help="nucleus sampling (1)")
    how.add_argument(
        "--max-tokens",
        type=int,
        default=2048,
        metavar="N",
        help="of one output, a memory system's own included (2048)",
    )
    run = parser.add_argument_group("how it is run")
    run.add_argument(
        "--out",
        type=folder,
        metavar="RUN",
        help="results folder (results/runs/TIME-AGENT-BACKBONE)",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help="run what the folder of --out lacks, as configured there",
    )
    run.add_argument(
        "--retry-failed",
        action="store_true",
        help="with --resume: also repeat the episodes that a server, simulator or judge failed",
    )
    run.add_argument(
        "--rejudge",
        type=Path,
        metavar="RUN",
        help="score RUN's episodes by --judge, into another folder (RUN-rejudged-JUDGE)",
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="defaults from a config.json")
    run.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="episodes in lockstep, their model calls batched (1)",
    )
    run.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that play; with --rejudge: episodes judged at once (1)",
    )
    run.add_argument(
        "--engine",
        metavar="NAME",
        help=f"{', '.join(EXECUTORS)} (processes if there are several workers)",
    )
    run.add_argument(
        "--address", metavar="HOST:PORT", help="Ray cluster (one that is started for the run)"
    )
    run.add_argument(
        "--request-timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds a request (120)",
    )
    run.add_argument(
        "--attempts", type=int, default=4, metavar="N", help="tries of a failing request (4)"
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[RunConfig, argparse.Namespace]:
    """The configuration and the file options of a command line.

    Raises:
        ConfigurationError: The options contradict each other or the run to resume.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.resume and options.out is None:
        raise ConfigurationError("--resume needs the run's folder: --out RUN")
    if options.retry_failed and not options.resume:
        raise ConfigurationError("--retry-failed goes with --resume")
    if options.resume and options.config is not None:
        raise ConfigurationError("--resume takes the run's own configuration: leave out --config")
    if options.rejudge is not None and (options.resume or options.config is not None):
        raise ConfigurationError(
            "--rejudge writes a new folder, from the run's own configuration: leave out --resume "
            "and --config"
        )
    stored = None
    begun = options.out if options.resume else options.rejudge
    base = options.config if begun is None else begun / "config.json"
    if base is not None:
        stored = RunConfig.load(base)
        parser.set_defaults(**stored.to_dict())  # what was given on the command line still wins
        if options.engine is not None:
            parser.set_defaults(address=None)  # that of another engine
        options = parser.parse_args(argv)
    elif suite := SUITES.get(options.suite or options.agent):
        parser.set_defaults(**suite.defaults(options.backbone))  # likewise
        options = parser.parse_args(argv)
    config = _config(options)
    if begun is not None and stored is not None:
        may_change = MAY_CHANGE if options.resume else MAY_REJUDGE
        changed = [d for d in stored.differences(config) if d.split(":")[0] not in may_change]
        if changed:
            raise ConfigurationError(
                f"{begun} was run with other settings ({'; '.join(changed)}). Leave these "
                f"options out to {'resume' if options.resume else 'rejudge'} it, or start a new "
                "run with another --out."
            )
    return config, options


def _config(options: argparse.Namespace) -> RunConfig:
    values = vars(options).copy()
    for name in ("out", "resume", "retry_failed", "rejudge", "config"):
        values.pop(name)
    if options.suite is None and options.agent in SUITES:
        values["suite"] = options.agent
    if values["suite"] not in (None, *SUITES):
        raise UnknownNameError("suite", values["suite"], SUITES)
    if values["suite"] is not None and options.agent not in (AGENT, values["suite"]):
        raise ConfigurationError("--suite chooses the agents: leave out --agent")
    if values["suite"] is None and (options.checkpoint or options.checkpoint_answer_only):
        raise ConfigurationError(
            "--checkpoint goes with --suite: a single agent's model is its --backbone"
        )
    values["stages"] = values["stages"] or "full"
    envs = [env for item in values.pop("envs") for env in item.split(",") if env]
    chosen = [env for name in envs for env in (BENCHMARKS if name == "all" else (name,))]
    for env in chosen:
        if env not in ENVS:
            raise UnknownNameError("environment", env, [*ENVS, "all"])
    return RunConfig(envs=tuple(dict.fromkeys(chosen)), **values)


def _count(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor all") from error
