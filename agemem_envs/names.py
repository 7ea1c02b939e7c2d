"""The check of the names in an environment's settings, before anything is loaded."""

from __future__ import annotations

from agemem_envs.encoders import check_encoder
from agemem_envs.env_settings import EnvSettings
from agemem_envs.errors import UnknownNameError
from agemem_envs.judging.rewards import make_reward
from agemem_envs.memory.registry import split_memory
from agemem_envs.protocols import find_protocol
from agemem_envs.stages import named_stages
from agemem_envs.tools import choose_tools
from agemem_envs.util.endpoint import is_endpoint

MODEL_FORM = "MODEL@http://host:port/v1"


def check_names(settings: EnvSettings) -> None:
    """Check every name in the settings of an environment.

    An environment checks them too, when it is made; by then a model may have been loaded.

    Raises:
        UnknownNameError: A name is not known; the message lists the known ones.
        ConfigurationError: A reward is not one, a memory has no location, or an encoder's
            folder does not exist.
    """
    find_protocol(settings.protocol)
    if settings.stages is not None:
        named_stages(settings.stages)
    choose_tools(settings.tools)
    if settings.reward is not None:
        make_reward(settings.reward)
    split_memory(settings.memory)
    if settings.encoder is not None:
        check_encoder(settings.encoder)
    for kind, name, builtin in (
        ("judge", settings.judge, "lexical"),
        ("summarizer", settings.summarizer, "extractive"),
    ):
        if name != builtin and not is_endpoint(name):
            raise UnknownNameError(kind, name, [builtin, MODEL_FORM])
    counter = settings.token_counter or "approximate"
    if not counter.startswith(("approximate", "tokenizer:")):
        raise UnknownNameError("token counter", counter, ["approximate", "tokenizer:ID"])
