"""Models on the hub: a server on loopback takes what the real one would."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agemem.train.hub import prepare_hub, push
from agemem_envs.errors import AgeMemError, ConfigurationError

constants = pytest.importorskip("huggingface_hub.constants")
TOKEN = "hf_of_the_tests"
COMMIT = "1" * 40


class Hub(ThreadingHTTPServer):
    """The part of the hub's interface that an upload uses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.full = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = b"".join(self._body())
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._reply(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            values = json.loads(body)
            name = f"{values['organization']}/{values['name']}"
            known = name in self.server.repositories
            self.server.repositories.setdefault(name, {})
            self._reply(409 if known else 200, {"url": f"{self.server.url}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._reply(200, {"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._reply(200, {"files": files})
        elif self.server.full:
            self._reply(507, {"error": "no space"})
        else:
            name = self.path.removeprefix("/api/models/").removesuffix("/commit/main")
            lines = [json.loads(line) for line in body.splitlines()]
            self.server.repositories[name] |= {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            url = f"{self.server.url}/{name}/commit/{COMMIT}"
            self._reply(200, {"commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})

    def _body(self) -> Iterator[bytes]:
        if "Content-Length" in self.headers:
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while size := int(self.rfile.readline(), 16):  # in chunks
            yield self.rfile.read(size)
            self.rfile.readline()

    def _reply(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        server.shutdown()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a training."""
    (tmp_path / "model" / "adapter").mkdir(parents=True)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model" / "README.md").write_text("PEFT's", encoding="utf-8")
    (tmp_path / "model" / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "config.json").write_text('{"kind": "grpo"}', encoding="utf-8")
    return tmp_path


def test_a_model_goes_to_the_hub_with_its_record_and_a_card(server: Hub, run: Path) -> None:
    prepare_hub("me/agent")
    prepare_hub("me/agent")  # a second training into the same repository
    url = push("me/agent", run, "qwen3-4b", ["AgeMem-HotpotQA-v0"])
    assert url == f"{server.url}/me/agent/commit/{COMMIT}"
    files = server.repositories["me/agent"]
    assert set(files) == {
        "README.md", "adapter/adapter_config.json", "model.safetensors", "training.json"
    }  # fmt: skip
    assert files["model.safetensors"] == b"weights"
    assert json.loads(files["training.json"]) == {"kind": "grpo"}
    card = files["README.md"].decode()
    assert "base_model: Qwen/Qwen3-4B-Instruct-2507\n" in card
    assert "in AgeMem-HotpotQA-v0. It was made from qwen3-4b" in card
    assert "--backbone me/agent`" in card


def test_a_model_without_a_hub_id_names_no_base(server: Hub, run: Path) -> None:
    prepare_hub("me/agent")
    push("me/agent", run, "tiny", ["AgeMem-SyntheticQA-v0"])
    card = server.repositories["me/agent"]["README.md"].decode()
    assert card.startswith("---\nlibrary_name: transformers\n")


def test_a_wrong_login_is_found_before_the_training(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ConfigurationError, match="hf auth login"):
        prepare_hub("me/agent")
    assert server.repositories == {}


@pytest.mark.parametrize("name", ["agent", "me/a/b", "me/..", "me/a b"])
def test_a_wrong_name_is_refused(server: Hub, name: str) -> None:
    with pytest.raises(ConfigurationError, match="--push-to-hub"):
        prepare_hub(name)
    assert server.repositories == {}


def test_a_hub_that_is_away_is_found_before_the_training(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="does not accept it"):
        prepare_hub("me/agent")


def test_a_model_that_cannot_be_sent_stays_here(server: Hub, run: Path) -> None:
    prepare_hub("me/agent")
    server.full = True
    with pytest.raises(AgeMemError, match=r"could not be sent .* hf upload me/agent"):
        push("me/agent", run, "tiny", ["AgeMem-SyntheticQA-v0"])
    assert (run / "model" / "model.safetensors").read_bytes() == b"weights"
