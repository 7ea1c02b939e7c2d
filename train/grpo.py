"""Train the memory policy by step-wise GRPO.

    agemem grpo --backbone qwen3-4b --env AgeMem-HotpotQA-v0

Paper: AgeMem, arXiv 2601.01885. Departures: the judge is lexical unless one is named (the paper's
is a language model), and training goes by single rounds of rollouts, each used once, as there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: import the packages beside it, whatever is installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.run import (
    CONFIG,
    MAY_CHANGE,
    RunSettings,
    is_main_process,
    last_checkpoint,
    memory_estimate,
    save_model,
    training,
)
from agemem.train.settings import add_env_arguments, env_settings
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.util.cli import EXIT_OK, exit_status

EPILOG = """\
backbones:
  qwen3-4b, qwen2.5-7b (the paper's), smollm2-135m (embedded), a hub id with a slash, a folder

examples:
  the paper's training, on one node with 8 GPUs, generation by vLLM on the same GPUs:
    torchrun --nproc_per_node 8 train/grpo.py --backbone qwen3-4b --tasks-per-step 8 \\
        --micro-batch 1 --vllm colocate --out results/runs/agemem-4b

  the reward ablation, and the ablation without short-term tools:
    agemem grpo --backbone qwen3-4b --reward answer-only --out results/runs/answer-only
    agemem grpo --backbone qwen3-4b --stm-tools off --out results/runs/agemem-rag

  what it needs of a GPU, without starting:
    agemem grpo --backbone qwen2.5-7b --lora-rank 16 --estimate

  without a network or GPU, on the embedded model and data:
    agemem grpo --backbone smollm2-135m --env AgeMem-SyntheticQA-v0 --lora-rank 8 \\
        --steps 2 --tasks-per-step 1 --group-size 2 --max-completion-tokens 128 --micro-batch 1

  after a crash or Ctrl-C:
    agemem grpo --out RUN --resume

  evaluate what was trained:
    agemem run --agent agemem --backbone RUN/model

files of a run:
  config.json      all settings
  log.jsonl        one line for each optimizer step: all reward components, tool calls, KL,
                   clip fraction, tokens a second, where the time went
  checkpoints/     the last two, each enough for an exact resume
  model/           the trained model (an adapter merged into it, and beside it as adapter/)

environment variables:
  AGEMEM_DATA      folder of benchmark data: hotpotqa/*train*.json
  OPENAI_API_KEY   sent to the server of --judge

exit status:
  0  trained
  2  the run could not start or go on
  130  interrupted; continue with --resume
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line. Each destination but a few is a field of RunSettings."""
    default = RunSettings.__dataclass_fields__
    parser = argparse.ArgumentParser(
        prog="agemem grpo",
        description="Train the memory policy by step-wise GRPO.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def number(group: Any, flag: str, kind: type, text: str) -> None:
        name = flag[2:].replace("-", "_")
        value = default[name].default
        shown = "" if value is None else f" ({value})"
        group.add_argument(flag, type=kind, default=value, metavar="N", help=text + shown)

    what = parser.add_argument_group("what is trained")
    what.add_argument("--backbone", metavar="NAME", help="the model")
    number(what, "--lora-rank", int, "train an adapter of this rank; 0 trains all weights")
    what.add_argument(
        "--reward",
        default="all-returns",
        help="all-returns, or answer-only for the paper's reward ablation (all-returns)",
    )
    what.add_argument(
        "--stm-tools",
        choices=("on", "off"),
        default="on",
        help="off: no Summary and Filter, retrieval at each step instead (the -RAG ablation)",
    )
    add_env_arguments(parser)
    how = parser.add_argument_group("how it learns")
    number(how, "--steps", int, "optimizer steps")
    number(how, "--tasks-per-step", int, "tasks in a round")
    number(how, "--group-size", int, "K, rollouts of each task")
    number(how, "--beta", float, "weight of the KL term")
    number(how, "--learning-rate", float, "(1e-6, with LoRA 1e-5)")
    number(how, "--warmup", int, "steps over which the learning rate rises")
    number(how, "--max-completion-tokens", int, "of one output")
    number(how, "--temperature", float, "of the rollouts")
    number(how, "--iterations", int, "optimizer steps for each round of rollouts")
    how.add_argument(
        "--skip-flat-groups", action="store_true", help="leave out groups of one reward"
    )
    how.add_argument(
        "--per-trajectory", action="store_true", help="weigh trajectories equally, not steps"
    )
    run = parser.add_argument_group("how it is run")
    number(run, "--micro-batch", int, "model calls in one forward pass: memory grows with it")
    number(run, "--accumulation", int, "parts of a round, for trackers that count them")
    run.add_argument(
        "--no-gradient-checkpointing",
        dest="gradient_checkpointing",
        action="store_false",
        help="faster, with more memory",
    )
    number(run, "--workers", int, "processes that host environments")
    run.add_argument(
        "--vllm",
        choices=("off", "colocate", "server"),
        default="off",
        help="generate by vLLM (off)",
    )
    run.add_argument("--vllm-url", default=default["vllm_url"].default, metavar="URL")
    number(run, "--vllm-memory", float, "share of a GPU for a colocated vLLM")
    number(run, "--save-every", int, "steps between checkpoints")
    run.add_argument("--out", type=Path, metavar="RUN", help="folder of the run")
    run.add_argument("--resume", action="store_true", help="go on with the run of --out")
    run.add_argument(
        "--estimate", action="store_true", help="print the need of GPU memory, and end"
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[RunSettings, argparse.Namespace]:
    """The settings of a command line.

    Raises:
        ConfigurationError: Options are missing, or contradict the run to resume.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.out is None and not options.estimate:
        raise ConfigurationError("name a folder for the run: --out RUN")
    if options.resume:
        stored = _stored(options.out)
        parser.set_defaults(**stored)  # what was given on the command line still wins
        options = parser.parse_args(argv)
        changed = [
            f"{name}: {value!r} -> {getattr(options, name)!r}"
            for name, value in stored.items()
            if getattr(options, name) != value and name not in MAY_CHANGE
        ]
        if changed:
            raise ConfigurationError(
                f"{options.out} was begun with other settings ({'; '.join(changed)}). Leave these "
                "options out to resume it, or begin another run with another --out."
            )
    if options.backbone is None:
        raise ConfigurationError("name the model to train: --backbone qwen3-4b")
    return _settings(options), options


def _settings(options: argparse.Namespace) -> RunSettings:
    tools = "all" if options.stm_tools == "on" else "ltm"
    env = env_settings(options, tools=tools, reward=options.reward)
    own = {field.name for field in fields(RunSettings)} - {"env", "out"}
    chosen = {name: value for name, value in vars(options).items() if name in own}
    return RunSettings(env=env, out=options.out or Path(), **chosen)


def _stored(run: Path) -> dict[str, Any]:
    path = run / CONFIG
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"there is no run to resume: {path}: {error}") from error
    return stored


def _store(options: argparse.Namespace) -> None:
    """Write the command line's options; a folder with a run in it is left alone."""
    path = options.out / CONFIG
    if path.exists() and not options.resume:
        raise ConfigurationError(
            f"{options.out} already holds a run. Continue it with --resume, or choose another "
            "--out."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    left_out = ("out", "resume", "estimate")
    values = {name: value for name, value in vars(options).items() if name not in left_out}
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def run(argv: Sequence[str]) -> int:
    """Do what the command line says; the exit status."""
    settings, options = parse(argv)
    for module in ("torch", "trl", "peft", "datasets"):
        require(module, extra="train")
    if settings.vllm != "off":
        require("vllm", command='pip install "trl[vllm]"')
    if is_main_process():
        print(memory_estimate(settings), flush=True)
    if options.estimate:
        return EXIT_OK
    checkpoint = last_checkpoint(settings.out) if options.resume else None
    with training(settings) as trainer:
        if is_main_process():
            _store(options)  # only now: a run that could not start leaves nothing
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        save_model(trainer, settings.out / "model")
    if is_main_process():
        print(f"Trained. Evaluate with: agemem run --agent agemem --backbone "
              f"{settings.out / 'model'}")  # fmt: skip
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Errors that the user can mend are one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
