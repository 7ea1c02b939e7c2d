"""Resolution of names to objects, and all checks of a configuration, before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agemem.agents.base import Agent
from agemem.baselines.worker import PREFIX, split_command
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.registry import agent_class
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.names import check_names
from agemem_envs.registration import ENVS
from agemem_envs.tools import choose_tools
from agemem_envs.util.endpoint import is_endpoint

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The name of a memory system outside of the registry."""
EXECUTORS: dict[str, str] = {
    "serial": "agemem.eval.play.executors.serial:SerialExecutor",
    "processes": "agemem.eval.play.executors.processes:ProcessExecutor",
    "ray": "agemem.eval.play.executors.ray_cluster:RayExecutor",
}
"""Executor classes, called with a resolved run and its plan."""


@dataclass(frozen=True, slots=True)
class ResolvedRun:
    """A configuration whose names are resolved and whose settings are consistent.

    Attributes:
        config: The configuration.
        tools: The tools of the environments: those that the agent requires, or else those of the
            configuration.
        executor: The name of the executor.
    """

    config: RunConfig
    tools: str | tuple[str, ...]
    executor: str

    @property
    def agent(self) -> type[Agent]:
        """The class of the agent. It is looked up, since a worker process may not receive it."""
        return agent_class(self.config.agent)


def resolve(config: RunConfig) -> ResolvedRun:
    """Resolve the names of a configuration, and check that its settings are consistent.

    Raises:
        UnknownNameError: A name is unknown.
        ConfigurationError: Settings contradict each other.
    """
    for env_id in config.envs:
        if env_id not in ENVS:
            raise UnknownNameError("environment", env_id, ENVS)
    check_names(config)
    _check_command(config)
    agent = agent_class(config.agent)
    _check_backbone(config, agent)
    tools = _tools(config, agent)
    if config.few_shot and "Add_memory" not in choose_tools(tools):
        raise ConfigurationError("--few-shot shows the memory tools: it needs --tools all or ltm")
    return ResolvedRun(config, tools, _executor(config, agent))


def _check_command(config: RunConfig) -> None:
    """Check that a memory system has a command if, and only if, its name says so."""
    named = config.agent.startswith(PREFIX)
    if named and not NAME.fullmatch(config.agent.removeprefix(PREFIX)):
        raise ConfigurationError(
            f"--agent {config.agent!r}: name the system with letters, digits, '.', '-' and '_'"
        )
    if named != (config.system_command is not None):
        raise ConfigurationError(
            f"--system-command and --agent {PREFIX}NAME belong together: pass both, for example "
            f'--agent {PREFIX}mine --system-command "python mine.py"'
        )
    if config.system_command is not None:
        split_command(config.system_command)


def _tools(config: RunConfig, agent: type[Agent]) -> str | tuple[str, ...]:
    """The tools of the environments: those the agent is made for, or else the configuration's."""
    if agent.tools is None:
        return config.tools
    if config.tools not in (RunConfig().tools, agent.tools):
        raise ConfigurationError(
            f"agent {config.agent!r} plays with --tools {agent.tools}, not {config.tools}: leave "
            "--tools out"
        )
    return agent.tools


def _check_backbone(config: RunConfig, agent: type[Agent]) -> None:
    if agent.uses_backbone and config.backbone is None:
        raise ConfigurationError(
            f"agent {config.agent!r} needs a language model: pass one, for example "
            "--backbone smollm2-135m"
        )
    if not agent.uses_backbone:
        given = [
            flag
            for flag, value in (
                ("--backbone", config.backbone),
                ("--base-url", config.base_url),
                ("--training-record", config.training_record),
                ("--constrained", config.constrained),
                ("--few-shot", config.few_shot),
                ("--chat-template-arg", config.chat_template_arg),
                ("--dtype", config.dtype != "auto"),
            )
            if value
        ]
        if given:
            raise ConfigurationError(
                f"agent {config.agent!r} uses no language model: remove {', '.join(given)}"
            )


def _executor(config: RunConfig, agent: type[Agent]) -> str:
    """The name of the executor; by default ``processes`` if there are several workers."""
    name = config.executor or ("processes" if config.workers > 1 else "serial")
    if name not in EXECUTORS:
        raise UnknownNameError("executor", name, EXECUTORS)
    if name == "serial" and config.workers > 1:
        raise ConfigurationError(
            f"--executor serial plays in one process, not in {config.workers}: remove --executor "
            "or --workers"
        )
    if name != "ray" and config.address is not None:
        raise ConfigurationError(
            "--address names a Ray cluster: add --executor ray, or remove --address"
        )
    if config.workers > 1 and agent.uses_backbone:
        _refuse_model_in_process(config)
    return name


def _refuse_model_in_process(config: RunConfig) -> None:
    """Refuse a backbone that every worker would load; a shared server is faster and smaller.

    Raises:
        ConfigurationError: The backbone does not run on a server.
    """
    backbone = config.backbone
    if backbone == "scripted" or config.base_url is not None or is_endpoint(str(backbone)):
        return
    raise ConfigurationError(
        f"backbone {backbone!r} is loaded by the process that plays, so each of the "
        f"{config.workers} workers would load it. Serve it once, with vLLM or with "
        "`agemem serve --backbone smollm2-135m --port 8000`, and pass its address: --backbone "
        "smollm2-135m@http://127.0.0.1:8000/v1"
    )
