"""Names of backbones: those of :mod:`agemem.agents.models`, servers, hub ids and folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agemem.agents.backbones.base import Backbone
from agemem.agents.models import MODELS, Model, Serving, find_adapted
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util.endpoint import MAX_IN_FLIGHT, ChatEndpoint, split_endpoint


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a backbone.

    Attributes:
        base_url: An OpenAI-compatible server for a model that has a hub id.
        grammar: A GBNF grammar that constrains decoding, or None.
        template: Arguments of the chat template, for a model that transformers runs.
        dtype: The numbers of the weights of such a model, one of
            :data:`~agemem.agents.backbones.base.DTYPES`.
        timeout: Seconds for one request to a server.
        attempts: Maximum number of attempts for one request.
        in_flight: Maximum number of requests to a server at once.
    """

    base_url: str | None = None
    grammar: str | None = None
    timeout: float = 120.0
    attempts: int = 4
    in_flight: int = MAX_IN_FLIGHT
    template: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "auto"

    @property
    def limits(self) -> dict[str, Any]:
        """The options of an endpoint."""
        return {
            "timeout": self.timeout,
            "attempts": self.attempts,
            "in_flight": self.in_flight,
        }

    def endpoint(self, model: str, url: str) -> ChatEndpoint:
        """The endpoint of a server, with these limits."""
        return ChatEndpoint(model, url, **self.limits)


Builder = Callable[[Model, str, Options], Backbone]
"""Builds the backbone that runs a model, under a name."""


def _transformers(model: Model, name: str, options: Options) -> Backbone:
    """On a server if there is one and the model has a hub id, else in this process."""
    if options.base_url and model.hub_id is not None:
        from agemem.agents.backbones.openai_server import OpenAIBackbone

        _other_engine(name, options)
        return OpenAIBackbone(options.endpoint(model.hub_id, options.base_url), options.grammar)
    _no_server(name, options)
    _no_grammar(name, options)
    from agemem.agents.backbones.transformers_model import TransformersBackbone

    return TransformersBackbone(model.source(), name, options.template, options.dtype)


def _llama_cpp(model: Model, name: str, options: Options) -> Backbone:
    _no_server(name, options)
    _other_engine(name, options)
    from agemem.agents.backbones.llama_cpp import LlamaCppBackbone

    return LlamaCppBackbone(_weights(model), name, options.grammar, **options.limits)


def _llama_cpp_shared(model: Model, name: str, options: Options) -> Backbone:
    _no_server(name, options)
    _other_engine(name, options)
    from agemem.agents.backbones.server.local import LocalBackbone

    return LocalBackbone(_weights(model), name, options.grammar, **options.limits)


def _scripted(model: Model, name: str, options: Options) -> Backbone:
    _no_server(name, options)
    _other_engine(name, options)
    _no_grammar(name, options)
    from agemem.agents.backbones.scripted import ScriptedBackbone

    return ScriptedBackbone()


def _weights(model: Model) -> Path:
    assert model.gguf is not None, f"{model.name} has no GGUF file"
    return model.gguf()


BUILDERS: dict[Serving, Builder] = {
    Serving.TRANSFORMERS: _transformers,
    Serving.LLAMA_CPP: _llama_cpp,
    Serving.LLAMA_CPP_SHARED: _llama_cpp_shared,
    Serving.SCRIPTED: _scripted,
}
BACKBONES: dict[str, tuple[Model, Serving]] = {
    f"{model.name}{suffix}": (model, serving)
    for model in MODELS.values()
    for suffix, serving in model.backbones.items()
}
"""The names of backbones: the model, and how it is run."""


def training_folder(name: str) -> Path | None:
    """The folder that may hold the record of a model's training, for a name or a folder."""
    if name in BACKBONES:
        return BACKBONES[name][0].training
    return Path(name) if name and Path(name).is_dir() else None


def make_backbone(name: str, options: Options | None = None) -> Backbone:
    """A backbone by name.

    Args:
        name: A name of :data:`BACKBONES`, ``MODEL@URL`` for a model on an
            OpenAI-compatible server, a hub id with a slash, or the folder of a model or of an
            adapter of the embedded model.
        options: The backbone's options.

    Raises:
        UnknownNameError: The name has none of these forms.
        ConfigurationError: An option does not fit the backbone.
        BackboneUnavailableError: The model cannot be loaded here.
        MissingDependencyError: The engine is not installed.
    """
    options = options or Options()
    if name in BACKBONES:
        model, serving = BACKBONES[name]
        return BUILDERS[serving](model, name, options)
    served, url = split_endpoint(name)
    if url is not None:
        if options.base_url:
            raise ConfigurationError(f"{name!r} names its server: it takes no --base-url")
        from agemem.agents.backbones.openai_server import OpenAIBackbone

        _other_engine(name, options)
        return OpenAIBackbone(options.endpoint(served, url), options.grammar)
    adapted = find_adapted(name)
    if adapted is not None:
        return _llama_cpp(adapted, name, options)
    if "/" in name or Path(name).is_dir():
        return _transformers(Model(name, hub_id=name), name, options)
    raise UnknownNameError(
        "backbone", name, [*BACKBONES, "MODEL@http://host/v1", "hub/id", "path/to/model"]
    )


def _no_server(name: str, options: Options) -> None:
    if options.base_url:
        raise ConfigurationError(f"backbone {name!r} runs in this process and takes no --base-url")


def _no_grammar(name: str, options: Options) -> None:
    if options.grammar is not None:
        raise ConfigurationError(
            f"backbone {name!r} cannot be constrained by a grammar: use smollm2-135m "
            "(llama.cpp), or a vLLM server with MODEL@URL or --base-url"
        )


def _other_engine(name: str, options: Options) -> None:
    if options.template:
        raise ConfigurationError(
            f"backbone {name!r} takes no --chat-template-arg: its engine renders the chats. Start "
            "a server with the template that it should use (vllm serve --chat-template FILE)"
        )
    if options.dtype != "auto":
        raise ConfigurationError(
            f"backbone {name!r} takes no --dtype: transformers does not run it. Start a server "
            "with the numbers that it should use (vllm serve --dtype bfloat16)"
        )
