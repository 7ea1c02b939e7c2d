"""The viewer's page: derived truthfully, safe against its data, and usable in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import agemem_envs  # noqa: F401  (registers the environments)
from agemem_envs.episode import Episode, MessageKind
from agents.base import Agent
from agents.oracle import OracleAgent
from agents.random_actions import RandomAgent
from agents.rollout import Job, rollout
from eval.results import Result, ResultsFolder
from eval.viewer.__main__ import main
from eval.viewer.gold import gold_facts
from eval.viewer.page import ASSETS, SCRIPTS, render
from eval.viewer.records import peak_tokens, ranges, story
from eval.viewer.runs import Run, pair
from eval.viewer.timeline import Cause, timeline
from tests.conftest import answer, call

TASK = "synthetic-validation-0"
HOSTILE = (
    "</script></textarea></style><script>window.pwned = 1</script>"
    '<img src="https://example.invalid/x.png" onerror="window.pwned = 1">'
    "<!-- <script> {{ 7 * 7 }} {% raw %} \u2028\u202e\ud800\x00 javascript:window.pwned=1"
)
KEPT_AS_THEY_ARE = {"kind", "stop_reason", "memory_id", "id", "name", "action"}
"""Fields whose values are the harness's own words, or that decide what a record is."""


def played(*actions: str) -> Episode:
    """An episode of these outputs, and then of answers."""
    env = gym.make("AgeMem-SyntheticQA-v0")
    _, info = env.reset(seed=0, options={"task_id": TASK})
    queue = list(actions)
    while "episode" not in info:
        *_, info = env.step(queue.pop(0) if queue else answer("ok"))
    return info["episode"]


def results(agent: type[Agent], count: int) -> list[Result]:
    env = gym.make("AgeMem-SyntheticQA-v0")
    return [
        Result(
            agent.__name__, "none", "none", False, i, 0.5,
            next(iter(rollout([Job(env, agent(), i, f"synthetic-validation-{i}")]))).episode,
        )
        for i in range(count)
    ]  # fmt: skip


ORACLE, RANDOM = results(OracleAgent, 4), results(RandomAgent, 4)
MANAGED = played(
    call("Add_memory", content="The key is red."),
    call("Update_memory", memory_id="m1", content="The key is blue."),
    "nonsense",
    call("Retrieve_memory", query="key"),
    call("Delete_memory", memory_id="m1", confirmation=True),
    call("Summary_context", span="all"),
)


def write(path: Path, some: list[Result]) -> Path:
    folder = ResultsFolder(path)
    folder.create({"config": {"agent": some[0].agent, "few_shot": False}})
    folder.rewrite(some)
    folder.close()
    return path


def hostile(value: Any, name: str = "") -> Any:
    """Plain data with every text of a model, a task or a simulator replaced."""
    if isinstance(value, dict):
        renamed = {
            k + HOSTILE if name in ("metrics", "arguments") else k: v for k, v in value.items()
        }
        return {key: hostile(item, key) for key, item in renamed.items()}
    if isinstance(value, list):
        return [hostile(item, name) for item in value]
    return HOSTILE if isinstance(value, str) and name not in KEPT_AS_THEY_ARE else value


def hostile_run(path: Path) -> Path:
    env_id = "AgeMem-SyntheticQA-v0"
    some = [ORACLE[0], replace(ORACLE[0], episode=MANAGED)]
    lines = [hostile(json.loads(result.to_json())) for result in some]
    for index, line in enumerate(lines):
        line["index"] = index
        line["episode"]["env_id"] = env_id + HOSTILE
    write(path, [Result.from_json(json.dumps(line)) for line in lines])
    (path / "config.json").write_text(json.dumps({HOSTILE: HOSTILE, "config": {HOSTILE: HOSTILE}}))
    return path


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
    assert MANAGED.messages[summarised.summary].kind is MessageKind.SUMMARY
    # It spares the system prompt and the message that came last; of what the call saw,
    # the automatic retrieval had left before it.
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
    shown = [i for one in rounds for i in (*one.arrived, *one.replies)]
    own = (MessageKind.ASSISTANT, MessageKind.SUMMARY)
    assert sorted(shown) == [m.id for m in episode.messages if m.kind not in own]
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
    told = story(replace(ORACLE[0], episode=MANAGED))
    for step, one in zip(MANAGED.steps, told["rounds"], strict=True):
        rebuilt = [i for first, last in one["visible"] for i in range(first, last + 1)]
        assert rebuilt == list(step.visible)


