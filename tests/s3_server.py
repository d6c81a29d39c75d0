"""A real S3 API server (moto) with faults to order: python tests/s3_server.py prints its port.

PUT /-/faults {"error_rate": 0.1, "delay_s": 0.05, "signed_only": true} ─► what happens to every request from then on
GET /-/faults ─► {"requests": …, "failed": …, "unsigned": …}
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ERROR = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>'


class Faulty:
    """WSGI before the store. PUTs go one at a time, so that one with If-None-Match is atomic, as on real stores."""

    def __init__(self, store: Callable[..., Iterable[bytes]]) -> None:
        self._store = store
        self._faults: dict[str, Any] = {}
        self._counts = {"requests": 0, "failed": 0, "unsigned": 0}
        self._putting = threading.Lock()
        self._chance = random.Random(5)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/-/faults":
            return self._told(environ, start)
        self._counts["requests"] += 1
        if self._faults.get("signed_only") and "HTTP_AUTHORIZATION" not in environ:
            self._counts["unsigned"] += 1
            return _refuse(environ, start, "403 Forbidden", b"AccessDenied", b"Access Denied")
        time.sleep(self._chance.random() * 2 * self._faults.get("delay_s", 0.0))
        if self._chance.random() < self._faults.get("error_rate", 0.0):
            self._counts["failed"] += 1
            if self._chance.random() < 0.5:
                return _refuse(environ, start, "500 Internal Server Error", b"InternalError", b"We are sorry")
            return _refuse(environ, start, "503 Slow Down", b"SlowDown", b"Please reduce your request rate")
        if environ["REQUEST_METHOD"] != "PUT":
            return self._store(environ, start)
        with self._putting:
            return list(self._store(environ, start))

    def _told(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            self._faults = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self._counts = dict.fromkeys(self._counts, 0)
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self._counts).encode()]


def _refuse(
    environ: dict[str, Any], start: Callable[..., Any], status: str, code: bytes, message: bytes
) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start(status, [("Content-Type", "application/xml")])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else ERROR % (code, message)]


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
