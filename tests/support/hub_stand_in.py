"""A stand-in for the Hugging Face hub: it answers on loopback, as HF_ENDPOINT names it, what the hub answers.

Only what `snapshot_download` asks is played: what a model is, which files it has, and the files. Troubles are told by
the model's name, with the status and the headers by which the hub tells them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STALL_S = 30.0


@dataclass(frozen=True)
class Trouble:
    """What is answered instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    of_files: bool = False
    """Whether only the files are refused: of a gated model, everybody may see what there is."""


TROUBLES: Mapping[str, Trouble] = {
    "nobody": Trouble(401, {"X-Error-Message": "Invalid username or password."}),
    "missing": Trouble(404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "gated": Trouble(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}, of_files=True),
    "waiting": Trouble(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Awaiting a review."}, of_files=True),
    "old": Trouble(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id: v9"}),
    "token": Trouble(401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "forbidden": Trouble(403, {"X-Error-Message": "Forbidden"}),
    "disabled": Trouble(403, {"X-Error-Message": "Access to this resource is disabled."}),
    "busy": Trouble(429),
    "broken": Trouble(500),
}
STALLED, CUT_OFF = "stalled", "cut_off"
"""A model of which nothing is ever told, and one whose files end too early."""


@dataclass(frozen=True)
class HubStandIn:
    """A running one."""

    url: str
    files: Mapping[str, bytes]
    """Of every model that has no trouble: content by name."""


@contextlib.contextmanager
def hub_stand_in(folder: Path) -> Iterator[HubStandIn]:
    """Serve the files of a folder as those of any model, inside the block."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield HubStandIn(f"http://127.0.0.1:{server.server_port}", files)
    finally:
        server.shutdown()
        server.server_close()


def _handler(files: Mapping[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply()

        def do_HEAD(self) -> None:
            self._reply()

        def log_message(self, *said: object) -> None:
            pass

        def _reply(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            of_api = parts[:2] == ["api", "models"]
            if parts[0] == "api" and not of_api:
                # What huggingface_hub asks beside, and can do without.
                self._answer(404, {}, b"")
                return
            name = parts[3] if of_api else parts[1]
            trouble = TROUBLES.get(name)
            if name == STALLED:
                time.sleep(STALL_S)
            elif trouble is not None and not (of_api and trouble.of_files):
                self._answer(trouble.status, trouble.headers, b"")
            elif of_api:
                self._json(self._tree() if "tree" in parts else {"id": "/".join(parts[2:4]), "sha": COMMIT})
            else:
                self._file(parts[-1], cut_off=name == CUT_OFF)

        def _tree(self) -> list[dict[str, object]]:
            return [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]

        def _file(self, path: str, cut_off: bool) -> None:
            content = files[path]
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            if cut_off and self.command == "GET":
                # The first half comes, and of the rest nothing, however often it is asked for.
                self._head(206 if begin else 200, headers, len(content) - begin)
                self.wfile.write(content[begin : len(content) // 2])
                self.close_connection = True
            else:
                self._answer(200, headers, content)

        def _json(self, content: object) -> None:
            self._answer(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

        def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
            self._head(status, headers, len(content))
            if self.command != "HEAD":
                self.wfile.write(content)

        def _head(self, status: int, headers: Mapping[str, str], length: int) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()

    return Handler
