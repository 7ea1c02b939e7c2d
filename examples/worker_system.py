"""A memory system in a process of its own. It needs nothing but Python, of any version.

    agemem run --agent system:last-ten --system-command "python examples/worker_system.py" \
        --backbone scripted --envs AgeMem-SyntheticQA-v0 --episodes 2

It keeps the last ten messages, and recalls those that share most words with the query.
"""

import json
import sys

messages = []


def answer(request):
    """The reply to one request."""
    if request["op"] == "reset":
        messages.clear()
    elif request["op"] == "observe":
        messages.append(request["text"])
        del messages[:-10]
    elif request["op"] == "recall":
        wanted = set(request["query"].lower().split())
        nearest = sorted(messages, key=lambda text: -len(wanted & set(text.lower().split())))
        return {"ok": True, "texts": nearest[: request["top_k"]]}
    elif request["op"] == "memories":
        return {"ok": True, "texts": messages}
    return {"ok": True}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
