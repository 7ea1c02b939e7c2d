"""Warm start: imitate a demonstrator, so that reinforcement learning starts with the protocol.

    agemem sft --backbone smollm2-135m --env AgeMem-HotpotQA-v0 --out results/runs/sft

Every step of a demonstration is a prompt and a completion; only the completion has a loss.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.config import (
    TINY,
    WarmStartConfig,
    file_settings,
    fold_options,
    refuse_changed,
    refuse_idle,
)
from agemem.train.hub import prepare_hub, push
from agemem.train.libraries import require_training
from agemem_envs.errors import AgeMemError, ConfigurationError
from agemem_envs.run_record import (
    RunKind,
    RunRecord,
    has_record,
    read_record,
    write_record,
)
from agemem_envs.settings import Group, Scope, in_scope
from agemem_envs.util.cli import EXIT_OK, exit_status, folder
from agemem_envs.util.flags import add_flags, from_flags

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from agemem.train.samples import Sample

BASE = "base"
"""The folder of the tiny policy before its training."""
MAY_GO_ON = set(in_scope(WarmStartConfig, Scope.RUN))
"""Settings that may change when a warm start goes on: none of them affects what it learns."""
FOR_TOKENIZER = 300
"""Most episodes from which the tokenizer of the tiny policy is learned."""

EPILOG = """\
backbones:
  those of `agemem grpo`, and tiny: a new policy of a million parameters with its own tokenizer,
  which can copy

examples:
  agemem sft --backbone qwen3-4b --lora-rank 16 --episodes 500 --out results/runs/sft-4b
  agemem grpo --backbone results/runs/sft-4b/model --out results/runs/agemem-4b
  the successes of a recorded run, on tasks of the training split:
  agemem sft --backbone qwen3-4b --lora-rank 16 --teacher results/runs/sampled \\
      --out results/runs/rejection

files of a run:
  config.json      all settings, versions, git revision, data source; at the end the SHA-256 of
                   the model's weights
  model/           the trained model, for `agemem grpo` and `agemem run` (with --lora-rank: merged)
  checkpoints/     the state of the trainer, from which the same command goes on after a crash

