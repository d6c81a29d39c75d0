"""A Hub for the tests: as much of its API as creating a data set repository and a commit to it take."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HubServer(ThreadingHTTPServer):
    """`files`: of each repository what was committed; `token`: what requests must carry, None: anything."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.token: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub_server() -> Iterator[HubServer]:
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        del format, args

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._welcome():
            self._answer({"error": "Invalid username or password."}, status=401)
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/main(?:/.*)?", path):
            names = self.server.files[found[1]]
            self._answer([{"type": "file", "path": n, "size": len(d), "oid": _oid(d)} for n, d in names.items()])
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/main)?", path):
            names = [{"rfilename": name} for name in self.server.files[found[1]]]
            self._answer({"id": found[1], "sha": "0" * 40, "siblings": names, "private": False, "tags": []})
        else:
            self._answer({"error": f"GET {path} is not of this server"}, status=404)

    def do_PUT(self) -> None:
        data = self._body()
        self.server.objects[hashlib.sha256(data).hexdigest()] = data
        self._answer({})

    def do_POST(self) -> None:
        path, body = self.path.partition("?")[0], self._body()
        if not self._welcome():
            self._answer({"error": "Invalid username or password."}, status=401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.created.append(asked)
            self.server.files.setdefault(name, {})
            self._answer({"url": f"{self.server.url}/datasets/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            large = (".parquet", ".jsonl")
            asked = [file["path"] for file in json.loads(body)["files"]]
            modes = [(name, "lfs" if name.endswith(large) else "regular") for name in asked]
            self._answer({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            upload = {"upload": {"href": f"{self.server.url}/upload"}}
            objects = [{**one, "actions": upload} for one in json.loads(body)["objects"]]
            self._answer({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", path):
            self._commit(self.server.files[found[1]], body.decode())
            url = f"{self.server.url}/datasets/{found[1]}/commit/{'0' * 40}"
            self._answer({"success": True, "commitUrl": url, "commitOid": "0" * 40})
        else:
            self._answer({"error": f"POST {path} is not of this server"}, status=404)

    def _commit(self, files: dict[str, bytes], lines: str) -> None:
        for line in map(json.loads, lines.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]

    def _welcome(self) -> bool:
        token = self.server.token
        return token is None or self.headers.get("authorization") == f"Bearer {token}"

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, value: Any, *, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
