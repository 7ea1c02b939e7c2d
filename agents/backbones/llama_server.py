"""A llama.cpp server in a process of its own: ``python -P llama_server.py MODEL.gguf WINDOW``.

Prints one JSON line with its URL when it is ready, serves until its standard input closes
(so it cannot outlive its parent, however that dies), then stops. A process of its own
because llama.cpp and other native libraries clash when loaded into one process.
"""

import json
import os
import sys

import xllamacpp


def main(model: str, window: int) -> None:
    """Serve ``model`` with a context window of ``window`` tokens on a free local port."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_ctx = window
    parameters.n_parallel = 1
    parameters.port = 0
    parameters.verbosity = 0
    parameters.cache_ram_mib = 0  # no restoring of other prompts' states: reproducible
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
