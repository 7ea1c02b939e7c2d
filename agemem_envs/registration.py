"""The registered environment ids, as data. Heavy imports wait until ``gym.make``."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from agemem_envs.util import plugins
from agemem_envs.util.plugins import with_declared

ENTRY_POINT = "agemem_envs.env:MemoryEnv"
ENVS: dict[str, dict[str, Any]] = {
    "AgeMem-ALFWorld-v0": {
        "task": "agemem_envs.tasks.alfworld.task:ALFWorldTask",
        "encoder": "minilm",
    },
    "AgeMem-ScienceWorld-v0": {
        "task": "agemem_envs.tasks.scienceworld.task:ScienceWorldTask",
        "encoder": "minilm",
    },
    "AgeMem-BabyAI-v0": {
        "task": "agemem_envs.tasks.babyai.task:BabyAITask",
        "encoder": "minilm",
    },
    "AgeMem-PDDL-v0": {
        "task": "agemem_envs.tasks.pddl.task:PDDLTask",
        "encoder": "minilm",
    },
    "AgeMem-HotpotQA-v0": {
        "task": "agemem_envs.tasks.qa.hotpotqa:HotpotQATask",
        "encoder": "minilm",
    },
    "AgeMem-SyntheticQA-v0": {
        "task": "agemem_envs.tasks.qa.synthetic_qa:SyntheticQATask",
        "encoder": "hashing",
    },
    "AgeMem-LoCoMo-v0": {
        "task": "agemem_envs.tasks.conversations.locomo:LoCoMoTask",
        "encoder": "minilm",
    },
    "AgeMem-LongMemEval-v0": {
        "task": "agemem_envs.tasks.conversations.longmemeval:LongMemEvalTask",
        "encoder": "minilm",
    },
    "AgeMem-StructMemEval-v0": {
        "task": "agemem_envs.tasks.conversations.structmemeval:StructMemEvalTask",
        "encoder": "minilm",
    },
}
"""The default arguments of :class:`~agemem_envs.env.MemoryEnv` for each id."""
for _id, _task in with_declared({}, plugins.BENCHMARKS).items():
    ENVS.setdefault(_id, {"task": _task, "encoder": "minilm"})

BENCHMARKS: tuple[str, ...] = (
    "AgeMem-ALFWorld-v0",
    "AgeMem-ScienceWorld-v0",
    "AgeMem-PDDL-v0",
    "AgeMem-BabyAI-v0",
    "AgeMem-HotpotQA-v0",
)
"""The benchmarks of the paper, in the order of its main table."""


def register_envs() -> None:
    """Register every id with Gymnasium. Calling it again has no effect."""
    for env_id, kwargs in ENVS.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=ENTRY_POINT,
                # The checker would warn of the NaN that is the reward of an unscored episode.
                disable_env_checker=True,
                kwargs=dict(kwargs),
            )
