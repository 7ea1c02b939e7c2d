"""Errors in OpenAI's format."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        message: What is wrong, and the remedy.
        status: Of the HTTP reply.
        code: A word for programs, as OpenAI names it, or None.
        param: The request's field that is wrong, or None.
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
