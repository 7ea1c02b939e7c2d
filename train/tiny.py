"""A tiny policy with a tokenizer of its own, to show learning on a small machine.

The tokenizer is trained on demonstrations. A name is two pieces, its first syllable and the rest,
a year is two pieces as well, and the text between two of them may become one token. Text that every
episode repeats, such as the system prompt, therefore costs few tokens, and a name is always split
in the same way. The policy can copy from the start: it finds the last three tokens in the context,
and repeats what followed them there. So it writes names that it has never seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, SmolLM3Config, SmolLM3ForCausalLM

from agemem.train.copying import set_copying
from agemem.train.demonstrator import DemonstratedStep

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML."""
ROPE_THETA = 1e4
"""The base of the rotary positions, in every other layer from the first on. The layers between
have none: they recognize what is far away as well as what is near."""
_PIECE = r"[A-Z][a-z]+(?: (?=[A-Z]))?|[0-9]{1,2}|[^A-Z0-9]+|[A-Z]"
"""A capitalised word, with the space before another one; two digits; the text between."""
_CONSONANTS = "[b-df-hj-np-tv-z]"
_SYLLABLE = rf"^[A-Z]{_CONSONANTS}*[aeiou]+{_CONSONANTS}+"
"""The first syllable of a piece that is a capitalised word."""


@dataclass(frozen=True, slots=True)
class TinyShape:
    """The size of the policy; about one and a half million parameters by default.

    Attributes:
        vocabulary: Tokens that the tokenizer learns.
        width: Hidden size.
        layers: Transformer layers.
        heads: Attention heads.
        window: Tokens of prompt and completion.
    """

    vocabulary: int = 6_000
    width: int = 128
    layers: int = 4
    heads: int = 4
    window: int = 1_536


class PieceCounter:
    """Counts the pieces of a text: the token counter to use before the tokenizer is trained."""

    name = "tiny-pieces"

    def count(self, text: str) -> int:
        """The number of syllables of names, of numbers and of texts between them."""
        pieces = re.findall(_PIECE, text)
        return len(pieces) + sum(bool(re.match(_SYLLABLE + ".", piece)) for piece in pieces)


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
            pre_tokenizers.Split(Regex(_SYLLABLE), "isolated"),
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
    """Save a policy that can copy, and nothing else, and its tokenizer to a folder.

    Args:
        folder: Where to save it.
        tokenizer: Its tokenizer.
        shape: Its size.
        seed: The seed of its weights.

    Returns:
        The number of parameters.
    """
    config = SmolLM3Config(
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
        attention_bias=True,
        no_rope_layer_interval=2,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SmolLM3ForCausalLM(config)
        set_copying(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())
