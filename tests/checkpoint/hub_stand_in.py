"""A stand-in of the Hugging Face Hub's HTTP API: serves folders as repositories, counts, and fails as it is told to.

What it answers follows huggingface_hub (``hf_api.py: model_info``, ``file_download.py: get_hf_file_metadata``) and the
error codes of its ``utils/_http.py: hf_raise_for_status``. As on the Hub, safetensors files are handed out by another
server, to which ``resolve`` redirects. Use::

    with serve(monkeypatch) as hub:
        hub.add("owner/name", folder)
        hub.fault = "ignore-range"
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

from toolkit.checkpoint import transport

COMMIT = "c0ffee" + "0" * 34
Fault = Literal[
    "gated", "private", "bad-token", "forbidden", "disabled", "no-entry", "rate-limited",
    "rate-limited-by-window", "rate-limited-without-end", "down", "teapot",  # statuses
    "silent", "loop", "lost", "hang-up",  # no answer
    "not-json", "deep", "endless", "not-a-model", "no-sizes",  # of the model's description
    "ignore-range", "other-range", "other-size", "short-body", "small-body", "long-body",  # of a file
]  # fmt: skip
REFUSALS: dict[str, tuple[int, dict[str, str]]] = {
    "gated": (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."}),
    "private": (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "bad-token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "forbidden": (403, {"X-Error-Message": "Forbidden"}),
    "no-entry": (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}),
    "disabled": (403, {"X-Error-Message": "Access to this resource is disabled."}),
    "rate-limited": (429, {"Retry-After": "30"}),
    "rate-limited-by-window": (429, {"ratelimit": '"resolvers";r=0;t=55'}),
    "rate-limited-without-end": (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    "down": (503, {}),
    "teapot": (418, {}),
}
NOT_FOUND = {"X-Error-Message": "Not found"}


@dataclass
class HubStandIn:
    """``fault`` is met by every call whose path has ``fault_at`` in it, or by the first ``fault_times`` of them.

    ``sizes`` are told instead of the true ones;
    ``sent`` counts the bytes of bodies by path of the file; ``asked`` lists (method, path, range, authorization).
    """

    repos: dict[str, dict[str, Path]] = field(default_factory=dict)  # repository → revision → folder
    fault: Fault | None = None
    fault_at: str = ""
    fault_times: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    url: str = ""
    storage: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def add(self, repo: str, folder: Path, *, revision: str = "main", commit: str = COMMIT) -> None:
        self.repos.setdefault(repo, {}).update({revision: folder, commit: folder})

    def fault_of(self, path: str) -> Fault | None:
        if self.fault is None or self.fault_at not in path or self.fault_times == 0:
            return None
        if self.fault_times is not None:
            self.fault_times -= 1
        return self.fault

    def commit_of(self, repo: str, revision: str) -> str:
        """The commit that was added for the folder of ``revision``."""
        folder = self.repos[repo][revision]
        return next(name for name, other in self.repos[repo].items() if other == folder and len(name) == 40)


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Tests look at ``asked``."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.asked.append((self.command, path, self.headers.get("Range"), self.headers.get("Authorization")))
        fault = self.hub.fault_of(path)
        if fault in REFUSALS:
            self.answer(*REFUSALS[fault], body=b'{"error": "as told"}')
        elif fault == "silent":
            self.hub.released.wait(60)
            self.close_connection = True
        elif fault == "hang-up":
            self.close_connection = True
        elif fault == "loop":
            self.answer(302, {"Location": self.path})
        elif fault == "lost":
            self.answer(302, {"Location": "http://[::bad/"})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+)|/tree/([^/]+))?", path):
            self.describe(match[1], match[2] or match[3] or "main", parse_qs(url.query), fault, tree=bool(match[3]))
        elif match := re.fullmatch(r"/(storage/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(bool(match[1]), match[2], match[3], match[4], fault)
        else:
            self.answer(404, {**NOT_FOUND})

    def describe(self, repo: str, revision: str, query: dict[str, Any], fault: Fault | None, *, tree: bool) -> None:
        revisions = self.hub.repos.get(repo)
        if revisions is None:
            self.answer(404, {**NOT_FOUND, "X-Error-Code": "RepoNotFound"})
        elif revision not in revisions:
            self.answer(404, {**NOT_FOUND, "X-Error-Code": "RevisionNotFound"})
        elif fault == "not-json":
            self.answer(200, {"Content-Type": "text/html"}, b"<html>Welcome to the hotel's network</html>")
        elif fault == "deep":
            self.answer(200, {"Content-Type": "application/json"}, b"[" * 100_000)
        elif fault == "endless":
            self.answer(200, {"Content-Type": "application/json"}, bytes(64 << 20), "description")
        elif fault == "not-a-model":
            self.answer(200, {"Content-Type": "application/json"}, b'{"siblings": [{}]}')
        else:
            files = [
                {**entry, "size": self.hub.sizes.get(entry["path"], entry["size"])}
                for entry in _entries(revisions[revision])
            ]
            siblings = [{"rfilename": entry["path"], **entry} if "blobs" in query and fault != "no-sizes" else
                        {"rfilename": entry["path"]} for entry in files]  # fmt: skip
            info = {"id": repo, "sha": self.hub.commit_of(repo, revision), "siblings": siblings}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(files if tree else info).encode())

    def resolve(self, stored: bool, repo: str, revision: str, name: str, fault: Fault | None) -> None:
        folder = self.hub.repos.get(repo, {}).get(revision)
        if folder is None or not (folder / name).is_file():
            code = "EntryNotFound" if folder else "RevisionNotFound" if repo in self.hub.repos else "RepoNotFound"
            self.answer(404, {**NOT_FOUND, "X-Error-Code": code})
            return
        data = (folder / name).read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        headers = {"ETag": etag, "X-Repo-Commit": self.hub.commit_of(repo, revision), "Accept-Ranges": "bytes"}
        if name.endswith(".safetensors") and not stored:
            linked = {"X-Linked-ETag": etag, "X-Linked-Size": str(len(data))}
            location = f"{self.hub.storage}/storage/{repo}/resolve/{revision}/{name}"
            self.answer(302, {**headers, **linked, "Location": location})
        else:
            self.hand_out(name, data, headers, fault)

    def hand_out(self, name: str, data: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, begin, end = 200, 0, len(data)
        if asked and fault != "ignore-range":
            status, begin, end = 206, int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
            first = begin + 1 if fault == "other-range" else begin
            total = len(data) + 1 if fault == "other-size" else len(data)
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{total}"
        body = data[begin:end]
        if fault == "long-body":
            body += bytes(100)
        if fault == "small-body":
            body = body[:-1]
        if fault == "short-body":
            headers["Content-Length"] = str(len(body))
            body = body[:-1]
            self.close_connection = True
        self.answer(status, headers, body, name)

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"", name: str | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        for begin in range(0, len(body) if self.command == "GET" else 0, 1 << 16):
            piece = body[begin : begin + (1 << 16)]
            if name is not None:
                self.hub.sent[name] += len(piece)  # before writing: the client may look at once
            try:
                self.wfile.write(piece)
            except OSError:  # the client has closed, as it should when the server ignores the range
                self.close_connection = True
                return


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes early is what some faults are for."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    """Files as ``/tree`` describes them, and ``/api/models`` with ``blobs=true``."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            entry = {"type": "file", "path": path.relative_to(folder).as_posix(), "size": len(data)}
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            lfs = {"oid": hashlib.sha256(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
            stored = {"lfs": {**lfs, "size": len(data), "pointerSize": 130}} if path.suffix == ".safetensors" else {}
            yield {**entry, "oid": oid, "blobId": oid, **stored}


@contextmanager
def serve(monkeypatch: pytest.MonkeyPatch, cache: Path | None = None) -> Iterator[HubStandIn]:
    """The stand-in behind ``HF_ENDPOINT`` as huggingface_hub has read it; ``cache`` becomes the local cache.

    Without a token: set ``HF_TOKEN`` where one is needed. For "silent", set ``constants.HF_HUB_DOWNLOAD_TIMEOUT`` to
    a fraction of a second.
    """
    hub = HubStandIn()
    handler = type("Handler", (_Handler,), {"hub": hub})
    servers = [_Server(("127.0.0.1", 0), handler) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    hub.url, hub.storage = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    point_at(monkeypatch, hub.url)
    monkeypatch.setattr(transport, "PAUSE", 0.0)
    if cache is not None:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        for server in servers:
            server.shutdown()
        for server, thread in zip(servers, threads, strict=True):
            thread.join()
            server.server_close()


def point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let huggingface_hub, which reads its environment at import, speak to ``url``, online and without a token."""
    from huggingface_hub import file_download, utils

    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = "HUGGINGFACE_CO_URL_TEMPLATE"
    for module in (constants, file_download):  # before 1.0 the second has a copy
        if hasattr(module, template):
            monkeypatch.setattr(module, template, url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    # an earlier test's session may have been made for a proxy; the first is huggingface_hub 1.0's name, then the older
    close = getattr(utils, "close_session", None) or utils.reset_sessions
    close()
