"""The command line of ``agemem run``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from agemem.agents.backbones.registry import BACKBONES
from agemem.baselines.registry import SYSTEMS
from agemem.eval.play.suites import SUITES
from agemem.eval.runs.config import KINDS, MAY_REJUDGE, MAY_RESUME, RunConfig
from agemem.eval.runs.registry import AGENTS
from agemem.eval.runs.training import model_folder
from agemem_envs import BENCHMARKS, ENVS
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.protocols import PROTOCOLS
from agemem_envs.run_record import FILE, read_record_file
from agemem_envs.settings import Group, differences, plain_settings
from agemem_envs.util.cli import folder
from agemem_envs.util.flags import add_flags, from_flags

EPILOG = f"""\
names:
  agents      {", ".join(AGENTS)};
              with a memory system instead of the tools: {", ".join(SYSTEMS)};
              all-baselines for one run of each memory system
  suites      {", ".join(SUITES)};
              those of the paper play protocol release in question answering and agentboard in
              interactive worlds (--protocol paper), smoke plays full and task
              (--protocol full/task), the others memory; those of the paper play all tasks of
              each list, unless --episodes says otherwise
  protocols   {", ".join(PROTOCOLS)}
  backbones   {", ".join(BACKBONES)};
              MODEL@http://host:port/v1 for any OpenAI-compatible server,
              a folder or hub id (with a slash) for any transformers model,
              a folder of `agemem export` for an adapter of the embedded model, on llama.cpp
  envs        {", ".join(ENVS)};
              "all" for the paper's benchmarks

examples:
  the embedded model on the embedded data, without network access:
    agemem run --agent agemem --backbone smollm2-135m --constrained \\
        --envs AgeMem-SyntheticQA-v0 --episodes 3 --max-tokens 256

  a vLLM server:
    vllm serve Qwen/Qwen3-4B-Instruct-2507
    agemem run --agent agemem --backbone qwen3-4b \\
        --base-url http://localhost:8000/v1 --episodes 200 --batch-size 32

  the memory gap of a benchmark:
    agemem run --agent oracle --envs AgeMem-HotpotQA-v0 --episodes 200
    agemem run --agent oracle-no-memory --envs AgeMem-HotpotQA-v0 --episodes 200

  eight worker processes that share a server, each with 16 episodes at a time:
    agemem run --agent agemem --backbone qwen3-4b \\
        --base-url http://localhost:8000/v1 --episodes 200 --workers 8 --batch-size 16

  on a Ray cluster, with 32 workers across its machines:
    agemem run --agent agemem --backbone qwen3-4b \\
        --base-url http://gpu-box:8000/v1 --episodes 200 --executor ray \\
        --address head:6379 --workers 32

  scores by another judge, without playing the run again:
    agemem run --rejudge RUN --judge judge-model@http://localhost:8001/v1 --workers 8

  after a crash or Ctrl-C:
    agemem run --out RUN --resume

  a table of the paper, and a small run of everything:
    agemem run --suite table2 --backbone qwen3-4b --base-url http://localhost:8000/v1 \\
        --checkpoint agemem-qwen3-4b@http://localhost:8001/v1 \\
        --training-record results/runs/agemem-4b
    agemem run --suite smoke

workers:
  Each worker is a process with its own environments, agent and client. Results do not depend on
  the number of workers, on the executor or on the order in which episodes end. A backbone that
  is loaded by the process itself (smollm2-135m, a folder, a hub id) allows only one worker:
  serve it with vLLM or `agemem serve`, and all workers share the server. If a worker dies, its
  episodes are played again, at most twice; after that they count as environment errors.

files of a run:
  config.json      all settings, data sources, versions, git revision; --config repeats the run
  episodes.jsonl   one complete episode per line
  summary.csv      one row for each environment and data source: values that a repetition
                   reproduces bit for bit
  questions.csv    of conversations: scores of the questions, one row for each of their types
  timing.csv       values that vary: seconds, and the number of cached judgements
  viewer.html      with --page or --open: the episodes, round by round
  report/          suites only: the paper's tables and figures, as `agemem report` makes them

