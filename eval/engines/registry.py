"""Names of engines: one row each. The class is imported when it is used."""

from __future__ import annotations

import importlib

from agemem_envs.endpoint import is_endpoint
from agemem_envs.errors import ConfigurationError, UnknownNameError
from eval.config import RunConfig
from eval.engines.base import Engine
from eval.plan import Plan
from eval.registry import agent_class

ENGINES: dict[str, str] = {
    "serial": "eval.engines.serial:SerialEngine",
    "processes": "eval.engines.processes:ProcessEngine",
    "ray": "eval.engines.ray_cluster:RayEngine",
}


def engine_name(config: RunConfig) -> str:
    """The engine that is asked for; without one, processes if there are several workers."""
    return config.engine or ("processes" if config.workers > 1 else "serial")


def make_engine(config: RunConfig, plan: Plan) -> Engine:
    """The engine of a run, ready to play.

    Raises:
        UnknownNameError: No engine has this name.
        ConfigurationError: The engine does not fit the configuration.
        WorkerError: Its processes cannot play this configuration.
        AgeMemError: Something that the configuration names cannot be had.
    """
    name = engine_name(config)
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    if name == "serial" and config.workers > 1:
        raise ConfigurationError(
            f"--engine serial plays in one process, not in {config.workers}: leave it out"
        )
    if name != "ray" and config.address is not None:
        raise ConfigurationError("--address is that of a Ray cluster: add --engine ray")
    if config.workers > 1:
        _refuse_model_in_process(config)
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)(config, plan)
    return engine


def _refuse_model_in_process(config: RunConfig) -> None:
    """Every worker would load the model; one server for all is faster and smaller.

    Raises:
        ConfigurationError: The backbone is not on a server.
    """
    backbone = config.backbone or "scripted"
    if not agent_class(config.agent).uses_backbone or backbone == "scripted":
        return
    if config.base_url is None and not is_endpoint(backbone):
        raise ConfigurationError(
            f"backbone {backbone!r} is loaded by the process that plays, so each of "
            f"{config.workers} workers would load it. Serve it once and name the server: vLLM, or "
            "`python -m agents.serve --backbone smollm2-135m --port 8000` and --backbone "
            "smollm2-135m@http://127.0.0.1:8000/v1"
        )
