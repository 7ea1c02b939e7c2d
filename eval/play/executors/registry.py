"""Names of executors: one row each. The class is imported when it is used."""

from __future__ import annotations

EXECUTORS: dict[str, str] = {
    "serial": "agemem.eval.play.executors.serial:SerialExecutor",
    "processes": "agemem.eval.play.executors.processes:ProcessExecutor",
    "ray": "agemem.eval.play.executors.ray_cluster:RayExecutor",
}
"""Each is called with a resolved run and its plan."""
