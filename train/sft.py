"""Warm start: imitate the teacher, so that reinforcement has a protocol to work with.

    agemem sft --backbone smollm2-135m --env AgeMem-HotpotQA-v0 --out results/runs/sft

Every step of a demonstration is a prompt and a completion; the loss is on the completion alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: import the packages beside it, whatever is installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.settings import EnvSettings, add_env_arguments, env_settings
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.util.cli import EXIT_OK, exit_status

TINY = "tiny"

EPILOG = """\
backbones:
  those of train/grpo.py, and tiny: a policy of half a million parameters, built here, with a
  tokenizer of its own

examples:
  agemem sft --backbone qwen3-4b --lora-rank 16 --episodes 500 --out results/runs/sft-4b
  agemem grpo --backbone results/runs/sft-4b/model --out results/runs/agemem-4b

files of a run:
  model/           the model, for train/grpo.py and eval/run.py (an adapter merged into it)
  checkpoints/     the trainer's state

exit status:
  0  trained
  2  the run could not start
  130  interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem sft",
        description="Warm start on demonstrations of the teacher.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--backbone", required=True, metavar="NAME", help="the model")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--lora-rank", type=int, default=0, metavar="N", help="0 trains all (0)")
    parser.add_argument("--episodes", type=int, default=300, metavar="N", help="shown (300)")
    parser.add_argument(
        "--teacher-errors",
        type=float,
        default=0.0,
        metavar="X",
        help="share of its decisions in which the teacher errs (0)",
    )
    parser.add_argument("--epochs", type=float, default=1.0, metavar="N", help="over them (1)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="steps (16)")
    parser.add_argument("--micro-batch", type=int, default=4, metavar="N", help="at once (4)")
    parser.add_argument("--learning-rate", type=float, default=1e-4, metavar="X", help="(1e-4)")
    parser.add_argument(
        "--no-gradient-checkpointing",
        dest="gradient_checkpointing",
        action="store_false",
        help="faster, with more memory",
    )
    add_env_arguments(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Do what the command line says; the exit status."""
    options = build_parser().parse_args(argv)
    for module in ("torch", "trl", "peft", "datasets"):
        require(module, extra="train")
    settings = env_settings(options)
    if not 0.0 <= options.teacher_errors <= 1.0:
        raise ConfigurationError(
            f"--teacher-errors must be in [0, 1], got {options.teacher_errors}"
        )
    if (options.out / "model").exists():
        raise ConfigurationError(f"{options.out} already holds a model: choose another --out")
    from agemem.train.demonstrations import demonstrate, encode
    from agemem.train.models import find_model

    backbone = options.backbone
    if backbone == TINY:
        backbone = str(_tiny(options, settings))
    model = find_model(backbone)
    tokenizer = model.tokenizer()
    counter = f"tokenizer:{model.source}"
    episodes = demonstrate(
        settings, options.episodes, options.seed, counter, options.teacher_errors
    )
    window = model.window()
    rows = list(chain.from_iterable(encode(tokenizer, steps, window) for steps in episodes))
    print(f"{len(rows)} steps of the teacher to imitate", flush=True)
    imitate(model.source, tokenizer, rows, options.out, options)
    return EXIT_OK


def _tiny(options: argparse.Namespace, settings: EnvSettings) -> Path:
    """Build the tiny policy, knowing nothing yet, with a tokenizer trained on the teacher."""
    from agemem.train.demonstrations import demonstrate
    from agemem.train.tiny import PieceCounter, TinyShape, build_policy, texts_of, train_tokenizer

    shape = TinyShape()
    episodes = list(demonstrate(settings, options.episodes, options.seed, PieceCounter()))
    tokenizer = train_tokenizer(
        (text for steps in episodes for text in texts_of(steps)),
        [episodes[0][0].prompt[0]["content"]],
        shape.vocabulary,
    )
    folder = Path(options.out / "base")
    parameters = build_policy(folder, tokenizer, shape, options.seed)
    print(f"a policy of {parameters:,} parameters, {len(tokenizer):,} tokens", flush=True)
    return folder


def imitate(
    model: str, tokenizer: Any, rows: list[dict[str, Any]], out: Path, options: argparse.Namespace
) -> None:
    """Train on encoded steps, and save ``out/model``."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from agemem.train.run import lora, save_model

    on_gpu = torch.cuda.is_available()
    micro = min(options.micro_batch, options.batch_size)
    config = SFTConfig(
        output_dir=str(out / "checkpoints"),
        seed=options.seed,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=max(1, options.batch_size // micro),
        learning_rate=options.learning_rate,
        adam_beta2=0.95,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # of all
        max_length=None,
        completion_only_loss=True,
        train_sampling_strategy="group_by_length",
        model_init_kwargs={"dtype": "bfloat16" if on_gpu and options.lora_rank else "float32"},
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=options.gradient_checkpointing,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora(options.lora_rank) if options.lora_rank else None,
    )
    trainer.train()
    save_model(trainer, out / "model")


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Errors that the user can mend are one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
