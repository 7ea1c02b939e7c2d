"""How well a model repeats random texts, by their length.

    python -m tests.benchmarks.measure_copying MODEL

Prints, for each length, the share of the tokens of a repetition that the model predicts, but for
the first: it can be known from the text before alone, which is as many tokens away.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

LENGTHS = (10, 25, 100, 400, 700)
TOKENS = 1_400
"""Tokens of the texts of each length together, at least."""


def repeated(model: PreTrainedModel, length: int, seed: int = 5) -> float:
    """The share of tokens of random texts of this length that the model repeats."""
    chance = torch.Generator().manual_seed(seed)
    shape = (-(-TOKENS // length), length)
    texts = torch.randint(int(model.config.vocab_size), shape, generator=chance)
    with torch.no_grad():
        scores = model(torch.cat([texts, texts], 1)).logits[:, length:-1]
    return float((scores.argmax(-1) == texts[:, 1:]).float().mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help="folder of a model")
    model = AutoModelForCausalLM.from_pretrained(parser.parse_args(argv).model)
    for length in LENGTHS:
        print(f"{length:4d} tokens: {repeated(model, length):.2f}")


if __name__ == "__main__":
    main()
