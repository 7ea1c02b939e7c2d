"""Train the memory policy by step-wise GRPO.

    agemem grpo --backbone qwen3-4b --env AgeMem-HotpotQA-v0 --out results/runs/agemem-4b

Paper: AgeMem, arXiv 2601.01885. Departure: the judge is lexical by default; the paper's is a
language model. As in the paper, each round of rollouts is used once by default.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.config import (
    KINDS,
    MAY_RESUME,
    GRPOConfig,
    file_settings,
    fold_options,
    refuse_changed,
    refuse_idle,
)
from agemem.train.hub import prepare_hub, push
from agemem.train.launcher import is_main_process
from agemem.train.libraries import require_training
from agemem.train.run import (
    base_of,
    check_checkpoint,
    last_checkpoint,
    memory_estimate,
    memory_estimates,
    record_model,
    save_model,
    training,
)
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.run_record import (
    RunKind,
    RunRecord,
    read_record,
    refuse_existing,
    write_record,
)
from agemem_envs.settings import Group, plain_settings
from agemem_envs.util.cli import EXIT_OK, exit_status, folder
from agemem_envs.util.flags import add_flags, from_flags

EPILOG = """\
backbones:
  qwen3-4b, qwen2.5-7b (the paper's), smollm2-135m (embedded), a hub id with a slash, a folder

examples:
  the paper's training on one node with 8 GPUs, with generation by vLLM on the same GPUs:
    torchrun --nproc_per_node 8 train/grpo.py --backbone qwen3-4b --protocol full \\
        --tasks-per-step 8 --vllm colocate --out results/runs/agemem-4b

  all weights of a larger model, sharded over the GPUs (accelerate config asks for FSDP or
  DeepSpeed, of which ZeRO-3 needs zero3_save_16bit_model: true; pip install deepspeed):
    accelerate launch --num_processes 8 --use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy \\
        TRANSFORMER_BASED_WRAP train/grpo.py --backbone qwen2.5-7b --vllm colocate \\
        --out results/runs/agemem-7b

  the reward ablation, and the ablation without short-term tools:
    agemem grpo --backbone qwen3-4b --protocol full --reward answer-only \\
        --out results/runs/answer-only
    agemem grpo --backbone qwen3-4b --protocol full --stm-tools off --out results/runs/agemem-rag

  an estimate of the GPU memory, without training:
    agemem grpo --backbone qwen2.5-7b --lora-rank 16 --estimate

  without network access or a GPU, on the embedded model and data:
    agemem grpo --backbone smollm2-135m --env AgeMem-SyntheticQA-v0 --lora-rank 8 \\
        --steps 2 --tasks-per-step 1 --group-size 2 --max-completion-tokens 128 \\
        --out results/runs/small

  the settings in a file, and the curves in a browser:
    agemem grpo --config training.yaml --report-to tensorboard --out results/runs/agemem-4b
    tensorboard --logdir results/runs/agemem-4b

  after a crash or Ctrl-C:
    agemem grpo --out RUN --resume

  evaluation of the trained model:
    agemem run --agent agemem --backbone RUN/model

files of a run:
  config.json      all settings, versions, git revision, data source; at the end the SHA-256 of
                   the model's weights: the training record, by which results are AgeMem's
  log.jsonl        one line for each optimizer step: all reward components, tool calls, KL,
                   clip fraction, tokens per second, time per phase
  held_out.jsonl   with --eval-tasks: one line for each evaluation on unseen tasks
  checkpoints/     the last two checkpoints, each sufficient for an exact resume
  model/           the trained model, with --eval-tasks the best one (with --lora-rank: merged, and
                   the adapter in adapter/)

environment variables:
  AGEMEM_DATA      folder of benchmark data: hotpotqa/*train*.json
  OPENAI_API_KEY   API key sent to the server of --judge

exit status:
  0  trained
  2  the run could not start or continue
  130  interrupted; continue with --resume
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser: a flag for each field of GRPOConfig, and the flags of files."""
    parser = argparse.ArgumentParser(
        prog="agemem grpo",
        description="Train the memory policy by step-wise GRPO.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups = add_flags(parser, GRPOConfig, omit=("token_counter",))
    groups[Group.ENVIRONMENT].add_argument(
        "--stm-tools",
        choices=("on", "off"),
        help="off means --tools ltm: retrieval at each step instead of Summary_context and "
        "Filter_context (the -RAG ablation); on means --tools all",
    )
    run = groups[Group.EXECUTION]
    run.add_argument("--out", type=folder, metavar="RUN", help="folder of the run")
    run.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings in YAML, or the config.json of a training; other flags override them",
    )
    run.add_argument(
        "--resume", action="store_true", help="continue the run in the folder of --out"
    )
    run.add_argument(
        "--estimate", action="store_true", help="print an estimate of the GPU memory, and exit"
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[GRPOConfig, argparse.Namespace]:
    """The settings and the file options of a command line.

    Raises:
        ConfigurationError: Options are missing, or contradict the run to resume.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.out is None and not options.estimate:
        raise ConfigurationError("name a folder for the run: --out RUN")
    stored = None
    if options.config is not None:
        if options.resume:
            raise ConfigurationError("--resume reads the run's own settings: leave out --config")
        parser.set_defaults(**file_settings(options.config, GRPOConfig))
        options = parser.parse_args(argv)
    if options.resume:
        stored = read_record(options.out, GRPOConfig, KINDS).config
        parser.set_defaults(**plain_settings(stored))  # the command line overrides them
        options = parser.parse_args(argv)
    values = fold_options(vars(options))
    if options.stm_tools is not None:
        tools = "all" if options.stm_tools == "on" else "ltm"
        if values["tools"] not in (tools, GRPOConfig().tools):
            raise ConfigurationError(
                f"--stm-tools {options.stm_tools} means --tools {tools}, not {values['tools']}"
            )
        values["tools"] = tools
    config = from_flags(GRPOConfig, argparse.Namespace(**values))
    if stored is not None:
        refuse_changed(stored, config, MAY_RESUME, options.out)
    if config.backbone is None:
        raise ConfigurationError("name the model to train: --backbone qwen3-4b")
    if stored is None:
        refuse_idle(config)
    return config, options


def _record(config: GRPOConfig, options: argparse.Namespace) -> None:
    """Write the record of the run into its folder.

    Raises:
        ConfigurationError: A new run is to start in a folder that already holds one.
    """
    if options.resume:
        record = replace(read_record(options.out, GRPOConfig, KINDS), config=config)
    else:
        refuse_existing(options.out)
        record = RunRecord(kind=RunKind.TRAINING, config=config, sources=config.sources())
    options.out.mkdir(parents=True, exist_ok=True)
    write_record(options.out, record)


def run(argv: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    config, options = parse(argv)
    require_training()
    if options.estimate:
        print(memory_estimates(config))
        return EXIT_OK
    if config.report_to != "none":
        require(config.report_to, command=f"pip install {config.report_to}")
    if config.vllm != "off":
        require("vllm", command='pip install "trl[vllm]"')
    if is_main_process():
        print(memory_estimate(config), flush=True)
        if config.push_to_hub:
            prepare_hub(config.push_to_hub)
    checkpoint = last_checkpoint(options.out) if options.resume else None
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    if not options.resume:
        refuse_existing(options.out)  # before a model is loaded; _record looks again
    with training(config, options.out) as trainer:
        if is_main_process():
            _record(
                config, options
            )  # only now, so that a run that cannot start leaves nothing behind
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        save_model(trainer, options.out / "model")
    if is_main_process():
        record_model(options.out, read_record(options.out, GRPOConfig, KINDS))
        if config.push_to_hub:
            push(config.push_to_hub, options.out, base_of(str(config.backbone)), config.envs)
        print(f"Trained. Evaluate with: agemem run --agent agemem --backbone "
              f"{options.out / 'model'}")  # fmt: skip
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The program. An error that the user can correct becomes one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
