"""Errors in OpenAI's format."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        message: The fault and its remedy.
        status: Status of the HTTP reply.
        code: OpenAI's machine-readable code, or None.
        param: The faulty field of the request, or None.
    """

    def __init__(
        self, message: str, status: int = 400, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, status, code, param)


def error_body(
    message: str, status: int, code: str | None = None, param: str | None = None
) -> Body:
    """The JSON of an error reply."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
