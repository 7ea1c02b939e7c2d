"""Turns off the telemetry, downloads and log lines of the memory systems' libraries.

Call :func:`disable` before the first import of a library: most read their variables only then.
"""

from __future__ import annotations

import logging
import os

FORCED = {
    "ANONYMIZED_TELEMETRY": "False",  # Chroma
    "DO_NOT_TRACK": "1",
    "GRAPHITI_TELEMETRY_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LANGSMITH_TRACING_V2": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch its price list
    "LITELLM_TELEMETRY": "False",
    "MEM0_TELEMETRY": "False",
}
"""Always set, so that nothing leaves the machine but calls to the given model."""
DEFAULTS = {"TOKENIZERS_PARALLELISM": "false"}
"""Set unless the user has set them: tokenizers would warn about the libraries' threads."""
LOGGERS = ("mem0", "agentic_memory", "chromadb", "LiteLLM", "langmem", "trustcall", "graphiti_core")
"""Loggers to turn off: errors are counted in the results, and log lines would break the
progress bar."""


def disable() -> None:
    """Turn off telemetry and log lines. Calling it again has no effect."""
    os.environ.update(FORCED)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
