"""Requests to servers, over one pool of connections for the process."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from agemem_envs.errors import require

MAX_REPLY = 64 * 2**20
"""Most bytes of a reply: far above any completion with its tokens and their probabilities."""


class ServerError(Exception):
    """A request without a usable reply.

    Attributes:
        status: The HTTP status; None if there was no reply, or not one of the protocol.
        passing: Whether the same request may succeed later.
        overloaded: Whether the server has too much to do.
        wait: Seconds that the server asked to wait.
    """

    def __init__(self, message: str, status: int | None = None, wait: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait

    @property
    def passing(self) -> bool:
        """True without a usable reply, and for status 408, 409, 429 and 5xx."""
        return self.status is None or self.status in (408, 409, 429) or self.status >= 500

    @property
    def overloaded(self) -> bool:
        """True for status 408 and 429, and if the server asked to wait."""
        return self.status in (408, 429) or self.wait > 0


class NoReplyError(ServerError):
    """The server did not reply in time."""

    overloaded = True


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Attributes:
        url: The URL.
        headers: The headers, with the credentials.
        timeout: Most seconds of a request, from its start to the last byte of the reply.
    """

    url: str
    headers: Mapping[str, str]
    timeout: float


async def post_json(target: Target, body: Mapping[str, Any]) -> Any:
    """Post JSON, and return the JSON of the reply. It runs in the background loop.

    Raises:
        ServerError: There is no reply of status 200 with JSON of at most ``MAX_REPLY`` bytes.
    """
    aiohttp = require("aiohttp", extra="eval")
    proxy = _proxy(target.url)
    options = {"data": json.dumps(body).encode(), **proxy}
    options["headers"] = {**target.headers, **proxy.get("headers", {})}
    try:
        async with (
            asyncio.timeout(target.timeout),
            (await _session()).post(target.url, allow_redirects=False, **options) as reply,
        ):
            content = await _read(reply)
    except TimeoutError as error:
        raise NoReplyError(f"no reply within {target.timeout:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ServerError(f"{type(error).__name__}: {error}") from error
    if reply.status != 200:
        wait = _retry_after(reply.headers.get("retry-after"))
        raise ServerError(_reason(reply.status, content), reply.status, wait)
    return _parsed(content)


async def _read(reply: Any) -> bytes:
    content = bytearray()
    async for chunk in reply.content.iter_any():
        content += chunk
        if len(content) > MAX_REPLY:
            raise ServerError(f"the reply has more than {MAX_REPLY} bytes")
    return bytes(content)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ServerError(f"the reply is not JSON: {error}") from error


def _reason(status: int, content: bytes) -> str:
    """What a reply says about its error."""
    try:
        error = json.loads(content)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, RecursionError, LookupError, TypeError):
        text = content[:1_000].decode("utf-8", "replace")
    return f"status {status}: {text}"


def _retry_after(value: str | None) -> float:
    """Seconds from a header, which has a number or a date; 0 if it has neither."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value)) if value.strip().isdigit() else _until(value)
    except (ValueError, OverflowError, TypeError):  # TypeError: a date without a time zone
        return 0.0


def _until(date: str) -> float:
    return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())


_sessions: dict[asyncio.AbstractEventLoop, Any] = {}
"""The session of each event loop. There is one, unless the process was forked."""
_keepers: list[asyncio.Task[None]] = []


async def _session() -> Any:
    loop = asyncio.get_running_loop()
    if (session := _sessions.get(loop)) is None:
        aiohttp = require("aiohttp", extra="eval")
        session = _sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # each endpoint has a limit of its own
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        _keepers.append(asyncio.create_task(_keep(session)))
    return session


@functools.lru_cache(maxsize=256)
def _proxy(url: str) -> Mapping[str, Any]:
    """The arguments of a request for the proxy that the environment names for a URL, if any.

    aiohttp's own ``trust_env`` reads the environment in each request, in another thread, which
    takes longer than all else that a request costs here.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    address = parts.netloc.rpartition("@")[2]
    if proxy is None or proxy_bypass(address) or proxy_bypass(parts.hostname or ""):
        return {}
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    bare = urlunsplit(place._replace(netloc=place.netloc.rpartition("@")[2]))
    if place.username is None:
        return {"proxy": bare}
    login = f"{unquote(place.username)}:{unquote(place.password or '')}".encode()
    authorization = {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}
    # The request itself goes to the proxy, or a tunnel is asked for, whose inside it must not see.
    return {"proxy": bare, "headers" if parts.scheme == "http" else "proxy_headers": authorization}


async def _keep(session: Any) -> None:
    """Close a session when the loop ends, which cancels its tasks."""
    try:
        await asyncio.Event().wait()
    finally:
        await session.close()
