"""Take the screenshots of the documentation, light and dark, in headless Chromium.

    make docs
    make eval
    python docs/take_screenshots.py results/runs/RUN

RUN is a run or a suite with a viewer.html (``agemem run --page``). Writes docs/images/*.png.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import markdown
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1280, "height": 800}
SCHEMES = ("light", "dark")
REPORT_STYLE = """
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1180px }
  table { border-collapse: collapse } td, th { border: 1px solid #8888; padding: .3em .7em }
  @media (prefers-color-scheme: dark) { body { background: #0d1117; color: #f0f6fc } }
"""


def report_page(folder: Path) -> Path:
    """The report of the ladder as an HTML page."""
    report = ROOT / "results" / "ladder" / "report.md"
    body = markdown.markdown(report.read_text(encoding="utf-8"), extensions=["tables"])
    page = folder / "report.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><style>{REPORT_STYLE}</style>{body}", encoding="utf-8"
    )
    return page


def open_first_episode(page: Page) -> None:
    """Show an episode of the viewer, and not only the table."""
    row = page.locator("tbody tr").first
    row.click()
    page.wait_for_timeout(500)


def main(run: Path) -> None:
    """Take all pictures.

    Raises:
        SystemExit: The site, the run's page or a browser is missing.
    """
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    site, viewer = ROOT / "build" / "site" / "index.html", run / "viewer.html"
    for needed, remedy in ((site, "make docs"), (viewer, "agemem run --page")):
        if not needed.exists():
            sys.exit(f"{needed} does not exist: {remedy}")
    if browser_path is None:
        sys.exit("no Chromium was found: install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        pages = {"docs": site, "report": report_page(Path(folder)), "viewer": viewer}
        for name, file in pages.items():
            for scheme in SCHEMES:
                page = browser.new_page(viewport=SIZE, color_scheme=scheme)
                page.goto(file.resolve().as_uri())
                page.wait_for_timeout(1000)
                if name == "viewer":
                    open_first_episode(page)
                page.screenshot(path=OUT / f"{name}-{scheme}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
