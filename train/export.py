"""Make the adapter of a training ready to be shipped.

    agemem export results/runs/sft --out results/models/my-agent

A training with ``--lora-rank`` keeps its adapter in ``model/adapter``. This program writes it in
half precision, without the paths of this machine, and in the form that llama.cpp loads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.agents.lora import CONFIG, WEIGHTS, read_adapter, write_gguf
from agemem.agents.smollm2 import GGUF_ADAPTER
from agemem.train.run import base_of
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.run_record import FILE as RECORD
from agemem_envs.util.cli import EXIT_OK, exit_status, folder

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
    return parser


def export(run: Path, out: Path) -> None:
    """Write the adapter of a training to a folder.

    Args:
        run: The folder of the training.
        out: A folder that does not exist yet.

    Raises:
        ConfigurationError: The training has no adapter, or the folder exists.
        DataFormatError: The adapter is damaged, or the model has another architecture.
        MissingDependencyError: A library is not installed.
    """
    source = run / "model" / "adapter"
    if not (source / WEIGHTS).is_file():
        raise ConfigurationError(f"{run} has no adapter: train with --lora-rank 16")
    if out.exists():
        raise ConfigurationError(f"{out} exists already: choose another --out")
    safetensors = require("safetensors.torch", extra="train")
    transformers = require("transformers", extra="train")
    model = transformers.AutoConfig.from_pretrained(run / "model")
    adapter = read_adapter(source)
    out.mkdir(parents=True)
    write_gguf(adapter, model, out / GGUF_ADAPTER)
    tensors = safetensors.load_file(source / WEIGHTS)
    halved = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    safetensors.save_file(halved, out / WEIGHTS)
    settings = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = base_of(str(run / "model"))
    (out / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    shutil.copy(run / RECORD, out)


def run(argv: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    options = build_parser().parse_args(argv)
    export(options.run, options.out)
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The program. An error that the user can correct becomes one message and status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
