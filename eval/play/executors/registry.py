"""Names of engines: one row each. The class is imported when it is used."""

from __future__ import annotations

from agemem.eval.play.executors.base import Executor
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.plan import Plan
from agemem.eval.runs.registry import agent_class
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util.endpoint import is_endpoint
from agemem_envs.util.loading import load

EXECUTORS: dict[str, str] = {
    "serial": "agemem.eval.play.executors.serial:SerialExecutor",
    "processes": "agemem.eval.play.executors.processes:ProcessExecutor",
    "ray": "agemem.eval.play.executors.ray_cluster:RayExecutor",
}


def executor_name(config: RunConfig) -> str:
    """The engine that is asked for; without one, processes if there are several workers."""
    return config.engine or ("processes" if config.workers > 1 else "serial")


def make_executor(config: RunConfig, plan: Plan) -> Executor:
    """The engine of a run, ready to play.

    Raises:
        UnknownNameError: No engine has this name.
        ConfigurationError: The engine does not fit the configuration.
        WorkerError: Its processes cannot play this configuration.
        AgeMemError: Something that the configuration names cannot be had.
    """
    name = executor_name(config)
    if name not in EXECUTORS:
        raise UnknownNameError("engine", name, EXECUTORS)
    if name == "serial" and config.workers > 1:
        raise ConfigurationError(
            f"--engine serial plays in one process, not in {config.workers}: leave it out"
        )
    if name != "ray" and config.address is not None:
        raise ConfigurationError("--address is that of a Ray cluster: add --engine ray")
    if config.workers > 1:
        _refuse_model_in_process(config)
    engine: Executor = load(EXECUTORS[name])(config, plan)
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
            "`agemem serve --backbone smollm2-135m --port 8000` and --backbone "
            "smollm2-135m@http://127.0.0.1:8000/v1"
        )