exit status:
  0  trained
  2  the run could not start
  130  interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="agemem sft",
        description="Warm-start the memory policy by imitating demonstrations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups = add_flags(parser, WarmStartConfig, omit=("token_counter",))
    run = groups[Group.EXECUTION]
    run.add_argument("--out", type=folder, metavar="RUN", help="folder of the run")
    run.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings in YAML, or the config.json of a warm start; other flags override them",
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[WarmStartConfig, Path]:
    """The settings of a command line, and the folder of the run.

    Raises:
        ConfigurationError: An option is missing, out of range or unknown.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.config is not None:
        parser.set_defaults(**file_settings(options.config, WarmStartConfig))
        options = parser.parse_args(argv)
    if options.out is None:
        raise ConfigurationError("name a folder for the run: --out RUN")
    config = from_flags(WarmStartConfig, argparse.Namespace(**fold_options(vars(options))))
    if config.backbone is None:
        raise ConfigurationError(f"name the model to train: --backbone qwen3-4b, or {TINY}")
    if not has_record(options.out):
        refuse_idle(config)
    return config, options.out


def run(argv: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    config, out = parse(argv)
    require_training()
    if (out / "model").exists():
        raise ConfigurationError(f"{out} already holds a model: choose another --out")
    goes_on = has_record(out)
    record = (
        _continued(config, out)
        if goes_on
        else RunRecord(kind=RunKind.WARM_START, config=config, sources=config.sources())
    )
    from agemem.train.demonstrations import demonstrate, encode, shown
    from agemem.train.launcher import is_main_process, processes
    from agemem.train.models import find_model
    from agemem.train.run import base_of, record_model

    if config.push_to_hub and is_main_process():
        prepare_hub(config.push_to_hub)
    backbone = str(config.backbone)
    if backbone == TINY and processes() > 1:
        raise ConfigurationError(
            "the tiny policy is built by one process: start it without a launcher"
        )
    if backbone == TINY:
        backbone = str(out / BASE if goes_on else _tiny(config, out))
    model = find_model(backbone)
    tokenizer = model.tokenizer(config.chat_template_arg)
    counter = f"tokenizer:{model.source}"
    episodes = demonstrate(config, config.episodes, counter)
    window = model.window()
    out.mkdir(parents=True, exist_ok=True)
    if is_main_process():
        write_record(out, record)
    samples = (encode(tokenizer, steps, window) for steps in shown(episodes, config))
    imitate(model.source, tokenizer, samples, out, config)
    if is_main_process():
        record_model(out, record)
        if config.push_to_hub:
            push(config.push_to_hub, out, base_of(str(config.backbone)), config.envs)
    return EXIT_OK


def _continued(config: WarmStartConfig, out: Path) -> RunRecord[WarmStartConfig]:
    """The record of an interrupted warm start that goes on as it began.

    Raises:
        ConfigurationError: It was started with other settings.
    """
    record = read_record(out, WarmStartConfig, {RunKind.WARM_START: None})
    refuse_changed(record.config, config, MAY_GO_ON, out)
    return replace(record, config=config)


def _tiny(config: WarmStartConfig, out: Path) -> Path:
    """Build the tiny policy, which can only copy, with a tokenizer trained on demonstrations."""
    from agemem.train.demonstrations import demonstrate
    from agemem.train.tiny import PieceCounter, TinyShape, build_policy, texts_of, train_tokenizer

    shape = TinyShape()
    episodes = list(demonstrate(config, min(config.episodes, FOR_TOKENIZER), PieceCounter()))
    tokenizer = train_tokenizer(
        (text for steps in episodes for text in texts_of(steps)),
        [episodes[0][0].prompt[0]["content"]],
        shape.vocabulary,
    )
    folder = out / BASE
    parameters = build_policy(folder, tokenizer, shape, config.seed)
    print(f"a policy of {parameters:,} parameters, {len(tokenizer):,} tokens", flush=True)
    return folder


def imitate(
    model: str,
    tokenizer: Any,
    episodes: Iterable[Sequence[Sample]],
    out: Path,
    config: WarmStartConfig,
) -> None:
    """Train on demonstrated episodes, and save the model in ``out/model``.

    A training that was interrupted goes on from its last checkpoint.
    """
    from agemem.agents.trees.attention import use_tree_attention
    from agemem.agents.trees.support import uses_trees
    from agemem.train.imitation import DemonstratedRows, ImitationTrainer
    from agemem.train.launcher import check_sharding, is_main_process
    from agemem.train.packing import Packing
    from agemem.train.run import check_checkpoint, last_checkpoint, save_model

    policy = _policy(model, config)
    trees = uses_trees(config.token_trees, policy)
    if trees:
        use_tree_attention(policy)
    packing = Packing(
        trees, config.tokens_per_micro_batch, config.micro_batch, tokenizer.pad_token_id
    )
    rows = DemonstratedRows(episodes, packing)
    if not len(rows):
        raise AgeMemError("no demonstrated step fits into the window of the model")
    print(f"{len(rows)} rows of {rows.tokens:,} tokens to imitate", flush=True)
    trainer = ImitationTrainer(
        model=policy,
        args=_arguments(out, config),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    check_sharding(trainer)
    checkpoint = last_checkpoint(out)
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    if is_main_process():
        rows.begin(out / "checkpoints", resumed=checkpoint is not None)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    save_model(trainer, out / "model")


def _policy(model: str, config: WarmStartConfig) -> Any:
    """The model to train, with a new adapter under ``--lora-rank``."""
    import torch
    from transformers import AutoModelForCausalLM

    from agemem.train.run import frozen_dtype, lora

    policy: Any = AutoModelForCausalLM.from_pretrained(model, dtype=frozen_dtype(config))
    if config.lora_rank:
        from peft import get_peft_model

        torch.manual_seed(config.seed)
        policy = get_peft_model(policy, lora(config.lora_rank))
    return policy


def _arguments(out: Path, config: WarmStartConfig) -> TrainingArguments:
    """The trainer's arguments: one row at a time; the rate falls by a cosine after a warm-up."""
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        seed=config.seed,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=config.batch_size,
        learning_rate=config.learning_rate,
        adam_beta2=0.95,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # a fraction of all steps
        remove_unused_columns=False,
        label_names=["labels"],
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=config.gradient_checkpointing,
        logging_steps=10,
        save_steps=config.save_every,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The program. An error that the user can correct becomes one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
