"""A sentence-transformers model of a few kilobytes, with random weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a river called tasp flows on query glass : and".split()


def save_tiny_model(folder: Path, seed: int = 0, prompts: dict[str, str] | None = None) -> Path:
    """Save a model: one layer, vectors of length 16.

    Args:
        folder: Where to; it is created.
        seed: The seed of its weights.
        prompts: The model's prompts.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    library = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    parts = folder.parent / f"{folder.name} parts"
    parts.mkdir(parents=True)
    (parts / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(seed)
        config = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        )
        transformers.BertModel(config).save_pretrained(parts)
        transformers.BertTokenizer(str(parts / "vocab.txt")).save_pretrained(parts)
        layers = [modules.Transformer(str(parts)), modules.Pooling(16)]
        library.SentenceTransformer(modules=layers, prompts=prompts, device="cpu").save(str(folder))
    return folder
