"""A memory system in a process of its own: as in this one, and nothing is left when it dies."""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from agemem.baselines import rag
from agemem.baselines.base import MAX_COUNT
from agemem.baselines.gateway import Gateway
from agemem.baselines.scripted.model import complete
from agemem.baselines.serve import answer, serve
from agemem.baselines.worker import WorkerSystem
from agemem.eval.play.runner import EXIT_UNSCORED
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.episode import Episode, StopReason
from agemem_envs.errors import SystemDiedError
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE
from tests.baselines.facts import FACTS, HOSTILE
from tests.conftest import ROOT, not_none

PYTHON = shlex.quote(sys.executable)
RAG = f"{PYTHON} -P -m agemem.baselines.serve rag"
EXAMPLE = f"{PYTHON} {ROOT / 'examples' / 'worker_system.py'}"


EVER_SINCE = """
import json, sys
for line in sys.stdin:
    op = json.loads(line)["op"]
    assert op in ("reset", "observe", "recall", "memories")
    print(json.dumps({"ok": True, "texts": []}), flush=True)
"""
"""A process that knows the first four operations alone."""


def script(code: str) -> str:
    """The command of a worker that runs ``code`` for each ``request``, and prints ``reply``."""
    lines = "import json, os, sys, time\nreply = {'ok': True}\nfor line in sys.stdin:\n"
    lines += "    request = json.loads(line)\n    reply = {'ok': True, 'texts': []}\n"
    lines += "".join(f"    {one}\n" for one in code.splitlines())
    lines += "    print(json.dumps(reply), flush=True)\n"
    return f"{PYTHON} -c {shlex.quote(lines)}"


def play(agent: str, out: Path, *options: str) -> int:
    common = ["--backbone", "scripted", "--envs", "AgeMem-SyntheticQA-v0", "--episodes", "2"]
    return main(["--agent", agent, *common, "--out", str(out), *options])


def episodes(out: Path) -> list[Episode]:
    """The episodes without their times."""
    found = []
    for result in ResultsFolder(out).read():
        steps = tuple(replace(step, seconds=None) for step in result.episode.steps)
        metrics = {**result.episode.metrics, "memory_seconds": None}
        found.append(replace(result.episode, steps=steps, metrics=metrics))
    return found


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if one.is_running()]


def test_rag_is_the_same_in_this_process_and_in_its_own(tmp_path: Path) -> None:
    assert play("rag", tmp_path / "here") == EXIT_OK
    assert play("system:rag", tmp_path / "there", "--system-command", RAG) == EXIT_OK
    here, there = episodes(tmp_path / "here"), episodes(tmp_path / "there")
    assert here == there
    assert any(episode.memories for episode in here)
    config = json.loads((tmp_path / "there" / "config.json").read_text("utf-8"))
    assert config["config"]["system_command"] == RAG


def test_a_bad_reply_that_only_the_system_knows_is_counted() -> None:
    """Of what another program says, a whole number above 0 counts, and no more than that."""
    codes = "bad = {'a': 2, 'b': 10 ** 30, 'c': -1, 'd': True, 'e': 'x', 'f': 1.5}\n"
    codes += "reply['bad_replies'] = bad.get(request.get('text'))"
    system = WorkerSystem(script(codes))
    system.reset()
    for text, count in {"a": 2, "b": MAX_COUNT, "c": 0, "d": 0, "e": 0, "f": 0, "g": 0}.items():
        system.usage.parse_failures = 0
        system.observe(text)
        assert system.usage.parse_failures == count, text
    system.close()


def test_a_served_system_tells_its_bad_replies() -> None:
    class Bad:
        bad_replies = 0

        def observe(self, text: str) -> None:
            self.bad_replies += len(text)
            raise ValueError(text)

    system: Any = Bad()
    requests = [json.dumps({"op": "observe", "text": text}) for text in ("", "ab", "c")]
    replies = io.StringIO()
    serve(system, io.StringIO("\n".join(requests)), replies)
    found = [json.loads(line) for line in replies.getvalue().splitlines()]
    assert [reply.get("bad_replies") for reply in found] == [None, 2, 1]
    assert not any(reply["ok"] for reply in found)


