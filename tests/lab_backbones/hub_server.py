"""A stand-in for the Hugging Face Hub on loopback, for tests of what is fetched from it.

It answers what ``huggingface_hub`` asks to fetch a repository: which commit a revision is, the tree of a
commit, and files, with the headers and the errors that the client reads. Like the Hub it keeps large files
elsewhere (here another port, "CDN") and redirects there; like its CDN it goes on from the middle of a file.
Not imitated: Xet transfer, pages of long trees, uploads.

The client reads ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_OFFLINE`` when it is imported, into
``huggingface_hub.constants``. So a test points it here in one of two ways: these variables for a process of
its own, or those constants, looked up at every request, within this process (:meth:`Hub.point_here`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pytest

HOST = "127.0.0.1"
TOKEN = "hf_of_someone_who_accepted_the_licence"  # noqa: S105
_LARGE = (".safetensors", ".bin", ".h5")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer.

    Attributes:
        status: answer with this error instead.
        sent: share of the body that is sent before the connection ends.
        reset: end it as a crash does, not as an orderly close.
        content: send this body instead, with its own length.
    """

    status: int = 0
    sent: float = 1.0
    reset: bool = False
    content: bytes | None = None


@dataclass(frozen=True)
class Asked:
    """A request as it came.

    Attributes:
        method: ``GET`` or ``HEAD``.
        path: without the query; starts with ``/cdn/`` where it went there.
        start: first byte asked for.
        token: what came as authorization.
    """

    method: str
    path: str
    start: int
    token: str


@dataclass
class _Repository:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    gated: bool = False


