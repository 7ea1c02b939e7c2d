"""A llama.cpp server in its own process: ``python -P llama_server.py WINDOW SLOTS MODEL``.

Prints one JSON line with its URL when it is ready and serves until its standard input closes,
so it cannot outlive its parent, however that dies. A process of its own because llama.cpp
and other native libraries clash when loaded into one process.
"""

import json
import os
import sys

import xllamacpp


def threads() -> int:
    """The cores that this process may use, or as few of them as ``OMP_NUM_THREADS`` allows.

    Several servers whose threads spin on the same cores starve each other.
    """
    all_cores = range(os.cpu_count() or 1)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else all_cores
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(len(cores), int(limit)) if limit.isdecimal() and int(limit) else len(cores)


def main(window: int, slots: int, model: str) -> None:
    """Serve ``model`` on a free local port, ``slots`` requests of ``window`` tokens at once."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_ctx = window * slots
    parameters.n_parallel = slots
    parameters.kv_unified = False  # each slot has a window of its own
    parameters.use_jinja = True
    parameters.port = 0
    parameters.api_keys = [os.environ["AGEMEM_LLAMA_KEY"]]
    parameters.verbosity = 0
    parameters.warmup = False  # it touches every slot's window, needed or not: seconds, gigabytes
    parameters.cache_ram_mib = 0  # no restoring of other prompts' states: reproducible
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads()
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()
    os._exit(0)  # there is nothing to save, and a running completion would hold up the rest


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