def test_the_peak_is_over_all_calls_and_the_end() -> None:
    last = MANAGED.steps[-1].context_tokens
    assert peak_tokens(replace(MANAGED, final_tokens=9_999)) == 9_999
    assert peak_tokens(replace(MANAGED, steps=(), final_tokens=7)) == 7
    most = max(step.context_tokens for step in MANAGED.steps)
    assert most > last
    assert peak_tokens(replace(MANAGED, final_tokens=last)) == most


def test_runs_are_paired_by_environment_and_task() -> None:
    again = replace(ORACLE[0], index=9)
    rows = pair([Run("a", None, (*ORACLE[:2], again)), Run("b", None, tuple(RANDOM[1:3]))])
    assert rows == [
        (ORACLE[0], None),
        (ORACLE[1], RANDOM[1]),
        (again, None),
        (None, RANDOM[2]),
    ]
    elsewhere = replace(RANDOM[0], episode=replace(RANDOM[0].episode, env_id="Other-v0"))
    assert len(pair([Run("a", None, (ORACLE[0],)), Run("b", None, (elsewhere,))])) == 2


# -- the file --------------------------------------------------------------------------


@dataclass
class Parsed(HTMLParser):
    """What a browser would find in the page: elements, attributes, texts of scripts."""

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


def page_of(path: Path, *more: str) -> str:
    out = path / "page.html"
    assert main([str(path), "--out", str(out), *more]) == 0
    return out.read_text(encoding="utf-8")