def test_a_process_is_told_of_the_end_of_a_stage_if_it_asks() -> None:
    """One that does not know the operation is not told, and is not ended by it."""
    served = (
        "from agemem.baselines.serve import serve\n"
        "class Batching:\n"
        "    def reset(self): self.waiting, self.stored = [], []\n"
        "    def observe(self, text): self.waiting.append(text)\n"
        "    def end_stage(self): self.stored += self.waiting; self.waiting = []\n"
        "    def recall(self, query, top_k): return self.stored\n"
        "    def memories(self): return self.stored\n"
        "serve(Batching())"
    )
    for code, stored in ((served, ["a fact"]), (EVER_SINCE, [])):
        system = WorkerSystem(f"{PYTHON} -c {shlex.quote(code)}", timeout=60.0)
        system.reset()
        system.observe("a fact")
        assert system.recall("fact") == []
        system.end_stage()
        assert system.recall("fact") == stored
        system.close()


@pytest.mark.slow
def test_rag_is_the_same_in_a_bare_environment(tmp_path: Path) -> None:
    """An environment with this project and nothing that it does not need."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "--no-compile", "-e", str(ROOT)], check=True)
    served = (
        "from agemem.baselines.rag import RAG\n"
        "from agemem.baselines.serve import serve\n"
        "serve(RAG('hashing'))"
    )
    there = WorkerSystem(shlex.join([str(python), "-P", "-c", served]))
    here = rag.RAG("hashing")
    for system in (here, there):
        system.reset()
        for text in HOSTILE[:10]:
            system.observe(text)
    assert there.memories() == here.memories() == list(HOSTILE[:10])
    for query in HOSTILE:
        assert there.recall(query) == here.recall(query)
    there.close()


def test_the_example_plays(tmp_path: Path) -> None:
    assert play("system:last-ten", tmp_path / "run", "--system-command", EXAMPLE) == EXIT_OK
    assert all(0 < len(episode.memories) <= 10 for episode in episodes(tmp_path / "run"))


def test_any_text_passes() -> None:
    system = WorkerSystem(EXAMPLE)
    system.reset()
    for text in HOSTILE[:10]:
        system.observe(text)
    assert system.memories() == list(HOSTILE[:10])
    system.reset()
    assert system.memories() == []
    before = children()
    system.close()
    system.close()
    assert len(children()) == len(before) - 1


def test_the_model_is_told_and_its_calls_are_counted() -> None:
    gateway = Gateway(complete)
    ask = (
        "import urllib.request\n"
        "model = request.get('model') or model\n"
        "body = {'messages': [{'role': 'user', 'content': 'hello'}]}\n"
        "head = {'Authorization': 'Bearer ' + model['key'], 'Content-Type': 'application/json'}\n"
        "call = urllib.request.Request(model['url'] + '/chat/completions', "
        "json.dumps(body).encode(), head)\n"
        "if request['op'] == 'observe':\n"
        "    try:\n"
        "        urllib.request.urlopen(call)\n"
        "    except OSError as error:\n"
        "        reply = {'ok': False, 'error': str(error)}\n"
    )
    system = WorkerSystem(script(ask), gateway)
    system.reset()
    with pytest.raises(RuntimeError, match="observe: HTTP Error 502"):
        system.observe(FACTS[0])  # the scripted model knows no such prompt
    assert (system.usage.llm_calls, system.usage.llm_errors) == (1, 1)
    system.close()
    gateway.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("if request['op'] == 'observe': sys.exit('out of memory')", "out of memory"),
        ("if request['op'] == 'observe': os.kill(os.getpid(), 9)", "the process has ended"),
        ("if request['op'] == 'observe': print('hello')", "not JSON: 'hello'"),
        ("if request['op'] == 'observe': reply = [1]", "not a JSON object"),
        ("if request['op'] == 'reset': reply = {'ok': False, 'error': 'no'}", "reset failed: no"),
    ],
)
def test_a_process_that_dies_leaves_the_episode_unscored_and_is_replaced(
    code: str, said: str, tmp_path: Path
) -> None:
    before = children()
    command = ["--system-command", script(code)]
    assert play("system:bad", tmp_path / "run", *command) == EXIT_UNSCORED
    found = episodes(tmp_path / "run")
    assert len(found) == 2, "the next episode has a process of its own"
    for episode in found:
        assert episode.stop_reason is StopReason.ENVIRONMENT_ERROR
        assert said in episode.errors[0]
        assert episode.reward is None
    assert children() == before


def test_a_process_that_hangs_is_killed_with_all_it_has_started() -> None:
    hang = "import subprocess; subprocess.Popen(['sleep', '600'])\nif request['op'] == 'observe': time.sleep(600)"
    before = children()
    system = WorkerSystem(script(hang), timeout=1.0)
    system.reset()
    with pytest.raises(SystemDiedError, match="no reply within 1 s"):
        system.observe(FACTS[0])
    assert children() == before
    with pytest.raises(SystemDiedError, match="has ended"):
        system.recall("anything")


def test_a_failure_that_is_told_is_counted_and_the_episode_goes_on(tmp_path: Path) -> None:
    fails = "if request['op'] == 'observe': reply = {'ok': False, 'error': 'full'}"
    assert play("system:full", tmp_path / "run", "--system-command", script(fails)) == EXIT_OK
    for episode in episodes(tmp_path / "run"):
        assert episode.reward is not None
        failures = not_none(episode.metrics["memory_failures"])
        assert failures == episode.metrics["memory_dropped_writes"]
        assert failures > 0


@pytest.mark.parametrize(
    ("agent", "options", "said"),
    [
        ("system:mine", [], "belong together"),
        ("rag", ["--system-command", "true"], "belong together"),
        ("system:", ["--system-command", "true"], "name the system"),
        ("system:a b", ["--system-command", "true"], "name the system"),
        ("system:a", ["--system-command", ""], "empty"),
        ("system:a", ["--system-command", "'"], "No closing quotation"),
        ("system:a", ["--system-command", "no-such-program-here"], "cannot be started"),
    ],
)
def test_what_cannot_be_started_is_one_line(
    agent: str,
    options: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = play(agent, tmp_path / "run", *options)
    captured = capsys.readouterr()
    assert said in captured.err + captured.out
    assert status in (EXIT_USAGE, EXIT_UNSCORED)
    assert "Traceback" not in captured.err


def test_a_system_that_cannot_list_its_memories_has_no_memory_quality(tmp_path: Path) -> None:
    """Missing, and not 0; everything else is as for the system that can."""
    silent = (
        "from agemem.baselines.rag import RAG\n"
        "from agemem.baselines.serve import serve\n"
        "class Silent(RAG):\n    def memories(self): raise NotImplementedError\n"
        "serve(Silent())"
    )
    command = f"{PYTHON} -P -c {shlex.quote(silent)}"
    assert play("system:rag", tmp_path / "silent", "--system-command", command) == EXIT_OK
    assert play("rag", tmp_path / "rag") == EXIT_OK
    missing = {"memory_quality", "sp_em", "sp_f1", "joint_em", "joint_f1", "stale_share"}
    missing |= {"memory_dropped_writes"}
    for without, listed in zip(
        episodes(tmp_path / "silent"), episodes(tmp_path / "rag"), strict=True
    ):
        assert not without.memories_listed
        assert listed.memories_listed
        known = {name: v for name, v in listed.metrics.items() if name not in missing}
        assert {name: v for name, v in without.metrics.items() if v is not None} == {
            name: v for name, v in known.items() if v is not None
        }
        assert without.steps == listed.steps
        reward = not_none(without.reward)
        assert reward.memory is reward.storage is reward.maintenance is reward.total is None
    with (tmp_path / "silent" / "summary.csv").open(encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    assert row["success"] != ""
    assert row["memory_quality"] == ""


def test_a_system_lists_its_memories_always_or_never(tmp_path: Path) -> None:
    """It may not choose the episodes in which it is judged."""
    sometimes = (
        "count = globals().get('count', 0) + 1\n"
        "if request['op'] == 'memories': reply['texts'] = None if count % 9 == 0 else ['a']"
    )
    command = ["--system-command", script(sometimes)]
    assert play("system:choosy", tmp_path / "run", *command) == EXIT_UNSCORED
    assert "at some times and not at others" in episodes(tmp_path / "run")[0].errors[0]


def test_only_listing_may_be_refused() -> None:
    """A reset or a message that is not implemented is a failure, and not silence."""

    class Unfinished:
        def reset(self) -> None:
            raise NotImplementedError("later")

        observe = recall = memories = reset

    system: Any = Unfinished()
    assert answer(system, {"op": "memories"}) == {"ok": True, "texts": None}
    assert answer(system, {"op": "reset"}) == {"ok": False, "error": "NotImplementedError: later"}
