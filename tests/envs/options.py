"""How each registered id is made in tests of mechanics, which run for all of them."""

from typing import Any

from agemem_envs import ENVS

SMALL: dict[str, dict[str, Any]] = {
    "AgeMem-ALFWorld-v0": {"data": "embedded"},
    "AgeMem-HotpotQA-v0": {"data": "embedded"},
    "AgeMem-LoCoMo-v0": {"data": "embedded"},
    "AgeMem-LongMemEval-v0": {"data": "embedded"},
    "AgeMem-PDDL-v0": {"data": "embedded"},
    "AgeMem-StructMemEval-v0": {"data": "embedded"},
    # A few tasks whose gold paths are quickly found, and whose animals move by chance.
    "AgeMem-ScienceWorld-v0": {"tasks": ["find-animal", "lifespan-longest-lived"]},
}
OPTIONS: dict[str, dict[str, Any]] = {
    env_id: {"protocol": "full", **SMALL.get(env_id, {})} for env_id in ENVS
}
"""Every id runs without data or network; these ask for it without a warning, and quickly."""