def test_data_cannot_add_an_element_or_an_attribute(tmp_path: Path) -> None:
    fair = parsed(page_of(write(tmp_path / "fair", ORACLE[:2])))
    evil = parsed(page_of(hostile_run(tmp_path / "<img src=x onerror=alert(1)>")))
    assert evil.tags == fair.tags
    names = [(tag, name) for tag, name, _ in fair.attributes]
    assert [(tag, name) for tag, name, _ in evil.attributes] == names
    (index,) = (json.loads(t) for a, t in evil.scripts if a.get("id") == "index")
    assert {row["task"] for row in index["rows"]} == {HOSTILE}
    (told,) = (t for a, t in evil.scripts if a.get("id") == "story-0-0")
    unpacked = json.loads(zlib.decompress(base64.b64decode(told)))
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
        if (tag, name) == ("meta", "content") and "default-src" in value
    )  # fmt: skip
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    code = [text for attributes, text in page.scripts if not attributes]
    assert code == [(ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS]
    allowed = re.search(r"script-src ([^;]*);", policy)[1].split()
    assert allowed == [sha256(text) for text in code]
    assert re.search(r"style-src ([^;]*);", policy)[1] == sha256(page.style)


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
        ({"config.json": "{}"}, "no finished episode"),
        ({"episodes.jsonl": "{}\n"}, "line 1 is not an episode"),
        ({"episodes.jsonl": "not JSON\n"}, "line 1 is not an episode"),
        ({"episodes.jsonl": "[" * 100_000 + "\n"}, "episode|nested"),
        ({"episodes.jsonl": ORACLE[0].to_json() + "\n", "config.json": "{"}, "not JSON"),
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
    """One line of error, status 2, and no file made or changed."""
    before = {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(said, line)
    assert {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()} == before


# -- in a browser ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page in the browser, and everything that went on which should not."""

    def __init__(self, browser: Any, html: str, file: Path, **options: Any) -> None:
        file.write_text(html, encoding="utf-8", errors="replace")
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.troubles: list[str] = []
        self.page.on("console", lambda m: self.troubles.append(f"console: {m.text}"))
        self.page.on("pageerror", lambda e: self.troubles.append(f"error: {e}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda r: self.troubles.append(f"request: {r.url}"))
        self.page.add_init_script(
            "window.violations = [];"
            "addEventListener('securitypolicyviolation', (e) => violations.push(e.blockedURI));"
        )
        self.page.goto(file.as_uri())
        self.troubles.remove(f"request: {file.as_uri()}")

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def open(self, number: int) -> None:
        self.page.locator("#episodes tbody a").nth(number).click()
        self.page.locator("#episode-title").wait_for()

    def close_quietly(self) -> None:
        """Close it, and see that nothing went wrong meanwhile."""
        assert self.page.evaluate("[window.pwned, violations]") == [None, []]
        assert self.troubles == []
        self.context.close()


def visit(browser: Any, runs: list[Run], tmp_path: Path, **options: Any) -> Visit:
    return Visit(browser, render(runs), tmp_path / "page.html", **options)


MIXED = Run("mixed", None, tuple(replace(r, index=i) for i, r in enumerate([
    *ORACLE[:2], *(replace(r, episode=replace(r.episode, task_id=f"r{r.index}")) for r in RANDOM),
])))  # fmt: skip


@pytest.mark.slow
def test_sort_filter_search(chromium: Any, tmp_path: Path) -> None:
    seen = visit(chromium, [MIXED], tmp_path)
    page, rewards = seen.page, [r.episode.reward.total for r in MIXED.results]
    assert len(seen.texts("#episodes tbody tr")) == 6
    header = page.get_by_role("columnheader", name="Reward")
    header.get_by_role("button").click()
    shown = [float(text) for text in seen.texts("td.column-reward")]
    assert shown == [pytest.approx(r, abs=6e-4) for r in sorted(rewards, reverse=True)]
    assert header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").press("Enter")  # the focus stayed, the order turns
    assert [float(t) for t in seen.texts("td.column-reward")] == shown[::-1]

    page.get_by_label("Success").select_option("yes")
    assert sorted(seen.texts("#episodes tbody a")) == [r.episode.task_id for r in ORACLE[:2]]
    assert page.locator("#count").inner_text() == "2 of 6 episodes"
    page.get_by_role("button", name="clear filters").click()
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    page.keyboard.type("R3")
    assert seen.texts("#episodes tbody a") == ["r3"]
    # The oracle's words are in no column of the table.
    page.get_by_label("Search").fill("i manage my memory")
    assert seen.texts("#episodes tbody a") == []
    page.get_by_role("button", name="search transcripts too").click()
    page.locator("#episodes tbody a").first.wait_for()
    assert sorted(seen.texts("#episodes tbody a")) == [r.episode.task_id for r in ORACLE[:2]]
    seen.close_quietly()


@pytest.mark.slow
def test_an_episode_is_told_round_by_round(chromium: Any, tmp_path: Path) -> None:
    managed = replace(ORACLE[0], episode=MANAGED)
    seen = visit(chromium, [Run("run", None, (managed, *ORACLE[1:3]))], tmp_path)
    page = seen.page
    seen.open(0)
    assert len(seen.texts("li.round")) == len(MANAGED.steps)
    first, second, third, *_ = (page.locator(f"#round-0-{i}") for i in range(6))
    assert "Add_memory" in first.inner_text()
    assert "The key is red." in first.inner_text()
    assert "memory m1 added" in first.inner_text()
    assert "memory m1 updated; it was:" in second.inner_text()
    assert "nonsense" in third.inner_text()
    assert "must begin with <think>" in third.inner_text()
    sixth = page.locator("#round-0-5")
    assert "11 messages" in sixth.inner_text()
    assert "2 of 13 messages kept" in sixth.inner_text()
    sixth.get_by_text("everything it saw").click()
    seen_then = sixth.locator("ol.context li")
    seen_then.first.wait_for()  # the page fills it after the click
    assert seen_then.count() == len(MANAGED.steps[5].visible)
    assert seen.texts(".reward tr:first-child td")[0] == f"{MANAGED.reward.total:.3f}"
    assert page.locator(".chart polyline.curve").get_attribute("points").count(",") == (
        len(MANAGED.steps) + 1
    )
    assert len(seen.texts(".gold li")) == len(MANAGED.gold_facts)
    page.keyboard.press("j")
    page.get_by_role("heading", name=ORACLE[1].episode.task_id).wait_for()
    page.keyboard.press("Escape")
    assert len(seen.texts("#episodes tbody tr")) == 3
    page.go_back()
    page.get_by_role("heading", name=ORACLE[1].episode.task_id).wait_for()
    seen.close_quietly()


@pytest.mark.slow
def test_two_runs_side_by_side(chromium: Any, tmp_path: Path) -> None:
    judged = replace(RANDOM[0].episode, settings={**RANDOM[0].episode.settings, "judge": "llm:x"})
    runs = [
        Run("ours", None, tuple(ORACLE[:3])),
        Run("theirs", None, (replace(RANDOM[0], episode=judged), *RANDOM[1:2])),
    ]
    seen = visit(chromium, runs, tmp_path)
    page = seen.page
    page.get_by_label("A against B").select_option("only A succeeds")
    assert seen.texts("#episodes tbody a") == [r.episode.task_id for r in ORACLE[:2]]
    seen.open(0)
    for run, result in ((0, ORACLE[0]), (1, RANDOM[0])):
        assert page.locator(f".run-{run} li.round").count() == len(result.episode.steps)
    lefts = [page.locator(f".part.run-{run}").first.bounding_box() for run in (0, 1)]
    assert lefts[0]["y"] == lefts[1]["y"]
    assert lefts[0]["x"] < lefts[1]["x"]
    assert "judge: A lexical-0.6, B llm:x" in page.get_by_role("note").inner_text()
    page.keyboard.press("j")
    page.get_by_role("heading", name=ORACLE[1].episode.task_id).wait_for()
    assert page.get_by_role("note").count() == 0
    page.keyboard.press("Escape")
    page.get_by_label("A against B").select_option("in one run only")
    seen.open(0)
    assert "This run has no episode on this task." in page.locator("#episode").inner_text()
    seen.close_quietly()


@pytest.mark.slow
@pytest.mark.parametrize("bypass_csp", [False, True], ids=["policy", "no policy"])
def test_hostile_text_is_text(chromium: Any, tmp_path: Path, bypass_csp: bool) -> None:
    """With the policy, and by the way the page is made even without it."""
    html = page_of(hostile_run(tmp_path / "<img src=x onerror=window.pwned=1>"))
    seen = Visit(chromium, html, tmp_path / "page.html", bypass_csp=bypass_csp)
    page = seen.page
    visible = HOSTILE.replace("\ud800", "\ufffd")
    told = page.locator("#episodes tbody a").first.evaluate("(e) => e.textContent")
    assert told.replace("\ud800", "\ufffd") == visible
    page.locator("#runs summary").click()
    page.get_by_label("Search").fill("window.pwned")
    page.get_by_role("button", name="search transcripts too").click()
    for number in (0, 1):
        seen.open(number)
        for details in page.locator("#episode details").all():
            details.evaluate("(element) => { element.open = true; }")
        page.wait_for_timeout(100)
        text = page.locator("#episode").evaluate("(e) => e.textContent")
        assert text.count("<script>window.pwned = 1</script>") > 50
        assert page.locator("#episode :is(script, img, iframe, style)").count() == 0
        page.keyboard.press("Escape")
        page.locator("#episodes").wait_for()
    seen.close_quietly()


@pytest.mark.slow
def test_the_policy_stops_a_script_that_got_in(chromium: Any, tmp_path: Path) -> None:
    seen = visit(chromium, [MIXED], tmp_path)
    failures: list[str] = []
    seen.page.on("requestfailed", lambda request: failures.append(request.failure))
    refused = seen.page.evaluate(
        """() => {
          const refusals = [];
          const attempt = (act) => { try { act(); } catch (error) { refusals.push(error.name); } };
          attempt(() => { document.body.innerHTML += "<p>markup</p>"; });
          attempt(() => {
            const script = document.createElement("script");
            script.textContent = "window.pwned = 1";
            document.body.append(script);
          });
          attempt(() => new Image().src = "https://example.invalid/leak.png");
          return refusals;
        }"""
    )
    assert refused == ["TypeError", "TypeError"]  # no markup and no script from a string
    seen.page.wait_for_timeout(200)
    assert seen.page.evaluate("window.pwned") is None
    assert any("example.invalid" in blocked for blocked in seen.page.evaluate("violations"))
    assert failures == ["csp"]
    seen.context.close()


@pytest.mark.slow
def test_two_thousand_episodes(chromium: Any, tmp_path: Path) -> None:
    many = tuple(
        replace(
            ORACLE[i % 4],
            index=i,
            episode=replace(ORACLE[i % 4].episode, task_id=f"task-{i}"),
        )
        for i in range(2_000)
    )
    seen = visit(chromium, [Run("many", None, many)], tmp_path)
    page = seen.page
    assert page.locator("#count").inner_text() == "2,000 of 2,000 episodes"
    assert page.locator("#episodes tbody tr").count() == 50
    page.get_by_role("button", name="next ›").click()
    assert seen.texts("#episodes tbody a")[0] == "task-50"
    page.get_by_role("columnheader", name="Task").get_by_role("button").click()
    page.get_by_role("columnheader", name="Task").get_by_role("button").click()
    assert seen.texts("#episodes tbody a")[:2] == ["task-1999", "task-1998"]  # as numbers
    seen.open(0)
    assert len(seen.texts("li.round")) == len(many[1_999].episode.steps)
    seen.close_quietly()


@pytest.mark.slow
@pytest.mark.parametrize("width", [420, 1280])
def test_light_and_dark_and_nothing_cut(chromium: Any, tmp_path: Path, width: int) -> None:
    backgrounds = set()
    for scheme in ("light", "dark"):
        seen = visit(
            chromium, [MIXED], tmp_path, color_scheme=scheme,
            viewport={"width": width, "height": 720},
        )  # fmt: skip
        background = "getComputedStyle(document.body).backgroundColor"
        backgrounds.add(seen.page.evaluate(background))
        beyond = "document.documentElement.scrollWidth - innerWidth"
        assert seen.page.evaluate(beyond) <= 0
        seen.open(0)
        assert seen.page.evaluate(beyond) <= 0
        seen.close_quietly()
    assert len(backgrounds) == 2
