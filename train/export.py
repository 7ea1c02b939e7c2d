"""Make the adapter of a training ready to be shipped.

    agemem export results/runs/sft --out results/models/my-agent

A training with ``--lora-rank`` keeps its adapter in ``model/adapter``. This program writes it in
half precision, without the paths of this machine, and in the form that llama.cpp loads. If the
training went on from another one with an adapter, both become one adapter of the untrained model.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.agents.backbones.registry import training_folder
from agemem.agents.lora import (
    CONFIG,
    WEIGHTS,
    Adapter,
    compressed,
    read_adapter,
    stacked,
    write_adapter,
    write_gguf,
)
from agemem.agents.smollm2 import GGUF_ADAPTER
from agemem.train.run import base_of
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.run_record import FILE as RECORD
from agemem_envs.run_record import training_record
from agemem_envs.training_record import MODEL
from agemem_envs.util.cli import EXIT_OK, exit_status, folder
from agemem_envs.util.files import new_folder

ADAPTER = Path(MODEL, "adapter")
"""Where a training keeps its adapter."""
EPILOG = f"""\
files of an adapter:
  {WEIGHTS}  the weights in half precision, which PEFT loads
  {CONFIG}          its settings
  {GGUF_ADAPTER}                 the same for llama.cpp (models with Llama's architecture)
  {RECORD}                  the record of the training

exit status:
  0  written
  2  the run has no adapter, or it cannot be converted
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="agemem export",
        description="Write the adapter of a training in half precision, and for llama.cpp.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=folder, metavar="RUN", help="the folder of the training")
    parser.add_argument("--out", type=folder, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--rank",
        type=int,
        metavar="N",
        help="make the adapter smaller: keep the N greatest singular values of each layer",
    )
    return parser


def export(run: Path, out: Path, rank: int | None = None) -> None:
    """Write the adapter of a training to a folder.

    Args:
        run: The folder of the training.
        out: A folder that does not exist yet.
        rank: Most singular values of a layer, at least 1; None for all.

    Raises:
        ConfigurationError: The training, or one before it, has no adapter; or the folder exists.
        DataFormatError: An adapter is damaged, or the model has another architecture.
        MissingDependencyError: A library is not installed.
    """
    adapters = list(_adapters(run))
    if out.exists():  # before a model is read
        raise ConfigurationError(f"{out} exists already: choose another --out")
    if rank is not None and rank < 1:
        raise ConfigurationError(f"--rank must be at least 1, not {rank}")
    transformers = require("transformers", extra="train")
    model = transformers.AutoConfig.from_pretrained(run / "model")
    adapter = stacked(adapters)
    if rank is not None and rank < adapter.rank:
        adapter = compressed(adapter, rank)
    settings = json.loads((run / ADAPTER / CONFIG).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = base_of(str(run / "model"))
    with new_folder(out) as unfinished:
        write_gguf(adapter, model, unfinished / GGUF_ADAPTER)
        write_adapter(adapter, settings, unfinished)
        shutil.copy(run / RECORD, unfinished)


def _adapters(run: Path) -> Iterator[Adapter]:
    """The adapters that were added to the untrained model one after another, the latest first."""
    if not (run / ADAPTER / WEIGHTS).is_file():
        raise ConfigurationError(f"{run} has no adapter: train with --lora-rank 16")
    yield read_adapter(run / ADAPTER)
    record = training_record(run)
    before = training_folder(str(record["config"]["backbone"])) if record else None
    if before is None:
        return
    if (before / WEIGHTS).is_file():  # an exported one has those before it
        yield read_adapter(before)
    elif training_record(before) is not None:
        yield from _adapters(before.parent if before.name == MODEL else before)


def run(argv: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    options = build_parser().parse_args(argv)
    export(options.run, options.out, options.rank)
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The program. An error that the user can correct becomes one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
