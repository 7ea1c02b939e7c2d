"""The viewer's page of a run: how large it is and how quick in headless Chromium.

    python -m tests.benchmarks.measure_viewer RUN [RUN2]

Each time is that of one page load, in a fresh browser; needs playwright and Chromium.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agemem.eval.runs.reading import read_run
from agemem.eval.viewer.page import render


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def measure(page: Any, url: str) -> dict[str, float]:
    """Seconds from the user's deed to what it shows."""
    header = page.get_by_role("columnheader", name="Reward").first.get_by_role("button")
    rows = page.locator("#episodes tbody tr").first
    search = page.get_by_label("Search", exact=True)
    times = {"load until the table is there": seconds(lambda: (page.goto(url), rows.wait_for()))}
    times["sort"] = seconds(lambda: (header.click(), rows.wait_for()))
    link = page.locator("#episodes tbody a").first
    title = page.locator("#episode-title")
    times["open an episode"] = seconds(lambda: (link.click(), title.wait_for()))
    page.keyboard.press("Escape")
    rows.wait_for()
    times["search the table"] = seconds(lambda: search.fill("no such text"))
    everywhere = page.get_by_role("button", name="search transcripts too")
    done = page.get_by_text(re.compile("^0 of "))
    page.evaluate("document.getElementById('count').textContent = ''")
    times["search all transcripts"] = seconds(lambda: (everywhere.click(), done.wait_for()))
    return times


def main() -> None:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("no Chromium on the PATH")
    start = time.perf_counter()
    runs = [read_run(Path(argument)) for argument in sys.argv[1:]]
    read = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder) / "page.html"
        start = time.perf_counter()
        file.write_text(render(runs), encoding="utf-8")
        made = time.perf_counter() - start
        count = sum(len(run.results) for run in runs)
        print(f"{count} episodes: read {read:.1f} s, made {made:.1f} s,", end=" ")
        print(f"{file.stat().st_size / 1e6:.1f} MB")
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(300_000)
        for name, value in measure(page, file.as_uri()).items():
            print(f"{name}: {value:.2f} s")
        browser.close()


if __name__ == "__main__":
    main()
