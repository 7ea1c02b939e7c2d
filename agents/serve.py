"""Serve a local model to OpenAI clients, with JSON and tool calls that always parse.

    agemem serve --backbone smollm2-135m --port 8000

llama.cpp's own server runs in a child process. A thin layer in front of it adds tool calls and
bounded JSON (agents/backbones/server/translation.py).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.agents.backbones.server.local import SLOTS, LocalServer
from agemem.agents.models import MODELS
from agemem_envs.errors import (
    AgeMemError,
    BackboneUnavailableError,
    ConfigurationError,
    UnknownNameError,
)
from agemem_envs.util.cli import EXIT_OK, EXIT_USAGE

EXIT_DIED = 1
KEY_VARIABLE = "AGEMEM_SERVE_KEY"
_STOPS = (signal.SIGINT, signal.SIGTERM)
SERVABLE = {model.name: model.gguf for model in MODELS.values() if model.gguf}
"""The models that have a GGUF file, and what finds it."""

EPILOG = """\
what is served:
  POST /v1/chat/completions   messages, sampling, response_format (json_object, json_schema),
                              tools with tool_choice auto, none, required or a function
  GET  /v1/models, /health

  Strings and lists without a bound in the schema get one (400 characters, 8 items), so that
  the output of a small model ends; the schema's own maxLength and maxItems are kept. A reply
  holds at most one tool call.

  With "stream": true, text comes as it is written. A reply to a request with tools is read as a
  whole, and comes in one piece at the end.

who may call:
  Anyone who reaches the address; with --api-key, or $AGEMEM_SERVE_KEY, whoever sends that key.
  Web pages may not: a request with an Origin is refused and, on a loopback address, one whose
  Host is none.

examples:
  agemem serve --backbone smollm2-135m --port 8000
  agemem serve --backbone /path/to/model.gguf --port 0
  agemem run --backbone smollm2-135m@http://127.0.0.1:8000/v1 \\
      --envs AgeMem-SyntheticQA-v0 --episodes 1 --max-tokens 256

exit status:
  0  stopped by Ctrl-C or SIGTERM
  1  llama.cpp's process died
  2  it could not start
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem serve",
        description="Serve a local model to OpenAI clients.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names = ", ".join(SERVABLE)
    parser.add_argument(
        "--backbone",
        default="smollm2-135m",
        metavar="NAME",
        help=f"{names}, or a GGUF file (smollm2-135m)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one (8000)")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"the key that clients must send (${KEY_VARIABLE}; by default, none is needed)",
    )
    parser.add_argument(
        "--slots",
        type=int,
        default=SLOTS,
        metavar="N",
        help=f"requests decoded at once; others wait ({SLOTS})",
    )
    return parser


def gguf(name: str) -> tuple[Path, str]:
    """The GGUF file and the model's name.

    Raises:
        UnknownNameError: ``name`` is neither a name of :data:`SERVABLE` nor a GGUF file.
        ConfigurationError: The file does not exist.
        MissingDependencyError: The weights are not installed.
    """
    if name in SERVABLE:
        return SERVABLE[name](), name
    path = Path(name).expanduser()
    if path.suffix != ".gguf":
        raise UnknownNameError("backbone to serve", name, [*SERVABLE, "path/to/model.gguf"])
    if not path.is_file():
        raise ConfigurationError(f"the file {name!r} does not exist")
    return path, path.stem


def api_key(given: str | None) -> str | None:
    """The key that clients must send, from the option or else the environment.

    Raises:
        ConfigurationError: It cannot be sent in a header.
    """
    key = os.environ.get(KEY_VARIABLE) if given is None else given
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError(
            f"the key of --api-key or ${KEY_VARIABLE} must be ASCII characters without spaces"
        )
    return key


def serve(argv: Sequence[str]) -> None:
    """Serve until a signal arrives.

    Raises:
        BackboneUnavailableError: llama.cpp's process died while serving.
        AgeMemError: The server could not start.
    """
    options = build_parser().parse_args(argv)
    if options.slots < 1:
        raise ConfigurationError(f"--slots is {options.slots}, but must be at least 1")
    key = api_key(options.api_key)
    weights, name = gguf(options.backbone)
    for stop in _STOPS:  # SIGINT too: a shell starts its "&" jobs with it ignored
        signal.signal(stop, _interrupt)
    address = {"host": options.host, "port": options.port}
    with LocalServer(weights, name, slots=options.slots, api_key=key, **address) as server:
        shown = '"none"' if key is None else "KEY"  # the key itself is not for a log
        print(f"Serving {name} at {server.url}", flush=True)  # noqa: T201
        print(  # noqa: T201
            f'Use it with openai.OpenAI(base_url="{server.url}", api_key={shown}), or '
            f"--backbone {name}@{server.url}. Stop it with Ctrl-C.",
            flush=True,
        )
        server.llama.process.wait()
        died = server.llama.last_words()
    raise _DiedError(f"llama.cpp's process ended by itself: {died or 'it wrote nothing'}")


class _DiedError(BackboneUnavailableError):
    """llama.cpp's process died after it had started."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors that the user can fix are one message and status 2."""
    arguments: Any = sys.argv[1:] if argv is None else argv
    try:
        serve(arguments)
    except KeyboardInterrupt:
        return EXIT_OK
    except AgeMemError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_DIED if isinstance(error, _DiedError) else EXIT_USAGE
    return EXIT_OK


def _interrupt(*_: object) -> None:
    for stop in _STOPS:  # a second signal must not interrupt closing
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
