"""Models that can be trained, by the names under which they can be evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem.agents.backbones.transformers_model import require_model, unavailable
from agemem.agents.models import MODELS, Shape
from agemem_envs.errors import BackboneUnavailableError, ConfigurationError, UnknownNameError

TRAINABLE = {m.name: m for m in MODELS.values() if m.hub_id or m.folder}
"""The named models whose weights transformers can load."""


@dataclass(frozen=True, slots=True)
class TrainableModel:
    """A model on its way to training.

    Attributes:
        name: As asked for.
        source: A folder or hub id.
    """

    name: str
    source: str

    def shape(self) -> Shape:
        """Its size, from the table or else from its configuration.

        Raises:
            BackboneUnavailableError: There is no such model here or on a hub within reach.
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
        )

    def tokenizer(self) -> Any:
        """Its tokenizer.

        Raises:
            BackboneUnavailableError: As above.
            ConfigurationError: It has no chat template.
        """
        from transformers import AutoTokenizer

        require_model(self.source, self.name)
        tokenizer = self._load(AutoTokenizer)
        if tokenizer.chat_template is None:
            raise ConfigurationError(f"the tokenizer of {self.source} has no chat template")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def window(self) -> int:
        """Tokens of prompt and completion that it can hold."""
        from transformers import AutoConfig

        return int(self._load(AutoConfig).get_text_config().max_position_embeddings)

    def _load(self, kind: Any) -> Any:
        try:
            return kind.from_pretrained(self.source)
        except (OSError, ValueError) as error:
            raise unavailable(self.name, self.source, error) from error


def find_model(name: str) -> TrainableModel:
    """A model by name, folder or hub id.

    Raises:
        UnknownNameError: The name is none of these.
        BackboneUnavailableError: It is a folder without a model, or an adapter alone.
        MissingDependencyError: The embedded model's weights are not installed.
    """
    if name in TRAINABLE:
        return TrainableModel(name, TRAINABLE[name].source())
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BackboneUnavailableError(
                f"{name} is a folder without a config.json. Of a training run, name its model: "
                f"{folder / 'model'}"
            )
        return TrainableModel(name, str(folder))
    if "/" in name:
        return TrainableModel(name, name)
    raise UnknownNameError("backbone to train", name, [*TRAINABLE, "hub/id", "path/to/model"])
