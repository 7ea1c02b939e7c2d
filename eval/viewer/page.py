"""The page: one HTML file that contains its style, scripts and data.

The data, texts of models and simulators, are untrusted. The page embeds them as ASCII JSON with
``<``, ``>`` and ``&`` escaped, or compressed in base64, and inserts them as text nodes. A content
security policy allows only the page's own scripts, by hash, and no network access.
"""

from __future__ import annotations

import base64
import hashlib
import json
import webbrowser
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agemem.eval.runs.reading import PlayedRun, read_run
from agemem.eval.runs.result import Result
from agemem.eval.viewer.pairs import Row, pair
from agemem.eval.viewer.records import cell, story, task
from agemem_envs.errors import ConfigurationError, DataFormatError, require
from agemem_envs.run_record import record_data
from agemem_envs.util.files import write_atomically
from agemem_envs.util.sanitize import sendable

ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("dom.js", "store.js", "table.js", "chart.js", "episode.js", "main.js")
"""The scripts in the order of execution. They share one global scope."""


def render(runs: Sequence[PlayedRun]) -> str:
    """Render the page for one run, or for two runs side by side.

    Raises:
        DataFormatError: An episode's record contradicts itself.
        MissingDependencyError: Jinja2 is not installed.
    """
    jinja2 = require("jinja2", extra="eval")
    markup = require("markupsafe", extra="eval").Markup
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = pair(runs)
    scripts = [_asset(name) for name in SCRIPTS]
    style = _asset("viewer.css")
    text: str = environment.get_template("page.html.j2").render(
        title=" | ".join(sendable(run.name) for run in runs),
        policy=content_security_policy(scripts, style),
        style=markup(style),
        scripts=[markup(script) for script in scripts],
        index=markup(_safe_json(_index(runs, rows))),
        stories=[
            (f"story-{number}-{run}", _packed(story(result)))
            for number, row in enumerate(rows)
            for run, result in enumerate(row)
            if result is not None
        ],
    )
    return text


def write_page(runs: Sequence[Path], out: Path) -> None:
    """Write the page of one run, or of two, to a file.

    Raises:
        AgeMemError: A run cannot be read, or the file cannot be written.
    """
    text = render([read_run(path) for path in runs])
    try:
        write_atomically(out, text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {out}: {error}") from error


def show(page: Path) -> None:
    """Open a page in the browser, if there is one."""
    webbrowser.open(page.resolve().as_uri())


def content_security_policy(scripts: Sequence[str], style: str) -> str:
    """A policy that allows these scripts and this style, no network, and no markup from strings."""
    hashes = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _index(runs: Sequence[PlayedRun], rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "runs": [{"name": sendable(run.name), "record": record_data(run.record)} for run in runs],
        "rows": [{**task(_some(row)), "cells": [r and cell(r) for r in row]} for row in rows],
    }


def _some(row: Row) -> Result:
    return next(result for result in row if result is not None)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except ValueError as error:  # NaN, infinity
        raise DataFormatError(f"a record cannot be written as JSON: {error}") from error


def _safe_json(value: Any) -> str:
    """JSON that is safe inside a ``<script>`` element: ASCII without ``<``, ``>`` and ``&``."""
    text = _json(value)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _packed(value: Any) -> str:
    """JSON, compressed with zlib and encoded in base64."""
    return base64.b64encode(zlib.compress(_json(value).encode("ascii"))).decode("ascii")


def check_target(path: Path) -> None:
    """Check that a page may be written to a path.

    Raises:
        ConfigurationError: The path does not name an HTML file, or its folder does not exist.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out must name an .html file, got {path}")
    if path.is_dir():
        raise ConfigurationError(f"--out must name a file, but {path} is a folder")
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of --out does not exist: {path.parent}")
