"""A tiny policy with a tokenizer of its own, to show learning on a small machine.

The tokenizer is trained on demonstrations. Names and numbers stand apart, and all that lies
between two of them may become one token, the system prompt whole: what is the same in every
episode costs next to nothing, and what must be copied is always cut alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Olmo2Config, Olmo2ForCausalLM, PreTrainedTokenizerFast

from agemem.train.demonstrator import DemonstratedStep

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML."""
_PIECE = r"[A-Z][a-z]+|[0-9]|[^A-Z0-9]+|[A-Z]"


@dataclass(frozen=True, slots=True)
class TinyShape:
    """Size of the policy: by default 0.4 million parameters."""

    vocabulary: int = 2_000
    width: int = 128
    layers: int = 2
    heads: int = 4
    window: int = 1_024


class PieceCounter:
    """Counts what the best tokenizer of this kind would: for before there is one."""

    name = "tiny-pieces"

    def count(self, text: str) -> int:
        """Number of names, digits and texts between them."""
        return len(re.findall(_PIECE, text))


def train_tokenizer(
    texts: Iterable[str], constants: Iterable[str], size: int
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML.

    Args:
        texts: What the policy will read and write.
        constants: Texts that are one token each.
        size: Of the vocabulary, without the constants.
    """
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bare.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(texts, trainer)
    bare.add_tokens([AddedToken(text, normalized=False) for text in constants])
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )


def texts_of(steps: Sequence[DemonstratedStep]) -> Iterator[str]:
    """What an episode shows and what is said in it, each once, without the system prompt."""
    seen = {f"{m['role']}\n{m['content']}\n": None for step in steps for m in step.prompt[1:]}
    yield from seen
    yield from (f"assistant\n{step.action}" for step in steps)


def build_policy(
    folder: Path, tokenizer: PreTrainedTokenizerFast, shape: TinyShape, seed: int
) -> int:
    """Save a random OLMo 2 with its tokenizer.

    Not a Qwen2 as elsewhere: transformers rebuilds the tokenizer of one by Qwen's own rules.

    Returns:
        Its number of parameters.
    """
    config = Olmo2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.window,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000.0},  # for short texts
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Olmo2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())
