"""A hook of mkdocs: the roles of docstrings, such as ``:class:``, become plain names."""

from __future__ import annotations

import re
from typing import Any

ROLE = re.compile(r":(?:class|mod|func|meth|data|attr|exc):<code>~?([\w.]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Replace each role by the last part of its name."""
    return ROLE.sub(lambda found: f"<code>{found[1].rpartition('.')[2]}</code>", html)
