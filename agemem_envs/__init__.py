"""AgeMem environments: long-term and short-term memory of LLM agents, as Gymnasium envs.

``import agemem_envs`` registers the ids of :mod:`agemem_envs.registration`;
``gymnasium.make("agemem_envs:AgeMem-SyntheticQA-v0")`` does so without an import.
"""

from agemem_envs.registration import BENCHMARKS, ENVS, register_envs

__all__ = ["BENCHMARKS", "ENVS", "__version__", "register_envs"]
__version__ = "0.2.0"

register_envs()
