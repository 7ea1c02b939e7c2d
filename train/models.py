"""Models that can be trained, under the names by which they can be evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agemem.agents.backbones.chat_template import (
    check_template,
    set_arguments,
    template_arguments,
)
from agemem.agents.backbones.transformers_model import require_model, unavailable
from agemem.agents.models import MODELS, Shape, find_adapted
from agemem_envs.errors import BackboneUnavailableError, UnknownNameError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAINABLE = {m.name: m for m in MODELS.values() if m.hub_id or m.folder}
"""The named models whose weights transformers can load."""


@dataclass(frozen=True, slots=True)
class TrainableModel:
    """A model to train.

    Attributes:
        name: The name that the user gave.
        source: The folder or hub id to load it from.
    """

    name: str
    source: str

    def shape(self) -> Shape:
        """The model's size, from the table or else from its configuration.

        Raises:
            BackboneUnavailableError: The model is neither on this machine nor on a reachable hub.
        """
        model = TRAINABLE.get(self.name)
        if model is not None and model.shape is not None:
            return model.shape
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = self._load(AutoConfig)
        with torch.device("meta"):
            parameters = AutoModelForCausalLM.from_config(config).num_parameters()
        text = config.get_text_config()
        heads = text.num_attention_heads
        return Shape(
            parameters,
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
            vocabulary=text.vocab_size,
        )

    def tokenizer(self, template: Sequence[str] = ()) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with a padding token and a template that keeps earlier turns.

        Args:
            template: Arguments of the chat template, NAME=VALUE.

        Raises:
            BackboneUnavailableError: The model is neither on this machine nor on a reachable hub.
            ConfigurationError: The chat template is missing, fails or changes earlier turns.
        """
        from transformers import AutoTokenizer

        require_model(self.source, self.name)
        tokenizer: PreTrainedTokenizerBase = self._load(AutoTokenizer)
        if tokenizer.chat_template is not None:
            set_arguments(tokenizer, template_arguments(template))
        check_template(tokenizer, self.source)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def window(self) -> int:
        """The number of tokens, prompt and completion together, that the model can hold."""
        from transformers import AutoConfig

        return int(self._load(AutoConfig).get_text_config().max_position_embeddings)

    def _load(self, kind: Any) -> Any:
        try:
            return kind.from_pretrained(self.source)
        except (OSError, ValueError) as error:
            raise unavailable(self.name, self.source, error) from error


def find_model(name: str) -> TrainableModel:
    """Find a model by name, folder or hub id.

    Raises:
        UnknownNameError: The name is not one of these.
        BackboneUnavailableError: The folder holds no model, or the adapter of another one than
            SmolLM2-135M.
        MissingDependencyError: The embedded model's weights are not installed.
    """
    if name in TRAINABLE:
        return TrainableModel(name, TRAINABLE[name].source())
    adapted = find_adapted(name)
    if adapted is not None:
        return TrainableModel(name, adapted.source())
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BackboneUnavailableError(
                f"{name} is a folder without a config.json. To use a training run, name its "
                f"model: {folder / 'model'}"
            )
        return TrainableModel(name, str(folder))
    if "/" in name:
        return TrainableModel(name, name)
    raise UnknownNameError("backbone to train", name, [*TRAINABLE, "hub/id", "path/to/model"])
