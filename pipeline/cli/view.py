"""Runs `berry view`: a local web page over all trees of a run."""

from __future__ import annotations

from typing import Annotated

import typer


def view(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: any that is free.")] = 0,
) -> None:
    """Open a page over all trees of a run: search problems, click through a tree, compare two nodes.

    Listens on this machine alone, to who has the address with its token, and writes nothing. From another machine:
    ssh -L.

    Examples:

      berry view runs/demo

      berry view s3://bucket/runs/big --port 8000
    """
    import errno
    import secrets
    import socket

    from berry.pipeline.errors import InputError
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(run_dir)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()  # who opens the address at once waits, and is not refused
    except OSError as error:
        listening.close()
        what = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        raise InputError(f"--port {port} {what}: give another one, or 0 for any that is free") from error
    token = secrets.token_urlsafe(24)
    typer.echo(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={token}")  # the browser starts beside the rest
    typer.echo("Ctrl-C ends it", err=True)
    import uvicorn

    from berry.pipeline.cli.report import token_ends_of
    from berry.pipeline.report.view.server import TreeServer

    shown = TreeServer(run, load_token_ends=lambda: token_ends_of(run), token=token)
    server = uvicorn.Server(uvicorn.Config(shown.app, log_level="warning", access_log=False))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises it again after it has ended
        pass
    finally:
        shown.index.close()
        listening.close()
