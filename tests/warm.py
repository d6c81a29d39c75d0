"""`berry` without the wait for its imports: python tests/warm.py SOCKET. Every command is a fork of this process, which
has imported what they need and has done nothing else.

    {"words": …, "cwd": …, "env": …} and a descriptor for the output ─► {"pid": …} ─► {"returncode": …, "peak_bytes": …}

Ends when its standard input does, so with the tests.
"""

from __future__ import annotations

import gc
import json
import os
import random
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

PRELOADED = (
    "berry.pipeline.cli.loading",
    "berry.pipeline.cli.progress",
    "berry.pipeline.cli.summary",
    "berry.pipeline.runtime.driver.run",
    "berry.pipeline.runtime.actors.local_worker",
    "berry.pipeline.engines.synthetic.engine",
    "berry.pipeline.report.page.page",
    "berry.pipeline.report.status",
    "berry.pipeline.stages.dataset.text_views",
)


def serve(place: str) -> list[str]:
    """Returns in every fork, with the words of its command."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(64)
    woken, wakes = socket.socketpair()
    for end in (woken, wakes):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno())
    selector = selectors.DefaultSelector()
    for source in (sys.stdin, listening, woken):
        selector.register(source, selectors.EVENT_READ)
    clients: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                os._exit(0)
            if key.fileobj is woken:
                woken.recv(4096)
                _reap(clients)
                continue
            client, _ = listening.accept()
            data, (out,), _, _ = socket.recv_fds(client, 1 << 20, 1)
            while not data.endswith(b"\n"):
                data += client.recv(1 << 20)
            order = json.loads(data)
            pid = os.fork()
            if pid == 0:
                selector.close()
                for one in (listening, woken, wakes, client, *clients.values()):
                    one.close()
                return _become(order, out)
            os.close(out)
            clients[pid] = client
            client.sendall(json.dumps({"pid": pid}).encode() + b"\n")


def _reap(clients: dict[int, socket.socket]) -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        client = clients.pop(pid)
        ended = {"returncode": os.waitstatus_to_exitcode(status), "peak_bytes": usage.ru_maxrss * 1024}
        with suppress(OSError):  # nobody asks any more
            client.sendall(json.dumps(ended).encode() + b"\n")
        client.close()


def _become(order: dict[str, Any], out: int) -> list[str]:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.close(out)
    os.close(nothing)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    random.seed()
    sys.path[0] = order["cwd"]
    return order["words"]


if __name__ == "__main__":
    import importlib

    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()
    sys.argv = ["berry", *serve(sys.argv[1])]
    from berry.pipeline.cli import main

    main()
