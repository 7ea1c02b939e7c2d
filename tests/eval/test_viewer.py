"""The viewer's page: derived data agree with the record, and untrusted data stay text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import agemem_envs  # noqa: F401  (registers the environments)
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.viewer.__main__ import main
from agemem.eval.viewer.gold import gold_facts
from agemem.eval.viewer.page import ASSETS, SCRIPTS
from agemem.eval.viewer.pairs import pair
from agemem.eval.viewer.records import peak_tokens, ranges, story
from agemem.eval.viewer.timeline import Cause, timeline
from agemem_envs.episode import Episode, MessageKind
from tests.conftest import not_none
from tests.eval.viewer_runs import (
    HOSTILE,
    MANAGED,
    ORACLE,
    RANDOM,
    hostile_run,
    page_of,
    run_of,
    write,
)

# -- what is derived from the record ---------------------------------------------------


def test_an_episode_worked_by_hand() -> None:
    rounds = timeline(MANAGED)
    changes = [[(c.action, c.id, c.content, c.before) for c in r.memory] for r in rounds[:6]]
    assert changes == [
        [("added", "m1", "The key is red.", None)],
        [("updated", "m1", "The key is blue.", "The key is red.")],
        [],
        [("retrieved", "m1", "The key is blue.", None)],
        [("deleted", "m1", "The key is blue.", None)],
        [],
    ]
    assert [r.memory_size for r in rounds[:6]] == [1, 1, 1, 1, 0, 0]
    # 0 is the system prompt, 1 the first message, 2 the call, 3 its result, 4 what the
    # automatic retrieval shows of the new memory, renewed after the update.
    assert [r.arrived for r in rounds[:4]] == [(0, 1), (4,), (7,), (10,)]
    assert [r.replies for r in rounds[:3]] == [(3,), (6,), (9,)]
    assert rounds[1].removals[0].cause is Cause.RENEWED
    assert rounds[1].removals[0].ids == (4,)
    (summarised,) = rounds[5].removals
    assert summarised.cause is Cause.SUMMARISED
    assert summarised.call == 0
    assert MANAGED.messages[not_none(summarised.summary)].kind is MessageKind.SUMMARY
    # The summary spares the system prompt and the latest message. The automatic retrieval had
    # left the context before.
    assert rounds[5].kept == 2
    assert summarised.ids == (1, 2, 3, 5, 6, 8, 9, 11, 12, 13, 14)
    (emptied,) = (r for one in rounds for r in one.removals if r.cause is Cause.EMPTIED)
    assert 0 not in emptied.ids


@pytest.mark.parametrize(
    "episode", [MANAGED, *(r.episode for r in (*ORACLE, *RANDOM))], ids=lambda e: e.task_id
)
def test_what_is_derived_agrees_with_what_the_next_call_saw(episode: Episode) -> None:
    rounds = timeline(episode)
    tokens = {message.id: message.tokens for message in episode.messages}
    for one, following in pairwise(rounds):
        removed = {i for removal in one.removals for i in removal.ids}
        created = set(range(max(one.step.visible) + 1, max(following.step.visible) + 1))
        left = {*one.step.visible, *created} - removed
        assert left == set(following.step.visible)
        assert sum(tokens[i] for i in left) == following.step.context_tokens
        assert one.kept == len(set(one.step.visible) & set(following.step.visible))
    assert all(r.cause is not Cause.UNKNOWN for one in rounds for r in one.removals)
    messages = [i for one in rounds for i in (*one.arrived, *one.replies)]
    own = (MessageKind.ASSISTANT, MessageKind.SUMMARY)
    assert sorted(messages) == [m.id for m in episode.messages if m.kind not in own]
    tools_used = rounds[-1].memory_size
    assert tools_used == len(episode.memories)


def test_filtered_messages_are_named() -> None:
    filtered = [
        (r.call, episode.messages[r.ids[0]].kind)
        for episode in (result.episode for result in ORACLE)
        for one in timeline(episode)
        for r in one.removals
        if r.cause is Cause.FILTERED
    ]
    assert filtered
    assert {kind for _, kind in filtered} == {MessageKind.INCOMING}


def test_the_fate_of_gold_facts() -> None:
    for result in ORACLE:
        for gold in gold_facts(result.episode, timeline(result.episode)):
            assert gold.stored
            assert gold.retrieved
            assert gold.held_by
    lost = replace(ORACLE[0].episode, memories=())
    assert not any(gold.held_by for gold in gold_facts(lost, timeline(lost)))
    assert not any(gold.stored for gold in gold_facts(MANAGED, timeline(MANAGED)))


def test_the_whole_context_of_a_round_can_be_rebuilt() -> None:
    assert ranges([0, 1, 2, 7, 16, 10, 11]) == [[0, 2], [7, 7], [16, 16], [10, 11]]
    data = story(replace(ORACLE[0], episode=MANAGED))
    for step, one in zip(MANAGED.steps, data["rounds"], strict=True):
        rebuilt = [i for first, last in one["visible"] for i in range(first, last + 1)]
        assert rebuilt == list(step.visible)


def test_the_peak_is_over_all_calls_and_the_end() -> None:
    last = MANAGED.steps[-1].context_tokens
    assert peak_tokens(replace(MANAGED, final_tokens=9_999)) == 9_999
    assert peak_tokens(replace(MANAGED, steps=(), final_tokens=7)) == 7
    most = max(step.context_tokens for step in MANAGED.steps)
    assert most > last
    assert peak_tokens(replace(MANAGED, final_tokens=last)) == most


CONFIG = '{"config": {"agent": "oracle"}}'


def test_runs_are_paired_by_environment_and_task() -> None:
    again = replace(ORACLE[0], index=9)
    rows = pair([run_of("a", (*ORACLE[:2], again)), run_of("b", tuple(RANDOM[1:3]))])
    assert rows == [
        (ORACLE[0], None),
        (ORACLE[1], RANDOM[1]),
        (again, None),
        (None, RANDOM[2]),
    ]
    elsewhere = replace(RANDOM[0], episode=replace(RANDOM[0].episode, env_id="Other-v0"))
    assert len(pair([run_of("a", (ORACLE[0],)), run_of("b", (elsewhere,))])) == 2


# -- the file --------------------------------------------------------------------------


@dataclass
class Parsed(HTMLParser):
    """The elements, attributes and scripts of a page, as a browser parses them."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str | None]] = field(default_factory=list)
    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    style: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts and not self.scripts[-1][1]:
            self.scripts[-1] = (self.scripts[-1][0], data)
        elif self.lasttag == "style" and not self.style:
            self.style = data


