"""The client with which the libraries of memory systems call the run's language model."""

from __future__ import annotations

from typing import Any

from agemem_envs.errors import require

TIMEOUT = 600.0
"""Seconds for a call; the gateway gives up earlier."""


def http_client() -> Any:
    """An ``httpx`` client without the environment's proxies and credentials.

    Raises:
        MissingDependencyError: httpx is not installed.
    """
    return require("httpx", extra="baselines").Client(trust_env=False, timeout=TIMEOUT)


def openai_client(url: str, key: str) -> Any:
    """An OpenAI client for a server; without retries, since the gateway has them.

    Raises:
        MissingDependencyError: openai or httpx is not installed.
    """
    return require("openai", extra="baselines").OpenAI(
        api_key=key, base_url=url, max_retries=0, http_client=http_client()
    )
