"""Kuzu, the embedded graph database, as this project loads it: small, and without side effects."""

from __future__ import annotations

import functools
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

from agemem_envs.errors import require

GRAPH_BYTES = 2**34
"""Address space of one graph. By default Kuzu reserves 8 TB, and a process can hold 15."""
BUFFER_BYTES = 2**30
"""Maximum memory of one graph: Kuzu raises when an in-memory graph outgrows it."""


def load_kuzu() -> Any:
    """The package, loaded without sharing its symbols.

    It shares them with the whole process, for extensions that are not used here. llama.cpp,
    loaded later, would use its ``std::regex``, which has another ABI, and crash.

    Raises:
        MissingDependencyError: It is not installed.
    """
    with mock.patch.object(sys, "setdlopenflags", create=True):
        return require("kuzu", extra="baselines")


def small_kuzu() -> Any:
    """What libraries use of the package, for one small graph and one thread a query."""
    kuzu = load_kuzu()
    return SimpleNamespace(
        Database=functools.partial(
            kuzu.Database, buffer_pool_size=BUFFER_BYTES, max_db_size=GRAPH_BYTES
        ),
        Connection=functools.partial(kuzu.Connection, num_threads=1),
        AsyncConnection=functools.partial(kuzu.AsyncConnection, max_threads_per_query=1),
    )
