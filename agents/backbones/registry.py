"""Names of backbones: one row each, and what any other name means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem.agents.backbones.base import Backbone
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util.endpoint import ChatEndpoint, is_endpoint


@dataclass(frozen=True, slots=True)
class Options:
    """How a backbone is built.

    Attributes:
        base_url: An OpenAI-compatible server for a model that has a hub id.
        grammar: Constrains decoding, or None.
        timeout: Seconds for one request to a server.
        attempts: At most so many attempts for one request.
    """

    base_url: str | None = None
    grammar: str | None = None
    timeout: float = 120.0
    attempts: int = 4

    @property
    def limits(self) -> dict[str, Any]:
        """The options of an endpoint."""
        return {"timeout": self.timeout, "attempts": self.attempts}

    def endpoint(self, model: str, url: str) -> ChatEndpoint:
        """The server's endpoint with these limits."""
        return ChatEndpoint(model, url, **self.limits)


Builder = Callable[[str, Options], Backbone]


def _hub(model: str) -> Builder:
    """A model by hub id or path: on a server if there is one, else in this process."""

    def build(name: str, options: Options) -> Backbone:
        if options.base_url:
            from agemem.agents.backbones.openai_server import OpenAIBackbone

            endpoint = options.endpoint(model, options.base_url)
            return OpenAIBackbone(endpoint, options.grammar)
        _no_grammar(name, options)
        from agemem.agents.backbones.transformers_model import TransformersBackbone

        return TransformersBackbone(model, name)

    return build


def _smollm2_llama_cpp(name: str, options: Options) -> Backbone:
    _no_server(name, options)
    from agemem.agents.backbones import smollm2
    from agemem.agents.backbones.llama_cpp import LlamaCppBackbone

    return LlamaCppBackbone(smollm2.gguf_path(), name, options.grammar, **options.limits)


def _smollm2_local(name: str, options: Options) -> Backbone:
    _no_server(name, options)
    from agemem.agents.backbones import smollm2
    from agemem.agents.backbones.server.local import LocalBackbone

    return LocalBackbone(smollm2.gguf_path(), name, options.grammar, **options.limits)


def _smollm2_transformers(name: str, options: Options) -> Backbone:
    _no_server(name, options)
    _no_grammar(name, options)
    from agemem.agents.backbones import smollm2
    from agemem.agents.backbones.transformers_model import TransformersBackbone

    return TransformersBackbone(smollm2.transformers_path(), name)


def _scripted(name: str, options: Options) -> Backbone:
    _no_server(name, options)
    _no_grammar(name, options)
    from agemem.agents.backbones.scripted import ScriptedBackbone

    return ScriptedBackbone()


BACKBONES: dict[str, Builder] = {
    "qwen3-4b": _hub("Qwen/Qwen3-4B-Instruct-2507"),
    "qwen2.5-7b": _hub("Qwen/Qwen2.5-7B-Instruct"),
    "smollm2-135m": _smollm2_llama_cpp,
    "smollm2-135m@local": _smollm2_local,
    "smollm2-135m-transformers": _smollm2_transformers,
    "scripted": _scripted,
}


def make_backbone(name: str, options: Options | None = None) -> Backbone:
    """A backbone by name.

    Args:
        name: A name of :data:`BACKBONES`, ``MODEL@URL`` for a model on an
            OpenAI-compatible server, a folder, or a hub id with a slash.
        options: How to build it.

    Raises:
        UnknownNameError: The name is none of these.
        ConfigurationError: An option does not fit the backbone.
        BackboneUnavailableError: The model cannot be loaded here.
        MissingDependencyError: Its engine is not installed.
    """
    options = options or Options()
    if name in BACKBONES:
        return BACKBONES[name](name, options)
    if is_endpoint(name):
        if options.base_url:
            raise ConfigurationError(f"{name!r} names its server: it takes no --base-url")
        from agemem.agents.backbones.openai_server import OpenAIBackbone

        model, _, url = name.rpartition("@")
        return OpenAIBackbone(options.endpoint(model, url), options.grammar)
    if "/" in name or Path(name).is_dir():
        return _hub(name)(name, options)
    raise UnknownNameError(
        "backbone", name, [*BACKBONES, "MODEL@http://host/v1", "hub/id", "path/to/model"]
    )


def _no_server(name: str, options: Options) -> None:
    if options.base_url:
        raise ConfigurationError(f"backbone {name!r} runs here: it takes no --base-url")


def _no_grammar(name: str, options: Options) -> None:
    if options.grammar is not None:
        raise ConfigurationError(
            f"backbone {name!r} cannot be constrained by a grammar: use smollm2-135m "
            "(llama.cpp), or a vLLM server with MODEL@URL or --base-url"
        )
