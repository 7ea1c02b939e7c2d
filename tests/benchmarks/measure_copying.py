"""How well a model repeats random texts, by their length.

    python -m tests.benchmarks.measure_copying MODEL

Each text is followed by itself. Prints, for each length, the share of the tokens of the second
time that the model predicts, but for the first, which no token announces.
"""

from __future__ import annotations

import argparse

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

LENGTHS = (10, 25, 100, 400, 700)
TOKENS = 1_400
"""Tokens of the texts of each length together, at least."""


def repeated(
    model: PreTrainedModel, length: int, different: int | None = None, seed: int = 5
) -> float:
    """The share of tokens of random texts that the model repeats.

    Args:
        model: The model.
        length: The tokens of a text.
        different: The number of different tokens in all texts; by default the whole vocabulary.
        seed: The seed of the texts.
    """
    chance = torch.Generator().manual_seed(seed)
    some = torch.randperm(int(model.config.vocab_size), generator=chance)[:different]
    shape = (-(-TOKENS // length), length)
    texts = some[torch.randint(len(some), shape, generator=chance)]
    with torch.no_grad():
        scores = model(torch.cat([texts, texts], 1)).logits[:, length:-1]
    return float((scores.argmax(-1) == texts[:, 1:]).float().mean())


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help="folder of a model")
    parser.add_argument("--different", type=int, metavar="N", help="different tokens (all)")
    return parser


def main() -> None:
    options = build_parser().parse_args()
    model = AutoModelForCausalLM.from_pretrained(options.model)
    for length in LENGTHS:
        print(f"{length:4d} tokens: {repeated(model, length, options.different):.2f}")


if __name__ == "__main__":
    main()