environment variables:
  AGEMEM_DATA      folder of benchmark data: hotpotqa/*dev*.json, hotpotqa/*train*.json,
                   alfworld/json_2.1.1/, agentboard/*_test.jsonl
  ALFWORLD_DATA    folder of ALFWorld's games, as written by alfworld-download
  AGEMEM_CACHE     folder of cached judgements and converted models (~/.cache/agemem)
  OPENAI_API_KEY   API key sent to the servers of --base-url, --judge and --summarizer

exit status:
  0  every episode was scored
  2  the run could not start, and nothing was written; or its workers died repeatedly
  3  finished, but some episodes are not fully scored: a server, simulator or judge failed
  130  interrupted; continue with --resume
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser. Each destination except those of files is a field of RunConfig."""
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
        help="folder of the run (results/runs/TIME-AGENT-BACKBONE)",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in the folder of --out, with its configuration",
    )
    run.add_argument(
        "--retry-failed",
        action="store_true",
        help="with --resume: also repeat episodes in which a server, simulator or judge failed",
    )
    run.add_argument(
        "--rejudge",
        type=Path,
        metavar="RUN",
        help="score the episodes of RUN by --judge, into a new folder (RUN-rejudged-JUDGE)",
    )
    run.add_argument(
        "--page",
        action="store_true",
        help="write the episodes as an HTML page, RUN/viewer.html; of a suite its first two runs, "
        "side by side",
    )
    run.add_argument(
        "--open", action="store_true", help="write that page, and open it in the browser"
    )
    run.add_argument(
        "--config", type=Path, metavar="FILE", help="take defaults from a config.json of a run"
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[RunConfig, argparse.Namespace]:
    """The configuration and the file options of a command line.

    Raises:
        ConfigurationError: The options contradict each other, or the settings of the run.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.resume and options.out is None:
        raise ConfigurationError("--resume needs the run's folder: --out RUN")
    if options.retry_failed and not options.resume:
        raise ConfigurationError("--retry-failed needs --resume")
    if options.resume and options.config is not None:
        raise ConfigurationError("--resume uses the run's own configuration: leave out --config")
    if options.rejudge is not None and (options.resume or options.config is not None):
        raise ConfigurationError(
            "--rejudge writes a new folder and uses the run's own configuration: leave out "
            "--resume and --config"
        )
    stored = None
    run = options.out if options.resume else options.rejudge
    base = options.config if run is None else run / FILE
    if base is not None:
        stored = read_record_file(base, RunConfig, KINDS).config
        parser.set_defaults(**plain_settings(stored))  # the command line overrides them
        if options.executor is not None:
            parser.set_defaults(address=None)  # the stored one belongs to the other executor
        options = parser.parse_args(argv)
    elif suite := SUITES.get(options.suite or options.agent):
        parser.set_defaults(**suite.defaults(options.backbone))
        options = parser.parse_args(argv)
    config = _config(options)
    if run is not None and stored is not None:
        allowed = MAY_RESUME if options.resume else MAY_REJUDGE
        changed = list(differences(stored, config, allowed))
        if changed:
            raise ConfigurationError(
                f"{run} was run with other settings ({'; '.join(changed)}). Leave out these "
                f"options to {'resume' if options.resume else 'rejudge'} it, or start a new run "
                "with another --out."
            )
    return config, options


def _config(options: argparse.Namespace) -> RunConfig:
    suite = options.suite
    if suite is None and options.agent in SUITES:
        suite = options.agent
    if suite not in (None, *SUITES):
        raise UnknownNameError("suite", suite, SUITES)
    if suite is not None and options.agent not in (RunConfig().agent, suite):
        raise ConfigurationError("--suite determines the agents: leave out --agent")
    if suite is None and options.training_record_answer_only:
        raise ConfigurationError("--training-record-answer-only needs --suite")
    if suite is None and (options.checkpoint or options.checkpoint_answer_only):
        raise ConfigurationError(
            "--checkpoint and --checkpoint-answer-only need --suite; a single agent's model is its "
            "--backbone"
        )
    for name in ("backbone", "checkpoint", "checkpoint_answer_only"):
        setattr(options, name, model_folder(getattr(options, name)))
    names = [env for item in options.envs for env in item.split(",") if env]
    envs = [env for name in names for env in (BENCHMARKS if name == "all" else (name,))]
    for env in envs:
        if env not in ENVS:
            raise UnknownNameError("environment", env, [*ENVS, "all"])
    return from_flags(RunConfig, options, suite=suite, envs=tuple(dict.fromkeys(envs)))
