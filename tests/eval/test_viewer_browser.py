"""The viewer's page in headless Chromium: it is usable, and executes none of its data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

import agemem_envs  # noqa: F401  (registers the environments)
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.viewer.page import render
from tests.conftest import not_none
from tests.eval.viewer_runs import HOSTILE, MANAGED, ORACLE, RANDOM, hostile_run, page_of, run_of


def unavailable(what: str) -> NoReturn:
    """Skip the test; in CI it must not go unnoticed."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    try:
        from playwright import sync_api as playwright
    except ImportError as error:
        unavailable(f"playwright cannot be imported: {error}")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        unavailable("no Chromium on the PATH (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page in the browser, with a log of errors, dialogs and requests."""

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
        texts: list[str] = self.page.locator(selector).all_inner_texts()
        return texts

    def open(self, number: int) -> None:
        self.page.locator("#episodes tbody a").nth(number).click()
        self.page.locator("#episode-title").wait_for()

    def close_quietly(self) -> None:
        """Close the page, and check that the log is empty."""
        assert self.page.evaluate("[window.pwned, violations]") == [None, []]
        assert self.troubles == []
        self.context.close()


def visit(browser: Any, runs: list[PlayedRun], tmp_path: Path, **options: Any) -> Visit:
    return Visit(browser, render(runs), tmp_path / "page.html", **options)


MIXED = run_of("mixed", tuple(replace(r, index=i) for i, r in enumerate([
    *ORACLE[:2], *(replace(r, episode=replace(r.episode, task_id=f"r{r.index}")) for r in RANDOM),
])))  # fmt: skip


@pytest.mark.slow
def test_sort_filter_search(chromium: Any, tmp_path: Path) -> None:
    seen = visit(chromium, [MIXED], tmp_path)
    page = seen.page
    rewards = [not_none(not_none(r.episode.reward).total) for r in MIXED.results]
    assert len(seen.texts("#episodes tbody tr")) == 6
    header = page.get_by_role("columnheader", name="Reward")
    header.get_by_role("button").click()
    values = [float(text) for text in seen.texts("td.column-reward")]
    assert values == [pytest.approx(r, abs=6e-4) for r in sorted(rewards, reverse=True)]
    assert header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").press("Enter")  # the focus stayed, the order turns
    assert [float(t) for t in seen.texts("td.column-reward")] == values[::-1]

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
    seen = visit(chromium, [run_of("run", (managed, *ORACLE[1:3]))], tmp_path)
    page = seen.page
    seen.open(0)
    assert len(seen.texts("li.round")) == len(MANAGED.steps)
    first, second, third, *_ = (page.locator(f"#round-0-{i}") for i in range(6))
    assert "Add_memory" in first.inner_text()
    assert "The key is red." in first.inner_text()
    assert "memory m1 added" in first.inner_text()
    assert "memory m1 updated; before:" in second.inner_text()
    assert "nonsense" in third.inner_text()
    assert "must begin with <think>" in third.inner_text()
    sixth = page.locator("#round-0-5")
    assert "11 messages" in sixth.inner_text()
    assert "2 of 13 messages kept" in sixth.inner_text()
    sixth.get_by_text("full context").click()
    seen_then = sixth.locator("ol.context li")
    seen_then.first.wait_for()  # the page fills it after the click
    assert seen_then.count() == len(MANAGED.steps[5].visible)
    assert seen.texts(".reward tr:first-child td")[0] == f"{not_none(MANAGED.reward).total:.3f}"
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
def test_a_memory_is_listed_or_empty_or_not_known(chromium: Any, tmp_path: Path) -> None:
    episode = ORACLE[0].episode
    results = [
        ORACLE[0],
        replace(ORACLE[1], episode=replace(ORACLE[1].episode, memories=())),
        replace(ORACLE[2], episode=replace(ORACLE[2].episode, memories=(), memories_listed=False)),
    ]
    seen = visit(chromium, [run_of("run", tuple(results))], tmp_path)
    told = []
    for number in range(3):
        seen.open(number)
        told.append(seen.page.locator("main").inner_text())
        seen.page.keyboard.press("Escape")
    plural = "items" if len(episode.memories) != 1 else "item"
    assert f"Long-term memory: {len(episode.memories)} {plural}" in told[0]
    assert "It is empty." in told[1]
    assert "Long-term memory: not known" in told[2]
    assert "not in memory" not in told[2]
    assert all("not known" not in text for text in told[:2])
    seen.close_quietly()


@pytest.mark.slow
def test_two_runs_side_by_side(chromium: Any, tmp_path: Path) -> None:
    settings = replace(RANDOM[0].episode.settings, judge="llm:x")
    judged = replace(RANDOM[0].episode, settings=settings)
    runs = [
        run_of("ours", tuple(ORACLE[:3])),
        run_of("theirs", (replace(RANDOM[0], episode=judged), *RANDOM[1:2])),
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
    assert "judge: A lexical-sentences-0.7, B llm:x" in page.get_by_role("note").inner_text()
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
    """With the content security policy, and also without it."""
    html = page_of(hostile_run(tmp_path / "<img src=x onerror=window.pwned=1>"))
    seen = Visit(chromium, html, tmp_path / "page.html", bypass_csp=bypass_csp)
    page = seen.page
    visible = HOSTILE.replace("\ud800", "\ufffd")
    text = page.locator("#episodes tbody a").first.evaluate("(e) => e.textContent")
    assert text.replace("\ud800", "\ufffd") == visible
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
    seen = visit(chromium, [run_of("many", many)], tmp_path)
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