class Hub:
    """Repositories behind two loopback ports; use it as a context.

    Attributes:
        asked: all requests so far.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._repositories: dict[str, _Repository] = defaultdict(_Repository)
        self._large: dict[str, bytes] = {}
        self._faults: dict[tuple[str, str], deque[Fault]] = defaultdict(deque)
        self._servers: list[ThreadingHTTPServer] = []
        self._ports = [0, 0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """What ``HF_ENDPOINT`` is to be."""
        return f"http://{HOST}:{self._ports[0]}"

    @property
    def cdn(self) -> str:
        """Where large files are."""
        return f"http://{HOST}:{self._ports[1]}/cdn"

    def start(self) -> None:
        """Listen; again on the same ports after :meth:`stop`."""
        for index, port in enumerate(self._ports):
            server = ThreadingHTTPServer((HOST, port), type("Handler", (_Handler,), {"hub": self}))
            self._ports[index] = server.server_address[1]
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Hear nothing any more."""
        while self._servers:
            server = self._servers.pop()
            server.shutdown()
            server.server_close()

    def add(
        self,
        name: str,
        content: Path | Mapping[str, bytes],
        *,
        reference: str = "main",
        commit: str = "",
        gated: bool = False,
    ) -> str:
        """Put a commit into a repository.

        Args:
            name: ``owner/model``.
            content: a folder, or bytes by file name.
            reference: branch, tag or ``refs/pr/NUMBER`` that is this commit from now on.
            commit: its hash; by default one made from what is in it.
            gated: files only for :data:`TOKEN`.

        Returns:
            The commit's hash.
        """
        if isinstance(content, Path):
            content = {path.name: path.read_bytes() for path in content.iterdir()}
        files = dict(content)
        commit = commit or hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()  # noqa: S324
        repository = self._repositories[name]
        repository.commits[commit] = files
        repository.references[reference] = commit
        repository.gated = gated
        self._large |= {_sha256(body): body for file, body in files.items() if file.endswith(_LARGE)}
        return commit

    def fail(self, method: str, ending: str, *faults: Fault) -> None:
        """Let the next requests go wrong, one after the other.

        Args:
            method: ``GET`` or ``HEAD``.
            ending: of the path; large files are asked for by HEAD at their name, by GET at their SHA-256.
            faults: what goes wrong with each.
        """
        self._faults[method, ending].extend(faults)

    def paths(self, method: str = "GET") -> list[str]:
        """Paths asked for so far, in order."""
        return [asked.path for asked in self.asked if asked.method == method]

    def point_here(self, patch: pytest.MonkeyPatch, home: Path) -> None:
        """Point the client of this process here, with a cache of its own, and nowhere else.

        Args:
            patch: undoes it.
            home: what ``HF_HOME`` would be.
        """
        from huggingface_hub import close_session, constants

        for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            patch.delenv(variable, raising=False)
        for variable in ("NO_PROXY", "no_proxy"):
            patch.setenv(variable, HOST)
        patch.setattr(constants, "ENDPOINT", self.address)
        template = self.address + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # it would ask for more than files
        close_session()  # a client that was made before knows other proxies
        connect = socket.socket.connect

        def stay_here(own: socket.socket, place: Any) -> None:
            if place[0] != HOST:
                raise AssertionError(f"network touched: {place}")
            connect(own, place)

        patch.setattr(socket.socket, "connect", stay_here)

    def environment(self, home: Path) -> dict[str, str]:
        """Variables for a process whose client is to ask here, with a cache of its own."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        own = {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {**kept, **own, "NO_PROXY": HOST, "no_proxy": HOST}

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, if any."""
        for (wanted, ending), faults in self._faults.items():
            if faults and wanted == method and path.endswith(ending):
                return faults.popleft()
        return None

    def answer(self, path: str, token: str) -> _Answer:
        """What the Hub says to a path."""
        if cdn := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
            return _Answer(body=self._large[cdn[1]])
        if api := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            return self._describe(api[1], api[2] or "revision", unquote(api[3] or "main"))
        if file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(file[1], unquote(file[2]), unquote(file[3]), token)
        return _refusal(404, "", f"nothing is at {path}")

    def _describe(self, name: str, what: str, revision: str) -> _Answer:
        commit = self._commit(name, revision)
        if isinstance(commit, _Answer):
            return commit
        files = self._repositories[name].commits[commit]
        if what == "tree":
            return _json([_entry(file, body) for file, body in files.items()])
        siblings = [{"rfilename": file} for file in files]
        return _json({"id": name, "modelId": name, "sha": commit, "private": False, "siblings": siblings})

    def _resolve(self, name: str, revision: str, file: str, token: str) -> _Answer:
        commit = self._commit(name, revision)
        if isinstance(commit, _Answer):
            return commit
        if self._repositories[name].gated and token != f"Bearer {TOKEN}":
            return _refusal(403, "GatedRepo", f"Access to model {name} is restricted.")
        origin = {"X-Repo-Commit": commit}
        body = self._repositories[name].commits[commit].get(file)
        if body is None:
            return _refusal(404, "EntryNotFound", "Entry not found", origin)
        if not file.endswith(_LARGE):
            return _Answer(body=body, headers={**origin, "ETag": f'"{_git_sha1(body)}"'})
        digest = _sha256(body)
        linked = {"X-Linked-Size": str(len(body)), "X-Linked-ETag": f'"{digest}"'}
        return _Answer(302, headers={**origin, **linked, "Location": f"{self.cdn}/{digest}"})

    def _commit(self, name: str, revision: str) -> str | _Answer:
        if name not in self._repositories:
            return _refusal(404, "RepoNotFound", "Repository not found")
        repository = self._repositories[name]
        commit = repository.references.get(revision, revision)
        if commit not in repository.commits:
            return _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit


@dataclass(frozen=True)
class _Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def _json(content: object) -> _Answer:
    return _Answer(body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})


def _refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> _Answer:
    said = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
    return _Answer(status, json.dumps({"error": message}).encode(), said)


def _entry(file: str, body: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": file, "size": len(body), "oid": _git_sha1(body)}
    if file.endswith(_LARGE):
        entry["lfs"] = {"oid": _sha256(body), "size": len(body), "pointerSize": 134}
    return entry


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _git_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()  # noqa: S324


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        token = self.headers.get("Authorization", "")
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0").partition("-")[0]))
        self.hub.asked.append(Asked(self.command, path, start, token))
        fault = self.hub.take_fault(self.command, path) or Fault()
        if fault.status:
            self._send(_refusal(fault.status, "", "out of order"))
            return
        answer = self.hub.answer(path, token)
        if fault.content is not None:
            answer = _Answer(body=fault.content, headers={**answer.headers})
        elif start and answer.status == 200:
            total = len(answer.body)
            headers = {**answer.headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}
            answer = _Answer(206, answer.body[start:], headers)
        self._send(answer, fault)

    def _send(self, answer: _Answer, fault: Fault = Fault()) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body[: int(fault.sent * len(answer.body))])
        if fault.reset:
            # No linger: what is not yet sent is dropped, and the other side told so by a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()