def parsed(html: str) -> Parsed:
    page = Parsed()
    page.feed(html)
    return page


def test_data_cannot_add_an_element_or_an_attribute(tmp_path: Path) -> None:
    fair = parsed(page_of(write(tmp_path / "fair", ORACLE[:2])))
    evil = parsed(page_of(hostile_run(tmp_path / "<img src=x onerror=alert(1)>")))
    assert evil.tags == fair.tags
    names = [(tag, name) for tag, name, _ in fair.attributes]
    assert [(tag, name) for tag, name, _ in evil.attributes] == names
    (index,) = (json.loads(t) for a, t in evil.scripts if a.get("id") == "index")
    assert {row["task"] for row in index["rows"]} == {HOSTILE}
    (packed,) = (t for a, t in evil.scripts if a.get("id") == "story-0-0")
    unpacked = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert unpacked == json.loads(json.dumps(story(ResultsFolder(
        tmp_path / "<img src=x onerror=alert(1)>").read()[0])))  # fmt: skip


def test_the_page_loads_nothing_and_allows_its_own_scripts_alone(tmp_path: Path) -> None:
    html = page_of(write(tmp_path / "run", ORACLE[:1]))
    page = parsed(html)
    assert not [a for a in page.attributes if a[1] in ("src", "srcset", "action", "style")]
    assert {v for _, name, v in page.attributes if name == "href"} == {"#main"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    policy = next(
        value for tag, name, value in page.attributes
        if (tag, name) == ("meta", "content") and value and "default-src" in value
    )  # fmt: skip
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    code = [text for attributes, text in page.scripts if not attributes]
    assert code == [(ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS]
    allowed = not_none(re.search(r"script-src ([^;]*);", policy))[1].split()
    assert allowed == [sha256(text) for text in code]
    assert not_none(re.search(r"style-src ([^;]*);", policy))[1] == sha256(page.style)


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_scripts_make_no_markup_from_strings() -> None:
    for name in SCRIPTS:
        code = (ASSETS / name).read_text(encoding="utf-8")
        assert "</script" not in code.lower()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(",
            code,
        ), name


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", ORACLE[:2]), write(tmp_path / "b", RANDOM[:3])
    first = page_of(paths[0], "--compare", str(paths[1]))
    assert page_of(paths[0], "--compare", str(paths[1])) == first
    (index,) = (json.loads(t) for a, t in parsed(first).scripts if a.get("id") == "index")
    assert [run["name"] for run in index["runs"]] == ["a", "b"]
    assert [[cell is not None for cell in row["cells"]] for row in index["rows"]] == [
        [True, True], [True, True], [False, True],
    ]  # fmt: skip


# -- errors ----------------------------------------------------------------------------


def broken(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A run whose only line is valid JSON with something wrong."""
    write(path, ORACLE[:1])
    line = json.loads(ORACLE[0].to_json())
    change(line)
    (path / "episodes.jsonl").write_text(json.dumps(line) + "\n")
    return path


def unseen(line: dict[str, Any]) -> None:
    line["episode"]["steps"][2]["visible"] = [0, 10_000]


def endless(line: dict[str, Any]) -> None:
    line["episode"]["metrics"]["judge"] = float("nan")


def toolless(line: dict[str, Any]) -> None:
    del line["episode"]["steps"][1]["results"][0]["data"]["memory_id"]


@pytest.mark.parametrize(
    ("change", "said"),
    [(unseen, "contradicts itself"), (endless, "JSON"), (toolless, "contradicts itself")],
)
def test_a_contradictory_record_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str
) -> None:
    assert_refused([str(broken(tmp_path / "run", change))], said, tmp_path, capsys)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no run"),
        ({"config.json": "{}"}, "missing required field `config`"),
        ({"config.json": CONFIG}, "no finished episode"),
        ({"config.json": CONFIG, "episodes.jsonl": "{}\n"}, "line 1 is not an episode"),
        ({"config.json": CONFIG, "episodes.jsonl": "not JSON\n"}, "line 1 is not an episode"),
        ({"config.json": CONFIG, "episodes.jsonl": "[" * 100_000 + "\n"}, "episode|nested"),
        (
            {"episodes.jsonl": ORACLE[0].to_json() + "\n", "config.json": "{"},
            "not a run's configuration",
        ),
        ({"episodes.jsonl": ORACLE[0].to_json() + "\n"}, "config.json does not exist"),
    ],
)
def test_a_folder_without_a_whole_run_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], said: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name, text in files.items():
        (run / name).write_text(text)
    assert_refused([str(run)], said, tmp_path, capsys)


def test_a_folder_of_several_runs_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        write(tmp_path / "suite" / name, ORACLE[:1])
    (tmp_path / "suite" / "config.json").write_text(CONFIG)
    assert_refused([str(tmp_path / "suite")], "name one of them, one, two", tmp_path, capsys)


def test_a_second_run_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run", ORACLE[:1])
    nowhere = str(tmp_path / "nowhere")
    assert_refused([str(run), "--compare", nowhere], "nowhere holds no run", tmp_path, capsys)


@pytest.mark.parametrize("out", ["run/episodes.jsonl", "run", "absent/page.html"])
def test_the_page_overwrites_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    run = write(tmp_path / "run", ORACLE[:1])
    assert_refused([str(run), "--out", str(tmp_path / out)], "--out", tmp_path, capsys)


def assert_refused(
    argv: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check for one line of error, status 2, and no new or changed file."""
    before = {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(said, line)
    assert {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()} == before
