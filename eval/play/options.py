"""The command line of `agemem run`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from agemem.agents.backbones.registry import BACKBONES
from agemem.baselines.registry import SYSTEMS
from agemem.eval.play.suites import SUITES
from agemem.eval.runs.config import KINDS, MAY_REJUDGE, MAY_RESUME, RunConfig
from agemem.eval.runs.registry import AGENTS
from agemem_envs import BENCHMARKS, ENVS
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.run_record import FILE, read_record_file
from agemem_envs.settings import Group, differences, plain_settings
from agemem_envs.util.cli import folder
from agemem_envs.util.flags import add_flags, from_flags

EPILOG = f"""\
names:
  agents      {", ".join(AGENTS)};
              with a memory system in place of the tools: {", ".join(SYSTEMS)};
              all-baselines for one run of each
  suites      {", ".join(SUITES)};
              those of the paper play all stages in question answering, and the task alone in
              worlds, unless --stages says otherwise
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
        --base-url http://gpu-box:8000/v1 --episodes 200 --executor ray \\
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
  the executor nor the order in which episodes end changes a result. A backbone that is loaded
  by the process itself (smollm2-135m, a folder, a hub id) takes one worker only: serve it,
  with vLLM or `agemem serve`, and all workers share the server. A worker that dies
  has its episodes played again, twice at most; then they are environment errors.

files of a run:
  config.json      all settings, versions, git revision; --config repeats it
  episodes.jsonl   one whole episode a line
  summary.csv      one row for each environment and data source: values that a repetition
                   reproduces bit for bit
  timing.csv       values that vary: seconds, and answers of the judge that were cached
  report/          of a suite: the paper's tables and figures, as `agemem report` makes them

environment variables:
  AGEMEM_DATA      folder of benchmark data: hotpotqa/*dev*.json, hotpotqa/*train*.json,
                   alfworld/json_2.1.1/, agentboard/*_test.jsonl
  ALFWORLD_DATA    folder of ALFWorld's games, as alfworld-download leaves them
  AGEMEM_CACHE     folder of the answers of LLM judges and of converted models (~/.cache/agemem)
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
    run = add_flags(parser, RunConfig)[Group.EXECUTION]
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
    base = options.config if begun is None else begun / FILE
    if base is not None:
        stored = read_record_file(base, RunConfig, KINDS).config
        parser.set_defaults(**plain_settings(stored))  # the command line still wins
        if options.executor is not None:
            parser.set_defaults(address=None)  # that of another executor
        options = parser.parse_args(argv)
    elif suite := SUITES.get(options.suite or options.agent):
        parser.set_defaults(**suite.defaults(options.backbone))  # likewise
        options = parser.parse_args(argv)
    config = _config(options)
    if begun is not None and stored is not None:
        allowed = MAY_RESUME if options.resume else MAY_REJUDGE
        changed = list(differences(stored, config, allowed))
        if changed:
            raise ConfigurationError(
                f"{begun} was run with other settings ({'; '.join(changed)}). Leave these "
                f"options out to {'resume' if options.resume else 'rejudge'} it, or start a new "
                "run with another --out."
            )
    return config, options


def _config(options: argparse.Namespace) -> RunConfig:
    suite = options.suite
    if suite is None and options.agent in SUITES:
        suite = options.agent
    if suite not in (None, *SUITES):
        raise UnknownNameError("suite", suite, SUITES)
    if suite is not None and options.agent not in (RunConfig().agent, suite):
        raise ConfigurationError("--suite chooses the agents: leave out --agent")
    if suite is None and (options.checkpoint or options.checkpoint_answer_only):
        raise ConfigurationError(
            "--checkpoint goes with --suite: a single agent's model is its --backbone"
        )
    names = [env for item in options.envs for env in item.split(",") if env]
    envs = [env for name in names for env in (BENCHMARKS if name == "all" else (name,))]
    for env in envs:
        if env not in ENVS:
            raise UnknownNameError("environment", env, [*ENVS, "all"])
    return from_flags(RunConfig, options, suite=suite, envs=tuple(dict.fromkeys(envs)))
