"""A tiny policy with a tokenizer of its own, to show learning on a small machine.

The tokenizer is trained on demonstrations. Capitalised words and digits are pieces of their own,
and the text between two of them may become one token. Text that every episode repeats, such as the
system prompt, therefore costs few tokens, and a name is always split in the same way.
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
    """The size of the policy; about a million parameters by default.

    Attributes:
        vocabulary: Tokens that the tokenizer learns.
        width: Hidden size.
        layers: Transformer layers.
        heads: Attention heads.
        window: Tokens of prompt and completion.
    """

    vocabulary: int = 2_000
    width: int = 128
    layers: int = 4
    heads: int = 4
    window: int = 1_536


class PieceCounter:
    """Counts the pieces of a text: the token counter to use before the tokenizer is trained."""

    name = "tiny-pieces"

    def count(self, text: str) -> int:
        """The number of names, digits and texts between them."""
        return len(re.findall(_PIECE, text))


def train_tokenizer(
    texts: Iterable[str], constants: Iterable[str], size: int
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML.

    Args:
        texts: Texts as the policy will read and write them.
        constants: Texts that become one token each.
        size: Size of the vocabulary, without the constants.
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
    """The messages and actions of an episode, each message once, without the system prompt."""
    seen = {f"{m['role']}\n{m['content']}\n": None for step in steps for m in step.prompt[1:]}
    yield from seen
    yield from (f"assistant\n{step.action}" for step in steps)


def build_policy(
    folder: Path, tokenizer: PreTrainedTokenizerFast, shape: TinyShape, seed: int
) -> int:
    """Save an untrained OLMo 2 and its tokenizer to a folder.

    It is not a Qwen2, because transformers would rebuild the tokenizer by Qwen's own rules.

    Returns:
        The number of parameters.
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
